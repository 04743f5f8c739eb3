//! Sums over everything but the channels: gradients of biases.

use crate::kernels::channel_sums::{ChannelSums, Term};
use crate::record::{Buffer, Recording, Tensor};
use crate::tensor::DType;

use super::super::element::rows_and_columns;
use super::super::matmul::float;
use super::super::{OpError, extent};

/// Items that one invocation or workgroup sums; more are summed in chunks, then the chunks.
const CHUNK: u32 = 64;

/// f32 `[columns]`: sums over all but the last dimension of x, for the bias of a linear layer.
///
/// # Errors
/// [`OpError`] for tensors that are not float or have no elements; nothing is recorded then.
pub fn column_sums(recording: &mut Recording, x: &Tensor) -> Result<Tensor, OpError> {
    let [items, channels] = rows_and_columns("column_sums", x)?;
    sums(
        recording,
        "column_sums",
        x,
        [items, channels, 1],
        &Factor::NONE,
    )
}

/// f32 `[channels]`: sums over all but the second dimension of x `[items, channels, ..]`, for the bias of a
/// convolution.
///
/// # Errors
/// [`OpError`] for tensors that are not float, have no elements or less than two dimensions; nothing is
/// recorded then.
pub fn channel_sums(recording: &mut Recording, x: &Tensor) -> Result<Tensor, OpError> {
    let extents = items_and_channels("channel_sums", x)?;
    sums(recording, "channel_sums", x, extents, &Factor::NONE)
}

/// Items, channels, and elements of one channel of one item, of a tensor `[items, channels, ..]`.
pub(super) fn items_and_channels(op: &'static str, x: &Tensor) -> Result<[usize; 3], OpError> {
    match x.shape() {
        [items, channels, inner @ ..] => Ok([*items, *channels, inner.iter().product()]),
        other => Err(OpError::Shape {
            op,
            what: "x",
            got: other.to_vec(),
            expected: "[items, channels, ..]".to_owned(),
        }),
    }
}

/// What elements are multiplied by before they are summed, with the buffers of that.
pub(super) struct Factor<'a> {
    pub term: Term,
    pub buffers: Vec<(u32, &'a Buffer)>,
}

impl Factor<'_> {
    pub const NONE: Self = Self {
        term: Term::Plain,
        buffers: Vec::new(),
    };
}

/// Sums over items and inner elements of x, seen as `[items, channels, inner]`.
pub(super) fn sums(
    recording: &mut Recording,
    op: &'static str,
    x: &Tensor,
    [items, channels, inner]: [usize; 3],
    factor: &Factor<'_>,
) -> Result<Tensor, OpError> {
    let items = extent(op, "items", items)?;
    let first = ChannelSums {
        items,
        channels: extent(op, "channels", channels)?,
        inner: extent(op, "inner", inner)?,
        // A rest too small for a chunk of its own is taken along.
        chunk: if items <= 2 * CHUNK { items } else { CHUNK },
        x: float(op, "x", x)?,
        term: factor.term,
    };
    let mut chunks = first.chunks();
    let launch = first.launch()?;
    let mut partial = recording.tensor(DType::F32, &[chunks as usize, channels]);
    let mut buffers = vec![(1, x.buffer()), (8, partial.buffer())];
    buffers.extend_from_slice(&factor.buffers);
    recording.dispatch(launch, &buffers)?;
    while chunks > 1 {
        let next = ChannelSums {
            items: chunks,
            inner: 1,
            chunk: if chunks <= 2 * CHUNK { chunks } else { CHUNK },
            x: crate::kernels::FloatType::F32,
            term: Term::Plain,
            ..first
        };
        chunks = next.chunks();
        let sums = recording.tensor(DType::F32, &[chunks as usize, channels]);
        recording.dispatch(next.launch()?, &[(1, partial.buffer()), (8, sums.buffer())])?;
        partial = sums;
    }
    Ok(Tensor::of_buffer(
        partial.buffer().clone(),
        DType::F32,
        &[channels],
    ))
}
