//! What the bias of a layer can take over: the mean error of quantization, and a normalization.

use crate::compress::{Calibration, CompressError, Weights};

/// The bias that gives a compressed layer the mean output of the original: `b - (C - W) mean(x)`.
///
/// `compressed [n, k]` stands for the weights; without a bias the result starts from zeros. Source: Nagel,
/// van Baalen, Blankevoort, Welling, "Data-free quantization" (ICCV 2019), with measured means.
///
/// # Errors
/// [`CompressError`] naming the tensor: another number of values, of biases or of calibrated features, no
/// samples, and a bias that is not finite.
pub fn corrected_bias(
    weights: &Weights<'_>,
    compressed: &[f32],
    inputs: &Calibration,
    bias: Option<&[f32]>,
) -> Result<Vec<f32>, CompressError> {
    let (name, n, k) = (weights.name(), weights.n(), weights.k());
    CompressError::check_len(name, "compressed weights", compressed.len(), n * k)?;
    inputs.check(name, k)?;
    let mean = inputs.mean();
    let mut corrected = widened(name, n, bias)?;
    for (bias, changes) in corrected
        .iter_mut()
        .zip(weights.differences(compressed).chunks_exact(k))
    {
        *bias -= changes
            .iter()
            .zip(&mean)
            .map(|(change, mean)| change * mean)
            .sum::<f64>();
    }
    narrowed(name, &corrected)
}

/// A batch normalization of `n` channels in evaluation: `gamma (x - mean) / sqrt(variance + eps) + beta`.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm<'a> {
    /// Scale of each channel.
    pub gamma: &'a [f32],
    /// Shift of each channel.
    pub beta: &'a [f32],
    /// Running mean of each channel.
    pub mean: &'a [f32],
    /// Running variance of each channel, 0 or more.
    pub variance: &'a [f32],
    /// Added to the variance, above 0 or with no variance 0.
    pub eps: f64,
}

/// Weights and bias of a layer with the normalization of its outputs folded in. Rows are multiplied by
/// `gamma / sqrt(variance + eps)`, in f64 and rounded once.
///
/// # Errors
/// [`CompressError`] naming the tensor: vectors of another length than there are rows, a variance that is
/// negative or 0 without `eps`, and results that are not finite.
pub fn fold_batch_norm(
    weights: &Weights<'_>,
    bias: Option<&[f32]>,
    norm: &BatchNorm<'_>,
) -> Result<(Vec<f32>, Vec<f32>), CompressError> {
    let (name, n) = (weights.name(), weights.n());
    for (what, vector) in [
        ("values of gamma", norm.gamma),
        ("values of beta", norm.beta),
        ("running means", norm.mean),
        ("running variances", norm.variance),
    ] {
        CompressError::check_len(name, what, vector.len(), n)?;
    }
    let mut folded_bias = widened(name, n, bias)?;
    let mut folded = Vec::with_capacity(weights.values().len());
    for (channel, row) in weights.rows().enumerate() {
        let variance = f64::from(norm.variance[channel]);
        let inside = variance >= 0.0 && variance + norm.eps > 0.0;
        let allowed = "0 or more, and above 0 with eps added";
        CompressError::check_range(name, "running variance", variance, inside, allowed)?;
        let factor = f64::from(norm.gamma[channel]) / (variance + norm.eps).sqrt();
        folded.extend(
            row.iter()
                .map(|&weight| (f64::from(weight) * factor) as f32),
        );
        let centred = folded_bias[channel] - f64::from(norm.mean[channel]);
        folded_bias[channel] = centred * factor + f64::from(norm.beta[channel]);
    }
    CompressError::check_finite(name, "folded weight", &folded)?;
    Ok((folded, narrowed(name, &folded_bias)?))
}

/// A bias in f64, zeros where there is none.
fn widened(tensor: &str, n: usize, bias: Option<&[f32]>) -> Result<Vec<f64>, CompressError> {
    match bias {
        None => Ok(vec![0.0; n]),
        Some(bias) => {
            CompressError::check_len(tensor, "biases", bias.len(), n)?;
            Ok(bias.iter().map(|&value| f64::from(value)).collect())
        }
    }
}

fn narrowed(tensor: &str, bias: &[f64]) -> Result<Vec<f32>, CompressError> {
    let bias: Vec<f32> = bias.iter().map(|&value| value as f32).collect();
    CompressError::check_finite(tensor, "bias", &bias)?;
    Ok(bias)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::quantize::{Linear, Width, round_to_nearest};
    use crate::compress::testing::normal;
    use crate::num::Granularity;

    #[test]
    fn the_mean_output_is_the_original_one() {
        let values = normal(4 * 16, 60);
        let weights = Weights::new("w", 4, 16, &values).unwrap();
        let x: Vec<f32> = normal(50 * 16, 61).iter().map(|x| x.abs()).collect();
        let mut inputs = Calibration::new(16);
        inputs.add("x", &x).unwrap();
        let linear = Linear::symmetric(Width::Int2, Granularity::Channel);
        let compressed = round_to_nearest(&weights, &linear).unwrap().dequantize();
        let bias = [0.5, -0.25, 0.0, 1.0];
        let corrected = corrected_bias(&weights, &compressed, &inputs, Some(&bias)).unwrap();
        let mean_output = |w: &[f32], bias: &[f32], row: usize| {
            let product: f64 = x
                .chunks_exact(16)
                .flat_map(|x| x.iter().zip(&w[row * 16..][..16]))
                .map(|(&x, &w)| f64::from(x) * f64::from(w))
                .sum();
            product / 50.0 + f64::from(bias[row])
        };
        for row in 0..4 {
            let expected = mean_output(&values, &bias, row);
            let found = mean_output(&compressed, &corrected, row);
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            assert!((mean_output(&compressed, &bias, row) - expected).abs() > 1e-4);
        }
        let same = corrected_bias(&weights, &values, &inputs, None).unwrap();
        assert_eq!(same, [0.0; 4]);
        assert!(corrected_bias(&weights, &values, &inputs, Some(&[0.0])).is_err());
    }

    #[test]
    fn a_folded_normalization_is_the_unfolded_one() {
        let values = normal(3 * 5, 62);
        let weights = Weights::new("conv", 3, 5, &values).unwrap();
        let norm = BatchNorm {
            gamma: &[1.5, -0.5, 0.0],
            beta: &[0.1, 0.2, 0.3],
            mean: &[0.01, -0.02, 0.5],
            variance: &[0.04, 2.0, 0.0],
            eps: 1e-5,
        };
        let bias = [0.3, 0.0, -0.1];
        let (folded, folded_bias) = fold_batch_norm(&weights, Some(&bias), &norm).unwrap();
        let x = normal(5, 63);
        for channel in 0..3 {
            let output = |w: &[f32], bias: f32| {
                let row = &w[channel * 5..][..5];
                let sum: f64 = row
                    .iter()
                    .zip(&x)
                    .map(|(&w, &x)| f64::from(w) * f64::from(x))
                    .sum();
                sum + f64::from(bias)
            };
            let deviation = (f64::from(norm.variance[channel]) + norm.eps).sqrt();
            let centred = output(&values, bias[channel]) - f64::from(norm.mean[channel]);
            let expected = f64::from(norm.gamma[channel]) * centred / deviation
                + f64::from(norm.beta[channel]);
            let found = output(&folded, folded_bias[channel]);
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        let dead = BatchNorm { eps: 0.0, ..norm };
        let error = fold_batch_norm(&weights, None, &dead)
            .unwrap_err()
            .to_string();
        assert!(error.contains("running variance = 0"), "{error}");
    }
}
