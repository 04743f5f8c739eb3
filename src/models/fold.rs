//! Batch normalization folded into the layer before it, for a network that is trained.
//!
//! With mean `m`, variance `v`, factor `g` and addend `a` of a channel, `(w x + b - m) g / sqrt(v + e) + a` is
//! `w' x + b'` for `w' = w s`, `b' = (b - m) s + a` and `s = g / sqrt(v + e)`. Both are computed in f64 and
//! rounded once.

use crate::tensor::HostTensor;

use super::{Layer, ModelError, NamedTensor, Network, Sequential};

/// The network with every batch normalization that follows a linear layer or a convolution folded into it, and
/// the values of its tensors; both compute in evaluation what `network` with `values` computes. Other layers keep
/// their index, and so their names: [`Layer::Identity`] stands where a normalization was.
///
/// # Errors
/// [`ModelError::OtherValues`] for values that are not those of the network.
pub fn fold(
    network: &Sequential,
    values: &[NamedTensor],
) -> Result<(Sequential, Vec<NamedTensor>), ModelError> {
    check_values(network, values)?;
    let mut layers = network.layers().to_vec();
    let mut values: Vec<NamedTensor> = values.to_vec();
    for index in 1..layers.len() {
        let Layer::BatchNorm { epsilon, .. } = layers[index] else {
            continue;
        };
        let bias = format!("{}.bias", index - 1);
        let had_bias = match &mut layers[index - 1] {
            Layer::Linear { has_bias, .. } | Layer::Conv2d { has_bias, .. } => {
                std::mem::replace(has_bias, true)
            }
            _ => continue,
        };
        layers[index] = Layer::Identity;
        let mut take = |part: &str| -> Result<Vec<f32>, ModelError> {
            let name = format!("{index}.{part}");
            let at = position(&values, &name)?;
            Ok(values.remove(at).1.to_f32()?)
        };
        let (gamma, beta, running) = (take("weight")?, take("bias")?, take("running")?);
        let at = position(&values, &format!("{}.weight", index - 1))?;
        let old_bias = if had_bias {
            let bias = values.remove(position(&values, &bias)?);
            bias.1.to_f32()?
        } else {
            vec![0.0; gamma.len()]
        };
        let scales: Vec<f64> = (gamma.iter().zip(running.chunks_exact(2)))
            .map(|(&gamma, pair)| {
                f64::from(gamma) / (f64::from(pair[1]) + f64::from(epsilon)).sqrt()
            })
            .collect();
        let mut weight = values[at].1.to_f32()?;
        let row = weight.len() / gamma.len();
        for (row, scale) in weight.chunks_exact_mut(row).zip(&scales) {
            for w in row {
                *w = (f64::from(*w) * scale) as f32;
            }
        }
        let channels = old_bias.iter().zip(&beta).zip(running.chunks_exact(2));
        let new_bias: Vec<f32> = channels
            .zip(&scales)
            .map(|(((&bias, &beta), pair), scale)| {
                ((f64::from(bias) - f64::from(pair[0])) * scale + f64::from(beta)) as f32
            })
            .collect();
        let shape = values[at].1.shape().to_vec();
        values[at].1 = HostTensor::from_f32(shape, &weight)?;
        let new_bias = HostTensor::from_f32(vec![new_bias.len()], &new_bias)?;
        values.insert(at + 1, (bias, new_bias));
    }
    let description = format!("{} folded", network.describe());
    let folded = Sequential::new(description, network.sample_shape(), layers)?;
    check_values(&folded, &values)?;
    Ok((folded, values))
}

fn position(values: &[NamedTensor], name: &str) -> Result<usize, ModelError> {
    let found = values.iter().position(|one| one.0 == name);
    found.ok_or_else(|| ModelError::OtherValues {
        index: values.len(),
        found: "nothing".to_owned(),
        expected: name.to_owned(),
    })
}

/// Refuses values whose names, types or shapes are not those of the network.
///
/// # Errors
/// [`ModelError::OtherValues`] naming the first.
pub fn check_values(network: &dyn Network, values: &[NamedTensor]) -> Result<(), ModelError> {
    let specs = network.tensors();
    for index in 0..specs.len().max(values.len()) {
        let needed = specs.get(index);
        let needed = needed.map(|one| format!("{} f32 {:?}", one.name, one.shape));
        let found = values
            .get(index)
            .map(|(name, value)| format!("{name} {} {:?}", value.dtype(), value.shape()));
        if needed != found {
            let nothing = || "nothing".to_owned();
            return Err(ModelError::OtherValues {
                index,
                found: found.unwrap_or_else(nothing),
                expected: needed.unwrap_or_else(nothing),
            });
        }
    }
    Ok(())
}
