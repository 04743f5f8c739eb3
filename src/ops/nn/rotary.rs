//! Rotary positions, and caches of keys and values.

use std::ops::Range;

use crate::kernels::FloatType;
use crate::kernels::attention::Place;
use crate::kernels::rotary::{Destination, Rotary, Rotation};
use crate::record::{Recording, Tensor};
use crate::tensor::{DType, HostTensor, TensorError};

use super::super::matmul::float;
use super::super::{OpError, check_shape, check_type, extent};
use super::HeadOrder;

const OP: &str = "rotary";

/// How heads are turned.
#[derive(Debug, Clone)]
pub struct RotaryOptions<'a> {
    /// Position of each sequence's first token, u32 `[batch]`.
    pub starts: &'a Tensor,
    /// Cosines and sines, f32 `[positions, dim / 2, 2]`, as [`crate::num::rotary_table`] makes them.
    pub table: &'a Tensor,
    /// Which elements make a pair.
    pub rotation: Rotation,
    /// Order of x.
    pub order: HeadOrder,
    /// Which heads of x are read; all of them unless given.
    pub heads: Option<Range<usize>>,
    /// By the negative angle: the gradient.
    pub is_backward: bool,
    /// Storage of the result.
    pub out: FloatType,
}

/// Uploads the table of [`crate::num::rotary_table`] for `positions` positions.
///
/// # Errors
/// [`TensorError`] when the values are not so many rows of pairs.
pub fn upload_rotary_table(
    recording: &mut Recording,
    positions: usize,
    table: &[f32],
) -> Result<Tensor, TensorError> {
    let pairs = table.len() / positions.max(1) / 2;
    let host = HostTensor::from_f32(vec![positions, pairs, 2], table)?;
    Ok(recording.upload(&host))
}

/// x `[batch, tokens, heads, dim]`, or in the other order, with each head turned by the angles of its token's
/// position.
///
/// # Errors
/// [`OpError`] for tensors whose shapes do not go together, a `dim` that is no multiple of 8, heads past the
/// last one, and types other than float, u32 starts and an f32 table; nothing is recorded then.
pub fn rotary(
    recording: &mut Recording,
    x: &Tensor,
    options: &RotaryOptions<'_>,
) -> Result<Tensor, OpError> {
    let read = HeadsRead::new(x, options.order, options.heads.clone())?;
    let positions = positions(options, &read)?;
    let [batch, heads, tokens, dim] = read.extents;
    let launch = Rotary {
        batch,
        heads,
        tokens,
        dim,
        rotation: options.rotation,
        positions,
        is_backward: options.is_backward,
        x_place: read.place,
        out_place: place(options.order, [heads, tokens, dim]),
        destination: Destination::Rows,
        x: float(OP, "x", x)?,
        out: options.out,
    }
    .launch()?;
    let [batch, heads, tokens, dim] = read.extents.map(|extent| extent as usize);
    let shape = match options.order {
        HeadOrder::HeadsFirst => [batch, heads, tokens, dim],
        HeadOrder::TokensFirst => [batch, tokens, heads, dim],
    };
    let out = recording.tensor(options.out.dtype(), &shape);
    let mut buffers = vec![(1, x.buffer()), (2, options.starts.buffer())];
    if options.rotation != Rotation::None {
        buffers.push((3, options.table.buffer()));
    }
    buffers.push((8, out.buffer()));
    recording.dispatch(launch, &buffers)?;
    Ok(out)
}

/// Puts the heads of x, turned, into a cache `[batch, heads, capacity, dim]` of float: token t of a sequence
/// into the row of its position. What would lie behind the last row is left out; the type `out` is not read.
///
/// # Errors
/// As [`rotary`]; a cache of another shape.
pub fn append_to_cache(
    recording: &mut Recording,
    x: &Tensor,
    cache: &Tensor,
    options: &RotaryOptions<'_>,
) -> Result<(), OpError> {
    let read = HeadsRead::new(x, options.order, options.heads.clone())?;
    let positions = positions(options, &read)?;
    let [batch, heads, tokens, dim] = read.extents;
    let capacity = cache.shape().get(2).copied().unwrap_or(0);
    let expected = [batch as usize, heads as usize, capacity, dim as usize];
    check_shape(OP, "cache", cache, &expected)?;
    let capacity = extent(OP, "capacity", capacity)?;
    let launch = Rotary {
        batch,
        heads,
        tokens,
        dim,
        rotation: options.rotation,
        positions,
        is_backward: options.is_backward,
        x_place: read.place,
        out_place: Place::heads_first(heads, capacity, dim),
        destination: Destination::Cache { capacity },
        x: float(OP, "x", x)?,
        out: float(OP, "cache", cache)?,
    }
    .launch()?;
    let mut buffers = vec![(1, x.buffer()), (2, options.starts.buffer())];
    if options.rotation != Rotation::None {
        buffers.push((3, options.table.buffer()));
    }
    buffers.push((8, cache.buffer()));
    recording.dispatch(launch, &buffers)?;
    Ok(())
}

/// Some heads of a tensor.
pub(super) struct HeadsRead {
    /// Batch, heads read, tokens, dim.
    pub extents: [u32; 4],
    pub place: Place,
}

impl HeadsRead {
    pub fn new(x: &Tensor, order: HeadOrder, range: Option<Range<usize>>) -> Result<Self, OpError> {
        let refused = |expected: String| OpError::Shape {
            op: OP,
            what: "x",
            got: x.shape().to_vec(),
            expected,
        };
        let [batch, all, tokens, dim] = match (order, x.shape()) {
            (HeadOrder::HeadsFirst, &[batch, heads, tokens, dim])
            | (HeadOrder::TokensFirst, &[batch, tokens, heads, dim]) => [batch, heads, tokens, dim],
            _ => return Err(refused("four dimensions".to_owned())),
        };
        let range = range.unwrap_or(0..all);
        if range.start >= range.end || range.end > all {
            return Err(refused(format!("heads {} to {}", range.start, range.end)));
        }
        let extents = [
            extent(OP, "batch", batch)?,
            extent(OP, "heads", all)?,
            extent(OP, "tokens", tokens)?,
            extent(OP, "dim", dim)?,
        ];
        let elements = all.saturating_mul(tokens).saturating_mul(dim);
        extent(OP, "elements of a sequence", elements)?;
        let [batch, all, tokens, dim] = extents;
        let whole = place(order, [all, tokens, dim]);
        Ok(Self {
            extents: [batch, range.len() as u32, tokens, dim],
            place: Place {
                offset: range.start as u32 * whole.head,
                ..whole
            },
        })
    }
}

const fn place(order: HeadOrder, [heads, tokens, dim]: [u32; 3]) -> Place {
    match order {
        HeadOrder::HeadsFirst => Place::heads_first(heads, tokens, dim),
        HeadOrder::TokensFirst => Place::tokens_first(heads, tokens, dim),
    }
}

/// Rows of the table, after a check of it and of the starts.
fn positions(options: &RotaryOptions<'_>, read: &HeadsRead) -> Result<u32, OpError> {
    let [batch, _, _, dim] = read.extents.map(|extent| extent as usize);
    check_shape(OP, "starts", options.starts, &[batch])?;
    check_type(OP, "starts", options.starts, DType::U32)?;
    let rows = options.table.shape().first().copied().unwrap_or(0);
    if options.rotation != Rotation::None {
        check_shape(OP, "table", options.table, &[rows, dim / 2, 2])?;
        check_type(OP, "table", options.table, DType::F32)?;
    }
    extent(OP, "positions", rows.max(1))
}
