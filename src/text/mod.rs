//! Text to tokens and back, and conversations to text.
//!
//! A [`Tokenizer`] comes from a `tokenizer.json` or from the metadata of a GGUF file; a [`ChatTemplate`] from
//! either too. Both do what the models' authors meant, by the same libraries or the same templates.

mod byte_level;
mod bytes;
mod chat;
mod error;
mod fallback;
mod folder;
mod gguf;
mod growth;
mod json_checks;
mod sentencepiece;
mod to_gguf;

use std::path::Path;

use serde_json::Value;
use tokenizers::Decoder;

use crate::io::gguf::Metadata;
use crate::io::hf::{HfFolder, SpecialTokens};
use crate::io::read_bytes;
use crate::io::safetensors::shown;

pub use bytes::byte_tokenizer;
pub use chat::{ChatTemplate, Message};
pub use error::TextError;
pub use to_gguf::gguf_tokenizer;

/// Turns text into tokens and tokens into text.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Whether tokens such as `<0x0A>` are bytes.
    falls_back: bool,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`TextError::Io`], and [`TextError::Tokenizer`] for one that is none.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, TextError> {
        Self::from_json(&read_bytes(path)?)
    }

    /// Reads the tokenizer of a folder: its `tokenizer.json`, or where there is none its `tokenizer.model`.
    ///
    /// # Errors
    /// As [`Self::open`] and [`Self::from_sentencepiece`], [`TextError::NoTokenizer`] without both.
    pub fn of_folder(folder: &HfFolder) -> Result<Self, TextError> {
        let (json, model) = (folder.tokenizer_path(), folder.sentencepiece_path());
        if json.exists() {
            return Self::open(json);
        }
        if !model.exists() {
            return Err(TextError::NoTokenizer {
                folder: folder.path().to_owned(),
            });
        }
        Self::from_sentencepiece(&read_bytes(model)?, &folder.special_tokens()?)
    }

    /// Reads the bytes of a `tokenizer.model` of SentencePiece, BPE or unigrams. Where `special` does not say otherwise,
    /// a text begins with the model's own token and ends with none.
    ///
    /// # Errors
    /// [`TextError::ModelFile`] for bytes that are none, [`TextError::Unknown`] for other kinds, and what is wrong with
    /// pieces and added tokens.
    pub fn from_sentencepiece(model: &[u8], special: &SpecialTokens) -> Result<Self, TextError> {
        let json = folder::tokenizer_json(model, special)?;
        Self::checked(&json, json.to_string().as_bytes())
    }

    /// Reads the bytes of a `tokenizer.json`. Padding and truncation that it asks for are left to the caller.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`].
    pub fn from_json(json: &[u8]) -> Result<Self, TextError> {
        let value = serde_json::from_slice(json).map_err(|reason| TextError::Tokenizer {
            reason: shown(&reason.to_string()),
        })?;
        Self::checked(&value, json)
    }

    /// The tokenizer of `json`, whose value is given.
    fn checked(value: &Value, json: &[u8]) -> Result<Self, TextError> {
        growth::check(value)?;
        let falls_back = json_checks::check(value)?;
        let read = without_panic(|| tokenizers::Tokenizer::from_bytes(json));
        let mut inner = read?.map_err(tokenizer_error)?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(tokenizer_error)?;
        Ok(Self { inner, falls_back })
    }

    /// Builds the tokenizer that the metadata of a GGUF file describe: byte-level BPE with the cuts that
    /// `tokenizer.ggml.pre` names, SentencePiece's BPE or unigrams, or WordPiece.
    ///
    /// # Errors
    /// [`TextError::Unknown`] for other kinds, [`TextError::Gguf`] for keys that are missing, and what is
    /// wrong with vocabulary, scores and merges.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, TextError> {
        let json = gguf::tokenizer_json(metadata)?;
        Self::checked(&json, json.to_string().as_bytes())
    }

    /// A `tokenizer.json` of the tokenizer that the metadata of a GGUF file describe.
    ///
    /// # Errors
    /// As [`Self::from_gguf`].
    pub fn gguf_json(metadata: &Metadata) -> Result<String, TextError> {
        Ok(format!("{:#}\n", gguf::tokenizer_json(metadata)?))
    }

    /// The tokens of `text`, with those that the model wants around it if `ends`. Special tokens written
    /// out in the text are recognized.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`].
    pub fn encode(&self, text: &str, ends: bool) -> Result<Vec<u32>, TextError> {
        let encoding = without_panic(|| self.inner.encode(text, ends))?;
        let encoding = encoding.map_err(tokenizer_error)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of `tokens`, special tokens written out. Bytes that are no UTF-8 become U+FFFD. Where texts are encoded
    /// with a space before them, the space is left out.
    ///
    /// # Errors
    /// [`TextError::NoSuchToken`], [`TextError::Tokenizer`].
    pub fn decode(&self, tokens: &[u32]) -> Result<String, TextError> {
        self.check(tokens)?;
        let made = without_panic(|| match self.inner.get_decoder() {
            Some(decoder) if self.falls_back => {
                let words = fallback::without_wrong_bytes(self.words(tokens));
                decoder.decode(words)
            }
            _ => self.inner.decode(tokens, false),
        });
        made?.map_err(tokenizer_error)
    }

    fn words(&self, tokens: &[u32]) -> Vec<String> {
        tokens.iter().filter_map(|&id| self.token(id)).collect()
    }

    /// One more than the largest id, which a table of all tokens has as rows: ids may have gaps.
    #[must_use]
    pub fn n_ids(&self) -> usize {
        let ids = self.inner.get_vocab(true).into_values().max();
        ids.map_or(0, |id| id as usize + 1)
    }

    /// Tokens in the vocabulary.
    #[must_use]
    pub fn n_tokens(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of a token.
    #[must_use]
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token of an id, as the vocabulary spells it.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    fn check(&self, tokens: &[u32]) -> Result<(), TextError> {
        match tokens.iter().position(|&id| self.token(id).is_none()) {
            None => Ok(()),
            Some(index) => Err(TextError::NoSuchToken {
                what: format!("element {index}"),
                id: tokens[index].into(),
                n_tokens: self.n_tokens(),
            }),
        }
    }
}

/// Text as it grows: the tokens of a model, one at a time.
///
/// A character may take several tokens; nothing is given out before it is whole.
#[derive(Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    /// Tokens not given out, after the last one that was, which tells how they join.
    tokens: Vec<u32>,
    /// Length of the text of the tokens that were given out.
    given: usize,
}

impl<'a> TextStream<'a> {
    /// An empty text.
    #[must_use]
    pub const fn new(tokenizer: &'a Tokenizer) -> Self {
        Self {
            tokenizer,
            tokens: Vec::new(),
            given: 0,
        }
    }

    /// The text behind these tokens: what is before it decides if it begins with a space.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn behind(tokenizer: &'a Tokenizer, tokens: &[u32]) -> Result<Self, TextError> {
        let mut stream = Self::new(tokenizer);
        let last = tokens.last().copied();
        stream.tokens.extend(last);
        stream.given = tokenizer.decode(&stream.tokens)?.len();
        Ok(stream)
    }

    /// What `token` adds to the text: nothing while a character is not whole.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, token: u32) -> Result<String, TextError> {
        self.tokens.push(token);
        let text = self.tokenizer.decode(&self.tokens)?;
        let waits = if self.tokenizer.falls_back {
            fallback::ends_within_character(&self.tokenizer.words(&self.tokens))
        } else {
            text.ends_with('\u{fffd}') && self.tokens.len() < MAX_CHARACTER_TOKENS + 1
        };
        if waits {
            return Ok(String::new());
        }
        Ok(self.give(&text))
    }

    /// What is left: the beginning of a character whose rest never came, as U+FFFD.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn finish(&mut self) -> Result<String, TextError> {
        let text = self.tokenizer.decode(&self.tokens)?;
        Ok(self.give(&text))
    }

    fn give(&mut self, text: &str) -> String {
        let new = text.get(self.given..).unwrap_or_default().to_owned();
        let last = self.tokens.pop();
        self.tokens.clear();
        self.tokens.extend(last);
        // The last token stays for the join; its own text is known to be whole.
        let own = self.tokenizer.decode(&self.tokens);
        self.given = own.map_or(0, |own| own.len());
        new
    }
}

/// A character has at most four bytes, and a token at least one.
const MAX_CHARACTER_TOKENS: usize = 4;

/// The library panics where parts of a tokenizer contradict each other: that is an error of the file.
fn without_panic<T>(work: impl FnOnce() -> T) -> Result<T, TextError> {
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    caught.map_err(|_| TextError::Tokenizer {
        reason: "its parts contradict each other, and the library that runs it gave up".to_owned(),
    })
}

/// Not `map_err(TextError::from)`: the library's error is a box of anything.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err calls for"
)]
fn tokenizer_error(reason: tokenizers::Error) -> TextError {
    TextError::Tokenizer {
        reason: shown(&reason.to_string()),
    }
}

#[cfg(test)]
mod tests;
