//! Checks of N:M parts that were made elsewhere.

use super::{NmMatrix, NmParts, NmPattern};
use crate::num::sparse::dense::{check_count, check_dims, check_len};
use crate::num::sparse::error::SparseError;
use crate::num::sparse::fields::{first_set_after, read_field};

impl NmMatrix {
    /// Takes parts that were made elsewhere.
    ///
    /// # Errors
    /// A [`SparseError`] naming `tensor`: a shape that is empty, too large or not tiled by groups,
    /// values of another shape or with zero points, a list of indices of the wrong length, indices
    /// out of range or not ascending, and padding bits that are set.
    pub fn from_parts(tensor: &str, parts: NmParts) -> Result<Self, SparseError> {
        let NmParts { n, k, pattern, .. } = parts;
        check_dims(tensor, n, k)?;
        let stride = check_pattern(tensor, n, k, pattern)?;
        parts.values.check(tensor, [n, pattern.kept(k)])?;
        let n_vectors = n.div_ceil(pattern.vector as usize);
        check_len(
            tensor,
            "index words",
            parts.indices.len(),
            n_vectors * stride,
        )?;
        for (vector, words) in parts.indices.chunks_exact(stride).enumerate() {
            check_indices(tensor, k, pattern, vector, words)?;
            if let Some(word) = first_set_after(words, pattern.index_bits(), pattern.kept(k)) {
                return Err(SparseError::Padding {
                    tensor: tensor.to_owned(),
                    what: "the end of index word",
                    index: vector * stride + word,
                });
            }
        }
        Ok(Self { parts })
    }
}

/// The index stride, if groups tile the rows and the indices can be addressed.
pub(super) fn check_pattern(
    tensor: &str,
    n: usize,
    k: usize,
    pattern: NmPattern,
) -> Result<usize, SparseError> {
    if !k.is_multiple_of(pattern.m as usize) {
        return Err(SparseError::KNotMultipleOfGroup {
            tensor: tensor.to_owned(),
            k,
            m: pattern.m,
            pattern,
        });
    }
    let stride = pattern.index_stride_words(k);
    let n_words = n.div_ceil(pattern.vector as usize).checked_mul(stride);
    check_count(tensor, "index words", [n, k], n_words)?;
    Ok(stride)
}

/// Refuses indices of a vector that are out of range or not ascending within a group.
fn check_indices(
    tensor: &str,
    k: usize,
    pattern: NmPattern,
    vector: usize,
    words: &[u32],
) -> Result<(), SparseError> {
    let tensor = || tensor.to_owned();
    let mut previous = 0;
    for position in 0..pattern.kept(k) {
        let index = read_field(words, pattern.index_bits(), position);
        let group = position / pattern.n as usize;
        if index >= pattern.m {
            return Err(SparseError::IndexOutOfRange {
                tensor: tensor(),
                row: vector * pattern.vector as usize,
                vector,
                group,
                position,
                index,
                pattern,
            });
        }
        if !position.is_multiple_of(pattern.n as usize) && index <= previous {
            return Err(SparseError::IndexNotAscending {
                tensor: tensor(),
                row: vector * pattern.vector as usize,
                vector,
                group,
                position,
                index,
                previous,
            });
        }
        previous = index;
    }
    Ok(())
}
