//! Block sparsity: rectangular blocks of weights are kept or pruned as one.
//!
//! Compressed rows of blocks (BSR). The matrix is cut into blocks of `rows x columns` from its first
//! element on; blocks at the lower and right edge are padded with zeros.
//!
//! * **Row starts** `[n_block_rows + 1]`, in blocks: block row `i` has blocks `row_starts[i] ..
//!   row_starts[i + 1]`.
//! * **Block columns** `[max(n_blocks, 1)]`, strictly ascending within a block row.
//! * **Values** `[max(n_blocks, 1), rows * columns]`: a block is one stored row, row major inside.
//!   Scales are per tensor, per block ([`Granularity::Channel`]) or per group, which must tile the
//!   rows of a block.
//!
//! A matrix without blocks stores one block of zeros, in block column 0, that no row refers to: a
//! device buffer cannot be empty.

use std::fmt;

use super::dense::{Dense, check_count, check_dims, check_len, check_row_starts};
use super::error::SparseError;
use super::values::{StoredFormat, ValueFormat, Values};
use crate::num::quant::Granularity;

/// Rows and columns of a block. Displays as `block16x16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockShape {
    rows: u32,
    columns: u32,
}

impl BlockShape {
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
    parts: BlockParts,
}

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
    fn places(&self) -> impl Iterator<Item = [usize; 2]> + '_ {
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

fn check_granularity(
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
