//! Scores of weights: larger means keep. Masks are chosen from them by [`crate::num::mask`], which also
//! compares layers with each other ([`crate::num::mask::global`]).
//!
//! | score | formula | needs |
//! |---|---|---|
//! | magnitude | `abs(w)` | nothing: [`crate::num::mask::magnitude`] |
//! | [`random`] | uniform | a seed |
//! | [`first_order`] | `abs(w g)` or `(w g)^2` | the gradient of the loss |
//! | [`optimal_brain_damage`] | `h_jj w^2 / 2` | the diagonal of a Hessian |
//! | [`optimal_brain_surgeon`] | `w^2 / (2 [H^-1]_jj)` | the diagonal of its inverse |
//! | [`wanda`] | `abs(w) norm(x_j)` | calibration |
//!
//! Scores are computed in f64 and rounded to f32 once. What leaves f32 becomes the largest f32, so that no
//! score is infinite or NaN.

use crate::compress::{Calibration, CompressError, Hessian, Weights};
use crate::num::Philox;
use crate::num::mask::{Mask, MaskError};

/// Which first-order score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstOrder {
    /// `abs(w g)`: SNIP (Lee, Ajanthan, Torr, ICLR 2019), whose division by the sum over all weights
    /// changes no order.
    Absolute,
    /// `(w g)^2`: the Taylor criterion (Molchanov, Mallya, Tyree, Frosio, Kautz, CVPR 2019).
    Squared,
}

/// Uniform scores of `count` weights, from stream `stream` of a seed's Philox. Different layers take
/// different streams.
#[must_use]
pub fn random(seed: u64, stream: u64, count: usize) -> Vec<f32> {
    let mut stream = Philox::new(seed).stream(stream);
    (0..count).map(|_| stream.uniform()).collect()
}

/// What removing a weight changes of the loss, to first order. `gradient [n, k]` is that of the loss.
///
/// # Errors
/// [`CompressError`] naming the tensor: another number of gradients than weights, NaN and infinities.
pub fn first_order(
    weights: &Weights<'_>,
    gradient: &[f32],
    kind: FirstOrder,
) -> Result<Vec<f32>, CompressError> {
    let name = weights.name();
    CompressError::check_len(name, "gradients", gradient.len(), weights.values().len())?;
    CompressError::check_finite(name, "gradient", gradient)?;
    let score = |(&weight, &gradient): (&f32, &f32)| {
        let product = f64::from(weight) * f64::from(gradient);
        narrow(match kind {
            FirstOrder::Absolute => product.abs(),
            FirstOrder::Squared => product * product,
        })
    };
    Ok(weights.values().iter().zip(gradient).map(score).collect())
}

/// `h_jj w^2 / 2` with a Hessian's diagonal for each weight (`[n, k]`, as of a loss) or for each input
/// feature (`[k]`, as of [`Hessian::diagonal`]). Source: LeCun, Denker, Solla, "Optimal Brain Damage"
/// (NIPS 1989).
///
/// # Errors
/// [`CompressError`] naming the tensor: another number of entries than `n k` or `k`, NaN and infinities.
pub fn optimal_brain_damage(
    weights: &Weights<'_>,
    diagonal: &[f64],
) -> Result<Vec<f32>, CompressError> {
    by_diagonal(weights, diagonal, |weight, entry| {
        entry * weight * weight / 2.0
    })
}

/// `w^2 / (2 [H^-1]_jj)`: what the loss rises by when a weight is removed and the others of its row make up
/// for it. Source: Hassibi, Stork, "Second order derivatives for network pruning" (NIPS 1992).
///
/// # Errors
/// [`CompressError`] naming the tensor: a Hessian of another width, without samples, or not positive
/// definite; damping that is not above 0.
pub fn optimal_brain_surgeon(
    weights: &Weights<'_>,
    hessian: &Hessian,
    damping: f64,
) -> Result<Vec<f32>, CompressError> {
    hessian.check(weights.name(), weights.k())?;
    let inverse = hessian.inverse_diagonal(weights.name(), damping)?;
    by_diagonal(weights, &inverse, |weight, entry| {
        weight * weight / (2.0 * entry)
    })
}

/// `abs(w) norm(x_j)`, to be compared within each row. The norms are relative to the largest, which
/// changes no order within a layer and makes the scores those of magnitude, bit for bit, when all inputs
/// are equally large. Without any input they are magnitudes too.
///
/// Source: Sun, Liu, Bair, Kolter, "A simple and effective pruning approach for large language models"
/// (ICLR 2024). Its zeros are `floor(k sparsity)` of each row: `Pattern::PerRow(Amount::Keep(..))`.
///
/// # Errors
/// [`CompressError`] naming the tensor: calibration of another width or without samples.
pub fn wanda(weights: &Weights<'_>, inputs: &Calibration) -> Result<Vec<f32>, CompressError> {
    inputs.check(weights.name(), weights.k())?;
    let squares = inputs.mean_square();
    let largest = squares.iter().copied().fold(0.0, f64::max);
    let norm = |square: f64| {
        if largest > 0.0 {
            (square / largest).sqrt()
        } else {
            1.0
        }
    };
    let norms: Vec<f64> = squares.into_iter().map(norm).collect();
    by_diagonal(weights, &norms, |weight, norm| weight.abs() * norm)
}

/// Scores after `previous` for a mask that keeps only what it kept: everything it dropped is `-inf` and so
/// goes first.
///
/// A mask chosen from them is a subset of `previous` as long as no contest keeps more than `previous` does:
/// the same pattern at the same or a higher sparsity.
///
/// # Errors
/// [`MaskError::WrongLength`] naming `tensor` for another number of scores than the mask has elements.
pub fn tighten(tensor: &str, previous: &Mask, scores: &[f32]) -> Result<Vec<f32>, CompressError> {
    let (n, k) = (previous.n(), previous.k());
    if scores.len() != n * k {
        return Err(MaskError::WrongLength {
            tensor: tensor.to_owned(),
            what: "scores",
            found: scores.len(),
            expected: n * k,
            n,
            k,
        }
        .into());
    }
    let score = |(index, &score): (usize, &f32)| {
        if previous.keeps(index / k, index % k) {
            score
        } else {
            f32::NEG_INFINITY
        }
    };
    Ok(scores.iter().enumerate().map(score).collect())
}

fn by_diagonal(
    weights: &Weights<'_>,
    diagonal: &[f64],
    score: impl Fn(f64, f64) -> f64,
) -> Result<Vec<f32>, CompressError> {
    let (name, k, values) = (weights.name(), weights.k(), weights.values());
    if diagonal.len() != values.len() {
        CompressError::check_len(name, "diagonal entries", diagonal.len(), k)?;
    }
    if let Some(index) = diagonal.iter().position(|entry| !entry.is_finite()) {
        return Err(CompressError::NotFinite {
            tensor: name.to_owned(),
            what: "diagonal entry",
            index,
            value: diagonal[index],
        });
    }
    let one = |(index, &weight): (usize, &f32)| {
        narrow(score(f64::from(weight), diagonal[index % diagonal.len()]))
    };
    Ok(values.iter().enumerate().map(one).collect())
}

/// A score as f32, no larger than the largest.
pub(super) fn narrow(score: f64) -> f32 {
    score.clamp(-f64::from(f32::MAX), f64::from(f32::MAX)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::testing::{correlated, normal};
    use crate::num::mask::{Amount, Pattern, Scores, magnitude, select};

    fn mask(n: usize, k: usize, scores: &[f32], pattern: Pattern) -> Mask {
        select(&Scores::new("w", n, k, scores).unwrap(), &pattern).unwrap()
    }

    #[test]
    fn with_constant_inputs_wanda_is_magnitude_per_row() {
        let values = normal(20 * 33, 0);
        let weights = Weights::new("w", 20, 33, &values).unwrap();
        for input in [0.37f32, -5.0, 1e-3] {
            let mut inputs = Calibration::new(33);
            inputs.add("x", &[input; 33 * 7]).unwrap();
            let scores = wanda(&weights, &inputs).unwrap();
            assert_eq!(scores, magnitude(&values), "bit for bit");
            let pattern = Pattern::PerRow(Amount::Keep(33 - 16));
            let expected = mask(20, 33, &magnitude(&values), pattern);
            assert_eq!(mask(20, 33, &scores, pattern), expected);
        }
    }

    #[test]
    fn golden_wanda_scores_weigh_a_column_by_its_norm() {
        let weights = Weights::new("w", 1, 3, &[4.0, -1.0, 2.0]).unwrap();
        let mut inputs = Calibration::new(3);
        inputs.add("x", &[0.5, 4.0, 0.0, 0.5, -4.0, 0.0]).unwrap();
        assert_eq!(wanda(&weights, &inputs).unwrap(), [0.5, 1.0, 0.0]);
        let mut dead = Calibration::new(3);
        dead.add("x", &[0.0; 3]).unwrap();
        assert_eq!(wanda(&weights, &dead).unwrap(), [4.0, 1.0, 2.0]);
    }

    #[test]
    fn first_order_scores_are_the_change_of_a_small_network_s_loss() {
        // Loss = (w x - y)^2 / 2; its gradient is (w x - y) x. Scaling a weight by 1 - e changes the loss
        // by e w g, to first order.
        let (values, x) = (normal(6, 1), normal(6, 2));
        let weights = Weights::new("w", 1, 6, &values).unwrap();
        let loss = |w: &[f64]| {
            let output: f64 = w.iter().zip(&x).map(|(w, &x)| w * f64::from(x)).sum();
            (output - 0.7).powi(2) / 2.0
        };
        let wide: Vec<f64> = values.iter().map(|&w| f64::from(w)).collect();
        let output: f64 = wide.iter().zip(&x).map(|(w, &x)| w * f64::from(x)).sum();
        let gradient: Vec<f32> = x
            .iter()
            .map(|&x| ((output - 0.7) * f64::from(x)) as f32)
            .collect();
        let scores = first_order(&weights, &gradient, FirstOrder::Absolute).unwrap();
        let squared = first_order(&weights, &gradient, FirstOrder::Squared).unwrap();
        for (index, score) in scores.into_iter().enumerate() {
            let step = 1e-4;
            let [mut more, mut less] = [wide.clone(), wide.clone()];
            more[index] *= 1.0 + step;
            less[index] *= 1.0 - step;
            let difference = ((loss(&more) - loss(&less)) / (2.0 * step)).abs();
            assert!((difference - f64::from(score)).abs() <= 1e-6 * difference + 1e-12);
            assert!((squared[index] - score * score).abs() <= 1e-6 * squared[index]);
        }
        assert!(first_order(&weights, &[0.0; 5], FirstOrder::Absolute).is_err());
        assert!(first_order(&weights, &[f32::NAN; 6], FirstOrder::Absolute).is_err());
    }

    #[test]
    fn with_an_identity_hessian_both_second_order_scores_order_by_magnitude() {
        let values = normal(4 * 8, 3);
        let weights = Weights::new("w", 4, 8, &values).unwrap();
        let mut sums = vec![0.0; 64];
        (0..8).for_each(|i| sums[i * 9] = 0.5);
        let hessian = Hessian::from_sums("w", 8, 1, sums).unwrap();
        let pattern = Pattern::Tensor(Amount::Sparsity(0.5));
        let expected = mask(4, 8, &magnitude(&values), pattern);
        let damage = optimal_brain_damage(&weights, &hessian.diagonal()).unwrap();
        assert_eq!(damage[3], (0.5 * f64::from(values[3]).powi(2)) as f32);
        assert_eq!(mask(4, 8, &damage, pattern), expected);
        let surgeon = optimal_brain_surgeon(&weights, &hessian, 0.01).unwrap();
        assert_eq!(mask(4, 8, &surgeon, pattern), expected);
        assert!(optimal_brain_damage(&weights, &[1.0; 7]).is_err());
        assert!(optimal_brain_damage(&weights, &[f64::NAN; 8]).is_err());
    }

    #[test]
    fn the_surgeon_s_score_is_the_rise_of_the_loss_after_the_best_repair() {
        let values = normal(3, 4);
        let weights = Weights::new("w", 1, 3, &values).unwrap();
        let mut hessian = Hessian::new(3);
        hessian.add("x", &correlated(30, 3, 4)).unwrap();
        let scores = optimal_brain_surgeon(&weights, &hessian, 1e-12).unwrap();
        let h = hessian.matrix();
        let w: Vec<f64> = values.iter().map(|&w| f64::from(w)).collect();
        // Weight 0 becomes 0; the best changes of the two others solve a 2 by 2 system.
        let (a, b, d) = (h[4], h[5], h[8]);
        let right = [w[0] * h[3], w[0] * h[6]];
        let determinant = a * d - b * b;
        let change = [
            -w[0],
            (d * right[0] - b * right[1]) / determinant,
            (a * right[1] - b * right[0]) / determinant,
        ];
        let rise = hessian.loss("w", &change).unwrap() / 2.0;
        assert!(
            (f64::from(scores[0]) / rise - 1.0).abs() < 1e-5,
            "{} {rise}",
            scores[0]
        );
    }

    #[test]
    fn random_scores_are_a_function_of_seed_and_stream() {
        assert_eq!(random(1, 2, 100), random(1, 2, 100));
        assert_ne!(random(1, 2, 100), random(1, 3, 100));
        assert_ne!(random(1, 2, 100), random(2, 2, 100));
        assert!(
            random(5, 0, 1000)
                .iter()
                .all(|score| (0.0..1.0).contains(score))
        );
    }

    #[test]
    fn a_tightened_mask_keeps_nothing_that_was_dropped() {
        let (n, k) = (16, 24);
        let mut previous = Mask::from_fn(n, k, |_, _| true);
        for (round, sparsity) in [0.2, 0.5, 0.5, 0.8, 1.0].into_iter().enumerate() {
            // The weights move between rounds, so the scores are new ones.
            let scores = magnitude(&normal(n * k, 20 + round as u64));
            let scores = tighten("w", &previous, &scores).unwrap();
            let next = mask(n, k, &scores, Pattern::Tensor(Amount::Sparsity(sparsity)));
            assert_eq!(next.is_subset_of(&previous), Ok(true), "{sparsity}");
            let dropped = (sparsity * (n * k) as f64).round_ties_even() as usize;
            assert_eq!(next.kept(), n * k - dropped);
            previous = next;
        }
        assert!(tighten("w", &previous, &[0.0]).is_err());
    }
}
