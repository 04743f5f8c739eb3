//! The column-by-column sweep that GPTQ and SparseGPT share.
//!
//! A column of weights is replaced (rounded, or set to zero) and the columns not yet visited make up for
//! it: with `U` upper triangular, `inverse(H) = U^T U`, and `e = (w_j - q_j) / U_jj`, every later column
//! `i` becomes `w_i - e U_ji`. Rows are independent of each other. Within a block updates are made at
//! once, beyond it when the block is done, which changes the memory traffic and not the result.
//!
//! Sources: Frantar, Ashkboos, Hoefler, Alistarh, "GPTQ" (ICLR 2023); Frantar, Alistarh, "SparseGPT"
//! (ICML 2023).

use std::ops::Range;

use super::CompressError;
use super::factor::subtract_scaled;

/// What replaces a weight.
pub(super) trait Replace {
    /// Called before the columns of a block, with all weights as updated by the blocks before.
    fn start_block(&mut self, columns: Range<usize>, weights: &[f64]) -> Result<(), CompressError>;

    /// What replaces the weight in `column` of a row whose weights, as updated so far, are given.
    fn replace(&mut self, row: usize, column: usize, weights: &[f64])
    -> Result<f64, CompressError>;
}

/// Replaces every weight of `weights [n, k]`, `block` columns at a time.
pub(super) fn sweep(
    weights: &mut [f64],
    k: usize,
    upper: &[f64],
    block: usize,
    by: &mut impl Replace,
) -> Result<(), CompressError> {
    let mut errors = Vec::with_capacity(block);
    for start in (0..k).step_by(block) {
        let end = (start + block).min(k);
        by.start_block(start..end, weights)?;
        for (row, weights) in weights.chunks_exact_mut(k).enumerate() {
            errors.clear();
            for column in start..end {
                let value = by.replace(row, column, weights)?;
                let factors = &upper[column * k..][..k];
                let error = (weights[column] - value) / factors[column];
                weights[column] = value;
                if error != 0.0 {
                    let later = column + 1..end;
                    subtract_scaled(&mut weights[later.clone()], error, &factors[later]);
                }
                errors.push(error);
            }
            for (column, &error) in (start..end).zip(&errors) {
                if error != 0.0 {
                    let factors = &upper[column * k..][..k];
                    subtract_scaled(&mut weights[end..], error, &factors[end..]);
                }
            }
        }
    }
    Ok(())
}

/// What becomes of an input feature that calibration never saw above zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeadColumns {
    /// Its weights become zero, as in the reference code: they had no effect on any sample. Where samples are few,
    /// they may have one on others.
    Zero,
    /// Its weights are treated like those of an uncorrelated feature of mean size: rounded to nearest, or pruned by
    /// magnitude.
    #[default]
    Keep,
}
