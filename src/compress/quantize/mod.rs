//! Quantization of weight matrices.

mod grid;
mod kl;
mod linear;
mod range;
mod width;

pub use linear::{Linear, LinearMatrix, round_to_nearest};
pub use range::{KL_BINS, Range, RangeChoice};
pub use width::{Width, pack_codes, unpack_codes};
