//! Cases: groups within a word, over two, and of more than one; every kind of scores.

use crate::kernels::mask_data::ScoreKind;
use crate::kernels::{Case, Effort};
use crate::shader::Edit;

use super::{MaskNm, NAME, SCORES};

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    // Rows, columns, vector, N, M: groups within a word, over two, and of more than one.
    let mut shapes = vec![
        (1, 1, 1, 0, 1),
        (1, 1, 1, 1, 1),
        (3, 64, 1, 2, 4),
        (5, 40, 1, 4, 8),
        (30, 66, 1, 1, 3),
        (66, 96, 8, 2, 4),
        (33, 60, 16, 7, 20),
        (5, 48, 32, 1, 2),
        (3, 192, 1, 40, 96),
        (3, 512, 1, 100, 256),
    ];
    if effort == Effort::Full {
        shapes.extend([(256, 1024, 1, 2, 4), (100, 1024, 16, 16, 64)]);
    }
    let mut cases = Vec::new();
    for (turn, shape) in shapes.into_iter().enumerate() {
        cases.extend(case(shape, ScoreKind::Tied));
        cases.extend(case(shape, ScoreKind::ALL[turn % 7]));
    }
    for kind in ScoreKind::ALL {
        cases.extend(case((17, 80, 1, 3, 8), kind));
        cases.extend(case((17, 80, 8, 0, 4), kind));
        cases.extend(case((17, 80, 8, 4, 4), kind));
    }
    cases
}

pub(super) fn case(
    (n, k, vector, keep, group): (u32, u32, u32, u32, u32),
    kind: ScoreKind,
) -> Option<Case> {
    let shape = MaskNm {
        n,
        k,
        vector,
        keep,
        group,
    };
    let scores = kind.words(k.into(), n.div_ceil(vector) as usize * k as usize);
    let mut case = Case::new(shape.launch().ok()?, vec![(SCORES, scores)], kind.data());
    case.name.push_str(kind.suffix());
    Some(case)
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "no_guard",
        module: NAME,
        find: "word >= params.n * params.row_words",
        replace: "word > params.n * params.row_words",
    },
    Edit {
        name: "padding_kept",
        module: NAME,
        find: "column < params.k",
        replace: "column <= params.k",
    },
    Edit {
        name: "last_of_the_group_not_compared",
        module: NAME,
        find: "other < group_start + params.group",
        replace: "other + 1u < group_start + params.group",
    },
    Edit {
        name: "groups_begin_with_the_word",
        module: NAME,
        find: "column - column % params.group",
        replace: "column - bit % params.group",
    },
    Edit {
        name: "rightmost_of_equal_scores",
        module: NAME,
        find: "other < column",
        replace: "other > column",
    },
    Edit {
        name: "equal_scores_all_kept",
        module: NAME,
        find: "other_key > key || (other_key == key && other < column)",
        replace: "other_key > key",
    },
    Edit {
        name: "one_more_than_asked",
        module: NAME,
        find: "before < params.keep",
        replace: "before <= params.keep",
    },
    Edit {
        name: "scores_of_every_row",
        module: NAME,
        find: "(params.first_row + word / params.row_words) / params.unit_rows",
        replace: "(params.first_row + word / params.row_words)",
    },
    Edit {
        name: "negative_scores_in_reverse",
        module: "mask/key",
        find: "select(0x80000000u, 0xffffffffu, (bits >> 31u) != 0u)",
        replace: "0x80000000u",
    },
];
