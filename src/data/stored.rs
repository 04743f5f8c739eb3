//! A set of samples in a safetensors file: tensors `inputs` and `labels`, names in the metadata.

use std::collections::BTreeMap;
use std::path::Path;

use super::convert::{checked, inputs_of, labels_of, numbered};
use super::{DataError, Dataset};
use crate::io::safetensors::{SafetensorsFile, write_safetensors};
use crate::tensor::HostTensor;

const INPUTS: &str = "inputs";
const LABELS: &str = "labels";
const CLASS_NAMES: &str = "class_names";
const FEATURE_NAMES: &str = "feature_names";

/// Loads the safetensors file at `path`: `inputs` `[n, sample..]` of floats (NaN where missing), or
/// of bytes, which become the share of 255; `labels` `[n]` of integers; and, as JSON lists in the
/// metadata where there are any, `class_names` and `feature_names`.
///
/// # Errors
/// [`DataError::Io`], [`DataError::Part`] for tensors of other types or shapes,
/// [`DataError::Metadata`], [`DataError::LabelCount`], and what [`Dataset::new`] refuses.
pub fn load_safetensors(path: impl AsRef<Path>) -> Result<Dataset, DataError> {
    let path = path.as_ref();
    read(path).map_err(|error| error.within(path))
}

fn read(path: &Path) -> Result<Dataset, DataError> {
    let file = SafetensorsFile::open(path)?;
    let inputs = file.tensor(INPUTS)?;
    let [n, sample_shape @ ..] = inputs.shape() else {
        return Err(DataError::Part {
            file: path.to_owned(),
            part: INPUTS,
            dtype: inputs.dtype(),
            shape: Vec::new(),
            allowed: "[samples, ..]",
        });
    };
    let labels = labels_of(path, &file.tensor(LABELS)?)?;
    if labels.len() != *n {
        return Err(DataError::LabelCount {
            n_inputs: *n,
            n_labels: labels.len(),
        });
    }
    let classes = names(&file, CLASS_NAMES)?.map_or_else(|| numbered(&labels), Ok)?;
    let labels = checked(&labels, classes.len())?;
    let data = Dataset::new(
        inputs_of(path, &inputs)?,
        sample_shape.to_vec(),
        labels,
        classes,
    )?;
    match names(&file, FEATURE_NAMES)? {
        Some(names) => data.with_feature_names(names),
        None => Ok(data),
    }
}

/// Writes `data` to `path` as [`load_safetensors`] reads it, inputs as f32, replacing the file there,
/// if any, in one step.
///
/// # Errors
/// [`DataError::Io`] if the file cannot be written, [`DataError::OutOfRange`] for windows of a text.
pub fn save_safetensors(data: &Dataset, path: impl AsRef<Path>) -> Result<(), DataError> {
    data.require_one_label()?;
    let mut shape = vec![data.n_samples()];
    shape.extend_from_slice(data.sample_shape());
    let inputs = HostTensor::from_f32(shape, data.inputs()).expect("one input an element");
    let labels = HostTensor::from_words_u32(vec![data.n_samples()], data.labels())
        .expect("one label a sample");
    let list = |names: &[String]| serde_json::Value::from(names).to_string();
    let mut metadata = BTreeMap::from([(CLASS_NAMES.to_owned(), list(data.class_names()))]);
    if let Some(names) = data.feature_names() {
        metadata.insert(FEATURE_NAMES.to_owned(), list(names));
    }
    let tensors = [(INPUTS.to_owned(), inputs), (LABELS.to_owned(), labels)];
    Ok(write_safetensors(path, &tensors, &metadata)?)
}

fn names(file: &SafetensorsFile, key: &'static str) -> Result<Option<Vec<String>>, DataError> {
    let Some(text) = file.metadata().get(key) else {
        return Ok(None);
    };
    let names = serde_json::from_str(text).map_err(|reason| DataError::Metadata {
        file: file.path().to_owned(),
        key,
        reason: reason.to_string(),
    })?;
    Ok(Some(names))
}
