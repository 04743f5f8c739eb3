//! Why blocks could not be read or made: each message names the tensor, the value and what is allowed.

use super::GgmlType;
use crate::num::quant::{QuantError, QuantFormat};

/// A refused tensor. Matrices are `[n, k]`, `k` consecutive in memory.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GgmlError {
    /// A row is no whole number of blocks.
    #[error(
        "{tensor}: rows of {k} are not a multiple of {block}, the weights in a block of {kind}"
    )]
    RowLength {
        /// Tensor name.
        tensor: String,
        /// Its type.
        kind: GgmlType,
        /// Weights in a row.
        k: usize,
        /// Weights in a block.
        block: usize,
    },
    /// The data is not as long as shape and type need.
    #[error("{tensor}: {n} x {k} of {kind} calls for {expected} {what}, found {found}")]
    WrongLength {
        /// Tensor name.
        tensor: String,
        /// Its type.
        kind: GgmlType,
        /// What is counted: bytes or weights.
        what: &'static str,
        /// Length given.
        found: usize,
        /// Length called for; `usize::MAX` where it cannot be counted.
        expected: usize,
        /// Rows.
        n: usize,
        /// Weights in a row.
        k: usize,
    },
    /// The type holds floats, which have no codes to repack.
    #[error("{tensor}: {kind} holds floats, not codes; allowed: quantized types")]
    NotQuantized {
        /// Tensor name.
        tensor: String,
        /// Its type.
        kind: GgmlType,
    },
    /// The type can be read but not written.
    #[error("{tensor}: {kind} cannot be written; allowed: F32, F16, BF16, Q4_0, Q4_1, Q8_0")]
    NotWritable {
        /// Tensor name.
        tensor: String,
        /// The type asked for.
        kind: GgmlType,
    },
    /// A quantized matrix is stored in a way that no block format holds.
    #[error(
        "{tensor}: no block format holds {format}; allowed: int4-g32 (Q4_0), int4-g32-min (Q4_1) and \
         int8-g32 (Q8_0), all with f16 scales"
    )]
    NoBlocks {
        /// Tensor name.
        tensor: String,
        /// How the matrix is stored.
        format: QuantFormat,
    },
    /// Weights that cannot be quantized, or codes and scales that cannot be stored.
    #[error(transparent)]
    Quant(#[from] QuantError),
}
