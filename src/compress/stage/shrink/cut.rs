//! Units cut out of a network, and the same network with these units at 0, which is what the cut one must equal.

use super::coupling::{Share, Units};
use crate::compress::Weights;
use crate::compress::model::{Model, matrix_shape};
use crate::compress::prune::{cut_columns, cut_rows};
use crate::compress::stage::StageError;
use crate::models::{Layer, NamedTensor, Network as _, Sequential};
use crate::tensor::HostTensor;

/// The model without the units that `kept` does not list, all f32.
///
/// # Errors
/// [`StageError`] for units that are not ascending or past the last, and none.
pub fn cut(model: &Model, units: &Units, kept: &[usize]) -> Result<Model, StageError> {
    let network = model.network();
    let mut layers = network.layers().to_vec();
    let mut values = model.values();
    for share in &units.shares {
        let (layer, per_unit, is_rows) = match *share {
            Share::Rows { layer, per_unit } => (layer, per_unit, true),
            Share::Columns { layer, per_unit } => (layer, per_unit, false),
        };
        for (name, value) in tensors_of(&mut values, layer, is_rows) {
            let shape = value.shape().to_vec();
            let [n, k] = matrix_shape(&shape);
            let old = value.to_f32()?;
            let (made, shape) = if is_rows {
                let weights = Weights::new(name, n / per_unit, k * per_unit, &old)?;
                let made = cut_rows(&weights, kept)?;
                (made, [&[kept.len() * per_unit], &shape[1..]].concat())
            } else {
                let made = cut_columns(&Weights::new(name, n, k, &old)?, per_unit, kept)?;
                let inputs = made.len() / n / shape[2..].iter().product::<usize>();
                (made, [&[n, inputs], &shape[2..]].concat())
            };
            *value = HostTensor::from_f32(shape, &made)?;
        }
        if is_rows {
            match &mut layers[layer] {
                Layer::Linear { outputs, .. }
                | Layer::Conv2d {
                    outputs, groups: 1, ..
                } => {
                    *outputs = kept.len();
                }
                Layer::Conv2d {
                    outputs, groups, ..
                } => {
                    let multiplier = *outputs / *groups;
                    *groups = kept.len() * per_unit / multiplier;
                    *outputs = kept.len() * per_unit;
                }
                _ => {}
            }
        }
    }
    let description = described(network);
    let network = Sequential::new(description, network.sample_shape(), layers)?;
    Ok(Model::new(network, model.inputs().clone(), values)?)
}

/// The model at its size, with everything of the units that `kept` does not list at 0, in the layers that make them,
/// on the way, and in the layer that reads them.
///
/// # Errors
/// [`StageError::Tensor`] for a tensor that is no f32.
pub fn zeroed(model: &Model, units: &Units, kept: &[usize]) -> Result<Model, StageError> {
    let mut values = model.values();
    for share in &units.shares {
        let (layer, per_unit, is_rows) = match *share {
            Share::Rows { layer, per_unit } => (layer, per_unit, true),
            Share::Columns { layer, per_unit } => (layer, per_unit, false),
        };
        for (name, value) in tensors_of(&mut values, layer, is_rows) {
            if name.ends_with(".running") {
                // A variance of 0 would be another function; with factor and addend 0 it does not matter.
                continue;
            }
            let [_, k] = matrix_shape(value.shape());
            let mut made = value.to_f32()?;
            for (index, value) in made.iter_mut().enumerate() {
                let unit = if is_rows { index / k } else { index % k } / per_unit;
                if kept.binary_search(&unit).is_err() {
                    *value = 0.0;
                }
            }
            *value = HostTensor::from_f32(value.shape().to_vec(), &made)?;
        }
    }
    Ok(Model::new(
        model.network().clone(),
        model.inputs().clone(),
        values,
    )?)
}

/// What of a layer has rows, or columns, of units.
fn tensors_of(
    values: &mut [NamedTensor],
    layer: usize,
    is_rows: bool,
) -> impl Iterator<Item = (&str, &mut HostTensor)> {
    let prefix = format!("{layer}.");
    values.iter_mut().filter_map(move |(name, value)| {
        let name = name.as_str();
        let part = name.strip_prefix(&prefix)?;
        (is_rows || part == "weight").then_some((name, value))
    })
}

/// What the network is called once it is no longer what it was.
pub(super) fn described(network: &Sequential) -> String {
    let name = network.describe();
    match name.strip_suffix(" cut") {
        Some(_) => name,
        None => format!("{name} cut"),
    }
}
