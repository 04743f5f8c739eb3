//! Matrix times one to eight vectors with quantized weights: the product of `matmul_quant` for
//! `m <= 8`, where each weight is read once and speed is that of memory.
//!
//! A lane alone makes ROWS weight rows by `m` sums, group by group; or the lanes of a workgroup split
//! the row in runs of four steps (16 bytes of int4), so that neighbours read neighbouring words, and
//! reduce their sums at the end. ROWS is even: a lane stores pairs.

use std::sync::Arc;

use crate::record::Launch;
use crate::shader::Edit;

use super::matmul_quant::MatmulQuant;
use super::path::Path;
use super::quant_cases::quant_cases;
use super::quant_product::{QuantLaunch, asked_product};
use super::{Kernel, ShapeError, Workload, WorkloadError};

const PATH: Path = Path::Rows {
    entry: "matvec_quant",
    subgroup: "matvec_quant/subgroup",
    run_steps: Some(4),
};

/// A [`MatmulQuant`] of at most eight rows of activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatvecQuant(pub MatmulQuant);

impl MatvecQuant {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// As [`MatmulQuant::launch`], and for more than eight rows of activations.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        Ok(Arc::new(QuantLaunch::new(PATH, self.0)?))
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    Ok(MatvecQuant(asked_product(asked)?).launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: "matvec_quant",
    summary: "1 to 8 rows of x times int8 or int4 weights [n, k], dequantized on the fly",
    workload,
    cases: |effort| quant_cases(|shape| MatvecQuant(shape).launch(), &ROWS, effort),
    broken: BROKEN,
    expected_failures: &[],
};

/// Rows of x per case: every number that has its own shader.
const ROWS: [u32; 8] = [1, 2, 5, 8, 3, 4, 6, 7];

const BROKEN: &[Edit] = &[
    Edit {
        name: "touched_words_counted",
        module: "touch/lines",
        find: "touched & (n & 0x80000000u)",
        replace: "touched & n",
    },
    Edit {
        name: "minimum_left_out",
        module: "minimum/f16",
        find: "return f16_bits_to_f32(",
        replace: "return 0.0 * f16_bits_to_f32(",
    },
    Edit {
        name: "scale_of_the_other_group_of_a_word",
        module: "scale/f16",
        find: "16u * half",
        replace: "16u * (1u - half)",
    },
    Edit {
        name: "minimum_of_the_other_group_of_a_word",
        module: "minimum/f16",
        find: "16u * half",
        replace: "16u * (1u - half)",
    },
    Edit {
        name: "codes_counted_from_one",
        module: "zero/lowest_int4",
        find: "return -8;",
        replace: "return -7;",
    },
    Edit {
        name: "subgroup_quads_out_of_order",
        module: "matvec_quant/subgroup",
        find: "own[i][quad % OWN], quad / OWN",
        replace: "own[i][quad % OWN], quad / 2u / OWN",
    },
    Edit {
        name: "subgroup_last_run_dropped",
        module: "matvec_quant/subgroup",
        find: "r < runs;",
        replace: "r + 1u < max(runs, 2u);",
    },
    Edit {
        name: "subgroup_sum_of_x_without_its_last_quarter",
        module: "matvec_quant/subgroup",
        find: "values.x + values.y + values.z + values.w",
        replace: "values.x + values.y + values.z",
    },
    Edit {
        name: "second_vector_of_int8_codes_repeated",
        module: "bytes32/int8",
        find: "codes[at + 1u]",
        replace: "codes[at]",
    },
    Edit {
        name: "dropped_last_step_of_a_run",
        module: "matvec_quant",
        find: "step < end;",
        replace: "step + 1u < end;",
    },
    Edit {
        name: "dropped_last_run",
        module: "matvec_quant",
        find: "run < runs;",
        replace: "run + 1u < runs;",
    },
    Edit {
        name: "scale_of_the_next_group",
        module: "matvec_quant",
        find: "* params.scale_row_stride + group;",
        replace: "* params.scale_row_stride + min(group + 1u, params.groups - 1u);",
    },
    Edit {
        name: "zero_point_added",
        module: "matvec_quant",
        find: "weights.low - zero[j]",
        replace: "weights.low + zero[j]",
    },
    Edit {
        name: "first_step_of_x_repeated",
        module: "matvec_quant",
        find: "load_x8(x_row[i], step * 8u, k)",
        replace: "load_x8(x_row[i], begin * 8u, k)",
    },
    Edit {
        name: "tree_stops_early",
        module: "reduce_many/shared",
        find: "shared_f32[at] += shared_f32[at + width];",
        replace: "shared_f32[at] += select(shared_f32[at + width], 0.0, width == 1u);",
    },
    Edit {
        name: "tail_of_x_not_guarded",
        module: "x/f32",
        find: "if (column >= k)",
        replace: "if (column > k)",
    },
];

#[cfg(test)]
mod tests {
    use crate::kernels::{Epilogue, FloatType, ShapeError};
    use crate::num::Scheme;

    use super::*;

    fn shape(m: u32, k: u32) -> MatvecQuant {
        MatvecQuant(MatmulQuant {
            m,
            n: 4,
            k,
            x: FloatType::F32,
            weight: Scheme::int4_group(32).format(),
            epilogue: Epilogue::default(),
            out: FloatType::F32,
        })
    }

    #[test]
    fn rejects_nine_rows_of_x() {
        assert!(shape(8, 64).launch().is_ok());
        let error = shape(9, 64).launch().err();
        assert!(matches!(
            error,
            Some(ShapeError::TooLarge {
                kernel: "matvec_quant",
                value: 9,
                limit: 8,
                ..
            })
        ));
    }

    #[test]
    fn rejects_k_not_multiple_of_group() {
        let error = shape(1, 48).launch().err();
        assert!(matches!(
            error,
            Some(ShapeError::NotMultiple {
                name: "k",
                value: 48,
                multiple: 32,
                ..
            })
        ));
    }

    #[test]
    fn rejects_empty_extents() {
        let error = shape(0, 64).launch().err();
        assert!(matches!(error, Some(ShapeError::Zero { name: "m", .. })));
    }
}
