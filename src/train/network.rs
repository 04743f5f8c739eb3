//! What can be trained: names and first values of parameters, and a forward pass over them.

use std::fmt;
use std::path::Path;

use crate::autograd::{Tape, Var};
use crate::io::safetensors::SafetensorsFile;
use crate::ops::OpError;
use crate::tensor::HostTensor;

use super::TrainError;

/// A parameter's name and value.
pub type NamedTensor = (String, HostTensor);

/// A classifier.
pub trait Network: fmt::Debug {
    /// Shape of one sample.
    fn sample_shape(&self) -> &[usize];

    /// Classes: the extent of the logits.
    fn n_classes(&self) -> usize;

    /// Names, and first values drawn from a seed, all f32, in the order that [`Network::record`] takes
    /// them.
    ///
    /// # Errors
    /// [`TrainError::Tensor`] when the host has no memory of that size.
    fn parameters(&self, seed: u64) -> Result<Vec<NamedTensor>, TrainError>;

    /// Appends the forward pass on `x [batch, sample_shape..]` and returns logits `[batch, classes]`.
    ///
    /// # Errors
    /// [`OpError`] for an x or parameters of other shapes.
    fn record(&self, tape: &mut Tape, x: Var, parameters: &[Var]) -> Result<Var, OpError>;
}

/// Reads the values of a network's parameters from a safetensors file, whose other tensors are left alone;
/// f16, bf16 and f64 become f32.
///
/// # Errors
/// [`TrainError`] naming the file and the tensor that is missing, has another shape or type, or holds what
/// is not finite.
pub fn load_parameters(
    network: &dyn Network,
    path: impl AsRef<Path>,
) -> Result<Vec<NamedTensor>, TrainError> {
    let file = SafetensorsFile::open(path)?;
    let needed = network.parameters(0)?;
    let load = |(name, like): (String, HostTensor)| {
        let tensor = load_f32(&file, &name, like.shape())?;
        Ok((name, tensor))
    };
    needed.into_iter().map(load).collect()
}

/// One tensor as f32, of a known shape.
pub(super) fn load_f32(
    file: &SafetensorsFile,
    name: &str,
    shape: &[usize],
) -> Result<HostTensor, TrainError> {
    let tensor = file.tensor(name)?;
    if tensor.shape() != shape {
        return Err(TrainError::OtherShape {
            file: file.path().to_owned(),
            name: name.to_owned(),
            found: tensor.shape().to_vec(),
            expected: shape.to_vec(),
        });
    }
    let values = tensor.to_f32().map_err(|reason| TrainError::OtherType {
        file: file.path().to_owned(),
        name: name.to_owned(),
        reason: Box::new(reason),
    })?;
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        return Err(TrainError::NotFinite {
            file: file.path().to_owned(),
            name: name.to_owned(),
            index,
            value: values[index],
        });
    }
    Ok(HostTensor::from_f32(shape.to_vec(), &values)?)
}
