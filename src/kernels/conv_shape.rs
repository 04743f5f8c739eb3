//! Extents of a two-dimensional convolution, as PyTorch means them, and which element meets which.
//!
//! x is `[batch, in_channels, height, width]`, the weight `[out_channels, in_channels / groups, kernel height,
//! kernel width]`, the result `[batch, out_channels, out height, out width]`. Result row y and tap r meet row
//! `y stride + r dilation - padding` of x; columns likewise; what lies outside x is zero.

use super::shape::{ShapeError, check_extents, check_index, check_multiple};

/// Largest extent with its padding, and largest stride: sums of places stay within 32 bits.
const MAX_EXTENT: u64 = 1 << 30;

/// Longest sum: past it a f32 sum has no bound worth the name.
pub(super) const MAX_TERMS: u64 = 1 << 22;

/// How a window moves over height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// Places from one window to the next.
    pub stride: [u32; 2],
    /// Places added before and after.
    pub padding: [u32; 2],
    /// Places from one tap to the next.
    pub dilation: [u32; 2],
}

impl Default for Steps {
    fn default() -> Self {
        Self {
            stride: [1; 2],
            padding: [0; 2],
            dilation: [1; 2],
        }
    }
}

impl Steps {
    /// Result extents of windows of `kernel` over `input`; 0 where no window fits.
    pub fn output(&self, input: [u32; 2], kernel: [u32; 2]) -> [u32; 2] {
        [0, 1].map(|axis| {
            let padded = u64::from(input[axis]) + 2 * u64::from(self.padding[axis]);
            let reach = reach(kernel[axis], self.dilation[axis]);
            let stride = u64::from(self.stride[axis]).max(1);
            match padded.checked_sub(reach) {
                Some(rest) => u32::try_from(rest / stride + 1).unwrap_or(0),
                None => 0,
            }
        })
    }

    /// Refuses extents of zero or past 2^30, and windows larger than the padded input.
    pub(super) fn check(
        &self,
        name: &'static str,
        input: [u32; 2],
        kernel: [u32; 2],
    ) -> Result<(), ShapeError> {
        const AXES: [[&str; 5]; 2] = [
            [
                "height",
                "kernel height",
                "stride",
                "dilation",
                "padded height",
            ],
            [
                "width",
                "kernel width",
                "stride",
                "dilation",
                "padded width",
            ],
        ];
        for (axis, names) in AXES.into_iter().enumerate() {
            let values = [
                input[axis],
                kernel[axis],
                self.stride[axis],
                self.dilation[axis],
            ]
            .map(u64::from);
            let extents: Vec<(&'static str, u64)> = names.into_iter().zip(values).collect();
            check_extents(name, &extents)?;
            let padded = values[0] + 2 * u64::from(self.padding[axis]);
            for (what, value) in [(names[4], padded), ("stride", values[2])] {
                if value > MAX_EXTENT {
                    return Err(ShapeError::TooLarge {
                        kernel: name,
                        name: what,
                        value,
                        limit: MAX_EXTENT,
                        reason: "places are 32-bit integers",
                    });
                }
            }
            let reach = reach(kernel[axis], self.dilation[axis]);
            if reach > padded {
                return Err(ShapeError::TooLarge {
                    kernel: name,
                    name: "window (kernel - 1) * dilation + 1",
                    value: reach,
                    limit: padded,
                    reason: "input and padding",
                });
            }
        }
        Ok(())
    }

    /// The place of the input that result `at` meets through `tap`, along one axis of `extent` places.
    pub(super) fn input_at(
        &self,
        axis: usize,
        extent: u32,
        (at, tap): (usize, usize),
    ) -> Option<usize> {
        let place = at * self.stride[axis] as usize + tap * self.dilation[axis] as usize;
        let place = place.checked_sub(self.padding[axis] as usize)?;
        (place < extent as usize).then_some(place)
    }

    /// The place of the result, of `extent`, that meets input `at` through `tap`: the way back.
    pub(super) fn output_at(
        &self,
        axis: usize,
        extent: u32,
        (at, tap): (usize, usize),
    ) -> Option<usize> {
        let place = at + self.padding[axis] as usize;
        let place = place.checked_sub(tap * self.dilation[axis] as usize)?;
        let stride = self.stride[axis] as usize;
        (place % stride == 0 && place / stride < extent as usize).then_some(place / stride)
    }

    /// Suffix of printed shapes: what is not the default.
    pub(super) fn describe(&self) -> String {
        let usual = Self::default();
        let mut text = String::new();
        for (name, own, usual) in [
            ("stride", self.stride, usual.stride),
            ("padding", self.padding, usual.padding),
            ("dilation", self.dilation, usual.dilation),
        ] {
            if own != usual {
                text.push_str(&format!(" {name}={}x{}", own[0], own[1]));
            }
        }
        text
    }
}

/// Places that a window spans.
fn reach(kernel: u32, dilation: u32) -> u64 {
    u64::from(kernel).saturating_sub(1) * u64::from(dilation) + 1
}

/// Extents of one convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// Images.
    pub batch: u32,
    /// Channels of x.
    pub in_channels: u32,
    /// Channels of the result.
    pub out_channels: u32,
    /// Parts that channels are divided in; a part of the result sees its part of x only.
    pub groups: u32,
    /// Height and width of x.
    pub input: [u32; 2],
    /// Height and width of the kernel.
    pub kernel: [u32; 2],
    /// How the kernel moves.
    pub steps: Steps,
}

impl ConvShape {
    /// Height and width of the result; 0 where the kernel does not fit.
    pub fn output(&self) -> [u32; 2] {
        self.steps.output(self.input, self.kernel)
    }

    /// Elements of one image of x, of one of the result, and of the weight.
    pub(super) fn elements(&self) -> [u64; 3] {
        let [height, width] = self.input.map(u64::from);
        let [out_height, out_width] = self.output().map(u64::from);
        let weights = u64::from(self.out_channels) * u64::from(self.in_channels / self.groups);
        [
            u64::from(self.in_channels) * height * width,
            u64::from(self.out_channels) * out_height * out_width,
            weights * self.taps(),
        ]
    }

    /// Taps of the kernel.
    pub(super) fn taps(&self) -> u64 {
        u64::from(self.kernel[0]) * u64::from(self.kernel[1])
    }

    /// Multiplies and adds of all products, those with padding included.
    pub(super) fn operations(&self) -> f64 {
        let [_, out, _] = self.elements();
        let terms = f64::from(self.in_channels / self.groups) * self.taps() as f64;
        2.0 * f64::from(self.batch) * out as f64 * terms
    }

    /// Refuses what no kernel here can index.
    pub(crate) fn check(&self, name: &'static str) -> Result<(), ShapeError> {
        check_extents(
            name,
            &[
                ("batch", self.batch.into()),
                ("input channels", self.in_channels.into()),
                ("output channels", self.out_channels.into()),
                ("groups", self.groups.into()),
            ],
        )?;
        self.steps.check(name, self.input, self.kernel)?;
        let groups = ("groups", u64::from(self.groups));
        check_multiple(name, ("input channels", self.in_channels.into()), groups)?;
        check_multiple(name, ("output channels", self.out_channels.into()), groups)?;
        // Two factors at a time: three could pass the 64 bits they are multiplied in.
        let product = |[height, width]: [u32; 2]| u64::from(height) * u64::from(width);
        let [batch, inputs, outputs] =
            [self.batch, self.in_channels, self.out_channels].map(u64::from);
        check_index(name, "height * width", product(self.input))?;
        check_index(name, "result height * width", product(self.output()))?;
        check_index(name, "kernel height * width", self.taps())?;
        let pairs = outputs * u64::from(self.in_channels / self.groups);
        check_index(name, "output channels * input channels / groups", pairs)?;
        let [x, result, weights] = self.elements();
        check_index(name, "elements of an image", x)?;
        check_index(name, "elements of a result", result)?;
        check_index(name, "elements of the weight", weights)?;
        check_index(name, "elements of x", batch * x)?;
        check_index(name, "elements of the result", batch * result)?;
        let terms = inputs.max(outputs) / u64::from(self.groups) * self.taps();
        if terms > MAX_TERMS {
            return Err(ShapeError::TooLarge {
                kernel: name,
                name: "channels / groups * kernel height * width",
                value: terms,
                limit: MAX_TERMS,
                reason: "longer f32 sums have no useful error bound",
            });
        }
        Ok(())
    }

    /// Extents and steps, for messages and labels.
    pub(super) fn describe(&self) -> String {
        let Self {
            batch,
            in_channels,
            out_channels,
            groups,
            input: [height, width],
            kernel: [kernel_height, kernel_width],
            steps,
        } = self;
        let groups = if *groups == 1 {
            String::new()
        } else {
            format!(" groups={groups}")
        };
        format!(
            "batch={batch} channels={in_channels}to{out_channels}{groups} image={height}x{width} kernel={kernel_height}x{kernel_width}{}",
            steps.describe()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ConvShape = ConvShape {
        batch: 2,
        in_channels: 6,
        out_channels: 4,
        groups: 2,
        input: [9, 11],
        kernel: [3, 2],
        steps: Steps {
            stride: [2, 1],
            padding: [1, 0],
            dilation: [1, 2],
        },
    };

    #[test]
    fn extents_of_the_result_are_those_of_torch() {
        assert_eq!(SHAPE.output(), [5, 9]);
        let steps = Steps {
            dilation: [2; 2],
            ..Steps::default()
        };
        assert_eq!(steps.output([10, 10], [3, 3]), [6, 6]);
        assert_eq!(steps.output([4, 10], [3, 3]), [0, 6]);
    }

    #[test]
    fn the_way_back_leads_to_every_result_that_a_place_is_part_of() {
        let mut pairs = 0;
        for axis in 0..2 {
            let (input, output) = (SHAPE.input[axis], SHAPE.output()[axis]);
            for tap in 0..SHAPE.kernel[axis] as usize {
                for at in 0..output as usize {
                    if let Some(place) = SHAPE.steps.input_at(axis, input, (at, tap)) {
                        let back = SHAPE.steps.output_at(axis, output, (place, tap));
                        assert_eq!(back, Some(at));
                        pairs += 1;
                    }
                }
                for place in 0..input as usize {
                    if let Some(at) = SHAPE.steps.output_at(axis, output, (place, tap)) {
                        let there = SHAPE.steps.input_at(axis, input, (at, tap));
                        assert_eq!(there, Some(place));
                    }
                }
            }
        }
        assert_eq!(pairs, 13 + 18);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let name = |shape: ConvShape| shape.check("conv2d").expect_err("refused").to_string();
        let zero = ConvShape {
            steps: Steps {
                stride: [0, 1],
                ..SHAPE.steps
            },
            ..SHAPE
        };
        assert_eq!(name(zero), "conv2d: stride is 0, at least 1 is needed");
        let large = ConvShape {
            kernel: [12, 1],
            ..SHAPE
        };
        assert_eq!(
            name(large),
            "conv2d: window (kernel - 1) * dilation + 1 = 12 is over the limit of 11 (input and padding)"
        );
        let uneven = ConvShape { groups: 4, ..SHAPE };
        assert_eq!(
            name(uneven),
            "conv2d: input channels = 6 is not a multiple of groups 4"
        );
        let padded = ConvShape {
            steps: Steps {
                padding: [1, u32::MAX],
                ..SHAPE.steps
            },
            ..SHAPE
        };
        assert!(matches!(
            padded.check("conv2d"),
            Err(ShapeError::TooLarge {
                name: "padded width",
                ..
            })
        ));
        let many = ConvShape {
            batch: u32::MAX,
            ..SHAPE
        };
        assert!(matches!(
            many.check("conv2d"),
            Err(ShapeError::TooLarge {
                name: "elements of x",
                ..
            })
        ));
        assert_eq!(SHAPE.check("conv2d"), Ok(()));
    }
}
