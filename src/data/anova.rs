//! Which features tell the classes apart: the F statistic of a one-way analysis of variance.
//!
//! For a feature with mean `m`, and `n_c` samples of mean `m_c` in class `c` of `k`,
//!
//! `F = (sum_c n_c (m_c - m)^2 / (k - 1)) / (sum_c sum_i (x_i - m_c)^2 / (n - k))`.
//!
//! As `f_classif` and `SelectKBest` of scikit-learn, except where both sums are zero (a constant
//! feature): 0 here, because it tells nothing apart, NaN there. Sums are f64 and centred.

use super::{DataError, Dataset};

/// `F` of every feature, `[features]`: 0 where all class means are equal, infinite where values vary
/// between classes and never within one.
///
/// # Errors
/// [`DataError::Missing`] for a missing value, [`DataError::EmptyClass`] for a class without
/// samples, [`DataError::OutOfRange`] for fewer than two classes or no more samples than classes.
pub fn f_scores(data: &Dataset) -> Result<Vec<f64>, DataError> {
    let (n, k) = (data.n_samples(), data.n_classes());
    let at_least = |what, given, least| match given < least {
        true => Err(DataError::OutOfRange {
            what,
            given,
            least,
            most: usize::MAX,
        }),
        false => Ok(()),
    };
    at_least("classes", k, 2)?;
    data.require_one_label()?;
    data.require_per_class(1)?;
    at_least("samples", n, k + 1)?;
    data.require_complete()?;

    let width = data.n_features();
    let counts = data.class_counts();
    // [k, features], sums first, then means.
    let mut class_means = vec![0.0_f64; k * width];
    for (row, &label) in data.inputs().chunks_exact(width).zip(data.labels()) {
        let sums = &mut class_means[label as usize * width..][..width];
        add(sums, row.iter().map(|&x| f64::from(x)));
    }
    let mut means = vec![0.0_f64; width];
    for (sums, &count) in class_means.chunks_exact_mut(width).zip(&counts) {
        add(&mut means, sums.iter().copied());
        sums.iter_mut().for_each(|sum| *sum /= count as f64);
    }
    means.iter_mut().for_each(|sum| *sum /= n as f64);

    let mut between = vec![0.0_f64; width];
    for (class, &count) in class_means.chunks_exact(width).zip(&counts) {
        let squares = class.iter().zip(&means);
        add(
            &mut between,
            squares.map(|(m_c, m)| count as f64 * (m_c - m) * (m_c - m)),
        );
    }
    let mut within = vec![0.0_f64; width];
    for (row, &label) in data.inputs().chunks_exact(width).zip(data.labels()) {
        let class = &class_means[label as usize * width..][..width];
        let residuals = row.iter().zip(class).map(|(&x, m_c)| f64::from(x) - m_c);
        add(&mut within, residuals.map(|residual| residual * residual));
    }
    let f = |(between, within): (f64, f64)| {
        if between == 0.0 {
            0.0
        } else {
            (between / (k - 1) as f64) / (within / (n - k) as f64)
        }
    };
    Ok(between.into_iter().zip(within).map(f).collect())
}

/// The `count` features of the highest [`f_scores`], in ascending order of their indices; among
/// equal scores the lower index wins. For [`Dataset::select_features`].
///
/// # Errors
/// [`DataError::OutOfRange`] unless `count` is from 1 to the number of features, and what
/// [`f_scores`] refuses.
pub fn select_best(data: &Dataset, count: usize) -> Result<Vec<usize>, DataError> {
    if !(1..=data.n_features()).contains(&count) {
        return Err(DataError::OutOfRange {
            what: "features to select",
            given: count,
            least: 1,
            most: data.n_features(),
        });
    }
    let scores = f_scores(data)?;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order.truncate(count);
    order.sort_unstable();
    Ok(order)
}

fn add(sums: &mut [f64], terms: impl Iterator<Item = f64>) {
    for (sum, term) in sums.iter_mut().zip(terms) {
        *sum += term;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::Philox;

    fn data(columns: &[&[f32]], labels: &[u32]) -> Dataset {
        let n_classes = *labels.iter().max().unwrap() + 1;
        let rows = 0..labels.len();
        let inputs = rows
            .flat_map(|row| columns.iter().map(move |column| column[row]))
            .collect();
        let names = (0..n_classes).map(|class| class.to_string()).collect();
        Dataset::new(inputs, vec![columns.len()], labels.to_vec(), names).unwrap()
    }

    #[test]
    fn scores_are_those_worked_out_by_hand() {
        let set = data(
            &[
                // Means 2 and 5, mean 3.5: between 13.5, within 4 over 4 degrees of freedom.
                &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
                // Equal class means.
                &[1.0, 2.0, 3.0, 3.0, 2.0, 1.0],
                // Constant.
                &[7.5; 6],
                // Constant in each class.
                &[1.0, 1.0, 1.0, 2.0, 2.0, 2.0],
            ],
            &[0, 0, 0, 1, 1, 1],
        );
        assert_eq!(f_scores(&set).unwrap(), [13.5, 0.0, 0.0, f64::INFINITY]);
        assert_eq!(select_best(&set, 2).unwrap(), [0, 3]);
        assert_eq!(select_best(&set, 3).unwrap(), [0, 1, 3]);
        let best = set.select_features(&[3, 0]).unwrap();
        assert_eq!(best.sample(4), [2.0, 5.0]);
    }

    #[test]
    fn three_uneven_classes_agree_with_the_closed_form() {
        // Classes {1, 3}, {2, 4, 6}, {9}: means 2, 4, 9, mean 25/6; between 1 * 31.83, within 10.
        let set = data(&[&[2.0, 1.0, 9.0, 4.0, 3.0, 6.0]], &[1, 0, 2, 1, 0, 1]);
        let m: f64 = 25.0 / 6.0;
        let between = 2.0 * (2.0 - m).powi(2) + 3.0 * (4.0 - m).powi(2) + (9.0 - m).powi(2);
        let expected = (between / 2.0) / (10.0 / 3.0);
        let found = f_scores(&set).unwrap()[0];
        assert!((found / expected - 1.0).abs() < 1e-14, "{found} {expected}");
    }

    #[test]
    fn two_classes_agree_with_the_square_of_the_t_statistic_far_from_zero() {
        let mut random = Philox::new(5).stream(0);
        let labels: Vec<u32> = (0..400).map(|i| u32::from(i % 3 == 0)).collect();
        let column: Vec<f32> = labels
            .iter()
            .map(|&label| 10_000.0 + 0.3 * label as f32 + random.normal())
            .collect();
        let found = f_scores(&data(&[&column], &labels)).unwrap()[0];
        let group = |class| -> Vec<f64> {
            let pairs = column.iter().zip(&labels).filter(|pair| *pair.1 == class);
            pairs.map(|(&x, _)| f64::from(x)).collect()
        };
        let stats = |x: &[f64]| {
            let mean = x.iter().sum::<f64>() / x.len() as f64;
            let squares = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
            (x.len() as f64, mean, squares)
        };
        let ((n0, m0, s0), (n1, m1, s1)) = (stats(&group(0)), stats(&group(1)));
        let pooled = (s0 + s1) / (n0 + n1 - 2.0);
        let t = (m0 - m1) / (pooled * (1.0 / n0 + 1.0 / n1)).sqrt();
        assert!((found / (t * t) - 1.0).abs() < 1e-9, "{found} {}", t * t);
    }

    #[test]
    fn what_has_no_score_is_refused_by_name() {
        let one = data(&[&[1.0, 2.0]], &[0, 0]);
        assert!(matches!(
            f_scores(&one),
            Err(DataError::OutOfRange {
                what: "classes",
                ..
            })
        ));
        let empty = data(&[&[1.0, 2.0, 3.0]], &[0, 0, 2]);
        assert!(matches!(
            f_scores(&empty),
            Err(DataError::EmptyClass { class: 1, .. })
        ));
        let few = data(&[&[1.0, 2.0]], &[0, 1]);
        assert!(matches!(
            f_scores(&few),
            Err(DataError::OutOfRange {
                what: "samples",
                given: 2,
                least: 3,
                ..
            })
        ));
        let missing = data(&[&[1.0, 2.0, f32::NAN]], &[0, 1, 1]);
        assert!(matches!(
            f_scores(&missing),
            Err(DataError::Missing { row: 2, feature: 0 })
        ));
        let fine = data(&[&[1.0, 2.0, 3.0]], &[0, 1, 1]);
        for count in [0, 2] {
            assert!(matches!(
                select_best(&fine, count),
                Err(DataError::OutOfRange { most: 1, .. })
            ));
        }
    }
}
