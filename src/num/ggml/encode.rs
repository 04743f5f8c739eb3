//! Floats and quantized matrices to blocks.
//!
//! Quantizing is [`quantize`](crate::num::quantize()) under ggml's own scheme, so the bytes equal those of
//! ggml's reference writer (`quantize_row_q4_0_ref` and its like); here codes and scales only take their
//! places.

use half::f16;

use super::decode::{check_row, float_bytes};
use super::{GgmlError, GgmlType};
use crate::num::quant::{
    Bits, Granularity, MinimumParts, QuantFormat, QuantizedMatrix, ScaleType, Scheme, Zero,
    quantize,
};
use crate::num::round_to_f16;

/// `w [n, k]` as the bytes of `kind`: F32, F16, BF16, Q4_0, Q4_1 or Q8_0.
///
/// # Errors
/// Naming `tensor`: [`GgmlError::NotWritable`] for other types, rows that are no whole blocks, another
/// number of weights than `n * k`, and for quantized types weights that are not finite or need a scale
/// above the largest f16.
pub fn encode(
    tensor: &str,
    kind: GgmlType,
    w: &[f32],
    n: usize,
    k: usize,
) -> Result<Vec<u8>, GgmlError> {
    check_row(tensor, kind, k)?;
    let expected = n.saturating_mul(k);
    if w.len() != expected {
        return Err(GgmlError::WrongLength {
            tensor: tensor.to_owned(),
            kind,
            what: "weights",
            found: w.len(),
            expected,
            n,
            k,
        });
    }
    let scheme = match kind {
        GgmlType::Q4_0 => Scheme::ggml_q4_0(),
        GgmlType::Q4_1 => Scheme::ggml_q4_1(),
        GgmlType::Q8_0 => Scheme::ggml_q8_0(),
        GgmlType::F32
        | GgmlType::F16
        | GgmlType::Bf16
        | GgmlType::Q5_0
        | GgmlType::Q5_1
        | GgmlType::Q4K
        | GgmlType::Q5K
        | GgmlType::Q6K => {
            return float_bytes(kind, w).ok_or_else(|| GgmlError::NotWritable {
                tensor: tensor.to_owned(),
                kind,
            });
        }
    };
    let matrix = quantize(tensor, w, n, k, &scheme)?;
    Ok(blocks_of(tensor, &matrix)?.1)
}

/// A quantized matrix as blocks of the same codes and scales, and their type; the inverse of
/// [`repack`](super::repack()) for Q4_0, Q4_1 and Q8_0.
///
/// # Errors
/// [`GgmlError::NoBlocks`] naming `tensor` when no type that is written has this format.
pub fn blocks_of(tensor: &str, matrix: &QuantizedMatrix) -> Result<(GgmlType, Vec<u8>), GgmlError> {
    let kind = block_type(matrix.format()).ok_or_else(|| GgmlError::NoBlocks {
        tensor: tensor.to_owned(),
        format: matrix.format(),
    })?;
    let codes = matrix.unpacked_codes();
    let n_blocks = codes.len() / kind.block_len();
    let mut bytes = Vec::with_capacity(n_blocks * kind.block_bytes());
    for (index, codes) in codes.chunks_exact(kind.block_len()).enumerate() {
        bytes.extend(f16::from_f32(matrix.scales()[index]).to_le_bytes());
        if let Some(minima) = matrix.minima() {
            bytes.extend(f16::from_f32(minima[index]).to_le_bytes());
        }
        match matrix.format().bits {
            Bits::Int8 => bytes.extend(codes.iter().map(|&q| q as u8)),
            Bits::Int4 => {
                let nibble = |q: i8| (i32::from(q) + 8) as u8;
                bytes.extend((0..16).map(|j| nibble(codes[j]) | nibble(codes[j + 16]) << 4));
            }
        }
    }
    Ok((kind, bytes))
}

/// The type that [`to_blocks`] gives a matrix of a format; `None` where there is none.
#[must_use]
pub fn held_by(format: QuantFormat) -> Option<GgmlType> {
    match (format.bits, format.zero) {
        (Bits::Int4, Zero::ZeroPoint) => block_type(QuantFormat {
            zero: Zero::FloatMinimum,
            ..format
        }),
        _ => block_type(format),
    }
}

/// As [`blocks_of`], with 4-bit codes of zero points too, as Q4_1: see [`with_minima`].
///
/// # Errors
/// As both have it.
pub fn to_blocks(tensor: &str, matrix: &QuantizedMatrix) -> Result<(GgmlType, Vec<u8>), GgmlError> {
    match matrix.format().zero {
        Zero::ZeroPoint if held_by(matrix.format()).is_some() => {
            blocks_of(tensor, &with_minima(tensor, matrix)?)
        }
        _ => blocks_of(tensor, matrix),
    }
}

/// The same codes and scales with a float minimum instead of a zero point: `s (q - z) = s u + m` with unsigned codes
/// `u = q - q_min` and `m = -s (z - q_min)`, rounded as scales are stored. Where that rounds, with f16 scales whose
/// fraction is longer than the zero point leaves room for, all weights of the group move by the same: at most half of
/// the last bit of `m`, `2^-11 (z - q_min)` of a step, which is below 1/136 at 4 bits.
///
/// # Errors
/// [`GgmlError::Quant`] naming `tensor` for a minimum past the type. A matrix without zero points comes back as it is.
pub fn with_minima(tensor: &str, matrix: &QuantizedMatrix) -> Result<QuantizedMatrix, GgmlError> {
    let (format, Some(zeros)) = (matrix.format(), matrix.zeros()) else {
        return Ok(matrix.clone());
    };
    let first = format.bits.min();
    let unsigned = |q: &i8| (i32::from(*q) - first) as u8;
    let codes: Vec<u8> = matrix.unpacked_codes().iter().map(unsigned).collect();
    let minimum = |(&scale, &zero): (&f32, &i32)| {
        // Exact: a fraction of 24 bits and one of 8.
        let exact = -f64::from(scale) * f64::from(zero - first);
        match format.scale_type {
            ScaleType::F16 => round_to_f16(exact) as f32,
            ScaleType::F32 => exact as f32,
        }
    };
    let minima: Vec<f32> = matrix.scales().iter().zip(zeros).map(minimum).collect();
    Ok(QuantizedMatrix::from_minima(
        tensor,
        &MinimumParts {
            bits: format.bits,
            granularity: format.granularity,
            n: matrix.n(),
            k: matrix.k(),
            codes: &codes,
            scales: matrix.scales(),
            minima: &minima,
            scale_type: format.scale_type,
        },
    )?)
}

fn block_type(format: QuantFormat) -> Option<GgmlType> {
    if (format.granularity, format.scale_type) != (Granularity::Group(32), ScaleType::F16) {
        return None;
    }
    match (format.bits, format.zero) {
        (Bits::Int4, Zero::Symmetric) => Some(GgmlType::Q4_0),
        (Bits::Int4, Zero::FloatMinimum) => Some(GgmlType::Q4_1),
        (Bits::Int8, Zero::Symmetric) => Some(GgmlType::Q8_0),
        (Bits::Int8, Zero::FloatMinimum) | (Bits::Int8 | Bits::Int4, Zero::ZeroPoint) => None,
    }
}
