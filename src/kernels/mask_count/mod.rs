//! Counts of digits, to find the last score kept of very many: one level at a time, over as many launches
//! as there are pieces of the scores. `mask_pick` then makes the level's digit known.
//!
//! The state is u32 `[260]`: the key and the complement of the index of the last score kept, as far as they
//! are known; how many are left to keep below what is known; a free word; and 256 counts. A launch adds to
//! the counts the scores that agree with the cut-off in every byte above the level's, by their byte there.
//! Levels are those of `mask_threshold`, and so is what becomes of the state in the end: its first two words
//! are the cut-off.

mod cases;

use std::sync::Arc;

use crate::num::mask::score_key;
use crate::record::{
    Access, Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, Values, params,
};
use crate::shader::{Capabilities, Variant};

use super::iterations::looped;
use super::shape::{ShapeError, check_extents, check_index};
use super::split::{Streams, Tile, cut};
use super::{Kernel, Workload, WorkloadError};

const NAME: &str = "mask_count";
const SCORES: u32 = 1;
const STATE: u32 = 8;

/// Words of the state.
pub const STATE_WORDS: u32 = 260;

/// Levels of a selection: bytes of the key, then of the index.
pub const LEVELS: u32 = 8;

/// Scores of one lane.
const ROUNDS: u32 = 64;

/// First count in the state.
pub(super) const COUNTS: usize = 4;

params! {
    struct Params {
        count: u32,
        first_index: u32,
        level: u32,
    }
}

/// One level's counts of a run of f32 scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskCount {
    /// Scores.
    pub count: u32,
    /// Index of the first among all that are compared.
    pub first_index: u32,
    /// 0 to 7.
    pub level: u32,
}

/// Refuses a level that a selection does not have.
pub(super) fn check_level(kernel: &'static str, level: u32) -> Result<(), ShapeError> {
    if level < LEVELS {
        return Ok(());
    }
    Err(ShapeError::TooLarge {
        kernel,
        name: "level",
        value: level.into(),
        limit: u64::from(LEVELS) - 1,
        reason: "bytes of a key and an index",
    })
}

/// Bits from the right end of key or index complement to a level's byte.
pub(super) const fn digit_shift(level: u32) -> u32 {
    24 - 8 * (level & 3)
}

impl MaskCount {
    /// Checks the run and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for no scores, indices past 32 bits, and levels over 7.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let count = u64::from(self.count);
        check_extents(NAME, &[("count", count)])?;
        check_index(
            NAME,
            "first_index + count",
            u64::from(self.first_index) + count,
        )?;
        check_level(NAME, self.level)?;
        Ok(Arc::new(self))
    }

    /// The digit of a score that agrees with the cut-off so far.
    fn digit(&self, key: u32, inverse_index: u32, cut: [u32; 2]) -> Option<usize> {
        let shift = digit_shift(self.level);
        let value = |key: u32, inverse_index: u32| u64::from(key) << 32 | u64::from(inverse_index);
        let (own, known) = (value(key, inverse_index), value(cut[0], cut[1]));
        let below = if self.level < 4 {
            shift + 40
        } else {
            shift + 8
        };
        let agrees = below == 64 || own >> below == known >> below;
        let byte = if self.level < 4 { key } else { inverse_index } >> shift;
        agrees.then_some((byte & 255) as usize)
    }
}

impl Launch for MaskCount {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self {
            count,
            first_index,
            level,
        } = self;
        format!("count={count} first={first_index} level={level}")
    }

    fn slots(&self) -> Vec<Slot> {
        vec![
            Slot {
                binding: SCORES,
                name: "scores",
                access: Access::Read,
                bytes: 4 * u64::from(self.count),
            },
            Slot {
                binding: STATE,
                name: "state",
                access: Access::ReadWrite,
                bytes: 4 * u64::from(STATE_WORDS),
            },
        ]
    }

    fn params(&self) -> Vec<u8> {
        bytemuck::bytes_of(&Params {
            count: self.count,
            first_index: self.first_index,
            level: self.level,
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, _: &Capabilities) -> Vec<Variant> {
        let variant = Variant::new(NAME).number("WORKGROUP_SIZE", 256);
        vec![variant.number("ROUNDS", ROUNDS)]
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        let scores = variant.get("ROUNDS") * variant.get("WORKGROUP_SIZE");
        u64::from(self.count).div_ceil(scores.into())
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        let count = looped(variant.get("ROUNDS").into(), 0);
        Iterations {
            unrolled: count,
            rolled: count,
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let scores = &operands.words(SCORES)[..self.count as usize];
        let mut state = operands.words(STATE)[..STATE_WORDS as usize].to_vec();
        let cut = [state[0], state[1]];
        for (&bits, index) in scores.iter().zip(self.first_index..) {
            if let Some(digit) = self.digit(score_key(bits), !index, cut) {
                state[COUNTS + digit] = state[COUNTS + digit].wrapping_add(1);
            }
        }
        vec![Output::new(STATE, Values::Words(state))]
    }

    fn bound(&self, _: &HostOperands<'_>) -> Vec<Bound> {
        vec![Bound::Exact]
    }

    fn cost(&self) -> Cost {
        let count = f64::from(self.count);
        Cost {
            operations: count,
            bytes: 4.0 * count + 8.0 * f64::from(STATE_WORDS),
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let streams = Streams {
            by_row: vec![(SCORES, 4)],
            whole: vec![(STATE, 4 * u64::from(STATE_WORDS))],
            ..Streams::default()
        };
        let part = |tile: Tile| Part {
            launch: Arc::new(Self {
                count: tile.rows.end - tile.rows.start,
                first_index: self.first_index + tile.rows.start,
                ..*self
            }),
            ranges: tile.ranges,
        };
        let tiles = cut(self.count, 1, &streams, max_bytes, alignment)?;
        Some(tiles.into_iter().map(part).collect())
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [count] = asked.extents("COUNT")?;
    let level = asked.take("level0 to level7", |word| {
        word.strip_prefix("level")?.parse().ok()
    });
    let shape = MaskCount {
        count,
        first_index: 0,
        level: level.unwrap_or(0),
    };
    Ok(shape.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "counts of one byte of the scores that agree with a cut-off so far",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::cases::case;
    use super::*;
    use crate::kernels::mask_data::ScoreKind;
    use crate::kernels::parts_test::check_parts;

    #[test]
    fn rejects_levels_and_indices_out_of_range() {
        let run = |count, first_index, level| MaskCount {
            count,
            first_index,
            level,
        };
        assert!(matches!(
            run(5, 0, 8).launch(),
            Err(ShapeError::TooLarge { name: "level", .. })
        ));
        assert!(matches!(
            run(5, u32::MAX - 4, 0).launch(),
            Err(ShapeError::TooLarge { .. })
        ));
        assert!(matches!(
            run(0, 0, 0).launch(),
            Err(ShapeError::Zero { .. })
        ));
    }

    #[test]
    fn parts_make_what_the_whole_makes() {
        for level in [0, 3, 5, 7] {
            let shape = MaskCount {
                count: 3001,
                first_index: 9,
                level,
            };
            let made = case(shape, ScoreKind::Tied).expect("valid");
            assert!(check_parts(made.launch.as_ref(), &made.operands, 4096, 256) > 2);
        }
    }
}
