//! Quantization-aware training: a network is trained with its weights as their scheme would store them, then
//! stored under it.
//!
//! Weights are trained as f32 and rounded in every pass under scales of their largest magnitudes; gradients go
//! straight through. What is stored is what the last pass would have seen, bit for bit. Normalizations are folded
//! before, so they do not move. What a pruned weight does not keep stays 0.

use std::sync::Arc;

use serde::Serialize;

use super::kept::{Kept, Notes};
use super::quantize::{QuantizeOptions, fold_normalizations, kept_scheme, plan_quantize};
use super::{Context, StageError};
use crate::compress::Weights;
use crate::compress::model::{Activations, Model, Stored, matrix_shape};
use crate::compress::quantize::{Action, Linear, Planned, RangeChoice, round_to_nearest};
use crate::data::{Loader, LoaderOptions};
use crate::models::{FakeQuantized, NamedTensor, Sequential, TensorSpec};
use crate::num::mask::Mask;
use crate::num::optim::Optimizer;
use crate::num::schedule::Schedule;
use crate::num::{CodeRange, Dense, Granularity, SparseMatrix, ValueFormat, Zero};
use crate::ops::nn::{Coding, ScaleScope, ScalesOf};
use crate::tensor::HostTensor;
use crate::train::{Additions, Start, TrainOptions, Trainer};

/// What is kept of training, and its note.
const KEPT: &str = "training";
const LOSSES: &str = "losses";

/// Settings of [`qat`].
#[derive(Debug, Clone, PartialEq)]
pub struct QatOptions {
    /// Scheme, weights to keep and the policy for misfits; the method and calibration are not used.
    pub quantize: QuantizeOptions,
    /// Epochs over the training set.
    pub epochs: u32,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// Rate of the first step; it falls to 0 in a line.
    pub learning_rate: f64,
    /// Samples of a step.
    pub batch_size: usize,
}

/// What was trained.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct QatLog {
    /// The scheme as it was understood.
    pub scheme: String,
    /// Mean training loss of each epoch.
    pub losses: Vec<f64>,
    /// What concerns the whole network.
    pub notes: Vec<String>,
    /// Name, format and reason of each weight.
    pub layers: Vec<(String, String, String)>,
    /// Values as they were trained, before they were rounded.
    #[serde(skip)]
    pub trained: Vec<NamedTensor>,
}

/// Coding and scales under which training sees a weight as [`round_to_nearest`] stores it under `linear`, bit for
/// bit. `None` for zero points, and ranges that leave values out.
pub fn coding_of(linear: &Linear) -> Option<(Coding, ScalesOf)> {
    if linear.rule.zero() != Zero::Symmetric || linear.range != RangeChoice::MinMax {
        return None;
    }
    let scope = match linear.granularity {
        Granularity::Tensor => ScaleScope::Tensor,
        Granularity::Channel => ScaleScope::Channel,
        Granularity::Group(size) => ScaleScope::Group(size),
    };
    let range = CodeRange::of_bits(linear.width.bits()).ok()?;
    let scales = ScalesOf {
        rule: linear.rule,
        scale_type: linear.scale_type,
    };
    Some((Coding { scope, range }, scales))
}

/// Trains a model on its way to codes and stores them.
///
/// # Errors
/// [`StageError::Setting`] for schemes that training cannot follow, what [`plan_quantize`] says, what training
/// says, and [`StageError::Stopped`].
pub fn qat(
    context: &Context<'_>,
    model: &Model,
    options: &QatOptions,
) -> Result<(Model, QatLog), StageError> {
    let scheme = &options.quantize.scheme;
    if scheme.as_linear().and_then(coding_of).is_none() {
        return Err(StageError::Setting {
            what: "scheme of quantization-aware training".to_owned(),
            given: scheme.to_string(),
            allowed:
                "symmetric integer codes over the full range, such as int8, int4-g32, int2-g16"
                    .to_owned(),
        });
    }
    let mut log = QatLog {
        scheme: scheme.to_string(),
        ..QatLog::default()
    };
    let folded = fold_normalizations(model, &mut log.notes)?;
    let planned = plan_quantize(&folded, &options.quantize)?;
    let network = seen_quantized(&folded, &planned)?;
    let network = match scheme.activations {
        Activations::Float => network,
        Activations::Int8PerRow | Activations::Int8PerBlock(_) => {
            log.notes
                .push("training sees int8 inputs of linear layers, a scale a row".to_owned());
            network.with_inputs(Coding::INT8_ROWS)
        }
    };
    for one in &planned {
        let (Action::Quantize(linear), Some(Stored::Sparse { .. })) =
            (one.action, folded.tensor(&one.name))
        else {
            continue;
        };
        if kept_scheme(&linear).is_none() || matches!(linear.granularity, Granularity::Group(_)) {
            log.notes.push(format!(
                "{}: kept values of a pruned weight have groups of their own, so what is stored is not quite what \
                 training saw",
                one.name
            ));
        }
    }
    log.trained = train(context, &folded, &network, options, &mut log.losses)?;
    let made = store(&folded, &planned, options, &log.trained)?;
    for one in &planned {
        let format = made
            .tensor(&one.name)
            .map_or_else(String::new, Stored::format);
        log.layers
            .push((one.name.clone(), format, one.reason.clone()));
    }
    Ok((made, log))
}

/// The network whose passes see the planned weights as they will be stored.
fn seen_quantized(
    model: &Model,
    planned: &[Planned],
) -> Result<FakeQuantized<Sequential>, StageError> {
    let choose = |spec: &TensorSpec| match planned.iter().find(|one| one.name == spec.name)?.action
    {
        Action::Quantize(linear) => coding_of(&linear),
        Action::Keep => None,
    };
    Ok(FakeQuantized::with_codings(
        model.network().clone(),
        choose,
    )?)
}

fn train(
    context: &Context<'_>,
    model: &Model,
    network: &FakeQuantized<Sequential>,
    options: &QatOptions,
    losses: &mut Vec<f64>,
) -> Result<Vec<NamedTensor>, StageError> {
    let data = Arc::new(model.prepare(context.train)?);
    let loader = LoaderOptions::learning(options.batch_size, context.seed);
    let loader = Loader::new(data, loader)?;
    let n_batches = loader.n_batches() as u64;
    let settings = TrainOptions {
        learning_rate: options.learning_rate,
        schedule: Schedule::Polynomial {
            total: (u64::from(options.epochs) * n_batches).max(1),
            power: 1.0,
            end: 0.0,
        },
        batch_size: options.batch_size,
        steps_per_epoch: n_batches,
        seed: context.seed,
        // Weights that have codes already keep them.
        freeze: model
            .tensors()
            .iter()
            .filter(|(_, stored)| matches!(stored, Stored::Quantized { .. }))
            .map(|(name, _)| name.clone())
            .collect(),
        ..TrainOptions::new(options.optimizer)
    };
    let kept = Kept::of(context, ("qat", model), options)?;
    let mut start = Start::Parameters(model.values());
    if let Some(stopped) = kept.as_ref().and_then(|kept| kept.training(KEPT, network))
        && let Some(before) = stopped.note(LOSSES)
    {
        *losses = before;
        start = Start::Checkpoint(stopped.checkpoint);
    }
    let masks = masks(model)?;
    let additions = Additions {
        masks: masks.clone(),
        teacher: None,
    };
    let mut trainer = Trainer::with(context.engine, network, (settings, start), additions)?;
    let first = u32::try_from(trainer.n_steps() / n_batches).unwrap_or(u32::MAX);
    if first > 0 {
        context.tell("qat", format!("going on after epoch {first}"), [0, 1])?;
    }
    for epoch in first..options.epochs {
        let (mut sum, mut count) = (0.0, 0u32);
        for batch in loader.epoch_from(epoch, 0)? {
            let done = trainer.n_steps() as usize;
            let of = options.epochs as usize * n_batches as usize;
            context.tell("qat", format!("epoch {epoch}"), [done, of])?;
            sum += trainer.step(&batch)?;
            count += 1;
        }
        losses.push(sum / f64::from(count.max(1)));
        if let Some(kept) = &kept {
            let notes = Notes::default().with(LOSSES, losses)?;
            kept.keep_training(KEPT, (&trainer, &masks), notes)?;
        }
    }
    Ok(trainer.parameters()?)
}

/// What pruned weights keep: all that is not 0, of weights of which a hundredth or more is.
fn masks(model: &Model) -> Result<Vec<(String, Mask)>, StageError> {
    const PRUNED: f64 = 0.01;
    let mut masks = Vec::new();
    for spec in model.weights() {
        let Some(stored) = model
            .tensor(&spec.name)
            .filter(|one| one.sparsity() >= PRUNED)
        else {
            continue;
        };
        let [n, k] = matrix_shape(&spec.shape);
        let values = stored.values().to_f32()?;
        let mask = Mask::from_fn(n, k, |row, column| values[row * k + column] != 0.0);
        masks.push((spec.name, mask));
    }
    Ok(masks)
}

/// Trained values in the formats planned.
fn store(
    model: &Model,
    planned: &[Planned],
    options: &QatOptions,
    trained: &[NamedTensor],
) -> Result<Model, StageError> {
    let mut made = model.clone();
    for (name, value) in trained {
        let values = value.to_f32()?;
        let [n, k] = matrix_shape(value.shape());
        let action = planned
            .iter()
            .find(|one| one.name == *name)
            .map(|one| one.action);
        let stored = match (action, model.tensor(name)) {
            (Some(Action::Quantize(linear)), Some(Stored::Sparse { shape, matrix, .. })) => {
                let dense = Dense {
                    name,
                    n,
                    k,
                    weights: &values,
                };
                let format = kept_scheme(&linear).map_or(ValueFormat::F32, ValueFormat::Quantized);
                Stored::Sparse {
                    shape: shape.clone(),
                    matrix: SparseMatrix::compress(&dense, matrix.format().layout, format)?,
                    activations: Activations::Float,
                }
            }
            (Some(Action::Quantize(linear)), _) => {
                let weights = Weights::new(name, n, k, &values)?;
                Stored::Quantized {
                    shape: value.shape().to_vec(),
                    matrix: round_to_nearest(&weights, &linear)?.matrix().clone(),
                    // Training knows scales of rows.
                    activations: match options.quantize.scheme.activations {
                        Activations::Float => Activations::Float,
                        Activations::Int8PerRow | Activations::Int8PerBlock(_) => {
                            Activations::Int8PerRow
                        }
                    },
                }
            }
            (_, Some(Stored::Sparse { shape, matrix, .. })) => {
                let dense = Dense {
                    name,
                    n,
                    k,
                    weights: &values,
                };
                Stored::Sparse {
                    shape: shape.clone(),
                    matrix: SparseMatrix::compress(
                        &dense,
                        matrix.format().layout,
                        ValueFormat::F32,
                    )?,
                    activations: Activations::Float,
                }
            }
            // Frozen: see `train`.
            (_, Some(Stored::Quantized { .. })) => continue,
            (_, Some(Stored::Float(_)) | None) => {
                Stored::Float(HostTensor::from_f32(value.shape().to_vec(), &values)?)
            }
        };
        made.set(name, stored)?;
    }
    Ok(made)
}
