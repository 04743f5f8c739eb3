//! A small convolutional network, with the names of `torch.nn.Sequential(Conv2d(c, 16, 3, padding=1), ReLU(),
//! MaxPool2d(2), Conv2d(16, 32, 3, padding=1), ReLU(), MaxPool2d(2), Flatten(), Linear(32 h/4 w/4, 64), ReLU(),
//! Linear(64, classes))`.

use crate::ops::nn::Curve;

use super::{Layer, ModelError, Sequential};

/// Two convolutions of 3x3 with relu and pooling, then two linear layers, for images `[channels, height, width]` of
/// at least 4x4.
///
/// # Errors
/// [`ModelError`] for smaller images, samples that are none, and no classes.
pub fn cnn(sample_shape: &[usize], n_classes: usize) -> Result<Sequential, ModelError> {
    let convolution = |outputs| Layer::Conv2d {
        outputs,
        kernel: 3,
        stride: 1,
        padding: 1,
        groups: 1,
        has_bias: true,
    };
    let relu = Layer::Activation(Curve::Relu);
    let layers = vec![
        convolution(16),
        relu,
        Layer::MaxPool { extent: 2 },
        convolution(32),
        relu,
        Layer::MaxPool { extent: 2 },
        Layer::Flatten,
        Layer::linear(64),
        relu,
        Layer::linear(n_classes),
    ];
    Sequential::new(format!("cnn {n_classes}"), sample_shape, layers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Network;

    #[test]
    fn names_shapes_and_count_are_those_of_the_torch_sequential() {
        let network = cnn(&[1, 28, 28], 10).expect("fits");
        let tensors = network.tensors();
        let named: Vec<(&str, &[usize])> = tensors
            .iter()
            .map(|one| (one.name.as_str(), one.shape.as_slice()))
            .collect();
        assert_eq!(
            named,
            [
                ("0.weight", &[16, 1, 3, 3][..]),
                ("0.bias", &[16]),
                ("3.weight", &[32, 16, 3, 3]),
                ("3.bias", &[32]),
                ("7.weight", &[64, 1568]),
                ("7.bias", &[64]),
                ("9.weight", &[10, 64]),
                ("9.bias", &[10]),
            ]
        );
        let summary = network.summary();
        let parameters: usize = summary.iter().map(|one| one.parameters).sum();
        assert_eq!(parameters, 105_866);
        assert_eq!(summary[3].multiply_adds, 32 * 16 * 9 * 14 * 14);
        assert_eq!(summary[5].output, [32, 7, 7]);
    }

    #[test]
    fn images_that_pooling_would_empty_are_refused() {
        let small = cnn(&[1, 3, 8], 10).expect_err("3 rows").to_string();
        assert_eq!(
            small,
            "layer 5 (max pool) takes [channels, height, width] of at least 2x2, the layer before it gives [32, 1, 4]"
        );
        assert!(cnn(&[784], 10).is_err());
        assert!(cnn(&[1, 8, 8], 0).is_err());
    }
}
