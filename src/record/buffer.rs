//! Handles: a `Buffer` names memory that an engine holds, a `Tensor` adds a type and a shape.
//!
//! Dropping the last clone of a handle lets the engine reuse the memory at its next call.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use crate::tensor::{DType, HostTensor, TensorError};

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Identity of a buffer, unique in the process, in creation order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BufferId(u64);

#[derive(Debug)]
struct Inner {
    id: BufferId,
    bytes: u64,
}

/// A cheap handle to `bytes` bytes of an engine's memory.
#[derive(Clone)]
pub struct Buffer(Arc<Inner>);

/// Rounds a size up to the 16 bytes that every buffer and row is padded to.
pub const fn padded_bytes(bytes: u64) -> u64 {
    match bytes.checked_next_multiple_of(16) {
        Some(padded) => padded,
        // No device has a buffer of this size either; engines refuse it by name.
        None => u64::MAX - 15,
    }
}

/// Bytes of a tensor's elements; the largest number where the product leaves 64 bits.
fn tensor_bytes(dtype: DType, shape: &[usize]) -> u64 {
    let extents = shape.iter().map(|&extent| extent as u64);
    if shape.contains(&0) {
        0
    } else {
        extents.fold(dtype.bytes() as u64, u64::saturating_mul)
    }
}

impl Buffer {
    /// A new identity for at least `bytes` bytes (padded to 16, never empty).
    pub fn new(bytes: u64) -> Self {
        let id = BufferId(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        Self(Arc::new(Inner {
            id,
            bytes: padded_bytes(bytes.max(1)),
        }))
    }

    /// Identity.
    pub fn id(&self) -> BufferId {
        self.0.id
    }

    /// Size in bytes, a multiple of 16.
    pub fn bytes(&self) -> u64 {
        self.0.bytes
    }

    /// A probe that tells an engine whether any handle is left.
    pub fn watch(&self) -> Watch {
        Watch(Arc::downgrade(&self.0))
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "buffer {} ({} bytes)", self.0.id.0, self.0.bytes)
    }
}

/// See [`Buffer::watch`].
#[derive(Debug, Clone)]
pub struct Watch(Weak<Inner>);

impl Watch {
    /// Whether some handle to the buffer is alive.
    pub fn is_alive(&self) -> bool {
        self.0.strong_count() > 0
    }
}

/// A buffer with an element type and a row-major shape.
#[derive(Debug, Clone)]
pub struct Tensor {
    buffer: Buffer,
    dtype: DType,
    shape: Vec<usize>,
}

impl Tensor {
    /// A new tensor with memory for its elements.
    pub fn new(dtype: DType, shape: &[usize]) -> Self {
        Self {
            buffer: Buffer::new(tensor_bytes(dtype, shape)),
            dtype,
            shape: shape.to_vec(),
        }
    }

    /// A view of existing memory.
    ///
    /// # Panics
    /// When the buffer is too small for the elements.
    pub fn of_buffer(buffer: Buffer, dtype: DType, shape: &[usize]) -> Self {
        let bytes = tensor_bytes(dtype, shape);
        assert!(
            bytes <= buffer.bytes(),
            "{bytes} bytes of {dtype} {shape:?} in {buffer:?}"
        );
        Self {
            buffer,
            dtype,
            shape: shape.to_vec(),
        }
    }

    /// The memory.
    pub const fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Element type.
    pub const fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extents, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The tensor's content as a host tensor, from words of its buffer (padding is ignored).
    ///
    /// # Errors
    /// [`TensorError`] when there are fewer words than the elements need.
    pub fn to_host(&self, words: &[u32]) -> Result<HostTensor, TensorError> {
        let needed = (self.len() * self.dtype.bytes()).div_ceil(4);
        let content = &words[..needed.min(words.len())];
        HostTensor::from_words(self.dtype, self.shape.clone(), content)
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        if self.shape.contains(&0) {
            0
        } else {
            self.shape
                .iter()
                .fold(1, |len: usize, &extent| len.saturating_mul(extent))
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
