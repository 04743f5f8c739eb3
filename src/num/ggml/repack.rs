//! Blocks to the streams of a [`QuantizedMatrix`], without loss and without floats in between.

use super::decode::check_bytes;
use super::fields::{KBlock, Q6Block, f16_at, fives32, nibbles32};
use super::{GgmlError, GgmlType};
use crate::num::quant::{
    Bits, Granularity, MinimumParts, QuantFormat, QuantizedMatrix, QuantizedParts, ScaleType, Zero,
};

/// The matrix `[n, k]` that `bytes` hold, every weight the same (see the table in [`super`]).
///
/// # Errors
/// Naming `tensor`: [`GgmlError::NotQuantized`] for floats, rows that are no whole blocks, data of another
/// length, and [`GgmlError::Quant`] for empty shapes and scales that are infinite or NaN.
pub fn repack(
    tensor: &str,
    kind: GgmlType,
    bytes: &[u8],
    n: usize,
    k: usize,
) -> Result<QuantizedMatrix, GgmlError> {
    check_bytes(tensor, kind, bytes, n, k)?;
    let blocks = bytes.chunks_exact(kind.block_bytes());
    let mut signed = Streams::<i8>::new(n, k);
    let mut unsigned = Streams::<u8>::new(n, k);
    let place = |bits, group_size, scale_type| Place {
        tensor,
        bits,
        group_size,
        scale_type,
        n,
        k,
    };
    match kind {
        GgmlType::F32 | GgmlType::F16 | GgmlType::Bf16 => {
            let tensor = tensor.to_owned();
            Err(GgmlError::NotQuantized { tensor, kind })
        }
        GgmlType::Q4_0 => {
            for block in blocks {
                let codes = nibbles32(&block[2..]).map(|q| q as i8 - 8);
                signed.push(&codes, &[f16_at(block, 0)], &[]);
            }
            place(Bits::Int4, 32, ScaleType::F16).symmetric(&signed)
        }
        GgmlType::Q4_1 => {
            for block in blocks {
                let codes = nibbles32(&block[4..]);
                unsigned.push(&codes, &[f16_at(block, 0)], &[f16_at(block, 2)]);
            }
            place(Bits::Int4, 32, ScaleType::F16).minimum(&unsigned)
        }
        GgmlType::Q5_0 => {
            for block in blocks {
                let codes = fives32(block, 2).map(|q| q as i8 - 16);
                signed.push(&codes, &[f16_at(block, 0)], &[]);
            }
            place(Bits::Int8, 32, ScaleType::F16).symmetric(&signed)
        }
        GgmlType::Q5_1 => {
            for block in blocks {
                let codes = fives32(block, 4);
                unsigned.push(&codes, &[f16_at(block, 0)], &[f16_at(block, 2)]);
            }
            place(Bits::Int8, 32, ScaleType::F16).minimum(&unsigned)
        }
        GgmlType::Q8_0 => {
            for block in blocks {
                let codes: [i8; 32] = std::array::from_fn(|i| block[2 + i] as i8);
                signed.push(&codes, &[f16_at(block, 0)], &[]);
            }
            place(Bits::Int8, 32, ScaleType::F16).symmetric(&signed)
        }
        GgmlType::Q4K | GgmlType::Q5K => {
            let (read, bits): (fn(&[u8]) -> KBlock, Bits) = match kind {
                GgmlType::Q4K => (KBlock::q4, Bits::Int4),
                _ => (KBlock::q5, Bits::Int8),
            };
            for block in blocks {
                let block = read(block);
                unsigned.push(&block.codes, &block.scales, &block.minima);
            }
            place(bits, 32, ScaleType::F32).minimum(&unsigned)
        }
        GgmlType::Q6K => {
            for block in blocks {
                let block = Q6Block::new(block);
                signed.push(&block.codes, &block.scales, &[]);
            }
            place(Bits::Int8, 16, ScaleType::F32).symmetric(&signed)
        }
    }
}

/// Device bytes of `n` rows of `k` weights: those of [`repack`]'s matrix, and of floats as they are.
#[must_use]
pub fn repacked_bytes(kind: GgmlType, n: usize, k: usize) -> u64 {
    let (bits, group, zero, scale_type) = match kind {
        GgmlType::F32 | GgmlType::F16 | GgmlType::Bf16 => {
            let bytes = kind.bytes_of(n, k);
            return bytes.map_or(u64::MAX, |bytes| bytes as u64);
        }
        GgmlType::Q4_0 => (Bits::Int4, 32, Zero::Symmetric, ScaleType::F16),
        GgmlType::Q4_1 => (Bits::Int4, 32, Zero::FloatMinimum, ScaleType::F16),
        GgmlType::Q5_0 | GgmlType::Q8_0 => (Bits::Int8, 32, Zero::Symmetric, ScaleType::F16),
        GgmlType::Q5_1 => (Bits::Int8, 32, Zero::FloatMinimum, ScaleType::F16),
        GgmlType::Q4K => (Bits::Int4, 32, Zero::FloatMinimum, ScaleType::F32),
        GgmlType::Q5K => (Bits::Int8, 32, Zero::FloatMinimum, ScaleType::F32),
        GgmlType::Q6K => (Bits::Int8, 16, Zero::Symmetric, ScaleType::F32),
    };
    let format = QuantFormat {
        bits,
        granularity: Granularity::Group(group),
        zero,
        scale_type,
    };
    format.device_bytes(n, k)
}

/// Codes, scales and minima as they come out of blocks.
struct Streams<Code> {
    codes: Vec<Code>,
    scales: Vec<f32>,
    minima: Vec<f32>,
    n_weights: usize,
}

impl<Code: Copy> Streams<Code> {
    /// Empty; room is made when the first block comes, because only one of two is used. `n * k` was
    /// checked against the bytes that are there.
    fn new(n: usize, k: usize) -> Self {
        Self {
            codes: Vec::new(),
            scales: Vec::new(),
            minima: Vec::new(),
            n_weights: n.saturating_mul(k),
        }
    }

    fn push(&mut self, codes: &[Code], scales: &[f32], minima: &[f32]) {
        if self.codes.is_empty() {
            self.codes.reserve(self.n_weights);
        }
        self.codes.extend_from_slice(codes);
        self.scales.extend_from_slice(scales);
        self.minima.extend_from_slice(minima);
    }
}

struct Place<'a> {
    tensor: &'a str,
    bits: Bits,
    group_size: u32,
    scale_type: ScaleType,
    n: usize,
    k: usize,
}

impl Place<'_> {
    fn symmetric(&self, streams: &Streams<i8>) -> Result<QuantizedMatrix, GgmlError> {
        let parts = QuantizedParts {
            bits: self.bits,
            granularity: Granularity::Group(self.group_size),
            n: self.n,
            k: self.k,
            codes: &streams.codes,
            scales: &streams.scales,
            scale_type: self.scale_type,
            zeros: None,
        };
        Ok(QuantizedMatrix::from_codes(self.tensor, &parts)?)
    }

    fn minimum(&self, streams: &Streams<u8>) -> Result<QuantizedMatrix, GgmlError> {
        let parts = MinimumParts {
            bits: self.bits,
            granularity: Granularity::Group(self.group_size),
            n: self.n,
            k: self.k,
            codes: &streams.codes,
            scales: &streams.scales,
            minima: &streams.minima,
            scale_type: self.scale_type,
        };
        Ok(QuantizedMatrix::from_minima(self.tensor, &parts)?)
    }
}
