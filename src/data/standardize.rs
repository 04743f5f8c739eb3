//! Inputs with mean 0 and standard deviation 1.
//!
//! `x' = (x - mean) / std` in f32, with the statistics of the training set (centred sums in f64, the
//! deviation over `n`, as scikit-learn's `StandardScaler`). A deviation of 0 divides by 1.

use super::{DataError, Dataset};

/// What shares one mean and deviation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandardizeBy {
    /// All inputs, as is usual for grey images.
    Whole,
    /// Each channel of images `[channels, ..]`, as is usual for coloured ones.
    Channel,
    /// Each feature, as is usual for tables.
    Feature,
}

/// Means and deviations, measured on one set and applied to any.
#[derive(Clone, Debug, PartialEq)]
pub struct Standardization {
    by: StandardizeBy,
    /// One for the whole, or one a channel or feature.
    mean: Vec<f32>,
    std: Vec<f32>,
    n_features: usize,
}

impl Standardization {
    /// The statistics of `data`.
    ///
    /// # Errors
    /// [`DataError::Missing`] for a missing value.
    pub fn fit(data: &Dataset, by: StandardizeBy) -> Result<Self, DataError> {
        data.require_complete()?;
        let n_features = data.n_features();
        let n_groups = match by {
            StandardizeBy::Whole => 1,
            StandardizeBy::Channel => data.sample_shape()[..1].iter().product(),
            StandardizeBy::Feature => n_features,
        };
        let per_group = n_features / n_groups;
        let n = (data.n_samples() * per_group) as f64;
        let sum = |term: &dyn Fn(usize, f64) -> f64| {
            let mut sums = vec![0.0_f64; n_groups];
            for row in data.inputs().chunks_exact(n_features) {
                for (group, values) in row.chunks_exact(per_group).enumerate() {
                    for &x in values {
                        sums[group] += term(group, f64::from(x));
                    }
                }
            }
            sums.iter_mut().for_each(|sum| *sum /= n);
            sums
        };
        let mean = sum(&|_, x| x);
        let variance = sum(&|group, x| (x - mean[group]) * (x - mean[group]));
        Ok(Self {
            by,
            mean: mean.iter().map(|&mean| mean as f32).collect(),
            std: variance.iter().map(|v| v.sqrt() as f32).collect(),
            n_features,
        })
    }

    /// Statistics that were kept: those of a checkpoint, or published ones. `mean` and `std` are one
    /// for [`StandardizeBy::Whole`], and one a channel or feature otherwise; samples have
    /// `n_features`.
    ///
    /// # Errors
    /// [`DataError::FeatureCount`] unless both are as many as `by` needs and divide the features,
    /// [`DataError::Setting`] for a mean that is not finite, or a deviation that is not finite or is
    /// negative.
    pub fn from_parts(
        by: StandardizeBy,
        mean: Vec<f32>,
        std: Vec<f32>,
        n_features: usize,
    ) -> Result<Self, DataError> {
        let fits = match by {
            StandardizeBy::Whole => mean.len() == 1,
            StandardizeBy::Channel => !mean.is_empty() && n_features.is_multiple_of(mean.len()),
            StandardizeBy::Feature => mean.len() == n_features,
        };
        if !fits || n_features == 0 {
            return Err(DataError::FeatureCount {
                what: "means",
                given: mean.len(),
                n_features,
            });
        }
        if std.len() != mean.len() {
            return Err(DataError::FeatureCount {
                what: "deviations",
                given: std.len(),
                n_features,
            });
        }
        let refuse = |what, given: f32, allowed| {
            Err(DataError::Setting {
                what,
                given: given.into(),
                allowed,
            })
        };
        if let Some(&mean) = mean.iter().find(|mean| !mean.is_finite()) {
            return refuse("mean", mean, "finite");
        }
        if let Some(&std) = std.iter().find(|std| !(std.is_finite() && **std >= 0.0)) {
            return refuse("deviation", std, "0 or more, finite");
        }
        Ok(Self {
            by,
            mean,
            std,
            n_features,
        })
    }

    /// What shares one mean.
    pub fn by(&self) -> StandardizeBy {
        self.by
    }

    /// The means: one, or one a channel or feature.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// The deviations, as many; 0 where all values are equal.
    pub fn std(&self) -> &[f32] {
        &self.std
    }

    /// Features of a sample.
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// What a value becomes; `group` is its channel or feature, or 0.
    ///
    /// # Panics
    /// If there is no such group, as indexing a slice does.
    pub fn value(&self, group: usize, x: f32) -> f32 {
        let std = self.std[group];
        (x - self.mean[group]) / if std == 0.0 { 1.0 } else { std }
    }

    /// Standardizes `data` in place; missing values stay missing.
    ///
    /// # Errors
    /// [`DataError::FeatureCount`] if its samples have another number of features than those
    /// measured, [`DataError::Infinite`] for a result beyond f32; then nothing is changed.
    pub fn apply(&self, data: &mut Dataset) -> Result<(), DataError> {
        if data.n_features() != self.n_features {
            return Err(DataError::FeatureCount {
                what: "features were standardized",
                given: self.n_features,
                n_features: data.n_features(),
            });
        }
        let per_group = self.n_features / self.mean.len();
        let overflow = data.inputs().iter().enumerate().find_map(|(at, &x)| {
            let value = self.value(at % self.n_features / per_group, x);
            value.is_infinite().then_some((at, value))
        });
        if let Some((at, value)) = overflow {
            return Err(DataError::Infinite {
                row: at / self.n_features,
                feature: at % self.n_features,
                value,
            });
        }
        data.change_samples(|sample| {
            for (group, values) in sample.chunks_exact_mut(per_group).enumerate() {
                values.iter_mut().for_each(|x| *x = self.value(group, *x));
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(inputs: &[f32], shape: &[usize]) -> Dataset {
        let n = inputs.len() / shape.iter().product::<usize>();
        Dataset::new(
            inputs.to_vec(),
            shape.to_vec(),
            vec![0; n],
            vec!["a".into()],
        )
        .unwrap()
    }

    #[test]
    fn statistics_are_those_worked_out_by_hand() {
        let set = data(&[1.0, 10.0, 5.0, 3.0, 10.0, 1.0], &[3]);
        let fit = |by| Standardization::fit(&set, by).unwrap();
        let features = fit(StandardizeBy::Feature);
        assert_eq!(features.mean(), [2.0, 10.0, 3.0]);
        assert_eq!(features.std(), [1.0, 0.0, 2.0]);
        assert_eq!(fit(StandardizeBy::Whole).mean(), [5.0]);
        let mut done = set.clone();
        features.apply(&mut done).unwrap();
        assert_eq!(done.inputs(), [-1.0, 0.0, 1.0, 1.0, 0.0, -1.0]);
    }

    #[test]
    fn channels_have_their_own_mean_and_the_test_set_those_of_training() {
        let set = data(&[1.0, 3.0, 10.0, 30.0, 5.0, 7.0, 50.0, 70.0], &[2, 1, 2]);
        let channels = Standardization::fit(&set, StandardizeBy::Channel).unwrap();
        assert_eq!(channels.mean(), [4.0, 40.0]);
        let mut test = data(&[4.0, 4.0, 40.0, f32::NAN], &[2, 1, 2]);
        channels.apply(&mut test).unwrap();
        assert_eq!(test.inputs()[..3], [0.0; 3]);
        assert!(test.inputs()[3].is_nan());
    }

    #[test]
    fn statistics_that_were_kept_are_the_same_again() {
        let set = data(&[1.0, 3.0, 10.0, 30.0], &[2, 1, 2]);
        for by in [
            StandardizeBy::Whole,
            StandardizeBy::Channel,
            StandardizeBy::Feature,
        ] {
            let fit = Standardization::fit(&set, by).unwrap();
            let (mean, std) = (fit.mean().to_vec(), fit.std().to_vec());
            let kept = Standardization::from_parts(by, mean, std, fit.n_features());
            assert_eq!(kept.unwrap(), fit);
        }
        let parts = |by, mean: &[f32], std: &[f32], n| {
            Standardization::from_parts(by, mean.to_vec(), std.to_vec(), n)
        };
        for (by, n_means, n_stds, n) in [
            (StandardizeBy::Whole, 2, 2, 2),
            (StandardizeBy::Channel, 3, 3, 4),
            (StandardizeBy::Channel, 0, 0, 4),
            (StandardizeBy::Feature, 1, 1, 2),
            (StandardizeBy::Feature, 0, 0, 0),
            (StandardizeBy::Whole, 1, 2, 2),
        ] {
            assert!(matches!(
                parts(by, &[0.0; 3][..n_means], &[1.0; 3][..n_stds], n),
                Err(DataError::FeatureCount { .. })
            ));
        }
        for (mean, std) in [(f32::NAN, 1.0), (0.0, -1.0), (0.0, f32::INFINITY)] {
            assert!(matches!(
                parts(StandardizeBy::Whole, &[mean], &[std], 2),
                Err(DataError::Setting { .. })
            ));
        }
    }

    #[test]
    fn a_standardized_set_has_mean_zero_and_deviation_one() {
        let mut random = crate::num::Philox::new(1).stream(0);
        let inputs: Vec<f32> = (0..3000).map(|_| 100.0 + 7.0 * random.normal()).collect();
        let mut set = data(&inputs, &[30]);
        for by in [StandardizeBy::Feature, StandardizeBy::Whole] {
            Standardization::fit(&set, by)
                .unwrap()
                .apply(&mut set)
                .unwrap();
            let again = Standardization::fit(&set, by).unwrap();
            assert!(again.mean().iter().all(|mean| mean.abs() < 1e-5));
            assert!(again.std().iter().all(|std| (std - 1.0).abs() < 1e-5));
        }
    }

    #[test]
    fn missing_values_other_widths_and_overflow_are_refused() {
        let whole = |set: &Dataset| Standardization::fit(set, StandardizeBy::Whole);
        assert!(matches!(
            whole(&data(&[1.0, f32::NAN], &[2])),
            Err(DataError::Missing { row: 0, feature: 1 })
        ));
        let small = whole(&data(&[0.0, 1e-30], &[2])).unwrap();
        let mut wide = data(&[1.0; 3], &[3]);
        assert!(matches!(
            small.apply(&mut wide),
            Err(DataError::FeatureCount {
                given: 2,
                n_features: 3,
                ..
            })
        ));
        let mut large = data(&[1.0, 1e30], &[2]);
        assert!(matches!(
            small.apply(&mut large),
            Err(DataError::Infinite {
                row: 0,
                feature: 1,
                ..
            })
        ));
        assert_eq!(large.inputs(), [1.0, 1e30]);
    }
}
