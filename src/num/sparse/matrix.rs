//! A pruned matrix in any of the formats.

use std::fmt;

use super::block::{BlockMatrix, BlockShape};
use super::delta::{DeltaBits, DeltaMatrix};
use super::dense::Dense;
use super::error::SparseError;
use super::nm::{NmMatrix, NmPattern};
use super::values::{StoredFormat, ValueFormat, Values};

/// Which weights are kept and how their places are stored. Displays as `2:4x16`, `block16x16` or
/// `delta4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SparseLayout {
    /// `n` of every `m` weights of a row.
    Nm(NmPattern),
    /// Blocks.
    Block(BlockShape),
    /// Any weights.
    Delta(DeltaBits),
}

impl fmt::Display for SparseLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nm(pattern) => pattern.fmt(f),
            Self::Block(shape) => shape.fmt(f),
            Self::Delta(bits) => bits.fmt(f),
        }
    }
}

/// How a pruned matrix is stored: what a kernel must know. Displays as `2:4 int8-channel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SparseFormat {
    /// Places of the kept weights.
    pub layout: SparseLayout,
    /// Their values.
    pub values: StoredFormat,
}

impl fmt::Display for SparseFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.layout, self.values)
    }
}

/// An `[n, k]` pruned matrix. Displays as its [`SparseFormat`].
#[derive(Clone, Debug, PartialEq)]
pub enum SparseMatrix {
    /// `n` of every `m` weights of a row.
    Nm(NmMatrix),
    /// Blocks.
    Block(BlockMatrix),
    /// Any weights.
    Delta(DeltaMatrix),
}

impl SparseMatrix {
    /// Packs a masked matrix.
    ///
    /// # Errors
    /// As [`NmMatrix::compress`], [`BlockMatrix::compress`] and [`DeltaMatrix::compress`].
    pub fn compress(
        dense: &Dense<'_>,
        layout: SparseLayout,
        values: ValueFormat,
    ) -> Result<Self, SparseError> {
        Ok(match layout {
            SparseLayout::Nm(pattern) => Self::Nm(NmMatrix::compress(dense, pattern, values)?),
            SparseLayout::Block(shape) => Self::Block(BlockMatrix::compress(dense, shape, values)?),
            SparseLayout::Delta(bits) => {
                Self::Delta(DeltaMatrix::compress(dense, Some(bits), values)?)
            }
        })
    }

    /// How the matrix is stored.
    #[must_use]
    pub fn format(&self) -> SparseFormat {
        let layout = match self {
            Self::Nm(matrix) => SparseLayout::Nm(matrix.pattern()),
            Self::Block(matrix) => SparseLayout::Block(matrix.shape()),
            Self::Delta(matrix) => SparseLayout::Delta(matrix.bits()),
        };
        let values = self.values().format();
        SparseFormat { layout, values }
    }

    /// Rows, output features.
    #[must_use]
    pub fn n(&self) -> usize {
        match self {
            Self::Nm(matrix) => matrix.n(),
            Self::Block(matrix) => matrix.n(),
            Self::Delta(matrix) => matrix.n(),
        }
    }

    /// Columns, input features.
    #[must_use]
    pub fn k(&self) -> usize {
        match self {
            Self::Nm(matrix) => matrix.k(),
            Self::Block(matrix) => matrix.k(),
            Self::Delta(matrix) => matrix.k(),
        }
    }

    /// The stored values.
    #[must_use]
    pub fn values(&self) -> &Values {
        match self {
            Self::Nm(matrix) => matrix.values(),
            Self::Block(matrix) => matrix.values(),
            Self::Delta(matrix) => matrix.values(),
        }
    }

    /// The dense matrix `[n, k]`, pruned weights +0.
    #[must_use]
    pub fn decompress(&self) -> Vec<f32> {
        match self {
            Self::Nm(matrix) => matrix.decompress(),
            Self::Block(matrix) => matrix.decompress(),
            Self::Delta(matrix) => matrix.decompress(),
        }
    }

    /// Device bytes of all streams, padding included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Nm(matrix) => matrix.bytes(),
            Self::Block(matrix) => matrix.bytes(),
            Self::Delta(matrix) => matrix.bytes(),
        }
    }

    /// Device bytes of a dense `[n, k]` matrix of such values.
    #[must_use]
    pub fn dense_bytes(&self) -> usize {
        self.values().format().bytes(self.n(), self.k())
    }

    /// Device bytes per weight, pruned ones counted.
    #[must_use]
    pub fn bytes_per_weight(&self) -> f64 {
        self.bytes() as f64 / self.n_weights()
    }

    /// The share of weights that are zero as stored: pruned, or so small that they became 0.
    #[must_use]
    pub fn sparsity(&self) -> f64 {
        1.0 - self.values().n_nonzero() as f64 / self.n_weights()
    }

    fn n_weights(&self) -> f64 {
        self.n() as f64 * self.k() as f64
    }
}

impl fmt::Display for SparseMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.format().fmt(f)
    }
}
