//! Convolution and the gradient of its input. Forward, with bias and activation f:
//! `y[n, o, p] = f(sum_(i, t) w[o, i, t] x[n, i, p + t] + bias[o])` over the channels i of o's group and the
//! taps t of the kernel. Backward: `dx[n, i, q] = sum_(o, t) w[o, i, t] dy[n, o, p]` over the places p that meet
//! q through t. Both gather: each result is one sum in a fixed order, and nothing is added by atomics.
//!
//! The two are one shader: what is summed and what is made change places, the kernel moves the other way, and
//! only multiples of the stride come back from a place. The weight is never turned over in memory.
//!
//! A lane makes several channels at several neighbouring positions, so that an element of x serves all its
//! channels and a weight all its positions. A term passes through one product and at most as many additions as
//! there are terms.

mod cases;

pub(super) use cases::shapes;

use std::sync::Arc;

use crate::record::{Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, params};
use crate::shader::{Capabilities, Variant};

use super::bounds::{DotBound, TINY, U};
use super::conv_shape::{ConvShape, Steps};
use super::epilogue::{BIAS, OUT, stored};
use super::guess::{Candidate, Speed, order};
use super::iterations::looped;
use super::rows::{check_pairs, parts, read, slot_bytes, write};
use super::{Activation, FloatType, Kernel, ShapeError, Workload, WorkloadError};

const NAME: &str = "conv2d";
const X: u32 = 1;
const W: u32 = 2;

/// Lanes of a workgroup, which share nothing.
const LANES: u32 = 64;

params! {
    struct Params {
        image_groups: u32,
        groups: u32,
        group_in: u32,
        group_out: u32,
        height: u32,
        width: u32,
        out_width: u32,
        positions: u32,
        kernel_height: u32,
        kernel_width: u32,
        scale_y: u32,
        scale_x: u32,
        offset_y: u32,
        offset_x: u32,
        step_y: u32,
        step_x: u32,
        divide_y: u32,
        divide_x: u32,
        weight_group: u32,
        weight_out: u32,
        weight_in: u32,
    }
}

/// What is made of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The result from x.
    Forward {
        /// Add f32 `[out_channels]` before the activation.
        bias: bool,
        /// Applied to each biased sum.
        activation: Activation,
    },
    /// The gradient of x from that of the result.
    Backward,
}

/// Shape, direction and types. Operands by binding: x or dy 1, weight 2, bias 6, result 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2d {
    /// Extents of the convolution, whichever way it is passed.
    pub shape: ConvShape,
    /// What is made of what.
    pub direction: Direction,
    /// Storage of x or dy.
    pub x: FloatType,
    /// Storage of the weight.
    pub w: FloatType,
    /// Storage of the result: f32, or 16 bits where a channel has an even number of positions.
    pub out: FloatType,
}

/// One side of the launch: channels, height and width.
#[derive(Debug, Clone, Copy)]
struct Side {
    channels: u32,
    extent: [u32; 2],
}

impl Side {
    const fn positions(self) -> u32 {
        self.extent[0] * self.extent[1]
    }
}

/// Channels and positions that a lane makes. Small tiles are for few channels, few positions and adapters
/// that are busy with many lanes only.
const TILES: [(u32, u32); 6] = [(8, 8), (8, 4), (4, 4), (2, 2), (1, 8), (1, 2)];

impl Conv2d {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, kernels larger than the padded input, groups that do not divide the
    /// channels, more elements than 32 bits index, and 16-bit results of channels with an odd number of
    /// positions.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        self.shape.check(NAME)?;
        let positions = self.made().positions();
        check_pairs(NAME, self.out, ("positions of a channel", positions))?;
        Ok(Arc::new(self))
    }

    /// What is read.
    fn read(&self) -> Side {
        match self.direction {
            Direction::Forward { .. } => self.input(),
            Direction::Backward => self.result(),
        }
    }

    /// What is made.
    fn made(&self) -> Side {
        match self.direction {
            Direction::Forward { .. } => self.result(),
            Direction::Backward => self.input(),
        }
    }

    fn input(&self) -> Side {
        Side {
            channels: self.shape.in_channels,
            extent: self.shape.input,
        }
    }

    fn result(&self) -> Side {
        Side {
            channels: self.shape.out_channels,
            extent: self.shape.output(),
        }
    }

    /// Channels of a group that are summed, and those that are made.
    fn group_channels(&self) -> [u32; 2] {
        [self.read(), self.made()].map(|side| side.channels / self.shape.groups)
    }

    /// Elements between weights: of groups, of channels that are made, of channels that are summed.
    fn weight_strides(&self) -> [u32; 3] {
        let taps = self.shape.taps() as u32;
        let in_channels = self.shape.in_channels / self.shape.groups;
        let group = self.shape.out_channels / self.shape.groups * in_channels * taps;
        match self.direction {
            Direction::Forward { .. } => [group, in_channels * taps, taps],
            Direction::Backward => [group, taps, in_channels * taps],
        }
    }

    /// The place of what is read that result `at` meets through `tap`, along one axis.
    fn place(&self, axis: usize, at: usize, tap: usize) -> Option<usize> {
        let (steps, extent) = (&self.shape.steps, self.read().extent[axis]);
        match self.direction {
            Direction::Forward { .. } => steps.input_at(axis, extent, (at, tap)),
            Direction::Backward => steps.output_at(axis, extent, (at, tap)),
        }
    }

    /// Visits each result: its channel, its sum, and the error allowed for that.
    fn for_each_sum(&self, operands: &HostOperands<'_>, mut visit: impl FnMut(usize, f64, f64)) {
        let (read, made, shape) = (self.read(), self.made(), &self.shape);
        let [group_in, group_out] = self.group_channels().map(|one| one as usize);
        let [weight_group, weight_out, weight_in] = self.weight_strides().map(|one| one as usize);
        let [kernel_height, kernel_width] = shape.kernel.map(|one| one as usize);
        let [height, width] = read.extent.map(|one| one as usize);
        let [out_height, out_width] = made.extent.map(|one| one as usize);
        let (batch, channels) = (shape.batch as usize, read.channels as usize);
        let x = self
            .x
            .unpack(operands.words(X), batch * channels * height * width);
        let w = self
            .w
            .unpack(operands.words(W), shape.elements()[2] as usize);
        for image in 0..batch {
            for channel in 0..made.channels as usize {
                let group = channel / group_out;
                let weights = group * weight_group + channel % group_out * weight_out;
                let first = image * channels + group * group_in;
                for (y, x_at) in (0..out_height).flat_map(|y| (0..out_width).map(move |x| (y, x))) {
                    let (mut sum, mut bound, mut terms) = (0.0, DotBound::default(), 0);
                    for (r, s) in
                        (0..kernel_height).flat_map(|r| (0..kernel_width).map(move |s| (r, s)))
                    {
                        let (Some(row), Some(column)) =
                            (self.place(0, y, r), self.place(1, x_at, s))
                        else {
                            continue;
                        };
                        for i in 0..group_in {
                            let at = ((first + i) * height + row) * width + column;
                            let weight = weights + i * weight_in + r * kernel_width + s;
                            let (left, right) = (f64::from(x[at]), f64::from(w[weight]));
                            sum += left * right;
                            bound.add((left, self.x.flush_below()), (right, self.w.flush_below()));
                            terms += 1;
                        }
                    }
                    visit(channel, sum, bound.error(terms));
                }
            }
        }
    }

    /// The finished result and the error allowed for it, of a sum within `error` of `sum`.
    fn finish(
        &self,
        operands: &HostOperands<'_>,
        channel: usize,
        (mut value, mut error): (f64, f64),
    ) -> (f64, f64) {
        if let Direction::Forward { bias, activation } = self.direction {
            if bias {
                let bias = f64::from(operands.f32(BIAS)[channel]);
                value += bias;
                // The bias itself may be flushed.
                error += U * (value.abs() + error) + bias.abs().min(TINY) + TINY;
            }
            error = activation.error(value, error);
            value = activation.apply(value);
        }
        (value, error + self.out.store_error(value.abs() + error))
    }
}

impl Launch for Conv2d {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self {
            shape,
            direction,
            x,
            w,
            out,
        } = self;
        let direction = match direction {
            Direction::Backward => " backward".to_owned(),
            Direction::Forward { bias, activation } => {
                let bias = if *bias { " bias" } else { "" };
                match activation {
                    Activation::Identity => bias.to_owned(),
                    other => format!("{bias} {}", other.name()),
                }
            }
        };
        format!("{}{direction} x-{x} w-{w} out-{out}", shape.describe())
    }

    fn slots(&self) -> Vec<Slot> {
        let [read_elements, made_elements] = [self.read(), self.made()]
            .map(|side| u64::from(side.channels) * u64::from(side.positions()));
        let batch = u64::from(self.shape.batch);
        let weights = self.shape.elements()[2];
        let mut slots = vec![
            read(X, "matrix_a", batch * read_elements * self.x.bytes()),
            read(W, "matrix_b", weights * self.w.bytes()),
        ];
        if matches!(self.direction, Direction::Forward { bias: true, .. }) {
            slots.push(read(BIAS, "bias", 4 * u64::from(self.shape.out_channels)));
        }
        slots.push(write(OUT, "out", batch * made_elements * self.out.bytes()));
        slots
    }

    fn params(&self) -> Vec<u8> {
        let (read, made, steps) = (self.read(), self.made(), &self.shape.steps);
        let [group_in, group_out] = self.group_channels();
        let [weight_group, weight_out, weight_in] = self.weight_strides();
        let ones = [1; 2];
        let (scale, offset, step, divide) = match self.direction {
            Direction::Forward { .. } => (
                steps.stride,
                steps.padding.map(u32::wrapping_neg),
                steps.dilation,
                ones,
            ),
            Direction::Backward => (
                ones,
                steps.padding,
                steps.dilation.map(u32::wrapping_neg),
                steps.stride,
            ),
        };
        bytemuck::bytes_of(&Params {
            image_groups: self.shape.batch * self.shape.groups,
            groups: self.shape.groups,
            group_in,
            group_out,
            height: read.extent[0],
            width: read.extent[1],
            out_width: made.extent[1],
            positions: made.positions(),
            kernel_height: self.shape.kernel[0],
            kernel_width: self.shape.kernel[1],
            scale_y: scale[0],
            scale_x: scale[1],
            offset_y: offset[0],
            offset_x: offset[1],
            step_y: step[0],
            step_x: step[1],
            divide_y: divide[0],
            divide_x: divide[1],
            weight_group,
            weight_out,
            weight_in,
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let [_, group_out] = self.group_channels();
        let positions = self.made().positions();
        let (bias, activation) = match self.direction {
            Direction::Forward { bias, activation } => (bias, activation),
            Direction::Backward => (false, Activation::Identity),
        };
        let is_strided = self.direction == Direction::Backward && self.shape.steps.stride != [1; 2];
        let fits = |&(channels, width): &(u32, u32)| {
            // The smallest tile always does; larger ones must be more than half full both ways.
            width == 2 && channels == 1
                || channels < 2 * group_out && u64::from(width) < 2 * u64::from(positions)
        };
        let candidate = |(channels, width): (u32, u32)| {
            let variant = Variant::new(NAME)
                .slot("reach", if is_strided { "multiples" } else { "every" })
                .slot("a", self.x.name())
                .slot("b", self.w.name())
                .slot("bias", if bias { "column" } else { "none" })
                .slot("activation", activation.name())
                .slot("store", self.out.name())
                .number("TILE_C", channels)
                .number("TILE_P", width)
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
        let [_, group_out] = self.group_channels();
        let channels = u64::from(group_out.div_ceil(variant.get("TILE_C")));
        let widths = u64::from(self.made().positions().div_ceil(variant.get("TILE_P")));
        let images = u64::from(self.shape.batch) * u64::from(self.shape.groups);
        (images * channels * widths).div_ceil(variant.get("WORKGROUP_SIZE").into())
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        let [channels, width] = ["TILE_C", "TILE_P"].map(|name| u64::from(variant.get(name)));
        let [group_in, _] = self.group_channels().map(u64::from);
        let [rows, columns] = self.shape.kernel.map(u64::from);
        let terms = looped(width, 0) + looped(channels, looped(width, 0));
        let around = looped(width, 0) + looped(channels, 0) + looped(channels, looped(width, 0));
        Iterations {
            unrolled: looped(rows, looped(columns, looped(group_in, 0))),
            rolled: around
                + looped(
                    rows,
                    looped(columns, looped(width, 0) + looped(group_in, terms)),
                ),
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let mut values = Vec::new();
        self.for_each_sum(operands, |channel, sum, error| {
            values.push(self.finish(operands, channel, (sum, error)).0);
        });
        vec![Output::new(OUT, stored(self.out, values))]
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        let mut errors = Vec::new();
        self.for_each_sum(operands, |channel, sum, error| {
            errors.push(self.finish(operands, channel, (sum, error)).1);
        });
        vec![Bound::Absolute(errors)]
    }

    fn cost(&self) -> Cost {
        Cost {
            operations: self.shape.operations(),
            bytes: slot_bytes(&self.slots()),
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let limits = (max_bytes, alignment);
        parts(self.shape.batch, &self.slots(), &[W, BIAS], limits, |run| {
            let shape = ConvShape {
                batch: run.end - run.start,
                ..self.shape
            };
            Arc::new(Self { shape, ..*self })
        })
    }
}

/// The convolution that a workload asks for, and the rest of its words: 3 by 3 with padding 1 by default.
pub(super) fn asked(asked: &mut Workload<'_>) -> Result<ConvShape, WorkloadError> {
    let [batch, in_channels, out_channels, side] = asked.extents("BATCHxINxOUTxSIDE")?;
    let kernel = asked.choose(&[("k1", 1), ("k3", 3), ("k5", 5), ("k7", 7)]);
    let kernel = kernel.unwrap_or(3);
    let stride = asked.choose(&[("s1", 1), ("s2", 2)]).unwrap_or(1);
    let depthwise = asked.choose(&[("depthwise", ())]).is_some();
    Ok(ConvShape {
        batch,
        in_channels,
        out_channels,
        groups: if depthwise { in_channels } else { 1 },
        input: [side; 2],
        kernel: [kernel; 2],
        steps: Steps {
            stride: [stride; 2],
            padding: [kernel / 2; 2],
            dilation: [1; 2],
        },
    })
}

fn workload(words: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let shape = asked(words)?;
    let forward = Direction::Forward {
        bias: false,
        activation: Activation::Identity,
    };
    let directions = [("forward", forward), ("backward", Direction::Backward)];
    let direction = words.choose(&directions).unwrap_or(forward);
    let x = words.float().unwrap_or(FloatType::F32);
    let w = words.float().unwrap_or(x);
    let conv = Conv2d {
        shape,
        direction,
        x,
        w,
        out: FloatType::F32,
    };
    Ok(conv.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "convolution of images with stride, padding, dilation and groups, and the gradient of its input",
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

    const CONV: Conv2d = Conv2d {
        shape: ConvShape {
            batch: 9,
            in_channels: 4,
            out_channels: 6,
            groups: 2,
            input: [8, 10],
            kernel: [3, 3],
            steps: Steps {
                stride: [2, 1],
                padding: [1, 1],
                dilation: [1, 2],
            },
        },
        direction: Direction::Backward,
        x: FloatType::F32,
        w: FloatType::F16,
        out: FloatType::F16,
    };

    #[test]
    fn rejects_16_bit_results_whose_channels_share_words() {
        let shape = ConvShape {
            input: [9, 11],
            ..CONV.shape
        };
        let odd = Conv2d { shape, ..CONV }.launch();
        let message =
            "conv2d: positions of a channel = 99 is not a multiple of elements in a word, 2";
        assert_eq!(odd.expect_err("odd").to_string(), message);
        assert!(CONV.launch().is_ok());
    }

    #[test]
    fn the_largest_tile_that_is_mostly_full_comes_first_on_a_cpu() {
        let software = Capabilities {
            software: true,
            ..Capabilities::portable()
        };
        let first = |in_channels, out_channels, groups| {
            let shape = ConvShape {
                batch: 64,
                in_channels,
                out_channels,
                groups,
                ..CONV.shape
            };
            let forward = Direction::Forward {
                bias: false,
                activation: Activation::Identity,
            };
            let conv = Conv2d {
                shape,
                direction: forward,
                out: FloatType::F32,
                ..CONV
            };
            let variant = conv.variants(&software).remove(0);
            (variant.get("TILE_C"), variant.get("TILE_P"))
        };
        assert_eq!(first(16, 32, 1), (8, 8));
        assert_eq!(first(16, 16, 16), (1, 8));
    }

    #[test]
    fn parts_make_what_the_whole_makes() {
        let launch = CONV.launch().expect("valid");
        let dy = FloatType::F32.pack(&DataKind::Normal.values(1, 9 * 6 * 4 * 8));
        let w = FloatType::F16.pack(&DataKind::Normal.values(2, 6 * 2 * 9));
        assert!(check_parts(launch.as_ref(), &[(X, dy), (W, w)], 4096, 256) > 2);
    }
}
