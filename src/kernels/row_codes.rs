//! Activations in int8, as `quantize_rows` writes them and the integer products read them.
//!
//! Codes: `[m, row_words]`, four a word, rows padded to 16 bytes with zeros. Blocks: one buffer that
//! holds scales f32 `[m, segments]`, then sums of codes i32 `[m, segments]`. A segment is the run of
//! elements whose codes share a sum; the scale of a larger block is repeated for each of its segments.

use super::shape::{ShapeError, check_extents, check_index, check_multiple};
use super::weight::STEP;

/// Shape of quantized rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowCodes {
    pub m: u32,
    pub k: u32,
    /// Elements that share a sum: divides k, and is a multiple of 8 unless it is the whole row.
    pub segment: u32,
}

impl RowCodes {
    /// Checks extents and the segment.
    pub fn check(self, kernel: &'static str) -> Result<Self, ShapeError> {
        let extents = [("m", self.m), ("k", self.k), ("segment", self.segment)];
        check_extents(kernel, &extents.map(|(name, value)| (name, value.into())))?;
        check_multiple(
            kernel,
            ("k", self.k.into()),
            ("segment", self.segment.into()),
        )?;
        if self.segment != self.k {
            check_multiple(
                kernel,
                ("segment", self.segment.into()),
                ("one shader step,", STEP.into()),
            )?;
        }
        let m = u64::from(self.m);
        check_index(kernel, "m * k", 4 * m * u64::from(self.row_words()))?;
        check_index(kernel, "m * segments", 2 * m * u64::from(self.segments()))?;
        Ok(self)
    }

    pub const fn segments(self) -> u32 {
        self.k / self.segment
    }

    pub const fn row_words(self) -> u32 {
        self.k.div_ceil(4).next_multiple_of(4)
    }

    pub fn code_bytes(self) -> u64 {
        4 * u64::from(self.m) * u64::from(self.row_words())
    }

    pub fn block_bytes(self) -> u64 {
        8 * u64::from(self.m) * u64::from(self.segments())
    }

    /// Word of `blocks` that holds a segment's scale.
    pub const fn scale_at(self, row: usize, segment: usize) -> usize {
        row * self.segments() as usize + segment
    }

    /// Word of `blocks` that holds a segment's sum.
    pub const fn sum_at(self, row: usize, segment: usize) -> usize {
        (self.m as usize + row) * self.segments() as usize + segment
    }

    /// Code of an element.
    pub fn code(self, words: &[u32], row: usize, column: usize) -> i32 {
        let word = words[row * self.row_words() as usize + column / 4];
        i32::from((word >> (8 * (column % 4))) as u8 as i8)
    }
}
