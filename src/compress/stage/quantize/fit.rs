//! What a weight becomes whose scheme has limits of its own: pruned weights, whose values are few and lie where their
//! layout says, codes of levels, and ranges by divergence, which need many values. All of it is known from the weight.

use crate::compress::CompressError;
use crate::compress::model::{Activations, Stored, storage};
use crate::compress::quantize::{Action, Codebook, KL_MIN_VALUES, Linear, Misfit, Planned, Width};
use crate::num::{Dense, Granularity, SparseMatrix, ValueFormat};

use super::super::StageError;
use super::layer::kept_scheme;
use super::{Codes, QuantizeScheme};

/// int8 with a scale for each channel, which fits every weight.
const INT8: Linear = Linear::symmetric(Width::Int8, Granularity::Channel);

fn misfit(name: &str, problem: String, fix: String) -> StageError {
    let tensor = name.to_owned();
    CompressError::Misfit {
        tensor,
        problem,
        fix,
    }
    .into()
}

/// A pruned weight of this shape.
pub(super) fn pruned(
    (name, shape): (&str, &[usize]),
    matrix: &SparseMatrix,
    (codes, policy): (&Codes, Misfit),
) -> Result<Planned, StageError> {
    let values = matrix.decompress();
    let dense = Dense {
        name,
        n: matrix.n(),
        k: matrix.k(),
        weights: &values,
    };
    let layout = matrix.format().layout;
    let fits = |linear: &Linear| -> Result<SparseMatrix, String> {
        let scheme = kept_scheme(linear).ok_or_else(|| {
            "values of a pruned weight have symmetric int8 or int4 codes over their full range"
                .to_owned()
        })?;
        let made = SparseMatrix::compress(&dense, layout, ValueFormat::Quantized(scheme));
        made.map_err(|error| {
            let text = error.to_string();
            let reason = text.strip_prefix(&format!("{name}: ")).unwrap_or(&text);
            format!("pruned to {layout}: {reason}")
        })
    };
    let planned = |linear: Linear, matrix: SparseMatrix, reason: String| {
        let stored = Stored::Sparse {
            shape: shape.to_vec(),
            matrix,
            activations: Activations::Float,
        };
        let parts = storage::parts(name, &stored)?;
        Ok(Planned {
            name: name.to_owned(),
            action: Action::Quantize(linear),
            reason,
            bytes: parts
                .iter()
                .map(|(_, part)| part.bytes().len() as u64)
                .sum(),
        })
    };
    let asked = match codes {
        Codes::Linear(linear) => Some(linear),
        Codes::Levels(..) => None,
    };
    let problem = match asked.map(|linear| (linear, fits(linear))) {
        Some((linear, Ok(matrix))) => {
            return planned(
                *linear,
                matrix,
                format!("kept values as {linear}, as asked"),
            );
        }
        Some((_, Err(problem))) => problem,
        None => "values of a pruned weight have no codes of levels".to_owned(),
    };
    let groups = [32, 16, 8].map(Granularity::Group);
    let others = [Granularity::Channel, Granularity::Tensor];
    let find = |width: Width, shares: &[Granularity]| {
        shares.iter().find_map(|&granularity| {
            let usual = Linear::symmetric(width, granularity);
            let scale_type = asked.map_or(usual.scale_type, |asked| asked.scale_type);
            let linear = Linear {
                scale_type,
                ..usual
            };
            Some((linear, fits(&linear).ok()?))
        })
    };
    let all = [&groups[..], &others].concat();
    let smaller = asked.and_then(|asked| find(asked.width, &groups));
    let any = || smaller.clone().or_else(|| find(Width::Int8, &all));
    let found = match policy {
        Misfit::Error => None,
        Misfit::SmallerGroup => smaller.clone(),
        Misfit::Int8 => find(Width::Int8, &all),
    };
    match found {
        Some((linear, matrix)) => planned(linear, matrix, format!("{linear} instead: {problem}")),
        None => {
            let fix = match any() {
                Some((other, _)) if smaller.is_some() => format!(
                    "use {other}, set the misfit policy to smaller-group or int8, or keep the layer"
                ),
                Some((other, _)) => {
                    format!("use {other}, set the misfit policy to int8, or keep the layer")
                }
                None => "keep the layer".to_owned(),
            };
            Err(misfit(name, problem, fix))
        }
    }
}

/// A weight `[n, k]` as codes of levels.
pub(super) fn levels(
    (name, [n, k]): (&str, [usize; 2]),
    (codebook, granularity): (Codebook, Granularity),
    policy: Misfit,
) -> Result<Planned, StageError> {
    let planned = |granularity: Granularity, why: String| {
        let scales = match granularity {
            Granularity::Tensor => 1,
            Granularity::Channel => n,
            Granularity::Group(size) => n * (k / (size as usize).max(1)),
        };
        let codes = (n as u64 * k as u64 * u64::from(codebook.bits())).div_ceil(8);
        Planned {
            name: name.to_owned(),
            action: Action::Levels(codebook, granularity),
            reason: format!("{why}; weights widened at load, no kernel of its own"),
            bytes: codes + 4 * scales as u64,
        }
    };
    let shown = |granularity| QuantizeScheme::levels(codebook, granularity).to_string();
    let asked = shown(granularity);
    let size = match granularity {
        Granularity::Group(size) if !k.is_multiple_of(size as usize) => size as usize,
        _ => return Ok(planned(granularity, format!("codes of {asked} on disk"))),
    };
    let problem = format!("k = {k} is not a multiple of group_size {size}");
    // Of four, where there is one: such groups have a kernel's lanes.
    let fits = |one: &usize| k.is_multiple_of(*one);
    let mut sizes = (1..=size.min(k)).rev();
    let fours = sizes.clone().filter(|one| one.is_multiple_of(4));
    let smaller = fours
        .clone()
        .find(fits)
        .or_else(|| sizes.find(fits))
        .unwrap_or(1);
    let smaller = Granularity::Group(u32::try_from(smaller).unwrap_or(1));
    match policy {
        Misfit::SmallerGroup => {
            let why = format!(
                "codes of {} on disk instead of {asked}: {problem}",
                shown(smaller)
            );
            Ok(planned(smaller, why))
        }
        Misfit::Int8 => int8_instead((name, [n, k]), &asked, &problem),
        Misfit::Error => {
            let fix = format!(
                "use {}, set the misfit policy to smaller-group or int8, or keep the layer",
                shown(smaller)
            );
            Err(misfit(name, problem, fix))
        }
    }
}

/// What becomes of a weight with too few values for its range by divergence; `None` where they are enough.
pub(super) fn divergence(
    (name, extents): (&str, [usize; 2]),
    values: &[f32],
    (linear, policy): (&Linear, Misfit),
) -> Result<Option<Planned>, StageError> {
    let count = values.iter().filter(|&&value| value != 0.0).count() as u64;
    if count == 0 || count >= KL_MIN_VALUES {
        return Ok(None);
    }
    let problem = format!(
        "{count} weights are not 0, and a range by divergence takes {KL_MIN_VALUES} at the least"
    );
    match policy {
        Misfit::Int8 => int8_instead((name, extents), &format!("{linear}-kl"), &problem).map(Some),
        Misfit::SmallerGroup | Misfit::Error => {
            let fix = "use mse or no range in the scheme, set the misfit policy to int8, or keep the layer";
            Err(misfit(name, problem, fix.to_owned()))
        }
    }
}

fn int8_instead(
    (name, [n, k]): (&str, [usize; 2]),
    asked: &str,
    problem: &str,
) -> Result<Planned, StageError> {
    Ok(Planned {
        name: name.to_owned(),
        action: Action::Quantize(INT8),
        reason: format!("{INT8} instead of {asked}: {problem}"),
        bytes: n as u64 * (k as u64 + u64::from(INT8.scale_type.bits()) / 8),
    })
}
