//! A tree of Parzen estimators (Bergstra, Bardenet, Bengio, Kégl: Algorithms for Hyper-Parameter
//! Optimization, 2011).
//!
//! The trials so far are split into the best ones and the others. Each dimension by itself has a distribution
//! `l` of the best and `g` of the others; of some draws from `l`, the one with the largest `l / g` is
//! tried next, which has the largest expected improvement. With few trials, draws are random.
//!
//! The crate `tpe` does the same for a range and for choices. It keeps its state between trials and draws from
//! generators of `rand`; here a proposal is a function of seed, number and history, which is what a journal can
//! resume, and logarithmic scales and integers are served.

use serde::Serialize;

use super::parzen::{Chances, Mixture};
use super::trial::ranked;
use super::{Direction, Domain, Space, State, Trial, Value};
use crate::num::Stream;

/// Settings of a tree of Parzen estimators.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TpeOptions {
    /// Trials drawn at random first.
    pub n_startup_trials: u32,
    /// Draws of which the most promising is tried.
    pub n_candidates: u32,
    /// Share of the trials that count as the best, 25 at most.
    pub best_share: f64,
}

/// More of the best would blur what they have in common.
const MOST_BEST: usize = 25;

impl Default for TpeOptions {
    /// 10 random trials and 24 draws, as Optuna has; the best 15%, as the paper has.
    fn default() -> Self {
        Self {
            n_startup_trials: 10,
            n_candidates: 24,
            best_share: 0.15,
        }
    }
}

/// What to try next; `None` while there are too few trials.
pub(super) fn propose(
    options: &TpeOptions,
    space: &Space,
    (history, direction): (&[Trial], Direction),
    stream: &mut Stream,
) -> Option<Vec<Value>> {
    let ranked = ranked(history, direction);
    let judged: Vec<&Trial> = ranked
        .into_iter()
        .filter(|trial| trial.state != State::Failed)
        .collect();
    if judged.len() < (options.n_startup_trials as usize).max(2) {
        return None;
    }
    let n_best = (judged.len() as f64 * options.best_share).ceil() as usize;
    let n_best = n_best.clamp(1, MOST_BEST.min(judged.len() - 1));
    let (best, others) = judged.split_at(n_best);
    let dimensions = space.dimensions().iter().enumerate();
    let chosen = dimensions.map(|(index, dimension)| {
        let of = |trials: &[&Trial]| {
            // Weights go by age.
            let mut trials = trials.to_vec();
            trials.sort_by_key(|trial| trial.number);
            let values = trials.iter().filter_map(|trial| trial.values.get(index));
            values.copied().collect::<Vec<Value>>()
        };
        let seen = [of(best), of(others)];
        choose(options, &dimension.domain, &seen, stream)
    });
    Some(chosen.collect())
}

/// A value of one dimension.
fn choose(
    options: &TpeOptions,
    domain: &Domain,
    seen: &[Vec<Value>; 2],
    stream: &mut Stream,
) -> Value {
    let n = options.n_candidates.max(1);
    if let Some(interval) = domain.interval() {
        let [best, others] = seen.each_ref().map(|values| {
            let middle = |value: &Value| {
                let (from, to) = domain.place(*value);
                from + (to - from) / 2.0
            };
            Mixture::new(interval, &values.iter().map(middle).collect::<Vec<f64>>())
        });
        let candidates = (0..n).map(|_| {
            let value = domain.at(best.draw(stream));
            let place = domain.place(value);
            (value, best.log_density(place) - others.log_density(place))
        });
        return promising(candidates);
    }
    let n_choices = match domain {
        Domain::Choice(names) => names.len(),
        Domain::Integer { .. } | Domain::Real { .. } => 1,
    };
    let [best, others] = seen.each_ref().map(|values| {
        let choices = values.iter().map(|value| match value {
            Value::Choice(choice) => *choice,
            Value::Integer(_) | Value::Real(_) => 0,
        });
        Chances::new(n_choices, &choices.collect::<Vec<usize>>())
    });
    let candidates = (0..n).map(|_| {
        let choice = best.draw(stream);
        let gain = best.log_chance(choice) - others.log_chance(choice);
        (Value::Choice(choice), gain)
    });
    promising(candidates)
}

/// The candidate of the largest gain, the first among equals.
fn promising(candidates: impl Iterator<Item = (Value, f64)>) -> Value {
    let mut best: Option<(Value, f64)> = None;
    for (value, gain) in candidates {
        if best.is_none_or(|(_, most)| gain > most) {
            best = Some((value, gain));
        }
    }
    best.map_or(Value::Choice(0), |(value, _)| value)
}
