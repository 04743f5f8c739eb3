//! Mapping a file into memory, for formats that are read in place.
//!
//! The file must not be shortened while it is mapped: the operating system would stop the process when a
//! missing page is touched. Files written through [`atomic`](super::atomic) never are, because they are
//! replaced by a rename.

use std::fs::{self, File};
use std::path::Path;

use memmap2::Mmap;

use super::IoError;

/// The bytes of the regular file at `path`; `None` for an empty one, which not every system maps.
pub(super) fn map(path: &Path) -> Result<Option<Mmap>, IoError> {
    // Asked before opening: opening a named pipe would wait for a writer.
    let metadata = fs::metadata(path).map_err(|reason| IoError::read(path, reason))?;
    if !metadata.is_file() {
        return Err(IoError::NotAFile {
            file: path.to_owned(),
        });
    }
    if metadata.len() == 0 {
        return Ok(None);
    }
    let file = File::open(path).map_err(|reason| IoError::read(path, reason))?;
    #[expect(
        unsafe_code,
        reason = "mapping a file is unsafe in every API that offers it"
    )]
    // SAFETY: the bytes are only read, as plain `u8`, through bounds-checked slices of the mapped
    // length. The one promise the compiler is given and we cannot keep alone is that the bytes stay
    // as they are: a process that overwrites the file in place breaks it, as it does for every
    // user of a map. Nothing worse than wrong values is built on it, because offsets are
    // copied out of the header when it is checked, and values are never trusted as indices here.
    let mapped = unsafe { Mmap::map(&file) };
    mapped
        .map(Some)
        .map_err(|reason| IoError::read(path, reason))
}
