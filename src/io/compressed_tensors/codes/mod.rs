//! Quantized matrices of compressed-tensors files: `pack-quantized` and `int-quantized`.
//!
//! A matrix `[N, K]` of the layer `X` is stored as several tensors of a safetensors file. With `b` bits a
//! code, `p = 32 / b` codes a word, groups of `g` columns (`K` for channels) and `G = K / g`:
//!
//! | tensor | `pack-quantized` | `int-quantized` |
//! |---|---|---|
//! | codes | `X.weight_packed` i32 `[N, ceil(K / p)]`, unsigned `q + 2^(b-1)`, low bits first | `X.weight` i8 `[N, K]` |
//! | `X.weight_scale` | f32, f16 or bf16 `[N, G]`, `[1]` for a tensor | the same |
//! | `X.weight_zero_point` | i32 `[ceil(N / p), G]`, packed along N, unsigned too | i8, shaped as the scales |
//! | `X.weight_shape` | i64 or i32 `[2]`: N, K | absent |
//!
//! `b` is 2, 3, 4, 6 or 8; at 3 bits a word holds 10 codes, at 6 bits 5, and its two highest bits are 0. Kernels read 4
//! and 8 bits, so narrower codes are widened when they are read, which loses nothing. Zero points are
//! written only where the scheme is not symmetric; those of a symmetric one must all be the middle. Bits and groups are said by the `weights`
//! arguments of a config group ([`WeightArgs`]), not by the tensors. Scales of 16 bits come back as f16
//! scales where they fit and f32 otherwise, with the same values. Source: `PackedQuantizationCompressor` and
//! `IntQuantizationCompressor` of <https://github.com/vllm-project/compressed-tensors>.

mod args;
mod error;
mod read;
mod write;

use std::fmt;

use crate::num::Width;

pub use args::{ActivationArgs, WeightArgs};
pub use error::CodesError;
pub use read::{read_codes, read_codes_file};
pub use write::code_parts;

/// How codes are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodesFormat {
    /// Several to a 32-bit word.
    Packed,
    /// One byte each.
    Bytes,
}

impl CodesFormat {
    /// The one that codes of a width are written in: bytes where they fill them.
    #[must_use]
    pub const fn of(width: Width) -> Self {
        match width {
            Width::Int8 => Self::Bytes,
            Width::Int6 | Width::Int4 | Width::Int3 | Width::Int2 => Self::Packed,
        }
    }
}

impl fmt::Display for CodesFormat {
    /// The name in a `quantization_config`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Packed => "pack-quantized",
            Self::Bytes => "int-quantized",
        })
    }
}

#[cfg(test)]
mod tests;
