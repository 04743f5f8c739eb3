//! Gradients of recorded operations, themselves recorded.
//!
//! A [`Tape`] wraps a recording: each function appends the kernels of an operation and remembers how to go
//! back. [`Tape::backward`] appends the kernels of the backward pass, so that forward, backward and
//! whatever is appended after them (an optimizer's step) are one recording, and one plan that replays.
//!
//! Gradients have the shape of what they belong to. A variable used more than once gets the sum
//! of what its uses give, added in the order of the uses, last first.
//!
//! **Mixed precision** ([`Tape::with_storage`]): what operations make, and the gradients of that, are stored in
//! f16 or bf16; products read the 16-bit copies of parameters ([`Tape::keep_copy`]); sums, biases and the
//! gradients of parameters are f32. Kernels decode 16 bits by themselves where an adapter has no f16.
//!
//! **Segments** ([`Tape::segment`]) keep only their inputs and output; the backward pass records their
//! forward kernels once more. The same kernels on the same bits give the same bits, so gradients are
//! identical to those without segments, and the memory of what lies inside is free in between (Chen et al.,
//! "Training Deep Nets with Sublinear Memory Cost", 2016).

mod activation;
mod attention;
mod conv;
mod distill;
mod dropout;
mod embedding;
mod fake_quantize;
mod join;
mod linear;
mod loss;
mod mean;
mod norm;
mod pool;
mod product;
mod reshape;
mod rotary;
mod segment;
mod sum;
mod tape;

pub use distill::{HintLoss, RowLabels, SoftTargets, TeacherLoss};
pub use tape::{Backward, Gradients, Tape, Var};
