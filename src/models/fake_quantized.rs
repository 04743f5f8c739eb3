//! Quantization-aware training of any network: its weights are trained as they are, and every forward pass sees
//! them as their scheme would store them.

use crate::autograd::{Tape, Var};
use crate::num::{ScaleType, Scheme};
use crate::ops::OpError;
use crate::ops::nn::{Coding, ScalesOf};
use crate::tensor::{DType, HostTensor};

use super::{
    First, LayerSummary, ModelError, NamedTensor, Network, Pass, PassTensor, Role, SampleKind,
    TensorSpec,
};

/// A network whose passes, of training and of evaluation, take some parameters at the values that quantizing
/// them gives. Gradients go straight through; what is trained and stored stays f32, and quantizing it under the
/// same schemes gives the weights that were seen, bit for bit.
///
/// Scales follow from the weights in every pass, or are learned (Esser et al., "Learned Step Size Quantization",
/// 2020). Learned ones are tensors of their own behind those of the network: `X.weight_scale` for `X.weight`, f32
/// `[scales]`, the magnitudes as they are trained. [`stored_learned_scale`] makes of them what passes see.
///
/// [`stored_learned_scale`]: crate::num::quant::fake::stored_learned_scale
#[derive(Debug)]
pub struct FakeQuantized<N> {
    network: N,
    /// In the order of the network's tensors.
    codings: Vec<Option<Coded>>,
    inputs: Option<(Coding, ScalesOf)>,
}

/// Where the scales of a fake-quantized parameter come from.
#[derive(Debug, Clone, PartialEq)]
pub enum SeenScales {
    /// The largest magnitudes, in every pass.
    ByLargest(ScalesOf),
    /// They are trained.
    Learned {
        /// What they begin as, with their signs, which stay: one for each that the coding has.
        first: Vec<f32>,
        /// How they are stored.
        scale_type: ScaleType,
    },
}

/// How one parameter is seen.
#[derive(Debug, Clone)]
struct Coded {
    coding: Coding,
    scales: SeenScales,
    /// The parameter as a matrix `[outputs, the rest]`, whose rows groups lie along.
    matrix: [usize; 2],
}

impl<N: Network> FakeQuantized<N> {
    /// `choose` gives the scheme of each parameter by its name and shape, `None` for those that stay as they
    /// are. Channels are the first dimension; groups lie along all others together, as in stored matrices. Scales
    /// follow from the weights.
    ///
    /// # Errors
    /// [`OpError`] for schemes that passes cannot follow ([`Coding::of_scheme`]) and shapes that groups do not
    /// divide.
    pub fn new(
        network: N,
        choose: impl Fn(&TensorSpec) -> Option<Scheme>,
    ) -> Result<Self, OpError> {
        let mut codings = Vec::new();
        for spec in network.tensors() {
            let chosen = parameter_only(&spec, &choose);
            codings.push(match chosen {
                None => None,
                Some(scheme) => {
                    let (coding, of) = Coding::of_scheme(&scheme)?;
                    Some((coding, SeenScales::ByLargest(of)))
                }
            });
        }
        Self::of_codings(network, codings)
    }

    /// The same by codings, of any width from 2 to 8 bits, under scales of either kind.
    ///
    /// # Errors
    /// [`OpError`] for shapes that groups do not divide, and another number of first scales than the coding has.
    pub fn with_codings(
        network: N,
        choose: impl Fn(&TensorSpec) -> Option<(Coding, SeenScales)>,
    ) -> Result<Self, OpError> {
        let specs = network.tensors();
        let codings = specs.iter().map(|spec| parameter_only(spec, &choose));
        let codings = codings.collect();
        Self::of_codings(network, codings)
    }

    fn of_codings(network: N, codings: Vec<Option<(Coding, SeenScales)>>) -> Result<Self, OpError> {
        let mut made = Vec::new();
        for (spec, chosen) in network.tensors().iter().zip(codings) {
            let outputs = spec.shape.first().copied().unwrap_or(1);
            let matrix = [outputs, spec.shape.iter().skip(1).product()];
            let Some((coding, scales)) = chosen else {
                made.push(None);
                continue;
            };
            let count = coding.n_scales(&matrix)?;
            if let SeenScales::Learned { first, .. } = &scales
                && first.len() != count
            {
                return Err(OpError::Shape {
                    op: "fake-quantized network",
                    what: "first scales",
                    got: vec![first.len()],
                    expected: format!("[{count}] for {}", spec.name),
                });
            }
            made.push(Some(Coded {
                coding,
                scales,
                matrix,
            }));
        }
        Ok(Self {
            network,
            codings: made,
            inputs: None,
        })
    }

    /// The same with the inputs of all linear layers fake-quantized too, under scales of each pass:
    /// [`Coding::INT8_ROWS`] is what the integer products do with them.
    #[must_use]
    pub fn with_inputs(self, coding: (Coding, ScalesOf)) -> Self {
        let inputs = Some(coding);
        Self { inputs, ..self }
    }

    /// The network as it is.
    pub const fn network(&self) -> &N {
        &self.network
    }

    /// Names and first values of the learned scales, as magnitudes: what is behind the network's own tensors.
    ///
    /// # Errors
    /// [`ModelError::Tensor`] when the host has no memory of that size.
    pub fn first_scales(&self) -> Result<Vec<NamedTensor>, ModelError> {
        let mut made = Vec::new();
        for (name, first) in self.learned() {
            let magnitudes: Vec<f32> = first.iter().map(|scale| scale.abs()).collect();
            let tensor = HostTensor::from_f32(vec![first.len()], &magnitudes)?;
            made.push((name, tensor));
        }
        Ok(made)
    }

    /// Names and first values of learned scales, signs included.
    fn learned(&self) -> Vec<(String, &[f32])> {
        let mut learned = Vec::new();
        for (spec, coded) in self.network.tensors().into_iter().zip(&self.codings) {
            if let Some(Coded {
                scales: SeenScales::Learned { first, .. },
                ..
            }) = coded
            {
                learned.push((learned_scale_name(&spec.name), first.as_slice()));
            }
        }
        learned
    }
}

/// The name of the learned scales of a parameter.
pub fn learned_scale_name(parameter: &str) -> String {
    format!("{parameter}_scale")
}

impl Coded {
    /// The parameter as passes see it; `learned` are its scales where they are trained.
    fn record(
        &self,
        tape: &mut Tape,
        parameter: Var,
        learned: Option<Var>,
    ) -> Result<Var, OpError> {
        let shape = tape.value(parameter).shape().to_vec();
        let matrix = if shape.len() == 2 {
            parameter
        } else {
            tape.reshape(parameter, &self.matrix)?
        };
        let seen = match (&self.scales, learned) {
            (SeenScales::Learned { first, scale_type }, Some(learned)) => {
                let sign = |scale: &f32| 1f32.copysign(*scale).to_bits();
                let recording = tape.recording();
                let signs = recording.tensor(DType::F32, &[first.len()]);
                recording
                    .upload_words(signs.buffer(), first.iter().map(sign).collect::<Vec<_>>())?;
                let scales = tape.stored_scales(learned, &signs, *scale_type)?;
                tape.fake_quantize(matrix, scales, None, self.coding)?
            }
            (SeenScales::ByLargest(of), _) => {
                tape.fake_quantize_by_largest(matrix, (self.coding, *of))?
            }
            (SeenScales::Learned { .. }, None) => {
                return Err(OpError::Shape {
                    op: "fake-quantized network",
                    what: "list of tensors",
                    got: Vec::new(),
                    expected: "learned scales behind the network's own".to_owned(),
                });
            }
        };
        if shape.len() == 2 {
            Ok(seen)
        } else {
            tape.reshape(seen, &shape)
        }
    }
}

/// What is chosen for a parameter; running statistics stay as they are.
fn parameter_only<T>(spec: &TensorSpec, choose: &impl Fn(&TensorSpec) -> Option<T>) -> Option<T> {
    match spec.role {
        Role::Parameter => choose(spec),
        Role::Statistics => None,
    }
}

impl<N: Network> Network for FakeQuantized<N> {
    fn describe(&self) -> String {
        // Its tensors are those of the network, and learned scales: files and checkpoints serve both.
        self.network.describe()
    }

    fn sample_shape(&self) -> &[usize] {
        self.network.sample_shape()
    }

    fn samples(&self) -> SampleKind {
        self.network.samples()
    }

    fn n_predictions(&self) -> usize {
        self.network.n_predictions()
    }

    fn n_classes(&self) -> usize {
        self.network.n_classes()
    }

    fn tensors(&self) -> Vec<TensorSpec> {
        let mut tensors = self.network.tensors();
        let scales = self.learned().into_iter().map(|(name, first)| TensorSpec {
            name,
            role: Role::Parameter,
            shape: vec![first.len()],
            // `parameters` has the values.
            first: First::Constant(1.0),
        });
        tensors.extend(scales);
        tensors
    }

    fn summary(&self) -> Vec<LayerSummary> {
        self.network.summary()
    }

    fn record(&self, pass: &mut Pass<'_>, x: Var) -> Result<Var, OpError> {
        let n_own = self.codings.len();
        let all = pass.tensors();
        let mut tensors = all[..n_own.min(all.len())].to_vec();
        let mut learned = all.iter().skip(n_own);
        for (tensor, coded) in tensors.iter_mut().zip(&self.codings) {
            let Some(coded) = coded else {
                continue;
            };
            let scales = match coded.scales {
                SeenScales::ByLargest(_) => None,
                SeenScales::Learned { .. } => match learned.next() {
                    Some(PassTensor::Parameter(var)) => Some(*var),
                    _ => None,
                },
            };
            if let PassTensor::Parameter(var) = tensor {
                *var = coded.record(pass.tape(), *var, scales)?;
            }
        }
        let mode = pass.mode();
        let mut inner = Pass::new(pass.tape(), &tensors, mode).with_coded_inputs(self.inputs);
        let logits = self.network.record(&mut inner, x)?;
        if let Some(features) = inner.features() {
            pass.tell_features(features);
        }
        Ok(logits)
    }

    fn parameters(&self, seed: u64) -> Result<Vec<NamedTensor>, ModelError> {
        let mut values = self.network.parameters(seed)?;
        values.extend(self.first_scales()?);
        Ok(values)
    }
}
