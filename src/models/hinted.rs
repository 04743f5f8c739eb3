//! A network that learns features from a teacher, through a projection that is trained with it and then dropped
//! (Romero et al., "FitNets: Hints for Thin Deep Nets", 2015).

use crate::autograd::Var;
use crate::ops::OpError;
use crate::ops::nn::Conv2dOptions;

use super::{
    First, Initial, LayerSummary, Mode, ModelError, Network, Pass, Role, SampleKind, Sequential,
    TensorSpec,
};

/// Name of the projection's weight; its bias is `hint.bias`.
const PROJECTION: [&str; 2] = ["hint.weight", "hint.bias"];

/// A network that tells of the features behind one of its layers in training. Its tensors are the network's, and
/// behind them those of the projection, where it has one.
#[derive(Debug, Clone, PartialEq)]
pub struct Hinted {
    network: Sequential,
    layer: usize,
    /// Shape of its weight: `[to, from]` for flat features, `[to, from, 1, 1]` for images.
    projection: Option<Vec<usize>>,
}

impl Hinted {
    /// Features behind `layer` as they are, whose maps attention transfer compares.
    ///
    /// # Errors
    /// [`ModelError::NoLayer`] when there is no such layer.
    pub fn new(network: Sequential, layer: usize) -> Result<Self, ModelError> {
        if network.shape_behind(layer).is_none() {
            let layers = network.layers().len();
            return Err(ModelError::NoLayer { layer, layers });
        }
        Ok(Self {
            network,
            layer,
            projection: None,
        })
    }

    /// Features behind `layer` brought to the shape of a sample's features in a teacher: flat ones by a linear
    /// layer, images `[channels, height, width]` by a convolution of 1x1.
    ///
    /// # Errors
    /// [`ModelError::NoLayer`] when there is no such layer, [`ModelError::Projection`] for features of other kinds
    /// or extents.
    pub fn projected(
        network: Sequential,
        layer: usize,
        teacher: &[usize],
    ) -> Result<Self, ModelError> {
        let hinted = Self::new(network, layer)?;
        let found = hinted.network.shape_behind(layer).unwrap_or_default();
        let projection = match (found, teacher) {
            ([from], [to]) => vec![*to, *from],
            ([from, height, width], [to, h, w]) if [height, width] == [h, w] => {
                vec![*to, *from, 1, 1]
            }
            _ => {
                return Err(ModelError::Projection {
                    layer,
                    found: found.to_vec(),
                    expected: teacher.to_vec(),
                });
            }
        };
        Ok(Self {
            projection: Some(projection),
            ..hinted
        })
    }

    /// The network as it is.
    pub const fn network(&self) -> &Sequential {
        &self.network
    }
}

impl Network for Hinted {
    fn describe(&self) -> String {
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
        if let Some(shape) = &self.projection {
            let bounds = Initial::Torch.bounds(shape[1], shape[0]);
            let shapes = [shape.clone(), vec![shape[0]]];
            for ((name, shape), bound) in PROJECTION.iter().zip(shapes).zip(bounds) {
                tensors.push(TensorSpec {
                    name: (*name).to_owned(),
                    role: Role::Parameter,
                    shape,
                    first: First::Uniform { bound },
                });
            }
        }
        tensors
    }

    fn summary(&self) -> Vec<LayerSummary> {
        self.network.summary()
    }

    fn record(&self, pass: &mut Pass<'_>, x: Var) -> Result<Var, OpError> {
        if matches!(pass.mode(), Mode::Evaluation) {
            return self.network.record(pass, x);
        }
        let first = self.network.tensors().len();
        let (logits, features) = self.network.record_with(pass, x, self.layer)?;
        let Some(features) = features else {
            return Ok(logits);
        };
        let projected = match &self.projection {
            None => features,
            Some(shape) => {
                let (weight, bias) = (pass.parameter(first)?, pass.parameter(first + 1)?);
                let tape = pass.tape();
                match shape.len() {
                    2 => tape.linear(features, weight, Some(bias))?,
                    _ => tape.conv2d(features, weight, Some(bias), &Conv2dOptions::default())?,
                }
            }
        };
        pass.tell_features(projected);
        Ok(logits)
    }
}
