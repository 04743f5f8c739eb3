//! The dense integer formats of compressed-tensors.
//!
//! `pack-quantized`: `weight_packed [n, ceil(k / f)]` with `f = 32 / b` codes a word (whole codes only), offset
//! by `2^(b-1)`; `weight_scale [n, groups]`; `weight_zero_point [ceil(n / f), groups]`, if any, packed along n
//! with the same offset. `int-quantized`: `weight [n, k]` as i8, and the same scales.

use super::{CheckpointError, Found, check_len, groups, narrowest};
use crate::num::quant::{Bits, Granularity, QuantizedMatrix, QuantizedParts};

/// The arrays of one `pack-quantized` layer.
#[derive(Clone, Copy, Debug)]
pub struct PackQuantizedParts<'a> {
    /// 2, 3, 4 or 8.
    pub bits: u32,
    /// Rows, output features.
    pub n: usize,
    /// Columns, input features.
    pub k: usize,
    /// Inputs that share a scale; `None` for a whole row.
    pub group_size: Option<usize>,
    /// `[n, ceil(k / (32 / bits))]`
    pub packed: &'a [u32],
    /// `[n, groups]`
    pub scales: &'a [f32],
    /// `[ceil(n / (32 / bits)), groups]`; `None` for symmetric.
    pub zeros: Option<&'a [u32]>,
}

/// Brings a `pack-quantized` layer into our streams.
///
/// # Errors
/// A [`CheckpointError`] naming `tensor`.
pub fn pack_quantized(
    tensor: &str,
    parts: &PackQuantizedParts<'_>,
) -> Result<QuantizedMatrix, CheckpointError> {
    let PackQuantizedParts { bits, n, k, .. } = *parts;
    if ![2, 3, 4, 8].contains(&bits) {
        return Err(CheckpointError::Bits {
            tensor: tensor.to_owned(),
            bits,
            allowed: "2, 3, 4, 8",
        });
    }
    let n_groups = groups(tensor, (n, k), parts.group_size)?;
    let per_word = (32 / bits) as usize;
    let (row_words, zero_rows) = (k.div_ceil(per_word), n.div_ceil(per_word));
    check_len(
        tensor,
        "weight_packed",
        parts.packed.len(),
        n.checked_mul(row_words),
    )?;
    check_len(
        tensor,
        "weight_scale",
        parts.scales.len(),
        n.checked_mul(n_groups),
    )?;
    let code = |word: u32, at: usize| ((word >> (bits as usize * at)) & ((1 << bits) - 1)) as u8;
    let mut codes = Vec::with_capacity(n * k);
    for row in parts.packed.chunks_exact(row_words) {
        codes.extend((0..k).map(|at| code(row[at / per_word], at % per_word)));
    }
    let zeros = match parts.zeros {
        None => vec![1 << (bits - 1); n * n_groups],
        Some(words) => {
            let expected = zero_rows.checked_mul(n_groups);
            check_len(tensor, "weight_zero_point", words.len(), expected)?;
            let zero = |row: usize, group: usize| {
                code(words[row / per_word * n_groups + group], row % per_word)
            };
            (0..n)
                .flat_map(|row| (0..n_groups).map(move |group| zero(row, group)))
                .collect()
        }
    };
    Found {
        tensor,
        bits,
        n,
        k,
        n_groups,
        codes,
        zeros,
        scales: parts.scales.to_vec(),
    }
    .pack()
}

/// Brings an `int-quantized` layer into our streams: codes `[n, k]`, scales `[n, groups]`, and zero points of
/// the same shape if there are any.
///
/// # Errors
/// A [`CheckpointError`] naming `tensor`.
pub fn int_quantized(
    tensor: &str,
    (n, k): (usize, usize),
    codes: &[i8],
    scales: &[f32],
    zeros: Option<&[i8]>,
) -> Result<QuantizedMatrix, CheckpointError> {
    let n_groups = scales.len().checked_div(n).unwrap_or(0);
    if n_groups == 0 || !k.is_multiple_of(n_groups) {
        return Err(CheckpointError::WrongLength {
            tensor: tensor.to_owned(),
            what: "weight_scale",
            found: scales.len(),
            expected: n,
        });
    }
    let granularity = match n_groups {
        1 => Granularity::Channel,
        groups => Granularity::Group((k / groups) as u32),
    };
    let parts = QuantizedParts {
        bits: Bits::Int8,
        granularity,
        n,
        k,
        codes,
        scales,
        scale_type: narrowest(scales),
        zeros,
    };
    Ok(QuantizedMatrix::from_codes(tensor, &parts)?)
}
