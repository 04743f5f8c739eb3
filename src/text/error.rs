//! Why a text could not become tokens, or tokens a text.

use std::path::PathBuf;

use crate::io::IoError;
use crate::io::gguf::GgufError;
use crate::io::hf::HfError;

/// A tokenizer or chat template that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// A file that cannot be read.
    #[error(transparent)]
    Io(Box<IoError>),
    /// The metadata of a GGUF file lack what a tokenizer needs.
    #[error(transparent)]
    Gguf(Box<GgufError>),
    /// A kind of tokenizer that is not known.
    #[error("{key} is {found:?}; supported: {allowed}")]
    Unknown {
        /// The metadata key.
        key: &'static str,
        /// What stands there.
        found: String,
        /// What is known.
        allowed: &'static str,
    },
    /// A token occurs twice.
    #[error("token {token:?} has the ids {first} and {second}; a token has one")]
    DuplicateToken {
        /// The token.
        token: String,
        /// The id that comes first.
        first: usize,
        /// The other.
        second: usize,
    },
    /// A merge is not two tokens with a space between.
    #[error("merge {index} is {found:?}; expected two tokens with one space between")]
    Merge {
        /// Its rank.
        index: usize,
        /// As stored.
        found: String,
    },
    /// An id outside the vocabulary.
    #[error("{what} is token {id}; allowed: 0 to {}", n_tokens.saturating_sub(1))]
    NoSuchToken {
        /// Where the id stands.
        what: String,
        /// The id.
        id: u64,
        /// Tokens in the vocabulary.
        n_tokens: usize,
    },
    /// A list of metadata has not one entry for each token.
    #[error("{key} has {found} entries for {expected} tokens")]
    Entries {
        /// The metadata key.
        key: &'static str,
        /// Entries.
        found: usize,
        /// Tokens.
        expected: usize,
    },
    /// A value of a token or of a tokenizer's part that cannot be.
    #[error("{what} is {found}; expected {expected}")]
    Entry {
        /// Where it stands.
        what: String,
        /// What stands there.
        found: String,
        /// What can stand there.
        expected: &'static str,
    },
    /// The bytes are not those of a `tokenizer.model`.
    #[error("tokenizer.model is no SentencePiece model: expected {expected} at byte {at}")]
    ModelFile {
        /// From the file's beginning.
        at: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// A folder has no tokenizer.
    #[error("{}: neither tokenizer.json nor tokenizer.model is there", folder.display())]
    NoTokenizer {
        /// The folder.
        folder: PathBuf,
    },
    /// The files beside a tokenizer cannot be used.
    #[error(transparent)]
    Hf(Box<HfError>),
    /// A tokenizer must have a token.
    #[error("the vocabulary lacks {token:?}, which a {kind} tokenizer needs")]
    MissingToken {
        /// The token.
        token: &'static str,
        /// The kind of tokenizer.
        kind: &'static str,
    },
    /// What the tokenizer's own reader or encoder said.
    #[error("tokenizer: {reason}")]
    Tokenizer {
        /// Its message.
        reason: String,
    },
    /// What the template's reader or renderer said.
    #[error("chat template: {reason}")]
    Template {
        /// Its message.
        reason: String,
    },
}

impl From<IoError> for TextError {
    fn from(reason: IoError) -> Self {
        Self::Io(Box::new(reason))
    }
}

impl From<GgufError> for TextError {
    fn from(reason: GgufError) -> Self {
        Self::Gguf(Box::new(reason))
    }
}

impl From<HfError> for TextError {
    fn from(reason: HfError) -> Self {
        Self::Hf(Box::new(reason))
    }
}
