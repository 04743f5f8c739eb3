//! Kernels: one file per shader, and the registry that tests, `verify`, benches and the support table
//! loop over.
//!
//! A kernel file holds, in this order: the maths, `Params`, the launch (shape and formats), its
//! variants, grid, reference, bound and cost, then its cases and broken shaders.

mod approx;
mod bounds;
mod case;
mod code_blocks;
mod conv_shape;
mod data;
mod epilogue;
mod fast;
mod float;
mod functions;
mod guess;
mod int8_cases;
mod int8_codes;
mod int8_product;
mod iterations;
mod mask_data;
mod mask_shape;
#[cfg(test)]
mod parts_test;
mod path;
mod pool_shape;
mod quant_cases;
mod quant_product;
mod row_codes;
mod rows;
mod running;
mod shape;
pub mod sparse;
mod split;
mod weight;
mod window;
mod workload;

pub use bounds::{TINY, U, gamma};
pub use case::{Case, Effort, ExpectedFailure, Judge, Kernel};
pub use conv_shape::{ConvShape, Steps};
pub use data::DataKind;
pub use epilogue::{Activation, Epilogue};
pub use float::FloatType;
pub use mask_shape::MaskShape;
pub use pool_shape::{PoolShape, PoolWindow, Pooling};
pub use shape::ShapeError;
pub use workload::{Workload, WorkloadError, WorkloadFn, value_format};

/// Declares the kernel modules and the registry from one word each.
macro_rules! registry {
    ($($name:ident),+ $(,)?) => {
        $(pub mod $name;)+

        /// Every kernel, in the order they are listed.
        pub static REGISTRY: &[&Kernel] = &[$(&$name::KERNEL),+];
    };
}

registry![
    fill,
    cast,
    copy,
    transpose,
    unfold,
    transpose_half,
    elementwise,
    activation_backward,
    row_reduce,
    softmax,
    softmax_backward,
    row_loss,
    channel_sums,
    norm,
    norm_backward,
    norm_quantize,
    norm_running,
    dropout,
    embedding,
    embedding_backward,
    conv2d,
    conv2d_weight,
    pool2d,
    pool2d_backward,
    embedding_quant,
    attention,
    attention_combine,
    combine_quantize,
    attention_delta,
    attention_queries_backward,
    attention_keys_backward,
    rotary,
    cache_quantize,
    swiglu,
    swiglu_quantize,
    top_k,
    quantize_rows,
    quant_scales,
    fake_quantize,
    fake_quantize_backward,
    matmul_dense,
    matmul_quant,
    matvec_quant,
    matmul_int8,
    matvec_int8,
    sparse_nm,
    sparse_block,
    sparse_delta,
    mask_scores,
    mask_threshold,
    mask_count,
    mask_pick,
    mask_select,
    mask_nm,
    mask_apply,
    grad_stats,
    loss_scale,
    optimizer,
    roofline,
];
