//! Which weights are pruned, and the masks that scores make of them.

use super::options::{
    PruneAmount, PruneMethod, PruneMisfit, PruneOptions, PruneScope, PruneStorage, setting,
};
use super::store;
use crate::compress::CompressError;
use crate::compress::model::{Model, Stored, matrix_shape};
use crate::compress::prune::tighten;
use crate::compress::stage::StageError;
use crate::models::{NamedTensor, matches};
use crate::num::Values;
use crate::num::mask::{Amount, Mask, MaskError, Pattern, Scores, Units, global, select};

/// A weight that is pruned, as a matrix of its outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PruneTarget {
    /// Its name.
    pub name: String,
    /// Position among the network's tensors.
    pub index: usize,
    /// Rows: outputs.
    pub n: usize,
    /// Columns: what an output reads.
    pub k: usize,
}

/// What pruning would touch, and what it would leave and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrunePlan {
    /// Weights that are pruned, in the network's order.
    pub targets: Vec<PruneTarget>,
    /// Weights that stay, each with the reason.
    pub kept: Vec<(String, String)>,
}

/// What [`super::prune`] would do to a model. Touches nothing.
///
/// # Errors
/// [`StageError`]: options that do not go together, a pattern of the keep-list that no weight has, a quantized
/// weight, a layer that the pattern does not fit where the options say error, and nothing left to prune.
pub fn prune_plan(model: &Model, options: &PruneOptions) -> Result<PrunePlan, StageError> {
    options.check()?;
    let weights = model.weights();
    check_patterns(&options.keep, weights.iter().map(|one| one.name.as_str()))?;
    let mut plan = PrunePlan::default();
    for (index, (name, stored)) in model.tensors().iter().enumerate() {
        if !weights.iter().any(|one| one.name == *name) {
            continue;
        }
        if let Some(pattern) = options.keep.iter().find(|one| matches(one, name)) {
            let reason = format!("its name matches `{pattern}`");
            plan.kept.push((name.clone(), reason));
            continue;
        }
        let is_float = match stored {
            Stored::Float(_) => true,
            Stored::Quantized { .. } | Stored::Levels { .. } => false,
            Stored::Sparse { matrix, .. } => matches!(matrix.values(), Values::Float(_)),
        };
        if !is_float {
            let what = format!("format of {name}");
            let allowed = "f32: weights are pruned before they are quantized";
            return Err(setting(what, stored.format(), allowed));
        }
        let [n, k] = matrix_shape(stored.shape());
        match pattern(options, options.amount.share(), k).contest(name, n, k) {
            Err(MaskError::Group { group, .. })
                if options.misfit == PruneMisfit::Keep && group <= crate::num::mask::MAX_GROUP =>
            {
                let reason =
                    format!("each output reads {k} weights, which groups of {group} do not divide");
                plan.kept.push((name.clone(), reason));
            }
            Err(error) => return Err(error.into()),
            Ok(_) => plan.targets.push(PruneTarget {
                name: name.clone(),
                index,
                n,
                k,
            }),
        }
    }
    if plan.targets.is_empty() {
        let kept: Vec<String> = plan
            .kept
            .iter()
            .map(|(name, reason)| format!("{name}: {reason}"))
            .collect();
        return Err(setting("weights to prune", kept.join("; "), "at least one"));
    }
    if let PruneStorage::Sparse(values) = options.storage {
        let network = model.network();
        for target in &plan.targets {
            if !store::is_grouped(network, &target.name) {
                store::check(target, options.amount, values)?;
            }
        }
    }
    Ok(plan)
}

/// Refuses a pattern that fits no name.
pub(in crate::compress::stage) fn check_patterns<'a>(
    patterns: &[String],
    names: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), StageError> {
    let unused = |pattern: &&String| !names.clone().any(|name| matches(pattern, name));
    match patterns.iter().find(unused) {
        None => Ok(()),
        Some(pattern) => {
            let names: Vec<&str> = names.collect();
            Err(setting(
                "keep",
                pattern,
                format!("names as in {}", names.join(", ")),
            ))
        }
    }
}

/// The pattern of one layer at a sparsity on the way to the one asked for; `k` is the length of its rows.
fn pattern(options: &PruneOptions, sparsity: f64, k: usize) -> Pattern {
    match (options.amount, options.scope) {
        (
            PruneAmount::NOfM {
                keep,
                group,
                vector,
            },
            _,
        ) => {
            // On the way, groups lose their weights one by one.
            let dropped = (sparsity * group as f64).round() as usize;
            Pattern::NOfM {
                keep: group.saturating_sub(dropped).max(keep),
                group,
                vector,
            }
        }
        (PruneAmount::Blocks { units, .. }, _) => {
            Pattern::Blocks(units, Amount::Sparsity(sparsity))
        }
        // Wanda's own count: zeros are rounded down.
        (PruneAmount::Share(_), PruneScope::Row) if options.method == PruneMethod::Wanda => {
            let zeros = (k as f64 * sparsity).floor() as usize;
            Pattern::PerRow(Amount::Keep(k - zeros.min(k)))
        }
        (PruneAmount::Share(_), PruneScope::Row) => Pattern::PerRow(Amount::Sparsity(sparsity)),
        (PruneAmount::Share(_), PruneScope::Layer | PruneScope::Global) => {
            Pattern::Tensor(Amount::Sparsity(sparsity))
        }
    }
}

/// Masks of all targets at a sparsity, each a subset of the one before.
pub(super) fn choose(
    options: &PruneOptions,
    targets: &[PruneTarget],
    (scores, previous): (&[Vec<f32>], &[Mask]),
    sparsity: f64,
) -> Result<Vec<Mask>, StageError> {
    let mut tightened = Vec::with_capacity(targets.len());
    for ((target, scores), previous) in targets.iter().zip(scores).zip(previous) {
        tightened.push(tighten(&target.name, previous, scores)?);
    }
    let named: Vec<Scores<'_>> = targets
        .iter()
        .zip(&tightened)
        .map(|(target, scores)| Scores::new(&target.name, target.n, target.k, scores))
        .collect::<Result<_, _>>()?;
    let units = match options.amount {
        PruneAmount::Blocks { units, .. } => units,
        PruneAmount::Share(_) | PruneAmount::NOfM { .. } => Units::ELEMENTS,
    };
    let chosen = if options.scope == PruneScope::Global {
        global(&named, units, Amount::Sparsity(sparsity))?
    } else {
        let one = |(target, scores): (&PruneTarget, &Scores<'_>)| {
            select(scores, &pattern(options, sparsity, target.k))
        };
        targets
            .iter()
            .zip(&named)
            .map(one)
            .collect::<Result<_, _>>()?
    };
    // A contest that keeps more than there was would let weights come back.
    let held = chosen.iter().zip(previous);
    let held = held.map(|(mask, previous)| mask.and(previous));
    Ok(held.collect::<Result<_, _>>()?)
}

/// Masks that keep what is not 0: what was pruned before stays pruned.
pub(super) fn not_zero(
    targets: &[PruneTarget],
    values: &[NamedTensor],
) -> Result<Vec<Mask>, StageError> {
    let mut masks = Vec::with_capacity(targets.len());
    for one in targets {
        let weights = values[one.index].1.to_f32()?;
        let keeps = |row, column| weights[row * one.k + column] != 0.0;
        masks.push(Mask::from_fn(one.n, one.k, keeps));
    }
    Ok(masks)
}

/// `|w - w0| / |w0|` in the Frobenius norm; 0 for two matrices of zeros.
pub(in crate::compress::stage) fn relative_error(
    name: &str,
    before: &[f32],
    after: &[f32],
) -> Result<f64, CompressError> {
    CompressError::check_len(name, "weights", after.len(), before.len())?;
    let (mut noise, mut signal) = (0.0, 0.0);
    for (&before, &after) in before.iter().zip(after) {
        noise += (f64::from(before) - f64::from(after)).powi(2);
        signal += f64::from(before).powi(2);
    }
    Ok(if noise == 0.0 {
        0.0
    } else {
        (noise / signal).sqrt()
    })
}
