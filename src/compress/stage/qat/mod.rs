//! Quantization-aware training: a network is trained with its weights as their scheme would store them, then
//! stored under it.
//!
//! Weights are trained as f32 and rounded in every pass; gradients go straight through. Scales are learned with them
//! (Esser et al., "Learned Step Size Quantization", 2020), from those of least squared error on, or follow from the
//! largest magnitudes. What is stored is what the last pass would have seen, bit for bit. Normalizations are folded
//! before, so they do not move. What a pruned weight does not keep stays 0; without its zeros it has groups of its own,
//! whose scales follow from the largest magnitudes.

mod scales;
mod store;

use std::sync::Arc;

use serde::Serialize;

use super::kept::{Kept, Notes};
use super::quantize::{
    ActivationScheme, QuantizeOptions, fold_normalizations, kept_scheme, plan_quantize,
};
use super::{Context, StageError};
use crate::compress::model::{Activations, Model, Stored, matrix_shape};
use crate::compress::quantize::{Action, Linear, Planned, RangeChoice};
use crate::data::{Loader, LoaderOptions};
use crate::models::{FakeQuantized, NamedTensor, SeenScales, Sequential, TensorSpec};
use crate::num::Granularity;
use crate::num::mask::Mask;
use crate::num::optim::Optimizer;
use crate::num::schedule::Schedule;
use crate::ops::nn::Coding;
use crate::train::{Additions, Start, TrainOptions, Trainer};

use scales::{Firsts, firsts};
use store::store;

pub use scales::{coding_of, learned_coding_of};

/// Where scales come from in training.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum QatScales {
    /// They are parameters with gradients and a state of the optimizer of their own.
    #[default]
    Learned,
    /// The largest magnitudes, in every pass.
    Fixed,
}

impl QatScales {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Learned, Self::Fixed];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Learned => "learned",
            Self::Fixed => "fixed",
        }
    }
}

impl std::str::FromStr for QatScales {
    type Err = StageError;

    fn from_str(text: &str) -> Result<Self, StageError> {
        let found = Self::ALL.into_iter().find(|one| one.name() == text);
        found.ok_or_else(|| StageError::Setting {
            what: "scales".to_owned(),
            given: text.to_owned(),
            allowed: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// What is kept of training, and its note.
const KEPT: &str = "training";
const LOSSES: &str = "losses";

/// Settings of [`qat`].
#[derive(Debug, Clone, PartialEq)]
pub struct QatOptions {
    /// Scheme, weights to keep and the policy for misfits; the method and calibration are not used.
    pub quantize: QuantizeOptions,
    /// Where scales come from.
    pub scales: QatScales,
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
    /// `learned` or `fixed`.
    pub scales: String,
    /// Mean training loss of each epoch.
    pub losses: Vec<f64>,
    /// What concerns the whole network.
    pub notes: Vec<String>,
    /// Name, format and reason of each weight.
    pub layers: Vec<(String, String, String)>,
    /// Values as they were trained, before they were rounded, learned scales behind them.
    #[serde(skip)]
    pub trained: Vec<NamedTensor>,
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
    if let ActivationScheme::Static(_) = scheme.activations {
        return Err(StageError::Setting {
            what: "activations of quantization-aware training".to_owned(),
            given: scheme.activations.to_string(),
            allowed: "float, int8, int8-g32, int8-g64".to_owned(),
        });
    }
    let (is_served, allowed) = match options.scales {
        QatScales::Learned => (
            scheme.as_linear().and_then(learned_coding_of).is_some(),
            "symmetric integer codes, such as int8, int4-g32, int2-g16",
        ),
        QatScales::Fixed => (
            scheme.as_linear().and_then(coding_of).is_some(),
            "symmetric integer codes over the full range, such as int8, int4-g32, int2-g16",
        ),
    };
    if !is_served {
        return Err(StageError::Setting {
            what: "scheme of quantization-aware training".to_owned(),
            given: scheme.to_string(),
            allowed: allowed.to_owned(),
        });
    }
    let mut log = QatLog {
        scheme: scheme.to_string(),
        scales: options.scales.name().to_owned(),
        ..QatLog::default()
    };
    let folded = fold_normalizations(model, &mut log.notes)?;
    let planned = plan_quantize(&folded, &options.quantize)?;
    let firsts = firsts(&folded, &planned, options.scales)?;
    let network = seen_quantized(&folded, &planned, &firsts)?;
    let network = match scheme.activations.as_they_come() {
        Activations::Float | Activations::Int8Static(_) => network,
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
    let made = store((&folded, &planned), options, &log.trained, &firsts)?;
    for one in &planned {
        let format = made
            .tensor(&one.name)
            .map_or_else(String::new, Stored::format);
        log.layers
            .push((one.name.clone(), format, one.reason.clone()));
    }
    for note in made.tensors().iter().filter_map(|(_, one)| one.widened()) {
        if !log.notes.contains(&note) {
            log.notes.push(note);
        }
    }
    Ok((made, log))
}

/// The network whose passes see the planned weights as they will be stored.
fn seen_quantized(
    model: &Model,
    planned: &[Planned],
    firsts: &Firsts,
) -> Result<FakeQuantized<Sequential>, StageError> {
    let choose = |spec: &TensorSpec| {
        let planned = planned.iter().find(|one| one.name == spec.name)?;
        let Action::Quantize(linear) = planned.action else {
            return None;
        };
        match firsts.get(&spec.name) {
            Some((first, scale_type)) => {
                let scales = SeenScales::Learned {
                    first: first.clone(),
                    scale_type: *scale_type,
                };
                Some((learned_coding_of(&linear)?, scales))
            }
            None => {
                let full = Linear {
                    range: RangeChoice::MinMax,
                    ..linear
                };
                let (coding, of) = coding_of(&full)?;
                Some((coding, SeenScales::ByLargest(of)))
            }
        }
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
            .filter(|(_, stored)| {
                matches!(stored, Stored::Quantized { .. } | Stored::Levels { .. })
            })
            .map(|(name, _)| name.clone())
            .collect(),
        ..TrainOptions::new(options.optimizer)
    };
    let kept = Kept::of(context, ("qat", model), options)?;
    let mut values = model.values();
    values.extend(network.first_scales()?);
    let mut start = Start::Parameters(values);
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
