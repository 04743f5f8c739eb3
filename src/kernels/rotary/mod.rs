//! Rotary positions: pairs of elements of each head turned by the angle `position * frequency` (Su et al.,
//! "RoFormer", 2021), `x' = x cos - y sin`, `y' = y cos + x sin`; and rows put into a cache of keys or values
//! at their positions, turned or as they are.
//!
//! Cosines and sines come from a table that the CPU makes in f64 ([`crate::num::rotary_table`]): those of WGSL
//! are too coarse. Token t of a sequence has the position `start + t`, its start read from a tensor, so that
//! one plan serves every position. Positions past the table take its last row; rows past the end of the cache
//! are not put anywhere.

mod cases;
mod fast;

use std::sync::Arc;

use crate::record::{
    Access, Bound, Cost, HostOperands, HostResults, Iterations, Launch, Output, Part, Slot, params,
};
use crate::shader::{Capabilities, Variant};

use super::attention::{Place, loaded, quads};
use super::rows::{parts, read, slot_bytes};
use super::running::{Computed, Running, bounds, outputs};
use super::shape::{ShapeError, check_extents, check_index, check_multiple};
use super::{FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "rotary";
const X: u32 = 1;
const STARTS: u32 = 2;
const ANGLES: u32 = 3;
const OUT: u32 = 8;

params! {
    struct Params {
        batch: u32,
        heads: u32,
        tokens: u32,
        quads: u32,
        positions: u32,
        capacity: u32,
        append: u32,
        direction: f32,
        x_offset: u32,
        x_batch: u32,
        x_head: u32,
        x_token: u32,
        out_offset: u32,
        out_batch: u32,
        out_head: u32,
        out_token: u32,
    }
}

/// Which elements make a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// Nothing is turned.
    None,
    /// An element of the first half and the one at its place in the second, as in GPT-NeoX and the files of
    /// Hugging Face.
    Halves,
    /// Neighbours, as in the paper.
    Neighbours,
}

impl Rotation {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Halves, Self::Neighbours];

    /// Name in slots and printed shapes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Halves => "halves",
            Self::Neighbours => "neighbours",
        }
    }

    /// The partner of each element, and the index of the pair.
    const fn pair(self, element: usize, dim: usize) -> (usize, usize, bool) {
        match self {
            Self::None => (element, 0, true),
            Self::Halves => {
                let half = dim / 2;
                let first = element < half;
                (
                    if first {
                        element + half
                    } else {
                        element - half
                    },
                    element % half,
                    first,
                )
            }
            Self::Neighbours => (element ^ 1, element / 2, element.is_multiple_of(2)),
        }
    }
}

/// Where turned rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// Token t to row t; every row is written.
    Rows,
    /// Token t to row `start + t` of a cache of so many rows a head; the others keep what they hold.
    Cache {
        /// Rows of a head.
        capacity: u32,
    },
}

/// Shape and types. Operands by binding: x 1, starts u32 `[batch]` 2, unless nothing is turned the angles f32
/// `[positions, dim / 2, 2]` 3, result 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotary {
    /// Sequences.
    pub batch: u32,
    /// Heads.
    pub heads: u32,
    /// Tokens of a sequence.
    pub tokens: u32,
    /// Elements of a row: a multiple of 8.
    pub dim: u32,
    /// Which elements make a pair.
    pub rotation: Rotation,
    /// Rows of the table.
    pub positions: u32,
    /// By the negative angle: the gradient.
    pub is_backward: bool,
    /// Where rows are read.
    pub x_place: Place,
    /// Where rows are put.
    pub out_place: Place,
    /// Which of them.
    pub destination: Destination,
    /// Storage of x.
    pub x: FloatType,
    /// Storage of the result.
    pub out: FloatType,
}

impl Rotary {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, a `dim` that is no multiple of 8, places that are not multiples of 4
    /// or pass the end of a sequence, results in rows that are not dense, and more elements than 32 bits
    /// index.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let Self {
            batch,
            heads,
            tokens,
            dim,
            positions,
            ..
        } = self;
        let rows = self.capacity();
        let extents = [
            ("batch", batch),
            ("heads", heads),
            ("tokens", tokens),
            ("dim", dim),
            ("positions", positions),
            ("capacity", rows),
        ];
        check_extents(NAME, &extents.map(|(name, extent)| (name, extent.into())))?;
        check_multiple(NAME, ("dim", dim.into()), ("elements of a lane,", 8))?;
        self.x_place.check(NAME, "x", (batch, heads, tokens, dim))?;
        self.out_place
            .check(NAME, "out", (batch, heads, rows, dim))?;
        if self.destination == Destination::Rows && !self.out_place.is_dense(heads, tokens, dim) {
            return Err(ShapeError::Unsupported {
                kernel: NAME,
                name: "the place of the result",
                value: format!("{:?}", self.out_place),
                allowed: "[batch, heads, tokens, dim] and [batch, tokens, heads, dim]",
            });
        }
        check_index(
            NAME,
            "positions * dim",
            u64::from(positions) * u64::from(dim),
        )?;
        let last = u64::from(positions.max(rows)) + u64::from(tokens);
        check_index(NAME, "positions + tokens", last)?;
        Ok(Arc::new(self))
    }

    const fn capacity(&self) -> u32 {
        match self.destination {
            Destination::Rows => self.tokens,
            Destination::Cache { capacity } => capacity,
        }
    }

    fn computed(&self, operands: &HostOperands<'_>) -> Vec<Computed> {
        let dim = self.dim as usize;
        let sequences = self.batch as usize;
        let words = operands.words(X);
        let x = loaded(self.x, words, sequences * self.x_place.batch as usize);
        let len = sequences * self.out_place.batch as usize;
        let mut results = match self.destination {
            Destination::Rows => vec![Running::exact(0.0); len],
            Destination::Cache { .. } => {
                let held = self.out.unpack(operands.words(OUT), len);
                let exact = |value: f32| Running::exact(f64::from(value));
                held.into_iter().map(exact).collect()
            }
        };
        let most = self.positions.max(self.capacity());
        for (sequence, &start) in operands.words(STARTS)[..sequences].iter().enumerate() {
            for token in 0..self.tokens as usize {
                let position = start.min(most) as usize + token;
                let row = match self.destination {
                    Destination::Rows => token,
                    Destination::Cache { .. } => position,
                };
                if row >= self.capacity() as usize {
                    continue;
                }
                let angle_row = position.min(self.positions as usize - 1) * dim / 2;
                for head in 0..self.heads as usize {
                    let from = self.x_place.start(sequence, head, token);
                    let to = self.out_place.start(sequence, head, row);
                    for element in 0..dim {
                        let value = x[from + element];
                        results[to + element] = if self.rotation == Rotation::None {
                            value
                        } else {
                            let (partner, pair, is_first) = self.rotation.pair(element, dim);
                            let angle = &operands.f32(ANGLES)[2 * (angle_row + pair)..];
                            let turn = Running::loaded(angle[1]) * x[from + partner];
                            let kept = value * Running::loaded(angle[0]);
                            if is_first == self.is_backward {
                                kept + turn
                            } else {
                                kept - turn
                            }
                        };
                    }
                }
            }
        }
        vec![(OUT, self.out, results)]
    }
}

impl Launch for Rotary {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self {
            batch,
            heads,
            tokens,
            dim,
            rotation,
            positions,
            is_backward,
            x_place,
            out_place,
            destination,
            x,
            out,
        } = self;
        let rotation = rotation.name();
        let backward = if *is_backward { " backward" } else { "" };
        let destination = match destination {
            Destination::Rows => String::new(),
            Destination::Cache { capacity } => format!(" cache={capacity}"),
        };
        let place = |at: Place| format!("{}-{}-{}-{}", at.offset, at.batch, at.head, at.token);
        let (from, to) = (place(*x_place), place(*out_place));
        format!(
            "{rotation}{backward} batch={batch} heads={heads} tokens={tokens} dim={dim} \
             positions={positions}{destination} from={from} to={to} x-{x} out-{out}"
        )
    }

    fn slots(&self) -> Vec<Slot> {
        let batch = u64::from(self.batch);
        let bytes =
            |place: Place, storage: FloatType| batch * u64::from(place.batch) * storage.bytes();
        let mut slots = vec![
            read(X, "matrix_a", bytes(self.x_place, self.x)),
            read(STARTS, "starts", 4 * batch),
        ];
        if self.rotation != Rotation::None {
            let table = 4 * u64::from(self.positions) * u64::from(self.dim);
            slots.push(read(ANGLES, "angles", table));
        }
        slots.push(Slot {
            binding: OUT,
            name: "out",
            access: match self.destination {
                Destination::Rows => Access::Write,
                Destination::Cache { .. } => Access::ReadWrite,
            },
            bytes: bytes(self.out_place, self.out),
        });
        slots
    }

    fn params(&self) -> Vec<u8> {
        bytemuck::bytes_of(&Params {
            batch: self.batch,
            heads: self.heads,
            tokens: self.tokens,
            quads: self.dim / 8,
            positions: self.positions,
            capacity: self.capacity(),
            append: u32::from(self.destination != Destination::Rows),
            direction: if self.is_backward { -1.0 } else { 1.0 },
            x_offset: self.x_place.offset,
            x_batch: self.x_place.batch,
            x_head: self.x_place.head,
            x_token: self.x_place.token,
            out_offset: self.out_place.offset,
            out_batch: self.out_place.batch,
            out_head: self.out_place.head,
            out_token: self.out_place.token,
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, _: &Capabilities) -> Vec<Variant> {
        let variant = Variant::new(NAME)
            .slot("a", quads(self.x))
            .slot("rotation", self.rotation.name())
            .slot("store", self.out.name());
        vec![variant.number("WORKGROUP_SIZE", 64)]
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        let rows = u64::from(self.batch) * u64::from(self.heads) * u64::from(self.tokens);
        (rows * u64::from(self.dim / 8)).div_ceil(variant.get("WORKGROUP_SIZE").into())
    }

    fn iterations(&self, _: &Variant) -> Iterations {
        // One loop of two.
        Iterations {
            unrolled: 0,
            rolled: 3,
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        outputs(self.computed(operands))
    }

    fn fast(&self, operands: &HostOperands<'_>, results: &mut HostResults<'_>) -> bool {
        self.compute(operands, results);
        true
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        bounds(self.computed(operands))
    }

    fn cost(&self) -> Cost {
        let rows = f64::from(self.batch) * f64::from(self.heads) * f64::from(self.tokens);
        let elements = rows * f64::from(self.dim);
        let moved = (self.x.bytes() + self.out.bytes()) as f64 * elements;
        let angles = match self.rotation {
            Rotation::None => 0.0,
            Rotation::Halves | Rotation::Neighbours => {
                4.0 * f64::from(self.tokens) * f64::from(self.dim)
            }
        };
        Cost {
            operations: if angles > 0.0 { 3.0 * elements } else { 0.0 },
            bytes: (moved + angles).min(slot_bytes(&self.slots())),
        }
    }

    fn example(&self, seed: u64) -> Vec<(u32, Vec<u32>)> {
        let room = self.positions.min(self.capacity());
        super::embedding::with_indices(&self.slots(), (STARTS, room), seed)
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let limits = (max_bytes, alignment);
        parts(self.batch, &self.slots(), &[ANGLES], limits, |run| {
            let batch = run.end - run.start;
            Arc::new(Self { batch, ..*self })
        })
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [batch, heads, tokens, dim] = asked.extents("BATCHxHEADSxTOKENSxDIM")?;
    let rotation = asked.choose(&Rotation::ALL.map(|one| (one.name(), one)));
    let storage = asked.float().unwrap_or(FloatType::F32);
    let place = Place::tokens_first(heads, tokens, dim);
    let rotary = Rotary {
        batch,
        heads,
        tokens,
        dim,
        rotation: rotation.unwrap_or(Rotation::Halves),
        positions: tokens.saturating_mul(2),
        is_backward: false,
        x_place: place,
        out_place: place,
        destination: Destination::Rows,
        x: storage,
        out: storage,
    };
    Ok(rotary.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "rotary positions of heads, into a cache if need be",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_rows_that_a_lane_cannot_halve_and_a_cache_that_is_too_small_a_buffer() {
        let place = Place::tokens_first(2, 3, 8);
        let rotary = Rotary {
            batch: 1,
            heads: 2,
            tokens: 3,
            dim: 8,
            rotation: Rotation::Halves,
            positions: 10,
            is_backward: false,
            x_place: place,
            out_place: place,
            destination: Destination::Rows,
            x: FloatType::F32,
            out: FloatType::F32,
        };
        assert!(rotary.launch().is_ok());
        let odd = Rotary { dim: 12, ..rotary };
        assert!(matches!(
            odd.launch(),
            Err(ShapeError::NotMultiple { name: "dim", .. })
        ));
        let destination = Destination::Cache { capacity: 9 };
        let small = Rotary {
            destination,
            ..rotary
        };
        assert!(matches!(
            small.launch(),
            Err(ShapeError::TooLarge { name: "out", .. })
        ));
    }
}
