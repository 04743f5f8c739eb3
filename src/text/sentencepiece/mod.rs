//! SentencePiece models as a `tokenizer.json`: pieces with scores, in which U+2581 stands for a space.
//!
//! Such a model comes from the metadata of a GGUF file or from a `tokenizer.model` ([`model_file`]). A BPE model
//! joins the two neighbours that make the piece with the highest score, the leftmost of several; as merges in the order
//! of scores that is what the library does, and pieces of the same score come in the order of their ids. A unigram model
//! takes the pieces with the largest sum of scores. What no piece spells becomes the pieces of its bytes, where all 256
//! are there, or else the unknown piece.
//!
//! Kudo and Richardson, "SentencePiece", 2018, <https://arxiv.org/abs/1808.06226>.

mod model_file;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::TextError;
use super::fallback::byte_of;
use super::gguf::{added_token, vocabulary};
use crate::io::safetensors::shown;

pub(super) use model_file::read_model;

/// What stands for a space.
const SPACE: &str = "\u{2581}";

/// The longest piece that is looked through for merges, in bytes: its parts number as many, each as long. Those of
/// published models have less than 200.
const MAX_PIECE_BYTES: usize = 512;

/// What a piece is for, as numbered in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

impl Kind {
    pub(super) fn from_id(id: i64) -> Option<Self> {
        Some(match id {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }

    /// The kinds that [`Self::from_id`] knows, for messages.
    pub(super) const ALLOWED: &str =
        "1 (normal), 2 (unknown), 3 (control), 4 (user-defined), 5 (unused) or 6 (byte)";
}

/// How pieces are found in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Bpe,
    Unigram,
}

/// What begins with a space where it does not say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefix {
    Nothing,
    /// Every text between special tokens.
    Each,
    /// What stands before the first special token.
    First,
}

/// A model, and what is done to a text before.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) method: Method,
    pub(super) texts: Vec<String>,
    pub(super) scores: Vec<f32>,
    pub(super) kinds: Vec<Kind>,
    /// The piece for what cannot be spelled, if the file names one; else the first of that kind.
    pub(super) unknown: Option<usize>,
    /// Rules that replace characters, as SentencePiece compiles them; none if empty.
    pub(super) charsmap: Vec<u8>,
    pub(super) prefix: Prefix,
    /// Whether spaces at both ends are left out and several become one.
    pub(super) joins_spaces: bool,
}

impl Model {
    /// The form of a `tokenizer.json`. `ends` is its post-processor, `more` are added tokens behind the pieces.
    ///
    /// # Errors
    /// What is wrong with pieces and scores, as `file` names them: a piece twice, a score that is not finite, a byte's
    /// piece that names none, nothing for what cannot be spelled.
    pub(super) fn tokenizer_json(
        mut self,
        file: &'static str,
        ends: &Value,
        more: Vec<Value>,
    ) -> Result<Value, TextError> {
        self.check(file)?;
        let mut added = Vec::new();
        for (id, (kind, text)) in self.kinds.iter().zip(&mut self.texts).enumerate() {
            match kind {
                // Matched in the text as it is, in which spaces are spaces.
                Kind::UserDefined => *text = text.replace(SPACE, " "),
                Kind::Unknown | Kind::Control => {}
                Kind::Normal | Kind::Unused | Kind::Byte => continue,
            }
            if !text.is_empty() {
                added.push(added_token(id, text, *kind != Kind::UserDefined));
            }
        }
        added.extend(more);
        let bytes = self.kinds.iter().filter(|&&kind| kind == Kind::Byte);
        let falls_back = bytes.count() == 256;
        let unknown = self.kinds.iter().position(|&kind| kind == Kind::Unknown);
        let unknown = self.unknown.or(unknown);
        let kind = "SentencePiece";
        if unknown.is_none() && (!falls_back || self.method == Method::Unigram) {
            return Err(TextError::MissingToken {
                token: "<unk>",
                kind,
            });
        }
        // Also says if a piece is there twice.
        let ids = vocabulary(self.texts.iter().map(String::as_str))?;
        let model = match self.method {
            Method::Bpe => json!({
                "type": "BPE", "vocab": ids, "merges": self.merges()?, "byte_fallback": falls_back,
                "fuse_unk": true, "unk_token": unknown.map(|id| self.texts[id].clone()),
            }),
            Method::Unigram => {
                let pieces = self.texts.iter().zip(&self.scores);
                let pieces: Vec<Value> = pieces
                    .map(|(text, &score)| json!([text, f64::from(score)]))
                    .collect();
                json!({"type": "Unigram", "unk_id": unknown, "vocab": pieces,
                       "byte_fallback": falls_back})
            }
        };
        Ok(json!({
            "version": "1.0",
            "added_tokens": added,
            "normalizer": self.normalizer(),
            "pre_tokenizer": self.pre_tokenizer(),
            "post_processor": ends,
            "decoder": self.decoder(),
            "model": model,
        }))
    }

    fn check(&self, file: &'static str) -> Result<(), TextError> {
        let entry = |what: String, found: String, expected| {
            Err(TextError::Entry {
                what,
                found,
                expected,
            })
        };
        if self.texts.is_empty() {
            return entry(file.to_owned(), "empty".to_owned(), "at least one piece");
        }
        if let Some(at) = self.scores.iter().position(|score| !score.is_finite()) {
            let piece = shown(&self.texts[at]);
            return entry(
                format!("the score of token {at}, {piece:?}, in {file},"),
                self.scores[at].to_string(),
                "a finite number",
            );
        }
        let mut is_there = [false; 256];
        for (at, (kind, text)) in self.kinds.iter().zip(&self.texts).enumerate() {
            let what = || format!("token {at} of {file}, of type {kind:?},");
            match (kind, self.method) {
                (Kind::Byte, _) => match byte_of(text) {
                    Some(byte)
                        if !is_there[usize::from(byte)] && *text == format!("<0x{byte:02X}>") =>
                    {
                        is_there[usize::from(byte)] = true;
                    }
                    _ => {
                        let expected = "a byte that no other token is, as <0x0A>";
                        return entry(what(), format!("{:?}", shown(text)), expected);
                    }
                },
                (_, Method::Unigram) if text.is_empty() => {
                    return entry(what(), "empty".to_owned(), "a text");
                }
                _ => {}
            }
        }
        match self.unknown {
            Some(id) if id >= self.texts.len() => Err(TextError::NoSuchToken {
                what: format!("the unknown token of {file}"),
                id: id as u64,
                n_tokens: self.texts.len(),
            }),
            _ => Ok(()),
        }
    }

    /// Every two normal pieces that make a third, by its score.
    fn merges(&self) -> Result<Vec<Value>, TextError> {
        let normal = || {
            let all = self.texts.iter().zip(&self.kinds).enumerate();
            all.filter(|&(_, (_, &kind))| kind == Kind::Normal)
                .map(|(id, (text, _))| (id, text.as_str()))
        };
        let ids: BTreeMap<&str, usize> = normal().map(|(id, text)| (text, id)).collect();
        let mut merges = Vec::new();
        for (id, text) in normal() {
            if text.len() > MAX_PIECE_BYTES {
                return Err(TextError::Entry {
                    what: format!("token {id}"),
                    found: format!("{} bytes long", text.len()),
                    expected: "at most 512 bytes",
                });
            }
            for (at, _) in text.char_indices().skip(1) {
                let (left, right) = text.split_at(at);
                if let (Some(&left), Some(&right)) = (ids.get(left), ids.get(right)) {
                    merges.push((id, left, right));
                }
            }
        }
        merges.sort_by(|a, b| {
            let by_score = self.scores[b.0].total_cmp(&self.scores[a.0]);
            // 0 and -0 are one score.
            let is_same = self.scores[a.0] == self.scores[b.0];
            let by_score = if is_same {
                std::cmp::Ordering::Equal
            } else {
                by_score
            };
            by_score.then(a.cmp(b))
        });
        let merges = merges.into_iter();
        Ok(merges
            .map(|(_, left, right)| json!([self.texts[left], self.texts[right]]))
            .collect())
    }

    fn normalizer(&self) -> Value {
        let replace = |pattern: Value, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
        let mut steps = Vec::new();
        if !self.charsmap.is_empty() {
            let map = base64(&self.charsmap);
            steps.push(json!({"type": "Precompiled", "precompiled_charsmap": map}));
        }
        if self.joins_spaces {
            steps.push(replace(json!({"Regex": "^ +| +$"}), ""));
            steps.push(replace(json!({"Regex": " {2,}"}), " "));
        }
        if self.prefix == Prefix::Each {
            steps.push(json!({"type": "Prepend", "prepend": SPACE}));
        }
        if self.prefix != Prefix::First {
            steps.push(replace(json!({"String": " "}), SPACE));
        }
        json!({"type": "Sequence", "normalizers": steps})
    }

    /// A normalizer sees the text between two special tokens without its place; this one knows it.
    fn pre_tokenizer(&self) -> Value {
        match self.prefix {
            Prefix::First => {
                json!({"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "first",
                                    "split": false})
            }
            Prefix::Nothing | Prefix::Each => Value::Null,
        }
    }

    fn decoder(&self) -> Value {
        let mut steps = vec![
            json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if self.prefix != Prefix::Nothing {
            steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        json!({"type": "Sequence", "decoders": steps})
    }
}

/// The bytes in the digits of RFC 4648.
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let at = (bits >> (18 - 6 * digit) & 63) as usize;
            text.push(if digit <= three.len() {
                char::from(DIGITS[at])
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests;
