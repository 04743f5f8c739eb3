//! Dropout, whose masks follow from a counter.

use crate::kernels::FloatType;
use crate::kernels::dropout::Dropout;
use crate::record::{Recording, Tensor};
use crate::tensor::DType;

use super::super::matmul::float;
use super::super::{OpError, check_shape, check_type, extent};

/// Which elements are dropped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DropoutOptions {
    /// Chance of an element to be dropped, in [0, 1).
    pub probability: f32,
    /// Of the run.
    pub seed: u64,
    /// Of the layer: layers with different streams have independent masks.
    pub stream: u32,
}

/// x with some elements 0 and the others divided by the share that is kept; the result has the type `out`.
/// `step`, u32 `[1]`, gives every training step masks of its own. The gradient is the same operation on the
/// gradient, with the same options and step.
///
/// # Errors
/// [`OpError`] for tensors that are not float or have no elements, a step that is not u32 `[1]`, and
/// probabilities outside [0, 1); nothing is recorded then.
pub fn dropout(
    recording: &mut Recording,
    x: &Tensor,
    options: &DropoutOptions,
    step: &Tensor,
    out: FloatType,
) -> Result<Tensor, OpError> {
    const OP: &str = "dropout";
    check_shape(OP, "step", step, &[1])?;
    check_type(OP, "step", step, DType::U32)?;
    let launch = Dropout {
        count: extent(OP, "elements", x.len())?,
        probability: options.probability,
        seed: options.seed,
        stream: options.stream,
        x: float(OP, "x", x)?,
        out,
    }
    .launch()?;
    let y = recording.tensor(out.dtype(), x.shape());
    recording.dispatch(
        launch,
        &[(1, x.buffer()), (2, step.buffer()), (8, y.buffer())],
    )?;
    Ok(y)
}
