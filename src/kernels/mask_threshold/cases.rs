//! Cases: lengths around a workgroup's, nothing and everything kept, every kind of scores.

use crate::kernels::mask_data::ScoreKind;
use crate::kernels::{Case, Effort};
use crate::shader::Edit;

use super::{MaskThreshold, NAME, SCORES};

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut shapes = vec![
        (1, 1, 0),
        (1, 1, 1),
        (3, 2, 1),
        (2, 255, 255),
        (5, 256, 128),
        (3, 257, 0),
        (2, 1000, 1),
        (200, 8, 3),
        (1, 66_000, 33_000),
    ];
    if effort == Effort::Full {
        shapes.extend([(300, 1024, 512), (4, 65_537, 65_536), (1, 300_000, 7)]);
    }
    let mut cases = Vec::new();
    for (index, shape) in shapes.into_iter().enumerate() {
        cases.extend(case(shape, ScoreKind::Tied));
        cases.extend(case(shape, ScoreKind::ALL[index % 7]));
    }
    for kind in ScoreKind::ALL {
        cases.extend(case((4, 301, 150), kind));
    }
    cases
}

fn case((segments, length, keep): (u32, u32, u32), kind: ScoreKind) -> Option<Case> {
    let shape = MaskThreshold {
        segments,
        length,
        keep,
    };
    let scores = kind.words(keep.into(), segments as usize * length as usize);
    let mut case = Case::new(shape.launch().ok()?, vec![(SCORES, scores)], kind.data());
    case.name.push_str(kind.suffix());
    Some(case)
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "first_segment_for_all",
        module: NAME,
        find: "segment * params.length",
        replace: "0u",
    },
    Edit {
        name: "last_score_not_counted",
        module: NAME,
        find: "index < params.length",
        replace: "index + 1u < params.length",
    },
    Edit {
        name: "counts_of_the_level_before_kept",
        module: NAME,
        find: "atomicStore(&shared_counts[lane], 0u);",
        replace: "",
    },
    Edit {
        name: "larger_digits_not_taken_off",
        module: NAME,
        find: "left -= pick.above;",
        replace: "",
    },
    Edit {
        name: "index_not_told_apart",
        module: NAME,
        find: "select(level + 1u, params.first_index_level, level == 3u)",
        replace: "select(level + 1u, 8u, level == 3u)",
    },
    Edit {
        name: "last_byte_of_the_index_skipped",
        module: "mask/radix",
        find: "const LEVELS = 8u;",
        replace: "const LEVELS = 7u;",
    },
    Edit {
        name: "highest_of_equal_indices",
        module: "mask/radix",
        find: "select(key, ~index, level >= 4u)",
        replace: "select(key, index, level >= 4u)",
    },
    Edit {
        name: "prefix_of_the_key_only",
        module: "mask/radix",
        find: "key_differs | (index_differs & above)",
        replace: "key_differs",
    },
    Edit {
        name: "one_more_than_asked",
        module: "mask/pick",
        find: "above < left && left <= reached",
        replace: "above <= left && left < reached",
    },
    Edit {
        name: "sums_of_neighbours_only",
        module: "mask/pick",
        find: "width < 256u; width *= 2u",
        replace: "width < 2u; width *= 2u",
    },
    Edit {
        name: "negative_scores_in_reverse",
        module: "mask/key",
        find: "select(0x80000000u, 0xffffffffu, (bits >> 31u) != 0u)",
        replace: "0x80000000u",
    },
    Edit {
        name: "subnormals_told_apart",
        module: "mask/key",
        find: "magnitude < 0x00800000u",
        replace: "magnitude < 0x00000001u",
    },
    Edit {
        name: "nan_is_the_largest_score",
        module: "mask/key",
        find: "select(flushed, 0u, magnitude > 0x7f800000u)",
        replace: "flushed",
    },
];
