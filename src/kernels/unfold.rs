//! Windows of images as rows: what a convolution multiplies with a filter, element by element.
//!
//! x is `[images, channels, height, width]`; row `(image, y, x)` of the result holds `channels` times the window
//! there, as `[channels, kernel height, kernel width]`, which is the order of a filter's elements. Places outside
//! x are zero. Elements are 32-bit words that are moved, never computed with.
//!
//! A window as high as an image of one channel and one column wide turns `[images, rows, columns]` into
//! `[images, columns, rows]`.

use std::sync::Arc;

use crate::record::{
    Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, Values, params,
};
use crate::shader::{Capabilities, Edit, Variant};

use super::conv_shape::Steps;
use super::rows::{parts, read, slot_bytes, write};
use super::shape::{ShapeError, check_extents, check_index};
use super::{Case, DataKind, Effort, Kernel, Workload, WorkloadError};

const NAME: &str = "unfold";
const X: u32 = 1;
const OUT: u32 = 8;

params! {
    struct Params {
        count: u32,
        channels: u32,
        height: u32,
        width: u32,
        out_height: u32,
        out_width: u32,
        kernel_height: u32,
        kernel_width: u32,
        stride_y: u32,
        stride_x: u32,
        padding_y: u32,
        padding_x: u32,
        dilation_y: u32,
        dilation_x: u32,
    }
}

/// Images and the windows over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfold {
    /// Images.
    pub images: u32,
    /// Planes of an image.
    pub channels: u32,
    /// Height and width of a plane.
    pub input: [u32; 2],
    /// Height and width of a window.
    pub kernel: [u32; 2],
    /// How windows move.
    pub steps: Steps,
}

impl Unfold {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, windows larger than the padded image, and more elements than 32 bits
    /// index.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let extents = [
            ("images", self.images.into()),
            ("channels", self.channels.into()),
        ];
        check_extents(NAME, &extents)?;
        self.steps.check(NAME, self.input, self.kernel)?;
        let wide = |values: [u32; 2]| values.map(u64::from).iter().product::<u64>();
        let times = |a: u64, b: u64| a.saturating_mul(b);
        let planes = u64::from(self.images) * u64::from(self.channels);
        check_index(NAME, "elements of x", times(planes, wide(self.input)))?;
        let windows = wide(self.steps.output(self.input, self.kernel));
        let elements = times(times(planes, windows), wide(self.kernel));
        check_index(NAME, "elements of all windows", elements)?;
        Ok(Arc::new(self))
    }

    /// Rows and columns of the result.
    pub fn output(&self) -> [usize; 2] {
        let [height, width] = self.steps.output(self.input, self.kernel);
        let taps = self
            .kernel
            .map(|one| one as usize)
            .iter()
            .product::<usize>();
        [
            self.images as usize * height as usize * width as usize,
            self.channels as usize * taps,
        ]
    }

    fn count(&self) -> usize {
        self.output().iter().product()
    }

    /// Elements of x.
    fn elements(&self) -> usize {
        [self.images, self.channels, self.input[0], self.input[1]]
            .map(|one| one as usize)
            .iter()
            .product()
    }

    /// The place in x of an element of the result, `None` in the padding.
    fn source(&self, index: usize) -> Option<usize> {
        let [_, length] = self.output();
        let [_, out_width] = self
            .steps
            .output(self.input, self.kernel)
            .map(|one| one as usize);
        let [out_height, _] = self
            .steps
            .output(self.input, self.kernel)
            .map(|one| one as usize);
        let [kernel_height, kernel_width] = self.kernel.map(|one| one as usize);
        let (window, element) = (index / length, index % length);
        let (line, tap) = (window / out_width, element % (kernel_height * kernel_width));
        let row = (line % out_height, tap / kernel_width);
        let column = (window % out_width, tap % kernel_width);
        let row = self.steps.input_at(0, self.input[0], row)?;
        let column = self.steps.input_at(1, self.input[1], column)?;
        let plane =
            line / out_height * self.channels as usize + element / (kernel_height * kernel_width);
        Some((plane * self.input[0] as usize + row) * self.input[1] as usize + column)
    }
}

impl Launch for Unfold {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self {
            images,
            channels,
            input: [height, width],
            kernel: [kernel_height, kernel_width],
            steps,
        } = self;
        format!(
            "images={images} channels={channels} {height}x{width} kernel={kernel_height}x{kernel_width}{}",
            steps.describe()
        )
    }

    fn slots(&self) -> Vec<Slot> {
        vec![
            read(X, "x", 4 * self.elements() as u64),
            write(OUT, "out", 4 * self.count() as u64),
        ]
    }

    fn params(&self) -> Vec<u8> {
        let [out_height, out_width] = self.steps.output(self.input, self.kernel);
        let params = Params {
            count: self.count() as u32,
            channels: self.channels,
            height: self.input[0],
            width: self.input[1],
            out_height,
            out_width,
            kernel_height: self.kernel[0],
            kernel_width: self.kernel[1],
            stride_y: self.steps.stride[0],
            stride_x: self.steps.stride[1],
            padding_y: self.steps.padding[0],
            padding_x: self.steps.padding[1],
            dilation_y: self.steps.dilation[0],
            dilation_x: self.steps.dilation[1],
        };
        bytemuck::bytes_of(&params).to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, _: &Capabilities) -> Vec<Variant> {
        vec![Variant::new(NAME).number("WORKGROUP_SIZE", 64)]
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        (self.count() as u64).div_ceil(u64::from(variant.get("WORKGROUP_SIZE")))
    }

    fn iterations(&self, _: &Variant) -> Iterations {
        Iterations::default()
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let x = operands.words(X);
        let element = |index| self.source(index).map_or(0, |place| x[place]);
        let out = (0..self.count()).map(element).collect();
        vec![Output::new(OUT, Values::Words(out))]
    }

    fn bound(&self, _: &HostOperands<'_>) -> Vec<Bound> {
        vec![Bound::Exact]
    }

    fn cost(&self) -> Cost {
        Cost {
            operations: 0.0,
            bytes: slot_bytes(&self.slots()),
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let limits = (max_bytes, alignment);
        parts(self.images, &self.slots(), &[], limits, |run| {
            let images = run.end - run.start;
            Arc::new(Self { images, ..*self })
        })
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [images, channels, height, width] = asked.extents("IMAGESxCHANNELSxHEIGHTxWIDTH")?;
    let side = asked
        .choose(&[("k3", 3), ("k1", 1), ("k5", 5)])
        .unwrap_or(3);
    let steps = Steps {
        padding: [(side - 1) / 2; 2],
        ..Steps::default()
    };
    let unfold = Unfold {
        images,
        channels,
        input: [height, width],
        kernel: [side; 2],
        steps,
    };
    Ok(unfold.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "windows of images as rows, for convolutions as products with weights in any format",
    workload,
    cases,
    broken: BROKEN,
    expected_failures: &[],
};

fn cases(effort: Effort) -> Vec<Case> {
    let plain = Unfold {
        images: 1,
        channels: 1,
        input: [1, 1],
        kernel: [1, 1],
        steps: Steps::default(),
    };
    let padded = |padding| Steps {
        padding,
        ..Steps::default()
    };
    let mut shapes = vec![
        plain,
        Unfold {
            images: 3,
            channels: 2,
            input: [5, 7],
            kernel: [3, 3],
            steps: padded([1, 1]),
        },
        Unfold {
            images: 2,
            channels: 3,
            input: [9, 6],
            kernel: [3, 2],
            steps: Steps {
                stride: [2, 3],
                padding: [2, 1],
                dilation: [2, 1],
            },
        },
        // A transposition of each image.
        Unfold {
            images: 5,
            input: [7, 9],
            kernel: [7, 1],
            ..plain
        },
        // Whole images of 256 bytes, so that a binding limit can cut between them.
        Unfold {
            images: 40,
            channels: 1,
            input: [8, 8],
            kernel: [3, 3],
            steps: padded([1, 1]),
        },
    ];
    if effort == Effort::Full {
        shapes.extend([
            Unfold {
                images: 2,
                channels: 16,
                input: [28, 28],
                kernel: [3, 3],
                steps: padded([1, 1]),
            },
            Unfold {
                images: 1,
                channels: 3,
                input: [31, 65],
                kernel: [5, 4],
                steps: Steps {
                    stride: [1, 2],
                    padding: [4, 0],
                    dilation: [2, 3],
                },
            },
            Unfold {
                images: 64,
                input: [49, 64],
                kernel: [49, 1],
                ..plain
            },
        ]);
    }
    shapes.into_iter().filter_map(case).collect()
}

/// The case; `None` only when the shape itself is refused, which the shape tests cover.
fn case(unfold: Unfold) -> Option<Case> {
    let launch = unfold.launch().ok()?;
    let words = (0..unfold.elements() as u32)
        .map(|index| (index + 1).wrapping_mul(0x9e37_79b9))
        .collect();
    Some(Case::new(launch, vec![(X, words)], DataKind::Integers))
}

const BROKEN: &[Edit] = &[
    Edit {
        name: "padding_is_not_zero",
        module: NAME,
        find: "row >= params.padding_y && row - params.padding_y < params.height",
        replace: "row - params.padding_y < params.height + 1u",
    },
    Edit {
        name: "columns_wrap_into_the_next_row",
        module: NAME,
        find: "column - params.padding_x < params.width",
        replace: "column - params.padding_x <= params.width",
    },
    Edit {
        name: "first_channel_only",
        module: NAME,
        find: "image * params.channels + element / taps",
        replace: "image * params.channels",
    },
    Edit {
        name: "first_image_only",
        module: NAME,
        find: "image * params.channels + element / taps",
        replace: "element / taps",
    },
    Edit {
        name: "taps_turned",
        module: NAME,
        find: "tap / params.kernel_width * params.dilation_y",
        replace: "tap % params.kernel_height * params.dilation_y",
    },
    Edit {
        name: "stride_ignored",
        module: NAME,
        find: "window % params.out_width * params.stride_x",
        replace: "window % params.out_width",
    },
    Edit {
        name: "rows_of_windows_counted_wrong",
        module: NAME,
        find: "window / params.out_width;",
        replace: "window / params.width;",
    },
    Edit {
        name: "dilation_ignored",
        module: NAME,
        find: "* params.dilation_y",
        replace: "* 1u",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::parts_test::check_parts;

    fn run(unfold: Unfold, x: &[u32]) -> Vec<u32> {
        let launch = unfold.launch().expect("valid");
        let mut operands = HostOperands::default();
        operands.insert(X, x);
        let mut out = vec![9; unfold.count()];
        launch.reference(&operands)[0].store(&mut out);
        out
    }

    #[test]
    fn windows_are_rows_in_the_order_of_filters() {
        let unfold = Unfold {
            images: 1,
            channels: 2,
            input: [2, 3],
            kernel: [2, 2],
            steps: Steps::default(),
        };
        let x: Vec<u32> = (1..=12).collect();
        assert_eq!(unfold.output(), [2, 8]);
        assert_eq!(
            run(unfold, &x),
            [1, 2, 4, 5, 7, 8, 10, 11, 2, 3, 5, 6, 8, 9, 11, 12]
        );
        let padded = Unfold {
            channels: 1,
            input: [1, 1],
            steps: Steps {
                padding: [1, 1],
                ..Steps::default()
            },
            ..unfold
        };
        let corners = [0, 0, 0, 5, 0, 0, 5, 0, 0, 5, 0, 0, 5, 0, 0, 0];
        assert_eq!(run(padded, &[5]), corners);
    }

    #[test]
    fn windows_of_whole_columns_turn_each_image() {
        let turned = Unfold {
            images: 2,
            channels: 1,
            input: [2, 3],
            kernel: [2, 1],
            steps: Steps::default(),
        };
        let x: Vec<u32> = (1..=12).collect();
        assert_eq!(run(turned, &x), [1, 4, 2, 5, 3, 6, 7, 10, 8, 11, 9, 12]);
    }

    #[test]
    fn refuses_windows_that_do_not_fit_and_more_elements_than_can_be_indexed() {
        let small = Unfold {
            images: 1,
            channels: 1,
            input: [2, 2],
            kernel: [3, 1],
            steps: Steps::default(),
        };
        assert!(small.launch().is_err());
        let large = Unfold {
            images: 1 << 16,
            channels: 1 << 8,
            input: [16, 16],
            kernel: [3, 3],
            steps: Steps::default(),
        };
        assert!(large.launch().is_err());
        assert!(Unfold { images: 0, ..small }.launch().is_err());
    }

    #[test]
    fn parts_make_what_the_whole_makes() {
        let unfold = Unfold {
            images: 40,
            channels: 1,
            input: [8, 8],
            kernel: [3, 3],
            steps: Steps {
                padding: [1, 1],
                ..Steps::default()
            },
        };
        let x: Vec<u32> = (0..40 * 64).collect();
        let launch = unfold.launch().expect("valid");
        assert!(check_parts(launch.as_ref(), &[(X, x)], 4096, 256) > 3);
    }
}
