//! Tensors of compressed-tensors files: quantized ones in [`codes`]; here pruned ones, `sparse-24-bitmask` and
//! `sparse-bitmask`.
//!
//! A pruned matrix `[N, K]` of the prefix `X` is stored as several tensors of a safetensors file:
//!
//! | tensor | `sparse-24-bitmask` | `sparse-bitmask` |
//! |---|---|---|
//! | `X.shape` | i64 `[2, 1]`: N, K | i64 `[2]` |
//! | `X.compressed` | `[N, K / 2]` kept values in row order | 1-D, all kept values in row order |
//! | `X.bitmask` | u8 `[N, ceil(K / 8)]` | the same |
//! | `X.row_offsets` | absent | i64 `[N]`: kept values before each row |
//!
//! Bit `j % 8` of byte `j / 8` of a bitmask row says that column `j` is kept (numpy's `packbits` with
//! little bit order); bits from K on are 0. In a 2:4 mask each group of four columns has exactly two
//! bits set, some of which may stand for zeros. Both shapes of `X.shape` are read in both formats.
//!
//! The prefix is the name of the layer: the weight that comes back is `X.weight`
//! ([`BitmaskEntry::weight_name`]). Files of some versions keep `.weight` in the prefix, which is
//! read as well. Values may be f32, f16, bf16 or i8; they are copied, bit for bit. Source:
//! `Sparse24BitMaskTensor` and `BitmaskTensor` of
//! <https://github.com/vllm-project/compressed-tensors>.

pub mod codes;
mod error;
mod read;
mod write;

use std::fmt;

use crate::io::safetensors::TensorEntry;
use crate::tensor::DType;

pub use error::BitmaskError;
pub use read::{bitmask_tensors, read_bitmask, read_bitmask_file};
pub use write::bitmask_parts;

/// The element types that values may have.
const VALUE_TYPES: [DType; 4] = [DType::F32, DType::F16, DType::BF16, DType::I8];

/// How the places of kept values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitmaskFormat {
    /// Two of every four columns.
    TwoFour,
    /// Any columns.
    General,
}

impl fmt::Display for BitmaskFormat {
    /// The name in a `sparsity_config`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::TwoFour => "sparse-24-bitmask",
            Self::General => "sparse-bitmask",
        })
    }
}

/// A pruned tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BitmaskEntry {
    /// What its parts are named after: a layer, as a rule.
    pub prefix: String,
    /// How it is stored, by the presence of row offsets.
    pub format: BitmaskFormat,
}

impl BitmaskEntry {
    /// The name of the dense tensor: the prefix with `.weight`, once.
    pub fn weight_name(&self) -> String {
        match self.prefix.ends_with(".weight") {
            true => self.prefix.clone(),
            false => format!("{}.weight", self.prefix),
        }
    }

    /// The format of a prefix by its parts; `None` if it is no pruned tensor.
    fn of(prefix: &str, has_tensor: impl Fn(&str) -> bool) -> Option<Self> {
        let has = |part: &str| has_tensor(&format!("{prefix}.{part}"));
        let format = match (has("shape") && has("bitmask"), has("row_offsets")) {
            (false, _) => return None,
            (true, true) => BitmaskFormat::General,
            (true, false) => BitmaskFormat::TwoFour,
        };
        Some(Self {
            prefix: prefix.to_owned(),
            format,
        })
    }
}

/// Whether a sorted list of entries has a tensor of this name.
fn has_tensor(tensors: &[TensorEntry], name: &str) -> bool {
    let found = tensors.binary_search_by(|entry| entry.name.as_str().cmp(name));
    found.is_ok()
}

#[cfg(test)]
mod mutation_tests;
#[cfg(test)]
mod tests;
