//! What can be wrong with the bytes of a GGUF file, or with a request made of one.
//!
//! Names and keys come from the file and may be anything; they are stored shortened and printed escaped.

use super::{ALIGNMENT_KEY, MAX_ALIGNMENT, MAX_ARRAY_DEPTH, MAX_DIMENSIONS};
use crate::io::safetensors::Near;
use crate::num::ggml::{GgmlError, GgmlType, foreign_type_name};
use crate::tensor::TensorError;

/// A file that is not GGUF, or that does not hold what was asked for. Positions are bytes from the start
/// of the file; tensor offsets count from the start of the data, as in the file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GgufError {
    /// The file does not begin with `GGUF`.
    #[error("begins with {found:?}; a GGUF file begins with \"GGUF\"")]
    Magic {
        /// Its first bytes, at most four, escaped.
        found: String,
    },
    /// Not a version that is read.
    #[error("GGUF version {version}{}; allowed: 2 and 3, little-endian", big_endian(*version))]
    Version {
        /// The version as stored.
        version: u32,
    },
    /// The file ends within its header.
    #[error(
        "ends at byte {file_bytes}, within {what}, which needs {needed} bytes from byte {at} on"
    )]
    Truncated {
        /// What was being read.
        what: String,
        /// Where it begins.
        at: usize,
        /// Bytes it needs.
        needed: u64,
        /// Length of the file.
        file_bytes: usize,
    },
    /// A count that the rest of the file cannot hold.
    #[error("{what} are said to be {count}, but the {available} bytes left hold at most {most}")]
    Count {
        /// What is counted.
        what: String,
        /// The count as stored.
        count: u64,
        /// Bytes left in the file.
        available: usize,
        /// As many as fit.
        most: usize,
    },
    /// A name, key or string is not UTF-8.
    #[error("{what} at byte {at} is not UTF-8")]
    NotUtf8 {
        /// What was being read.
        what: String,
        /// First wrong byte.
        at: usize,
    },
    /// A value has a type the format does not define.
    #[error("{what} has value type {id}; allowed: 0 to 12")]
    ValueType {
        /// What was being read.
        what: String,
        /// The number as stored.
        id: u32,
    },
    /// A bool is neither 0 nor 1.
    #[error("{what} is a bool stored as {byte}; allowed: 0 and 1")]
    Bool {
        /// What was being read.
        what: String,
        /// The byte as stored.
        byte: u8,
    },
    /// Arrays within arrays, too deep.
    #[error("{what} nests arrays deeper than {MAX_ARRAY_DEPTH}, the most allowed")]
    ArrayDepth {
        /// What was being read.
        what: String,
    },
    /// A key occurs twice.
    #[error("metadata key {key:?} occurs more than once; keys must differ")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// The alignment is not one that data can have.
    #[error("{ALIGNMENT_KEY} is {value}; allowed: powers of two up to {MAX_ALIGNMENT}, as u32")]
    Alignment {
        /// What stands there.
        value: String,
    },
    /// Two tensors have the same name.
    #[error("tensor {name:?} occurs more than once; names must differ")]
    DuplicateTensor {
        /// The tensor.
        name: String,
    },
    /// A tensor has more dimensions than the format allows.
    #[error("tensor {name:?} has {n_dimensions} dimensions; allowed: up to {MAX_DIMENSIONS}")]
    TooManyDimensions {
        /// The tensor.
        name: String,
        /// Number of its dimensions.
        n_dimensions: u64,
    },
    /// A tensor has a type that is not read.
    #[error(
        "tensor {name:?} has type {id}{}; supported: {}",
        foreign(*id),
        GgmlType::ALL.map(GgmlType::name).join(", ")
    )]
    UnknownType {
        /// The tensor.
        name: String,
        /// Its type as stored.
        id: u32,
    },
    /// The size of a tensor cannot be counted.
    #[error(
        "tensor {name:?} of {kind} {shape:?} needs more bytes than can be counted; allowed: up to {}",
        usize::MAX
    )]
    ShapeOverflow {
        /// The tensor.
        name: String,
        /// Its type.
        kind: GgmlType,
        /// Its dimensions, slowest first.
        shape: Vec<u64>,
    },
    /// Rows are no whole number of blocks.
    #[error(
        "tensor {name:?} has rows of {k}, not a multiple of {}, the weights in a block of {kind}",
        kind.block_len()
    )]
    RowLength {
        /// The tensor.
        name: String,
        /// Its type.
        kind: GgmlType,
        /// Its fastest dimension.
        k: usize,
    },
    /// A tensor does not begin at a multiple of the alignment.
    #[error("tensor {name:?} begins at data byte {offset}; allowed: multiples of {alignment}")]
    Misaligned {
        /// The tensor.
        name: String,
        /// Its offset.
        offset: u64,
        /// The file's alignment.
        alignment: usize,
    },
    /// A tensor's data ends after the end of the file.
    #[error(
        "tensor {name:?} has {n_bytes} bytes from data byte {offset} on, but the file has only \
         {data_bytes} bytes of data"
    )]
    BeyondFile {
        /// The tensor.
        name: String,
        /// Its offset.
        offset: u64,
        /// Its length.
        n_bytes: usize,
        /// Bytes of data in the file.
        data_bytes: usize,
    },
    /// Two tensors share bytes.
    #[error(
        "tensor {name:?} begins at data byte {offset}, but {previous:?} ends at {previous_end}; data must \
         not overlap"
    )]
    Overlap {
        /// The tensor.
        name: String,
        /// Its offset.
        offset: usize,
        /// The tensor before it in the data.
        previous: String,
        /// One past the last byte of that one.
        previous_end: usize,
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
    /// No value has this key.
    #[error("no metadata key {key:?}; expected {expected}")]
    MissingKey {
        /// The key asked for.
        key: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// A value is of another kind than its key calls for.
    #[error("metadata key {key:?} is {found}; expected {expected}")]
    WrongValue {
        /// The key.
        key: String,
        /// What stands there.
        found: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// A tensor is no matrix.
    #[error("tensor {name:?} has shape {shape:?}; expected a matrix [n, k]")]
    NotAMatrix {
        /// The tensor.
        name: String,
        /// Its dimensions, slowest first.
        shape: Vec<usize>,
    },
    /// A tensor of blocks was asked for as floats.
    #[error("tensor {name:?} is {kind}, which holds codes; expected F32, F16 or BF16")]
    NotFloats {
        /// The tensor.
        name: String,
        /// Its type.
        kind: GgmlType,
    },
    /// Blocks that cannot be decoded, repacked or made.
    #[error(transparent)]
    Blocks(#[from] GgmlError),
    /// The checked entry does not make a tensor.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

fn foreign(id: u32) -> String {
    foreign_type_name(id).map_or_else(String::new, |name| format!(" ({name})"))
}

fn big_endian(version: u32) -> &'static str {
    match version.swap_bytes() {
        1..=3 => " (the file is big-endian)",
        _ => "",
    }
}
