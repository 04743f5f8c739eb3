//! What a trial is worth: training on a part of the training set, judged on the rest. The test set takes no
//! part in a search.

use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use lapidary::data::split::{Split, stratified_folds, stratified_split};
use lapidary::data::{Dataset, Loader};
use lapidary::engine::Engine;
use lapidary::search::{Direction, Ended, Reports, cross_validate};
use lapidary::train::{Evaluation, Event, Trainer, fit};

use crate::options::Failure;
use crate::train::{self, TrainCommand, setup, usage};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Metric {
    /// Share of samples predicted right; higher is better.
    Accuracy,
    /// Mean cross-entropy; lower is better.
    Loss,
}

impl Metric {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "validation accuracy",
            Self::Loss => "validation loss",
        }
    }

    pub const fn direction(self) -> Direction {
        match self {
            Self::Accuracy => Direction::Maximize,
            Self::Loss => Direction::Minimize,
        }
    }

    const fn of(self, evaluation: &Evaluation) -> f64 {
        match self {
            Self::Accuracy => evaluation.accuracy,
            Self::Loss => evaluation.loss,
        }
    }
}

/// Where trials are trained and judged.
pub struct Objective<'a> {
    pub engine: &'a dyn Engine,
    pub data: &'a Dataset,
    pub splits: Vec<Split>,
    pub metric: Metric,
    pub stop: &'a AtomicBool,
}

/// One part set aside, or folds that are each set aside once.
pub fn splits(
    data: &Dataset,
    (folds, validation): (Option<usize>, f64),
    seed: u64,
) -> Result<Vec<Split>, Failure> {
    match folds {
        Some(folds) => stratified_folds(data, folds, seed).map_err(usage),
        None => Ok(vec![
            stratified_split(data, validation, seed).map_err(usage)?,
        ]),
    }
}

impl Objective<'_> {
    /// Trains and judges. Settings that cannot be trained with, or whose loss is lost, fail this trial only;
    /// what the device says ends the search.
    pub fn judge(
        &self,
        options: &TrainCommand,
        reports: &mut Reports<'_>,
    ) -> Result<Ended, Failure> {
        let judged = cross_validate(self.splits.len(), reports, &mut |fold, report| {
            self.train(options, &self.splits[fold], report)
        });
        match judged {
            Err(Failure::Usage(reason) | Failure::Mismatch(reason)) => Ok(Ended::Failed(reason)),
            other => other,
        }
    }

    fn train(
        &self,
        options: &TrainCommand,
        split: &Split,
        report: &mut dyn FnMut(f64) -> bool,
    ) -> Result<Ended, Failure> {
        let mut learned = self.data.select_rows(&split.train).map_err(usage)?;
        let mut validation = self.data.select_rows(&split.validation).map_err(usage)?;
        let cleaning = options.tables.learn(&mut learned)?;
        cleaning.apply("validation set", &mut validation)?;
        let inputs = setup::inputs(options.raw_inputs, &learned)?;
        inputs.apply(&mut learned).map_err(usage)?;
        inputs.apply(&mut validation).map_err(usage)?;
        let network = setup::network(options, &learned)?;
        let loader_options = setup::loader(options, &inputs);
        let loader = Loader::new(learned.into(), loader_options).map_err(usage)?;
        let settings = setup::training(options, loader.n_batches() as u64)?;
        let start = train::start(options, network.as_ref())?;
        let mut trainer = Trainer::new(self.engine, network.as_ref(), settings, start)?;
        let mut last = None;
        let mut is_given_up = false;
        let mut on = |_: &Trainer<'_>, event: &Event<'_>| {
            if let Event::Epoch(epoch) = event {
                let value = self.metric.of(&epoch.test);
                last = Some(value);
                is_given_up = !report(value);
            }
            Ok::<bool, Failure>(!is_given_up && !self.stop.load(Ordering::Relaxed))
        };
        let data = (&loader, &validation);
        fit(&mut trainer, data, options.epochs, &mut on)?;
        Ok(match last {
            _ if self.stop.load(Ordering::Relaxed) => Ended::Stopped,
            _ if is_given_up => Ended::Pruned,
            // Those of the best epoch were put back.
            Some(_) if options.restore_best => {
                Ended::Value(self.metric.of(&trainer.evaluate(&validation)?))
            }
            Some(value) => Ended::Value(value),
            None => Ended::Failed("no epoch was trained".to_owned()),
        })
    }
}
