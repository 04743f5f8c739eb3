//! A packed N:M matrix and what can be asked of it.

use super::NmPattern;
use crate::num::sparse::fields::read_field;
use crate::num::sparse::values::Values;

/// The parts of an [`NmMatrix`], not yet trusted.
#[derive(Clone, Debug, PartialEq)]
pub struct NmParts {
    /// Rows.
    pub n: usize,
    /// Columns.
    pub k: usize,
    /// Which weights are kept.
    pub pattern: NmPattern,
    /// `[n, kept]`
    pub values: Values,
    /// `[ceil(n / vector), index_stride_words]`
    pub indices: Vec<u32>,
}

/// An `[n, k]` matrix in an N:M pattern. Immutable; every index is within its group.
#[derive(Clone, Debug, PartialEq)]
pub struct NmMatrix {
    pub(super) parts: NmParts,
}

impl NmMatrix {
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

    /// Which weights are kept.
    #[must_use]
    pub fn pattern(&self) -> NmPattern {
        self.parts.pattern
    }

    /// Values in a row.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.parts.pattern.kept(self.parts.k)
    }

    /// Kept values `[n, kept]`.
    #[must_use]
    pub fn values(&self) -> &Values {
        &self.parts.values
    }

    /// Packed indices `[ceil(n / vector), index_stride_words]`.
    #[must_use]
    pub fn indices(&self) -> &[u32] {
        &self.parts.indices
    }

    /// Words from the indices of one vector to those of the next, a multiple of 2.
    #[must_use]
    pub fn index_stride_words(&self) -> usize {
        self.parts.pattern.index_stride_words(self.parts.k)
    }

    /// The column of a kept value.
    ///
    /// # Panics
    /// If `row` or `position` is outside `[n, kept]`, which is a bug of the caller.
    #[must_use]
    pub fn column(&self, row: usize, position: usize) -> usize {
        let pattern = self.parts.pattern;
        assert!(
            row < self.n() && position < self.kept(),
            "value ({row}, {position}) of {} x {}",
            self.n(),
            self.kept()
        );
        let vector = row / pattern.vector as usize;
        let words = &self.parts.indices[vector * self.index_stride_words()..];
        let index = read_field(words, pattern.index_bits(), position);
        position / pattern.n as usize * pattern.m as usize + index as usize
    }

    /// The dense matrix `[n, k]`, pruned weights +0.
    #[must_use]
    pub fn decompress(&self) -> Vec<f32> {
        let mut weights = vec![0.0; self.n() * self.k()];
        let values = self.parts.values.to_f32();
        let rows = weights.chunks_exact_mut(self.k());
        for (row, (weights, values)) in rows.zip(values.chunks_exact(self.kept())).enumerate() {
            for (position, &value) in values.iter().enumerate() {
                weights[self.column(row, position)] = value;
            }
        }
        weights
    }

    /// Device bytes of values, scales and indices, padding included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.parts.values.bytes() + 4 * self.parts.indices.len()
    }

    /// The parts, to be stored.
    #[must_use]
    pub fn into_parts(self) -> NmParts {
        self.parts
    }
}
