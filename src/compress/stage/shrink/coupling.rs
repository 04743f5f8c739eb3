//! Which tensors a layer's outputs are coupled to: what has to be cut along with a neuron or a filter.
//!
//! From the layer that makes them, channels are followed to the layer that reads them. Activations, dropout and
//! pooling leave each channel where it is; batch normalization and depthwise convolutions have tensors of their
//! own for each; flattening makes `height * width` neighbouring inputs of one.

use crate::models::{Layer, LayerSummary, Network as _, Sequential};

/// A part of the network that each unit has a share of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// `per_unit` neighbouring rows of a tensor, and of what counts them in layer `layer`.
    Rows {
        /// Index of the layer.
        layer: usize,
        /// Rows of a unit.
        per_unit: usize,
    },
    /// `per_unit` neighbouring columns of the weight, as a matrix of its outputs.
    Columns {
        /// Index of the layer.
        layer: usize,
        /// Columns of a unit.
        per_unit: usize,
    },
}

/// Units that can be cut: the neurons of a linear layer, or the filters of a convolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Units {
    /// Index of the layer that makes them.
    pub layer: usize,
    /// How many there are.
    pub count: usize,
    /// The shares: rows of the layer itself first, columns of the one that reads them last.
    pub shares: Vec<Share>,
}

/// The units of a layer, or why it has none that can be cut.
pub fn units_of(network: &Sequential, layer: usize) -> Result<Units, String> {
    let layers = network.layers();
    let count = match layers.get(layer) {
        Some(
            Layer::Linear { outputs, .. }
            | Layer::Conv2d {
                outputs, groups: 1, ..
            },
        ) => *outputs,
        Some(Layer::Conv2d { .. }) => {
            return Err(
                "a convolution of several groups is cut with the layer before it".to_owned(),
            );
        }
        Some(other) => return Err(format!("{} has no weights of outputs", other.kind())),
        None => return Err("there is no such layer".to_owned()),
    };
    let outputs: Vec<Vec<usize>> = network
        .summary()
        .into_iter()
        .map(|LayerSummary { output, .. }| output)
        .collect();
    let mut shares = vec![Share::Rows { layer, per_unit: 1 }];
    // Channels of a unit, then features of a unit once they are flat.
    let mut per_unit = 1;
    for at in layer + 1..layers.len() {
        let input = &outputs[at - 1];
        match layers[at] {
            Layer::Activation(_)
            | Layer::Dropout { .. }
            | Layer::Identity
            | Layer::MaxPool { .. }
            | Layer::GlobalAveragePool => {}
            // What flows through a decoder is cut everywhere or nowhere.
            other @ (Layer::Embedding { .. }
            | Layer::RmsNorm { .. }
            | Layer::SelfAttention(_)
            | Layer::GatedFeedForward { .. }) => {
                return Err(format!("{} behind it cannot be cut", other.kind()));
            }
            Layer::Flatten => per_unit *= input[1..].iter().product::<usize>(),
            Layer::BatchNorm { .. } => shares.push(Share::Rows {
                layer: at,
                per_unit,
            }),
            Layer::Linear { .. } => {
                shares.push(Share::Columns {
                    layer: at,
                    per_unit,
                });
                return Ok(Units {
                    layer,
                    count,
                    shares,
                });
            }
            Layer::Conv2d {
                kernel, groups: 1, ..
            } => {
                let per_unit = per_unit * kernel * kernel;
                shares.push(Share::Columns {
                    layer: at,
                    per_unit,
                });
                return Ok(Units {
                    layer,
                    count,
                    shares,
                });
            }
            Layer::Conv2d {
                outputs, groups, ..
            } if groups == input[0] => {
                per_unit *= outputs / groups;
                shares.push(Share::Rows {
                    layer: at,
                    per_unit,
                });
            }
            Layer::Conv2d { groups, .. } => {
                return Err(format!(
                    "layer {at} reads its channels in {groups} groups of several"
                ));
            }
        }
    }
    Err("its outputs are the logits".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{cnn, mobilenet};

    #[test]
    fn channels_are_followed_to_whoever_reads_them() {
        let network = cnn(&[1, 28, 28], 10).unwrap();
        let filters = units_of(&network, 3).unwrap();
        assert_eq!(filters.count, 32);
        assert_eq!(
            filters.shares,
            [
                Share::Rows {
                    layer: 3,
                    per_unit: 1
                },
                // 7x7 places of each channel lie side by side when they are flat.
                Share::Columns {
                    layer: 7,
                    per_unit: 49
                },
            ]
        );
        assert!(units_of(&network, 9).unwrap_err().contains("logits"));
        assert!(units_of(&network, 1).unwrap_err().contains("activation"));
        assert!(units_of(&network, 99).is_err());

        let network = mobilenet(&[1, 28, 28], 10, 1.0).unwrap();
        let stem = units_of(&network, 0).unwrap();
        let rows = |layer| Share::Rows { layer, per_unit: 1 };
        let read = Share::Columns {
            layer: 6,
            per_unit: 1,
        };
        assert_eq!(stem.shares, [rows(0), rows(1), rows(3), rows(4), read]);
        assert!(units_of(&network, 3).unwrap_err().contains("groups"));
        let last = units_of(&network, network.layers().len() - 5).unwrap();
        assert_eq!(
            last.shares.len(),
            3,
            "through the mean to the classes: {last:?}"
        );
    }

    #[test]
    fn convolutions_of_some_groups_cannot_be_followed_and_multipliers_can() {
        let convolution = |outputs, groups| Layer::Conv2d {
            outputs,
            kernel: 3,
            stride: 1,
            padding: 1,
            groups,
            has_bias: true,
        };
        let layers = |second| vec![convolution(4, 1), second, Layer::Flatten, Layer::linear(3)];
        let halves = Sequential::new("test", &[1, 5, 5], layers(convolution(4, 2))).unwrap();
        assert!(units_of(&halves, 0).unwrap_err().contains("2 groups"));
        let double = Sequential::new("test", &[1, 5, 5], layers(convolution(8, 4))).unwrap();
        let units = units_of(&double, 0).unwrap();
        assert_eq!(
            units.shares[1..],
            [
                Share::Rows {
                    layer: 1,
                    per_unit: 2
                },
                Share::Columns {
                    layer: 3,
                    per_unit: 50
                },
            ]
        );
    }
}
