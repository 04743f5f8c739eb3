//! Making trained matrices smaller: pure functions of weights and of what calibration saw.

mod calibration;
mod error;
mod factor;
mod hessian;
pub mod quantize;
mod sweep;
#[cfg(test)]
mod testing;
mod weights;

pub use calibration::Calibration;
pub use error::CompressError;
pub use hessian::Hessian;
pub use sweep::DeadColumns;
pub use weights::{WeightError, Weights, weight_error};
