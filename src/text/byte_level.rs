//! Byte-level BPE of the metadata of a GGUF file: how a text is cut before, as `tokenizer.ggml.pre` names it.
//!
//! The patterns are those of the models' own `tokenizer.json`.

use serde_json::{Value, json};

use super::TextError;
use super::gguf::{added, ends, vocabulary};
use crate::io::gguf::Metadata;
use crate::io::safetensors::shown;

const PRE: &str = "tokenizer.ggml.pre";

/// The names known, for messages.
const KNOWN: &str = "default, gpt-2 (phi-2, mpt, olmo), smollm (starcoder, refact, command-r, codeshell), llama-bpe \
                     (llama3, llama-v3, falcon3, pixtral), smaug-bpe (dbrx), qwen2, deepseek-r1-qwen, tekken, \
                     deepseek-coder";

/// GPT-2's pattern.
const GPT_2: &str = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)";

/// Mistral's, which cuts words where small letters are followed by capitals.
const TEKKEN: &str = "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|\
                      [^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\
                      \\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/// Llama 3's, with runs of at most `digits` digits.
fn llama_pattern(digits: &str) -> String {
    format!(
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{{L}}\\p{{N}}]?\\p{{L}}+|\\p{{N}}{digits}| \
         ?[^\\s\\p{{L}}\\p{{N}}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
    )
}

/// What is done to a text before merges.
struct Cuts {
    steps: Vec<Value>,
    normalizer: Value,
    /// Whether a piece that is a token is not looked through for merges.
    ignores_merges: bool,
    /// Whether a text begins with a token where the file does not say.
    adds_begin: bool,
}

fn level(use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex})
}

/// Cuts at each match in turn, then spells bytes.
fn splits(patterns: &[&str]) -> Vec<Value> {
    let split = |pattern: &&str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    patterns.iter().map(split).chain([level(false)]).collect()
}

fn cuts(pre: &str) -> Result<Cuts, TextError> {
    let is_of_llama = matches!(
        pre,
        "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "pixtral" | "tekken"
    );
    let steps = match pre {
        "gpt-2" | "phi-2" | "mpt" | "olmo" => vec![level(true)],
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" => {
            vec![
                json!({"type": "Digits", "individual_digits": true}),
                level(true),
            ]
        }
        "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "pixtral" | "smaug-bpe" | "dbrx" => {
            splits(&[&llama_pattern("{1,3}")])
        }
        "qwen2" | "deepseek-r1-qwen" => splits(&[&llama_pattern("")]),
        "tekken" => splits(&[TEKKEN]),
        "deepseek-coder" => splits(&[
            "[\r\n]",
            "\\s?\\p{L}+",
            "\\s?\\p{P}+",
            "[\u{4e00}-\u{9fa5}\u{800}-\u{4e00}\u{ac00}-\u{d7ff}]+",
            "\\p{N}",
        ]),
        "default" => splits(&[
            "[\\p{P}\\$\\+<=>\\^~\\|]+",
            GPT_2,
            "\\p{N}+",
            "[0-9][0-9][0-9]",
        ]),
        found => {
            return Err(TextError::Unknown {
                key: PRE,
                found: shown(found),
                allowed: KNOWN,
            });
        }
    };
    Ok(Cuts {
        steps,
        normalizer: if pre == "qwen2" {
            json!({"type": "NFC"})
        } else {
            Value::Null
        },
        ignores_merges: is_of_llama,
        adds_begin: is_of_llama,
    })
}

/// A name of each way of cutting.
const NAMES: [&str; 9] = [
    "gpt-2",
    "smollm",
    "llama-bpe",
    "smaug-bpe",
    "qwen2",
    "deepseek-r1-qwen",
    "tekken",
    "deepseek-coder",
    "default",
];

/// The parts of what may be a `Sequence` of a `tokenizer.json`, whose list is under `key`.
pub(super) fn parts_of<'a>(one: &'a Value, key: &str) -> Vec<&'a Value> {
    match (one, one["type"].as_str()) {
        (Value::Null, _) => Vec::new(),
        (_, Some("Sequence")) => {
            let all = one[key].as_array().into_iter().flatten();
            all.flat_map(|one| parts_of(one, key)).collect()
        }
        _ => vec![one],
    }
}

/// The name under which a GGUF file has the cuts of a `tokenizer.json`.
pub(super) fn name_of_cuts(
    steps: &Value,
    normalizer: &Value,
    ignores_merges: bool,
) -> Option<&'static str> {
    let plain = |steps: &Value| -> Option<Vec<Value>> {
        let parts = parts_of(steps, "pretokenizers");
        parts.into_iter().map(plain_step).collect()
    };
    let (steps, normalizers) = (plain(steps)?, parts_of(normalizer, "normalizers"));
    NAMES.into_iter().find(|name| {
        let Ok(cuts) = cuts(name) else {
            return false;
        };
        let own = json!({"type": "Sequence", "pretokenizers": cuts.steps});
        cuts.ignores_merges == ignores_merges
            && parts_of(&cuts.normalizer, "normalizers") == normalizers
            && plain(&own).is_some_and(|own| own == steps)
    })
}

/// A step without what changes nothing, its defaults written out; `None` for one of another kind.
fn plain_step(step: &Value) -> Option<Value> {
    let flag = |key: &str, default: bool| step.get(key).and_then(Value::as_bool).unwrap_or(default);
    Some(match step["type"].as_str()? {
        "ByteLevel" => json!([
            "bytes",
            flag("add_prefix_space", true),
            flag("use_regex", true)
        ]),
        "Digits" => json!(["digits", flag("individual_digits", false)]),
        "Split" => json!([
            "split",
            step["pattern"],
            step["behavior"],
            flag("invert", false)
        ]),
        _ => return None,
    })
}

pub(super) fn byte_level(metadata: &Metadata, tokens: &[String]) -> Result<Value, TextError> {
    let cuts = cuts(metadata.text(PRE)?)?;
    let merges = metadata.texts("tokenizer.ggml.merges")?;
    let merges = merges
        .iter()
        .enumerate()
        .map(|(index, merge)| {
            let (left, right) = merge
                .split_once(' ')
                .filter(|(left, right)| {
                    !left.is_empty() && !right.is_empty() && !right.contains(' ')
                })
                .ok_or_else(|| TextError::Merge {
                    index,
                    found: shown(merge),
                })?;
            Ok(json!([left, right]))
        })
        .collect::<Result<Vec<_>, TextError>>()?;
    Ok(json!({
        "version": "1.0",
        "added_tokens": added(metadata, tokens)?,
        "normalizer": cuts.normalizer,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": cuts.steps},
        "post_processor": ends(metadata, tokens, (cuts.adds_begin, false))?,
        "decoder": level(true),
        "model": {
            "type": "BPE",
            "vocab": vocabulary(tokens.iter().map(String::as_str))?,
            "merges": merges,
            "ignore_merges": cuts.ignores_merges,
        },
    }))
}

#[cfg(test)]
mod tests {
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _};

    use super::*;

    fn pieces(pre: &str, text: &str) -> Vec<String> {
        let steps = json!({"type": "Sequence", "pretokenizers": cuts(pre).expect("known").steps});
        let steps: tokenizers::PreTokenizerWrapper = serde_json::from_value(steps).expect("reads");
        let mut cut = PreTokenizedString::from(text);
        steps.pre_tokenize(&mut cut).expect("cuts");
        let splits = cut.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits
            .into_iter()
            .map(|(_, (from, to), _)| text[from..to].to_owned())
            .collect()
    }

    #[test]
    fn texts_are_cut_as_the_name_says() {
        let text = "Hello  World's 12345 iOS!\n\nx";
        // Pieces by bars.
        let expected = [
            ("gpt-2", "Hello| | World|'s| 12345| iOS|!|\n|\n|x"),
            ("smollm", "Hello| | World|'s| |1|2|3|4|5| iOS|!|\n|\n|x"),
            ("llama-bpe", "Hello| | World|'s| |123|45| iOS|!\n\n|x"),
            ("smaug-bpe", "Hello| | World|'s| |123|45| iOS|!\n\n|x"),
            ("qwen2", "Hello| | World|'s| |1|2|3|4|5| iOS|!\n\n|x"),
            ("tekken", "Hello| | World|'s| |1|2|3|4|5| i|OS|!\n\n|x"),
            (
                "deepseek-coder",
                "Hello| | World|'|s| |1|2|3|4|5| iOS|!|\n|\n|x",
            ),
            ("default", "Hello| | World|'|s| |123|45| iOS|!|\n|\n|x"),
        ];
        for (pre, cut) in expected {
            let cut: Vec<&str> = cut.split('|').collect();
            assert_eq!(pieces(pre, text), cut, "{pre}");
        }
        for (pre, same) in [
            ("phi-2", "gpt-2"),
            ("starcoder", "smollm"),
            ("llama3", "llama-bpe"),
            ("pixtral", "llama-bpe"),
            ("dbrx", "smaug-bpe"),
            ("deepseek-r1-qwen", "qwen2"),
        ] {
            assert_eq!(pieces(pre, text), pieces(same, text), "{pre}");
        }
    }

    #[test]
    fn every_name_of_the_message_is_known() {
        let names = KNOWN
            .split([',', '(', ')', ' '])
            .filter(|name| !name.is_empty());
        for name in names {
            assert!(cuts(name).is_ok(), "{name}");
        }
    }
}
