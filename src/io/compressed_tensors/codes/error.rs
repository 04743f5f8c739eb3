//! What can be wrong with quantized tensors of a file, or with the arguments that describe them.

use crate::io::safetensors::SafetensorsError;
use crate::num::QuantError;
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
    /// An argument of a config group is not understood.
    #[error("config: {key} is {found}; allowed: {allowed}")]
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
