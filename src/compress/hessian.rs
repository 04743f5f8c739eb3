//! The Hessian of a layer's squared output error: `H = 2/n sum x x^T` over calibration inputs.
//!
//! For weights `W` and changed weights `W + D` the outputs differ by `D x`, and their mean square, summed
//! over outputs, is `tr(D H D^T) / 2`. So `H` is all that GPTQ, SparseGPT, AWQ and the diagonal scores
//! need to know of the inputs.
//!
//! Sums are f64 in the order of the samples, one addition a sample and entry, so batches do not matter:
//! two batches give the same bits as one. (The running mean of the reference code gives the same matrix
//! up to rounding.)

use super::CompressError;
use super::factor::{Stopped, inverse_upper, quadratic};
use crate::num::QuantError;

/// Samples added at a time, so that a row of sums stays in the cache.
const CHUNK: usize = 64;

/// Damping is raised tenfold this often before a layer is given up: from 1% to 1000% of the mean
/// diagonal.
const RAISES: u32 = 3;

/// The sum of `x x^T` over the inputs of a layer with `k` input features.
#[derive(Clone, Debug, PartialEq)]
pub struct Hessian {
    k: usize,
    n_samples: u64,
    /// `[k, k]`; of the upper triangle nothing is used while samples are added.
    sums: Vec<f64>,
}

impl Hessian {
    /// No samples yet.
    #[must_use]
    pub fn new(k: usize) -> Self {
        Self {
            k,
            n_samples: 0,
            sums: vec![0.0; k * k],
        }
    }

    /// A Hessian whose sums were made elsewhere: `sums [k, k]` is `sum x x^T` over `n_samples`.
    ///
    /// # Errors
    /// [`CompressError`] naming `tensor` for no features, another number of sums, and for sums that are not finite.
    pub fn from_sums(
        tensor: &str,
        k: usize,
        n_samples: u64,
        sums: Vec<f64>,
    ) -> Result<Self, CompressError> {
        if k == 0 {
            let tensor = tensor.to_owned();
            return Err(QuantError::Empty { tensor, n: 0, k }.into());
        }
        CompressError::check_len(tensor, "sums of products", sums.len(), k.saturating_mul(k))?;
        if let Some(index) = sums.iter().position(|sum| !sum.is_finite()) {
            return Err(CompressError::NotFinite {
                tensor: tensor.to_owned(),
                what: "sum of products",
                index,
                value: sums[index],
            });
        }
        Ok(Self { k, n_samples, sums })
    }

    /// Adds inputs `x [m, k]`.
    ///
    /// # Errors
    /// [`CompressError`] naming `tensor` for a length that is not whole rows, NaN and infinities; nothing
    /// is added then.
    pub fn add(&mut self, tensor: &str, x: &[f32]) -> Result<(), CompressError> {
        let k = self.k;
        let m = x.len() / k.max(1);
        CompressError::check_len(tensor, "activations", x.len(), m * k)?;
        CompressError::check_finite(tensor, "activation", x)?;
        for chunk in x.chunks(CHUNK * k.max(1)) {
            let samples: Vec<f64> = chunk.iter().map(|&value| f64::from(value)).collect();
            for (row, sums) in self.sums.chunks_exact_mut(k).enumerate() {
                for sample in samples.chunks_exact(k) {
                    let factor = sample[row];
                    if factor != 0.0 {
                        for (sum, &value) in sums[..=row].iter_mut().zip(sample) {
                            *sum += factor * value;
                        }
                    }
                }
            }
        }
        self.n_samples += m as u64;
        Ok(())
    }

    /// Input features.
    #[must_use]
    pub const fn k(&self) -> usize {
        self.k
    }

    /// Inputs added.
    #[must_use]
    pub const fn n_samples(&self) -> u64 {
        self.n_samples
    }

    /// `2/n sum x x^T`, `[k, k]` and symmetric; zeros without samples.
    #[must_use]
    pub fn matrix(&self) -> Vec<f64> {
        let scale = 2.0 / self.n_samples.max(1) as f64;
        let mut matrix = vec![0.0; self.k * self.k];
        for row in 0..self.k {
            for column in 0..=row {
                let value = scale * self.sums[row * self.k + column];
                matrix[row * self.k + column] = value;
                matrix[column * self.k + row] = value;
            }
        }
        matrix
    }

    /// The diagonal, `2/n sum x_j^2`.
    #[must_use]
    pub fn diagonal(&self) -> Vec<f64> {
        let scale = 2.0 / self.n_samples.max(1) as f64;
        (0..self.k)
            .map(|column| scale * self.sums[column * (self.k + 1)])
            .collect()
    }

    /// Input features that were zero in every sample.
    #[must_use]
    pub fn dead(&self) -> Vec<usize> {
        (0..self.k)
            .filter(|&column| self.sums[column * (self.k + 1)] == 0.0)
            .collect()
    }

    /// `tr(D H D^T)` of changes `d [n, k]` to the weights: twice the mean squared change of the outputs,
    /// summed over outputs.
    ///
    /// # Errors
    /// [`CompressError::Length`] naming `tensor` when `d` is not whole rows.
    pub fn loss(&self, tensor: &str, d: &[f64]) -> Result<f64, CompressError> {
        let rows = d.len() / self.k.max(1);
        CompressError::check_len(tensor, "changes", d.len(), rows * self.k)?;
        Ok(quadratic(d, &self.matrix(), self.k))
    }

    /// The part of each row in [`Self::loss`], which is their sum.
    ///
    /// # Errors
    /// As [`Self::loss`].
    pub fn row_losses(&self, tensor: &str, d: &[f64]) -> Result<Vec<f64>, CompressError> {
        let rows = d.len() / self.k.max(1);
        CompressError::check_len(tensor, "changes", d.len(), rows * self.k)?;
        let matrix = self.matrix();
        let row = |row| quadratic(row, &matrix, self.k);
        Ok(d.chunks_exact(self.k.max(1)).map(row).collect())
    }

    /// Refuses a layer of another width, and a Hessian without samples.
    pub(super) fn check(&self, tensor: &str, k: usize) -> Result<(), CompressError> {
        CompressError::check_len(tensor, "columns of the Hessian", self.k, k)?;
        if self.n_samples == 0 {
            return Err(CompressError::TooFew {
                tensor: tensor.to_owned(),
                what: "the Hessian",
                found: 0,
                needed: 1,
            });
        }
        Ok(())
    }

    /// The upper factor of the inverse with columns taken in `order`, a permutation of them.
    ///
    /// Dead columns get the mean diagonal of the others, or 1 where all are dead. `damping` times the mean diagonal is added to the diagonal, and
    /// ten times more after each failure, which is logged.
    ///
    /// # Errors
    /// [`CompressError`]: damping out of range, a Hessian that is not positive definite after three
    /// raises.
    pub(super) fn factor(
        &self,
        tensor: &str,
        damping: f64,
        order: &[usize],
    ) -> Result<Factor, CompressError> {
        let inside = damping > 0.0 && damping.is_finite();
        CompressError::check_range(tensor, "damping", damping, inside, "above 0")?;
        let k = self.k;
        let matrix = self.matrix();
        let mut ordered = vec![0.0; k * k];
        for (row, &from_row) in order.iter().enumerate() {
            for (column, &from_column) in order.iter().enumerate() {
                ordered[row * k + column] = matrix[from_row * k + from_column];
            }
        }
        let diagonal =
            |matrix: &[f64]| -> Vec<f64> { (0..k).map(|i| matrix[i * (k + 1)]).collect() };
        let found = diagonal(&ordered);
        let n_live = found.iter().filter(|&&value| value != 0.0).count();
        let usual = match n_live {
            0 => 1.0,
            _ => found.iter().sum::<f64>() / n_live as f64,
        };
        for (i, value) in found.into_iter().enumerate() {
            if value == 0.0 {
                ordered[i * (k + 1)] = usual;
            }
        }
        let undamped = diagonal(&ordered);
        let mean = undamped.iter().sum::<f64>() / k as f64;
        let mut share = damping;
        let mut raises = 0;
        loop {
            for (i, value) in undamped.iter().enumerate() {
                ordered[i * (k + 1)] = value + share * mean;
            }
            match inverse_upper(&ordered, k) {
                Ok(upper) => {
                    return Ok(Factor {
                        upper,
                        damping: share,
                    });
                }
                Err(Stopped { column, pivot }) if raises == RAISES => {
                    return Err(CompressError::NotPositiveDefinite {
                        tensor: tensor.to_owned(),
                        column: order[column],
                        pivot,
                        damping: share,
                    });
                }
                Err(Stopped { column, pivot }) => {
                    log::warn!(
                        "{tensor}: Hessian not positive definite at column {} (pivot {pivot:e}) with \
                         {share} of its mean diagonal added; trying {}",
                        order[column],
                        10.0 * share
                    );
                    share *= 10.0;
                    raises += 1;
                }
            }
        }
    }

    /// The diagonal of the damped inverse, the `[H^-1]_jj` of Optimal Brain Surgeon.
    ///
    /// # Errors
    /// [`CompressError`] naming `tensor`: no samples, damping out of range, and a Hessian that is not
    /// positive definite even with a thousand times the damping.
    pub fn inverse_diagonal(&self, tensor: &str, damping: f64) -> Result<Vec<f64>, CompressError> {
        self.check(tensor, self.k)?;
        let order: Vec<usize> = (0..self.k).collect();
        let upper = self.factor(tensor, damping, &order)?.upper;
        let mut diagonal = vec![0.0; self.k];
        for row in upper.chunks_exact(self.k) {
            for (sum, &value) in diagonal.iter_mut().zip(row) {
                *sum += value * value;
            }
        }
        Ok(diagonal)
    }
}

/// `U` with `inverse(H + damping) = U^T U`.
#[derive(Clone, Debug)]
pub(super) struct Factor {
    /// `[k, k]`, upper triangular.
    pub upper: Vec<f64>,
    /// What was added to the diagonal, as a share of its mean.
    pub damping: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::Philox;

    fn normal(count: usize, id: u64) -> Vec<f32> {
        let mut stream = Philox::new(5).stream(id);
        (0..count).map(|_| stream.normal()).collect()
    }

    #[test]
    fn is_twice_the_mean_outer_product() {
        let mut hessian = Hessian::new(2);
        hessian.add("x", &[1.0, 2.0, 3.0, -1.0]).unwrap();
        assert_eq!(hessian.matrix(), [10.0, -1.0, -1.0, 5.0]);
        assert_eq!(hessian.diagonal(), [10.0, 5.0]);
        // d = (1, 1): outputs 3 and 2 change; twice their mean square is 13.
        assert_eq!(hessian.loss("x", &[1.0, 1.0]), Ok(13.0));
    }

    #[test]
    fn batches_do_not_matter() {
        let x = normal(150 * 7, 0);
        let mut whole = Hessian::new(7);
        whole.add("x", &x).unwrap();
        let mut parts = Hessian::new(7);
        for part in x.chunks(7 * 31) {
            parts.add("x", part).unwrap();
        }
        assert_eq!(whole, parts);
    }

    #[test]
    fn fewer_samples_than_features_are_damped() {
        let mut hessian = Hessian::new(20);
        hessian.add("x", &normal(5 * 20, 1)).unwrap();
        let order: Vec<usize> = (0..20).collect();
        let factor = hessian.factor("x", 0.01, &order).unwrap();
        assert_eq!(factor.damping, 0.01);
        assert!(factor.upper.iter().all(|value| value.is_finite()));
    }

    #[test]
    fn damping_rises_tenfold_until_the_factor_exists_or_is_given_up() {
        // Eigenvalues 1 + c and 1 - c: no sum of outer products, as a faulty accumulation may be.
        let with_corner = |corner| {
            let sums = vec![0.5, 0.5 * corner, 0.5 * corner, 0.5];
            Hessian::from_sums("x", 2, 1, sums).unwrap()
        };
        let share = |corner| with_corner(corner).factor("x", 0.01, &[0, 1]);
        assert_eq!(share(1.005).unwrap().damping, 0.01);
        assert_eq!(share(1.05).unwrap().damping, 0.1);
        assert_eq!(share(1.5).unwrap().damping, 1.0);
        let error = share(20.0).unwrap_err().to_string();
        assert!(
            error.contains("not positive definite at column 0"),
            "{error}"
        );
        assert!(share(1.0).is_ok() && with_corner(0.0).factor("x", 0.0, &[0, 1]).is_err());
    }

    #[test]
    fn dead_columns_are_named_and_do_no_harm() {
        let mut x = normal(9 * 4, 2);
        x.iter_mut()
            .skip(2)
            .step_by(4)
            .for_each(|value| *value = 0.0);
        let mut hessian = Hessian::new(4);
        hessian.add("x", &x).unwrap();
        assert_eq!(hessian.dead(), [2]);
        let inverse = hessian.inverse_diagonal("x", 0.01).unwrap();
        assert!(
            inverse
                .iter()
                .all(|value| value.is_finite() && *value > 0.0)
        );
    }

    #[test]
    fn refuses_ragged_and_infinite_inputs_and_adds_nothing() {
        let mut hessian = Hessian::new(3);
        assert!(hessian.add("x", &[1.0; 4]).is_err());
        assert!(hessian.add("x", &[1.0, f32::NAN, 0.0]).is_err());
        assert_eq!(hessian, Hessian::new(3));
        assert!(hessian.check("x", 3).is_err(), "no samples");
        assert!(Hessian::from_sums("x", 2, 1, vec![f64::NAN; 4]).is_err());
    }
}
