//! Quantization of weight matrices.

mod codebook;
mod gptq;
mod grid;
mod hqq;
pub(super) mod kl;
mod linear;
mod logarithmic;
mod nf4;
mod range;
mod width;

pub use codebook::{Codebook, CodebookMatrix};
pub use gptq::{Gptq, GptqResult, Order, Route, gptq};
pub use hqq::{Hqq, hqq};
pub use linear::{Linear, LinearMatrix, round_to_nearest};
pub use logarithmic::{LogRounding, LogWidth, logarithmic};
pub use nf4::{NF4_LEVELS, nf4};
pub use range::{KL_BINS, Range, RangeChoice};
pub use width::{Width, pack_codes, unpack_codes};
