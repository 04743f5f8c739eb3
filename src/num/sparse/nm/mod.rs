//! N:M sparsity: of every `m` consecutive weights of a row, `n` are kept.
//!
//! * **Values** `[n_rows, kept]` with `kept = k / m * n`: the kept weights of a row in the order of
//!   their columns. Position `p` belongs to group `p / n`.
//! * **Indices**: for each vector of `vector` consecutive rows (the last may be shorter) and each
//!   position `p`, the place of the weight within its group, so its column is `p / n * m + index`.
//!   Strictly ascending within a group. An index takes 1 bit for `m` = 2, 2 up to 4, 4 up to 16; the
//!   first is in the lowest bits of a word. The indices of a vector are padded with zero bits to a
//!   multiple of 2 words.
//!
//! A vector of one row is the usual pattern, 2:4 in tensor cores. Longer vectors make the indices
//! almost free and the loads of activations shared: vector-wise N:M, as in Castro et al., "VENOM"
//! (SC 2023), here along output rows.
//!
//! A group with fewer than `n` weights stores zeros at the lowest places that are free.

mod compress;
mod matrix;
mod parts;

use std::fmt;

use super::error::SparseError;
use super::fields::field_words;
use super::values::StoredFormat;

pub use matrix::{NmMatrix, NmParts};

/// Indices of a vector are padded to this many words, the 8 bytes of a vec2 load.
const INDEX_ALIGN_WORDS: usize = 2;

/// `n` of `m` weights kept, with indices shared by `vector` rows. Displays as `2:4` or `2:4x16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NmPattern {
    n: u32,
    m: u32,
    vector: u32,
}

impl NmPattern {
    /// 2:4 with indices of its own for each row.
    pub const TWO_FOUR: Self = Self {
        n: 2,
        m: 4,
        vector: 1,
    };

    /// `n` of `m`, shared by `vector` rows.
    ///
    /// # Errors
    /// [`SparseError::Pattern`] unless `1 <= n <= m`, `2 <= m <= 16` and `vector` is 1, 8, 16 or 32.
    pub fn new(n: u32, m: u32, vector: u32) -> Result<Self, SparseError> {
        let is_allowed = (1..=m).contains(&n) && (2..=16).contains(&m);
        if is_allowed && matches!(vector, 1 | 8 | 16 | 32) {
            Ok(Self { n, m, vector })
        } else {
            Err(SparseError::Pattern { n, m, vector })
        }
    }

    /// Weights kept in a group.
    #[must_use]
    pub const fn n(self) -> u32 {
        self.n
    }

    /// Weights in a group.
    #[must_use]
    pub const fn m(self) -> u32 {
        self.m
    }

    /// Rows that share their indices.
    #[must_use]
    pub const fn vector(self) -> u32 {
        self.vector
    }

    /// Bits of an index: 1, 2 or 4.
    #[must_use]
    pub const fn index_bits(self) -> u32 {
        match self.m {
            ..=2 => 1,
            3..=4 => 2,
            _ => 4,
        }
    }

    /// Weights kept in a row of `k`.
    #[must_use]
    pub const fn kept(self, k: usize) -> usize {
        k / self.m as usize * self.n as usize
    }

    /// Words from the indices of one vector to those of the next, a multiple of 2.
    #[must_use]
    pub fn index_stride_words(self, k: usize) -> usize {
        field_words(self.index_bits(), self.kept(k)).next_multiple_of(INDEX_ALIGN_WORDS)
    }

    /// Bytes of an `[n, k]` matrix without padding: `n kept b + ceil(n / vector) kept i / 8`, where
    /// `b` is [`StoredFormat::bytes_per_value`] and `i` is [`Self::index_bits`].
    #[must_use]
    pub fn expected_bytes(self, n: usize, k: usize, values: StoredFormat) -> f64 {
        let kept = self.kept(k) as f64;
        let n_vectors = n.div_ceil(self.vector as usize) as f64;
        let indices = n_vectors * kept * f64::from(self.index_bits()) / 8.0;
        n as f64 * kept * values.bytes_per_value(kept) + indices
    }
}

impl fmt::Display for NmPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.n, self.m)?;
        match self.vector {
            1 => Ok(()),
            vector => write!(f, "x{vector}"),
        }
    }
}
