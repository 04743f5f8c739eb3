//! Why a decoder cannot be loaded.

use std::path::PathBuf;

use thiserror::Error;

use crate::io::IoError;
use crate::io::hf::{ConfigError, DecoderKind, HfError};
use crate::num::ggml::GgmlError;
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
    /// A tensor of a type that weights cannot have.
    #[error("{}: tensor `{name}`: {reason}", file.display())]
    Type {
        /// The file or folder.
        file: PathBuf,
        /// The tensor.
        name: String,
        /// What is wrong.
        reason: Box<TensorError>,
    },
    /// A value that is not allowed where it stands.
    #[error("{}: tensor `{name}`, element {index} is {value}; allowed: {allowed}", file.display())]
    Value {
        /// The file or folder.
        file: PathBuf,
        /// The tensor.
        name: String,
        /// Which element, row-major.
        index: usize,
        /// Its value.
        value: f32,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Tensors of more or fewer layers than the configuration says.
    #[error("{}: has tensors of {found} layers, its configuration says {n_layers}", file.display())]
    Layers {
        /// The file or folder.
        file: PathBuf,
        /// One more than the last layer with a tensor.
        found: usize,
        /// Layers of the configuration.
        n_layers: usize,
    },
    /// A tensor that would change the result and has no place in the model.
    #[error("{}: tensor `{name}` has no place in a {kind:?} decoder as it is known here", file.display())]
    Unused {
        /// The file or folder.
        file: PathBuf,
        /// The tensor.
        name: String,
        /// Which decoder.
        kind: DecoderKind,
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
    /// A model that needs more memory than there is; nothing was uploaded.
    #[error(
        "{}: needs {} of memory: {} of weights, up to {} of cache and {} of intermediate results; allowed: {}. A shorter context, a cache of f16 or int8 and smaller weights need less", file.display(), mib(*total), mib(*weights), mib(*cache), mib(*activations), mib(*limit)
    )]
    Memory {
        /// The file or folder.
        file: PathBuf,
        /// Bytes of its weights.
        weights: u64,
        /// Bytes of keys and values, at most.
        cache: u64,
        /// Bytes of intermediate results, at most.
        activations: u64,
        /// All of them.
        total: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A tensor that no buffer of the device can hold; nothing was uploaded.
    #[error(
        "{}: tensor `{name}` needs {n_bytes} bytes; a buffer of this device has at most {limit}", file.display()
    )]
    Buffer {
        /// The file or folder.
        file: PathBuf,
        /// The tensor.
        name: String,
        /// Its bytes on the device.
        n_bytes: u64,
        /// The device's limit.
        limit: u64,
    },
    /// What a GGUF file cannot say.
    #[error("{}: {what} has no place in a GGUF file; allowed: {allowed}", file.display())]
    NoPlace {
        /// The file or folder.
        file: PathBuf,
        /// A tensor and its format, or a configuration.
        what: String,
        /// What has.
        allowed: &'static str,
    },
    /// A tensor that cannot be written in the blocks of a GGUF file.
    #[error("{}: {reason}", file.display())]
    Blocks {
        /// The file or folder.
        file: PathBuf,
        /// What is wrong.
        reason: Box<GgmlError>,
    },
    /// Values that do not form the tensor asked for.
    #[error(transparent)]
    Tensor(TensorError),
    /// A weight that cannot be uploaded.
    #[error(transparent)]
    Op(#[from] OpError),
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
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
