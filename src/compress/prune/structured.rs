//! Whole neurons and filters: their scores, and the smaller matrices without them.
//!
//! A neuron is a row of the layer that makes it and a column of each layer that reads it; a filter of a
//! convolution is a row, and as many columns of a following one as its kernel has places. A mask of zeros
//! saves nothing here: [`cut_rows`] and [`cut_columns`] take the elements away.

use super::score::narrow;
use crate::compress::{CompressError, Weights};
use crate::num::mask::{Amount, CutOff, cut_off, score_key};

/// How a row or column is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// `sum |w|`
    L1,
    /// `sqrt(sum w^2)`
    L2,
}

/// A norm of each row: of each neuron or filter.
#[must_use]
pub fn row_scores(weights: &Weights<'_>, norm: Norm) -> Vec<f32> {
    let square = |row: &[f32]| row.iter().map(|&weight| term(weight, norm)).sum();
    weights
        .rows()
        .map(|row| finish(square(row), norm))
        .collect()
}

/// A norm of each `width` neighbouring columns: of what reads one input feature (`width` 1) or one input
/// channel of a convolution (`width` its kernel's height times width).
///
/// # Errors
/// [`CompressError::OutOfRange`] naming the tensor for a width that does not divide the columns.
pub fn column_scores(
    weights: &Weights<'_>,
    width: usize,
    norm: Norm,
) -> Result<Vec<f32>, CompressError> {
    let units = check_width(weights, width)?;
    let mut sums = vec![0.0; units];
    for row in weights.rows() {
        for (sum, unit) in sums.iter_mut().zip(row.chunks_exact(width)) {
            *sum += unit.iter().map(|&weight| term(weight, norm)).sum::<f64>();
        }
    }
    Ok(sums.into_iter().map(|sum| finish(sum, norm)).collect())
}

fn term(weight: f32, norm: Norm) -> f64 {
    let weight = f64::from(weight);
    match norm {
        Norm::L1 => weight.abs(),
        Norm::L2 => weight * weight,
    }
}

fn finish(sum: f64, norm: Norm) -> f32 {
    match norm {
        Norm::L1 => narrow(sum),
        Norm::L2 => narrow(sum.sqrt()),
    }
}

/// Which units are kept, in ascending order: the largest scores, of equal ones the lowest index.
///
/// # Errors
/// [`CompressError`] naming `tensor`: an amount out of range, a score that is NaN or infinite.
pub fn keep_units(
    tensor: &str,
    scores: &[f32],
    amount: Amount,
) -> Result<Vec<usize>, CompressError> {
    CompressError::check_finite(tensor, "score", scores)?;
    let keep = amount.kept(tensor, "units", scores.len())?;
    let keys = || scores.iter().map(|score| score_key(score.to_bits()));
    let cut: CutOff = cut_off(keys(), keep);
    let kept = (0u32..)
        .zip(keys())
        .filter(|&(index, key)| cut.keeps(key, index));
    Ok(kept.map(|(index, _)| index as usize).collect())
}

/// The rows kept, `[kept, k]`. A bias or a normalization's vector is a matrix of one column.
///
/// # Errors
/// [`CompressError`] naming the tensor: nothing kept, rows that are not ascending or past the last.
pub fn cut_rows(weights: &Weights<'_>, kept: &[usize]) -> Result<Vec<f32>, CompressError> {
    check_kept(weights.name(), kept, weights.n())?;
    let (k, values) = (weights.k(), weights.values());
    let row = |&row: &usize| &values[row * k..][..k];
    Ok(kept.iter().flat_map(row).copied().collect())
}

/// The columns kept, `[n, kept * width]`, each unit being `width` columns.
///
/// # Errors
/// [`CompressError`] naming the tensor: a width that does not divide the columns, nothing kept, units that
/// are not ascending or past the last.
pub fn cut_columns(
    weights: &Weights<'_>,
    width: usize,
    kept: &[usize],
) -> Result<Vec<f32>, CompressError> {
    let units = check_width(weights, width)?;
    check_kept(weights.name(), kept, units)?;
    let cut = |row: &'_ [f32]| -> Vec<f32> {
        let unit = |&unit: &usize| &row[unit * width..][..width];
        kept.iter().flat_map(unit).copied().collect()
    };
    Ok(weights.rows().flat_map(cut).collect())
}

fn check_width(weights: &Weights<'_>, width: usize) -> Result<usize, CompressError> {
    let inside = width > 0 && weights.k().is_multiple_of(width);
    let allowed = "a width that divides the columns";
    CompressError::check_range(
        weights.name(),
        "columns of a unit",
        width as f64,
        inside,
        allowed,
    )?;
    Ok(weights.k() / width)
}

fn check_kept(tensor: &str, kept: &[usize], count: usize) -> Result<(), CompressError> {
    let last = kept.last().map_or(f64::NAN, |&last| last as f64);
    let inside = kept.is_sorted_by(|a, b| a < b) && kept.last().is_some_and(|&last| last < count);
    let allowed = "at least one unit, in ascending order, none past the end";
    CompressError::check_range(tensor, "last unit kept", last, inside, allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::testing::normal;

    #[test]
    fn golden_norms_of_rows_and_columns() {
        let weights = Weights::new("w", 2, 4, &[3.0, -4.0, 0.0, 0.0, 1.0, 1.0, -1.0, 1.0]).unwrap();
        assert_eq!(row_scores(&weights, Norm::L1), [7.0, 4.0]);
        assert_eq!(row_scores(&weights, Norm::L2), [5.0, 2.0]);
        assert_eq!(column_scores(&weights, 2, Norm::L1).unwrap(), [9.0, 2.0]);
        assert_eq!(
            column_scores(&weights, 1, Norm::L1).unwrap(),
            [4.0, 5.0, 1.0, 1.0]
        );
        assert!(column_scores(&weights, 3, Norm::L1).is_err());
        assert!(column_scores(&weights, 0, Norm::L1).is_err());
    }

    #[test]
    fn the_largest_are_kept_and_of_equal_ones_the_first() {
        let kept = |amount| keep_units("w", &[1.0, 3.0, 1.0, 2.0], amount).unwrap();
        assert_eq!(kept(Amount::Keep(3)), [0, 1, 3]);
        assert_eq!(kept(Amount::Sparsity(0.5)), [1, 3]);
        assert_eq!(kept(Amount::Keep(0)), [0; 0]);
        assert!(keep_units("w", &[f32::NAN], Amount::Keep(1)).is_err());
        assert!(keep_units("w", &[1.0], Amount::Keep(2)).is_err());
    }

    #[test]
    fn the_shrunk_network_computes_what_the_masked_one_does() {
        let (k, hidden, n) = (7, 12, 4);
        let (w1, b1, w2) = (
            normal(hidden * k, 0),
            normal(hidden, 1),
            normal(n * hidden, 2),
        );
        let first = Weights::new("fc1", hidden, k, &w1).unwrap();
        let bias = Weights::new("fc1.bias", hidden, 1, &b1).unwrap();
        let second = Weights::new("fc2", n, hidden, &w2).unwrap();
        let scores = row_scores(&first, Norm::L2);
        let kept = keep_units("fc1", &scores, Amount::Sparsity(0.5)).unwrap();
        let output = |w1: &[f32], b1: &[f32], w2: &[f32], x: &[f32]| -> Vec<f64> {
            let hidden: Vec<f64> = w1
                .chunks_exact(k)
                .zip(b1)
                .map(|(row, &b)| {
                    let sum: f64 = row
                        .iter()
                        .zip(x)
                        .map(|(&w, &x)| f64::from(w) * f64::from(x))
                        .sum();
                    (sum + f64::from(b)).max(0.0)
                })
                .collect();
            w2.chunks_exact(hidden.len())
                .map(|row| {
                    row.iter()
                        .zip(&hidden)
                        .map(|(&w, h)| f64::from(w) * h)
                        .sum()
                })
                .collect()
        };
        let (mut masked_w1, mut masked_b1) = (w1.clone(), b1.clone());
        for neuron in (0..hidden).filter(|neuron| !kept.contains(neuron)) {
            masked_w1[neuron * k..][..k].fill(0.0);
            masked_b1[neuron] = 0.0;
        }
        let small_w1 = cut_rows(&first, &kept).unwrap();
        let small_b1 = cut_rows(&bias, &kept).unwrap();
        let small_w2 = cut_columns(&second, 1, &kept).unwrap();
        assert_eq!((small_w1.len(), small_w2.len()), (6 * k, n * 6));
        for sample in normal(20 * k, 3).chunks_exact(k) {
            let masked = output(&masked_w1, &masked_b1, &w2, sample);
            assert_eq!(output(&small_w1, &small_b1, &small_w2, sample), masked);
        }
    }

    #[test]
    fn units_of_several_columns_are_cut_whole() {
        let weights = Weights::new(
            "conv",
            2,
            6,
            &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0],
        );
        let weights = weights.unwrap();
        let cut = cut_columns(&weights, 2, &[0, 2]).unwrap();
        assert_eq!(cut, [0.0, 1.0, 4.0, 5.0, 6.0, 7.0, 10.0, 11.0]);
        assert!(cut_columns(&weights, 2, &[0, 3]).is_err());
        assert!(cut_columns(&weights, 2, &[2, 0]).is_err());
        assert!(cut_rows(&weights, &[]).is_err());
    }
}
