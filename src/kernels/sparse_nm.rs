//! Product with an N:M weight, `n` of every `m` weights of a row kept, places of one row or of 8, 16 or 32
//! rows at a time: `y[m, n] = finish(sum_p x[m, p / kept * group + index(n, p)] * w(n, p))`.
//!
//! Where N divides 8, the activations that eight weights choose from lie side by side in the lanes of a
//! subgroup, and a shuffle by the index takes the place of a gather. Other patterns, and adapters without
//! subgroups of a known size, load each activation where its index points.

use std::sync::Arc;

use crate::num::{NmPattern, Scheme, SparseLayout, StoredFormat, ValueFormat};
use crate::record::{Iterations, Launch};
use crate::shader::{Capabilities, Edit, Variant};

use super::guess::Speed;
use super::iterations::looped;
use super::sparse::cases::{Kept, SparseCase};
use super::sparse::{Runs, SparseLaunch, asked, nm};
use super::{Case, DataKind, Effort, Epilogue, FloatType, Kernel, Workload, WorkloadError};

pub(super) const NAME: &str = "sparse_nm";
const SUBGROUP: &str = "sparse_nm/subgroup";
const ROWS: &str = "sparse_nm/rows";
const TILE: &str = "sparse_nm/tile";

/// Rows of x by rows of the weight of one lane, for more than eight rows of x.
const TILES: [(u32, u32, Speed); 4] = [
    (32, 4, speed(40.0, 40.0)),
    (16, 8, speed(40.0, 40.0)),
    (16, 4, speed(38.0, 45.0)),
    (32, 8, speed(35.0, 30.0)),
];

/// Rows of x by rows of the weight that one lane of a tile with shared indices holds.
const SHARED_TILES: [(u32, u32, Speed); 5] = [
    (8, 4, speed(50.0, 30.0)),
    (4, 4, speed(45.0, 35.0)),
    (8, 2, speed(44.0, 32.0)),
    (4, 2, speed(40.0, 35.0)),
    (2, 2, speed(30.0, 35.0)),
];

const fn speed(software: f64, hardware: f64) -> Speed {
    Speed { software, hardware }
}

pub(super) fn variants(
    launch: &SparseLaunch,
    pattern: NmPattern,
    capabilities: &Capabilities,
) -> Vec<Variant> {
    let m = launch.shape.m;
    let base = |entry| {
        let variant = launch.choose(Variant::new(entry)).slot("x1", launch.x1());
        variant
            .number("KEPT", pattern.n())
            .number("GROUP", pattern.m())
            .number("VECTOR", pattern.vector())
            .number("INDEX_BITS", pattern.index_bits())
    };
    let mut variants = Vec::new();
    let (columns, rows, lanes) = (m.min(8), 2, if capabilities.software { 8 } else { 64 });
    let gather = base(NAME)
        .number("COLUMNS", columns)
        .number("ROWS", rows)
        .number("WORKGROUP_SIZE", lanes);
    variants.push((gather, (columns, rows * lanes), speed(6.0, 20.0)));
    let Some(size) = capabilities
        .subgroup_size()
        .filter(|&size| by_shuffle(pattern, size))
    else {
        return launch.ordered(variants, capabilities);
    };
    let runs = m <= 8 && whole_runs(launch, pattern);
    let mut add = |columns: u32, rows: u32, skip, speed| {
        // Rows of one lane share their indices where a vector is at least as long.
        let shared = rows.min(pattern.vector());
        let variant = if runs {
            let variant = base(ROWS);
            let module = variant.chosen("stored").unwrap_or("f32");
            variant.without("stored").slot("run", module)
        } else {
            base(SUBGROUP)
        };
        let variant = variant
            .slot("skip", skip)
            .number("COLUMNS", columns)
            .number("STREAMS", rows / shared)
            .number("SHARED", shared)
            .number("ROWS", rows)
            .number("SUBGROUP", size);
        variants.push((variant, (columns, rows * size), speed));
    };
    if m <= 8 {
        add(m, 8, "never", speed(24.0, 30.0));
        add(m, 4, "never", speed(22.0, 35.0));
        add(m, if m <= 4 { 8 } else { 4 }, "zeros", speed(20.0, 25.0));
    } else {
        for (columns, rows, speed) in TILES {
            add(columns, rows, "never", speed);
        }
        for (tile_m, tile_n, speed) in SHARED_TILES {
            let Some(pick) = by_pick(pattern, tile_n * size) else {
                continue;
            };
            let variant = base(TILE)
                .slot("x", launch.x8(16))
                .slot("pick", pick)
                .without("x1")
                .number("TILE_M", tile_m)
                .number("TILE_N", tile_n)
                .number("SUBGROUP", size);
            variants.push((variant, (tile_m * size, tile_n * size), speed));
        }
    }
    launch.ordered(variants, capabilities)
}

/// Whether scale groups, and indices up to their padding, are whole runs of what one load of values brings,
/// and a run chooses from few enough windows.
fn whole_runs(launch: &SparseLaunch, pattern: NmPattern) -> bool {
    let run = match launch.shape.format.values {
        StoredFormat::Float(_) => 8,
        StoredFormat::Quantized(format) => 128 / format.bits.bits(),
    };
    let kept = pattern.kept(launch.shape.k as usize) as u32;
    let groups = launch.runs().groups;
    let index_words = (kept.div_ceil(run) * run * pattern.index_bits()).div_ceil(32);
    let stride = pattern.index_stride_words(launch.shape.k as usize) as u32;
    (groups == 1 || (kept / groups).is_multiple_of(run))
        && index_words <= stride
        && run / pattern.n() * pattern.m() <= 128
}

/// Whether eight weights choose from whole groups, each of which fits the lanes of a subgroup.
const fn by_shuffle(pattern: NmPattern, subgroup: u32) -> bool {
    8 % pattern.n() == 0 && pattern.m().is_power_of_two() && pattern.m() <= subgroup
}

/// Module that picks activations by indices which all `rows` rows of a tile share.
fn by_pick(pattern: NmPattern, rows: u32) -> Option<&'static str> {
    let shared = pattern.vector().is_multiple_of(rows);
    match (pattern.n(), pattern.m()) {
        (2, 4) if shared => Some("four"),
        (4, 8) if shared => Some("eight"),
        _ => None,
    }
}

pub(super) fn iterations(launch: &SparseLaunch, variant: &Variant) -> Iterations {
    let Runs { groups, steps } = launch.runs();
    let (groups, steps) = (u64::from(groups), u64::from(steps));
    let number = |name| u64::from(variant.get(name));
    let (columns, rows) = if variant.has("TILE_M") {
        (number("TILE_M") * number("SUBGROUP"), number("TILE_N"))
    } else {
        (number("COLUMNS"), number("ROWS"))
    };
    let step = if variant.has("SUBGROUP") {
        // Windows, then loads, then products.
        looped(16, looped(columns, 0))
            + looped(rows, looped(4, looped(rows, 0)))
            + looped(8, looped(rows, looped(columns, looped(rows, 0))))
    } else {
        looped(rows, looped(8, looped(columns, 0)))
    };
    let around = looped(rows, looped(rows, 0)) + looped(columns, looped(rows, 0));
    Iterations {
        // Halves of a step stay a loop in one entry.
        unrolled: looped(groups, looped(steps, 3)),
        rolled: looped(groups, around + looped(steps, step)) + 2 * around + looped(columns, 0),
    }
}

fn workload(words: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let default = SparseLayout::Nm(NmPattern::TWO_FOUR);
    Ok(asked(words, default, ("2:4|4:8x16 and the like", nm))?.launch()?)
}

fn pattern(n: u32, m: u32, vector: u32) -> Option<SparseLayout> {
    NmPattern::new(n, m, vector).ok().map(SparseLayout::Nm)
}

fn cases(effort: Effort) -> Vec<Case> {
    const BOTH: &[DataKind] = &[DataKind::Integers, DataKind::Normal];
    let int8 = ValueFormat::Quantized(Scheme::int8_channel());
    let int4 = ValueFormat::Quantized(Scheme::int4_group(32));
    let (f32, f16) = (ValueFormat::F32, ValueFormat::F16);
    let [plain, bias_relu, residual, silu, gelu] = Epilogue::CASES;
    let all: &[DataKind] = &DataKind::ALL;
    let full = Kept::All;
    // Extents, pattern, values, x, epilogue, out, data.
    type Row = (
        (u32, u32, u32),
        (u32, u32, u32),
        ValueFormat,
        FloatType,
        Epilogue,
        FloatType,
    );
    let quick: [(Row, &[DataKind]); 13] = {
        use FloatType::{F16, F32};
        [
            (((1, 37, 100), (2, 4, 1), f32, F32, plain, F32), all),
            (((3, 66, 192), (2, 4, 1), int8, F32, plain, F32), all),
            (((20, 70, 128), (2, 4, 1), f32, F32, plain, F32), BOTH),
            (((2, 40, 128), (2, 4, 1), int4, F16, bias_relu, F16), BOTH),
            (((1, 75, 72), (2, 4, 16), f32, F32, plain, F32), BOTH),
            (((33, 100, 192), (2, 4, 32), int8, F32, residual, F32), BOTH),
            (((9, 34, 128), (2, 4, 16), int4, F32, silu, F16), BOTH),
            (((19, 66, 96), (4, 8, 16), f16, F32, plain, F32), BOTH),
            (((5, 20, 96), (4, 8, 1), f16, F16, gelu, F32), BOTH),
            (((2, 33, 48), (3, 4, 1), f32, F32, plain, F32), BOTH),
            (((17, 18, 160), (5, 10, 8), f16, F32, plain, F32), BOTH),
            (((1, 24, 64), (1, 16, 1), int8, F32, plain, F32), BOTH),
            (((4, 16, 32), (1, 2, 1), f32, F32, plain, F32), BOTH),
        ]
    };
    let case = |row: Row, data| {
        let (extents, (n, m, vector), values, x, epilogue, out) = row;
        Some(SparseCase {
            x,
            epilogue,
            out,
            data,
            ..SparseCase::new(extents, pattern(n, m, vector)?, values, full)
        })
    };
    let mut made: Vec<SparseCase> = Vec::new();
    for (row, kinds) in quick {
        made.extend(kinds.iter().filter_map(|&data| case(row, data)));
    }
    // Groups with fewer weights than they have places for, and a matrix of zeros.
    let none = pattern(2, 4, 1).map(|layout| SparseCase::new((2, 10, 64), layout, f32, Kept::None));
    made.extend(none);
    if effort == Effort::Full {
        let patterns = [
            (2, 4),
            (4, 8),
            (1, 4),
            (2, 8),
            (1, 8),
            (8, 16),
            (4, 16),
            (2, 16),
            (1, 16),
            (4, 4),
            (3, 8),
            (6, 8),
            (7, 16),
            (2, 3),
            (1, 2),
            (2, 2),
        ];
        for (index, (n, m)) in patterns.into_iter().enumerate() {
            for vector in [1, 8, 16, 32] {
                for values in [
                    f32,
                    f16,
                    int8,
                    ValueFormat::Quantized(Scheme::int4_channel()),
                ] {
                    let rows = [1, 2, 4, 8, 9, 33][index % 6];
                    let extents = (rows, 41 + index as u32, m * (13 + index as u32));
                    let made_of = pattern(n, m, vector)
                        .map(|layout| SparseCase::new(extents, layout, values, full));
                    made.extend(made_of.into_iter().flat_map(|one| one.with(BOTH)));
                }
            }
        }
        let long =
            pattern(2, 4, 1).map(|layout| SparseCase::new((1, 9, 65_536), layout, int8, full));
        made.extend(long.map(|one| SparseCase {
            data: DataKind::Normal,
            ..one
        }));
    }
    finished(&made)
}

/// Cases with distinct names, in order.
pub(super) fn finished(made: &[SparseCase]) -> Vec<Case> {
    let mut cases: Vec<Case> = made.iter().filter_map(SparseCase::build).collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

const BROKEN: &[Edit] = &[
    Edit {
        name: "rows_take_indices_of_the_quad_before",
        module: "sparse_nm/rows",
        find: "bits >> (3u * INDEX_BITS)",
        replace: "bits >> (2u * INDEX_BITS)",
    },
    Edit {
        name: "rows_lose_the_last_run",
        module: "sparse_nm/rows",
        find: "run < (group + 1u) * group_runs;",
        replace: "run + 1u < (group + 1u) * group_runs;",
    },
    Edit {
        name: "rows_with_the_scale_of_the_first_group",
        module: "sparse_nm/rows",
        find: "scale_start[s][r] + group)",
        replace: "scale_start[s][r])",
    },
    Edit {
        name: "rows_take_from_the_first_window",
        module: "sparse_nm/rows",
        find: "own[c][base.z / WINDOW]",
        replace: "own[c][0]",
    },
    Edit {
        name: "tile_picks_from_the_first_half",
        module: "sparse_nm/tile",
        find: "step * 16u + half * 8u",
        replace: "step * 16u",
    },
    Edit {
        name: "tile_with_the_weights_of_the_first_half",
        module: "sparse_nm/tile",
        find: "weights[j][1], later)",
        replace: "weights[j][0], later)",
    },
    Edit {
        name: "second_group_takes_from_the_first",
        module: "pick/four",
        find: "which / KEPT % 2u == 1u",
        replace: "which / KEPT % 2u == 2u",
    },
    Edit {
        name: "upper_half_of_a_group_out_of_reach",
        module: "pick/eight",
        find: "(index & 4u) == 4u",
        replace: "(index & 4u) == 8u",
    },
    Edit {
        name: "indices_shifted_by_one_place",
        module: "sparse_nm/indices",
        find: "which * INDEX_BITS",
        replace: "(which ^ 1u) * INDEX_BITS",
    },
    Edit {
        name: "indices_of_the_first_word",
        module: "sparse_nm/indices",
        find: "first + bit / 32u",
        replace: "first",
    },
    Edit {
        name: "index_loses_its_high_bit",
        module: "sparse_nm/indices",
        find: "(1u << INDEX_BITS) - 1u",
        replace: "max(1u, (1u << (INDEX_BITS - 1u)) - 1u)",
    },
    Edit {
        name: "last_group_dropped",
        module: "sparse_nm",
        find: "column < k)",
        replace: "column + GROUP < k)",
    },
    Edit {
        name: "indices_of_every_row_those_of_a_vector",
        module: "sparse_nm",
        find: "row / VECTOR * params.index_words",
        replace: "row / VECTOR / 2u * params.index_words",
    },
    Edit {
        name: "activations_past_the_end_not_cleared",
        module: "sparse_nm/subgroup",
        find: "select(0.0, load_x1(x_start[c] + min(column, k - 1u)), column < k)",
        replace: "load_x1(x_start[c] + min(column, k - 2u))",
    },
    Edit {
        name: "activations_of_the_first_window",
        module: "sparse_nm/subgroup",
        find: "own[c][base.w / WINDOW]",
        replace: "own[c][0]",
    },
    Edit {
        name: "indices_of_the_first_stream",
        module: "sparse_nm/subgroup",
        find: "min(first_row + s * SHARED, params.n - 1u) / VECTOR",
        replace: "min(first_row, params.n - 1u) / VECTOR / 2u",
    },
    Edit {
        name: "second_quad_is_the_first",
        module: "sparse_nm/subgroup",
        find: "weights[s][r][quad])",
        replace: "weights[s][r][0])",
    },
    Edit {
        name: "nothing_wanted_where_one_lane_has_zero",
        module: "skip/zeros",
        find: "subgroupAny(nonzero)",
        replace: "subgroupAll(nonzero)",
    },
    Edit {
        name: "swapped_nibbles",
        module: "run/int4",
        find: "unpack4xI8(word & 0x0f0f0f0fu)",
        replace: "unpack4xI8((word >> 4u) & 0x0f0f0f0fu)",
    },
    Edit {
        name: "unsigned_codes",
        module: "stored/int8",
        find: "unpack4xI8(words.x)",
        replace: "unpack4xU8(words.x)",
    },
    Edit {
        name: "halves_of_a_word_swapped",
        module: "stored/f16",
        find: "unpack2x16float(words.y)",
        replace: "unpack2x16float(words.y).yx",
    },
];

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "x [m, k] times a weight [n, k] pruned N:M, indices for each row or for vectors of rows",
    workload,
    cases,
    broken: BROKEN,
    expected_failures: &[],
};
