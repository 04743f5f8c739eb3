//! Fashion-MNIST in the library: enough to train, prune and quantize with no download.
//!
//! The files under `data/fashion-mnist/` are in the published format and made from the published
//! files by the script `rebuild` beside them. Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST: a novel
//! image dataset for benchmarking machine learning algorithms" (2017), MIT licence, Zalando SE.

use std::path::Path;

use super::idx::{class_names, from_idx};
use super::{DataError, Dataset, TrainTest};
use crate::io::IoError;
use crate::io::idx::parse_idx;
use crate::tensor::HostTensor;

macro_rules! embedded {
    ($name:literal) => {
        (
            concat!("data/fashion-mnist/", $name),
            include_bytes!(concat!("../../data/fashion-mnist/", $name)).as_slice(),
        )
    };
}

type File = (&'static str, &'static [u8]);

const TRAIN: [File; 2] = [
    embedded!("train-images-idx3-ubyte.gz"),
    embedded!("train-labels-idx1-ubyte.gz"),
];
const TEST: [File; 2] = [
    embedded!("t10k-images-idx3-ubyte.gz"),
    embedded!("t10k-labels-idx1-ubyte.gz"),
];
const CLASSES: &str = include_str!("../../data/fashion-mnist/classes.txt");

/// The first 10,000 training and the first 2,000 test images of Fashion-MNIST: samples
/// `[1, 28, 28]` from 0 to 1, ten classes. Takes 38 MB of memory.
///
/// # Errors
/// Only if the library itself is damaged.
pub fn fashion_mnist_subset() -> Result<TrainTest, DataError> {
    TrainTest::new(set(TRAIN)?, set(TEST)?)
}

fn set([images, labels]: [File; 2]) -> Result<Dataset, DataError> {
    from_idx(
        (Path::new(images.0), &parse(images)?),
        (Path::new(labels.0), &parse(labels)?),
        Some(class_names(CLASSES)),
    )
}

fn parse((name, bytes): File) -> Result<HostTensor, IoError> {
    parse_idx(bytes).map_err(|reason| IoError::Idx {
        file: name.into(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Standardization, StandardizeBy, load_idx_folder};

    #[test]
    fn the_subset_is_the_first_images_of_the_published_set() {
        let TrainTest { train, test } = fashion_mnist_subset().unwrap();
        assert_eq!((train.n_samples(), test.n_samples()), (10_000, 2_000));
        assert_eq!(train.sample_shape(), [1, 28, 28]);
        assert_eq!(train.class_names()[9], "Ankle boot");
        assert_eq!(
            train.labels()[..20],
            [9, 0, 0, 3, 0, 2, 7, 2, 5, 5, 0, 9, 5, 5, 7, 9, 1, 0, 6, 4]
        );
        assert_eq!(
            train.class_counts(),
            [942, 1027, 1016, 1019, 974, 989, 1021, 1022, 990, 1000]
        );
        assert_eq!(
            test.class_counts(),
            [200, 203, 214, 190, 219, 195, 197, 200, 194, 188]
        );
        // Of the full training set: .2860406 and .3530242.
        let whole = Standardization::fit(&train, StandardizeBy::Whole).unwrap();
        assert!((whole.mean()[0] - 0.286).abs() < 2e-3, "{whole:?}");
        assert!((whole.std()[0] - 0.353).abs() < 2e-3, "{whole:?}");
    }

    #[test]
    fn the_folder_loads_as_what_is_built_in() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/data/fashion-mnist");
        assert_eq!(
            load_idx_folder(folder).unwrap(),
            fashion_mnist_subset().unwrap()
        );
    }
}
