//! Why a text could not be made or judged.

use std::path::PathBuf;

use thiserror::Error;

use crate::engine::EngineError;
use crate::io::IoError;
use crate::io::hf::{ConfigError, HfError};
use crate::models::llama::LlamaError;
use crate::ops::OpError;
use crate::tensor::TensorError;
use crate::text::TextError;

/// Why a text could not be made or judged.
#[derive(Debug, Error)]
pub enum GenerateError {
    /// A model that cannot be loaded.
    #[error(transparent)]
    Model(#[from] LlamaError),
    /// A file that cannot be read.
    #[error(transparent)]
    Io(Box<IoError>),
    /// A folder that cannot be read.
    #[error(transparent)]
    Hf(Box<HfError>),
    /// A tokenizer or template that cannot be used.
    #[error("{}: {reason}", file.display())]
    Text {
        /// File or folder of the model.
        file: PathBuf,
        /// What is wrong.
        reason: Box<TextError>,
    },
    /// Metadata that cannot be used.
    #[error("{}: {reason}", file.display())]
    Config {
        /// File or folder of the model.
        file: PathBuf,
        /// What is wrong.
        reason: Box<ConfigError>,
    },
    /// The tokenizer may give tokens that the embedding has no row for.
    #[error("{}: the tokenizer has tokens up to number {}, the embedding {embedding} rows", file.display(), tokenizer.saturating_sub(1))]
    Vocabulary {
        /// File or folder of the model.
        file: PathBuf,
        /// One more than the largest token of the tokenizer.
        tokenizer: usize,
        /// Rows of the embedding.
        embedding: usize,
    },
    /// Two models whose predictions cannot be compared token by token.
    #[error(
        "the model predicts {model} tokens, its base {base}; both must have the same vocabulary"
    )]
    OtherVocabulary {
        /// Tokens of the model.
        model: usize,
        /// Tokens of its base.
        base: usize,
    },
    /// No chat template.
    #[error("{}: no chat template; leave out the chat and write the prompt as the model was trained", file.display())]
    NoTemplate {
        /// File or folder of the model.
        file: PathBuf,
    },
    /// Nothing to begin with.
    #[error("the prompt has no tokens; at least 1 is needed")]
    EmptyPrompt,
    /// Tokens for another number of texts than a session has.
    #[error("tokens of {given} texts for a session of {expected}")]
    Texts {
        /// Texts given.
        given: usize,
        /// Texts of the session.
        expected: usize,
    },
    /// A text too short to be judged.
    #[error("the text has {found} tokens; at least 2 are needed to predict one")]
    TooShort {
        /// Its tokens.
        found: usize,
    },
    /// A token without a row in the embedding.
    #[error("token {at} of the prompt is {token}; allowed: 0 to {}", vocabulary.saturating_sub(1))]
    NoSuchToken {
        /// Position in what was given.
        at: usize,
        /// The token.
        token: u32,
        /// Rows of the embedding.
        vocabulary: usize,
    },
    /// More tokens than positions.
    #[error(
        "the context is full: {position} tokens are there and {more} more do not fit {context}"
    )]
    ContextFull {
        /// Tokens read.
        position: usize,
        /// Tokens given.
        more: usize,
        /// Positions there are.
        context: usize,
    },
    /// A setting out of range.
    #[error("{name} = {value}; allowed: {allowed}")]
    Setting {
        /// Which.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// It was asked to stop before there was anything to show.
    #[error("stopped after {position} tokens were read")]
    Stopped {
        /// Tokens read.
        position: usize,
    },
    /// A window of a text that the model has no room for.
    #[error("window = {window}; allowed: 2 to {context}, the context there is")]
    Window {
        /// Tokens asked for.
        window: usize,
        /// Positions there are.
        context: usize,
    },
    /// Logits that are NaN or infinite.
    #[error("the logits after token {position} are not finite")]
    NotFinite {
        /// Tokens read.
        position: usize,
    },
    /// A pass that cannot be recorded.
    #[error(transparent)]
    Op(#[from] OpError),
    /// What the engine says.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Results that do not form the tensor asked for.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl From<IoError> for GenerateError {
    fn from(reason: IoError) -> Self {
        Self::Io(Box::new(reason))
    }
}

impl From<HfError> for GenerateError {
    fn from(reason: HfError) -> Self {
        Self::Hf(Box::new(reason))
    }
}
