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

use std::fmt;

use super::dense::{Dense, check_count, check_dims, check_len};
use super::error::SparseError;
use super::fields::{field_words, first_set_after, read_field, write_field};
use super::values::{StoredFormat, ValueFormat, Values};

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
    parts: NmParts,
}

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

/// The index stride, if groups tile the rows and the indices can be addressed.
fn check_pattern(
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
