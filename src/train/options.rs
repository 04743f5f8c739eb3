//! How a network is trained.

use crate::num::optim::Optimizer;
use crate::num::schedule::{Clock, Schedule};

use crate::models::{Role, TensorSpec, matches};

use super::TrainError;

/// Settings of a [`Trainer`](super::Trainer).
#[derive(Debug, Clone, PartialEq)]
pub struct TrainOptions {
    /// The optimizer.
    pub optimizer: Optimizer,
    /// Its learning rate, before the schedule.
    pub learning_rate: f64,
    /// The learning rate over time.
    pub schedule: Schedule,
    /// Whether that time is counted in steps or epochs.
    pub clock: Clock,
    /// Weight spread evenly over all classes, in [0, 1].
    pub label_smoothing: f32,
    /// Largest norm of all gradients together; they are scaled down to it.
    pub max_norm: Option<f32>,
    /// Samples of a step.
    pub batch_size: usize,
    /// Steps of an epoch, which a checkpoint needs to resume in the middle of one.
    pub steps_per_epoch: u64,
    /// Seed of the first values, the order of samples and their changes.
    pub seed: u64,
    /// Names of parameters that are not trained, and of running statistics that do not move: batch
    /// normalization uses these in training too. `*` stands for any characters.
    pub freeze: Vec<String>,
    /// Samples of one pass of evaluation.
    pub evaluation_batch: usize,
}

impl TrainOptions {
    /// Batches of 128, the optimizer's default rate, which stays; nothing smoothed, clipped or frozen.
    pub const fn new(optimizer: Optimizer) -> Self {
        Self {
            optimizer,
            learning_rate: optimizer.default_learning_rate(),
            schedule: Schedule::Constant,
            clock: Clock::Steps,
            label_smoothing: 0.0,
            max_norm: None,
            batch_size: 128,
            steps_per_epoch: 1,
            seed: 0,
            freeze: Vec::new(),
            evaluation_batch: 256,
        }
    }

    /// Refuses numbers that are out of range; the optimizer and the loss check their own.
    pub(super) fn check(&self) -> Result<(), TrainError> {
        let refuse = |what, given, allowed| {
            Err(TrainError::Setting {
                what,
                given,
                allowed,
            })
        };
        self.schedule.check()?;
        self.clock.time(0)?;
        if !(self.learning_rate.is_finite() && self.learning_rate >= 0.0) {
            return refuse("learning rate", self.learning_rate, "finite, 0 or more");
        }
        for (what, value) in [
            ("batch size", self.batch_size as u64),
            ("steps of an epoch", self.steps_per_epoch),
            (
                "samples of one pass of evaluation",
                self.evaluation_batch as u64,
            ),
        ] {
            if value == 0 {
                return refuse(what, 0.0, "at least 1");
            }
        }
        Ok(())
    }

    /// For each of a network's tensors whether it is frozen.
    pub(super) fn frozen(&self, tensors: &[TensorSpec]) -> Result<Vec<bool>, TrainError> {
        let unused = |pattern: &&String| !tensors.iter().any(|one| matches(pattern, &one.name));
        if let Some(pattern) = self.freeze.iter().find(unused) {
            let names: Vec<&str> = tensors.iter().map(|one| one.name.as_str()).collect();
            return Err(TrainError::NothingFrozen {
                pattern: pattern.clone(),
                names: names.join(", "),
            });
        }
        let is_frozen = |one: &TensorSpec| self.freeze.iter().any(|p| matches(p, &one.name));
        let frozen: Vec<bool> = tensors.iter().map(is_frozen).collect();
        let mut pairs = tensors.iter().zip(&frozen);
        if pairs.all(|(one, &frozen)| frozen || one.role == Role::Statistics) {
            return Err(TrainError::NothingToTrain);
        }
        Ok(frozen)
    }
}
