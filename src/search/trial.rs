//! What was tried and what came of it.

use serde::{Deserialize, Serialize};

use super::Value;

/// Which values are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Lower ones, as of losses.
    Minimize,
    /// Higher ones, as of accuracies.
    Maximize,
}

impl Direction {
    /// Whether `a` is better than `b`.
    pub fn is_better(self, a: f64, b: f64) -> bool {
        self.cost(a) < self.cost(b)
    }

    /// The number of which less is better.
    pub(super) fn cost(self, value: f64) -> f64 {
        match self {
            Self::Minimize => value,
            Self::Maximize => -value,
        }
    }
}

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// With a value.
    Complete,
    /// Given up, because others did better at the same step.
    Pruned,
    /// It could not be judged.
    Failed,
}

/// A trial that ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Its number, from 0.
    pub number: u32,
    /// One value a dimension of the space.
    pub values: Vec<Value>,
    /// How it ended.
    pub state: State,
    /// What it is worth; `None` unless it is complete.
    pub value: Option<f64>,
    /// What it was worth at each step, from the first; finite.
    pub reports: Vec<f64>,
    /// Why it failed.
    pub reason: Option<String>,
}

impl Trial {
    /// Its value, or the last report of one that was given up.
    pub fn last_known(&self) -> Option<f64> {
        self.value.or_else(|| self.reports.last().copied())
    }

    /// Best report so far.
    pub(super) fn best_report(reports: &[f64], direction: Direction) -> Option<f64> {
        let better = |best: f64, &one: &f64| {
            if direction.is_better(one, best) {
                one
            } else {
                best
            }
        };
        let (first, rest) = reports.split_first()?;
        Some(rest.iter().fold(*first, better))
    }
}

/// Trials from the best to the worst: complete ones by value, then those given up, longest first and
/// then by their last report, then failed ones; equal ones by number.
pub(super) fn ranked(trials: &[Trial], direction: Direction) -> Vec<&Trial> {
    let mut ranked: Vec<&Trial> = trials.iter().collect();
    let state = |trial: &Trial| match trial.state {
        State::Complete => 0,
        State::Pruned => 1,
        State::Failed => 2,
    };
    let steps = |trial: &Trial| match trial.state {
        State::Pruned => trial.reports.len(),
        State::Complete | State::Failed => 0,
    };
    let cost = |trial: &Trial| {
        trial
            .last_known()
            .map_or(f64::INFINITY, |v| direction.cost(v))
    };
    ranked.sort_by(|a, b| {
        (state(a).cmp(&state(b)))
            .then(steps(b).cmp(&steps(a)))
            .then(cost(a).total_cmp(&cost(b)))
    });
    ranked
}
