//! Quantization of weight matrices.
//!
//! | method | needs | result |
//! |---|---|---|
//! | [`round_to_nearest`] | weights | [`LinearMatrix`] |
//! | [`hqq()`] | weights | [`LinearMatrix`] |
//! | [`hqq_judged`] | weights and the inputs' Hessian | [`LinearMatrix`], each row the better of [`hqq()`] and to nearest |
//! | [`gptq()`] | the inputs' Hessian | [`LinearMatrix`], its loss, and how it came about |
//! | [`awq()`] | the inputs' Hessian and mean magnitudes | [`LinearMatrix`] and factors for the inputs |
//! | [`nf4()`], [`logarithmic()`] | weights | [`CodebookMatrix`] |
//!
//! [`Smoothing`] moves factors between layers, [`corrected_bias`] mean errors into a bias,
//! [`fold_batch_norm`] a normalization into a layer. [`plan()`] says beforehand what happens to which layer.

mod awq;
mod bias;
mod codebook;
mod gptq;
mod grid;
mod hqq;
pub(super) mod kl;
mod linear;
mod logarithmic;
mod matrix;
mod nearest;
mod nf4;
mod plan;
mod range;
mod smooth;
mod width;

pub use crate::num::Width;
pub use awq::{Awq, AwqResult, Clip, awq};
pub use bias::{BatchNorm, corrected_bias, fold_batch_norm};
pub use codebook::{Codebook, CodebookMatrix};
pub use gptq::{Gptq, GptqResult, Order, Route, gptq};
pub use grid::Grid;
pub use hqq::{Hqq, hqq, hqq_judged};
pub(crate) use kl::MIN_VALUES as KL_MIN_VALUES;
pub use linear::Linear;
pub use logarithmic::{LogRounding, LogWidth, logarithmic};
pub use matrix::LinearMatrix;
pub use nearest::round_to_nearest;
pub use nf4::{NF4_LEVELS, nf4};
pub(in crate::compress) use plan::hqq_bytes;
pub use plan::{Action, Layer, Misfit, Planned, matches_pattern, plan};
pub use range::{KL_BINS, Range, RangeChoice};
pub use smooth::Smoothing;
pub use width::{pack_codes, unpack_codes};
