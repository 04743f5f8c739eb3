//! Packing a matrix that is pruned by blocks.

use super::parts::check_granularity;
use super::{BlockMatrix, BlockParts, BlockShape};
use crate::num::sparse::dense::{Dense, check_count, check_len};
use crate::num::sparse::error::SparseError;
use crate::num::sparse::values::{ValueFormat, Values};

impl BlockMatrix {
    /// Packs a masked matrix: a block is kept if any of its weights is not zero.
    ///
    /// # Errors
    /// A [`SparseError`] naming the tensor: a shape that is empty or too large, weights that are not
    /// finite or overflow an f16, and what [`Values::pack`] refuses of the kept values, or a group
    /// that does not tile the rows of a block.
    pub fn compress(
        dense: &Dense<'_>,
        shape: BlockShape,
        values: ValueFormat,
    ) -> Result<Self, SparseError> {
        dense.check(values)?;
        let [n_block_rows, n_block_columns] = shape.grid(dense.n, dense.k);
        let mut keep = vec![false; n_block_rows * n_block_columns];
        for (row, weights) in dense.weights.chunks_exact(dense.k).enumerate() {
            let first = row / shape.rows() * n_block_columns;
            for (block_column, piece) in weights.chunks(shape.columns()).enumerate() {
                keep[first + block_column] |= piece.iter().any(|&weight| weight != 0.0);
            }
        }
        Self::pack(dense, shape, &keep, values)
    }

    /// Packs the blocks that `keep [n_block_rows, n_block_columns]` says, zeros or not.
    ///
    /// # Errors
    /// As [`Self::compress`], a list of the wrong length, and [`SparseError::DroppedWeight`] for a
    /// weight in a block that is not kept.
    pub fn compress_kept(
        dense: &Dense<'_>,
        shape: BlockShape,
        keep: &[bool],
        values: ValueFormat,
    ) -> Result<Self, SparseError> {
        dense.check(values)?;
        let [n_block_rows, n_block_columns] = shape.grid(dense.n, dense.k);
        check_len(
            dense.name,
            "keep flags",
            keep.len(),
            n_block_rows * n_block_columns,
        )?;
        let place = |index: usize| [index / dense.k, index % dense.k];
        let is_dropped = |(index, &weight): (usize, &f32)| {
            let [row, column] = place(index);
            let block = row / shape.rows() * n_block_columns + column / shape.columns();
            weight != 0.0 && !keep[block]
        };
        if let Some(index) = dense.weights.iter().enumerate().position(is_dropped) {
            let [row, column] = place(index);
            return Err(SparseError::DroppedWeight {
                tensor: dense.name.to_owned(),
                block_row: row / shape.rows(),
                block_column: column / shape.columns(),
                shape,
                value: dense.weights[index],
                row,
                column,
            });
        }
        Self::pack(dense, shape, keep, values)
    }

    /// Packs the kept blocks of a checked matrix.
    fn pack(
        dense: &Dense<'_>,
        shape: BlockShape,
        keep: &[bool],
        values: ValueFormat,
    ) -> Result<Self, SparseError> {
        let Dense { name, n, k, .. } = *dense;
        check_granularity(name, shape, values.stored())?;
        let [_, n_block_columns] = shape.grid(n, k);
        let n_blocks = keep.iter().filter(|&&keep| keep).count();
        let n_values = n_blocks.max(1).checked_mul(shape.area());
        let n_values = check_count(name, "stored values", [n, k], n_values)?;
        let mut row_starts = vec![0];
        let mut block_columns = Vec::with_capacity(n_blocks.max(1));
        let mut stored = Vec::with_capacity(n_values);
        for (block_row, keep) in keep.chunks_exact(n_block_columns).enumerate() {
            for (block_column, _) in keep.iter().enumerate().filter(|&(_, &keep)| keep) {
                block_columns.push(block_column as u32);
                append_block(dense, shape, [block_row, block_column], &mut stored);
            }
            row_starts.push(block_columns.len() as u32);
        }
        if block_columns.is_empty() {
            block_columns.push(0);
            stored.resize(shape.area(), 0.0);
        }
        let values = Values::pack(name, values, [block_columns.len(), shape.area()], &stored)?;
        let parts = BlockParts {
            n,
            k,
            shape,
            row_starts,
            block_columns,
            values,
        };
        Ok(Self { parts })
    }
}

/// Appends one block, padded with zeros.
fn append_block(
    dense: &Dense<'_>,
    shape: BlockShape,
    [block_row, block_column]: [usize; 2],
    stored: &mut Vec<f32>,
) {
    let [top, left] = [block_row * shape.rows(), block_column * shape.columns()];
    let end = stored.len() + shape.area();
    let width = shape.columns().min(dense.k - left);
    for row in top..dense.n.min(top + shape.rows()) {
        stored.extend_from_slice(&dense.weights[row * dense.k + left..][..width]);
        stored.resize(stored.len() + shape.columns() - width, 0.0);
    }
    stored.resize(end, 0.0);
}
