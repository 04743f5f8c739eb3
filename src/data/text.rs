//! Texts as windows of bytes: each byte is a token, and its label is the byte behind it.

use std::path::{Path, PathBuf};

use super::{DataError, Dataset, TrainTest};
use crate::io::{files_with_extension, read_bytes};

/// Tokens there are: one a byte.
const N_BYTES: usize = 256;

/// The last part of each text, one in so many, is for judging.
const TEST_PART: usize = 10;

/// The texts of a folder: its `.txt` files, in the order of their names. The last tenth of each is for judging, the
/// rest for training; samples are windows of `length` bytes.
///
/// # Errors
/// [`DataError::Io`] for a file that cannot be read, [`DataError::UnknownLayout`] for a folder without texts,
/// [`DataError::NoSamples`] for texts shorter than a window.
pub fn load_text(folder: impl AsRef<Path>, length: usize) -> Result<TrainTest, DataError> {
    let folder = folder.as_ref();
    let files = text_files(folder)?;
    if files.is_empty() {
        return Err(DataError::UnknownLayout {
            folder: folder.to_owned(),
            looked_for: "files that end in .txt".into(),
        });
    }
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for file in files {
        let bytes = read_bytes(&file)?;
        let (first, last) = bytes.split_at(bytes.len() - bytes.len() / TEST_PART);
        train.extend(first.iter().copied().map(u32::from));
        test.extend(last.iter().copied().map(u32::from));
    }
    let names = || (0..N_BYTES).map(|byte| format!("{byte:#04x}")).collect();
    TrainTest::new(
        Dataset::windows(&train, length, names())?,
        Dataset::windows(&test, length, names())?,
    )
}

/// Texts of a folder, in the order of their names.
pub(super) fn text_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    Ok(files_with_extension(folder, "txt")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::atomic::write_bytes;

    #[test]
    fn windows_of_a_text_are_labelled_with_the_next_byte_and_split_at_nine_tenths() {
        let folder = tempfile::tempdir().expect("a folder");
        let text: Vec<u8> = (0..100).collect();
        write_bytes(&folder.path().join("b.txt"), &text).expect("written");
        write_bytes(&folder.path().join("a.txt"), &[7; 40]).expect("written");
        let data = load_text(folder.path(), 4).expect("texts");
        // 36 bytes of a, 90 of b: 125 have a next one.
        assert_eq!(
            (data.train.n_samples(), data.train.labels_per_sample()),
            (31, 4)
        );
        assert_eq!(data.train.sample(0), [7.0; 4]);
        assert_eq!(data.train.sample(9), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(data.train.sample_labels(8), [7, 7, 7, 0]);
        assert_eq!(data.train.sample_labels(9), [1, 2, 3, 4]);
        assert_eq!(data.test.n_samples(), 3);
        let refused = load_text(folder.path(), 200).expect_err("too short");
        assert!(matches!(refused, DataError::NoSamples));
    }
}
