//! Results on a host's cores: what [`crate::record::Launch::fast`] is made of.
//!
//! Arithmetic is f32 without fused multiply-adds, and sums are taken in [`LANES`] partial sums, however wide the
//! processor's vectors are: results have the same bits on every processor, as far as its mathematical library
//! agrees. Work is divided by elements of the result, never along a sum, so they have the same bits on any number
//! of threads. Each element passes through no more roundings than its kernel's bound counts.

mod int8;
mod lanes;
mod product;
mod stored;
mod threads;
mod weight;

pub(super) use int8::HostRows;
pub(super) use lanes::{LANES, add_scaled, dot, squares, sum};
pub(super) use product::{Blocks, MOST_VECTORS, Sums};
pub(super) use stored::{Stored, fill as fill_stored};
pub(super) use threads::fill;
pub(super) use weight::HostWeight;
