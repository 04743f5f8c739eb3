//! Steps of training. Forward pass, loss, backward pass and optimizer are one recording, prepared once and
//! replayed; parameters and the optimizer's state stay on the device between replays.

use crate::autograd::Tape;
use crate::data::{Batch, Dataset};
use crate::engine::{Engine, Plan};
use crate::kernels::FloatType;
use crate::models::{Mode, NamedTensor, Network, Pass, PassTensor, Role};
use crate::ops::nn::{Indices, Target, row_loss};
use crate::ops::optim::{
    GradientOptions, Parameter, ScaleState, Step, coefficients, control, plain_control, step, table,
};
use crate::record::{Recording, Tensor};
use crate::tensor::{DType, HostTensor};

use super::predictor::{batched, check_data};
use super::{Checkpoint, Evaluation, Predictor, TrainError, TrainOptions};

/// What training begins with.
#[derive(Debug, Clone)]
pub enum Start {
    /// First values drawn from the seed of the options.
    Seed,
    /// These values, in the network's order: of a trained network, say.
    Parameters(Vec<NamedTensor>),
    /// Where other training stopped.
    Checkpoint(Checkpoint),
}

/// One of the network's tensors on the device.
#[derive(Debug)]
struct Held {
    name: String,
    value: Tensor,
    role: Role,
    is_frozen: bool,
    /// `None` for a frozen one, and for running statistics.
    trained: Option<Parameter>,
}

/// A network in training on an engine.
pub struct Trainer<'a> {
    engine: &'a dyn Engine,
    network: &'a dyn Network,
    options: TrainOptions,
    tensors: Vec<Held>,
    labels: Indices,
    plan: Box<dyn Plan>,
    predictor: Predictor,
    n_steps: u64,
}

impl std::fmt::Debug for Trainer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trainer")
            .field("network", &self.network)
            .field("options", &self.options)
            .field("n_steps", &self.n_steps)
            .finish_non_exhaustive()
    }
}

impl<'a> Trainer<'a> {
    /// Uploads what training starts with, and prepares a step and an evaluation.
    ///
    /// # Errors
    /// [`TrainError`] for options out of range, patterns that freeze nothing or everything, values that do
    /// not fit the network, a checkpoint of other training, and what the engine says.
    pub fn new(
        engine: &'a dyn Engine,
        network: &'a dyn Network,
        options: TrainOptions,
        start: Start,
    ) -> Result<Self, TrainError> {
        options.check()?;
        let specs = network.tensors();
        let frozen = options.frozen(&specs)?;
        let like = network.parameters(options.seed)?;
        let (values, states, n_steps) = match start {
            Start::Seed => (like, None, 0),
            Start::Parameters(values) => {
                check_parameters(&like, &values)?;
                (values, None, 0)
            }
            Start::Checkpoint(checkpoint) => {
                checkpoint.check(&options)?;
                check_parameters(&like, &checkpoint.parameters)?;
                (
                    checkpoint.parameters,
                    Some(checkpoint.states),
                    checkpoint.n_steps,
                )
            }
        };
        let mut uploads = Recording::new();
        let mut tensors = Vec::new();
        for (index, ((name, value), spec)) in values.into_iter().zip(specs).enumerate() {
            let value = uploads.upload(&value);
            let (role, is_frozen) = (spec.role, frozen[index]);
            let trained = match &states {
                _ if is_frozen || role == Role::Statistics => None,
                None => Some(Parameter::new(&mut uploads, &options.optimizer, &value)?),
                Some(states) => {
                    let state = states.get(index).and_then(Option::as_ref);
                    let state = state.map(|state| uploads.upload(state));
                    let optimizer = &options.optimizer;
                    Some(Parameter::with_state(optimizer, &value, state.as_ref())?)
                }
            };
            tensors.push(Held {
                name,
                value,
                role,
                is_frozen,
                trained,
            });
        }
        engine.run(&uploads)?;
        let (recording, labels) = record_step(network, &options, &tensors)?;
        let values: Vec<Tensor> = tensors.iter().map(|one| one.value.clone()).collect();
        let batch = options.evaluation_batch;
        Ok(Self {
            plan: engine.prepare(&recording)?,
            predictor: Predictor::new(engine, network, &values, batch)?,
            engine,
            network,
            options,
            tensors,
            labels,
            n_steps,
        })
    }

    /// One step on a batch of the options' size; returns the mean loss before it.
    ///
    /// # Errors
    /// [`TrainError::OtherData`] for another number of inputs, [`TrainError::Op`] for a label that is no
    /// class, [`TrainError::LossNotFinite`], and what the engine says.
    pub fn step(&mut self, batch: &Batch) -> Result<f64, TrainError> {
        let shape = batched(self.options.batch_size, self.network.sample_shape());
        if batch.inputs.len() != shape.iter().product::<usize>() {
            return Err(TrainError::OtherData {
                what: "the batch has elements",
                found: vec![batch.inputs.len()],
                expected: shape,
            });
        }
        self.labels.check(&batch.labels)?;
        let rate = self.learning_rate()?;
        let inputs = [
            HostTensor::from_f32(shape, &batch.inputs)?,
            HostTensor::from_words_u32(vec![batch.labels.len()], &batch.labels)?,
            table(&self.options.optimizer, rate, (self.n_steps + 1, 0), 1)?,
            // Masks of dropout repeat after 2^32 steps.
            HostTensor::from_words_u32(vec![1], &[self.n_steps as u32])?,
        ];
        let made = self.plan.run(&inputs)?;
        self.n_steps += 1;
        let losses = made.first().map(HostTensor::to_f32).transpose()?;
        let losses = losses.unwrap_or_default();
        let loss = losses.iter().copied().map(f64::from).sum::<f64>() / losses.len().max(1) as f64;
        match losses.iter().position(|loss| !loss.is_finite()) {
            Some(row) => Err(TrainError::LossNotFinite {
                step: self.n_steps,
                loss,
                row,
            }),
            None => Ok(loss),
        }
    }

    /// Steps taken, those before a checkpoint too.
    pub const fn n_steps(&self) -> u64 {
        self.n_steps
    }

    /// How it is trained.
    pub const fn options(&self) -> &TrainOptions {
        &self.options
    }

    /// Learning rate of the next step.
    ///
    /// # Errors
    /// [`TrainError::Schedule`] for a clock without steps, which [`Trainer::new`] refuses.
    pub fn learning_rate(&self) -> Result<f64, TrainError> {
        let time = self.options.clock.time(self.n_steps)?;
        let TrainOptions {
            schedule,
            learning_rate,
            ..
        } = &self.options;
        Ok(schedule.rate(*learning_rate, time))
    }

    /// The forward pass over the parameters as they are at the time of its calls.
    pub const fn predictor(&self) -> &Predictor {
        &self.predictor
    }

    /// Judges the network on a set.
    ///
    /// # Errors
    /// As [`Predictor::evaluate`].
    pub fn evaluate(&self, data: &Dataset) -> Result<Evaluation, TrainError> {
        self.predictor.evaluate(data)
    }

    /// Refuses data of another kind than the network's.
    ///
    /// # Errors
    /// [`TrainError::OtherData`] for samples of another shape or another number of classes.
    pub fn check_data(&self, data: &Dataset) -> Result<(), TrainError> {
        check_data(data, self.network.sample_shape(), self.network.n_classes())
    }

    /// Elements of all parameters, and of those that are trained.
    pub fn n_parameters(&self) -> [usize; 2] {
        let all = self
            .tensors
            .iter()
            .filter(|one| one.role == Role::Parameter);
        let trained = all.clone().filter(|one| !one.is_frozen);
        [
            all.map(|one| one.value.len()).sum(),
            trained.map(|one| one.value.len()).sum(),
        ]
    }

    /// Device bytes of a step's intermediates.
    pub fn intermediate_bytes(&self) -> u64 {
        self.plan.intermediate_bytes()
    }

    /// The parameters and running statistics, copied from the device.
    ///
    /// # Errors
    /// What the engine says.
    pub fn parameters(&self) -> Result<Vec<NamedTensor>, TrainError> {
        let mut recording = Recording::new();
        for one in &self.tensors {
            recording.download(&one.value);
        }
        let values = self.engine.run(&recording)?;
        let names = self.tensors.iter().map(|one| one.name.clone());
        Ok(names.zip(values).collect())
    }

    /// What is needed to go on from here to the same bits.
    ///
    /// # Errors
    /// What the engine says.
    pub fn checkpoint(&self) -> Result<Checkpoint, TrainError> {
        let state = |one: &Held| one.trained.as_ref().and_then(|p| p.state().cloned());
        let mut recording = Recording::new();
        let states: Vec<Option<Tensor>> = self.tensors.iter().map(state).collect();
        for state in states.iter().flatten() {
            recording.download(state);
        }
        let mut made = self.engine.run(&recording)?.into_iter();
        let states = states
            .iter()
            .map(|one| one.as_ref().and_then(|_| made.next()));
        Ok(Checkpoint::new(
            self.parameters()?,
            states.collect(),
            (self.n_steps, &self.options),
        ))
    }
}

/// Records a step; its inputs are x, labels, the optimizer's coefficients and the number of the step, its
/// download the losses.
fn record_step(
    network: &dyn Network,
    options: &TrainOptions,
    tensors: &[Held],
) -> Result<(Recording, Indices), TrainError> {
    let batch = options.batch_size;
    let mut tape = Tape::new();
    let recording = tape.recording();
    let x = recording.input(DType::F32, &batched(batch, network.sample_shape()));
    let labels = Indices::input(recording, "labels", &[batch], network.n_classes())?;
    let rows = coefficients(recording, 1);
    let step_number = recording.input(DType::U32, &[1]);
    // The mean over the batch; the sums are taken by the gradients of parameters.
    let factor = recording.upload(&HostTensor::from_f32(vec![1], &[1.0 / batch as f32])?);

    let x = tape.constant(&x);
    let mut on_tape = Vec::new();
    for one in tensors {
        on_tape.push(match (one.role, one.is_frozen) {
            (Role::Parameter, false) => PassTensor::Parameter(tape.parameter(&one.value)),
            (Role::Parameter, true) => PassTensor::Parameter(tape.constant(&one.value)),
            (Role::Statistics, is_frozen) => PassTensor::Statistics {
                tensor: one.value.clone(),
                is_frozen,
            },
        });
    }
    let mode = Mode::Training {
        seed: options.seed,
        step: &step_number,
    };
    let logits = network.record(&mut Pass::new(&mut tape, &on_tape, mode), x)?;
    let value = tape.value(logits).clone();
    let target = Target::Labels {
        labels: &labels,
        smoothing: options.label_smoothing,
    };
    let made = row_loss(tape.recording(), &value, target, &factor, FloatType::F32)?;
    let gradients = tape.backward(&[(logits, &made.gradient)])?;
    let mut trained = Vec::new();
    for (one, on_tape) in tensors.iter().zip(&on_tape) {
        let (Some(parameter), PassTensor::Parameter(var)) = (&one.trained, on_tape) else {
            continue;
        };
        let gradient = gradients.get(*var).ok_or_else(|| TrainError::Unused {
            name: one.name.clone(),
        })?;
        trained.push((parameter, gradient));
    }

    let recording = tape.recording();
    let decision = if options.max_norm.is_some() {
        let all: Vec<&Tensor> = trained.iter().map(|(_, gradient)| *gradient).collect();
        let state = ScaleState::upload(recording, 1.0)?;
        let clip = GradientOptions {
            max_norm: options.max_norm,
            ..GradientOptions::default()
        };
        control(recording, &all, &state, &clip)?
    } else {
        plain_control(recording)?
    };
    let shared = Step {
        optimizer: &options.optimizer,
        coefficients: &rows,
        control: &decision,
    };
    for (parameter, gradient) in trained {
        step(recording, &shared, parameter, gradient)?;
    }
    recording.download(&made.losses);
    Ok((tape.into_recording(), labels))
}

/// Refuses values whose names or shapes are not those of the network.
fn check_parameters(expected: &[NamedTensor], given: &[NamedTensor]) -> Result<(), TrainError> {
    let describe = |one: Option<&NamedTensor>| {
        one.map_or_else(
            || "nothing".to_owned(),
            |(name, tensor)| format!("{name} {} {:?}", tensor.dtype(), tensor.shape()),
        )
    };
    for index in 0..expected.len().max(given.len()) {
        let (needed, found) = (describe(expected.get(index)), describe(given.get(index)));
        if needed != found {
            return Err(TrainError::OtherParameters {
                index,
                found,
                expected: needed,
            });
        }
    }
    Ok(())
}
