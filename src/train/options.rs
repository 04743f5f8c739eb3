//! How a network is trained.

use std::collections::BTreeMap;

use crate::kernels::FloatType;
use crate::num::optim::Optimizer;
use crate::num::schedule::{Clock, PlateauRule, Schedule};

use crate::models::{Role, TensorSpec, matches};
use crate::ops::optim::{DynamicScale, FIRST_SCALE};

use super::{EarlyStopping, TrainError};

/// The loss scale of training in f16.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossScale {
    /// What it begins with: 65536 by default.
    pub first: f32,
    /// How it changes.
    pub rule: DynamicScale,
}

impl Default for LossScale {
    fn default() -> Self {
        Self {
            first: FIRST_SCALE,
            rule: DynamicScale::default(),
        }
    }
}

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
    /// When the learning rate falls because the test loss of epochs does not; the schedule then acts on the lower rate.
    pub plateau: Option<PlateauRule>,
    /// When training ends before its last epoch.
    pub early_stopping: Option<EarlyStopping>,
    /// Largest norm of all gradients together; they are scaled down to it.
    pub max_norm: Option<f32>,
    /// Largest magnitude of an element of a gradient, after the norm was clipped.
    pub max_value: Option<f32>,
    /// How results of operations and the gradients of these are stored. Parameters, their gradients and the
    /// optimizer's state are f32 always, and so are sums; below f32, products read 16-bit copies of weights.
    pub precision: FloatType,
    /// The loss scale when the precision is f16; the others have the range of f32 and need none.
    pub loss_scale: LossScale,
    /// Samples of a step.
    pub batch_size: usize,
    /// Equal parts in which a step takes its samples through the network, one after the other; their gradients are
    /// added. More parts need less memory.
    pub micro_batches: usize,
    /// Steps of an epoch, which a checkpoint needs to resume in the middle of one.
    pub steps_per_epoch: u64,
    /// Seed of the first values, the order of samples and their changes.
    pub seed: u64,
    /// Names of parameters that are not trained, and of running statistics that do not move: batch
    /// normalization uses these in training too. `*` stands for any characters.
    pub freeze: Vec<String>,
    /// Samples of one pass of evaluation.
    pub evaluation_batch: usize,
    /// What else a checkpoint is of, by name: a hash of the data, say. It goes on only where these are the same.
    pub same: BTreeMap<String, String>,
}

impl TrainOptions {
    /// Batches of 128 at once in f32, the optimizer's default rate, which stays; nothing smoothed, clipped or frozen.
    pub fn new(optimizer: Optimizer) -> Self {
        Self {
            optimizer,
            learning_rate: optimizer.default_learning_rate(),
            schedule: Schedule::Constant,
            clock: Clock::Steps,
            label_smoothing: 0.0,
            plateau: None,
            early_stopping: None,
            max_norm: None,
            max_value: None,
            precision: FloatType::F32,
            loss_scale: LossScale::default(),
            batch_size: 128,
            micro_batches: 1,
            steps_per_epoch: 1,
            seed: 0,
            freeze: Vec::new(),
            evaluation_batch: 256,
            same: BTreeMap::new(),
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
        let is_f32 = (self.learning_rate as f32).is_finite();
        if !(is_f32 && self.learning_rate >= 0.0) {
            let allowed = "0 or more, and finite as f32";
            return refuse("learning rate", self.learning_rate, allowed);
        }
        for (what, value) in [
            ("batch size", self.batch_size as u64),
            ("steps of an epoch", self.steps_per_epoch),
            ("micro-batches of a step", self.micro_batches as u64),
            (
                "samples of one pass of evaluation",
                self.evaluation_batch as u64,
            ),
        ] {
            if value == 0 {
                return refuse(what, 0.0, "at least 1");
            }
        }
        if !self.batch_size.is_multiple_of(self.micro_batches) {
            let given = self.micro_batches as f64;
            return refuse(
                "micro-batches of a step",
                given,
                "divisors of the batch size",
            );
        }
        if let Some(rule) = self.early_stopping {
            if rule.patience == 0 {
                return refuse("patience", 0.0, "at least 1");
            }
            if !(rule.min_delta.is_finite() && rule.min_delta >= 0.0) {
                return refuse("least improvement", rule.min_delta, "finite, 0 or more");
            }
        }
        let first = self.loss_scale.first;
        if !(first.is_normal() && first > 0.0) {
            let allowed = "over 0, finite and no subnormal";
            return refuse("first loss scale", first.into(), allowed);
        }
        Ok(())
    }

    /// Whether losses are scaled.
    pub(super) fn is_scaled(&self) -> bool {
        self.precision == FloatType::F16
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
