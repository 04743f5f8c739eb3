//! Samples of one shape with a class each, or windows of a text with the next token of each token.

use std::collections::BTreeSet;

use super::DataError;
use crate::io::safetensors::shown;

/// The most samples of a set: what the random numbers of an epoch number
/// ([`Augmentation`](super::Augmentation)).
pub const MAX_SAMPLES: usize = 1 << 30;

/// The most classes of a set, so that one wrong label does not make a network of a billion outputs.
pub const MAX_CLASSES: usize = 1 << 16;

/// Samples with labels, checked when made: as many labels as samples, every label a class, every
/// input finite or NaN, which stands for a missing value.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// `[n, sample_shape..]`, row-major.
    inputs: Vec<f32>,
    sample_shape: Vec<usize>,
    /// Product of `sample_shape`, at least 1.
    n_features: usize,
    /// `[n, labels_per_sample]`
    labels: Vec<u32>,
    /// 1, or as many as tokens of a window.
    labels_per_sample: usize,
    class_names: Vec<String>,
    /// One a feature, for tables.
    feature_names: Option<Vec<String>>,
}

impl Dataset {
    /// A set of `labels.len()` samples. `inputs` is `[n, sample_shape..]`, row-major; NaN is a
    /// missing value.
    ///
    /// # Errors
    /// A [`DataError`] naming the first count, row or feature that is wrong.
    pub fn new(
        inputs: Vec<f32>,
        sample_shape: Vec<usize>,
        labels: Vec<u32>,
        class_names: Vec<String>,
    ) -> Result<Self, DataError> {
        let n_samples = labels.len();
        Self::with_labels(inputs, sample_shape, (labels, n_samples), class_names)
    }

    /// Windows of a text, for guessing the next token: sample `i` is tokens `i length` up to `(i + 1) length`, its
    /// labels are the tokens one further on. What is left at the end is dropped.
    ///
    /// # Errors
    /// [`DataError::NoSamples`] for fewer tokens than `length + 1`, [`DataError::SampleShape`] for windows of
    /// nothing, [`DataError::LabelOutOfRange`] for a token without a name.
    pub fn windows(
        tokens: &[u32],
        length: usize,
        token_names: Vec<String>,
    ) -> Result<Self, DataError> {
        feature_count(&[length])?;
        let n_samples = tokens.len().saturating_sub(1) / length;
        let used = n_samples * length;
        // Exact: there are at most `MAX_CLASSES` tokens, or one has no name.
        let inputs = tokens.iter().take(used).map(|&token| token as f32);
        let labels = tokens.iter().skip(1).take(used).copied().collect();
        Self::with_labels(
            inputs.collect(),
            vec![length],
            (labels, n_samples),
            token_names,
        )
    }

    fn with_labels(
        inputs: Vec<f32>,
        sample_shape: Vec<usize>,
        (labels, n_samples): (Vec<u32>, usize),
        class_names: Vec<String>,
    ) -> Result<Self, DataError> {
        if n_samples > MAX_SAMPLES {
            return Err(DataError::TooManySamples { n_samples });
        }
        let n_features = feature_count(&sample_shape)?;
        let needed = n_features.saturating_mul(n_samples);
        if needed != inputs.len() {
            return Err(DataError::InputCount {
                n_samples,
                shape: sample_shape,
                needed,
                given: inputs.len(),
            });
        }
        if n_samples == 0 {
            return Err(DataError::NoSamples);
        }
        check_classes(&class_names)?;
        let labels_per_sample = labels.len() / n_samples;
        if let Some(at) = labels
            .iter()
            .position(|&label| label as usize >= class_names.len())
        {
            return Err(DataError::LabelOutOfRange {
                row: at / labels_per_sample,
                label: labels[at].into(),
                n_classes: class_names.len(),
            });
        }
        if let Some(at) = inputs.iter().position(|x| x.is_infinite()) {
            return Err(DataError::Infinite {
                row: at / n_features,
                feature: at % n_features,
                value: inputs[at],
            });
        }
        Ok(Self {
            inputs,
            sample_shape,
            n_features,
            labels,
            labels_per_sample,
            class_names,
            feature_names: None,
        })
    }

    /// The same set with a name for every feature.
    ///
    /// # Errors
    /// [`DataError::FeatureCount`] unless there is one name a feature.
    pub fn with_feature_names(mut self, names: Vec<String>) -> Result<Self, DataError> {
        if names.len() != self.n_features {
            return Err(DataError::FeatureCount {
                what: "names",
                given: names.len(),
                n_features: self.n_features,
            });
        }
        self.feature_names = Some(names);
        Ok(self)
    }

    /// Samples, at least one.
    pub fn n_samples(&self) -> usize {
        self.labels.len() / self.labels_per_sample
    }

    /// Labels of a sample: 1, or as many as tokens of a window.
    pub fn labels_per_sample(&self) -> usize {
        self.labels_per_sample
    }

    /// The labels of one sample.
    ///
    /// # Panics
    /// When there is no such sample.
    pub fn sample_labels(&self, row: usize) -> &[u32] {
        &self.labels[row * self.labels_per_sample..][..self.labels_per_sample]
    }

    /// Refuses windows of a text, whose samples have no class.
    ///
    /// # Errors
    /// [`DataError::OutOfRange`] for more than one label a sample.
    pub fn require_one_label(&self) -> Result<(), DataError> {
        if self.labels_per_sample == 1 {
            return Ok(());
        }
        Err(DataError::OutOfRange {
            what: "labels of a sample",
            given: self.labels_per_sample,
            least: 1,
            most: 1,
        })
    }

    /// Elements of a sample, at least one.
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// Classes, at least one.
    pub fn n_classes(&self) -> usize {
        self.class_names.len()
    }

    /// Shape of one sample: `[features]`, or `[channels, height, width]` for images.
    pub fn sample_shape(&self) -> &[usize] {
        &self.sample_shape
    }

    /// All inputs, `[n, sample_shape..]`, row-major.
    pub fn inputs(&self) -> &[f32] {
        &self.inputs
    }

    /// The inputs of one sample.
    ///
    /// # Panics
    /// If there is no such sample, as indexing a slice does.
    pub fn sample(&self, row: usize) -> &[f32] {
        &self.inputs[row * self.n_features..][..self.n_features]
    }

    /// [`Self::labels_per_sample`] labels of each sample, each less than [`Dataset::n_classes`].
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// One name a class.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// One name a feature, if the source had names.
    pub fn feature_names(&self) -> Option<&[String]> {
        self.feature_names.as_deref()
    }

    /// Samples of each class.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.n_classes()];
        for &label in &self.labels {
            counts[label as usize] += 1;
        }
        counts
    }

    /// That every class has at least `needed` samples.
    ///
    /// # Errors
    /// [`DataError::EmptyClass`] or [`DataError::SmallClass`] with the first that has not.
    pub fn require_per_class(&self, needed: usize) -> Result<(), DataError> {
        let counts = self.class_counts();
        let Some(class) = counts.iter().position(|&found| found < needed) else {
            return Ok(());
        };
        let name = shown(&self.class_names[class]);
        Err(match counts[class] {
            0 => DataError::EmptyClass { class, name },
            found => DataError::SmallClass {
                class,
                name,
                found,
                needed,
            },
        })
    }

    /// That no value is missing.
    ///
    /// # Errors
    /// [`DataError::Missing`] with the first that is.
    pub fn require_complete(&self) -> Result<(), DataError> {
        match self.inputs.iter().position(|x| x.is_nan()) {
            None => Ok(()),
            Some(at) => Err(DataError::Missing {
                row: at / self.n_features,
                feature: at % self.n_features,
            }),
        }
    }

    /// The samples `rows`, in that order; a row may occur more than once.
    ///
    /// # Errors
    /// [`DataError::NoSamples`] for no rows, [`DataError::OutOfRange`] for a row there is not.
    pub fn select_rows(&self, rows: &[usize]) -> Result<Self, DataError> {
        if rows.is_empty() {
            return Err(DataError::NoSamples);
        }
        require_below("row", rows, self.n_samples())?;
        let mut inputs = Vec::with_capacity(rows.len() * self.n_features);
        for &row in rows {
            inputs.extend_from_slice(self.sample(row));
        }
        Ok(Self {
            inputs,
            labels: rows
                .iter()
                .flat_map(|&row| self.sample_labels(row).iter().copied())
                .collect(),
            ..self.empty_like()
        })
    }

    /// The first `n` samples.
    ///
    /// # Errors
    /// [`DataError::OutOfRange`] unless `n` is from 1 to the number of samples.
    pub fn first(&self, n: usize) -> Result<Self, DataError> {
        if !(1..=self.n_samples()).contains(&n) {
            return Err(DataError::OutOfRange {
                what: "samples",
                given: n,
                least: 1,
                most: self.n_samples(),
            });
        }
        Ok(Self {
            inputs: self.inputs[..n * self.n_features].to_vec(),
            labels: self.labels[..n * self.labels_per_sample].to_vec(),
            ..self.empty_like()
        })
    }

    /// Samples of the features `features` alone, in that order, as `[features.len()]`.
    ///
    /// # Errors
    /// [`DataError::SampleShape`] for no features, [`DataError::OutOfRange`] for one there is not.
    pub fn select_features(&self, features: &[usize]) -> Result<Self, DataError> {
        feature_count(&[features.len()])?;
        require_below("feature", features, self.n_features)?;
        let rows = self.inputs.chunks_exact(self.n_features);
        Ok(Self {
            inputs: rows
                .flat_map(|row| features.iter().map(|&feature| row[feature]))
                .collect(),
            sample_shape: vec![features.len()],
            n_features: features.len(),
            labels: self.labels.clone(),
            labels_per_sample: self.labels_per_sample,
            class_names: self.class_names.clone(),
            feature_names: self
                .feature_names
                .as_ref()
                .map(|names| features.iter().map(|&at| names[at].clone()).collect()),
        })
    }

    /// The same samples in another shape of as many elements.
    ///
    /// # Errors
    /// [`DataError::OtherShape`] if it has not as many.
    pub fn reshaped(mut self, sample_shape: Vec<usize>) -> Result<Self, DataError> {
        if feature_count(&sample_shape)? != self.n_features {
            return Err(DataError::OtherShape {
                found: sample_shape,
                expected: self.sample_shape,
            });
        }
        self.sample_shape = sample_shape;
        Ok(self)
    }

    /// Writes through `change` to one sample after another. What it writes must be finite, or NaN.
    pub(super) fn change_samples(&mut self, change: impl FnMut(&mut [f32])) {
        self.inputs
            .chunks_exact_mut(self.n_features)
            .for_each(change);
    }

    /// Makes class `c` class `codes[c]` of `class_names`, for each class that has samples.
    pub(super) fn rename_classes(&mut self, codes: &[u32], class_names: &[String]) {
        for label in &mut self.labels {
            *label = codes[*label as usize];
        }
        self.class_names = class_names.to_vec();
    }

    /// Everything but the samples.
    fn empty_like(&self) -> Self {
        Self {
            inputs: Vec::new(),
            sample_shape: self.sample_shape.clone(),
            n_features: self.n_features,
            labels: Vec::new(),
            labels_per_sample: self.labels_per_sample,
            class_names: self.class_names.clone(),
            feature_names: self.feature_names.clone(),
        }
    }
}

fn feature_count(shape: &[usize]) -> Result<usize, DataError> {
    shape
        .iter()
        .try_fold(1_usize, |product, &n| product.checked_mul(n))
        .filter(|&n| n > 0)
        .ok_or_else(|| DataError::SampleShape {
            shape: shape.to_vec(),
        })
}

fn check_classes(names: &[String]) -> Result<(), DataError> {
    if !(1..=MAX_CLASSES).contains(&names.len()) {
        return Err(DataError::ClassCount {
            n_classes: names.len(),
        });
    }
    let mut seen = BTreeSet::new();
    match names.iter().find(|&name| !seen.insert(name)) {
        Some(name) => Err(DataError::DuplicateClass { name: shown(name) }),
        None => Ok(()),
    }
}

fn require_below(what: &'static str, indices: &[usize], limit: usize) -> Result<(), DataError> {
    match indices.iter().find(|&&index| index >= limit) {
        Some(&given) => Err(DataError::OutOfRange {
            what,
            given,
            least: 0,
            most: limit - 1,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "dataset_tests.rs"]
mod tests;
