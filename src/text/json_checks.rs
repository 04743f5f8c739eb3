//! What the library takes for granted in a `tokenizer.json`, and would end the program over.

use serde_json::Value;

use super::TextError;
use crate::io::safetensors::shown;

/// Checks merges, compiled rules and stripping decoders; says if tokens such as `<0x0A>` become bytes.
///
/// # Errors
/// [`TextError::Entry`] naming the part.
pub(super) fn check(json: &Value) -> Result<bool, TextError> {
    merges(&json["model"])?;
    let mut falls_back = false;
    for part in parts(&json["decoder"], "decoders") {
        falls_back |= part["type"] == "ByteFallback";
        if part["type"] == "Strip" && part["stop"].as_u64() != Some(0) {
            return Err(TextError::Entry {
                what: "stop of the decoder Strip".to_owned(),
                found: shown(&part["stop"].to_string()),
                expected: "0: a token may be shorter",
            });
        }
    }
    for part in parts(&json["normalizer"], "normalizers") {
        if let Some(map) = part["precompiled_charsmap"].as_str() {
            charsmap(map)?;
        }
    }
    Ok(falls_back)
}

/// A part and the parts of a sequence, however deep the reader lets them be.
fn parts<'a>(part: &'a Value, list: &str) -> Vec<&'a Value> {
    let mut parts = vec![part];
    let mut at = 0;
    while let Some(part) = parts.get(at) {
        parts.extend(part[list].as_array().into_iter().flatten());
        at += 1;
    }
    parts
}

/// A merge is written into room for the longest token.
fn merges(model: &Value) -> Result<(), TextError> {
    let (Some(vocabulary), Some(merges)) = (model["vocab"].as_object(), model["merges"].as_array())
    else {
        return Ok(());
    };
    let longest = vocabulary.keys().map(String::len).max().unwrap_or(0);
    let prefix = model["continuing_subword_prefix"]
        .as_str()
        .unwrap_or("")
        .len();
    for (index, merge) in merges.iter().enumerate() {
        let parts = match merge {
            Value::String(merge) => merge.split_once(' '),
            pair => pair[0].as_str().zip(pair[1].as_str()),
        };
        // Others are refused by the library.
        let Some((left, right)) = parts else { continue };
        let fits = right.is_char_boundary(prefix) && left.len() + right.len() - prefix <= longest;
        if !fits {
            return Err(TextError::Entry {
                what: format!("merge {index}"),
                found: format!("{:?} and {:?}", shown(left), shown(right)),
                expected: "two tokens that make a third",
            });
        }
    }
    Ok(())
}

/// A double array whose every step stays inside it, with texts behind it: what SentencePiece compiles its rules to. A
/// unit holds a byte, how far its children are, and whether a rule ends there.
fn charsmap(map: &str) -> Result<(), TextError> {
    let wrong = || TextError::Entry {
        what: "precompiled_charsmap".to_owned(),
        found: "rules that lead out of it".to_owned(),
        expected: "a double array and the texts that its values point to",
    };
    let bytes = from_base64(map).ok_or_else(wrong)?;
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(wrong)?;
    let length = u32::from_le_bytes(*length) as usize / 4 * 4;
    let (units, texts) = rest.split_at_checked(length).ok_or_else(wrong)?;
    let units: Vec<usize> = units
        .as_chunks::<4>()
        .0
        .iter()
        .map(|&unit| u32::from_le_bytes(unit) as usize)
        .collect();
    let texts = std::str::from_utf8(texts).map_err(|_| wrong())?;
    let offset = |unit: usize| (unit >> 10) << ((unit & 1 << 9) >> 6);
    let root = *units.first().ok_or_else(wrong)?;
    let mut seen = vec![false; units.len()];
    let mut bases = vec![offset(root)];
    while let Some(base) = bases.pop() {
        match seen.get_mut(base) {
            None => return Err(wrong()),
            Some(is_seen) if *is_seen => continue,
            Some(is_seen) => *is_seen = true,
        }
        for byte in 1..256 {
            let at = base ^ byte;
            let unit = *units.get(at).ok_or_else(wrong)?;
            if unit & (1 << 31 | 0xff) != byte {
                continue;
            }
            let child = at ^ offset(unit);
            if unit >> 8 & 1 == 1 {
                let value = units.get(child).ok_or_else(wrong)? & ((1 << 31) - 1);
                if !texts.is_char_boundary(value) {
                    return Err(wrong());
                }
            }
            bases.push(child);
        }
    }
    Ok(())
}

/// The bytes of RFC 4648's digits.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut n_bits) = (0u32, 0);
    for digit in text.trim_end_matches('=').bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        n_bits += 6;
        if n_bits >= 8 {
            n_bits -= 8;
            bytes.push((bits >> n_bits) as u8);
            bits &= (1 << n_bits) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Tokenizer;
    use serde_json::json;

    fn said(part: &str, value: &Value) -> String {
        let mut json: Value = json!({
            "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
            "post_processor": null, "decoder": null,
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "##b": 3}, "merges": [["a", "b"]]},
        });
        json[part] = value.clone();
        match Tokenizer::from_json(json.to_string().as_bytes()) {
            Ok(_) => "read".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_the_library_would_end_the_program_over_is_refused() {
        let model = |merges: Value, prefix: Value| {
            json!({"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "##b": 3}, "merges": merges,
                   "continuing_subword_prefix": prefix})
        };
        for good in [json!([["a", "b"]]), json!(["a b"])] {
            assert_eq!(said("model", &model(good, Value::Null)), "read");
        }
        assert_eq!(
            said("model", &model(json!([["a", "##b"]]), json!("##"))),
            "read"
        );
        let expected = "merge 0 is \"ab\" and \"ab\"; expected two tokens that make a third";
        for long in [json!([["ab", "ab"]]), json!(["ab ab"])] {
            assert_eq!(said("model", &model(long, Value::Null)), expected);
        }
        let short = said("model", &model(json!([["a", "b"]]), json!("##")));
        assert_eq!(
            short,
            "merge 0 is \"a\" and \"b\"; expected two tokens that make a third"
        );
        let strip = |stop: u64| json!({"type": "Sequence", "decoders": [{"type": "Strip", "content": " ", "start": 1, "stop": stop}]});
        assert_eq!(said("decoder", &strip(0)), "read");
        assert_eq!(
            said("decoder", &strip(1)),
            "stop of the decoder Strip is 1; expected 0: a token may be shorter"
        );
    }

    #[test]
    fn compiled_rules_stay_inside_their_array() {
        let rules = |units: &[u32], texts: &[u8]| {
            let mut bytes = (units.len() as u32 * 4).to_le_bytes().to_vec();
            bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
            bytes.extend(texts);
            let map = super::super::sentencepiece::base64(&bytes);
            said(
                "normalizer",
                &json!({"type": "Precompiled", "precompiled_charsmap": map}),
            )
        };
        // From the root at 0 the child `a` at 256 ^ 97 has a rule whose value is at 512.
        let mut units = vec![0u32; 768];
        units[0] = 256 << 10;
        units[256 ^ 97] = (256 ^ 97 ^ 512) << 10 | 1 << 8 | 97;
        units[512] = 1 << 31;
        assert_eq!(rules(&units, "b\0\u{e9}".as_bytes()), "read");
        let wrong = "precompiled_charsmap is rules that lead out of it; expected a double array and the texts that \
                     its values point to";
        assert_eq!(rules(&units[..512], b"b\0"), wrong, "a child outside");
        assert_eq!(rules(&[], b"b\0"), wrong, "no root");
        assert_eq!(rules(&units, b"\xff"), wrong, "no text");
        units[512] = 1 << 31 | 3;
        assert_eq!(
            rules(&units, "b\0\u{e9}".as_bytes()),
            wrong,
            "within a character"
        );
        units[512] = 1 << 31 | 9;
        assert_eq!(
            rules(&units, "b\0\u{e9}".as_bytes()),
            wrong,
            "behind the texts"
        );
        units[512] = 1 << 31;
        units[0] = 0x1f_ffff << 10;
        assert_eq!(rules(&units, b"b\0"), wrong, "far away");
        // A unit that is its own child ends the search once.
        units[0] = 0;
        units[97] = 97 << 10 | 97;
        assert_eq!(rules(&units, b"b\0"), "read");
    }
}
