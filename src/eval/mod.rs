//! How good predictions are: pure functions of labels and scores.
//!
//! * [`Confusion`]: the counts behind accuracy, precision, recall and F1.
//! * [`predictions`], [`accuracy`], [`top_k_accuracy`]: from scores, `[n, classes]` row-major.
//! * [`auc`], [`auc_one_vs_rest`]: areas under receiver operating characteristics.
//! * [`log_loss`], [`cross_entropy`]: how sure of the truth, from probabilities and from logits;
//!   [`log_probabilities`] for areas from logits.
//!
//! Counts are integers and each result one division of them, so metrics of counts are the nearest
//! f64 to the exact rational. What is not defined is an error ([`EvalError::EmptyClass`]), except for
//! the two quotients 0/0 that [`Confusion`] defines.

mod auc;
mod confusion;
mod error;
mod log_loss;
mod ranks;

pub use auc::{Auc, auc, auc_one_vs_rest};
pub use confusion::{Average, ClassMetrics, Confusion};
pub use error::EvalError;
pub use log_loss::{cross_entropy, divergences, log_loss, log_probabilities};
pub use ranks::{accuracy, predictions, top_k_accuracy};

/// That there are labels, that all are classes, and that scores are `[labels, n_classes]` without
/// NaN.
fn check_scores(scores: &[f32], labels: &[u32], n_classes: usize) -> Result<(), EvalError> {
    check_labels("label", labels, n_classes)?;
    let needed = labels.len().saturating_mul(n_classes);
    if scores.len() != needed {
        return Err(EvalError::Count {
            what: "scores",
            given: scores.len(),
            needed,
        });
    }
    check_numbers(scores, n_classes)
}

/// That there are labels and all are classes.
fn check_labels(what: &'static str, labels: &[u32], n_classes: usize) -> Result<(), EvalError> {
    if labels.is_empty() {
        return Err(EvalError::NoSamples);
    }
    if n_classes == 0 {
        return Err(EvalError::NoClasses);
    }
    match labels.iter().position(|&label| label as usize >= n_classes) {
        Some(row) => Err(EvalError::LabelOutOfRange {
            what,
            row,
            label: labels[row],
            n_classes,
        }),
        None => Ok(()),
    }
}

/// That no score is NaN; rows have `width` of them.
fn check_numbers(scores: &[f32], width: usize) -> Result<(), EvalError> {
    match scores.iter().position(|score| score.is_nan()) {
        Some(at) => Err(EvalError::NanScore {
            row: at / width,
            class: at % width,
        }),
        None => Ok(()),
    }
}
