//! Why a decoder cannot be loaded.

use std::path::PathBuf;

use thiserror::Error;

use crate::io::IoError;
use crate::io::hf::{ConfigError, HfError};
use crate::ops::OpError;
use crate::tensor::TensorError;

/// Why a decoder cannot be loaded.
#[derive(Debug, Error)]
pub enum LlamaError {
    /// A GGUF file that cannot be read.
    #[error(transparent)]
    Io(Box<IoError>),
    /// A folder that cannot be read.
    #[error(transparent)]
    Hf(Box<HfError>),
    /// What a GGUF file says of its model.
    #[error("{}: {reason}", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: Box<ConfigError>,
    },
    /// A model that is no decoder.
    #[error("{}: an encoder makes vectors, not text; supported here: llama, mistral, qwen2, qwen3", file.display())]
    Encoder {
        /// The file or folder.
        file: PathBuf,
    },
    /// A tensor that does not fit the sizes that the configuration gives.
    #[error("{}: tensor `{name}` has shape {found:?}, its configuration wants {expected:?}", file.display())]
    Shape {
        /// The file or folder.
        file: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// What it should be.
        expected: Vec<usize>,
    },
    /// A configuration that no kernel serves.
    #[error("{}: {what} = {value}; allowed: {allowed}", file.display())]
    Size {
        /// The file or folder.
        file: PathBuf,
        /// Which size.
        what: &'static str,
        /// Its value.
        value: usize,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Values that do not form the tensor asked for.
    #[error(transparent)]
    Tensor(TensorError),
    /// A weight that cannot be uploaded.
    #[error(transparent)]
    Op(#[from] OpError),
}

impl From<IoError> for LlamaError {
    fn from(reason: IoError) -> Self {
        Self::Io(Box::new(reason))
    }
}

impl From<HfError> for LlamaError {
    fn from(reason: HfError) -> Self {
        Self::Hf(Box::new(reason))
    }
}
