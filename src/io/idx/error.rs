//! What can be wrong with the bytes of an IDX file.

use super::{MAX_BYTES, MAX_DIMENSIONS, MAX_EXPANSION};

/// Bytes that are not an IDX file. Offsets and lengths are bytes of the file, after expansion where
/// it is compressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdxError {
    /// The file ends within its header.
    #[error("too short for IDX: has {file_bytes} bytes, its header needs {needed}")]
    TooShort {
        /// Length of the file.
        file_bytes: usize,
        /// Length of the header, as far as it is known.
        needed: usize,
    },
    /// The file does not begin as IDX files do.
    #[error(
        "not an IDX file: begins with the bytes {found:02x?}; allowed: two zeros, \
         a type and a number of dimensions, or the gzip mark [1f, 8b]"
    )]
    Magic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// The element type is not one the format defines.
    #[error(
        "IDX type {code:#04x} is unknown; allowed: 0x08 (u8), 0x09 (i8), 0x0b (i16), 0x0c (i32), \
         0x0d (f32), 0x0e (f64)"
    )]
    UnknownType {
        /// The third byte of the file.
        code: u8,
    },
    /// The number of dimensions cannot be read by anything.
    #[error("has {n_dimensions} dimensions; allowed: 1 to {MAX_DIMENSIONS}")]
    Dimensions {
        /// The fourth byte of the file.
        n_dimensions: u8,
    },
    /// The dimensions make more data than this reader takes.
    #[error("dimensions {shape:?} of {element_bytes} bytes each take more than {MAX_BYTES} bytes")]
    TooLarge {
        /// The dimensions, slowest first.
        shape: Vec<usize>,
        /// Bytes of one element.
        element_bytes: usize,
    },
    /// The compressed bytes cannot hold what the dimensions say.
    #[error(
        "dimensions {shape:?} take {needed} bytes, but {compressed_bytes} compressed bytes \
         expand to at most {MAX_EXPANSION} times as many"
    )]
    BeyondCompression {
        /// The dimensions, slowest first.
        shape: Vec<usize>,
        /// Bytes the dimensions take.
        needed: usize,
        /// Length of the compressed file.
        compressed_bytes: usize,
    },
    /// There is less or more data than the dimensions say.
    #[error("dimensions {shape:?} take {needed} bytes of data, but the file has {}{found}", AtLeast(*more))]
    Length {
        /// The dimensions, slowest first.
        shape: Vec<usize>,
        /// Bytes the dimensions take.
        needed: usize,
        /// Bytes after the header.
        found: usize,
        /// Whether there are more than `found`, which reading stopped to count.
        more: bool,
    },
    /// The compressed stream is damaged.
    #[error("the gzip stream is damaged: {reason}")]
    Gzip {
        /// What the decompressor said.
        reason: String,
    },
}

struct AtLeast(bool);

impl std::fmt::Display for AtLeast {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0 { "at least " } else { "" })
    }
}
