//! Logits of samples, from parameters that are on the device already.

use std::collections::BTreeMap;

use crate::autograd::{Gradients, Tape};
use crate::data::Dataset;
use crate::engine::{Engine, Plan};
use crate::eval;
use crate::models::{Mode, Network, Pass, PassTensor, Role, SampleKind};
use crate::ops::{ActivationPath, OpError, Weight};
use crate::record::{Recording, Tensor};
use crate::tensor::{DType, HostTensor};

use super::TrainError;
use super::origin::{Origin, Watched, find, watched_on};
use super::step::{Held, held};

/// How well a network does on a set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// Mean cross-entropy, without smoothing.
    pub loss: f64,
    /// Share of samples whose class has the highest logit.
    pub accuracy: f64,
}

/// A forward pass as one plan.
pub struct Predictor {
    plan: Box<dyn Plan>,
    sample_shape: Vec<usize>,
    n_features: usize,
    n_classes: usize,
    samples: SampleKind,
    /// Rows of logits of a sample.
    n_predictions: usize,
    batch: usize,
    bytes: u64,
    input_bytes: u64,
}

impl std::fmt::Debug for Predictor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Predictor")
            .field("sample_shape", &self.sample_shape)
            .field("n_classes", &self.n_classes)
            .field("batch", &self.batch)
            .finish_non_exhaustive()
    }
}

/// One of a network's tensors on an engine, for passes without gradients.
#[derive(Debug, Clone)]
pub enum Placed {
    /// f32, of the network's shape.
    Dense(Tensor),
    /// A weight as a matrix of its outputs, in any format.
    Weight {
        /// Where it is.
        weight: Weight,
        /// How activations meet it.
        activations: ActivationPath,
    },
}

/// Appends an evaluation of `x [batch, sample_shape..]` over the network's tensors, in its order, and returns
/// the logits `[batch predictions, classes]`, with the bytes of all results on the way.
///
/// # Errors
/// [`OpError`] for tensors that do not fit the network.
pub fn record_evaluation(
    recording: &mut Recording,
    network: &dyn Network,
    tensors: &[Placed],
    x: &Tensor,
) -> Result<(Tensor, u64), OpError> {
    let mut tape = Tape::over(std::mem::take(recording));
    let roles = network.tensors().into_iter().map(|one| one.role);
    let tensors: Vec<PassTensor> = tensors
        .iter()
        .zip(roles)
        .map(|(placed, role)| match (placed, role) {
            (Placed::Dense(tensor), Role::Parameter) => {
                PassTensor::Parameter(tape.constant(tensor))
            }
            (Placed::Dense(tensor), Role::Statistics) => PassTensor::Statistics {
                tensor: tensor.clone(),
                is_frozen: true,
            },
            (
                Placed::Weight {
                    weight,
                    activations,
                },
                _,
            ) => PassTensor::Weight {
                weight: weight.clone(),
                activations: *activations,
            },
        })
        .collect();
    let x = tape.constant(x);
    let mut pass = Pass::new(&mut tape, &tensors, Mode::Evaluation);
    let logits = network.record(&mut pass, x);
    let logits = logits.map(|logits| (tape.value(logits).clone(), tape.result_bytes()));
    // Also after an error: what was recorded before is the caller's.
    *recording = tape.into_recording();
    logits
}

impl Predictor {
    /// A plan over `tensors`, the network's in its order, that takes `batch` samples at a time. It sees what
    /// later steps make of them.
    ///
    /// # Errors
    /// [`TrainError`] for tensors that do not fit the network, and what the engine says.
    pub fn new(
        engine: &dyn Engine,
        network: &dyn Network,
        tensors: &[Tensor],
        batch: usize,
    ) -> Result<Self, TrainError> {
        let placed: Vec<Placed> = tensors.iter().cloned().map(Placed::Dense).collect();
        Self::of_placed(engine, network, &placed, batch)
    }

    /// The same over tensors of any format.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_placed(
        engine: &dyn Engine,
        network: &dyn Network,
        tensors: &[Placed],
        batch: usize,
    ) -> Result<Self, TrainError> {
        let sample_shape = network.sample_shape().to_vec();
        let mut recording = Recording::new();
        let samples = network.samples();
        let x = samples.input(&mut recording, DType::F32, &batched(batch, &sample_shape));
        let (logits, results) = record_evaluation(&mut recording, network, tensors, &x)?;
        recording.download(&logits);
        let inputs = recording.inputs().iter();
        let input_bytes = inputs.map(|input| input.buffer().bytes()).sum::<u64>();
        Ok(Self {
            bytes: results + input_bytes,
            input_bytes,
            plan: engine.prepare(&recording)?,
            n_features: sample_shape.iter().product(),
            sample_shape,
            n_classes: network.n_classes(),
            samples,
            n_predictions: network.n_predictions(),
            batch,
        })
    }

    /// Device bytes of the plan's intermediates.
    pub fn intermediate_bytes(&self) -> u64 {
        self.plan.intermediate_bytes()
    }

    /// Bytes of a pass's inputs and results.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of a pass's inputs.
    pub(super) const fn input_bytes(&self) -> u64 {
        self.input_bytes
    }

    /// Logits `[n predictions, classes]` of `inputs [n, sample_shape..]`, row-major. The last pass is filled up with
    /// zeros, whose logits are dropped.
    ///
    /// # Errors
    /// [`TrainError::OtherData`] unless samples are whole, and what the engine says.
    pub fn logits(&self, inputs: &[f32]) -> Result<Vec<f32>, TrainError> {
        if !inputs.len().is_multiple_of(self.n_features) {
            return Err(TrainError::OtherData {
                what: "inputs have elements",
                found: vec![inputs.len()],
                expected: self.sample_shape.clone(),
            });
        }
        let of_a_sample = self.n_predictions * self.n_classes;
        let mut logits = Vec::with_capacity(inputs.len() / self.n_features * of_a_sample);
        for chunk in inputs.chunks(self.batch * self.n_features) {
            let shape = batched(self.batch, &self.sample_shape);
            let x = if chunk.len() == self.batch * self.n_features {
                self.samples.host(DType::F32, shape, chunk)?
            } else {
                let mut padded = chunk.to_vec();
                padded.resize(self.batch * self.n_features, 0.0);
                self.samples.host(DType::F32, shape, &padded)?
            };
            let made = self.plan.run(&[x])?;
            let made = made.first().map(HostTensor::to_f32).transpose()?;
            let counted = chunk.len() / self.n_features * of_a_sample;
            logits.extend(made.unwrap_or_default().into_iter().take(counted));
        }
        Ok(logits)
    }

    /// Where the first number that is not finite comes from in the pass that takes sample `row` of a set.
    pub(super) fn origin(
        &self,
        engine: &dyn Engine,
        (network, tensors): (&dyn Network, &[Held]),
        (data, row): (&Dataset, usize),
    ) -> Result<Option<Origin>, TrainError> {
        let mut tape = Tape::new();
        let shape = batched(self.batch, &self.sample_shape);
        let x = self.samples.input(tape.recording(), DType::F32, &shape);
        let (mut on_tape, mut parameters) = (Vec::new(), BTreeMap::new());
        for one in tensors {
            on_tape.push(match one.role {
                Role::Parameter => {
                    let var = tape.constant(&one.value);
                    parameters.insert(var, one.name.clone());
                    PassTensor::Parameter(var)
                }
                Role::Statistics => PassTensor::Statistics {
                    tensor: one.value.clone(),
                    is_frozen: true,
                },
            });
        }
        let x_var = tape.constant(&x);
        let mut pass = Pass::new(&mut tape, &on_tape, Mode::Evaluation);
        network.record(&mut pass, x_var)?;
        let watched = watched_on(&tape, &Gradients::default(), &parameters);
        let mut before = held(tensors);
        before.push(Watched::new(&x, "the batch"));
        let batch = row / self.batch * self.batch * self.n_features;
        let mut values = data.inputs()[batch..].to_vec();
        values.resize(self.batch * self.n_features, 0.0);
        let inputs = [self.samples.host(DType::F32, shape, &values)?];
        let recording = tape.into_recording();
        let all = (&recording, recording.commands().len());
        let names = (before.as_slice(), watched.as_slice());
        Ok(find(engine, all, &inputs, names)?)
    }

    /// Judges the network on a set.
    ///
    /// # Errors
    /// [`TrainError::OtherData`] for samples of another shape or another number of classes,
    /// [`TrainError::Eval`] for logits that are not finite, and what the engine says.
    pub fn evaluate(&self, data: &Dataset) -> Result<Evaluation, TrainError> {
        check_kind(
            data,
            &self.sample_shape,
            [self.n_classes, self.n_predictions],
        )?;
        let logits = self.logits(data.inputs())?;
        Ok(Evaluation {
            loss: eval::cross_entropy(&logits, data.labels(), self.n_classes)?,
            accuracy: eval::accuracy(&logits, data.labels(), self.n_classes)?,
        })
    }
}

/// The shape of a batch.
pub(super) fn batched(batch: usize, sample_shape: &[usize]) -> Vec<usize> {
    [&[batch], sample_shape].concat()
}

/// Refuses data of another kind than the network's.
pub(super) fn check_data(data: &Dataset, network: &dyn Network) -> Result<(), TrainError> {
    let counts = [network.n_classes(), network.n_predictions()];
    check_kind(data, network.sample_shape(), counts)
}

fn check_kind(
    data: &Dataset,
    sample_shape: &[usize],
    [n_classes, n_predictions]: [usize; 2],
) -> Result<(), TrainError> {
    let refuse = |what, found: &[usize], expected: &[usize]| {
        Err(TrainError::OtherData {
            what,
            found: found.to_vec(),
            expected: expected.to_vec(),
        })
    };
    if data.sample_shape() != sample_shape {
        return refuse("samples have shape", data.sample_shape(), sample_shape);
    }
    if data.n_classes() != n_classes {
        return refuse("classes of the data:", &[data.n_classes()], &[n_classes]);
    }
    if data.labels_per_sample() != n_predictions {
        let found = data.labels_per_sample();
        return refuse("labels of a sample:", &[found], &[n_predictions]);
    }
    Ok(())
}
