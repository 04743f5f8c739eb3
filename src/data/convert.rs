//! Tensors of files as inputs and labels.

use std::path::Path;

use super::{DataError, MAX_CLASSES};
use crate::tensor::{DType, HostTensor};

/// Elements as f32: bytes as the share of 255, other integers and floats as they are.
pub(super) fn inputs_of(file: &Path, inputs: &HostTensor) -> Result<Vec<f32>, DataError> {
    let tensor = |reason| DataError::Tensor {
        file: file.to_owned(),
        name: "inputs".into(),
        reason: Box::new(reason),
    };
    match inputs.dtype() {
        DType::U8 => Ok(inputs
            .bytes()
            .iter()
            .map(|&byte| f32::from(byte) / 255.0)
            .collect()),
        DType::I8 | DType::I16 | DType::I32 => {
            let integers = inputs.to_i32().map_err(tensor)?;
            Ok(integers.into_iter().map(|x| x as f32).collect())
        }
        _ => inputs.to_f32().map_err(tensor),
    }
}

/// A vector of integers.
pub(super) fn labels_of(file: &Path, labels: &HostTensor) -> Result<Vec<i32>, DataError> {
    let is_float = matches!(
        labels.dtype(),
        DType::F64 | DType::F32 | DType::F16 | DType::BF16
    );
    if labels.shape().len() != 1 || is_float {
        return Err(DataError::Part {
            file: file.to_owned(),
            part: "labels",
            dtype: labels.dtype(),
            shape: labels.shape().to_vec(),
            allowed: "one integer a sample, [samples]",
        });
    }
    labels.to_i32().map_err(|reason| DataError::Tensor {
        file: file.to_owned(),
        name: "labels".into(),
        reason: Box::new(reason),
    })
}

/// Classes called by their numbers, up to the largest label.
pub(super) fn numbered(labels: &[i32]) -> Result<Vec<String>, DataError> {
    let largest = labels.iter().copied().max().unwrap_or(0).max(0);
    let n_classes = largest as usize + 1;
    if n_classes > MAX_CLASSES {
        return Err(DataError::ClassCount { n_classes });
    }
    Ok((0..n_classes).map(|class| class.to_string()).collect())
}

/// Labels that are all classes.
pub(super) fn checked(labels: &[i32], n_classes: usize) -> Result<Vec<u32>, DataError> {
    if n_classes == 0 {
        return Err(DataError::ClassCount { n_classes });
    }
    let check = |(row, &label): (usize, &i32)| match u32::try_from(label) {
        Ok(code) if (code as usize) < n_classes => Ok(code),
        _ => Err(DataError::LabelOutOfRange {
            row,
            label: label.into(),
            n_classes,
        }),
    };
    labels.iter().enumerate().map(check).collect()
}
