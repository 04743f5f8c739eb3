//! A multilayer perceptron: `x` flattened, then linear layers with an activation between them.
//!
//! Names are those of `torch.nn.Sequential(Flatten(), Linear(..), ReLU(), Linear(..), ..)`: layer `i` is
//! `{2 i + 1}.weight [outputs, inputs]` and `{2 i + 1}.bias [outputs]`.

use crate::autograd::{Tape, Var};
use crate::ops::OpError;
use crate::ops::nn::Curve;
use crate::tensor::HostTensor;

use super::initial::uniform;
use super::{Initial, NamedTensor, Network, TrainError};

/// A multilayer perceptron: the sample flattened, then linear layers with an activation between them. Layer `i`
/// has parameters `{2 i + 1}.weight [outputs, inputs]` and `{2 i + 1}.bias [outputs]`, as a
/// `torch.nn.Sequential` that begins with `Flatten` names them.
#[derive(Debug, Clone, PartialEq)]
pub struct Mlp {
    sample_shape: Vec<usize>,
    /// Extents from the input to the classes, at least two.
    sizes: Vec<usize>,
    curve: Curve,
    initial: Initial,
}

impl Mlp {
    /// Layers from samples of `sample_shape` through `hidden` to `n_classes`, first values as
    /// [`Initial::Torch`].
    ///
    /// # Errors
    /// [`TrainError::EmptyLayer`] for an extent of 0, [`TrainError::Setting`] for a sample past the
    /// address space.
    pub fn new(
        sample_shape: &[usize],
        hidden: &[usize],
        n_classes: usize,
        curve: Curve,
    ) -> Result<Self, TrainError> {
        let inputs = sample_shape
            .iter()
            .try_fold(1usize, |product, &extent| product.checked_mul(extent))
            .ok_or(TrainError::Setting {
                what: "elements of a sample",
                given: f64::INFINITY,
                allowed: "what can be addressed",
            })?;
        let sizes: Vec<usize> = [&[inputs], hidden, &[n_classes]].concat();
        if let Some(layer) = sizes.iter().position(|&size| size == 0) {
            return Err(TrainError::EmptyLayer { layer });
        }
        Ok(Self {
            sample_shape: sample_shape.to_vec(),
            sizes,
            curve,
            initial: Initial::default(),
        })
    }

    /// The same with other first values.
    #[must_use]
    pub fn with_initial(self, initial: Initial) -> Self {
        Self { initial, ..self }
    }

    /// Extents from the input to the classes.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }
}

impl Network for Mlp {
    fn sample_shape(&self) -> &[usize] {
        &self.sample_shape
    }

    fn n_classes(&self) -> usize {
        self.sizes[self.sizes.len() - 1]
    }

    fn parameters(&self, seed: u64) -> Result<Vec<NamedTensor>, TrainError> {
        let mut made = Vec::new();
        for (layer, pair) in self.sizes.windows(2).enumerate() {
            let (inputs, outputs) = (pair[0], pair[1]);
            let [weight, bias] = self.initial.bounds(inputs, outputs);
            for (part, bound, shape) in [
                ("weight", weight, vec![outputs, inputs]),
                ("bias", bias, vec![outputs]),
            ] {
                let count = shape.iter().product();
                let values = uniform(seed, made.len() as u32, bound, count);
                let name = format!("{}.{part}", 2 * layer + 1);
                made.push((name, HostTensor::from_f32(shape, &values)?));
            }
        }
        Ok(made)
    }

    fn record(&self, tape: &mut Tape, x: Var, parameters: &[Var]) -> Result<Var, OpError> {
        let batch = tape.value(x).shape().first().copied().unwrap_or(0);
        let mut x = tape.reshape(x, &[batch, self.sizes[0]])?;
        for (layer, pair) in parameters.chunks_exact(2).enumerate() {
            if layer > 0 {
                x = tape.activation(x, self.curve)?;
            }
            x = tape.linear(x, pair[0], Some(pair[1]))?;
        }
        Ok(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_named_as_those_of_a_torch_sequential() {
        let mlp = Mlp::new(&[1, 4, 4], &[8, 4], 3, Curve::Relu).expect("sizes");
        let parameters = mlp.parameters(0).expect("small");
        let named: Vec<(&str, &[usize])> = parameters
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor.shape()))
            .collect();
        assert_eq!(
            named,
            [
                ("1.weight", &[8, 16][..]),
                ("1.bias", &[8]),
                ("3.weight", &[4, 8]),
                ("3.bias", &[4]),
                ("5.weight", &[3, 4]),
                ("5.bias", &[3]),
            ]
        );
        let glorot = mlp.with_initial(Initial::Glorot).parameters(0);
        let bias = glorot.expect("small")[1].1.to_f32().expect("f32");
        assert_eq!(bias, [0.0; 8]);
    }

    #[test]
    fn a_layer_without_outputs_is_refused() {
        for (shape, hidden, layer) in [(&[0][..], &[4][..], 0), (&[4], &[0], 1)] {
            let refused = Mlp::new(shape, hidden, 2, Curve::Relu);
            assert!(
                matches!(refused, Err(TrainError::EmptyLayer { layer: at }) if at == layer),
                "{refused:?}"
            );
        }
        let vast = Mlp::new(&[usize::MAX, 2], &[], 2, Curve::Relu);
        assert!(matches!(vast, Err(TrainError::Setting { .. })));
    }
}
