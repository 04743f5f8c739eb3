//! A `tokenizer.json` made of a `tokenizer.model` and what is said of special tokens beside it.

use serde_json::Value;

use super::TextError;
use super::gguf::{added_token, template};
use super::sentencepiece::{Kind, Prefix, read_model};
use crate::io::hf::SpecialTokens;
use crate::io::safetensors::shown;

const FILE: &str = "tokenizer.model";

/// The tokenizer of a model and its special tokens, in the form of a `tokenizer.json`.
pub(super) fn tokenizer_json(bytes: &[u8], special: &SpecialTokens) -> Result<Value, TextError> {
    let mut file = read_model(bytes)?;
    let n_pieces = file.model.texts.len();
    if file.model.prefix == Prefix::Each && special.is_legacy == Some(false) {
        file.model.prefix = Prefix::First;
    }
    let mut more: Vec<(usize, &str, bool)> = Vec::new();
    for token in &special.added {
        let id = token.id as usize;
        let found = || format!("{:?} with id {id}", shown(&token.content));
        let wrong = |expected| TextError::Entry {
            what: "an added token".to_owned(),
            found: found(),
            expected,
        };
        match file.model.texts.get(id) {
            Some(text) if *text != token.content => {
                return Err(wrong(
                    "the piece of that id in tokenizer.model, or an id behind them",
                ));
            }
            // Those of other kinds are added in any case.
            Some(_) if file.model.kinds[id] != Kind::Normal => {}
            None if id != n_pieces + more.iter().filter(|&&(id, ..)| id >= n_pieces).count() => {
                return Err(wrong(
                    "ids that follow the pieces of tokenizer.model without a gap",
                ));
            }
            _ => more.push((id, token.content.as_str(), token.is_special)),
        }
    }
    let piece = |id: usize| (id as u64, file.model.texts[id].as_str());
    let begin = file
        .begin
        .map(piece)
        .filter(|_| special.adds_begin != Some(false));
    let end = file
        .end
        .map(piece)
        .filter(|_| special.adds_end == Some(true));
    let ends = template(begin, end);
    let more = more
        .into_iter()
        .map(|(id, text, is_special)| added_token(id, text, is_special));
    file.model.tokenizer_json(FILE, &ends, more.collect())
}
