//! A `tokenizer.json` made of the metadata of a GGUF file.
//!
//! Byte-level BPE (`tokenizer.ggml.model` is `gpt2`) cuts a text first, as `tokenizer.ggml.pre` names it;
//! the patterns are those of the models' own `tokenizer.json`. WordPiece (`bert`) is stored with the
//! beginnings of words marked by U+2581 where the original marks their continuations by `##`.

use serde_json::{Value, json};

use super::TextError;
use crate::io::gguf::Metadata;
use crate::io::safetensors::shown;

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";

/// Token types of GGUF that are matched in a text before it is cut.
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// Llama 3's pattern, with runs of at most `digits` digits.
fn llama_pattern(digits: &str) -> String {
    format!(
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{{L}}\\p{{N}}]?\\p{{L}}+|\\p{{N}}{digits}| \
         ?[^\\s\\p{{L}}\\p{{N}}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
    )
}

/// The tokenizer that the metadata describe, in the form of a `tokenizer.json`.
pub(super) fn tokenizer_json(metadata: &Metadata) -> Result<Value, TextError> {
    let tokens = metadata.texts("tokenizer.ggml.tokens")?;
    match metadata.text(MODEL)? {
        "gpt2" => byte_level(metadata, tokens),
        "bert" => word_piece(tokens),
        found => Err(TextError::Unknown {
            key: MODEL,
            found: shown(found),
            allowed: "gpt2 (byte-level BPE), bert (WordPiece)",
        }),
    }
}

fn byte_level(metadata: &Metadata, tokens: &[String]) -> Result<Value, TextError> {
    let pre = metadata.text(PRE)?;
    let byte_level = |use_regex: bool| {
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
               "use_regex": use_regex})
    };
    let split = |pattern: String| {
        json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated",
               "invert": false})
    };
    let (cuts, normalizer, ignore_merges) = match pre {
        "gpt-2" => (vec![byte_level(true)], Value::Null, false),
        "smollm" => {
            let digits = json!({"type": "Digits", "individual_digits": true});
            (vec![digits, byte_level(true)], Value::Null, false)
        }
        "llama-bpe" => (
            vec![split(llama_pattern("{1,3}")), byte_level(false)],
            Value::Null,
            true,
        ),
        "qwen2" => (
            vec![split(llama_pattern("")), byte_level(false)],
            json!({"type": "NFC"}),
            false,
        ),
        found => {
            return Err(TextError::Unknown {
                key: PRE,
                found: shown(found),
                allowed: "gpt-2, smollm, llama-bpe, qwen2",
            });
        }
    };
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
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": cuts},
        "post_processor": ends(metadata, tokens, pre)?,
        "decoder": byte_level(true),
        "model": {
            "type": "BPE",
            "vocab": vocabulary(tokens.iter().map(String::as_str))?,
            "merges": merges,
            "ignore_merges": ignore_merges,
        },
    }))
}

fn word_piece(tokens: &[String]) -> Result<Value, TextError> {
    let original = |token: &String| match token.strip_prefix('\u{2581}') {
        Some(word) => word.to_owned(),
        None if token.starts_with('[') && token.ends_with(']') => token.clone(),
        None => format!("##{token}"),
    };
    let tokens: Vec<String> = tokens.iter().map(original).collect();
    let id = |token: &'static str| {
        let kind = "WordPiece";
        let place = tokens.iter().position(|found| found == token);
        place.ok_or(TextError::MissingToken { token, kind })
    };
    let specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let added = specials
        .iter()
        .map(|&token| Ok(added_token(id(token)?, token, true)))
        .collect::<Result<Vec<_>, TextError>>()?;
    Ok(json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", id("[SEP]")?],
                           "cls": ["[CLS]", id("[CLS]")?]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocabulary(tokens.iter().map(String::as_str))?,
        },
    }))
}

/// Tokens and their ids.
fn vocabulary<'a>(tokens: impl Iterator<Item = &'a str>) -> Result<Value, TextError> {
    let mut map = serde_json::Map::new();
    for (id, token) in tokens.enumerate() {
        if let Some(first) = map.insert(token.to_owned(), id.into()) {
            return Err(TextError::DuplicateToken {
                token: shown(token),
                first: first.as_u64().unwrap_or_default() as usize,
                second: id,
            });
        }
    }
    Ok(map.into())
}

fn added_token(id: usize, token: &str, special: bool) -> Value {
    json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
           "normalized": false, "special": special})
}

/// Tokens that are matched as they stand, before a text is cut.
fn added(metadata: &Metadata, tokens: &[String]) -> Result<Vec<Value>, TextError> {
    let types = metadata.integers("tokenizer.ggml.token_type")?;
    if types.len() != tokens.len() {
        return Err(TextError::TokenTypes {
            found: types.len(),
            expected: tokens.len(),
        });
    }
    let pairs = types.iter().zip(tokens).enumerate();
    Ok(pairs
        .filter(|&(_, (&kind, token))| [CONTROL, USER_DEFINED].contains(&kind) && !token.is_empty())
        .map(|(id, (&kind, token))| added_token(id, token, kind == CONTROL))
        .collect())
}

/// What goes before and after a text: the tokens of `add_bos_token` and `add_eos_token`.
fn ends(metadata: &Metadata, tokens: &[String], pre: &str) -> Result<Value, TextError> {
    let wanted = |flag: &str, default: bool| match metadata.get(flag) {
        Some(_) => metadata.flag(flag),
        None => Ok(default),
    };
    let token = |key: &str| {
        let id = metadata.count(key)?;
        let token = usize::try_from(id).ok().and_then(|id| tokens.get(id));
        let token = token.ok_or_else(|| TextError::NoSuchToken {
            what: key.to_owned(),
            id,
            n_tokens: tokens.len(),
        })?;
        Ok::<_, TextError>((id, token))
    };
    let mut single = vec![json!({"Sequence": {"id": "A", "type_id": 0}})];
    let mut specials = serde_json::Map::new();
    let mut place = |at: usize, (id, token): (u64, &String)| {
        single.insert(at, json!({"SpecialToken": {"id": token, "type_id": 0}}));
        let special = json!({"id": token, "ids": [id], "tokens": [token]});
        specials.insert(token.clone(), special);
    };
    if wanted("tokenizer.ggml.add_eos_token", false)? {
        place(1, token("tokenizer.ggml.eos_token_id")?);
    }
    if wanted("tokenizer.ggml.add_bos_token", pre == "llama-bpe")? {
        place(0, token("tokenizer.ggml.bos_token_id")?);
    }
    if specials.is_empty() {
        return Ok(Value::Null);
    }
    let pair = vec![
        json!({"Sequence": {"id": "A", "type_id": 0}}),
        json!({"Sequence": {"id": "B", "type_id": 1}}),
    ];
    Ok(
        json!({"type": "TemplateProcessing", "single": single, "pair": pair,
              "special_tokens": specials}),
    )
}
