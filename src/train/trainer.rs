//! Steps of training. Forward pass, loss, backward pass and optimizer are one recording, prepared once and
//! replayed; parameters and the optimizer's state stay on the device between replays.

use crate::data::{Batch, Dataset};
use crate::engine::{Engine, EngineError, Plan};
use crate::eval::EvalError;
use crate::kernels::FloatType;
use crate::models::{NamedTensor, Network, Role, check_values};
use crate::num::mask::Mask;
use crate::ops::mask::MaskTensor;
use crate::ops::optim::{Parameter, ScaleReport, ScaleState, table};
use crate::ops::{OpError, cast, copy_over};
use crate::record::{Recording, Tensor};
use crate::tensor::HostTensor;

use super::additions::masked;
use super::origin::{Origin, find};
use super::predictor::{batched, check_data};
use super::progress::Progress;
use super::step::{Held, RecordedStep, record_step};
use super::{
    Additions, Checkpoint, Evaluation, Predictor, Teacher, TrainError, TrainOptions, TrainingMemory,
};

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

/// A network in training on an engine.
pub struct Trainer<'a> {
    engine: &'a dyn Engine,
    network: &'a dyn Network,
    options: TrainOptions,
    tensors: Vec<Held>,
    teacher: Option<Teacher>,
    recorded: RecordedStep,
    plan: Box<dyn Plan>,
    predictor: Predictor,
    scale: ScaleState,
    /// As the last step left it.
    scale_words: HostTensor,
    scale_report: ScaleReport,
    progress: Progress,
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
        Self::with(engine, network, (options, start), Additions::default())
    }

    /// The same with masks and a teacher. Neither is part of a checkpoint: who goes on gives them again.
    ///
    /// # Errors
    /// As [`Self::new`]; masks of other parameters or shapes, a teacher's logits that do not fit.
    pub fn with(
        engine: &'a dyn Engine,
        network: &'a dyn Network,
        (options, start): (TrainOptions, Start),
        additions: Additions,
    ) -> Result<Self, TrainError> {
        options.check()?;
        additions.check(network)?;
        let specs = network.tensors();
        let frozen = options.frozen(&specs)?;
        let mut progress = Progress::new(&options)?;
        let (values, states, scale, n_steps) = match start {
            Start::Seed => (network.parameters(options.seed)?, None, None, 0),
            Start::Parameters(values) => {
                check_values(network, &values)?;
                (values, None, None, 0)
            }
            Start::Checkpoint(checkpoint) => {
                checkpoint.check(&options)?;
                check_values(network, &checkpoint.parameters)?;
                progress = checkpoint.progress(&options)?;
                (
                    checkpoint.parameters,
                    Some(checkpoint.states),
                    checkpoint.scale,
                    checkpoint.n_steps,
                )
            }
        };
        let mut uploads = Recording::new();
        let mut tensors = Vec::new();
        for (index, ((name, value), spec)) in values.into_iter().zip(specs).enumerate() {
            let mask = additions.mask(&name);
            let host = match mask {
                Some(mask) => masked(&name, &value, mask)?,
                None => value,
            };
            let value = uploads.upload(&host);
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
            let mask = mask.map(|mask| MaskTensor::upload(&mut uploads, mask));
            let mask = mask.transpose()?;
            let trained = match (trained, &mask) {
                (Some(parameter), Some(mask)) => Some(parameter.with_mask(mask)?),
                (trained, _) => trained,
            };
            let precision = options.precision;
            let has_copy =
                precision != FloatType::F32 && role == Role::Parameter && value.shape().len() > 1;
            let (copy, trained) = match trained {
                Some(parameter) if has_copy => {
                    let parameter = parameter.with_copy(&mut uploads, precision)?;
                    (parameter.copy().cloned(), Some(parameter))
                }
                None if has_copy => (Some(cast(&mut uploads, &value, precision)?), None),
                trained => (None, trained),
            };
            let moves = role == Role::Statistics && !is_frozen;
            let before = moves.then(|| uploads.upload(&host));
            tensors.push(Held {
                name,
                value,
                before,
                role,
                is_frozen,
                copy,
                trained,
                mask,
            });
        }
        let scale = match scale {
            Some(words) => ScaleState::of_words(&uploads.upload(&words))?,
            None if options.is_scaled() => {
                ScaleState::upload(&mut uploads, options.loss_scale.first)?
            }
            None => ScaleState::upload(&mut uploads, 1.0)?,
        };
        let health = ScaleState::upload(&mut uploads, 1.0)?;
        uploads.download(scale.words());
        let (scale_words, scale_report) = report_of(engine.run(&uploads)?.pop())?;
        let teacher = additions.teacher;
        let options_and_teacher = (&options, teacher.as_ref());
        let recorded = record_step(network, options_and_teacher, &tensors, (&scale, &health))?;
        let values: Vec<Tensor> = tensors.iter().map(|one| one.value.clone()).collect();
        let batch = options.evaluation_batch;
        Ok(Self {
            plan: engine.prepare(&recorded.recording)?,
            predictor: Predictor::new(engine, network, &values, batch)?,
            engine,
            network,
            options,
            tensors,
            teacher,
            recorded,
            scale,
            scale_words,
            scale_report,
            progress,
            n_steps,
        })
    }

    /// One step on a batch of the options' size; returns the mean loss before it.
    ///
    /// # Errors
    /// [`TrainError::OtherData`] for another number of inputs, [`TrainError::Op`] for a label that is no
    /// class; [`TrainError::LossNotFinite`] and [`TrainError::GradientNotFinite`], after which everything is as it was
    /// before; [`TrainError::ParameterNotFinite`], after which only older checkpoints are good; and what the engine
    /// says.
    pub fn step(&mut self, batch: &Batch) -> Result<f64, TrainError> {
        let shape = batched(self.options.batch_size, self.network.sample_shape());
        if batch.inputs.len() != shape.iter().product::<usize>() {
            return Err(TrainError::OtherData {
                what: "the batch has elements",
                found: vec![batch.inputs.len()],
                expected: shape,
            });
        }
        check_labels(
            &batch.labels,
            self.options.batch_size * self.network.n_predictions(),
            self.network.n_classes(),
        )?;
        let inputs = self.inputs(batch)?;
        let mut made = self.plan.run(&inputs)?;
        let (_, health) = report_of(made.pop())?;
        let (words, report) = report_of(made.pop())?;
        let mut losses = Vec::with_capacity(self.options.batch_size);
        for part in &made {
            losses.extend(part.to_f32()?);
        }
        let loss = losses.iter().copied().map(f64::from).sum::<f64>() / losses.len().max(1) as f64;
        let row = losses.iter().position(|loss| !loss.is_finite());
        let is_skipped = report.skipped > self.scale_report.skipped;
        if row.is_none() && (self.options.is_scaled() || !is_skipped) {
            if is_skipped {
                self.put_statistics_back()?;
            }
            self.n_steps += 1;
            (self.scale_words, self.scale_report) = (words, report);
            return match health.not_finite {
                0 => Ok(loss),
                _ => Err(self.lost_parameter()?),
            };
        }
        self.put_statistics_back()?;
        let RecordedStep {
            recording,
            n_checked,
            before,
            watched,
            ..
        } = &self.recorded;
        let names = (before.as_slice(), watched.as_slice());
        let mut origin = find(self.engine, (recording, *n_checked), &inputs, names)?;
        if origin.is_none() && row.is_none() && report.not_finite == 0 {
            origin = Some(Origin::of_the_norm());
        }
        // The search has moved them once more.
        self.put_statistics_back()?;
        let mut as_before = Recording::new();
        as_before
            .upload_words(self.scale.words().buffer(), self.scale_words.words())
            .map_err(OpError::from)?;
        self.engine.run(&as_before)?;
        let (step, origin) = (self.n_steps + 1, origin.map(Box::new));
        Err(match row {
            Some(row) => TrainError::LossNotFinite {
                step,
                loss,
                row,
                origin,
            },
            None => TrainError::GradientNotFinite { step, origin },
        })
    }

    /// Running statistics as they were before the last step.
    fn put_statistics_back(&self) -> Result<(), TrainError> {
        let mut recording = Recording::new();
        for one in &self.tensors {
            if let Some(before) = &one.before {
                copy_over(&mut recording, before, &one.value)?;
            }
        }
        self.engine.run(&recording)?;
        Ok(())
    }

    /// The first parameter that the last step made infinite or NaN.
    fn lost_parameter(&self) -> Result<TrainError, TrainError> {
        let optimizer = self.options.optimizer.rule().name();
        let mut origin = None;
        for (name, tensor) in self.parameters()? {
            let values = tensor.to_f32()?;
            if let Some(index) = values.iter().position(|value| !value.is_finite()) {
                origin = Some(Box::new(Origin {
                    tensor: format!("parameter `{name}`"),
                    operation: Some(format!("the optimizer ({optimizer})")),
                    index,
                    value: values[index],
                }));
                break;
            }
        }
        let step = self.n_steps;
        Ok(TrainError::ParameterNotFinite { step, origin })
    }

    /// A step's inputs, in the order in which they were declared.
    fn inputs(&self, batch: &Batch) -> Result<Vec<HostTensor>, TrainError> {
        let options = &self.options;
        let (rate, skipped) = (self.learning_rate()?, self.scale_report.skipped);
        let call = (self.n_steps + 1, skipped.into());
        let mut inputs = vec![table(&options.optimizer, rate, call, 1)?];
        let (n, parts) = (
            options.batch_size / options.micro_batches,
            options.micro_batches,
        );
        let shape = batched(n, self.network.sample_shape());
        let xs = batch.inputs.chunks_exact(shape.iter().product());
        for (part, x) in (0..parts).zip(xs) {
            let n_labels = n * self.network.n_predictions();
            let labels = &batch.labels[part * n_labels..(part + 1) * n_labels];
            let dtype = options.precision.dtype();
            inputs.push(self.network.samples().host(dtype, shape.clone(), x)?);
            match &self.teacher {
                None => inputs.push(HostTensor::from_words_u32(vec![n_labels], labels)?),
                Some(teacher) => {
                    let rows = batch.rows.get(part * n..(part + 1) * n);
                    let rows = rows.ok_or_else(|| TrainError::OtherData {
                        what: "rows of the batch in its set:",
                        found: vec![batch.rows.len()],
                        expected: vec![options.batch_size],
                    })?;
                    let labels = teacher.labels(labels, rows);
                    inputs.push(HostTensor::from_words_u32(vec![n], &labels)?);
                    inputs.extend(teacher.inputs(rows, self.network.n_classes())?);
                }
            }
            // Masks of dropout repeat after 2^32 micro-batches.
            let number = self.n_steps * parts as u64 + part as u64;
            inputs.push(HostTensor::from_words_u32(vec![1], &[number as u32])?);
        }
        Ok(inputs)
    }

    /// The next step on a batch as a recording of its own, for whoever times its kernels. Running it takes the
    /// step, which [`Self::n_steps`] does not count.
    ///
    /// # Errors
    /// [`TrainError`] as [`Self::step`] for a batch of other extents.
    pub fn recording(&self, batch: &Batch) -> Result<Recording, TrainError> {
        let RecordedStep { recording, .. } = &self.recorded;
        let mut whole = Recording::new();
        for (input, value) in recording.inputs().iter().zip(self.inputs(batch)?) {
            let uploaded = whole.upload_words(input.buffer(), value.words());
            uploaded.map_err(OpError::from)?;
        }
        recording
            .commands()
            .iter()
            .for_each(|one| whole.append(one));
        Ok(whole)
    }

    /// The loss scale after the last step, the steps that were skipped because something was not finite, and
    /// those that were taken; `None` where losses are not scaled.
    pub fn scale(&self) -> Option<&ScaleReport> {
        self.options.is_scaled().then_some(&self.scale_report)
    }

    /// Puts other masks in the place of those that training began with: gradual pruning. They act from the next
    /// step that is taken on.
    ///
    /// # Errors
    /// [`TrainError::OtherMask`] for a parameter that began without a mask, and for another shape; what the engine
    /// says.
    pub fn set_masks(&mut self, masks: &[(String, Mask)]) -> Result<(), TrainError> {
        let mut recording = Recording::new();
        for (name, mask) in masks {
            let held = self.tensors.iter().find(|one| one.name == *name);
            let held = held.and_then(|one| one.mask.as_ref());
            let expected = held.map_or([0, 0], MaskTensor::shape);
            let (Some(held), true) = (held, [mask.n(), mask.k()] == expected) else {
                return Err(TrainError::OtherMask {
                    name: name.clone(),
                    found: [mask.n(), mask.k()],
                    expected,
                });
            };
            recording
                .upload_words(held.words().buffer(), mask.words())
                .map_err(OpError::from)?;
        }
        self.engine.run(&recording)?;
        Ok(())
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
    /// [`TrainError::Schedule`] for a clock without steps, which [`Trainer::new`] refuses, and
    /// [`TrainError::Setting`] for a schedule that grew past the range of f32.
    pub fn learning_rate(&self) -> Result<f64, TrainError> {
        let time = self.options.clock.time(self.n_steps)?;
        let TrainOptions {
            schedule,
            learning_rate,
            ..
        } = &self.options;
        let base = self.progress.plateau.map_or(*learning_rate, |one| one.rate);
        let rate = schedule.rate(base, time);
        if (rate as f32).is_finite() {
            return Ok(rate);
        }
        Err(TrainError::Setting {
            what: "learning rate of the next step, by its schedule",
            given: rate,
            allowed: "finite as f32",
        })
    }

    /// Tells how an epoch ended, which lets the rate fall on a plateau and remembers the best parameters. Returns
    /// whether training should end: [`TrainOptions::early_stopping`].
    ///
    /// # Errors
    /// What the engine says.
    pub fn end_epoch(&mut self, test: &Evaluation) -> Result<bool, TrainError> {
        let is_best = self.progress.observe(&self.options, test);
        let restores = self
            .options
            .early_stopping
            .is_some_and(|rule| rule.restore_best);
        if is_best && restores {
            self.progress.best = Some(self.parameters()?);
        }
        Ok(self.is_over())
    }

    /// Whether training has ended early, before a checkpoint too.
    pub fn is_over(&self) -> bool {
        self.progress.is_over(&self.options)
    }

    /// Puts the parameters of the best epoch back, where [`EarlyStopping::restore_best`](super::EarlyStopping) asks
    /// for that and there was an epoch; returns whether it did. The optimizer's state stays.
    ///
    /// # Errors
    /// What the engine says.
    pub fn restore_best(&mut self) -> Result<bool, TrainError> {
        let Some(best) = &self.progress.best else {
            return Ok(false);
        };
        let mut recording = Recording::new();
        for (one, (_, value)) in self.tensors.iter().zip(best) {
            let upload = |recording: &mut Recording, to: &Tensor, value: &HostTensor| {
                recording.upload_words(to.buffer(), value.words())
            };
            upload(&mut recording, &one.value, value).map_err(OpError::from)?;
            if let Some(copy) = &one.copy {
                let shape = value.shape().to_vec();
                let narrow = HostTensor::from_f32_as(copy.dtype(), shape, &value.to_f32()?)?;
                upload(&mut recording, copy, &narrow).map_err(OpError::from)?;
            }
        }
        self.engine.run(&recording)?;
        Ok(true)
    }

    /// The forward pass over the parameters as they are at the time of its calls.
    pub const fn predictor(&self) -> &Predictor {
        &self.predictor
    }

    /// Judges the network on a set.
    ///
    /// # Errors
    /// As [`Predictor::evaluate`]; [`TrainError::ScoreNotFinite`], which says where it comes from, for logits that are
    /// NaN.
    pub fn evaluate(&self, data: &Dataset) -> Result<Evaluation, TrainError> {
        match self.predictor.evaluate(data) {
            Err(TrainError::Eval(
                EvalError::NanScore { row, .. } | EvalError::InfiniteLogit { row, .. },
            )) => {
                let row = row / self.network.n_predictions().max(1);
                let network = (self.network, self.tensors.as_slice());
                let origin = self.predictor.origin(self.engine, network, (data, row))?;
                Err(TrainError::ScoreNotFinite {
                    step: self.n_steps,
                    row,
                    origin: origin.map(Box::new),
                })
            }
            judged => judged,
        }
    }

    /// Refuses data of another kind than the network's.
    ///
    /// # Errors
    /// [`TrainError::OtherData`] for samples of another shape or another number of classes.
    pub fn check_data(&self, data: &Dataset) -> Result<(), TrainError> {
        check_data(data, self.network)
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

    /// Bytes of training on the device.
    pub fn memory(&self) -> TrainingMemory {
        let bytes = |of: &Tensor| of.buffer().bytes();
        let all = self.tensors.iter();
        let trained = || all.clone().filter_map(|one| one.trained.as_ref());
        let sets = if self.options.micro_batches > 1 { 2 } else { 1 };
        TrainingMemory {
            parameters: all
                .clone()
                .map(|one| bytes(&one.value) + one.before.as_ref().map_or(0, bytes))
                .sum(),
            copies: all
                .clone()
                .filter_map(|one| one.copy.as_ref())
                .map(bytes)
                .sum(),
            state: trained().filter_map(|one| one.state()).map(bytes).sum(),
            gradients: sets * trained().map(|one| bytes(one.value())).sum::<u64>(),
            activations: self.recorded.activation_bytes,
            batch: self.recorded.batch_bytes,
            evaluation: self.predictor.bytes(),
            evaluation_inputs: self.predictor.input_bytes(),
            placed: self.plan.intermediate_bytes() + self.predictor.intermediate_bytes(),
            device: self.engine.device_bytes(),
        }
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
        recording.download(self.scale.words());
        let mut made = self.engine.run(&recording)?;
        let scale = made.pop().filter(|_| self.options.is_scaled());
        let mut made = made.into_iter();
        let states = states
            .iter()
            .map(|one| one.as_ref().and_then(|_| made.next()));
        Ok(Checkpoint::new(
            self.parameters()?,
            (states.collect(), scale),
            &self.progress,
            (self.n_steps, &self.options),
        ))
    }
}

/// Refuses labels of another number, and those that are no class.
fn check_labels(labels: &[u32], batch: usize, n_classes: usize) -> Result<(), OpError> {
    if labels.len() != batch {
        return Err(OpError::Shape {
            op: "training step",
            what: "labels",
            got: vec![labels.len()],
            expected: format!("[{batch}]"),
        });
    }
    match labels.iter().position(|&label| label as usize >= n_classes) {
        Some(at) => Err(OpError::Index {
            what: "labels",
            at,
            value: labels[at],
            limit: n_classes as u32,
        }),
        None => Ok(()),
    }
}

/// The state of the scale as it was downloaded, and what it says.
fn report_of(words: Option<HostTensor>) -> Result<(HostTensor, ScaleReport), TrainError> {
    let both = words.and_then(|words| {
        let report = ScaleState::report(&words)?;
        Some((words, report))
    });
    Ok(both.ok_or_else(|| EngineError::Uninitialized {
        what: "state of the loss scale".to_owned(),
    })?)
}
