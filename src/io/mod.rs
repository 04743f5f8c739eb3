//! File formats: bytes on disk to [`HostTensor`](crate::tensor::HostTensor) and back.
//!
//! Readers parse at this edge and nowhere else: what they return is already checked, what they
//! refuse is a typed error naming the file, the tensor, the values found and the values allowed. No
//! input, however hostile, panics or makes a reader allocate more than a small multiple of the
//! file's own size; a compressed file counts with the size it expands to, which its header must
//! announce. Writers go through [`atomic`], so that a file either is complete or is not
//! there; only [`Lines`] grow.

pub mod atomic;
pub mod compressed_tensors;
pub mod csv;
mod error;
pub mod folder;
pub mod gguf;
pub mod hf;
pub mod idx;
mod lines;
mod map;
mod memory;
mod near_names;
pub mod safetensors;
mod whole;

pub use error::IoError;
pub use lines::Lines;
pub use memory::{available_memory, forget_peak_memory, peak_memory};
pub use near_names::near_names;
pub use whole::{file_sha256, files_with_extension, read_bytes, read_text, sha256};
