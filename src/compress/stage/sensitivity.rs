//! How much each layer matters: what a network loses when one layer alone is changed.
//!
//! A share of the training set, the same for one seed, is set aside and judges; the test set is not touched. Any
//! change will do: pruning to several sparsities ([`prune_sensitivity`]), or codes of several widths.

use serde::Serialize;

use super::prune::{
    PruneAmount, PruneMethod, PruneOptions, PrunePlan, PruneStorage, prune, prune_plan, setting,
};
use super::{Context, StageError};
use crate::compress::deploy::Deployed;
use crate::compress::model::Model;
use crate::data::Dataset;
use crate::data::split::stratified_split;
use crate::eval::{accuracy, cross_entropy};
use crate::models::Network as _;
use crate::ops::Routes;

/// What judges.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScanOptions {
    /// Share of the training set that is set aside, in (0, 1).
    pub validation_share: f64,
    /// At most this many of its samples judge.
    pub samples: usize,
}

impl Default for ScanOptions {
    /// A tenth, at most 1000 samples.
    fn default() -> Self {
        Self {
            validation_share: 0.1,
            samples: 1000,
        }
    }
}

/// How good a network is on what was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Judged {
    /// Share of samples whose class has the highest logit.
    pub accuracy: f64,
    /// Mean cross-entropy.
    pub loss: f64,
}

/// A change of one layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Changed {
    /// Name of its weight.
    pub layer: String,
    /// The change: `80%`, `int4-g32`.
    pub level: String,
    /// The network with this change alone.
    pub judged: Judged,
    /// Accuracy before minus accuracy after; below 0 where the change helps.
    pub drop: f64,
    /// Bytes of the network on a device.
    pub bytes: u64,
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sensitivity {
    /// The network as it is.
    pub baseline: Judged,
    /// Samples that judged.
    pub samples: usize,
    /// Changes, layer after layer in the network's order, levels in the order given.
    pub changes: Vec<Changed>,
}

impl Sensitivity {
    /// Layers from the one that loses most to the one that loses least, each with its largest rise of the loss over
    /// all levels: the loss tells layers apart where accuracy, a count of samples, does not. Of equals the earlier
    /// layer is first.
    #[must_use]
    pub fn ranking(&self) -> Vec<(&str, f64)> {
        let mut ranked: Vec<(&str, f64)> = Vec::new();
        for one in &self.changes {
            let rise = one.judged.loss - self.baseline.loss;
            match ranked.iter_mut().find(|(layer, _)| *layer == one.layer) {
                Some((_, worst)) => *worst = worst.max(rise),
                None => ranked.push((&one.layer, rise)),
            }
        }
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked
    }
}

/// Changes one layer of a model to a level: the model, the weight's name, the level's index.
pub type Change<'a> = &'a dyn Fn(&Model, &str, usize) -> Result<Model, StageError>;

/// The part of the training set that judges, prepared for a model.
///
/// # Errors
/// [`StageError`]: a share that cannot be set aside, no samples.
pub fn validation_set(
    context: &Context<'_>,
    model: &Model,
    options: &ScanOptions,
) -> Result<Dataset, StageError> {
    if options.samples == 0 {
        return Err(setting("samples that judge", 0, "at least 1"));
    }
    let split = stratified_split(context.train, options.validation_share, context.seed)?;
    // Spread over the whole, which may be sorted by class.
    let (all, n) = (
        split.validation.len(),
        split.validation.len().min(options.samples),
    );
    let rows: Vec<usize> = (0..n).map(|at| split.validation[at * all / n]).collect();
    Ok(model.prepare(&context.train.select_rows(&rows)?)?)
}

/// Judges a model on prepared samples.
///
/// # Errors
/// [`StageError`]: samples that do not fit, and what the engine says.
pub fn judge(context: &Context<'_>, model: &Model, data: &Dataset) -> Result<Judged, StageError> {
    let deployed = Deployed::new(context.engine, model, &Routes::default())?;
    let logits = deployed.logits(data.inputs())?;
    let classes = model.network().n_classes();
    Ok(Judged {
        accuracy: accuracy(&logits, data.labels(), classes)?,
        loss: cross_entropy(&logits, data.labels(), classes)?,
    })
}

/// Changes each of `layers`, names of weights, alone to each of `levels`, and judges.
///
/// # Errors
/// [`StageError`]: as of [`validation_set`] and [`judge`], what `change` says, and [`StageError::Stopped`].
pub fn scan(
    context: &Context<'_>,
    model: &Model,
    options: &ScanOptions,
    (layers, levels, change): (&[String], &[String], Change<'_>),
) -> Result<Sensitivity, StageError> {
    let data = validation_set(context, model, options)?;
    let baseline = judge(context, model, &data)?;
    let mut changes = Vec::new();
    let all = layers.len() * levels.len();
    for layer in layers {
        for (index, level) in levels.iter().enumerate() {
            let done = [changes.len(), all];
            context.tell("sensitivity", format!("{layer} at {level}"), done)?;
            let changed = change(model, layer, index)?;
            let judged = judge(context, &changed, &data)?;
            changes.push(Changed {
                layer: layer.clone(),
                level: level.clone(),
                judged,
                drop: baseline.accuracy - judged.accuracy,
                bytes: changed.bytes(),
            });
        }
    }
    Ok(Sensitivity {
        baseline,
        samples: data.n_samples(),
        changes,
    })
}

/// Prunes each layer alone to each of these sparsities, by magnitude and without training. A layer that a
/// pattern does not fit stays as it is at that level.
///
/// # Errors
/// As [`scan`]; an amount out of range.
pub fn prune_sensitivity(
    context: &Context<'_>,
    model: &Model,
    amounts: &[PruneAmount],
    options: &ScanOptions,
) -> Result<Sensitivity, StageError> {
    let mut fits: Vec<PrunePlan> = Vec::new();
    for &amount in amounts {
        let options = PruneOptions::new(PruneMethod::Magnitude, amount)?;
        fits.push(prune_plan(model, &options)?);
    }
    let fits_at = |level: usize, layer: &str| {
        let targets = &fits[level].targets;
        targets.iter().any(|one| one.name == layer)
    };
    let names: Vec<String> = model.weights().into_iter().map(|one| one.name).collect();
    let is_scanned = |name: &&String| (0..amounts.len()).any(|level| fits_at(level, name));
    let layers: Vec<String> = names.iter().filter(is_scanned).cloned().collect();
    let levels: Vec<String> = amounts.iter().map(ToString::to_string).collect();
    let quiet = Context {
        watch: &|_| true,
        kept: None,
        ..*context
    };
    let change = |model: &Model, layer: &str, level: usize| {
        if !fits_at(level, layer) {
            return Ok(model.clone());
        }
        let options = PruneOptions {
            keep: names.iter().filter(|one| *one != layer).cloned().collect(),
            storage: PruneStorage::Dense,
            ..PruneOptions::new(PruneMethod::Magnitude, amounts[level])?
        };
        Ok(prune(&quiet, model, &options)?.0)
    };
    scan(context, model, options, (&layers, &levels, &change))
}
