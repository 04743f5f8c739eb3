//! Operations on elements and rows: conversions, functions, arithmetic with broadcasting, reductions,
//! transposition. Tensors of any rank count as rows of their last dimension.

use crate::kernels::FloatType;
use crate::kernels::cast::Cast;
use crate::kernels::elementwise::{Binary, Broadcast, Elementwise, Operation, Second, Unary};
use crate::kernels::row_reduce::{Reduction, RowReduce};
use crate::kernels::transpose::Transpose;
use crate::kernels::transpose_half::TransposeHalf;
use crate::record::{Recording, Tensor};
use crate::tensor::DType;

use super::matmul::float;
use super::{OpError, check_shape, extent};

/// Converts between f32, f16 and bf16, rounding once to nearest even. A tensor that already has the
/// type is returned as it is.
///
/// # Errors
/// [`OpError`] for other types and empty tensors; nothing is recorded then.
pub fn cast(recording: &mut Recording, x: &Tensor, to: FloatType) -> Result<Tensor, OpError> {
    let from = float("cast", "x", x)?;
    if from == to {
        return Ok(x.clone());
    }
    let launch = Cast {
        count: extent("cast", "elements", x.len())?,
        from,
        to,
    }
    .launch()?;
    let out = recording.tensor(to.dtype(), x.shape());
    recording.dispatch(launch, &[(1, x.buffer()), (8, out.buffer())])?;
    Ok(out)
}

/// A function of each element; the result has the type `out`.
///
/// # Errors
/// [`OpError`] for tensors that are not float or have no elements; nothing is recorded then.
pub fn unary(
    recording: &mut Recording,
    x: &Tensor,
    function: Unary,
    out: FloatType,
) -> Result<Tensor, OpError> {
    apply(recording, "unary", x, None, Operation::Unary(function), out)
}

/// `alpha x + beta`.
///
/// # Errors
/// As [`unary`].
pub fn affine(
    recording: &mut Recording,
    x: &Tensor,
    (alpha, beta): (f32, f32),
    out: FloatType,
) -> Result<Tensor, OpError> {
    apply(
        recording,
        "affine",
        x,
        None,
        Operation::Affine { alpha, beta },
        out,
    )
}

/// Arithmetic on each element of `a` with the element of `b` at the same place, or with one value a
/// row, a column, or in all, as `broadcast` says.
///
/// # Errors
/// [`OpError`] when `b` has not the shape that the broadcast asks for; nothing is recorded then.
pub fn binary(
    recording: &mut Recording,
    a: &Tensor,
    b: &Tensor,
    (function, broadcast): (Binary, Broadcast),
    out: FloatType,
) -> Result<Tensor, OpError> {
    let [rows, columns] = rows_and_columns("binary", a)?;
    match broadcast {
        Broadcast::Full => check_shape("binary", "b", b, a.shape())?,
        Broadcast::Row => check_shape("binary", "b", b, &[rows])?,
        Broadcast::Column => check_shape("binary", "b", b, &[columns])?,
        Broadcast::Scalar => check_shape("binary", "b", b, &[1])?,
    }
    let second = Second {
        broadcast,
        storage: float("binary", "b", b)?,
    };
    apply(
        recording,
        "binary",
        a,
        Some(b),
        Operation::Binary(function, second),
        out,
    )
}

/// One number for each row of the last dimension: f32, or u32 for the index of the largest.
///
/// # Errors
/// [`OpError`] for tensors that are not float or have no elements; nothing is recorded then.
pub fn reduce(
    recording: &mut Recording,
    x: &Tensor,
    reduction: Reduction,
) -> Result<Tensor, OpError> {
    let [rows, columns] = rows_and_columns("reduce", x)?;
    let launch = RowReduce {
        rows: extent("reduce", "rows", rows)?,
        columns: extent("reduce", "columns", columns)?,
        x: float("reduce", "x", x)?,
        reduction,
    }
    .launch()?;
    let dtype = if reduction == Reduction::ArgMax {
        DType::U32
    } else {
        DType::F32
    };
    let shape = &x.shape()[..x.shape().len() - 1];
    let out = recording.tensor(dtype, shape);
    recording.dispatch(launch, &[(1, x.buffer()), (8, out.buffer())])?;
    Ok(out)
}

/// The transpose of a matrix of 32-bit elements, or of f16 or bf16. Of these, matrices with an odd extent pass
/// through f32, by two more launches.
///
/// # Errors
/// [`OpError`] when `x` is not a matrix of such elements; nothing is recorded then.
pub fn transpose(recording: &mut Recording, x: &Tensor) -> Result<Tensor, OpError> {
    let &[rows, columns] = x.shape() else {
        let expected = "[rows, columns]".to_owned();
        return Err(OpError::Shape {
            op: "transpose",
            what: "x",
            got: x.shape().to_vec(),
            expected,
        });
    };
    let out = |recording: &mut Recording| recording.tensor(x.dtype(), &[columns, rows]);
    if let DType::F16 | DType::BF16 = x.dtype() {
        if rows % 2 != 0 || columns % 2 != 0 {
            let wide = cast(recording, x, FloatType::F32)?;
            let wide = transpose(recording, &wide)?;
            return cast(recording, &wide, float("transpose", "x", x)?);
        }
        let launch = TransposeHalf {
            rows: extent("transpose", "rows", rows)?,
            columns: extent("transpose", "columns", columns)?,
        }
        .launch()?;
        let out = out(recording);
        recording.dispatch(launch, &[(1, x.buffer()), (8, out.buffer())])?;
        return Ok(out);
    }
    if x.dtype().bytes() != 4 {
        let expected = "f32, i32, u32, f16 or bf16";
        return Err(OpError::Type {
            op: "transpose",
            what: "x",
            got: x.dtype(),
            expected,
        });
    }
    let launch = Transpose {
        rows: extent("transpose", "rows", rows)?,
        columns: extent("transpose", "columns", columns)?,
    }
    .launch()?;
    let out = out(recording);
    recording.dispatch(launch, &[(1, x.buffer()), (8, out.buffer())])?;
    Ok(out)
}

pub(super) fn rows_and_columns(op: &'static str, x: &Tensor) -> Result<[usize; 2], OpError> {
    match x.shape() {
        [] => {
            let expected = "at least one dimension".to_owned();
            Err(OpError::Shape {
                op,
                what: "x",
                got: Vec::new(),
                expected,
            })
        }
        [rows @ .., columns] => Ok([rows.iter().product(), *columns]),
    }
}

fn apply(
    recording: &mut Recording,
    op: &'static str,
    a: &Tensor,
    b: Option<&Tensor>,
    operation: Operation,
    out: FloatType,
) -> Result<Tensor, OpError> {
    let [rows, columns] = rows_and_columns(op, a)?;
    let launch = Elementwise {
        rows: extent(op, "rows", rows)?,
        columns: extent(op, "columns", columns)?,
        operation,
        a: float(op, "a", a)?,
        out,
    }
    .launch()?;
    let result = recording.tensor(out.dtype(), a.shape());
    let mut buffers = vec![(1, a.buffer()), (8, result.buffer())];
    buffers.extend(b.map(|b| (2, b.buffer())));
    recording.dispatch(launch, &buffers)?;
    Ok(result)
}
