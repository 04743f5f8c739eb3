//! Reading and checking the header.
//!
//! Nothing is allocated for a count before the rest of the file was found long enough to hold as many, so
//! memory stays a small multiple of the file's own size.

use super::value::{Array, Metadata, Value, ValueType};
use super::{GgufError, GgufTensor, MAGIC, MAX_ARRAY_DEPTH, MAX_DIMENSIONS, alignment_of};
use crate::io::safetensors::shown;
use crate::num::ggml::GgmlType;
use crate::tensor::n_elements;

/// A checked header. Offsets of tensors count from the start of the file.
pub(super) struct Header {
    pub version: u32,
    pub alignment: usize,
    pub metadata: Metadata,
    /// In the order of the file.
    pub tensors: Vec<GgufTensor>,
}

/// The fewest bytes of a key with its value, and of a tensor.
const MIN_PAIR_BYTES: usize = 8 + 4 + 1;
const MIN_TENSOR_BYTES: usize = 8 + 4 + 4 + 8;

/// Reads the header of the whole file `bytes`.
pub(super) fn read(bytes: &[u8]) -> Result<Header, GgufError> {
    let mut cursor = Cursor { bytes, at: 0 };
    let magic = &bytes[..bytes.len().min(4)];
    if magic != &MAGIC[..magic.len()] || magic.is_empty() {
        return Err(GgufError::Magic {
            found: magic.escape_ascii().to_string(),
        });
    }
    cursor.array::<4>(|| "the magic number".to_owned())?;
    let version = cursor.u32(|| "the version".to_owned())?;
    if !(2..=3).contains(&version) {
        return Err(GgufError::Version { version });
    }
    let n_tensors = cursor.u64(|| "the number of tensors".to_owned())?;
    let n_pairs = cursor.u64(|| "the number of metadata keys".to_owned())?;
    let n_pairs = cursor.count(|| "metadata keys".to_owned(), n_pairs, MIN_PAIR_BYTES)?;
    let mut pairs = Vec::with_capacity(n_pairs);
    for index in 0..n_pairs {
        let key = cursor.string(|| format!("metadata key {index}"))?;
        let value = cursor.value(&key)?;
        pairs.push((key, value));
    }
    let metadata = Metadata::new(pairs)?;
    let alignment = alignment_of(&metadata)?;

    let n_tensors = cursor.count(|| "tensors".to_owned(), n_tensors, MIN_TENSOR_BYTES)?;
    let mut stored = Vec::with_capacity(n_tensors);
    for index in 0..n_tensors {
        stored.push(Stored::read(&mut cursor, index)?);
    }
    // A file without data need not have the padding in front of it.
    let data_start = cursor.at.next_multiple_of(alignment).min(bytes.len());
    let data_bytes = bytes.len() - data_start;
    let mut tensors = stored
        .into_iter()
        .map(|tensor| tensor.check(alignment, data_bytes))
        .collect::<Result<Vec<_>, _>>()?;
    check_apart(&tensors)?;
    tensors
        .iter_mut()
        .for_each(|tensor| tensor.offset += data_start);
    Ok(Header {
        version,
        alignment,
        metadata,
        tensors,
    })
}

/// A tensor as stored: nothing checked but the number of its dimensions.
struct Stored {
    name: String,
    kind: u32,
    /// Slowest first, the other way round than in the file.
    shape: Vec<u64>,
    offset: u64,
}

impl Stored {
    fn read(cursor: &mut Cursor<'_>, index: usize) -> Result<Self, GgufError> {
        let name = cursor.string(|| format!("the name of tensor {index}"))?;
        let what = |part: &str| format!("the {part} of tensor {:?}", shown(&name));
        let n_dimensions = cursor.u32(|| what("number of dimensions"))?;
        if n_dimensions as usize > MAX_DIMENSIONS {
            return Err(GgufError::TooManyDimensions {
                name: shown(&name),
                n_dimensions: n_dimensions.into(),
            });
        }
        let mut shape = Vec::new();
        for _ in 0..n_dimensions {
            shape.push(cursor.u64(|| what("dimensions"))?);
        }
        shape.reverse();
        let kind = cursor.u32(|| what("type"))?;
        let offset = cursor.u64(|| what("offset"))?;
        Ok(Self {
            name,
            kind,
            shape,
            offset,
        })
    }

    /// Checks the tensor by itself. Its offset still counts from the start of the data.
    fn check(self, alignment: usize, data_bytes: usize) -> Result<GgufTensor, GgufError> {
        let Self {
            name,
            kind,
            shape,
            offset,
        } = self;
        let Some(kind) = GgmlType::from_id(kind) else {
            let name = shown(&name);
            return Err(GgufError::UnknownType { name, id: kind });
        };
        let overflow = || GgufError::ShapeOverflow {
            name: shown(&name),
            kind,
            shape: shape.clone(),
        };
        let shape_usize = shape
            .iter()
            .map(|&extent| usize::try_from(extent).map_err(|_| overflow()))
            .collect::<Result<Vec<_>, _>>()?;
        let (k, rows) = match shape_usize.split_last() {
            None => (1, Some(1)),
            Some((&k, slower)) => (
                k,
                slower
                    .iter()
                    .try_fold(1usize, |rows, &extent| rows.checked_mul(extent)),
            ),
        };
        if !k.is_multiple_of(kind.block_len()) {
            let name = shown(&name);
            return Err(GgufError::RowLength { name, kind, k });
        }
        let n_bytes = rows
            .filter(|_| n_elements(&shape_usize).is_some())
            .and_then(|rows| kind.bytes_of(rows, k))
            .ok_or_else(overflow)?;
        if !offset.is_multiple_of(alignment as u64) {
            return Err(GgufError::Misaligned {
                name: shown(&name),
                offset,
                alignment,
            });
        }
        let begin = usize::try_from(offset).ok();
        let end = begin.and_then(|begin| begin.checked_add(n_bytes));
        let (Some(begin), Some(_)) = (begin, end.filter(|&end| end <= data_bytes)) else {
            return Err(GgufError::BeyondFile {
                name: shown(&name),
                offset,
                n_bytes,
                data_bytes,
            });
        };
        Ok(GgufTensor {
            name,
            kind,
            shape: shape_usize,
            offset: begin,
            n_bytes,
        })
    }
}

/// Checks that names differ and that no two tensors share bytes.
fn check_apart(tensors: &[GgufTensor]) -> Result<(), GgufError> {
    let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(GgufError::DuplicateTensor {
            name: shown(pair[0]),
        });
    }
    let mut by_offset: Vec<&GgufTensor> =
        tensors.iter().filter(|tensor| tensor.n_bytes > 0).collect();
    by_offset.sort_unstable_by_key(|tensor| (tensor.offset, tensor.n_bytes));
    for pair in by_offset.windows(2) {
        let previous_end = pair[0].offset + pair[0].n_bytes;
        if pair[1].offset < previous_end {
            return Err(GgufError::Overlap {
                name: shown(&pair[1].name),
                offset: pair[1].offset,
                previous: shown(&pair[0].name),
                previous_end,
            });
        }
    }
    Ok(())
}

/// Reads forward through the file. What is being read is described only when it fails.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, needed: u64, what: impl FnOnce() -> String) -> Result<&'a [u8], GgufError> {
        let found = usize::try_from(needed)
            .ok()
            .and_then(|needed| self.bytes[self.at..].get(..needed));
        let Some(found) = found else {
            return Err(GgufError::Truncated {
                what: what(),
                at: self.at,
                needed,
                file_bytes: self.bytes.len(),
            });
        };
        self.at += found.len();
        Ok(found)
    }

    fn array<const N: usize>(
        &mut self,
        what: impl FnOnce() -> String,
    ) -> Result<[u8; N], GgufError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64, what)?);
        Ok(out)
    }

    fn u32(&mut self, what: impl FnOnce() -> String) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    fn u64(&mut self, what: impl FnOnce() -> String) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A count of things of at least `min_bytes` each, refused if they cannot all be there.
    fn count(
        &self,
        what: impl FnOnce() -> String,
        count: u64,
        min_bytes: usize,
    ) -> Result<usize, GgufError> {
        let most = self.left() / min_bytes;
        match usize::try_from(count) {
            Ok(count) if count <= most => Ok(count),
            _ => Err(GgufError::Count {
                what: what(),
                count,
                available: self.left(),
                most,
            }),
        }
    }

    fn string(&mut self, what: impl Fn() -> String) -> Result<String, GgufError> {
        let length = self.u64(|| format!("the length of {}", what()))?;
        let begin = self.at;
        let bytes = self.take(length, &what)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(GgufError::NotUtf8 {
                what: what(),
                at: begin + error.valid_up_to(),
            }),
        }
    }

    fn value(&mut self, key: &str) -> Result<Value, GgufError> {
        let what = || format!("metadata key {:?}", shown(key));
        let id = self.u32(what)?;
        Ok(match value_type(id, what)? {
            ValueType::U8 => Value::U8(u8::from_le_bytes(self.array(what)?)),
            ValueType::I8 => Value::I8(i8::from_le_bytes(self.array(what)?)),
            ValueType::U16 => Value::U16(u16::from_le_bytes(self.array(what)?)),
            ValueType::I16 => Value::I16(i16::from_le_bytes(self.array(what)?)),
            ValueType::U32 => Value::U32(self.u32(what)?),
            ValueType::I32 => Value::I32(i32::from_le_bytes(self.array(what)?)),
            ValueType::F32 => Value::F32(f32::from_le_bytes(self.array(what)?)),
            ValueType::Bool => {
                let [byte] = self.array(what)?;
                Value::Bool(bool_of(byte, what)?)
            }
            ValueType::String => Value::String(self.string(what)?),
            ValueType::Array => Value::Array(self.values(&what, 1)?),
            ValueType::U64 => Value::U64(self.u64(what)?),
            ValueType::I64 => Value::I64(i64::from_le_bytes(self.array(what)?)),
            ValueType::F64 => Value::F64(f64::from_le_bytes(self.array(what)?)),
        })
    }

    /// An array within `depth - 1` others.
    fn values(&mut self, what: &dyn Fn() -> String, depth: usize) -> Result<Array, GgufError> {
        if depth > MAX_ARRAY_DEPTH {
            return Err(GgufError::ArrayDepth { what: what() });
        }
        let kind = value_type(self.u32(what)?, what)?;
        let count = self.u64(what)?;
        let values = || format!("values of {}", what());
        let count = self.count(values, count, kind.min_bytes())?;
        Ok(match kind {
            ValueType::U8 => Array::U8(self.numbers(count, u8::from_le_bytes, what)?),
            ValueType::I8 => Array::I8(self.numbers(count, i8::from_le_bytes, what)?),
            ValueType::U16 => Array::U16(self.numbers(count, u16::from_le_bytes, what)?),
            ValueType::I16 => Array::I16(self.numbers(count, i16::from_le_bytes, what)?),
            ValueType::U32 => Array::U32(self.numbers(count, u32::from_le_bytes, what)?),
            ValueType::I32 => Array::I32(self.numbers(count, i32::from_le_bytes, what)?),
            ValueType::F32 => Array::F32(self.numbers(count, f32::from_le_bytes, what)?),
            ValueType::U64 => Array::U64(self.numbers(count, u64::from_le_bytes, what)?),
            ValueType::I64 => Array::I64(self.numbers(count, i64::from_le_bytes, what)?),
            ValueType::F64 => Array::F64(self.numbers(count, f64::from_le_bytes, what)?),
            ValueType::Bool => {
                let bytes = self.take(count as u64, what)?;
                let bools = bytes.iter().map(|&byte| bool_of(byte, what));
                Array::Bool(bools.collect::<Result<_, _>>()?)
            }
            ValueType::String => {
                let mut texts = Vec::with_capacity(count);
                for index in 0..count {
                    texts.push(self.string(|| format!("value {index} of {}", what()))?);
                }
                Array::String(texts)
            }
            ValueType::Array => {
                let mut arrays = Vec::with_capacity(count);
                for _ in 0..count {
                    arrays.push(self.values(what, depth + 1)?);
                }
                Array::Array(arrays)
            }
        })
    }

    fn numbers<T, const N: usize>(
        &mut self,
        count: usize,
        read: impl Fn([u8; N]) -> T,
        what: impl FnOnce() -> String,
    ) -> Result<Vec<T>, GgufError> {
        // No overflow: as many were found to fit.
        let bytes = self.take((count * N) as u64, what)?;
        Ok(bytes
            .as_chunks()
            .0
            .iter()
            .map(|&chunk| read(chunk))
            .collect())
    }
}

fn value_type(id: u32, what: impl FnOnce() -> String) -> Result<ValueType, GgufError> {
    ValueType::from_id(id).ok_or_else(|| GgufError::ValueType { what: what(), id })
}

fn bool_of(byte: u8, what: impl FnOnce() -> String) -> Result<bool, GgufError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(GgufError::Bool { what: what(), byte }),
    }
}
