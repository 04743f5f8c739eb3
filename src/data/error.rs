//! What can be wrong with data, or with what is asked of it.

use std::path::{Path, PathBuf};

use super::{MAX_CLASSES, MAX_SAMPLES};
use crate::io::IoError;
use crate::tensor::{DType, TensorError};

/// Data that cannot be used as asked. Rows are samples, counted from 0; features are elements of a
/// sample, row-major, counted from 0.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file could not be read or written.
    #[error(transparent)]
    Io(Box<IoError>),
    /// A tensor of a file does not convert.
    #[error("{}: tensor {name:?}: {reason}", file.display())]
    Tensor {
        /// The file.
        file: PathBuf,
        /// The tensor.
        name: String,
        /// What is wrong with it.
        reason: Box<TensorError>,
    },
    /// What is wrong is in this file.
    #[error("{}: {reason}", file.display())]
    In {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: Box<DataError>,
    },
    /// The folder holds none of the layouts known.
    #[error("{}: no data set found; looked for {looked_for}", folder.display())]
    UnknownLayout {
        /// The folder.
        folder: PathBuf,
        /// The files that were looked for.
        looked_for: String,
    },
    /// A tensor of a file has the wrong shape or type for its part.
    #[error("{}: {part} are {dtype} {shape:?}; allowed: {allowed}", file.display())]
    Part {
        /// The file.
        file: PathBuf,
        /// What the tensor should be: `inputs` or `labels`.
        part: &'static str,
        /// Its element type.
        dtype: DType,
        /// Its shape.
        shape: Vec<usize>,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A table was read without a label column.
    #[error("the table has no label column; name one")]
    NoLabelColumn,
    /// Metadata is not what was written by this library.
    #[error("{}: metadata {key:?} is not a JSON list of strings: {reason}", file.display())]
    Metadata {
        /// The file.
        file: PathBuf,
        /// The key.
        key: &'static str,
        /// What the JSON reader said.
        reason: String,
    },
    /// There are no samples.
    #[error("there are no samples")]
    NoSamples,
    /// There are more samples than can be numbered.
    #[error("there are {n_samples} samples; allowed: up to {MAX_SAMPLES}")]
    TooManySamples {
        /// Samples given.
        n_samples: usize,
    },
    /// A sample has no elements, or more than can be counted.
    #[error("samples of shape {shape:?} have no elements, or too many to count")]
    SampleShape {
        /// The shape.
        shape: Vec<usize>,
    },
    /// There are not as many inputs as samples need.
    #[error("{n_samples} samples of shape {shape:?} need {needed} inputs, but {given} were given")]
    InputCount {
        /// Samples, by their labels.
        n_samples: usize,
        /// Shape of a sample.
        shape: Vec<usize>,
        /// Inputs needed.
        needed: usize,
        /// Inputs given.
        given: usize,
    },
    /// There are not as many labels as inputs.
    #[error("{n_inputs} inputs, but {n_labels} labels; there must be one each")]
    LabelCount {
        /// Samples.
        n_inputs: usize,
        /// Labels.
        n_labels: usize,
    },
    /// An input is infinite.
    #[error("row {row}, feature {feature}: {value}; allowed: finite values, and NaN where missing")]
    Infinite {
        /// The sample.
        row: usize,
        /// The element of the sample.
        feature: usize,
        /// Its value.
        value: f32,
    },
    /// An input is missing where it must not be.
    #[error(
        "row {row}, feature {feature}: the value is missing; drop such rows or fill them first"
    )]
    Missing {
        /// The first such sample.
        row: usize,
        /// The element of the sample.
        feature: usize,
    },
    /// No sample has a value of this feature.
    #[error("feature {feature} is missing in every row, so it has no mean; drop it")]
    AllMissing {
        /// The element of a sample.
        feature: usize,
    },
    /// There are no classes, or too many.
    #[error("there are {n_classes} classes; allowed: 1 to {MAX_CLASSES}")]
    ClassCount {
        /// Classes given, or the largest label plus one.
        n_classes: usize,
    },
    /// Two classes have the same name.
    #[error("class {name:?} occurs more than once; names must differ")]
    DuplicateClass {
        /// The name.
        name: String,
    },
    /// A label is not one of the classes.
    #[error("row {row}: label {label}; allowed: 0 to {}", n_classes - 1)]
    LabelOutOfRange {
        /// The sample.
        row: usize,
        /// Its label.
        label: i64,
        /// Classes there are.
        n_classes: usize,
    },
    /// A class of the test set does not occur in training.
    #[error("class {name:?} is not one of the {n_classes} of training")]
    UnknownClass {
        /// The class.
        name: String,
        /// Classes of training.
        n_classes: usize,
    },
    /// A class has no samples.
    #[error("class {class} ({name:?}) has no samples")]
    EmptyClass {
        /// The class.
        class: usize,
        /// Its name.
        name: String,
    },
    /// A class has too few samples.
    #[error("class {class} ({name:?}) has {found} samples; needed: at least {needed}")]
    SmallClass {
        /// The class.
        class: usize,
        /// Its name.
        name: String,
        /// Samples it has.
        found: usize,
        /// Samples it needs.
        needed: usize,
    },
    /// Two sets that belong together have samples of different shapes.
    #[error("samples have shape {found:?}, but those of training have {expected:?}")]
    OtherShape {
        /// The shape found.
        found: Vec<usize>,
        /// The shape of training.
        expected: Vec<usize>,
    },
    /// Two sets that belong together have different columns.
    #[error("column {index} is {found:?}, but {expected:?} in training")]
    OtherColumn {
        /// The column, counted from 0 without the label.
        index: usize,
        /// Its name; empty where there is none.
        found: String,
        /// Its name in training; empty where there is none.
        expected: String,
    },
    /// Statistics or names were made for another number of features.
    #[error("{given} {what} for {n_features} features")]
    FeatureCount {
        /// What there is one of per feature.
        what: &'static str,
        /// How many were given.
        given: usize,
        /// Features of a sample.
        n_features: usize,
    },
    /// A feature, row or class count is outside of what there is.
    #[error("{what} {given}; allowed: {least} to {most}")]
    OutOfRange {
        /// What was asked for.
        what: &'static str,
        /// The value.
        given: usize,
        /// The least allowed.
        least: usize,
        /// The most allowed.
        most: usize,
    },
    /// A share, probability or deviation is outside of its range.
    #[error("{what} {given}; allowed: {allowed}")]
    Setting {
        /// What was set.
        what: &'static str,
        /// Its value.
        given: f64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Images are augmented, and these samples are none.
    #[error(
        "samples of shape {shape:?} are not images; allowed: [height, width] and [channels, height, width]"
    )]
    NotImages {
        /// Shape of a sample.
        shape: Vec<usize>,
    },
    /// The operating system has no thread for us.
    #[error("cannot start the thread that makes batches: {reason}")]
    Thread {
        /// What it said.
        reason: std::io::Error,
    },
}

impl DataError {
    /// The same with the file it is about, unless it names one.
    pub(super) fn within(self, file: &Path) -> Self {
        match self {
            Self::Io(_)
            | Self::Tensor { .. }
            | Self::In { .. }
            | Self::UnknownLayout { .. }
            | Self::Part { .. }
            | Self::Metadata { .. }
            | Self::NoLabelColumn => self,
            reason => Self::In {
                file: file.to_owned(),
                reason: Box::new(reason),
            },
        }
    }
}

impl From<IoError> for DataError {
    fn from(reason: IoError) -> Self {
        Self::Io(Box::new(reason))
    }
}
