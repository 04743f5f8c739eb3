//! The confusion matrix, and what is computed from its counts.
//!
//! For class `c`, with `tp` samples of `c` predicted as `c`, `fp` others predicted as `c` and `fn`
//! of `c` predicted as others:
//!
//! `precision = tp / (tp + fp)`, `recall = tp / (tp + fn)`, `F1 = 2 tp / (2 tp + fp + fn)`.
//!
//! A class that has samples but is never predicted has the precision 0/0, which is taken as 0 (as
//! scikit-learn's `zero_division=0`), so that ignoring a class never looks better than guessing. A
//! class without samples has no recall: its [`ClassMetrics`] say 0 with a support of 0, and means
//! over classes refuse it.

use super::{EvalError, check_labels};

/// Classes of a confusion matrix at most: 128 MB of counts.
pub(super) const MAX_CLASSES: usize = 4096;

/// How metrics of classes become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Average {
    /// The mean over classes, each as important.
    Macro,
    /// From the sums of `tp`, `fp` and `fn` over classes. With one label a sample, precision, recall
    /// and F1 are then all the accuracy.
    Micro,
    /// The mean over classes, each as important as it has samples.
    Weighted,
}

/// Precision, recall and F1 of a class, or their averages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassMetrics {
    /// Share of right ones among the predicted.
    pub precision: f64,
    /// Share of predicted ones among those there are.
    pub recall: f64,
    /// Harmonic mean of both.
    pub f1: f64,
    /// Samples there are.
    pub support: u64,
}

/// How often each class was taken for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    n_classes: usize,
    /// `[labels, predictions]`, row-major.
    counts: Vec<u64>,
}

impl Confusion {
    /// Counts the pairs of labels and predictions, both `[n]` and less than `n_classes`.
    ///
    /// # Errors
    /// [`EvalError::NoSamples`], [`EvalError::NoClasses`], [`EvalError::TooManyClasses`] beyond
    /// 4096, [`EvalError::Count`] unless there are as many of both, and
    /// [`EvalError::LabelOutOfRange`] with the first that is no class.
    pub fn new(labels: &[u32], predictions: &[u32], n_classes: usize) -> Result<Self, EvalError> {
        if n_classes > MAX_CLASSES {
            return Err(EvalError::TooManyClasses { n_classes });
        }
        if labels.len() != predictions.len() {
            return Err(EvalError::Count {
                what: "predictions",
                given: predictions.len(),
                needed: labels.len(),
            });
        }
        check_labels("label", labels, n_classes)?;
        check_labels("prediction", predictions, n_classes)?;
        let mut counts = vec![0; n_classes * n_classes];
        for (&label, &prediction) in labels.iter().zip(predictions) {
            counts[label as usize * n_classes + prediction as usize] += 1;
        }
        Ok(Self { n_classes, counts })
    }

    /// Classes, at least one.
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// Samples of class `label` predicted as `prediction`.
    ///
    /// # Panics
    /// If one of them is no class, as indexing a slice does.
    pub fn count(&self, label: usize, prediction: usize) -> u64 {
        self.row(label)[prediction]
    }

    /// Samples of class `label` by what they were predicted as, `[classes]`.
    ///
    /// # Panics
    /// If it is no class, as indexing a slice does.
    pub fn row(&self, label: usize) -> &[u64] {
        &self.counts[label * self.n_classes..][..self.n_classes]
    }

    /// All samples, at least one.
    pub fn n_samples(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Share of samples predicted as what they are.
    pub fn accuracy(&self) -> f64 {
        self.n_right() as f64 / self.n_samples() as f64
    }

    /// Precision, recall and F1 of one class; 0 where a quotient is 0/0.
    ///
    /// # Panics
    /// If it is no class, as indexing a slice does.
    pub fn class(&self, class: usize) -> ClassMetrics {
        let right = self.count(class, class);
        let support: u64 = self.row(class).iter().sum();
        let predicted: u64 = (0..self.n_classes).map(|c| self.count(c, class)).sum();
        ClassMetrics {
            precision: quotient(right, predicted),
            recall: quotient(right, support),
            // 2 tp + fp + fn is (tp + fp) + (tp + fn).
            f1: quotient(2 * right, predicted + support),
            support,
        }
    }

    /// Precision, recall and F1 over all classes. The F1 is averaged itself, not made of the
    /// averages.
    ///
    /// # Errors
    /// [`EvalError::EmptyClass`] for [`Average::Macro`] if a class has no samples.
    pub fn average(&self, average: Average) -> Result<ClassMetrics, EvalError> {
        let classes: Vec<ClassMetrics> = (0..self.n_classes).map(|c| self.class(c)).collect();
        let n_samples = self.n_samples();
        let mean = |weight: &dyn Fn(&ClassMetrics) -> f64, whole: f64| {
            let of = |metric: &dyn Fn(&ClassMetrics) -> f64| {
                let terms = classes.iter().map(|class| weight(class) * metric(class));
                terms.sum::<f64>() / whole
            };
            ClassMetrics {
                precision: of(&|class| class.precision),
                recall: of(&|class| class.recall),
                f1: of(&|class| class.f1),
                support: n_samples,
            }
        };
        match average {
            Average::Macro => match classes.iter().position(|class| class.support == 0) {
                Some(class) => Err(EvalError::EmptyClass { class }),
                None => Ok(mean(&|_| 1.0, self.n_classes as f64)),
            },
            Average::Weighted => Ok(mean(&|class| class.support as f64, n_samples as f64)),
            Average::Micro => {
                let accuracy = self.accuracy();
                Ok(ClassMetrics {
                    precision: accuracy,
                    recall: accuracy,
                    f1: accuracy,
                    support: n_samples,
                })
            }
        }
    }

    fn n_right(&self) -> u64 {
        (0..self.n_classes)
            .map(|class| self.count(class, class))
            .sum()
    }
}

/// `part / whole`, and 0 for 0/0.
fn quotient(part: u64, whole: u64) -> f64 {
    match whole {
        0 => 0.0,
        whole => part as f64 / whole as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A matrix from its counts.
    fn confusion(counts: &[&[u64]]) -> Confusion {
        let mut labels = Vec::new();
        let mut predictions = Vec::new();
        for (label, row) in counts.iter().enumerate() {
            for (prediction, &n) in row.iter().enumerate() {
                labels.extend((0..n).map(|_| label as u32));
                predictions.extend((0..n).map(|_| prediction as u32));
            }
        }
        Confusion::new(&labels, &predictions, counts.len()).unwrap()
    }

    #[test]
    fn metrics_are_the_rationals_worked_out_by_hand() {
        let c = confusion(&[&[5, 2, 0], &[1, 3, 1], &[0, 0, 8]]);
        assert_eq!(
            (c.n_samples(), c.count(1, 0), c.row(0)),
            (20, 1, &[5, 2, 0][..])
        );
        assert_eq!(c.accuracy(), 16.0 / 20.0);
        let metrics = |precision, recall, f1, support| ClassMetrics {
            precision,
            recall,
            f1,
            support,
        };
        assert_eq!(c.class(0), metrics(5.0 / 6.0, 5.0 / 7.0, 10.0 / 13.0, 7));
        assert_eq!(c.class(1), metrics(3.0 / 5.0, 3.0 / 5.0, 3.0 / 5.0, 5));
        assert_eq!(c.class(2), metrics(8.0 / 9.0, 1.0, 16.0 / 17.0, 8));
        let close = |found: f64, expected: f64| {
            assert!((found - expected).abs() < 1e-15, "{found} {expected}");
        };
        let mean = c.average(Average::Macro).unwrap();
        close(mean.precision, (5.0 / 6.0 + 3.0 / 5.0 + 8.0 / 9.0) / 3.0);
        close(mean.recall, (5.0 / 7.0 + 3.0 / 5.0 + 1.0) / 3.0);
        close(mean.f1, (10.0 / 13.0 + 3.0 / 5.0 + 16.0 / 17.0) / 3.0);
        let weighted = c.average(Average::Weighted).unwrap();
        close(
            weighted.precision,
            (7.0 * 5.0 / 6.0 + 3.0 + 8.0 * 8.0 / 9.0) / 20.0,
        );
        // The weighted recall is the accuracy, by its definition.
        close(weighted.recall, 0.8);
        let micro = c.average(Average::Micro).unwrap();
        assert_eq!(micro, metrics(0.8, 0.8, 0.8, 20));
    }

    #[test]
    fn a_class_never_predicted_has_precision_zero() {
        let c = confusion(&[&[4, 0], &[6, 0]]);
        let ignored = c.class(1);
        assert_eq!(
            (ignored.precision, ignored.recall, ignored.f1),
            (0.0, 0.0, 0.0)
        );
        assert_eq!(c.average(Average::Macro).unwrap().precision, 0.2);
    }

    #[test]
    fn a_class_without_samples_has_no_mean_over_classes() {
        let c = Confusion::new(&[0, 1, 1], &[0, 1, 2], 3).unwrap();
        assert_eq!(c.class(2).support, 0);
        assert_eq!(
            c.average(Average::Macro),
            Err(EvalError::EmptyClass { class: 2 })
        );
        assert_eq!(c.average(Average::Weighted).unwrap().recall, 2.0 / 3.0);
        assert!(c.average(Average::Micro).is_ok());
    }

    #[test]
    fn labels_and_predictions_out_of_range_are_named() {
        let message = |labels: &[u32], predictions: &[u32], n_classes| {
            let confusion = Confusion::new(labels, predictions, n_classes);
            confusion.unwrap_err().to_string()
        };
        assert_eq!(
            message(&[0, 2], &[0, 0], 2),
            "row 1: label 2; allowed: 0 to 1"
        );
        assert_eq!(
            message(&[0], &[u32::MAX], 2),
            "row 0: prediction 4294967295; allowed: 0 to 1"
        );
        assert_eq!(message(&[0], &[], 2), "0 predictions; needed: 1");
        assert_eq!(message(&[], &[], 2), "there are no samples");
        assert_eq!(message(&[0], &[0], 0), "there are no classes");
        assert_eq!(
            message(&[0], &[0], 5000),
            "5000 classes; a confusion matrix has at most 4096"
        );
    }
}
