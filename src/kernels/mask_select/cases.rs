//! Cases: units of every sort, cut-offs of all and of rows, over every kind of scores.

use crate::kernels::mask_data::ScoreKind;
use crate::kernels::{Case, Effort, MaskShape};
use crate::num::mask::{cut_off, score_key};
use crate::shader::Edit;

use super::{CUTS, MaskSelect, NAME, SCORES, Scope};

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut shapes = vec![
        (1, 1, 1, 1),
        (3, 31, 1, 1),
        (9, 70, 1, 1),
        (130, 97, 1, 1),
        (21, 100, 8, 1),
        (33, 70, 4, 32),
        (10, 65, 1, 65),
        (65, 40, 65, 1),
    ];
    if effort == Effort::Full {
        shapes.extend([(512, 1024, 1, 1), (1000, 1000, 16, 16)]);
    }
    let mut cases = Vec::new();
    for (turn, shape) in shapes.into_iter().enumerate() {
        let all = Scope::All {
            first_index: [0, 1000][turn % 2],
        };
        for scope in [all, Scope::Row] {
            cases.extend(case(shape, scope, ScoreKind::Tied, 0.4));
            cases.extend(case(shape, scope, ScoreKind::ALL[turn % 7], 0.5));
        }
    }
    for kind in ScoreKind::ALL {
        for scope in [Scope::All { first_index: 5 }, Scope::Row] {
            cases.extend(case((12, 45, 1, 1), scope, kind, 0.6));
        }
    }
    for share in [0.0, 1.0] {
        cases.extend(case((7, 40, 1, 1), Scope::Row, ScoreKind::Special, share));
    }
    cases
}

/// The cut-offs that keep `share` of what is compared.
pub(super) fn case(
    (n, k, unit_rows, unit_columns): (u32, u32, u32, u32),
    scope: Scope,
    kind: ScoreKind,
    share: f64,
) -> Option<Case> {
    let shape = MaskShape {
        n,
        k,
        unit_rows,
        unit_columns,
    };
    let scores = kind.words(k.into(), shape.unit_count() as usize);
    let keys: Vec<u32> = scores.iter().map(|&bits| score_key(bits)).collect();
    let (contest, first_index) = match scope {
        Scope::All { first_index } => (keys.len(), first_index),
        Scope::Row => (shape.units()[1] as usize, 0),
    };
    let cut = |keys: &[u32]| {
        let keep = (share * keys.len() as f64).ceil() as usize;
        let cut = cut_off(keys.iter().copied(), keep);
        [cut.key, cut.inverse_index.wrapping_sub(first_index)]
    };
    let cuts = keys.chunks(contest).flat_map(cut).collect();
    let launch = MaskSelect { shape, scope }.launch().ok()?;
    let operands = vec![(SCORES, scores), (CUTS, cuts)];
    let mut case = Case::new(launch, operands, kind.data());
    case.name
        .push_str(&format!("{} share={share}", kind.suffix()));
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
        name: "equal_scores_all_kept",
        module: NAME,
        find: "(key == cut_key && ~index >= cut_inverse)",
        replace: "key == cut_key",
    },
    Edit {
        name: "highest_of_equal_indices",
        module: NAME,
        find: "~index >= cut_inverse",
        replace: "~index <= cut_inverse",
    },
    Edit {
        name: "last_kept_dropped",
        module: NAME,
        find: "~index >= cut_inverse",
        replace: "~index > cut_inverse",
    },
    Edit {
        name: "cut_off_of_the_first_row",
        module: NAME,
        find: "cuts[unit_row * params.cut_stride];",
        replace: "cuts[0];",
    },
    Edit {
        name: "indices_begin_anew_in_each_row",
        module: NAME,
        find: "unit_row * params.index_stride",
        replace: "0u",
    },
    Edit {
        name: "first_index_dropped",
        module: NAME,
        find: "params.first_index + unit_row",
        replace: "unit_row",
    },
    Edit {
        name: "unit_columns_ignored",
        module: NAME,
        find: "column / params.unit_columns",
        replace: "column",
    },
    Edit {
        name: "subnormals_told_apart",
        module: "mask/key",
        find: "magnitude < 0x00800000u",
        replace: "magnitude < 0x00000001u",
    },
];
