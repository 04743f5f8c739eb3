//! How a network is trained.

use crate::num::optim::Optimizer;
use crate::num::schedule::{Clock, Schedule};

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
    /// Names of parameters that are not trained; `*` stands for any characters.
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

    /// For each name whether it is frozen.
    pub(super) fn frozen(&self, names: &[&str]) -> Result<Vec<bool>, TrainError> {
        let unused = |pattern: &&String| !names.iter().any(|name| matches(pattern, name));
        if let Some(pattern) = self.freeze.iter().find(unused) {
            return Err(TrainError::NothingFrozen {
                pattern: pattern.clone(),
                names: names.join(", "),
            });
        }
        let is_frozen = |name: &&str| self.freeze.iter().any(|pattern| matches(pattern, name));
        let frozen: Vec<bool> = names.iter().map(is_frozen).collect();
        if frozen.iter().all(|&frozen| frozen) {
            return Err(TrainError::NothingToTrain);
        }
        Ok(frozen)
    }
}

/// Whether a name fits a pattern in which `*` stands for any characters, none too.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    // What lies between stars is taken as early as possible, which leaves most for the rest.
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_stars_anywhere() {
        for (pattern, name, fits) in [
            ("1.weight", "1.weight", true),
            ("1.weight", "1.weights", false),
            ("1.*", "1.weight", true),
            ("1.*", "11.weight", false),
            ("*.bias", "3.bias", true),
            ("*", "anything", true),
            ("a*a", "a", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
