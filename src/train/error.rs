//! What can go wrong in training.

use std::path::PathBuf;

use thiserror::Error;

use crate::data::DataError;
use crate::engine::EngineError;
use crate::eval::EvalError;
use crate::io::IoError;
use crate::models::ModelError;
use crate::num::mask::MaskError;
use crate::num::schedule::ScheduleError;
use crate::ops::OpError;
use crate::tensor::TensorError;

use super::Origin;

/// Why training could not begin or go on.
#[derive(Debug, Error)]
pub enum TrainError {
    /// An operation that does not fit its operands.
    #[error(transparent)]
    Op(Box<OpError>),
    /// The engine failed.
    #[error(transparent)]
    Engine(Box<EngineError>),
    /// The data cannot be read or batched.
    #[error(transparent)]
    Data(Box<DataError>),
    /// A file cannot be read or written.
    #[error(transparent)]
    Io(Box<IoError>),
    /// A network cannot be made or filled.
    #[error(transparent)]
    Model(Box<ModelError>),
    /// Logits that cannot be judged.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// A schedule whose numbers are out of range.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// Values that do not form the tensor asked for.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A number out of range.
    #[error("{what} = {given}; allowed: {allowed}")]
    Setting {
        /// Which number.
        what: &'static str,
        /// Its value.
        given: f64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A mask that does not fit its parameter.
    #[error(transparent)]
    Mask(#[from] MaskError),
    /// A mask of a parameter that the network does not have.
    #[error("a mask for {name}, which is no parameter; the network has {names}")]
    NothingMasked {
        /// Its name.
        name: String,
        /// The network's tensors.
        names: String,
    },
    /// A mask of another shape than its parameter, or for a parameter that had none from the start.
    #[error("the mask of {name} is {found:?}, expected {expected:?}")]
    OtherMask {
        /// The parameter.
        name: String,
        /// Rows and columns of the mask.
        found: [usize; 2],
        /// Rows and columns of the parameter as a matrix; none where it has no mask.
        expected: [usize; 2],
    },
    /// A teacher's logit or feature that is infinite or NaN.
    #[error("what the teacher says of sample {row} holds {value}; it must be finite")]
    TeacherNotFinite {
        /// The sample.
        row: usize,
        /// The value.
        value: f32,
    },
    /// A hint for a network that tells of no features.
    #[error("a hint of the teacher's features, but {network} tells of none in training")]
    NoFeatures {
        /// What the network is.
        network: String,
    },
    /// Data of another kind than the network's.
    #[error("{what} {found:?}, the network has {expected:?}")]
    OtherData {
        /// What differs.
        what: &'static str,
        /// Of the data.
        found: Vec<usize>,
        /// Of the network.
        expected: Vec<usize>,
    },
    /// A file that is no checkpoint of this library.
    #[error("{}: no checkpoint: metadata `{key}` is {found}, expected {expected}", file.display())]
    NoCheckpoint {
        /// The file.
        file: PathBuf,
        /// The key of the metadata.
        key: &'static str,
        /// What is there.
        found: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// A checkpoint of training with other settings.
    #[error("{}: a checkpoint of other training: {key} was {found}, now {expected}", file.display())]
    OtherTraining {
        /// The file.
        file: PathBuf,
        /// What differs.
        key: String,
        /// In the checkpoint.
        found: String,
        /// Asked for.
        expected: String,
    },
    /// A pattern that freezes nothing.
    #[error("freeze `{pattern}`: no parameter has such a name; there are: {names}")]
    NothingFrozen {
        /// The pattern.
        pattern: String,
        /// Names of all parameters.
        names: String,
    },
    /// All parameters are frozen.
    #[error("every parameter is frozen: nothing is left to train")]
    NothingToTrain,
    /// A parameter that the network does not use.
    #[error("parameter `{name}` does not affect the output")]
    Unused {
        /// Its name.
        name: String,
    },
    /// The loss became infinite or NaN.
    #[error(
        "step {step}: the loss is {loss} (row {row} of the batch is the first); {}; the step was not taken, checkpoints written before are good; a lower learning rate or a largest norm may help", shown(origin.as_deref())
    )]
    LossNotFinite {
        /// The step, from 1.
        step: u64,
        /// Mean loss of the batch.
        loss: f64,
        /// First row whose loss is not finite.
        row: usize,
        /// Where it came from, by a second pass over the batch; `None` when that was finite.
        origin: Option<Box<Origin>>,
    },
    /// A gradient, or the sum of the squares of all, became infinite or NaN although no loss did, and losses are not
    /// scaled.
    #[error(
        "step {step}: gradients are not finite; {}; the step was not taken, checkpoints written before are good; a lower learning rate may help", shown(origin.as_deref())
    )]
    GradientNotFinite {
        /// The step, from 1.
        step: u64,
        /// Where it came from, by a second pass over the batch; `None` when that was finite.
        origin: Option<Box<Origin>>,
    },
    /// A step made a parameter infinite or NaN from finite gradients.
    #[error(
        "step {step}: the new parameters are not finite; {}; the step was taken, checkpoints written before are good; a lower learning rate or a largest norm may help", shown(origin.as_deref())
    )]
    ParameterNotFinite {
        /// The step, from 1.
        step: u64,
        /// The first of them.
        origin: Option<Box<Origin>>,
    },
    /// Parameters and training losses are finite, but a judgement on a set is not.
    #[error(
        "after step {step}: the scores of sample {row} are not finite; {}; a lower learning rate or a largest norm may help", shown(origin.as_deref())
    )]
    ScoreNotFinite {
        /// Steps taken.
        step: u64,
        /// The sample, from 0.
        row: usize,
        /// Where it came from, by a second pass over its batch.
        origin: Option<Box<Origin>>,
    },
    /// A state of training that could not be read again.
    #[error(
        "{}: not written, and as it was: tensor `{tensor}`, element {index}, is {value}; only finite states of training are kept", file.display()
    )]
    NotKept {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its first element that is infinite or NaN.
        index: usize,
        /// Its value.
        value: f32,
    },
}

/// The origin in a sentence.
fn shown(origin: Option<&Origin>) -> String {
    origin.map_or_else(
        || "a second pass over the batch found nothing that is not finite".to_owned(),
        |origin| format!("first not finite: {origin}"),
    )
}

impl From<OpError> for TrainError {
    fn from(error: OpError) -> Self {
        Self::Op(Box::new(error))
    }
}

impl From<EngineError> for TrainError {
    fn from(error: EngineError) -> Self {
        Self::Engine(Box::new(error))
    }
}

impl From<DataError> for TrainError {
    fn from(error: DataError) -> Self {
        Self::Data(Box::new(error))
    }
}

impl From<IoError> for TrainError {
    fn from(error: IoError) -> Self {
        Self::Io(Box::new(error))
    }
}

impl From<ModelError> for TrainError {
    fn from(error: ModelError) -> Self {
        Self::Model(Box::new(error))
    }
}
