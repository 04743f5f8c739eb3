//! Product with a weight of kept blocks: `y[m, n] = finish(sum over blocks b of the row of blocks of n of
//! sum_j x[m, column(b) + j] * w(b, n, j))`.
//!
//! A row of blocks is a dense product over the columns of its blocks, so cost follows the blocks kept.

use std::sync::Arc;

use crate::num::{BlockShape, Scheme, SparseLayout, StoredFormat, ValueFormat};
use crate::record::{Iterations, Launch};
use crate::shader::{Capabilities, Edit, Variant};

use super::guess::Speed;
use super::iterations::looped;
use super::sparse::cases::{Kept, SparseCase};
use super::sparse::{Runs, SparseLaunch, asked, block};
use super::sparse_nm::finished;
use super::{Case, DataKind, Effort, Epilogue, FloatType, Kernel, Workload, WorkloadError};

pub(super) const NAME: &str = "sparse_block";
const SUBGROUP: &str = "sparse_block/subgroup";
const RUNS: &str = "sparse_block/runs";
const TILE: &str = "sparse_block/tile";

const fn speed(software: f64, hardware: f64) -> Speed {
    Speed { software, hardware }
}

pub(super) fn variants(
    launch: &SparseLaunch,
    shape: BlockShape,
    capabilities: &Capabilities,
) -> Vec<Variant> {
    let m = launch.shape.m;
    let base = |entry| {
        launch
            .choose(Variant::new(entry))
            .number("BLOCK_ROWS", shape.rows() as u32)
            .number("BLOCK_COLUMNS", shape.columns() as u32)
    };
    // Blocks past the end of a row need guarded loads.
    let x = launch.x8(shape.columns() as u32);
    let lanes = if capabilities.software { 8 } else { 64 };
    let mut variants = Vec::new();
    for (rows, software) in [(8, 13.0), (4, 12.0), (2, 10.0)] {
        let columns = m.min(8);
        let variant = if whole_runs(launch) {
            let variant = base(RUNS);
            let module = variant.chosen("stored").unwrap_or("f32");
            variant.without("stored").slot("run", module)
        } else {
            base(NAME)
        };
        let variant = variant
            .slot("x", x)
            .number("COLUMNS", columns)
            .number("ROWS", rows)
            .number("WORKGROUP_SIZE", lanes);
        variants.push((variant, (columns, rows * lanes), speed(software, 25.0)));
    }
    let Some(size) = capabilities.subgroup_size().filter(|&size| size >= 4) else {
        return launch.ordered(variants, capabilities);
    };
    // Whole runs of a scale, so that a lane has as much between two loop heads as it can.
    let run = if launch.runs().steps.is_multiple_of(2) {
        16
    } else {
        8
    };
    // A subgroup stays within one row of blocks.
    let rows: Vec<u32> = [8, 4, 2]
        .into_iter()
        .filter(|rows| (shape.rows() as u32).is_multiple_of(rows * size))
        .collect();
    let mut add = |columns: u32, rows: u32, skip, speed| {
        let variant = base(SUBGROUP)
            .slot("x1", launch.x1())
            .slot("skip", skip)
            .number("COLUMNS", columns)
            .number("ROWS", rows)
            .number("RUN", run)
            .number("SUBGROUP", size);
        variants.push((variant, (columns, rows * size), speed));
    };
    for (index, &rows) in rows.iter().enumerate() {
        if m <= 8 {
            add(m, rows, "never", speed(24.0, 30.0));
            if index == 0 {
                add(m, rows, "zeros", speed(20.0, 25.0));
            }
        } else {
            add(16, rows, "never", speed(16.0, 45.0));
        }
    }
    if m > 8 {
        for tile_n in rows.into_iter().filter(|&rows| rows <= 4) {
            for (tile_m, speed) in [
                (16 / tile_n, speed(40.0, 35.0)),
                (8 / tile_n, speed(36.0, 40.0)),
                (1, speed(20.0, 30.0)),
            ] {
                let variant = base(TILE)
                    .slot("x", x)
                    .number("TILE_M", tile_m)
                    .number("TILE_N", tile_n)
                    .number("SUBGROUP", size);
                variants.push((variant, (tile_m * size, tile_n * size), speed));
            }
        }
    }
    launch.ordered(variants, capabilities)
}

/// Whether scale groups of a row of a block are whole runs of what one load of values brings.
fn whole_runs(launch: &SparseLaunch) -> bool {
    let run = match launch.shape.format.values {
        StoredFormat::Float(_) => 8,
        StoredFormat::Quantized(format) => 128 / format.bits.bits(),
    };
    (8 * launch.runs().steps).is_multiple_of(run)
}

pub(super) fn iterations(launch: &SparseLaunch, variant: &Variant) -> Iterations {
    let Runs { groups, steps } = launch.runs();
    let (groups, steps) = (u64::from(groups), u64::from(steps));
    let blocks = u64::from(launch.shape.stored.longest);
    let number = |name| u64::from(variant.get(name));
    let (columns, rows) = if variant.has("TILE_M") {
        (number("TILE_M") * number("SUBGROUP"), number("TILE_N"))
    } else {
        (number("COLUMNS"), number("ROWS"))
    };
    let products = looped(columns, looped(rows, 0));
    let step = if variant.has("SUBGROUP") {
        looped(4, looped(columns, 0)) + looped(rows, looped(2, 0)) + looped(2, looped(2, products))
    } else {
        looped(rows, 0) + products
    };
    let around = looped(columns, 0) + products;
    Iterations {
        unrolled: looped(blocks, looped(groups, looped(steps, 0))),
        rolled: looped(
            blocks,
            looped(groups, looped(rows, 0) + looped(steps, step)),
        ) + around,
    }
}

fn workload(words: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let default = SparseLayout::Block(BlockShape::SIXTEEN);
    Ok(asked(words, default, ("block16x16 and the like", block))?.launch()?)
}

fn layout(rows: u32, columns: u32) -> Option<SparseLayout> {
    BlockShape::new(rows, columns).ok().map(SparseLayout::Block)
}

fn cases(effort: Effort) -> Vec<Case> {
    const BOTH: &[DataKind] = &[DataKind::Integers, DataKind::Normal];
    let int8 = ValueFormat::Quantized(Scheme::int8_channel());
    let int4 = ValueFormat::Quantized(Scheme::int4_group(16));
    let (f32, f16) = (ValueFormat::F32, ValueFormat::F16);
    let [plain, bias_relu, residual, silu, gelu] = Epilogue::CASES;
    let all: &[DataKind] = &DataKind::ALL;
    type Row = (
        (u32, u32, u32),
        (u32, u32),
        ValueFormat,
        Kept,
        FloatType,
        Epilogue,
        FloatType,
    );
    let quick: [(Row, &[DataKind]); 11] = {
        use FloatType::{F16, F32};
        let half = Kept::Share(0.5);
        [
            (((1, 40, 160), (16, 16), f32, half, F32, plain, F32), all),
            (
                ((3, 64, 96), (16, 16), int8, Kept::Uneven, F32, plain, F32),
                all,
            ),
            (((33, 20, 40), (16, 16), f32, half, F32, plain, F32), BOTH),
            (
                ((2, 34, 128), (16, 16), int4, half, F16, bias_relu, F16),
                BOTH,
            ),
            (
                ((9, 64, 128), (32, 32), int8, half, F32, residual, F32),
                BOTH,
            ),
            (
                ((1, 96, 100), (32, 32), f16, Kept::Uneven, F32, silu, F32),
                BOTH,
            ),
            (
                ((5, 64, 64), (64, 8), int4_free(), half, F32, gelu, F16),
                BOTH,
            ),
            (((18, 24, 90), (8, 24), f16, half, F16, plain, F32), BOTH),
            (
                ((4, 48, 64), (16, 16), f32, Kept::All, F32, plain, F32),
                BOTH,
            ),
            (
                ((2, 48, 64), (16, 16), f32, Kept::None, F32, bias_relu, F32),
                BOTH,
            ),
            (
                ((12, 32, 48), (16, 16), int8, Kept::None, F32, plain, F32),
                BOTH,
            ),
        ]
    };
    let case = |row: Row, data| {
        let (extents, (rows, columns), values, kept, x, epilogue, out) = row;
        Some(SparseCase {
            x,
            epilogue,
            out,
            data,
            ..SparseCase::new(extents, layout(rows, columns)?, values, kept)
        })
    };
    let mut made: Vec<SparseCase> = Vec::new();
    for (row, kinds) in quick {
        made.extend(kinds.iter().filter_map(|&data| case(row, data)));
    }
    if effort == Effort::Full {
        let shapes = [
            (8, 8),
            (16, 16),
            (16, 32),
            (32, 16),
            (32, 32),
            (64, 64),
            (128, 8),
            (8, 128),
        ];
        for (index, (rows, columns)) in shapes.into_iter().enumerate() {
            for values in [
                f32,
                f16,
                int8,
                ValueFormat::Quantized(Scheme::int4_group(8)),
            ] {
                for kept in [Kept::Share(0.25), Kept::Uneven, Kept::All] {
                    let m = [1, 8, 9, 40, 3, 65, 2, 4][index];
                    let extents = (m, 130, 200 + 8 * index as u32);
                    let made_of = layout(rows, columns)
                        .map(|layout| SparseCase::new(extents, layout, values, kept));
                    made.extend(made_of.into_iter().flat_map(|one| one.with(BOTH)));
                }
            }
        }
    }
    finished(&made)
}

/// int4 with a scale for each block.
const fn int4_free() -> ValueFormat {
    ValueFormat::Quantized(Scheme::int4_channel())
}

const BROKEN: &[Edit] = &[
    Edit {
        name: "runs_without_the_last_block",
        module: "sparse_block/runs",
        find: "block < end;",
        replace: "block + 1u < end;",
    },
    Edit {
        name: "runs_of_the_first_rows_of_a_block",
        module: "sparse_block/runs",
        find: "(within + r) * ROW_RUNS",
        replace: "r * ROW_RUNS",
    },
    Edit {
        name: "runs_with_half_of_eight",
        module: "sparse_block/runs",
        find: "dot(taken.high, weights[r][2u * e + 1u])",
        replace: "dot(taken.high, weights[r][2u * e])",
    },
    Edit {
        name: "tile_without_its_last_block",
        module: "sparse_block/tile",
        find: "block < end;",
        replace: "block + 1u < end;",
    },
    Edit {
        name: "tile_of_one_row_of_x",
        module: "sparse_block/tile",
        find: "subgroupShuffle(source, other)",
        replace: "subgroupShuffle(source, 0u)",
    },
    Edit {
        name: "tile_of_the_first_rows_of_a_block",
        module: "sparse_block/tile",
        find: "(within + j) * ROW_STEPS",
        replace: "(within / 2u + j) * ROW_STEPS",
    },
    Edit {
        name: "last_block_dropped",
        module: "sparse_block",
        find: "block < end;",
        replace: "block + 1u < end;",
    },
    Edit {
        name: "first_row_of_the_block",
        module: "sparse_block",
        find: "(within + r) * ROW_STEPS + step",
        replace: "r * ROW_STEPS + step",
    },
    Edit {
        name: "second_half_of_a_step_dropped",
        module: "sparse_block",
        find: "dot(taken.high, weights[r][1])",
        replace: "dot(taken.high, vec4<f32>())",
    },
    Edit {
        name: "last_block_dropped_by_the_subgroup",
        module: "sparse_block/subgroup",
        find: "block < end;",
        replace: "block + 1u < end;",
    },
    Edit {
        name: "blocks_of_the_first_row",
        module: "sparse_block/subgroup",
        find: "var block = row_starts[tile_row / BLOCK_ROWS]",
        replace: "var block = row_starts[tile_row / BLOCK_ROWS / 2u]",
    },
    Edit {
        name: "activations_past_the_end_not_cleared",
        module: "sparse_block/subgroup",
        find: "column < k);",
        replace: "column < k - 1u);",
    },
    Edit {
        name: "activation_taken_from_its_neighbour",
        module: "sparse_block/subgroup",
        find: "first_lane + 3u",
        replace: "first_lane + 2u",
    },
    Edit {
        name: "rows_share_the_first_weights",
        module: "sparse_block/subgroup",
        find: "dot(taken, weights[r][s][quad])",
        replace: "dot(taken, weights[0][s][quad])",
    },
];

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "x [m, k] times a weight [n, k] of kept blocks, from 8x8 to 128x128",
    workload,
    cases,
    broken: BROKEN,
    expected_failures: &[],
};
