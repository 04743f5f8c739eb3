//! Sums over everything but the channels of `x [items, channels, inner]`, in a fixed order and without
//! atomics: gradients of biases (of a linear layer with inner = 1, of a convolution with its positions), and
//! of the factors and addends of normalizations.
//!
//! A sum runs over `chunk` items at a time, item by item and then along inner; the result is `[ceil(items /
//! chunk), channels]` in f32, and a second launch over the chunks makes it `[channels]`. An element may be
//! multiplied by a normalized value `(y - mean) / deviation` of its place, with statistics of groups of
//! channels of one item, or of one channel of all items, as the kernel `norm` leaves them.

mod cases;

use std::sync::Arc;

use crate::record::{Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, params};
use crate::shader::{Capabilities, Variant};

use super::mask_shape::within;
use super::rows::{RowExtents, read, slot_bytes, write};
use super::running::{Computed, Running, bounds, outputs};
use super::shape::{ShapeError, check_extents, check_index, check_multiple};
use super::split::{Streams, Tile, cut};
use super::{FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "channel_sums";
const X: u32 = 1;
const Y: u32 = 2;
const STATISTICS: u32 = 7;
const OUT: u32 = 8;

params! {
    struct Params {
        sums: u32,
        items: u32,
        channels: u32,
        inner: u32,
        chunk: u32,
        group_channels: u32,
    }
}

/// What is summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term {
    /// x
    Plain,
    /// x times y normalized with statistics f32 `[items * groups, 2]` (mean, 1 / deviation).
    Grouped {
        /// Groups of channels of one item.
        groups: u32,
        /// Storage of y.
        y: FloatType,
    },
    /// x times y normalized with statistics f32 `[channels, 2]`.
    PerChannel {
        /// Storage of y.
        y: FloatType,
    },
}

/// Shape, chunks and what is summed. Operands by binding: x 1, y 2, statistics 7, sums 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelSums {
    /// Outermost extent: rows of a matrix, images of a batch.
    pub items: u32,
    /// Channels: columns of a matrix.
    pub channels: u32,
    /// Elements of one channel of one item: 1 for a matrix.
    pub inner: u32,
    /// Items of one sum.
    pub chunk: u32,
    /// Storage of x.
    pub x: FloatType,
    /// What is summed.
    pub term: Term,
}

impl ChannelSums {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, sums of more than 2^22 elements, more elements than 32 bits index, and
    /// channels that are no multiple of the groups.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let extents = [
            ("items", self.items.into()),
            ("channels", self.channels.into()),
            ("inner", self.inner.into()),
            ("chunk", self.chunk.into()),
        ];
        check_extents(NAME, &extents)?;
        let rows = u64::from(self.items) * u64::from(self.channels);
        check_index(NAME, "items * channels", rows)?;
        check_index(
            NAME,
            "items * channels * inner",
            rows * u64::from(self.inner),
        )?;
        self.extents().check(NAME)?;
        if let Term::Grouped { groups, .. } = self.term {
            let of = ("groups", groups.into());
            check_multiple(NAME, ("channels", self.channels.into()), of)?;
        }
        Ok(Arc::new(self))
    }

    /// Chunks: rows of the result.
    pub const fn chunks(&self) -> u32 {
        self.items.div_ceil(self.chunk)
    }

    /// Each sum as a row.
    fn extents(&self) -> RowExtents {
        RowExtents {
            rows: u64::from(self.chunks()) * u64::from(self.channels),
            columns: u64::from(self.chunk.min(self.items)) * u64::from(self.inner),
        }
    }

    fn elements(&self) -> u64 {
        u64::from(self.items) * u64::from(self.channels) * u64::from(self.inner)
    }

    fn computed(&self, operands: &HostOperands<'_>) -> Vec<Computed> {
        let [items, channels, inner, chunk] =
            [self.items, self.channels, self.inner, self.chunk].map(|one| one as usize);
        let len = items * channels * inner;
        let x = self.x.unpack(operands.words(X), len);
        let y = match self.term {
            Term::Plain => Vec::new(),
            Term::Grouped { y, .. } | Term::PerChannel { y } => y.unpack(operands.words(Y), len),
        };
        let term = |item: usize, channel: usize, index: usize| {
            let x = Running::loaded(x[index]);
            let row = match self.term {
                Term::Plain => return x,
                Term::Grouped { groups, .. } => {
                    (item * channels + channel) / (channels / groups as usize)
                }
                Term::PerChannel { .. } => channel,
            };
            let statistics = operands.f32(STATISTICS);
            let [mean, scale] = [statistics[2 * row], statistics[2 * row + 1]].map(Running::loaded);
            x * ((Running::loaded(y[index]) - mean) * scale)
        };
        let mut sums = Vec::new();
        for first in (0..items).step_by(chunk) {
            for channel in 0..channels {
                let of_item = |item: usize| {
                    let start = (item * channels + channel) * inner;
                    (start..start + inner).map(move |index| term(item, channel, index))
                };
                let last = (first + chunk).min(items);
                sums.push(Running::sum((first..last).flat_map(of_item)));
            }
        }
        vec![(OUT, FloatType::F32, sums)]
    }
}

impl Launch for ChannelSums {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self {
            items,
            channels,
            inner,
            chunk,
            x,
            term,
        } = self;
        let term = match term {
            Term::Plain => String::new(),
            Term::Grouped { groups, y } => format!(" times y-{y} in {groups} groups"),
            Term::PerChannel { y } => format!(" times y-{y} per channel"),
        };
        format!("items={items} channels={channels} inner={inner} chunk={chunk} x-{x}{term}")
    }

    fn slots(&self) -> Vec<Slot> {
        let mut slots = vec![read(X, "x", self.elements() * self.x.bytes())];
        match self.term {
            Term::Plain => {}
            Term::Grouped { groups, y } => {
                slots.push(read(Y, "b_values", self.elements() * y.bytes()));
                let rows = u64::from(self.items) * u64::from(groups);
                slots.push(read(STATISTICS, "statistics", 8 * rows));
            }
            Term::PerChannel { y } => {
                slots.push(read(Y, "b_values", self.elements() * y.bytes()));
                let channels = u64::from(self.channels);
                slots.push(read(STATISTICS, "statistics", 8 * channels));
            }
        }
        slots.push(write(OUT, "out", 4 * self.extents().rows));
        slots
    }

    fn params(&self) -> Vec<u8> {
        let groups = match self.term {
            Term::Grouped { groups, .. } => groups,
            Term::Plain | Term::PerChannel { .. } => 1,
        };
        bytemuck::bytes_of(&Params {
            sums: self.extents().rows as u32,
            items: self.items,
            channels: self.channels,
            inner: self.inner,
            chunk: self.chunk,
            group_channels: self.channels / groups,
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let variant = Variant::new(NAME).slot("element", self.x.name());
        let variant = match self.term {
            Term::Plain => variant.slot("term", "plain"),
            Term::Grouped { y, .. } => variant.slot("term", "group").slot("second", y.name()),
            Term::PerChannel { y } => variant.slot("term", "channel").slot("second", y.name()),
        };
        let mut variants = self.extents().variants(&variant, capabilities);
        // Where channels are neighbours, lanes that take one each read neighbours.
        if self.inner == 1 {
            variants.sort_by_key(|one| one.chosen("lanes") != Some("one"));
        }
        variants
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        self.extents().workgroups(variant)
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        self.extents().iterations(variant, 1, 1)
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        outputs(self.computed(operands))
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        bounds(self.computed(operands))
    }

    fn cost(&self) -> Cost {
        let each = if self.term == Term::Plain { 1.0 } else { 4.0 };
        Cost {
            operations: each * self.elements() as f64,
            bytes: slot_bytes(&self.slots()),
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let of_chunk = u64::from(self.chunk) * u64::from(self.channels) * u64::from(self.inner);
        let mut streams = Streams {
            by_row: vec![
                (X, of_chunk * self.x.bytes()),
                (OUT, 4 * u64::from(self.channels)),
            ],
            ..Streams::default()
        };
        match self.term {
            Term::Plain => {}
            Term::Grouped { groups, y } => {
                streams.by_row.push((Y, of_chunk * y.bytes()));
                let of_chunk = 8 * u64::from(self.chunk) * u64::from(groups);
                streams.by_row.push((STATISTICS, of_chunk));
            }
            Term::PerChannel { y } => {
                streams.by_row.push((Y, of_chunk * y.bytes()));
                streams
                    .whole
                    .push((STATISTICS, 8 * u64::from(self.channels)));
            }
        }
        let part = |mut tile: Tile| {
            let first = tile.rows.start * self.chunk;
            // The last chunk may have fewer items.
            let chunks = tile.rows.end - tile.rows.start;
            let items = (self.items - first).min(chunks.saturating_mul(self.chunk));
            for slot in self.slots() {
                let range = within(&tile.ranges[&slot.binding], slot.bytes);
                tile.ranges.insert(slot.binding, range);
            }
            Part {
                launch: Arc::new(Self { items, ..*self }),
                ranges: tile.ranges,
            }
        };
        let tiles = cut(self.chunks(), 1, &streams, max_bytes, alignment)?;
        Some(tiles.into_iter().map(part).collect())
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [items, channels, inner] =
        match asked.extents::<3>("ITEMSxCHANNELS or ITEMSxCHANNELSxINNER") {
            Ok(extents) => extents,
            Err(_) => {
                let [items, channels] = asked.extents("ITEMSxCHANNELS or ITEMSxCHANNELSxINNER")?;
                [items, channels, 1]
            }
        };
    let sums = ChannelSums {
        items,
        channels,
        inner,
        chunk: items.min(64),
        x: asked.float().unwrap_or(FloatType::F32),
        term: Term::Plain,
    };
    Ok(sums.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "sums of [items, channels, inner] over items and inner, in fixed order, for gradients of parameters",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::DataKind;
    use crate::kernels::parts_test::check_parts;

    const SHAPE: ChannelSums = ChannelSums {
        items: 100,
        channels: 64,
        inner: 2,
        chunk: 8,
        x: FloatType::F16,
        term: Term::Plain,
    };

    #[test]
    fn rejects_empty_extents_and_groups_that_do_not_divide() {
        for shape in [
            ChannelSums { chunk: 0, ..SHAPE },
            ChannelSums { items: 0, ..SHAPE },
        ] {
            assert!(matches!(shape.launch(), Err(ShapeError::Zero { .. })));
        }
        let term = Term::Grouped {
            groups: 7,
            y: FloatType::F32,
        };
        let uneven = ChannelSums { term, ..SHAPE }.launch();
        assert!(matches!(
            uneven,
            Err(ShapeError::NotMultiple { value: 64, .. })
        ));
    }

    #[test]
    fn parts_make_what_the_whole_makes() {
        // 100 items in chunks of 8: the last has 4.
        let launch = SHAPE.launch().expect("valid");
        let x = FloatType::F16.pack(&DataKind::Integers.values(1, 100 * 128));
        assert_eq!(check_parts(launch.as_ref(), &[(X, x)], 4096, 256), 13);
    }
}
