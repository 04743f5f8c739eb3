//! A GGUF file on disk, mapped into memory.

use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::{Gguf, GgufError, GgufTensor, Metadata, parse};
use crate::io::{IoError, map};
use crate::num::QuantizedMatrix;
use crate::tensor::HostTensor;

/// An open GGUF file. The header is checked; data is read from the disk only when a tensor is asked for.
///
/// The file must not be shortened while it is open, as [`crate::io::safetensors::SafetensorsFile`] says.
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    contents: Gguf<Mmap>,
}

impl GgufFile {
    /// Opens and checks the file at `path`.
    ///
    /// # Errors
    /// [`IoError::NotFound`], [`IoError::NotAFile`] or [`IoError::Read`] if it cannot be mapped,
    /// [`IoError::Gguf`] with the first thing wrong with its header.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, IoError> {
        let path = path.as_ref();
        let empty = GgufError::Magic {
            found: String::new(),
        };
        let mapped = map::map(path)?.ok_or_else(|| IoError::gguf(path, empty))?;
        let contents = parse(mapped).map_err(|reason| IoError::gguf(path, reason))?;
        Ok(Self {
            path: path.to_owned(),
            contents,
        })
    }

    /// The path it was opened with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names the file in an error about its contents, for callers that read [`Self::metadata`].
    pub fn error(&self, reason: GgufError) -> IoError {
        IoError::gguf(&self.path, reason)
    }

    /// Every key and value.
    pub fn metadata(&self) -> &Metadata {
        self.contents.metadata()
    }

    /// Every tensor, in the order of the file.
    pub fn tensors(&self) -> &[GgufTensor] {
        self.contents.tensors()
    }

    /// As [`Gguf::tensor_bytes`].
    ///
    /// # Errors
    /// The same, naming the file; so for all that follow.
    pub fn tensor_bytes(&self, name: &str) -> Result<(&GgufTensor, &[u8]), IoError> {
        self.named(self.contents.tensor_bytes(name))
    }

    /// As [`Gguf::tensor`].
    ///
    /// # Errors
    /// The same, naming the file.
    pub fn tensor(&self, name: &str) -> Result<HostTensor, IoError> {
        self.named(self.contents.tensor(name))
    }

    /// As [`Gguf::decoded`].
    ///
    /// # Errors
    /// The same, naming the file.
    pub fn decoded(&self, name: &str) -> Result<HostTensor, IoError> {
        self.named(self.contents.decoded(name))
    }

    /// As [`Gguf::matrix`].
    ///
    /// # Errors
    /// The same, naming the file.
    pub fn matrix(&self, name: &str) -> Result<QuantizedMatrix, IoError> {
        self.named(self.contents.matrix(name))
    }

    fn named<T>(&self, result: Result<T, GgufError>) -> Result<T, IoError> {
        result.map_err(|reason| self.error(reason))
    }
}
