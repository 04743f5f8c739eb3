//! Where a convolution's features are large: the sum of squares over channels at each position, which
//! attention transfer compares (Zagoruyko and Komodakis, "Paying More Attention to Attention", 2017).

use crate::kernels::FloatType;
use crate::kernels::elementwise::{Binary, Broadcast};
use crate::record::{Recording, Tensor};
use crate::tensor::DType;

use super::super::{MatmulOptions, OpError, affine, binary, check_shape, matmul};
use super::sums::items_and_channels;

const SQUARE: (Binary, Broadcast) = (Binary::Mul, Broadcast::Full);

/// f32 `[items, positions]`: sums of squares over the channels of x `[items, channels, ..]`.
///
/// # Errors
/// [`OpError`] for tensors that are not float, have no elements or less than two dimensions.
pub fn channel_energy(recording: &mut Recording, x: &Tensor) -> Result<Tensor, OpError> {
    let [items, channels, positions] = items_and_channels("channel_energy", x)?;
    let flat = reshaped(x, &[items, channels, positions]);
    let squares = binary(recording, &flat, &flat, SQUARE, FloatType::F32)?;
    let ones = ones(recording, &[1, channels])?;
    let sums = matmul(recording, &ones, &squares, &MatmulOptions::default())?;
    Ok(reshaped(&sums, &[items, positions]))
}

/// The gradient of x through [`channel_energy`] from that of its result, `2 x` times it.
///
/// # Errors
/// As [`channel_energy`], and for a gradient of another shape.
pub fn channel_energy_backward(
    recording: &mut Recording,
    x: &Tensor,
    dy: &Tensor,
    out: FloatType,
) -> Result<Tensor, OpError> {
    const OP: &str = "channel_energy_backward";
    let [items, channels, positions] = items_and_channels(OP, x)?;
    check_shape(OP, "dy", dy, &[items, positions])?;
    let ones = ones(recording, &[channels, 1])?;
    let rows = reshaped(dy, &[items, 1, positions]);
    let spread = matmul(recording, &ones, &rows, &MatmulOptions::default())?;
    let flat = reshaped(x, &[items, channels, positions]);
    let product = binary(recording, &flat, &spread, SQUARE, FloatType::F32)?;
    let dx = affine(recording, &product, (2.0, 0.0), out)?;
    Ok(reshaped(&dx, x.shape()))
}

fn reshaped(x: &Tensor, shape: &[usize]) -> Tensor {
    Tensor::of_buffer(x.buffer().clone(), x.dtype(), shape)
}

fn ones(recording: &mut Recording, shape: &[usize]) -> Result<Tensor, OpError> {
    let ones = recording.tensor(DType::F32, shape);
    recording.upload_words(ones.buffer(), vec![1f32.to_bits(); ones.len()])?;
    Ok(ones)
}
