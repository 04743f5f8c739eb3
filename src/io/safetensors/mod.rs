//! The safetensors container: named dense tensors behind a JSON header.
//!
//! A file is a little-endian `u64` header length `n`, then `n` bytes of JSON `{name: {"dtype",
//! "shape", "data_offsets": [begin, end]}}` with an optional `"__metadata__"` map of strings, then
//! the data. Offsets count from the end of the header and tile the data without holes or overlaps;
//! values are little-endian and row-major. <https://github.com/huggingface/safetensors#format>
//!
//! The header is checked twice. First here, because the reference crate refuses a file without
//! saying which tensor is wrong and by how much, and lets the last of two equal names win. Then by
//! the `safetensors` crate, so that nothing is read that the format's own reader would refuse.

mod error;
mod file;
pub(super) mod header;
mod write;

use std::collections::BTreeMap;
use std::fmt;

use ::safetensors::{Dtype, SafeTensors};

use super::near_names::near_names;
use crate::tensor::{DType, HostTensor};

pub use error::SafetensorsError;
pub(crate) use error::{Near, shown};
pub use file::SafetensorsFile;
pub use write::write_safetensors;

/// Bytes of the header length in front of the header.
const LENGTH_BYTES: usize = 8;

/// The reference crate reads no longer header, and this one neither writes nor reads one.
const MAX_HEADER_BYTES: usize = 100_000_000;

/// The element type of a stored tensor, whether or not this crate computes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredDType {
    /// A type [`HostTensor`] holds.
    Supported(DType),
    /// A type of the format that [`HostTensor`] does not hold: 4, 6 and 8-bit floats, complex
    /// numbers.
    Unsupported(Dtype),
}

impl fmt::Display for StoredDType {
    /// The name of a supported type (`f32`), or the format's own name of an unsupported one
    /// (`F8_E4M3`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Supported(dtype) => f.pad(dtype.name()),
            Self::Unsupported(dtype) => f.pad(&dtype.to_string()),
        }
    }
}

impl From<Dtype> for StoredDType {
    fn from(dtype: Dtype) -> Self {
        Self::Supported(match dtype {
            Dtype::F64 => DType::F64,
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::I64 => DType::I64,
            Dtype::I32 => DType::I32,
            Dtype::I16 => DType::I16,
            Dtype::I8 => DType::I8,
            Dtype::U64 => DType::U64,
            Dtype::U32 => DType::U32,
            Dtype::U16 => DType::U16,
            Dtype::U8 => DType::U8,
            Dtype::BOOL => DType::Bool,
            other => return Self::Unsupported(other),
        })
    }
}

/// One tensor of a file, as its header describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorEntry {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: StoredDType,
    /// Its dimensions, slowest first; empty for a scalar.
    pub shape: Vec<usize>,
    /// Where its data begins, in bytes from the start of the file.
    pub offset: usize,
    /// How many bytes of data it has.
    pub n_bytes: usize,
}

/// A checked safetensors file over the bytes `B`: borrowed, owned or mapped.
#[derive(Debug)]
pub struct Safetensors<B> {
    bytes: B,
    /// Sorted by name, which are all different.
    entries: Vec<TensorEntry>,
    metadata: BTreeMap<String, String>,
}

/// Checks the header of a whole safetensors file. No tensor data is read or copied, and memory use
/// is a small multiple of the header, which lies within `bytes`.
///
/// # Errors
/// A [`SafetensorsError`] naming the first thing wrong with the file. Never panics.
pub fn parse<B: AsRef<[u8]>>(bytes: B) -> Result<Safetensors<B>, SafetensorsError> {
    let header = header::read(bytes.as_ref())?;
    SafeTensors::read_metadata(bytes.as_ref()).map_err(|reason| SafetensorsError::Refused {
        reason: reason.to_string(),
    })?;
    Ok(Safetensors {
        bytes,
        entries: header.entries,
        metadata: header.metadata,
    })
}

impl<B: AsRef<[u8]>> Safetensors<B> {
    /// Every tensor, sorted by name, including those of unsupported element types.
    pub fn tensors(&self) -> &[TensorEntry] {
        &self.entries
    }

    /// The free-form strings of the header, sorted by key; empty when it has none.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The stored bytes of a tensor of any element type, without a copy.
    ///
    /// # Errors
    /// [`SafetensorsError::UnknownTensor`] with the names near to `name`.
    pub fn tensor_bytes(&self, name: &str) -> Result<(&TensorEntry, &[u8]), SafetensorsError> {
        let index = self
            .entries
            .binary_search_by(|entry| entry.name.as_str().cmp(name))
            .map_err(|_| self.unknown_tensor(name))?;
        let entry = &self.entries[index];
        let all = self.bytes.as_ref();
        // Only a `B` that shrinks after `parse` gets the error.
        let bytes = all
            .get(entry.offset..entry.offset + entry.n_bytes)
            .ok_or_else(|| SafetensorsError::Refused {
                reason: format!("now has only {} bytes", all.len()),
            })?;
        Ok((entry, bytes))
    }

    /// A copy of one tensor.
    ///
    /// # Errors
    /// [`SafetensorsError::UnknownTensor`] with the names near to `name`, and
    /// [`SafetensorsError::UnsupportedDtype`] for an element type [`HostTensor`] does not hold.
    pub fn tensor(&self, name: &str) -> Result<HostTensor, SafetensorsError> {
        let (entry, bytes) = self.tensor_bytes(name)?;
        match entry.dtype {
            StoredDType::Supported(dtype) => {
                Ok(HostTensor::new(dtype, entry.shape.clone(), bytes.to_vec())?)
            }
            StoredDType::Unsupported(dtype) => Err(SafetensorsError::UnsupportedDtype {
                name: shown(name),
                dtype: dtype.to_string(),
                n_bytes: entry.n_bytes,
            }),
        }
    }

    fn unknown_tensor(&self, name: &str) -> SafetensorsError {
        let near = near_names(name, self.entries.iter().map(|entry| entry.name.as_str()));
        SafetensorsError::UnknownTensor {
            name: shown(name),
            near: near.iter().map(|name| shown(name)).collect(),
            n_tensors: self.entries.len(),
        }
    }
}

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod mutation_tests;
#[cfg(test)]
mod tests;
