//! The data set in a folder, whichever of the known layouts it has.

use std::path::Path;

use super::idx::is_idx_folder;
use super::text::{load_text, text_files};
use super::{DataError, Dataset, TrainTest, load_csv, load_idx_folder, load_safetensors};
use crate::io::csv::CsvOptions;

/// How to read the files of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Name of the column of labels in CSV files.
    pub label: String,
    /// The byte between two fields of CSV files.
    pub separator: u8,
    /// Bytes of a window of texts.
    pub window: usize,
}

impl Default for LoadOptions {
    /// The column `label`, and commas; windows of 128 bytes.
    fn default() -> Self {
        Self {
            label: "label".into(),
            separator: b',',
            window: 128,
        }
    }
}

/// Loads the data set in `folder`: the first of these layouts that it has.
///
/// 1. `train-images-idx3-ubyte` and its three companions, plain or `.gz` ([`load_idx_folder`]);
/// 2. `train.csv` and `test.csv` ([`load_csv`]);
/// 3. `train.safetensors` and `test.safetensors` ([`load_safetensors`]);
/// 4. files that end in `.txt` ([`load_text`]).
///
/// # Errors
/// [`DataError::UnknownLayout`] if it has none, and what the loader of the layout refuses.
pub fn load(folder: impl AsRef<Path>, options: &LoadOptions) -> Result<TrainTest, DataError> {
    let folder = folder.as_ref();
    let [train_csv, test_csv] = ["train.csv", "test.csv"].map(|name| folder.join(name));
    let [train_tensors, test_tensors] =
        ["train.safetensors", "test.safetensors"].map(|name| folder.join(name));
    if is_idx_folder(folder) {
        load_idx_folder(folder)
    } else if train_csv.exists() {
        let options = CsvOptions {
            separator: options.separator,
            label: Some(options.label.clone()),
        };
        pair([&train_csv, &test_csv], |file| load_csv(file, &options))
    } else if train_tensors.exists() {
        pair([&train_tensors, &test_tensors], |file| {
            load_safetensors(file)
        })
    } else if !text_files(folder)?.is_empty() {
        load_text(folder, options.window)
    } else {
        Err(DataError::UnknownLayout {
            folder: folder.to_owned(),
            looked_for:
                "train-images-idx3-ubyte (plain or .gz), train.csv, train.safetensors, *.txt".into(),
        })
    }
}

/// Two files as a pair of sets.
fn pair(
    [train, test]: [&Path; 2],
    mut read: impl FnMut(&Path) -> Result<Dataset, DataError>,
) -> Result<TrainTest, DataError> {
    TrainTest::new(read(train)?, read(test)?).map_err(|error| match error {
        DataError::EmptyClass { .. } => error.within(train),
        // That of the test set differs.
        error => error.within(test),
    })
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
