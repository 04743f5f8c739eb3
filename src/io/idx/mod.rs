//! IDX files, plain or under gzip: the format of MNIST and of the sets made after it.
//!
//! Two zero bytes, a type, a number of dimensions `d`; `d` dimensions as big-endian 32-bit words,
//! slowest first; then the elements, big-endian, row-major, and nothing after them. Source: the
//! description on the MNIST page (LeCun, Cortes, Burges). gzip is recognised by its first two bytes,
//! not by the file's name; its checksums are verified.

mod error;
mod read;

pub use error::IdxError;
pub use read::{parse_idx, read_idx};

use crate::tensor::DType;

/// The most dimensions read; the format allows 255, no set has more than 4.
const MAX_DIMENSIONS: usize = 8;

/// The most data one file may hold: 4 GiB, some eighty times the largest set in use.
const MAX_BYTES: usize = u32::MAX as usize;

/// The most bytes that one compressed byte can stand for: DEFLATE's 258 bytes in two bits, and a
/// margin for the header.
const MAX_EXPANSION: usize = 1032;

/// The element type of a code of the header.
fn dtype(code: u8) -> Option<DType> {
    Some(match code {
        0x08 => DType::U8,
        0x09 => DType::I8,
        0x0b => DType::I16,
        0x0c => DType::I32,
        0x0d => DType::F32,
        0x0e => DType::F64,
        _ => return None,
    })
}

#[cfg(test)]
mod mutation_tests;
#[cfg(test)]
mod tests;
