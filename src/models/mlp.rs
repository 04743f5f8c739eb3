//! A multilayer perceptron: `x` flattened, then linear layers with an activation between them.
//!
//! Names are those of `torch.nn.Sequential(Flatten(), Linear(..), ReLU(), Linear(..), ..)`: layer `i` is
//! `{2 i + 1}.weight [outputs, inputs]` and `{2 i + 1}.bias [outputs]`.

use crate::autograd::Var;
use crate::ops::OpError;
use crate::ops::nn::Curve;

use super::layer::elements;
use super::{Initial, Layer, LayerSummary, ModelError, Network, Pass, Sequential, TensorSpec};

/// A multilayer perceptron: the sample flattened, then linear layers with an activation between them. Layer `i`
/// has parameters `{2 i + 1}.weight [outputs, inputs]` and `{2 i + 1}.bias [outputs]`, as a
/// `torch.nn.Sequential` that begins with `Flatten` names them.
#[derive(Debug, Clone, PartialEq)]
pub struct Mlp {
    layers: Sequential,
    /// Extents from the input to the classes, at least two.
    sizes: Vec<usize>,
}

impl Mlp {
    /// Layers from samples of `sample_shape` through `hidden` to `n_classes`, first values as
    /// [`Initial::Torch`].
    ///
    /// # Errors
    /// [`ModelError::EmptyLayer`] for an extent of 0, [`ModelError::TooLarge`] for a sample or a tensor past what
    /// can be addressed.
    pub fn new(
        sample_shape: &[usize],
        hidden: &[usize],
        n_classes: usize,
        curve: Curve,
    ) -> Result<Self, ModelError> {
        let inputs = elements(sample_shape)?;
        let sizes: Vec<usize> = [&[inputs], hidden, &[n_classes]].concat();
        if let Some(layer) = sizes.iter().position(|&size| size == 0) {
            return Err(ModelError::EmptyLayer { layer });
        }
        let mut layers = vec![Layer::Flatten];
        for &outputs in hidden {
            layers.extend([Layer::linear(outputs), Layer::Activation(curve)]);
        }
        layers.push(Layer::linear(n_classes));
        let named: Vec<String> = sizes.iter().map(ToString::to_string).collect();
        let description = format!("mlp {}", named.join("-"));
        Ok(Self {
            layers: Sequential::new(description, sample_shape, layers)?,
            sizes,
        })
    }

    /// The same with other first values.
    #[must_use]
    pub fn with_initial(self, initial: Initial) -> Self {
        let layers = self.layers.with_initial(initial);
        Self { layers, ..self }
    }

    /// Extents from the input to the classes.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }
}

impl From<Mlp> for Sequential {
    fn from(mlp: Mlp) -> Self {
        mlp.layers
    }
}

impl Network for Mlp {
    fn describe(&self) -> String {
        self.layers.describe()
    }

    fn sample_shape(&self) -> &[usize] {
        self.layers.sample_shape()
    }

    fn n_classes(&self) -> usize {
        self.layers.n_classes()
    }

    fn tensors(&self) -> Vec<TensorSpec> {
        self.layers.tensors()
    }

    fn summary(&self) -> Vec<LayerSummary> {
        self.layers.summary()
    }

    fn record(&self, pass: &mut Pass<'_>, x: Var) -> Result<Var, OpError> {
        self.layers.record(pass, x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_past_what_can_be_numbered_or_held_are_refused() {
        for hidden in [
            &[9_223_372_036_854_775_807][..],
            &[1_000_000_000_000],
            &[100_000, 100_000],
        ] {
            let refused = Mlp::new(&[8, 8], hidden, 3, Curve::Relu).expect_err("too large");
            let message = refused.to_string();
            assert!(
                message.contains("more elements than can be addressed"),
                "{message}"
            );
            assert!(message.contains(".weight"), "{message}");
        }
    }

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
                matches!(refused, Err(ModelError::EmptyLayer { layer: at }) if at == layer),
                "{refused:?}"
            );
        }
        let vast = Mlp::new(&[usize::MAX, 2], &[], 2, Curve::Relu);
        assert!(matches!(vast, Err(ModelError::TooLarge { .. })));
    }
}
