//! One value from several folds.

use super::{Ended, Reports};

/// Trains on one of the folds, reporting on the way, and says what it is worth.
pub type TrainFold<'a, E> = dyn FnMut(usize, &mut dyn FnMut(f64) -> bool) -> Result<Ended, E> + 'a;

/// Judges a trial by the mean over `n_folds` folds. `train` trains on fold `0..n_folds`, hands each value it
/// sees on the way to the function it is given, stops with [`Ended::Pruned`] if that returns false, and ends with
/// the fold's value.
///
/// A report is the mean of the folds that are done and of the one in training. Where every fold of every trial makes
/// as many reports, trials are compared by the same folds at the same step; where some make fewer, such as trials
/// of fewer epochs or folds that end early, a step of one trial may belong to another fold than that of another.
///
/// # Errors
/// What `train` returns.
pub fn cross_validate<E>(
    n_folds: usize,
    reports: &mut Reports<'_>,
    train: &mut TrainFold<'_, E>,
) -> Result<Ended, E> {
    let mut done: Vec<f64> = Vec::new();
    for fold in 0..n_folds {
        let sum: f64 = done.iter().sum();
        let n = (done.len() + 1) as f64;
        match train(fold, &mut |value| reports.report((sum + value) / n))? {
            Ended::Value(value) => done.push(value),
            other => return Ok(other),
        }
    }
    if done.is_empty() {
        return Ok(Ended::Failed("there are no folds".to_owned()));
    }
    Ok(Ended::Value(done.iter().sum::<f64>() / done.len() as f64))
}
