//! Making trained matrices smaller: pure functions of weights and of what calibration saw.

mod error;
mod factor;
mod hessian;
pub mod quantize;
mod weights;

pub use error::CompressError;
pub use hessian::Hessian;
pub use weights::{WeightError, Weights, weight_error};
