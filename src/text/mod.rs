//! Text to tokens and back, and conversations to text.
//!
//! A [`Tokenizer`] comes from a `tokenizer.json` or from the metadata of a GGUF file; a [`ChatTemplate`] from
//! either too. Both do what the models' authors meant, by the same libraries or the same templates.

mod bytes;
mod chat;
mod error;
mod gguf;

use std::path::Path;

use crate::io::gguf::Metadata;
use crate::io::read_bytes;

pub use bytes::byte_tokenizer;
pub use chat::{ChatTemplate, Message};
pub use error::TextError;

/// Turns text into tokens and tokens into text.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`TextError::Io`], and [`TextError::Tokenizer`] for one that is none.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, TextError> {
        Self::from_json(&read_bytes(path)?)
    }

    /// Reads the bytes of a `tokenizer.json`. Padding and truncation that it asks for are left to the caller.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`].
    pub fn from_json(json: &[u8]) -> Result<Self, TextError> {
        let mut inner = tokenizers::Tokenizer::from_bytes(json).map_err(tokenizer_error)?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(tokenizer_error)?;
        Ok(Self { inner })
    }

    /// Builds the tokenizer that the metadata of a GGUF file describe: byte-level BPE cut as `gpt-2`,
    /// `smollm`, `llama-bpe` or `qwen2`, or WordPiece.
    ///
    /// # Errors
    /// [`TextError::Unknown`] for other kinds, [`TextError::Gguf`] for keys that are missing, and what is
    /// wrong with vocabulary and merges.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, TextError> {
        let json = gguf::tokenizer_json(metadata)?;
        Self::from_json(json.to_string().as_bytes())
    }

    /// The tokens of `text`, with those that the model wants around it if `ends`. Special tokens written
    /// out in the text are recognized.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`].
    pub fn encode(&self, text: &str, ends: bool) -> Result<Vec<u32>, TextError> {
        let encoding = self.inner.encode(text, ends).map_err(tokenizer_error)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of `tokens`, special tokens written out. Bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// [`TextError::NoSuchToken`], [`TextError::Tokenizer`].
    pub fn decode(&self, tokens: &[u32]) -> Result<String, TextError> {
        self.check(tokens)?;
        self.inner.decode(tokens, false).map_err(tokenizer_error)
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

    /// What `token` adds to the text: nothing while a character is not whole.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, token: u32) -> Result<String, TextError> {
        self.tokens.push(token);
        let text = self.tokenizer.decode(&self.tokens)?;
        if text.ends_with('\u{fffd}') && self.tokens.len() < MAX_CHARACTER_TOKENS + 1 {
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
        let own = self.tokenizer.inner.decode(&self.tokens, false);
        self.given = own.map_or(0, |own| own.len());
        new
    }
}

/// A character has at most four bytes, and a token at least one.
const MAX_CHARACTER_TOKENS: usize = 4;

/// Not `map_err(TextError::from)`: the library's error is a box of anything.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err calls for"
)]
fn tokenizer_error(reason: tokenizers::Error) -> TextError {
    TextError::Tokenizer {
        reason: crate::io::safetensors::shown(&reason.to_string()),
    }
}

#[cfg(test)]
mod tests;
