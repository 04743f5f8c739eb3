//! Operations: what callers write. Each checks shapes and formats, picks the kernel, and appends to a
//! recording; nothing runs until an engine is given the recording.

mod coded;
mod element;
mod join;
mod linear;
pub mod mask;
mod matmul;
pub mod nn;
pub mod optim;
mod routes;
mod static_codes;
mod weight;

pub use coded::{CODED_BLOCK, CodedRows, linear_on_codes, norm_codes, quantize_rows, swiglu_codes};
pub use element::{affine, binary, cast, reduce, transpose, unary};
pub use join::{concatenate, copy_over, slice};
pub use linear::{ActivationPath, LinearOptions, linear};
pub use matmul::{MatmulOptions, matmul};
pub use routes::Routes;
pub use static_codes::{StaticCodes, linear_to_codes};
pub use weight::{QuantizedWeight, SparseWeight, Weight};

use thiserror::Error;

use crate::kernels::ShapeError;
use crate::num::mask::MaskError;
use crate::num::optim::OptimError;
use crate::record::{RecordError, Tensor};
use crate::tensor::{DType, TensorError};

/// Why an operation was refused. Nothing was recorded.
#[derive(Debug, Clone, Error, PartialEq)]
pub enum OpError {
    /// Operands whose shapes do not go together.
    #[error("{op}: {what} has shape {got:?}, expected {expected}")]
    Shape {
        /// Operation.
        op: &'static str,
        /// Which operand.
        what: &'static str,
        /// Its shape.
        got: Vec<usize>,
        /// What is allowed.
        expected: String,
    },
    /// An operand of a type the operation has no path for.
    #[error("{op}: {what} is {got}, expected {expected}")]
    Type {
        /// Operation.
        op: &'static str,
        /// Which operand.
        what: &'static str,
        /// Its type.
        got: DType,
        /// What is allowed.
        expected: &'static str,
    },
    /// An extent past 32 bits.
    #[error("{op}: {what} = {got} does not fit 32 bits")]
    TooLarge {
        /// Operation.
        op: &'static str,
        /// Which extent.
        what: &'static str,
        /// Its value.
        got: usize,
    },
    /// A label or token past the last one there is.
    #[error("{what}[{at}] is {value}, allowed: 0 to {}", limit.saturating_sub(1))]
    Index {
        /// Which indices.
        what: &'static str,
        /// Position of the first that is refused.
        at: usize,
        /// Its value.
        value: u32,
        /// The first value that is not allowed.
        limit: u32,
    },
    /// A mask that the shape or the pattern does not allow.
    #[error(transparent)]
    Mask(#[from] MaskError),
    /// An optimizer whose numbers are out of range.
    #[error(transparent)]
    Optim(#[from] OptimError),
    /// A shape the kernel cannot serve.
    #[error(transparent)]
    Kernel(#[from] ShapeError),
    /// A dispatch that does not fit its buffers.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Values that do not form a tensor.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// An extent as kernels take it.
fn extent(op: &'static str, what: &'static str, value: usize) -> Result<u32, OpError> {
    u32::try_from(value).map_err(|_| OpError::TooLarge {
        op,
        what,
        got: value,
    })
}

/// Refuses a tensor of another shape.
pub(crate) fn check_shape(
    op: &'static str,
    what: &'static str,
    tensor: &Tensor,
    expected: &[usize],
) -> Result<(), OpError> {
    if tensor.shape() == expected {
        return Ok(());
    }
    Err(OpError::Shape {
        op,
        what,
        got: tensor.shape().to_vec(),
        expected: format!("{expected:?}"),
    })
}

/// Refuses a tensor of another type.
fn check_type(
    op: &'static str,
    what: &'static str,
    tensor: &Tensor,
    expected: DType,
) -> Result<(), OpError> {
    if tensor.dtype() == expected {
        return Ok(());
    }
    Err(OpError::Type {
        op,
        what,
        got: tensor.dtype(),
        expected: expected.name(),
    })
}
