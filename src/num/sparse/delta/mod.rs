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
//!   group spans two rows. A group is a multiple of 8 and no longer than a row. They stand on the column of the last entry, which is within the matrix.
//! * **Row starts** `[n + 1]`, in entries.
//! * **Values** `[1, entries]`, all rows in one. Scales are per tensor or per group.
//!
//! A matrix of zeros stores `row_multiple` entries of padding that no row refers to: a device buffer
//! cannot be empty.
//!
//! Deltas of a fixed width with bridges for wider gaps are from Macko and Boza, "MACKO: sparse
//! matrix-vector multiplication for low sparsity" (2025).

mod compress;
mod matrix;
mod parts;

use std::fmt;

use super::values::StoredFormat;
use crate::num::quant::Granularity;

pub use matrix::{DeltaMatrix, DeltaParts};

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
