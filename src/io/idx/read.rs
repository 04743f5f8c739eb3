//! From the bytes of an IDX file to a tensor.

use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::{IdxError, MAX_BYTES, MAX_DIMENSIONS, MAX_EXPANSION, dtype};
use crate::io::{IoError, read_bytes};
use crate::tensor::{DType, HostTensor, n_bytes};

const MAGIC_BYTES: usize = 4;
const GZIP_MARK: [u8; 2] = [0x1f, 0x8b];

/// Data is read in pieces of this size, so that a header that lies costs no more than one of them.
const CHUNK_BYTES: usize = 1 << 20;

/// Reads the IDX file at `path`, plain or under gzip.
///
/// # Errors
/// [`IoError::NotFound`], [`IoError::NotAFile`], [`IoError::Read`], or [`IoError::Idx`] with the
/// first thing wrong with its bytes.
pub fn read_idx(path: impl AsRef<Path>) -> Result<HostTensor, IoError> {
    let path = path.as_ref();
    parse_idx(&read_bytes(path)?).map_err(|reason| IoError::Idx {
        file: path.to_owned(),
        reason,
    })
}

/// Reads the bytes of an IDX file, plain or under gzip, as a tensor of the stored type and shape.
///
/// Expanding stops one byte after what the header announces, and a header that announces more than
/// gzip could hold is refused before anything is allocated.
///
/// # Errors
/// An [`IdxError`] naming the first thing wrong. Never panics.
pub fn parse_idx(bytes: &[u8]) -> Result<HostTensor, IdxError> {
    if bytes.starts_with(&GZIP_MARK) {
        read(Source {
            bytes: MultiGzDecoder::new(bytes),
            compressed_bytes: Some(bytes.len()),
        })
    } else {
        read(Source {
            bytes,
            compressed_bytes: None,
        })
    }
}

struct Source<R> {
    bytes: R,
    /// Length of the compressed file, if it is compressed.
    compressed_bytes: Option<usize>,
}

impl<R: Read> Source<R> {
    /// Up to `wanted` bytes: fewer at the end of the file.
    fn take(&mut self, wanted: usize) -> Result<Vec<u8>, IdxError> {
        let mut taken = Vec::new();
        while taken.len() < wanted {
            let before = taken.len();
            let piece = (wanted - before).min(CHUNK_BYTES);
            let n_read = self
                .bytes
                .by_ref()
                .take(piece as u64)
                .read_to_end(&mut taken)
                .map_err(|reason| IdxError::Gzip {
                    reason: reason.to_string(),
                })?;
            if n_read < piece {
                break;
            }
        }
        Ok(taken)
    }
}

fn read<R: Read>(mut source: Source<R>) -> Result<HostTensor, IdxError> {
    let (dtype, shape) = read_header(&mut source)?;
    let needed = data_bytes(dtype, &shape)?;
    if let Some(compressed_bytes) = source.compressed_bytes
        && needed > compressed_bytes.saturating_mul(MAX_EXPANSION)
    {
        return Err(IdxError::BeyondCompression {
            shape,
            needed,
            compressed_bytes,
        });
    }
    let mut data = source.take(needed)?;
    // Also makes the decompressor reach and verify its checksum.
    let more = !source.take(1)?.is_empty();
    if data.len() != needed || more {
        return Err(IdxError::Length {
            shape,
            needed,
            found: data.len() + usize::from(more),
            more,
        });
    }
    for element in data.chunks_exact_mut(dtype.bytes()) {
        element.reverse();
    }
    Ok(HostTensor::new(dtype, shape, data).expect("the length was checked"))
}

fn read_header<R: Read>(source: &mut Source<R>) -> Result<(DType, Vec<usize>), IdxError> {
    let magic = source.take(MAGIC_BYTES)?;
    let &[zero, also_zero, code, n_dimensions] = &magic[..] else {
        return Err(IdxError::TooShort {
            file_bytes: magic.len(),
            needed: MAGIC_BYTES,
        });
    };
    if (zero, also_zero) != (0, 0) {
        return Err(IdxError::Magic {
            found: [zero, also_zero, code, n_dimensions],
        });
    }
    let dtype = dtype(code).ok_or(IdxError::UnknownType { code })?;
    if !(1..=MAX_DIMENSIONS).contains(&usize::from(n_dimensions)) {
        return Err(IdxError::Dimensions { n_dimensions });
    }
    let needed = 4 * usize::from(n_dimensions);
    let words = source.take(needed)?;
    if words.len() < needed {
        return Err(IdxError::TooShort {
            file_bytes: MAGIC_BYTES + words.len(),
            needed: MAGIC_BYTES + needed,
        });
    }
    let shape = words
        .as_chunks()
        .0
        .iter()
        .map(|&word| u32::from_be_bytes(word) as usize)
        .collect();
    Ok((dtype, shape))
}

fn data_bytes(dtype: DType, shape: &[usize]) -> Result<usize, IdxError> {
    n_bytes(dtype, shape)
        .ok()
        .filter(|&bytes| bytes <= MAX_BYTES)
        .ok_or_else(|| IdxError::TooLarge {
            shape: shape.to_vec(),
            element_bytes: dtype.bytes(),
        })
}
