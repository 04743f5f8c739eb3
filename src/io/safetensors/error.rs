//! What can be wrong with the bytes of a safetensors file, or with a request made of one.
//!
//! Names come from the file and may be anything; they are stored shortened by [`shown`] and printed
//! escaped, so that a message stays one readable line.

use super::{LENGTH_BYTES, MAX_HEADER_BYTES};
use crate::tensor::{DType, TensorError};

/// The most dimensions a tensor may have: the limit of NumPy 2 and PyTorch, beyond which nothing
/// reads it.
pub(super) const MAX_DIMENSIONS: usize = 64;

/// A file that is not safetensors, or that does not hold what was asked for. Offsets and lengths
/// are bytes; data offsets count from the end of the header, as in the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SafetensorsError {
    /// The file ends within the header length.
    #[error("too short for safetensors: has {file_bytes} bytes, needs at least {LENGTH_BYTES}")]
    TooShort {
        /// Length of the file.
        file_bytes: usize,
    },
    /// The header is said to end after the end of the file.
    #[error(
        "the header is said to have {claimed} bytes, but only {available} follow; \
         the file is cut off or not safetensors"
    )]
    HeaderBeyondFile {
        /// Header length as stored.
        claimed: u64,
        /// Bytes after the header length.
        available: usize,
    },
    /// The header is longer than any reader accepts.
    #[error("the header has {header_bytes} bytes; allowed: up to {MAX_HEADER_BYTES}")]
    HeaderTooLarge {
        /// Length of the header.
        header_bytes: usize,
    },
    /// The header is not text.
    #[error("the header is not UTF-8 from its byte {at} on")]
    NotUtf8 {
        /// First wrong byte, from the start of the header.
        at: usize,
    },
    /// The header is not JSON of the form the format defines.
    #[error("the header is not valid safetensors JSON: {reason}")]
    InvalidJson {
        /// What the JSON reader said, with line and column within the header.
        reason: String,
    },
    /// The element type is not one the format defines.
    #[error("tensor {name:?} has dtype {dtype:?}; allowed: {allowed}")]
    UnknownDtype {
        /// The tensor.
        name: String,
        /// Its element type as stored.
        dtype: String,
        /// The names the format allows.
        allowed: String,
    },
    /// Two tensors have the same name.
    #[error("tensor {name:?} occurs more than once; names must differ")]
    DuplicateTensor {
        /// The tensor.
        name: String,
    },
    /// Two metadata strings have the same key.
    #[error("metadata key {key:?} occurs more than once; keys must differ")]
    DuplicateMetadata {
        /// The key.
        key: String,
    },
    /// The shape has more dimensions than any reader accepts.
    #[error("tensor {name:?} has {n_dimensions} dimensions; allowed: up to {MAX_DIMENSIONS}")]
    TooManyDimensions {
        /// The tensor.
        name: String,
        /// Length of its shape.
        n_dimensions: usize,
    },
    /// The size of the tensor does not fit the address space.
    #[error(
        "tensor {name:?} of {dtype} {shape:?} needs more bits than can be counted; allowed: up to {}",
        usize::MAX
    )]
    ShapeOverflow {
        /// The tensor.
        name: String,
        /// Its element type as stored.
        dtype: String,
        /// Its dimensions.
        shape: Vec<usize>,
    },
    /// The tensor's data is not as long as its shape and element type need.
    #[error(
        "tensor {name:?} of {dtype} {shape:?} takes {needed_bits} bits, \
         but its data_offsets hold {n_bytes} bytes"
    )]
    ShapeMismatch {
        /// The tensor.
        name: String,
        /// Its element type as stored.
        dtype: String,
        /// Its dimensions.
        shape: Vec<usize>,
        /// Bits the shape takes.
        needed_bits: usize,
        /// Bytes between its offsets.
        n_bytes: usize,
    },
    /// The tensor's data ends before it begins, or after the end of the file.
    #[error(
        "tensor {name:?} has data_offsets [{begin}, {end}]; allowed: ascending and up to {data_bytes}"
    )]
    OffsetsOutOfRange {
        /// The tensor.
        name: String,
        /// First data byte.
        begin: usize,
        /// One past the last data byte.
        end: usize,
        /// Bytes of data in the file.
        data_bytes: usize,
    },
    /// The tensor's data begins before the data of the one before it ends.
    #[error(
        "tensor {name:?} begins at data byte {begin}, \
         but {previous:?} ends at {previous_end}; data must not overlap"
    )]
    Overlap {
        /// The tensor.
        name: String,
        /// First data byte.
        begin: usize,
        /// The tensor before it in the data.
        previous: String,
        /// One past the last data byte of that one.
        previous_end: usize,
    },
    /// Data bytes belong to no tensor.
    #[error("data bytes {begin} to {end} belong to no tensor; data must have no holes")]
    Hole {
        /// First byte of the hole.
        begin: usize,
        /// One past the last byte of the hole.
        end: usize,
    },
    /// The reference reader refuses the file for a reason not named above.
    #[error("refused by the safetensors reader: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// No tensor has this name.
    #[error("no tensor {name:?} among {n_tensors}{}", Near(near))]
    UnknownTensor {
        /// The name asked for.
        name: String,
        /// Names close to it, the closest first; may be empty.
        near: Vec<String>,
        /// Tensors in the file.
        n_tensors: usize,
    },
    /// The element type is one of the format that cannot be computed with.
    #[error(
        "tensor {name:?} ({n_bytes} bytes) has dtype {dtype}, which is not supported; supported: {}",
        DType::ALL.map(DType::name).join(", ")
    )]
    UnsupportedDtype {
        /// The tensor.
        name: String,
        /// Its element type as stored.
        dtype: String,
        /// Bytes of its data.
        n_bytes: usize,
    },
    /// A tensor to be written has the name the format reserves.
    #[error("no tensor can be named \"__metadata__\": the format keeps that name for itself")]
    ReservedName,
    /// The checked entry does not make a tensor.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

pub(crate) struct Near<'a>(pub(crate) &'a [String]);

impl std::fmt::Display for Near<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            [] => Ok(()),
            names => write!(f, "; near names: {}", names.join(", ").escape_debug()),
        }
    }
}

/// `name`, cut to a length that fits a message: a hostile name may have megabytes.
pub(crate) fn shown(name: &str) -> String {
    const MAX_SHOWN_BYTES: usize = 200;
    match name.len() {
        0..=MAX_SHOWN_BYTES => name.to_owned(),
        n => format!(
            "{}... ({n} bytes)",
            &name[..name.floor_char_boundary(MAX_SHOWN_BYTES)]
        ),
    }
}
