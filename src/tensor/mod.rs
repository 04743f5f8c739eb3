//! Tensors on the host: element types, shapes, and bytes that are known to fit both.
//!
//! A [`HostTensor`] is what the file readers return and the engines upload. Its bytes are
//! little-endian and row-major (the last dimension is contiguous) on every machine, exactly as the
//! file formats store them, so reading a file copies bytes and converts nothing.

mod dtype;
mod error;
mod host;
mod shape;

pub use dtype::DType;
pub use error::TensorError;
pub use host::HostTensor;
pub use shape::{n_bytes, n_elements};
