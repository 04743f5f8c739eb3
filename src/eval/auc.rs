//! The area under the receiver operating characteristic, as a rank statistic.
//!
//! `AUC = (pairs in order + pairs tied / 2) / (positives * negatives)` over all pairs of a positive
//! and a negative sample, in order when the positive has the higher score (Hanley and McNeil, 1982).
//! Sorting counts the pairs in O(n log n) and in integers, so the result is one division.

use super::{EvalError, check_numbers, check_scores};

/// Areas of each class against the rest.
#[derive(Clone, Debug, PartialEq)]
pub struct Auc {
    /// One area a class.
    pub per_class: Vec<f64>,
    /// Their mean.
    pub macro_mean: f64,
    /// Their mean, each as important as the class has samples.
    pub weighted_mean: f64,
}

/// The area for two classes: `scores` `[n]` are higher where a sample is more likely positive.
/// Infinite scores are as good as others.
///
/// # Errors
/// [`EvalError::Count`] unless there are as many of both, [`EvalError::NanScore`],
/// [`EvalError::OneSided`] unless there are samples of both kinds.
pub fn auc(scores: &[f32], is_positive: &[bool]) -> Result<f64, EvalError> {
    if scores.len() != is_positive.len() {
        return Err(EvalError::Count {
            what: "scores",
            given: scores.len(),
            needed: is_positive.len(),
        });
    }
    check_numbers(scores, 1)?;
    let n_positive = is_positive.iter().filter(|&&positive| positive).count();
    let n_negative = is_positive.len() - n_positive;
    if n_positive == 0 || n_negative == 0 {
        return Err(EvalError::OneSided {
            n_positive,
            n_negative,
        });
    }
    let pairs = scores.iter().copied().zip(is_positive.iter().copied());
    Ok(area(&mut pairs.collect::<Vec<_>>(), n_positive, n_negative))
}

/// The area of every class against the rest; `scores` is `[n, n_classes]`, `labels` `[n]`.
///
/// # Errors
/// [`EvalError::NoSamples`], [`EvalError::NoClasses`], [`EvalError::LabelOutOfRange`],
/// [`EvalError::Count`], [`EvalError::NanScore`]; [`EvalError::EmptyClass`] for a class without
/// samples, and [`EvalError::OneSided`] if all are of one class.
pub fn auc_one_vs_rest(scores: &[f32], labels: &[u32], n_classes: usize) -> Result<Auc, EvalError> {
    check_scores(scores, labels, n_classes)?;
    let mut counts = vec![0_usize; n_classes];
    labels.iter().for_each(|&label| counts[label as usize] += 1);
    if let Some(class) = counts.iter().position(|&n| n == 0) {
        return Err(EvalError::EmptyClass { class });
    }
    if n_classes == 1 {
        return Err(EvalError::OneSided {
            n_positive: labels.len(),
            n_negative: 0,
        });
    }
    let of_class = |(class, &n_positive): (usize, &usize)| {
        let scores = scores.iter().skip(class).step_by(n_classes);
        let positive = labels.iter().map(|&label| label as usize == class);
        let mut pairs: Vec<(f32, bool)> = scores.copied().zip(positive).collect();
        area(&mut pairs, n_positive, labels.len() - n_positive)
    };
    let per_class: Vec<f64> = counts.iter().enumerate().map(of_class).collect();
    let weighted = per_class
        .iter()
        .zip(&counts)
        .map(|(area, &n)| area * n as f64);
    Ok(Auc {
        macro_mean: per_class.iter().sum::<f64>() / n_classes as f64,
        weighted_mean: weighted.sum::<f64>() / labels.len() as f64,
        per_class,
    })
}

/// The area of scores without NaN, of which some are positive and some are not.
fn area(pairs: &mut [(f32, bool)], n_positive: usize, n_negative: usize) -> f64 {
    // Zeros of both signs are one score; `total_cmp` orders them apart.
    pairs.iter_mut().for_each(|pair| pair.0 += 0.0);
    pairs.sort_unstable_by(|left, right| left.0.total_cmp(&right.0));
    let mut n_lower_negative = 0_u128;
    let mut half_pairs = 0_u128;
    for tied in pairs.chunk_by(|left, right| left.0 == right.0) {
        let positive = tied.iter().filter(|pair| pair.1).count() as u128;
        let negative = tied.len() as u128 - positive;
        half_pairs += positive * (2 * n_lower_negative + negative);
        n_lower_negative += negative;
    }
    half_pairs as f64 / (2 * n_positive as u128 * n_negative as u128) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::Philox;

    /// The definition.
    fn pair_count(scores: &[f32], is_positive: &[bool]) -> f64 {
        let (mut half_pairs, mut n_pairs) = (0_u64, 0_u64);
        for (&p, _) in scores.iter().zip(is_positive).filter(|pair| *pair.1) {
            for (&n, _) in scores.iter().zip(is_positive).filter(|pair| !*pair.1) {
                half_pairs += if p > n { 2 } else { u64::from(p == n) };
                n_pairs += 1;
            }
        }
        half_pairs as f64 / (2 * n_pairs) as f64
    }

    #[test]
    fn areas_are_those_worked_out_by_hand() {
        let area = |scores: &[f32], positive: &[u8]| {
            let positive: Vec<bool> = positive.iter().map(|&p| p == 1).collect();
            auc(scores, &positive).unwrap()
        };
        // The example of scikit-learn's documentation.
        assert_eq!(area(&[0.1, 0.4, 0.35, 0.8], &[0, 0, 1, 1]), 0.75);
        assert_eq!(area(&[1.0, 2.0, 3.0], &[0, 0, 1]), 1.0);
        assert_eq!(area(&[1.0, 2.0, 3.0], &[1, 0, 0]), 0.0);
        assert_eq!(area(&[5.0; 7], &[1, 0, 0, 1, 0, 1, 0]), 0.5);
        assert_eq!(area(&[0.0, -0.0], &[0, 1]), 0.5);
        assert_eq!(area(&[f32::NEG_INFINITY, f32::INFINITY], &[0, 1]), 1.0);
        // Pairs: 1 over 1 tied, 1 over 0, 2 over 1, 2 over 0: 3.5 of 4.
        assert_eq!(area(&[1.0, 1.0, 2.0, 0.0], &[1, 0, 1, 0]), 3.5 / 4.0);
    }

    #[test]
    fn areas_equal_the_count_of_pairs_with_and_without_ties() {
        let mut random = Philox::new(77).stream(0);
        for round in 0..200 {
            let n = 2 + random.below(60) as usize;
            let n_levels = 1 + random.below(if round % 2 == 0 { 6 } else { 1 << 20 });
            let scores: Vec<f32> = (0..n)
                .map(|_| random.below(n_levels) as f32 - 3.0)
                .collect();
            let mut positive: Vec<bool> = (0..n).map(|_| random.below(3) == 0).collect();
            (positive[0], positive[1]) = (true, false);
            assert_eq!(
                auc(&scores, &positive).unwrap(),
                pair_count(&scores, &positive)
            );
        }
    }

    #[test]
    fn one_against_the_rest_is_the_area_of_each_column() {
        let mut random = Philox::new(78).stream(0);
        let labels: Vec<u32> = (0..90).map(|i| (i % 9).min(2)).collect();
        let scores: Vec<f32> = (0..270).map(|_| random.below(9) as f32).collect();
        let found = auc_one_vs_rest(&scores, &labels, 3).unwrap();
        let column =
            |class: usize| -> Vec<f32> { scores.chunks(3).map(|row| row[class]).collect() };
        let expected: Vec<f64> = (0..3)
            .map(|class| {
                let positive: Vec<bool> = labels.iter().map(|&l| l == class).collect();
                pair_count(&column(class as usize), &positive)
            })
            .collect();
        assert_eq!(found.per_class, expected);
        let [a, b, c] = expected[..] else { panic!() };
        assert!((found.macro_mean - (a + b + c) / 3.0).abs() < 1e-15);
        assert!((found.weighted_mean - (a + b + 7.0 * c) / 9.0).abs() < 1e-15);
    }

    #[test]
    fn what_has_no_area_is_named() {
        let message = auc(&[1.0, 2.0], &[true, true]).unwrap_err().to_string();
        assert_eq!(
            message,
            "2 positive and 0 negative samples; an area needs one of each at least"
        );
        assert!(auc(&[], &[]).is_err());
        assert_eq!(
            auc(&[1.0, f32::NAN], &[true, false]),
            Err(EvalError::NanScore { row: 1, class: 0 })
        );
        assert!(matches!(
            auc(&[1.0], &[true, false]),
            Err(EvalError::Count { .. })
        ));
        assert_eq!(
            auc_one_vs_rest(&[0.0; 6], &[0, 2], 3),
            Err(EvalError::EmptyClass { class: 1 })
        );
        assert!(matches!(
            auc_one_vs_rest(&[0.0; 2], &[0, 0], 1),
            Err(EvalError::OneSided { .. })
        ));
    }
}
