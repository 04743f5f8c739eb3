//! Cases: y that is a distribution (as the forward function gives it) and any other numbers, over row
//! lengths around the lane counts.

use crate::kernels::{Case, DataKind, Effort, FloatType};
use crate::shader::Edit;

use super::{DY, Distribution, NAME, SoftmaxBackward, Y};

/// Row lengths: one element, around pairs and workgroups, several turns of a workgroup.
const LENGTHS: [u32; 7] = [1, 2, 10, 64, 65, 129, 1000];

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut cases = Vec::new();
    for (index, distribution) in Distribution::ALL.into_iter().enumerate() {
        let shape = |rows, columns| SoftmaxBackward {
            rows,
            columns,
            distribution,
            y: FloatType::F32,
            dy: FloatType::F32,
            out: FloatType::F32,
        };
        for (turn, columns) in LENGTHS.into_iter().enumerate() {
            let rows = [3, 65, 1, 130][(index + turn) % 4];
            cases.extend(case(shape(rows, columns), DataKind::Integers));
            cases.extend(case(shape(rows, columns), DataKind::Normal));
        }
        for data in DataKind::ALL {
            cases.extend(case(shape(5, 77), data));
        }
        for (y, dy, out) in [
            (FloatType::F16, FloatType::F16, FloatType::F16),
            (FloatType::F32, FloatType::Bf16, FloatType::F16),
            (FloatType::Bf16, FloatType::F32, FloatType::Bf16),
        ] {
            let shape = SoftmaxBackward {
                y,
                dy,
                out,
                ..shape(9, 66)
            };
            cases.extend(case(shape, DataKind::Normal));
        }
        // Long rows have larger workgroups.
        cases.extend(case(shape(2, 2049), DataKind::Normal));
        if effort == Effort::Full {
            cases.extend(case(shape(2, 50_257), DataKind::Normal));
            cases.extend(case(shape(70_000, 3), DataKind::Normal));
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// The case; `None` only when the shape itself is refused, which the shape tests cover. The gradient of
/// softmax is exact on integers; that of log-softmax has an exponential.
fn case(shape: SoftmaxBackward, data: DataKind) -> Option<Case> {
    let len = shape.rows as usize * shape.columns as usize;
    let seed = u64::from(shape.rows) << 32 | u64::from(shape.columns);
    let mut y = data.values(seed, len);
    if shape.distribution == Distribution::LogSoftmax {
        y.iter_mut().for_each(|one| *one = -one.abs());
    } else if data == DataKind::Integers {
        // Products of products: smaller, so that sums stay exact.
        y.iter_mut().for_each(|one| *one = (*one / 4.0).trunc());
    }
    let dy = data.values(seed + 1, len);
    let operands = vec![(Y, shape.y.pack(&y)), (DY, shape.dy.pack(&dy))];
    let case = Case::new(shape.launch().ok()?, operands, data);
    Some(match shape.distribution {
        Distribution::Softmax => case,
        Distribution::LogSoftmax => case.bounded(),
    })
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "no_row_guard",
        module: NAME,
        find: "row >= params.rows",
        replace: "row > params.rows",
    },
    Edit {
        name: "last_column_not_summed",
        module: NAME,
        find: "column < params.columns; column += LANE_STEP) {\n        sum +=",
        replace: "column + 1u < params.columns; column += LANE_STEP) {\n        sum +=",
    },
    Edit {
        name: "lanes_not_added",
        module: NAME,
        find: "sum = reduce_sum(sum, lane);",
        replace: "",
    },
    Edit {
        name: "second_of_a_pair_is_the_first",
        module: NAME,
        find: "let right = start + min(column + 1u, params.columns - 1u);",
        replace: "let right = start + column;",
    },
    Edit {
        name: "sum_added",
        module: "distribution_slope/softmax",
        find: "dy - sum",
        replace: "dy + sum",
    },
    Edit {
        name: "sum_of_gradients_alone",
        module: "distribution_slope/softmax",
        find: "return y * dy;",
        replace: "return dy;",
    },
    Edit {
        name: "logarithm_taken_for_the_share",
        module: "distribution_slope/log_softmax",
        find: "share_below(y) * sum",
        replace: "y * sum",
    },
];
