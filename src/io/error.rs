//! What can go wrong with a file. Every variant names it.

use std::path::{Path, PathBuf};

use super::compressed_tensors::BitmaskError;
use super::compressed_tensors::codes::CodesError;
use super::csv::CsvError;
use super::gguf::GgufError;
use super::idx::IdxError;
use super::safetensors::SafetensorsError;

/// A file that could not be read or written.
///
/// The cause is part of the message and therefore not repeated as [`std::error::Error::source`].
#[derive(Debug, thiserror::Error)]
pub enum IoError {
    /// There is nothing at this path.
    #[error("{}: no such file", file.display())]
    NotFound {
        /// The path asked for.
        file: PathBuf,
    },
    /// The path leads to a folder, a pipe or a device.
    #[error("{}: not a regular file", file.display())]
    NotAFile {
        /// The path asked for.
        file: PathBuf,
    },
    /// The operating system refused to read.
    #[error("{}: cannot be read: {reason}", file.display())]
    Read {
        /// The file being read.
        file: PathBuf,
        /// What the operating system said.
        reason: std::io::Error,
    },
    /// The operating system, or the code producing the bytes, refused to write. The file that stood
    /// at this path, if any, is untouched unless the message says otherwise.
    #[error("{}: cannot be written: {reason}", file.display())]
    Write {
        /// The file being written.
        file: PathBuf,
        /// What the operating system said.
        reason: std::io::Error,
    },
    /// The bytes read back after writing are not those written. The file that stood at this path,
    /// if any, is untouched.
    #[error("{}: read back different bytes than were written, from byte {offset} on", file.display())]
    ReadBack {
        /// The file being written.
        file: PathBuf,
        /// First byte that differs, from the start of the file.
        offset: u64,
    },
    /// The bytes are not a safetensors file, or do not hold what was asked for.
    #[error("{}: {reason}", file.display())]
    Safetensors {
        /// The file read or written.
        file: PathBuf,
        /// What is wrong with it.
        reason: SafetensorsError,
    },
    /// The bytes are not a GGUF file, or do not hold what was asked for.
    #[error("{}: {reason}", file.display())]
    Gguf {
        /// The file read or written.
        file: PathBuf,
        /// What is wrong with it.
        reason: Box<GgufError>,
    },
    /// The bytes are not an IDX file.
    #[error("{}: {reason}", file.display())]
    Idx {
        /// The file read.
        file: PathBuf,
        /// What is wrong with it.
        reason: IdxError,
    },
    /// The text is not a table of numbers, or does not hold what was asked for.
    #[error("{}: {reason}", file.display())]
    Csv {
        /// The file read.
        file: PathBuf,
        /// What is wrong with it.
        reason: CsvError,
    },
    /// The file should be text and is not.
    #[error("{}: not UTF-8 from byte {at} on", file.display())]
    NotUtf8 {
        /// The file read.
        file: PathBuf,
        /// First wrong byte, from the start of the file.
        at: usize,
    },
    /// Quantized tensors of a file are wrong.
    #[error("{file}: {reason}", file = file.display())]
    Codes {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: Box<CodesError>,
    },
    /// A pruned tensor of the file is not stored as compressed-tensors stores it.
    #[error("{}: {reason}", file.display())]
    Bitmask {
        /// The file read.
        file: PathBuf,
        /// What is wrong with it.
        reason: BitmaskError,
    },
}

impl IoError {
    /// The error of a failed read of `file`, telling a missing file from the rest.
    pub(super) fn read(file: &Path, reason: std::io::Error) -> Self {
        let file = file.to_owned();
        match reason.kind() {
            std::io::ErrorKind::NotFound => Self::NotFound { file },
            _ => Self::Read { file, reason },
        }
    }

    pub(super) fn write(file: &Path, reason: std::io::Error) -> Self {
        Self::Write {
            file: file.to_owned(),
            reason,
        }
    }

    pub(super) fn safetensors(file: &Path, reason: SafetensorsError) -> Self {
        Self::Safetensors {
            file: file.to_owned(),
            reason,
        }
    }

    pub(super) fn gguf(file: &Path, reason: GgufError) -> Self {
        Self::Gguf {
            file: file.to_owned(),
            reason: Box::new(reason),
        }
    }
}
