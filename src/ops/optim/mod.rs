//! Optimizer steps on an engine: parameters and state stay on the device, and so does the decision to
//! clip or to skip, so that a whole training step is one plan.
//!
//! A step is recorded once: [`coefficients`] declares an input that a replay fills with
//! [`table`], [`control`] looks at all gradients, and [`step`] updates one parameter. Without loss
//! scaling and clipping, [`plain_control`] stands for `control`.
//!
//! Steps that a device skips are not counted by its bias corrections, although the host does not know of
//! them yet: a table has rows for some that it has not heard of. Whoever reads the [`ScaleState`] back
//! now and then, and says how many it found, needs few rows.

mod scale;

use crate::kernels::FloatType;
use crate::kernels::optimizer::{CONTROL_WORDS, OptimizerStep};
use crate::num::optim::{Coefficients, Optimizer, ROW};
use crate::record::{Recording, Tensor};
use crate::tensor::{DType, HostTensor, TensorError};

use super::mask::MaskTensor;
use super::matmul::float;
use super::{OpError, cast, check_shape, check_type, extent};

pub use crate::kernels::loss_scale::{DynamicScale, NotFinite};
pub use scale::{FIRST_SCALE, GradientOptions, ScaleReport, ScaleState, control, plain_control};

/// A parameter that is trained: its f32 value, the optimizer's state of it, and what goes with it.
#[derive(Debug, Clone)]
pub struct Parameter {
    value: Tensor,
    state: Option<Tensor>,
    copy: Option<Tensor>,
    mask: Option<MaskTensor>,
}

impl Parameter {
    /// Uploads the state that `optimizer` begins with for `value`, f32 of any shape.
    ///
    /// # Errors
    /// [`OpError`] for a value that is not f32, has no elements or too many, and an optimizer out of
    /// range; nothing is recorded then.
    pub fn new(
        recording: &mut Recording,
        optimizer: &Optimizer,
        value: &Tensor,
    ) -> Result<Self, OpError> {
        const OP: &str = "optimizer";
        optimizer.check()?;
        check_type(OP, "parameter", value, DType::F32)?;
        extent(OP, "elements", value.len())?;
        let initial = optimizer.initial_state();
        let state = if initial.is_empty() {
            None
        } else {
            let own: Vec<u32> = initial.iter().map(|&v| (v as f32).to_bits()).collect();
            let state = recording.tensor(DType::F32, &[value.len(), own.len()]);
            recording.upload_words(state.buffer(), own.repeat(value.len()))?;
            Some(state)
        };
        Ok(Self {
            value: value.clone(),
            state,
            copy: None,
            mask: None,
        })
    }

    /// Keeps an f16 or bf16 copy, which every step that is taken writes anew. What is recorded here
    /// makes the first one: record it where it runs once.
    ///
    /// # Errors
    /// [`OpError::Type`] for f32, which would be no copy; nothing is recorded then.
    pub fn with_copy(self, recording: &mut Recording, storage: FloatType) -> Result<Self, OpError> {
        if storage == FloatType::F32 {
            return Err(OpError::Type {
                op: "optimizer",
                what: "copy",
                got: DType::F32,
                expected: "f16 or bf16",
            });
        }
        let copy = Some(cast(recording, &self.value, storage)?);
        Ok(Self { copy, ..self })
    }

    /// Holds a pruning mask: from the next step that is taken on, what it does not keep is 0, and so is
    /// its state. The mask has as many elements as the value.
    ///
    /// # Errors
    /// [`OpError::Shape`] for another number of elements.
    pub fn with_mask(self, mask: &MaskTensor) -> Result<Self, OpError> {
        let [n, k] = mask.shape();
        if n * k != self.value.len() {
            return Err(OpError::Shape {
                op: "optimizer",
                what: "mask",
                got: vec![n, k],
                expected: format!("{} elements", self.value.len()),
            });
        }
        let mask = Some(mask.clone());
        Ok(Self { mask, ..self })
    }

    /// A parameter whose state was kept, as a checkpoint has it.
    ///
    /// # Errors
    /// [`OpError`] for a state of another type or shape than [`Self::new`] makes.
    pub fn with_state(
        optimizer: &Optimizer,
        value: &Tensor,
        state: Option<&Tensor>,
    ) -> Result<Self, OpError> {
        const OP: &str = "optimizer";
        optimizer.check()?;
        check_type(OP, "parameter", value, DType::F32)?;
        let slots = optimizer.rule().slots().len();
        if state.is_some() != (slots > 0) {
            return Err(OpError::Shape {
                op: OP,
                what: "state",
                got: state.map_or_else(Vec::new, |state| state.shape().to_vec()),
                expected: format!("[{}, {slots}]", value.len()),
            });
        }
        if let Some(state) = state {
            check_type(OP, "state", state, DType::F32)?;
            check_shape(OP, "state", state, &[value.len(), slots])?;
        }
        Ok(Self {
            value: value.clone(),
            state: state.cloned(),
            copy: None,
            mask: None,
        })
    }

    /// The value, f32.
    pub const fn value(&self) -> &Tensor {
        &self.value
    }

    /// The state, f32 `[elements, slots]`; `None` for plain SGD.
    pub const fn state(&self) -> Option<&Tensor> {
        self.state.as_ref()
    }

    /// The 16-bit copy.
    pub const fn copy(&self) -> Option<&Tensor> {
        self.copy.as_ref()
    }
}

/// Declares the input that a replay fills with a [`table`] of `rows` rows, f32 `[rows, 16]`.
pub fn coefficients(recording: &mut Recording, rows: usize) -> Tensor {
    recording.input(DType::F32, &[rows.max(1), ROW])
}

/// The content of [`coefficients`] for the `call`-th step (from 1, skipped ones included), of which
/// `skipped` are known to have been skipped.
///
/// # Errors
/// [`TensorError`] when the host has no memory of that size.
pub fn table(
    optimizer: &Optimizer,
    learning_rate: f64,
    (call, skipped): (u64, u64),
    rows: usize,
) -> Result<HostTensor, TensorError> {
    let made = Coefficients::table(optimizer, learning_rate, call, skipped, rows);
    HostTensor::from_f32(vec![rows.max(1), ROW], made.values())
}

/// What every parameter of a training step shares.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// The optimizer.
    pub optimizer: &'a Optimizer,
    /// Its [`coefficients`].
    pub coefficients: &'a Tensor,
    /// What is done with gradients.
    pub control: &'a Tensor,
}

/// One step of a parameter, in place. `gradient` is f32, f16 or bf16, of the value's shape.
///
/// # Errors
/// [`OpError`] for tensors whose types and shapes do not go together; nothing is recorded then.
pub fn step(
    recording: &mut Recording,
    step: &Step<'_>,
    parameter: &Parameter,
    gradient: &Tensor,
) -> Result<(), OpError> {
    const OP: &str = "optimizer step";
    let Parameter {
        value,
        state,
        copy,
        mask,
    } = parameter;
    check_shape(OP, "gradient", gradient, value.shape())?;
    check_type(OP, "control", step.control, DType::U32)?;
    check_shape(OP, "control", step.control, &[CONTROL_WORDS as usize])?;
    check_type(OP, "coefficients", step.coefficients, DType::F32)?;
    let rows = step.coefficients.shape().first().copied().unwrap_or(0);
    check_shape(OP, "coefficients", step.coefficients, &[rows, ROW])?;
    let rule = step.optimizer.rule();
    let slots = rule.slots().len();
    let made_with = state
        .as_ref()
        .map_or(0, |state| state.len() / value.len().max(1));
    if made_with != slots {
        return Err(OpError::Shape {
            op: OP,
            what: "state",
            got: vec![value.len(), made_with],
            expected: format!("[{}, {slots}], as {} has it", value.len(), rule.name()),
        });
    }
    let [n, k] = mask.as_ref().map_or([value.len(), 1], MaskTensor::shape);
    let launch = OptimizerStep {
        n: extent(OP, "n", n)?,
        k: extent(OP, "k", k)?,
        rule,
        gradient: float(OP, "gradient", gradient)?,
        copy: copy
            .as_ref()
            .and_then(|copy| FloatType::from_dtype(copy.dtype())),
        masked: mask.is_some(),
        rows: extent(OP, "rows", rows)?,
    }
    .launch()?;
    let mut buffers = vec![
        (1, gradient.buffer()),
        (2, value.buffer()),
        (4, step.coefficients.buffer()),
        (5, step.control.buffer()),
    ];
    buffers.extend(state.as_ref().map(|state| (3, state.buffer())));
    buffers.extend(mask.as_ref().map(|mask| (6, mask.words().buffer())));
    buffers.extend(copy.as_ref().map(|copy| (8, copy.buffer())));
    Ok(recording.dispatch(launch, &buffers)?)
}
