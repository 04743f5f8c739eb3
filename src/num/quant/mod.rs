//! Linear quantization to int8 and int4: `w ~= scale * (q - zero)`, or `scale * code + minimum`.
//!
//! [`quantize()`] turns a row-major `[n, k]` f32 matrix (`n` output features, `k` input features)
//! into a [`QuantizedMatrix`] under a [`Scheme`]; importers and better quantizers hand their own
//! codes to [`QuantizedMatrix::from_codes`]. [`quantize_rows_reference`] is the dynamic int8 side
//! for activations, [`StaticScale`] the static one. The packed words are described in [`layout`], the conventions of other tools in
//! [`scheme`], what training sees of it all in [`fake`].

pub mod activation;
pub mod error;
pub mod fake;
pub mod format;
pub mod import;
pub mod layout;
pub mod matrix;
pub mod quantize;
pub mod rule;
pub mod scheme;
pub mod width;

pub use activation::{QuantizedRows, StaticScale, quantize_rows_reference};
pub use error::QuantError;
pub use fake::CodeRange;
pub use format::{Bits, Granularity, QuantFormat, ScaleType, Zero};
pub use import::{MinimumParts, QuantizedParts};
pub use matrix::QuantizedMatrix;
pub use quantize::quantize;
pub use scheme::{CodeScale, Rounding, ScaleRule, Scheme};
pub use width::Width;
