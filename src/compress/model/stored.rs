//! How a tensor of a network is stored.

use crate::num::{QuantizedMatrix, SparseMatrix};
use crate::tensor::{DType, HostTensor};

/// How activations meet a quantized weight when the layer runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activations {
    /// As they are; the weight is dequantized on the fly.
    Float,
    /// Quantized to int8 with a scale for each row, then exact integer sums.
    Int8PerRow,
    /// The same with a scale for this many elements of a row.
    Int8PerBlock(u32),
}

/// A tensor in one of the formats that kernels read.
#[derive(Debug, Clone, PartialEq)]
pub enum Stored {
    /// f32, of any shape.
    Float(HostTensor),
    /// Codes with scales: a weight `[outputs, ..]` as a matrix of `outputs` rows.
    Quantized {
        /// The weight's shape.
        shape: Vec<usize>,
        /// Its codes.
        matrix: QuantizedMatrix,
        /// How activations meet it.
        activations: Activations,
    },
    /// Pruned, without its zeros: a weight `[outputs, ..]` as a matrix of `outputs` rows.
    Sparse {
        /// The weight's shape.
        shape: Vec<usize>,
        /// Its kept weights.
        matrix: SparseMatrix,
        /// How activations meet it.
        activations: Activations,
    },
}

impl Stored {
    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Float(tensor) => tensor.shape(),
            Self::Quantized { shape, .. } | Self::Sparse { shape, .. } => shape,
        }
    }

    /// Its values as f32.
    pub fn values(&self) -> HostTensor {
        let (shape, values) = match self {
            Self::Float(tensor) => return tensor.clone(),
            Self::Quantized { shape, matrix, .. } => (shape, matrix.dequantize()),
            Self::Sparse { shape, matrix, .. } => (shape, matrix.decompress()),
        };
        let bytes = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        // Matrices have as many elements as their shapes say.
        HostTensor::new(DType::F32, shape.clone(), bytes)
            .unwrap_or_else(|error| unreachable!("{error}"))
    }

    /// `f32`, `int4-g64`, `2:4 int8-channel`, with ` x int8` where activations are quantized too.
    pub fn format(&self) -> String {
        let (name, activations) = match self {
            Self::Float(tensor) => return tensor.dtype().to_string(),
            Self::Quantized {
                matrix,
                activations,
                ..
            } => (matrix.format().to_string(), activations),
            Self::Sparse {
                matrix,
                activations,
                ..
            } => (matrix.format().to_string(), activations),
        };
        match activations {
            Activations::Float => name,
            Activations::Int8PerRow => format!("{name} x int8"),
            Activations::Int8PerBlock(size) => format!("{name} x int8-g{size}"),
        }
    }

    /// Bytes on a device.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Float(tensor) => tensor.bytes().len() as u64,
            Self::Quantized { matrix, .. } => matrix.bytes() as u64,
            Self::Sparse { matrix, .. } => matrix.bytes() as u64,
        }
    }

    /// The share of elements that are zero.
    pub fn sparsity(&self) -> f64 {
        match self {
            Self::Sparse { matrix, .. } => matrix.sparsity(),
            Self::Float(_) | Self::Quantized { .. } => {
                let values = self.values();
                let zeros = values
                    .bytes()
                    .chunks_exact(4)
                    .filter(|bytes| matches!(bytes, [0, 0, 0, 0 | 0x80]));
                zeros.count() as f64 / values.len().max(1) as f64
            }
        }
    }
}

/// A weight `[outputs, ..]` as a matrix: outputs, and what each of them reads.
pub fn matrix_shape(shape: &[usize]) -> [usize; 2] {
    match shape {
        [] => [1, 1],
        [outputs, inputs @ ..] => [*outputs, inputs.iter().product()],
    }
}
