//! Why a pruned matrix could not be packed, or its parts not be trusted: each message names the
//! tensor, the place, the value and what is allowed.

use super::block::BlockShape;
use super::nm::NmPattern;
use crate::num::quant::{Granularity, QuantError};

/// A refused input. Matrices are `[n, k]`: `n` output features, `k` input features.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SparseError {
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
    /// Kernels address weights and packed words with a u32.
    #[error(
        "{tensor}: {n} x {k} has more than {max} {what}, the most that a u32 can count",
        max = u32::MAX
    )]
    TooLarge {
        /// Tensor name.
        tensor: String,
        /// What is counted.
        what: &'static str,
        /// Rows.
        n: usize,
        /// Columns.
        k: usize,
    },
    /// A list does not have the length that the shape calls for.
    #[error("{tensor}: {expected} {what} are called for, found {found}")]
    WrongLength {
        /// Tensor name.
        tensor: String,
        /// What is counted.
        what: &'static str,
        /// Length given.
        found: usize,
        /// Length called for.
        expected: usize,
    },
    /// A weight is NaN or infinite.
    #[error("{tensor}: {value} in row {row}, column {column}; every weight must be finite")]
    NotFinite {
        /// Tensor name.
        tensor: String,
        /// The value found.
        value: f32,
        /// Row of the weight, or of the stored value.
        row: usize,
        /// Its column.
        column: usize,
    },
    /// A weight rounds to an infinite f16.
    #[error(
        "{tensor}: {value} in row {row}, column {column} is too large; the largest f16 is 65504"
    )]
    F16Overflow {
        /// Tensor name.
        tensor: String,
        /// The value found.
        value: f32,
        /// Row of the weight, or of the stored value.
        row: usize,
        /// Its column.
        column: usize,
    },
    /// Quantized values have zero points, under which a pruned weight need not be zero.
    #[error("{tensor}: values with zero points; pruned weights need a symmetric scheme")]
    ZeroPoint {
        /// Tensor name.
        tensor: String,
    },
    /// The format does not offer this granularity of scales.
    #[error("{tensor}: scales per {granularity:?}; allowed: {allowed}")]
    Granularity {
        /// Tensor name.
        tensor: String,
        /// What was asked for.
        granularity: Granularity,
        /// What the format offers.
        allowed: String,
    },
    /// The stored values cannot be quantized.
    #[error(transparent)]
    Quant(#[from] QuantError),
    /// The stored values have another shape than the format calls for.
    #[error(
        "{tensor}: stored values of {found_rows} x {found_columns}; \
         the format calls for {rows} x {columns}"
    )]
    ValueShape {
        /// Tensor name.
        tensor: String,
        /// Rows given.
        found_rows: usize,
        /// Columns given.
        found_columns: usize,
        /// Rows called for.
        rows: usize,
        /// Columns called for.
        columns: usize,
    },
    /// What lies outside the matrix must be zero.
    #[error("{tensor}: {what} {index} is not zero; padding must be")]
    Padding {
        /// Tensor name.
        tensor: String,
        /// What is padded.
        what: &'static str,
        /// Which one of them.
        index: usize,
    },

    /// No such N:M pattern.
    #[error(
        "pattern {n}:{m} in vectors of {vector}; \
         allowed: 1 <= n <= m, m from 2 to 16, vectors of 1, 8, 16 or 32 rows"
    )]
    Pattern {
        /// Weights kept.
        n: u32,
        /// Out of so many.
        m: u32,
        /// Rows that share indices.
        vector: u32,
    },
    /// Groups must tile a row.
    #[error("{tensor}: k = {k} is not a multiple of {m}, the group of pattern {pattern}")]
    KNotMultipleOfGroup {
        /// Tensor name.
        tensor: String,
        /// Columns.
        k: usize,
        /// Group length.
        m: u32,
        /// The pattern.
        pattern: NmPattern,
    },
    /// More columns of a group hold weights than the pattern keeps.
    #[error(
        "{tensor}: {found} columns of group {group} hold nonzero weights in rows {row}..{row_end}; \
         pattern {pattern} keeps {}",
        pattern.n()
    )]
    TooManyKept {
        /// Tensor name.
        tensor: String,
        /// First row of the vector.
        row: usize,
        /// One past its last row.
        row_end: usize,
        /// Group within the row.
        group: usize,
        /// Columns with a nonzero weight in any of these rows.
        found: u32,
        /// The pattern.
        pattern: NmPattern,
    },
    /// An index points past its group.
    #[error(
        "{tensor}: index {index} at position {position} of row {row} (vector {vector}, group {group}); \
         pattern {pattern} allows 0 to {}",
        pattern.m() - 1
    )]
    IndexOutOfRange {
        /// Tensor name.
        tensor: String,
        /// First row of the vector.
        row: usize,
        /// Vector of rows.
        vector: usize,
        /// Group within the row.
        group: usize,
        /// Position among the kept weights of a row.
        position: usize,
        /// The index found.
        index: u32,
        /// The pattern.
        pattern: NmPattern,
    },
    /// Indices of a group are not strictly ascending.
    #[error(
        "{tensor}: index {index} at position {position} of row {row} (vector {vector}, group {group}) \
         follows {previous}; indices of a group must ascend"
    )]
    IndexNotAscending {
        /// Tensor name.
        tensor: String,
        /// First row of the vector.
        row: usize,
        /// Vector of rows.
        vector: usize,
        /// Group within the row.
        group: usize,
        /// Position among the kept weights of a row.
        position: usize,
        /// The index found.
        index: u32,
        /// The one before it.
        previous: u32,
    },

    /// No such block shape.
    #[error("blocks of {rows} x {columns}; allowed: multiples of 8 from 8 to 128")]
    BlockShape {
        /// Rows of a block.
        rows: u32,
        /// Columns of a block.
        columns: u32,
    },
    /// A block that is not on the list of kept ones holds a weight.
    #[error(
        "{tensor}: block ({block_row}, {block_column}) of {shape} is not kept, \
         but holds {value} in row {row}, column {column}"
    )]
    DroppedWeight {
        /// Tensor name.
        tensor: String,
        /// Row of the block.
        block_row: usize,
        /// Column of the block.
        block_column: usize,
        /// Shape of the blocks.
        shape: BlockShape,
        /// The weight.
        value: f32,
        /// Its row.
        row: usize,
        /// Its column.
        column: usize,
    },
    /// A block lies past the last block column.
    #[error(
        "{tensor}: block {block} of block row {block_row} has block column {column}; \
         allowed: 0 to {max}"
    )]
    BlockColumnOutOfRange {
        /// Tensor name.
        tensor: String,
        /// Row of blocks.
        block_row: usize,
        /// Index into the list of blocks.
        block: usize,
        /// The block column found.
        column: u32,
        /// The last one.
        max: usize,
    },
    /// Blocks of a block row are not strictly ascending.
    #[error(
        "{tensor}: block {block} of block row {block_row} has block column {column} \
         after {previous}; block columns must ascend"
    )]
    BlockColumnNotAscending {
        /// Tensor name.
        tensor: String,
        /// Row of blocks.
        block_row: usize,
        /// Index into the list of blocks.
        block: usize,
        /// The block column found.
        column: u32,
        /// The one before it.
        previous: u32,
    },

    /// The list of row starts does not begin with 0.
    #[error("{tensor}: the first row starts at {found}; it must start at 0")]
    FirstRowStart {
        /// Tensor name.
        tensor: String,
        /// The start found.
        found: u32,
    },
    /// A row ends before it begins.
    #[error("{tensor}: row {row} starts at {start} and ends at {end}; row starts must not descend")]
    RowStartsDescend {
        /// Tensor name.
        tensor: String,
        /// The row, or the row of blocks.
        row: usize,
        /// Its start.
        start: u32,
        /// Its end.
        end: u32,
    },
    /// A row does not have a whole number of entries to load at once.
    #[error("{tensor}: row {row} ends at entry {end}; allowed: multiples of {multiple}")]
    RowStartNotMultiple {
        /// Tensor name.
        tensor: String,
        /// The row.
        row: usize,
        /// Its end.
        end: u32,
        /// What it must be a multiple of.
        multiple: usize,
    },
    /// An entry lies past the last column.
    #[error("{tensor}: entry {entry} of row {row} is at column {column}; allowed: 0 to {max}")]
    ColumnOutOfRange {
        /// Tensor name.
        tensor: String,
        /// The row.
        row: usize,
        /// Entry within the row.
        entry: usize,
        /// Its column.
        column: u64,
        /// The last column.
        max: usize,
    },
    /// An entry stands on the column of the one before it.
    #[error(
        "{tensor}: entry {entry} of row {row} holds {value} after a delta of 0, \
         which is for zeros at the end of a row"
    )]
    RepeatedColumn {
        /// Tensor name.
        tensor: String,
        /// The row.
        row: usize,
        /// Entry within the row.
        entry: usize,
        /// Its value.
        value: f32,
    },
    /// An entry follows the padding of its row.
    #[error(
        "{tensor}: entry {entry} of row {row} has delta {delta} after padding; padding ends a row"
    )]
    EntryAfterPadding {
        /// Tensor name.
        tensor: String,
        /// The row.
        row: usize,
        /// Entry within the row.
        entry: usize,
        /// Its delta.
        delta: u32,
    },
}
