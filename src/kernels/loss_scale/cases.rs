//! Cases: good and bad steps, about to grow or not, clipped or not, over few and many chunks.

use crate::kernels::{Case, DataKind, Effort};
use crate::num::Philox;
use crate::shader::Edit;

use super::{DynamicScale, LossScale, NAME, NotFinite, SCALE_WORDS, STATE, STATISTICS};

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut chunks = vec![1, 2, 255, 257, 1000];
    if effort == Effort::Full {
        chunks.push(60_000);
    }
    let base = LossScale {
        chunks: 1,
        scaling: Some(DynamicScale {
            interval: 5,
            ..DynamicScale::default()
        }),
        not_finite: NotFinite::Apply,
        max_norm: None,
        max_value: None,
        accumulated: 1,
    };
    let odd = DynamicScale {
        growth: 1.7,
        backoff: 0.3,
        interval: 5,
    };
    let (two, ten) = (65536.0f32.to_bits(), 10.0f32.to_bits());
    let mut cases = Vec::new();
    for chunks in chunks {
        let base = LossScale { chunks, ..base };
        let clipped = LossScale {
            max_norm: Some(0.01),
            max_value: Some(0.25),
            accumulated: 3,
            scaling: Some(odd),
            ..base
        };
        let fixed = LossScale {
            scaling: None,
            ..clipped
        };
        let careful = LossScale {
            not_finite: NotFinite::Skip,
            ..fixed
        };
        for (shape, state) in [
            (base, [two, 2, 7, 30]),
            (base, [two, 4, 7, 30]),
            (base, [f32::MAX.to_bits(), 4, 7, 30]),
            (clipped, [ten, 4, 0, 1]),
            (clipped, [ten, 3, 0, 1]),
            (fixed, [ten, 4, 2, 9]),
            (careful, [two, 0, 2, 9]),
        ] {
            for data in [DataKind::Normal, DataKind::Outliers, DataKind::Zeros] {
                cases.extend(case(shape, data, state));
            }
        }
    }
    cases
}

/// A case; with outliers, a few elements are not finite. `None` only when the shape itself is refused.
fn case(shape: LossScale, data: DataKind, state: [u32; 4]) -> Option<Case> {
    let operands = operands(&shape, data, state, u64::from(shape.chunks));
    let mut case = Case::new(shape.launch().ok()?, operands, data);
    let [scale, good, ..] = state;
    case.name = format!("{} scale={} good={good}", case.name, f32::from_bits(scale));
    Some(case)
}

/// Statistics of random gradients, and a state whose last four words are stale.
pub(super) fn operands(
    shape: &LossScale,
    data: DataKind,
    state: [u32; 4],
    seed: u64,
) -> Vec<(u32, Vec<u32>)> {
    let mut random = Philox::new(seed).stream(5);
    let mut statistics = Vec::new();
    for chunk in 0..shape.chunks {
        let size = if data == DataKind::Zeros {
            0.0
        } else {
            random.normal().abs()
        };
        let bad = data == DataKind::Outliers && chunk == shape.chunks / 2;
        let largest = 0.3 * size;
        statistics.extend([
            (size * size).to_bits(),
            largest.to_bits(),
            3 * u32::from(bad),
            0,
        ]);
    }
    let mut words = state.to_vec();
    words.resize(SCALE_WORDS as usize, 0x1234_5678);
    vec![(STATISTICS, statistics), (STATE, words)]
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "last_chunk_missing",
        module: NAME,
        find: "chunk < params.chunks",
        replace: "chunk + 1u < params.chunks",
    },
    Edit {
        name: "norm_not_rooted",
        module: NAME,
        find: "sqrt(sum)",
        replace: "sum",
    },
    Edit {
        name: "accumulation_ignored",
        module: NAME,
        find: "scale * params.accumulated",
        replace: "scale",
    },
    Edit {
        name: "never_clipped",
        module: NAME,
        find: "reached > params.max_norm",
        replace: "false",
    },
    Edit {
        name: "not_finite_ignored",
        module: NAME,
        find: "not_finite > 0u || ",
        replace: "",
    },
    Edit {
        name: "good_steps_go_on_after_a_bad_one",
        module: NAME,
        find: "select(good + 1u, 0u, bad)",
        replace: "good + 1u",
    },
    Edit {
        name: "grows_one_step_late",
        module: NAME,
        find: "good == params.interval",
        replace: "good > params.interval",
    },
    Edit {
        name: "grows_to_infinity",
        module: NAME,
        find: "scale <= params.largest_scale",
        replace: "true",
    },
    Edit {
        name: "fixed_scale_never_skips",
        module: NAME,
        find: "(params.scaling | params.skip)",
        replace: "params.scaling",
    },
    Edit {
        name: "skipped_steps_not_counted",
        module: NAME,
        find: "state[2] += select(0u, 1u, skipped)",
        replace: "state[2] += 0u",
    },
    Edit {
        name: "scale_left_in_the_gradients",
        module: NAME,
        find: "bitcast<u32>(inverse * clip)",
        replace: "bitcast<u32>(clip)",
    },
];
