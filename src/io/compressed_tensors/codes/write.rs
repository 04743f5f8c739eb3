//! Writing quantized matrices: the parts to hand to
//! [`write_safetensors`](crate::io::safetensors::write_safetensors).

use super::{CodesError, CodesFormat, WeightArgs};
use crate::num::{Granularity, QuantizedMatrix, ScaleType, Width, Zero};
use crate::tensor::{DType, HostTensor};

/// The parts of a matrix under the name of its layer, sorted by name. Of `args` the width and the spacing are used.
///
/// # Errors
/// [`CodesError::FloatMinimum`] for a matrix with float minima, [`CodesError::Range`] and [`CodesError::Spacing`] for
/// codes that the width and spacing cannot hold, [`CodesError::Tensor`] for a matrix past the address space.
pub fn code_parts(
    layer: &str,
    (matrix, args): (&QuantizedMatrix, &WeightArgs),
    format: CodesFormat,
) -> Result<Vec<(String, HostTensor)>, CodesError> {
    if matrix.format().zero == Zero::FloatMinimum {
        return Err(CodesError::FloatMinimum {
            layer: layer.to_owned(),
        });
    }
    let (n, k) = (matrix.n(), matrix.k());
    let width = args.width;
    let scale_shape = match matrix.format().granularity {
        Granularity::Tensor => vec![1],
        Granularity::Channel | Granularity::Group(_) => vec![n, matrix.groups_per_row()],
    };
    let codes = own_codes(layer, &matrix.unpacked_codes(), args)?;
    let mut parts = Vec::new();
    match format {
        CodesFormat::Bytes => {
            parts.push(("weight", HostTensor::from_i8(vec![n, k], &codes)?));
        }
        CodesFormat::Packed => {
            let words: Vec<i32> = codes
                .chunks_exact(k)
                .flat_map(|row| pack(width, row.iter().copied()))
                .collect();
            let shape = vec![n, k.div_ceil(width.per_word())];
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
        let zero_width = args.zero_width();
        let is_outside = |zero: &&i32| !zero_width.holds(**zero);
        if let Some(&value) = zeros.iter().find(is_outside) {
            let index = zeros.iter().position(|&zero| zero == value);
            return Err(CodesError::Range {
                layer: layer.to_owned(),
                what: "zero point",
                value,
                index: index.unwrap_or_default(),
                width: zero_width,
            });
        }
        let zeros: Vec<i8> = zeros.iter().map(|&zero| zero as i8).collect();
        let tensor = match format {
            CodesFormat::Bytes => HostTensor::from_i8(scale_shape, &zeros)?,
            CodesFormat::Packed => {
                let groups = zeros.len() / scale_shape[0].max(1);
                let (rows, per_word) = (scale_shape[0], zero_width.per_word());
                // Words run along the rows: a word holds the zero points of one group of several rows.
                let mut words = vec![0; rows.div_ceil(per_word) * groups];
                for group in 0..groups {
                    let column = (0..rows).map(|row| zeros[row * groups + group]);
                    for (at, word) in pack(zero_width, column).into_iter().enumerate() {
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

/// Codes at the width of the file.
fn own_codes(layer: &str, codes: &[i8], args: &WeightArgs) -> Result<Vec<i8>, CodesError> {
    let spacing = args.spacing.max(1);
    let own = |(index, &code): (usize, &i8)| {
        let code = i32::from(code);
        if code % spacing != 0 {
            return Err(CodesError::Spacing {
                layer: layer.to_owned(),
                value: code,
                index,
                spacing,
            });
        }
        let value = code / spacing;
        if !args.width.holds(value) {
            return Err(CodesError::Range {
                layer: layer.to_owned(),
                what: "code",
                value,
                index,
                width: args.width,
            });
        }
        Ok(value as i8)
    };
    codes.iter().enumerate().map(own).collect()
}

/// Words of unsigned codes, low bits first; the last is filled up with 0.
fn pack(width: Width, codes: impl Iterator<Item = i8>) -> Vec<i32> {
    let mut words: Vec<u32> = Vec::new();
    for (index, code) in codes.enumerate() {
        let place = index % width.per_word();
        if place == 0 {
            words.push(0);
        }
        let unsigned = (i32::from(code) - width.min()) as u32;
        if let Some(word) = words.last_mut() {
            *word |= unsigned << (place as u32 * width.bits());
        }
    }
    words.into_iter().map(|word| word as i32).collect()
}
