//! Quantization-aware training of any network: its weights are trained as they are, and every forward pass sees
//! them as their scheme would store them.

use crate::autograd::Var;
use crate::num::Scheme;
use crate::ops::OpError;
use crate::ops::nn::{Coding, ScalesOf};

use super::{LayerSummary, Network, Pass, PassTensor, Role, TensorSpec};

/// A network whose passes, of training and of evaluation, take some parameters at the values that quantizing
/// them gives. Gradients go straight through; what is trained and stored stays f32, and quantizing it under the
/// same schemes gives the weights that were seen, bit for bit.
#[derive(Debug)]
pub struct FakeQuantized<N> {
    network: N,
    /// In the order of the network's tensors.
    schemes: Vec<Option<Scheme>>,
    inputs: Option<(Coding, ScalesOf)>,
}

impl<N: Network> FakeQuantized<N> {
    /// `choose` gives the scheme of each parameter by its name and shape, `None` for those that stay as they
    /// are. Channels are the first dimension, groups lie along the last.
    ///
    /// # Errors
    /// [`OpError`] for schemes that passes cannot follow ([`Coding::of_scheme`]) and shapes that groups do not
    /// divide.
    pub fn new(
        network: N,
        choose: impl Fn(&TensorSpec) -> Option<Scheme>,
    ) -> Result<Self, OpError> {
        let mut schemes = Vec::new();
        for spec in network.tensors() {
            let scheme = match spec.role {
                Role::Parameter => choose(&spec),
                Role::Statistics => None,
            };
            if let Some(scheme) = &scheme {
                Coding::of_scheme(scheme)?.0.n_scales(&spec.shape)?;
            }
            schemes.push(scheme);
        }
        Ok(Self {
            network,
            schemes,
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

    /// The scheme of each tensor, in the network's order.
    pub fn schemes(&self) -> &[Option<Scheme>] {
        &self.schemes
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
        for (tensor, scheme) in tensors.iter_mut().zip(&self.schemes) {
            if let (PassTensor::Parameter(var), Some(scheme)) = (tensor, scheme) {
                *var = pass.tape().fake_quantize_weight(*var, scheme)?;
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
