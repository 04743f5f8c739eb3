//! Why a quantized weight of a checkpoint was refused: the tensor, the value and what is allowed.

use crate::num::quant::QuantError;

/// A refused weight. It is `[n, k]`: `n` output and `k` input features.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Codes of a width that the format or this crate does not have.
    #[error("{tensor}: codes of {bits} bits; allowed: {allowed}")]
    Bits {
        /// Tensor name.
        tensor: String,
        /// The width.
        bits: u32,
        /// What is allowed.
        allowed: &'static str,
    },
    /// An array is not as long as the shape calls for.
    #[error("{tensor}: {what} has {found} elements, expected {expected}")]
    WrongLength {
        /// Tensor name.
        tensor: String,
        /// Which array.
        what: &'static str,
        /// Its length.
        found: usize,
        /// Length called for; `usize::MAX` where it cannot be counted.
        expected: usize,
    },
    /// A dimension is not a whole number of words.
    #[error("{tensor}: {what} = {value} is not a multiple of {multiple}, the codes in whole words")]
    Words {
        /// Tensor name.
        tensor: String,
        /// Which dimension.
        what: &'static str,
        /// Its value.
        value: usize,
        /// What it must be a multiple of.
        multiple: usize,
    },
    /// Groups do not tile a row.
    #[error("{tensor}: k = {k} is not a multiple of group_size {group_size}")]
    Groups {
        /// Tensor name.
        tensor: String,
        /// Columns.
        k: usize,
        /// Group size.
        group_size: usize,
    },
    /// A column belongs to a group that is not there.
    #[error("{tensor}: g_idx of input {column} is {group}; allowed: 0 to {}", n_groups - 1)]
    GroupIndex {
        /// Tensor name.
        tensor: String,
        /// The column.
        column: usize,
        /// Its group.
        group: i32,
        /// Number of groups.
        n_groups: usize,
    },
    /// Groups of different sizes.
    #[error("{tensor}: group {group} has {found} inputs, expected {expected} like every other")]
    UnevenGroups {
        /// Tensor name.
        tensor: String,
        /// The group.
        group: usize,
        /// Its size.
        found: usize,
        /// Size of a group.
        expected: usize,
    },
    /// Codes, scales or zero points that cannot be stored.
    #[error(transparent)]
    Quant(#[from] QuantError),
}
