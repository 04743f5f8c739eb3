//! Pooling of images and the gradients through it. x is `[.., height, width]`: every plane by itself.

use crate::kernels::pool2d::Pool2d;
use crate::kernels::pool2d_backward::Pool2dBackward;
use crate::kernels::{FloatType, PoolShape, PoolWindow, Pooling};
use crate::record::{Recording, Tensor};

use super::super::matmul::float;
use super::super::{OpError, check_shape, extent};
use super::conv::pair;

/// Windows that move over height and width, as PyTorch's do with `ceil_mode` off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool2dOptions {
    /// Height and width of a window.
    pub kernel: [usize; 2],
    /// Places from one window to the next; PyTorch's default is the kernel.
    pub stride: [usize; 2],
    /// Places added before and after; at most half of the kernel.
    pub padding: [usize; 2],
    /// Storage of the result.
    pub out: FloatType,
}

impl Pool2dOptions {
    /// Square windows side by side, without padding.
    pub const fn square(side: usize) -> Self {
        Self {
            kernel: [side; 2],
            stride: [side; 2],
            padding: [0; 2],
            out: FloatType::F32,
        }
    }

    fn window(&self, op: &'static str) -> Result<PoolWindow, OpError> {
        Ok(PoolWindow {
            kernel: pair(op, ["kernel height", "kernel width"], self.kernel)?,
            stride: pair(op, ["stride"; 2], self.stride)?,
            padding: pair(op, ["padding"; 2], self.padding)?,
        })
    }
}

/// What a mean over a window that reaches into the padding is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AverageOver {
    /// All places of the window, those of the padding being zero: PyTorch's `count_include_pad`, its default.
    #[default]
    Kernel,
    /// The elements inside the image.
    Inside,
}

impl AverageOver {
    const fn pooling(self, window: PoolWindow) -> Pooling {
        match self {
            Self::Kernel => Pooling::AveragePadded(window),
            Self::Inside => Pooling::Average(window),
        }
    }
}

/// The largest element of each window; NaN is the largest.
///
/// # Errors
/// [`OpError`] for tensors that are not float or have less than two dimensions, windows larger than the padded
/// image, strides of 0 and padding of more than half a window; nothing is recorded then.
pub fn max_pool2d(
    recording: &mut Recording,
    x: &Tensor,
    options: &Pool2dOptions,
) -> Result<Tensor, OpError> {
    const OP: &str = "max_pool2d";
    let pooling = Pooling::Max(options.window(OP)?);
    pool(recording, OP, x, pooling, options.out)
}

/// The gradient of x, from x and the gradient `dy` of what [`max_pool2d`] gave: the first of equal maxima takes
/// all, as in PyTorch. The result has the type `options.out`.
///
/// # Errors
/// As [`max_pool2d`]; nothing is recorded then.
pub fn max_pool2d_backward(
    recording: &mut Recording,
    x: &Tensor,
    dy: &Tensor,
    options: &Pool2dOptions,
) -> Result<Tensor, OpError> {
    const OP: &str = "max_pool2d_backward";
    let pooling = Pooling::Max(options.window(OP)?);
    backward(
        recording,
        OP,
        (Some(x), dy),
        (x.shape(), pooling),
        options.out,
    )
}

/// The mean of each window.
///
/// # Errors
/// As [`max_pool2d`]; nothing is recorded then.
pub fn avg_pool2d(
    recording: &mut Recording,
    x: &Tensor,
    options: &Pool2dOptions,
    over: AverageOver,
) -> Result<Tensor, OpError> {
    const OP: &str = "avg_pool2d";
    let pooling = over.pooling(options.window(OP)?);
    pool(recording, OP, x, pooling, options.out)
}

/// The gradient of an x shaped `x_shape`, from the gradient `dy` of what [`avg_pool2d`] gave; the result has
/// the type `options.out`.
///
/// # Errors
/// As [`max_pool2d`]; nothing is recorded then.
pub fn avg_pool2d_backward(
    recording: &mut Recording,
    dy: &Tensor,
    x_shape: &[usize],
    options: &Pool2dOptions,
    over: AverageOver,
) -> Result<Tensor, OpError> {
    const OP: &str = "avg_pool2d_backward";
    let pooling = over.pooling(options.window(OP)?);
    backward(recording, OP, (None, dy), (x_shape, pooling), options.out)
}

/// Means of `[height, width]` windows that share the image as evenly as whole places allow, as PyTorch's
/// `AdaptiveAvgPool2d`; the result has the type `out`.
///
/// # Errors
/// As [`max_pool2d`], and for a result of height or width 0; nothing is recorded then.
pub fn adaptive_avg_pool2d(
    recording: &mut Recording,
    x: &Tensor,
    output: [usize; 2],
    out: FloatType,
) -> Result<Tensor, OpError> {
    const OP: &str = "adaptive_avg_pool2d";
    pool(recording, OP, x, adaptive(OP, output)?, out)
}

/// The gradient of an x shaped `x_shape`, from the gradient `dy` of what [`adaptive_avg_pool2d`] gave.
///
/// # Errors
/// As [`adaptive_avg_pool2d`]; nothing is recorded then.
pub fn adaptive_avg_pool2d_backward(
    recording: &mut Recording,
    dy: &Tensor,
    x_shape: &[usize],
    out: FloatType,
) -> Result<Tensor, OpError> {
    const OP: &str = "adaptive_avg_pool2d_backward";
    let [.., height, width] = *dy.shape() else {
        return Err(wrong(OP, "dy", dy.shape()));
    };
    let pooling = adaptive(OP, [height, width])?;
    backward(recording, OP, (None, dy), (x_shape, pooling), out)
}

/// The mean of each plane of x `[batch, channels, height, width]`, `[batch, channels]`: what a head of a
/// network reads.
///
/// # Errors
/// As [`adaptive_avg_pool2d`]; nothing is recorded then.
pub fn global_avg_pool(
    recording: &mut Recording,
    x: &Tensor,
    out: FloatType,
) -> Result<Tensor, OpError> {
    const OP: &str = "global_avg_pool";
    let means = pool(recording, OP, x, Pooling::Adaptive([1; 2]), out)?;
    let planes = &means.shape()[..means.shape().len() - 2];
    Ok(Tensor::of_buffer(
        means.buffer().clone(),
        means.dtype(),
        planes,
    ))
}

fn adaptive(op: &'static str, output: [usize; 2]) -> Result<Pooling, OpError> {
    let names = ["result height", "result width"];
    Ok(Pooling::Adaptive(pair(op, names, output)?))
}

fn wrong(op: &'static str, what: &'static str, got: &[usize]) -> OpError {
    OpError::Shape {
        op,
        what,
        got: got.to_vec(),
        expected: "[.., height, width]".to_owned(),
    }
}

/// Planes of an x of this shape, checked, and the shape of what is made of it.
fn shape_of(
    op: &'static str,
    x: &[usize],
    pooling: Pooling,
) -> Result<(PoolShape, Vec<usize>), OpError> {
    let [leading @ .., height, width] = x else {
        return Err(wrong(op, "x", x));
    };
    let shape = PoolShape {
        planes: extent(op, "planes", leading.iter().product())?,
        input: pair(op, ["height", "width"], [*height, *width])?,
        pooling,
    };
    shape.check(op)?;
    let output = shape.output().map(|one| one as usize);
    Ok((shape, [leading, &output].concat()))
}

fn pool(
    recording: &mut Recording,
    op: &'static str,
    x: &Tensor,
    pooling: Pooling,
    out: FloatType,
) -> Result<Tensor, OpError> {
    let (shape, y_shape) = shape_of(op, x.shape(), pooling)?;
    let x_type = float(op, "x", x)?;
    let launch = Pool2d {
        shape,
        x: x_type,
        out,
    }
    .launch()?;
    let y = recording.tensor(out.dtype(), &y_shape);
    recording.dispatch(launch, &[(1, x.buffer()), (8, y.buffer())])?;
    Ok(y)
}

fn backward(
    recording: &mut Recording,
    op: &'static str,
    (x, dy): (Option<&Tensor>, &Tensor),
    (x_shape, pooling): (&[usize], Pooling),
    out: FloatType,
) -> Result<Tensor, OpError> {
    let (shape, y_shape) = shape_of(op, x_shape, pooling)?;
    check_shape(op, "dy", dy, &y_shape)?;
    let launch = Pool2dBackward {
        shape,
        x: x.map_or(Ok(FloatType::F32), |x| float(op, "x", x))?,
        dy: float(op, "dy", dy)?,
        out,
    }
    .launch()?;
    let dx = recording.tensor(out.dtype(), x_shape);
    let mut buffers = vec![(2, dy.buffer()), (8, dx.buffer())];
    buffers.extend(x.map(|x| (1, x.buffer())));
    recording.dispatch(launch, &buffers)?;
    Ok(dx)
}
