//! Writing pruned tensors: the parts to hand to
//! [`write_safetensors`](crate::io::safetensors::write_safetensors).

use super::{BitmaskError, BitmaskFormat, VALUE_TYPES};
use crate::io::safetensors::shown;
use crate::tensor::{DType, HostTensor};

/// The parts of a masked matrix `[N, K]` of f32, f16, bf16 or i8 under a prefix, sorted by name.
///
/// A kept element is one that is not zero; -0 counts as zero and comes back as 0. A group of four
/// with fewer than two keeps the lowest others, so that each has two.
///
/// # Errors
/// A [`BitmaskError`] naming the prefix: another element type, a tensor that is no matrix or empty,
/// and for 2:4 columns that groups of four do not tile and groups with more than two elements.
pub fn bitmask_parts(
    prefix: &str,
    tensor: &HostTensor,
    format: BitmaskFormat,
) -> Result<Vec<(String, HostTensor)>, BitmaskError> {
    let dtype = tensor.dtype();
    if !VALUE_TYPES.contains(&dtype) {
        return Err(BitmaskError::value_type(&shown(prefix), &dtype));
    }
    let (&[n, k], false) = (tensor.shape(), tensor.is_empty()) else {
        return Err(BitmaskError::NotMatrix {
            name: shown(prefix),
            shape: tensor.shape().to_vec(),
        });
    };
    if format == BitmaskFormat::TwoFour && !k.is_multiple_of(4) {
        let name = shown(prefix);
        return Err(BitmaskError::NotGroups { name, k });
    }
    let mut bitmask = vec![0u8; n * k.div_ceil(8)];
    let mut values = Vec::new();
    let mut offsets = Vec::with_capacity(n);
    let rows = tensor.bytes().chunks_exact(k * dtype.bytes());
    for (row, (elements, mask)) in rows
        .zip(bitmask.chunks_exact_mut(k.div_ceil(8)))
        .enumerate()
    {
        offsets.push((values.len() / dtype.bytes()) as i64);
        for (column, element) in elements.chunks_exact(dtype.bytes()).enumerate() {
            mask[column / 8] |= u8::from(!is_zero(dtype, element)) << (column % 8);
        }
        if format == BitmaskFormat::TwoFour {
            fill_groups(prefix, row, k, mask)?;
        }
        for (column, element) in elements.chunks_exact(dtype.bytes()).enumerate() {
            if mask[column / 8] >> (column % 8) & 1 == 1 {
                values.extend_from_slice(element);
            }
        }
    }
    let (shape, value_shape) = match format {
        BitmaskFormat::TwoFour => (vec![2, 1], vec![n, k / 2]),
        BitmaskFormat::General => (vec![2], vec![values.len() / dtype.bytes()]),
    };
    let mut parts = vec![
        (
            "bitmask",
            HostTensor::new(DType::U8, vec![n, k.div_ceil(8)], bitmask)?,
        ),
        ("compressed", HostTensor::new(dtype, value_shape, values)?),
        ("shape", i64_tensor(shape, &[n as i64, k as i64])?),
    ];
    if format == BitmaskFormat::General {
        parts.insert(2, ("row_offsets", i64_tensor(vec![n], &offsets)?));
    }
    let named = |(part, tensor)| (format!("{prefix}.{part}"), tensor);
    Ok(parts.into_iter().map(named).collect())
}

fn i64_tensor(shape: Vec<usize>, values: &[i64]) -> Result<HostTensor, BitmaskError> {
    let bytes = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    Ok(HostTensor::new(DType::I64, shape, bytes)?)
}

/// Whether all bits but the sign of a float are zero.
fn is_zero(dtype: DType, element: &[u8]) -> bool {
    let last = element.len() - 1;
    let sign = if dtype == DType::I8 { 0 } else { 0x80 };
    element[last] & !sign == 0 && element[..last].iter().all(|&byte| byte == 0)
}

/// Brings each group of four in a row of the mask to two bits.
fn fill_groups(name: &str, row: usize, k: usize, mask: &mut [u8]) -> Result<(), BitmaskError> {
    for group in 0..k / 4 {
        let shift = 4 * (group % 2);
        let byte = &mut mask[group / 2];
        let found = (*byte >> shift & 0xf).count_ones();
        if found > 2 {
            return Err(BitmaskError::GroupCount {
                name: shown(name),
                row,
                group,
                found,
            });
        }
        for _ in found..2 {
            let nibble = *byte >> shift & 0xf;
            *byte |= (nibble | (nibble + 1)) << shift;
        }
    }
    Ok(())
}
