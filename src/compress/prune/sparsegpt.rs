//! SparseGPT: weights are dropped column by column and the rest of the row makes up for them.
//!
//! A weight's score is `w^2 / U_jj^2`, `U` the upper factor of the inverse Hessian: what dropping it costs
//! once the columns after it are updated. A mask is chosen block by block, of 128 columns over all rows, or
//! for an N:M pattern group by group, in either case from the weights as updated so far. With an identity
//! Hessian nothing is passed on, and it is magnitude pruning of each block.
//!
//! Source: Frantar, Alistarh, "SparseGPT" (ICML 2023) and its code (`sparsegpt.py`). There a threshold
//! drops equal scores together; here the count is exact and of equal scores the lowest index is kept.

use std::ops::Range;

use super::score::narrow;
use crate::compress::sweep::{DeadColumns, Replace, sweep};
use crate::compress::{CompressError, Hessian, Weights};
use crate::num::mask::{
    Amount, Mask, MaskError, Pattern, Scores, keeps_of_group, score_key, select,
};

/// How much SparseGPT drops, and where.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sparsity {
    /// This share of each block of columns, in [0, 1].
    Share(f64),
    /// All but `keep` of every `group` weights along k.
    NOfM {
        /// Kept of a group.
        keep: usize,
        /// Weights of a group, at most [`crate::num::mask::MAX_GROUP`]; divides k.
        group: usize,
    },
}

/// Numbers of the method.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SparseGpt {
    /// Columns whose mask is chosen together; raised to whole groups for an N:M pattern.
    pub block: usize,
    /// Added to the diagonal of the Hessian, as a share of its mean; raised tenfold up to three times
    /// where the Hessian is not positive definite.
    pub damping: f64,
    /// What becomes of features that were never seen.
    pub dead: DeadColumns,
}

/// Blocks of 128 columns, 1% damping.
impl Default for SparseGpt {
    fn default() -> Self {
        Self {
            block: 128,
            damping: 0.01,
            dead: DeadColumns::default(),
        }
    }
}

/// A pruned layer.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseGptResult {
    /// What is kept.
    pub mask: Mask,
    /// The updated weights `[n, k]`, +0 wherever the mask keeps nothing.
    pub weights: Vec<f32>,
    /// `tr(D H D^T)` of the change.
    pub loss: f64,
    /// Damping that it took, as a share of the mean diagonal.
    pub damping: f64,
    /// Features never seen above zero.
    pub dead: Vec<usize>,
}

/// Prunes a layer by its inputs' Hessian and updates what is kept.
///
/// # Errors
/// [`CompressError`] naming the tensor: a pattern that does not fit, a Hessian of another width, without
/// samples or not positive definite, numbers out of range, updated weights that leave f32.
pub fn sparse_gpt(
    weights: &Weights<'_>,
    hessian: &Hessian,
    sparsity: Sparsity,
    options: &SparseGpt,
) -> Result<SparseGptResult, CompressError> {
    let (name, n, k) = (weights.name(), weights.n(), weights.k());
    hessian.check(name, k)?;
    let block = options.block;
    CompressError::check_range(name, "block", block as f64, block > 0, "1 or more")?;
    let block = match sparsity {
        Sparsity::Share(share) => {
            Amount::Sparsity(share).kept(name, "weights", k)?;
            block
        }
        Sparsity::NOfM { keep, group } => {
            let vector = 1;
            let pattern = Pattern::NOfM {
                keep,
                group,
                vector,
            };
            pattern.contest(name, n, k)?;
            block.min(k).next_multiple_of(group)
        }
    };
    let order: Vec<usize> = (0..k).collect();
    let factor = hessian.factor(name, options.damping, &order)?;
    let dead = hessian.dead();
    let mut values = weights.to_f64();
    if options.dead == DeadColumns::Zero {
        for row in values.chunks_exact_mut(k) {
            dead.iter().for_each(|&column| row[column] = 0.0);
        }
    }
    let mut dropping = Dropping {
        name,
        sparsity,
        diagonal: (0..k)
            .map(|column| factor.upper[column * (k + 1)])
            .collect(),
        keeps: vec![true; n * k],
        n,
        k,
    };
    sweep(&mut values, k, &factor.upper, block, &mut dropping)?;
    let keeps = dropping.keeps;
    let mask = Mask::from_fn(n, k, |row, column| keeps[row * k + column]);
    let updated: Vec<f32> = values.iter().map(|&value| value as f32).collect();
    CompressError::check_finite(name, "updated weight", &updated)?;
    let updated = mask.apply(name, &updated)?;
    let loss = hessian.loss(name, &weights.differences(&updated))?;
    Ok(SparseGptResult {
        mask,
        weights: updated,
        loss,
        damping: factor.damping,
        dead,
    })
}

/// Drops what scores least.
struct Dropping<'a> {
    name: &'a str,
    sparsity: Sparsity,
    /// Of the upper factor.
    diagonal: Vec<f64>,
    /// `[n, k]`
    keeps: Vec<bool>,
    n: usize,
    k: usize,
}

impl Dropping<'_> {
    fn score(&self, column: usize, weight: f64) -> f32 {
        narrow((weight / self.diagonal[column]).powi(2))
    }
}

impl Replace for Dropping<'_> {
    fn start_block(&mut self, columns: Range<usize>, weights: &[f64]) -> Result<(), CompressError> {
        let Sparsity::Share(share) = self.sparsity else {
            return Ok(());
        };
        let mut scores = Vec::with_capacity(self.n * columns.len());
        for row in weights.chunks_exact(self.k) {
            scores.extend(
                columns
                    .clone()
                    .map(|column| self.score(column, row[column])),
            );
        }
        let scores = Scores::new(self.name, self.n, columns.len(), &scores)?;
        let mask = select(&scores, &Pattern::Tensor(Amount::Sparsity(share)))?;
        for row in 0..self.n {
            for column in columns.clone() {
                self.keeps[row * self.k + column] = mask.keeps(row, column - columns.start);
            }
        }
        Ok(())
    }

    fn replace(
        &mut self,
        row: usize,
        column: usize,
        weights: &[f64],
    ) -> Result<f64, CompressError> {
        if let Sparsity::NOfM { keep, group } = self.sparsity
            && column.is_multiple_of(group)
        {
            let mut keys = Vec::with_capacity(group);
            let members = weights.iter().enumerate().skip(column).take(group);
            for (column, &weight) in members {
                let score = self.score(column, weight);
                if score.is_nan() {
                    return Err(MaskError::NotANumber {
                        tensor: self.name.to_owned(),
                        row,
                        column,
                    }
                    .into());
                }
                keys.push(score_key(score.to_bits()));
            }
            let start = row * self.k + column;
            let kept = keeps_of_group(&keys, keep);
            self.keeps[start..]
                .iter_mut()
                .zip(kept)
                .for_each(|(to, keep)| *to = keep);
        }
        let keep = self.keeps[row * self.k + column];
        Ok(if keep { weights[column] } else { 0.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::testing::{correlated, normal};
    use crate::num::mask::magnitude;

    fn hessian(k: usize, seed: u64) -> Hessian {
        let mut hessian = Hessian::new(k);
        hessian.add("x", &correlated(200, k, seed)).unwrap();
        hessian
    }

    fn by_magnitude(weights: &Weights<'_>, pattern: Pattern) -> (Mask, Vec<f32>) {
        let scores = magnitude(weights.values());
        let scores = Scores::new("w", weights.n(), weights.k(), &scores).unwrap();
        let mask = select(&scores, &pattern).unwrap();
        let pruned = mask.apply("w", weights.values()).unwrap();
        (mask, pruned)
    }

    #[test]
    fn the_error_is_below_that_of_magnitude_at_the_same_sparsity() {
        for seed in 0..4 {
            let values = normal(12 * 64, 70 + seed);
            let weights = Weights::new("w", 12, 64, &values).unwrap();
            let hessian = hessian(64, seed);
            for (sparsity, pattern) in [
                (Sparsity::Share(0.5), Pattern::Tensor(Amount::Sparsity(0.5))),
                (Sparsity::Share(0.8), Pattern::Tensor(Amount::Sparsity(0.8))),
                (
                    Sparsity::NOfM { keep: 2, group: 4 },
                    Pattern::NOfM {
                        keep: 2,
                        group: 4,
                        vector: 1,
                    },
                ),
            ] {
                let found =
                    sparse_gpt(&weights, &hessian, sparsity, &SparseGpt::default()).unwrap();
                let (mask, pruned) = by_magnitude(&weights, pattern);
                let other = hessian.loss("w", &weights.differences(&pruned)).unwrap();
                assert!(found.loss < other, "{sparsity:?}: {} {other}", found.loss);
                assert_eq!(found.mask.kept(), mask.kept());
                assert_eq!(found.damping, 0.01);
            }
        }
    }

    #[test]
    fn with_an_identity_hessian_it_is_magnitude_in_each_block() {
        let (n, k, block) = (6, 40, 16);
        let values = normal(n * k, 80);
        let weights = Weights::new("w", n, k, &values).unwrap();
        let mut sums = vec![0.0; k * k];
        (0..k).for_each(|i| sums[i * (k + 1)] = 1.0);
        let hessian = Hessian::from_sums("w", k, 2, sums).unwrap();
        let options = SparseGpt {
            block,
            ..SparseGpt::default()
        };
        let found = sparse_gpt(&weights, &hessian, Sparsity::Share(0.4), &options).unwrap();
        for start in (0..k).step_by(block) {
            let width = block.min(k - start);
            let part: Vec<f32> = values
                .chunks_exact(k)
                .flat_map(|row| &row[start..start + width])
                .copied()
                .collect();
            let part = Weights::new("w", n, width, &part).unwrap();
            let (mask, pruned) = by_magnitude(&part, Pattern::Tensor(Amount::Sparsity(0.4)));
            for row in 0..n {
                for column in 0..width {
                    assert_eq!(
                        found.mask.keeps(row, start + column),
                        mask.keeps(row, column)
                    );
                    let value = found.weights[row * k + start + column];
                    assert_eq!(value, pruned[row * width + column]);
                }
            }
        }
    }

    #[test]
    fn every_group_keeps_exactly_n_and_dropped_weights_are_zero() {
        let values = normal(5 * 48, 81);
        let weights = Weights::new("w", 5, 48, &values).unwrap();
        for (keep, group) in [(2, 4), (4, 8), (1, 3), (0, 2)] {
            // A block that is no whole number of groups is raised to one.
            let options = SparseGpt {
                block: 7,
                ..SparseGpt::default()
            };
            let sparsity = Sparsity::NOfM { keep, group };
            let found = sparse_gpt(&weights, &hessian(48, 3), sparsity, &options).unwrap();
            for row in 0..5 {
                for start in (0..48).step_by(group) {
                    let columns = start..start + group;
                    let kept = columns
                        .clone()
                        .filter(|&column| found.mask.keeps(row, column));
                    assert_eq!(kept.count(), keep);
                    for column in columns.filter(|&column| !found.mask.keeps(row, column)) {
                        assert_eq!(found.weights[row * 48 + column].to_bits(), 0);
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_dropped_changes_nothing_and_everything_dropped_is_zero() {
        let values = normal(3 * 16, 82);
        let weights = Weights::new("w", 3, 16, &values).unwrap();
        let prune = |share| {
            let options = SparseGpt::default();
            sparse_gpt(&weights, &hessian(16, 1), Sparsity::Share(share), &options).unwrap()
        };
        assert_eq!((prune(0.0).weights, prune(0.0).loss), (values.clone(), 0.0));
        assert_eq!(prune(1.0).weights, [0.0; 48]);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let values = normal(2 * 10, 83);
        let weights = Weights::new("fc2", 2, 10, &values).unwrap();
        let refused = |hessian: &Hessian, sparsity| {
            let options = SparseGpt::default();
            sparse_gpt(&weights, hessian, sparsity, &options)
                .unwrap_err()
                .to_string()
        };
        let own = hessian(10, 2);
        assert!(refused(&own, Sparsity::Share(1.5)).contains("sparsity 1.5"));
        assert!(refused(&own, Sparsity::Share(f64::NAN)).contains("sparsity NaN"));
        let group = refused(&own, Sparsity::NOfM { keep: 2, group: 4 });
        assert!(group.contains("fc2: 2 of each 4 along k = 10"), "{group}");
        assert!(refused(&hessian(9, 2), Sparsity::Share(0.5)).contains("9 columns of the Hessian"));
    }
}
