//! The losses: terms whose sum is the loss of a row, and the slope of each element.

use std::fmt;

use crate::kernels::functions::{log1p, logistic, shrunk};
use crate::kernels::running::Running;
use crate::kernels::shape::ShapeError;
use crate::kernels::softmax::RowShares;

/// What a row loses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// Cross-entropy with one class a row, u32 `[rows]`.
    Labels {
        /// Weight spread evenly over all classes, in [0, 1].
        smoothing: f32,
    },
    /// Cross-entropy with a weight for each class, `[rows, columns]`.
    SoftTargets {
        /// Weight spread evenly over all classes, in [0, 1].
        smoothing: f32,
    },
    /// `T^2` times the divergence from a teacher's distribution, whose logits are `[rows, columns]`.
    Distillation {
        /// What both logits are divided by; positive.
        temperature: f32,
    },
    /// Sum of squared differences from targets `[rows, columns]`.
    Squares,
    /// Sum of binary cross-entropies of `logistic(x)` with targets in [0, 1], `[rows, columns]`.
    BceLogits,
    /// Half the squared distance from targets `[rows, columns]`, both rows brought to length 1: `1 - cosine`. A
    /// row shorter than 1e-12 is zero, which has no gradient.
    Cosine,
}

/// Terms of a row's loss and the slope of each of its elements.
pub(super) struct RowLossTerms {
    pub terms: Vec<Running>,
    pub slopes: Vec<Running>,
}

impl Loss {
    /// All of them, with usual settings.
    pub const ALL: [Self; 6] = [
        Self::Labels { smoothing: 0.0 },
        Self::SoftTargets { smoothing: 0.0 },
        Self::Distillation { temperature: 4.0 },
        Self::Squares,
        Self::BceLogits,
        Self::Cosine,
    ];

    /// Name in slots and printed shapes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Labels { .. } => "labels",
            Self::SoftTargets { .. } => "soft_targets",
            Self::Distillation { .. } => "distillation",
            Self::Squares => "squares",
            Self::BceLogits => "bce_logits",
            Self::Cosine => "cosine",
        }
    }

    /// Whether targets are u32 labels, one a row.
    pub const fn has_labels(self) -> bool {
        matches!(self, Self::Labels { .. })
    }

    pub(super) const fn setting(self) -> f32 {
        match self {
            Self::Labels { smoothing } | Self::SoftTargets { smoothing } => smoothing,
            Self::Distillation { temperature } => temperature,
            Self::Squares | Self::BceLogits | Self::Cosine => 0.0,
        }
    }

    pub(super) fn check(self, kernel: &'static str) -> Result<(), ShapeError> {
        let (name, allowed, good) = match self {
            Self::Labels { smoothing } | Self::SoftTargets { smoothing } => (
                "label smoothing",
                "0 to 1",
                (0.0..=1.0).contains(&smoothing),
            ),
            Self::Distillation { temperature } => (
                "temperature",
                "positive numbers",
                temperature > 0.0 && temperature.is_finite(),
            ),
            Self::Squares | Self::BceLogits | Self::Cosine => return Ok(()),
        };
        if good {
            return Ok(());
        }
        Err(ShapeError::Unsupported {
            kernel,
            name,
            value: self.setting().to_string(),
            allowed,
        })
    }

    /// A row with one class.
    pub(super) fn of_label(self, x: &[Running], label: usize) -> RowLossTerms {
        let smoothing = Running::loaded(self.setting());
        let rest = Running::exact(1.0) - smoothing;
        let even = smoothing / Running::exact(x.len() as f64);
        let weight = |column| {
            let own = if column == label {
                rest
            } else {
                Running::exact(0.0)
            };
            even + own
        };
        let weights: Vec<Running> = (0..x.len()).map(weight).collect();
        let whole = if label < x.len() {
            Running::exact(1.0)
        } else {
            smoothing
        };
        cross_entropy(x, &weights, whole)
    }

    /// A row with a target for each element.
    pub(super) fn of_targets(self, x: &[Running], target: &[Running]) -> RowLossTerms {
        match self {
            Self::Labels { .. } | Self::SoftTargets { .. } => {
                let smoothing = Running::loaded(self.setting());
                let rest = Running::exact(1.0) - smoothing;
                let even = smoothing / Running::exact(x.len() as f64);
                let weights = target.iter().map(|&target| rest * target + even);
                let weights: Vec<Running> = weights.collect();
                let whole = Running::sum(weights.iter().copied());
                cross_entropy(x, &weights, whole)
            }
            Self::Distillation { temperature } => {
                distillation(x, target, Running::loaded(temperature))
            }
            Self::Squares => {
                let away: Vec<Running> = x.iter().zip(target).map(|(&x, &t)| x - t).collect();
                RowLossTerms {
                    terms: away.iter().map(|&away| away * away).collect(),
                    slopes: away
                        .iter()
                        .map(|&away| Running::exact(2.0) * away)
                        .collect(),
                }
            }
            Self::BceLogits => {
                let both = || x.iter().zip(target);
                let zero = Running::exact(0.0);
                let term =
                    |(&x, &t): (&Running, &Running)| (x.max(zero) - x * t) + log1p(shrunk(x));
                RowLossTerms {
                    terms: both().map(term).collect(),
                    slopes: both().map(|(&x, &t)| logistic(x) - t).collect(),
                }
            }
            Self::Cosine => cosine(x, target),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Labels { smoothing } | Self::SoftTargets { smoothing } => {
                write!(f, " smoothing={smoothing}")
            }
            Self::Distillation { temperature } => write!(f, " temperature={temperature}"),
            Self::Squares | Self::BceLogits | Self::Cosine => Ok(()),
        }
    }
}

fn cross_entropy(x: &[Running], weights: &[Running], whole: Running) -> RowLossTerms {
    let row = RowShares::new(x);
    let log_sum = row.sum.ln();
    let term = |(&below, &weight): (&Running, &Running)| weight * (log_sum - below);
    let terms = row.below.iter().zip(weights).map(term).collect();
    let shares = row.shares();
    let slope = |(&share, &weight): (&Running, &Running)| share * whole - weight;
    RowLossTerms {
        terms,
        slopes: shares.iter().zip(weights).map(slope).collect(),
    }
}

fn distillation(x: &[Running], teacher: &[Running], temperature: Running) -> RowLossTerms {
    let tempered = |row: &[Running]| {
        let row: Vec<Running> = row.iter().map(|&one| one / temperature).collect();
        RowShares::new(&row)
    };
    let (x, teacher) = (tempered(x), tempered(teacher));
    let shares: Vec<(Running, Running)> = x.shares().into_iter().zip(teacher.shares()).collect();
    let logs = x.logarithms().into_iter().zip(teacher.logarithms());
    let square = temperature * temperature;
    let term = |(&(_, wanted), (log, log_wanted)): (&(Running, Running), (Running, Running))| {
        square * wanted * (log_wanted - log)
    };
    RowLossTerms {
        terms: shares.iter().zip(logs).map(term).collect(),
        slopes: shares
            .iter()
            .map(|&(share, wanted)| temperature * (share - wanted))
            .collect(),
    }
}

/// 1 / length of a row, 0 for one shorter than 1e-12.
fn inverse_length(row: &[Running]) -> Running {
    const SHORTEST: f64 = 1e-24;
    let squares = Running::sum(row.iter().map(|&one| one * one));
    if squares.value < SHORTEST {
        return Running::exact(0.0);
    }
    squares.max(Running::exact(SHORTEST)).inverse_sqrt()
}

fn cosine(x: &[Running], target: &[Running]) -> RowLossTerms {
    let (scale, target_scale) = (inverse_length(x), inverse_length(target));
    let units: Vec<(Running, Running)> = x
        .iter()
        .zip(target)
        .map(|(&x, &t)| (x * scale, t * target_scale))
        .collect();
    let along = Running::sum(units.iter().map(|&(x, t)| x * (x - t)));
    let half = Running::exact(0.5);
    RowLossTerms {
        terms: units
            .iter()
            .map(|&(x, t)| half * (x - t) * (x - t))
            .collect(),
        slopes: units
            .iter()
            .map(|&(x, t)| scale * ((x - t) - x * along))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(loss: Loss, x: &[f64], target: &[Running]) -> f64 {
        let x: Vec<Running> = x.iter().copied().map(Running::exact).collect();
        let terms = if loss.has_labels() {
            loss.of_label(&x, 2).terms
        } else {
            loss.of_targets(&x, target).terms
        };
        Running::sum(terms).value
    }

    #[test]
    fn slopes_are_the_differences_of_the_losses() {
        let x = [0.5, -1.25, 2.0, 0.125];
        let target = [0.25, 0.5, 0.125, 0.0].map(Running::exact);
        let settings = [
            Loss::Labels { smoothing: 0.125 },
            Loss::SoftTargets { smoothing: 0.25 },
        ];
        for loss in Loss::ALL.into_iter().chain(settings) {
            let exact: Vec<Running> = x.into_iter().map(Running::exact).collect();
            let slopes = if loss.has_labels() {
                loss.of_label(&exact, 2).slopes
            } else {
                loss.of_targets(&exact, &target).slopes
            };
            for (index, slope) in slopes.iter().enumerate() {
                let (mut above, mut below, h) = (x, x, 1e-5);
                above[index] += h;
                below[index] -= h;
                let difference =
                    (total(loss, &above, &target) - total(loss, &below, &target)) / (2.0 * h);
                assert!(
                    (slope.value - difference).abs() < 1e-8,
                    "{loss} [{index}]: {slope:?}, {difference}"
                );
            }
        }
    }

    #[test]
    fn equal_logits_have_no_divergence() {
        let x = [0.5, -1.25, 2.0].map(Running::exact);
        let loss = Loss::Distillation { temperature: 3.0 };
        let row = loss.of_targets(&x, &x);
        assert_eq!(Running::sum(row.terms).value, 0.0);
        assert!(row.slopes.iter().all(|slope| slope.value == 0.0));
    }
}
