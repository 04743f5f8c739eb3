//! A packed block matrix and what can be asked of it.

use super::BlockShape;
use crate::num::sparse::values::Values;

/// The parts of a [`BlockMatrix`], not yet trusted.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockParts {
    /// Rows.
    pub n: usize,
    /// Columns.
    pub k: usize,
    /// Rows and columns of a block.
    pub shape: BlockShape,
    /// `[n_block_rows + 1]`, in blocks.
    pub row_starts: Vec<u32>,
    /// `[max(n_blocks, 1)]`, in blocks.
    pub block_columns: Vec<u32>,
    /// `[max(n_blocks, 1), rows * columns]`
    pub values: Values,
}

/// An `[n, k]` matrix of kept blocks. Immutable; every block lies on the grid.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockMatrix {
    pub(super) parts: BlockParts,
}

impl BlockMatrix {
    /// Rows, output features.
    #[must_use]
    pub fn n(&self) -> usize {
        self.parts.n
    }

    /// Columns, input features.
    #[must_use]
    pub fn k(&self) -> usize {
        self.parts.k
    }

    /// Rows and columns of a block.
    #[must_use]
    pub fn shape(&self) -> BlockShape {
        self.parts.shape
    }

    /// Rows of blocks.
    #[must_use]
    pub fn n_block_rows(&self) -> usize {
        self.parts.row_starts.len() - 1
    }

    /// Blocks kept; may be 0, when one is stored all the same.
    #[must_use]
    pub fn n_blocks(&self) -> usize {
        self.parts.row_starts[self.n_block_rows()] as usize
    }

    /// `[n_block_rows + 1]`: where the blocks of a block row begin.
    #[must_use]
    pub fn row_starts(&self) -> &[u32] {
        &self.parts.row_starts
    }

    /// `[max(n_blocks, 1)]`: the block column of each block.
    #[must_use]
    pub fn block_columns(&self) -> &[u32] {
        &self.parts.block_columns
    }

    /// `[max(n_blocks, 1), rows * columns]`: the blocks, row major.
    #[must_use]
    pub fn values(&self) -> &Values {
        &self.parts.values
    }

    /// The dense matrix `[n, k]`, pruned weights +0.
    #[must_use]
    pub fn decompress(&self) -> Vec<f32> {
        let mut weights = vec![0.0; self.n() * self.k()];
        let (n, k, shape) = (self.n(), self.k(), self.shape());
        let values = self.parts.values.to_f32();
        for (block, [top, left]) in self.places().enumerate() {
            let block = &values[block * shape.area()..][..shape.area()];
            let width = shape.columns().min(k - left);
            let rows = (top..n).zip(block.chunks_exact(shape.columns()));
            for (row, values) in rows {
                weights[row * k + left..][..width].copy_from_slice(&values[..width]);
            }
        }
        weights
    }

    /// Device bytes of values, scales, block columns and row starts, padding included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let lists = self.parts.block_columns.len() + self.parts.row_starts.len();
        self.parts.values.bytes() + 4 * lists
    }

    /// The parts, to be stored.
    #[must_use]
    pub fn into_parts(self) -> BlockParts {
        self.parts
    }

    /// Row and column of the first weight of each block.
    pub(super) fn places(&self) -> impl Iterator<Item = [usize; 2]> + '_ {
        let (shape, columns) = (self.shape(), &self.parts.block_columns);
        let block_rows = self.parts.row_starts.windows(2).enumerate();
        block_rows.flat_map(move |(block_row, pair)| {
            let blocks = &columns[pair[0] as usize..pair[1] as usize];
            blocks.iter().map(move |&block_column| {
                [
                    block_row * shape.rows(),
                    block_column as usize * shape.columns(),
                ]
            })
        })
    }
}
