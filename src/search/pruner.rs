//! Giving up trials that do badly: the median rule, as Optuna's `MedianPruner` has it.

use serde::Serialize;

use super::{Direction, State, Trial};

/// Gives up a trial whose best report so far is worse than the median of what complete trials reported at
/// the same step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MedianPruner {
    /// Complete trials before any is given up.
    pub n_startup_trials: u32,
    /// Steps of a trial before it may be given up.
    pub n_warmup_steps: u32,
}

impl Default for MedianPruner {
    /// Five complete trials; from the first step on.
    fn default() -> Self {
        Self {
            n_startup_trials: 5,
            n_warmup_steps: 0,
        }
    }
}

impl MedianPruner {
    /// Whether a trial with these reports is to be given up. `history` are the trials before it.
    pub fn gives_up(&self, reports: &[f64], history: &[Trial], direction: Direction) -> bool {
        let Some(best) = Trial::best_report(reports, direction) else {
            return false;
        };
        let step = reports.len() - 1;
        if step < self.n_warmup_steps as usize {
            return false;
        }
        let complete = || history.iter().filter(|one| one.state == State::Complete);
        if complete().count() < self.n_startup_trials as usize {
            return false;
        }
        let at_step = complete().filter_map(|trial| trial.reports.get(step).copied());
        match median(at_step.collect()) {
            Some(median) => direction.is_better(median, best),
            None => false,
        }
    }
}

/// The middle, or the mean of the two in the middle; `None` of nothing.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let high = values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(*high);
    }
    let low = values.get(values.len() / 2 - 1)?;
    Some(low + (high - low) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trials(reports: &[&[f64]], state: State) -> Vec<Trial> {
        let trial = |(number, reports): (usize, &&[f64])| Trial {
            number: number as u32,
            values: Vec::new(),
            state,
            value: reports.last().copied(),
            reports: reports.to_vec(),
            reason: None,
        };
        reports.iter().enumerate().map(trial).collect()
    }

    const PRUNER: MedianPruner = MedianPruner {
        n_startup_trials: 3,
        n_warmup_steps: 1,
    };

    #[test]
    fn a_trial_worse_than_the_median_at_its_step_is_given_up() {
        let history = trials(
            &[&[0.5, 0.6], &[0.4, 0.7], &[0.3, 0.9], &[0.2]],
            State::Complete,
        );
        let gives_up = |reports: &[f64], direction| PRUNER.gives_up(reports, &history, direction);
        // At step 1 the median of 0.6, 0.7 and 0.9 is 0.7.
        assert!(gives_up(&[0.1, 0.69], Direction::Maximize));
        assert!(!gives_up(&[0.1, 0.7], Direction::Maximize));
        assert!(gives_up(&[0.8, 0.71], Direction::Minimize));
        // The best report counts, not the last.
        assert!(!gives_up(&[0.8, 0.1], Direction::Maximize));
        // No steps yet, within the warm-up, and past all others.
        for reports in [&[][..], &[0.0], &[0.0; 3]] {
            assert!(!gives_up(reports, Direction::Maximize), "{reports:?}");
        }
    }

    #[test]
    fn nothing_is_given_up_before_enough_trials_are_complete() {
        let reports: &[&[f64]] = &[&[0.5, 0.6], &[0.4, 0.7]];
        let few = trials(reports, State::Complete);
        assert!(!PRUNER.gives_up(&[0.0, 0.0], &few, Direction::Maximize));
        let pruned = [few, trials(reports, State::Pruned)].concat();
        assert!(!PRUNER.gives_up(&[0.0, 0.0], &pruned, Direction::Maximize));
    }

    #[test]
    fn the_median_of_an_even_number_is_the_mean_of_the_middle_two() {
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }
}
