//! Why a matrix could not be quantized or imported: each message names the tensor, the value and
//! what is allowed.

use super::format::Bits;

/// A refused input. Matrices are `[n, k]`: `n` output features, `k` input features.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantError {
    /// A dimension is zero.
    #[error("{tensor}: a matrix of {n} x {k} has no elements; n and k must be at least 1")]
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
        /// What is counted: weights, codes, scales or zero points.
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
    /// A group must be a whole number of packed words.
    #[error(
        "{tensor}: group_size {group_size} is not a positive multiple of {multiple}, \
         the number of {bits} codes in a packed word"
    )]
    GroupSize {
        /// Tensor name.
        tensor: String,
        /// Group size asked for.
        group_size: u32,
        /// Width of the codes.
        bits: Bits,
        /// What it must be a multiple of.
        multiple: usize,
    },
    /// Groups must tile a row.
    #[error("{tensor}: k = {k} is not a multiple of group_size {group_size}")]
    KNotMultipleOfGroup {
        /// Tensor name.
        tensor: String,
        /// Columns.
        k: usize,
        /// Group size asked for.
        group_size: u32,
    },
    /// Kernels address packed words with a u32.
    #[error(
        "{tensor}: {n} x {k} packs to more than {max} words, the most that a u32 can address",
        max = u32::MAX
    )]
    TooLarge {
        /// Tensor name.
        tensor: String,
        /// Rows.
        n: usize,
        /// Columns.
        k: usize,
    },
    /// A weight is NaN or infinite.
    #[error(
        "{tensor}: element {index} (row {row}, column {column}) is {value}; \
         every element must be finite"
    )]
    NotFinite {
        /// Tensor name.
        tensor: String,
        /// The value found.
        value: f32,
        /// Flat row-major index.
        index: usize,
        /// Row.
        row: usize,
        /// Column.
        column: usize,
    },
    /// A scale is not finite, or its storage type cannot hold it.
    #[error("{tensor}: scale {scale} of group {group} cannot be stored; {allowed}")]
    Scale {
        /// Tensor name.
        tensor: String,
        /// The scale.
        scale: f64,
        /// Flat index into `[n, groups_per_row]`.
        group: usize,
        /// What the storage type allows.
        allowed: &'static str,
    },
    /// An imported code or zero point is outside the range of its width.
    #[error("{tensor}: {what} {value} at {index} is outside {min}..={max}, the range of {bits}")]
    OutOfRange {
        /// Tensor name.
        tensor: String,
        /// What is out of range: code or zero point.
        what: &'static str,
        /// The value found.
        value: i8,
        /// Flat index.
        index: usize,
        /// Width of the codes.
        bits: Bits,
        /// Smallest allowed.
        min: i32,
        /// Largest allowed.
        max: i32,
    },
    /// A width that fake quantization has no codes of.
    #[error("codes of {bits} bits; allowed: 2 to 8")]
    Width {
        /// Bits asked for.
        bits: u32,
    },
    /// An imported unsigned code does not fit its width.
    #[error("{tensor}: code {value} at {index} is above {max}, the largest of unsigned {bits}")]
    UnsignedOutOfRange {
        /// Tensor name.
        tensor: String,
        /// The value found.
        value: u8,
        /// Flat index.
        index: usize,
        /// Width of the codes.
        bits: Bits,
        /// Largest allowed.
        max: i32,
    },
    /// A scale of static activations that has no reciprocal to multiply by.
    #[error("{tensor}: a scale of {scale} for activations; allowed: 2^-100 to 2^100")]
    StaticScale {
        /// Tensor name.
        tensor: String,
        /// The scale.
        scale: f32,
    },
    /// A block length of zero.
    #[error("{tensor}: {what} 0; a block has at least one element")]
    EmptyBlock {
        /// Tensor name.
        tensor: String,
        /// Which argument.
        what: &'static str,
    },
}
