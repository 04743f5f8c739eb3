//! Block sparsity: rectangular blocks of weights are kept or pruned as one.
//!
//! Compressed rows of blocks (BSR). The matrix is cut into blocks of `rows x columns` from its first
//! element on; blocks at the lower and right edge are padded with zeros.
//!
//! * **Row starts** `[n_block_rows + 1]`, in blocks: block row `i` has blocks `row_starts[i] ..
//!   row_starts[i + 1]`.
//! * **Block columns** `[max(n_blocks, 1)]`, strictly ascending within a block row.
//! * **Values** `[max(n_blocks, 1), rows * columns]`: a block is one stored row, row major inside.
//!   Scales are per tensor, per block
//!   ([`Channel`](crate::num::quant::Granularity::Channel)) or per group, which must tile the rows
//!   of a block.
//!
//! A matrix without blocks stores one block of zeros, in block column 0, that no row refers to: a
//! device buffer cannot be empty.

mod compress;
mod matrix;
mod parts;

use std::fmt;

use super::error::SparseError;
use super::values::StoredFormat;

pub use matrix::{BlockMatrix, BlockParts};

/// Rows and columns of a block. Displays as `block16x16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockShape {
    rows: u32,
    columns: u32,
}

impl BlockShape {
    /// 16 x 16.
    pub const SIXTEEN: Self = Self {
        rows: 16,
        columns: 16,
    };

    /// Blocks of `rows x columns`.
    ///
    /// # Errors
    /// [`SparseError::BlockShape`] unless both are multiples of 8 from 8 to 128.
    pub fn new(rows: u32, columns: u32) -> Result<Self, SparseError> {
        let is_allowed = |side: u32| (8..=128).contains(&side) && side.is_multiple_of(8);
        if is_allowed(rows) && is_allowed(columns) {
            Ok(Self { rows, columns })
        } else {
            Err(SparseError::BlockShape { rows, columns })
        }
    }

    /// Rows of a block.
    #[must_use]
    pub const fn rows(self) -> usize {
        self.rows as usize
    }

    /// Columns of a block.
    #[must_use]
    pub const fn columns(self) -> usize {
        self.columns as usize
    }

    /// Weights in a block.
    #[must_use]
    pub const fn area(self) -> usize {
        self.rows() * self.columns()
    }

    /// Rows and columns of blocks that cover an `[n, k]` matrix.
    #[must_use]
    pub const fn grid(self, n: usize, k: usize) -> [usize; 2] {
        [n.div_ceil(self.rows()), k.div_ceil(self.columns())]
    }

    /// Bytes of an `[n, k]` matrix of which `n_blocks` blocks are kept: `n_blocks (area b + 4) + 4
    /// (n_block_rows + 1)`, where `b` is [`StoredFormat::bytes_per_value`].
    #[must_use]
    pub fn expected_bytes(self, n: usize, k: usize, n_blocks: usize, values: StoredFormat) -> f64 {
        let area = self.area() as f64;
        let [n_block_rows, _] = self.grid(n, k);
        n_blocks as f64 * (area * values.bytes_per_value(area) + 4.0)
            + 4.0 * (n_block_rows + 1) as f64
    }
}

impl fmt::Display for BlockShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block{}x{}", self.rows, self.columns)
    }
}
