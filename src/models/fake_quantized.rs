//! Quantization-aware training of any network: its weights are trained as they are, and every forward pass sees
//! them as their scheme would store them.

use crate::autograd::Var;
use crate::num::Scheme;
use crate::ops::OpError;
use crate::ops::nn::{Coding, ScalesOf};

use super::{LayerSummary, Network, Pass, PassTensor, Role, SampleKind, TensorSpec};

/// A network whose passes, of training and of evaluation, take some parameters at the values that quantizing
/// them gives. Gradients go straight through; what is trained and stored stays f32, and quantizing it under the
/// same schemes gives the weights that were seen, bit for bit.
#[derive(Debug)]
pub struct FakeQuantized<N> {
    network: N,
    /// In the order of the network's tensors.
    codings: Vec<Option<Coded>>,
    inputs: Option<(Coding, ScalesOf)>,
}

/// How one parameter is seen.
#[derive(Debug, Clone, Copy)]
struct Coded {
    coding: (Coding, ScalesOf),
    /// The parameter as a matrix `[outputs, the rest]`, whose rows groups lie along.
    matrix: [usize; 2],
}

impl<N: Network> FakeQuantized<N> {
    /// `choose` gives the scheme of each parameter by its name and shape, `None` for those that stay as they
    /// are. Channels are the first dimension; groups lie along all others together, as in stored matrices.
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
            let coding = parameter_only(&spec, &choose).map(|scheme| Coding::of_scheme(&scheme));
            codings.push(coding.transpose()?);
        }
        Self::of_codings(network, &codings)
    }

    /// The same by codings, of any width from 2 to 8 bits.
    ///
    /// # Errors
    /// [`OpError`] for shapes that groups do not divide.
    pub fn with_codings(
        network: N,
        choose: impl Fn(&TensorSpec) -> Option<(Coding, ScalesOf)>,
    ) -> Result<Self, OpError> {
        let specs = network.tensors();
        let codings: Vec<_> = specs
            .iter()
            .map(|spec| parameter_only(spec, &choose))
            .collect();
        Self::of_codings(network, &codings)
    }

    fn of_codings(network: N, codings: &[Option<(Coding, ScalesOf)>]) -> Result<Self, OpError> {
        let mut made = Vec::new();
        for (spec, coding) in network.tensors().iter().zip(codings) {
            let outputs = spec.shape.first().copied().unwrap_or(1);
            let matrix = [outputs, spec.shape.iter().skip(1).product()];
            if let Some((coding, _)) = coding {
                coding.n_scales(&matrix)?;
            }
            made.push(coding.map(|coding| Coded { coding, matrix }));
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
        // Its tensors are those of the network: files and checkpoints serve both.
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
        self.network.tensors()
    }

    fn summary(&self) -> Vec<LayerSummary> {
        self.network.summary()
    }

    fn record(&self, pass: &mut Pass<'_>, x: Var) -> Result<Var, OpError> {
        let mut tensors = pass.tensors().to_vec();
        for (tensor, coded) in tensors.iter_mut().zip(&self.codings) {
            if let (PassTensor::Parameter(var), Some(coded)) = (tensor, coded) {
                let tape = pass.tape();
                let shape = tape.value(*var).shape().to_vec();
                let matrix = if shape.len() == 2 {
                    *var
                } else {
                    tape.reshape(*var, &coded.matrix)?
                };
                let seen = tape.fake_quantize_by_largest(matrix, coded.coding)?;
                *var = if shape.len() == 2 {
                    seen
                } else {
                    tape.reshape(seen, &shape)?
                };
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
}
