//! AWQ: features with large inputs get finer steps, by factors moved from inputs into weights.
//!
//! For `r` in a grid from 0 to 1 the factors are `s_j = mean|x_j|^r / (mean|w_j|^(1-r) + 1e-4)`, at least
//! 1e-4, divided by the root of the product of the largest and the smallest; `|w_j|` is relative to the
//! largest weight of its group. The `r` with the least output error of the quantized layer wins; not
//! scaling at all is a candidate too, so the result is never worse than rounding to nearest. Then each
//! group's range is shrunk, in steps, as far as that lowers the error of the group's own part of the
//! output.
//!
//! Output errors are exact over all calibration samples: `tr(D H D^T)` of the Hessian instead of products
//! with some of them.
//!
//! Source: Lin, Tang, Tang, Yang, Dang, Gan, Han, "AWQ" (MLSys 2024) and its code (`quantizer.py`).

use super::grid::Grid;
use super::linear::Linear;
use super::matrix::LinearMatrix;
use super::nearest::{Grids, round_to_nearest};
use super::range::{Range, least_error};
use super::smooth::{Smoothing, power};
use crate::compress::factor::quadratic;
use crate::compress::{Calibration, CompressError, Hessian, Weights};
use crate::num::Granularity;

/// Least factor, and what keeps divisors from zero.
const FLOOR: f64 = 1e-4;

/// Numbers of the method; the defaults are AWQ's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Awq {
    /// Exponents tried, `i / grid` for `i` from 0.
    pub grid: u32,
    /// Whether ranges are shrunk afterwards.
    pub clip: Clip,
}

/// The second step of the method.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clip {
    /// Ranges stay.
    Never,
    /// Ranges are shrunk in this many steps from whole to none, down to `1 - max_shrink`. A tensor with
    /// one scale keeps its range.
    Search {
        /// Steps.
        grid: u32,
        /// Largest part cut off, in (0, 1).
        max_shrink: f64,
    },
}

impl Default for Awq {
    fn default() -> Self {
        Self {
            grid: 20,
            clip: Clip::Search {
                grid: 20,
                max_shrink: 0.45,
            },
        }
    }
}

/// A quantized layer and the factors its inputs must be divided by.
#[derive(Clone, Debug, PartialEq)]
pub struct AwqResult {
    /// Codes of the weights with columns multiplied by the factors.
    pub matrix: LinearMatrix,
    /// The factors; all 1 when scaling did not help.
    pub smoothing: Smoothing,
    /// The exponent that won; none when not scaling did.
    pub ratio: Option<f64>,
    /// `tr(D H D^T)` for each exponent tried, before ranges were shrunk.
    pub losses: Vec<f64>,
    /// `tr(D H D^T)` of the result.
    pub loss: f64,
    /// `tr(D H D^T)` of rounding to nearest.
    pub nearest_loss: f64,
}

/// Quantizes a layer with factors found by its inputs.
///
/// # Errors
/// [`CompressError`] naming the tensor: what [`round_to_nearest`] refuses, statistics of another width or
/// without samples, numbers out of range.
pub fn awq(
    weights: &Weights<'_>,
    inputs: &Calibration,
    hessian: &Hessian,
    linear: &Linear,
    options: &Awq,
) -> Result<AwqResult, CompressError> {
    let (name, n, k) = (weights.name(), weights.n(), weights.k());
    inputs.check(name, k)?;
    hessian.check(name, k)?;
    options.check(name)?;
    let h = hessian.matrix();
    let nearest = round_to_nearest(weights, linear)?;
    let ones = Smoothing::new(name, vec![1.0; k])?;
    let nearest_loss = loss(weights, &h, &ones, &nearest);
    let mut best = AwqResult {
        matrix: nearest,
        smoothing: ones,
        ratio: None,
        losses: Vec::new(),
        loss: nearest_loss,
        nearest_loss,
    };
    let sizes = relative_sizes(weights, linear)?;
    let means = inputs.mean_abs();
    for step in 0..options.grid {
        let ratio = f64::from(step) / f64::from(options.grid);
        let smoothing = Smoothing::new(name, factors(&means, &sizes, ratio))?;
        let scaled = smoothing.scale_columns(weights)?;
        let matrix = round_to_nearest(&Weights::new(name, n, k, &scaled)?, linear)?;
        let found = loss(weights, &h, &smoothing, &matrix);
        best.losses.push(found);
        if found < best.loss {
            best = AwqResult {
                matrix,
                smoothing,
                ratio: Some(ratio),
                loss: found,
                ..best
            };
        }
    }
    if let Clip::Search { grid, max_shrink } = options.clip
        && linear.granularity != Granularity::Tensor
    {
        let scaled = best.smoothing.scale_columns(weights)?;
        let scaled = Weights::new(name, n, k, &scaled)?;
        let own = divided(&h, &best.smoothing);
        let matrix = clipped(&scaled, &own, linear, grid, max_shrink)?;
        let found = loss(weights, &h, &best.smoothing, &matrix);
        if found < best.loss {
            best = AwqResult {
                matrix,
                loss: found,
                ..best
            };
        }
    }
    Ok(best)
}

impl Awq {
    fn check(&self, tensor: &str) -> Result<(), CompressError> {
        let check = |what, value, inside, allowed| {
            CompressError::check_range(tensor, what, value, inside, allowed)
        };
        let steps = |count: u32| (1..=10_000).contains(&count);
        check("grid", f64::from(self.grid), steps(self.grid), "1 to 10000")?;
        if let Clip::Search { grid, max_shrink } = self.clip {
            check("clip grid", f64::from(grid), steps(grid), "1 to 10000")?;
            let inside = max_shrink > 0.0 && max_shrink < 1.0;
            check("max_shrink", max_shrink, inside, "between 0 and 1")?;
        }
        Ok(())
    }
}

/// `tr(D H D^T)` of what the layer computes from its own inputs: the codes' values over the factors, less
/// the weights.
fn loss(weights: &Weights<'_>, h: &[f64], smoothing: &Smoothing, matrix: &LinearMatrix) -> f64 {
    let k = weights.k();
    let values = matrix.dequantize();
    let mut changes = Vec::with_capacity(values.len());
    for (row, weights) in values.chunks_exact(k).zip(weights.rows()) {
        for ((&value, &weight), &factor) in row.iter().zip(weights).zip(smoothing.factors()) {
            changes.push(f64::from(value) / f64::from(factor) - f64::from(weight));
        }
    }
    quadratic(&changes, h, k)
}

/// Mean over rows of each column's magnitude relative to the largest of its group.
fn relative_sizes(weights: &Weights<'_>, linear: &Linear) -> Result<Vec<f64>, CompressError> {
    let (k, n) = (weights.k(), weights.n() as f64);
    let group_size = linear.group_size(weights.name(), k)?;
    let mut sizes = vec![0.0; k];
    for row in weights.rows() {
        for (group, sums) in row.chunks(group_size).zip(sizes.chunks_mut(group_size)) {
            let amax = group.iter().fold(0f32, |amax, value| amax.max(value.abs()));
            if amax > 0.0 {
                for (sum, value) in sums.iter_mut().zip(group) {
                    *sum += f64::from(value.abs()) / f64::from(amax) / n;
                }
            }
        }
    }
    Ok(sizes)
}

fn factors(means: &[f64], sizes: &[f64], ratio: f64) -> Vec<f32> {
    let factor = |(&mean, &size): (&f64, &f64)| {
        (power(mean, ratio) / (power(size, 1.0 - ratio) + FLOOR)).max(FLOOR)
    };
    let factors: Vec<f64> = means.iter().zip(sizes).map(factor).collect();
    let largest = factors.iter().copied().fold(0.0, f64::max);
    let smallest = factors.iter().copied().fold(f64::INFINITY, f64::min);
    let middle = (largest * smallest).sqrt();
    factors
        .iter()
        .map(|factor| (factor / middle) as f32)
        .collect()
}

/// The Hessian of the inputs divided by the factors.
fn divided(h: &[f64], smoothing: &Smoothing) -> Vec<f64> {
    let factors = smoothing.factors();
    let k = factors.len();
    let entry = |(index, value): (usize, &f64)| {
        value / (f64::from(factors[index / k]) * f64::from(factors[index % k]))
    };
    h.iter().enumerate().map(entry).collect()
}

/// Rounds to nearest over ranges that lower the error of each group's part of the output.
fn clipped(
    weights: &Weights<'_>,
    h: &[f64],
    linear: &Linear,
    grid: u32,
    max_shrink: f64,
) -> Result<LinearMatrix, CompressError> {
    let (name, n, k) = (weights.name(), weights.n(), weights.k());
    let values = weights.to_f64();
    let mut grids = Grids::fit(name, linear, &values, k)?;
    let group_size = linear.group_size(name, k)?;
    for start in (0..k).step_by(group_size) {
        let part: Vec<f64> = (start..start + group_size)
            .flat_map(|row| &h[row * k + start..][..group_size])
            .copied()
            .collect();
        for row in 0..n {
            let group = &values[row * k + start..][..group_size];
            let error = |range| {
                let codes = Grid::fit(linear, range);
                let changes: Vec<f64> = group.iter().map(|&x| codes.nearest(x) - x).collect();
                quadratic(&changes, &part, group_size)
            };
            let range = least_error(Range::of(group), grid, max_shrink, error);
            grids.replace(name, row, start, Grid::fit(linear, range))?;
        }
    }
    let code = |(index, &value): (usize, &f64)| grids.of(index / k, index % k).code(value) as i8;
    let codes: Vec<i8> = values.iter().enumerate().map(code).collect();
    grids.matrix(name, linear, n, k, &codes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::quantize::Width;
    use crate::compress::testing::{correlated, normal};

    fn statistics(x: &[f32], k: usize) -> (Calibration, Hessian) {
        let (mut inputs, mut hessian) = (Calibration::new(k), Hessian::new(k));
        inputs.add("x", x).unwrap();
        hessian.add("x", x).unwrap();
        (inputs, hessian)
    }

    #[test]
    fn beats_rounding_to_nearest_on_inputs_of_different_size() {
        let values = normal(12 * 64, 50);
        let weights = Weights::new("w", 12, 64, &values).unwrap();
        let (inputs, hessian) = statistics(&correlated(200, 64, 5), 64);
        for width in [Width::Int4, Width::Int3] {
            let linear = Linear::asymmetric(width, Granularity::Group(32));
            let found = awq(&weights, &inputs, &hessian, &linear, &Awq::default()).unwrap();
            assert!(found.loss < found.nearest_loss, "{linear}: {found:?}");
            assert!(found.ratio.is_some() && found.losses.len() == 20);
            let unclipped = Awq {
                clip: Clip::Never,
                ..Awq::default()
            };
            let unclipped = awq(&weights, &inputs, &hessian, &linear, &unclipped).unwrap();
            assert!(found.loss <= unclipped.loss);
            let least = unclipped
                .losses
                .iter()
                .copied()
                .fold(f64::INFINITY, f64::min);
            assert_eq!(least, unclipped.loss);
        }
    }

    #[test]
    fn exponent_zero_does_not_look_at_the_inputs() {
        let sizes = [0.5, 0.25, 1.0];
        let one = factors(&[1.0, 100.0, 0.0], &sizes, 0.0);
        assert_eq!(one, factors(&[7.0, 3.0, 9.0], &sizes, 0.0));
        // Largest and smallest lie around 1.
        assert!((one[1] * one[2] - 1.0).abs() < 1e-6, "{one:?}");
    }

    #[test]
    fn a_feature_that_is_dead_gets_the_least_factor_and_nothing_is_nan() {
        let values = normal(4 * 16, 51);
        let weights = Weights::new("w", 4, 16, &values).unwrap();
        let mut x = correlated(60, 16, 6);
        x.iter_mut().step_by(16).for_each(|value| *value = 0.0);
        let (inputs, hessian) = statistics(&x, 16);
        let linear = Linear::symmetric(Width::Int3, Granularity::Channel);
        let found = awq(&weights, &inputs, &hessian, &linear, &Awq::default()).unwrap();
        assert!(found.loss <= found.nearest_loss && found.loss.is_finite());
        assert!(
            found
                .matrix
                .dequantize()
                .iter()
                .all(|value| value.is_finite())
        );
    }

    #[test]
    fn the_loss_is_that_of_the_folded_layer() {
        let values = normal(3 * 8, 52);
        let weights = Weights::new("w", 3, 8, &values).unwrap();
        let x = correlated(30, 8, 7);
        let (inputs, hessian) = statistics(&x, 8);
        let linear = Linear::asymmetric(Width::Int2, Granularity::Channel);
        let found = awq(&weights, &inputs, &hessian, &linear, &Awq::default()).unwrap();
        let stored = found.matrix.dequantize();
        let factors = found.smoothing.factors();
        let mut squares = 0.0;
        for sample in x.chunks_exact(8) {
            for (row, own) in stored.chunks_exact(8).zip(values.chunks_exact(8)) {
                let mut change = 0.0;
                for column in 0..8 {
                    let input = f64::from(sample[column]);
                    change += f64::from(row[column]) * (input / f64::from(factors[column]));
                    change -= f64::from(own[column]) * input;
                }
                squares += change * change;
            }
        }
        let expected = 2.0 * squares / 30.0;
        assert!(
            (found.loss / expected - 1.0).abs() < 1e-9,
            "{} {expected}",
            found.loss
        );
    }

    #[test]
    fn refuses_statistics_of_another_layer_and_numbers_out_of_range() {
        let values = normal(2 * 8, 53);
        let weights = Weights::new("w", 2, 8, &values).unwrap();
        let (inputs, hessian) = statistics(&correlated(10, 8, 8), 8);
        let linear = Linear::symmetric(Width::Int4, Granularity::Channel);
        let other = Calibration::new(7);
        assert!(awq(&weights, &other, &hessian, &linear, &Awq::default()).is_err());
        let none = Awq {
            grid: 0,
            ..Awq::default()
        };
        let error = awq(&weights, &inputs, &hessian, &linear, &none).unwrap_err();
        assert_eq!(error.to_string(), "w: grid = 0; allowed: 1 to 10000");
    }
}
