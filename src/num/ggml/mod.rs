//! The block formats of ggml, which GGUF files hold: what their bytes mean, and the same weights in our
//! own streams.
//!
//! A row is a whole number of blocks; a block holds its own scales and has the same number of bytes for
//! every row. `q` is an unsigned code, `d` and `m` are f16.
//!
//! | type | weights | bytes | weight | kept exactly as |
//! |---|---|---|---|---|
//! | F32, F16, BF16 | 1 | 4, 2, 2 | itself | itself |
//! | Q4_0 | 32 | 18 | `d (q - 8)` | int4-g32, f16 scales |
//! | Q4_1 | 32 | 20 | `d q + m` | int4-g32-min, f16 scales |
//! | Q5_0 | 32 | 22 | `d (q - 16)` | int8-g32, f16 scales |
//! | Q5_1 | 32 | 24 | `d q + m` | int8-g32-min, f16 scales |
//! | Q8_0 | 32 | 34 | `d q`, q signed | int8-g32, f16 scales |
//! | Q4_K | 256 | 144 | `d s q - dmin m`, 6-bit s and m per 32 | int4-g32-min, f32 scales |
//! | Q5_K | 256 | 176 | as Q4_K with a fifth bit | int8-g32-min, f32 scales |
//! | Q6_K | 256 | 210 | `d s (q - 32)`, int8 s per 16 | int8-g16, f32 scales |
//!
//! Products of an f16 with a 6 or 8-bit integer are f32 numbers, so every row of the table is exact: no
//! weight is rounded, and no matrix is ever expanded to floats ([`repack`]). What that costs is width: the
//! five- and six-bit formats take eight bits a code here, the K formats an f32 scale (and minimum) a group.
//!
//! Layouts: `ggml/src/ggml-common.h` and `ggml-quants.c` of <https://github.com/ggml-org/ggml>.

mod decode;
mod encode;
mod error;
mod fields;
mod repack;

use std::fmt;

pub use decode::decode;
pub use encode::{blocks_of, encode, held_by, to_blocks, with_minima};
pub use error::GgmlError;
pub use repack::{repack, repacked_bytes};

/// The type of a stored tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GgmlType {
    /// f32.
    F32,
    /// f16.
    F16,
    /// 4 bits, scale per 32.
    Q4_0,
    /// 4 bits, scale and minimum per 32.
    Q4_1,
    /// 5 bits, scale per 32.
    Q5_0,
    /// 5 bits, scale and minimum per 32.
    Q5_1,
    /// 8 bits, scale per 32.
    Q8_0,
    /// 4 bits, 6-bit scales and minima per 32, their scales per 256.
    Q4K,
    /// 5 bits, otherwise as [`Self::Q4K`].
    Q5K,
    /// 6 bits, 8-bit scales per 16, their scale per 256.
    Q6K,
    /// bf16.
    Bf16,
}

impl GgmlType {
    /// Every type, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::F32,
        Self::F16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::Bf16,
    ];

    /// Its number in a file (`enum ggml_type`).
    #[must_use]
    pub const fn id(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q8_0 => 8,
            Self::Q4K => 12,
            Self::Q5K => 13,
            Self::Q6K => 14,
            Self::Bf16 => 30,
        }
    }

    /// The type of this number; `None` for the types this crate does not read.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.id() == id)
    }

    /// ggml's name of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
            Self::Bf16 => "BF16",
        }
    }

    /// Weights in a block; 1 for floats.
    #[must_use]
    pub const fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes of a block.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Whether weights are floats by themselves.
    #[must_use]
    pub const fn is_float(self) -> bool {
        self.block_len() == 1
    }

    /// Bytes of `rows` rows of `k` weights; `None` if a row is no whole number of blocks or the bytes
    /// cannot be counted.
    #[must_use]
    pub fn bytes_of(self, rows: usize, k: usize) -> Option<usize> {
        if !k.is_multiple_of(self.block_len()) {
            return None;
        }
        (k / self.block_len())
            .checked_mul(self.block_bytes())?
            .checked_mul(rows)
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The name of a type that exists in ggml but is not read here, for messages.
#[must_use]
pub fn foreign_type_name(id: u32) -> Option<&'static str> {
    Some(match id {
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        40 => "NVFP4",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
