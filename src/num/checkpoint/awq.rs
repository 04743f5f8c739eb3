//! AWQ in its `gemm` layout.
//!
//! `qweight [k, n / 8]`: a word holds eight outputs of one input, nibble `i` the output `[0, 2, 4, 6, 1, 3, 5,
//! 7][i]` of the eight. `qzeros [groups, n / 8]` in the same order, as they are. `scales [groups, n]`.

use super::{CheckpointError, Found, check_len, groups, transposed};
use crate::num::quant::QuantizedMatrix;

/// Nibble of output `j` of a word.
const NIBBLE: [u32; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

/// The arrays of one layer, 4 bits.
#[derive(Clone, Copy, Debug)]
pub struct AwqParts<'a> {
    /// Rows, output features.
    pub n: usize,
    /// Columns, input features.
    pub k: usize,
    /// Inputs that share a scale; `None` for a whole row.
    pub group_size: Option<usize>,
    /// `[k, n / 8]`
    pub qweight: &'a [u32],
    /// `[groups, n / 8]`
    pub qzeros: &'a [u32],
    /// `[groups, n]`
    pub scales: &'a [f32],
}

/// Brings a layer into our streams.
///
/// # Errors
/// A [`CheckpointError`] naming `tensor`.
pub fn awq(tensor: &str, parts: &AwqParts<'_>) -> Result<QuantizedMatrix, CheckpointError> {
    let AwqParts { n, k, .. } = *parts;
    let n_groups = groups(tensor, (n, k), parts.group_size)?;
    if !n.is_multiple_of(8) {
        return Err(CheckpointError::Words {
            tensor: tensor.to_owned(),
            what: "n",
            value: n,
            multiple: 8,
        });
    }
    check_len(tensor, "qweight", parts.qweight.len(), k.checked_mul(n / 8))?;
    check_len(
        tensor,
        "qzeros",
        parts.qzeros.len(),
        n_groups.checked_mul(n / 8),
    )?;
    check_len(
        tensor,
        "scales",
        parts.scales.len(),
        n_groups.checked_mul(n),
    )?;
    let nibbles = |words: &[u32]| -> Vec<u8> {
        let eight = |&word: &u32| NIBBLE.map(|nibble| ((word >> (4 * nibble)) & 15) as u8);
        words.iter().flat_map(eight).collect()
    };
    Found {
        tensor,
        bits: 4,
        n,
        k,
        n_groups,
        codes: transposed(&nibbles(parts.qweight), k, n),
        zeros: transposed(&nibbles(parts.qzeros), n_groups, n),
        scales: transposed(parts.scales, n_groups, n),
    }
    .pack()
}
