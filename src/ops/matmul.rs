//! Dense products: `y[b, m, n] = finish(sum_k a[b, m, k] * b[b, k, n])`, either operand transposed,
//! either one shared by the whole batch.

use crate::kernels::matmul_dense::{Broadcast, Layout, MatmulDense, Precision};
use crate::kernels::{Activation, Epilogue, FloatType};
use crate::record::{Recording, Tensor};
use crate::tensor::DType;

use super::{OpError, cast, check_shape, check_type, extent};

const OP: &str = "matmul";

/// How a product is made and what follows it.
#[derive(Debug, Clone, Copy)]
pub struct MatmulOptions<'a> {
    /// Layout of `a`: `[.., m, k]`, or `[.., k, m]` when k comes first.
    pub a_layout: Layout,
    /// Layout of `b`: `[.., k, n]` when k comes first, or `[.., n, k]`.
    pub b_layout: Layout,
    /// How products are made.
    pub precision: Precision,
    /// f32 `[n]`, added to every row.
    pub bias: Option<&'a Tensor>,
    /// Applied to the biased sums.
    pub activation: Activation,
    /// f32, shaped as the output, added last.
    pub residual: Option<&'a Tensor>,
    /// Storage of the output. With an odd n, 16-bit outputs are made in f32 and converted, by one more launch.
    pub out: FloatType,
}

impl Default for MatmulOptions<'_> {
    fn default() -> Self {
        Self {
            a_layout: Layout::KLast,
            b_layout: Layout::KFirst,
            precision: Precision::Full,
            bias: None,
            activation: Activation::Identity,
            residual: None,
            out: FloatType::F32,
        }
    }
}

/// The product of two float tensors of rank 2, or 3 with a batch dimension first. The result has the
/// batch dimension if either operand has.
///
/// # Errors
/// [`OpError`] for ranks, extents or types that do not go together; nothing is recorded then.
pub fn matmul(
    recording: &mut Recording,
    a: &Tensor,
    b: &Tensor,
    options: &MatmulOptions<'_>,
) -> Result<Tensor, OpError> {
    let (a_batch, [m, a_k]) = matrices("a", a, options.a_layout)?;
    let (b_batch, [n, k]) = matrices("b", b, options.b_layout)?;
    if a_k != k {
        let expected = format!("{k} elements along k, as b has");
        return Err(OpError::Shape {
            op: OP,
            what: "a",
            got: a.shape().to_vec(),
            expected,
        });
    }
    let batch = match (a_batch, b_batch) {
        (Some(first), Some(second)) if first != second => {
            let expected = format!("a batch of {first}, as a has");
            return Err(OpError::Shape {
                op: OP,
                what: "b",
                got: b.shape().to_vec(),
                expected,
            });
        }
        (first, second) => first.or(second),
    };
    let mut shape: Vec<usize> = batch.into_iter().collect();
    shape.extend([m, n]);
    let epilogue = epilogue(
        OP,
        n,
        &shape,
        options.bias,
        options.activation,
        options.residual,
    )?;
    let share = |of: Option<usize>| {
        if of.is_some() {
            Broadcast::PerBatch
        } else {
            Broadcast::Shared
        }
    };
    let made = if n.is_multiple_of(2) {
        options.out
    } else {
        FloatType::F32
    };
    let launch = MatmulDense {
        batch: extent(OP, "batch", batch.unwrap_or(1))?,
        m: extent(OP, "m", m)?,
        n: extent(OP, "n", n)?,
        k: extent(OP, "k", k)?,
        a: float(OP, "a", a)?,
        b: float(OP, "b", b)?,
        a_layout: options.a_layout,
        b_layout: options.b_layout,
        a_broadcast: share(a_batch),
        b_broadcast: share(b_batch),
        precision: options.precision,
        epilogue,
        out: made,
    }
    .launch()?;
    let out = recording.tensor(made.dtype(), &shape);
    let mut buffers = vec![(1, a.buffer()), (2, b.buffer()), (8, out.buffer())];
    buffers.extend(options.bias.map(|bias| (6, bias.buffer())));
    buffers.extend(options.residual.map(|residual| (7, residual.buffer())));
    recording.dispatch(launch, &buffers)?;
    cast(recording, &out, options.out)
}

/// Batch, and the other extent and k of each matrix.
fn matrices(
    what: &'static str,
    tensor: &Tensor,
    layout: Layout,
) -> Result<(Option<usize>, [usize; 2]), OpError> {
    let (batch, [first, second]) = match *tensor.shape() {
        [first, second] => (None, [first, second]),
        [batch, first, second] => (Some(batch), [first, second]),
        _ => {
            let expected = "a matrix, or matrices with a batch dimension first".to_owned();
            return Err(OpError::Shape {
                op: OP,
                what,
                got: tensor.shape().to_vec(),
                expected,
            });
        }
    };
    Ok(match layout {
        Layout::KLast => (batch, [first, second]),
        Layout::KFirst => (batch, [second, first]),
    })
}

/// The storage type of a float tensor.
pub(super) fn float(
    op: &'static str,
    what: &'static str,
    tensor: &Tensor,
) -> Result<FloatType, OpError> {
    let got = tensor.dtype();
    FloatType::from_dtype(got).ok_or(OpError::Type {
        op,
        what,
        got,
        expected: "f32, f16 or bf16",
    })
}

/// Checks the operands of an epilogue.
pub(super) fn epilogue(
    op: &'static str,
    columns: usize,
    out_shape: &[usize],
    bias: Option<&Tensor>,
    activation: Activation,
    residual: Option<&Tensor>,
) -> Result<Epilogue, OpError> {
    if let Some(bias) = bias {
        check_shape(op, "bias", bias, &[columns])?;
        check_type(op, "bias", bias, DType::F32)?;
    }
    if let Some(residual) = residual {
        check_shape(op, "residual", residual, out_shape)?;
        check_type(op, "residual", residual, DType::F32)?;
    }
    Ok(Epilogue {
        bias: bias.is_some(),
        activation,
        residual: residual.is_some(),
    })
}
