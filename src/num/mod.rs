//! Number formats, free of any device: half floats, integer quantization, pruned matrices,
//! reproducible random numbers.
//!
//! Everything here is plain arithmetic on slices. It defines, bit for bit, what a stored weight
//! means and how it is laid out in 32-bit words; kernels read those words and are tested against
//! the decoders of this module.
//!
//! * [`float`]: f16 and bf16 packed two to a word, and correctly rounded conversion from f64.
//! * [`quant`]: linear quantization of weight matrices and of activations to int8 and int4.
//! * [`checkpoint`]: weights as GPTQ, AWQ and compressed-tensors pack them.
//! * [`ggml`]: the block formats of GGUF files, decoded and repacked.
//! * [`sparse`]: pruned weight matrices, N:M, by blocks and by single weights.
//! * [`mask`]: which weights are kept, by magnitude or any other score.
//! * [`optim`]: what one training step makes of parameters, gradients and state.
//! * [`rotary`]: cosines and sines of positions.
//! * [`schedule`]: learning rates over time.
//! * [`erf`]: the normal distribution function.
//! * [`philox`]: the counter-based generator behind every random number.

pub mod checkpoint;
pub mod erf;
pub mod float;
pub mod ggml;
pub mod mask;
pub mod optim;
pub mod philox;
pub mod quant;
pub mod rotary;
pub mod schedule;
pub mod sparse;

pub use float::{pack_bf16, pack_f16, round_to_bf16, round_to_f16, unpack_bf16, unpack_f16};
pub use philox::{Philox, Stream};
pub use quant::{
    Bits, CodeRange, CodeScale, Granularity, MinimumParts, QuantError, QuantFormat,
    QuantizedMatrix, QuantizedParts, QuantizedRows, Rounding, ScaleRule, ScaleType, Scheme,
    StaticScale, Width, Zero, quantize, quantize_rows_reference,
};
pub use rotary::{RotaryScaling, rotary_frequencies, rotary_table};
pub use sparse::{
    BlockMatrix, BlockShape, DeltaBits, DeltaMatrix, Dense, Expanded, NmMatrix, NmPattern,
    SparseError, SparseFormat, SparseLayout, SparseMatrix, StoredFormat, ValueFormat, ValueType,
    Values,
};
