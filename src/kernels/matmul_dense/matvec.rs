//! Variants for few rows of A, as in decoding: each lane keeps some columns of B, and a subgroup shares the
//! loads of A.

use crate::kernels::iterations::looped;
use crate::kernels::path::MAX_VECTORS;
use crate::record::Iterations;
use crate::shader::{Capabilities, Variant};

use super::Precision;
use super::launch::{DenseLaunch, module};

const ENTRY: &str = "matmul_dense/matvec";

/// Sums that one lane keeps in registers.
const MOST_SUMS: u32 = 32;

impl DenseLaunch {
    /// The variants; none for many rows, for B across k, or where subgroups have no fixed size.
    pub(super) fn vectors(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let shape = self.shape;
        let size = capabilities.subgroup_size().filter(|&size| size >= 4);
        let (Some(size), true, true) = (
            size,
            shape.m <= MAX_VECTORS && shape.precision == Precision::Full,
            shape.operand_b().in_runs(8),
        ) else {
            return Vec::new();
        };
        let rows = [4, 8]
            .into_iter()
            .filter(|rows| rows * shape.m <= MOST_SUMS);
        rows.map(|rows| {
            let variant = Variant::new(ENTRY)
                .slot("a", module(shape.a, false))
                .slot("b", module(shape.b, true))
                .number("COLUMNS", shape.m)
                .number("ROWS", rows)
                .number("SUBGROUP", size);
            shape.epilogue.choose(variant, shape.out)
        })
        .collect()
    }
}

/// Whether a variant is one of these.
pub(super) fn is(variant: &Variant) -> bool {
    variant.entry() == ENTRY
}

/// Workgroups for a matrix of `n` columns.
pub(super) fn tiles(variant: &Variant, n: u32) -> u64 {
    u64::from(n.div_ceil(variant.get("ROWS") * variant.get("SUBGROUP")))
}

/// Iterations of one invocation for sums of `k` terms.
pub(super) fn iterations(variant: &Variant, k: u64) -> Iterations {
    let number = |name| u64::from(variant.get(name));
    let (m, n) = (number("COLUMNS"), number("ROWS"));
    let outputs = looped(m, looped(n, 0));
    let step = looped(m, looped(2, 0)) + looped(n, 0) + looped(2, outputs);
    Iterations {
        unrolled: looped(k.div_ceil(8), 0),
        rolled: looped(k.div_ceil(8), step) + outputs + looped(m, 0) + looped(n, 0),
    }
}
