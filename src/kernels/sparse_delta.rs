//! Product with a weight of single kept weights, each so many columns after the one before:
//! `y[m, n] = finish(sum_i x[m, d(n, 0) + .. + d(n, i)] * w(n, i))`.
//!
//! One lane walks along a row, or the lanes of a subgroup take eight entries each and find their columns by
//! a sum over the lanes before them.

use std::sync::Arc;

use crate::num::{DeltaBits, Scheme, SparseLayout, ValueFormat};
use crate::record::{Iterations, Launch};
use crate::shader::{Capabilities, Edit, Variant};

use super::guess::Speed;
use super::iterations::looped;
use super::sparse::cases::{Kept, SparseCase};
use super::sparse::{SparseLaunch, asked, delta};
use super::sparse_nm::finished;
use super::{Case, DataKind, Effort, Epilogue, FloatType, Kernel, Workload, WorkloadError};

pub(super) const NAME: &str = "sparse_delta";
const SUBGROUP: &str = "sparse_delta/subgroup";
const SHARED: &str = "sparse_delta/shared";

/// Rows of the weight that a lane, or a subgroup, makes one after the other.
const ROWS: u64 = 2;

const fn speed(software: f64, hardware: f64) -> Speed {
    Speed { software, hardware }
}

pub(super) fn variants(
    launch: &SparseLaunch,
    bits: DeltaBits,
    capabilities: &Capabilities,
) -> Vec<Variant> {
    let columns = launch.shape.m.min(8);
    let deltas = match bits {
        DeltaBits::Four => "four",
        DeltaBits::Eight => "eight",
    };
    let base = |entry| {
        launch
            .choose(Variant::new(entry))
            .slot("x1", launch.x1())
            .slot("deltas", deltas)
            .number("COLUMNS", columns)
    };
    let lanes = if capabilities.software { 8 } else { 64 };
    let alone = base(NAME).number("WORKGROUP_SIZE", lanes);
    let mut variants = vec![(alone, (columns, 2 * lanes), speed(12.0, 10.0))];
    if let Some(size) = capabilities.subgroup_size() {
        let together = base(SUBGROUP).number("SUBGROUP", size);
        variants.push((together, (columns, 2), speed(6.0, 30.0)));
    }
    // One row of x that fits a workgroup's memory, and enough rows of the weight to make its copy worth it.
    let most = capabilities.max_workgroup_bytes / 4;
    let shared_k = launch.shape.k.min(most).next_multiple_of(1024);
    if launch.shape.m == 1 && launch.shape.k <= most && shared_k <= most {
        let lanes = 64;
        let near = launch
            .choose(Variant::new(SHARED))
            .slot("x1", launch.x1())
            .slot("deltas", deltas)
            .number("COLUMNS", 1)
            .number("SHARED_K", shared_k)
            .number("WORKGROUP_SIZE", lanes);
        variants.push((near, (1, 2 * lanes), speed(12.5, 20.0)));
    }
    launch.ordered(variants, capabilities)
}

pub(super) fn iterations(launch: &SparseLaunch, variant: &Variant) -> Iterations {
    let columns = u64::from(variant.get("COLUMNS"));
    let steps = u64::from(launch.shape.stored.longest.div_ceil(8));
    let copy = if variant.has("SHARED_K") {
        looped(
            u64::from(launch.shape.k.div_ceil(variant.get("WORKGROUP_SIZE"))),
            0,
        )
    } else {
        0
    };
    let (rounds, extra) = if variant.has("SUBGROUP") {
        (steps.div_ceil(variant.get("SUBGROUP").into()), looped(8, 0))
    } else {
        (steps, 0)
    };
    let around = 2 * looped(columns, 0);
    Iterations {
        unrolled: looped(ROWS, looped(rounds, 0)) + copy,
        rolled: looped(ROWS, looped(rounds, extra + looped(8, looped(columns, 0)))) + around + copy,
    }
}

fn workload(words: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let default = SparseLayout::Delta(DeltaBits::Four);
    Ok(asked(words, default, ("delta4|delta8", delta))?.launch()?)
}

fn cases(effort: Effort) -> Vec<Case> {
    const BOTH: &[DataKind] = &[DataKind::Integers, DataKind::Normal];
    let int8 = ValueFormat::Quantized(Scheme::int8_tensor());
    let int4 = ValueFormat::Quantized(Scheme::int4_group(32));
    let (f32, f16) = (ValueFormat::F32, ValueFormat::F16);
    let [plain, bias_relu, residual, silu, gelu] = Epilogue::CASES;
    let all: &[DataKind] = &DataKind::ALL;
    let (four, eight) = (DeltaBits::Four, DeltaBits::Eight);
    type Row = (
        (u32, u32, u32),
        DeltaBits,
        ValueFormat,
        Kept,
        FloatType,
        Epilogue,
        FloatType,
    );
    let quick: [(Row, &[DataKind]); 11] = {
        use FloatType::{F16, F32};
        let few = Kept::Share(0.1);
        [
            (
                ((1, 37, 200), four, f32, Kept::Share(0.4), F32, plain, F32),
                all,
            ),
            (
                ((3, 40, 300), four, int8, Kept::Uneven, F32, plain, F32),
                all,
            ),
            (((2, 34, 256), four, int4, few, F16, bias_relu, F16), BOTH),
            (((12, 16, 192), eight, f32, few, F32, residual, F32), BOTH),
            (
                ((20, 10, 600), eight, f16, Kept::Uneven, F32, silu, F32),
                BOTH,
            ),
            (
                ((5, 18, 128), four, f16, Kept::Uneven, F16, gelu, F16),
                BOTH,
            ),
            (
                ((1, 9, 900), four, f32, Kept::Share(0.01), F32, plain, F32),
                BOTH,
            ),
            (((2, 12, 64), four, f32, Kept::All, F32, plain, F32), BOTH),
            (
                ((1, 12, 64), eight, int8, Kept::None, F32, bias_relu, F32),
                BOTH,
            ),
            (((4, 1, 1), four, f32, Kept::All, F32, plain, F32), BOTH),
            (
                ((1, 7, 400), eight, int4, Kept::Uneven, F32, plain, F32),
                BOTH,
            ),
        ]
    };
    let case = |row: Row, data| {
        let (extents, bits, values, kept, x, epilogue, out) = row;
        SparseCase {
            x,
            epilogue,
            out,
            data,
            ..SparseCase::new(extents, SparseLayout::Delta(bits), values, kept)
        }
    };
    let mut made: Vec<SparseCase> = Vec::new();
    for (row, kinds) in quick {
        made.extend(kinds.iter().map(|&data| case(row, data)));
    }
    if effort == Effort::Full {
        for (index, share) in [0.002, 0.02, 0.1, 0.3, 0.5, 0.9].into_iter().enumerate() {
            for bits in [four, eight] {
                for values in [f32, f16, int8, int4] {
                    let extents = ([1, 2, 8, 9, 3, 17][index], 50, 700 + index as u32);
                    let layout = SparseLayout::Delta(bits);
                    let one = SparseCase::new(extents, layout, values, Kept::Share(share));
                    made.extend(one.with(BOTH));
                }
            }
        }
    }
    finished(&made)
}

const BROKEN: &[Edit] = &[
    Edit {
        name: "last_activations_not_copied",
        module: "sparse_delta/shared",
        find: "at < params.k;",
        replace: "at + 1u < params.k;",
    },
    Edit {
        name: "last_step_of_a_row_dropped_near",
        module: "sparse_delta/shared",
        find: "step < end;",
        replace: "step + 1u < end;",
    },
    Edit {
        name: "distances_swapped",
        module: "deltas/four",
        find: "(word >> 4u) & 15u",
        replace: "(word >> 8u) & 15u",
    },
    Edit {
        name: "wide_distances_cut",
        module: "deltas/eight",
        find: "(words.y >> 8u) & 255u",
        replace: "(words.y >> 8u) & 15u",
    },
    Edit {
        name: "last_step_of_a_row_dropped",
        module: "sparse_delta",
        find: "step < end;",
        replace: "step + 1u < end;",
    },
    Edit {
        name: "column_carried_into_the_next_row",
        module: "sparse_delta",
        find: "row_starts[row + 1u] / 8u;\n        var column = 0u;",
        replace: "row_starts[row + 1u] / 8u;\n        var column = min(r, 1u);",
    },
    Edit {
        name: "scale_of_the_first_group",
        module: "sparse_delta",
        find: "(8u * step) >> params.group_shift",
        replace: "step >> 31u",
    },
    Edit {
        name: "lanes_start_at_the_same_column",
        module: "sparse_delta/subgroup",
        find: "reached + subgroupExclusiveAdd(total)",
        replace: "reached + min(subgroupExclusiveAdd(total), 0u)",
    },
    Edit {
        name: "last_lanes_dropped",
        module: "sparse_delta/subgroup",
        find: "let inside = first + lane < end;",
        replace: "let inside = first + lane + 1u < end;",
    },
    Edit {
        name: "second_row_is_the_first",
        module: "sparse_delta/subgroup",
        find: "subgroupAdd(sums[1][c])",
        replace: "subgroupAdd(sums[0][c])",
    },
];

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "x [m, k] times a weight [n, k] of single weights, as distances along its rows",
    workload,
    cases,
    broken: BROKEN,
    expected_failures: &[],
};
