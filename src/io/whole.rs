//! Reading a whole file, for formats that are not mapped.

use std::fs;
use std::path::Path;

use super::IoError;

/// Every byte of the regular file at `path`.
///
/// # Errors
/// [`IoError::NotFound`], [`IoError::NotAFile`] or [`IoError::Read`].
pub fn read_bytes(path: impl AsRef<Path>) -> Result<Vec<u8>, IoError> {
    let path = path.as_ref();
    // Asked before opening: opening a named pipe would wait for a writer.
    let metadata = fs::metadata(path).map_err(|reason| IoError::read(path, reason))?;
    if !metadata.is_file() {
        return Err(IoError::NotAFile {
            file: path.to_owned(),
        });
    }
    fs::read(path).map_err(|reason| IoError::read(path, reason))
}

/// The text of the regular file at `path`.
///
/// # Errors
/// As [`read_bytes`], and [`IoError::NotUtf8`] with the first wrong byte.
pub fn read_text(path: impl AsRef<Path>) -> Result<String, IoError> {
    let path = path.as_ref();
    String::from_utf8(read_bytes(path)?).map_err(|reason| IoError::NotUtf8 {
        file: path.to_owned(),
        at: reason.utf8_error().valid_up_to(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_a_folder_and_bytes_that_are_no_text_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        assert!(matches!(read_bytes(&path), Err(IoError::NotFound { file }) if file == path));
        assert!(matches!(
            read_bytes(folder.path()),
            Err(IoError::NotAFile { .. })
        ));
        fs::write(&path, b"ab\xff").unwrap();
        assert_eq!(read_bytes(&path).unwrap(), b"ab\xff");
        assert!(matches!(
            read_text(&path),
            Err(IoError::NotUtf8 { at: 2, .. })
        ));
        fs::write(&path, "ab").unwrap();
        assert_eq!(read_text(&path).unwrap(), "ab");
    }
}
