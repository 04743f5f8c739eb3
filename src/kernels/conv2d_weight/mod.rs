//! The gradient of a convolution's weight: `dw[o, i, t] = sum_(n, p) dy[n, o, p] x[n, i, p + t]` over images n
//! and positions p.
//!
//! Sums run over chunks, each some images or some rows of one image, always in the same order: the result is
//! f32 `[chunks, out_channels, in_channels / groups, kernel height, kernel width]`, and the kernel
//! `channel_sums` adds the chunks. A lane makes several channels of dy by several weights of each, so that an
//! element of either serves many products.

mod cases;

use std::sync::Arc;

use crate::record::{Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, params};
use crate::shader::{Capabilities, Variant};

use super::bounds::DotBound;
use super::conv_shape::{ConvShape, MAX_TERMS};
use super::epilogue::{OUT, stored};
use super::guess::{Candidate, Speed, order};
use super::iterations::looped;
use super::mask_shape::within;
use super::rows::{read, slot_bytes, write};
use super::shape::{ShapeError, check_extents, check_index};
use super::split::{Streams, Tile, cut};
use super::{FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "conv2d_weight";
const X: u32 = 1;
const DY: u32 = 2;

/// Lanes of a workgroup, which share nothing.
const LANES: u32 = 64;

params! {
    struct Params {
        chunk_groups: u32,
        groups: u32,
        group_in: u32,
        group_out: u32,
        batch: u32,
        image_chunk: u32,
        row_chunk: u32,
        row_chunks: u32,
        height: u32,
        width: u32,
        out_height: u32,
        out_width: u32,
        taps: u32,
        kernel_width: u32,
        stride_y: u32,
        stride_x: u32,
        padding_y: u32,
        padding_x: u32,
        dilation_y: u32,
        dilation_x: u32,
    }
}

/// Shape, chunks and types. Operands by binding: x 1, dy 2, sums 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dWeight {
    /// Extents of the convolution.
    pub shape: ConvShape,
    /// Images of one sum.
    pub image_chunk: u32,
    /// Rows of dy of one sum.
    pub row_chunk: u32,
    /// Storage of x.
    pub x: FloatType,
    /// Storage of dy.
    pub dy: FloatType,
}

/// Channels of dy and weights of each that a lane makes; nine weights are all those of a 3 by 3 kernel.
const TILES: [(u32, u32); 6] = [(8, 9), (8, 8), (4, 4), (1, 9), (2, 2), (1, 2)];

/// Lanes that keep a mid-size GPU busy.
const WANTED_LANES: u64 = 2048;

/// Fewest and most positions of a sum: fewer make more partial results than they are worth, and more run past
/// the iterations that some drivers allow an invocation.
const CHUNK_POSITIONS: (u64, u64) = (128, 16_384);

impl Conv2dWeight {
    /// The launch of a checked shape with chunks that give an adapter enough to do at once.
    ///
    /// # Errors
    /// [`ShapeError`] as [`Self::launch`].
    pub fn in_chunks(shape: ConvShape, x: FloatType, dy: FloatType) -> Result<Self, ShapeError> {
        shape.check(NAME)?;
        let [height, width] = shape.output().map(u64::from);
        let weights = u64::from(shape.in_channels / shape.groups) * shape.taps();
        let group_out = u64::from(shape.out_channels / shape.groups);
        let tiles = u64::from(shape.groups) * group_out.div_ceil(8) * weights.div_ceil(9);
        let rows = u64::from(shape.batch) * height;
        let least = CHUNK_POSITIONS.0.div_ceil(width);
        let most = (CHUNK_POSITIONS.1 / width).max(1);
        let run = (rows / WANTED_LANES.div_ceil(tiles)).max(least).min(most);
        Ok(Self {
            shape,
            image_chunk: (run / height).clamp(1, shape.batch.into()) as u32,
            row_chunk: run.min(height) as u32,
            x,
            dy,
        })
    }

    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for what [`ConvShape`] cannot be, empty chunks, sums of more than 2^22 terms, and more
    /// sums than 32 bits index.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        self.shape.check(NAME)?;
        let chunks = [
            ("image chunk", self.image_chunk.into()),
            ("row chunk", self.row_chunk.into()),
        ];
        check_extents(NAME, &chunks)?;
        let [height, width] = self.shape.output();
        let rows = u64::from(self.image_chunk.min(self.shape.batch))
            * u64::from(self.row_chunk.min(height));
        let terms = rows.saturating_mul(width.into());
        if terms > MAX_TERMS {
            return Err(ShapeError::TooLarge {
                kernel: NAME,
                name: "positions of a sum",
                value: terms,
                limit: MAX_TERMS,
                reason: "longer f32 sums have no useful error bound",
            });
        }
        check_index(NAME, "chunks", self.chunk_count())?;
        let sums = self.chunk_count() * self.shape.elements()[2];
        check_index(NAME, "chunks * elements of the weight", sums)?;
        Ok(Arc::new(self))
    }

    /// Chunks: rows of the result.
    pub fn chunks(&self) -> u32 {
        self.chunk_count() as u32
    }

    fn chunk_count(&self) -> u64 {
        let images = self.shape.batch.div_ceil(self.image_chunk);
        u64::from(images) * u64::from(self.row_chunks())
    }

    fn row_chunks(&self) -> u32 {
        self.shape.output()[0].div_ceil(self.row_chunk)
    }

    /// Channels of x and of dy in a group.
    const fn group_channels(&self) -> [u32; 2] {
        let groups = self.shape.groups;
        [
            self.shape.in_channels / groups,
            self.shape.out_channels / groups,
        ]
    }

    /// Visits each sum with the error allowed for it.
    fn for_each_sum(&self, operands: &HostOperands<'_>, mut visit: impl FnMut(f64, f64)) {
        let shape = &self.shape;
        let [in_channels, out_channels] =
            [shape.in_channels, shape.out_channels].map(|one| one as usize);
        let [group_in, group_out] = self.group_channels().map(|one| one as usize);
        let [height, width] = shape.input.map(|one| one as usize);
        let [out_height, out_width] = shape.output().map(|one| one as usize);
        let [kernel_height, kernel_width] = shape.kernel.map(|one| one as usize);
        let batch = shape.batch as usize;
        let x = self
            .x
            .unpack(operands.words(X), batch * in_channels * height * width);
        let dy = self.dy.unpack(
            operands.words(DY),
            batch * out_channels * out_height * out_width,
        );
        let (image_chunk, row_chunk) = (self.image_chunk as usize, self.row_chunk as usize);
        let chunks = (0..batch).step_by(image_chunk).flat_map(|image| {
            (0..out_height)
                .step_by(row_chunk)
                .map(move |row| (image, row))
        });
        for (first_image, first_row) in chunks {
            let images = first_image..(first_image + image_chunk).min(batch);
            let rows = first_row..(first_row + row_chunk).min(out_height);
            for weight in 0..out_channels * group_in * kernel_height * kernel_width {
                let (s, rest) = (weight % kernel_width, weight / kernel_width);
                let (r, rest) = (rest % kernel_height, rest / kernel_height);
                let (i, o) = (rest % group_in, rest / group_in);
                let channel = o / group_out * group_in + i;
                let (mut sum, mut bound, mut terms) = (0.0, DotBound::default(), 0);
                for (image, row) in images
                    .clone()
                    .flat_map(|image| rows.clone().map(move |row| (image, row)))
                {
                    let Some(y) = shape.steps.input_at(0, shape.input[0], (row, r)) else {
                        continue;
                    };
                    for column in 0..out_width {
                        let place = shape.steps.input_at(1, shape.input[1], (column, s));
                        let Some(place) = place else { continue };
                        let at = ((image * in_channels + channel) * height + y) * width + place;
                        let result = ((image * out_channels + o) * out_height + row) * out_width;
                        let (left, right) = (f64::from(x[at]), f64::from(dy[result + column]));
                        sum += left * right;
                        bound.add((left, self.x.flush_below()), (right, self.dy.flush_below()));
                        terms += 1;
                    }
                }
                visit(sum, bound.error(terms));
            }
        }
    }
}

impl Launch for Conv2dWeight {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self {
            shape,
            image_chunk,
            row_chunk,
            x,
            dy,
        } = self;
        let shape = shape.describe();
        format!("{shape} chunk={image_chunk}x{row_chunk} x-{x} dy-{dy}")
    }

    fn slots(&self) -> Vec<Slot> {
        let [x, dy, weights] = self.shape.elements();
        let batch = u64::from(self.shape.batch);
        vec![
            read(X, "matrix_a", batch * x * self.x.bytes()),
            read(DY, "matrix_b", batch * dy * self.dy.bytes()),
            write(OUT, "out", 4 * self.chunk_count() * weights),
        ]
    }

    fn params(&self) -> Vec<u8> {
        let (shape, steps) = (&self.shape, &self.shape.steps);
        let [group_in, group_out] = self.group_channels();
        let [out_height, out_width] = shape.output();
        bytemuck::bytes_of(&Params {
            chunk_groups: self.chunks() * shape.groups,
            groups: shape.groups,
            group_in,
            group_out,
            batch: shape.batch,
            image_chunk: self.image_chunk,
            row_chunk: self.row_chunk,
            row_chunks: self.row_chunks(),
            height: shape.input[0],
            width: shape.input[1],
            out_height,
            out_width,
            taps: shape.taps() as u32,
            kernel_width: shape.kernel[1],
            stride_y: steps.stride[0],
            stride_x: steps.stride[1],
            padding_y: steps.padding[0],
            padding_x: steps.padding[1],
            dilation_y: steps.dilation[0],
            dilation_x: steps.dilation[1],
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let [group_in, group_out] = self.group_channels();
        let weights = u64::from(group_in) * self.shape.taps();
        let fits = |&(channels, width): &(u32, u32)| {
            // The smallest tile always does; larger ones must be more than half full both ways.
            width == 2 && channels == 1
                || channels < 2 * group_out && u64::from(width) < 2 * weights
        };
        let candidate = |(channels, width): (u32, u32)| {
            let variant = Variant::new(NAME)
                .slot("a", self.x.name())
                .slot("b", self.dy.name())
                .number("TILE_C", channels)
                .number("TILE_K", width)
                .number("WORKGROUP_SIZE", LANES);
            let workgroups = self.workgroups(&variant);
            let tile = f64::from(channels * width);
            let loads = f64::from(channels + width);
            Candidate {
                variant,
                outputs: (workgroups * u64::from(LANES)) as f64 * tile,
                workgroups,
                speed: Speed {
                    // A load costs as much as 46 multiply-adds on a CPU.
                    software: tile / (46.0 * loads + tile),
                    hardware: tile / (4.0 * loads + tile),
                },
            }
        };
        let candidates = TILES.iter().filter(|tile| fits(tile)).copied();
        order(candidates.map(candidate).collect(), capabilities)
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        let [group_in, group_out] = self.group_channels();
        let weights = u64::from(group_in) * self.shape.taps();
        let channels = u64::from(group_out.div_ceil(variant.get("TILE_C")));
        let tiles = weights.div_ceil(variant.get("TILE_K").into()) * channels;
        let groups = self.chunk_count() * u64::from(self.shape.groups);
        (groups * tiles).div_ceil(variant.get("WORKGROUP_SIZE").into())
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        let [channels, width] = ["TILE_C", "TILE_K"].map(|name| u64::from(variant.get(name)));
        let [out_height, out_width] = self.shape.output().map(u64::from);
        let images = u64::from(self.image_chunk.min(self.shape.batch));
        let rows = u64::from(self.row_chunk).min(out_height);
        let terms = looped(width, 0) + looped(channels, looped(width, 0));
        let around = looped(width, 0) + looped(channels, 0);
        Iterations {
            unrolled: looped(images, looped(rows, looped(out_width, 0))),
            rolled: around
                + looped(images, looped(rows, around + looped(out_width, terms)))
                + looped(channels, looped(width, 0)),
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let mut values = Vec::new();
        self.for_each_sum(operands, |sum, _| values.push(sum));
        vec![Output::new(OUT, stored(FloatType::F32, values))]
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        let mut errors = Vec::new();
        self.for_each_sum(operands, |_, error| errors.push(error));
        vec![Bound::Absolute(errors)]
    }

    fn cost(&self) -> Cost {
        Cost {
            operations: self.shape.operations(),
            bytes: slot_bytes(&self.slots()),
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let [x, dy, weights] = self.shape.elements();
        let images = u64::from(self.image_chunk);
        let streams = Streams {
            by_row: vec![
                (X, images * x * self.x.bytes()),
                (DY, images * dy * self.dy.bytes()),
                (OUT, 4 * u64::from(self.row_chunks()) * weights),
            ],
            ..Streams::default()
        };
        let part = |mut tile: Tile| {
            let first = tile.rows.start * self.image_chunk;
            // The last chunk may have fewer images.
            let chunks = tile.rows.end - tile.rows.start;
            let batch = (self.shape.batch - first).min(chunks.saturating_mul(self.image_chunk));
            for slot in self.slots() {
                let range = within(&tile.ranges[&slot.binding], slot.bytes);
                tile.ranges.insert(slot.binding, range);
            }
            let shape = ConvShape {
                batch,
                ..self.shape
            };
            Part {
                launch: Arc::new(Self { shape, ..*self }),
                ranges: tile.ranges,
            }
        };
        let chunks = self.shape.batch.div_ceil(self.image_chunk);
        let tiles = cut(chunks, 1, &streams, max_bytes, alignment)?;
        Some(tiles.into_iter().map(part).collect())
    }
}

fn workload(words: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let shape = super::conv2d::asked(words)?;
    let x = words.float().unwrap_or(FloatType::F32);
    let dy = words.float().unwrap_or(x);
    Ok(Conv2dWeight::in_chunks(shape, x, dy)?.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "gradient of a convolution's weight, in chunks of images and rows",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::DataKind;
    use crate::kernels::conv_shape::Steps;
    use crate::kernels::parts_test::check_parts;

    const SUMS: Conv2dWeight = Conv2dWeight {
        shape: ConvShape {
            batch: 9,
            in_channels: 4,
            out_channels: 8,
            groups: 2,
            input: [8, 8],
            kernel: [3, 3],
            steps: Steps {
                stride: [2, 1],
                padding: [1, 1],
                dilation: [1, 1],
            },
        },
        image_chunk: 2,
        row_chunk: 3,
        x: FloatType::F32,
        dy: FloatType::F16,
    };

    #[test]
    fn rejects_empty_chunks_and_sums_that_are_too_long() {
        let empty = Conv2dWeight {
            row_chunk: 0,
            ..SUMS
        };
        assert!(matches!(empty.launch(), Err(ShapeError::Zero { .. })));
        let shape = ConvShape {
            input: [4096, 4096],
            ..SUMS.shape
        };
        let long = Conv2dWeight {
            shape,
            row_chunk: 2048,
            ..SUMS
        };
        assert!(matches!(
            long.launch(),
            Err(ShapeError::TooLarge {
                name: "positions of a sum",
                ..
            })
        ));
    }

    #[test]
    fn chunks_are_whole_images_or_rows_of_one() {
        let chunks = |shape| {
            let sums = Conv2dWeight::in_chunks(shape, FloatType::F32, FloatType::F32);
            let sums = sums.expect("valid");
            assert!(sums.launch().is_ok());
            (sums.image_chunk, sums.row_chunk)
        };
        let shape = ConvShape {
            batch: 128,
            in_channels: 16,
            out_channels: 32,
            groups: 1,
            input: [14, 14],
            kernel: [3, 3],
            steps: Steps {
                padding: [1, 1],
                ..Steps::default()
            },
        };
        // 64 tiles in 32 chunks.
        assert_eq!(chunks(shape), (4, 14));
        let first = ConvShape {
            in_channels: 1,
            out_channels: 16,
            input: [28, 28],
            ..shape
        };
        // Two tiles: all the chunks that are worth it, of 128 positions and more.
        assert_eq!(chunks(first), (1, 5));
        let wide = ConvShape {
            batch: 1,
            in_channels: 512,
            out_channels: 512,
            input: [300, 300],
            ..shape
        };
        assert_eq!(chunks(wide), (1, 54));
    }

    #[test]
    fn parts_make_what_the_whole_makes() {
        let launch = SUMS.launch().expect("valid");
        let x = FloatType::F32.pack(&DataKind::Normal.values(1, 9 * 4 * 64));
        let dy = FloatType::F16.pack(&DataKind::Normal.values(2, 9 * 8 * 4 * 8));
        assert!(check_parts(launch.as_ref(), &[(X, x), (DY, dy)], 8192, 256) > 2);
    }
}
