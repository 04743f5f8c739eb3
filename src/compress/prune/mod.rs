//! Pruning: scores of weights, SparseGPT, sparsity over time, and whole neurons and filters.
//!
//! Patterns and the choice of masks are [`crate::num::mask`]'s.

mod schedule;
mod score;
mod sparsegpt;
mod structured;

pub use schedule::Gradual;
pub use score::{
    FirstOrder, first_order, optimal_brain_damage, optimal_brain_surgeon, random, tighten, wanda,
};
pub use sparsegpt::{SparseGpt, SparseGptResult, Sparsity, sparse_gpt};
pub use structured::{Norm, column_scores, cut_columns, cut_rows, keep_units, row_scores};
