//! Matrix product of stored floats: `y[b, m, n] = finish(sum_k A[b, m, k] * B[b, k, n])`, where
//! `finish` is bias, activation, residual.
//!
//! Either operand may lie along k or across it, and may be shared by all matrices of the batch. A term
//! passes through one product and at most `k - 1` additions in any order: `k` roundings.
//!
//! # Products in f16
//! [`Precision::F16Multiply`] rounds each product `p` to f16 before it is added in f32, which changes
//! results and is therefore opt-in. WGSL lets the rounding take either neighbour, a relative error of
//! 2^-10; below the normal range of f16 (2^-14) the neighbours are 2^-24 apart, and a flush to zero may
//! lose the whole product. So with `e(p) = 2^-10 |p| + 2^-24 + (|p| if |p| < 2^-14)` and `E = sum e(p)`
//! the sum is within `gamma(k) (sum |p| + E) + E`. Products over 65504 overflow to infinity. Adapters
//! without f16 multiply in f32, which the same bound covers.

mod cases;
mod cooperative;
mod fast;
mod launch;
mod matvec;
mod operand;
mod parts;

use std::sync::Arc;

use crate::record::Launch;

use super::{Epilogue, FloatType, Kernel, ShapeError, Workload, WorkloadError};
use launch::DenseLaunch;
use operand::Operand;

const NAME: &str = "matmul_dense";
const A: u32 = 1;
const B: u32 = 2;

/// Which dimension of an operand's matrices is contiguous.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// k: A is `[m, k]`, B is `[n, k]` as the weights of linear layers are.
    KLast,
    /// The other one: A is `[k, m]`, B is `[k, n]`.
    KFirst,
}

/// Whether an operand has one matrix for each matrix of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broadcast {
    /// It has.
    PerBatch,
    /// One matrix serves the whole batch.
    Shared,
}

/// How products are made; sums are always f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// f32 products.
    #[default]
    Full,
    /// f16 products of f16 operands where the adapter has them, else f32. Less exact, and products
    /// over 65504 become infinite.
    F16Multiply,
}

/// Shape and formats of one product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatmulDense {
    /// Matrices of the output.
    pub batch: u32,
    /// Rows of each.
    pub m: u32,
    /// Columns of each.
    pub n: u32,
    /// Length of the sums.
    pub k: u32,
    /// Storage of A.
    pub a: FloatType,
    /// Storage of B.
    pub b: FloatType,
    /// `[m, k]` or `[k, m]`.
    pub a_layout: Layout,
    /// `[n, k]` or `[k, n]`.
    pub b_layout: Layout,
    /// Whether the batch shares A.
    pub a_broadcast: Broadcast,
    /// Whether the batch shares B.
    pub b_broadcast: Broadcast,
    /// How products are made.
    pub precision: Precision,
    /// What follows the sums.
    pub epilogue: Epilogue,
    /// Storage of the output; 16-bit types need an even `n`.
    pub out: FloatType,
}

impl MatmulDense {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, more elements than 32-bit indices hold, unsupported storage.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        Ok(Arc::new(DenseLaunch::new(self)?))
    }

    const fn operand_a(&self) -> Operand {
        Operand {
            storage: self.a,
            layout: self.a_layout,
            broadcast: self.a_broadcast,
            extent: self.m,
            k: self.k,
        }
    }

    const fn operand_b(&self) -> Operand {
        Operand {
            storage: self.b,
            layout: self.b_layout,
            broadcast: self.b_broadcast,
            extent: self.n,
            k: self.k,
        }
    }
}

impl Precision {
    /// Error of one product before it is added, on top of its f32 rounding.
    fn product_error(self, product: f64) -> f64 {
        let size = product.abs();
        match self {
            Self::Full => 0.0,
            Self::F16Multiply => {
                let flushed = if size < 2f64.powi(-14) { size } else { 0.0 };
                2f64.powi(-10) * size + 2f64.powi(-24) + flushed
            }
        }
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let (batch, [m, n, k]) = match asked.extents("MxNxK") {
        Ok(extents) => (1, extents),
        Err(_) => {
            let [batch, m, n, k] = asked.extents("MxNxK or BATCHxMxNxK")?;
            (batch, [m, n, k])
        }
    };
    // As BLAS names them: n for [rows, columns] as written, t for the transposed; B is [k, n].
    let layouts = asked.choose(&[
        ("nt", (Layout::KLast, Layout::KLast)),
        ("nn", (Layout::KLast, Layout::KFirst)),
        ("tn", (Layout::KFirst, Layout::KFirst)),
        ("tt", (Layout::KFirst, Layout::KLast)),
    ]);
    let (a_layout, b_layout) = layouts.unwrap_or((Layout::KLast, Layout::KLast));
    let precision = asked.choose(&[("f16-multiply", Precision::F16Multiply)]);
    let a = asked.float().unwrap_or(FloatType::F32);
    let shape = MatmulDense {
        batch,
        m,
        n,
        k,
        a,
        b: asked.float().unwrap_or(a),
        a_layout,
        b_layout,
        a_broadcast: Broadcast::PerBatch,
        b_broadcast: Broadcast::PerBatch,
        precision: precision.unwrap_or_default(),
        epilogue: Epilogue::default(),
        out: FloatType::F32,
    };
    Ok(shape.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "A [m, k] times B [k, n], batched, f32, f16 or bf16, either operand transposed",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use crate::kernels::Activation;

    use super::*;

    const SHAPE: MatmulDense = MatmulDense {
        batch: 2,
        m: 3,
        n: 4,
        k: 5,
        a: FloatType::F32,
        b: FloatType::F16,
        a_layout: Layout::KLast,
        b_layout: Layout::KLast,
        a_broadcast: Broadcast::PerBatch,
        b_broadcast: Broadcast::Shared,
        precision: Precision::Full,
        epilogue: Epilogue {
            bias: false,
            activation: Activation::Identity,
            residual: false,
        },
        out: FloatType::F32,
    };

    #[test]
    fn rejects_empty_extents() {
        let broken = [
            ("batch", MatmulDense { batch: 0, ..SHAPE }),
            ("m", MatmulDense { m: 0, ..SHAPE }),
            ("n", MatmulDense { n: 0, ..SHAPE }),
            ("k", MatmulDense { k: 0, ..SHAPE }),
        ];
        for (name, shape) in broken {
            assert_eq!(
                shape.launch().err(),
                Some(ShapeError::Zero { kernel: NAME, name })
            );
        }
    }

    #[test]
    fn rejects_what_32_bit_indices_cannot_reach() {
        let most = u32::MAX;
        let broken = [
            (
                "m * k",
                MatmulDense {
                    m: most,
                    k: most,
                    batch: most,
                    ..SHAPE
                },
            ),
            (
                "n * k",
                MatmulDense {
                    n: 1 << 16,
                    k: 1 << 16,
                    ..SHAPE
                },
            ),
            (
                "m * n",
                MatmulDense {
                    m: 1 << 16,
                    n: 1 << 16,
                    ..SHAPE
                },
            ),
            (
                "batch * m * k",
                MatmulDense {
                    batch: 1 << 16,
                    m: 1 << 8,
                    k: 1 << 8,
                    ..SHAPE
                },
            ),
            (
                "batch * m * n",
                MatmulDense {
                    batch: 1 << 16,
                    m: 1 << 8,
                    n: 1 << 8,
                    k: 1,
                    ..SHAPE
                },
            ),
        ];
        for (expected, shape) in broken {
            match shape.launch() {
                Err(ShapeError::TooLarge { name, .. }) => assert_eq!(name, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_shared_operand_counts_once() {
        let shape = MatmulDense {
            batch: 1 << 20,
            m: 1,
            n: 64,
            k: 4096,
            a: FloatType::F16,
            ..SHAPE
        };
        assert!(matches!(
            shape.launch(),
            Err(ShapeError::TooLarge {
                name: "batch * m * k",
                ..
            })
        ));
        let shared = MatmulDense {
            a_broadcast: Broadcast::Shared,
            ..shape
        };
        assert!(shared.launch().is_ok());
    }

    #[test]
    fn rejects_16_bit_outputs_with_odd_rows() {
        for out in [FloatType::F16, FloatType::Bf16] {
            let odd = MatmulDense { n: 5, out, ..SHAPE };
            assert!(matches!(odd.launch(), Err(ShapeError::Unsupported { .. })));
            assert!(MatmulDense { out, ..SHAPE }.launch().is_ok());
        }
    }

    #[test]
    fn rejects_f16_products_of_other_operands() {
        let mixed = MatmulDense {
            precision: Precision::F16Multiply,
            ..SHAPE
        };
        assert!(matches!(
            mixed.launch(),
            Err(ShapeError::Unsupported { .. })
        ));
        assert!(
            MatmulDense {
                a: FloatType::F16,
                ..mixed
            }
            .launch()
            .is_ok()
        );
    }
}
