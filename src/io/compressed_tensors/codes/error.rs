//! What can be wrong with quantized tensors of a file, or with the arguments that describe them.

use crate::io::safetensors::SafetensorsError;
use crate::num::{QuantError, Width};
use crate::tensor::TensorError;

/// Quantized tensors that cannot be read or written. Names are those of the parts in the file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CodesError {
    /// A part is absent, or the file cannot be read.
    #[error(transparent)]
    Safetensors(#[from] SafetensorsError),
    /// A part has another element type.
    #[error("tensor {name:?} has dtype {dtype}; allowed: {allowed}")]
    Dtype {
        /// The tensor.
        name: String,
        /// Its element type.
        dtype: String,
        /// What the format allows.
        allowed: &'static str,
    },
    /// A part has another shape than the others and the arguments call for.
    #[error("tensor {name:?} has shape {found:?}; {why} calls for {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape called for.
        expected: Vec<usize>,
        /// What calls for it.
        why: String,
    },
    /// The stored dimensions are not those of a matrix.
    #[error(
        "tensor {name:?} says {n} x {k}; allowed: at least 1 x 1, and no more than fits memory"
    )]
    Dimensions {
        /// The tensor.
        name: String,
        /// Rows.
        n: i64,
        /// Columns.
        k: i64,
    },
    /// Bits that stand for no element are set.
    #[error("tensor {name:?} has codes past the end of row {row}; padding must be 0")]
    Padding {
        /// The tensor.
        name: String,
        /// The row of words.
        row: usize,
    },
    /// Float minima, for which compressed-tensors has no place.
    #[error(
        "layer {layer:?} has a float minimum a group; compressed-tensors stores integer zero points only"
    )]
    FloatMinimum {
        /// The layer.
        layer: String,
    },
    /// A code or zero point outside the width that the file is to have.
    #[error("layer {layer:?}: {what} {value} at {index} is outside {}..={}, the range of {width}", Width::min(*width), Width::max(*width))]
    Range {
        /// The layer.
        layer: String,
        /// `code` or `zero point`.
        what: &'static str,
        /// Its value, at the width of the file.
        value: i32,
        /// Where it is.
        index: usize,
        /// The width of the file.
        width: Width,
    },
    /// A code between those that the file can hold.
    #[error("layer {layer:?}: code {value} at {index} is no multiple of {spacing}")]
    Spacing {
        /// The layer.
        layer: String,
        /// Its value.
        value: i32,
        /// Where it is.
        index: usize,
        /// Container codes from one code to the next.
        spacing: i32,
    },
    /// A zero point beside the middle where the config group is symmetric: codes would stand for other weights.
    #[error(
        "tensor {name:?} has zero point {value} at {index}; allowed: 0 everywhere, because its config group has \"symmetric\": true"
    )]
    NotSymmetric {
        /// The tensor.
        name: String,
        /// The first that is not 0.
        value: i32,
        /// Where it is.
        index: usize,
    },
    /// An argument of a config group is not understood.
    #[error("{key} is {found}; allowed: {allowed}")]
    Argument {
        /// The key, with its path.
        key: String,
        /// What it says.
        found: String,
        /// What is understood.
        allowed: &'static str,
    },
    /// Codes, scales or zero points do not make a matrix.
    #[error(transparent)]
    Quant(#[from] QuantError),
    /// A part cannot be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}
