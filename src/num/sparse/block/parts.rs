//! Checks of block parts that were made elsewhere.

use super::{BlockMatrix, BlockParts, BlockShape};
use crate::num::quant::Granularity;
use crate::num::sparse::dense::{check_dims, check_len, check_row_starts};
use crate::num::sparse::error::SparseError;
use crate::num::sparse::values::StoredFormat;

impl BlockMatrix {
    /// Takes parts that were made elsewhere.
    ///
    /// # Errors
    /// A [`SparseError`] naming `tensor`: a shape that is empty or too large, row starts that do not
    /// ascend from 0, lists or values that do not match them, block columns past the grid or not
    /// ascending, scales of a granularity that blocks do not have, and padding that is not zero.
    pub fn from_parts(tensor: &str, parts: BlockParts) -> Result<Self, SparseError> {
        let shape = parts.shape;
        check_dims(tensor, parts.n, parts.k)?;
        let [n_block_rows, n_block_columns] = shape.grid(parts.n, parts.k);
        let n_blocks = check_row_starts(tensor, &parts.row_starts, n_block_rows, 1)?;
        let n_stored = n_blocks.max(1);
        check_len(tensor, "block columns", parts.block_columns.len(), n_stored)?;
        parts.values.check(tensor, [n_stored, shape.area()])?;
        check_granularity(tensor, shape, parts.values.format())?;
        for block_row in 0..n_block_rows {
            check_block_row(tensor, &parts, block_row, n_block_columns)?;
        }
        let matrix = Self { parts };
        matrix.check_padding(tensor)?;
        Ok(matrix)
    }

    /// Refuses values outside the matrix, and a block of nothing that is not zero.
    fn check_padding(&self, tensor: &str) -> Result<(), SparseError> {
        let (n, k, shape) = (self.n(), self.k(), self.shape());
        let values = self.parts.values.to_f32();
        if self.n_blocks() == 0 && self.parts.block_columns[0] != 0 {
            return Err(SparseError::Padding {
                tensor: tensor.to_owned(),
                what: "the column of unused block",
                index: 0,
            });
        }
        // A matrix without blocks lies wholly outside the one that is stored.
        let outside = (self.n_blocks() == 0).then_some([n, k]);
        for (block, [top, left]) in self.places().chain(outside).enumerate() {
            let values = &values[block * shape.area()..][..shape.area()];
            let is_bad = |(index, &value): (usize, &f32)| {
                let [row, column] = [index / shape.columns(), index % shape.columns()];
                value != 0.0 && (top + row >= n || left + column >= k)
            };
            if values.iter().enumerate().any(is_bad) {
                return Err(SparseError::Padding {
                    tensor: tensor.to_owned(),
                    what: "what lies outside the matrix of block",
                    index: block,
                });
            }
        }
        Ok(())
    }
}

pub(super) fn check_granularity(
    tensor: &str,
    shape: BlockShape,
    values: StoredFormat,
) -> Result<(), SparseError> {
    match values.granularity() {
        Some(granularity @ Granularity::Group(size))
            if size == 0 || !shape.columns.is_multiple_of(size) =>
        {
            Err(SparseError::Granularity {
                tensor: tensor.to_owned(),
                granularity,
                allowed: format!(
                    "a tensor, a channel (a block) or a divisor of {}",
                    shape.columns
                ),
            })
        }
        Some(Granularity::Tensor | Granularity::Channel | Granularity::Group(_)) | None => Ok(()),
    }
}

/// Refuses block columns of a block row that are past the grid or not ascending.
fn check_block_row(
    tensor: &str,
    parts: &BlockParts,
    block_row: usize,
    n_block_columns: usize,
) -> Result<(), SparseError> {
    let blocks = parts.row_starts[block_row] as usize..parts.row_starts[block_row + 1] as usize;
    let mut previous = None;
    for block in blocks {
        let column = parts.block_columns[block];
        if column as usize >= n_block_columns {
            return Err(SparseError::BlockColumnOutOfRange {
                tensor: tensor.to_owned(),
                block_row,
                block,
                column,
                max: n_block_columns - 1,
            });
        }
        if let Some(previous) = previous.filter(|&previous| column <= previous) {
            return Err(SparseError::BlockColumnNotAscending {
                tensor: tensor.to_owned(),
                block_row,
                block,
                column,
                previous,
            });
        }
        previous = Some(column);
    }
    Ok(())
}
