//! Scales of inputs that are found beforehand: one for each layer, from the range that samples of the training set
//! give its inputs in the network as it is stored, with its weights as their codes say and factors moved.

use std::collections::BTreeMap;

use crate::compress::model::{Activations, Model, Stored, storage};
use crate::compress::quantize::{RangeChoice, Width};
use crate::num::StaticScale;

use super::super::calibrate::{LayerInputs, calibrate};
use super::super::{Context, StageError};
use super::log::QuantizeLog;

/// Refuses what is too little to choose ranges by before any weight is quantized. The network as it will be stored gives
/// layers as many values; which of them are zero may differ a little, so that [`find_scales`] looks again.
pub(super) fn check_ranges(
    inputs: &BTreeMap<String, LayerInputs>,
    (names, range): (&[&str], RangeChoice),
) -> Result<(), StageError> {
    for name in names {
        if let Some(seen) = inputs.get(*name) {
            seen.calibration.check_choice(name, range)?;
        }
    }
    Ok(())
}

/// Gives the codes of these weights inputs in int8 under one scale each: the larger magnitude of the chosen range is the
/// largest code. What became of each layer is in its log.
pub(super) fn find_scales(
    context: &Context<'_>,
    model: &mut Model,
    (names, range): (&[&str], RangeChoice),
    (samples, log): (usize, &mut QuantizeLog),
) -> Result<(), StageError> {
    let inputs = calibrate(context, model, samples)?;
    for name in names {
        let (Some(seen), Some(Stored::Quantized { shape, matrix, .. })) =
            (inputs.get(*name), model.tensor(name).cloned())
        else {
            continue;
        };
        let seen = &seen.calibration;
        let chosen = seen.range(name, Width::Int8, range)?;
        let scale = StaticScale::of_largest(name, chosen.amax())?;
        let note = if scale == StaticScale::OF_ZEROS {
            log::warn!("{name}: inputs were zero in every sample");
            format!(
                "inputs were zero in every sample: their scale is {:e}",
                scale.get()
            )
        } else {
            format!(
                "inputs to {:.4} of {:.4} in int8, scale {:.4e}",
                chosen.amax(),
                seen.full_range().amax(),
                scale.get()
            )
        };
        let stored = Stored::Quantized {
            shape,
            matrix,
            activations: Activations::Int8Static(scale),
        };
        if let Some(layer) = log.layers.iter_mut().find(|one| one.name == **name) {
            layer.notes.push(note);
            layer.format = stored.format();
            let parts = storage::parts(name, &stored)?;
            layer.bytes = parts
                .iter()
                .map(|(_, part)| part.bytes().len() as u64)
                .sum();
            layer.bits_per_weight = 8.0 * layer.bytes as f64 / (layer.n * layer.k).max(1) as f64;
        }
        model.set(name, stored)?;
    }
    Ok(())
}
