//! What can be wrong with a pruned tensor of a file, or with one to be written.

use super::{BitmaskFormat, VALUE_TYPES};
use crate::io::safetensors::SafetensorsError;
use crate::tensor::{DType, TensorError};

/// A pruned tensor that cannot be read or written. Names are those of the parts in the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BitmaskError {
    /// A part is absent, or the file cannot be read.
    #[error(transparent)]
    Safetensors(#[from] SafetensorsError),
    /// A part does not have the element type of the format.
    #[error("tensor {name:?} has dtype {dtype}; allowed: {allowed}")]
    Dtype {
        /// The tensor.
        name: String,
        /// Its element type.
        dtype: String,
        /// What the format allows.
        allowed: String,
    },
    /// A part does not have the shape that the format calls for.
    #[error("tensor {name:?} has shape {found:?}; {format} calls for {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape called for.
        expected: Vec<usize>,
        /// The format.
        format: BitmaskFormat,
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
    /// Groups of four must tile a row.
    #[error("tensor {name:?} has {k} columns; 2:4 calls for a multiple of 4")]
    NotGroups {
        /// The tensor.
        name: String,
        /// Its columns.
        k: usize,
    },
    /// A group of four does not keep two.
    #[error("tensor {name:?} keeps {found} of 4 in row {row}, group {group}; allowed: 2")]
    GroupCount {
        /// The tensor.
        name: String,
        /// The row.
        row: usize,
        /// The group of four columns.
        group: usize,
        /// Columns kept, or nonzero values in a tensor to be written.
        found: u32,
    },
    /// A bit stands for no column.
    #[error("tensor {name:?} has a bit set past column {} in row {row}", k - 1)]
    BitPastEnd {
        /// The tensor.
        name: String,
        /// The row.
        row: usize,
        /// Columns.
        k: usize,
    },
    /// A row does not begin where the rows before it end.
    #[error(
        "tensor {name:?} says {found} for row {row}; the bitmask has {expected} bits before it"
    )]
    RowOffset {
        /// The tensor.
        name: String,
        /// The row.
        row: usize,
        /// The offset stored.
        found: i64,
        /// Bits set in the rows before.
        expected: usize,
    },
    /// There are not as many values as bits.
    #[error("tensor {name:?} has {found} values; the bitmask has {expected} bits set")]
    ValueCount {
        /// The tensor.
        name: String,
        /// Values stored.
        found: usize,
        /// Bits set.
        expected: usize,
    },
    /// A tensor to be written is not a matrix.
    #[error(
        "tensor {name:?} has shape {shape:?}; only matrices of at least 1 x 1 can be stored so"
    )]
    NotMatrix {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The dense tensor cannot be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl BitmaskError {
    /// The error of values of a type the format does not have.
    pub(super) fn value_type(name: &str, dtype: &impl ToString) -> Self {
        Self::Dtype {
            name: name.to_owned(),
            dtype: dtype.to_string(),
            allowed: VALUE_TYPES.map(DType::name).join(", "),
        }
    }
}
