//! Quantized weights as GPTQ, AWQ and compressed-tensors checkpoints pack them, brought into our own streams
//! without loss.
//!
//! All three hold `w = scale * (code - zero)` with unsigned codes; they differ in which way words run, in the
//! order of the codes in a word, and in how zero points are stored. Words are 32 bits, low bits first.
//!
//! * [`gptq`]: words run along k; zero points of format 1 are stored one too low.
//! * [`awq`]: words run along n, in the order 0 2 4 6 1 3 5 7.
//! * [`pack_quantized`], [`int_quantized`]: compressed-tensors; words run along k, codes offset by 2^(b-1).

mod awq;
mod compressed;
mod error;
mod gptq;

use super::quant::{Bits, Granularity, QuantError, QuantizedMatrix, QuantizedParts, ScaleType};
use crate::num::float::round_to_f16;

pub use awq::{AwqParts, awq};
pub use compressed::{PackQuantizedParts, int_quantized, pack_quantized};
pub use error::CheckpointError;
pub use gptq::{GptqMatrix, GptqParts, GptqZeros, gptq};

/// Unsigned codes `[n, k]` and zero points `[n, groups]`, found by an importer; both below `2^b`.
struct Found<'a> {
    tensor: &'a str,
    /// Bits of a code in the file.
    bits: u32,
    n: usize,
    k: usize,
    n_groups: usize,
    codes: Vec<u8>,
    zeros: Vec<u8>,
    /// `[n, groups]`
    scales: Vec<f32>,
}

impl Found<'_> {
    /// Packs what was found; without zero points where all are the middle code.
    fn pack(self) -> Result<QuantizedMatrix, CheckpointError> {
        // Narrower codes fit the int4 grid: subtracting 8 from codes and zero points keeps both within it.
        let width = if self.bits == 8 {
            Bits::Int8
        } else {
            Bits::Int4
        };
        let middle = 1u8 << (self.bits - 1);
        let symmetric = self.zeros.iter().all(|&zero| zero == middle);
        let offset = if symmetric {
            i32::from(middle)
        } else {
            -width.min()
        };
        let signed = |&code: &u8| (i32::from(code) - offset) as i8;
        let codes: Vec<i8> = self.codes.iter().map(signed).collect();
        let zeros: Vec<i8> = self.zeros.iter().map(signed).collect();
        let granularity = match self.n_groups {
            1 => Granularity::Channel,
            groups => Granularity::Group((self.k / groups) as u32),
        };
        let parts = QuantizedParts {
            bits: width,
            granularity,
            n: self.n,
            k: self.k,
            codes: &codes,
            scales: &self.scales,
            scale_type: narrowest(&self.scales),
            zeros: (!symmetric).then_some(zeros.as_slice()),
        };
        Ok(QuantizedMatrix::from_codes(self.tensor, &parts)?)
    }
}

/// f16 where it holds every scale.
fn narrowest(scales: &[f32]) -> ScaleType {
    let fits = |&scale: &f32| round_to_f16(f64::from(scale)) == f64::from(scale);
    if scales.iter().all(fits) {
        ScaleType::F16
    } else {
        ScaleType::F32
    }
}

/// The `index`th field of `bits` bits in a stream of words, low bits first; fields may straddle words.
fn field(words: &[u32], bits: u32, index: usize) -> u8 {
    let at = index * bits as usize;
    let low = words[at / 32] >> (at % 32);
    let taken = 32 - (at % 32) as u32;
    let high = match words.get(at / 32 + 1) {
        Some(word) if taken < bits => word << taken,
        _ => 0,
    };
    ((low | high) & ((1 << bits) - 1)) as u8
}

fn check_len(
    tensor: &str,
    what: &'static str,
    found: usize,
    expected: Option<usize>,
) -> Result<(), CheckpointError> {
    if Some(found) == expected {
        return Ok(());
    }
    Err(CheckpointError::WrongLength {
        tensor: tensor.to_owned(),
        what,
        found,
        expected: expected.unwrap_or(usize::MAX),
    })
}

/// Groups of `group_size` along `k`, the whole row for `None`, of a matrix that is not empty.
fn groups(
    tensor: &str,
    (n, k): (usize, usize),
    group_size: Option<usize>,
) -> Result<usize, CheckpointError> {
    if n == 0 || k == 0 {
        let tensor = tensor.to_owned();
        return Err(QuantError::Empty { tensor, n, k }.into());
    }
    match group_size {
        None => Ok(1),
        Some(size) if size > 0 && k.is_multiple_of(size) => Ok(k / size),
        Some(size) => Err(CheckpointError::Groups {
            tensor: tensor.to_owned(),
            k,
            group_size: size,
        }),
    }
}

/// `[rows, columns]` the other way round.
fn transposed<T: Copy>(values: &[T], rows: usize, columns: usize) -> Vec<T> {
    (0..columns)
        .flat_map(|column| (0..rows).map(move |row| values[row * columns + column]))
        .collect()
}

#[cfg(test)]
mod tests;
