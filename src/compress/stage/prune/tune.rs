//! Training with masks: weights go while it runs, or went before, and never come back.

use serde::{Deserialize, Serialize};

use super::options::Tuning;
use crate::compress::prune::Gradual;
use crate::compress::stage::kept::{Kept, Notes};
use crate::compress::stage::{Context, StageError};
use crate::data::{Dataset, Loader, LoaderOptions};
use crate::models::{NamedTensor, Network};
use crate::num::mask::Mask;
use crate::num::schedule::Schedule;
use crate::train::{Additions, Start, TrainOptions, Trainer};

/// What is kept of training, and its notes.
const KEPT: &str = "training";
const PRUNINGS: &str = "prunings";
const LOSSES: &str = "losses";

/// Masks by the names of their parameters.
pub type NamedMasks = Vec<(String, Mask)>;

/// Chooses masks from the parameters as they are, at a sparsity, among what the masks before keep.
pub(super) type Choose<'a> =
    &'a dyn Fn(&[NamedTensor], f64, &NamedMasks) -> Result<NamedMasks, StageError>;

/// A choice of masks while training ran.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
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
    pub kept: Option<&'a Kept<'a>>,
}

/// The epochs of pruning, how often in them, the last sparsity, and who chooses.
pub(in crate::compress::stage) type Gradually<'a> = ((u32, u64), f64, Choose<'a>);

/// Trains for `epochs`, with one optimizer whose state is kept; masks change where it is `gradual`.
pub(in crate::compress::stage) fn tune(
    context: &Context<'_>,
    tuning: &Tuning,
    start: Training<'_>,
    (epochs, gradual): (u32, Option<Gradually<'_>>),
) -> Result<Tuned, StageError> {
    let Training {
        stage,
        network,
        values,
        mut masks,
        data,
        kept,
    } = start;
    let batch_size = tuning.batch_size.min(data.n_samples()).max(1);
    let loader = Loader::new(
        data.into(),
        LoaderOptions::learning(batch_size, context.seed),
    )?;
    let steps_per_epoch = loader.n_batches() as u64;
    let total = u64::from(epochs) * steps_per_epoch;
    let choose = match gradual {
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
    let (mut prunings, mut losses) = (Vec::<Pruning>::new(), Vec::<f64>::new());
    let mut begin = Start::Parameters(values);
    if let Some(stopped) = kept.and_then(|kept| kept.training(KEPT, network))
        && let (Some(before), Some(of_epochs)) = (stopped.note(PRUNINGS), stopped.note(LOSSES))
    {
        (prunings, losses, masks) = (before, of_epochs, stopped.masks);
        begin = Start::Checkpoint(stopped.checkpoint);
    }
    let additions = Additions {
        masks: masks.clone(),
        teacher: None,
    };
    let mut trainer = Trainer::with(context.engine, network, (options, begin), additions)?;
    let prune = |trainer: &mut Trainer<'_>,
                 masks: &mut NamedMasks,
                 prunings: &mut Vec<Pruning>|
     -> Result<(), StageError> {
        let step = trainer.n_steps();
        if let Some((schedule, choose)) = &choose
            && step > 0
            && schedule.prunes_at(step)
        {
            *masks = choose(&trainer.parameters()?, schedule.sparsity(step), masks)?;
            trainer.set_masks(masks)?;
            let sparsity = pruned_share(masks);
            prunings.push(Pruning { step, sparsity });
        }
        Ok(())
    };
    let first = u32::try_from(trainer.n_steps() / steps_per_epoch).unwrap_or(u32::MAX);
    if first > 0 {
        let done = [trainer.n_steps() as usize, total as usize];
        context.tell(stage, format!("going on after epoch {first}"), done)?;
    }
    for epoch in first..epochs {
        let mut sum = 0.0;
        for batch in loader.epoch(epoch)? {
            prune(&mut trainer, &mut masks, &mut prunings)?;
            sum += trainer.step(&batch)?;
            let done = [trainer.n_steps() as usize, total as usize];
            context.tell(stage, format!("epoch {} of {epochs}", epoch + 1), done)?;
        }
        losses.push(sum / steps_per_epoch as f64);
        if let Some(kept) = kept {
            let notes = Notes::default().with(PRUNINGS, &prunings)?;
            kept.keep_training(KEPT, (&trainer, &masks), notes.with(LOSSES, &losses)?)?;
        }
    }
    // The last pruning may be due after the last step.
    prune(&mut trainer, &mut masks, &mut prunings)?;
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
