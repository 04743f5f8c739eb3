//! Packing a matrix that is already pruned to an N:M pattern.

use super::parts::check_pattern;
use super::{NmMatrix, NmParts, NmPattern};
use crate::num::sparse::dense::Dense;
use crate::num::sparse::error::SparseError;
use crate::num::sparse::fields::write_field;
use crate::num::sparse::values::{ValueFormat, Values};

impl NmMatrix {
    /// Packs a matrix that is already pruned to the pattern.
    ///
    /// # Errors
    /// A [`SparseError`] naming the tensor: a shape that is empty, too large or not tiled by
    /// groups, weights that are not finite or overflow an f16, too many weights in a group, and
    /// what [`Values::pack`] refuses of the kept values.
    pub fn compress(
        dense: &Dense<'_>,
        pattern: NmPattern,
        values: ValueFormat,
    ) -> Result<Self, SparseError> {
        dense.check(values)?;
        let Dense { name, n, k, .. } = *dense;
        let stride = check_pattern(name, n, k, pattern)?;
        let kept = pattern.kept(k);
        let mut indices = vec![0; n.div_ceil(pattern.vector as usize) * stride];
        let mut stored = Vec::with_capacity(n * kept);
        let mut columns = Vec::with_capacity(kept);
        for (vector, words) in indices.chunks_exact_mut(stride).enumerate() {
            let start = vector * pattern.vector as usize;
            let rows = start..n.min(start + pattern.vector as usize);
            columns.clear();
            for group in 0..k / pattern.m as usize {
                for index in kept_places(dense, pattern, rows.clone(), group)? {
                    write_field(words, pattern.index_bits(), columns.len(), index);
                    columns.push(group * pattern.m as usize + index as usize);
                }
            }
            for row in rows {
                stored.extend(columns.iter().map(|&column| dense.at(row, column)));
            }
        }
        let values = Values::pack(name, values, [n, kept], &stored)?;
        let parts = NmParts {
            n,
            k,
            pattern,
            values,
            indices,
        };
        Ok(Self { parts })
    }
}

/// The places to keep in a group of some rows, ascending: all that hold a weight, then the lowest
/// free ones.
fn kept_places(
    dense: &Dense<'_>,
    pattern: NmPattern,
    rows: std::ops::Range<usize>,
    group: usize,
) -> Result<impl Iterator<Item = u32>, SparseError> {
    let start = group * pattern.m as usize;
    let holds_weight = |place: u32| {
        let column = start + place as usize;
        rows.clone().any(|row| dense.at(row, column) != 0.0)
    };
    let mut mask = (0..pattern.m).fold(0u32, |mask, place| {
        mask | u32::from(holds_weight(place)) << place
    });
    let found = mask.count_ones();
    if found > pattern.n {
        return Err(SparseError::TooManyKept {
            tensor: dense.name.to_owned(),
            row: rows.start,
            row_end: rows.end,
            group,
            found,
            pattern,
        });
    }
    for _ in found..pattern.n {
        mask |= mask + 1;
    }
    Ok((0..pattern.m).filter(move |place| mask >> place & 1 == 1))
}
