//! Operations of neural networks with their gradients, apart from products of matrices: convolutions, pooling,
//! attention, activations, softmax, losses,
//! normalizations, dropout, embeddings and the sums that make gradients of parameters.
//!
//! A function and its gradient are separate operations, so that a tape can record the one and later the
//! other. Activations and their gradients may be f32, f16 or bf16; statistics, losses and gradients of
//! parameters are f32. Every sum has a fixed order: results repeat bit for bit on one adapter.

mod activation;
mod attention;
mod conv;
mod dropout;
mod embedding;
mod energy;
mod fake_quantize;
mod indices;
mod int8_cache;
mod loss;
mod norm;
mod pool;
mod rotary;
mod softmax;
mod sums;
mod swiglu;
mod top_k;
mod unfold;

pub use crate::kernels::activation_backward::Curve;
pub use crate::kernels::attention::Mask;
pub use crate::kernels::norm::Center;
pub use crate::kernels::rotary::Rotation;
pub use crate::kernels::softmax::Distribution;

pub use activation::{activation, activation_backward};
pub use attention::{
    Attended, AttentionOptions, HeadGradients, HeadOrder, Heads, WantedHeads, attention,
    attention_backward, attention_codes, attention_fused, attention_in_parts,
};
pub(crate) use conv::of_one_row;
pub use conv::{
    Conv1dOptions, Conv2dOptions, conv1d, conv2d, conv2d_backward_input, conv2d_backward_weight,
};
pub use dropout::{DropoutOptions, dropout};
pub use embedding::{embedding, embedding_backward, embedding_of, embedding_quantized};
pub use energy::{channel_energy, channel_energy_backward};
pub use fake_quantize::{
    Coding, FakeQuantizeGradients, ScaleScope, Scales, ScalesOf, fake_quantize,
    fake_quantize_backward, quant_scales, stored_scales,
};
pub use indices::Indices;
pub use int8_cache::{
    Int8Cache, append_to_int8_cache, attention_codes_over_int8, attention_over_int8,
};
pub use loss::{RowLosses, Target, row_loss};
pub use norm::{
    NormKind, NormOptions, Normalized, Running, norm, norm_backward, norm_by_running,
    norm_by_running_backward, norm_parameters_backward,
};
pub use pool::{
    AverageOver, Pool2dOptions, adaptive_avg_pool2d, adaptive_avg_pool2d_backward, avg_pool2d,
    avg_pool2d_backward, global_avg_pool, max_pool2d, max_pool2d_backward,
};
pub use rotary::{RotaryOptions, append_to_cache, rotary, upload_rotary_table};
pub use softmax::{softmax, softmax_backward};
pub use sums::{channel_sums, column_sums};
pub use swiglu::{swiglu, swiglu_backward, swiglu_halves};
pub use top_k::{Chosen, top_k};
pub use unfold::{conv2d_by_rows, unfold};
