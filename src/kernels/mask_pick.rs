//! One byte of a cut-off from the counts of `mask_count`: the digit at which the counts from 255 down reach
//! what is left to keep. What lies above is kept and no longer counted as left, and the counts are cleared
//! for the next level. At level 0 the search begins: nothing is known and `keep` are left.
//!
//! Where nothing is left to keep the digit is 255, which in the end makes a cut-off that no score reaches.

use std::sync::Arc;

use crate::num::Philox;
use crate::record::{
    Access, Bound, Cost, HostOperands, Iterations, Launch, Output, Slot, Values, params,
};
use crate::shader::{Capabilities, Edit, Variant};

use super::iterations::looped;
use super::mask_count::{COUNTS, LEVELS, STATE_WORDS, check_level, digit_shift};
use super::shape::ShapeError;
use super::{Case, DataKind, Effort, Kernel, Workload, WorkloadError};

const NAME: &str = "mask_pick";
const STATE: u32 = 8;

params! {
    struct Params {
        keep: u32,
        level: u32,
    }
}

/// One level's digit. The state is that of `mask_count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskPick {
    /// Scores kept in all; read at level 0.
    pub keep: u32,
    /// 0 to 7.
    pub level: u32,
}

impl MaskPick {
    /// Checks the level and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError::TooLarge`] for levels over 7.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        check_level(NAME, self.level)?;
        Ok(Arc::new(self))
    }
}

impl Launch for MaskPick {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        format!("keep={} level={}", self.keep, self.level)
    }

    fn slots(&self) -> Vec<Slot> {
        vec![Slot {
            binding: STATE,
            name: "state",
            access: Access::ReadWrite,
            bytes: 4 * u64::from(STATE_WORDS),
        }]
    }

    fn params(&self) -> Vec<u8> {
        bytemuck::bytes_of(&Params {
            keep: self.keep,
            level: self.level,
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, _: &Capabilities) -> Vec<Variant> {
        // A lane for each count.
        vec![Variant::new(NAME).number("WORKGROUP_SIZE", 256)]
    }

    fn workgroups(&self, _: &Variant) -> u64 {
        1
    }

    fn iterations(&self, _: &Variant) -> Iterations {
        let count = looped(8, 0);
        Iterations {
            unrolled: count,
            rolled: count,
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let mut state = operands.words(STATE)[..STATE_WORDS as usize].to_vec();
        if self.level == 0 {
            [state[0], state[1], state[2]] = [0, u32::MAX, self.keep];
        }
        let (left, mut above, mut digit, mut taken) = (state[2], 0u32, 255, 0);
        for (at, &count) in state[COUNTS..].iter().enumerate().rev() {
            let reached = above.wrapping_add(count);
            if above < left && left <= reached {
                (digit, taken) = (at as u32, above);
            }
            above = reached;
        }
        let (known, shift) = (usize::from(self.level >= 4), digit_shift(self.level));
        state[known] = state[known] & !(255 << shift) | digit << shift;
        state[2] = left.wrapping_sub(taken);
        state[COUNTS..].fill(0);
        vec![Output::new(STATE, Values::Words(state))]
    }

    fn bound(&self, _: &HostOperands<'_>) -> Vec<Bound> {
        vec![Bound::Exact]
    }

    fn cost(&self) -> Cost {
        Cost {
            operations: 256.0,
            bytes: 8.0 * f64::from(STATE_WORDS),
        }
    }

    /// Counts whose sum stays within 32 bits.
    fn example(&self, seed: u64) -> Vec<(u32, Vec<u32>)> {
        let spread = Spread {
            largest: 1000,
            share: 0.5,
        };
        vec![(STATE, state(seed, &spread))]
    }
}

/// Counts of 0 to `largest`, and how much of their sum is left to keep.
struct Spread {
    largest: u32,
    share: f64,
}

fn state(seed: u64, spread: &Spread) -> Vec<u32> {
    let mut random = Philox::new(seed).stream(u64::from(STATE));
    let mut state: Vec<u32> = (0..STATE_WORDS)
        .map(|_| random.below(spread.largest + 1))
        .collect();
    let sum: u32 = state[COUNTS..].iter().sum();
    state[0] = 0x8123_4567;
    state[1] = 0xfedc_ba98;
    state[2] = (f64::from(sum) * spread.share).round() as u32;
    state
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [keep] = asked.extents("KEEP")?;
    let level = asked.take("level0 to level7", |word| {
        word.strip_prefix("level")?.parse().ok()
    });
    let shape = MaskPick {
        keep,
        level: level.unwrap_or(0),
    };
    Ok(shape.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "one byte of the last score kept, from counts",
    workload,
    cases,
    broken: BROKEN,
    expected_failures: &[],
};

fn cases(effort: Effort) -> Vec<Case> {
    let largest: &[u32] = match effort {
        Effort::Quick => &[1, 40],
        Effort::Full => &[1, 2, 40, 100_000, 16_000_000],
    };
    let mut cases = Vec::new();
    for &largest in largest {
        for level in 0..LEVELS {
            for (turn, share) in [0.0, 0.001, 0.5, 1.0].into_iter().enumerate() {
                let keep = [0, 1, largest, 128 * largest][turn];
                let shape = MaskPick { keep, level };
                let words = state(level.into(), &Spread { largest, share });
                let Ok(launch) = shape.launch() else { continue };
                let mut case = Case::new(launch, vec![(STATE, words)], DataKind::Integers);
                case.name
                    .push_str(&format!(" counts={largest} left={share}"));
                cases.push(case);
            }
        }
    }
    cases
}

const BROKEN: &[Edit] = &[
    Edit {
        name: "counts_not_cleared",
        module: NAME,
        find: "state[4u + lane] = 0u;",
        replace: "",
    },
    Edit {
        name: "larger_digits_not_taken_off",
        module: NAME,
        find: "left - pick.above",
        replace: "left",
    },
    Edit {
        name: "first_level_goes_on_from_the_state",
        module: NAME,
        find: "params.level == 0u",
        replace: "params.level == 8u",
    },
    Edit {
        name: "every_level_begins_anew",
        module: NAME,
        find: "params.level == 0u",
        replace: "params.level < 8u",
    },
    Edit {
        name: "counts_begin_with_the_state",
        module: NAME,
        find: "let count = state[4u + lane];",
        replace: "let count = state[3u + lane];",
    },
    Edit {
        name: "from_0_up",
        module: "mask/pick",
        find: "lane + width < 256u",
        replace: "lane >= width",
    },
    Edit {
        name: "nothing_left_picks_the_smallest",
        module: "mask/pick",
        find: "shared_digit = 255u",
        replace: "shared_digit = 0u",
    },
    Edit {
        name: "one_more_than_asked",
        module: "mask/pick",
        find: "above < left && left <= reached",
        replace: "above <= left && left < reached",
    },
    Edit {
        name: "bytes_of_the_index_go_to_the_key",
        module: "mask/radix",
        find: "CutOff(select(after, cut.key, level >= 4u)",
        replace: "CutOff(after",
    },
    Edit {
        name: "byte_before_kept",
        module: "mask/radix",
        find: "(before & ~(0xffu << shift))",
        replace: "before",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_a_level_that_a_selection_does_not_have() {
        let launch = MaskPick { keep: 1, level: 8 }.launch();
        assert!(matches!(
            launch,
            Err(ShapeError::TooLarge {
                name: "level",
                limit: 7,
                ..
            })
        ));
    }

    #[test]
    fn the_digit_is_where_the_counts_from_above_reach_what_is_left() {
        let mut words = vec![0; STATE_WORDS as usize];
        words[COUNTS + 200] = 3;
        words[COUNTS + 100] = 5;
        for (keep, digit, left) in [(0, 255, 0), (3, 200, 3), (4, 100, 1), (8, 100, 5)] {
            let mut operands = HostOperands::default();
            operands.insert(STATE, &words);
            let launch = MaskPick { keep, level: 0 }.launch().expect("valid");
            let mut after = vec![9; STATE_WORDS as usize];
            launch.reference(&operands)[0].store(&mut after);
            assert_eq!(after[..3], [digit << 24, u32::MAX, left], "keep {keep}");
            assert!(after[COUNTS..].iter().all(|&count| count == 0));
        }
    }
}
