//! The last score that is kept of each segment: for `scores [segments, length]` the key and the complement
//! of the index of the `keep`-th largest, u32 `[segments, 2]`. Scores are ordered by key
//! ([`score_key`]: subnormals are 0, NaN comes last), equal ones by index, the lowest first. Where `keep`
//! is 0 it is a cut-off that no score reaches.
//!
//! A segment is one workgroup's work: the digits of its scores are counted level by level, 4 bytes of the
//! key and as many of the index as it has. For long segments there are `mask_count` and `mask_pick`.

mod cases;

use std::sync::Arc;

use crate::num::mask::{cut_off, score_key};
use crate::record::{
    Access, Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, Values, params,
};
use crate::shader::{Capabilities, Variant};

use super::iterations::looped;
use super::shape::{ShapeError, check_extents, check_index};
use super::split::{Streams, Tile, cut};
use super::{Kernel, Workload, WorkloadError};

const NAME: &str = "mask_threshold";
const SCORES: u32 = 1;
const OUT: u32 = 8;

params! {
    struct Params {
        segments: u32,
        length: u32,
        keep: u32,
        first_index_level: u32,
    }
}

/// Segments of f32 scores, and how many are kept of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskThreshold {
    /// Segments: rows of the scores.
    pub segments: u32,
    /// Scores of a segment.
    pub length: u32,
    /// Scores kept of each: at most `length`.
    pub keep: u32,
}

/// The first level of the index's bytes that tells `count` indices apart: 4 for the top byte, 8 when there
/// is one index only.
pub const fn first_index_level(count: u32) -> u32 {
    let bits = u32::BITS - count.saturating_sub(1).leading_zeros();
    8 - bits.div_ceil(8)
}

impl MaskThreshold {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, more kept than there are, and more scores than 32 bits index.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let (segments, length) = (u64::from(self.segments), u64::from(self.length));
        check_extents(NAME, &[("segments", segments), ("length", length)])?;
        check_index(NAME, "segments * length", segments * length)?;
        if self.keep > self.length {
            return Err(ShapeError::TooLarge {
                kernel: NAME,
                name: "keep",
                value: self.keep.into(),
                limit: length,
                reason: "the length of a segment",
            });
        }
        Ok(Arc::new(self))
    }

    /// Levels that are looked at.
    fn levels(&self) -> u32 {
        12 - first_index_level(self.length)
    }
}

impl Launch for MaskThreshold {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self {
            segments,
            length,
            keep,
        } = self;
        format!("segments={segments} length={length} keep={keep}")
    }

    fn slots(&self) -> Vec<Slot> {
        let segments = u64::from(self.segments);
        vec![
            Slot {
                binding: SCORES,
                name: "scores",
                access: Access::Read,
                bytes: 4 * segments * u64::from(self.length),
            },
            Slot {
                binding: OUT,
                name: "out",
                access: Access::Write,
                bytes: 8 * segments,
            },
        ]
    }

    fn params(&self) -> Vec<u8> {
        bytemuck::bytes_of(&Params {
            segments: self.segments,
            length: self.length,
            keep: self.keep,
            first_index_level: first_index_level(self.length),
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, _: &Capabilities) -> Vec<Variant> {
        // A lane for each value of a byte.
        vec![Variant::new(NAME).number("WORKGROUP_SIZE", 256)]
    }

    fn workgroups(&self, _: &Variant) -> u64 {
        self.segments.into()
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        let per_lane = self.length.div_ceil(variant.get("WORKGROUP_SIZE"));
        let count = looped(
            self.levels().into(),
            looped(per_lane.into(), 0) + looped(8, 0),
        );
        Iterations {
            unrolled: count,
            rolled: count,
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let (segments, length) = (self.segments as usize, self.length as usize);
        let scores = &operands.words(SCORES)[..segments * length];
        let cuts = scores.chunks_exact(length).flat_map(|segment| {
            let keys = segment.iter().map(|&bits| score_key(bits));
            let cut = cut_off(keys, self.keep as usize);
            [cut.key, cut.inverse_index]
        });
        vec![Output::new(OUT, Values::Words(cuts.collect()))]
    }

    fn bound(&self, _: &HostOperands<'_>) -> Vec<Bound> {
        vec![Bound::Exact]
    }

    fn cost(&self) -> Cost {
        let scores = f64::from(self.segments) * f64::from(self.length);
        Cost {
            // No float arithmetic; a comparison with the prefix a level.
            operations: f64::from(self.levels()) * scores,
            bytes: 4.0 * scores + 8.0 * f64::from(self.segments),
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let streams = Streams {
            by_row: vec![(SCORES, 4 * u64::from(self.length)), (OUT, 8)],
            ..Streams::default()
        };
        let part = |tile: Tile| Part {
            launch: Arc::new(Self {
                segments: tile.rows.end - tile.rows.start,
                ..*self
            }),
            ranges: tile.ranges,
        };
        let tiles = cut(self.segments, 1, &streams, max_bytes, alignment)?;
        Some(tiles.into_iter().map(part).collect())
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [segments, length] = asked.extents("SEGMENTSxLENGTH")?;
    let keep = asked.take("keep8 and the like", |word| {
        word.strip_prefix("keep")?.parse().ok()
    });
    let shape = MaskThreshold {
        segments,
        length,
        keep: keep.unwrap_or(length / 2),
    };
    Ok(shape.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "the last score kept of each segment, equal scores by index",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::DataKind;
    use crate::kernels::mask_data::ScoreKind;
    use crate::kernels::parts_test::check_parts;

    const SHAPE: MaskThreshold = MaskThreshold {
        segments: 33,
        length: 48,
        keep: 20,
    };

    #[test]
    fn rejects_more_kept_than_there_are() {
        let launch = MaskThreshold { keep: 49, ..SHAPE }.launch();
        assert!(matches!(
            launch,
            Err(ShapeError::TooLarge {
                name: "keep",
                limit: 48,
                ..
            })
        ));
        assert!(MaskThreshold { keep: 0, ..SHAPE }.launch().is_ok());
    }

    #[test]
    fn only_bytes_that_some_index_has_are_looked_at() {
        for (count, level) in [
            (1, 8),
            (2, 7),
            (256, 7),
            (257, 6),
            (65_536, 6),
            (65_537, 5),
            (u32::MAX, 4),
        ] {
            assert_eq!(first_index_level(count), level, "{count}");
        }
    }

    #[test]
    fn parts_make_what_the_whole_makes() {
        let launch = SHAPE.launch().expect("valid");
        let scores = ScoreKind::Data(DataKind::Normal).words(1, 33 * 48);
        assert!(check_parts(launch.as_ref(), &[(SCORES, scores)], 2048, 64) > 2);
    }
}
