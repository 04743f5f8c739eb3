//! The rate at a time, from the base rate alone.

use std::f64::consts::PI;

use super::ScheduleError;

/// Which side of a boundary the boundary itself is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Boundary {
    /// The next value begins at the boundary: milestones of PyTorch.
    #[default]
    Begins,
    /// The value before it still holds at the boundary: Keras's `PiecewiseConstantDecay`.
    Ends,
}

/// What follows the last step of a cosine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AfterEnd {
    /// The cosine goes on, so the rate rises again: PyTorch's `CosineAnnealingLR`.
    #[default]
    Rise,
    /// The rate stays at its minimum: Keras's `CosineDecay`.
    Hold,
}

/// The way from one rate to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anneal {
    /// Half a cosine.
    #[default]
    Cosine,
    /// A line.
    Linear,
}

/// A learning rate as a function of time. `base` is the optimizer's own rate, `t` the time from 0.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// `base`
    Constant,
    /// `base gamma^floor(t / every)`
    Step {
        /// Time between two steps down.
        every: u64,
        /// Factor of each; PyTorch's default is 0.1.
        gamma: f64,
    },
    /// `base gamma^(milestones that t has reached)`
    MultiStep {
        /// In ascending order.
        milestones: Vec<u64>,
        /// Factor of each; PyTorch's default is 0.1.
        gamma: f64,
    },
    /// `base gamma^(t / over)`; PyTorch has `over` 1, Keras calls it `decay_steps`.
    Exponential {
        /// Factor over `over`.
        gamma: f64,
        /// Time in which the rate falls by `gamma`.
        over: u64,
    },
    /// One value for each interval, whatever the base.
    Piecewise {
        /// In ascending order.
        boundaries: Vec<u64>,
        /// One more than boundaries.
        values: Vec<f64>,
        /// Which side a boundary is on.
        at: Boundary,
    },
    /// `(base - end) (1 - min(t, total) / total)^power + end`
    Polynomial {
        /// Time until the end.
        total: u64,
        /// 1 is a line.
        power: f64,
        /// The rate from the end on: 0 in PyTorch.
        end: f64,
    },
    /// `minimum + (base - minimum) (1 + cos(pi t / total)) / 2`
    Cosine {
        /// Time until the minimum: half a period.
        total: u64,
        /// The lowest rate.
        minimum: f64,
        /// What follows.
        then: AfterEnd,
    },
    /// `base` times a factor that goes from `start` to `end` in `total`, and stays: `LinearLR`.
    Linear {
        /// Factor at 0; PyTorch's default is 1/3.
        start: f64,
        /// Factor from `total` on; PyTorch's default is 1.
        end: f64,
        /// Time in between; PyTorch's default is 5.
        total: u64,
    },
    /// From 0 up to `base` in `warm_up`, then down to 0 at `total`: the linear schedule with warm-up of
    /// `transformers`. The rate at time 0 is 0 when there is a warm-up.
    WarmUpLinear {
        /// Time of the way up.
        warm_up: u64,
        /// Time of the way up and down.
        total: u64,
    },
    /// A linear warm-up, then another schedule from its own time 0: `SequentialLR` of a `LinearLR`.
    WarmUp {
        /// Time of the way up.
        warm_up: u64,
        /// Factor at 0.
        start: f64,
        /// What follows.
        then: Box<Self>,
    },
    /// From `base / initial_divisor` up to `base`, then down to that over `final_divisor`: `OneCycleLR`
    /// with two phases, where `base` is its `max_lr`. Its momentum cycle is not part of it.
    OneCycle {
        /// Steps of the whole cycle.
        total: u64,
        /// Share of the way up; PyTorch's default is 0.3.
        rise: f64,
        /// PyTorch's default is 25.
        initial_divisor: f64,
        /// PyTorch's default is 10,000.
        final_divisor: f64,
        /// The way from one rate to another.
        anneal: Anneal,
    },
}

impl Schedule {
    /// `OneCycleLR` with PyTorch's defaults.
    pub const fn one_cycle(total: u64) -> Self {
        Self::OneCycle {
            total,
            rise: 0.3,
            initial_divisor: 25.0,
            final_divisor: 1e4,
            anneal: Anneal::Cosine,
        }
    }

    /// The rate at time `t`.
    pub fn rate(&self, base: f64, t: u64) -> f64 {
        match self {
            Self::Constant => base,
            Self::Step { every, gamma } => base * power_of(*gamma, t / every),
            Self::MultiStep { milestones, gamma } => {
                base * power_of(*gamma, passed(milestones, t, Boundary::Begins) as u64)
            }
            Self::Exponential { gamma, over } => base * gamma.powf(t as f64 / *over as f64),
            Self::Piecewise {
                boundaries,
                values,
                at,
            } => values[passed(boundaries, t, *at)],
            Self::Polynomial { total, power, end } => {
                let left = 1.0 - t.min(*total) as f64 / *total as f64;
                (base - end) * left.powf(*power) + end
            }
            Self::Cosine {
                total,
                minimum,
                then,
            } => {
                let t = match then {
                    AfterEnd::Rise => t,
                    AfterEnd::Hold => t.min(*total),
                };
                let share = t as f64 / *total as f64;
                minimum + (base - minimum) * (1.0 + (PI * share).cos()) / 2.0
            }
            Self::Linear { start, end, total } => base * line(*start, *end, share(t, *total)),
            Self::WarmUpLinear { warm_up, total } => {
                if t < *warm_up {
                    base * t as f64 / *warm_up as f64
                } else {
                    base * total.saturating_sub(t) as f64 / (total - warm_up) as f64
                }
            }
            Self::WarmUp {
                warm_up,
                start,
                then,
            } => match t.checked_sub(*warm_up) {
                Some(after) => then.rate(base, after),
                None => base * line(*start, 1.0, share(t, *warm_up)),
            },
            Self::OneCycle {
                total,
                rise,
                initial_divisor,
                final_divisor,
                anneal,
            } => {
                let first = base / initial_divisor;
                let last = first / final_divisor;
                let (peak, end) = (rise * *total as f64 - 1.0, *total as f64 - 1.0);
                let t = (t as f64).min(end);
                if t <= peak {
                    anneal.between(first, base, t / peak)
                } else {
                    anneal.between(base, last, (t - peak) / (end - peak))
                }
            }
        }
    }
}

impl Anneal {
    fn between(self, start: f64, end: f64, share: f64) -> f64 {
        match self {
            Self::Cosine => end + (start - end) / 2.0 * (1.0 + (PI * share).cos()),
            Self::Linear => line(start, end, share),
        }
    }
}

fn line(start: f64, end: f64, share: f64) -> f64 {
    start + (end - start) * share
}

fn share(t: u64, total: u64) -> f64 {
    t.min(total) as f64 / total as f64
}

fn power_of(gamma: f64, count: u64) -> f64 {
    gamma.powf(count as f64)
}

/// Boundaries that lie behind `t`.
fn passed(boundaries: &[u64], t: u64, at: Boundary) -> usize {
    boundaries
        .iter()
        .filter(|&&boundary| match at {
            Boundary::Begins => t >= boundary,
            Boundary::Ends => t > boundary,
        })
        .count()
}

/// What time a schedule counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Optimizer steps.
    Steps,
    /// Epochs of so many steps; the rate stays within one.
    Epochs {
        /// At least 1.
        steps_per_epoch: u64,
    },
}

impl Clock {
    /// The schedule's time of a step, from 0.
    ///
    /// # Errors
    /// [`ScheduleError::Zero`] for epochs without steps.
    pub fn time(self, step: u64) -> Result<u64, ScheduleError> {
        match self {
            Self::Steps => Ok(step),
            Self::Epochs { steps_per_epoch } => {
                step.checked_div(steps_per_epoch)
                    .ok_or(ScheduleError::Zero {
                        what: "steps of an epoch",
                    })
            }
        }
    }
}
