//! What makes a metric impossible to compute.

/// Labels or scores that have no metric. Rows are samples, counted from 0.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EvalError {
    /// There are no samples.
    #[error("there are no samples")]
    NoSamples,
    /// There are no classes.
    #[error("there are no classes")]
    NoClasses,
    /// The confusion of so many classes does not fit.
    #[error(
        "{n_classes} classes; a confusion matrix has at most {}",
        super::confusion::MAX_CLASSES
    )]
    TooManyClasses {
        /// Classes given.
        n_classes: usize,
    },
    /// Two things that belong together are not equally many.
    #[error("{given} {what}; needed: {needed}")]
    Count {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        given: usize,
        /// How many there should be.
        needed: usize,
    },
    /// A label or prediction is not a class.
    #[error("row {row}: {what} {label}; allowed: 0 to {}", n_classes - 1)]
    LabelOutOfRange {
        /// `label` or `prediction`.
        what: &'static str,
        /// The sample.
        row: usize,
        /// Its label.
        label: u32,
        /// Classes there are.
        n_classes: usize,
    },
    /// A class has no samples, so a mean over classes is not defined.
    #[error("class {class} has no samples; over all classes the metric is not defined")]
    EmptyClass {
        /// The class.
        class: usize,
    },
    /// Every sample is positive, or none is.
    #[error(
        "{n_positive} positive and {n_negative} negative samples; an area needs one of each at least"
    )]
    OneSided {
        /// Positive samples.
        n_positive: usize,
        /// Negative samples.
        n_negative: usize,
    },
    /// A score is not a number.
    #[error("row {row}, class {class}: the score is NaN")]
    NanScore {
        /// The sample.
        row: usize,
        /// The class; 0 where there is one score a sample.
        class: usize,
    },
    /// A logit is infinite.
    #[error("row {row}, class {class}: logit {value}; allowed: finite values")]
    InfiniteLogit {
        /// The sample.
        row: usize,
        /// The class.
        class: usize,
        /// The logit.
        value: f32,
    },
    /// A probability is outside of 0 to 1.
    #[error("row {row}, class {class}: probability {value}; allowed: 0 to 1")]
    Probability {
        /// The sample.
        row: usize,
        /// The class.
        class: usize,
        /// The value.
        value: f32,
    },
    /// The probabilities of a sample do not add up.
    #[error("row {row}: probabilities add up to {sum}; allowed: 1, to within 1e-3")]
    ProbabilitySum {
        /// The sample.
        row: usize,
        /// Their sum.
        sum: f64,
    },
    /// The `k` of top-k is no number of classes.
    #[error("top {k}; allowed: 1 to {n_classes}")]
    TopK {
        /// What was asked for.
        k: usize,
        /// Classes there are.
        n_classes: usize,
    },
}
