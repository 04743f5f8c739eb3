//! A `tokenizer.json` made of the metadata of a GGUF file.
//!
//! `tokenizer.ggml.model` says which kind: byte-level BPE (`gpt2`), SentencePiece's BPE (`llama`) and unigrams (`t5`), or
//! WordPiece (`bert`), which is stored with the beginnings of words marked by U+2581 where the original marks their
//! continuations by `##`.

use serde_json::{Value, json};

use super::TextError;
use super::byte_level::byte_level;
use super::sentencepiece::{Kind, Method, Model, Prefix};
use crate::io::gguf::Metadata;
use crate::io::safetensors::shown;

const MODEL: &str = "tokenizer.ggml.model";
const TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";

/// The tokenizer that the metadata describe, in the form of a `tokenizer.json`.
pub(super) fn tokenizer_json(metadata: &Metadata) -> Result<Value, TextError> {
    let tokens = metadata.texts("tokenizer.ggml.tokens")?;
    match metadata.text(MODEL)? {
        "gpt2" => byte_level(metadata, tokens),
        "llama" => pieces(metadata, tokens, Method::Bpe),
        "t5" => pieces(metadata, tokens, Method::Unigram),
        "bert" => word_piece(tokens),
        found => Err(TextError::Unknown {
            key: MODEL,
            found: shown(found),
            allowed: "gpt2 (byte-level BPE), llama (SentencePiece BPE), t5 (SentencePiece unigrams), bert (WordPiece)",
        }),
    }
}

/// SentencePiece models: BPE by scores (`llama`) and unigrams (`t5`).
fn pieces(metadata: &Metadata, tokens: &[String], method: Method) -> Result<Value, TextError> {
    let scores = metadata.floats(SCORES)?;
    entries(SCORES, scores.len(), tokens.len())?;
    let flag = |key: &str, default: bool| match metadata.get(key) {
        Some(_) => metadata.flag(key),
        None => Ok(default),
    };
    let is_bpe = method == Method::Bpe;
    const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";
    const RULES: &str = "tokenizer.ggml.precompiled_charsmap";
    let unknown = match metadata.get(UNKNOWN) {
        Some(_) => Some(token(metadata, tokens, UNKNOWN)?.0 as usize),
        None => None,
    };
    let model = Model {
        method,
        texts: tokens.to_vec(),
        scores: scores.to_vec(),
        kinds: kinds(metadata, tokens)?,
        unknown,
        charsmap: match metadata.get(RULES) {
            Some(_) => metadata.bytes(RULES)?,
            None => Vec::new(),
        },
        prefix: match flag("tokenizer.ggml.add_space_prefix", is_bpe)? {
            true => Prefix::Each,
            false => Prefix::Nothing,
        },
        joins_spaces: flag("tokenizer.ggml.remove_extra_whitespaces", false)?,
    };
    let ends = ends(metadata, tokens, (is_bpe, !is_bpe))?;
    model.tokenizer_json("tokenizer.ggml.tokens", &ends, Vec::new())
}

/// What each token is for.
fn kinds(metadata: &Metadata, tokens: &[String]) -> Result<Vec<Kind>, TextError> {
    let types = metadata.integers(TYPES)?;
    entries(TYPES, types.len(), tokens.len())?;
    let kinds = types.iter().enumerate().map(|(at, &id)| {
        Kind::from_id(id.into()).ok_or_else(|| TextError::Entry {
            what: format!("{TYPES}[{at}]"),
            found: id.to_string(),
            expected: Kind::ALLOWED,
        })
    });
    kinds.collect()
}

/// Says if a list has not one entry for each token.
fn entries(key: &'static str, found: usize, expected: usize) -> Result<(), TextError> {
    if found == expected {
        return Ok(());
    }
    Err(TextError::Entries {
        key,
        found,
        expected,
    })
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
pub(super) fn vocabulary<'a>(tokens: impl Iterator<Item = &'a str>) -> Result<Value, TextError> {
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

pub(super) fn added_token(id: usize, token: &str, special: bool) -> Value {
    json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
           "normalized": false, "special": special})
}

/// Tokens that are matched as they stand, before a text is cut.
pub(super) fn added(metadata: &Metadata, tokens: &[String]) -> Result<Vec<Value>, TextError> {
    let kinds = kinds(metadata, tokens)?;
    let pairs = kinds.iter().zip(tokens).enumerate();
    let is_added = |kind: Kind| matches!(kind, Kind::Control | Kind::UserDefined);
    Ok(pairs
        .filter(|&(_, (&kind, token))| is_added(kind) && !token.is_empty())
        .map(|(id, (&kind, token))| added_token(id, token, kind == Kind::Control))
        .collect())
}

/// The token whose id stands at a key.
fn token<'a>(
    metadata: &Metadata,
    tokens: &'a [String],
    key: &str,
) -> Result<(u64, &'a str), TextError> {
    let id = metadata.count(key)?;
    let token = usize::try_from(id).ok().and_then(|id| tokens.get(id));
    let token = token.ok_or_else(|| TextError::NoSuchToken {
        what: key.to_owned(),
        id,
        n_tokens: tokens.len(),
    })?;
    Ok((id, token))
}

/// What goes before and after a text: the tokens of `add_bos_token` and `add_eos_token`, or of `defaults`.
pub(super) fn ends(
    metadata: &Metadata,
    tokens: &[String],
    defaults: (bool, bool),
) -> Result<Value, TextError> {
    let wanted = |flag: &str, default: bool, key: &str| {
        let is_wanted = match metadata.get(flag) {
            Some(_) => metadata.flag(flag)?,
            None => default,
        };
        let token = is_wanted.then(|| token(metadata, tokens, key));
        token.transpose()
    };
    let end = wanted(
        "tokenizer.ggml.add_eos_token",
        defaults.1,
        "tokenizer.ggml.eos_token_id",
    )?;
    let begin = wanted(
        "tokenizer.ggml.add_bos_token",
        defaults.0,
        "tokenizer.ggml.bos_token_id",
    )?;
    Ok(template(begin, end))
}

/// The post-processor that puts these tokens around a text.
pub(super) fn template(begin: Option<(u64, &str)>, end: Option<(u64, &str)>) -> Value {
    let mut single = vec![json!({"Sequence": {"id": "A", "type_id": 0}})];
    let mut specials = serde_json::Map::new();
    let mut place = |at: usize, (id, token): (u64, &str)| {
        single.insert(at, json!({"SpecialToken": {"id": token, "type_id": 0}}));
        let special = json!({"id": token, "ids": [id], "tokens": [token]});
        specials.insert(token.to_owned(), special);
    };
    if let Some(end) = end {
        place(1, end);
    }
    if let Some(begin) = begin {
        place(0, begin);
    }
    if specials.is_empty() {
        return Value::Null;
    }
    let pair = vec![
        json!({"Sequence": {"id": "A", "type_id": 0}}),
        json!({"Sequence": {"id": "B", "type_id": 1}}),
    ];
    json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": specials})
}
