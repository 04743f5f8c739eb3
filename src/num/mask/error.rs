//! Why a mask could not be made or used: each message names the tensor, the place, the value and what
//! is allowed.

/// A refused input. Matrices are `[n, k]`: `n` output features, `k` input features.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MaskError {
    /// A dimension is zero.
    #[error("{tensor}: a mask of {n} x {k} has no elements; n and k must be at least 1")]
    Empty {
        /// Tensor name.
        tensor: String,
        /// Rows.
        n: usize,
        /// Columns.
        k: usize,
    },
    /// An array does not have the length that the shape calls for.
    #[error("{tensor}: {n} x {k} calls for {expected} {what}, found {found}")]
    WrongLength {
        /// Tensor name.
        tensor: String,
        /// What is counted: scores, weights or words.
        what: &'static str,
        /// Length given.
        found: usize,
        /// Length called for.
        expected: usize,
        /// Rows.
        n: usize,
        /// Columns.
        k: usize,
    },
    /// Elements are counted with 32 bits.
    #[error("{tensor}: {count} scores are compared with each other, at most {max} can be", max = u32::MAX)]
    TooLarge {
        /// Tensor name.
        tensor: String,
        /// Elements.
        count: usize,
    },
    /// A score that has no order.
    #[error("{tensor}: the score in row {row}, column {column} is NaN; any other value is allowed")]
    NotANumber {
        /// Tensor name.
        tensor: String,
        /// Row.
        row: usize,
        /// Column.
        column: usize,
    },
    /// A share outside 0 to 1.
    #[error("{tensor}: sparsity {sparsity}; allowed: 0 to 1")]
    Sparsity {
        /// Tensor name.
        tensor: String,
        /// The value.
        sparsity: f64,
    },
    /// More kept than there are.
    #[error("{tensor}: {keep} to keep of {count} {what}; at most {count} can be")]
    Keep {
        /// Tensor name.
        tensor: String,
        /// Count to keep.
        keep: usize,
        /// How many there are.
        count: usize,
        /// What is counted.
        what: &'static str,
    },
    /// An N:M pattern that does not fit.
    #[error(
        "{tensor}: {keep} of each {group} along k = {k}; allowed: at most {group} kept, groups of 1 \
         to {max} that divide k",
        max = super::MAX_GROUP
    )]
    Group {
        /// Tensor name.
        tensor: String,
        /// N: elements kept of a group.
        keep: usize,
        /// M: elements of a group.
        group: usize,
        /// Columns.
        k: usize,
    },
    /// A vector length that is not served.
    #[error("{tensor}: vectors of {rows} rows; allowed: 1, 8, 16 or 32")]
    Vector {
        /// Tensor name.
        tensor: String,
        /// The length.
        rows: usize,
    },
    /// A block without elements, or too large to be summed in one pass.
    #[error(
        "{tensor}: blocks of {rows} x {columns}; allowed: 1 to {max} elements",
        max = super::MAX_BLOCK
    )]
    Block {
        /// Tensor name.
        tensor: String,
        /// Rows of a block.
        rows: usize,
        /// Columns of a block.
        columns: usize,
    },
    /// Two masks of different shape.
    #[error("masks of {n} x {k} and {other_n} x {other_k}; both must have one shape")]
    Shapes {
        /// Rows of the first.
        n: usize,
        /// Columns of the first.
        k: usize,
        /// Rows of the second.
        other_n: usize,
        /// Columns of the second.
        other_k: usize,
    },
    /// Bits set behind the last column of a row.
    #[error("{tensor}: row {row} has bits set from column {k} on; padding must be 0")]
    Padding {
        /// Tensor name.
        tensor: String,
        /// Row.
        row: usize,
        /// Columns.
        k: usize,
    },
}
