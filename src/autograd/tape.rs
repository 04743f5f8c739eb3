//! The tape: variables in the order they were made, each with its way back.

use std::collections::BTreeMap;
use std::fmt;

use crate::kernels::FloatType;
use crate::kernels::elementwise::{Binary, Broadcast};
use crate::ops::{OpError, binary, cast};
use crate::record::{Recording, Tensor};
use crate::tensor::DType;

/// A value on a tape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Var(usize);

/// The way back through one operation.
pub trait Backward: fmt::Debug {
    /// Appends kernels that make the gradient of each input from the gradient of the output, and returns
    /// them in the order of the inputs; `None` for inputs that are not wanted, and for those that the
    /// output does not depend on.
    ///
    /// # Errors
    /// [`OpError`] of the operations it appends.
    fn backward(
        &self,
        recording: &mut Recording,
        gradient: &Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError>;
}

#[derive(Debug)]
struct Node {
    value: Tensor,
    /// 16 bits wide, of the same elements.
    copy: Option<Tensor>,
    /// Type of its gradient.
    gradient: FloatType,
    inputs: Vec<Var>,
    backward: Option<Box<dyn Backward>>,
    /// Some parameter lies behind it.
    is_differentiable: bool,
}

/// Operations and how to differentiate them, over one recording.
#[derive(Debug)]
pub struct Tape {
    recording: Recording,
    nodes: Vec<Node>,
    storage: FloatType,
    is_again: bool,
}

/// Gradients of variables, by variable.
#[derive(Debug, Default)]
pub struct Gradients {
    by_var: BTreeMap<Var, Tensor>,
}

impl Gradients {
    /// The gradient of a variable; `None` where the outputs do not depend on it or it was a constant.
    pub fn get(&self, var: Var) -> Option<&Tensor> {
        self.by_var.get(&var)
    }

    /// All gradients, by variable in the order in which these were made.
    pub fn iter(&self) -> impl Iterator<Item = (Var, &Tensor)> {
        self.by_var.iter().map(|(&var, gradient)| (var, gradient))
    }
}

impl Default for Tape {
    fn default() -> Self {
        Self::new()
    }
}

impl Tape {
    /// A tape over an empty recording.
    pub fn new() -> Self {
        Self::over(Recording::new())
    }

    /// A tape that goes on with a recording.
    pub const fn over(recording: Recording) -> Self {
        Self {
            recording,
            nodes: Vec::new(),
            storage: FloatType::F32,
            is_again: false,
        }
    }

    /// The same for a forward pass that was recorded before, and must not move running statistics again.
    pub(super) fn again(self) -> Self {
        Self {
            is_again: true,
            ..self
        }
    }

    /// Whether this forward pass was recorded before.
    pub(super) const fn is_again(&self) -> bool {
        self.is_again
    }

    /// The same with results of operations, and gradients of them, stored as another type. Sums stay f32, and
    /// so do gradients of parameters.
    #[must_use]
    pub fn with_storage(self, storage: FloatType) -> Self {
        Self { storage, ..self }
    }

    /// How results of operations are stored: f32 unless the tape was told otherwise.
    pub const fn storage(&self) -> FloatType {
        self.storage
    }

    /// The recording, to append what needs no gradient: uploads, inputs, downloads, an optimizer's step.
    pub const fn recording(&mut self) -> &mut Recording {
        &mut self.recording
    }

    /// The finished recording.
    pub fn into_recording(self) -> Recording {
        self.recording
    }

    /// A variable whose gradient is wanted.
    pub fn parameter(&mut self, tensor: &Tensor) -> Var {
        self.leaf(tensor, true)
    }

    /// A variable without a gradient: data, a frozen weight.
    pub fn constant(&mut self, tensor: &Tensor) -> Var {
        self.leaf(tensor, false)
    }

    /// The tensor of a variable.
    ///
    /// # Panics
    /// When the variable is another tape's and this one has fewer.
    pub fn value(&self, var: Var) -> &Tensor {
        &self.nodes[var.0].value
    }

    /// What operations made, in their order, each with what it was made of.
    pub fn results(&self) -> impl Iterator<Item = (Var, &[Var])> {
        let nodes = self.nodes.iter().enumerate();
        let made = nodes.filter(|(_, node)| !node.inputs.is_empty());
        made.map(|(index, node)| (Var(index), node.inputs.as_slice()))
    }

    /// Bytes of everything that operations made, views counted once: what a backward pass may read.
    pub fn result_bytes(&self) -> u64 {
        let mut buffers = BTreeMap::new();
        for node in self.nodes.iter().filter(|node| !node.inputs.is_empty()) {
            let buffer = node.value.buffer();
            buffers.insert(buffer.id(), buffer.bytes());
        }
        for leaf in self.nodes.iter().filter(|node| node.inputs.is_empty()) {
            // A reshaped leaf is no result.
            buffers.remove(&leaf.value.buffer().id());
        }
        buffers.values().sum()
    }

    /// Whether some parameter lies behind a variable.
    pub fn is_differentiable(&self, var: Var) -> bool {
        self.nodes[var.0].is_differentiable
    }

    /// Gives a variable a 16-bit copy of its value, which products read instead: the copy of a parameter that
    /// its optimizer step keeps, or of a batch. Gradients are those of the variable as before.
    ///
    /// # Errors
    /// [`OpError`] for a copy of another shape, or of another type than f16 and bf16.
    ///
    /// # Panics
    /// When the variable is another tape's and this one has fewer.
    pub fn keep_copy(&mut self, var: Var, copy: &Tensor) -> Result<(), OpError> {
        let node = &mut self.nodes[var.0];
        check_shape("keep_copy", "copy", copy, node.value.shape())?;
        if !matches!(copy.dtype(), DType::F16 | DType::BF16) {
            return Err(OpError::Type {
                op: "keep_copy",
                what: "copy",
                got: copy.dtype(),
                expected: "f16 or bf16",
            });
        }
        node.copy = Some(copy.clone());
        Ok(())
    }

    /// What a product reads for a variable: its 16-bit copy when it has one, else its value.
    ///
    /// # Panics
    /// When the variable is another tape's and this one has fewer.
    pub fn operand(&self, var: Var) -> &Tensor {
        let node = &self.nodes[var.0];
        node.copy.as_ref().unwrap_or(&node.value)
    }

    /// What a variable that stands for another takes over from it.
    pub(super) fn take_over(&mut self, var: Var, copy: Option<Tensor>, gradient: FloatType) {
        let node = &mut self.nodes[var.0];
        (node.copy, node.gradient) = (copy, gradient);
    }

    /// The 16-bit copy of a variable.
    pub(super) fn copy(&self, var: Var) -> Option<&Tensor> {
        self.nodes[var.0].copy.as_ref()
    }

    /// The type that the gradient of a variable is made in: f32 for parameters and constants, and as results
    /// of operations are stored for those.
    ///
    /// # Panics
    /// When the variable is another tape's and this one has fewer.
    pub fn gradient_storage(&self, var: Var) -> FloatType {
        self.nodes[var.0].gradient
    }

    /// How rows of `columns` elements are stored by operations that cannot store 16-bit rows of odd length:
    /// those stay f32.
    pub(super) const fn row_storage(&self, columns: usize) -> FloatType {
        if columns.is_multiple_of(2) {
            self.storage
        } else {
            FloatType::F32
        }
    }

    fn leaf(&mut self, tensor: &Tensor, is_differentiable: bool) -> Var {
        self.nodes.push(Node {
            value: tensor.clone(),
            copy: None,
            gradient: FloatType::F32,
            inputs: Vec::new(),
            backward: None,
            is_differentiable,
        });
        Var(self.nodes.len() - 1)
    }

    /// Puts an operation's result on the tape: its value, which was recorded already, what it was made of,
    /// and the way back. This is how operations that the tape does not know are added.
    pub fn push(&mut self, value: Tensor, inputs: &[Var], backward: Box<dyn Backward>) -> Var {
        let is_differentiable = inputs.iter().any(|&input| self.is_differentiable(input));
        self.nodes.push(Node {
            value,
            copy: None,
            gradient: self.storage,
            inputs: inputs.to_vec(),
            backward: is_differentiable.then_some(backward),
            is_differentiable,
        });
        Var(self.nodes.len() - 1)
    }

    /// Appends the backward pass from `outputs`, each with the gradient to begin with, and returns the
    /// gradients of all parameters, and of what lies between.
    ///
    /// # Errors
    /// [`OpError`]: a first gradient of another shape than its variable, and what the operations say.
    pub fn backward(&mut self, outputs: &[(Var, &Tensor)]) -> Result<Gradients, OpError> {
        let mut gradients = Gradients::default();
        for &(var, gradient) in outputs {
            let value = &self.nodes[var.0].value;
            if value.shape() != gradient.shape() {
                return Err(OpError::Shape {
                    op: "backward",
                    what: "gradient of the output",
                    got: gradient.shape().to_vec(),
                    expected: format!("{:?}, as the output has", value.shape()),
                });
            }
            self.accumulate(&mut gradients, var, gradient.clone())?;
        }
        for index in (0..self.nodes.len()).rev() {
            let node = &self.nodes[index];
            let (Some(backward), Some(gradient)) = (&node.backward, gradients.get(Var(index)))
            else {
                continue;
            };
            let gradient = gradient.clone();
            let wanted: Vec<bool> = node
                .inputs
                .iter()
                .map(|input| self.nodes[input.0].is_differentiable)
                .collect();
            let made = backward.backward(&mut self.recording, &gradient, &wanted)?;
            let inputs = node.inputs.clone();
            for (input, gradient) in inputs.into_iter().zip(made) {
                if let Some(gradient) = gradient.filter(|_| self.nodes[input.0].is_differentiable) {
                    self.accumulate(&mut gradients, input, gradient)?;
                }
            }
        }
        Ok(gradients)
    }

    /// Adds a gradient to what a variable has so far.
    fn accumulate(
        &mut self,
        gradients: &mut Gradients,
        var: Var,
        gradient: Tensor,
    ) -> Result<(), OpError> {
        let storage = self.gradient_storage(var);
        let recording = &mut self.recording;
        let total = match gradients.by_var.get(&var) {
            None if storage == FloatType::F32 => cast(recording, &gradient, storage)?,
            None => gradient,
            Some(sum) => {
                let add = (Binary::Add, Broadcast::Full);
                binary(recording, sum, &gradient, add, storage)?
            }
        };
        gradients.by_var.insert(var, total);
        Ok(())
    }
}

fn check_shape(
    op: &'static str,
    what: &'static str,
    tensor: &Tensor,
    expected: &[usize],
) -> Result<(), OpError> {
    if tensor.shape() == expected {
        return Ok(());
    }
    Err(OpError::Shape {
        op,
        what,
        got: tensor.shape().to_vec(),
        expected: format!("{expected:?}, as the value has"),
    })
}
