//! Rows of heads quantized to int8 and put into a cache of keys or values at the positions of their tokens:
//! with `amax` a row's largest magnitude, `scale = amax / 127` and
//! `q = clamp(round_half_even(x * (127 / amax)), -127, 127)`, as `quantize_rows` makes them.
//!
//! Token t of a sequence goes to the row `start + t`, its start read from a tensor; rows past the end of the
//! cache are not put anywhere, and the others keep what they hold. A row with `amax < 2^-100` has scale 0 and
//! codes 0. A code may differ by one where the exact quotient lies within `4 u |v|` of a half, and nowhere
//! else; scales are within `4 u`.

mod cases;

use std::sync::Arc;

use crate::record::{
    Access, Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, Values, params,
};
use crate::shader::{Capabilities, Variant};

use super::attention::{Place, lanes};
use super::bounds::U;
use super::iterations::looped;
use super::quantize_rows::{code, quotients, steps_of};
use super::rows::{parts, read};
use super::shape::{ShapeError, check_extents, check_index, check_multiple};
use super::{Kernel, Workload, WorkloadError};

const NAME: &str = "cache_quantize";
const X: u32 = 1;
const STARTS: u32 = 2;
const CODES: u32 = 8;
const SCALES: u32 = 9;

params! {
    struct Params {
        batch: u32,
        heads: u32,
        tokens: u32,
        capacity: u32,
        x_offset: u32,
        x_batch: u32,
        x_head: u32,
        x_token: u32,
    }
}

/// Shape. Operands by binding: x f32 1, starts u32 `[batch]` 2, codes int8 `[batch, heads, capacity, dim]` 8,
/// scales f32 `[batch, heads, capacity]` 9.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheQuantize {
    /// Sequences.
    pub batch: u32,
    /// Heads.
    pub heads: u32,
    /// Tokens of a sequence.
    pub tokens: u32,
    /// Elements of a row: a multiple of 4, at most 256.
    pub dim: u32,
    /// Rows of a head of the cache.
    pub capacity: u32,
    /// Where rows are read.
    pub x_place: Place,
}

impl CacheQuantize {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, a `dim` that is no multiple of 4 or above 256, a place that is not
    /// of multiples of 4 or passes the end of a sequence, and more elements than 32 bits index.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let Self {
            batch,
            heads,
            tokens,
            dim,
            capacity,
            x_place,
        } = self;
        let extents = [
            ("batch", batch),
            ("heads", heads),
            ("tokens", tokens),
            ("dim", dim),
            ("capacity", capacity),
        ];
        check_extents(NAME, &extents.map(|(name, extent)| (name, extent.into())))?;
        check_multiple(NAME, ("dim", dim.into()), ("codes of a word,", 4))?;
        if dim > 256 {
            return Err(ShapeError::TooLarge {
                kernel: NAME,
                name: "dim",
                value: dim.into(),
                limit: 256,
                reason: "rows are held in registers",
            });
        }
        x_place.check(NAME, "x", (batch, heads, tokens, dim))?;
        let rows = (u64::from(batch) * u64::from(heads)).saturating_mul(capacity.into());
        check_index(
            NAME,
            "elements of the cache",
            rows.saturating_mul(dim.into()),
        )?;
        let last = u64::from(capacity) + u64::from(tokens);
        check_index(NAME, "capacity + tokens", last)?;
        Ok(Arc::new(self))
    }

    const fn cache_rows(&self) -> u64 {
        self.batch as u64 * self.heads as u64 * self.capacity as u64
    }

    /// Calls `visit` with each row of the cache that is written and its values.
    fn for_each_row(&self, operands: &HostOperands<'_>, mut visit: impl FnMut(usize, &[f32])) {
        let x = operands.f32(X);
        let (capacity, dim) = (self.capacity as usize, self.dim as usize);
        let starts = &operands.words(STARTS)[..self.batch as usize];
        for (sequence, &start) in starts.iter().enumerate() {
            for token in 0..self.tokens as usize {
                let position = (start as usize).min(capacity) + token;
                if position >= capacity {
                    continue;
                }
                for head in 0..self.heads as usize {
                    let row = (sequence * self.heads as usize + head) * capacity + position;
                    let at = self.x_place.start(sequence, head, token);
                    visit(row, &x[at..at + dim]);
                }
            }
        }
    }
}

impl Launch for CacheQuantize {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self {
            batch,
            heads,
            tokens,
            dim,
            capacity,
            x_place: at,
        } = self;
        format!(
            "batch={batch} heads={heads} tokens={tokens} dim={dim} capacity={capacity} from={}-{}-{}-{}",
            at.offset, at.batch, at.head, at.token
        )
    }

    fn slots(&self) -> Vec<Slot> {
        let batch = u64::from(self.batch);
        let kept = |binding, name, bytes| Slot {
            binding,
            name,
            access: Access::ReadWrite,
            bytes,
        };
        vec![
            read(X, "matrix_a", 4 * batch * u64::from(self.x_place.batch)),
            read(STARTS, "starts", 4 * batch),
            kept(
                CODES,
                "cache_codes",
                self.cache_rows() * u64::from(self.dim),
            ),
            kept(SCALES, "cache_scales", 4 * self.cache_rows()),
        ]
    }

    fn params(&self) -> Vec<u8> {
        bytemuck::bytes_of(&Params {
            batch: self.batch,
            heads: self.heads,
            tokens: self.tokens,
            capacity: self.capacity,
            x_offset: self.x_place.offset,
            x_batch: self.x_place.batch,
            x_head: self.x_place.head,
            x_token: self.x_place.token,
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let variant = Variant::new(NAME)
            .slot("a", "f32_vec4")
            .number("QUADS", self.dim / 4);
        vec![variant.number("WORKGROUP_SIZE", lanes(capabilities))]
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        let rows = u64::from(self.batch) * u64::from(self.heads) * u64::from(self.tokens);
        rows.div_ceil(variant.get("WORKGROUP_SIZE").into())
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        Iterations {
            unrolled: 0,
            rolled: 2 * looped(variant.get("QUADS").into(), 0),
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let dim = self.dim as usize;
        let rows = self.cache_rows() as usize;
        let held = bytemuck::cast_slice::<u32, i8>(operands.words(CODES));
        let mut codes = held[..rows * dim].to_vec();
        let held = operands.f32(SCALES)[..rows].iter();
        let mut scales: Vec<f64> = held.map(|&scale| f64::from(scale)).collect();
        self.for_each_row(operands, |row, values| {
            let (scale, quotients) = quotients(values);
            scales[row] = scale;
            for (at, quotient) in quotients.into_iter().enumerate() {
                codes[row * dim + at] = code(quotient);
            }
        });
        vec![
            Output::new(CODES, Values::I8(codes)),
            Output::new(SCALES, Values::F32(scales)),
        ]
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        let dim = self.dim as usize;
        let rows = self.cache_rows() as usize;
        let (mut steps, mut allowed) = (vec![0; rows * dim], vec![0.0; rows]);
        self.for_each_row(operands, |row, values| {
            let (scale, quotients) = quotients(values);
            allowed[row] = 4.0 * U * scale;
            for (at, quotient) in quotients.into_iter().enumerate() {
                steps[row * dim + at] = steps_of(quotient);
            }
        });
        vec![Bound::Steps(steps), Bound::Absolute(allowed)]
    }

    fn cost(&self) -> Cost {
        let rows = f64::from(self.batch) * f64::from(self.heads) * f64::from(self.tokens);
        Cost {
            operations: 6.0 * rows * f64::from(self.dim),
            bytes: rows * (5.0 * f64::from(self.dim) + 4.0),
        }
    }

    fn example(&self, seed: u64) -> Vec<(u32, Vec<u32>)> {
        super::embedding::with_indices(&self.slots(), (STARTS, self.capacity), seed)
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let limits = (max_bytes, alignment);
        parts(self.batch, &self.slots(), &[], limits, |run| {
            let batch = run.end - run.start;
            Arc::new(Self { batch, ..*self })
        })
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [batch, heads, tokens, dim, capacity] = asked.extents("BATCHxHEADSxTOKENSxDIMxCAPACITY")?;
    let shape = CacheQuantize {
        batch,
        heads,
        tokens,
        dim,
        capacity,
        x_place: Place::tokens_first(heads, tokens, dim),
    };
    Ok(shape.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "rows of heads quantized to int8 into a cache",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_an_empty_cache_and_rows_that_are_not_words() {
        let shape = CacheQuantize {
            batch: 1,
            heads: 2,
            tokens: 3,
            dim: 8,
            capacity: 4,
            x_place: Place::tokens_first(2, 3, 8),
        };
        assert!(shape.launch().is_ok());
        let empty = CacheQuantize {
            capacity: 0,
            ..shape
        };
        assert!(matches!(
            empty.launch(),
            Err(ShapeError::Zero {
                name: "capacity",
                ..
            })
        ));
        let odd = CacheQuantize { dim: 6, ..shape };
        assert!(matches!(
            odd.launch(),
            Err(ShapeError::NotMultiple { name: "dim", .. })
        ));
    }
}
