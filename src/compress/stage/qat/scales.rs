//! Scales of quantization-aware training: what learned ones begin with, and the codes that are stored under them.

use std::collections::BTreeMap;

use crate::compress::model::{Model, Stored, matrix_shape};
use crate::compress::quantize::{
    Action, Linear, LinearMatrix, Planned, RangeChoice, round_to_nearest,
};
use crate::compress::{CompressError, Weights};
use crate::num::quant::fake::{fake_quantize, stored_learned_scale};
use crate::num::{
    CodeRange, Granularity, QuantizedMatrix, QuantizedParts, ScaleRule, ScaleType, Zero,
};
use crate::ops::nn::{Coding, ScaleScope, ScalesOf};

use super::super::StageError;
use super::QatScales;

/// Coding and scales under which training sees a weight as [`round_to_nearest`] stores it under `linear`, bit for
/// bit. `None` for zero points, and ranges that leave values out.
pub fn coding_of(linear: &Linear) -> Option<(Coding, ScalesOf)> {
    if linear.range != RangeChoice::MinMax {
        return None;
    }
    let scales = ScalesOf {
        rule: linear.rule,
        scale_type: linear.scale_type,
    };
    Some((learned_coding_of(linear)?, scales))
}

/// The coding under which training sees a weight whose scales are learned. `None` for zero points.
pub fn learned_coding_of(linear: &Linear) -> Option<Coding> {
    if linear.rule.zero() != Zero::Symmetric {
        return None;
    }
    let scope = match linear.granularity {
        Granularity::Tensor => ScaleScope::Tensor,
        Granularity::Channel => ScaleScope::Channel,
        Granularity::Group(size) => ScaleScope::Group(size),
    };
    let range = CodeRange::of_bits(linear.width.bits()).ok()?;
    let range = match linear.rule {
        ScaleRule::RestrictedAbsMax => range.narrow(),
        ScaleRule::FullRangeAbsMax
        | ScaleRule::SignedAbsMax
        | ScaleRule::MinMax
        | ScaleRule::MinMaxFloat => range,
    };
    Some(Coding { scope, range })
}

/// The scales that learning begins with: of the range that loses the least squares, where the scheme does not name
/// another that leaves values out.
fn first_scales(weights: &Weights<'_>, linear: &Linear) -> Result<Vec<f32>, CompressError> {
    let range = match linear.range {
        RangeChoice::MinMax => RangeChoice::MSE,
        other => other,
    };
    let nearest = round_to_nearest(weights, &Linear { range, ..*linear })?;
    Ok(nearest.matrix().scales().to_vec())
}

/// What training stores of a weight `[n, k]` under scales that it learned, as magnitudes; `first` are those it began
/// with, for their signs.
pub(super) fn learned_matrix(
    weights: &Weights<'_>,
    linear: &Linear,
    (first, learned): (&[f32], &[f32]),
) -> Result<Option<LinearMatrix>, CompressError> {
    let Some(coding) = learned_coding_of(linear) else {
        return Ok(None);
    };
    let scale_type = linear.scale_type;
    let scales: Vec<f32> = learned
        .iter()
        .zip(first)
        .map(|(&learned, first)| {
            stored_learned_scale(learned, first.is_sign_negative(), scale_type)
        })
        .collect();
    let (n, k) = (weights.n(), weights.k());
    let run = (n * k) / scales.len().max(1);
    let code = |(index, &value): (usize, &f32)| {
        fake_quantize(value, scales[index / run.max(1)], 0, coding.range).code as i8
    };
    let codes: Vec<i8> = weights.values().iter().enumerate().map(code).collect();
    let parts = QuantizedParts {
        bits: linear.width.container(),
        granularity: linear.granularity,
        n,
        k,
        codes: &codes,
        scales: &scales,
        scale_type,
        zeros: None,
    };
    let matrix = QuantizedMatrix::from_codes(weights.name(), &parts)?;
    Ok(Some(LinearMatrix::new(matrix, linear.width, 1)))
}

/// What learned scales begin with, by the weight's name.
pub(super) type Firsts = BTreeMap<String, (Vec<f32>, ScaleType)>;

/// What the scales of planned weights begin with, where they are learned.
pub(super) fn firsts(
    model: &Model,
    planned: &[Planned],
    scales: QatScales,
) -> Result<Firsts, StageError> {
    let mut firsts = Firsts::new();
    for one in planned {
        let (Action::Quantize(linear), Some(Stored::Float(value)), QatScales::Learned) =
            (one.action, model.tensor(&one.name), scales)
        else {
            continue;
        };
        let [n, k] = matrix_shape(value.shape());
        let values = value.to_f32()?;
        let first = first_scales(&Weights::new(&one.name, n, k, &values)?, &linear)?;
        firsts.insert(one.name.clone(), (first, linear.scale_type));
    }
    Ok(firsts)
}
