//! Trials one after another.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::sampler::Known;
use super::trial::ranked;
use super::{Direction, Journal, MedianPruner, Sampler, SearchError, Space, State, Trial, Value};

/// What a search depends on, besides what is tried.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StudyOptions {
    /// What can be chosen.
    pub space: Space,
    /// How it is chosen.
    pub sampler: Sampler,
    /// Which trials are given up.
    pub pruner: Option<MedianPruner>,
    /// Which values are better.
    pub direction: Direction,
    /// Seed of all draws.
    pub seed: u64,
}

/// How a trial went.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// It is worth this.
    Value(f64),
    /// It was given up, as [`Reports::report`] asked.
    Pruned,
    /// It cannot be judged, for this reason; others may.
    Failed(String),
    /// The user stopped the search; the trial is not counted and comes again.
    Stopped,
}

/// What to try.
#[derive(Debug, Clone, Copy)]
pub struct Proposal<'a> {
    /// Number of the trial, from 0.
    pub number: u32,
    space: &'a Space,
    values: &'a [Value],
}

impl Proposal<'_> {
    /// The value of a dimension.
    pub fn get(&self, name: &str) -> Option<Value> {
        let dimensions = self.space.dimensions();
        let index = dimensions.iter().position(|one| one.name == name)?;
        self.values.get(index).copied()
    }

    /// The value of a dimension of real numbers.
    pub fn real(&self, name: &str) -> Option<f64> {
        match self.get(name)? {
            Value::Real(value) => Some(value),
            Value::Choice(_) | Value::Integer(_) => None,
        }
    }

    /// One value a dimension.
    pub fn values(&self) -> &[Value] {
        self.values
    }
}

/// What a trial reports on its way.
#[derive(Debug)]
pub struct Reports<'a> {
    made: Vec<f64>,
    pruner: Option<&'a MedianPruner>,
    history: &'a [Trial],
    direction: Direction,
}

impl Reports<'_> {
    /// Says what the trial is worth at its next step; returns whether it is to go on.
    pub fn report(&mut self, value: f64) -> bool {
        self.made.push(value);
        let gives_up =
            |pruner: &MedianPruner| pruner.gives_up(&self.made, self.history, self.direction);
        value.is_finite() && !self.pruner.is_some_and(gives_up)
    }
}

/// A search.
#[derive(Debug)]
pub struct Study {
    options: StudyOptions,
    trials: Vec<Trial>,
    journal: Option<Journal>,
}

impl Study {
    /// A search that is kept nowhere.
    pub const fn new(options: StudyOptions) -> Self {
        Self {
            options,
            trials: Vec::new(),
            journal: None,
        }
    }

    /// A search with a journal, from which it goes on when it is there. `about` is what else the values of
    /// trials depend on; a journal with other options or about something else is refused.
    ///
    /// # Errors
    /// [`SearchError::Io`], [`SearchError::OtherSearch`], [`SearchError::Journal`].
    pub fn with_journal(
        options: StudyOptions,
        path: impl AsRef<Path>,
        about: Map<String, Json>,
    ) -> Result<Self, SearchError> {
        let mut all = about;
        if let Ok(Json::Object(own)) = serde_json::to_value(&options) {
            all.extend(own);
        }
        let (journal, trials) = Journal::open(path.as_ref(), &options.space, all)?;
        Ok(Self {
            options,
            trials,
            journal: Some(journal),
        })
    }

    /// Trials so far, by number.
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// Trials from the best to the worst: complete ones by value, then those given up, then failed ones.
    pub fn ranked(&self) -> Vec<&Trial> {
        ranked(&self.trials, self.options.direction)
    }

    /// The best complete trial.
    pub fn best(&self) -> Option<&Trial> {
        let best = self.ranked().into_iter().next();
        best.filter(|trial| trial.state == State::Complete)
    }

    /// The search's options.
    pub const fn options(&self) -> &StudyOptions {
        &self.options
    }

    /// A trial's values by name, choices by theirs.
    pub fn values_json(&self, trial: &Trial) -> Map<String, Json> {
        match self.options.space.to_json(&trial.values) {
            Json::Object(values) => values,
            _ => Map::new(),
        }
    }

    /// Tries until there are `n_trials` in all, the grid is done, or a trial is stopped. `objective` tries a
    /// proposal; `on` sees every trial that ended, once it is in the journal. Returns whether it was stopped.
    ///
    /// # Errors
    /// [`SearchError`] for a space without a grid where one is asked for and for a journal that cannot be
    /// written, and what `objective` returns, which ends the search.
    pub fn run<E: From<SearchError>>(
        &mut self,
        n_trials: u32,
        objective: &mut dyn FnMut(&Proposal<'_>, &mut Reports<'_>) -> Result<Ended, E>,
        on: &mut dyn FnMut(&Trial),
    ) -> Result<bool, E> {
        let options = &self.options;
        while self.trials.len() < n_trials as usize {
            let known = Known {
                space: &options.space,
                history: &self.trials,
                direction: options.direction,
                seed: options.seed,
            };
            let Some(values) = options.sampler.propose(&known)? else {
                return Ok(false);
            };
            let proposal = Proposal {
                number: self.trials.len() as u32,
                space: &options.space,
                values: &values,
            };
            let mut reports = Reports {
                made: Vec::new(),
                pruner: options.pruner.as_ref(),
                history: &self.trials,
                direction: options.direction,
            };
            let ended = objective(&proposal, &mut reports)?;
            let number = proposal.number;
            let Some(trial) = judged(ended, number, values, reports.made) else {
                return Ok(true);
            };
            if let Some(journal) = &mut self.journal {
                journal.append(&options.space, &trial)?;
            }
            on(&trial);
            self.trials.push(trial);
        }
        Ok(false)
    }
}

/// A trial that ended; `None` for one that was stopped.
fn judged(ended: Ended, number: u32, values: Vec<Value>, reports: Vec<f64>) -> Option<Trial> {
    let wrong = |value: &f64| !value.is_finite();
    let (state, value, reason) = match ended {
        Ended::Stopped => return None,
        Ended::Failed(reason) => (State::Failed, None, Some(reason)),
        Ended::Value(value) if wrong(&value) => {
            (State::Failed, None, Some(format!("worth {value}")))
        }
        Ended::Value(value) => (State::Complete, Some(value), None),
        Ended::Pruned => (State::Pruned, None, None),
    };
    let (state, value, reason) = match reports.iter().position(wrong) {
        None => (state, value, reason),
        Some(step) => (
            State::Failed,
            None,
            Some(format!("worth {} at step {step}", reports[step])),
        ),
    };
    Some(Trial {
        number,
        values,
        state,
        value,
        reports: reports
            .into_iter()
            .take_while(|value| !wrong(value))
            .collect(),
        reason,
    })
}

#[cfg(test)]
#[path = "study_tests.rs"]
mod tests;
