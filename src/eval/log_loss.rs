//! Mean negative logarithm of the probability given to the truth, in nats.

use super::{EvalError, check_numbers, check_scores};

/// How far the probabilities of a sample may be from adding up to 1: sixteen-bit storage of a
/// hundred classes stays within it.
const SUM_TOLERANCE: f64 = 1e-3;

/// `-mean(ln p)` of the probabilities `[n, n_classes]` given to `labels` `[n]`. A probability below
/// the f32 epsilon, 1.2e-7, counts as that, so that one sure mistake costs 15.9 and not infinity (as
/// scikit-learn does with f32).
///
/// # Errors
/// [`EvalError::NoSamples`], [`EvalError::NoClasses`], [`EvalError::LabelOutOfRange`],
/// [`EvalError::Count`], [`EvalError::NanScore`], [`EvalError::Probability`] for a value outside of
/// 0 to 1, [`EvalError::ProbabilitySum`] for a row that is not within 1e-3 of 1.
pub fn log_loss(probabilities: &[f32], labels: &[u32], n_classes: usize) -> Result<f64, EvalError> {
    check_scores(probabilities, labels, n_classes)?;
    if let Some(at) = probabilities.iter().position(|p| !(0.0..=1.0).contains(p)) {
        return Err(EvalError::Probability {
            row: at / n_classes,
            class: at % n_classes,
            value: probabilities[at],
        });
    }
    let mut total = 0.0;
    for (row, (p, &label)) in probabilities
        .chunks_exact(n_classes)
        .zip(labels)
        .enumerate()
    {
        let sum: f64 = p.iter().map(|&p| f64::from(p)).sum();
        if (sum - 1.0).abs() > SUM_TOLERANCE {
            return Err(EvalError::ProbabilitySum { row, sum });
        }
        total -= f64::from(p[label as usize].max(f32::EPSILON)).ln();
    }
    Ok(total / labels.len() as f64)
}

/// The same from logits `[n, n_classes]`, whose softmax are the probabilities: `mean(ln(sum_c
/// exp(z_c)) - z_label)` in f64 with the largest logit taken out, so nothing overflows and nothing
/// is cut off.
///
/// # Errors
/// As [`log_loss`], and [`EvalError::InfiniteLogit`] instead of those of probabilities.
pub fn cross_entropy(logits: &[f32], labels: &[u32], n_classes: usize) -> Result<f64, EvalError> {
    check_scores(logits, labels, n_classes)?;
    check_finite(logits, n_classes)?;
    let rows = logits.chunks_exact(n_classes).zip(labels);
    let losses = rows.map(|(row, &label)| log_sum(row) - f64::from(row[label as usize]));
    Ok(losses.sum::<f64>() / labels.len() as f64)
}

/// Logarithms of the softmax of logits `[n, n_classes]`, in f64 and then rounded: they rank samples as the
/// probabilities do, without rounding those near 0 and 1 to it.
///
/// # Errors
/// [`EvalError::NoClasses`], [`EvalError::Count`] unless rows are whole, [`EvalError::NanScore`],
/// [`EvalError::InfiniteLogit`].
pub fn log_probabilities(logits: &[f32], n_classes: usize) -> Result<Vec<f32>, EvalError> {
    if n_classes == 0 {
        return Err(EvalError::NoClasses);
    }
    if !logits.len().is_multiple_of(n_classes) {
        return Err(EvalError::Count {
            what: "scores",
            given: logits.len(),
            needed: logits.len().next_multiple_of(n_classes),
        });
    }
    check_numbers(logits, n_classes)?;
    check_finite(logits, n_classes)?;
    let rows = logits.chunks_exact(n_classes).flat_map(|row| {
        let total = log_sum(row);
        row.iter().map(move |&z| (f64::from(z) - total) as f32)
    });
    Ok(rows.collect())
}

/// The Kullback-Leibler divergence of each row's softmax from that of `base`, in nats, both logits `[n, n_classes]`:
/// `sum_c p_c (ln p_c - ln q_c)` with `p` the base's, in f64; what roundings take below zero is zero.
///
/// # Errors
/// As [`log_probabilities`], and [`EvalError::Count`] unless both have as many logits.
pub fn divergences(base: &[f32], other: &[f32], n_classes: usize) -> Result<Vec<f64>, EvalError> {
    for logits in [base, other] {
        if n_classes == 0 {
            return Err(EvalError::NoClasses);
        }
        let needed = base.len().next_multiple_of(n_classes);
        if logits.len() != needed {
            return Err(EvalError::Count {
                what: "scores",
                given: logits.len(),
                needed,
            });
        }
        check_numbers(logits, n_classes)?;
        check_finite(logits, n_classes)?;
    }
    let rows = base
        .chunks_exact(n_classes)
        .zip(other.chunks_exact(n_classes));
    let one = |(p, q): (&[f32], &[f32])| {
        let (of_p, of_q) = (log_sum(p), log_sum(q));
        let each = p.iter().zip(q).map(|(&p, &q)| {
            let (ln_p, ln_q) = (f64::from(p) - of_p, f64::from(q) - of_q);
            ln_p.exp() * (ln_p - ln_q)
        });
        each.sum::<f64>().max(0.0)
    };
    Ok(rows.map(one).collect())
}

fn check_finite(logits: &[f32], n_classes: usize) -> Result<(), EvalError> {
    match logits.iter().position(|logit| logit.is_infinite()) {
        None => Ok(()),
        Some(at) => Err(EvalError::InfiniteLogit {
            row: at / n_classes,
            class: at % n_classes,
            value: logits[at],
        }),
    }
}

/// `ln(sum(exp(z)))` with the largest logit taken out.
fn log_sum(row: &[f32]) -> f64 {
    let largest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = row.iter().map(|&z| (f64::from(z) - largest).exp()).sum();
    sum.ln() + largest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!(
            (found - expected).abs() <= 1e-14 * expected.abs().max(1.0),
            "{found} {expected}"
        );
    }

    #[test]
    fn losses_are_those_worked_out_by_hand() {
        let p = [0.5, 0.25, 0.25, 0.125, 0.375, 0.5];
        close(
            log_loss(&p, &[0, 0], 3).unwrap(),
            (2f64.ln() + 8f64.ln()) / 2.0,
        );
        assert_eq!(log_loss(&[1.0, 0.0], &[0], 2).unwrap(), 0.0);
        let sure_mistake = log_loss(&[1.0, 0.0], &[1], 2).unwrap();
        close(sure_mistake, 23.0 * 2f64.ln());
        close(cross_entropy(&[3.0; 10], &[4], 10).unwrap(), 10f64.ln());
    }

    #[test]
    fn logits_of_any_size_have_a_loss() {
        close(cross_entropy(&[1e4, -1e4], &[1], 2).unwrap(), 2e4);
        close(cross_entropy(&[1e4, -1e4], &[0], 2).unwrap(), 0.0);
        let limit = f64::from(f32::MAX);
        close(
            cross_entropy(&[f32::MAX, f32::MIN], &[1], 2).unwrap() / (2.0 * limit),
            1.0,
        );
    }

    #[test]
    fn logits_lose_what_their_softmax_loses() {
        let logits: [f32; 3] = [0.3, -1.2, 2.0];
        let total: f32 = logits.iter().map(|z| z.exp()).sum();
        let p = logits.map(|z| z.exp() / total);
        let [a, b] = [cross_entropy(&logits, &[1], 3), log_loss(&p, &[1], 3)].map(Result::unwrap);
        assert!((a - b).abs() < 1e-6, "{a} {b}");
    }

    #[test]
    fn divergences_are_those_worked_out_by_hand() {
        // p = (1/2, 1/2), q = (1/4, 3/4): ln 2 / 2 + ln(2/3) / 2 = ln(4/3) / 2. Logits have any origin.
        let (base, other) = ([1.0, 1.0, 2.0, -3.0], [5.0, 5.0 + 3f32.ln(), 7.0, 2.0]);
        let found = divergences(&base, &other, 2).unwrap();
        // 3f32.ln() is off by half of its last bit, and so is 5 more than that.
        assert!((found[0] - (4.0f64 / 3.0).ln() / 2.0).abs() < f64::from(f32::EPSILON) * 4.0);
        // Sums of logarithms of up to 7, a rounding of each.
        assert!(found[1] <= 4.0 * 7.0 * f64::EPSILON);
        assert_eq!(divergences(&base, &base, 4), Ok(vec![0.0]));
        assert_eq!(divergences(&base, &other, 0), Err(EvalError::NoClasses));
        let refused = divergences(&base, &other[..2], 2).unwrap_err();
        assert_eq!(refused.to_string(), "2 scores; needed: 4");
        let refused = divergences(&base, &other, 3).unwrap_err();
        assert_eq!(refused.to_string(), "4 scores; needed: 6");
        for wrong in [f32::NAN, f32::INFINITY] {
            assert!(divergences(&base, &[1.0, wrong, 1.0, 1.0], 2).is_err());
        }
    }

    #[test]
    fn what_is_no_probability_is_named() {
        let message = |p: &[f32]| log_loss(p, &[0], 2).unwrap_err().to_string();
        assert_eq!(
            message(&[1.5, -0.5]),
            "row 0, class 0: probability 1.5; allowed: 0 to 1"
        );
        assert_eq!(
            message(&[0.25, 0.5]),
            "row 0: probabilities add up to 0.75; allowed: 1, to within 1e-3"
        );
        assert_eq!(
            message(&[0.5, f32::NAN]),
            "row 0, class 1: the score is NaN"
        );
        assert_eq!(message(&[1.0]), "1 scores; needed: 2");
        assert_eq!(
            cross_entropy(&[0.0, f32::INFINITY], &[0], 2),
            Err(EvalError::InfiniteLogit {
                row: 0,
                class: 1,
                value: f32::INFINITY
            })
        );
        assert_eq!(
            cross_entropy(&[0.0, 0.0], &[2], 2).unwrap_err().to_string(),
            "row 0: label 2; allowed: 0 to 1"
        );
    }

    #[test]
    fn log_probabilities_tell_sure_samples_apart() {
        // The softmax of both rounds to 1 in f32.
        let found = log_probabilities(&[30.0, 0.0, 20.0, 0.0, 1e30, -1e30], 2).expect("finite");
        assert!(found[2] < found[0] && found[0] < 0.0, "{found:?}");
        assert_eq!(found[4..], [0.0, -2e30]);
        let halves = log_probabilities(&[7.0, 7.0], 2).expect("finite");
        assert_eq!(halves, [0.5f32.ln(); 2]);
        assert!(matches!(
            log_probabilities(&[1.0, f32::INFINITY], 2),
            Err(EvalError::InfiniteLogit { class: 1, .. })
        ));
        assert!(matches!(
            log_probabilities(&[1.0; 3], 2),
            Err(EvalError::Count { needed: 4, .. })
        ));
    }
}
