//! A safetensors file on disk, mapped into memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::{Safetensors, SafetensorsError, TensorEntry, parse};
use crate::io::{IoError, map};
use crate::tensor::HostTensor;

/// An open safetensors file. The header is checked; data is read from the disk only when a tensor
/// is asked for.
///
/// The file must not be shortened while it is open: the operating system would stop the process
/// when a missing page is touched. Files written by [`write_safetensors`](super::write_safetensors)
/// never are, because they are replaced by a rename.
#[derive(Debug)]
pub struct SafetensorsFile {
    path: PathBuf,
    contents: Safetensors<Mmap>,
}

impl SafetensorsFile {
    /// Opens and checks the file at `path`.
    ///
    /// # Errors
    /// [`IoError::NotFound`], [`IoError::NotAFile`] or [`IoError::Read`] if it cannot be mapped,
    /// [`IoError::Safetensors`] with the first thing wrong with its header.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, IoError> {
        let path = path.as_ref();
        let empty = SafetensorsError::TooShort { file_bytes: 0 };
        let mapped = map::map(path)?.ok_or_else(|| IoError::safetensors(path, empty))?;
        let contents = parse(mapped).map_err(|reason| IoError::safetensors(path, reason))?;
        Ok(Self {
            path: path.to_owned(),
            contents,
        })
    }

    /// The path it was opened with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The checked bytes, for readers of formats within the format.
    pub(in crate::io) fn contents(&self) -> &Safetensors<impl AsRef<[u8]>> {
        &self.contents
    }

    /// Every tensor, sorted by name, including those of unsupported element types.
    pub fn tensors(&self) -> &[TensorEntry] {
        self.contents.tensors()
    }

    /// The free-form strings of the header, sorted by key; empty when it has none.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        self.contents.metadata()
    }

    /// A copy of one tensor.
    ///
    /// # Errors
    /// As [`Safetensors::tensor`], naming the file.
    pub fn tensor(&self, name: &str) -> Result<HostTensor, IoError> {
        self.contents
            .tensor(name)
            .map_err(|reason| IoError::safetensors(&self.path, reason))
    }

    /// The stored bytes of a tensor of any element type, without a copy.
    ///
    /// # Errors
    /// As [`Safetensors::tensor_bytes`], naming the file.
    pub fn tensor_bytes(&self, name: &str) -> Result<(&TensorEntry, &[u8]), IoError> {
        self.contents
            .tensor_bytes(name)
            .map_err(|reason| IoError::safetensors(&self.path, reason))
    }
}
