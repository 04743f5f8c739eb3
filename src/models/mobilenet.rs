//! A network of depthwise-separable convolutions (Howard et al., "MobileNets: Efficient Convolutional Neural
//! Networks for Mobile Vision Applications", 2017): each block filters every channel on its own by 3x3, then mixes
//! channels by 1x1, both with batch normalization and relu. Of the paper's blocks these are the first five, the
//! first convolution has stride 1: images of 28x28 end as 7x7.

use crate::ops::nn::Curve;

use super::{Layer, ModelError, Sequential};

/// Channels of the first convolution, before the width multiplier.
const STEM: usize = 32;

/// Channels, before the width multiplier, and stride of each block.
const BLOCKS: [(usize, usize); 5] = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1)];

/// The narrowest layer, whatever the multiplier.
const FEWEST_CHANNELS: usize = 8;

/// A depthwise-separable network for images `[channels, height, width]`; `width` multiplies its channels, which
/// stay at least 8.
///
/// # Errors
/// [`ModelError`] for a width that is not in (0, 4], samples that are no images, and no classes.
pub fn mobilenet(
    sample_shape: &[usize],
    n_classes: usize,
    width: f64,
) -> Result<Sequential, ModelError> {
    if !(width > 0.0 && width <= 4.0) {
        return Err(ModelError::LayerSetting {
            layer: 0,
            kind: "mobilenet",
            what: "width",
            given: width,
            allowed: "more than 0, at most 4",
        });
    }
    let scaled = |channels: usize| ((channels as f64 * width) as usize).max(FEWEST_CHANNELS);
    let convolution = |outputs, kernel, stride, groups| Layer::Conv2d {
        outputs,
        kernel,
        stride,
        padding: kernel / 2,
        groups,
        // What it would add, normalization takes away.
        has_bias: false,
    };
    let relu = Layer::Activation(Curve::Relu);
    let mut channels = scaled(STEM);
    let mut layers = vec![convolution(channels, 3, 1, 1), Layer::BATCH_NORM, relu];
    for (outputs, stride) in BLOCKS {
        let outputs = scaled(outputs);
        layers.extend([
            convolution(channels, 3, stride, channels),
            Layer::BATCH_NORM,
            relu,
            convolution(outputs, 1, 1, 1),
            Layer::BATCH_NORM,
            relu,
        ]);
        channels = outputs;
    }
    layers.extend([Layer::GlobalAveragePool, Layer::linear(n_classes)]);
    let description = format!("mobilenet {width} {n_classes}");
    Sequential::new(description, sample_shape, layers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Network;

    #[test]
    fn a_separable_block_costs_one_over_channels_plus_one_over_the_kernel_of_a_full_one() {
        for width in [0.25, 1.0] {
            let network = mobilenet(&[1, 28, 28], 10, width).expect("fits");
            let summary = network.summary();
            for block in 0..BLOCKS.len() {
                let (depthwise, pointwise) = (&summary[3 + 6 * block], &summary[6 + 6 * block]);
                let (inputs, outputs) = (depthwise.output[0], pointwise.output[0]);
                let places = pointwise.output[1] * pointwise.output[2];
                let full = (inputs * outputs * 9 * places) as u64;
                let separable = depthwise.multiply_adds + pointwise.multiply_adds;
                // separable / full = 1 / outputs + 1 / 9, in integers.
                let (outputs, full) = (outputs as u64, u128::from(full));
                let left = u128::from(separable) * u128::from(9 * outputs);
                assert_eq!(left, full * u128::from(9 + outputs));
            }
        }
    }

    #[test]
    fn counts_and_shapes_are_those_worked_out_by_hand() {
        let network = mobilenet(&[1, 28, 28], 10, 1.0).expect("fits");
        let summary = network.summary();
        let parameters: usize = summary.iter().map(|one| one.parameters).sum();
        // Weights: the first convolution, then 9 m + m n a block; two numbers a normalized channel.
        let weights = 32 * 9
            + (32 * 9 + 32 * 64)
            + (64 * 9 + 64 * 128)
            + (128 * 9 + 128 * 128)
            + (128 * 9 + 128 * 256)
            + (256 * 9 + 256 * 256);
        let normalized = 32 + (32 + 64) + (64 + 128) + (128 + 128) + (128 + 256) + (256 + 256);
        assert_eq!(parameters, weights + 2 * normalized + 256 * 10 + 10);
        assert_eq!(summary[summary.len() - 2].output, [256]);
        assert_eq!(summary[summary.len() - 3].output, [256, 7, 7]);
        let narrow = mobilenet(&[3, 32, 32], 10, 0.125).expect("fits");
        assert_eq!(narrow.summary()[0].output, [8, 32, 32]);
        for width in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(mobilenet(&[1, 28, 28], 10, width).is_err());
        }
    }
}
