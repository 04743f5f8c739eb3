//! A weight matrix `[n, k]` on an engine, in whichever format; callers need not ask which.

use crate::kernels::FloatType;
use crate::kernels::sparse::{Route, Stored, matrix_operands};
use crate::num::{
    Bits, Expanded, QuantFormat, QuantizedMatrix, SparseFormat, SparseMatrix, ValueType, Zero,
};
use crate::record::{Buffer, Command, Recording, Tensor};
use crate::tensor::{DType, HostTensor};

use super::OpError;

/// Codes, scales and zero points of a quantized matrix.
#[derive(Debug, Clone)]
pub struct QuantizedWeight {
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) format: QuantFormat,
    pub(super) codes: Buffer,
    pub(super) scales: Buffer,
    pub(super) zeros: Option<Buffer>,
}

/// Values and places of a pruned matrix.
#[derive(Debug, Clone)]
pub struct SparseWeight {
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) format: SparseFormat,
    pub(super) stored: Stored,
    pub(super) buffers: Vec<(u32, Buffer)>,
}

// What a weight says of its buffers is read only: kernels trust it.
impl QuantizedWeight {
    /// Widths, granularity and scale type.
    pub const fn format(&self) -> QuantFormat {
        self.format
    }
}

impl SparseWeight {
    /// How places and values are stored.
    pub const fn format(&self) -> SparseFormat {
        self.format
    }

    /// How much is stored.
    pub const fn stored(&self) -> Stored {
        self.stored
    }
}

/// A weight matrix `[n, k]`: `n` output features, `k` input features.
#[derive(Debug, Clone)]
pub enum Weight {
    /// f32, f16 or bf16.
    Dense(Tensor),
    /// int8 or int4 codes with scales.
    Quantized(QuantizedWeight),
    /// Pruned; values are floats, or codes with scales.
    Sparse(SparseWeight),
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

    /// Uploads a pruned matrix: as it is stored, or with its zeros written out where that is the faster
    /// way (see [`Route`]; `lapidary tune` finds out which).
    pub fn upload_sparse(recording: &mut Recording, matrix: &SparseMatrix, route: Route) -> Self {
        match route {
            Route::Sparse => {
                let buffers = matrix_operands(matrix).into_iter().map(|(binding, words)| {
                    let tensor = Tensor::new(DType::U32, &[words.len()]);
                    recording.append(&Command::Upload {
                        buffer: tensor.buffer().clone(),
                        words: words.into(),
                    });
                    (binding, tensor.buffer().clone())
                });
                Self::Sparse(SparseWeight {
                    n: matrix.n(),
                    k: matrix.k(),
                    format: matrix.format(),
                    stored: Stored::of(matrix),
                    buffers: buffers.collect(),
                })
            }
            Route::Dense => match matrix.expand() {
                Expanded::Quantized(values) => Self::upload_quantized(recording, &values),
                Expanded::Float(value_type, values) => {
                    let (dtype, words) = match value_type {
                        ValueType::F32 => (DType::F32, FloatType::F32.pack(&values)),
                        ValueType::F16 => (DType::F16, FloatType::F16.pack(&values)),
                    };
                    let tensor = Tensor::new(dtype, &[matrix.n(), matrix.k()]);
                    recording.append(&Command::Upload {
                        buffer: tensor.buffer().clone(),
                        words: words.into(),
                    });
                    Self::Dense(tensor)
                }
            },
        }
    }

    /// Whether an integer product with it needs nothing but the codes of its activations and their scale: it is
    /// symmetric int8, without zero points or minima that sums of these codes would be taken off by.
    pub fn takes_codes(&self) -> bool {
        let format = match self {
            Self::Quantized(weight) => weight.format,
            Self::Dense(_) | Self::Sparse(_) => return false,
        };
        format.bits == Bits::Int8 && format.zero == Zero::Symmetric
    }

    /// How the weight is stored on the engine: `f16`, `int4-g64`, `2:4x16 int8-channel`.
    pub fn describe(&self) -> String {
        match self {
            Self::Dense(tensor) => tensor.dtype().to_string(),
            Self::Quantized(weight) => weight.format.to_string(),
            Self::Sparse(weight) => weight.format.to_string(),
        }
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
            Self::Sparse(weight) => Ok([weight.n, weight.k]),
        }
    }
}
