//! A rate that falls when a metric stops improving: PyTorch's `ReduceLROnPlateau`. Keras's callback of
//! that name waits one evaluation less and compares absolutely.

use super::ScheduleError;

/// Which metrics are better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Better {
    /// A loss.
    #[default]
    Lower,
    /// An accuracy.
    Higher,
}

/// By how much a metric must be better to count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// A share of the best so far.
    Relative(f64),
    /// A difference.
    Absolute(f64),
}

/// When the rate falls, and by how much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlateauRule {
    /// Which metrics are better.
    pub better: Better,
    /// By how much.
    pub threshold: Threshold,
    /// Factor of the rate, between 0 and 1.
    pub factor: f64,
    /// Evaluations without improvement that are borne: the one after them lets the rate fall.
    pub patience: u64,
    /// Evaluations after a fall in which nothing counts.
    pub cooldown: u64,
    /// The lowest rate.
    pub minimum: f64,
    /// Falls of at most this are not worth it.
    pub smallest_change: f64,
}

impl Default for PlateauRule {
    /// PyTorch's defaults.
    fn default() -> Self {
        Self {
            better: Better::Lower,
            threshold: Threshold::Relative(1e-4),
            factor: 0.1,
            patience: 10,
            cooldown: 0,
            minimum: 0.0,
            smallest_change: 1e-8,
        }
    }
}

/// A rate and the metrics it has seen; plain numbers, so that a checkpoint can keep them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plateau {
    /// When the rate falls.
    pub rule: PlateauRule,
    /// The rate now.
    pub rate: f64,
    /// The best metric so far; infinite before the first.
    pub best: f64,
    /// Evaluations since then, or since the rate fell.
    pub bad: u64,
    /// Evaluations left in which nothing counts.
    pub cooling: u64,
}

impl Plateau {
    /// Begins with `rate`.
    ///
    /// # Errors
    /// [`ScheduleError::OutOfRange`] for a factor that is not between 0 and 1, and a threshold or a
    /// minimum below 0.
    pub fn new(rule: PlateauRule, rate: f64) -> Result<Self, ScheduleError> {
        let out = |what, value, allowed| {
            Err(ScheduleError::OutOfRange {
                what,
                value,
                allowed,
            })
        };
        if !(rule.factor > 0.0 && rule.factor < 1.0) {
            return out("factor", rule.factor, "over 0 and below 1");
        }
        let (Threshold::Relative(threshold) | Threshold::Absolute(threshold)) = rule.threshold;
        for (what, value) in [
            ("threshold", threshold),
            ("minimum", rule.minimum),
            ("the smallest change", rule.smallest_change),
            ("rate", rate),
        ] {
            if !(value >= 0.0 && value.is_finite()) {
                return out(what, value, "0 or more, finite");
            }
        }
        let best = match rule.better {
            Better::Lower => f64::INFINITY,
            Better::Higher => f64::NEG_INFINITY,
        };
        Ok(Self {
            rule,
            rate,
            best,
            bad: 0,
            cooling: 0,
        })
    }

    /// Takes a metric and gives the rate from here on. NaN is no improvement.
    pub fn observe(&mut self, metric: f64) -> f64 {
        if self.improves(metric) {
            self.best = metric;
            self.bad = 0;
        } else {
            self.bad += 1;
        }
        if self.cooling > 0 {
            self.cooling -= 1;
            self.bad = 0;
        }
        if self.bad > self.rule.patience {
            let lower = (self.rate * self.rule.factor).max(self.rule.minimum);
            if self.rate - lower > self.rule.smallest_change {
                self.rate = lower;
            }
            self.cooling = self.rule.cooldown;
            self.bad = 0;
        }
        self.rate
    }

    fn improves(&self, metric: f64) -> bool {
        match (self.rule.better, self.rule.threshold) {
            (Better::Lower, Threshold::Relative(share)) => metric < self.best * (1.0 - share),
            (Better::Lower, Threshold::Absolute(by)) => metric < self.best - by,
            (Better::Higher, Threshold::Relative(share)) => metric > self.best * (1.0 + share),
            (Better::Higher, Threshold::Absolute(by)) => metric > self.best + by,
        }
    }
}
