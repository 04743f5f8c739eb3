//! Convolutions and their gradients, over images and over sequences.

use crate::kernels::conv2d::{Conv2d, Direction};
use crate::kernels::conv2d_weight::Conv2dWeight;
use crate::kernels::{Activation, ConvShape, FloatType, Steps};
use crate::record::{Recording, Tensor};
use crate::tensor::DType;

use super::super::element::cast;
use super::super::matmul::float;
use super::super::{OpError, check_shape, check_type, extent};
use super::sums::{Factor, sums};

/// How a kernel moves over images, and what follows its sums. Pairs are height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dOptions {
    /// Places from one window to the next.
    pub stride: [usize; 2],
    /// Zeros added before and after.
    pub padding: [usize; 2],
    /// Places from one tap to the next.
    pub dilation: [usize; 2],
    /// Parts of the channels that see each other; as many as there are channels for a depthwise convolution.
    pub groups: usize,
    /// Applied to the biased sums.
    pub activation: Activation,
    /// Storage of the result.
    pub out: FloatType,
}

impl Default for Conv2dOptions {
    fn default() -> Self {
        Self {
            stride: [1; 2],
            padding: [0; 2],
            dilation: [1; 2],
            groups: 1,
            activation: Activation::Identity,
            out: FloatType::F32,
        }
    }
}

/// How a kernel moves over sequences, and what follows its sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv1dOptions {
    /// Places from one window to the next.
    pub stride: usize,
    /// Zeros added before and after.
    pub padding: usize,
    /// Places from one tap to the next.
    pub dilation: usize,
    /// Parts of the channels that see each other.
    pub groups: usize,
    /// Applied to the biased sums.
    pub activation: Activation,
    /// Storage of the result.
    pub out: FloatType,
}

impl Default for Conv1dOptions {
    fn default() -> Self {
        let images = Conv2dOptions::default();
        Self {
            stride: 1,
            padding: 0,
            dilation: 1,
            groups: 1,
            activation: images.activation,
            out: images.out,
        }
    }
}

impl From<Conv1dOptions> for Conv2dOptions {
    /// The same over images of one row.
    fn from(options: Conv1dOptions) -> Self {
        Self {
            stride: [1, options.stride],
            padding: [0, options.padding],
            dilation: [1, options.dilation],
            groups: options.groups,
            activation: options.activation,
            out: options.out,
        }
    }
}

/// Convolution of images: x `[batch, in_channels, height, width]`, weight `[out_channels, in_channels /
/// groups, kernel height, kernel width]`, bias f32 `[out_channels]`; the result is `[batch, out_channels,
/// out height, out width]` with `out height = (height + 2 padding - dilation (kernel - 1) - 1) / stride + 1`,
/// as PyTorch's.
///
/// # Errors
/// [`OpError`] for tensors whose shapes or types do not go together, kernels larger than the padded image, and
/// settings of 0 or out of range; nothing is recorded then.
pub fn conv2d(
    recording: &mut Recording,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    options: &Conv2dOptions,
) -> Result<Tensor, OpError> {
    const OP: &str = "conv2d";
    let shape = conv_shape(OP, x.shape(), w.shape(), options)?;
    if let Some(bias) = bias {
        check_shape(OP, "bias", bias, &w.shape()[..1])?;
        check_type(OP, "bias", bias, DType::F32)?;
    }
    let direction = Direction::Forward {
        bias: bias.is_some(),
        activation: options.activation,
    };
    let conv = Conv2d {
        shape,
        direction,
        x: float(OP, "x", x)?,
        w: float(OP, "weight", w)?,
        out: options.out,
    };
    let y_shape = result_shape(&shape);
    gather(recording, conv, (x, w, bias), &y_shape)
}

/// The gradient of x, shaped `x_shape`, from the weight and the gradient `dy` of what [`conv2d`] gave without
/// an activation; the result has the type `options.out`.
///
/// # Errors
/// As [`conv2d`]; nothing is recorded then.
pub fn conv2d_backward_input(
    recording: &mut Recording,
    dy: &Tensor,
    w: &Tensor,
    x_shape: &[usize],
    options: &Conv2dOptions,
) -> Result<Tensor, OpError> {
    const OP: &str = "conv2d_backward_input";
    let shape = conv_shape(OP, x_shape, w.shape(), options)?;
    check_shape(OP, "dy", dy, &result_shape(&shape))?;
    let conv = Conv2d {
        shape,
        direction: Direction::Backward,
        x: float(OP, "dy", dy)?,
        w: float(OP, "weight", w)?,
        out: options.out,
    };
    gather(recording, conv, (dy, w, None), x_shape)
}

/// The gradient of the weight, f32 shaped `w_shape`, from x and the gradient `dy` of what [`conv2d`] gave
/// without an activation. That of the bias is [`super::channel_sums`] of dy.
///
/// # Errors
/// As [`conv2d`]; nothing is recorded when a shape or type is refused.
pub fn conv2d_backward_weight(
    recording: &mut Recording,
    x: &Tensor,
    dy: &Tensor,
    w_shape: &[usize],
    options: &Conv2dOptions,
) -> Result<Tensor, OpError> {
    const OP: &str = "conv2d_backward_weight";
    let shape = conv_shape(OP, x.shape(), w_shape, options)?;
    check_shape(OP, "dy", dy, &result_shape(&shape))?;
    let chunks = Conv2dWeight::in_chunks(shape, float(OP, "x", x)?, float(OP, "dy", dy)?)?;
    let (rows, weights) = (chunks.chunks() as usize, w_shape.iter().product());
    let launch = chunks.launch()?;
    let partial = recording.tensor(DType::F32, &[rows, weights]);
    let buffers = [(1, x.buffer()), (2, dy.buffer()), (8, partial.buffer())];
    recording.dispatch(launch, &buffers)?;
    let total = if rows == 1 {
        partial
    } else {
        sums(recording, OP, &partial, [rows, weights, 1], &Factor::NONE)?
    };
    Ok(view(&total, w_shape))
}

/// Convolution of sequences: [`conv2d`] of images of one row. x is `[batch, in_channels, width]`, the weight
/// `[out_channels, in_channels / groups, kernel width]`.
///
/// # Errors
/// As [`conv2d`]; nothing is recorded then.
pub fn conv1d(
    recording: &mut Recording,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    options: &Conv1dOptions,
) -> Result<Tensor, OpError> {
    const OP: &str = "conv1d";
    let x = view(x, &of_one_row(OP, "x", x.shape())?);
    let w = view(w, &of_one_row(OP, "weight", w.shape())?);
    let y = conv2d(recording, &x, &w, bias, &(*options).into())?;
    let [batch, channels, _, width] = *y.shape() else {
        return Ok(y);
    };
    Ok(view(&y, &[batch, channels, width]))
}

/// A sequence's shape as that of images of one row.
pub(crate) fn of_one_row(
    op: &'static str,
    what: &'static str,
    shape: &[usize],
) -> Result<[usize; 4], OpError> {
    match *shape {
        [first, second, width] => Ok([first, second, 1, width]),
        _ => Err(OpError::Shape {
            op,
            what,
            got: shape.to_vec(),
            expected: "three dimensions, the last being width".to_owned(),
        }),
    }
}

/// The same elements in another shape.
fn view(tensor: &Tensor, shape: &[usize]) -> Tensor {
    Tensor::of_buffer(tensor.buffer().clone(), tensor.dtype(), shape)
}

/// Records a launch of the gathering kernel.
fn gather(
    recording: &mut Recording,
    conv: Conv2d,
    (x, w, bias): (&Tensor, &Tensor, Option<&Tensor>),
    shape: &[usize],
) -> Result<Tensor, OpError> {
    let positions: usize = shape[2..].iter().product();
    // Lanes store words: where neighbouring channels share one, the result is rounded by a kernel that does
    // not see channels.
    let out = if positions.is_multiple_of(2) {
        conv.out
    } else {
        FloatType::F32
    };
    let launch = Conv2d { out, ..conv }.launch()?;
    let result = recording.tensor(out.dtype(), shape);
    let mut buffers = vec![(1, x.buffer()), (2, w.buffer()), (8, result.buffer())];
    buffers.extend(bias.map(|bias| (6, bias.buffer())));
    recording.dispatch(launch, &buffers)?;
    cast(recording, &result, conv.out)
}

/// Extents of a convolution, checked.
fn conv_shape(
    op: &'static str,
    x: &[usize],
    w: &[usize],
    options: &Conv2dOptions,
) -> Result<ConvShape, OpError> {
    let wrong = |what, got: &[usize], expected: String| OpError::Shape {
        op,
        what,
        got: got.to_vec(),
        expected,
    };
    let &[batch, in_channels, height, width] = x else {
        let expected = "[batch, channels, height, width]".to_owned();
        return Err(wrong("x", x, expected));
    };
    if options.groups == 0 || !in_channels.is_multiple_of(options.groups) {
        let expected = format!("channels that are a multiple of {} groups", options.groups);
        return Err(wrong("x", x, expected));
    }
    let group_in = in_channels / options.groups;
    let (out_channels, kernel) = match *w {
        [out_channels, channels, height, width] if channels == group_in => {
            (out_channels, [height, width])
        }
        _ => {
            let expected = format!(
                "[out channels, {group_in}, kernel height, kernel width] for {in_channels} channels in {} groups",
                options.groups
            );
            return Err(wrong("weight", w, expected));
        }
    };
    let shape = ConvShape {
        batch: extent(op, "batch", batch)?,
        in_channels: extent(op, "channels", in_channels)?,
        out_channels: extent(op, "out channels", out_channels)?,
        groups: extent(op, "groups", options.groups)?,
        input: pair(op, ["height", "width"], [height, width])?,
        kernel: pair(op, ["kernel height", "kernel width"], kernel)?,
        steps: steps(op, options.stride, options.padding, options.dilation)?,
    };
    shape.check(op)?;
    Ok(shape)
}

/// Settings of a moving window as kernels take them.
pub(super) fn steps(
    op: &'static str,
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
) -> Result<Steps, OpError> {
    Ok(Steps {
        stride: pair(op, ["stride"; 2], stride)?,
        padding: pair(op, ["padding"; 2], padding)?,
        dilation: pair(op, ["dilation"; 2], dilation)?,
    })
}

/// Height and width as kernels take them.
pub(super) fn pair(
    op: &'static str,
    names: [&'static str; 2],
    values: [usize; 2],
) -> Result<[u32; 2], OpError> {
    Ok([
        extent(op, names[0], values[0])?,
        extent(op, names[1], values[1])?,
    ])
}

/// Shape of what a checked convolution gives.
fn result_shape(shape: &ConvShape) -> [usize; 4] {
    let [height, width] = shape.output();
    [shape.batch, shape.out_channels, height, width].map(|one| one as usize)
}
