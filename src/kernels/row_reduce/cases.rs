//! Cases: every reduction over every kind of data, row lengths around the lane counts, and the 16-bit
//! types on a sum and the index.

use crate::kernels::{Case, DataKind, Effort, FloatType};
use crate::shader::Edit;

use super::{Reduction, RowReduce, X};

/// Row lengths: one element, around vectors and workgroups, several turns of a workgroup.
const LENGTHS: [u32; 7] = [1, 7, 8, 9, 64, 65, 1000];

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut cases = Vec::new();
    for (index, reduction) in Reduction::ALL.into_iter().enumerate() {
        let shape = |rows, columns, x| RowReduce {
            rows,
            columns,
            x,
            reduction,
        };
        for (turn, columns) in LENGTHS.into_iter().enumerate() {
            let rows = [3, 65, 1, 130][(index + turn) % 4];
            cases.extend(case(
                shape(rows, columns, FloatType::F32),
                DataKind::Integers,
            ));
            let data = DataKind::ALL[(index + turn) % 7];
            cases.extend(case(shape(rows, columns, FloatType::F32), data));
        }
        for data in DataKind::ALL {
            cases.extend(case(shape(5, 77, FloatType::F32), data));
        }
        if effort == Effort::Full {
            cases.extend(case(shape(2, 100_003, FloatType::F32), DataKind::Normal));
            cases.extend(case(shape(2, 32_768, FloatType::F32), DataKind::Integers));
        }
    }
    for reduction in [Reduction::Sum, Reduction::ArgMax] {
        for x in [FloatType::F16, FloatType::Bf16] {
            for (columns, data) in [
                (65, DataKind::Integers),
                (7, DataKind::Normal),
                (1000, DataKind::Outliers),
            ] {
                cases.extend(case(
                    RowReduce {
                        rows: 9,
                        columns,
                        x,
                        reduction,
                    },
                    data,
                ));
            }
        }
    }
    if effort == Effort::Full {
        // More workgroups than one dimension of a grid holds.
        let (x, reduction) = (FloatType::F32, Reduction::Sum);
        cases.extend(case(
            RowReduce {
                rows: 70_000,
                columns: 3,
                x,
                reduction,
            },
            DataKind::Integers,
        ));
    }
    // Long rows have larger workgroups.
    for reduction in [Reduction::Mean, Reduction::ArgMax] {
        let shape = RowReduce {
            rows: 2,
            columns: 2049,
            x: FloatType::F32,
            reduction,
        };
        cases.extend(case(shape, DataKind::Normal));
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// The case; `None` only when the shape itself is refused, which the shape tests cover.
fn case(shape: RowReduce, data: DataKind) -> Option<Case> {
    let len = shape.rows as usize * shape.columns as usize;
    let mut values = data.values(u64::from(shape.rows) << 32 | u64::from(shape.columns), len);
    if shape.reduction == Reduction::Max && data == DataKind::Normal {
        // Rows without a positive element: a maximum that begins at 0 shows.
        values.iter_mut().for_each(|value| *value = -value.abs());
    }
    let case = Case::new(shape.launch().ok()?, vec![(X, shape.x.pack(&values))], data);
    // The division of a mean is not exact.
    Some(if shape.reduction == Reduction::Mean {
        case.bounded()
    } else {
        case
    })
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "no_row_guard",
        module: "row_reduce",
        find: "row >= params.rows",
        replace: "row > params.rows",
    },
    Edit {
        name: "row_stride_off_by_one",
        module: "row_reduce/workgroup",
        find: "row * params.columns",
        replace: "row * (params.columns - 1u)",
    },
    Edit {
        name: "last_column_dropped",
        module: "row/fold",
        find: "column < params.columns",
        replace: "column + 1u < params.columns",
    },
    Edit {
        name: "largest_begins_at_zero",
        module: "reduction/max",
        find: "return first",
        replace: "return 0.0",
    },
    Edit {
        name: "largest_without_magnitude",
        module: "reduction/abs_max",
        find: "abs(value)",
        replace: "value",
    },
    Edit {
        name: "sum_not_divided",
        module: "reduction/mean",
        find: " / f32(count)",
        replace: "",
    },
    Edit {
        name: "squares_not_squared",
        module: "reduction/sum_squares",
        find: "value * value",
        replace: "value",
    },
    Edit {
        name: "last_of_equal_indices",
        module: "row/argmax",
        find: "key > best_key",
        replace: "key >= best_key",
    },
    Edit {
        name: "only_the_first_lane_proposes",
        module: "reduce/shared",
        find: "max(shared_u32[lane], shared_u32[lane + width])",
        replace: "shared_u32[lane]",
    },
    Edit {
        name: "negatives_in_reverse",
        module: "lib/order",
        find: "select(0x80000000u, 0xffffffffu, (value >> 31u) != 0u)",
        replace: "0x80000000u",
    },
    Edit {
        name: "only_the_first_subgroup",
        module: "reduce/subgroup",
        find: "subgroupBroadcastFirst(lane) == lane);\n    workgroupBarrier();\n    var total = 0.0;",
        replace: "lane == 0u);\n    workgroupBarrier();\n    var total = 0.0;",
    },
    Edit {
        name: "tree_misses_its_first_level",
        module: "reduce/shared",
        find: "width /= 2u) {\n        if (lane < width) {\n            shared_f32[lane] += shared_f32[lane + width];",
        replace: "width /= 2u) {\n        if (lane < width / 2u) {\n            shared_f32[lane] += shared_f32[lane + width];",
    },
];
