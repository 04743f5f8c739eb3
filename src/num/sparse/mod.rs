//! Pruned weight matrices `[n, k]`: only the weights that are kept, and where they are.
//!
//! | format | kept | places take | module |
//! |---|---|---|---|
//! | [`NmMatrix`] | `n` of every `m` of a row | 1 to 4 bits a value, over 1 to 32 rows | [`nm`] |
//! | [`BlockMatrix`] | blocks of 8x8 to 128x128 | 4 bytes a block | [`block`] |
//! | [`DeltaMatrix`] | any | 4 or 8 bits a value | [`delta`] |
//!
//! The formats do not prune: they pack a [`Dense`] matrix whose pruned weights are zero and refuse
//! one that does not fit. Their values are floats or symmetric integer codes ([`Values`]). A pruned
//! weight comes back as +0 under every format, and -0 counts as zero.
//!
//! What is made elsewhere enters through `from_parts`, which checks everything: whoever holds a
//! matrix may use its indices without looking.

pub mod block;
pub mod delta;
mod dense;
pub mod error;
mod expand;
mod fields;
pub mod float_rows;
pub mod matrix;
pub mod nm;
pub mod values;

pub use block::{BlockMatrix, BlockParts, BlockShape};
pub use delta::{DeltaBits, DeltaMatrix, DeltaParts};
pub use dense::Dense;
pub use error::SparseError;
pub use expand::Expanded;
pub use float_rows::{FloatRows, ValueType};
pub use matrix::{SparseFormat, SparseLayout, SparseMatrix};
pub use nm::{NmMatrix, NmParts, NmPattern};
pub use values::{StoredFormat, ValueFormat, Values};

#[cfg(test)]
mod corruption_tests;
#[cfg(test)]
mod layout_tests;
#[cfg(test)]
mod refusal_tests;
#[cfg(test)]
mod tests;
