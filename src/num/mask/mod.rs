//! Pruning masks: which weights of a matrix `[n, k]` are kept, given a score for each.
//!
//! A mask is chosen from *scores*, f32 `[n, k]`, larger means keep; [`magnitude`] makes the commonest
//! ones, `|w|`. What is kept or dropped together is a *unit*: an element, a block, a row, a column, or
//! one column of a few rows. A unit's score is the sum of its elements' scores.
//!
//! Everything here is defined so that a GPU gives the same bits:
//!
//! * [`score_key`] maps the bits of a score to an integer in the order of the values; subnormals and
//!   -0 count as 0, NaN comes last. All comparisons are of these integers.
//! * Of equal keys the lowest index is kept.
//! * Sums are f32 additions in one stated order ([`Pattern::passes`], [`unit_sums`]) with subnormals
//!   flushed to 0 by bits before and after each.

mod error;
mod matrix;
mod order;
mod pattern;
mod select;
mod sums;

pub use error::MaskError;
pub use matrix::Mask;
pub use order::{CutOff, cut_off, keeps_of_group, score_key};
pub use pattern::{Amount, Contest, MAX_BLOCK, MAX_GROUP, Pattern, STRIP, Units, VECTORS};
pub use select::{Scores, global, global_keep, magnitude, select};
pub use sums::{add_scores, unit_sums};
