//! What can be wrong with a folder of Hugging Face's, or with what a model file says of its model.

use std::path::PathBuf;

use super::LinearError;
use crate::io::IoError;
use crate::io::gguf::GgufError;

/// A configuration that cannot be used. The file is not named: [`HfError`] wraps it in an error that does.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// The text is not JSON of the right form.
    #[error("not valid JSON: {reason}")]
    Json {
        /// What the JSON reader said.
        reason: String,
    },
    /// A field is missing or of another kind.
    #[error("field {field:?} is {found}; expected {expected}")]
    Field {
        /// The field.
        field: &'static str,
        /// What stands there.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// The model is of a kind that is not known.
    #[error("model type {found:?} is not supported; supported: llama, mistral, qwen2, qwen3, bert")]
    UnknownArchitecture {
        /// Its name.
        found: String,
    },
    /// A known model, changed in a way that is not known.
    #[error("{feature} is {found}; supported: {allowed}")]
    Unsupported {
        /// What differs.
        feature: &'static str,
        /// What stands there.
        found: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// An argument of a config group of compressed-tensors that is missing or not known.
    #[error("{reason}")]
    Argument {
        /// What is wrong, with the path of the argument.
        reason: String,
    },
    /// A metadata key of a GGUF file that says what is not known.
    #[error("metadata key {key:?} is {found}; supported: {allowed}")]
    Key {
        /// The key.
        key: String,
        /// What stands there.
        found: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Two sizes that do not fit each other.
    #[error("{what} {value} is not a multiple of {of} {divisor}")]
    NotMultiple {
        /// The larger.
        what: &'static str,
        /// Its value.
        value: usize,
        /// The one that should divide it.
        of: &'static str,
        /// Its value.
        divisor: usize,
    },
    /// The metadata of a GGUF file lack what the model needs.
    #[error(transparent)]
    Gguf(#[from] GgufError),
}

/// A shard index that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ShardError {
    /// The index is not JSON with a `weight_map` of strings.
    #[error("not a shard index: {reason}")]
    Json {
        /// What the JSON reader said.
        reason: String,
    },
    /// A tensor is listed twice.
    #[error("tensor {tensor:?} is listed more than once")]
    ListedTwice {
        /// The tensor.
        tensor: String,
    },
    /// A shard's name leads elsewhere, or to another index.
    #[error(
        "tensor {tensor:?} is said to be in {shard:?}; allowed: names of .safetensors files in the same \
         folder"
    )]
    ShardName {
        /// The tensor.
        tensor: String,
        /// The name as listed.
        shard: String,
    },
    /// A shard is not there.
    #[error("shard {shard:?} is missing; it should hold {tensor:?}{}", others(*n_tensors))]
    MissingShard {
        /// The shard.
        shard: String,
        /// The first tensor listed for it.
        tensor: String,
        /// Tensors listed for it.
        n_tensors: usize,
    },
    /// A shard does not hold a tensor that is listed for it.
    #[error("tensor {tensor:?} is listed for shard {shard:?}, which does not hold it")]
    NotInShard {
        /// The tensor.
        tensor: String,
        /// The shard.
        shard: String,
    },
    /// Two shards hold the same tensor.
    #[error("tensor {tensor:?} is in two shards, {first:?} and {second:?}")]
    InTwoShards {
        /// The tensor.
        tensor: String,
        /// One shard.
        first: String,
        /// The other.
        second: String,
    },
    /// No weights.
    #[error("holds neither model.safetensors nor model.safetensors.index.json")]
    NoWeights,
    /// No shard has a tensor of this name.
    #[error("no tensor {tensor:?} among {n_tensors} in {n_shards} shards")]
    UnknownTensor {
        /// The name asked for.
        tensor: String,
        /// Tensors in all shards.
        n_tensors: usize,
        /// Shards.
        n_shards: usize,
    },
}

fn others(n_tensors: usize) -> String {
    match n_tensors.saturating_sub(1) {
        0 => String::new(),
        n => format!(" and {n} more"),
    }
}

/// What is wrong, and where.
#[derive(Debug, thiserror::Error)]
pub enum HfError {
    /// A configuration file.
    #[error("{}: {reason}", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: Box<ConfigError>,
    },
    /// A shard index, or the folder.
    #[error("{}: {reason}", file.display())]
    Shards {
        /// The index or the folder.
        file: PathBuf,
        /// What is wrong with it.
        reason: ShardError,
    },
    /// A quantized layer.
    #[error("{}: {reason}", file.display())]
    Linear {
        /// The folder.
        file: PathBuf,
        /// What is wrong with it.
        reason: Box<LinearError>,
    },
    /// A file that cannot be read.
    #[error(transparent)]
    Io(Box<IoError>),
}

impl From<IoError> for HfError {
    fn from(reason: IoError) -> Self {
        Self::Io(Box::new(reason))
    }
}
