//! Cases and broken shaders. Formats and epilogues fill independent slots of a shader, so Quick pairs
//! them up rather than crossing them: each distinct pair is one more pipeline to compile.

use crate::kernels::epilogue::{BIAS, RESIDUAL};
use crate::kernels::{Activation, Case, DataKind, Effort, Epilogue, FloatType};
use crate::shader::Edit;

use super::{A, B, Broadcast, Layout, MatmulDense, Precision};

use Broadcast::{PerBatch, Shared};
use FloatType::{Bf16, F16, F32};
use Layout::{KFirst, KLast};

const LAYOUTS: [(Layout, Layout); 4] = [
    (KLast, KLast),
    (KLast, KFirst),
    (KFirst, KLast),
    (KFirst, KFirst),
];

const BROADCASTS: [(Broadcast, Broadcast); 4] = [
    (PerBatch, PerBatch),
    (PerBatch, Shared),
    (Shared, PerBatch),
    (Shared, Shared),
];

/// Two matrices of ten rows, past one tile of eight, whose k is in quads but not in steps of 16.
const BASE: MatmulDense = MatmulDense {
    batch: 2,
    m: 10,
    n: 34,
    k: 20,
    a: F32,
    b: F32,
    a_layout: KLast,
    b_layout: KLast,
    a_broadcast: PerBatch,
    b_broadcast: PerBatch,
    precision: Precision::Full,
    epilogue: Epilogue {
        bias: false,
        activation: Activation::Identity,
        residual: false,
    },
    out: F32,
};

/// One below, at and above the tiles of 4, 8, 32 and 64, the quad and the step of 16, and ones.
const EDGES: [(u32, u32, u32); 14] = [
    (1, 1, 1),
    (1, 33, 7),
    (33, 1, 19),
    (3, 7, 15),
    (4, 8, 16),
    (5, 9, 17),
    (7, 3, 12),
    (8, 4, 4),
    (9, 5, 20),
    (31, 33, 16),
    (32, 32, 32),
    (33, 31, 31),
    (64, 64, 33),
    (65, 63, 36),
];

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut shapes = layouts_and_edges(BASE);
    shapes.extend(formats());
    shapes.extend(epilogues());
    shapes.extend(few_rows());
    if effort == Effort::Full {
        shapes.extend(large());
    }
    let mut cases: Vec<Case> = shapes
        .into_iter()
        .filter_map(|(shape, data)| case(shape, data))
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

type Shapes = Vec<(MatmulDense, DataKind)>;

/// Every layout and broadcast, and the edges of every tile, on one pair of formats.
fn layouts_and_edges(base: MatmulDense) -> Shapes {
    let mut shapes = Vec::new();
    for (a_layout, b_layout) in LAYOUTS {
        for (a_broadcast, b_broadcast) in BROADCASTS {
            let shape = MatmulDense {
                batch: 3,
                a_layout,
                b_layout,
                a_broadcast,
                b_broadcast,
                ..base
            };
            shapes.push((shape, DataKind::Integers));
        }
        shapes.push((
            MatmulDense {
                batch: 1,
                m: 12,
                n: 17,
                k: 51,
                a_layout,
                b_layout,
                ..base
            },
            DataKind::Normal,
        ));
    }
    for (index, (m, n, k)) in EDGES.into_iter().enumerate() {
        let (a_layout, b_layout) = LAYOUTS[index % LAYOUTS.len()];
        let edge = MatmulDense {
            batch: 1,
            m,
            n,
            k,
            ..base
        };
        shapes.push((edge, DataKind::Integers));
        shapes.push((
            MatmulDense {
                batch: 3,
                a_layout,
                b_layout,
                ..edge
            },
            DataKind::Integers,
        ));
    }
    shapes
}

/// Every kind of data for each storage type of each operand, with rows in quads and with odd rows in
/// which pairs of halves straddle two rows.
fn formats() -> Shapes {
    let half = MatmulDense {
        a: F16,
        b: F16,
        ..BASE
    };
    let mut shapes = Vec::new();
    for quads in [
        BASE,
        half,
        MatmulDense {
            precision: Precision::F16Multiply,
            ..half
        },
        MatmulDense {
            a: Bf16,
            b: Bf16,
            ..BASE
        },
    ] {
        let odd = MatmulDense {
            batch: 3,
            m: 5,
            n: 7,
            k: 19,
            ..quads
        };
        for data in DataKind::ALL {
            // Two outliers would make an f16 product that is infinite.
            if quads.precision == Precision::Full || data != DataKind::Outliers {
                shapes.extend([(quads, data), (odd, data)]);
            }
        }
        for (a_layout, b_layout) in LAYOUTS {
            shapes.push((
                MatmulDense {
                    a_layout,
                    b_layout,
                    ..odd
                },
                DataKind::Integers,
            ));
        }
    }
    // Columns in quads across k, past one tile of eight lanes.
    let across = MatmulDense {
        n: 36,
        k: 24,
        b_layout: KFirst,
        ..BASE
    };
    shapes.extend([(across, DataKind::Integers), (across, DataKind::Normal)]);
    shapes
}

/// Every epilogue and both outputs, paired with mixed formats on either path.
fn epilogues() -> Shapes {
    let [_, relu, residual, silu, gelu] = Epilogue::CASES;
    let mut shapes = Vec::new();
    for (epilogue, out, a, b, b_layout) in [
        (relu, F16, F16, Bf16, KLast),
        (residual, F32, F32, F16, KFirst),
        (silu, F16, Bf16, F32, KFirst),
        (gelu, F32, F32, Bf16, KLast),
    ] {
        let shape = MatmulDense {
            batch: 3,
            epilogue,
            out,
            a,
            b,
            b_layout,
            ..BASE
        };
        for data in [DataKind::Integers, DataKind::Normal] {
            shapes.push((shape, data));
        }
        shapes.push((
            MatmulDense {
                batch: 1,
                m: 1,
                n: 70,
                ..shape
            },
            DataKind::Normal,
        ));
    }
    shapes
}

/// Rows of A that a lane takes at once, past one subgroup's columns of B.
fn few_rows() -> Shapes {
    let mut shapes = Vec::new();
    for (m, n, k, a, b, a_layout) in [
        (1, 70, 72, F32, F32, KLast),
        (3, 45, 24, F16, F16, KLast),
        (8, 33, 40, F32, F32, KFirst),
    ] {
        let shape = MatmulDense {
            m,
            n,
            k,
            a,
            b,
            a_layout,
            ..BASE
        };
        shapes.extend([(shape, DataKind::Integers), (shape, DataKind::Normal)]);
    }
    shapes
}

/// Longer sums and more tiles for every pair of formats, and every epilogue with both outputs.
fn large() -> Shapes {
    let mut shapes = Vec::new();
    for a in [F32, F16, Bf16] {
        for b in [F32, F16, Bf16] {
            let base = MatmulDense { a, b, ..BASE };
            shapes.extend(layouts_and_edges(base));
            shapes.extend(long_sums(base));
        }
    }
    let multiply = MatmulDense {
        a: F16,
        b: F16,
        precision: Precision::F16Multiply,
        ..BASE
    };
    shapes.extend(layouts_and_edges(multiply));
    shapes.extend(long_sums(multiply));
    for epilogue in Epilogue::CASES {
        for out in [F32, F16, Bf16] {
            for b_layout in [KLast, KFirst] {
                let shape = MatmulDense {
                    b: F16,
                    epilogue,
                    out,
                    b_layout,
                    ..BASE
                };
                shapes.extend([(shape, DataKind::Integers), (shape, DataKind::Normal)]);
            }
        }
    }
    shapes
}

fn long_sums(base: MatmulDense) -> Shapes {
    let mut shapes = Vec::new();
    for (batch, m, n, k) in [(2, 70, 66, 1000), (1, 17, 129, 2048), (1, 128, 128, 257)] {
        for data in [DataKind::Integers, DataKind::Normal, DataKind::Cancelling] {
            shapes.push((
                MatmulDense {
                    batch,
                    m,
                    n,
                    k,
                    ..base
                },
                data,
            ));
        }
    }
    shapes
}

/// The case; `None` only when the shape itself is refused, which the shape tests cover.
fn case(shape: MatmulDense, data: DataKind) -> Option<Case> {
    let MatmulDense {
        batch,
        m,
        n,
        k,
        epilogue,
        ..
    } = shape;
    let seed = u64::from(m) << 40 | u64::from(n) << 20 | u64::from(k);
    let a = values(data, shape.a, seed, shape.operand_a().elements(batch));
    // One nonzero in each would hardly ever meet.
    let b_data = if data == DataKind::OneNonzero {
        DataKind::Integers
    } else {
        data
    };
    let b = values(b_data, shape.b, seed + 1, shape.operand_b().elements(batch));
    let mut operands = vec![(A, shape.a.pack(&a)), (B, shape.b.pack(&b))];
    if epilogue.bias {
        operands.push((BIAS, F32.pack(&data.values(seed + 2, n as usize))));
    }
    if epilogue.residual {
        let count = batch as usize * m as usize * n as usize;
        operands.push((RESIDUAL, F32.pack(&data.values(seed + 3, count))));
    }
    let case = Case::new(shape.launch().ok()?, operands, data);
    Some(if epilogue.activation.is_exact() {
        case
    } else {
        case.bounded()
    })
}

/// Data of one operand; subnormals of f32 become those of f16 where that is the storage type.
fn values(data: DataKind, storage: FloatType, seed: u64, count: u64) -> Vec<f32> {
    let mut values = data.values(seed, count as usize);
    if data == DataKind::Denormals && storage == F16 {
        // From 2^-126, the smallest normal f32, to 2^-14, that of f16.
        values.iter_mut().for_each(|value| *value *= 2f32.powi(112));
    }
    values
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "subgroup_rows_of_one_lane",
        module: "matmul_dense/subgroup",
        find: "subgroupShuffle(own, other)",
        replace: "subgroupShuffle(own, 0u)",
    },
    Edit {
        name: "subgroup_second_quad_dropped",
        module: "matmul_dense/subgroup",
        find: "quad < 2u;",
        replace: "quad < 1u;",
    },
    Edit {
        name: "subgroup_no_row_guard",
        module: "matmul_dense/subgroup",
        find: "if (row < params.m) {",
        replace: "if (row < params.m + 1u) {",
    },
    Edit {
        name: "matvec_last_step_dropped",
        module: "matmul_dense/matvec",
        find: "k < terms;",
        replace: "k + 8u < terms;",
    },
    Edit {
        name: "matvec_rows_of_one_lane",
        module: "matmul_dense/matvec",
        find: "subgroupShuffle(source, first_lane + 3u)",
        replace: "subgroupShuffle(source, first_lane)",
    },
    Edit {
        name: "matvec_second_quad_is_the_first",
        module: "matmul_dense/matvec",
        find: "right[j][quad])",
        replace: "right[j][0])",
    },
    Edit {
        name: "cooperative_last_terms_dropped",
        module: "matmul_dense/cooperative",
        find: "first_k < params.k;",
        replace: "first_k + TILE_K < params.k;",
    },
    Edit {
        name: "cooperative_subgroups_make_the_same_columns",
        module: "matmul_dense/cooperative",
        find: "wave % WAVES_N * UNITS_N * UNIT",
        replace: "wave % WAVES_N * UNITS_N * 0u",
    },
    Edit {
        name: "cooperative_last_square_dropped",
        module: "matmul_dense/cooperative",
        find: "k < TILE_K; k += UNIT",
        replace: "k + UNIT < TILE_K; k += UNIT",
    },
    Edit {
        name: "split_tail_dropped",
        module: "matmul_dense/split",
        find: "k < params.k;",
        replace: "k + 8u < params.k;",
    },
    Edit {
        name: "tail_of_a_not_cleared",
        module: "step_a/any",
        find: "if (k >= params.k) {",
        replace: "if (k > params.k) {",
    },
    Edit {
        name: "columns_across_k_mixed_up",
        module: "step_b/across",
        find: "first + 2u * params.b_k_stride",
        replace: "first + params.b_k_stride",
    },
    Edit {
        name: "batch_offset_of_a_ignored",
        module: "matmul_dense/tile",
        find: "matrix * params.a_batch_stride",
        replace: "0u * params.a_batch_stride",
    },
    Edit {
        name: "b_taken_from_the_first_matrix",
        module: "matmul_dense/tile",
        find: "return matrix * params.b_batch_stride",
        replace: "return min(matrix, 0u) * params.b_batch_stride",
    },
    Edit {
        name: "output_of_every_matrix_in_the_first",
        module: "matmul_dense/tile",
        find: "(matrix * params.m + row)",
        replace: "(min(matrix, 0u) * params.m + row)",
    },
    Edit {
        name: "dropped_last_term",
        module: "matmul_dense",
        find: "k < params.k;",
        replace: "k + 1u < params.k;",
    },
    Edit {
        name: "a_with_the_k_stride_of_b",
        module: "matmul_dense",
        find: "a_at[i] + k * params.a_k_stride",
        replace: "a_at[i] + k * params.b_k_stride",
    },
    Edit {
        name: "no_row_guard",
        module: "matmul_dense",
        find: "if (row < params.m) {",
        replace: "if (row < params.m + 1u) {",
    },
    Edit {
        name: "no_column_guard",
        module: "matmul_dense",
        find: "params.first_column + params.n,",
        replace: "params.first_column + params.n + 1u,",
    },
    Edit {
        name: "swapped_halves_of_f16",
        module: "a/f16",
        find: "(index & 1u)",
        replace: "(~index & 1u)",
    },
    Edit {
        name: "bf16_decoded_as_low_half",
        module: "b/bf16",
        find: ">> (16u * (index & 1u))",
        replace: ">> 0u",
    },
    Edit {
        name: "dropped_last_quad",
        module: "matmul_dense/vec4",
        find: "k < params.k;",
        replace: "k + 4u < params.k;",
    },
    Edit {
        name: "quads_of_b_one_row_late",
        module: "matmul_dense/vec4",
        find: "tile.first_column + j);",
        replace: "tile.first_column + j + 1u);",
    },
    Edit {
        name: "swapped_words_of_an_f16_quad",
        module: "a/f16_vec4",
        find: "unpack2x16float(words.x), unpack2x16float(words.y)",
        replace: "unpack2x16float(words.y), unpack2x16float(words.x)",
    },
    Edit {
        name: "swapped_halves_of_a_bf16_quad",
        module: "b/bf16_vec4",
        find: "low.x, high.x",
        replace: "high.x, low.x",
    },
    Edit {
        name: "missing_barrier_before_use",
        module: "matmul_dense/shared",
        find: "        workgroupBarrier();\n        for (var k",
        replace: "        for (var k",
    },
    Edit {
        name: "missing_barrier_after_use",
        module: "matmul_dense/shared",
        find: "        workgroupBarrier(); // before the next terms overwrite these\n",
        replace: "",
    },
    Edit {
        name: "shared_tail_of_a_not_cleared",
        module: "matmul_dense/shared",
        find: "if (k < params.k) {\n                value = load_a(",
        replace: "if (k <= params.k) {\n                value = load_a(",
    },
    Edit {
        name: "shared_step_skips_the_tail",
        module: "matmul_dense/shared",
        find: "first_k < params.k;",
        replace: "first_k + TILE_K <= params.k;",
    },
    Edit {
        name: "shared_rows_not_interleaved_when_stored",
        module: "matmul_dense/shared",
        find: "tile.first_row + i * LANES_M + lane_row",
        replace: "tile.first_row + i + lane_row * TILE_M",
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::shader::{Capabilities, CooperativeTiles, Variant};

    use super::*;

    #[test]
    fn quick_cases_compile_few_variants() {
        let software = Capabilities {
            software: true,
            cooperative: CooperativeTiles::NONE,
            ..Capabilities::everything()
        };
        let variants: BTreeSet<Variant> = cases(Effort::Quick)
            .iter()
            .flat_map(|case| case.launch.variants(&software))
            .collect();
        assert!(variants.len() <= 104, "{}", variants.len());
    }

    #[test]
    fn every_case_is_allowed_and_has_a_name_of_its_own() {
        let shapes = [
            layouts_and_edges(BASE),
            formats(),
            epilogues(),
            few_rows(),
            large(),
        ]
        .concat();
        assert!(
            shapes
                .iter()
                .all(|(shape, data)| case(*shape, *data).is_some())
        );
        let names: BTreeSet<String> = cases(Effort::Full)
            .into_iter()
            .map(|case| case.name)
            .collect();
        let distinct: BTreeSet<String> = shapes
            .iter()
            .map(|(shape, data)| format!("{shape:?} {data:?}"))
            .collect();
        assert_eq!(names.len(), distinct.len());
    }
}
