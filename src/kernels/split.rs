//! Cutting a matrix product so that no operand passes the binding limit: by rows of the activations
//! and the output, and by rows of the weight, never along k.

use std::collections::BTreeMap;
use std::ops::Range;

/// A rectangle of the output and the byte range of each operand it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tile {
    /// Rows of the activations and the output.
    pub rows: Range<u32>,
    /// Rows of the weight: columns of the output.
    pub columns: Range<u32>,
    /// Byte range by binding.
    pub ranges: BTreeMap<u32, Range<u64>>,
}

/// Operands of a product: bytes per row of each stream, by binding.
#[derive(Debug, Clone, Default)]
pub(super) struct Streams {
    /// Operands with a row per output row (activations, residual, output).
    pub by_row: Vec<(u32, u64)>,
    /// Operands with a row per output column (codes, scales); 0 bytes a row is never cut.
    pub by_column: Vec<(u32, u64)>,
    /// Operands always bound whole, with their size.
    pub whole: Vec<(u32, u64)>,
}

/// Cuts `rows` by `columns` so that every range fits `limit` bytes and starts at a multiple of
/// `alignment`. `None` when the smallest aligned cut is still too large.
pub(super) fn cut(
    rows: u32,
    columns: u32,
    streams: &Streams,
    limit: u64,
    alignment: u64,
) -> Option<Vec<Tile>> {
    // Columns in pairs: neighbours share a word of an f16 output.
    cut_columns_by(2, (rows, columns), streams, limit, alignment)
}

/// The same with parts that begin at multiples of so many columns.
pub(super) fn cut_columns_by(
    together: u64,
    (rows, columns): (u32, u32),
    streams: &Streams,
    limit: u64,
    alignment: u64,
) -> Option<Vec<Tile>> {
    if streams.whole.iter().any(|(_, bytes)| *bytes > limit) {
        return None;
    }
    let row_chunks = chunks((rows, 1), &streams.by_row, limit, alignment)?;
    let column_chunks = chunks((columns, together), &streams.by_column, limit, alignment)?;
    let mut tiles = Vec::new();
    for row_chunk in &row_chunks {
        for column_chunk in &column_chunks {
            let mut ranges = BTreeMap::new();
            for &(binding, bytes) in &streams.whole {
                ranges.insert(binding, 0..padded(bytes));
            }
            for (list, chunk) in [
                (&streams.by_row, row_chunk),
                (&streams.by_column, column_chunk),
            ] {
                for &(binding, bytes) in list {
                    let range =
                        u64::from(chunk.start) * bytes..padded(u64::from(chunk.end) * bytes);
                    ranges.insert(binding, range);
                }
            }
            tiles.push(Tile {
                rows: row_chunk.clone(),
                columns: column_chunk.clone(),
                ranges,
            });
        }
    }
    Some(tiles)
}

/// Operands are padded to 16 bytes, so the last range may end past its last row.
fn padded(bytes: u64) -> u64 {
    crate::record::padded_bytes(bytes.max(1))
}

fn chunks(
    (extent, multiple): (u32, u64),
    streams: &[(u32, u64)],
    limit: u64,
    alignment: u64,
) -> Option<Vec<Range<u32>>> {
    // Every stream's chunk must start at a multiple of the alignment.
    let mut step = multiple;
    let mut largest: u64 = 1;
    for &(_, bytes) in streams.iter().filter(|(_, bytes)| *bytes > 0) {
        let rows = alignment / gcd(alignment, bytes);
        step = step / gcd(step, rows) * rows;
        largest = largest.max(bytes);
    }
    // Padding may add up to 15 bytes to a range.
    let fitting = limit.saturating_sub(15) / largest;
    let chunk = if u64::from(extent) <= fitting {
        u64::from(extent)
    } else {
        fitting / step * step
    };
    if chunk == 0 {
        return None;
    }
    let starts = (0..u64::from(extent)).step_by(chunk as usize);
    Some(
        starts
            .map(|start| start as u32..(start + chunk).min(extent.into()) as u32)
            .collect(),
    )
}

const fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_cover_everything_once_and_start_aligned() {
        let streams = Streams {
            by_row: vec![(1, 400), (8, 4000)],
            by_column: vec![(2, 208), (3, 8)],
            whole: vec![(6, 4000)],
        };
        let tiles = cut(100, 1000, &streams, 70_000, 256).expect("fits");
        let area: u64 = tiles
            .iter()
            .map(|tile| {
                u64::from(tile.rows.end - tile.rows.start)
                    * u64::from(tile.columns.end - tile.columns.start)
            })
            .sum();
        assert_eq!(area, 100_000);
        for range in tiles.iter().flat_map(|tile| tile.ranges.values()) {
            assert!(range.start % 256 == 0 && range.end - range.start <= 70_000);
        }
    }

    #[test]
    fn what_cannot_be_cut_small_enough_is_refused() {
        let streams = Streams {
            by_column: vec![(2, 208)],
            ..Streams::default()
        };
        assert_eq!(cut(1, 1000, &streams, 1024, 256), None);
        let whole = Streams {
            whole: vec![(6, 4000)],
            ..Streams::default()
        };
        assert_eq!(cut(1, 1, &whole, 1024, 256), None);
    }
}
