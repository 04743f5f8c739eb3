//! Unstructured sparsity: the weights of a row one after another, each with the distance from the
//! one before.
//!
//! * **Deltas**, one per entry, 4 or 8 bits wide, the first in the lowest bits of a word. Entry `i`
//!   of a row is at column `c_i = c_(i-1) + delta_i` with `c_(-1) = 0`. After the first entry of a
//!   row a delta is at least 1.
//! * A gap wider than the largest delta (15 or 255) is bridged by entries of value 0 with the
//!   largest delta.
//! * A row ends with entries of delta 0 and value 0 that bring it to a multiple of
//!   [`row_multiple`](DeltaMatrix::row_multiple) entries: 8, or the group of the scales, so that no
//!   group spans two rows. They stand on the column of the last entry, which is within the matrix.
//! * **Row starts** `[n + 1]`, in entries.
//! * **Values** `[1, entries]`, all rows in one. Scales are per tensor or per group.
//!
//! A matrix of zeros stores `row_multiple` entries of padding that no row refers to: a device buffer
//! cannot be empty.
//!
//! Deltas of a fixed width with bridges for wider gaps are from Macko and Boza, "MACKO: sparse
//! matrix-vector multiplication for low sparsity" (2025).

use std::fmt;

use super::dense::{Dense, check_count, check_dims, check_len, check_row_starts};
use super::error::SparseError;
use super::fields::{field_words, read_field, write_field};
use super::values::{StoredFormat, ValueFormat, Values};
use crate::num::quant::Granularity;

/// Entries of a row come in multiples of this: one word of 4-bit deltas, one of int4 codes.
const ROW_MULTIPLE: usize = 8;

/// Width of the deltas. Displays as `delta4` or `delta8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeltaBits {
    /// Up to 15: smaller while 15 empty columns in a row are rare, to a sparsity of about 90%.
    Four,
    /// Up to 255.
    Eight,
}

impl DeltaBits {
    /// Bits of a delta.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    /// The largest delta.
    #[must_use]
    pub const fn max(self) -> usize {
        (1 << self.bits()) - 1
    }

    /// Entries of value 0 between two weights that are `gap` columns apart.
    const fn n_bridges(self, gap: usize) -> usize {
        gap.saturating_sub(1) / self.max()
    }

    /// Bytes of an `[n, k]` matrix with `n_nonzero` weights at random places, on average.
    ///
    /// With density `d = n_nonzero / (n k)` and `q = (1 - d)^max`, the chance that `max` columns
    /// are empty, a row has `d k` weights and `d sum_j q^j (k - 1 - j max)` bridges over all `j >= 1`
    /// that leave the sum positive. Half a row multiple is padding, give or take the other half.
    /// Each entry takes [`StoredFormat::bytes_per_value`] and its delta.
    #[must_use]
    pub fn expected_bytes(self, n: usize, k: usize, n_nonzero: usize, values: StoredFormat) -> f64 {
        let density = n_nonzero as f64 / (n as f64 * k as f64);
        let empty_run = (1.0 - density).powi(self.max() as i32);
        let last_column = k as f64 - 1.0;
        let (mut chance, mut bridges) = (1.0, 0.0);
        for run in 1..=k / self.max() {
            chance *= empty_run;
            bridges += chance * (last_column - (run * self.max()) as f64).max(0.0);
        }
        let multiple = row_multiple(values).unwrap_or(ROW_MULTIPLE) as f64;
        let row_entries = density * (k as f64 + bridges) + (multiple - 1.0) / 2.0;
        let entries = n as f64 * row_entries;
        let per_entry = values.bytes_per_value(entries) + f64::from(self.bits()) / 8.0;
        entries * per_entry + 4.0 * (n + 1) as f64
    }
}

impl fmt::Display for DeltaBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "delta{}", self.bits())
    }
}

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
    parts: DeltaParts,
}

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
        let multiple = checked_row_multiple(dense.name, values.stored())?;
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

    /// Takes parts that were made elsewhere.
    ///
    /// # Errors
    /// A [`SparseError`] naming `tensor`: a shape that is empty or too large, row starts that do not
    /// ascend from 0 in whole row multiples, deltas or values that do not match them, scales of a
    /// granularity that entries do not have, entries past the last column, two on one column, and
    /// padding that is not zero or not at the end of a row.
    pub fn from_parts(tensor: &str, parts: DeltaParts) -> Result<Self, SparseError> {
        check_dims(tensor, parts.n, parts.k)?;
        let multiple = checked_row_multiple(tensor, parts.values.format())?;
        let total = check_row_starts(tensor, &parts.row_starts, parts.n, multiple)?;
        let n_entries = total.max(multiple);
        let n_words = field_words(parts.bits.bits(), n_entries);
        check_len(tensor, "delta words", parts.deltas.len(), n_words)?;
        parts.values.check(tensor, [1, n_entries])?;
        let matrix = Self { parts };
        let values = matrix.parts.values.to_f32();
        for row in 0..matrix.n() {
            matrix.check_row(tensor, row, &values)?;
        }
        let unused = total..n_entries;
        if let Some(index) = unused
            .clone()
            .find(|&index| matrix.delta(index) != 0 || values[index] != 0.0)
        {
            return Err(SparseError::Padding {
                tensor: tensor.to_owned(),
                what: "entry",
                index,
            });
        }
        Ok(matrix)
    }

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
    fn row_entries(&self, row: usize) -> std::ops::Range<usize> {
        self.parts.row_starts[row] as usize..self.parts.row_starts[row + 1] as usize
    }

    /// Refuses a row with an entry past the last column, on the column of another or after padding.
    fn check_row(&self, tensor: &str, row: usize, values: &[f32]) -> Result<(), SparseError> {
        let tensor = || tensor.to_owned();
        let (mut column, mut is_padding) = (0, false);
        for (entry, index) in self.row_entries(row).enumerate() {
            let delta = self.delta(index);
            column += delta as u64;
            if column >= self.k() as u64 {
                return Err(SparseError::ColumnOutOfRange {
                    tensor: tensor(),
                    row,
                    entry,
                    column,
                    max: self.k() - 1,
                });
            }
            if delta != 0 && is_padding {
                return Err(SparseError::EntryAfterPadding {
                    tensor: tensor(),
                    row,
                    entry,
                    delta: delta as u32,
                });
            }
            is_padding |= delta == 0 && entry > 0;
            if is_padding && values[index] != 0.0 {
                return Err(SparseError::RepeatedColumn {
                    tensor: tensor(),
                    row,
                    entry,
                    value: values[index],
                });
            }
        }
        Ok(())
    }
}

/// What the entries of a row come in multiples of; `None` if the granularity is not offered.
fn row_multiple(values: StoredFormat) -> Option<usize> {
    match values.granularity() {
        None | Some(Granularity::Tensor) => Some(ROW_MULTIPLE),
        Some(Granularity::Channel) => None,
        Some(Granularity::Group(size)) => {
            let size = size as usize;
            (size > 0 && size.is_multiple_of(ROW_MULTIPLE)).then_some(size)
        }
    }
}

fn checked_row_multiple(tensor: &str, values: StoredFormat) -> Result<usize, SparseError> {
    row_multiple(values).ok_or_else(|| SparseError::Granularity {
        tensor: tensor.to_owned(),
        granularity: values.granularity().unwrap_or(Granularity::Channel),
        allowed: "a tensor or groups of a multiple of 8 entries; \
                  for a scale per row use groups, because all rows are stored as one"
            .to_owned(),
    })
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
