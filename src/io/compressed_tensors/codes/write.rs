//! Writing quantized matrices: the parts to hand to
//! [`write_safetensors`](crate::io::safetensors::write_safetensors).

use super::{CodesError, CodesFormat};
use crate::num::{Bits, Granularity, QuantizedMatrix, ScaleType};
use crate::tensor::{DType, HostTensor};

/// The parts of a matrix under the name of its layer, sorted by name.
///
/// # Errors
/// [`CodesError::Tensor`] for a matrix past the address space.
pub fn code_parts(
    layer: &str,
    matrix: &QuantizedMatrix,
    format: CodesFormat,
) -> Result<Vec<(String, HostTensor)>, CodesError> {
    let (n, k) = (matrix.n(), matrix.k());
    let bits = matrix.format().bits;
    let scale_shape = match matrix.format().granularity {
        Granularity::Tensor => vec![1],
        Granularity::Channel | Granularity::Group(_) => vec![n, matrix.groups_per_row()],
    };
    let codes = matrix.unpacked_codes();
    let mut parts = Vec::new();
    match format {
        CodesFormat::Bytes => {
            parts.push(("weight", HostTensor::from_i8(vec![n, k], &codes)?));
        }
        CodesFormat::Packed => {
            let words: Vec<i32> = codes
                .chunks_exact(k)
                .flat_map(|row| pack(bits, row.iter().copied()))
                .collect();
            let shape = vec![n, k.div_ceil(bits.per_word())];
            parts.push(("weight_packed", HostTensor::from_i32(shape, &words)?));
        }
    }
    let scale_type = match matrix.format().scale_type {
        ScaleType::F32 => DType::F32,
        ScaleType::F16 => DType::F16,
    };
    let scales = HostTensor::from_f32_as(scale_type, scale_shape.clone(), matrix.scales())?;
    parts.push(("weight_scale", scales));
    if format == CodesFormat::Packed {
        let bytes = [n as i64, k as i64].into_iter().flat_map(i64::to_le_bytes);
        let shape = HostTensor::new(DType::I64, vec![2], bytes.collect())?;
        parts.push(("weight_shape", shape));
    }
    if let Some(zeros) = matrix.zeros() {
        let zeros: Vec<i8> = zeros.iter().map(|&zero| zero as i8).collect();
        let tensor = match format {
            CodesFormat::Bytes => HostTensor::from_i8(scale_shape, &zeros)?,
            CodesFormat::Packed => {
                let groups = zeros.len() / scale_shape[0].max(1);
                let (rows, per_word) = (scale_shape[0], bits.per_word());
                // Words run along the rows: a word holds the zero points of one group of several rows.
                let mut words = vec![0; rows.div_ceil(per_word) * groups];
                for group in 0..groups {
                    let column = (0..rows).map(|row| zeros[row * groups + group]);
                    for (at, word) in pack(bits, column).into_iter().enumerate() {
                        words[at * groups + group] = word;
                    }
                }
                HostTensor::from_i32(vec![rows.div_ceil(per_word), groups], &words)?
            }
        };
        parts.push(("weight_zero_point", tensor));
    }
    let named = |(part, tensor)| (format!("{layer}.{part}"), tensor);
    Ok(parts.into_iter().map(named).collect())
}

/// Words of unsigned codes, low bits first; the last is filled up with 0.
fn pack(bits: Bits, codes: impl Iterator<Item = i8>) -> Vec<i32> {
    let mut words: Vec<u32> = Vec::new();
    for (index, code) in codes.enumerate() {
        let place = index % bits.per_word();
        if place == 0 {
            words.push(0);
        }
        let unsigned = (i32::from(code) - bits.min()) as u32;
        if let Some(word) = words.last_mut() {
            *word |= unsigned << (place as u32 * bits.bits());
        }
    }
    words.into_iter().map(|word| word as i32).collect()
}
