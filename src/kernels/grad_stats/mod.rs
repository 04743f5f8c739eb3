//! What a gradient is like, chunk by chunk: the sum of its squares, its largest magnitude, and how many
//! of its elements are infinite or NaN. `loss_scale` adds up the chunks of all gradients.
//!
//! The result is u32 `[chunks, 4]`: the sum as f32 bits, the largest as f32 bits, the count, 0. Several
//! gradients write their chunks one behind the other, from `first` on, so that nothing is added by
//! atomics and the order is always the same. What is not finite is left out of sum and largest. The
//! largest and the count are exact, the sum within `gamma(512 + 2)` of itself.

mod cases;

use std::sync::Arc;

use crate::record::{
    Access, Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, Values, params,
};
use crate::shader::{Capabilities, Variant};

use super::bounds::{TINY, gamma};
use super::iterations::looped;
use super::shape::{ShapeError, check_extents};
use super::split::{Streams, Tile, cut};
use super::{FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "grad_stats";
const X: u32 = 1;
const OUT: u32 = 8;

/// Elements of a chunk.
pub const CHUNK: u32 = 512;

/// Most elements of one gradient: past it, the index of a lane without a chunk would wrap.
const MAX_COUNT: u32 = 1 << 31;

/// Words of a chunk's statistics.
pub const CHUNK_WORDS: u32 = 4;

params! {
    struct Params {
        count: u32,
        first: u32,
    }
}

/// Statistics of `count` elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GradStats {
    /// Elements.
    pub count: u32,
    /// Storage of the gradient.
    pub x: FloatType,
    /// Chunk of the result that the first one is.
    pub first: u32,
    /// Chunks of the whole result.
    pub chunks: u32,
}

/// Chunks of a gradient of `count` elements.
pub const fn chunks_of(count: u32) -> u32 {
    count.div_ceil(CHUNK)
}

impl GradStats {
    /// Checks the extents and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for no elements, more than 2^31, and chunks past those of the result.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        check_extents(NAME, &[("count", self.count.into())])?;
        if self.count > MAX_COUNT {
            return Err(ShapeError::TooLarge {
                kernel: NAME,
                name: "count",
                value: self.count.into(),
                limit: MAX_COUNT.into(),
                reason: "32-bit indices of whole chunks",
            });
        }
        let last = u64::from(self.first) + u64::from(chunks_of(self.count));
        if last > u64::from(self.chunks) {
            return Err(ShapeError::TooLarge {
                kernel: NAME,
                name: "first + chunks of the gradient",
                value: last,
                limit: self.chunks.into(),
                reason: "chunks of the result",
            });
        }
        Ok(Arc::new(self))
    }
}

impl Launch for GradStats {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self {
            count,
            x,
            first,
            chunks,
        } = self;
        format!("count={count} x-{x} chunks={chunks} from {first}")
    }

    fn slots(&self) -> Vec<Slot> {
        vec![
            Slot {
                binding: X,
                name: "x",
                access: Access::Read,
                bytes: u64::from(self.count) * self.x.bytes(),
            },
            Slot {
                binding: OUT,
                name: "statistics",
                // Other gradients' chunks stay.
                access: Access::ReadWrite,
                bytes: 4 * u64::from(CHUNK_WORDS) * u64::from(self.chunks),
            },
        ]
    }

    fn params(&self) -> Vec<u8> {
        bytemuck::bytes_of(&Params {
            count: self.count,
            first: self.first,
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let variant = |entry, reduce| {
            let variant = Variant::new(entry).slot("element", self.x.name());
            let variant = variant.slot("reduce", reduce).number("CHUNK", CHUNK);
            variant.number("WORKGROUP_SIZE", 64)
        };
        let mut variants = vec![variant("grad_stats/workgroup", "shared")];
        if capabilities.subgroups {
            variants.push(variant("grad_stats/workgroup", "subgroup"));
        }
        // Lanes of hardware should read neighbours; a CPU wants no barriers.
        let place = if capabilities.software {
            0
        } else {
            variants.len()
        };
        variants.insert(place, variant(NAME, "none"));
        variants
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        let chunks = u64::from(chunks_of(self.count));
        if variant.entry() == NAME {
            chunks.div_ceil(variant.get("WORKGROUP_SIZE").into())
        } else {
            chunks
        }
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        let lanes = variant.get("WORKGROUP_SIZE");
        let count = if variant.entry() == NAME {
            looped(CHUNK.into(), 0)
        } else {
            looped((CHUNK / lanes).into(), 0) + 3 * looped(lanes.into(), 0)
        };
        Iterations {
            unrolled: count,
            rolled: count,
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let x = self.x.unpack(operands.words(X), self.count as usize);
        let mut outputs = Vec::new();
        for (chunk, values) in x.chunks(CHUNK as usize).enumerate() {
            let finite = || values.iter().filter(|value| value.is_finite());
            let squares = finite().map(|&value| f64::from(value) * f64::from(value));
            let largest = finite().fold(0.0, |largest: f32, value| largest.max(value.abs()));
            let rest = vec![
                largest.to_bits(),
                (values.len() - finite().count()) as u32,
                0,
            ];
            let at = CHUNK_WORDS as usize * (self.first as usize + chunk);
            for (first_word, values) in [
                (at, Values::F32(vec![squares.sum()])),
                (at + 1, Values::Words(rest)),
            ] {
                outputs.push(Output {
                    binding: OUT,
                    first_word,
                    values,
                });
            }
        }
        outputs
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        let of = |output: Output| match output.values {
            Values::F32(sums) => {
                // Each square may be flushed, and each partial sum.
                let flushed = 2.0 * TINY * f64::from(CHUNK);
                let error = |sum: &f64| gamma(CHUNK as usize + 2) * sum + flushed;
                Bound::Absolute(sums.iter().map(error).collect())
            }
            _ => Bound::Exact,
        };
        self.reference(operands).into_iter().map(of).collect()
    }

    fn cost(&self) -> Cost {
        let count = f64::from(self.count);
        Cost {
            operations: 3.0 * count,
            bytes: count * self.x.bytes() as f64 + 16.0 * f64::from(chunks_of(self.count)),
        }
    }

    fn shape_class(&self) -> String {
        format!("count<={} x-{}", self.count.next_power_of_two(), self.x)
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let streams = Streams {
            by_row: vec![(X, u64::from(CHUNK) * self.x.bytes())],
            whole: vec![(OUT, self.slots()[1].bytes)],
            ..Streams::default()
        };
        let part = |tile: Tile| {
            let (start, end) = (tile.rows.start, tile.rows.end);
            let mut ranges = tile.ranges;
            let elements = self.count.min(end.saturating_mul(CHUNK)) - start * CHUNK;
            if let Some(range) = ranges.get_mut(&X) {
                // The last chunk may be shorter.
                let bytes = u64::from(elements) * self.x.bytes();
                range.end = range
                    .end
                    .min(range.start + crate::record::padded_bytes(bytes));
            }
            Part {
                launch: Arc::new(Self {
                    count: elements,
                    first: self.first + start,
                    ..*self
                }),
                ranges,
            }
        };
        let tiles = cut(chunks_of(self.count), 1, &streams, max_bytes, alignment)?;
        Some(tiles.into_iter().map(part).collect())
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [count] = asked.extents("COUNT")?;
    let stats = GradStats {
        count,
        x: asked.float().unwrap_or(FloatType::F32),
        first: 0,
        chunks: chunks_of(count),
    };
    Ok(stats.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "sum of squares, largest magnitude and count of what is not finite, chunk by chunk",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::cases::case;
    use super::*;
    use crate::kernels::DataKind;
    use crate::kernels::parts_test::check_parts;

    fn stats(count: u32, first: u32, chunks: u32) -> GradStats {
        GradStats {
            count,
            x: FloatType::F16,
            first,
            chunks,
        }
    }

    #[test]
    fn rejects_no_elements_and_chunks_past_the_result() {
        assert!(matches!(
            stats(0, 0, 1).launch(),
            Err(ShapeError::Zero { name: "count", .. })
        ));
        assert!(matches!(
            stats(513, 1, 2).launch(),
            Err(ShapeError::TooLarge { value: 3, .. })
        ));
        assert!(stats(512, 1, 2).launch().is_ok());
    }

    #[test]
    fn what_is_not_finite_is_counted_and_left_out() {
        let launch = GradStats {
            count: 5,
            x: FloatType::F32,
            first: 0,
            chunks: 1,
        };
        let x = [3.0, f32::NAN, -4.0, f32::INFINITY, f32::NEG_INFINITY].map(f32::to_bits);
        let mut operands = HostOperands::default();
        operands.insert(X, &x);
        let outputs = launch.reference(&operands);
        assert_eq!(outputs[0].values, Values::F32(vec![25.0]));
        assert_eq!(
            outputs[1].values,
            Values::Words(vec![4.0f32.to_bits(), 3, 0])
        );
    }

    #[test]
    fn parts_make_what_the_whole_makes() {
        for x in [FloatType::F32, FloatType::F16] {
            let shape = GradStats {
                x,
                ..stats(9001, 2, 21)
            };
            let case = case(shape, DataKind::Outliers, true).expect("valid");
            assert!(check_parts(case.launch.as_ref(), &case.operands, 8192, 256) > 2);
        }
    }
}
