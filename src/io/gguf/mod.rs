//! The GGUF container: metadata and named tensors, many of them in the blocks of [`crate::num::ggml`].
//!
//! A file is the bytes `GGUF`, a u32 version, u64 counts of tensors and of metadata keys, the keys with
//! their values, the tensors' names, dimensions (fastest first), types and offsets, padding to a multiple
//! of `general.alignment` (32 unless said), and the data, in which every tensor begins at such a multiple.
//! Everything is little-endian. Version 3 only added a big-endian form, which is refused by name.
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>
//!
//! [`GgufFile`] maps a file and checks its header; data is read when a tensor is asked for.
//! [`Gguf::matrix`] repacks codes without loss and never makes floats of them.

mod convert;
mod error;
mod file;
mod header;
mod value;
mod write;

use super::near_names::near_names;
use super::safetensors::shown;
use crate::num::QuantizedMatrix;
use crate::num::ggml::{GgmlType, decode, repack};
use crate::tensor::{DType, HostTensor};

pub use convert::{Conversion, rewrite_gguf};
pub use error::GgufError;
pub use file::GgufFile;
pub use value::{Array, Metadata, Value, ValueType};
pub use write::{GgufData, GgufEntry, write_gguf, write_gguf_entries};

const MAGIC: [u8; 4] = *b"GGUF";
const ALIGNMENT_KEY: &str = "general.alignment";
const DEFAULT_ALIGNMENT: usize = 32;

/// Nothing aligns data more coarsely, and padding cannot make a small file large.
const MAX_ALIGNMENT: u32 = 1 << 20;

/// `GGML_MAX_DIMS`.
const MAX_DIMENSIONS: usize = 4;

/// No known key nests arrays at all; the limit keeps the reader's stack small.
const MAX_ARRAY_DEPTH: usize = 8;

/// One tensor of a file, as its header describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GgufTensor {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: GgmlType,
    /// Its dimensions, slowest first (a file has them the other way round); empty for a scalar.
    pub shape: Vec<usize>,
    /// Where its data begins, in bytes from the start of the file.
    pub offset: usize,
    /// How many bytes of data it has.
    pub n_bytes: usize,
}

impl GgufTensor {
    /// Length of a row, the last dimension; 1 for a scalar.
    #[must_use]
    pub fn k(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Rows, the product of all other dimensions.
    #[must_use]
    pub fn n(&self) -> usize {
        let slower = self.shape.len().saturating_sub(1);
        self.shape[..slower].iter().product()
    }
}

/// A checked GGUF file over the bytes `B`: borrowed, owned or mapped.
#[derive(Debug)]
pub struct Gguf<B> {
    bytes: B,
    version: u32,
    alignment: usize,
    metadata: Metadata,
    /// In the order of the file.
    tensors: Vec<GgufTensor>,
    /// Indices of `tensors`, sorted by name.
    by_name: Vec<usize>,
}

/// Checks the header of a whole GGUF file. No tensor data is read or copied, and memory use is a small
/// multiple of the header, which lies within `bytes`.
///
/// # Errors
/// A [`GgufError`] naming the first thing wrong with the file. Never panics.
pub fn parse<B: AsRef<[u8]>>(bytes: B) -> Result<Gguf<B>, GgufError> {
    let header::Header {
        version,
        alignment,
        metadata,
        tensors,
    } = header::read(bytes.as_ref())?;
    let mut by_name: Vec<usize> = (0..tensors.len()).collect();
    by_name.sort_unstable_by_key(|&index| &tensors[index].name);
    Ok(Gguf {
        bytes,
        version,
        alignment,
        metadata,
        tensors,
        by_name,
    })
}

impl<B: AsRef<[u8]>> Gguf<B> {
    /// 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// What tensors' places in the file are multiples of.
    pub fn alignment(&self) -> usize {
        self.alignment
    }

    /// Every key and value.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Every tensor, in the order of the file.
    pub fn tensors(&self) -> &[GgufTensor] {
        &self.tensors
    }

    /// The stored bytes of a tensor, without a copy.
    ///
    /// # Errors
    /// [`GgufError::UnknownTensor`] with the names near to `name`.
    pub fn tensor_bytes(&self, name: &str) -> Result<(&GgufTensor, &[u8]), GgufError> {
        let place = self
            .by_name
            .binary_search_by(|&index| self.tensors[index].name.as_str().cmp(name))
            .map_err(|_| self.unknown_tensor(name))?;
        let tensor = &self.tensors[self.by_name[place]];
        let all = self.bytes.as_ref();
        // Only a `B` that shrinks after `parse` gets the error.
        let bytes = all
            .get(tensor.offset..tensor.offset + tensor.n_bytes)
            .ok_or_else(|| GgufError::BeyondFile {
                name: shown(name),
                offset: tensor.offset as u64,
                n_bytes: tensor.n_bytes,
                data_bytes: all.len(),
            })?;
        Ok((tensor, bytes))
    }

    /// A copy of a float tensor, in its own type.
    ///
    /// # Errors
    /// [`GgufError::UnknownTensor`], and [`GgufError::NotFloats`] for blocks.
    pub fn tensor(&self, name: &str) -> Result<HostTensor, GgufError> {
        let (tensor, bytes) = self.tensor_bytes(name)?;
        let dtype = match tensor.kind {
            GgmlType::F32 => DType::F32,
            GgmlType::F16 => DType::F16,
            GgmlType::Bf16 => DType::BF16,
            GgmlType::Q4_0
            | GgmlType::Q4_1
            | GgmlType::Q5_0
            | GgmlType::Q5_1
            | GgmlType::Q8_0
            | GgmlType::Q4K
            | GgmlType::Q5K
            | GgmlType::Q6K => {
                let (name, kind) = (shown(name), tensor.kind);
                return Err(GgufError::NotFloats { name, kind });
            }
        };
        Ok(HostTensor::new(
            dtype,
            tensor.shape.clone(),
            bytes.to_vec(),
        )?)
    }

    /// A tensor of any type as f32.
    ///
    /// # Errors
    /// [`GgufError::UnknownTensor`].
    pub fn decoded(&self, name: &str) -> Result<HostTensor, GgufError> {
        let (tensor, bytes) = self.tensor_bytes(name)?;
        let values = decode(&shown(name), tensor.kind, bytes, tensor.n(), tensor.k())?;
        Ok(HostTensor::from_f32(tensor.shape.clone(), &values)?)
    }

    /// A quantized matrix in our streams, every weight as it is stored.
    ///
    /// # Errors
    /// [`GgufError::UnknownTensor`], [`GgufError::NotAMatrix`], and [`GgufError::Blocks`] for floats and
    /// for scales that are infinite or NaN.
    pub fn matrix(&self, name: &str) -> Result<QuantizedMatrix, GgufError> {
        let (tensor, bytes) = self.tensor_bytes(name)?;
        let &[n, k] = tensor.shape.as_slice() else {
            let (name, shape) = (shown(name), tensor.shape.clone());
            return Err(GgufError::NotAMatrix { name, shape });
        };
        Ok(repack(&shown(name), tensor.kind, bytes, n, k)?)
    }

    fn unknown_tensor(&self, name: &str) -> GgufError {
        let near = near_names(name, self.tensors.iter().map(|tensor| tensor.name.as_str()));
        GgufError::UnknownTensor {
            name: shown(name),
            near: near.iter().map(|name| shown(name)).collect(),
            n_tensors: self.tensors.len(),
        }
    }
}

/// The alignment that the metadata ask for.
fn alignment_of(metadata: &Metadata) -> Result<usize, GgufError> {
    match metadata.get(ALIGNMENT_KEY) {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(&Value::U32(value)) if value.is_power_of_two() && value <= MAX_ALIGNMENT => {
            Ok(value as usize)
        }
        Some(&Value::U32(value)) => Err(GgufError::Alignment {
            value: value.to_string(),
        }),
        Some(other) => Err(GgufError::Alignment {
            value: format!("of type {}", other.kind()),
        }),
    }
}

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod mutation_tests;
#[cfg(test)]
mod tests;
