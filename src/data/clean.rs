//! Rows that occur twice and values that are missing.
//!
//! Clean the training set first, then the test set with what was learned from training:
//! [`feature_means`] of training fills both.

use std::cmp::Ordering;

use super::{DataError, Dataset};

/// A set without its duplicates.
#[derive(Clone, Debug, PartialEq)]
pub struct Deduplicated {
    /// The first of each group of equal rows, in their order.
    pub data: Dataset,
    /// Rows that were dropped: equal to an earlier one in every input and in the label.
    pub n_dropped: usize,
    /// Rows kept whose inputs equal those of a kept row with another label. Which is right, only the
    /// user knows.
    pub n_conflicting: usize,
}

/// What is missing in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Values that are NaN.
    pub n_values: usize,
    /// Rows that have at least one.
    pub n_rows: usize,
}

/// Drops every row that equals an earlier one in all inputs and the label. Values are compared as
/// numbers: zeros of both signs are equal, and so are two missing values.
#[must_use]
pub fn drop_duplicates(data: &Dataset) -> Deduplicated {
    let mut rows: Vec<usize> = (0..data.n_samples()).collect();
    let labels = |row| data.sample_labels(row);
    rows.sort_unstable_by(|&a, &b| {
        compare(data.sample(a), data.sample(b))
            .then(labels(a).cmp(labels(b)))
            .then(a.cmp(&b))
    });
    let mut kept = Vec::new();
    let mut n_conflicting = 0;
    for same_inputs in rows.chunk_by(|&a, &b| compare(data.sample(a), data.sample(b)).is_eq()) {
        let groups = same_inputs.chunk_by(|&a, &b| labels(a) == labels(b));
        let before = kept.len();
        kept.extend(groups.map(|group| group[0]));
        let n_labels = kept.len() - before;
        n_conflicting += if n_labels > 1 { n_labels } else { 0 };
    }
    kept.sort_unstable();
    Deduplicated {
        n_dropped: data.n_samples() - kept.len(),
        n_conflicting,
        data: data
            .select_rows(&kept)
            .expect("a set has a row, and the first of it is kept"),
    }
}

/// Row by row; the order itself means nothing.
fn compare(left: &[f32], right: &[f32]) -> Ordering {
    let key = |x: f32| if x.is_nan() { f32::NAN } else { x + 0.0 };
    let pairs = left.iter().zip(right);
    pairs
        .map(|(&l, &r)| key(l).total_cmp(&key(r)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Counts what is missing.
#[must_use]
pub fn count_missing(data: &Dataset) -> Missing {
    let rows = data.inputs().chunks_exact(data.n_features());
    let per_row = rows.map(|row| row.iter().filter(|x| x.is_nan()).count());
    per_row.fold(
        Missing {
            n_values: 0,
            n_rows: 0,
        },
        |sum, n| Missing {
            n_values: sum.n_values + n,
            n_rows: sum.n_rows + usize::from(n > 0),
        },
    )
}

/// The set without its incomplete rows; [`count_missing`] says how many they are.
///
/// # Errors
/// [`DataError::NoSamples`] if every row is incomplete.
pub fn drop_missing(data: &Dataset) -> Result<Dataset, DataError> {
    let complete = |&row: &usize| !data.sample(row).iter().any(|x| x.is_nan());
    let rows: Vec<usize> = (0..data.n_samples()).filter(complete).collect();
    data.select_rows(&rows)
}

/// The mean of each feature over the rows that have it, summed in f64; `[features]`.
///
/// # Errors
/// [`DataError::AllMissing`] for a feature that no row has.
pub fn feature_means(data: &Dataset) -> Result<Vec<f32>, DataError> {
    let mut sums = vec![(0.0_f64, 0_usize); data.n_features()];
    for row in data.inputs().chunks_exact(data.n_features()) {
        for ((sum, n), &x) in sums.iter_mut().zip(row) {
            if !x.is_nan() {
                *sum += f64::from(x);
                *n += 1;
            }
        }
    }
    let mean = |(feature, (sum, n))| match n {
        0 => Err(DataError::AllMissing { feature }),
        n => Ok((sum / n as f64) as f32),
    };
    sums.into_iter().enumerate().map(mean).collect()
}

/// Puts `means` (`[features]`, finite) where values are missing; returns how many there were.
///
/// # Errors
/// [`DataError::FeatureCount`] unless there is one mean a feature, [`DataError::Infinite`] (as row
/// 0) for one that is not finite; then nothing is changed.
pub fn fill_missing(data: &mut Dataset, means: &[f32]) -> Result<usize, DataError> {
    if means.len() != data.n_features() {
        return Err(DataError::FeatureCount {
            what: "means",
            given: means.len(),
            n_features: data.n_features(),
        });
    }
    if let Some(feature) = means.iter().position(|mean| !mean.is_finite()) {
        return Err(DataError::Infinite {
            row: 0,
            feature,
            value: means[feature],
        });
    }
    let mut n_filled = 0;
    data.change_samples(|sample| {
        for (x, &mean) in sample.iter_mut().zip(means) {
            if x.is_nan() {
                *x = mean;
                n_filled += 1;
            }
        }
    });
    Ok(n_filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f32 = f32::NAN;

    fn data(rows: &[[f32; 2]], labels: &[u32]) -> Dataset {
        let classes = vec!["a".into(), "b".into(), "c".into()];
        Dataset::new(rows.concat(), vec![2], labels.to_vec(), classes).unwrap()
    }

    #[test]
    fn equal_rows_are_dropped_and_contradictions_counted() {
        let set = data(
            &[
                [1.0, 2.0],
                [0.0, NAN],
                [1.0, 2.0],
                [1.0, 2.0],
                [-0.0, -NAN],
                [5.0, 5.0],
                [1.0, 2.0],
            ],
            &[0, 1, 0, 2, 1, 0, 2],
        );
        let clean = drop_duplicates(&set);
        assert_eq!((clean.n_dropped, clean.n_conflicting), (3, 2));
        assert_eq!(clean.data.labels(), [0, 1, 2, 0]);
        assert_eq!(clean.data.sample(3), [5.0, 5.0]);
        let again = drop_duplicates(&clean.data);
        assert_eq!((again.n_dropped, again.n_conflicting), (0, 2));
    }

    #[test]
    fn incomplete_rows_are_counted_and_dropped() {
        let set = data(&[[NAN, NAN], [1.0, 2.0], [3.0, NAN]], &[0, 1, 2]);
        let missing = Missing {
            n_values: 3,
            n_rows: 2,
        };
        assert_eq!(count_missing(&set), missing);
        let kept = drop_missing(&set).unwrap();
        assert_eq!((kept.inputs(), kept.labels()), (&[1.0, 2.0][..], &[1][..]));
        assert!(set.require_complete().is_err() && kept.require_complete().is_ok());
        let none = data(&[[NAN, 1.0]], &[0]);
        assert!(matches!(drop_missing(&none), Err(DataError::NoSamples)));
    }

    #[test]
    fn means_of_training_fill_any_set() {
        let train = data(&[[1.0, NAN], [NAN, 4.0], [2.0, 6.0]], &[0, 1, 2]);
        let means = feature_means(&train).unwrap();
        assert_eq!(means, [1.5, 5.0]);
        let mut test = data(&[[NAN, NAN], [7.0, 8.0]], &[0, 1]);
        assert_eq!(fill_missing(&mut test, &means).unwrap(), 2);
        assert_eq!(test.inputs(), [1.5, 5.0, 7.0, 8.0]);
        assert!(matches!(
            fill_missing(&mut test, &[1.0]),
            Err(DataError::FeatureCount { given: 1, .. })
        ));
        assert!(matches!(
            fill_missing(&mut test, &[1.0, NAN]),
            Err(DataError::Infinite { feature: 1, .. })
        ));
        let empty = data(&[[1.0, NAN]], &[0]);
        assert!(matches!(
            feature_means(&empty),
            Err(DataError::AllMissing { feature: 1 })
        ));
    }
}
