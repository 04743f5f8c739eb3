//! A packed matrix of single weights and what can be asked of it.

use super::{DeltaBits, ROW_MULTIPLE, row_multiple};
use crate::num::sparse::fields::read_field;
use crate::num::sparse::values::Values;

/// The parts of a [`DeltaMatrix`], not yet trusted.
#[derive(Clone, Debug, PartialEq)]
pub struct DeltaParts {
    /// Rows.
    pub n: usize,
    /// Columns.
    pub k: usize,
    /// Width of the deltas.
    pub bits: DeltaBits,
    /// `[n + 1]`, in entries.
    pub row_starts: Vec<u32>,
    /// `[entries]`, packed.
    pub deltas: Vec<u32>,
    /// `[1, entries]`
    pub values: Values,
}

/// An `[n, k]` matrix of single weights. Immutable; every entry is at a column below `k`.
#[derive(Clone, Debug, PartialEq)]
pub struct DeltaMatrix {
    pub(super) parts: DeltaParts,
}

impl DeltaMatrix {
    /// Rows, output features.
    #[must_use]
    pub fn n(&self) -> usize {
        self.parts.n
    }

    /// Columns, input features.
    #[must_use]
    pub fn k(&self) -> usize {
        self.parts.k
    }

    /// Width of the deltas.
    #[must_use]
    pub fn bits(&self) -> DeltaBits {
        self.parts.bits
    }

    /// What the entries of a row come in multiples of: 8, or the group of the scales, which is a
    /// multiple of 8.
    #[must_use]
    pub fn row_multiple(&self) -> usize {
        row_multiple(self.parts.values.format()).unwrap_or(ROW_MULTIPLE)
    }

    /// `[n + 1]`: where the entries of a row begin. Multiples of [`Self::row_multiple`].
    #[must_use]
    pub fn row_starts(&self) -> &[u32] {
        &self.parts.row_starts
    }

    /// Packed deltas `[entries]`.
    #[must_use]
    pub fn deltas(&self) -> &[u32] {
        &self.parts.deltas
    }

    /// `[1, entries]`: the values, those of bridges and padding included.
    #[must_use]
    pub fn values(&self) -> &Values {
        &self.parts.values
    }

    /// Entries of all rows, bridges and padding included; may be 0, when some are stored all the
    /// same.
    #[must_use]
    pub fn n_entries(&self) -> usize {
        self.parts.row_starts[self.parts.n] as usize
    }

    /// The delta of an entry, counted over all rows.
    ///
    /// # Panics
    /// If there is no such entry, which is a bug of the caller.
    #[must_use]
    pub fn delta(&self, entry: usize) -> usize {
        assert!(
            entry < self.parts.values.columns(),
            "entry {entry} of {}",
            self.parts.values.columns()
        );
        read_field(&self.parts.deltas, self.parts.bits.bits(), entry) as usize
    }

    /// The dense matrix `[n, k]`, pruned weights +0.
    #[must_use]
    pub fn decompress(&self) -> Vec<f32> {
        let mut weights = vec![0.0; self.n() * self.k()];
        let values = self.parts.values.to_f32();
        for (row, weights) in weights.chunks_exact_mut(self.k()).enumerate() {
            let mut column = 0;
            for entry in self.row_entries(row) {
                column += self.delta(entry);
                // Padding stands on the column of the last weight, which it must not erase.
                if values[entry] != 0.0 {
                    weights[column] = values[entry];
                }
            }
        }
        weights
    }

    /// Device bytes of values, scales, deltas and row starts, padding included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let lists = self.parts.deltas.len() + self.parts.row_starts.len();
        self.parts.values.bytes() + 4 * lists
    }

    /// The parts, to be stored.
    #[must_use]
    pub fn into_parts(self) -> DeltaParts {
        self.parts
    }

    /// The entries of a row, counted over all rows.
    pub(super) fn row_entries(&self, row: usize) -> std::ops::Range<usize> {
        self.parts.row_starts[row] as usize..self.parts.row_starts[row + 1] as usize
    }
}
