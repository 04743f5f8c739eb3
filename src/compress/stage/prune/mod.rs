//! Pruning of single weights, groups and blocks: a model in, one with fewer weights out.
//!
//! Weights are judged by a [`PruneMethod`], chosen by a pattern ([`PruneAmount`], [`PruneScope`]), and go at once
//! or while the network trains ([`PruneSchedule`]). What went stays 0 through every step of training: masks are
//! held by the optimizer's own kernel, and each choice is a subset of the one before; what is 0 to begin with counts
//! as gone. The state of the optimizer is kept from the first step to the last.
//!
//! Whole neurons and filters are [`shrink`](super::shrink)'s.

mod gradients;
mod inputs;
mod judge;
mod options;
mod store;
mod targets;
mod tune;

use serde::Serialize;

use super::kept::Kept;
use super::{Context, StageError};
use crate::compress::model::{Model, Stored};
use crate::models::NamedTensor;
use crate::num::mask::Mask;
use crate::tensor::HostTensor;

pub use gradients::{Gradients, gradients};
pub use options::{
    PruneAmount, PruneMethod, PruneMisfit, PruneOptions, PruneSchedule, PruneScope, PruneStorage,
    Tuning,
};
pub use targets::{PrunePlan, PruneTarget, prune_plan};
pub use tune::{NamedMasks, Pruning};

pub(super) use options::setting;
pub(super) use targets::{check_patterns, relative_error};
pub(super) use tune::{Training, tune};

use judge::Judge;
use targets::{choose, not_zero};
use tune::{Tuned, pruned_share};

/// What pruning did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PruneLog {
    /// The method: `magnitude`.
    pub method: String,
    /// The amount asked for: `80%`, `2:4`.
    pub amount: String,
    /// Weights that were pruned, in the network's order.
    pub layers: Vec<PrunedLayer>,
    /// Weights that were not, each with the reason.
    pub kept: Vec<(String, String)>,
    /// Share of the weights of all pruned layers that is gone.
    pub sparsity: f64,
    /// Choices of masks while training ran; none in one shot.
    pub prunings: Vec<Pruning>,
    /// Mean loss of each epoch of training.
    pub losses: Vec<f64>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

/// A weight that was pruned.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PrunedLayer {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Weights its mask keeps.
    pub kept: usize,
    /// Share its mask drops.
    pub sparsity: f64,
    /// `|w - w0| / |w0|` in the Frobenius norm: what pruning, training and the format of the values changed.
    pub weight_error: f64,
    /// How it is stored.
    pub format: String,
    /// Bytes on a device.
    pub bytes: u64,
}

/// Prunes a model, and trains what is left where the options say so. The training set is read, the test set not.
///
/// # Errors
/// [`StageError`]: as of [`prune_plan`], a set without enough samples, what training and the engine say, and
/// [`StageError::Stopped`].
pub fn prune(
    context: &Context<'_>,
    model: &Model,
    options: &PruneOptions,
) -> Result<(Model, PruneLog), StageError> {
    let plan = prune_plan(model, options)?;
    let targets = &plan.targets;
    let train = model.prepare(context.train)?;
    let samples = train.first(options.samples.min(train.n_samples()))?;
    let kept = Kept::of(context, ("prune", model), options)?;
    let judge = Judge {
        context,
        options,
        model,
        targets,
        samples: &samples,
        kept: kept.as_ref(),
    };
    let names = || targets.iter().map(|one| one.name.clone());
    let before = model.values();
    let first: NamedMasks = names().zip(not_zero(targets, &before)?).collect();
    let pick = |values: &[NamedTensor], sparsity: f64, masks: &NamedMasks| {
        let scores = judge.scores(values)?;
        let previous: Vec<Mask> = masks.iter().map(|(_, mask)| mask.clone()).collect();
        let masks = choose(options, targets, (&scores, &previous), sparsity)?;
        Ok::<NamedMasks, StageError>(names().zip(masks).collect())
    };
    context.tell("prune", format!("scores by {}", options.method), [0, 1])?;
    let (share, epochs) = (options.amount.share(), options.epochs());
    let mut notes = Vec::new();
    let (values, masks, gradual) = match options.schedule {
        PruneSchedule::OneShot if options.method == PruneMethod::SparseGpt => {
            let (values, masks, said) = judge.sparse_gpt()?;
            notes = said;
            (values, masks, None)
        }
        PruneSchedule::OneShot => (before.clone(), pick(&before, share, &first)?, None),
        PruneSchedule::Gradual { epochs, prunings } => {
            (before.clone(), first, Some((epochs, prunings)))
        }
    };
    let tuned = if epochs == 0 {
        Tuned {
            values,
            masks,
            prunings: Vec::new(),
            losses: Vec::new(),
        }
    } else {
        let training = Training {
            stage: "prune",
            network: model.network(),
            values,
            masks,
            data: train,
            kept: kept.as_ref(),
        };
        let gradual = gradual.map(|gradual| (gradual, share, &pick as tune::Choose<'_>));
        tune(context, &options.tuning, training, (epochs, gradual))?
    };
    finish(model, options, (&before, tuned), (plan, notes))
}

/// The pruned model in the format asked for, and the log.
fn finish(
    model: &Model,
    options: &PruneOptions,
    (before, tuned): (&[NamedTensor], Tuned),
    (plan, mut notes): (PrunePlan, Vec<String>),
) -> Result<(Model, PruneLog), StageError> {
    let mut pruned = model.clone();
    let (mut layers, mut dense_layers) = (Vec::new(), Vec::new());
    if options.epochs() > 0 {
        for (name, value) in &tuned.values {
            pruned.set(name, Stored::Float(value.clone()))?;
        }
    }
    for (target, (_, mask)) in plan.targets.iter().zip(&tuned.masks) {
        let name = &target.name;
        let value = &tuned.values[target.index].1;
        let weights = mask.apply(name, &value.to_f32()?)?;
        let stored = match options.storage {
            PruneStorage::Sparse(values) if !store::is_grouped(model.network(), name) => {
                let shape = value.shape().to_vec();
                store::sparse(target, (shape, &weights), options.amount, values)?
            }
            PruneStorage::Sparse(_) | PruneStorage::Dense => {
                if options.storage != PruneStorage::Dense {
                    dense_layers.push(name.as_str());
                }
                Stored::Float(HostTensor::from_f32(value.shape().to_vec(), &weights)?)
            }
        };
        if stored.bytes() > value.bytes().len() as u64 {
            notes.push(format!(
                "{name} takes {} bytes as {}, {} with its zeros",
                stored.bytes(),
                stored.format(),
                value.bytes().len()
            ));
        }
        let after = stored.values().to_f32()?;
        layers.push(PrunedLayer {
            name: name.clone(),
            shape: value.shape().to_vec(),
            kept: mask.kept(),
            sparsity: 1.0 - mask.density(),
            weight_error: relative_error(name, &before[target.index].1.to_f32()?, &after)?,
            format: stored.format(),
            bytes: stored.bytes(),
        });
        pruned.set(name, stored)?;
    }
    if !dense_layers.is_empty() {
        let names = dense_layers.join(", ");
        notes.push(format!(
            "stored with zeros, because convolutions of several groups have no kernel without: {names}"
        ));
    }
    let log = PruneLog {
        method: options.method.to_string(),
        amount: options.amount.to_string(),
        layers,
        kept: plan.kept,
        sparsity: pruned_share(&tuned.masks),
        prunings: tuned.prunings,
        losses: tuned.losses,
        notes,
    };
    Ok((pruned, log))
}

/// The masks that a model's weights are under: what is not 0, of every weight that has zeros. For training that
/// leaves pruned weights at 0.
///
/// # Errors
/// [`StageError::Tensor`] for a tensor that is no f32.
pub fn masks_of(model: &Model) -> Result<NamedMasks, StageError> {
    let mut masks = Vec::new();
    for spec in model.weights() {
        let Some(stored) = model.tensor(&spec.name) else {
            continue;
        };
        let values = stored.values().to_f32()?;
        if values.iter().all(|&value| value != 0.0) {
            continue;
        }
        let [n, k] = crate::compress::model::matrix_shape(&spec.shape);
        let mask = Mask::from_fn(n, k, |row, column| values[row * k + column] != 0.0);
        masks.push((spec.name, mask));
    }
    Ok(masks)
}
