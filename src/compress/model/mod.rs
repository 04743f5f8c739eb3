//! A network with its weights in whatever format they have: what every step takes and gives.
//!
//! On disk it is a folder: `model.safetensors` with the tensors, `config.json` with the network, how its inputs
//! are prepared and how each weight is stored, and `receipt.json` with where it came from. Weights are laid out
//! as compressed-tensors has them where it has a layout for the scheme; see [`storage`].

mod config;
mod error;
mod load;
mod save;
pub mod storage;
mod stored;

use crate::data::{Dataset, Standardization};
use crate::models::{NamedTensor, Network, Role, SampleKind, Sequential, TensorSpec};

pub use config::{ARTIFACT_FORMAT, CONFIG_FILE, MODEL_FILE, RECEIPT_FILE};
pub use error::ModelFileError;
pub use save::{Saved, is_model};
pub use stored::{Activations, Stored, matrix_shape};

/// A network with its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    network: Sequential,
    inputs: Standardization,
    /// In the network's order, as many as it has.
    tensors: Vec<(String, Stored)>,
}

impl Model {
    /// A network with values as they were trained, f32, in the network's order. `inputs` say how samples are
    /// prepared.
    ///
    /// # Errors
    /// [`ModelFileError::OtherTensors`] for values of other names or shapes than the network's.
    pub fn new(
        network: Sequential,
        inputs: Standardization,
        values: Vec<NamedTensor>,
    ) -> Result<Self, ModelFileError> {
        let stored = values
            .into_iter()
            .map(|(name, value)| (name, Stored::Float(value)));
        Self::of_stored(network, inputs, stored.collect())
    }

    /// A network with weights in any format, in the network's order.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_stored(
        network: Sequential,
        inputs: Standardization,
        tensors: Vec<(String, Stored)>,
    ) -> Result<Self, ModelFileError> {
        let specs = network.tensors();
        for index in 0..specs.len().max(tensors.len()) {
            let needed = specs
                .get(index)
                .map(|one| (one.name.as_str(), one.shape.as_slice()));
            let found = tensors
                .get(index)
                .map(|(name, one)| (name.as_str(), one.shape()));
            if needed != found {
                let shown = |one: Option<(&str, &[usize])>| {
                    one.map_or_else(
                        || "nothing".to_owned(),
                        |(name, shape)| format!("{name} {shape:?}"),
                    )
                };
                return Err(ModelFileError::OtherTensors {
                    index,
                    found: shown(found),
                    expected: shown(needed),
                });
            }
        }
        Ok(Self {
            network,
            inputs,
            tensors,
        })
    }

    /// The network.
    pub const fn network(&self) -> &Sequential {
        &self.network
    }

    /// How samples are prepared.
    pub const fn inputs(&self) -> &Standardization {
        &self.inputs
    }

    /// Its tensors, in the network's order.
    pub fn tensors(&self) -> &[(String, Stored)] {
        &self.tensors
    }

    /// A tensor by its name.
    pub fn tensor(&self, name: &str) -> Option<&Stored> {
        self.tensors
            .iter()
            .find(|(one, _)| one == name)
            .map(|(_, stored)| stored)
    }

    /// Puts another value or format in the place of a tensor.
    ///
    /// # Errors
    /// [`ModelFileError::NoTensor`] for a name the network does not have, [`ModelFileError::OtherTensors`] for
    /// another shape.
    pub fn set(&mut self, name: &str, stored: Stored) -> Result<(), ModelFileError> {
        let Some(index) = self.tensors.iter().position(|(one, _)| one == name) else {
            return Err(ModelFileError::NoTensor {
                name: name.to_owned(),
                names: self.names(),
            });
        };
        let (_, old) = &mut self.tensors[index];
        if old.shape() != stored.shape() {
            return Err(ModelFileError::OtherTensors {
                index,
                found: format!("{name} {:?}", stored.shape()),
                expected: format!("{name} {:?}", old.shape()),
            });
        }
        *old = stored;
        Ok(())
    }

    /// Names of all tensors, for messages.
    fn names(&self) -> String {
        let names: Vec<&str> = self.tensors.iter().map(|(name, _)| name.as_str()).collect();
        names.join(", ")
    }

    /// Every tensor as f32: codes times scales, pruned weights 0.
    pub fn values(&self) -> Vec<NamedTensor> {
        let tensors = self.tensors.iter();
        tensors
            .map(|(name, stored)| (name.clone(), stored.values()))
            .collect()
    }

    /// What can be stored in fewer bits: parameters of two and more dimensions, which are weights of layers, in
    /// order. Biases, normalizations and the rows of an embedding stay f32.
    pub fn weights(&self) -> Vec<TensorSpec> {
        let is_weight = |one: &TensorSpec| one.role == Role::Parameter && one.shape.len() >= 2;
        let n_embeddings = match self.network.samples() {
            SampleKind::Tokens { .. } => 1,
            SampleKind::Values => 0,
        };
        let tensors = self.network.tensors().into_iter();
        tensors.skip(n_embeddings).filter(is_weight).collect()
    }

    /// Samples prepared as the network expects them.
    ///
    /// # Errors
    /// [`ModelFileError::Data`] for samples of another size.
    pub fn prepare(&self, data: &Dataset) -> Result<Dataset, ModelFileError> {
        let mut prepared = data.clone();
        self.inputs.apply(&mut prepared)?;
        Ok(prepared)
    }

    /// Bytes of all tensors as they are stored on a device.
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().map(|(_, stored)| stored.bytes()).sum()
    }

    /// Weights, biases and the like.
    pub fn n_parameters(&self) -> u64 {
        let count =
            |(_, stored): &(String, Stored)| stored.shape().iter().product::<usize>() as u64;
        self.tensors.iter().map(count).sum()
    }
}

/// `X` of a tensor `X.weight`: what its parts in a file are named after.
pub fn layer_of(name: &str) -> &str {
    name.strip_suffix(".weight").unwrap_or(name)
}

#[cfg(test)]
mod tests;
