//! Which class has the highest score, and whether the right one is among the highest.
//!
//! Among equal scores the lower class comes first, as in NumPy's and PyTorch's argmax on a CPU. So a
//! network that gives every class the same score predicts class 0, and is not right by accident.

use super::{EvalError, check_numbers, check_scores};

/// The class of the highest score in each row; `scores` is `[n, n_classes]`.
///
/// # Errors
/// [`EvalError::NoClasses`], [`EvalError::Count`] unless rows are whole, [`EvalError::NanScore`].
pub fn predictions(scores: &[f32], n_classes: usize) -> Result<Vec<u32>, EvalError> {
    if n_classes == 0 {
        return Err(EvalError::NoClasses);
    }
    if !scores.len().is_multiple_of(n_classes) {
        return Err(EvalError::Count {
            what: "scores",
            given: scores.len(),
            needed: scores.len().div_ceil(n_classes) * n_classes,
        });
    }
    check_numbers(scores, n_classes)?;
    let highest = |row: &[f32]| {
        let mut best = 0;
        for (class, &score) in row.iter().enumerate() {
            if score > row[best] {
                best = class;
            }
        }
        best as u32
    };
    Ok(scores.chunks_exact(n_classes).map(highest).collect())
}

/// Share of samples whose label has the highest score; `scores` is `[n, n_classes]`, `labels` `[n]`.
///
/// # Errors
/// As [`top_k_accuracy`].
pub fn accuracy(scores: &[f32], labels: &[u32], n_classes: usize) -> Result<f64, EvalError> {
    top_k_accuracy(scores, labels, n_classes, 1)
}

/// Share of samples whose label is among the `k` highest scores; `scores` is `[n, n_classes]`,
/// `labels` `[n]`.
///
/// # Errors
/// [`EvalError::TopK`] unless `k` is from 1 to the number of classes, [`EvalError::NoSamples`],
/// [`EvalError::NoClasses`], [`EvalError::LabelOutOfRange`], [`EvalError::Count`],
/// [`EvalError::NanScore`].
pub fn top_k_accuracy(
    scores: &[f32],
    labels: &[u32],
    n_classes: usize,
    k: usize,
) -> Result<f64, EvalError> {
    check_scores(scores, labels, n_classes)?;
    if !(1..=n_classes).contains(&k) {
        return Err(EvalError::TopK { k, n_classes });
    }
    let is_right = |&(row, &label): &(&[f32], &u32)| {
        let score = row[label as usize];
        let before = row
            .iter()
            .enumerate()
            .filter(|&(class, &other)| other > score || (other == score && class < label as usize));
        before.count() < k
    };
    let rows = scores.chunks_exact(n_classes).zip(labels);
    Ok(rows.filter(is_right).count() as f64 / labels.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::Confusion;

    const SCORES: [f32; 12] = [
        0.1,
        0.5,
        0.4, //
        0.7,
        0.7,
        0.1, //
        -1.0,
        -2.0,
        f32::NEG_INFINITY, //
        0.0,
        0.0,
        0.0,
    ];

    #[test]
    fn the_highest_score_wins_and_the_lower_class_among_equals() {
        assert_eq!(predictions(&SCORES, 3).unwrap(), [1, 0, 0, 0]);
        assert_eq!(predictions(&[], 3).unwrap(), [0; 0]);
    }

    #[test]
    fn top_k_is_counted_by_hand() {
        let top = |k| top_k_accuracy(&SCORES, &[2, 1, 2, 1], 3, k).unwrap();
        assert_eq!((top(1), top(2), top(3)), (0.0, 0.75, 1.0));
        assert_eq!(accuracy(&SCORES, &[1, 1, 0, 0], 3).unwrap(), 0.75);
    }

    #[test]
    fn accuracy_of_scores_is_that_of_their_predictions() {
        // Coarse scores, so that many are equal.
        let scores: Vec<f32> = (0..500u32).map(|i| (i * i % 7) as f32).collect();
        let labels: Vec<u32> = (0..100).map(|i| i * 3 % 5).collect();
        let predicted = predictions(&scores, 5).unwrap();
        let confusion = Confusion::new(&labels, &predicted, 5).unwrap();
        assert_eq!(accuracy(&scores, &labels, 5).unwrap(), confusion.accuracy());
    }

    #[test]
    fn scores_that_do_not_fit_are_named() {
        let nan = [0.0, 1.0, 2.0, f32::NAN];
        assert_eq!(
            predictions(&nan, 2),
            Err(EvalError::NanScore { row: 1, class: 1 })
        );
        assert_eq!(
            accuracy(&nan, &[0, 0], 2),
            Err(EvalError::NanScore { row: 1, class: 1 })
        );
        assert_eq!(
            predictions(&nan, 3).unwrap_err().to_string(),
            "4 scores; needed: 6"
        );
        assert_eq!(
            accuracy(&[0.0; 3], &[0, 0], 2).unwrap_err().to_string(),
            "3 scores; needed: 4"
        );
        assert_eq!(
            accuracy(&[0.0; 2], &[2], 2).unwrap_err().to_string(),
            "row 0: label 2; allowed: 0 to 1"
        );
        assert_eq!(accuracy(&[], &[], 2), Err(EvalError::NoSamples));
        assert_eq!(predictions(&[], 0), Err(EvalError::NoClasses));
        for k in [0, 3] {
            assert_eq!(
                top_k_accuracy(&[0.0; 2], &[0], 2, k),
                Err(EvalError::TopK { k, n_classes: 2 })
            );
        }
    }
}
