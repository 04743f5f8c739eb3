//! Factors moved from the inputs of a layer into its weights.
//!
//! With a factor `s_j > 0` for each input feature, `W x = (W diag(s)) (diag(1/s) x)`: columns of the weights
//! are multiplied and the inputs divided, the latter by dividing the rows and the bias of whatever makes
//! the inputs. Between the two may stand what commutes with positive factors: ReLU, pooling, dropout, not
//! GELU or a sigmoid. A normalization is such a maker: its weight and bias are divided.
//!
//! Factors that are powers of two move without any rounding ([`Smoothing::to_powers_of_two`]); others
//! round each weight once.
//!
//! Source: Xiao, Lin, Seznec, Wu, Demouth, Han, "SmoothQuant" (ICML 2023).

use crate::compress::{Calibration, CompressError, Weights};

/// Least magnitude that factors are made of.
const FLOOR: f64 = 1e-5;

/// A factor for each input feature of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Smoothing {
    factors: Vec<f32>,
}

impl Smoothing {
    /// Given factors.
    ///
    /// # Errors
    /// [`CompressError`] naming `tensor` for a factor that is not a positive normal number.
    pub fn new(tensor: &str, factors: Vec<f32>) -> Result<Self, CompressError> {
        match factors
            .iter()
            .find(|factor| !(factor.is_normal() && **factor > 0.0))
        {
            None => Ok(Self { factors }),
            Some(&factor) => Err(CompressError::OutOfRange {
                tensor: tensor.to_owned(),
                what: "smoothing factor",
                value: f64::from(factor),
                allowed: "positive normal numbers",
            }),
        }
    }

    /// SmoothQuant's factors `amax(x_j)^alpha / amax(W_j)^(1 - alpha)` for layers that read the same
    /// inputs, the largest weight over all of them; the usual `alpha` is 0.5. Both maxima and the factor
    /// are at least 1e-5; a feature that is dead, or has no weight, keeps the factor 1.
    ///
    /// # Errors
    /// [`CompressError`]: no layers, layers of another width than was calibrated, no samples, `alpha`
    /// outside 0 to 1.
    pub fn smooth_quant(
        layers: &[Weights<'_>],
        inputs: &Calibration,
        alpha: f64,
    ) -> Result<Self, CompressError> {
        let name = layers.first().map_or("SmoothQuant", Weights::name);
        CompressError::check_range(name, "layers", 0.0, !layers.is_empty(), "1 or more")?;
        let inside = (0.0..=1.0).contains(&alpha);
        CompressError::check_range(name, "alpha", alpha, inside, "0 to 1")?;
        let mut weight_amax = vec![0f32; inputs.k()];
        for layer in layers {
            inputs.check(layer.name(), layer.k())?;
            for row in layer.rows() {
                for (amax, weight) in weight_amax.iter_mut().zip(row) {
                    *amax = amax.max(weight.abs());
                }
            }
        }
        let factor = |(&input, &weight): (&f32, &f32)| {
            if input == 0.0 || weight == 0.0 {
                return 1.0;
            }
            let (input, weight) = (f64::from(input).max(FLOOR), f64::from(weight).max(FLOOR));
            let factor = power(input, alpha) / power(weight, 1.0 - alpha);
            factor.max(FLOOR) as f32
        };
        let factors = inputs.amax().iter().zip(&weight_amax).map(factor).collect();
        Self::new(name, factors)
    }

    /// One factor for each input feature.
    #[must_use]
    pub fn factors(&self) -> &[f32] {
        &self.factors
    }

    /// The nearest powers of two, in the logarithm: with them nothing is lost by moving.
    #[must_use]
    pub fn to_powers_of_two(&self) -> Self {
        let nearest = |&factor: &f32| {
            let exponent = i32::from((factor.to_bits() >> 23) as u8) - 127;
            let fraction = f64::from(factor) / f64::from(exponent).exp2();
            let up = i32::from(fraction >= std::f64::consts::SQRT_2);
            f64::from((exponent + up).min(127)).exp2() as f32
        };
        Self {
            factors: self.factors.iter().map(nearest).collect(),
        }
    }

    /// The weights with each column multiplied by its factor, rounded to f32 once.
    ///
    /// # Errors
    /// [`CompressError`] naming the tensor: another number of columns than factors, and a product that is
    /// infinite.
    pub fn scale_columns(&self, weights: &Weights<'_>) -> Result<Vec<f32>, CompressError> {
        weights.check_columns("smoothing factors", self.factors.len())?;
        let scale = |row: &[f32]| -> Vec<f32> {
            row.iter()
                .zip(&self.factors)
                .map(|(weight, factor)| weight * factor)
                .collect()
        };
        let scaled: Vec<f32> = weights.rows().flat_map(scale).collect();
        CompressError::check_finite(weights.name(), "smoothed weight", &scaled)?;
        Ok(scaled)
    }

    /// The weights of the layer that makes the inputs, each row divided by its factor.
    ///
    /// # Errors
    /// [`CompressError`] naming the tensor: another number of rows than factors, and a quotient that is
    /// infinite.
    pub fn divide_rows(&self, weights: &Weights<'_>) -> Result<Vec<f32>, CompressError> {
        let (name, n) = (weights.name(), weights.n());
        CompressError::check_len(name, "smoothing factors", self.factors.len(), n)?;
        let divide = |(row, &factor): (&'_ [f32], &f32)| -> Vec<f32> {
            row.iter().map(|weight| weight / factor).collect()
        };
        let divided: Vec<f32> = weights.rows().zip(&self.factors).flat_map(divide).collect();
        CompressError::check_finite(name, "smoothed weight", &divided)?;
        Ok(divided)
    }

    /// A vector of the layer that makes the inputs, its bias or a normalization's weight, divided.
    ///
    /// # Errors
    /// [`CompressError`] naming `tensor`: another length than there are factors, and a quotient that is
    /// not finite.
    pub fn divide(&self, tensor: &str, vector: &[f32]) -> Result<Vec<f32>, CompressError> {
        let count = self.factors.len();
        CompressError::check_len(tensor, "elements", vector.len(), count)?;
        let divided: Vec<f32> = vector
            .iter()
            .zip(&self.factors)
            .map(|(x, s)| x / s)
            .collect();
        CompressError::check_finite(tensor, "smoothed element", &divided)?;
        Ok(divided)
    }
}

/// `x^exponent`, by a root where it is one.
pub(super) fn power(x: f64, exponent: f64) -> f64 {
    if exponent == 0.5 {
        x.sqrt()
    } else {
        x.powf(exponent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::testing::{correlated, normal};

    /// `W2 relu(W1 x + b1)` in f64.
    fn network(w1: &[f32], b1: &[f32], w2: &[f32], x: &[f32]) -> Vec<f64> {
        let product = |w: &[f32], x: &[f64]| -> Vec<f64> {
            w.chunks_exact(x.len())
                .map(|row| row.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum())
                .collect()
        };
        let x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        let hidden = product(w1, &x);
        let hidden: Vec<f64> = hidden
            .iter()
            .zip(b1)
            .map(|(h, &b)| (h + f64::from(b)).max(0.0))
            .collect();
        product(w2, &hidden)
    }

    #[test]
    fn moving_factors_leaves_the_output_equal_to_rounding_and_powers_of_two_exactly() {
        let (k, hidden, n) = (12, 20, 5);
        let (w1, b1, w2) = (
            normal(hidden * k, 0),
            normal(hidden, 1),
            normal(n * hidden, 2),
        );
        let x = correlated(40, k, 3);
        let mut inputs = Calibration::new(hidden);
        let identity: Vec<f32> = (0..hidden * hidden)
            .map(|index| f32::from(u8::from(index % (hidden + 1) == 0)))
            .collect();
        for sample in x.chunks_exact(k) {
            let row: Vec<f32> = network(&w1, &b1, &identity, sample)
                .iter()
                .map(|&v| v as f32)
                .collect();
            inputs.add("fc2", &row).unwrap();
        }
        let first = Weights::new("fc1", hidden, k, &w1).unwrap();
        let second = Weights::new("fc2", n, hidden, &w2).unwrap();
        let smoothing = Smoothing::smooth_quant(&[second], &inputs, 0.5).unwrap();
        for (smoothing, allowed) in [
            (smoothing.clone(), 1e-6),
            (smoothing.to_powers_of_two(), 0.0),
        ] {
            let new_w1 = smoothing.divide_rows(&first).unwrap();
            let new_b1 = smoothing.divide("fc1.bias", &b1).unwrap();
            let new_w2 = smoothing.scale_columns(&second).unwrap();
            for sample in x.chunks_exact(k) {
                let before = network(&w1, &b1, &w2, sample);
                let after = network(&new_w1, &new_b1, &new_w2, sample);
                // Each product passes through three roundings of f32 weights.
                let size: f64 = before.iter().map(|y| y.abs()).sum::<f64>() + 1.0;
                for (one, other) in before.iter().zip(&after) {
                    assert!((one - other).abs() <= allowed * size, "{one} {other}");
                }
            }
        }
    }

    #[test]
    fn half_alpha_makes_inputs_and_weights_equally_large() {
        let mut inputs = Calibration::new(3);
        inputs.add("x", &[16.0, -1.0, 0.0]).unwrap();
        let weights = Weights::new("w", 2, 3, &[1.0, -0.25, 5.0, 0.5, 0.125, 1.0]).unwrap();
        let smoothing = Smoothing::smooth_quant(&[weights], &inputs, 0.5).unwrap();
        assert_eq!(
            smoothing.factors(),
            [4.0, 2.0, 1.0],
            "a dead feature is left alone"
        );
        let all = Smoothing::smooth_quant(&[weights], &inputs, 1.0).unwrap();
        assert_eq!(all.factors()[0], 16.0);
    }

    #[test]
    fn powers_of_two_are_the_nearest_in_the_logarithm() {
        let smoothing = Smoothing::new("w", vec![1.0, 1.41, 1.42, 3.0, 0.7]).unwrap();
        assert_eq!(
            smoothing.to_powers_of_two().factors(),
            [1.0, 1.0, 2.0, 4.0, 0.5]
        );
    }

    #[test]
    fn refuses_factors_and_layers_that_do_not_fit() {
        assert!(Smoothing::new("w", vec![1.0, 0.0]).is_err());
        assert!(Smoothing::new("w", vec![f32::NAN]).is_err());
        let smoothing = Smoothing::new("w", vec![1.0, 2.0]).unwrap();
        let weights = Weights::new("w", 1, 3, &[1.0; 3]).unwrap();
        assert!(smoothing.scale_columns(&weights).is_err());
        assert!(smoothing.divide_rows(&weights).is_err());
        assert!(smoothing.divide("b", &[1.0]).is_err());
        let inputs = Calibration::new(3);
        assert!(Smoothing::smooth_quant(&[], &inputs, 0.5).is_err());
        let error = Smoothing::smooth_quant(&[weights], &inputs, 0.5).unwrap_err();
        assert!(error.to_string().contains("from 0 values"), "{error}");
    }
}
