//! Cases: both functions over every kind of data and row lengths around the lane counts, large levels, rows
//! of equal elements, and the 16-bit types.

use crate::kernels::attention::NAN_AS_ONE;
use crate::kernels::{Case, DataKind, Effort, FloatType};
use crate::shader::Edit;

use super::{Distribution, NAME, Softmax, X};

/// Row lengths: one element, around pairs and workgroups, several turns of a workgroup.
const LENGTHS: [u32; 7] = [1, 2, 10, 64, 65, 129, 1000];

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut cases = Vec::new();
    for (index, distribution) in Distribution::ALL.into_iter().enumerate() {
        let shape = |rows, columns| Softmax {
            rows,
            columns,
            distribution,
            x: FloatType::F32,
            out: FloatType::F32,
        };
        for (turn, columns) in LENGTHS.into_iter().enumerate() {
            let rows = [3, 65, 1, 130][(index + turn) % 4];
            cases.extend(case(
                shape(rows, columns),
                DataKind::ALL[(index + turn) % 7],
                0.0,
            ));
            cases.extend(case(shape(rows, columns), DataKind::Normal, 0.0));
        }
        for data in DataKind::ALL {
            cases.extend(case(shape(5, 77), data, 0.0));
        }
        for level in [1e4, -1e4] {
            cases.extend(case(shape(4, 33), DataKind::Normal, level));
        }
        for (x, out) in [
            (FloatType::F16, FloatType::F16),
            (FloatType::Bf16, FloatType::Bf16),
            (FloatType::F32, FloatType::F16),
            (FloatType::F16, FloatType::F32),
        ] {
            for (columns, data) in [(10, DataKind::Normal), (66, DataKind::Integers)] {
                let shape = Softmax {
                    x,
                    out,
                    ..shape(9, columns)
                };
                cases.extend(case(shape, data, 0.0));
            }
        }
        cases.extend(with_nan(shape(3, 70)));
        // Long rows have larger workgroups.
        cases.extend(case(shape(2, 2049), DataKind::Normal, 0.0));
        if effort == Effort::Full {
            cases.extend(case(shape(2, 50_257), DataKind::Normal, 0.0));
            cases.extend(case(shape(70_000, 3), DataKind::Normal, 0.0));
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// The case with `level` added to every element; `None` only when the shape itself is refused, which the
/// shape tests cover.
fn case(shape: Softmax, data: DataKind, level: f32) -> Option<Case> {
    let len = shape.rows as usize * shape.columns as usize;
    let mut values = data.values(u64::from(shape.rows) << 32 | u64::from(shape.columns), len);
    values.iter_mut().for_each(|value| *value += level);
    let operands = vec![(X, shape.x.pack(&values))];
    let mut case = Case::new(shape.launch().ok()?, operands, data).bounded();
    if level != 0.0 {
        case.name.push_str(&format!(" level={level}"));
    }
    Some(case)
}

/// A row with an element that is NaN, all of which must be NaN, between others.
fn with_nan(shape: Softmax) -> Option<Case> {
    let mut values = DataKind::Normal.values(7, (shape.rows * shape.columns) as usize);
    values[shape.columns as usize + 5] = f32::NAN;
    let operands = vec![(X, shape.x.pack(&values))];
    let mut case = Case::new(shape.launch().ok()?, operands, DataKind::Normal).bounded();
    case.name.push_str(" nan");
    Some(case)
}

pub(super) const BROKEN: &[Edit] = &[
    NAN_AS_ONE,
    Edit {
        name: "no_row_guard",
        module: NAME,
        find: "row >= params.rows",
        replace: "row > params.rows",
    },
    Edit {
        name: "largest_not_subtracted",
        module: NAME,
        find: "largest = reduce_max(largest, lane);",
        replace: "largest = 0.0 * reduce_max(largest, lane);",
    },
    Edit {
        name: "last_column_not_summed",
        module: NAME,
        find: "column < params.columns; column += LANE_STEP) {\n        sum +=",
        replace: "column + 1u < params.columns; column += LANE_STEP) {\n        sum +=",
    },
    Edit {
        name: "second_of_a_pair_is_the_first",
        module: NAME,
        find: "let second = min(column + 1u, params.columns - 1u)",
        replace: "let second = column",
    },
    Edit {
        name: "not_divided",
        module: "distribution/softmax",
        find: " / sum",
        replace: " / min(sum, 1.0)",
    },
    Edit {
        name: "logarithm_to_base_2",
        module: "distribution/log_softmax",
        find: "log(sum)",
        replace: "log2(sum)",
    },
    Edit {
        name: "sum_of_the_first_subgroup",
        module: "reduce/subgroup",
        find: "subgroupBroadcastFirst(lane) == lane);\n    workgroupBarrier();\n    var total = 0.0;",
        replace: "lane == 0u);\n    workgroupBarrier();\n    var total = 0.0;",
    },
    Edit {
        name: "maximum_of_half_the_lanes",
        module: "reduce/shared",
        find: "shared_f32[lane] = max(shared_f32[lane], shared_f32[lane + width]);",
        replace: "shared_f32[lane] = max(shared_f32[lane], shared_f32[lane]);",
    },
    Edit {
        name: "high_half_of_bf16_lost",
        module: "store/bf16",
        find: "low | (high << 16u)",
        replace: "low",
    },
];
