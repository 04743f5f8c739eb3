//! A model on an engine: its weights uploaded in the format they have, forward passes with the kernels of that
//! format, and what these passes take and get right.

mod judge;
mod measure;
mod verify;

use thiserror::Error;

use super::model::{Activations, Model, ModelFileError, Stored};
use crate::engine::{Engine, EngineError};
use crate::eval::EvalError;
use crate::models::Network;
use crate::ops::{ActivationPath, Routes, Weight};
use crate::record::Recording;
use crate::tensor::{DType, TensorError};
use crate::train::{Placed, Predictor, TrainError, record_evaluation};

pub use judge::{Judge, Judged};
pub use measure::{MeasureOptions, Measured, OpenEngine, measure};

/// Why a model cannot be run or measured.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DeployError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A forward pass that cannot be recorded or run.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A file that cannot be read.
    #[error(transparent)]
    Model(#[from] ModelFileError),
    /// Logits that cannot be judged.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// Values that do not form a tensor.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A set without samples.
    #[error("there are no samples to measure with")]
    NoSamples,
}

/// A model on an engine.
pub struct Deployed<'a> {
    engine: &'a dyn Engine,
    model: &'a Model,
    placed: Vec<Placed>,
}

impl std::fmt::Debug for Deployed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deployed")
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

impl<'a> Deployed<'a> {
    /// Uploads a model. `routes` say which pruned weights are written out with their zeros because a dense
    /// kernel is faster; without an entry they stay pruned.
    ///
    /// # Errors
    /// [`DeployError`]: what the engine says, and weights that cannot be uploaded.
    pub fn new(
        engine: &'a dyn Engine,
        model: &'a Model,
        routes: &Routes,
    ) -> Result<Self, DeployError> {
        let mut uploads = Recording::new();
        let mut placed = Vec::new();
        for (_, stored) in model.tensors() {
            placed.push(place(&mut uploads, stored, routes));
        }
        engine.run(&uploads)?;
        Ok(Self {
            engine,
            model,
            placed,
        })
    }

    /// The model.
    pub const fn model(&self) -> &Model {
        self.model
    }

    /// A forward pass of `batch` samples at a time.
    ///
    /// # Errors
    /// [`DeployError::Train`]: what does not fit, and what the engine says.
    pub fn predictor(&self, batch: usize) -> Result<Predictor, DeployError> {
        Ok(Predictor::of_placed(
            self.engine,
            self.model.network(),
            &self.placed,
            batch,
        )?)
    }

    /// A forward pass over prepared samples `[n, sample_shape..]`, with their upload in it.
    fn recorded(&self, inputs: &[f32]) -> Result<Recording, DeployError> {
        let network = self.model.network();
        let features: usize = network.sample_shape().iter().product();
        if inputs.len() < features.max(1) {
            return Err(DeployError::NoSamples);
        }
        let batch = inputs.len() / features;
        let shape = [&[batch], network.sample_shape()].concat();
        let mut recording = Recording::new();
        let refused = |error| DeployError::Train(TrainError::Op(Box::new(error)));
        let given = &inputs[..batch * features];
        let x = network.samples().host(DType::F32, shape, given);
        let x = recording.upload(&x.map_err(refused)?);
        record_evaluation(&mut recording, network, &self.placed, &x).map_err(refused)?;
        Ok(recording)
    }

    /// Logits `[n, classes]` of prepared samples `[n, sample_shape..]`.
    ///
    /// # Errors
    /// As [`Self::predictor`].
    pub fn logits(&self, inputs: &[f32]) -> Result<Vec<f32>, DeployError> {
        let features: usize = self.model.network().sample_shape().iter().product();
        let samples = inputs.len() / features.max(1);
        let batch = samples.clamp(1, LOGITS_BATCH);
        Ok(self.predictor(batch)?.logits(inputs)?)
    }
}

/// Samples of a pass when only the results matter.
const LOGITS_BATCH: usize = 256;

fn place(uploads: &mut Recording, stored: &Stored, routes: &Routes) -> Placed {
    let path = |activations: &Activations| match activations {
        Activations::Float => ActivationPath::Float,
        Activations::Int8PerRow => ActivationPath::Int8PerRow,
        Activations::Int8PerBlock(size) => ActivationPath::Int8PerBlock(*size),
        Activations::Int8Static(scale) => ActivationPath::Int8Static(*scale),
    };
    match stored {
        Stored::Float(tensor) => Placed::Dense(uploads.upload(tensor)),
        Stored::Levels { .. } => match stored.levels_as_int8() {
            Some(int8) => Placed::Weight {
                weight: Weight::upload_quantized(uploads, &int8),
                activations: ActivationPath::Float,
            },
            None => Placed::Dense(uploads.upload(&stored.values())),
        },
        Stored::Quantized {
            matrix,
            activations,
            ..
        } => Placed::Weight {
            weight: Weight::upload_quantized(uploads, matrix.matrix()),
            activations: path(activations),
        },
        Stored::Sparse {
            matrix,
            activations,
            ..
        } => Placed::Weight {
            weight: Weight::upload_pruned(uploads, matrix, LOGITS_BATCH as u32, routes),
            activations: path(activations),
        },
    }
}
