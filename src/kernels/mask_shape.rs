//! What the mask kernels share: a matrix in units, its mask's words, and how both are cut by rows.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::num::mask::{Mask, Units};
use crate::record::padded_bytes;

use super::shape::{ShapeError, check_extents, check_index};
use super::split::{Streams, Tile, cut};

/// A matrix `[n, k]` of weights whose elements are kept or dropped by units of `unit_rows` by
/// `unit_columns`, shorter at the edges. Its mask is `[n, row_words]` words: bit `j % 32` of word
/// `j / 32` of a row is column `j`, padding bits are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskShape {
    /// Rows.
    pub n: u32,
    /// Columns.
    pub k: u32,
    /// Rows of a unit.
    pub unit_rows: u32,
    /// Columns of a unit.
    pub unit_columns: u32,
}

impl MaskShape {
    /// Words of a row of the mask.
    pub const fn row_words(&self) -> u32 {
        self.k.div_ceil(32)
    }

    /// Rows and columns of units.
    pub const fn units(&self) -> [u32; 2] {
        [
            self.n.div_ceil(self.unit_rows),
            self.k.div_ceil(self.unit_columns),
        ]
    }

    /// All units.
    pub(super) fn unit_count(&self) -> u64 {
        let [rows, columns] = self.units();
        u64::from(rows) * u64::from(columns)
    }

    /// All words of the mask.
    pub(super) fn word_count(&self) -> u64 {
        u64::from(self.n) * u64::from(self.row_words())
    }

    pub(super) fn check(&self, kernel: &'static str) -> Result<(), ShapeError> {
        let extents = [
            ("n", self.n),
            ("k", self.k),
            ("unit_rows", self.unit_rows),
            ("unit_columns", self.unit_columns),
        ];
        check_extents(kernel, &extents.map(|(name, value)| (name, value.into())))?;
        check_index(kernel, "n * k", u64::from(self.n) * u64::from(self.k))
    }

    pub(super) const fn as_units(&self) -> Units {
        Units {
            rows: self.unit_rows as usize,
            columns: self.unit_columns as usize,
        }
    }

    /// Words of the mask in which unit `(row, column)`, counted from `first_row` of a larger matrix, has
    /// its bit from `keep`.
    pub(super) fn words(&self, first_row: u32, keep: impl Fn(usize, usize) -> bool) -> Vec<u32> {
        let (first_row, units) = (first_row as usize, self.as_units());
        let mask = Mask::from_fn(self.n as usize, self.k as usize, |row, column| {
            keep((first_row + row) / units.rows, column / units.columns)
        });
        mask.words().to_vec()
    }

    /// `n=8 k=96` and, where units are more than elements, ` units=4x32`.
    pub(super) fn describe(&self) -> String {
        let Self {
            n,
            k,
            unit_rows,
            unit_columns,
        } = self;
        if (*unit_rows, *unit_columns) == (1, 1) {
            format!("n={n} k={k}")
        } else {
            format!("n={n} k={k} units={unit_rows}x{unit_columns}")
        }
    }

    /// Cuts the rows of the matrix. `by_row` are the bytes of one row by binding, `by_unit_row` those of
    /// one row of units: cut too when that is one row, else bound whole.
    pub(super) fn cut_rows(
        &self,
        mut by_row: Vec<(u32, u64)>,
        by_unit_row: &[(u32, u64)],
        mut whole: Vec<(u32, u64)>,
        (limit, alignment): (u64, u64),
    ) -> Option<Vec<RowPart>> {
        if self.unit_rows == 1 {
            by_row.extend(by_unit_row);
        } else {
            let [rows, _] = self.units();
            let all = |&(binding, bytes): &(u32, u64)| (binding, u64::from(rows) * bytes);
            whole.extend(by_unit_row.iter().map(all));
        }
        let streams = Streams {
            by_row,
            by_column: Vec::new(),
            whole,
        };
        let tiles = cut(self.n, 1, &streams, limit, alignment)?;
        let part = |tile: Tile| RowPart {
            shape: Self {
                n: tile.rows.end - tile.rows.start,
                ..*self
            },
            start: tile.rows.start,
            ranges: tile.ranges,
        };
        Some(tiles.into_iter().map(part).collect())
    }
}

/// Some rows of a matrix.
pub(super) struct RowPart {
    pub shape: MaskShape,
    /// First row.
    pub start: u32,
    pub ranges: BTreeMap<u32, Range<u64>>,
}

/// A range that ends with an operand of `bytes` bytes, when its last row is shorter than the others.
pub(super) fn within(range: &Range<u64>, bytes: u64) -> Range<u64> {
    range.start..range.end.min(padded_bytes(bytes))
}
