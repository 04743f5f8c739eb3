//! Matrix product in integers (W8A8, W4A8): activations as `quantize_rows` writes them times int8 or
//! int4 weights, `y[m, n] = finish(sum over segments of sx * sw * (sum q_w q_x - zero * sum q_x))`.
//!
//! Four codes a word meet in `dot4I8Packed`; one scale on either side serves a whole segment.
//! Definition, bound and cuts are in `int8_product.rs`, the cases in `int8_cases.rs`.

use std::sync::Arc;

use crate::record::Launch;
use crate::shader::Edit;

use super::int8_cases::int8_cases;
use super::int8_product::{Int8Launch, asked_product};
use super::path::Path;
use super::{Kernel, ShapeError, Workload, WorkloadError};

pub use super::int8_product::MatmulInt8;

const PATH: Path = Path::Tiles {
    entry: "matmul_int8",
    shared: "matmul_int8/shared",
    subgroup: "matmul_int8/subgroup",
    split: "matvec_int8",
    tile_k: 32,
    run_steps: None,
};

impl MatmulInt8 {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, block and group of which neither divides the other, segments
    /// whose sums could leave i32, unsupported storage.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        Ok(Arc::new(Int8Launch::new(PATH, self)?))
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    Ok(asked_product(asked)?.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: "matmul_int8",
    summary: "int8 activations [m, k] times int8 or int4 weights [n, k] in integers",
    workload,
    cases: |effort| int8_cases(PATH, &ROWS, effort),
    broken: BROKEN,
    expected_failures: &[],
};

/// Rows of x per case: above, on and below tile edges.
const ROWS: [u32; 4] = [9, 17, 12, 5];

const BROKEN: &[Edit] = &[
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
        name: "segments_minimum_without_the_scale_of_the_activations",
        module: "matmul_int8/segments",
        find: "products, x_scale * x_sum,",
        replace: "products, x_sum,",
    },
    Edit {
        name: "subgroup_rows_of_one_lane",
        module: "matmul_int8/subgroup",
        find: "subgroupShuffle(own, other)",
        replace: "subgroupShuffle(own, 0u)",
    },
    Edit {
        name: "subgroup_scale_of_one_row",
        module: "matmul_int8/subgroup",
        find: "subgroupShuffle(own_scale, other)",
        replace: "own_scale",
    },
    Edit {
        name: "segments_with_the_sum_of_one_row",
        module: "matmul_int8/segments",
        find: "subgroupShuffle(own_sum, other)",
        replace: "own_sum",
    },
    Edit {
        name: "segments_zero_point_added",
        module: "matmul_int8/segments",
        find: ") - zero[j] * x_sum",
        replace: ") + zero[j] * x_sum",
    },
    Edit {
        name: "segments_rows_of_one_lane",
        module: "matmul_int8/segments",
        find: "subgroupShuffle(own, other)",
        replace: "subgroupShuffle(own, 0u)",
    },
    Edit {
        name: "pairs_rows_of_one_lane",
        module: "matmul_int8/pairs",
        find: "subgroupShuffle(own[quad], other)",
        replace: "subgroupShuffle(own[quad], 0u)",
    },
    Edit {
        name: "pairs_borrow_of_the_lower_row",
        module: "matmul_int8/pairs",
        find: "(two + HALF) >> vec2<u32>(16u)",
        replace: "two >> vec2<u32>(16u)",
    },
    Edit {
        name: "pairs_upper_row_left_in_the_lower",
        module: "matmul_int8/pairs",
        find: "totals[i][other][j] - (upper << 16u)",
        replace: "totals[i][other][j] - (upper << 15u)",
    },
    Edit {
        name: "pairs_of_the_same_row",
        module: "matmul_int8/pairs",
        find: "load_x16(x_start[2u * i + 1u], step)",
        replace: "load_x16(x_start[2u * i], step)",
    },
    Edit {
        name: "pairs_scale_of_the_lower_row",
        module: "matmul_int8/pairs",
        find: "scale[j], minimum[j], x_scales.y, x_sums.y",
        replace: "scale[j], minimum[j], x_scales.x, x_sums.y",
    },
    Edit {
        name: "pairs_last_step_dropped",
        module: "matmul_int8/pairs",
        find: "step < (segment + 1u) * segment_steps",
        replace: "step + 1u < (segment + 1u) * segment_steps",
    },
    Edit {
        name: "unsigned_bytes_in_float",
        module: "quad_product/float",
        find: "unpack4xI8(bytes)",
        replace: "unpack4xU8(bytes)",
    },
    Edit {
        name: "unsigned_dot",
        module: "packed/int8_wide",
        find: "dot4I8Packed(a.second.w, b.second.w)",
        replace: "i32(dot4U8Packed(a.second.w, b.second.w))",
    },
    Edit {
        name: "missing_offset",
        module: "packed/int4_wide",
        find: "const OFFSET = 8i;",
        replace: "const OFFSET = 0i;",
    },
    Edit {
        name: "swapped_nibbles",
        module: "packed/int4",
        find: "Packed(word & 0x0f0f0f0fu, (word >> 4u) & 0x0f0f0f0fu)",
        replace: "Packed((word >> 4u) & 0x0f0f0f0fu, word & 0x0f0f0f0fu)",
    },
    Edit {
        name: "sums_of_the_scales",
        module: "matmul_int8/blocks",
        find: "blocks[params.sums_start + at]",
        replace: "blocks[params.scales_start + at]",
    },
    Edit {
        name: "zero_point_added",
        module: "matmul_int8/term",
        find: "sum - zero * x_sum",
        replace: "sum + zero * x_sum",
    },
    Edit {
        name: "dropped_last_step",
        module: "matmul_int8",
        find: "step < (segment + 1u) * segment_steps",
        replace: "step + 1u < (segment + 1u) * segment_steps",
    },
    Edit {
        name: "scale_of_the_next_group",
        module: "matmul_int8",
        find: "row_scales + segment / params.group_segments",
        replace: "row_scales + (segment + 1u) % params.segments / params.group_segments",
    },
    Edit {
        name: "zero_point_ignored",
        module: "zero/stored",
        find: "extractBits(bitcast<i32>(zeros[index / 4u]), 8u * (index & 3u), 8u)",
        replace: "0",
    },
    Edit {
        name: "no_row_guard",
        module: "matmul_int8",
        find: "if (row < params.m) {",
        replace: "if (row < params.m + 1u) {",
    },
    Edit {
        name: "missing_barrier_before_use",
        module: "matmul_int8/shared",
        find: "            workgroupBarrier();\n            for (var step",
        replace: "            for (var step",
    },
    Edit {
        name: "tail_of_a_segment_not_cleared",
        module: "matmul_int8/shared",
        find: "if (step < end) {",
        replace: "if (step < params.segments * params.segment_steps) {",
    },
    Edit {
        name: "shared_scale_of_the_first_group",
        module: "matmul_int8/shared",
        find: "row_scales + segment / params.group_segments",
        replace: "row_scales",
    },
];

#[cfg(test)]
mod tests {
    use crate::kernels::{Epilogue, FloatType};
    use crate::num::Scheme;

    use super::*;

    fn shape(k: u32, block: u32, scheme: Scheme) -> MatmulInt8 {
        let weight = scheme.format();
        let (epilogue, out) = (Epilogue::default(), FloatType::F32);
        MatmulInt8 {
            m: 2,
            n: 3,
            k,
            block,
            weight,
            epilogue,
            out,
            codes: false,
        }
    }

    #[test]
    fn rejects_a_block_and_a_group_of_which_neither_divides_the_other() {
        let error = shape(96, 32, Scheme::int4_group(24)).launch().err();
        assert!(matches!(
            error,
            Some(ShapeError::NotMultiple {
                name: "block",
                value: 32,
                of: "group_size",
                multiple: 24,
                ..
            })
        ));
        let error = shape(96, 24, Scheme::int4_group(32)).launch().err();
        assert!(matches!(
            error,
            Some(ShapeError::NotMultiple {
                name: "group_size",
                value: 32,
                of: "block",
                multiple: 24,
                ..
            })
        ));
        assert!(shape(96, 96, Scheme::int4_group(24)).launch().is_ok());
        assert!(shape(96, 8, Scheme::int4_group(24)).launch().is_ok());
    }

    #[test]
    fn rejects_segments_whose_sums_leave_i32() {
        let whole = |k, scheme| shape(k, k, scheme).launch().err();
        assert_eq!(whole(131_071, Scheme::int8_channel()), None);
        assert!(matches!(
            whole(131_072, Scheme::int8_channel()),
            Some(ShapeError::TooLarge {
                value: 131_072,
                limit: 131_071,
                ..
            })
        ));
        assert_eq!(whole(65_536, Scheme::int4_channel()), None);
        assert!(matches!(
            whole(65_537, Scheme::int4_channel()),
            Some(ShapeError::TooLarge {
                value: 65_537,
                limit: 65_536,
                ..
            })
        ));
    }

    #[test]
    fn rejects_a_block_that_does_not_divide_the_row() {
        let error = shape(96, 64, Scheme::int8_channel()).launch().err();
        assert!(matches!(
            error,
            Some(ShapeError::NotMultiple {
                name: "k",
                multiple: 64,
                ..
            })
        ));
    }

    #[test]
    fn rejects_f16_outputs_of_odd_width() {
        let odd = MatmulInt8 {
            out: FloatType::F16,
            ..shape(64, 64, Scheme::int8_channel())
        };
        assert!(matches!(
            odd.launch().err(),
            Some(ShapeError::Unsupported { .. })
        ));
    }

    #[test]
    fn parts_within_a_binding_limit_cover_the_output() {
        let shape = MatmulInt8 {
            m: 64,
            n: 512,
            ..shape(1024, 64, Scheme::int4_group(64))
        };
        let launch = shape.launch().expect("a good shape");
        let parts = launch.split(64 * 1024, 256).expect("it can be cut");
        assert!(parts.len() > 1);
        let area: f64 = parts.iter().map(|part| part.launch.cost().operations).sum();
        assert_eq!(area, launch.cost().operations);
        for range in parts.iter().flat_map(|part| part.ranges.values()) {
            assert!(range.start % 256 == 0 && range.end - range.start <= 64 * 1024);
        }
    }
}
