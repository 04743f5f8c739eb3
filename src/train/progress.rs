//! What the epochs so far say of those to come: when training ends early, when the learning rate falls, and which
//! parameters were the best. Plain numbers, which a checkpoint keeps.

use crate::models::NamedTensor;
use crate::num::schedule::Plateau;

use super::{Evaluation, TrainError, TrainOptions};

/// When training ends before its last epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EarlyStopping {
    /// Epochs without a better test loss after which training ends; at least 1.
    pub patience: u32,
    /// A loss is better when it is lower than the best by more than this.
    pub min_delta: f64,
    /// Parameters and running statistics are in the end those of the best epoch. They are kept on the host.
    pub restore_best: bool,
}

/// What is remembered from epoch to epoch.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Progress {
    pub plateau: Option<Plateau>,
    /// Lowest test loss; infinite before the first.
    pub best_loss: f64,
    /// Epochs since then.
    pub bad_epochs: u32,
    /// Of the best epoch, where they are to be restored.
    pub best: Option<Vec<NamedTensor>>,
}

impl Progress {
    /// Before the first epoch.
    ///
    /// # Errors
    /// [`TrainError`] for rules out of range.
    pub fn new(options: &TrainOptions) -> Result<Self, TrainError> {
        let rule = options.plateau;
        let plateau = rule.map(|rule| Plateau::new(rule, options.learning_rate));
        Ok(Self {
            plateau: plateau.transpose()?,
            best_loss: f64::INFINITY,
            bad_epochs: 0,
            best: None,
        })
    }

    /// Takes the end of an epoch; whether it is the best.
    pub fn observe(&mut self, options: &TrainOptions, test: &Evaluation) -> bool {
        if let Some(plateau) = &mut self.plateau {
            plateau.observe(test.loss);
        }
        let least = options.early_stopping.map_or(0.0, |rule| rule.min_delta);
        let is_better = test.loss < self.best_loss - least;
        if is_better {
            (self.best_loss, self.bad_epochs) = (test.loss, 0);
        } else {
            self.bad_epochs = self.bad_epochs.saturating_add(1);
        }
        is_better
    }

    /// Whether training has ended.
    pub fn is_over(&self, options: &TrainOptions) -> bool {
        let rule = options.early_stopping;
        rule.is_some_and(|rule| self.bad_epochs >= rule.patience)
    }

    /// The numbers as metadata of a file: shortest decimals, which read back to the same bits.
    pub fn to_text(&self) -> String {
        let mut text = format!("{:?} {}", self.best_loss, self.bad_epochs);
        if let Some(plateau) = &self.plateau {
            let Plateau {
                rate,
                best,
                bad,
                cooling,
                ..
            } = plateau;
            text.push_str(&format!(" {rate:?} {best:?} {bad} {cooling}"));
        }
        text
    }

    /// Takes the numbers of [`Self::to_text`] over; `None` for another text. A plateau that the text has not
    /// begins anew, and one that the options have not is dropped.
    pub fn with_text(mut self, text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let (loss, rest) = words.split_first()?;
        let (epochs, rest) = rest.split_first()?;
        (self.best_loss, self.bad_epochs) = (loss.parse().ok()?, epochs.parse().ok()?);
        match (rest, &mut self.plateau) {
            ([], _) => {}
            ([rate, best, bad, cooling], plateau) => {
                let (rate, best) = (rate.parse().ok()?, best.parse().ok()?);
                let (bad, cooling) = (bad.parse().ok()?, cooling.parse().ok()?);
                if let Some(plateau) = plateau {
                    *plateau = Plateau {
                        rule: plateau.rule,
                        rate,
                        best,
                        bad,
                        cooling,
                    };
                }
            }
            _ => return None,
        }
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use crate::num::optim::{Convention, Optimizer};
    use crate::num::schedule::PlateauRule;

    use super::*;

    fn options() -> TrainOptions {
        TrainOptions {
            plateau: Some(PlateauRule {
                patience: 0,
                ..PlateauRule::default()
            }),
            early_stopping: Some(EarlyStopping {
                patience: 2,
                min_delta: 0.1,
                restore_best: false,
            }),
            ..TrainOptions::new(Optimizer::named("sgd", Convention::PyTorch).expect("a name"))
        }
    }

    #[test]
    fn training_ends_after_patience_epochs_that_are_not_better_by_enough() {
        let options = options();
        let mut progress = Progress::new(&options).expect("in range");
        let test = |loss| Evaluation {
            loss,
            accuracy: 0.0,
        };
        let mut seen = Vec::new();
        for loss in [1.0, 0.95, 0.85, 0.8, f64::NAN] {
            let is_better = progress.observe(&options, &test(loss));
            seen.push((is_better, progress.is_over(&options)));
        }
        let (better, over) = ((true, false), (false, true));
        assert_eq!(seen, [better, (false, false), better, (false, false), over]);
    }

    #[test]
    fn numbers_come_back_from_a_file_to_the_same_bits() {
        let options = options();
        let first = Progress::new(&options).expect("in range");
        let mut progress = first.clone();
        for loss in [1.0 / 3.0, 0.4] {
            let test = Evaluation {
                loss,
                accuracy: 0.0,
            };
            progress.observe(&options, &test);
        }
        for one in [&first, &progress] {
            let back = first.clone().with_text(&one.to_text());
            assert_eq!(back.as_ref(), Some(one));
        }
        for text in ["", "1", "1 x", "1 2 3", "1 2 3 4 5 6 7"] {
            assert_eq!(first.clone().with_text(text), None, "{text}");
        }
    }
}
