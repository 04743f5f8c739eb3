//! A `tokenizer.json` in which every byte is a token.

use serde_json::{Map, Value, json};

/// The text of a `tokenizer.json` whose 256 tokens are the bytes, each with its value as id: byte-level BPE without
/// merges.
#[must_use]
pub fn byte_tokenizer() -> String {
    let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                       "use_regex": false});
    let vocabulary: Map<String, Value> = (0..=u8::MAX)
        .map(|byte| (character(byte).to_string(), Value::from(byte)))
        .collect();
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": level,
        "post_processor": null,
        "decoder": level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    });
    format!("{tokenizer:#}\n")
}

/// The character that byte-level tokenizers write for a byte: itself where it can be seen, else the next one from
/// 256 on.
fn character(byte: u8) -> char {
    let is_seen = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if is_seen(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&one| !is_seen(one)).count() as u32;
    char::from_u32(256 + before).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Tokenizer;

    #[test]
    fn every_byte_is_the_token_of_its_value_and_texts_come_back() {
        let tokenizer = Tokenizer::from_json(byte_tokenizer().as_bytes()).expect("a tokenizer");
        assert_eq!(tokenizer.n_tokens(), 256);
        let text: String = (0..0x300)
            .filter_map(char::from_u32)
            .chain("\u{1f600} end".chars())
            .collect();
        let tokens = tokenizer.encode(&text, true).expect("encodes");
        let bytes: Vec<u32> = text.bytes().map(u32::from).collect();
        assert_eq!(tokens, bytes);
        assert_eq!(tokenizer.decode(&tokens).expect("decodes"), text);
        let all: Vec<u32> = (0..256).collect();
        assert!(tokenizer.decode(&all).is_ok());
    }
}
