//! Layers one after the other, with the names of a `torch.nn.Sequential`: layer `i` has `i.weight`, `i.bias`
//! and, for batch normalization, `i.running`.

use std::ops::Range;

use crate::autograd::Var;
use crate::kernels::Activation;
use crate::ops::OpError;
use crate::ops::nn::Curve;

use super::layer::{Place, elements};
use super::network::tensor_elements;
use super::pass::Link;
use super::{
    Initial, Layer, LayerSummary, Mode, ModelError, Network, Pass, SampleKind, TensorSpec,
};

const RELU: Layer = Layer::Activation(Curve::Relu);

/// Layers one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequential {
    description: String,
    layers: Vec<Layer>,
    /// Shapes of a sample: before the first layer, then behind each.
    shapes: Vec<Vec<usize>>,
    initial: Initial,
    /// Parts of which training keeps only the results.
    segments: usize,
}

impl Sequential {
    /// `layers` on samples of `sample_shape`, with first values as [`Initial::Torch`]. The last one gives the
    /// logits, so its result must be flat.
    ///
    /// # Errors
    /// [`ModelError`] naming the layer that cannot take what it is given, or the tensor that is too large.
    pub fn new(
        description: impl Into<String>,
        sample_shape: &[usize],
        layers: Vec<Layer>,
    ) -> Result<Self, ModelError> {
        if elements(sample_shape)? == 0 {
            return Err(ModelError::EmptyLayer { layer: 0 });
        }
        let mut shapes = vec![sample_shape.to_vec()];
        let mut shape = sample_shape.to_vec();
        for (index, layer) in layers.iter().enumerate() {
            let place = Place {
                index,
                input: &shape,
            };
            let behind = layer.output(place)?;
            elements(&behind)?;
            for spec in layer.tensors(place, Initial::default()) {
                tensor_elements(&spec)?;
            }
            shapes.push(behind.clone());
            shape = behind;
        }
        let is_of_tokens = matches!(layers.first(), Some(Layer::Embedding { .. }));
        if shape.len() != if is_of_tokens { 2 } else { 1 } {
            return Err(ModelError::LayerInput {
                layer: layers.len(),
                kind: "logits",
                found: shape,
                expected: if is_of_tokens {
                    "[length, classes]".to_owned()
                } else {
                    "a flat sample".to_owned()
                },
            });
        }
        Ok(Self {
            description: description.into(),
            layers,
            shapes,
            initial: Initial::default(),
            segments: 1,
        })
    }

    /// The same with other first values.
    #[must_use]
    pub fn with_initial(self, initial: Initial) -> Self {
        Self { initial, ..self }
    }

    /// The same in so many parts, as far as there are layers: of each but the last, training keeps only the result, and
    /// the backward pass records the part once more. That needs less memory and more time, and gives the same bits.
    #[must_use]
    pub fn with_segments(self, segments: usize) -> Self {
        Self { segments, ..self }
    }

    /// The layers.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Shape of a sample behind a layer.
    pub fn shape_behind(&self, layer: usize) -> Option<&[usize]> {
        self.shapes.get(layer + 1).map(Vec::as_slice)
    }

    /// The layers up to `layer`, and flattened what is behind it: its features as logits. Names of tensors stay.
    ///
    /// # Errors
    /// [`ModelError::NoLayer`] when there is no such layer.
    pub fn until(&self, layer: usize) -> Result<Self, ModelError> {
        let layers = self.layers.get(..=layer).ok_or(ModelError::NoLayer {
            layer,
            layers: self.layers.len(),
        })?;
        let layers = [layers, &[Layer::Flatten]].concat();
        let description = format!("{} until {layer}", self.description);
        Self::new(description, &self.shapes[0], layers)
    }

    /// As [`Network::record`], and what is behind `layer`.
    pub(super) fn record_with(
        &self,
        pass: &mut Pass<'_>,
        x: Var,
        layer: usize,
    ) -> Result<(Var, Option<Var>), OpError> {
        let all = (0..self.layers.len(), layer);
        self.record_part(pass, (x, 0), all)
    }

    /// Records some of the layers, of which the first tensor is `first` in the pass, and what is behind `layer`.
    fn record_part(
        &self,
        pass: &mut Pass<'_>,
        (x, first): (Var, usize),
        (part, layer): (Range<usize>, usize),
    ) -> Result<(Var, Option<Var>), OpError> {
        let (mut x, mut first, mut features) = (x, first, None);
        let layers: Vec<_> = self.placed().take(part.end).skip(part.start).collect();
        let mut at = 0;
        while let Some(&(one, place)) = layers.get(at) {
            let (links, mut end) = chain(pass, &layers, (at, first), layer);
            if links.is_empty() {
                x = one.record(pass, x, (place, first))?;
                end = at + 1;
            } else {
                x = pass.linear_chain(x, &links)?;
            }
            for (one, place) in &layers[at..end] {
                first += one.tensors(*place, self.initial).len();
            }
            if layers[end - 1].1.index == layer {
                features = Some(x);
            }
            at = end;
        }
        Ok((x, features))
    }

    /// Where parts begin and end: each has about as many elements of results as the others, and a relu stays with what
    /// is before it.
    fn parts(&self) -> Vec<Range<usize>> {
        let elements: Vec<u128> = self.shapes[1..]
            .iter()
            .map(|shape| shape.iter().map(|&extent| extent as u128).product())
            .collect();
        let (total, n) = (elements.iter().sum::<u128>(), self.segments.max(1) as u128);
        let (mut parts, mut start, mut sum) = (Vec::new(), 0, 0);
        for (index, elements) in elements.into_iter().enumerate() {
            sum += elements;
            let done = parts.len() as u128 + 1;
            let next = self.layers.get(index + 1);
            let is_free = next.is_some_and(|next| !matches!(next, Layer::Activation(_)));
            if is_free && done < n && sum * n >= total * done {
                parts.push(start..index + 1);
                start = index + 1;
            }
        }
        parts.push(start..self.layers.len());
        parts
    }

    /// A training pass that keeps the results of parts only.
    fn record_in_parts(&self, pass: &mut Pass<'_>, x: Var) -> Result<Var, OpError> {
        let parts = self.parts();
        let (mut x, mut first) = (x, 0);
        for (index, part) in parts.iter().enumerate() {
            // The backward pass begins with the last part, so making it again would save nothing.
            if index + 1 == parts.len() {
                let no_layer = self.layers.len();
                return Ok(self
                    .record_part(pass, (x, first), (part.clone(), no_layer))?
                    .0);
            }
            let layers = self.placed().take(part.end).skip(part.start);
            let n: usize = layers
                .map(|(layer, place)| layer.tensors(place, self.initial).len())
                .sum();
            let (network, part) = (self.clone(), part.clone());
            x = pass.segment(x, first..first + n, move |pass, x| {
                let no_layer = network.layers.len();
                Ok(network
                    .record_part(pass, (x, 0), (part.clone(), no_layer))?
                    .0)
            })?;
            first += n;
        }
        Ok(x)
    }

    /// Shape of a sample's logits: `[classes]`, or `[length, classes]` behind windows of tokens.
    fn logits_shape(&self) -> &[usize] {
        &self.shapes[self.shapes.len() - 1]
    }

    /// Each layer and where it stands.
    fn placed(&self) -> impl Iterator<Item = (&Layer, Place<'_>)> {
        let places = self.shapes.iter().enumerate();
        let places = places.map(|(index, input)| Place { index, input });
        self.layers.iter().zip(places)
    }
}

impl Network for Sequential {
    fn describe(&self) -> String {
        self.description.clone()
    }

    fn sample_shape(&self) -> &[usize] {
        &self.shapes[0]
    }

    fn n_classes(&self) -> usize {
        self.logits_shape().last().copied().unwrap_or(0)
    }

    fn samples(&self) -> SampleKind {
        match self.layers.first() {
            Some(&Layer::Embedding { vocabulary, .. }) => SampleKind::Tokens { vocabulary },
            _ => SampleKind::Values,
        }
    }

    fn n_predictions(&self) -> usize {
        self.logits_shape().iter().rev().skip(1).product()
    }

    fn tensors(&self) -> Vec<TensorSpec> {
        self.placed()
            .flat_map(|(layer, place)| layer.tensors(place, self.initial))
            .collect()
    }

    fn summary(&self) -> Vec<LayerSummary> {
        let outputs = self.shapes[1..].iter();
        self.placed()
            .zip(outputs)
            .map(|((layer, place), output)| LayerSummary {
                name: format!("{} {}", place.index, layer.kind()),
                output: output.clone(),
                parameters: parameters(&layer.tensors(place, self.initial)),
                multiply_adds: layer.multiply_adds(place, output),
            })
            .collect()
    }

    fn record(&self, pass: &mut Pass<'_>, x: Var) -> Result<Var, OpError> {
        if self.segments > 1 && pass.can_be_cut() {
            return self.record_in_parts(pass, x);
        }
        Ok(self.record_with(pass, x, self.layers.len())?.0)
    }
}

/// The linear layers from `at` on that are recorded as one, and where the layers behind them begin: a layer with the
/// relu behind it, which is part of the product to the same bits, and as many more as are handed int8 codes by the one
/// before. None where there is no linear layer. The first tensor of `at` is `first` in the pass; what is behind `layer`
/// is asked for, so nothing is left out there.
fn chain(
    pass: &Pass<'_>,
    layers: &[(&Layer, Place<'_>)],
    (at, first): (usize, usize),
    layer: usize,
) -> (Vec<Link>, usize) {
    let (mut links, mut first, mut at, mut end) = (Vec::<Link>::new(), first, at, at);
    let is_asked = |at: usize| layers[at].1.index == layer;
    while let Some(&(&Layer::Linear { has_bias, .. }, place)) = layers.get(at) {
        let follows = |last: &Link| pass.passes_codes(last.first, first);
        if place.input.len() != 1 || !links.last().is_none_or(follows) {
            break;
        }
        let is_relu = layers.get(at + 1).is_some_and(|next| *next.0 == RELU);
        let is_fused = is_relu && !is_asked(at);
        let activation = if is_fused {
            Activation::Relu
        } else {
            Activation::Identity
        };
        links.push(Link {
            first,
            has_bias,
            activation,
        });
        first += 1 + usize::from(has_bias);
        end = at + 1 + usize::from(is_fused);
        at = end;
        let is_training = matches!(pass.mode(), Mode::Training { .. });
        // Dropout does nothing in an evaluation.
        while !is_training
            && !is_asked(at - 1)
            && matches!(layers.get(at), Some((Layer::Dropout { .. }, _)))
        {
            at += 1;
        }
        if is_asked(at - 1) {
            break;
        }
    }
    (links, end)
}

/// Elements of those that are trained.
fn parameters(tensors: &[TensorSpec]) -> usize {
    let trained = tensors
        .iter()
        .filter(|one| one.role == super::Role::Parameter);
    trained.map(|one| one.shape.iter().product::<usize>()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::SelfAttention;

    fn refused(sample: &[usize], layers: &[Layer]) -> String {
        let made = Sequential::new("test", sample, layers.to_vec());
        made.expect_err("refused").to_string()
    }

    #[test]
    fn tensors_and_costs_are_those_of_each_layer() {
        let layers = vec![
            Layer::Flatten,
            Layer::linear(5),
            Layer::BATCH_NORM,
            Layer::Activation(Curve::Relu),
            Layer::Dropout { probability: 0.5 },
            Layer::Linear {
                outputs: 3,
                has_bias: false,
            },
        ];
        let network = Sequential::new("test", &[1, 2, 4], layers).expect("fits");
        let tensors = network.tensors();
        let named: Vec<(&str, &[usize])> = tensors
            .iter()
            .map(|one| (one.name.as_str(), one.shape.as_slice()))
            .collect();
        assert_eq!(
            named,
            [
                ("1.weight", &[5, 8][..]),
                ("1.bias", &[5]),
                ("2.weight", &[5]),
                ("2.bias", &[5]),
                ("2.running", &[5, 2]),
                ("5.weight", &[3, 5]),
            ]
        );
        let values = network.parameters(0).expect("small");
        let running = values[4].1.to_f32().expect("f32");
        assert_eq!(running[..4], [0.0, 1.0, 0.0, 1.0]);
        let summary = network.summary();
        let costs: Vec<(usize, u64)> = summary
            .iter()
            .map(|one| (one.parameters, one.multiply_adds))
            .collect();
        assert_eq!(costs, [(0, 0), (45, 40), (10, 0), (0, 0), (0, 0), (15, 15)]);
        assert_eq!(summary[2].name, "2 batch norm");
    }

    #[test]
    fn layers_that_do_not_fit_are_refused_by_index_and_kind() {
        assert_eq!(
            refused(&[1, 2, 2], &[Layer::linear(3)]),
            "layer 0 (linear) takes a flat sample, the layer before it gives [1, 2, 2]"
        );
        // A row of logits each is only for tokens.
        assert_eq!(
            refused(&[2, 2], &[Layer::linear(3)]),
            "layer 1 (logits) takes a flat sample, the layer before it gives [2, 3]"
        );
        assert_eq!(
            refused(&[2], &[Layer::linear(3), Layer::linear(0)]),
            "layer 1 (linear): outputs = 0; allowed: at least 1"
        );
        let dropout = Layer::Dropout { probability: 1.0 };
        assert_eq!(
            refused(&[2], &[dropout]),
            "layer 0 (dropout): probability = 1; allowed: 0 or more and less than 1"
        );
        assert!(refused(&[2, 2], &[]).contains("(logits) takes a flat sample"));
        assert!(refused(&[0], &[Layer::linear(1)]).contains("size 0"));
        assert!(refused(&[usize::MAX, 2], &[Layer::Flatten]).contains("more elements"));
        let embedding = Layer::Embedding {
            vocabulary: 4,
            width: 6,
        };
        let attention = Layer::SelfAttention(SelfAttention {
            heads: 4,
            kv_heads: 2,
            rope_base: 1e4,
            epsilon: 1e-5,
        });
        for (layers, reason) in [
            (
                &[Layer::Flatten, embedding][..],
                "windows of tokens, before",
            ),
            (&[embedding, attention], "heads = 4; allowed: a divisor"),
            (&[attention], "takes [length, width]"),
            (&[embedding, Layer::Flatten], "takes [length, classes]"),
        ] {
            let message = refused(&[3], layers);
            assert!(message.contains(reason), "{message}");
        }
    }
}
