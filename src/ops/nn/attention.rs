//! Scaled dot-product attention, over a cache too, and the gradients through it.

use crate::kernels::FloatType;
use crate::kernels::attention::gradient::AttentionGradient;
use crate::kernels::attention::{Attention, AttentionShape, KeyCounts, KeyStorage, Mask, Place};
use crate::kernels::attention_combine::AttentionCombine;
use crate::kernels::attention_delta::AttentionDelta;
use crate::kernels::attention_keys_backward::AttentionKeysBackward;
use crate::kernels::attention_queries_backward::AttentionQueriesBackward;
use crate::record::{Buffer, Recording, Tensor};
use crate::tensor::DType;

use super::super::coded::combine_codes;
use super::super::matmul::float;
use super::super::{CodedRows, OpError, check_shape, check_type, extent};

const OP: &str = "attention";

/// Which comes first in the shape of queries, or of keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadOrder {
    /// `[batch, heads, tokens, dim]`
    HeadsFirst,
    /// `[batch, tokens, heads, dim]`, as a linear layer gives it.
    TokensFirst,
}

/// How attention reads its operands and what queries see.
#[derive(Debug, Clone)]
pub struct AttentionOptions {
    /// Order of q and of the result.
    pub order: HeadOrder,
    /// Order of k and v.
    pub kv_order: HeadOrder,
    /// Which keys a query sees.
    pub mask: Mask,
    /// What products of queries and keys are multiplied by; `1 / sqrt(dim)` unless given.
    pub scale: Option<f32>,
    /// Keys of each sequence, u32 `[batch]`; all of them unless given. Keys and values behind them may hold
    /// anything.
    pub lengths: Option<Tensor>,
    /// Storage of the result.
    pub out: FloatType,
}

impl Default for AttentionOptions {
    /// `[batch, tokens, heads, dim]`, every key seen, f32.
    fn default() -> Self {
        Self {
            order: HeadOrder::TokensFirst,
            kv_order: HeadOrder::TokensFirst,
            mask: Mask::Full,
            scale: None,
            lengths: None,
            out: FloatType::F32,
        }
    }
}

/// What [`attention`] made.
#[derive(Debug, Clone)]
pub struct Attended {
    /// The result, shaped as q.
    pub out: Tensor,
    /// Logarithm of each row's sum of exponentials, f32 `[batch, heads, queries]`: what the gradient needs.
    pub log_sums: Tensor,
}

/// Heads, and the tensors they are read from.
#[derive(Debug, Clone, Copy)]
pub struct Heads<'a> {
    /// Queries, `[batch, heads, queries, dim]` or in the other order.
    pub q: &'a Tensor,
    /// Keys, `[batch, kv_heads, keys, dim]` or in the other order; `kv_heads` divides `heads`.
    pub k: &'a Tensor,
    /// Values, shaped as the keys.
    pub v: &'a Tensor,
}

/// Softmax of `scale q k` over the keys, times v.
///
/// # Errors
/// [`OpError`] for tensors that are not float or whose shapes do not go together, keys and values of
/// different types, a `dim` that is no multiple of 4 or above 256, and lengths that are not u32 `[batch]`;
/// nothing is recorded then.
pub fn attention(
    recording: &mut Recording,
    heads: Heads<'_>,
    options: &AttentionOptions,
) -> Result<Attended, OpError> {
    let shape = shape(heads, options)?;
    record(recording, heads, (shape, heads.q.shape()), options)
}

/// The same for queries, keys and values that lie in one tensor `[batch, tokens, heads + 2 kv_heads, dim]`, as
/// one product gives them; the result is `[batch, tokens, heads, dim]`. The orders of the options are not
/// read.
///
/// # Errors
/// As [`attention`]; `kv_heads` that leave no head for the queries.
pub fn attention_fused(
    recording: &mut Recording,
    qkv: &Tensor,
    kv_heads: usize,
    options: &AttentionOptions,
) -> Result<Attended, OpError> {
    let &[batch, tokens, all, dim] = qkv.shape() else {
        return Err(rank("qkv", qkv));
    };
    let heads = all
        .checked_sub(kv_heads.saturating_mul(2))
        .filter(|&heads| heads > 0);
    let Some(heads) = heads else {
        return Err(OpError::Shape {
            op: OP,
            what: "qkv",
            got: qkv.shape().to_vec(),
            expected: format!(
                "[batch, tokens, heads + {}, dim]",
                kv_heads.saturating_mul(2)
            ),
        });
    };
    // Every stride is below the number of elements of a sequence, which must fit.
    extent(
        OP,
        "elements of a sequence",
        tokens.saturating_mul(all).saturating_mul(dim),
    )?;
    let [batch_u32, tokens_u32, dim_u32] = [
        extent(OP, "batch", batch)?,
        extent(OP, "tokens", tokens)?,
        extent(OP, "dim", dim)?,
    ];
    let (heads_u32, kv_u32) = (heads as u32, kv_heads as u32);
    let place = |head: u32| Place {
        offset: head * dim_u32,
        batch: tokens_u32 * all as u32 * dim_u32,
        head: dim_u32,
        token: all as u32 * dim_u32,
    };
    let extents = [
        batch_u32, heads_u32, kv_u32, tokens_u32, tokens_u32, dim_u32,
    ];
    let dense = AttentionShape::tokens_first(extents);
    let shape = AttentionShape {
        q: place(0),
        k: place(heads_u32),
        v: place(heads_u32 + kv_u32),
        ..with_options(dense, options)
    };
    let same = Heads {
        q: qkv,
        k: qkv,
        v: qkv,
    };
    record(
        recording,
        same,
        (shape, &[batch, tokens, heads, dim]),
        options,
    )
}

/// Attention whose keys are cut into `splits` parts that are worked on at the same time: for few queries over
/// a long cache.
///
/// # Errors
/// As [`attention`]; no parts.
pub fn attention_in_parts(
    recording: &mut Recording,
    heads: Heads<'_>,
    splits: u32,
    options: &AttentionOptions,
) -> Result<Tensor, OpError> {
    let parts = Attention {
        shape: shape(heads, options)?,
        splits,
        q: float(OP, "q", heads.q)?,
        kv: KeyStorage::Float(kv_type(heads)?),
        out: FloatType::F32,
    };
    let buffers = operands(heads, options);
    in_parts(recording, parts, &buffers, (heads.q.shape(), options.out))
}

/// The same as codes of rows `[batch queries, heads dim]`, which a product that needs sums of every `segment` codes
/// reads: in blocks of [`crate::ops::CODED_BLOCK`], heads of whole blocks.
///
/// # Errors
/// As [`attention_in_parts`]; heads that are not whole blocks, segments other than 8, 16 and 32.
pub fn attention_codes(
    recording: &mut Recording,
    heads: Heads<'_>,
    (splits, segment): (u32, u32),
    options: &AttentionOptions,
) -> Result<CodedRows, OpError> {
    let parts = Attention {
        shape: shape(heads, options)?,
        splits,
        q: float(OP, "q", heads.q)?,
        kv: KeyStorage::Float(kv_type(heads)?),
        out: FloatType::F32,
    };
    let buffers = operands(heads, options);
    codes_of_parts(recording, parts, &buffers, segment)
}

/// Records attention over parts of the keys and what puts them together as codes.
pub(super) fn codes_of_parts(
    recording: &mut Recording,
    parts: Attention,
    operands: &[(u32, &Buffer)],
    segment: u32,
) -> Result<CodedRows, OpError> {
    let shape = parts.shape;
    let extents = [
        shape.batch,
        parts.splits,
        shape.heads,
        shape.queries,
        shape.dim,
    ];
    let extents = extents.map(|extent| extent as usize);
    let launch = parts.launch()?;
    let partials = recording.tensor(DType::F32, &extents);
    let log_sums = recording.tensor(DType::F32, &extents[..4]);
    let mut made = Recording::new();
    let codes = combine_codes(&mut made, (&partials, &log_sums), segment)?;
    let mut buffers = operands.to_vec();
    buffers.extend([(5, log_sums.buffer()), (8, partials.buffer())]);
    recording.dispatch(launch, &buffers)?;
    for command in made.commands() {
        recording.append(command);
    }
    Ok(codes)
}

/// Records attention over parts of the keys and what puts them together; the result has the given shape and
/// type.
pub(super) fn in_parts(
    recording: &mut Recording,
    parts: Attention,
    operands: &[(u32, &Buffer)],
    (result, out): (&[usize], FloatType),
) -> Result<Tensor, OpError> {
    let (shape, splits) = (parts.shape, parts.splits);
    let is_whole = splits == 1;
    let parts = Attention {
        out: if is_whole { out } else { FloatType::F32 },
        ..parts
    };
    let combine = AttentionCombine {
        batch: shape.batch,
        splits,
        heads: shape.heads,
        queries: shape.queries,
        dim: shape.dim,
        place: shape.out,
        out,
    };
    let (launch, second) = (parts.launch()?, combine.launch()?);
    let extents = [shape.batch, splits, shape.heads, shape.queries, shape.dim];
    let extents = extents.map(|extent| extent as usize);
    let log_sums = recording.tensor(DType::F32, &extents[..4]);
    let made = recording.tensor(out.dtype(), result);
    let mut buffers = operands.to_vec();
    buffers.push((5, log_sums.buffer()));
    if is_whole {
        buffers.push((8, made.buffer()));
        recording.dispatch(launch, &buffers)?;
        return Ok(made);
    }
    let partials = recording.tensor(DType::F32, &extents);
    buffers.push((8, partials.buffer()));
    recording.dispatch(launch, &buffers)?;
    let buffers = [
        (1, partials.buffer()),
        (2, log_sums.buffer()),
        (8, made.buffer()),
    ];
    recording.dispatch(second, &buffers)?;
    Ok(made)
}

/// Which gradients [`attention_backward`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedHeads {
    /// That of q.
    pub queries: bool,
    /// Those of k and v.
    pub keys_and_values: bool,
}

/// Gradients that [`attention_backward`] made.
#[derive(Debug, Clone, Default)]
pub struct HeadGradients {
    /// Of q, of its type and shape.
    pub q: Option<Tensor>,
    /// Of k.
    pub k: Option<Tensor>,
    /// Of v.
    pub v: Option<Tensor>,
}

/// The gradients of q, k and v, of their types and shapes, from what [`attention`] made of them with the same
/// options and the gradient `dy` of its result.
///
/// # Errors
/// [`OpError`] when dy has another shape than the result, and as [`attention`]; nothing is recorded then.
pub fn attention_backward(
    recording: &mut Recording,
    heads: Heads<'_>,
    (attended, dy): (&Attended, &Tensor),
    wanted: WantedHeads,
    options: &AttentionOptions,
) -> Result<HeadGradients, OpError> {
    const OP: &str = "attention_backward";
    let shape = shape(heads, options)?;
    let rows = [shape.batch, shape.heads, shape.queries].map(|extent| extent as usize);
    check_shape(OP, "out", &attended.out, heads.q.shape())?;
    check_shape(OP, "log_sums", &attended.log_sums, &rows)?;
    check_type(OP, "log_sums", &attended.log_sums, DType::F32)?;
    check_shape(OP, "dy", dy, heads.q.shape())?;
    let delta = AttentionDelta {
        batch: shape.batch,
        heads: shape.heads,
        queries: shape.queries,
        dim: shape.dim,
        place: shape.out,
        result: float(OP, "out", &attended.out)?,
        upstream: float(OP, "dy", dy)?,
    };
    let q = float(OP, "q", heads.q)?;
    let gradient = AttentionGradient {
        shape,
        q,
        kv: kv_type(heads)?,
        upstream: delta.upstream,
        out: q,
    };
    let of_queries = AttentionQueriesBackward(gradient).launch()?;
    let of_keys = AttentionKeysBackward(AttentionGradient {
        out: gradient.kv,
        ..gradient
    })
    .launch()?;
    let mut made = HeadGradients::default();
    if !wanted.queries && !wanted.keys_and_values {
        return Ok(made);
    }
    let statistics = recording.tensor(DType::F32, &[rows[0], rows[1], rows[2], 2]);
    let buffers = [
        (1, attended.out.buffer()),
        (2, dy.buffer()),
        (3, attended.log_sums.buffer()),
        (8, statistics.buffer()),
    ];
    recording.dispatch(delta.launch()?, &buffers)?;
    let mut buffers = operands(heads, options);
    buffers.extend([(4, dy.buffer()), (5, statistics.buffer())]);
    if wanted.queries {
        let dq = recording.tensor(heads.q.dtype(), heads.q.shape());
        let mut buffers = buffers.clone();
        buffers.push((8, dq.buffer()));
        recording.dispatch(of_queries, &buffers)?;
        made.q = Some(dq);
    }
    if wanted.keys_and_values {
        let dk = recording.tensor(heads.k.dtype(), heads.k.shape());
        let dv = recording.tensor(heads.v.dtype(), heads.v.shape());
        buffers.extend([(8, dk.buffer()), (9, dv.buffer())]);
        recording.dispatch(of_keys, &buffers)?;
        (made.k, made.v) = (Some(dk), Some(dv));
    }
    Ok(made)
}

fn record(
    recording: &mut Recording,
    heads: Heads<'_>,
    (shape, result): (AttentionShape, &[usize]),
    options: &AttentionOptions,
) -> Result<Attended, OpError> {
    let launch = Attention {
        shape,
        splits: 1,
        q: float(OP, "q", heads.q)?,
        kv: KeyStorage::Float(kv_type(heads)?),
        out: options.out,
    }
    .launch()?;
    check_lengths(&shape, options)?;
    let out = recording.tensor(options.out.dtype(), result);
    let rows = [shape.batch, shape.heads, shape.queries].map(|extent| extent as usize);
    let log_sums = recording.tensor(DType::F32, &rows);
    let mut buffers = operands(heads, options);
    buffers.extend([(5, log_sums.buffer()), (8, out.buffer())]);
    recording.dispatch(launch, &buffers)?;
    Ok(Attended { out, log_sums })
}

/// Operands by binding.
fn operands<'a>(heads: Heads<'a>, options: &'a AttentionOptions) -> Vec<(u32, &'a Buffer)> {
    let mut buffers = vec![
        (1, heads.q.buffer()),
        (2, heads.k.buffer()),
        (3, heads.v.buffer()),
    ];
    buffers.extend(options.lengths.iter().map(|lengths| (7, lengths.buffer())));
    buffers
}

/// The shape of dense operands.
fn shape(heads: Heads<'_>, options: &AttentionOptions) -> Result<AttentionShape, OpError> {
    let extents = |what, tensor: &Tensor, order| match (order, tensor.shape()) {
        (HeadOrder::HeadsFirst, &[batch, heads, tokens, dim])
        | (HeadOrder::TokensFirst, &[batch, tokens, heads, dim]) => Ok([batch, heads, tokens, dim]),
        _ => Err(rank(what, tensor)),
    };
    let [batch, q_heads, queries, dim] = extents("q", heads.q, options.order)?;
    let [kv_batch, kv_heads, keys, kv_dim] = extents("k", heads.k, options.kv_order)?;
    if (kv_batch, kv_dim) != (batch, dim) {
        return Err(OpError::Shape {
            op: OP,
            what: "k",
            got: heads.k.shape().to_vec(),
            expected: format!("{batch} sequences of rows of {dim} elements, as q has"),
        });
    }
    check_shape(OP, "v", heads.v, heads.k.shape())?;
    let place = |order, heads, tokens, dim| match order {
        HeadOrder::HeadsFirst => Place::heads_first(heads, tokens, dim),
        HeadOrder::TokensFirst => Place::tokens_first(heads, tokens, dim),
    };
    let extents = [
        extent(OP, "batch", batch)?,
        extent(OP, "heads", q_heads)?,
        extent(OP, "kv_heads", kv_heads)?,
        extent(OP, "queries", queries)?,
        extent(OP, "keys", keys)?,
        extent(OP, "dim", dim)?,
    ];
    let [_, q_heads, kv_heads, queries, keys, dim] = extents;
    let own = place(options.order, q_heads, queries, dim);
    let shared = place(options.kv_order, kv_heads, keys, dim);
    let shape = with_options(AttentionShape::heads_first(extents), options);
    let shape = AttentionShape {
        q: own,
        k: shared,
        v: shared,
        out: own,
        ..shape
    };
    check_lengths(&shape, options)?;
    Ok(shape)
}

pub(super) fn with_options(shape: AttentionShape, options: &AttentionOptions) -> AttentionShape {
    AttentionShape {
        mask: options.mask,
        lengths: if options.lengths.is_some() {
            KeyCounts::PerSequence
        } else {
            KeyCounts::All
        },
        scale: options.scale.unwrap_or(shape.scale),
        ..shape
    }
}

pub(super) fn check_lengths(
    shape: &AttentionShape,
    options: &AttentionOptions,
) -> Result<(), OpError> {
    if let Some(lengths) = &options.lengths {
        check_shape(OP, "lengths", lengths, &[shape.batch as usize])?;
        check_type(OP, "lengths", lengths, DType::U32)?;
    }
    Ok(())
}

fn kv_type(heads: Heads<'_>) -> Result<FloatType, OpError> {
    let storage = float(OP, "k", heads.k)?;
    check_type(OP, "v", heads.v, heads.k.dtype())?;
    Ok(storage)
}

fn rank(what: &'static str, tensor: &Tensor) -> OpError {
    OpError::Shape {
        op: OP,
        what,
        got: tensor.shape().to_vec(),
        expected: "four dimensions".to_owned(),
    }
}
