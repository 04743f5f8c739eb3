//! Training with masks: weights go while it runs, or went before, and never come back.

use super::options::Tuning;
use crate::compress::prune::Gradual;
use crate::compress::stage::{Context, StageError};
use crate::data::{Dataset, Loader, LoaderOptions};
use crate::models::{NamedTensor, Network};
use crate::num::mask::Mask;
use crate::num::schedule::Schedule;
use crate::train::{Additions, Start, TrainOptions, Trainer};

/// Masks by the names of their parameters.
pub type NamedMasks = Vec<(String, Mask)>;

/// Chooses masks from the parameters as they are, at a sparsity.
pub(super) type Choose<'a> =
    &'a mut dyn FnMut(&[NamedTensor], f64) -> Result<NamedMasks, StageError>;

/// A choice of masks while training ran.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Pruning {
    /// Steps taken before it.
    pub step: u64,
    /// Share of all weights that are pruned, of those that may be, after it.
    pub sparsity: f64,
}

/// What training left.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::compress::stage) struct Tuned {
    pub values: Vec<NamedTensor>,
    pub masks: NamedMasks,
    pub prunings: Vec<Pruning>,
    /// Mean losses of the epochs.
    pub losses: Vec<f64>,
}

/// What is trained: a network with its values and first masks, on prepared samples.
#[derive(Debug)]
pub(in crate::compress::stage) struct Training<'a> {
    pub stage: &'static str,
    pub network: &'a dyn Network,
    pub values: Vec<NamedTensor>,
    pub masks: NamedMasks,
    pub data: Dataset,
}

/// Trains for `epochs`, with one optimizer whose state is kept. `gradual` are the epochs of pruning, how often in
/// them, the last sparsity, and who chooses.
pub(in crate::compress::stage) fn tune(
    context: &Context<'_>,
    tuning: &Tuning,
    start: Training<'_>,
    (epochs, gradual): (u32, Option<((u32, u64), f64, Choose<'_>)>),
) -> Result<Tuned, StageError> {
    let Training {
        stage,
        network,
        values,
        mut masks,
        data,
    } = start;
    let batch_size = tuning.batch_size.min(data.n_samples()).max(1);
    let loader = Loader::new(
        data.into(),
        LoaderOptions::learning(batch_size, context.seed),
    )?;
    let steps_per_epoch = loader.n_batches() as u64;
    let total = u64::from(epochs) * steps_per_epoch;
    let mut choose = match gradual {
        None => None,
        Some(((epochs, prunings), last, choose)) => {
            let steps = u64::from(epochs) * steps_per_epoch;
            let prunings = prunings.clamp(1, steps.max(1));
            let every = (steps / prunings).max(1);
            Some((Gradual::new(0.0, last, 0, every, prunings)?, choose))
        }
    };
    let options = TrainOptions {
        learning_rate: tuning.learning_rate,
        schedule: Schedule::Polynomial {
            total: total.max(1),
            power: 1.0,
            end: 0.0,
        },
        batch_size,
        steps_per_epoch,
        seed: context.seed,
        ..TrainOptions::new(tuning.optimizer)
    };
    let additions = Additions {
        masks: masks.clone(),
        teacher: None,
    };
    let begin = (options, Start::Parameters(values));
    let mut trainer = Trainer::with(context.engine, network, begin, additions)?;
    let (mut prunings, mut losses) = (Vec::new(), Vec::new());
    let mut prune = |trainer: &mut Trainer<'_>, masks: &mut NamedMasks| -> Result<(), StageError> {
        let step = trainer.n_steps();
        if let Some((schedule, choose)) = &mut choose
            && step > 0
            && schedule.prunes_at(step)
        {
            *masks = choose(&trainer.parameters()?, schedule.sparsity(step))?;
            trainer.set_masks(masks)?;
            let sparsity = pruned_share(masks);
            prunings.push(Pruning { step, sparsity });
        }
        Ok(())
    };
    for epoch in 0..epochs {
        let mut sum = 0.0;
        for batch in loader.epoch(epoch)? {
            prune(&mut trainer, &mut masks)?;
            sum += trainer.step(&batch)?;
            let done = [trainer.n_steps() as usize, total as usize];
            context.tell(stage, format!("epoch {} of {epochs}", epoch + 1), done)?;
        }
        losses.push(sum / steps_per_epoch as f64);
    }
    // The last pruning may be due after the last step.
    prune(&mut trainer, &mut masks)?;
    Ok(Tuned {
        values: trainer.parameters()?,
        masks,
        prunings,
        losses,
    })
}

/// Share of the weights under masks that is pruned.
pub(super) fn pruned_share(masks: &NamedMasks) -> f64 {
    let count = |of: fn(&Mask) -> usize| masks.iter().map(|(_, mask)| of(mask)).sum::<usize>();
    let all = count(|mask| mask.n() * mask.k());
    1.0 - count(Mask::kept) as f64 / all.max(1) as f64
}
