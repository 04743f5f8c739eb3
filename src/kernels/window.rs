//! Strided rectangles of 32-bit words inside a binding, and cutting them to a binding limit.

use std::ops::Range;

use crate::record::padded_bytes;

/// Where a rectangle lies: its first word, and the words from one row to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub offset: u32,
    pub row_stride: u32,
}

impl Window {
    /// Word behind the last one of a rectangle of `rows` by `columns`, both at least 1.
    pub fn end(self, rows: u32, columns: u32) -> u64 {
        u64::from(self.offset)
            + u64::from(rows - 1) * u64::from(self.row_stride)
            + u64::from(columns)
    }

    /// The part of the rectangle at `rows` and `columns`: its bytes, from a multiple of `alignment`,
    /// and where it lies in them.
    pub fn part(
        self,
        rows: &Range<u32>,
        columns: &Range<u32>,
        alignment: u64,
    ) -> (Self, Range<u64>) {
        let word = |row: u32, column: u32| {
            u64::from(self.offset) + u64::from(row) * u64::from(self.row_stride) + u64::from(column)
        };
        let first = 4 * word(rows.start, columns.start);
        let start = first / alignment * alignment;
        let end = padded_bytes(4 * word(rows.end - 1, columns.end));
        // Less than the alignment, so it fits.
        let offset = ((first - start) / 4) as u32;
        (Self { offset, ..self }, start..end)
    }

    /// Largest `(rows, columns)` of a part that fits `max_bytes`, for rows of `columns` words. Columns
    /// stay a multiple of 4 where they are cut. `None` when not even 4 words fit.
    pub fn fitting(self, columns: u32, max_bytes: u64, alignment: u64) -> Option<(u32, u32)> {
        // A part may start up to an alignment early and end up to 15 bytes late.
        let words = max_bytes.saturating_sub(alignment + 15) / 4;
        if words < 4 {
            return None;
        }
        if u64::from(columns) > words {
            return Some((1, u32::try_from(words / 4 * 4).ok()?));
        }
        let more = (words - u64::from(columns)).checked_div(u64::from(self.row_stride));
        let rows = more.map_or(u64::from(u32::MAX), |more| more + 1);
        Some((u32::try_from(rows).unwrap_or(u32::MAX), columns))
    }
}

/// Ranges of at most `step` that cover `0..extent`.
pub(super) fn ranges(extent: u32, step: u32) -> Vec<Range<u32>> {
    let step = step.max(1);
    let end = |start: u32| start.saturating_add(step).min(extent);
    (0..extent)
        .step_by(step as usize)
        .map(|start| start..end(start))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_starts_aligned_and_ends_behind_its_last_word() {
        let window = Window {
            offset: 10,
            row_stride: 100,
        };
        let (part, bytes) = window.part(&(2..4), &(3..7), 256);
        assert_eq!(bytes, 768..1280);
        assert_eq!(
            part,
            Window {
                offset: 213 - 192,
                row_stride: 100
            }
        );
        assert_eq!(window.end(4, 7), 317);
    }

    #[test]
    fn rows_are_cut_before_columns() {
        let window = Window {
            offset: 0,
            row_stride: 100,
        };
        assert_eq!(window.fitting(50, 2048, 256), Some((4, 50)));
        assert_eq!(window.fitting(1000, 2048, 256), Some((1, 444)));
        assert_eq!(window.fitting(1000, 256, 256), None);
        let repeated = Window {
            offset: 0,
            row_stride: 0,
        };
        assert_eq!(repeated.fitting(50, 2048, 256), Some((u32::MAX, 50)));
    }
}
