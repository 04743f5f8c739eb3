//! Steps that make a network smaller: each takes a model and gives one, with a log of what it did.
//!
//! A stage reads the training set for calibration and fine-tuning and never the test set, which only judges.

pub mod calibrate;
mod context;
pub mod control;
pub mod distill;
pub mod few;
mod kept;
pub mod prune;
pub mod qat;
pub mod quantize;
pub mod sensitivity;
pub mod shrink;

pub(in crate::compress) use context::mib;
pub use context::{Context, Progress, StageError};
