//! Epochs: all batches of a loader once, then a look at the test set.

use crate::data::{Dataset, Loader};

use super::{Evaluation, TrainError, Trainer};

/// What training tells while it runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event<'a> {
    /// A step was taken.
    Step {
        /// Steps taken so far.
        step: u64,
        /// Epoch it belongs to, from 0.
        epoch: u32,
        /// Mean loss of the batch before it.
        loss: f64,
        /// Learning rate it was taken with.
        learning_rate: f64,
    },
    /// An epoch is over.
    Epoch(&'a EpochReport),
}

/// An epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpochReport {
    /// Its index, from 0.
    pub epoch: u32,
    /// Steps taken so far.
    pub step: u64,
    /// Mean of the losses of the steps taken in it since training began or was resumed.
    pub train_loss: f64,
    /// On the test set.
    pub test: Evaluation,
}

/// What became of training.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// The epochs that were finished.
    pub epochs: Vec<EpochReport>,
    /// It was stopped before the last one, by whoever watches.
    pub is_stopped: bool,
    /// It ended before the last one because the test loss did not fall any more.
    pub ended_early: bool,
}

/// Trains up to the end of epoch `n_epochs`, from wherever the trainer is. `on` hears of every step and
/// epoch, may look at the trainer, and returns whether to go on. Ends early, and puts the best parameters back,
/// where the options say so.
///
/// # Errors
/// [`TrainError::OtherData`] for data of another kind than the network's, [`TrainError::Setting`] for a
/// loader with another batch size or number of batches than the options say, and what [`Trainer::step`]
/// and `on` say.
pub fn fit<E: From<TrainError>>(
    trainer: &mut Trainer<'_>,
    (loader, test): (&Loader, &Dataset),
    n_epochs: u32,
    on: &mut dyn FnMut(&Trainer<'_>, &Event<'_>) -> Result<bool, E>,
) -> Result<Fitted, E> {
    check(trainer, loader)?;
    trainer.check_data(loader.data())?;
    trainer.check_data(test)?;
    let n_batches = loader.n_batches() as u64;
    let mut fitted = Fitted {
        epochs: Vec::new(),
        is_stopped: false,
        ended_early: false,
    };
    if trainer.is_over() {
        trainer.restore_best()?;
        fitted.ended_early = true;
        return Ok(fitted);
    }
    let first_epoch = u32::try_from(trainer.n_steps() / n_batches).unwrap_or(u32::MAX);
    for epoch in first_epoch..n_epochs {
        let first = (trainer.n_steps() % n_batches) as usize;
        let batches = loader.epoch_from(epoch, first).map_err(TrainError::from)?;
        let (mut sum, mut count) = (0.0, 0u32);
        for batch in batches {
            let learning_rate = trainer.learning_rate()?;
            let loss = trainer.step(&batch)?;
            (sum, count) = (sum + loss, count + 1);
            let event = Event::Step {
                step: trainer.n_steps(),
                epoch,
                loss,
                learning_rate,
            };
            if !on(trainer, &event)? {
                fitted.is_stopped = true;
                return Ok(fitted);
            }
        }
        let report = EpochReport {
            epoch,
            step: trainer.n_steps(),
            train_loss: sum / f64::from(count.max(1)),
            test: trainer.evaluate(test)?,
        };
        fitted.epochs.push(report);
        let is_over = trainer.end_epoch(&report.test)?;
        if !on(trainer, &Event::Epoch(&report))? {
            fitted.is_stopped = epoch + 1 < n_epochs;
            return Ok(fitted);
        }
        if is_over {
            fitted.ended_early = epoch + 1 < n_epochs;
            break;
        }
    }
    trainer.restore_best()?;
    Ok(fitted)
}

fn check(trainer: &Trainer<'_>, loader: &Loader) -> Result<(), TrainError> {
    let options = trainer.options();
    if loader.options().batch_size != options.batch_size {
        return Err(TrainError::Setting {
            what: "batch size of the loader",
            given: loader.options().batch_size as f64,
            allowed: "that of the trainer's options",
        });
    }
    if loader.n_batches() as u64 != options.steps_per_epoch {
        return Err(TrainError::Setting {
            what: "batches of the loader",
            given: loader.n_batches() as f64,
            allowed: "the steps of an epoch in the trainer's options",
        });
    }
    Ok(())
}
