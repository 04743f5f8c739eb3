//! Why a model cannot be made, read or written.

use std::path::PathBuf;

use thiserror::Error;

use super::{CONFIG_FILE, RECEIPT_FILE};

use crate::data::DataError;
use crate::io::IoError;
use crate::io::compressed_tensors::BitmaskError;
use crate::io::compressed_tensors::codes::CodesError;
use crate::models::ModelError;
use crate::num::SparseError;
use crate::tensor::TensorError;

/// Why a model cannot be made, read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelFileError {
    /// A file cannot be read or written.
    #[error(transparent)]
    Io(Box<IoError>),
    /// The network cannot be made.
    #[error(transparent)]
    Model(Box<ModelError>),
    /// Samples that do not fit.
    #[error(transparent)]
    Data(Box<DataError>),
    /// Tensors other than the network's.
    #[error("tensor {index} of the network: found {found}, it needs {expected}")]
    OtherTensors {
        /// Its index.
        index: usize,
        /// What there is.
        found: String,
        /// What the network needs.
        expected: String,
    },
    /// A name the network does not have.
    #[error("there is no tensor {name}; the network has {names}")]
    NoTensor {
        /// The name.
        name: String,
        /// Those there are.
        names: String,
    },
    /// A file that is no model of ours.
    #[error("{}: {reason}", file.display())]
    NoModel {
        /// The file or folder.
        file: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A key of the configuration.
    #[error("{}: {key} is {found}; allowed: {allowed}", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// The key, with its path.
        key: String,
        /// What it says.
        found: String,
        /// What is understood.
        allowed: String,
    },
    /// What is stored of a weight contradicts itself or the configuration.
    #[error("{}: {reason}", file.display())]
    Weight {
        /// The file.
        file: PathBuf,
        /// What is wrong, with the tensor's name.
        reason: String,
    },
    /// Tensors of the file that the configuration does not tell of.
    #[error("{}: its tensors {names} are in no layer of {CONFIG_FILE}", file.display())]
    Unread {
        /// The file.
        file: PathBuf,
        /// Their names.
        names: String,
    },
    /// A file that is not what its receipt says.
    #[error("{}: its SHA-256 is {found}, {RECEIPT_FILE} says {said}: it was changed after it was written", file.display())]
    Changed {
        /// The file.
        file: PathBuf,
        /// SHA-256 of what is there.
        found: String,
        /// SHA-256 of what was written.
        said: String,
    },
    /// A weight that cannot be written.
    #[error(transparent)]
    Codes(#[from] CodesError),
    /// A pruned weight that cannot be written.
    #[error(transparent)]
    Bitmask(#[from] BitmaskError),
    /// A pruned weight that cannot be packed.
    #[error(transparent)]
    Sparse(#[from] SparseError),
    /// A tensor that cannot be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A file read back that differs from what was written.
    #[error("{}: read back, tensor {name} differs from what was written", file.display())]
    ReadBack {
        /// The file.
        file: PathBuf,
        /// First tensor that differs.
        name: String,
    },
}

impl From<IoError> for ModelFileError {
    fn from(error: IoError) -> Self {
        Self::Io(Box::new(error))
    }
}

impl From<ModelError> for ModelFileError {
    fn from(error: ModelError) -> Self {
        Self::Model(Box::new(error))
    }
}

impl From<DataError> for ModelFileError {
    fn from(error: DataError) -> Self {
        Self::Data(Box::new(error))
    }
}
