//! What can be trained: tensors with names, roles and first values, and a forward pass over them.

use std::fmt;
use std::path::Path;

use crate::autograd::Var;
use crate::io::safetensors::SafetensorsFile;
use crate::ops::OpError;
use crate::tensor::HostTensor;

use super::{First, LayerSummary, ModelError, Pass, SampleKind, check_values};

/// A tensor's name and value.
pub type NamedTensor = (String, HostTensor);

/// What a tensor of a network is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Trained: it has a gradient.
    Parameter,
    /// Running statistics of batch normalization, f32 `[channels, 2]`: forward passes of training move
    /// them, evaluation reads them, files hold them.
    Statistics,
}

/// A tensor that a network needs, f32.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorSpec {
    /// Its name in files.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Its shape.
    pub shape: Vec<usize>,
    /// What it begins as.
    pub first: First,
}

/// A classifier.
pub trait Network: fmt::Debug {
    /// Its kind and what sets it apart from others of that kind, as the metadata of files say it.
    fn describe(&self) -> String;

    /// Shape of one sample.
    fn sample_shape(&self) -> &[usize];

    /// Classes: the extent of the logits.
    fn n_classes(&self) -> usize;

    /// What samples are made of.
    fn samples(&self) -> SampleKind {
        SampleKind::Values
    }

    /// Rows of logits that a sample gives, each with a label of its own: 1, or one for each token.
    fn n_predictions(&self) -> usize {
        1
    }

    /// Its tensors, in the order that [`Network::record`] finds them in the pass.
    fn tensors(&self) -> Vec<TensorSpec>;

    /// Its layers, with what each costs.
    fn summary(&self) -> Vec<LayerSummary>;

    /// Appends the forward pass on `x [batch, sample_shape..]` and returns logits `[batch predictions, classes]`.
    ///
    /// # Errors
    /// [`OpError`] for an x or tensors of other shapes.
    fn record(&self, pass: &mut Pass<'_>, x: Var) -> Result<Var, OpError>;

    /// Names and first values of all tensors, drawn from a seed, in the order of [`Network::tensors`].
    ///
    /// # Errors
    /// [`ModelError::TooLarge`] or [`ModelError::NoMemory`] when the host has no memory of that size.
    fn parameters(&self, seed: u64) -> Result<Vec<NamedTensor>, ModelError> {
        let draw = |(index, spec): (usize, TensorSpec)| {
            let count = tensor_elements(&spec)?;
            let values = spec.first.values(seed, index as u32, count);
            let values = values.map_err(|_| ModelError::NoMemory {
                name: spec.name.clone(),
                shape: spec.shape.clone(),
            })?;
            Ok((spec.name, HostTensor::from_f32(spec.shape, &values)?))
        };
        self.tensors().into_iter().enumerate().map(draw).collect()
    }
}

/// Elements of a tensor, which kernels number in 32 bits.
///
/// # Errors
/// [`ModelError::TooLarge`] for more than `u32::MAX`.
pub(super) fn tensor_elements(spec: &TensorSpec) -> Result<usize, ModelError> {
    let product = |product: usize, &extent: &usize| product.checked_mul(extent);
    let count = spec.shape.iter().try_fold(1, product);
    count
        .filter(|&count| u32::try_from(count).is_ok())
        .ok_or_else(|| ModelError::TooLarge {
            what: format!("tensor `{}` of", spec.name),
            extents: spec.shape.clone(),
        })
}

/// Reads the values of a network's tensors from a safetensors file, whose other tensors are left alone;
/// f16, bf16 and f64 become f32. Running statistics may be there as PyTorch stores them: where `X.running` is
/// missing, `X.running_mean` and `X.running_var`, each `[channels]`, are taken.
///
/// # Errors
/// [`ModelError`] naming the file and the tensor that is missing, has another shape or type, or holds what
/// is not finite.
pub fn load_parameters(
    network: &dyn Network,
    path: impl AsRef<Path>,
) -> Result<Vec<NamedTensor>, ModelError> {
    let file = SafetensorsFile::open(path)?;
    let load = |spec: TensorSpec| {
        let tensor = load_tensor(&file, &spec)?;
        Ok((spec.name, tensor))
    };
    network.tensors().into_iter().map(load).collect()
}

/// Tensors of a network as files of trained networks hold them, under PyTorch's names: running statistics `X.running`
/// become `X.running_mean` and `X.running_var`.
///
/// # Errors
/// [`ModelError::OtherValues`] for values that are not those of the network.
pub fn file_tensors(
    network: &dyn Network,
    values: &[NamedTensor],
) -> Result<Vec<NamedTensor>, ModelError> {
    check_values(network, values)?;
    let mut made = Vec::new();
    for (spec, (name, value)) in network.tensors().iter().zip(values) {
        if spec.role == Role::Parameter {
            made.push((name.clone(), value.clone()));
            continue;
        }
        let pairs = value.to_f32()?;
        for (part, suffix) in ["mean", "var"].into_iter().enumerate() {
            let half: Vec<f32> = pairs.iter().skip(part).step_by(2).copied().collect();
            let half = HostTensor::from_f32(vec![half.len()], &half)?;
            made.push((format!("{name}_{suffix}"), half));
        }
    }
    Ok(made)
}

/// The value of one tensor of a network, as [`load_parameters`] takes it.
///
/// # Errors
/// As [`load_parameters`].
pub fn load_tensor(file: &SafetensorsFile, spec: &TensorSpec) -> Result<HostTensor, ModelError> {
    let has = |name: &str| file.tensors().iter().any(|entry| entry.name == name);
    let (mean, variance) = (format!("{}_mean", spec.name), format!("{}_var", spec.name));
    if spec.role == Role::Parameter || has(&spec.name) || !(has(&mean) && has(&variance)) {
        return load_f32(file, &spec.name, &spec.shape);
    }
    let channels = &spec.shape[..1];
    let mean = load_f32(file, &mean, channels)?.to_f32()?;
    let variance = load_f32(file, &variance, channels)?.to_f32()?;
    let pairs = mean.into_iter().zip(variance);
    let values: Vec<f32> = pairs
        .flat_map(|(mean, variance)| [mean, variance])
        .collect();
    Ok(HostTensor::from_f32(spec.shape.clone(), &values)?)
}

/// One tensor of a file as f32, of a known shape.
///
/// # Errors
/// [`ModelError`] naming the file and the tensor when it is missing, has another shape or type, or holds what is
/// not finite.
pub fn load_f32(
    file: &SafetensorsFile,
    name: &str,
    shape: &[usize],
) -> Result<HostTensor, ModelError> {
    finite_f32(file.path(), name, &file.tensor(name)?, shape)
}

/// A tensor of `file` as f32, once its shape, type and values are those of parameters.
pub(super) fn finite_f32(
    file: &Path,
    name: &str,
    tensor: &HostTensor,
    shape: &[usize],
) -> Result<HostTensor, ModelError> {
    if tensor.shape() != shape {
        return Err(ModelError::OtherShape {
            file: file.to_owned(),
            name: name.to_owned(),
            found: tensor.shape().to_vec(),
            expected: shape.to_vec(),
        });
    }
    let values = tensor.to_f32().map_err(|reason| ModelError::OtherType {
        file: file.to_owned(),
        name: name.to_owned(),
        reason: Box::new(reason),
    })?;
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        return Err(ModelError::NotFinite {
            file: file.to_owned(),
            name: name.to_owned(),
            index,
            value: values[index],
        });
    }
    Ok(HostTensor::from_f32(shape.to_vec(), &values)?)
}
