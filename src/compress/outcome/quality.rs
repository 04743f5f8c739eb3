//! How well a network classifies, with intervals, and how often it agrees with the one it came from.

use serde::Serialize;

use crate::eval::{Average, Confusion, EvalError, auc_one_vs_rest, cross_entropy, predictions};
use crate::num::Philox;

/// Resamples of a bootstrap interval.
const RESAMPLES: u64 = 200;

/// Of a bootstrap interval.
const SEED: u64 = 0x6c61_7069_6461_7279;

/// The standard normal quantile of 0.975.
const Z: f64 = 1.959_963_984_540_054;

/// A value and the interval that holds the true one in 95 of 100 cases.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// As measured.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// How well a network classifies a set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Quality {
    /// Samples judged.
    pub samples: usize,
    /// Share of samples whose class has the highest logit, with Wilson's interval.
    pub accuracy: Interval,
    /// Mean of the classes' F1, with a percentile bootstrap interval; `None` where a class has no samples.
    pub f1: Option<Interval>,
    /// Mean of the classes' areas under the curve, one against the rest, with a percentile bootstrap interval;
    /// `None` where a class has no samples.
    pub auc: Option<Interval>,
    /// Mean cross-entropy in nats.
    pub loss: f64,
    /// Share of samples that get the class that the baseline gives them; `None` for the baseline.
    pub agreement: Option<f64>,
    /// Counts by label, then by prediction.
    pub confusion: Vec<Vec<u64>>,
}

impl Quality {
    /// Judges logits `[samples, n_classes]`, and counts how often they agree with those of a baseline.
    ///
    /// # Errors
    /// [`EvalError`] for labels that are no class, logits that are not finite, and counts that do not fit.
    pub fn of(
        logits: &[f32],
        labels: &[u32],
        n_classes: usize,
        baseline: Option<&[f32]>,
    ) -> Result<Self, EvalError> {
        let loss = cross_entropy(logits, labels, n_classes)?;
        let predicted = predictions(logits, n_classes)?;
        let confusion = Confusion::new(labels, &predicted, n_classes)?;
        let agreement = match baseline {
            None => None,
            Some(baseline) => {
                let expected = predictions(baseline, n_classes)?;
                let agrees = Confusion::new(&expected, &predicted, n_classes)?;
                Some(agrees.accuracy())
            }
        };
        let f1 = |rows: &[usize]| {
            let labels: Vec<u32> = rows.iter().map(|&row| labels[row]).collect();
            let predicted: Vec<u32> = rows.iter().map(|&row| predicted[row]).collect();
            let counts = Confusion::new(&labels, &predicted, n_classes)?;
            defined(counts.average(Average::Macro).map(|average| average.f1))
        };
        let auc = |rows: &[usize]| {
            let labels: Vec<u32> = rows.iter().map(|&row| labels[row]).collect();
            let rows = rows
                .iter()
                .flat_map(|&row| &logits[row * n_classes..][..n_classes]);
            let logits: Vec<f32> = rows.copied().collect();
            defined(auc_one_vs_rest(&logits, &labels, n_classes).map(|areas| areas.macro_mean))
        };
        let samples = labels.len();
        Ok(Self {
            samples,
            accuracy: wilson(confusion.accuracy(), samples),
            f1: bootstrap(samples, &f1)?,
            auc: bootstrap(samples, &auc)?,
            loss,
            agreement,
            confusion: (0..n_classes)
                .map(|label| confusion.row(label).to_vec())
                .collect(),
        })
    }
}

/// A mean over classes, or that there is none because a class has no samples.
fn defined(mean: Result<f64, EvalError>) -> Result<Option<f64>, EvalError> {
    match mean {
        Ok(mean) => Ok(Some(mean)),
        Err(EvalError::EmptyClass { .. } | EvalError::OneSided { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Wilson's score interval of a share (Wilson 1927).
pub fn wilson(share: f64, samples: usize) -> Interval {
    let n = samples.max(1) as f64;
    let centre = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let spread = (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let half = Z / (1.0 + Z * Z / n) * spread;
    Interval {
        value: share,
        low: (centre - half).clamp(0.0, share),
        high: (centre + half).clamp(share, 1.0),
    }
}

/// A statistic of some rows; `None` where it is not defined.
type Statistic<'a> = &'a dyn Fn(&[usize]) -> Result<Option<f64>, EvalError>;

/// Percentile bootstrap (Efron 1979) of a statistic of rows; `None` where the statistic of all rows is not
/// defined. Resamples where it is not are left out.
fn bootstrap(samples: usize, statistic: Statistic<'_>) -> Result<Option<Interval>, EvalError> {
    let all: Vec<usize> = (0..samples).collect();
    let Some(value) = statistic(&all)? else {
        return Ok(None);
    };
    let bound = u32::try_from(samples).unwrap_or(u32::MAX);
    let mut seen = Vec::new();
    for resample in 0..RESAMPLES {
        let mut random = Philox::new(SEED).stream(resample);
        let rows: Vec<usize> = (0..samples).map(|_| random.below(bound) as usize).collect();
        seen.extend(statistic(&rows)?);
    }
    seen.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| {
        let index = (share * (seen.len().max(1) - 1) as f64).round() as usize;
        seen.get(index).copied().unwrap_or(value)
    };
    Ok(Some(Interval {
        value,
        low: at(0.025).min(value),
        high: at(0.975).max(value),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilsons_interval_is_that_of_the_textbook() {
        // 45 of 50: (0.7864, 0.9565), Agresti and Coull 1998 give the formula.
        let interval = wilson(0.9, 50);
        assert!((interval.low - 0.786_4).abs() < 1e-4, "{interval:?}");
        assert!((interval.high - 0.956_5).abs() < 1e-4, "{interval:?}");
        assert_eq!(wilson(1.0, 10).high, 1.0);
        assert_eq!(wilson(0.0, 10).low, 0.0);
    }

    #[test]
    fn a_network_agrees_with_itself_and_its_confusion_counts_every_sample() {
        let logits = [2.0, 1.0, 0.0, 3.0, 1.0, 0.5, 0.0, 1.0];
        let labels = [0, 1, 1, 1];
        let quality = Quality::of(&logits, &labels, 2, Some(&logits)).unwrap();
        assert_eq!(quality.accuracy.value, 0.75);
        assert_eq!(quality.agreement, Some(1.0));
        assert_eq!(quality.confusion, [[1, 0], [1, 2]]);
        let auc = quality.auc.unwrap();
        assert!(auc.low <= auc.value && auc.value <= auc.high);
        let again = Quality::of(&logits, &labels, 2, None).unwrap();
        assert_eq!(again.f1, quality.f1, "the same resamples");
    }

    #[test]
    fn a_class_without_samples_has_no_area() {
        let quality = Quality::of(&[2.0, 1.0, 3.0, 1.0], &[0, 0], 2, None).unwrap();
        assert_eq!(quality.auc, None);
    }
}
