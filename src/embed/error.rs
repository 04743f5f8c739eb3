//! Why sentences could not become vectors.

use std::path::PathBuf;

use crate::engine::EngineError;
use crate::io::hf::{DecoderKind, HfError};
use crate::models::ModelError;
use crate::ops::OpError;
use crate::tensor::TensorError;
use crate::text::TextError;

/// An encoder that cannot be used, or sentences that it cannot take.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// A folder that cannot be read.
    #[error(transparent)]
    Hf(#[from] HfError),
    /// A tokenizer that cannot be read or used.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Weights that are not those of the model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// An operation that does not fit.
    #[error(transparent)]
    Op(#[from] OpError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Values that do not form a tensor.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A model that predicts tokens.
    #[error("{}: a model of type {kind:?} predicts tokens; vectors come from encoders (bert)", folder.display())]
    NotEncoder {
        /// The folder.
        folder: PathBuf,
        /// What it is.
        kind: DecoderKind,
    },
    /// A tokenizer of another model.
    #[error("{}: the tokenizer has {tokens} tokens, the model embeddings for {embeddings}", folder.display())]
    Vocabulary {
        /// The folder.
        folder: PathBuf,
        /// Tokens of the tokenizer.
        tokens: usize,
        /// Rows of the table.
        embeddings: usize,
    },
    /// A limit below the two tokens that stand around every sentence.
    #[error("at most {given} tokens a sentence; allowed: 2 or more, for its two ends")]
    MaxTokens {
        /// The limit.
        given: usize,
    },
    /// A sentence without tokens, or with more than there are positions.
    #[error("sentence {sentence} has {tokens} tokens; allowed: 1 to {context}")]
    Length {
        /// Its number, from 0.
        sentence: usize,
        /// Its tokens.
        tokens: usize,
        /// The model's positions.
        context: usize,
    },
    /// A token that the model has no embedding for.
    #[error("sentence {sentence}, token {at} is {token}; allowed: below {vocabulary}")]
    Token {
        /// The sentence's number, from 0.
        sentence: usize,
        /// Position in it.
        at: usize,
        /// The token.
        token: u32,
        /// Tokens there are.
        vocabulary: usize,
    },
    /// A vector that is infinite or NaN.
    #[error(
        "the vector of sentence {sentence} is not finite: a weight or a result is too large for f32"
    )]
    NotFinite {
        /// The sentence's number, from 0.
        sentence: usize,
    },
    /// It was asked to stop.
    #[error("stopped after {done} of {of} sentences")]
    Stopped {
        /// Sentences done.
        done: usize,
        /// Sentences in all.
        of: usize,
    },
}
