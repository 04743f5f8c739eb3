//! Cases: every kind of data in every type, whole and broken chunks, in the middle of a result, with
//! and without elements that are not finite.

use crate::kernels::{Case, DataKind, Effort, FloatType};
use crate::shader::Edit;

use super::{CHUNK_WORDS, GradStats, NAME, OUT, X, chunks_of};

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut shapes = vec![
        (1, 0),
        (511, 1),
        (512, 0),
        (513, 2),
        (1100, 3),
        (70 * 512 + 5, 1),
    ];
    if effort == Effort::Full {
        shapes.push((1 << 20, 7));
    }
    let mut cases = Vec::new();
    for (turn, (count, first)) in shapes.into_iter().enumerate() {
        for (other, x) in [FloatType::F32, FloatType::F16, FloatType::Bf16]
            .into_iter()
            .enumerate()
        {
            let shape = GradStats {
                count,
                x,
                first,
                chunks: first + chunks_of(count) + 1,
            };
            cases.extend(case(shape, DataKind::Integers, false));
            cases.extend(case(shape, DataKind::ALL[1 + (2 * turn + other) % 6], true));
        }
    }
    cases
}

/// A case; `None` only when the shape itself is refused, which the shape tests cover.
pub(super) fn case(shape: GradStats, data: DataKind, not_finite: bool) -> Option<Case> {
    let mut values = data.values(u64::from(shape.count), shape.count as usize);
    if not_finite {
        for (at, value) in [(0, f32::NAN), (97, f32::INFINITY), (509, f32::NEG_INFINITY)] {
            values
                .iter_mut()
                .skip(at)
                .step_by(700)
                .for_each(|one| *one = value);
        }
    }
    let stale = vec![0x1234_5678; (CHUNK_WORDS * shape.chunks) as usize];
    let operands = vec![(X, shape.x.pack(&values)), (OUT, stale)];
    Some(Case::new(shape.launch().ok()?, operands, data))
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "last_element_missing",
        module: "grad_stats/chunk",
        find: "index < end",
        replace: "index + 1u < end",
    },
    Edit {
        name: "squares_not_squared",
        module: "grad_stats/chunk",
        find: "value * value",
        replace: "value",
    },
    Edit {
        name: "infinity_counts_as_finite",
        module: "grad_stats/chunk",
        find: "magnitude < 0x7f800000u",
        replace: "magnitude <= 0x7f800000u",
    },
    Edit {
        name: "nothing_is_not_finite",
        module: "grad_stats/chunk",
        find: "select(1, 0, finite)",
        replace: "0",
    },
    Edit {
        name: "largest_of_the_last_only",
        module: "grad_stats/chunk",
        find: "max(largest, kept)",
        replace: "kept",
    },
    Edit {
        name: "written_from_the_start",
        module: "grad_stats/chunk",
        find: "params.first + chunk",
        replace: "chunk",
    },
    Edit {
        name: "past_the_last_chunk",
        module: NAME,
        find: "chunk * CHUNK >= params.count",
        replace: "chunk * CHUNK > params.count + CHUNK",
    },
    Edit {
        name: "only_the_first_lane",
        module: "reduce/shared",
        find: "max(shared_u32[lane], shared_u32[lane + width])",
        replace: "shared_u32[lane]",
    },
];
