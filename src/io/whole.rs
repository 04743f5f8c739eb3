//! Reading a whole file, for formats that are not mapped.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

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

/// Files of a folder with this extension, in the order of their names; none where there is no such folder.
///
/// # Errors
/// [`IoError::Read`] for a folder that cannot be listed.
pub fn files_with_extension(
    folder: impl AsRef<Path>,
    extension: &str,
) -> Result<Vec<PathBuf>, IoError> {
    let folder = folder.as_ref();
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let refused = |reason| IoError::read(folder, reason);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(refused)? {
        let file = entry.map_err(refused)?.path();
        if file.extension().is_some_and(|found| found == extension) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// SHA-256 of these bytes one after the other, in lower-case hexadecimal.
pub fn sha256<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    parts.into_iter().for_each(|part| hash.update(part));
    hexadecimal(&hash.finalize())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of the regular file at `path` in lower-case hexadecimal, and its bytes.
///
/// # Errors
/// As [`read_bytes`].
pub fn file_sha256(path: impl AsRef<Path>) -> Result<(String, u64), IoError> {
    let path = path.as_ref();
    let metadata = fs::metadata(path).map_err(|reason| IoError::read(path, reason))?;
    if !metadata.is_file() {
        return Err(IoError::NotAFile {
            file: path.to_owned(),
        });
    }
    let read = |reason| IoError::read(path, reason);
    let mut file = fs::File::open(path).map_err(read)?;
    let (mut hash, mut count) = (Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut buffer).map_err(read)?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
        count += n as u64;
    }
    Ok((hexadecimal(&hash.finalize()), count))
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

    #[test]
    fn the_hash_of_a_file_is_that_of_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs::write(&path, "abc").unwrap();
        // The first example of FIPS 180-2.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(file_sha256(&path).unwrap(), (expected.to_owned(), 3));
    }
}
