//! The recording of a step: forward pass, loss and backward pass of each micro-batch, then what is done with the
//! gradients.
//!
//! In mixed precision the tape stores 16 bits between operations, the batch arrives in 16 bits, and products read
//! 16-bit copies of weights; parameters, their gradients, sums and losses are f32. The gradient of the loss begins with the loss scale
//! over the number of labels, so that what reaches the optimizer is the scaled gradient of the mean over all samples;
//! `control` undoes the scale, and skips the step when a gradient or a loss is not finite: parameters then are those that
//! made it. Running statistics have moved by then, so a step first keeps them as they are. What the optimizer made is
//! looked at too: a step too large is found where it was taken.

use std::collections::BTreeMap;

use crate::autograd::{RowLabels, Tape};
use crate::kernels::FloatType;
use crate::kernels::elementwise::{Binary, Broadcast};
use crate::models::{Mode, Network, Pass, PassTensor, Role};
use crate::ops::mask::MaskTensor;
use crate::ops::nn::{Indices, Target, row_loss};
use crate::ops::optim::{
    GradientOptions, NotFinite, Parameter, ScaleState, Step, coefficients, control, step,
};
use crate::ops::{affine, binary, copy_over};
use crate::record::{Recording, Tensor};
use crate::tensor::{DType, HostTensor};

use super::additions::TeacherInputs;
use super::origin::{Watched, watched_on};
use super::predictor::batched;
use super::{Teacher, TrainError, TrainOptions};

/// One of the network's tensors on the device.
#[derive(Debug)]
pub(super) struct Held {
    pub name: String,
    pub value: Tensor,
    pub role: Role,
    pub is_frozen: bool,
    /// The 16-bit copy of a weight.
    pub copy: Option<Tensor>,
    /// `None` for a frozen one, and for running statistics.
    pub trained: Option<Parameter>,
    /// What is kept of a pruned parameter.
    pub mask: Option<MaskTensor>,
    /// Where a step keeps running statistics as they were before it, should it not count.
    pub before: Option<Tensor>,
}

/// A step as it was recorded. Inputs, in this order: the optimizer's coefficients, then for each micro-batch x, labels
/// and the number that its dropout takes. Downloads: the losses of each micro-batch, the state of the scale, and what was
/// found in the new parameters.
pub(super) struct RecordedStep {
    pub recording: Recording,
    /// Bytes of results of one micro-batch.
    pub activation_bytes: u64,
    /// Bytes of all inputs.
    pub batch_bytes: u64,
    /// Commands before anything is changed by the optimizer.
    pub n_checked: usize,
    /// What is there before a step, with names.
    pub before: Vec<Watched>,
    /// What a step makes, with names.
    pub watched: Vec<Watched>,
}

/// Records a step.
pub(super) fn record_step(
    network: &dyn Network,
    (options, teacher): (&TrainOptions, Option<&Teacher>),
    tensors: &[Held],
    (scale, health): (&ScaleState, &ScaleState),
) -> Result<RecordedStep, TrainError> {
    let mut recording = Recording::new();
    let rows = coefficients(&mut recording, 1);
    for one in tensors {
        if let Some(before) = &one.before {
            copy_over(&mut recording, &one.value, before)?;
        }
    }
    let share = 1.0 / (options.batch_size * network.n_predictions()) as f32;
    let factor = if options.is_scaled() {
        affine(&mut recording, &scale.scale(), (share, 0.0), FloatType::F32)?
    } else {
        recording.upload(&HostTensor::from_f32(vec![1], &[share])?)
    };
    let mut gradients: Vec<Tensor> = Vec::new();
    let mut losses = Vec::new();
    let mut activation_bytes = 0;
    let (mut before, mut watched) = (held(tensors), Vec::new());
    for _ in 0..options.micro_batches {
        let micro = record_micro_batch(network, (options, teacher), tensors, (recording, &factor))?;
        recording = micro.recording;
        for (index, gradient) in micro.gradients.into_iter().enumerate() {
            match gradients.get_mut(index) {
                None => gradients.push(gradient),
                Some(sum) => {
                    let add = (Binary::Add, Broadcast::Full);
                    *sum = binary(&mut recording, sum, &gradient, add, FloatType::F32)?;
                }
            }
        }
        losses.push(micro.losses);
        activation_bytes = micro.activation_bytes;
        before.push(Watched::new(&micro.x, "the batch"));
        watched.extend(micro.watched);
    }
    let n_checked = recording.commands().len();

    // A loss can be infinite although gradients are finite. Zeros in the place of finite ones leave the norm as it is,
    // and 0 times what is not finite is NaN.
    let mut judged_losses = Vec::new();
    for losses in &losses {
        let zeros = affine(&mut recording, losses, (0.0, 0.0), FloatType::F32)?;
        judged_losses.push(zeros);
    }
    let judged: Vec<&Tensor> = gradients.iter().chain(&judged_losses).collect();
    let what = GradientOptions {
        scaling: options.is_scaled().then_some(options.loss_scale.rule),
        not_finite: NotFinite::Skip,
        max_norm: options.max_norm,
        max_value: options.max_value,
        accumulated_more: 0,
    };
    let decision = control(&mut recording, &judged, scale, &what)?;
    let shared = Step {
        optimizer: &options.optimizer,
        coefficients: &rows,
        control: &decision,
    };
    let trained = tensors.iter().filter_map(|one| one.trained.as_ref());
    for (parameter, gradient) in trained.zip(&gradients) {
        step(&mut recording, &shared, parameter, gradient)?;
    }
    let made: Vec<&Tensor> = tensors
        .iter()
        .filter_map(|one| one.trained.as_ref())
        .map(Parameter::value)
        .collect();
    // Counts what is not finite; nothing obeys what it decides.
    control(&mut recording, &made, health, &GradientOptions::default())?;
    losses.iter().for_each(|losses| recording.download(losses));
    recording.download(scale.words());
    recording.download(health.words());
    let inputs = recording.inputs().iter();
    let batch_bytes = inputs.map(|input| input.buffer().bytes()).sum();
    Ok(RecordedStep {
        activation_bytes,
        batch_bytes,
        recording,
        n_checked,
        before,
        watched,
    })
}

/// What is on the device before a step.
pub(super) fn held(tensors: &[Held]) -> Vec<Watched> {
    let mut all = Vec::new();
    for one in tensors {
        let name = match one.role {
            Role::Parameter => format!("parameter `{}`", one.name),
            Role::Statistics => format!("running statistics `{}`", one.name),
        };
        let copy = one.copy.iter();
        all.push(Watched::new(&one.value, name.clone()));
        all.extend(copy.map(|copy| Watched::new(copy, format!("the 16-bit copy of {name}"))));
    }
    all
}

/// What a micro-batch leaves.
struct MicroBatch {
    recording: Recording,
    x: Tensor,
    watched: Vec<Watched>,
    activation_bytes: u64,
    losses: Tensor,
    /// Of the trained parameters, in their order.
    gradients: Vec<Tensor>,
}

fn record_micro_batch(
    network: &dyn Network,
    (options, teacher): (&TrainOptions, Option<&Teacher>),
    tensors: &[Held],
    (recording, factor): (Recording, &Tensor),
) -> Result<MicroBatch, TrainError> {
    let batch = options.batch_size / options.micro_batches;
    let precision = options.precision;
    let mut tape = Tape::over(recording).with_storage(precision);
    let recording = tape.recording();
    // In 16 bits already when it comes from the host, which halves what is copied.
    let shape = batched(batch, network.sample_shape());
    let x = network
        .samples()
        .input(recording, precision.dtype(), &shape);
    let rows = batch * network.n_predictions();
    let labels = Indices::input(recording, "labels", &[rows], network.n_classes())?;
    let extents = [rows, network.n_classes()];
    let teacher = teacher.map(|one| (one, TeacherInputs::new(recording, one, extents)));
    let number = recording.input(DType::U32, &[1]);
    let x_var = tape.constant(&x);
    let mut on_tape = Vec::new();
    let mut names = BTreeMap::new();
    for one in tensors {
        on_tape.push(match (one.role, one.is_frozen) {
            (Role::Parameter, is_frozen) => {
                let var = if is_frozen {
                    tape.constant(&one.value)
                } else {
                    tape.parameter(&one.value)
                };
                if let Some(copy) = &one.copy {
                    tape.keep_copy(var, copy)?;
                }
                names.insert(var, one.name.clone());
                PassTensor::Parameter(var)
            }
            (Role::Statistics, is_frozen) => PassTensor::Statistics {
                tensor: one.value.clone(),
                is_frozen,
            },
        });
    }
    let mode = Mode::Training {
        seed: options.seed,
        step: &number,
    };
    let mut pass = Pass::new(&mut tape, &on_tape, mode);
    let logits = network.record(&mut pass, x_var)?;
    let features = pass.features();
    let value = tape.value(logits).clone();
    let target = Target::Labels {
        labels: &labels,
        smoothing: options.label_smoothing,
    };
    // 16-bit rows of an odd number of classes cannot be stored.
    let storage = if network.n_classes().is_multiple_of(2) {
        precision
    } else {
        FloatType::F32
    };
    let (losses, by_var) = match teacher {
        None => {
            let made = row_loss(tape.recording(), &value, target, factor, storage)?;
            (made.losses, tape.backward(&[(logits, &made.gradient)])?)
        }
        Some((teacher, given)) => {
            let known = given.known.as_ref();
            let labels = &labels;
            let labels = RowLabels { labels, known };
            let mut rows = tape.teacher_loss(logits, labels, &given.logits, teacher.loss)?;
            if let (Some(hint), Some(wanted)) = (&teacher.hint, &given.features) {
                let features = features.ok_or_else(|| TrainError::NoFeatures {
                    network: network.describe(),
                })?;
                rows = tape.hint_loss(rows, features, wanted, (hint.loss, hint.weight))?;
            }
            let losses = tape.value(rows).clone();
            let ones = HostTensor::from_f32(vec![extents[0]], &vec![1.0; extents[0]])?;
            let ones = tape.recording().upload(&ones);
            let all = (Binary::Mul, Broadcast::Scalar);
            let first = binary(tape.recording(), &ones, factor, all, FloatType::F32)?;
            (losses, tape.backward(&[(rows, &first)])?)
        }
    };
    let mut watched = watched_on(&tape, &by_var, &names);
    watched.push(Watched::new(&losses, "the losses"));
    let mut gradients = Vec::new();
    for (one, on_tape) in tensors.iter().zip(&on_tape) {
        if let (Some(_), PassTensor::Parameter(var)) = (&one.trained, on_tape) {
            let gradient = by_var.get(*var).ok_or_else(|| TrainError::Unused {
                name: one.name.clone(),
            })?;
            gradients.push(gradient.clone());
        }
    }
    Ok(MicroBatch {
        activation_bytes: tape.result_bytes(),
        recording: tape.into_recording(),
        x,
        watched,
        losses,
        gradients,
    })
}
