//! Pooling of planes, as PyTorch means it: which places of a plane `[height, width]` each result sees.

use crate::record::params;
use crate::shader::Variant;

use super::conv_shape::{MAX_TERMS, Steps};
use super::shape::{ShapeError, check_extents, check_index};

params! {
    /// Uniform of both directions.
    struct Params {
        count: u32,
        height: u32,
        width: u32,
        out_height: u32,
        out_width: u32,
        kernel_height: u32,
        kernel_width: u32,
        padding_y: u32,
        padding_x: u32,
    }
}

/// Windows of one size that move over height and width. Windows that would pass the padding are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolWindow {
    /// Extents of a window.
    pub kernel: [u32; 2],
    /// Places from one window to the next.
    pub stride: [u32; 2],
    /// Places added before and after; at most half of the kernel, so that no window is empty.
    pub padding: [u32; 2],
}

impl PoolWindow {
    const fn steps(&self) -> Steps {
        Steps {
            stride: self.stride,
            padding: self.padding,
            dilation: [1; 2],
        }
    }
}

/// What is made of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Its largest element; NaN is the largest.
    Max(PoolWindow),
    /// The mean of its elements inside the plane.
    Average(PoolWindow),
    /// The mean with zeros in the padding.
    AveragePadded(PoolWindow),
    /// The mean of windows that share the plane as evenly as whole places allow, `height, width` of them:
    /// window i of m over n places is `floor(i n / m)` to `ceil((i + 1) n / m)`.
    Adaptive([u32; 2]),
}

/// Planes and how they are pooled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolShape {
    /// Planes: images times channels.
    pub planes: u32,
    /// Height and width of a plane of x.
    pub input: [u32; 2],
    /// What is made of which windows.
    pub pooling: Pooling,
}

impl Pooling {
    /// Windows of one size, if they are.
    pub(super) const fn window(&self) -> Option<&PoolWindow> {
        match self {
            Self::Max(window) | Self::Average(window) | Self::AveragePadded(window) => Some(window),
            Self::Adaptive(_) => None,
        }
    }

    /// Module of slots, and name in printed shapes.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Max(_) => "max",
            Self::Average(_) | Self::Adaptive(_) => "average",
            Self::AveragePadded(_) => "average_padded",
        }
    }
}

impl PoolShape {
    /// Height and width of the result; 0 where no window fits.
    pub fn output(&self) -> [u32; 2] {
        match &self.pooling {
            Pooling::Adaptive(output) => *output,
            Pooling::Max(window) | Pooling::Average(window) | Pooling::AveragePadded(window) => {
                window.steps().output(self.input, window.kernel)
            }
        }
    }

    /// Elements of a plane of x and of the result.
    pub(super) fn positions(&self) -> [u64; 2] {
        [self.input, self.output()].map(|[height, width]| u64::from(height) * u64::from(width))
    }

    /// Places of window `index` along an axis.
    pub(super) fn places(&self, axis: usize, index: usize) -> std::ops::Range<usize> {
        let extent = self.input[axis] as usize;
        match self.pooling.window() {
            Some(window) => {
                let [first, kernel, padding] = [
                    index * window.stride[axis] as usize,
                    window.kernel[axis] as usize,
                    window.padding[axis] as usize,
                ];
                first.saturating_sub(padding)..(first + kernel).min(extent + padding) - padding
            }
            None => {
                let count = self.output()[axis] as usize;
                index * extent / count..((index + 1) * extent).div_ceil(count)
            }
        }
    }

    /// What an element of a window is divided by, in a window of `inside` elements.
    pub(super) fn divisor(&self, inside: usize) -> f64 {
        match &self.pooling {
            Pooling::Max(_) => 1.0,
            Pooling::Average(_) | Pooling::Adaptive(_) => inside as f64,
            Pooling::AveragePadded(window) => {
                f64::from(window.kernel[0]) * f64::from(window.kernel[1])
            }
        }
    }

    /// Most places that a window has along each axis.
    pub(super) fn longest(&self) -> [u64; 2] {
        [0, 1].map(|axis| match self.pooling.window() {
            Some(window) => u64::from(window.kernel[axis].min(self.input[axis])),
            None => {
                let count = u64::from(self.output()[axis]);
                (u64::from(self.input[axis]) / count + 2).min(self.input[axis].into())
            }
        })
    }

    /// Most windows that a place lies in along each axis.
    pub(super) fn most_windows(&self) -> [u64; 2] {
        let output = self.output();
        [0, 1].map(|axis| {
            let count = u64::from(output[axis]);
            match self.pooling.window() {
                Some(window) => {
                    u64::from(window.kernel[axis].div_ceil(window.stride[axis])).min(count)
                }
                None => (count / u64::from(self.input[axis]) + 2).min(count),
            }
        })
    }

    /// Additions, comparisons and divisions of all windows.
    pub(super) fn operations(&self) -> f64 {
        let [height, width] = self.longest();
        let [_, results] = self.positions();
        f64::from(self.planes) * results as f64 * (height * width) as f64
    }

    /// Refuses what the kernels cannot index, and windows without an element.
    pub(crate) fn check(&self, name: &'static str) -> Result<(), ShapeError> {
        let [height, width] = self.input.map(u64::from);
        let extents = [
            ("planes", self.planes.into()),
            ("height", height),
            ("width", width),
        ];
        check_extents(name, &extents)?;
        match &self.pooling {
            Pooling::Adaptive(output) => {
                let [out_height, out_width] = output.map(u64::from);
                let extents = [("result height", out_height), ("result width", out_width)];
                check_extents(name, &extents)?;
                let products = [
                    ("height * result height", (height + 1) * (out_height + 1)),
                    ("width * result width", (width + 1) * (out_width + 1)),
                ];
                for (what, product) in products {
                    check_index(name, what, product)?;
                }
            }
            Pooling::Max(window) | Pooling::Average(window) | Pooling::AveragePadded(window) => {
                window.steps().check(name, self.input, window.kernel)?;
                for (padding, kernel) in window.padding.into_iter().zip(window.kernel) {
                    if padding > kernel / 2 {
                        return Err(ShapeError::TooLarge {
                            kernel: name,
                            name: "padding",
                            value: padding.into(),
                            limit: (kernel / 2).into(),
                            reason: "half of the kernel",
                        });
                    }
                }
                let area = u64::from(window.kernel[0]) * u64::from(window.kernel[1]);
                check_index(name, "kernel height * width", area)?;
            }
        }
        let [x, result] = self.positions();
        check_index(name, "height * width", x)?;
        check_index(name, "result height * width", result)?;
        check_index(name, "elements of x", u64::from(self.planes) * x)?;
        check_index(
            name,
            "elements of the result",
            u64::from(self.planes) * result,
        )?;
        for (what, [rows, columns]) in [
            ("elements of a window", self.longest()),
            ("windows of an element", self.most_windows()),
        ] {
            if rows * columns > MAX_TERMS {
                return Err(ShapeError::TooLarge {
                    kernel: name,
                    name: what,
                    value: rows * columns,
                    limit: MAX_TERMS,
                    reason: "longer f32 sums have no useful error bound",
                });
            }
        }
        Ok(())
    }

    /// Bytes of the uniform of a launch of `count` results.
    pub(super) fn params(&self, count: u32) -> Vec<u8> {
        let output = self.output();
        let none = PoolWindow {
            kernel: [0; 2],
            stride: [1; 2],
            padding: [0; 2],
        };
        let window = self.pooling.window().unwrap_or(&none);
        bytemuck::bytes_of(&Params {
            count,
            height: self.input[0],
            width: self.input[1],
            out_height: output[0],
            out_width: output[1],
            kernel_height: window.kernel[0],
            kernel_width: window.kernel[1],
            padding_y: window.padding[0],
            padding_x: window.padding[1],
        })
        .to_vec()
    }

    /// Members of the uniform.
    pub(super) const fn param_fields() -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    /// Fills the slot of windows: strides are constants, which divide faster.
    pub(super) fn choose(&self, variant: Variant) -> Variant {
        match self.pooling.window() {
            None => variant.slot("window", "adaptive"),
            Some(window) => variant
                .slot("window", "moving")
                .number("STRIDE_Y", window.stride[0])
                .number("STRIDE_X", window.stride[1]),
        }
    }

    /// The same with other planes.
    pub(super) const fn of(&self, planes: u32) -> Self {
        Self { planes, ..*self }
    }

    /// Extents and windows, for messages and labels.
    pub(super) fn describe(&self) -> String {
        let [height, width] = self.input;
        let windows = match &self.pooling {
            Pooling::Adaptive([height, width]) => format!("adaptive to {height}x{width}"),
            Pooling::Max(window) | Pooling::Average(window) | Pooling::AveragePadded(window) => {
                let [kernel_height, kernel_width] = window.kernel;
                let steps = window.steps().describe();
                let name = self.pooling.name();
                format!("{name} {kernel_height}x{kernel_width}{steps}")
            }
        };
        format!("{windows} planes={} plane={height}x{width}", self.planes)
    }

    /// Shapes that both directions are tried on.
    pub(super) fn cases(full: bool) -> Vec<Self> {
        let window = |kernel, stride, padding| PoolWindow {
            kernel,
            stride,
            padding,
        };
        let mut shapes = Vec::new();
        for (planes, input, window) in [
            (1, [1, 1], window([1; 2], [1; 2], [0; 2])),
            (6, [9, 8], window([3; 2], [2; 2], [1; 2])),
            (24, [8, 8], window([2; 2], [2; 2], [0; 2])),
            // Places that no window sees, and some that many do.
            (3, [10, 7], window([1, 4], [3, 1], [0, 2])),
            (5, [5, 9], window([5, 3], [1, 3], [2, 0])),
        ] {
            for pooling in [
                Pooling::Max(window),
                Pooling::Average(window),
                Pooling::AveragePadded(window),
            ] {
                shapes.push(Self {
                    planes,
                    input,
                    pooling,
                });
            }
        }
        for (planes, input, output) in [
            (6, [5, 7], [1, 1]),
            (3, [7, 10], [3, 4]),
            (2, [3, 4], [5, 7]),
        ] {
            shapes.push(Self {
                planes,
                input,
                pooling: Pooling::Adaptive(output),
            });
        }
        if full {
            shapes.push(Self {
                planes: 64,
                input: [28, 28],
                pooling: Pooling::Max(window([2; 2], [2; 2], [0; 2])),
            });
        }
        shapes
    }
}

/// As the shaders' `pool_key`: decides which of two elements is larger.
pub(super) fn pool_key(value: f32) -> u32 {
    if value.is_nan() {
        return u32::MAX;
    }
    let bits = if value == 0.0 { 0 } else { value.to_bits() };
    bits ^ if bits >> 31 == 0 { 1 << 31 } else { u32::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_a_place_are_those_that_hold_it() {
        for shape in PoolShape::cases(true) {
            let output = shape.output();
            let (longest, most) = (shape.longest(), shape.most_windows());
            for axis in 0..2 {
                let mut seen = vec![0; shape.input[axis] as usize];
                for index in 0..output[axis] as usize {
                    let places = shape.places(axis, index);
                    assert!(!places.is_empty() && places.len() as u64 <= longest[axis]);
                    places.for_each(|place| seen[place] += 1);
                }
                assert!(seen.into_iter().all(|count| count <= most[axis]));
            }
        }
    }

    #[test]
    fn keys_are_in_the_order_of_values_with_nan_last() {
        let values = [
            f32::NEG_INFINITY,
            -1.0,
            -1e-40,
            0.0,
            1e-40,
            2.0,
            f32::INFINITY,
            f32::NAN,
        ];
        assert!(
            values
                .windows(2)
                .all(|pair| pool_key(pair[0]) < pool_key(pair[1]))
        );
        assert_eq!(pool_key(-0.0), pool_key(0.0));
        assert_eq!(pool_key(-f32::NAN), u32::MAX);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let window = PoolWindow {
            kernel: [3; 2],
            stride: [1; 2],
            padding: [1, 2],
        };
        let shape = PoolShape {
            planes: 1,
            input: [5; 2],
            pooling: Pooling::Max(window),
        };
        let error = shape.check("pool2d").expect_err("2 of 3");
        assert_eq!(
            error.to_string(),
            "pool2d: padding = 2 is over the limit of 1 (half of the kernel)"
        );
        let adaptive = PoolShape {
            pooling: Pooling::Adaptive([0, 1]),
            ..shape
        };
        assert!(matches!(
            adaptive.check("pool2d"),
            Err(ShapeError::Zero {
                name: "result height",
                ..
            })
        ));
    }
}
