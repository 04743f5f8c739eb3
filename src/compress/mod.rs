//! Making trained networks smaller, and saying truthfully what was gained and lost.
//!
//! The mathematics are pure functions of weights and of what calibration saw, on the CPU, in f64:
//!
//! * [`quantize`]: integer codes of 8, 4, 3 and 2 bits, by rounding to nearest, GPTQ, AWQ and HQQ; levels of
//!   NF4 and powers of two; the choice of ranges; factors and biases that move what is lost; a plan.
//! * [`prune`]: scores, SparseGPT, sparsity over time, whole neurons and filters.
//! * [`Calibration`] and [`Hessian`]: what a layer's inputs look like, each from batches that may be cut
//!   anywhere.
//!
//! What they are applied to:
//!
//! * [`model`]: a network with weights in any format, and its files.
//! * [`deploy`]: such a network on an engine, measured and verified.
//! * [`transformer`]: encoders, layer by layer with calibration text.
//! * [`outcome`]: what became of a network at each step.
//!
//! A matrix enters as [`Weights`], checked once. Results are what kernels read
//! ([`crate::num::QuantizedMatrix`], [`crate::num::mask::Mask`]) or say how they become it. The same inputs
//! give the same bits wherever sums are concerned; powers with fractional exponents (AWQ, SmoothQuant away
//! from one half, HQQ, norms other than 2) are the platform's and may differ in their last bit.

mod calibration;
pub mod deploy;
mod error;
mod factor;
mod hessian;
pub mod model;
pub mod outcome;
pub mod prune;
pub mod quantize;
pub mod stage;
mod sweep;
#[cfg(test)]
mod testing;
pub mod transformer;
mod weights;

pub use calibration::Calibration;
pub use error::CompressError;
pub use hessian::Hessian;
pub use sweep::DeadColumns;
pub use weights::{WeightError, Weights, weight_error};
