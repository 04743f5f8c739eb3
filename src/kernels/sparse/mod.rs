//! Matrix products with pruned weights: `y[m, n] = finish(sum over stored (n, k) of x[m, k] * w[n, k])`.
//!
//! The definition sums over what is *stored*, padding included: a stored zero (a place of an N:M group that
//! is not needed, a zero inside a kept block, a bridge between distant weights) meets its activation as any
//! weight does, and makes NaN of an infinite one; what is not stored meets nothing. Values are f32, f16, or symmetric int8 or int4 codes with scales,
//! widened exactly, so a term passes through one scale, one product and the additions: at most as many
//! roundings as a row has entries, plus 2.
//!
//! The three kernels (`sparse_nm`, `sparse_block`, `sparse_delta`) share shape, definition, bound and cost
//! and differ in where weights lie and in their variants. Indices come from [`crate::num::SparseMatrix`],
//! which has checked them, or from generators below; shaders trust them.

mod asked;
pub(super) mod cases;
mod example;
mod launch;
mod places;
mod stored;

use std::sync::Arc;

use crate::num::{SparseFormat, SparseLayout, SparseMatrix, StoredFormat, ValueType};
use crate::record::Launch;

use super::matmul_dense::{Broadcast, Layout, MatmulDense, Precision};
use super::matmul_quant::MatmulQuant;
use super::matvec_quant::MatvecQuant;
use super::path::MAX_VECTORS;
use super::{Epilogue, FloatType, ShapeError};

pub(super) use asked::{asked, block, delta, nm};
pub use cases::matrix_operands;
pub(super) use launch::{Runs, SparseLaunch};

/// Bindings besides those of the epilogue.
pub(crate) const X: u32 = 1;
pub(crate) const VALUES: u32 = 2;
pub(crate) const SCALES: u32 = 3;
/// Indices of N:M patterns, columns of blocks, deltas.
pub(crate) const PLACES: u32 = 4;
/// First block or entry of each row, and the end.
pub(crate) const STARTS: u32 = 5;

/// How much a matrix stores, which for blocks and single weights its format does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Blocks, or entries with bridges and padding; values of an N:M pattern.
    pub count: u32,
    /// Most of them in one row (of blocks).
    pub longest: u32,
}

impl Stored {
    /// Counts of a matrix.
    pub fn of(matrix: &SparseMatrix) -> Self {
        let longest = |starts: &[u32]| {
            let lengths = starts.windows(2).map(|pair| pair[1] - pair[0]);
            lengths.max().unwrap_or(0)
        };
        match matrix {
            SparseMatrix::Nm(nm) => Self::of_nm(nm.n() as u32, nm.kept() as u32),
            SparseMatrix::Block(block) => Self {
                count: block.n_blocks() as u32,
                longest: longest(block.row_starts()),
            },
            SparseMatrix::Delta(delta) => Self {
                count: delta.n_entries() as u32,
                longest: longest(delta.row_starts()),
            },
        }
    }

    /// Counts of an N:M pattern with `kept` values in each of `n` rows.
    const fn of_nm(n: u32, kept: u32) -> Self {
        Self {
            count: n.saturating_mul(kept),
            longest: kept,
        }
    }
}

/// How a pruned weight is multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Route {
    /// As it is stored.
    #[default]
    Sparse,
    /// By a dense kernel, with its zeros written out.
    Dense,
}

/// Shape and formats of one product with a pruned weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SparseMatmul {
    /// Rows of the activations.
    pub m: u32,
    /// Rows of the weight (columns of the output).
    pub n: u32,
    /// Columns of the weight.
    pub k: u32,
    /// Storage of the activations: f32 or f16.
    pub x: FloatType,
    /// Places and values of the weight.
    pub format: SparseFormat,
    /// How much of it is stored.
    pub stored: Stored,
    /// What follows the sums.
    pub epilogue: Epilogue,
    /// Storage of the output: f32, or f16 when `n` is even.
    pub out: FloatType,
}

impl SparseMatmul {
    /// The plain product of `m` rows of f32 with a matrix.
    pub fn of(matrix: &SparseMatrix, m: u32) -> Self {
        Self {
            m,
            n: matrix.n() as u32,
            k: matrix.k() as u32,
            x: FloatType::F32,
            format: matrix.format(),
            stored: Stored::of(matrix),
            epilogue: Epilogue::default(),
            out: FloatType::F32,
        }
    }

    /// Checks the shape and makes a launch of the kernel for its layout.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, more elements than 32-bit indices hold, storage or scale groups
    /// without a path.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        Ok(Arc::new(SparseLaunch::new(self)?))
    }

    /// The same product by a dense kernel, on the weight with its zeros written out
    /// ([`SparseMatrix::expand`]).
    ///
    /// # Errors
    /// As the dense kernels' launches.
    pub fn dense(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let Self {
            m,
            n,
            k,
            x,
            epilogue,
            out,
            ..
        } = self;
        match self.format.dense(k as usize) {
            StoredFormat::Float(value_type) => MatmulDense {
                batch: 1,
                m,
                n,
                k,
                a: x,
                b: match value_type {
                    ValueType::F32 => FloatType::F32,
                    ValueType::F16 => FloatType::F16,
                },
                a_layout: Layout::KLast,
                b_layout: Layout::KLast,
                a_broadcast: Broadcast::PerBatch,
                b_broadcast: Broadcast::PerBatch,
                precision: Precision::Full,
                epilogue,
                out,
            }
            .launch(),
            StoredFormat::Quantized(weight) => {
                let shape = MatmulQuant {
                    m,
                    n,
                    k,
                    x,
                    weight,
                    epilogue,
                    out,
                };
                if m <= MAX_VECTORS {
                    MatvecQuant(shape).launch()
                } else {
                    shape.launch()
                }
            }
        }
    }

    /// Kernel for the layout.
    pub const fn kernel(&self) -> &'static str {
        match self.format.layout {
            SparseLayout::Nm(_) => super::sparse_nm::NAME,
            SparseLayout::Block(_) => super::sparse_block::NAME,
            SparseLayout::Delta(_) => super::sparse_delta::NAME,
        }
    }
}
