//! Integer matrix times one to eight vectors: the product of `matmul_int8` for `m <= 8`, where each
//! weight is read once and speed is that of memory.
//!
//! A lane alone makes ROWS weight rows by `m` sums. Lanes that share rows take whole segments when
//! there is one for each, and otherwise split each segment and reduce its integer sums, so that a
//! segment is summed exactly either way. ROWS is even: a lane stores pairs.

use std::sync::Arc;

use crate::record::Launch;
use crate::shader::Edit;

use super::int8_cases::int8_cases;
use super::int8_product::{Int8Launch, asked_product};
use super::matmul_int8::MatmulInt8;
use super::path::Path;
use super::{Kernel, ShapeError, Workload, WorkloadError};

const PATH: Path = Path::Rows {
    entry: "matvec_int8",
    subgroup: "matvec_int8/subgroup",
    run_steps: None,
};

/// A [`MatmulInt8`] of at most eight rows of activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatvecInt8(pub MatmulInt8);

impl MatvecInt8 {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// As [`MatmulInt8::launch`], and for more than eight rows of activations.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        Ok(Arc::new(Int8Launch::new(PATH, self.0)?))
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    Ok(MatvecInt8(asked_product(asked)?).launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: "matvec_int8",
    summary: "1 to 8 rows of int8 activations times int8 or int4 weights [n, k] in integers",
    workload,
    cases: |effort| int8_cases(PATH, &ROWS, effort),
    broken: BROKEN,
    expected_failures: &[],
};

/// Rows of x per case: every number that has its own shader.
const ROWS: [u32; 8] = [1, 2, 4, 8, 3, 5, 6, 7];

const BROKEN: &[Edit] = &[
    Edit {
        name: "touched_words_counted",
        module: "touch/lines",
        find: "touched & (n & 0x80000000u)",
        replace: "touched & n",
    },
    Edit {
        name: "codes_by_the_scale_in_the_place_of_its_reciprocal",
        module: "matmul_int8/codes",
        find: "code_scale[1]",
        replace: "code_scale[0]",
    },
    Edit {
        name: "codes_truncated_instead_of_rounded",
        module: "matmul_int8/codes",
        find: "round(scaled)",
        replace: "trunc(scaled)",
    },
    Edit {
        name: "codes_that_wrap_instead_of_staying_at_the_largest",
        module: "matmul_int8/codes",
        find: "clamp(round(scaled), vec2<f32>(-127.0), vec2<f32>(127.0))",
        replace: "round(scaled)",
    },
    Edit {
        name: "codes_of_the_upper_half_over_the_lower",
        module: "matmul_int8/codes",
        find: "lower_half | (own_half << 16u)",
        replace: "lower_half | own_half",
    },
    Edit {
        name: "codes_behind_a_row_of_odd_length",
        module: "store/codes_padded",
        find: "select(0.0, second, column + 1u < n)",
        replace: "second",
    },
    Edit {
        name: "codes_of_half_a_word_in_the_place_of_the_upper",
        module: "matmul_int8/codes",
        find: "select(own_half, lower_half | (own_half << 16u), is_upper)",
        replace: "lower_half | (own_half << 16u)",
    },
    Edit {
        name: "codes_padding_left_as_it_was",
        module: "matmul_int8/codes",
        find: "out[row_start / 4u + at] = 0u;",
        replace: "out[row_start / 4u + at] = out[row_start / 4u + at];",
    },
    Edit {
        name: "codes_last_code_cleared_with_the_padding",
        module: "matmul_int8/codes",
        find: "(n + 3u) / 4u;",
        replace: "n / 4u;",
    },
    Edit {
        name: "minimum_left_out",
        module: "minimum/f16",
        find: "+ minimum * x_sum",
        replace: "",
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
        name: "codes_above_the_minimum_counted_from_one",
        module: "zero/lowest_int4",
        find: "return -8;",
        replace: "return -7;",
    },
    Edit {
        name: "minimum_without_the_scale_of_the_activations",
        module: "matmul_int8/term",
        find: "x_scale * f32(x_sum)",
        replace: "f32(x_sum)",
    },
    Edit {
        name: "subgroup_half_of_x_repeated",
        module: "matvec_int8/subgroup",
        find: "quad / OWN)",
        replace: "quad / 2u / OWN)",
    },
    Edit {
        name: "subgroup_last_step_dropped",
        module: "matvec_int8/subgroup",
        find: "r < runs;",
        replace: "r + 1u < max(runs, 2u);",
    },
    Edit {
        name: "subgroup_sums_of_the_run_before_dropped",
        module: "matvec_int8/subgroup",
        find: "dots[i][j] += i32(products[i][j])",
        replace: "dots[i][j] = i32(products[i][j])",
    },
    Edit {
        name: "dropped_last_step",
        module: "matvec_int8",
        find: "step < end;",
        replace: "step + 1u < end;",
    },
    Edit {
        name: "dropped_last_round",
        module: "matvec_int8",
        find: "round < rounds;",
        replace: "round + 1u < rounds;",
    },
    Edit {
        name: "scale_of_the_next_group",
        module: "matvec_int8",
        find: "row_scales + segment / params.group_segments",
        replace: "row_scales + (segment + 1u) % params.segments / params.group_segments",
    },
    Edit {
        name: "zero_point_of_the_other_sign",
        module: "zero/stored",
        find: "extractBits(bitcast<i32>(zeros[index / 4u]), 8u * (index & 3u), 8u)",
        replace: "-extractBits(bitcast<i32>(zeros[index / 4u]), 8u * (index & 3u), 8u)",
    },
    Edit {
        name: "missing_offset",
        module: "packed/int4_wide",
        find: "const OFFSET = 8i;",
        replace: "const OFFSET = 0i;",
    },
    Edit {
        name: "unsigned_dot",
        module: "packed/int8",
        find: "dot4I8Packed(a.second, b.second)",
        replace: "i32(dot4U8Packed(a.second, b.second))",
    },
    Edit {
        name: "integers_of_the_first_lane_only",
        module: "reduce_many/shared",
        find: "shared_i32[at] += shared_i32[at + width];",
        replace: "shared_i32[at] = shared_i32[at];",
    },
    Edit {
        name: "missing_barrier_in_the_integer_tree",
        module: "reduce_many/shared",
        find: "shared_i32[at] += shared_i32[at + width];\n            }\n        }\n        workgroupBarrier();",
        replace: "shared_i32[at] += shared_i32[at + width];\n            }\n        }",
    },
];

#[cfg(test)]
mod tests {
    use crate::kernels::{Epilogue, FloatType};
    use crate::num::Scheme;

    use super::*;

    #[test]
    fn rejects_nine_rows_of_x() {
        let shape = |m| MatmulInt8 {
            m,
            n: 4,
            k: 64,
            block: 32,
            weight: Scheme::int4_group(32).format(),
            epilogue: Epilogue::default(),
            out: FloatType::F32,
            codes: false,
        };
        assert!(MatvecInt8(shape(8)).launch().is_ok());
        assert!(matches!(
            MatvecInt8(shape(9)).launch().err(),
            Some(ShapeError::TooLarge {
                kernel: "matvec_int8",
                value: 9,
                limit: 8,
                ..
            })
        ));
    }
}
