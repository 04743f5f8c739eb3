//! Matrix product with quantized weights: `y[m, n] = finish(sum_k x[m, k] * w[n, k])`, where
//! `w[n, k] = scale[n, g] * (q[n, k] - zero[n, g])` and `finish` is bias, activation, residual.
//!
//! Definition, bound and cuts are in `quant_product.rs`, the cases in `quant_cases.rs`.

use std::sync::Arc;

use crate::record::Launch;
use crate::shader::Edit;

use super::path::Path;
use super::quant_cases::quant_cases;
use super::quant_product::{QuantLaunch, asked_product};
use super::{Kernel, ShapeError, Workload, WorkloadError};

pub use super::quant_product::MatmulQuant;

const PATH: Path = Path::Tiles {
    entry: "matmul_quant",
    shared: "matmul_quant/shared",
    subgroup: "matmul_quant/subgroup",
    split: "matvec_quant",
    tile_k: 16,
    run_steps: Some(4),
};

impl MatmulQuant {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, a k that is no multiple of the group, unsupported storage.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        Ok(Arc::new(QuantLaunch::new(PATH, self)?))
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    Ok(asked_product(asked)?.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: "matmul_quant",
    summary: "x [m, k] times int8 or int4 weights [n, k], dequantized on the fly",
    workload,
    cases: |effort| quant_cases(MatmulQuant::launch, &ROWS, effort),
    broken: BROKEN,
    expected_failures: &[],
};

/// Rows of x per case: above, on and below tile edges.
const ROWS: [u32; 3] = [9, 17, 12];

const BROKEN: &[Edit] = &[
    Edit {
        name: "minimum_left_out",
        module: "minimum/f16",
        find: "return f16_bits_to_f32(",
        replace: "return 0.0 * f16_bits_to_f32(",
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
        name: "subgroup_rows_of_one_lane",
        module: "matmul_quant/subgroup",
        find: "subgroupShuffle(own, other)",
        replace: "subgroupShuffle(own, 0u)",
    },
    Edit {
        name: "subgroup_scale_of_the_first_group",
        module: "matmul_quant/subgroup",
        find: "load_scale(scale_start[j] + group)",
        replace: "load_scale(scale_start[j])",
    },
    Edit {
        name: "swapped_nibbles_of_sixteen",
        module: "bytes16/int4",
        find: "low.x, high.x, low.y, high.y",
        replace: "high.x, low.x, high.y, low.y",
    },
    Edit {
        name: "swapped_nibbles",
        module: "codes/int4",
        find: "unpack4xU8(word & 0x0f0f0f0fu)",
        replace: "unpack4xU8((word >> 4u) & 0x0f0f0f0fu)",
    },
    Edit {
        name: "int4_offset_off_by_one",
        module: "codes/int4",
        find: "unpack4xU8((word >> 4u) & 0x0f0f0f0fu)) - 8.0",
        replace: "unpack4xU8((word >> 4u) & 0x0f0f0f0fu)) - 7.0",
    },
    Edit {
        name: "unsigned_int8",
        module: "codes/int8",
        find: "vec4<f32>(unpack4xI8(codes[at + 1u]))",
        replace: "vec4<f32>(unpack4xU8(codes[at + 1u]))",
    },
    Edit {
        name: "dropped_last_step",
        module: "matmul_quant",
        find: "step < (group + 1u) * group_steps",
        replace: "step + 1u < (group + 1u) * group_steps",
    },
    Edit {
        name: "scale_of_the_next_group",
        module: "matmul_quant",
        find: "* params.scale_row_stride + group;",
        replace: "* params.scale_row_stride + min(group + 1u, params.groups - 1u);",
    },
    Edit {
        name: "zero_point_ignored",
        module: "zero/stored",
        find: "extractBits(bitcast<i32>(zeros[index / 4u]), 8u * (index & 3u), 8u)",
        replace: "0",
    },
    Edit {
        name: "zero_point_unsigned",
        module: "zero/stored",
        find: "extractBits(bitcast<i32>(zeros[index / 4u]), 8u * (index & 3u), 8u)",
        replace: "i32(extractBits(zeros[index / 4u], 8u * (index & 3u), 8u))",
    },
    Edit {
        name: "no_row_guard",
        module: "matmul_quant",
        find: "if (row < params.m) {",
        replace: "if (row < params.m + 1u) {",
    },
    Edit {
        name: "missing_barrier_before_use",
        module: "matmul_quant/shared",
        find: "        workgroupBarrier();\n        for (var half_step",
        replace: "        for (var half_step",
    },
    Edit {
        name: "shared_scale_of_the_first_group",
        module: "matmul_quant/shared",
        find: "params.scale_row_stride + step / params.group_steps;",
        replace: "params.scale_row_stride;",
    },
    Edit {
        name: "shared_tail_of_x_not_cleared",
        module: "matmul_quant/shared",
        find: "let steps = (params.k + 7u) / 8u;",
        replace: "let steps = params.k / 8u;",
    },
];
