//! Scores of units: f32 sums whose every bit is defined.
//!
//! The result of an f32 addition is the nearest f32, ties to even. WGSL would allow the other
//! neighbour; no driver the project has met takes it, and `verify` shows it where one does.

use super::Units;

/// The bits of every NaN that a sum makes.
const NAN: u32 = 0x7fc0_0000;

/// `a + b` with subnormals taken and returned as +0, -0 as +0, and one NaN.
#[must_use]
pub fn add_scores(a: f32, b: f32) -> f32 {
    canonical(canonical(a) + canonical(b))
}

fn canonical(value: f32) -> f32 {
    let bits = value.to_bits();
    match bits & 0x7fff_ffff {
        magnitude if magnitude < 0x0080_0000 => 0.0,
        magnitude if magnitude > 0x7f80_0000 => f32::from_bits(NAN),
        _ => value,
    }
}

/// The sum over each unit of `values [n, k]`, as `[ceil(n / rows), ceil(k / columns)]`: from 0, row by
/// row, in a row from left to right, with [`add_scores`]. Units at the edges are shorter.
///
/// # Panics
/// When there are fewer values than `n * k` or a unit has no rows or columns: a caller's bug.
#[must_use]
pub fn unit_sums(values: &[f32], n: usize, k: usize, units: Units) -> Vec<f32> {
    let [unit_rows, unit_columns] = units.count(n, k);
    let mut sums = vec![0.0; unit_rows * unit_columns];
    // A row after the other adds to its units in the stated order.
    for (row, values) in values[..n * k].chunks_exact(k).enumerate() {
        let start = row / units.rows * unit_columns;
        let row_sums = &mut sums[start..start + unit_columns];
        for (sum, values) in row_sums.iter_mut().zip(values.chunks(units.columns)) {
            *sum = values.iter().fold(*sum, |sum, &one| add_scores(sum, one));
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnormals_count_as_zero_before_and_after_an_addition() {
        let (tiny, smallest) = (f32::from_bits(0x0070_0000), f32::MIN_POSITIVE);
        assert_eq!(add_scores(tiny, tiny).to_bits(), 0);
        assert_eq!(add_scores(-0.0, -0.0).to_bits(), 0);
        assert_eq!(add_scores(smallest, -1.5 * smallest).to_bits(), 0);
        assert_eq!(add_scores(smallest, smallest), 2.0 * smallest);
        assert_eq!(add_scores(f32::INFINITY, f32::NEG_INFINITY).to_bits(), NAN);
    }

    #[test]
    fn units_at_the_edges_are_shorter() {
        let values: Vec<f32> = (1u8..=15).map(f32::from).collect();
        let units = Units {
            rows: 2,
            columns: 3,
        };
        // 1 2 3 | 4 5
        // 6 7 8 | 9 10
        // ------+-----
        // 11 12 13 | 14 15
        assert_eq!(unit_sums(&values, 3, 5, units), [27.0, 28.0, 36.0, 29.0]);
    }

    #[test]
    fn the_order_is_row_by_row_from_left_to_right() {
        let values = [1.0, 1e8, -1e8, 1.0];
        let units = Units {
            rows: 2,
            columns: 2,
        };
        // (1 + 1e8) loses the 1; another order would not.
        assert_eq!(unit_sums(&values, 2, 2, units), [1.0]);
        let turned = [1e8, -1e8, 1.0, 1.0];
        assert_eq!(unit_sums(&turned, 2, 2, units), [2.0]);
    }
}
