//! Softmax and log-softmax over the last dimension, and the gradients through them.

use crate::kernels::FloatType;
use crate::kernels::softmax::{Distribution, Softmax};
use crate::kernels::softmax_backward::SoftmaxBackward;
use crate::record::{Recording, Tensor};

use super::super::element::rows_and_columns;
use super::super::matmul::float;
use super::super::{OpError, check_shape, extent};

/// Softmax, or its logarithm, over the last dimension of x; the result has the type `out`.
///
/// # Errors
/// [`OpError`] for tensors that are not float or have no elements, and 16-bit results whose last dimension
/// is odd; nothing is recorded then.
pub fn softmax(
    recording: &mut Recording,
    x: &Tensor,
    distribution: Distribution,
    out: FloatType,
) -> Result<Tensor, OpError> {
    const OP: &str = "softmax";
    let [rows, columns] = rows_and_columns(OP, x)?;
    let launch = Softmax {
        rows: extent(OP, "rows", rows)?,
        columns: extent(OP, "columns", columns)?,
        distribution,
        x: float(OP, "x", x)?,
        out,
    }
    .launch()?;
    let y = recording.tensor(out.dtype(), x.shape());
    recording.dispatch(launch, &[(1, x.buffer()), (8, y.buffer())])?;
    Ok(y)
}

/// The gradient of x, from what [`softmax`] made of it, y, and the gradient `dy` of that; the result has the
/// type `out`.
///
/// # Errors
/// [`OpError`] when dy has another shape than y, and as [`softmax`]; nothing is recorded then.
pub fn softmax_backward(
    recording: &mut Recording,
    y: &Tensor,
    dy: &Tensor,
    distribution: Distribution,
    out: FloatType,
) -> Result<Tensor, OpError> {
    const OP: &str = "softmax_backward";
    check_shape(OP, "dy", dy, y.shape())?;
    let [rows, columns] = rows_and_columns(OP, y)?;
    let launch = SoftmaxBackward {
        rows: extent(OP, "rows", rows)?,
        columns: extent(OP, "columns", columns)?,
        distribution,
        y: float(OP, "y", y)?,
        dy: float(OP, "dy", dy)?,
        out,
    }
    .launch()?;
    let dx = recording.tensor(out.dtype(), y.shape());
    recording.dispatch(
        launch,
        &[(1, y.buffer()), (2, dy.buffer()), (8, dx.buffer())],
    )?;
    Ok(dx)
}
