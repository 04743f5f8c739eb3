//! Rows of activations as int8 codes, and linear layers on them: what integer products read, made once for all layers
//! that read the same rows, or by the operation that makes the rows.

use crate::kernels::combine_quantize::CombineQuantize;
use crate::kernels::matmul_int8::MatmulInt8;
use crate::kernels::matvec_int8::MatvecInt8;
use crate::kernels::norm_quantize::NormQuantize;
use crate::kernels::quantize_rows::QuantizeRows;
use crate::kernels::swiglu_quantize::SwigluQuantize;
use crate::num::Granularity;
use crate::record::{Buffer, Launch, Recording, Tensor};
use crate::tensor::DType;

use super::linear::{MAX_VECTORS, epilogue_buffers, weight_buffers};
use super::matmul::{epilogue, float};
use super::{LinearOptions, OpError, QuantizedWeight, check_shape, check_type, extent};

const OP: &str = "linear";

/// Elements that share a scale in the operations here that make codes themselves.
pub const CODED_BLOCK: u32 = 32;

/// Activations `[m, k]` as int8 codes with a scale for every `block` of a row and a sum of every `segment`.
#[derive(Debug, Clone)]
pub struct CodedRows {
    codes: Buffer,
    blocks: Buffer,
    m: u32,
    k: u32,
    block: u32,
    segment: u32,
}

impl QuantizedWeight {
    /// Codes of a row of activations that a product with this weight needs summed together, where activations have a
    /// scale for every `block`.
    #[must_use]
    pub fn segment(&self, block: u32) -> u32 {
        match self.format.granularity {
            Granularity::Tensor | Granularity::Channel => block,
            Granularity::Group(group_size) => block.min(group_size),
        }
    }
}

impl CodedRows {
    /// Room for what a launch writes: codes and then blocks are its last two slots.
    fn room(launch: &dyn Launch, [m, k, block, segment]: [u32; 4]) -> (Self, [u32; 2]) {
        let slots = launch.slots();
        let last = |back: usize| &slots[slots.len() - back];
        let rows = Self {
            codes: Buffer::new(last(2).bytes),
            blocks: Buffer::new(last(1).bytes),
            m,
            k,
            block,
            segment,
        };
        (rows, [last(2).binding, last(1).binding])
    }

    fn made_by(
        recording: &mut Recording,
        launch: std::sync::Arc<dyn Launch>,
        shape: [u32; 4],
        reads: &[(u32, &Buffer)],
    ) -> Result<Self, OpError> {
        let (rows, [codes, blocks]) = Self::room(launch.as_ref(), shape);
        let mut buffers = reads.to_vec();
        buffers.extend([(codes, &rows.codes), (blocks, &rows.blocks)]);
        recording.dispatch(launch, &buffers)?;
        Ok(rows)
    }
}

/// Quantizes `x [m, k]`, f32 or f16: a scale for every `block` of a row, which is the whole row where it is `k`, and a
/// sum of every `segment` of its codes.
///
/// # Errors
/// [`OpError`] for another rank or type, and blocks and segments that do not tile.
pub fn quantize_rows(
    recording: &mut Recording,
    x: &Tensor,
    [block, segment]: [u32; 2],
) -> Result<CodedRows, OpError> {
    let [m, k] = matrix("x", x)?;
    let launch = QuantizeRows {
        m,
        k,
        x: float(OP, "x", x)?,
        block,
        sum_block: segment,
    }
    .launch()?;
    let reads = [(launch.slots()[0].binding, x.buffer())];
    CodedRows::made_by(recording, launch, [m, k, block, segment], &reads)
}

/// The codes of `x / sqrt(mean of x^2 + epsilon) gamma`, of f32 rows `[m, k]` and gamma `[k]`, in blocks of
/// [`CODED_BLOCK`] with a sum of every `segment` codes.
///
/// # Errors
/// [`OpError`] for other shapes and types, rows that are not whole blocks, segments other than 8, 16 and 32, and an
/// epsilon that is not positive.
pub fn norm_codes(
    recording: &mut Recording,
    x: &Tensor,
    (gamma, epsilon): (&Tensor, f32),
    segment: u32,
) -> Result<CodedRows, OpError> {
    let [m, k] = matrix("x", x)?;
    check_type(OP, "x", x, DType::F32)?;
    check_shape(OP, "gamma", gamma, &[k as usize])?;
    check_type(OP, "gamma", gamma, DType::F32)?;
    let launch = NormQuantize {
        m,
        k,
        epsilon,
        segment,
    }
    .launch()?;
    let reads = [(1, x.buffer()), (2, gamma.buffer())];
    CodedRows::made_by(recording, launch, [m, k, CODED_BLOCK, segment], &reads)
}

/// The codes of `silu(gate) value` of f32 rows `[m, 2 k]`, the gate first, as [`norm_codes`] stores them.
///
/// # Errors
/// [`OpError`] for another rank or type, and halves that are not whole blocks.
pub fn swiglu_codes(
    recording: &mut Recording,
    x: &Tensor,
    segment: u32,
) -> Result<CodedRows, OpError> {
    let [m, both] = matrix("x", x)?;
    check_type(OP, "x", x, DType::F32)?;
    if !both.is_multiple_of(2 * CODED_BLOCK) {
        return Err(OpError::Shape {
            op: OP,
            what: "gate and value",
            got: x.shape().to_vec(),
            expected: format!("two halves of whole blocks of {CODED_BLOCK}"),
        });
    }
    let k = both / 2;
    let launch = SwigluQuantize { m, k, segment }.launch()?;
    let reads = [(1, x.buffer())];
    CodedRows::made_by(recording, launch, [m, k, CODED_BLOCK, segment], &reads)
}

/// The codes of attention over parts of the keys put together, a row a query of all its heads: results of parts f32
/// `[batch, splits, heads, queries, dim]` and their logarithms without the last extent.
pub(super) fn combine_codes(
    recording: &mut Recording,
    (partials, log_sums): (&Tensor, &Tensor),
    segment: u32,
) -> Result<CodedRows, OpError> {
    let &[batch, splits, heads, queries, dim] = partials.shape() else {
        return Err(OpError::Shape {
            op: OP,
            what: "results of parts",
            got: partials.shape().to_vec(),
            expected: "[batch, splits, heads, queries, dim]".to_owned(),
        });
    };
    let shape = CombineQuantize {
        batch: extent(OP, "batch", batch)?,
        splits: extent(OP, "splits", splits)?,
        heads: extent(OP, "heads", heads)?,
        queries: extent(OP, "queries", queries)?,
        dim: extent(OP, "dim", dim)?,
        segment,
    };
    let launch = shape.launch()?;
    let made = [
        shape.batch * shape.queries,
        shape.heads * shape.dim,
        CODED_BLOCK,
        segment,
    ];
    let reads = [(1, partials.buffer()), (2, log_sums.buffer())];
    CodedRows::made_by(recording, launch, made, &reads)
}

/// A linear layer on coded rows: `y [m, n]`. The activations and the precision of the options are not read.
///
/// # Errors
/// [`OpError`] for a weight of another k or one that needs other sums, and as [`super::linear()`].
pub fn linear_on_codes(
    recording: &mut Recording,
    x: &CodedRows,
    weight: &QuantizedWeight,
    options: &LinearOptions<'_>,
) -> Result<Tensor, OpError> {
    let launch = product(x, weight, options)?;
    record_product(recording, launch, (x, weight), options)
}

/// Quantizes the activations, then multiplies integers. Both are checked before either is recorded.
pub(super) fn int8(
    recording: &mut Recording,
    x: &Tensor,
    (weight, block): (&QuantizedWeight, u32),
    options: &LinearOptions<'_>,
) -> Result<Tensor, OpError> {
    let [m, k] = matrix("x", x)?;
    let segment = weight.segment(block);
    let rows = QuantizeRows {
        m,
        k,
        x: float(OP, "x", x)?,
        block,
        sum_block: segment,
    };
    let (expected, _) = CodedRows::room(rows.launch()?.as_ref(), [m, k, block, segment]);
    let launch = product(&expected, weight, options)?;
    let coded = quantize_rows(recording, x, [block, segment])?;
    record_product(recording, launch, (&coded, weight), options)
}

fn product(
    x: &CodedRows,
    weight: &QuantizedWeight,
    options: &LinearOptions<'_>,
) -> Result<std::sync::Arc<dyn Launch>, OpError> {
    let (m, n) = (x.m as usize, weight.n);
    if x.k as usize != weight.k || x.segment != weight.segment(x.block) {
        return Err(OpError::Shape {
            op: OP,
            what: "coded rows",
            got: vec![m, x.k as usize, x.segment as usize],
            expected: format!(
                "[m, {}] with sums of {} codes, as the weight needs",
                weight.k,
                weight.segment(x.block)
            ),
        });
    }
    let epilogue = epilogue(
        OP,
        n,
        &[m, n],
        options.bias,
        options.activation,
        options.residual,
    )?;
    let product = MatmulInt8 {
        m: x.m,
        n: extent(OP, "n", n)?,
        k: x.k,
        weight: weight.format,
        block: x.block,
        epilogue,
        out: options.out,
    };
    Ok(if x.m <= MAX_VECTORS {
        MatvecInt8(product).launch()?
    } else {
        product.launch()?
    })
}

fn record_product(
    recording: &mut Recording,
    launch: std::sync::Arc<dyn Launch>,
    (x, weight): (&CodedRows, &QuantizedWeight),
    options: &LinearOptions<'_>,
) -> Result<Tensor, OpError> {
    let out = recording.tensor(options.out.dtype(), &[x.m as usize, weight.n]);
    let mut buffers = vec![(1, &x.codes), (5, &x.blocks), (8, out.buffer())];
    buffers.extend(weight_buffers(weight));
    buffers.extend(epilogue_buffers(options));
    recording.dispatch(launch, &buffers)?;
    Ok(out)
}

fn matrix(what: &'static str, x: &Tensor) -> Result<[u32; 2], OpError> {
    let &[m, k] = x.shape() else {
        return Err(OpError::Shape {
            op: OP,
            what,
            got: x.shape().to_vec(),
            expected: "[m, k]".to_owned(),
        });
    };
    Ok([extent(OP, "m", m)?, extent(OP, "k", k)?])
}
