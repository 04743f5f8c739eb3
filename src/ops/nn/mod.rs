//! Operations of neural networks with their gradients, apart from products: activations, softmax, losses,
//! attention,
//! normalizations, dropout, embeddings and the sums that make gradients of parameters.
//!
//! A function and its gradient are separate operations, so that a tape can record the one and later the
//! other. Activations and their gradients may be f32, f16 or bf16; statistics, losses and gradients of
//! parameters are f32. Every sum has a fixed order: results repeat bit for bit on one adapter.

mod activation;
mod attention;
mod dropout;
mod embedding;
mod indices;
mod int8_cache;
mod loss;
mod norm;
mod rotary;
mod softmax;
mod sums;
mod swiglu;
mod top_k;

pub use crate::kernels::activation_backward::Curve;
pub use crate::kernels::attention::Mask;
pub use crate::kernels::norm::Center;
pub use crate::kernels::rotary::Rotation;
pub use crate::kernels::softmax::Distribution;

pub use activation::{activation, activation_backward};
pub use attention::{
    Attended, AttentionOptions, HeadGradients, HeadOrder, Heads, WantedHeads, attention,
    attention_backward, attention_fused, attention_in_parts,
};
pub use dropout::{DropoutOptions, dropout};
pub use embedding::{embedding, embedding_backward, embedding_quantized};
pub use indices::Indices;
pub use int8_cache::{Int8Cache, append_to_int8_cache, attention_over_int8};
pub use loss::{RowLosses, Target, row_loss};
pub use norm::{
    NormKind, NormOptions, Normalized, Running, norm, norm_backward, norm_by_running,
    norm_by_running_backward, norm_parameters_backward,
};
pub use rotary::{RotaryOptions, append_to_cache, rotary, upload_rotary_table};
pub use softmax::{softmax, softmax_backward};
pub use sums::{channel_sums, column_sums};
pub use swiglu::{swiglu, swiglu_backward, swiglu_halves};
pub use top_k::{Chosen, top_k};
