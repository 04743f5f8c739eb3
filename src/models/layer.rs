//! Layers of a [`Sequential`](super::Sequential): the shapes they make, their tensors, their cost, and how
//! they are recorded.

use serde::{Deserialize, Serialize};

use crate::autograd::Var;
use crate::ops::OpError;
use crate::ops::nn::{Conv2dOptions, Curve, Pool2dOptions};

use super::decoder::{self, SelfAttention};
use super::{First, Initial, ModelError, Pass, Role, TensorSpec, Windows};

/// One layer. Files hold it as JSON: `{"linear": {"outputs": 10, "has_bias": true}}`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Layer {
    /// All elements of a sample in a row.
    Flatten,
    /// `y = x w^T + b` of a flat sample.
    Linear {
        /// Extent of its result.
        outputs: usize,
        /// Whether b is added.
        has_bias: bool,
    },
    /// A convolution of images `[channels, height, width]` with a square kernel.
    Conv2d {
        /// Channels of its result.
        outputs: usize,
        /// Height and width of the kernel.
        kernel: usize,
        /// Places from one window to the next.
        stride: usize,
        /// Zeros around the image.
        padding: usize,
        /// Parts of the channels that see each other; as many as there are channels for a depthwise
        /// convolution.
        groups: usize,
        /// Whether a number is added to each channel.
        has_bias: bool,
    },
    /// The largest of each square of `extent` by `extent` places, which do not overlap; what is left at the
    /// end is dropped.
    MaxPool {
        /// Height and width of a square, at least 1.
        extent: usize,
    },
    /// The mean of each channel of an image: a flat sample.
    GlobalAveragePool,
    /// Each channel, the first dimension of a sample, normalized over the batch; by running statistics in
    /// evaluation (Ioffe and Szegedy 2015).
    BatchNorm {
        /// Added to the variance; PyTorch's is 1e-5.
        epsilon: f32,
        /// Share of a batch in the running statistics; PyTorch's is 0.1.
        momentum: f32,
    },
    /// A function of each element.
    Activation(Curve),
    /// In training, elements are 0 with this probability (Srivastava et al. 2014).
    Dropout {
        /// In [0, 1).
        probability: f32,
    },
    /// Nothing: where a folded normalization was.
    Identity,
    /// A row of a table for each token of a window, `[length]` to `[length, width]`. Only the first layer
    /// can be one.
    Embedding {
        /// Tokens there are.
        vocabulary: usize,
        /// Extent of a row.
        width: usize,
    },
    /// Each token `[.., width]` over the root of its mean square, times a factor for each element (Zhang and
    /// Sennrich 2019).
    RmsNorm {
        /// Added to the mean of squares.
        epsilon: f32,
    },
    /// Norm, attention and residual of a decoder, `[length, width]` to the same.
    SelfAttention(SelfAttention),
    /// Norm, gated feed-forward part and residual of a decoder, `[length, width]` to the same.
    GatedFeedForward {
        /// Extent between its matrices.
        hidden: usize,
        /// Added to the mean of squares in the norm.
        epsilon: f32,
    },
}

/// What a layer is given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// Its index in the network, which is its name.
    pub index: usize,
    /// Shape of a sample before it.
    pub input: &'a [usize],
}

impl Place<'_> {
    /// The last extent of a sample.
    fn width(&self) -> usize {
        self.input.last().copied().unwrap_or(0)
    }
}

impl Layer {
    /// Batch normalization with PyTorch's settings.
    pub const BATCH_NORM: Self = Self::BatchNorm {
        epsilon: 1e-5,
        momentum: 0.1,
    };

    /// A linear layer with a bias.
    pub const fn linear(outputs: usize) -> Self {
        Self::Linear {
            outputs,
            has_bias: true,
        }
    }

    /// Its name in summaries and errors.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Flatten => "flatten",
            Self::Linear { .. } => "linear",
            Self::Conv2d { .. } => "convolution",
            Self::MaxPool { .. } => "max pool",
            Self::GlobalAveragePool => "global average pool",
            Self::BatchNorm { .. } => "batch norm",
            Self::Activation(_) => "activation",
            Self::Dropout { .. } => "dropout",
            Self::Identity => "identity",
            Self::Embedding { .. } => "embedding",
            Self::RmsNorm { .. } => "RMS norm",
            Self::SelfAttention(_) => "self-attention",
            Self::GatedFeedForward { .. } => "gated feed-forward",
        }
    }

    /// Shape of a sample behind it.
    pub(super) fn output(&self, place: Place<'_>) -> Result<Vec<usize>, ModelError> {
        let Place { index, input } = place;
        let setting = |what, given, allowed| ModelError::LayerSetting {
            layer: index,
            kind: self.kind(),
            what,
            given,
            allowed,
        };
        let refuse = |expected: &str| {
            Err(ModelError::LayerInput {
                layer: index,
                kind: self.kind(),
                found: input.to_vec(),
                expected: expected.to_owned(),
            })
        };
        match *self {
            Self::Flatten => Ok(vec![elements(input)?]),
            Self::Linear { outputs: 0, .. } => Err(setting("outputs", 0.0, "at least 1")),
            Self::Linear { outputs, .. } => match input {
                [_] => Ok(vec![outputs]),
                [length, _] => Ok(vec![*length, outputs]),
                _ => refuse("a flat sample"),
            },
            Self::Embedding { vocabulary, width } => match *input {
                _ if vocabulary == 0 => Err(setting("vocabulary", 0.0, "at least 1")),
                _ if width == 0 => Err(setting("width", 0.0, "at least 1")),
                [length] if index == 0 => Ok(vec![length, width]),
                _ => refuse("windows of tokens, before any other layer"),
            },
            Self::RmsNorm { epsilon } => match (decoder::positive_fault(epsilon), input) {
                (Some((what, given, allowed)), _) => Err(setting(what, given, allowed)),
                (None, [.., _]) => Ok(input.to_vec()),
                (None, []) => refuse("[.., width]"),
            },
            Self::SelfAttention(heads) => match *input {
                [_, width] => match heads.fault(width) {
                    Some((what, given, allowed)) => Err(setting(what, given, allowed)),
                    None => Ok(input.to_vec()),
                },
                _ => refuse("[length, width]"),
            },
            Self::GatedFeedForward { hidden, epsilon } => {
                match (decoder::positive_fault(epsilon), input) {
                    _ if hidden == 0 => Err(setting("hidden", 0.0, "at least 1")),
                    (Some((what, given, allowed)), _) => Err(setting(what, given, allowed)),
                    (None, [_, _]) => Ok(input.to_vec()),
                    (None, _) => refuse("[length, width]"),
                }
            }
            Self::Conv2d {
                outputs,
                kernel,
                stride,
                padding,
                groups,
                ..
            } => {
                for (what, value) in [
                    ("outputs", outputs),
                    ("kernel", kernel),
                    ("stride", stride),
                    ("groups", groups),
                ] {
                    if value == 0 {
                        return Err(setting(what, 0.0, "at least 1"));
                    }
                }
                let [channels, height, width] = *input else {
                    return refuse("[channels, height, width]");
                };
                if channels % groups != 0 || outputs % groups != 0 {
                    let allowed = "a divisor of the channels before and behind it";
                    return Err(setting("groups", groups as f64, allowed));
                }
                let swept = |extent: usize| {
                    let padded = padding.saturating_mul(2).saturating_add(extent);
                    Some(padded.checked_sub(kernel)? / stride + 1)
                };
                match (swept(height), swept(width)) {
                    (Some(height), Some(width)) => Ok(vec![outputs, height, width]),
                    _ => refuse(&format!(
                        "[channels, height, width] of at least {kernel}x{kernel} with {padding} zeros around"
                    )),
                }
            }
            Self::MaxPool { extent: 0 } => Err(setting("extent", 0.0, "at least 1")),
            Self::MaxPool { extent } => match *input {
                [channels, height, width] if height >= extent && width >= extent => {
                    Ok(vec![channels, height / extent, width / extent])
                }
                _ => refuse(&format!(
                    "[channels, height, width] of at least {extent}x{extent}"
                )),
            },
            Self::GlobalAveragePool => match *input {
                [channels, _, _] => Ok(vec![channels]),
                _ => refuse("[channels, height, width]"),
            },
            Self::BatchNorm { epsilon, momentum } => {
                if !(epsilon > 0.0 && epsilon.is_finite()) {
                    return Err(setting("epsilon", epsilon.into(), "positive and finite"));
                }
                if !(0.0..=1.0).contains(&momentum) {
                    return Err(setting("momentum", momentum.into(), "0 to 1"));
                }
                if input.is_empty() {
                    return refuse("[channels, ..]");
                }
                Ok(input.to_vec())
            }
            Self::Dropout { probability } if !(0.0..1.0).contains(&probability) => Err(setting(
                "probability",
                probability.into(),
                "0 or more and less than 1",
            )),
            Self::Activation(_) | Self::Dropout { .. } | Self::Identity => Ok(input.to_vec()),
        }
    }

    /// Its tensors, in the order that [`Self::record`] takes them.
    pub(super) fn tensors(&self, place: Place<'_>, initial: Initial) -> Vec<TensorSpec> {
        let named = |part: &str, shape: &[usize], first| TensorSpec {
            name: format!("{}.{part}", place.index),
            role: Role::Parameter,
            shape: shape.to_vec(),
            first,
        };
        let weight_and_bias = |shape: &[usize], has_bias, [weight, bias]: [f64; 2]| {
            let mut made = vec![named("weight", shape, First::Uniform { bound: weight })];
            if has_bias {
                made.push(named("bias", &shape[..1], First::Uniform { bound: bias }));
            }
            made
        };
        match *self {
            Self::Linear { outputs, has_bias } => {
                let inputs = place.width();
                let bounds = initial.bounds(inputs, outputs);
                weight_and_bias(&[outputs, inputs], has_bias, bounds)
            }
            Self::Conv2d {
                outputs,
                kernel,
                groups,
                has_bias,
                ..
            } => {
                let (inputs, taps) = (place.input[0] / groups, kernel * kernel);
                let bounds = initial.bounds(inputs * taps, outputs / groups * taps);
                weight_and_bias(&[outputs, inputs, kernel, kernel], has_bias, bounds)
            }
            Self::BatchNorm { .. } => {
                let channels = place.input[0];
                vec![
                    named("weight", &[channels], First::Constant(1.0)),
                    named("bias", &[channels], First::Constant(0.0)),
                    TensorSpec {
                        role: Role::Statistics,
                        ..named("running", &[channels, 2], First::MeanAndVariance)
                    },
                ]
            }
            Self::Embedding { vocabulary, width } => {
                decoder::embedding_tensors(place.index, [vocabulary, width])
            }
            Self::RmsNorm { .. } => decoder::norm_tensors(place),
            Self::SelfAttention(heads) => heads.tensors(place, initial),
            Self::GatedFeedForward { hidden, .. } => {
                decoder::feed_forward_tensors(place, hidden, initial)
            }
            Self::Flatten
            | Self::MaxPool { .. }
            | Self::GlobalAveragePool
            | Self::Activation(_)
            | Self::Dropout { .. }
            | Self::Identity => Vec::new(),
        }
    }

    /// Multiply-adds for one sample, whose shape behind the layer is `output`.
    pub(super) fn multiply_adds(&self, place: Place<'_>, output: &[usize]) -> u64 {
        let places: u64 = output.iter().map(|&extent| extent as u64).product();
        match *self {
            Self::Linear { .. } => places * place.width() as u64,
            Self::SelfAttention(heads) => heads.multiply_adds(place.input),
            Self::GatedFeedForward { hidden, .. } => 3 * places * hidden as u64,
            Self::Conv2d { kernel, groups, .. } => {
                places * (place.input[0] / groups * kernel * kernel) as u64
            }
            Self::Flatten
            | Self::MaxPool { .. }
            | Self::GlobalAveragePool
            | Self::BatchNorm { .. }
            | Self::Activation(_)
            | Self::Dropout { .. }
            | Self::Identity
            | Self::Embedding { .. }
            | Self::RmsNorm { .. } => 0,
        }
    }

    /// Appends it to a pass; `first` is the index of its first tensor there.
    pub(super) fn record(
        &self,
        pass: &mut Pass<'_>,
        x: Var,
        (place, first): (Place<'_>, usize),
    ) -> Result<Var, OpError> {
        match *self {
            Self::Flatten => {
                let batch = pass.tape().value(x).shape().first().copied();
                let flat = place.input.iter().product();
                pass.tape().reshape(x, &[batch.unwrap_or(0), flat])
            }
            Self::Linear { has_bias, .. } => {
                let &[_, width] = place.input else {
                    return pass.linear(x, first, has_bias);
                };
                // One row a token, and so are the logits.
                let n = pass.tape().value(x).len() / width.max(1);
                let rows = pass.tape().reshape(x, &[n, width])?;
                pass.linear(rows, first, has_bias)
            }
            Self::Embedding { vocabulary, .. } => pass.embedding(x, first, vocabulary),
            Self::RmsNorm { epsilon } => decoder::record_norm(pass, x, (place, first), epsilon),
            Self::SelfAttention(heads) => heads.record(pass, x, (place, first)),
            Self::GatedFeedForward { epsilon, .. } => {
                decoder::record_feed_forward(pass, x, (place, first), epsilon)
            }
            Self::Conv2d {
                kernel,
                stride,
                padding,
                groups,
                has_bias,
                ..
            } => {
                let options = Conv2dOptions {
                    stride: [stride; 2],
                    padding: [padding; 2],
                    groups,
                    ..Conv2dOptions::default()
                };
                let windows = Windows {
                    kernel: [kernel; 2],
                    options,
                };
                pass.conv2d(x, (first, has_bias), windows)
            }
            Self::BatchNorm { epsilon, momentum } => pass.batch_norm(x, first, (epsilon, momentum)),
            Self::Activation(curve) => pass.tape().activation(x, curve),
            Self::MaxPool { extent } => pass.tape().max_pool2d(x, &Pool2dOptions::square(extent)),
            Self::GlobalAveragePool => pass.tape().global_avg_pool(x),
            Self::Identity => Ok(x),
            Self::Dropout { probability } => pass.dropout(x, probability, place.index as u32),
        }
    }
}

/// Elements of a shape.
pub(super) fn elements(shape: &[usize]) -> Result<usize, ModelError> {
    let product = |product: usize, &extent: &usize| product.checked_mul(extent);
    let count = shape.iter().try_fold(1, product);
    count.ok_or_else(|| ModelError::TooLarge {
        what: "a sample of".to_owned(),
        extents: shape.to_vec(),
    })
}
