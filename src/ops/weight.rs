//! A weight matrix `[n, k]` on an engine, in whichever format; callers need not ask which.

use crate::num::{QuantFormat, QuantizedMatrix};
use crate::record::{Buffer, Command, Recording, Tensor};
use crate::tensor::{DType, HostTensor};

use super::OpError;

/// Codes, scales and zero points of a quantized matrix.
#[derive(Debug, Clone)]
pub struct QuantizedWeight {
    /// Output features.
    pub n: usize,
    /// Input features.
    pub k: usize,
    /// Widths, granularity and scale type.
    pub format: QuantFormat,
    pub(super) codes: Buffer,
    pub(super) scales: Buffer,
    pub(super) zeros: Option<Buffer>,
}

/// A weight matrix `[n, k]`: `n` output features, `k` input features.
#[derive(Debug, Clone)]
pub enum Weight {
    /// f32, f16 or bf16.
    Dense(Tensor),
    /// int8 or int4 codes with scales.
    Quantized(QuantizedWeight),
}

impl Weight {
    /// Uploads a dense `[n, k]` matrix of f32, f16 or bf16.
    ///
    /// # Errors
    /// [`OpError::Shape`] when it is not a matrix.
    pub fn upload_dense(recording: &mut Recording, host: &HostTensor) -> Result<Self, OpError> {
        if host.shape().len() != 2 {
            let (got, expected) = (host.shape().to_vec(), "[n, k]".to_owned());
            return Err(OpError::Shape {
                op: "upload_dense",
                what: "weight",
                got,
                expected,
            });
        }
        Ok(Self::Dense(recording.upload(host)))
    }

    /// Uploads a quantized matrix as it is packed.
    pub fn upload_quantized(recording: &mut Recording, matrix: &QuantizedMatrix) -> Self {
        let mut put = |words: &[u32]| {
            let tensor = Tensor::new(DType::U32, &[words.len()]);
            recording.append(&Command::Upload {
                buffer: tensor.buffer().clone(),
                words: words.into(),
            });
            tensor.buffer().clone()
        };
        Self::Quantized(QuantizedWeight {
            n: matrix.n(),
            k: matrix.k(),
            format: matrix.format(),
            codes: put(matrix.codes()),
            scales: put(&matrix.packed_scales()),
            zeros: matrix.packed_zeros().map(|zeros| put(&zeros)),
        })
    }

    /// Output and input features.
    ///
    /// # Errors
    /// [`OpError::Shape`] for a dense tensor that is not a matrix.
    pub fn shape(&self) -> Result<[usize; 2], OpError> {
        match self {
            Self::Dense(tensor) => tensor.shape().try_into().map_err(|_| {
                let (got, expected) = (tensor.shape().to_vec(), "[n, k]".to_owned());
                OpError::Shape {
                    op: "linear",
                    what: "weight",
                    got,
                    expected,
                }
            }),
            Self::Quantized(weight) => Ok([weight.n, weight.k]),
        }
    }
}
