//! Cases: vectors, strips and blocks with edges, over every kind of scores.

use crate::kernels::mask_data::ScoreKind;
use crate::kernels::{Case, DataKind, Effort, MaskShape};
use crate::shader::Edit;

use super::{MaskScores, NAME, SCORES};

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut shapes = vec![
        (1, 1, 1, 1),
        (5, 7, 8, 1),
        (67, 33, 16, 1),
        (40, 65, 32, 1),
        (9, 130, 1, 64),
        (130, 9, 64, 1),
        (33, 70, 4, 32),
        (41, 32, 2, 4),
        (100, 100, 64, 64),
    ];
    if effort == Effort::Full {
        shapes.extend([
            (1024, 1024, 8, 1),
            (1000, 3000, 16, 16),
            (4097, 65, 1, 64),
            (70, 70, 70, 58),
        ]);
    }
    let mut cases = Vec::new();
    for (index, shape) in shapes.into_iter().enumerate() {
        cases.extend(case(shape, ScoreKind::Data(DataKind::Integers)));
        if index != 0 {
            cases.extend(case(shape, ScoreKind::ALL[1 + index % 9]));
        }
    }
    for kind in ScoreKind::ALL {
        cases.extend(case((21, 50, 8, 3), kind));
    }
    cases
}

fn case((n, k, unit_rows, unit_columns): (u32, u32, u32, u32), kind: ScoreKind) -> Option<Case> {
    let shape = MaskShape {
        n,
        k,
        unit_rows,
        unit_columns,
    };
    let scores = kind.words(n.into(), n as usize * k as usize);
    let mut case = Case::new(
        MaskScores(shape).launch().ok()?,
        vec![(SCORES, scores)],
        kind.data(),
    );
    case.name.push_str(kind.suffix());
    Some(case)
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "no_guard",
        module: NAME,
        find: "unit >= params.units",
        replace: "unit > params.units",
    },
    Edit {
        name: "last_unit_reads_past_its_rows",
        module: NAME,
        find: "min(params.unit_rows, params.n - first_row)",
        replace: "params.unit_rows",
    },
    Edit {
        name: "last_unit_reads_the_next_row",
        module: NAME,
        find: "min(params.unit_columns, params.k - first_column)",
        replace: "params.unit_columns",
    },
    Edit {
        name: "from_right_to_left",
        module: NAME,
        find: "scores[start + column]",
        replace: "scores[start + columns - 1u - column]",
    },
    Edit {
        name: "from_the_last_row",
        module: NAME,
        find: "(first_row + row) * params.k",
        replace: "(first_row + rows - 1u - row) * params.k",
    },
    Edit {
        name: "subnormal_scores_added",
        module: NAME,
        find: "bitcast<f32>(canonical(score))",
        replace: "bitcast<f32>(score | 0x00800000u)",
    },
    Edit {
        name: "nan_is_the_largest_sum",
        module: NAME,
        find: "return select(sum, NAN_BITS, is_nan_bits(total) || is_nan_bits(score));",
        replace: "return select(sum, 0x7f800000u, is_nan_bits(total) || is_nan_bits(score));",
    },
    Edit {
        name: "last_column_dropped",
        module: NAME,
        find: "column < columns;",
        replace: "column + 1u < columns;",
    },
];
