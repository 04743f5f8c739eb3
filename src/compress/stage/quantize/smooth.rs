//! Factors of a layer's inputs, moved into whatever makes them.

use crate::compress::model::{Model, Stored, matrix_shape};
use crate::compress::quantize::Smoothing;
use crate::compress::{CompressError, Weights};
use crate::models::Layer;
use crate::ops::nn::Curve;
use crate::tensor::HostTensor;

use super::super::StageError;

/// The layer that makes the inputs of linear layer `index`, if only what commutes with positive factors lies
/// between them; otherwise why there is none.
pub(super) fn maker(model: &Model, index: usize) -> Result<usize, String> {
    let layers = model.network().layers();
    if !matches!(layers.get(index), Some(Layer::Linear { .. })) {
        return Err(
            "inputs of convolutions keep their scale: a channel is in several columns".to_owned(),
        );
    }
    for at in (0..index).rev() {
        match layers[at] {
            Layer::Activation(Curve::Relu | Curve::LeakyRelu { .. })
            | Layer::Dropout { .. }
            | Layer::Identity => {}
            Layer::Linear { .. } | Layer::BatchNorm { .. } => {
                let name = format!("{at}.weight");
                return match model.tensor(&name) {
                    Some(Stored::Float(_)) => Ok(at),
                    Some(_) | None => Err(format!("{name} before it has its format already")),
                };
            }
            other => {
                return Err(format!(
                    "factors do not move past layer {at}, a {}",
                    other.kind()
                ));
            }
        }
    }
    Err("its inputs are the samples".to_owned())
}

/// Divides what layer `at` makes by factors.
pub(super) fn divide(
    model: &mut Model,
    at: usize,
    smoothing: &Smoothing,
) -> Result<(), StageError> {
    for part in ["weight", "bias"] {
        let name = format!("{at}.{part}");
        let Some(Stored::Float(tensor)) = model.tensor(&name) else {
            continue;
        };
        let (shape, values) = (tensor.shape().to_vec(), tensor.to_f32()?);
        let divided = if shape.len() >= 2 {
            let [n, k] = matrix_shape(&shape);
            smoothing.divide_rows(&Weights::new(&name, n, k, &values)?)?
        } else {
            smoothing.divide(&name, &values)?
        };
        model.set(&name, Stored::Float(HostTensor::from_f32(shape, &divided)?))?;
    }
    Ok(())
}

/// Values of codes of scaled columns, as values of the columns before.
pub(super) fn unscaled(
    name: &str,
    mut values: Vec<f32>,
    smoothing: &Smoothing,
) -> Result<Vec<f32>, CompressError> {
    let factors = smoothing.factors();
    for row in values.chunks_exact_mut(factors.len().max(1)) {
        for (value, factor) in row.iter_mut().zip(factors) {
            *value /= factor;
        }
    }
    CompressError::check_finite(name, "unscaled weight", &values)?;
    Ok(values)
}
