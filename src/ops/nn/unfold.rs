//! Convolutions with weights in any format: windows as rows, a product, and the result turned into images.

use crate::kernels::Steps;
use crate::kernels::unfold::Unfold;
use crate::record::{Recording, Tensor};
use crate::tensor::DType;

use super::super::linear::{LinearOptions, linear};
use super::super::{OpError, Weight, check_type, extent};
use super::conv::{Conv2dOptions, pair, steps};

/// Windows of images as rows: x f32 `[batch, channels, height, width]`, the result f32 `[batch * out height * out
/// width, channels * kernel height * kernel width]`, each row in the order of a filter's elements, zero where the
/// window leaves the image. `options` say how windows move; the rest of them is not read.
///
/// # Errors
/// [`OpError`] for other shapes and types, and windows larger than the padded image; nothing is recorded then.
pub fn unfold(
    recording: &mut Recording,
    x: &Tensor,
    kernel: [usize; 2],
    options: &Conv2dOptions,
) -> Result<Tensor, OpError> {
    let shape = shape("unfold", x, kernel, options)?;
    launch(recording, x, &shape)
}

/// A convolution whose weight is a matrix `[out channels, channels * kernel height * kernel width]` in any format:
/// x f32 `[batch, channels, height, width]`, the result f32 `[batch, out channels, out height, out width]`. Each
/// window is one row of the product, so int8 activations have a scale for each window, or for parts of it.
///
/// # Errors
/// [`OpError`] for shapes and types that do not go together, groups, and what [`linear`] refuses.
pub fn conv2d_by_rows(
    recording: &mut Recording,
    x: &Tensor,
    (weight, kernel): (&Weight, [usize; 2]),
    options: &Conv2dOptions,
    linear_options: &LinearOptions<'_>,
) -> Result<Tensor, OpError> {
    const OP: &str = "conv2d_by_rows";
    let shape = shape(OP, x, kernel, options)?;
    if options.groups != 1 {
        return Err(OpError::Shape {
            op: OP,
            what: "x",
            got: x.shape().to_vec(),
            expected: "channels in one group: weights of several groups stay f32".to_owned(),
        });
    }
    let rows = launch(recording, x, &shape)?;
    let y = linear(recording, &rows, weight, linear_options)?;
    let [height, width] = shape.steps.output(shape.input, shape.kernel);
    let (places, channels) = ((height as usize) * width as usize, y.shape()[1]);
    let result = [
        shape.images as usize,
        channels,
        height as usize,
        width as usize,
    ];
    if places == 1 {
        return Ok(view(&y, &result));
    }
    // [batch, places, channels] to [batch, channels, places]: each image turned.
    let turned = Unfold {
        images: shape.images,
        channels: 1,
        input: [
            extent(OP, "places", places)?,
            extent(OP, "out channels", channels)?,
        ],
        kernel: [extent(OP, "places", places)?, 1],
        steps: Steps::default(),
    };
    Ok(view(&launch(recording, &y, &turned)?, &result))
}

/// Windows over x, checked.
fn shape(
    op: &'static str,
    x: &Tensor,
    kernel: [usize; 2],
    options: &Conv2dOptions,
) -> Result<Unfold, OpError> {
    check_type(op, "x", x, DType::F32)?;
    let &[batch, channels, height, width] = x.shape() else {
        return Err(OpError::Shape {
            op,
            what: "x",
            got: x.shape().to_vec(),
            expected: "[batch, channels, height, width]".to_owned(),
        });
    };
    Ok(Unfold {
        images: extent(op, "batch", batch)?,
        channels: extent(op, "channels", channels)?,
        input: pair(op, ["height", "width"], [height, width])?,
        kernel: pair(op, ["kernel height", "kernel width"], kernel)?,
        steps: steps(op, options.stride, options.padding, options.dilation)?,
    })
}

fn launch(recording: &mut Recording, x: &Tensor, shape: &Unfold) -> Result<Tensor, OpError> {
    let launch = shape.launch()?;
    let rows = recording.tensor(DType::F32, &shape.output());
    recording.dispatch(launch, &[(1, x.buffer()), (8, rows.buffer())])?;
    Ok(rows)
}

fn view(tensor: &Tensor, shape: &[usize]) -> Tensor {
    Tensor::of_buffer(tensor.buffer().clone(), tensor.dtype(), shape)
}
