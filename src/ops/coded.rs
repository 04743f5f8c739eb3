//! Rows of activations as int8 codes, and linear layers on them: what integer products read, made once for all layers
//! that read the same rows, or by the operation that makes the rows.

use std::sync::Arc;

use crate::kernels::combine_quantize::CombineQuantize;
use crate::kernels::matmul_int8::MatmulInt8;
use crate::kernels::matvec_int8::MatvecInt8;
use crate::kernels::norm_quantize::NormQuantize;
use crate::kernels::quantize_rows::{BlockScale, QuantizeRows};
use crate::kernels::swiglu_quantize::SwigluQuantize;
use crate::num::{Granularity, StaticScale};
use crate::record::{Buffer, Command, Launch, Recording, Tensor};
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
    /// Codes and blocks of `[m, k, block, segment]`.
    pub(super) fn new((codes, blocks): (Buffer, Buffer), [m, k, block, segment]: [u32; 4]) -> Self {
        Self {
            codes,
            blocks,
            m,
            k,
            block,
            segment,
        }
    }

    /// What a launch makes that writes codes and blocks at these bindings.
    fn made_by(
        recording: &mut Recording,
        (launch, bindings): (Arc<dyn Launch>, [u32; 2]),
        shape: [u32; 4],
        reads: &[(u32, &Buffer)],
    ) -> Result<Self, OpError> {
        let [codes, blocks] = bindings.map(|binding| Buffer::new(bytes(&*launch, binding)));
        let mut buffers = reads.to_vec();
        buffers.extend([(bindings[0], &codes), (bindings[1], &blocks)]);
        recording.dispatch(launch, &buffers)?;
        Ok(Self::new((codes, blocks), shape))
    }
}

/// Bytes of a launch's operand.
fn bytes(launch: &dyn Launch, binding: u32) -> u64 {
    let slots = launch.slots();
    let slot = slots.iter().find(|slot| slot.binding == binding);
    slot.map_or(0, |slot| slot.bytes)
}

/// Quantizes `x [m, k]`, f32 or f16: a scale for every `block` of a row, which is the whole row where it is `k`, and a
/// sum of every `segment` of its codes.
///
/// # Errors
/// [`OpError`] for another rank or type, and blocks and segments that do not tile.
pub fn quantize_rows(
    recording: &mut Recording,
    x: &Tensor,
    blocks: [u32; 2],
) -> Result<CodedRows, OpError> {
    quantize_rows_by(recording, x, blocks, None)
}

/// The same, under a scale that was found beforehand if there is one.
pub(super) fn quantize_rows_by(
    recording: &mut Recording,
    x: &Tensor,
    [block, segment]: [u32; 2],
    scale: Option<StaticScale>,
) -> Result<CodedRows, OpError> {
    let [m, k] = matrix("x", x)?;
    let launch = quantizer(x, [block, segment], scale)?;
    let given = scale.map(|scale| given(recording, scale));
    let mut reads = vec![(1, x.buffer())];
    reads.extend(given.as_ref().map(|given| (4, given)));
    CodedRows::made_by(recording, (launch, [2, 3]), [m, k, block, segment], &reads)
}

fn quantizer(
    x: &Tensor,
    [block, segment]: [u32; 2],
    scale: Option<StaticScale>,
) -> Result<Arc<dyn Launch>, OpError> {
    let [m, k] = matrix("x", x)?;
    let rows = QuantizeRows {
        m,
        k,
        x: float(OP, "x", x)?,
        block,
        sum_block: segment,
        scale: match scale {
            None => BlockScale::Largest,
            Some(_) => BlockScale::Given,
        },
    };
    Ok(rows.launch()?)
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
    CodedRows::made_by(
        recording,
        (launch, [7, 8]),
        [m, k, CODED_BLOCK, segment],
        &reads,
    )
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
    CodedRows::made_by(
        recording,
        (launch, [7, 8]),
        [m, k, CODED_BLOCK, segment],
        &reads,
    )
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
    CodedRows::made_by(recording, (launch, [7, 8]), made, &reads)
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
    let m = x.m as usize;
    if x.segment != weight.segment(x.block) {
        return Err(OpError::Shape {
            op: OP,
            what: "coded rows",
            got: vec![m, x.k as usize, x.segment as usize],
            expected: format!(
                "sums of {} codes, as the weight needs",
                weight.segment(x.block)
            ),
        });
    }
    check_product(&[m, x.k as usize], weight, options, None)?;
    let buffer = record_product(recording, x, weight, options, None)?;
    Ok(Tensor::of_buffer(
        buffer,
        options.out.dtype(),
        &[m, weight.n],
    ))
}

/// Quantizes the activations, each `block` or all under one scale, then multiplies integers. Both are checked before
/// either is recorded.
pub(super) fn int8(
    recording: &mut Recording,
    x: &Tensor,
    weight: &QuantizedWeight,
    (block, scale): (u32, Option<StaticScale>),
    options: &LinearOptions<'_>,
) -> Result<Tensor, OpError> {
    let [m, _] = matrix("x", x)?;
    let blocks = [block, weight.segment(block)];
    quantizer(x, blocks, scale)?;
    product(m, (weight, block), options, None)?;
    let coded = quantize_rows_by(recording, x, blocks, scale)?;
    let buffer = record_product(recording, &coded, weight, options, None)?;
    let extents = [m as usize, weight.n];
    Ok(Tensor::of_buffer(buffer, options.out.dtype(), &extents))
}

/// Refuses what no product of rows `[m, k]` with the weight can take, with results in codes under the scale `next` if
/// there is one; gives m and k.
pub(super) fn check_product(
    x: &[usize],
    weight: &QuantizedWeight,
    options: &LinearOptions<'_>,
    next: Option<StaticScale>,
) -> Result<[u32; 2], OpError> {
    let m = match x {
        &[m, k] if k == weight.k => extent(OP, "m", m)?,
        _ => {
            return Err(OpError::Shape {
                op: OP,
                what: "x",
                got: x.to_vec(),
                expected: format!("[m, {}] to match the weight [{}, {0}]", weight.k, weight.n),
            });
        }
    };
    let k = extent(OP, "k", weight.k)?;
    product(m, (weight, k), options, next)?;
    Ok([m, k])
}

fn product(
    m: u32,
    (weight, block): (&QuantizedWeight, u32),
    options: &LinearOptions<'_>,
    next: Option<StaticScale>,
) -> Result<Arc<dyn Launch>, OpError> {
    let epilogue = epilogue(
        OP,
        weight.n,
        &[m as usize, weight.n],
        options.bias,
        options.activation,
        options.residual,
    )?;
    let product = MatmulInt8 {
        m,
        n: extent(OP, "n", weight.n)?,
        k: extent(OP, "k", weight.k)?,
        weight: weight.format,
        block,
        epilogue,
        out: options.out,
        codes: next.is_some(),
    };
    Ok(if m <= MAX_VECTORS {
        MatvecInt8(product).launch()?
    } else {
        product.launch()?
    })
}

/// Multiplies integers: the result's buffer, of codes under the scale `next` if there is one.
pub(super) fn record_product(
    recording: &mut Recording,
    x: &CodedRows,
    weight: &QuantizedWeight,
    options: &LinearOptions<'_>,
    next: Option<StaticScale>,
) -> Result<Buffer, OpError> {
    let launch = product(x.m, (weight, x.block), options, next)?;
    let result = Buffer::new(bytes(&*launch, 8));
    let next = next.map(|next| given(recording, next));
    let mut buffers = vec![(1, &x.codes), (5, &x.blocks), (8, &result)];
    buffers.extend(weight_buffers(weight));
    buffers.extend(epilogue_buffers(options));
    buffers.extend(next.as_ref().map(|next| (7, next)));
    recording.dispatch(launch, &buffers)?;
    Ok(result)
}

/// A scale that was found beforehand, as kernels are given it.
fn given(recording: &mut Recording, scale: StaticScale) -> Buffer {
    let words = [scale.get(), scale.reciprocal()].map(f32::to_bits);
    put(recording, words.to_vec())
}

/// Words on the engine.
pub(super) fn put(recording: &mut Recording, words: Vec<u32>) -> Buffer {
    let buffer = Buffer::new(4 * words.len() as u64);
    recording.append(&Command::Upload {
        buffer: buffer.clone(),
        words: words.into(),
    });
    buffer
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
