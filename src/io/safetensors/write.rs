//! Writing a safetensors file.
//!
//! The bytes depend on nothing but the arguments: metadata is sorted by key, tensors by element
//! type and then by name, in the order of the reference crate (widest elements first, so that every
//! tensor's data is aligned to its element size). With at most one metadata string the file equals
//! the crate's byte for byte; with more the crate's own order changes from run to run, which is why
//! it is not called.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use ::safetensors::Dtype;
use ::safetensors::tensor::TensorInfo;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::error::shown;
use super::{LENGTH_BYTES, MAX_HEADER_BYTES, SafetensorsError};
use crate::io::{IoError, atomic};
use crate::tensor::{DType, HostTensor};

/// Writes `tensors` and `metadata` to `path`, replacing the file there, if any, in one step (see
/// [`atomic`]). The order of `tensors` does not matter; the same arguments give the same bytes
/// everywhere.
///
/// # Errors
/// [`IoError::Safetensors`] for two equal names, the name `__metadata__` or a header over 100 MB;
/// [`IoError::Write`] or [`IoError::ReadBack`] if the file cannot be written.
pub fn write_safetensors(
    path: impl AsRef<Path>,
    tensors: &[(String, HostTensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<(), IoError> {
    let path = path.as_ref();
    let ordered = ordered(tensors).map_err(|reason| IoError::safetensors(path, reason))?;
    let header = header(&ordered, metadata).map_err(|reason| IoError::safetensors(path, reason))?;
    atomic::write_with(path, |writer| write_file(writer, &header, &ordered))
}

fn write_file(
    writer: &mut dyn Write,
    header: &[u8],
    ordered: &[&(String, HostTensor)],
) -> io::Result<()> {
    writer.write_all(&(header.len() as u64).to_le_bytes())?;
    writer.write_all(header)?;
    ordered
        .iter()
        .try_for_each(|(_, tensor)| writer.write_all(tensor.bytes()))
}

/// The tensors in the order of their data, all named differently.
fn ordered(
    tensors: &[(String, HostTensor)],
) -> Result<Vec<&(String, HostTensor)>, SafetensorsError> {
    let mut ordered: Vec<_> = tensors.iter().collect();
    ordered.sort_unstable_by_key(|(name, _)| name);
    if let Some(pair) = ordered.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(SafetensorsError::DuplicateTensor {
            name: shown(&pair[0].0),
        });
    }
    if ordered.iter().any(|(name, _)| name == "__metadata__") {
        return Err(SafetensorsError::ReservedName);
    }
    // Stable, so equal types stay sorted by name.
    ordered.sort_by_key(|(_, tensor)| std::cmp::Reverse(stored_dtype(tensor.dtype())));
    Ok(ordered)
}

/// The JSON header, padded with spaces so that the data begins at a multiple of 8 bytes.
fn header(
    ordered: &[&(String, HostTensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, SafetensorsError> {
    let mut header = serde_json::to_vec(&HeaderJson { ordered, metadata }).map_err(|reason| {
        SafetensorsError::InvalidJson {
            reason: reason.to_string(),
        }
    })?;
    header.resize(header.len().next_multiple_of(LENGTH_BYTES), b' ');
    match header.len() {
        0..=MAX_HEADER_BYTES => Ok(header),
        header_bytes => Err(SafetensorsError::HeaderTooLarge { header_bytes }),
    }
}

struct HeaderJson<'a> {
    ordered: &'a [&'a (String, HostTensor)],
    metadata: &'a BTreeMap<String, String>,
}

impl Serialize for HeaderJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry("__metadata__", self.metadata)?;
        }
        let mut begin = 0;
        for (name, tensor) in self.ordered {
            let end = begin + tensor.bytes().len();
            let info = TensorInfo {
                dtype: stored_dtype(tensor.dtype()),
                shape: tensor.shape().to_vec(),
                data_offsets: (begin, end),
            };
            map.serialize_entry(name, &info)?;
            begin = end;
        }
        map.end()
    }
}

/// The format's name of an element type; the inverse of [`StoredDType::from`](super::StoredDType).
pub(super) fn stored_dtype(dtype: DType) -> Dtype {
    match dtype {
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I16 => Dtype::I16,
        DType::I8 => Dtype::I8,
        DType::U64 => Dtype::U64,
        DType::U32 => Dtype::U32,
        DType::U16 => Dtype::U16,
        DType::U8 => Dtype::U8,
        DType::Bool => Dtype::BOOL,
    }
}
