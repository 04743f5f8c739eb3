//! From scores to masks: the definition that kernels are tested against.

use super::{
    Amount, Contest, Mask, MaskError, Pattern, Units, cut_off, keeps_of_group, score_key, unit_sums,
};

/// Scores of a matrix's elements.
#[derive(Debug, Clone, Copy)]
pub struct Scores<'a> {
    tensor: &'a str,
    n: usize,
    k: usize,
    values: &'a [f32],
}

impl<'a> Scores<'a> {
    /// Scores `[n, k]` of the weights of `tensor`; larger means keep.
    ///
    /// # Errors
    /// [`MaskError`] for no elements, another number of values than the shape has, and NaN.
    pub fn new(tensor: &'a str, n: usize, k: usize, values: &'a [f32]) -> Result<Self, MaskError> {
        let expected = n.saturating_mul(k);
        if expected == 0 {
            let tensor = tensor.to_owned();
            return Err(MaskError::Empty { tensor, n, k });
        }
        if values.len() != expected {
            return Err(MaskError::WrongLength {
                tensor: tensor.to_owned(),
                what: "scores",
                found: values.len(),
                expected,
                n,
                k,
            });
        }
        match values.iter().position(|value| value.is_nan()) {
            Some(index) => Err(MaskError::NotANumber {
                tensor: tensor.to_owned(),
                row: index / k,
                column: index % k,
            }),
            None => Ok(Self {
                tensor,
                n,
                k,
                values,
            }),
        }
    }

    /// Keys of the units' scores, row by row, after the sums of `passes`.
    fn keys(&self, passes: &[Units]) -> Vec<u32> {
        let [mut rows, mut columns] = [self.n, self.k];
        let mut sums: Option<Vec<f32>> = None;
        for &pass in passes {
            let values = sums.as_deref().unwrap_or(self.values);
            sums = Some(unit_sums(values, rows, columns, pass));
            [rows, columns] = pass.count(rows, columns);
        }
        let values = sums.as_deref().unwrap_or(self.values);
        values
            .iter()
            .map(|value| score_key(value.to_bits()))
            .collect()
    }
}

/// The score of magnitude pruning: `|w|`.
#[must_use]
pub fn magnitude(weights: &[f32]) -> Vec<f32> {
    weights.iter().map(|weight| weight.abs()).collect()
}

/// The mask of one matrix. Of equal scores the lowest index is kept, row by row.
///
/// # Errors
/// [`MaskError`] when the pattern does not fit the shape.
pub fn select(scores: &Scores<'_>, pattern: &Pattern) -> Result<Mask, MaskError> {
    let (n, k) = (scores.n, scores.k);
    let contest = pattern.contest(scores.tensor, n, k)?;
    let units = pattern.units(n, k);
    let keys = scores.keys(&pattern.passes(n, k));
    let [rows, columns] = units.count(n, k);
    let kept: Vec<bool> = match contest {
        Contest::All(keep) => best(&keys, keep),
        Contest::Row(keep) => keys
            .chunks(columns)
            .flat_map(|row| best(row, keep))
            .collect(),
        Contest::Group { keep, group } => keys
            .chunks(group)
            .flat_map(|group| keeps_of_group(group, keep))
            .collect(),
    };
    Mask::from_fn(rows, columns, |row, column| kept[row * columns + column]).expand(n, k, units)
}

/// Masks of several matrices whose units are compared with each other; the amount is of all units. Of
/// equal scores the one in the earlier matrix is kept, in a matrix the lowest index.
///
/// # Errors
/// [`MaskError`] as of [`global_keep`].
pub fn global(scores: &[Scores<'_>], units: Units, amount: Amount) -> Result<Vec<Mask>, MaskError> {
    let shapes: Vec<[usize; 2]> = scores.iter().map(|one| [one.n, one.k]).collect();
    let keep = global_keep(&shapes, units, amount)?;
    // Blocks are summed in one pass, whatever the shape.
    let passes = Pattern::Blocks(units, amount).passes(1, 1);
    let keys: Vec<u32> = scores.iter().flat_map(|one| one.keys(&passes)).collect();
    let kept = best(&keys, keep);
    let mut masks = Vec::new();
    let mut start = 0;
    for one in scores {
        let [rows, columns] = units.count(one.n, one.k);
        let of_units = Mask::from_fn(rows, columns, |row, column| {
            kept[start + row * columns + column]
        });
        masks.push(of_units.expand(one.n, one.k, units)?);
        start += rows * columns;
    }
    Ok(masks)
}

/// How many units of matrices of these shapes `[n, k]` are kept together.
///
/// # Errors
/// [`MaskError`] for no matrices or elements, blocks that cannot be summed, an amount out of range, and
/// more units than 32 bits count.
pub fn global_keep(
    shapes: &[[usize; 2]],
    units: Units,
    amount: Amount,
) -> Result<usize, MaskError> {
    let tensor = format!("{} matrices", shapes.len());
    units.check_block(&tensor)?;
    let mut count = 0usize;
    for &[n, k] in shapes {
        if n == 0 || k == 0 {
            return Err(MaskError::Empty { tensor, n, k });
        }
        let [rows, columns] = units.count(n, k);
        count = count.saturating_add(rows.saturating_mul(columns));
    }
    if count == 0 {
        let (n, k) = (0, 0);
        return Err(MaskError::Empty { tensor, n, k });
    }
    if u32::try_from(count).is_err() {
        return Err(MaskError::TooLarge { tensor, count });
    }
    amount.kept(&tensor, "units", count)
}

/// Which of the units are among the `keep` best.
fn best(keys: &[u32], keep: usize) -> Vec<bool> {
    let cut = cut_off(keys.iter().copied(), keep);
    (0u32..)
        .zip(keys)
        .map(|(index, &key)| cut.keeps(key, index))
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::num::Philox;

    use super::*;

    fn values(seed: u64, len: usize) -> Vec<f32> {
        let mut stream = Philox::new(seed).stream(0);
        (0..len).map(|_| stream.normal()).collect()
    }

    /// The `keep` best of scores without ties, by sorting them.
    fn by_sorting(scores: &[f32], keep: usize) -> Vec<bool> {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let mut kept = vec![false; scores.len()];
        order[..keep].iter().for_each(|&index| kept[index] = true);
        kept
    }

    fn chosen(weights: &[f32], n: usize, k: usize, pattern: Pattern) -> Vec<bool> {
        let scores = magnitude(weights);
        let scores = Scores::new("w", n, k, &scores).expect("finite");
        let mask = select(&scores, &pattern).expect("fits");
        assert_eq!((mask.n(), mask.k()), (n, k));
        (0..n * k).map(|at| mask.keeps(at / k, at % k)).collect()
    }

    #[test]
    fn l1_unstructured_drops_the_smallest_magnitudes_of_the_tensor() {
        let w = values(1, 7 * 45);
        let kept = chosen(&w, 7, 45, Pattern::Tensor(Amount::Sparsity(0.3)));
        // round(0.3 * 315) = round(94.5) = 94
        assert_eq!(kept, by_sorting(&magnitude(&w), 315 - 94));
    }

    #[test]
    fn each_row_keeps_its_own_largest() {
        let w = values(2, 5 * 33);
        let kept = chosen(&w, 5, 33, Pattern::PerRow(Amount::Keep(10)));
        let expected: Vec<bool> = w
            .chunks(33)
            .flat_map(|row| by_sorting(&magnitude(row), 10))
            .collect();
        assert_eq!(kept, expected);
    }

    #[test]
    fn two_of_four_are_kept_in_every_group() {
        let w = values(3, 6 * 40);
        let pattern = Pattern::NOfM {
            keep: 2,
            group: 4,
            vector: 1,
        };
        let expected: Vec<bool> = w
            .chunks(4)
            .flat_map(|group| by_sorting(&magnitude(group), 2))
            .collect();
        assert_eq!(chosen(&w, 6, 40, pattern), expected);
    }

    #[test]
    fn rows_of_a_vector_share_their_indices() {
        let w = values(4, 19 * 12);
        let pattern = Pattern::NOfM {
            keep: 1,
            group: 3,
            vector: 8,
        };
        let kept = chosen(&w, 19, 12, pattern);
        for first in [0, 8, 16] {
            let rows = first..(first + 8).min(19);
            let sum =
                |column: usize| -> f32 { rows.clone().map(|row| w[row * 12 + column].abs()).sum() };
            let sums: Vec<f32> = (0..12).map(sum).collect();
            let expected: Vec<bool> = sums
                .chunks(3)
                .flat_map(|group| by_sorting(group, 1))
                .collect();
            for row in rows.clone() {
                assert_eq!(kept[row * 12..(row + 1) * 12], expected, "row {row}");
            }
        }
    }

    #[test]
    fn structured_patterns_drop_whole_units_by_their_l1_norm() {
        let (n, k) = (10, 130);
        // Integers: sums are exact in any order.
        let w: Vec<f32> = (0..n * k)
            .map(|at| ((at * at * 31 + at * 7) % 64) as f32 - 32.0)
            .collect();
        let norm = |rows: std::ops::Range<usize>, columns: std::ops::Range<usize>| -> f32 {
            let row = |row: usize| -> f32 {
                columns
                    .clone()
                    .map(|column| w[row * k + column].abs())
                    .sum()
            };
            rows.map(row).sum()
        };
        let rows: Vec<f32> = (0..n).map(|row| norm(row..row + 1, 0..k)).collect();
        let columns: Vec<f32> = (0..k).map(|at| norm(0..n, at..at + 1)).collect();
        let (kept_rows, kept_columns) = (by_sorting(&rows, 4), by_sorting(&columns, 60));
        let by_row = chosen(&w, n, k, Pattern::Rows(Amount::Keep(4)));
        assert!((0..n * k).all(|at| by_row[at] == kept_rows[at / k]));
        let by_column = chosen(&w, n, k, Pattern::Columns(Amount::Keep(60)));
        assert!((0..n * k).all(|at| by_column[at] == kept_columns[at % k]));
        let units = Units {
            rows: 4,
            columns: 32,
        };
        let mut blocks = Vec::new();
        for row in (0..n).step_by(4) {
            for column in (0..k).step_by(32) {
                blocks.push(norm(row..(row + 4).min(n), column..(column + 32).min(k)));
            }
        }
        let kept = by_sorting(&blocks, 7);
        let by_block = chosen(&w, n, k, Pattern::Blocks(units, Amount::Keep(7)));
        assert!((0..n * k).all(|at| by_block[at] == kept[at / k / 4 * 5 + at % k / 32]));
    }

    #[test]
    fn ties_keep_the_lowest_index_and_nothing_and_everything_can_be_kept() {
        let equal = vec![0.5; 3 * 4];
        let kept = chosen(&equal, 3, 4, Pattern::Tensor(Amount::Keep(5)));
        assert!((0..12).all(|at| kept[at] == (at < 5)));
        let kept = chosen(&equal, 3, 4, Pattern::PerRow(Amount::Keep(1)));
        assert!((0..12).all(|at| kept[at] == (at % 4 == 0)));
        for pattern in [Pattern::Tensor, Pattern::PerRow, Pattern::Rows] {
            let none = chosen(&equal, 3, 4, pattern(Amount::Sparsity(1.0)));
            assert!(none.iter().all(|&kept| !kept));
            let all = chosen(&equal, 3, 4, pattern(Amount::Sparsity(0.0)));
            assert!(all.iter().all(|&kept| kept));
        }
    }

    #[test]
    fn matrices_are_pruned_together_by_one_order() {
        let (a, b) = (magnitude(&values(5, 6 * 10)), magnitude(&values(6, 3 * 7)));
        let scores = [
            Scores::new("a", 6, 10, &a).expect("finite"),
            Scores::new("b", 3, 7, &b).expect("finite"),
        ];
        let masks = global(&scores, Units::ELEMENTS, Amount::Sparsity(0.5)).expect("fits");
        let all: Vec<f32> = a.iter().chain(&b).copied().collect();
        // round(0.5 * 81) = 40
        let kept = by_sorting(&all, 41);
        assert!((0..60).all(|at| masks[0].keeps(at / 10, at % 10) == kept[at]));
        assert!((0..21).all(|at| masks[1].keeps(at / 7, at % 7) == kept[60 + at]));
        let blocks = Units {
            rows: 2,
            columns: 4,
        };
        let masks = global(&scores, blocks, Amount::Keep(13)).expect("9 and 4 blocks");
        assert_eq!((masks[0].density(), masks[1].density()), (1.0, 1.0));
        let error = global(&scores, blocks, Amount::Keep(14)).expect_err("13 blocks");
        assert_eq!(
            error.to_string(),
            "2 matrices: 14 to keep of 13 units; at most 13 can be"
        );
        assert!(global(&[], blocks, Amount::Keep(0)).is_err());
    }

    #[test]
    fn scores_without_an_order_are_refused_by_place() {
        let error =
            Scores::new("layer.0", 2, 3, &[0.0, 1.0, 2.0, 3.0, f32::NAN, 5.0]).expect_err("NaN");
        assert_eq!(
            error.to_string(),
            "layer.0: the score in row 1, column 1 is NaN; any other value is allowed"
        );
        assert!(Scores::new("w", 2, 3, &[0.0; 5]).is_err());
        assert!(Scores::new("w", 0, 3, &[]).is_err());
    }
}
