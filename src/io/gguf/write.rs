//! Writing a GGUF file: version 3, tensors in the order given, the same bytes for the same arguments.

use std::borrow::Cow;
use std::error::Error;
use std::io::{self, Write};
use std::path::Path;

use super::value::{Array, Metadata, Value};
use super::{GgufError, MAGIC, MAX_DIMENSIONS, alignment_of};
use crate::io::safetensors::shown;
use crate::io::{IoError, atomic};
use crate::num::QuantizedMatrix;
use crate::num::ggml::{GgmlError, GgmlType, blocks_of, encode};

/// A tensor to be written, checked when made.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufData {
    name: String,
    kind: GgmlType,
    /// Slowest first.
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl GgufData {
    /// `values` of `shape` (slowest dimension first) in a type that is written: F32, F16, BF16, Q4_0, Q4_1
    /// or Q8_0, the last three with the codes of ggml's reference writer.
    ///
    /// # Errors
    /// [`GgufError::TooManyDimensions`], and [`GgufError::Blocks`] as [`encode`] has it.
    pub fn encode(
        name: &str,
        kind: GgmlType,
        shape: &[usize],
        values: &[f32],
    ) -> Result<Self, GgufError> {
        let (n, k) = rows(name, kind, shape)?;
        let bytes = encode(&shown(name), kind, values, n, k)?;
        Ok(Self::new(name, kind, shape, bytes))
    }

    /// A quantized matrix with its own codes and scales, as Q4_0, Q4_1 or Q8_0.
    ///
    /// # Errors
    /// [`GgufError::Blocks`] for a format that no such type holds.
    pub fn quantized(name: &str, matrix: &QuantizedMatrix) -> Result<Self, GgufError> {
        let (kind, bytes) = blocks_of(&shown(name), matrix)?;
        Ok(Self::new(name, kind, &[matrix.n(), matrix.k()], bytes))
    }

    /// Bytes that are already in the layout of their type, such as those of another file.
    ///
    /// # Errors
    /// [`GgufError::TooManyDimensions`], and [`GgufError::Blocks`] for rows that are no whole blocks and
    /// another number of bytes than the shape needs.
    pub fn stored(
        name: &str,
        kind: GgmlType,
        shape: &[usize],
        bytes: Vec<u8>,
    ) -> Result<Self, GgufError> {
        let (n, k) = rows(name, kind, shape)?;
        let expected = kind.bytes_of(n, k);
        if expected == Some(bytes.len()) {
            return Ok(Self::new(name, kind, shape, bytes));
        }
        let tensor = shown(name);
        Err(GgufError::Blocks(match expected {
            None if !k.is_multiple_of(kind.block_len()) => GgmlError::RowLength {
                tensor,
                kind,
                k,
                block: kind.block_len(),
            },
            _ => GgmlError::WrongLength {
                tensor,
                kind,
                what: "bytes",
                found: bytes.len(),
                expected: expected.unwrap_or(usize::MAX),
                n,
                k,
            },
        }))
    }

    fn entry(&self) -> Entry<'_> {
        Entry {
            name: &self.name,
            kind: self.kind,
            shape: &self.shape,
            n_bytes: self.bytes.len(),
        }
    }

    fn new(name: &str, kind: GgmlType, shape: &[usize], bytes: Vec<u8>) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            shape: shape.to_vec(),
            bytes,
        }
    }
}

/// Rows and their length.
fn rows(name: &str, kind: GgmlType, shape: &[usize]) -> Result<(usize, usize), GgufError> {
    if shape.len() > MAX_DIMENSIONS {
        return Err(GgufError::TooManyDimensions {
            name: shown(name),
            n_dimensions: shape.len() as u64,
        });
    }
    let (k, slower) = match shape.split_last() {
        None => (1, shape),
        Some((&k, slower)) => (k, slower),
    };
    let n = slower
        .iter()
        .try_fold(1usize, |n, &extent| n.checked_mul(extent))
        .ok_or_else(|| GgufError::ShapeOverflow {
            name: shown(name),
            kind,
            shape: shape.iter().map(|&extent| extent as u64).collect(),
        })?;
    Ok((n, k))
}

/// Writes `metadata` and `tensors` to `path`, replacing the file there, if any, in one step (see
/// [`atomic`]). Data is aligned to 32 bytes, or to the metadata's own `general.alignment`.
///
/// # Errors
/// [`IoError::Gguf`] for two equal names and an alignment that is no power of two, [`IoError::Write`] or
/// [`IoError::ReadBack`] if the file cannot be written.
pub fn write_gguf(
    path: impl AsRef<Path>,
    metadata: &Metadata,
    tensors: &[GgufData],
) -> Result<(), IoError> {
    let entries: Vec<Entry<'_>> = tensors.iter().map(GgufData::entry).collect();
    write_streamed(path.as_ref(), metadata, &entries, |index| {
        Ok::<_, GgufError>(Cow::Borrowed(tensors[index].bytes.as_slice()))
    })
}

/// A tensor of [`write_gguf_entries`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GgufEntry {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: GgmlType,
    /// Slowest first.
    pub shape: Vec<usize>,
}

/// As [`write_gguf`], with the contents of one tensor at a time: `bytes` gives those of a tensor by its index, in the
/// layout of its type.
///
/// # Errors
/// As [`write_gguf`]; [`IoError::Gguf`] for rows that are no whole blocks, [`IoError::Write`] with what `bytes` says, and
/// for another number of bytes than the shape needs.
pub fn write_gguf_entries<E: Into<Box<dyn Error + Send + Sync>>>(
    path: &Path,
    metadata: &Metadata,
    tensors: &[GgufEntry],
    bytes: impl Fn(usize) -> Result<Vec<u8>, E>,
) -> Result<(), IoError> {
    let mut entries = Vec::new();
    for one in tensors {
        let (n, k) = rows(&one.name, one.kind, &one.shape).map_err(|e| IoError::gguf(path, e))?;
        let n_bytes = one.kind.bytes_of(n, k).ok_or_else(|| {
            let reason = GgmlError::RowLength {
                tensor: shown(&one.name),
                kind: one.kind,
                k,
                block: one.kind.block_len(),
            };
            IoError::gguf(path, GgufError::Blocks(reason))
        })?;
        entries.push(Entry {
            name: &one.name,
            kind: one.kind,
            shape: &one.shape,
            n_bytes,
        });
    }
    write_streamed(path, metadata, &entries, |index| {
        let made = bytes(index).map_err(Into::into)?;
        let (found, expected) = (made.len(), entries[index].n_bytes);
        match found == expected {
            true => Ok(Cow::Owned(made)),
            false => Err(Box::<dyn Error + Send + Sync>::from(format!(
                "{}: {found} bytes for a tensor of {expected}",
                shown(entries[index].name)
            ))),
        }
    })
}

/// A tensor in a header.
pub(super) struct Entry<'a> {
    pub name: &'a str,
    pub kind: GgmlType,
    /// Slowest first.
    pub shape: &'a [usize],
    pub n_bytes: usize,
}

/// As [`write_gguf`], with the bytes of one tensor at a time: `bytes` gives those of a tensor by its index, the
/// same whenever it is asked.
pub(super) fn write_streamed<'a, E: Into<Box<dyn Error + Send + Sync>>>(
    path: &Path,
    metadata: &Metadata,
    entries: &[Entry<'_>],
    bytes: impl Fn(usize) -> Result<Cow<'a, [u8]>, E>,
) -> Result<(), IoError> {
    let (header, alignment) =
        header(metadata, entries).map_err(|reason| IoError::gguf(path, reason))?;
    atomic::write_with(path, |writer| {
        writer.write_all(&header)?;
        for index in 0..entries.len() {
            let bytes = bytes(index).map_err(io::Error::other)?;
            writer.write_all(&bytes)?;
            pad(writer, bytes.len(), alignment)?;
        }
        Ok(())
    })
}

fn pad(writer: &mut dyn Write, length: usize, alignment: usize) -> io::Result<()> {
    let padding = length.next_multiple_of(alignment) - length;
    io::copy(&mut io::Read::take(io::repeat(0), padding as u64), writer).map(|_| ())
}

/// Everything in front of the data, padded, and the alignment.
fn header(metadata: &Metadata, tensors: &[Entry<'_>]) -> Result<(Vec<u8>, usize), GgufError> {
    let alignment = alignment_of(metadata)?;
    let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(GgufError::DuplicateTensor {
            name: shown(pair[0]),
        });
    }
    let mut out = MAGIC.to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.pairs().len() as u64).to_le_bytes());
    for (key, value) in metadata.pairs() {
        put_text(&mut out, key);
        out.extend(value.kind().id().to_le_bytes());
        put_value(&mut out, value);
    }
    let mut offset = 0usize;
    for tensor in tensors {
        put_text(&mut out, tensor.name);
        out.extend((tensor.shape.len() as u32).to_le_bytes());
        for &extent in tensor.shape.iter().rev() {
            out.extend((extent as u64).to_le_bytes());
        }
        out.extend(tensor.kind.id().to_le_bytes());
        out.extend((offset as u64).to_le_bytes());
        offset += tensor.n_bytes.next_multiple_of(alignment);
    }
    out.resize(out.len().next_multiple_of(alignment), 0);
    Ok((out, alignment))
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(x) => out.extend(x.to_le_bytes()),
        Value::I8(x) => out.extend(x.to_le_bytes()),
        Value::U16(x) => out.extend(x.to_le_bytes()),
        Value::I16(x) => out.extend(x.to_le_bytes()),
        Value::U32(x) => out.extend(x.to_le_bytes()),
        Value::I32(x) => out.extend(x.to_le_bytes()),
        Value::F32(x) => out.extend(x.to_le_bytes()),
        Value::Bool(x) => out.push(u8::from(*x)),
        Value::String(text) => put_text(out, text),
        Value::Array(array) => put_array(out, array),
        Value::U64(x) => out.extend(x.to_le_bytes()),
        Value::I64(x) => out.extend(x.to_le_bytes()),
        Value::F64(x) => out.extend(x.to_le_bytes()),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    out.extend(array.kind().id().to_le_bytes());
    let begin = |out: &mut Vec<u8>, count: usize| out.extend((count as u64).to_le_bytes());
    /// Numbers behind their count.
    fn numbers<T: Copy, const N: usize>(out: &mut Vec<u8>, all: &[T], bytes: fn(T) -> [u8; N]) {
        out.extend((all.len() as u64).to_le_bytes());
        all.iter().for_each(|&x| out.extend(bytes(x)));
    }
    match array {
        Array::U8(all) => numbers(out, all, u8::to_le_bytes),
        Array::I8(all) => numbers(out, all, i8::to_le_bytes),
        Array::U16(all) => numbers(out, all, u16::to_le_bytes),
        Array::I16(all) => numbers(out, all, i16::to_le_bytes),
        Array::U32(all) => numbers(out, all, u32::to_le_bytes),
        Array::I32(all) => numbers(out, all, i32::to_le_bytes),
        Array::F32(all) => numbers(out, all, f32::to_le_bytes),
        Array::Bool(all) => numbers(out, all, |x| [u8::from(x)]),
        Array::U64(all) => numbers(out, all, u64::to_le_bytes),
        Array::I64(all) => numbers(out, all, i64::to_le_bytes),
        Array::F64(all) => numbers(out, all, f64::to_le_bytes),
        Array::String(all) => {
            begin(out, all.len());
            all.iter().for_each(|text| put_text(out, text));
        }
        Array::Array(all) => {
            begin(out, all.len());
            all.iter().for_each(|array| put_array(out, array));
        }
    }
}
