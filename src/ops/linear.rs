//! A linear layer: `y[m, n] = finish(x[m, k] w[n, k]^T)`, whatever the weight's format.
//!
//! Up to eight rows of x go to a kernel that reads each weight once; more go to one that tiles.

use crate::kernels::matmul_dense::{Layout, Precision};
use crate::kernels::matmul_quant::MatmulQuant;
use crate::kernels::matvec_quant::MatvecQuant;
use crate::kernels::sparse::SparseMatmul;
use crate::kernels::{Activation, FloatType};
use crate::num::StaticScale;
use crate::record::{Buffer, Recording, Tensor};

use super::coded::int8;
use super::matmul::{MatmulOptions, epilogue, float, matmul};
use super::{OpError, QuantizedWeight, SparseWeight, Weight, extent};

const OP: &str = "linear";

/// Rows of x up to which a product counts as matrix times vectors.
pub(super) const MAX_VECTORS: u32 = 8;

/// How activations meet a quantized weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ActivationPath {
    /// As they are stored; the weight is dequantized on the fly.
    #[default]
    Float,
    /// Quantized to int8 on the adapter with one scale a row, then exact integer sums (W8A8, W4A8).
    Int8PerRow,
    /// The same with one scale for every 32 or 64 (or another multiple of 8) elements of a row.
    Int8PerBlock(u32),
    /// The same with one scale for all of x that was found beforehand: nothing is searched.
    Int8Static(StaticScale),
}

/// How a layer is made and what follows its sums.
#[derive(Debug, Clone, Copy)]
pub struct LinearOptions<'a> {
    /// How activations meet a quantized weight; dense weights take `Float` only.
    pub activations: ActivationPath,
    /// How products with a dense weight are made.
    pub precision: Precision,
    /// f32 `[n]`.
    pub bias: Option<&'a Tensor>,
    /// Applied to the biased sums.
    pub activation: Activation,
    /// f32 `[m, n]`, added last.
    pub residual: Option<&'a Tensor>,
    /// Storage of the output: f32, or f16 when n is even; with a dense weight any, whatever n is.
    pub out: FloatType,
}

impl Default for LinearOptions<'_> {
    fn default() -> Self {
        Self {
            activations: ActivationPath::Float,
            precision: Precision::Full,
            bias: None,
            activation: Activation::Identity,
            residual: None,
            out: FloatType::F32,
        }
    }
}

/// Appends a linear layer on `x [m, k]` and returns `y [m, n]`.
///
/// # Errors
/// [`OpError`] naming the operand, its shape and what is allowed; nothing is recorded then.
pub fn linear(
    recording: &mut Recording,
    x: &Tensor,
    weight: &Weight,
    options: &LinearOptions<'_>,
) -> Result<Tensor, OpError> {
    let [n, k] = weight.shape()?;
    let &[m, x_k] = x.shape() else {
        let expected = format!("[m, {k}]");
        return Err(OpError::Shape {
            op: OP,
            what: "x",
            got: x.shape().to_vec(),
            expected,
        });
    };
    if x_k != k {
        let expected = format!("[m, {k}] to match the weight [{n}, {k}]");
        return Err(OpError::Shape {
            op: OP,
            what: "x",
            got: x.shape().to_vec(),
            expected,
        });
    }
    match (weight, options.activations) {
        (Weight::Dense(weight), ActivationPath::Float) => {
            let dense = MatmulOptions {
                a_layout: Layout::KLast,
                b_layout: Layout::KLast,
                precision: options.precision,
                bias: options.bias,
                activation: options.activation,
                residual: options.residual,
                out: options.out,
            };
            matmul(recording, x, weight, &dense)
        }
        (
            Weight::Dense(weight),
            ActivationPath::Int8PerRow
            | ActivationPath::Int8PerBlock(_)
            | ActivationPath::Int8Static(_),
        ) => {
            let expected = "a quantized weight for int8 activations";
            Err(OpError::Type {
                op: OP,
                what: "weight",
                got: weight.dtype(),
                expected,
            })
        }
        (Weight::Sparse(weight), ActivationPath::Float) => sparse(recording, x, weight, m, options),
        (
            Weight::Sparse(_),
            ActivationPath::Int8PerRow
            | ActivationPath::Int8PerBlock(_)
            | ActivationPath::Int8Static(_),
        ) => Err(OpError::Type {
            op: OP,
            what: "activations",
            got: x.dtype(),
            expected: "float activations for a pruned weight",
        }),
        (Weight::Quantized(weight), path) => {
            let epilogue = epilogue(
                OP,
                n,
                &[m, n],
                options.bias,
                options.activation,
                options.residual,
            )?;
            let shape = MatmulQuant {
                m: extent(OP, "m", m)?,
                n: extent(OP, "n", n)?,
                k: extent(OP, "k", k)?,
                x: float(OP, "x", x)?,
                weight: weight.format,
                epilogue,
                out: options.out,
            };
            match path {
                ActivationPath::Float => quantized(recording, x, weight, shape, options),
                ActivationPath::Int8PerRow => int8(recording, x, weight, (shape.k, None), options),
                ActivationPath::Int8PerBlock(block) => {
                    int8(recording, x, weight, (block, None), options)
                }
                ActivationPath::Int8Static(scale) => {
                    int8(recording, x, weight, (shape.k, Some(scale)), options)
                }
            }
        }
    }
}

fn sparse(
    recording: &mut Recording,
    x: &Tensor,
    weight: &SparseWeight,
    m: usize,
    options: &LinearOptions<'_>,
) -> Result<Tensor, OpError> {
    let &SparseWeight { n, k, .. } = weight;
    let epilogue = epilogue(
        OP,
        n,
        &[m, n],
        options.bias,
        options.activation,
        options.residual,
    )?;
    let launch = SparseMatmul {
        m: extent(OP, "m", m)?,
        n: extent(OP, "n", n)?,
        k: extent(OP, "k", k)?,
        x: float(OP, "x", x)?,
        format: weight.format,
        stored: weight.stored,
        epilogue,
        out: options.out,
    }
    .launch()?;
    let out = recording.tensor(options.out.dtype(), &[m, n]);
    let mut buffers = vec![(1, x.buffer()), (8, out.buffer())];
    buffers.extend(
        weight
            .buffers
            .iter()
            .map(|(binding, buffer)| (*binding, buffer)),
    );
    buffers.extend(epilogue_buffers(options));
    recording.dispatch(launch, &buffers)?;
    Ok(out)
}

fn quantized(
    recording: &mut Recording,
    x: &Tensor,
    weight: &QuantizedWeight,
    shape: MatmulQuant,
    options: &LinearOptions<'_>,
) -> Result<Tensor, OpError> {
    let launch = if shape.m <= MAX_VECTORS {
        MatvecQuant(shape).launch()?
    } else {
        shape.launch()?
    };
    let out = recording.tensor(options.out.dtype(), &[shape.m as usize, shape.n as usize]);
    let mut buffers = vec![(1, x.buffer()), (8, out.buffer())];
    buffers.extend(weight_buffers(weight));
    buffers.extend(epilogue_buffers(options));
    recording.dispatch(launch, &buffers)?;
    Ok(out)
}

pub(super) fn weight_buffers(weight: &QuantizedWeight) -> Vec<(u32, &Buffer)> {
    let mut buffers = vec![(2, &weight.codes), (3, &weight.scales)];
    buffers.extend(weight.zeros.as_ref().map(|zeros| (4, zeros)));
    buffers
}

pub(super) fn epilogue_buffers<'a>(options: &LinearOptions<'a>) -> Vec<(u32, &'a Buffer)> {
    let bias = options.bias.map(|bias| (6, bias.buffer()));
    let residual = options.residual.map(|residual| (7, residual.buffer()));
    bias.into_iter().chain(residual).collect()
}
