//! The matrix that everything here starts from, and what was lost when it ends.

use super::CompressError;
use crate::num::QuantError;

/// A named, checked weight matrix `[n, k]`, row-major: `n` output features, `k` input features. A
/// convolution's is `[filters, channels * height * width]`.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    name: &'a str,
    n: usize,
    k: usize,
    values: &'a [f32],
}

impl<'a> Weights<'a> {
    /// A matrix of finite values.
    ///
    /// # Errors
    /// [`QuantError`] naming `name` for no elements, another number of values than `n * k`, NaN and
    /// infinities.
    pub fn new(
        name: &'a str,
        n: usize,
        k: usize,
        values: &'a [f32],
    ) -> Result<Self, CompressError> {
        let tensor = || name.to_owned();
        if n == 0 || k == 0 {
            let tensor = tensor();
            return Err(QuantError::Empty { tensor, n, k }.into());
        }
        let expected = n.saturating_mul(k);
        if values.len() != expected {
            return Err(QuantError::WrongLength {
                tensor: tensor(),
                what: "weights",
                found: values.len(),
                expected,
                n,
                k,
            }
            .into());
        }
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(Self { name, n, k, values }),
            Some(index) => Err(QuantError::NotFinite {
                tensor: tensor(),
                value: values[index],
                index,
                row: index / k,
                column: index % k,
            }
            .into()),
        }
    }

    /// Name, for messages.
    #[must_use]
    pub const fn name(&self) -> &'a str {
        self.name
    }

    /// Rows, output features.
    #[must_use]
    pub const fn n(&self) -> usize {
        self.n
    }

    /// Columns, input features.
    #[must_use]
    pub const fn k(&self) -> usize {
        self.k
    }

    /// Values `[n, k]`.
    #[must_use]
    pub const fn values(&self) -> &'a [f32] {
        self.values
    }

    /// Rows of `k` values.
    pub(super) fn rows(&self) -> impl Iterator<Item = &'a [f32]> {
        self.values.chunks_exact(self.k)
    }

    /// The values in f64.
    pub(super) fn to_f64(self) -> Vec<f64> {
        self.values.iter().map(|&value| f64::from(value)).collect()
    }

    /// Changes of the weights, in f64: other values `[n, k]`, as many as there are weights, less these.
    pub(super) fn differences(&self, other: &[f32]) -> Vec<f64> {
        let change = |(&own, &other): (&f32, &f32)| f64::from(other) - f64::from(own);
        self.values.iter().zip(other).map(change).collect()
    }

    /// Refuses a per-column array of another length.
    pub(super) fn check_columns(
        &self,
        what: &'static str,
        found: usize,
    ) -> Result<(), CompressError> {
        CompressError::check_len(self.name, what, found, self.k)
    }
}

/// What a matrix lost: the differences between it and what stands for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightError {
    /// Mean of the absolute differences.
    pub mean_abs: f64,
    /// Root of the mean squared difference.
    pub rms: f64,
    /// Largest absolute difference.
    pub max_abs: f64,
    /// Ratio of the squares of weights and differences in decibels: infinite when nothing was lost, and
    /// -infinite when a matrix of zeros was changed.
    pub snr_db: f64,
}

/// Compares a matrix with its compressed values `[n, k]`, in f64.
///
/// # Errors
/// [`CompressError::Length`] for another number of values.
pub fn weight_error(
    weights: &Weights<'_>,
    compressed: &[f32],
) -> Result<WeightError, CompressError> {
    CompressError::check_len(
        weights.name,
        "compressed weights",
        compressed.len(),
        weights.values.len(),
    )?;
    let (mut sum_abs, mut noise, mut signal, mut max_abs) = (0.0, 0.0, 0.0, 0f64);
    for (&weight, &value) in weights.values.iter().zip(compressed) {
        let difference = (f64::from(weight) - f64::from(value)).abs();
        sum_abs += difference;
        noise += difference * difference;
        signal += f64::from(weight).powi(2);
        max_abs = max_abs.max(difference);
    }
    let count = compressed.len() as f64;
    let snr_db = if noise == 0.0 {
        f64::INFINITY
    } else {
        10.0 * (signal / noise).log10()
    };
    Ok(WeightError {
        mean_abs: sum_abs / count,
        rms: (noise / count).sqrt(),
        max_abs,
        snr_db,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_matrix_of_finite_numbers() {
        let refused =
            |n, k, values: &[f32]| Weights::new("w", n, k, values).unwrap_err().to_string();
        assert!(refused(0, 3, &[]).contains("no elements"));
        assert_eq!(
            refused(2, 2, &[0.0; 3]),
            "w: 2 x 2 calls for 4 weights, found 3"
        );
        assert!(refused(1, 2, &[0.0, f32::INFINITY]).contains("row 0, column 1"));
    }

    #[test]
    fn error_is_counted_as_defined() {
        let weights = Weights::new("w", 1, 4, &[3.0, 0.0, -4.0, 0.0]).unwrap();
        let error = weight_error(&weights, &[3.0, 0.5, -4.0, 0.0]).unwrap();
        assert_eq!(
            (error.mean_abs, error.rms, error.max_abs),
            (0.125, 0.25, 0.5)
        );
        assert_eq!(error.snr_db, 20.0);
        let exact = weight_error(&weights, weights.values()).unwrap();
        assert_eq!((exact.max_abs, exact.snr_db), (0.0, f64::INFINITY));
        assert!(weight_error(&weights, &[0.0]).is_err());
    }
}
