//! A forward pass: the tape it is recorded on, the network's tensors, and what it is for.

use std::ops::Range;

use crate::autograd::{Tape, Var};
use crate::kernels::Activation;
use crate::num::StaticScale;
use crate::ops::nn::{
    Coding, Conv2dOptions, DropoutOptions, Indices, Running, ScalesOf, conv2d_by_rows,
};
use crate::ops::{
    ActivationPath, LinearOptions, OpError, StaticCodes, Weight, linear, linear_to_codes,
};
use crate::record::Tensor;

/// What a forward pass is for.
#[derive(Debug, Clone, Copy)]
pub enum Mode<'a> {
    /// Batch normalization by the batch, which moves the running statistics; dropout drops.
    Training {
        /// Seed of what is dropped.
        seed: u64,
        /// u32 `[1]`: number of the step, which gives each step masks of its own.
        step: &'a Tensor,
    },
    /// Batch normalization by running statistics; dropout does nothing.
    Evaluation,
}

/// One of a network's tensors in a pass.
#[derive(Debug, Clone)]
pub enum PassTensor {
    /// On the tape; a constant when it is frozen.
    Parameter(Var),
    /// A weight `[outputs, inputs]` in any format, which has no gradient.
    Weight {
        /// Where it is.
        weight: Weight,
        /// How activations meet it.
        activations: ActivationPath,
    },
    /// Running statistics, f32 `[channels, 2]`.
    Statistics {
        /// Mean and variance of each channel.
        tensor: Tensor,
        /// Training neither moves them nor normalizes by the batch.
        is_frozen: bool,
    },
}

/// A forward pass over a network's tensors.
#[derive(Debug)]
pub struct Pass<'a> {
    tape: &'a mut Tape,
    tensors: &'a [PassTensor],
    mode: Mode<'a>,
    /// What the inputs of linear layers are fake-quantized to.
    coded_inputs: Option<(Coding, ScalesOf)>,
    /// Inputs of weights so far, when someone wants to know.
    seen: Option<Vec<SeenInput>>,
    /// What a loss compares besides the logits.
    features: Option<Var>,
}

/// What a weight was given in a pass.
#[derive(Debug, Clone, Copy)]
pub struct SeenInput {
    /// The weight's index among the network's tensors.
    pub tensor: usize,
    /// Its input: `[batch, inputs]` of a linear layer, `[batch, channels, height, width]` of a convolution.
    pub input: Var,
    /// The windows of a convolution.
    pub windows: Option<Windows>,
}

/// A linear layer of a chain whose results go from one to the next in int8.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    /// The network's tensor that is its weight.
    pub first: usize,
    /// Whether the next one is its bias.
    pub has_bias: bool,
    /// What follows it.
    pub activation: Activation,
}

/// How a convolution sees its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Height and width of a window.
    pub kernel: [usize; 2],
    /// How windows move.
    pub options: Conv2dOptions,
}

impl<'a> Pass<'a> {
    /// A pass on a tape over `tensors`, in the network's order.
    pub const fn new(tape: &'a mut Tape, tensors: &'a [PassTensor], mode: Mode<'a>) -> Self {
        Self {
            tape,
            tensors,
            mode,
            coded_inputs: None,
            seen: None,
            features: None,
        }
    }

    /// The same with the inputs of linear layers on the tape fake-quantized, under scales of each pass.
    #[must_use]
    pub fn with_coded_inputs(self, coded_inputs: Option<(Coding, ScalesOf)>) -> Self {
        Self {
            coded_inputs,
            ..self
        }
    }

    /// The same, keeping what linear layers and convolutions are given: [`Self::seen`].
    #[must_use]
    pub fn watching(self) -> Self {
        Self {
            seen: Some(Vec::new()),
            ..self
        }
    }

    /// Inputs of weights so far, in the order of layers; nothing unless the pass is [`Self::watching`].
    pub fn seen(&self) -> &[SeenInput] {
        self.seen.as_deref().unwrap_or_default()
    }

    fn see(&mut self, tensor: usize, input: Var, windows: Option<Windows>) {
        if let Some(seen) = &mut self.seen {
            seen.push(SeenInput {
                tensor,
                input,
                windows,
            });
        }
    }

    /// Tells of features that a loss compares with a teacher's, besides the logits.
    pub const fn tell_features(&mut self, features: Var) {
        self.features = Some(features);
    }

    /// The features that the network told of.
    pub const fn features(&self) -> Option<Var> {
        self.features
    }

    /// The tape.
    pub const fn tape(&mut self) -> &mut Tape {
        self.tape
    }

    /// The network's tensors, in its order.
    pub const fn tensors(&self) -> &'a [PassTensor] {
        self.tensors
    }

    /// What the pass is for.
    pub const fn mode(&self) -> Mode<'a> {
        self.mode
    }

    /// Whether parts may be kept out of it: it is one of training, and nobody looks at what is between layers.
    pub(super) const fn can_be_cut(&self) -> bool {
        let is_training = matches!(self.mode, Mode::Training { .. });
        is_training && self.coded_inputs.is_none() && self.seen.is_none()
    }

    /// A part of a training pass on x, of which the tape keeps the result only: `record` is given a pass over these of
    /// the network's tensors, now and when the way back needs what is between.
    pub(super) fn segment(
        &mut self,
        x: Var,
        tensors: Range<usize>,
        record: impl Fn(&mut Pass<'_>, Var) -> Result<Var, OpError> + 'static,
    ) -> Result<Var, OpError> {
        let Some(own) = self.tensors.get(tensors.clone()) else {
            return Err(self.missing(tensors.end, "tensors"));
        };
        let (mut inputs, own) = (vec![x], own.to_vec());
        for one in &own {
            if let PassTensor::Parameter(var) = one {
                inputs.push(*var);
            }
        }
        let training = match self.mode {
            Mode::Training { seed, step } => Some((seed, step.clone())),
            Mode::Evaluation => None,
        };
        self.tape.segment(&inputs, move |tape, vars| {
            let mut own = own.clone();
            let parameters = own.iter_mut().filter_map(|one| match one {
                PassTensor::Parameter(var) => Some(var),
                PassTensor::Weight { .. } | PassTensor::Statistics { .. } => None,
            });
            for (parameter, &var) in parameters.zip(&vars[1..]) {
                *parameter = var;
            }
            let mode = match &training {
                Some((seed, step)) => Mode::Training { seed: *seed, step },
                None => Mode::Evaluation,
            };
            record(&mut Pass::new(tape, &own, mode), vars[0])
        })
    }

    /// The network's tensor `index`, a parameter.
    ///
    /// # Errors
    /// [`OpError::Shape`] when there is none.
    pub fn parameter(&self, index: usize) -> Result<Var, OpError> {
        match self.tensors.get(index) {
            Some(PassTensor::Parameter(var)) => Ok(*var),
            _ => Err(self.missing(index, "a parameter")),
        }
    }

    /// A linear layer: x `[batch, inputs]`, the network's tensor `first` as weight `[outputs, inputs]` in whatever
    /// format it is, and `first + 1` as bias `[outputs]` where there is one.
    ///
    /// # Errors
    /// [`OpError`] for missing tensors, and other shapes.
    pub fn linear(&mut self, x: Var, first: usize, has_bias: bool) -> Result<Var, OpError> {
        self.product(x, (first, has_bias), Activation::Identity)
    }

    /// The same with relu behind it, in one launch where that can be: to the same bits as a linear layer and
    /// relu.
    ///
    /// # Errors
    /// As [`Self::linear`].
    pub fn linear_relu(&mut self, x: Var, first: usize, has_bias: bool) -> Result<Var, OpError> {
        self.product(x, (first, has_bias), Activation::Relu)
    }

    fn product(
        &mut self,
        x: Var,
        (first, has_bias): (usize, bool),
        activation: Activation,
    ) -> Result<Var, OpError> {
        self.see(first, x, None);
        let bias = self.bias(first, has_bias)?;
        match self.tensors.get(first) {
            Some(PassTensor::Weight {
                weight,
                activations,
            }) => {
                let bias = bias.map(|bias| self.tape.value(bias).clone());
                let options = LinearOptions {
                    bias: bias.as_ref(),
                    activations: *activations,
                    activation,
                    ..LinearOptions::default()
                };
                let x = self.tape.value(x).clone();
                let y = linear(self.tape.recording(), &x, weight, &options)?;
                Ok(self.tape.constant(&y))
            }
            _ => {
                let weight = self.parameter(first)?;
                let x = match self.coded_inputs {
                    Some(coding) => self.tape.fake_quantize_by_largest(x, coding)?,
                    None => x,
                };
                if activation == Activation::Relu {
                    self.tape.linear_relu(x, weight, bias)
                } else {
                    self.tape.linear(x, weight, bias)
                }
            }
        }
    }

    /// Linear layers one after the other, each with what follows it: those that pass codes on ([`Self::passes_codes`])
    /// make them in the product itself, under the scale of the next layer's inputs.
    ///
    /// # Errors
    /// As [`Self::linear`].
    pub(super) fn linear_chain(&mut self, x: Var, links: &[Link]) -> Result<Var, OpError> {
        let mut coded: Option<StaticCodes> = None;
        for (at, link) in links.iter().enumerate() {
            let next = links.get(at + 1);
            let next = next.and_then(|next| self.static_weight(next.first));
            let own = self.static_weight(link.first);
            let (Some((weight, own)), true) = (own, coded.is_some() || next.is_some()) else {
                return self.product(x, (link.first, link.has_bias), link.activation);
            };
            let bias = self.bias(link.first, link.has_bias)?;
            let bias = bias.map(|bias| self.tape.value(bias).clone());
            let options = LinearOptions {
                bias: bias.as_ref(),
                activations: ActivationPath::Int8Static(own),
                activation: link.activation,
                ..LinearOptions::default()
            };
            let given = self.tape.value(x).clone();
            let recording = self.tape.recording();
            coded = match (coded, next) {
                (None, Some((_, next))) => {
                    Some(linear_to_codes(recording, &given, weight, &options, next)?)
                }
                (Some(rows), Some((_, next))) => {
                    Some(rows.linear_to_codes(recording, weight, &options, next)?)
                }
                (Some(rows), None) => {
                    let y = rows.linear(recording, weight, &options)?;
                    return Ok(self.tape.constant(&y));
                }
                (None, None) => None,
            };
        }
        Ok(x)
    }

    /// Whether the layer with the weight `first` may give the one with the weight `next`, right behind it, int8 codes:
    /// both have scales for their inputs that were found beforehand, the next one's weight asks for nothing but codes,
    /// and nobody looks at what is between them.
    pub(super) fn passes_codes(&self, first: usize, next: usize) -> bool {
        let takes = self
            .static_weight(next)
            .is_some_and(|(weight, _)| weight.takes_codes());
        takes && self.static_weight(first).is_some() && self.seen.is_none()
    }

    /// A quantized weight whose inputs have a scale that was found beforehand.
    fn static_weight(&self, index: usize) -> Option<(&'a Weight, StaticScale)> {
        match self.tensors.get(index) {
            Some(PassTensor::Weight {
                weight: weight @ Weight::Quantized(_),
                activations: ActivationPath::Int8Static(scale),
            }) => Some((weight, *scale)),
            _ => None,
        }
    }

    /// Rows of the network's tensor `first`, a table `[vocabulary, width]`, for tokens x `[batch, length]`, which the
    /// caller has checked: `[batch, length, width]`.
    ///
    /// # Errors
    /// [`OpError`] for a missing tensor and other shapes.
    pub fn embedding(&mut self, x: Var, first: usize, vocabulary: usize) -> Result<Var, OpError> {
        let tokens = Indices::of(self.tape.value(x), "tokens", vocabulary)?;
        let table = self.parameter(first)?;
        self.tape.embedding(table, &tokens)
    }

    /// A convolution: x `[batch, channels, height, width]`, the network's tensor `first` as weight, `first + 1` as
    /// bias where there is one. A weight in another format than f32 is a matrix of its outputs.
    ///
    /// # Errors
    /// [`OpError`] for missing tensors and other shapes, and weights of several groups that are not f32.
    pub fn conv2d(
        &mut self,
        x: Var,
        (first, has_bias): (usize, bool),
        windows: Windows,
    ) -> Result<Var, OpError> {
        self.see(first, x, Some(windows));
        let bias = self.bias(first, has_bias)?;
        let Windows { kernel, options } = windows;
        match self.tensors.get(first) {
            Some(PassTensor::Weight {
                weight,
                activations,
            }) => {
                let bias = bias.map(|bias| self.tape.value(bias).clone());
                let product = LinearOptions {
                    bias: bias.as_ref(),
                    activations: *activations,
                    ..LinearOptions::default()
                };
                let x = self.tape.value(x).clone();
                let recording = self.tape.recording();
                let y = conv2d_by_rows(recording, &x, (weight, kernel), &options, &product)?;
                Ok(self.tape.constant(&y))
            }
            _ => {
                let weight = self.parameter(first)?;
                self.tape.conv2d(x, weight, bias, &options)
            }
        }
    }

    /// The bias of the layer whose first tensor is `first`.
    fn bias(&self, first: usize, has_bias: bool) -> Result<Option<Var>, OpError> {
        has_bias.then(|| self.parameter(first + 1)).transpose()
    }

    /// Batch normalization with factors and addends `[channels]` and running statistics, the network's tensors
    /// `first`, `first + 1` and `first + 2`. `settings` are what is added to the variance, and the share of a
    /// batch in the running statistics.
    ///
    /// # Errors
    /// [`OpError`] for missing tensors, and other shapes.
    pub fn batch_norm(
        &mut self,
        x: Var,
        first: usize,
        (epsilon, momentum): (f32, f32),
    ) -> Result<Var, OpError> {
        let (gamma, beta) = (self.parameter(first)?, self.parameter(first + 1)?);
        let Some(PassTensor::Statistics { tensor, is_frozen }) = self.tensors.get(first + 2) else {
            return Err(self.missing(first + 2, "running statistics"));
        };
        match self.mode {
            Mode::Training { .. } if !is_frozen => {
                let running = Running {
                    statistics: tensor,
                    momentum,
                };
                self.tape
                    .batch_norm(x, (gamma, beta), Some(running), epsilon)
            }
            Mode::Training { .. } | Mode::Evaluation => {
                self.tape.norm_by_running(x, tensor, (gamma, beta), epsilon)
            }
        }
    }

    /// Dropout in training. Layers with different streams drop independently.
    ///
    /// # Errors
    /// [`OpError`] for a probability outside [0, 1).
    pub fn dropout(&mut self, x: Var, probability: f32, stream: u32) -> Result<Var, OpError> {
        match self.mode {
            Mode::Training { seed, step } => {
                let options = DropoutOptions {
                    probability,
                    seed,
                    stream,
                };
                self.tape.dropout(x, options, step)
            }
            Mode::Evaluation => Ok(x),
        }
    }

    fn missing(&self, index: usize, what: &str) -> OpError {
        OpError::Shape {
            op: "network",
            what: "list of tensors",
            got: vec![self.tensors.len()],
            expected: format!("{what} at {index}"),
        }
    }
}
