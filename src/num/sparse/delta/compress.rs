//! Packing a matrix of single weights.

use super::parts::checked_row_multiple;
use super::{DeltaBits, DeltaMatrix, DeltaParts};
use crate::num::sparse::dense::{Dense, check_count};
use crate::num::sparse::error::SparseError;
use crate::num::sparse::fields::{field_words, write_field};
use crate::num::sparse::values::{ValueFormat, Values};

impl DeltaMatrix {
    /// Packs a masked matrix. Without `bits`, the width that takes fewer bytes is taken, or 4 bits
    /// if both take the same.
    ///
    /// # Errors
    /// A [`SparseError`] naming the tensor: a shape that is empty, too many entries, weights that
    /// are not finite or overflow an f16, scales of a granularity that entries do not have, and what
    /// [`Values::pack`] refuses of the kept values.
    pub fn compress(
        dense: &Dense<'_>,
        bits: Option<DeltaBits>,
        values: ValueFormat,
    ) -> Result<Self, SparseError> {
        dense.check(values)?;
        let multiple = checked_row_multiple(dense.name, dense.k, values.stored())?;
        let count = |bits| count_entries(dense, bits, multiple).unwrap_or(usize::MAX);
        let bytes = |bits: DeltaBits| {
            let entries = count(bits).min(u32::MAX as usize).max(multiple);
            values.stored().bytes(1, entries) + 4 * field_words(bits.bits(), entries)
        };
        let bits = bits.unwrap_or_else(|| {
            let fewer = bytes(DeltaBits::Eight) < bytes(DeltaBits::Four);
            if fewer {
                DeltaBits::Eight
            } else {
                DeltaBits::Four
            }
        });
        let shape = [dense.n, dense.k];
        let n_entries = check_count(dense.name, "entries", shape, Some(count(bits)))?;

        let mut row_starts = vec![0];
        let mut entries = Vec::with_capacity(n_entries.max(multiple));
        for weights in dense.weights.chunks_exact(dense.k) {
            append_row(weights, bits, &mut entries);
            entries.resize(entries.len().next_multiple_of(multiple), (0, 0.0));
            row_starts.push(entries.len() as u32);
        }
        debug_assert_eq!(entries.len(), n_entries);
        entries.resize(entries.len().max(multiple), (0, 0.0));

        let mut deltas = vec![0; field_words(bits.bits(), entries.len())];
        for (index, &(delta, _)) in entries.iter().enumerate() {
            write_field(&mut deltas, bits.bits(), index, delta);
        }
        let stored: Vec<f32> = entries.iter().map(|&(_, value)| value).collect();
        let values = Values::pack(dense.name, values, [1, stored.len()], &stored)?;
        let parts = DeltaParts {
            n: dense.n,
            k: dense.k,
            bits,
            row_starts,
            deltas,
            values,
        };
        Ok(Self { parts })
    }
}

/// Entries of all rows with bridges and padding, or `None` if a usize cannot count them.
fn count_entries(dense: &Dense<'_>, bits: DeltaBits, multiple: usize) -> Option<usize> {
    dense
        .weights
        .chunks_exact(dense.k)
        .try_fold(0usize, |total, weights| {
            let entries = gaps(weights).map(|(gap, _)| bits.n_bridges(gap) + 1);
            let padded = entries.sum::<usize>().checked_next_multiple_of(multiple)?;
            total.checked_add(padded)
        })
}

/// Appends the weights of a row and their bridges as deltas and values.
fn append_row(weights: &[f32], bits: DeltaBits, entries: &mut Vec<(u32, f32)>) {
    for (gap, weight) in gaps(weights) {
        let n_bridges = bits.n_bridges(gap);
        entries.resize(entries.len() + n_bridges, (bits.max() as u32, 0.0));
        entries.push(((gap - n_bridges * bits.max()) as u32, weight));
    }
}

/// The nonzero weights of a row, each with its distance from the one before, the first from
/// column 0.
fn gaps(weights: &[f32]) -> impl Iterator<Item = (usize, f32)> + '_ {
    let nonzero = weights
        .iter()
        .enumerate()
        .filter(|&(_, &weight)| weight != 0.0);
    nonzero.scan(0, |previous, (column, &weight)| {
        let gap = column - *previous;
        *previous = column;
        Some((gap, weight))
    })
}
