//! Layers of a [`Sequential`](super::Sequential): the shapes they make, their tensors, their cost, and how
//! they are recorded.

use crate::autograd::Var;
use crate::ops::OpError;
use crate::ops::nn::Curve;

use super::{First, Initial, ModelError, Pass, Role, TensorSpec};

/// One layer.
#[derive(Debug, Clone, Copy, PartialEq)]
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
}

/// What a layer is given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// Its index in the network, which is its name.
    pub index: usize,
    /// Shape of a sample before it.
    pub input: &'a [usize],
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
            Self::BatchNorm { .. } => "batch norm",
            Self::Activation(_) => "activation",
            Self::Dropout { .. } => "dropout",
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
                _ => refuse("a flat sample"),
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
            Self::Activation(_) | Self::Dropout { .. } => Ok(input.to_vec()),
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
        match *self {
            Self::Linear { outputs, has_bias } => {
                let inputs = place.input[0];
                let [weight, bias] = initial.bounds(inputs, outputs);
                let uniform = |bound| First::Uniform { bound };
                let mut made = vec![named("weight", &[outputs, inputs], uniform(weight))];
                if has_bias {
                    made.push(named("bias", &[outputs], uniform(bias)));
                }
                made
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
            Self::Flatten | Self::Activation(_) | Self::Dropout { .. } => Vec::new(),
        }
    }

    /// Multiply-adds for one sample.
    pub(super) fn multiply_adds(&self, place: Place<'_>) -> u64 {
        match *self {
            Self::Linear { outputs, .. } => outputs as u64 * place.input[0] as u64,
            Self::Flatten | Self::BatchNorm { .. } | Self::Activation(_) | Self::Dropout { .. } => {
                0
            }
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
                let weight = pass.parameter(first)?;
                let bias = if has_bias {
                    Some(pass.parameter(first + 1)?)
                } else {
                    None
                };
                pass.tape().linear(x, weight, bias)
            }
            Self::BatchNorm { epsilon, momentum } => pass.batch_norm(x, first, (epsilon, momentum)),
            Self::Activation(curve) => pass.tape().activation(x, curve),
            Self::Dropout { probability } => pass.dropout(x, probability, place.index as u32),
        }
    }
}

/// Elements of a shape.
pub(super) fn elements(shape: &[usize]) -> Result<usize, ModelError> {
    let product = |product: usize, &extent: &usize| product.checked_mul(extent);
    let count = shape.iter().try_fold(1, product);
    count.ok_or_else(|| ModelError::TooLarge {
        what: "a sample of",
        extents: shape.to_vec(),
    })
}
