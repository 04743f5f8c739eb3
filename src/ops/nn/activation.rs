//! Activation functions and the gradients through them.

use crate::kernels::FloatType;
use crate::kernels::activation_backward::{ActivationBackward, Curve};
use crate::record::{Recording, Tensor};

use super::super::element::unary;
use super::super::matmul::float;
use super::super::{OpError, check_shape, extent};

/// An activation function of each element of x, of any shape; the result has the type `out`.
///
/// # Errors
/// [`OpError`] for tensors that are not float or have no elements, and settings that are not finite; nothing
/// is recorded then.
pub fn activation(
    recording: &mut Recording,
    x: &Tensor,
    curve: Curve,
    out: FloatType,
) -> Result<Tensor, OpError> {
    unary(recording, x, curve.unary(), out)
}

/// The gradient of x, from x and the gradient `dy` of what [`activation`] made of it; the result has the type
/// `out`.
///
/// # Errors
/// [`OpError`] when dy has another shape than x, and as [`activation`]; nothing is recorded then.
pub fn activation_backward(
    recording: &mut Recording,
    x: &Tensor,
    dy: &Tensor,
    curve: Curve,
    out: FloatType,
) -> Result<Tensor, OpError> {
    const OP: &str = "activation_backward";
    check_shape(OP, "dy", dy, x.shape())?;
    let launch = ActivationBackward {
        count: extent(OP, "elements", x.len())?,
        curve,
        x: float(OP, "x", x)?,
        dy: float(OP, "dy", dy)?,
        out,
    }
    .launch()?;
    let dx = recording.tensor(out.dtype(), x.shape());
    recording.dispatch(
        launch,
        &[(1, x.buffer()), (2, dy.buffer()), (8, dx.buffer())],
    )?;
    Ok(dx)
}
