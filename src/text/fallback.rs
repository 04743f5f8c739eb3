//! Bytes as tokens, `<0x0A>` for a line end: how models of SentencePiece write what no piece spells.
//!
//! The library makes a run of such tokens a text if all of it is UTF-8, and else a U+FFFD of each. A run may be two
//! characters of which the second is not whole yet, so runs that are no UTF-8 are taken apart before.

use std::str::from_utf8;

/// The byte that a token is.
pub(super) fn byte_of(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    // Two signs that a number may have are no digits.
    let is_byte = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_byte.then(|| u8::from_str_radix(digits, 16).ok())?
}

/// The same tokens, but U+FFFD for each longest sequence of bytes that begins a character and does not end it, and for
/// each byte that begins none.
pub(super) fn without_wrong_bytes(tokens: Vec<String>) -> Vec<String> {
    let mut right = Vec::with_capacity(tokens.len());
    let mut run = Vec::new();
    for token in tokens {
        match byte_of(&token) {
            Some(byte) => run.push(byte),
            None => {
                give(&mut run, &mut right);
                right.push(token);
            }
        }
    }
    give(&mut run, &mut right);
    right
}

fn give(run: &mut Vec<u8>, right: &mut Vec<String>) {
    for chunk in run.utf8_chunks() {
        let bytes = chunk.valid().bytes();
        right.extend(bytes.map(|byte| format!("<0x{byte:02X}>")));
        if !chunk.invalid().is_empty() {
            right.push(char::REPLACEMENT_CHARACTER.to_string());
        }
    }
    run.clear();
}

/// Whether the last tokens are bytes that begin a character and do not end it.
pub(super) fn ends_within_character(tokens: &[String]) -> bool {
    let bytes = tokens.iter().rev().map_while(|token| byte_of(token));
    let mut bytes: Vec<u8> = bytes.take(4).collect();
    bytes.reverse();
    // A run cut at four bytes may begin within a character; what begins with its own first byte does not.
    (0..bytes.len()).any(|at| {
        let error = from_utf8(&bytes[at..]).err();
        error.is_some_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(words: &str) -> Vec<String> {
        words.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn bytes_are_two_digits_and_nothing_else() {
        assert_eq!(byte_of("<0x0A>"), Some(10));
        assert_eq!(byte_of("<0xff>"), Some(255));
        for no in [
            "<0x+1>",
            "<0x0>",
            "<0x00A>",
            "0x0A",
            "<0x\u{e9}>",
            "<0x0G>",
            "",
        ] {
            assert_eq!(byte_of(no), None, "{no}");
        }
    }

    #[test]
    fn what_is_whole_in_a_run_survives_what_is_not() {
        let found = without_wrong_bytes(tokens(
            "a <0xF0> <0x9F> <0x98> <0x80> <0xF0> <0x9F> b <0x80> <0x80> <0x41>",
        ));
        let right = "a <0xF0> <0x9F> <0x98> <0x80> \u{fffd} b \u{fffd} \u{fffd} <0x41>";
        assert_eq!(found, tokens(right));
    }

    #[test]
    fn a_character_is_waited_for_until_it_cannot_come() {
        let waits = |words| ends_within_character(&tokens(words));
        for yes in [
            "<0xF0>",
            "<0xF0> <0x9F> <0x98>",
            "a <0xC3>",
            "<0x80> <0xE2> <0x98>",
            "<0xC3> <0xC3>",
        ] {
            assert!(waits(yes), "{yes}");
        }
        for no in [
            "a",
            "<0x80>",
            "<0x41>",
            "<0xF0> <0x9F> <0x98> <0x80>",
            "<0xC3> a",
            "<0xFF>",
            "<0xC3> <0x41>",
        ] {
            assert!(!waits(no), "{no}");
        }
    }
}
