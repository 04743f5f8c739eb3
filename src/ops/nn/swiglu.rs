//! Rows gated by silu, and the gradients through them.

use crate::kernels::FloatType;
use crate::kernels::activation_backward::Curve;
use crate::kernels::elementwise::{Binary, Broadcast};
use crate::kernels::swiglu::Swiglu;
use crate::record::{Recording, Tensor};

use super::super::element::{binary, rows_and_columns};
use super::super::matmul::float;
use super::super::{OpError, check_shape, extent};
use super::{activation, activation_backward};

const OP: &str = "swiglu";

/// `silu(gate) * value`, of one shape; the result has the type `out`.
///
/// # Errors
/// [`OpError`] for tensors of different shapes, not float or without elements, and 16-bit results whose last
/// dimension is odd; nothing is recorded then.
pub fn swiglu(
    recording: &mut Recording,
    gate: &Tensor,
    value: &Tensor,
    out: FloatType,
) -> Result<Tensor, OpError> {
    check_shape(OP, "value", value, gate.shape())?;
    let [rows, columns] = rows_and_columns(OP, gate)?;
    let shape = Swiglu::apart(
        extent(OP, "rows", rows)?,
        extent(OP, "columns", columns)?,
        out,
    );
    let launch = Swiglu {
        gate: float(OP, "gate", gate)?,
        value: float(OP, "value", value)?,
        ..shape
    }
    .launch()?;
    let result = recording.tensor(out.dtype(), gate.shape());
    let buffers = [
        (1, gate.buffer()),
        (2, value.buffer()),
        (8, result.buffer()),
    ];
    recording.dispatch(launch, &buffers)?;
    Ok(result)
}

/// The same for x `[.., 2 n]`, the gate in the first half of each row and the value in the second, as one
/// product gives them: `[.., n]`.
///
/// # Errors
/// As [`swiglu`]; a last dimension that is odd.
pub fn swiglu_halves(
    recording: &mut Recording,
    x: &Tensor,
    out: FloatType,
) -> Result<Tensor, OpError> {
    let [rows, columns] = rows_and_columns(OP, x)?;
    if !columns.is_multiple_of(2) {
        return Err(OpError::Shape {
            op: OP,
            what: "x",
            got: x.shape().to_vec(),
            expected: "an even last dimension".to_owned(),
        });
    }
    let storage = float(OP, "x", x)?;
    let (rows, half) = (
        extent(OP, "rows", rows)?,
        extent(OP, "columns", columns / 2)?,
    );
    let launch = Swiglu {
        out,
        ..Swiglu::halves(rows, half, storage)
    }
    .launch()?;
    let before = &x.shape()[..x.shape().len() - 1];
    let result = recording.tensor(out.dtype(), &[before, &[columns / 2]].concat());
    let buffers = [(1, x.buffer()), (2, x.buffer()), (8, result.buffer())];
    recording.dispatch(launch, &buffers)?;
    Ok(result)
}

/// The gradients of gate and value, from them and the gradient `dy` of what [`swiglu`] made of them; both have
/// the type `out`.
///
/// # Errors
/// [`OpError`] when dy has another shape, and as [`swiglu`].
pub fn swiglu_backward(
    recording: &mut Recording,
    [gate, value]: [&Tensor; 2],
    dy: &Tensor,
    out: FloatType,
) -> Result<[Tensor; 2], OpError> {
    check_shape("swiglu_backward", "value", value, gate.shape())?;
    check_shape("swiglu_backward", "dy", dy, gate.shape())?;
    let product = (Binary::Mul, Broadcast::Full);
    let of_silu = binary(recording, dy, value, product, FloatType::F32)?;
    let dgate = activation_backward(recording, gate, &of_silu, Curve::Silu, out)?;
    let silu = activation(recording, gate, Curve::Silu, FloatType::F32)?;
    let dvalue = binary(recording, dy, &silu, product, out)?;
    Ok([dgate, dvalue])
}
