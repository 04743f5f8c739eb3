//! The same model in a file of another type, a tensor at a time.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use super::write::{Entry, write_streamed};
use super::{GgufError, GgufFile, GgufTensor, Metadata, Value};
use crate::io::IoError;
use crate::io::safetensors::shown;
use crate::num::ggml::{GgmlError, GgmlType, decode, encode};

/// Weights that are floats at a time.
const CHUNK: usize = 1 << 20;

const FILE_TYPE: &str = "general.file_type";

/// Tensors whose rows are looked up or become logits: quantizers of four bits leave them eight.
const ENDS: [&str; 2] = ["token_embd.weight", "output.weight"];

/// A file, and the type that each of its tensors is to have.
///
/// Matrices get the type asked for; the embedding and the head at least Q8_0. Vectors, and matrices whose rows
/// are no whole blocks of that type, stay as they are. A tensor that has its type already is copied.
#[derive(Debug)]
pub struct Conversion<'a> {
    file: &'a GgufFile,
    /// In the order of the file.
    kinds: Vec<GgmlType>,
    metadata: Metadata,
}

impl<'a> Conversion<'a> {
    /// Chooses types; F32, F16, Q4_0, Q4_1 and Q8_0 can be asked for.
    ///
    /// # Errors
    /// [`IoError::Gguf`] for another type.
    pub fn new(file: &'a GgufFile, to: GgmlType) -> Result<Self, IoError> {
        // `enum llama_ftype`
        let file_type = match to {
            GgmlType::F32 => 0,
            GgmlType::F16 => 1,
            GgmlType::Q4_0 => 2,
            GgmlType::Q4_1 => 3,
            GgmlType::Q8_0 => 7,
            GgmlType::Q5_0
            | GgmlType::Q5_1
            | GgmlType::Q4K
            | GgmlType::Q5K
            | GgmlType::Q6K
            | GgmlType::Bf16 => {
                let tensor = "every matrix".to_owned();
                let reason = GgmlError::NotWritable { tensor, kind: to };
                return Err(file.error(GgufError::Blocks(reason)));
            }
        };
        let metadata = with_file_type(file, file_type)?;
        let kinds = file.tensors().iter().map(|tensor| kind_of(tensor, to));
        Ok(Self {
            file,
            kinds: kinds.collect(),
            metadata,
        })
    }

    /// The type of each tensor, in the order of the file.
    #[must_use]
    pub fn kinds(&self) -> &[GgmlType] {
        &self.kinds
    }

    /// Bytes of all tensors.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        let tensors = self.file.tensors().iter().zip(&self.kinds);
        let bytes = tensors.map(|(tensor, kind)| bytes_of(tensor, *kind) as u64);
        bytes.sum()
    }

    /// By how much any weight of a tensor changes, at most; infinite where a finite weight becomes infinite.
    ///
    /// # Errors
    /// [`IoError::Gguf`] for weights that the type cannot hold.
    pub fn change(&self, index: usize) -> Result<f32, IoError> {
        let mut most = 0f32;
        if self.file.tensors()[index].kind == self.kinds[index] {
            return Ok(most);
        }
        let each = |before: &[f32], k: usize, after: &[u8]| {
            let kind = self.kinds[index];
            let after = decode("", kind, after, before.len() / k, k)?;
            for (a, b) in before.iter().zip(&after) {
                let change = (a - b).abs();
                // The difference of two infinities is no number.
                let change = if a == b { 0.0 } else { change };
                most = most.max(if change.is_nan() {
                    f32::INFINITY
                } else {
                    change
                });
            }
            Ok(())
        };
        self.encoded(index, each)
            .map_err(|reason| self.file.error(reason))?;
        Ok(most)
    }

    /// Writes the file, replacing one that is there in one step.
    ///
    /// # Errors
    /// As [`super::write_gguf`], and [`IoError::Gguf`] as [`Self::change`] has it.
    pub fn write(&self, path: &Path) -> Result<(), IoError> {
        let tensors = self.file.tensors().iter().zip(&self.kinds);
        let entries: Vec<Entry<'_>> = tensors
            .map(|(tensor, &kind)| Entry {
                name: &tensor.name,
                kind,
                shape: &tensor.shape,
                n_bytes: bytes_of(tensor, kind),
            })
            .collect();
        write_streamed(
            path,
            &self.metadata,
            &entries,
            |index| -> Result<_, GgufError> {
                let tensor = &self.file.tensors()[index];
                if tensor.kind == self.kinds[index] {
                    return Ok(Cow::Borrowed(stored(self.file, tensor)?));
                }
                let mut all = Vec::with_capacity(entries[index].n_bytes);
                self.encoded(index, |_, _, bytes| {
                    all.extend_from_slice(bytes);
                    Ok(())
                })?;
                Ok(Cow::Owned(all))
            },
        )
    }

    /// Some rows at a time: their weights, the length of a row, and their new bytes.
    fn encoded(
        &self,
        index: usize,
        mut each: impl FnMut(&[f32], usize, &[u8]) -> Result<(), GgmlError>,
    ) -> Result<(), GgufError> {
        let (tensor, kind) = (&self.file.tensors()[index], self.kinds[index]);
        let (name, k) = (shown(&tensor.name), tensor.k());
        let row_bytes = tensor.kind.bytes_of(1, k).unwrap_or(0);
        if tensor.n() == 0 || row_bytes == 0 {
            return Ok(());
        }
        let rows = (CHUNK / k).max(1);
        for bytes in stored(self.file, tensor)?.chunks(rows * row_bytes) {
            let n = bytes.len() / row_bytes;
            let weights = decode(&name, tensor.kind, bytes, n, k)?;
            let encoded = encode(&name, kind, &weights, n, k)?;
            each(&weights, k, &encoded)?;
        }
        Ok(())
    }
}

/// The metadata of a file with another `general.file_type`.
fn with_file_type(file: &GgufFile, file_type: u32) -> Result<Metadata, IoError> {
    let mut pairs = file.metadata().pairs().to_vec();
    let value = Value::U32(file_type);
    match pairs.iter_mut().find(|(key, _)| key == FILE_TYPE) {
        Some((_, old)) => *old = value,
        None => pairs.push((FILE_TYPE.to_owned(), value)),
    }
    Metadata::new(pairs).map_err(|reason| file.error(reason))
}

/// Writes a file with other contents in some of its tensors, one at a time, replacing one that is there in one step.
/// `kinds` are the types of those tensors, `bytes` gives the contents of one, the same whenever it is asked; the others
/// are copied. `file_type` is the `general.file_type`, where it changes.
///
/// # Errors
/// As [`super::write_gguf`]; [`GgufError::Blocks`] for rows that are no whole blocks, [`IoError::Write`] with what `bytes`
/// says.
pub fn rewrite_gguf<E: Into<Box<dyn Error + Send + Sync>>>(
    (file, path): (&GgufFile, &Path),
    file_type: Option<u32>,
    kinds: &BTreeMap<String, GgmlType>,
    bytes: impl Fn(&str) -> Result<Vec<u8>, E>,
) -> Result<(), IoError> {
    let metadata = match file_type {
        Some(file_type) => with_file_type(file, file_type)?,
        None => file.metadata().clone(),
    };
    let mut entries = Vec::new();
    for tensor in file.tensors() {
        let kind = kinds.get(&tensor.name).copied();
        let n_bytes = match kind {
            None => tensor.n_bytes,
            Some(kind) => kind.bytes_of(tensor.n(), tensor.k()).ok_or_else(|| {
                file.error(GgufError::Blocks(GgmlError::RowLength {
                    tensor: shown(&tensor.name),
                    kind,
                    k: tensor.k(),
                    block: kind.block_len(),
                }))
            })?,
        };
        entries.push(Entry {
            name: &tensor.name,
            kind: kind.unwrap_or(tensor.kind),
            shape: &tensor.shape,
            n_bytes,
        });
    }
    write_streamed(
        path,
        &metadata,
        &entries,
        |index| -> Result<_, Box<dyn Error + Send + Sync>> {
            let tensor = &file.tensors()[index];
            match kinds.contains_key(&tensor.name) {
                true => bytes(&tensor.name).map(Cow::Owned).map_err(Into::into),
                false => stored(file, tensor).map(Cow::Borrowed).map_err(Into::into),
            }
        },
    )
}

fn stored<'a>(file: &'a GgufFile, tensor: &GgufTensor) -> Result<&'a [u8], GgufError> {
    let name = &tensor.name;
    match file.tensor_bytes(name) {
        Ok((_, bytes)) => Ok(bytes),
        // Only a file that shrinks while it is open gets here.
        Err(_) => Err(GgufError::UnknownTensor {
            name: shown(name),
            near: Vec::new(),
            n_tensors: file.tensors().len(),
        }),
    }
}

fn kind_of(tensor: &GgufTensor, to: GgmlType) -> GgmlType {
    let is_end = ENDS.contains(&tensor.name.as_str());
    let wanted = match to {
        GgmlType::Q4_0 | GgmlType::Q4_1 if is_end => GgmlType::Q8_0,
        _ => to,
    };
    let is_matrix = tensor.shape.len() == 2;
    if is_matrix && tensor.k().is_multiple_of(wanted.block_len()) {
        wanted
    } else {
        tensor.kind
    }
}

fn bytes_of(tensor: &GgufTensor, kind: GgmlType) -> usize {
    kind.bytes_of(tensor.n(), tensor.k())
        .unwrap_or(tensor.n_bytes)
}
