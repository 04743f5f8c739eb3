//! The float types operands may be stored in, as words.

use std::fmt;

use crate::num::{pack_bf16, pack_f16, unpack_bf16, unpack_f16};
use crate::tensor::DType;

use super::bounds::TINY;

/// Storage type of a real operand. Arithmetic is f32 unless a kernel's name says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloatType {
    /// 32-bit.
    F32,
    /// IEEE half precision, two a word.
    F16,
    /// bfloat16, two a word.
    Bf16,
}

impl FloatType {
    /// The storage type of a tensor, when it is one of these.
    pub const fn from_dtype(dtype: DType) -> Option<Self> {
        match dtype {
            DType::F32 => Some(Self::F32),
            DType::F16 => Some(Self::F16),
            DType::BF16 => Some(Self::Bf16),
            _ => None,
        }
    }

    /// The tensor type.
    pub const fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }

    /// Name in slots and printed shapes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// Bytes of one element.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// Values as words, rounded to nearest even.
    pub fn pack(self, values: &[f32]) -> Vec<u32> {
        match self {
            Self::F32 => bytemuck::cast_slice(values).to_vec(),
            Self::F16 => pack_f16(values),
            Self::Bf16 => pack_bf16(values),
        }
    }

    /// The first `len` values of words.
    pub fn unpack(self, words: &[u32], len: usize) -> Vec<f32> {
        match self {
            Self::F32 => bytemuck::cast_slice(&words[..len]).to_vec(),
            Self::F16 => unpack_f16(words, len),
            Self::Bf16 => unpack_bf16(words, len),
        }
    }

    /// Magnitude below which a load may flush a value to zero: subnormals of the storage type, or of
    /// f32 where that is the wider range.
    pub const fn flush_below(self) -> f64 {
        match self {
            Self::F32 | Self::Bf16 => TINY,
            // 2^-14, the smallest normal f16.
            Self::F16 => 0.000_061_035_156_25,
        }
    }

    /// Error of rounding a value of magnitude up to `size` when it is stored, to nearest even.
    pub fn store_error(self, size: f64) -> f64 {
        match self {
            Self::F32 => 0.0,
            // Half a unit in the last place; below the normal range half of 2^-24.
            Self::F16 => (size * 2f64.powi(-11)).max(2f64.powi(-25)),
            Self::Bf16 => (size * 2f64.powi(-8)).max(TINY),
        }
    }
}

impl fmt::Display for FloatType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
