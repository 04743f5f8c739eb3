//! Whole layers taken out.

use super::cut::described;
use crate::compress::model::Model;
use crate::compress::stage::StageError;
use crate::compress::stage::prune::setting;
use crate::models::{Layer, Network as _, Sequential};

/// The model without a layer whose result has the shape of its input, and without the batch normalization behind it,
/// whose statistics are of that layer. [`Layer::Identity`] stands in their place, so that other layers keep their
/// names.
///
/// # Errors
/// [`StageError::Setting`] naming the layer: there is none, or it changes the shape of samples.
pub fn remove_layer(model: &Model, index: usize) -> Result<Model, StageError> {
    let network = model.network();
    let mut layers = network.layers().to_vec();
    let what = || format!("layer {index} to remove");
    let Some(kind) = layers.get(index).map(Layer::kind) else {
        let allowed = format!("0 to {}", layers.len().saturating_sub(1));
        return Err(setting(what(), "no layer", allowed));
    };
    let shapes: Vec<Vec<usize>> = std::iter::once(network.sample_shape().to_vec())
        .chain(network.summary().into_iter().map(|one| one.output))
        .collect();
    let (input, output) = (&shapes[index], &shapes[index + 1]);
    if input != output {
        let given = format!("{kind} from {input:?} to {output:?}");
        return Err(setting(
            what(),
            given,
            "a layer that keeps the shape of samples",
        ));
    }
    let mut gone = vec![index];
    if matches!(layers[index], Layer::Linear { .. } | Layer::Conv2d { .. })
        && matches!(layers.get(index + 1), Some(Layer::BatchNorm { .. }))
    {
        gone.push(index + 1);
    }
    let mut values = model.values();
    for &one in &gone {
        layers[one] = Layer::Identity;
        let prefix = format!("{one}.");
        values.retain(|(name, _)| !name.starts_with(&prefix));
    }
    let network = Sequential::new(described(network), network.sample_shape(), layers)?;
    Ok(Model::new(network, model.inputs().clone(), values)?)
}
