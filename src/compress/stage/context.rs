//! What every stage is given, what it tells while it runs, and why it can fail.

use std::path::Path;

use thiserror::Error;

use crate::compress::CompressError;
use crate::compress::deploy::DeployError;
use crate::compress::model::ModelFileError;
use crate::data::{DataError, Dataset};
use crate::engine::{Engine, EngineError};
use crate::eval::EvalError;
use crate::io::IoError;
use crate::models::ModelError;
use crate::models::llama::LlamaError;
use crate::num::mask::MaskError;
use crate::num::{QuantError, SparseError};
use crate::ops::OpError;
use crate::tensor::TensorError;
use crate::train::TrainError;

/// What every stage is given.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Where it runs.
    pub engine: &'a dyn Engine,
    /// For calibration and fine-tuning, as it was loaded: a model prepares it.
    pub train: &'a Dataset,
    /// What judges, as it was loaded.
    pub test: &'a Dataset,
    /// Seed of everything random.
    pub seed: u64,
    /// Hears of progress and says whether to go on.
    pub watch: &'a dyn Fn(&Progress) -> bool,
    /// Folder, which is there, for epochs and layers that are done: a stage that finds its own there goes on behind
    /// them, to the same bits. `None` where nothing is kept.
    pub kept: Option<&'a Path>,
}

/// How far a stage is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// The stage: `prune`, `quantize`.
    pub stage: &'static str,
    /// What it works on: `layer 3.weight`, `epoch 2`.
    pub what: String,
    /// Steps done.
    pub done: usize,
    /// Steps in all.
    pub of: usize,
}

impl Context<'_> {
    /// Tells of progress.
    ///
    /// # Errors
    /// [`StageError::Stopped`] when the listener says so.
    pub fn tell(
        &self,
        stage: &'static str,
        what: impl Into<String>,
        [done, of]: [usize; 2],
    ) -> Result<(), StageError> {
        let progress = Progress {
            stage,
            what: what.into(),
            done,
            of,
        };
        match (self.watch)(&progress) {
            true => Ok(()),
            false => Err(StageError::Stopped { progress }),
        }
    }
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// Why a stage ended without a model.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StageError {
    /// It was asked to stop.
    #[error("stopped in {} at {} ({} of {})", progress.stage, progress.what, progress.done, progress.of)]
    Stopped {
        /// How far it was.
        progress: Progress,
    },
    /// A number or word out of range.
    #[error("{what} = {given}; allowed: {allowed}")]
    Setting {
        /// Which setting.
        what: String,
        /// Its value.
        given: String,
        /// What is allowed.
        allowed: String,
    },
    /// More memory than is allowed; nothing was read or written.
    #[error("needs up to {} of memory, {parts}; allowed: {}. Fewer or shorter calibration texts need less, and methods that look at none least", mib(*needed), mib(*allowed))]
    Memory {
        /// Bytes.
        needed: u64,
        /// Bytes allowed.
        allowed: u64,
        /// What they are for, with sizes.
        parts: String,
    },
    /// A language model that cannot be read or run.
    #[error(transparent)]
    Llama(Box<LlamaError>),
    /// Mathematics of compression.
    #[error(transparent)]
    Compress(Box<CompressError>),
    /// A model that cannot be made, read or written.
    #[error(transparent)]
    Model(Box<ModelFileError>),
    /// A model that cannot be run.
    #[error(transparent)]
    Deploy(Box<DeployError>),
    /// Training.
    #[error(transparent)]
    Train(Box<TrainError>),
    /// A network that cannot be made.
    #[error(transparent)]
    Network(Box<ModelError>),
    /// Data that cannot be batched.
    #[error(transparent)]
    Data(Box<DataError>),
    /// The engine failed.
    #[error(transparent)]
    Engine(Box<EngineError>),
    /// An operation that does not fit.
    #[error(transparent)]
    Op(Box<OpError>),
    /// Masks.
    #[error(transparent)]
    Mask(#[from] MaskError),
    /// Codes.
    #[error(transparent)]
    Quant(#[from] QuantError),
    /// Pruned matrices.
    #[error(transparent)]
    Sparse(#[from] SparseError),
    /// Logits that cannot be judged.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// Values that do not form a tensor.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// Boxed, because results are returned by value everywhere.
macro_rules! boxed {
    ($($variant:ident($error:ty)),* $(,)?) => {
        $(impl From<$error> for StageError {
            fn from(error: $error) -> Self {
                Self::$variant(Box::new(error))
            }
        })*
    };
}

boxed!(
    Compress(CompressError),
    Model(ModelFileError),
    Deploy(DeployError),
    Train(TrainError),
    Network(ModelError),
    Data(DataError),
    Engine(EngineError),
    Op(OpError),
    Llama(LlamaError),
);

impl From<IoError> for StageError {
    fn from(error: IoError) -> Self {
        Self::Model(Box::new(error.into()))
    }
}

/// Bytes for people.
pub(in crate::compress) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
