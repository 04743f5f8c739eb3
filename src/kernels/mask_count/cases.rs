//! Cases: every level of runs around a workgroup's, with cut-offs that some score agrees with.

use crate::kernels::mask_data::ScoreKind;
use crate::kernels::{Case, DataKind, Effort};
use crate::num::mask::score_key;
use crate::shader::Edit;

use super::{COUNTS, LEVELS, MaskCount, NAME, SCORES, STATE, STATE_WORDS, digit_shift};

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut counts = vec![1, 255, 256, 5000, 40_000];
    if effort == Effort::Full {
        counts.push(1 << 20);
    }
    let mut cases = Vec::new();
    for count in counts {
        for level in 0..LEVELS {
            let kind = [
                ScoreKind::Data(DataKind::Integers),
                ScoreKind::Tied,
                ScoreKind::Special,
                ScoreKind::Data(DataKind::Normal),
            ][level as usize % 4];
            let first_index = [0, 77, 0x0012_3456][level as usize % 3];
            let shape = MaskCount {
                count,
                first_index,
                level,
            };
            cases.extend(case(shape, kind));
        }
    }
    for kind in ScoreKind::ALL {
        let shape = MaskCount {
            count: 3001,
            first_index: 10,
            level: 2,
        };
        cases.extend(case(shape, kind));
    }
    cases
}

/// The cut-off agrees with a score in the middle above the level, and holds other bytes below.
pub(super) fn case(shape: MaskCount, kind: ScoreKind) -> Option<Case> {
    let scores = kind.words(shape.level.into(), shape.count as usize);
    let middle = shape.count / 2;
    let mut state = vec![0; STATE_WORDS as usize];
    let noise = 0x5a5a_5a5a >> 8;
    let below = noise >> (24 - digit_shift(shape.level));
    state[0] = score_key(scores[middle as usize]);
    state[1] = !(shape.first_index + middle);
    state[usize::from(shape.level >= 4)] ^= below;
    state[2] = 12;
    for (index, count) in state[COUNTS..].iter_mut().enumerate() {
        *count = index as u32 * 3;
    }
    let operands = vec![(SCORES, scores), (STATE, state)];
    let mut case = Case::new(shape.launch().ok()?, operands, kind.data());
    case.name.push_str(kind.suffix());
    Some(case)
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "no_guard",
        module: NAME,
        find: "at < params.count",
        replace: "at <= params.count",
    },
    Edit {
        name: "last_score_not_counted",
        module: NAME,
        find: "at < params.count",
        replace: "at + 1u < params.count",
    },
    Edit {
        name: "indices_from_0",
        module: NAME,
        find: "params.first_index + at",
        replace: "at",
    },
    Edit {
        name: "workgroups_overlap",
        module: NAME,
        find: "* ROUNDS * WORKGROUP_SIZE",
        replace: "* WORKGROUP_SIZE",
    },
    Edit {
        name: "counts_begin_with_the_state",
        module: NAME,
        find: "&state[4u + lane]",
        replace: "&state[3u + lane]",
    },
    Edit {
        name: "one_workgroup_s_count_only",
        module: NAME,
        find: "atomicAdd(&state[4u + lane], count);",
        replace: "atomicStore(&state[4u + lane], count);",
    },
    Edit {
        name: "levels_of_the_index_look_at_the_key",
        module: "mask/radix",
        find: "(select(key, ~index, level >= 4u) >> digit_shift(level))",
        replace: "(key >> digit_shift(level))",
    },
    Edit {
        name: "own_byte_must_agree_too",
        module: "mask/radix",
        find: "((0x100u << digit_shift(level)) - 1u)",
        replace: "((1u << digit_shift(level)) - 1u)",
    },
    Edit {
        name: "subnormals_told_apart",
        module: "mask/key",
        find: "magnitude < 0x00800000u",
        replace: "magnitude < 0x00000001u",
    },
];
