//! Images and labels in IDX files, in the folder layout of MNIST.

use std::path::{Path, PathBuf};

use super::convert::{checked, inputs_of, labels_of, numbered};
use super::{DataError, Dataset, TrainTest};
use crate::io::idx::read_idx;
use crate::io::read_text;
use crate::tensor::HostTensor;

/// Stems of the files of a folder, as published with MNIST and Fashion-MNIST.
const TRAIN: [&str; 2] = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"];
const TEST: [&str; 2] = ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

/// Names of the classes, one a line, if there is such a file.
const CLASSES: &str = "classes.txt";

/// Loads the four files `{train,t10k}-{images-idx3,labels-idx1}-ubyte` of `folder`, each plain or
/// with `.gz`, and the names of the classes from `classes.txt`, one a line, where there is one;
/// without, classes are called by their numbers.
///
/// Images are `[1, height, width]`; bytes become the share of 255, correctly rounded.
///
/// # Errors
/// [`DataError::UnknownLayout`] if a file is missing, [`DataError::Io`] if one cannot be read, and
/// what [`load_idx`] and [`TrainTest::new`] refuse.
pub fn load_idx_folder(folder: impl AsRef<Path>) -> Result<TrainTest, DataError> {
    let folder = folder.as_ref();
    let classes = folder.join(CLASSES);
    let classes = if classes.exists() {
        Some(class_names(&read_text(&classes)?))
    } else {
        None
    };
    let set = |[images, labels]: [&str; 2], classes: Option<Vec<String>>| {
        load_idx(find(folder, images)?, find(folder, labels)?, classes)
            .map_err(|error| error.within(&folder.join(CLASSES)))
    };
    let train = set(TRAIN, classes)?;
    let test = set(TEST, Some(train.class_names().to_vec()))?;
    TrainTest::new(train, test).map_err(|error| match error {
        DataError::EmptyClass { .. } => error.within(&folder.join(TRAIN[1])),
        error => error.within(&folder.join(TEST[0])),
    })
}

/// Whether `folder` has the first file of the layout.
pub(super) fn is_idx_folder(folder: &Path) -> bool {
    find(folder, TRAIN[0]).is_ok()
}

/// Loads one file of images and one of labels. Without `classes`, they are the numbers up to the
/// largest label.
///
/// # Errors
/// [`DataError::Io`], [`DataError::Part`] for data of other types or dimensions,
/// [`DataError::LabelCount`], and what [`Dataset::new`] refuses.
pub fn load_idx(
    images: impl AsRef<Path>,
    labels: impl AsRef<Path>,
    classes: Option<Vec<String>>,
) -> Result<Dataset, DataError> {
    let (images, labels) = (images.as_ref(), labels.as_ref());
    from_idx(
        (images, &read_idx(images)?),
        (labels, &read_idx(labels)?),
        classes,
    )
}

/// The set of two tensors; the paths are for messages.
pub(super) fn from_idx(
    (images_file, images): (&Path, &HostTensor),
    (labels_file, labels): (&Path, &HostTensor),
    classes: Option<Vec<String>>,
) -> Result<Dataset, DataError> {
    let (n, sample_shape) = extents(images_file, images)?;
    let labels = labels_of(labels_file, labels)?;
    let of_labels = |error: DataError| error.within(labels_file);
    if labels.len() != n {
        return Err(of_labels(DataError::LabelCount {
            n_inputs: n,
            n_labels: labels.len(),
        }));
    }
    let classes = classes
        .map_or_else(|| numbered(&labels), Ok)
        .map_err(of_labels)?;
    let labels = checked(&labels, classes.len()).map_err(of_labels)?;
    let inputs = inputs_of(images_file, images)?;
    Dataset::new(inputs, sample_shape, labels, classes).map_err(|error| match error {
        // Names of classes are neither in the one file nor in the other.
        DataError::DuplicateClass { .. } | DataError::ClassCount { .. } => error,
        error => error.within(images_file),
    })
}

/// Loads a file of images alone. Every sample is of the one class `unlabelled`.
///
/// # Errors
/// As [`load_idx`].
pub fn load_idx_images(images: impl AsRef<Path>) -> Result<Dataset, DataError> {
    let file = images.as_ref();
    let images = read_idx(file)?;
    let (n, sample_shape) = extents(file, &images)?;
    let classes = vec!["unlabelled".to_owned()];
    Dataset::new(inputs_of(file, &images)?, sample_shape, vec![0; n], classes)
}

/// The number of samples, and the shape of one.
fn extents(file: &Path, images: &HostTensor) -> Result<(usize, Vec<usize>), DataError> {
    match *images.shape() {
        [n, height, width] => Ok((n, vec![1, height, width])),
        [n, ref sample @ ..] if (1..=3).contains(&sample.len()) => Ok((n, sample.to_vec())),
        ref shape => Err(DataError::Part {
            file: file.to_owned(),
            part: "inputs",
            dtype: images.dtype(),
            shape: shape.to_vec(),
            allowed: "[samples, features], [samples, height, width] or \
                      [samples, channels, height, width]",
        }),
    }
}

/// One name a line.
pub(super) fn class_names(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

fn find(folder: &Path, stem: &str) -> Result<PathBuf, DataError> {
    let plain = folder.join(stem);
    let compressed = folder.join(format!("{stem}.gz"));
    [plain, compressed]
        .into_iter()
        .find(|path| path.exists())
        .ok_or_else(|| DataError::UnknownLayout {
            folder: folder.to_owned(),
            looked_for: format!("{stem} and {stem}.gz"),
        })
}
