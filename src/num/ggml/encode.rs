//! Floats and quantized matrices to blocks.
//!
//! Quantizing is [`quantize`](crate::num::quantize()) under ggml's own scheme, so the bytes equal those of
//! ggml's reference writer (`quantize_row_q4_0_ref` and its like); here codes and scales only take their
//! places.

use half::f16;

use super::decode::{check_row, float_bytes};
use super::{GgmlError, GgmlType};
use crate::num::quant::{
    Bits, Granularity, QuantFormat, QuantizedMatrix, ScaleType, Scheme, Zero, quantize,
};

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
