//! What can be wrong with a request made of a tensor.

use super::DType;

/// A tensor that cannot be built, converted or reshaped as asked. Counts are elements or bytes as
/// said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The name is not one of [`DType::ALL`].
    #[error("unknown dtype {name:?}; allowed: {}", DType::ALL.map(DType::name).join(", "))]
    UnknownDtype {
        /// The name given.
        name: String,
    },
    /// The byte count of the shape does not fit the address space.
    #[error(
        "shape {shape:?} of {dtype} needs more bytes than can be addressed; allowed: up to {}",
        usize::MAX
    )]
    ShapeOverflow {
        /// Element type.
        dtype: DType,
        /// Dimensions given.
        shape: Vec<usize>,
    },
    /// The bytes given are not exactly those of the shape.
    #[error("shape {shape:?} of {dtype} takes {needed} bytes, but {given} were given")]
    ByteCount {
        /// Element type.
        dtype: DType,
        /// Dimensions given.
        shape: Vec<usize>,
        /// Bytes the shape takes.
        needed: usize,
        /// Bytes given.
        given: usize,
    },
    /// The values given are not exactly as many as the shape has elements.
    #[error("shape {shape:?} has {needed} elements, but {given} values were given")]
    ElementCount {
        /// Dimensions given.
        shape: Vec<usize>,
        /// Elements of the shape.
        needed: usize,
        /// Values given.
        given: usize,
    },
    /// The 32-bit words given are not exactly those the shape packs into.
    #[error("shape {shape:?} of {dtype} packs into {needed} 32-bit words, but {given} were given")]
    WordCount {
        /// Element type.
        dtype: DType,
        /// Dimensions given.
        shape: Vec<usize>,
        /// Words the shape takes, the last one zero-padded.
        needed: usize,
        /// Words given.
        given: usize,
    },
    /// The conversion is not defined for this element type.
    #[error("{conversion} is not defined for {dtype}; allowed: {allowed}")]
    UnsupportedDtype {
        /// The method called.
        conversion: &'static str,
        /// The element type met.
        dtype: DType,
        /// The element types allowed.
        allowed: &'static str,
    },
    /// An integer element does not fit the type asked for.
    #[error(
        "element {index} of a {dtype} tensor is {value}; allowed in i32: {} to {}",
        i32::MIN,
        i32::MAX
    )]
    OutOfRange {
        /// Element type of the tensor.
        dtype: DType,
        /// Row-major index of the element.
        index: usize,
        /// Its value.
        value: i128,
    },
    /// The new shape has another number of elements.
    #[error(
        "cannot reshape {from:?} ({from_elements} elements) to {to:?}: its element count differs"
    )]
    Reshape {
        /// The tensor's shape.
        from: Vec<usize>,
        /// Elements of the tensor.
        from_elements: usize,
        /// The shape asked for.
        to: Vec<usize>,
    },
}
