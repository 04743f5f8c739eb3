//! GPTQ, as AutoGPTQ and GPTQModel write it.
//!
//! `qweight [k * b / 32, n]`: column `n` is a stream of words along k. `qzeros [groups, n * b / 32]`: a row is a
//! stream along n. `scales [groups, n]`. `g_idx [k]` names the group of each input; with act-order it is not
//! `k / group_size`. `w[n, k] = scales[g, n] * (code - zero[g, n])`.

use super::{CheckpointError, Found, check_len, field, groups, transposed};
use crate::num::quant::QuantizedMatrix;

/// How zero points are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GptqZeros {
    /// `checkpoint_format: "gptq"`: one too low, whole words wrapping, so that a zero point of 0 has borrowed
    /// from its neighbour.
    MinusOne,
    /// `checkpoint_format: "gptq_v2"`: as they are.
    AsTheyAre,
}

impl GptqZeros {
    /// What the words of a symmetric 4-bit file say, which files are known to contradict: all 7 is
    /// [`Self::MinusOne`], all 8 [`Self::AsTheyAre`]; `None` if neither.
    #[must_use]
    pub fn of_symmetric_int4(qzeros: &[u32]) -> Option<Self> {
        match qzeros.first()? {
            0x7777_7777 if qzeros.iter().all(|&word| word == 0x7777_7777) => Some(Self::MinusOne),
            0x8888_8888 if qzeros.iter().all(|&word| word == 0x8888_8888) => Some(Self::AsTheyAre),
            _ => None,
        }
    }
}

/// The arrays of one layer.
#[derive(Clone, Copy, Debug)]
pub struct GptqParts<'a> {
    /// 2, 3, 4 or 8.
    pub bits: u32,
    /// Rows, output features.
    pub n: usize,
    /// Columns, input features.
    pub k: usize,
    /// Inputs that share a scale; `None` for a whole row.
    pub group_size: Option<usize>,
    /// `[k * bits / 32, n]`
    pub qweight: &'a [u32],
    /// `[groups, n * bits / 32]`
    pub qzeros: &'a [u32],
    /// How zero points are stored.
    pub zeros: GptqZeros,
    /// `[groups, n]`
    pub scales: &'a [f32],
    /// `[k]`; `None` for `k / group_size`.
    pub g_idx: Option<&'a [i32]>,
}

/// A weight, and the order of its columns.
#[derive(Clone, Debug, PartialEq)]
pub struct GptqMatrix {
    /// The weight; with `order`, its columns are sorted by group.
    pub matrix: QuantizedMatrix,
    /// Column `j` meets input `order[j]`. `None` when columns are inputs.
    pub order: Option<Vec<u32>>,
}

/// Brings a layer into our streams. 2 and 3-bit codes become int4 codes of the same values.
///
/// # Errors
/// A [`CheckpointError`] naming `tensor`.
pub fn gptq(tensor: &str, parts: &GptqParts<'_>) -> Result<GptqMatrix, CheckpointError> {
    let GptqParts { bits, n, k, .. } = *parts;
    if ![2, 3, 4, 8].contains(&bits) {
        return Err(CheckpointError::Bits {
            tensor: tensor.to_owned(),
            bits,
            allowed: "2, 3, 4, 8",
        });
    }
    let n_groups = groups(tensor, (n, k), parts.group_size)?;
    let words = |what: &'static str, value: usize| {
        // 3-bit codes fill three words by 32.
        let multiple = if bits == 3 { 32 } else { 32 / bits as usize };
        if value.is_multiple_of(multiple) {
            return Ok(value / 32 * bits as usize + value % 32 * bits as usize / 32);
        }
        Err(CheckpointError::Words {
            tensor: tensor.to_owned(),
            what,
            value,
            multiple,
        })
    };
    let (k_words, n_words) = (words("k", k)?, words("n", n)?);
    check_len(
        tensor,
        "qweight",
        parts.qweight.len(),
        k_words.checked_mul(n),
    )?;
    check_len(
        tensor,
        "qzeros",
        parts.qzeros.len(),
        n_words.checked_mul(n_groups),
    )?;
    check_len(
        tensor,
        "scales",
        parts.scales.len(),
        n.checked_mul(n_groups),
    )?;
    let order = parts
        .g_idx
        .map(|g_idx| order(tensor, g_idx, k, n_groups))
        .transpose()?;
    let order = order.flatten();

    let columns = transposed(parts.qweight, k_words, n);
    let mut codes = Vec::with_capacity(n * k);
    for stream in columns.chunks_exact(k_words) {
        codes.extend((0..k).map(|at| {
            let input = order.as_ref().map_or(at, |order| order[at] as usize);
            field(stream, bits, input)
        }));
    }
    let mut zeros = Vec::with_capacity(n * n_groups);
    for row in parts.qzeros.chunks_exact(n_words) {
        let row: Vec<u32> = row
            .iter()
            .map(|&word| plus_one(word, bits, parts.zeros))
            .collect();
        zeros.extend((0..n).map(|at| match (bits, parts.zeros) {
            // Fields straddle words, so the addition is by field.
            (3, GptqZeros::MinusOne) => (field(&row, 3, at) + 1) & 7,
            _ => field(&row, bits, at),
        }));
    }
    let matrix = Found {
        tensor,
        bits,
        n,
        k,
        n_groups,
        codes,
        zeros: transposed(&zeros, n_groups, n),
        scales: transposed(parts.scales, n_groups, n),
    }
    .pack()?;
    Ok(GptqMatrix { matrix, order })
}

/// A word of zero points with one added to every field, carries and all.
fn plus_one(word: u32, bits: u32, zeros: GptqZeros) -> u32 {
    match (zeros, bits) {
        (GptqZeros::AsTheyAre, _) | (GptqZeros::MinusOne, 3) => word,
        (GptqZeros::MinusOne, 2) => word.wrapping_add(0x5555_5555),
        (GptqZeros::MinusOne, 4) => word.wrapping_add(0x1111_1111),
        (GptqZeros::MinusOne, _) => word.wrapping_add(0x0101_0101),
    }
}

/// Inputs sorted by group; `None` if they are already.
fn order(
    tensor: &str,
    g_idx: &[i32],
    k: usize,
    n_groups: usize,
) -> Result<Option<Vec<u32>>, CheckpointError> {
    check_len(tensor, "g_idx", g_idx.len(), Some(k))?;
    let mut sizes = vec![0usize; n_groups];
    for (column, &group) in g_idx.iter().enumerate() {
        let size = usize::try_from(group)
            .ok()
            .and_then(|group| sizes.get_mut(group));
        *size.ok_or_else(|| CheckpointError::GroupIndex {
            tensor: tensor.to_owned(),
            column,
            group,
            n_groups,
        })? += 1;
    }
    let expected = k / n_groups;
    if let Some(group) = sizes.iter().position(|&size| size != expected) {
        return Err(CheckpointError::UnevenGroups {
            tensor: tensor.to_owned(),
            group,
            found: sizes[group],
            expected,
        });
    }
    if g_idx.is_sorted() {
        return Ok(None);
    }
    let mut order: Vec<u32> = (0..k as u32).collect();
    order.sort_by_key(|&input| g_idx[input as usize]);
    Ok(Some(order))
}
