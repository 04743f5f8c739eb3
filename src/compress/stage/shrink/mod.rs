//! Structured pruning: neurons of linear layers, filters of convolutions and whole layers are cut out, and the
//! network that is left is smaller for every kernel.
//!
//! What is cut goes with everything that is coupled to it ([`coupling`]): the columns of the next layer, biases,
//! factors, addends and running statistics of normalizations, and the filters of depthwise convolutions. The result
//! computes what the network with these units at 0 would ([`zeroed`]).

pub mod coupling;
mod cut;
mod layers;

use serde::Serialize;

use super::kept::Kept;
use super::prune::{Training, Tuning, check_patterns, gradients, setting, tune};
use super::{Context, StageError};
use crate::compress::Weights;
use crate::compress::model::{Model, Stored, matrix_shape};
use crate::compress::prune::{FirstOrder, Norm, first_order, keep_units, row_scores};
use crate::data::Dataset;
use crate::models::{Network as _, matches};
use crate::num::mask::Amount;

use coupling::{Units, units_of};

pub use cut::{cut, zeroed};
pub use layers::remove_layer;

/// Samples of a pass when gradients are asked for.
const BATCH: usize = 64;

/// How neurons and filters are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitScore {
    /// `sum |w|` over the weights that make it.
    L1,
    /// `sqrt(sum w^2)`
    L2,
    /// `sum (w g)^2`, with the gradient of the mean loss over samples of the training set.
    Taylor,
}

/// What [`shrink`] does.
#[derive(Debug, Clone, PartialEq)]
pub struct ShrinkOptions {
    /// Share of the units of each layer that is cut, in [0, 1); at least one stays.
    pub share: f64,
    /// How units are judged.
    pub score: UnitScore,
    /// Names of weights whose units all stay, with `*` for any characters.
    pub keep: Vec<String>,
    /// Indices of layers to remove as a whole, before units are cut; see [`remove_layer`].
    pub layers: Vec<usize>,
    /// Training of what is left.
    pub tuning: Tuning,
    /// Samples of the training set that gradients are taken from; the first ones.
    pub samples: usize,
}

impl ShrinkOptions {
    /// By L1, from all layers that can be cut, without training.
    ///
    /// # Errors
    /// [`StageError::Setting`] for a share outside [0, 1).
    pub fn new(share: f64) -> Result<Self, StageError> {
        let options = Self {
            share,
            score: UnitScore::L1,
            keep: Vec::new(),
            layers: Vec::new(),
            tuning: Tuning::epochs(0)?,
            samples: 512,
        };
        options.check()?;
        Ok(options)
    }

    fn check(&self) -> Result<(), StageError> {
        if !(0.0..1.0).contains(&self.share) {
            return Err(setting(
                "share of units",
                self.share,
                "0 or more and less than 1",
            ));
        }
        if self.samples == 0 {
            return Err(setting("samples that judge units", 0, "at least 1"));
        }
        let rate = self.tuning.learning_rate;
        if !(rate.is_finite() && rate > 0.0) {
            return Err(setting("learning rate", rate, "above 0"));
        }
        Ok(())
    }
}

/// What was cut.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShrinkLog {
    /// Layers that lost units, by the name of their weight: units before and after.
    pub cut: Vec<(String, [usize; 2])>,
    /// Weights whose units stay, each with the reason.
    pub kept: Vec<(String, String)>,
    /// Layers that were removed as a whole.
    pub removed: Vec<usize>,
    /// Weights, biases and the like, before and after.
    pub parameters: [u64; 2],
    /// Of one sample, before and after.
    pub multiply_adds: [u64; 2],
    /// On a device, before and after.
    pub bytes: [u64; 2],
    /// Mean loss of each epoch of training.
    pub losses: Vec<f64>,
}

/// What is cut of a model: units of layers, and which of them stay.
pub type Cuts = Vec<(Units, Vec<usize>)>;

/// Which units of a model go. Touches nothing. The second result are the weights whose units all stay, each with
/// the reason.
///
/// # Errors
/// [`StageError`]: options out of range, a pattern that fits no weight, and what the engine says.
pub fn shrink_plan(
    context: &Context<'_>,
    model: &Model,
    options: &ShrinkOptions,
) -> Result<(Cuts, Vec<(String, String)>), StageError> {
    options.check()?;
    let weights = model.weights();
    check_patterns(&options.keep, weights.iter().map(|one| one.name.as_str()))?;
    let (mut cuts, mut kept) = (Vec::new(), Vec::new());
    for spec in &weights {
        let layer = spec
            .name
            .split('.')
            .next()
            .and_then(|index| index.parse().ok());
        let pattern = options.keep.iter().find(|one| matches(one, &spec.name));
        let units = match (pattern, layer) {
            (Some(pattern), _) => Err(format!("its name matches `{pattern}`")),
            (None, Some(layer)) => units_of(model.network(), layer),
            (None, None) => Err("it is of no layer".to_owned()),
        };
        match units {
            Ok(units) => cuts.push((spec.name.clone(), units)),
            Err(reason) => kept.push((spec.name.clone(), reason)),
        }
    }
    let names: Vec<&str> = cuts.iter().map(|(name, _)| name.as_str()).collect();
    let scores = unit_scores(context, model, options, &names)?;
    let chosen = |((name, units), scores): ((String, Units), Vec<f32>)| {
        let keep = Amount::Sparsity(options.share).kept(&name, "units", units.count)?;
        let stay = keep_units(&name, &scores, Amount::Keep(keep.max(1)))?;
        Ok::<_, StageError>((units, stay))
    };
    let chosen = cuts.into_iter().zip(scores).map(chosen);
    Ok((chosen.collect::<Result<_, _>>()?, kept))
}

/// Scores of the units of each of these weights.
fn unit_scores(
    context: &Context<'_>,
    model: &Model,
    options: &ShrinkOptions,
    names: &[&str],
) -> Result<Vec<Vec<f32>>, StageError> {
    let values = model.values();
    let gradients = match options.score {
        UnitScore::L1 | UnitScore::L2 => None,
        UnitScore::Taylor => {
            let samples = model.prepare(&first(context.train, options.samples)?)?;
            let batch = BATCH.min(samples.n_samples());
            let network = model.network();
            let engine = context.engine;
            Some(gradients(
                engine,
                (network, &values),
                (&samples, batch),
                names,
            )?)
        }
    };
    let mut scores = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let Some((_, value)) = values.iter().find(|(one, _)| one == name) else {
            continue;
        };
        let [n, k] = matrix_shape(value.shape());
        let value = value.to_f32()?;
        let weights = Weights::new(name, n, k, &value)?;
        scores.push(match (options.score, &gradients) {
            (UnitScore::L1, _) => row_scores(&weights, Norm::L1),
            (UnitScore::Taylor, Some(gradients)) => {
                let single = first_order(&weights, &gradients[index].mean, FirstOrder::Squared)?;
                row_scores(&Weights::new(name, n, k, &single)?, Norm::L1)
            }
            (UnitScore::L2 | UnitScore::Taylor, _) => row_scores(&weights, Norm::L2),
        });
    }
    Ok(scores)
}

fn first(data: &Dataset, samples: usize) -> Result<Dataset, StageError> {
    Ok(data.first(samples.min(data.n_samples()))?)
}

/// Cuts layers and units out of a model, and trains what is left where the options say so. All weights of the
/// result are f32.
///
/// # Errors
/// [`StageError`]: as of [`shrink_plan`] and [`remove_layer`], a quantized weight, what training and the engine
/// say, and [`StageError::Stopped`].
pub fn shrink(
    context: &Context<'_>,
    model: &Model,
    options: &ShrinkOptions,
) -> Result<(Model, ShrinkLog), StageError> {
    for (name, stored) in model.tensors() {
        if matches!(stored, Stored::Quantized { .. } | Stored::Levels { .. }) {
            let allowed = "f32: networks are cut before they are quantized";
            return Err(setting(
                format!("format of {name}"),
                stored.format(),
                allowed,
            ));
        }
    }
    context.tell("shrink", "units", [0, 1])?;
    let mut small = model.clone();
    for &layer in &options.layers {
        small = remove_layer(&small, layer)?;
    }
    let (cuts, kept) = shrink_plan(context, &small, options)?;
    let mut log = Vec::new();
    for (units, stay) in &cuts {
        let name = format!("{}.weight", units.layer);
        log.push((name, [units.count, stay.len()]));
        small = cut(&small, units, stay)?;
    }
    let mut losses = Vec::new();
    let epochs = options.tuning.epochs;
    let keeping = Kept::of(context, ("shrink", model), options)?;
    if epochs > 0 {
        let training = Training {
            stage: "shrink",
            network: small.network(),
            values: small.values(),
            masks: Vec::new(),
            data: small.prepare(context.train)?,
            kept: keeping.as_ref(),
        };
        let tuned = tune(context, &options.tuning, training, (epochs, None))?;
        losses = tuned.losses;
        small = Model::new(
            small.network().clone(),
            small.inputs().clone(),
            tuned.values,
        )?;
    }
    let log = ShrinkLog {
        cut: log,
        kept,
        removed: options.layers.clone(),
        parameters: [model.n_parameters(), small.n_parameters()],
        multiply_adds: [multiply_adds(model), multiply_adds(&small)],
        bytes: [model.bytes(), small.bytes()],
        losses,
    };
    Ok((small, log))
}

/// Of one sample.
fn multiply_adds(model: &Model) -> u64 {
    let layers = model.network().summary();
    layers.iter().map(|one| one.multiply_adds).sum()
}
