//! How a tensor of a network is stored.

use crate::compress::quantize::{CodebookMatrix, LinearMatrix};
use crate::num::{QuantizedMatrix, SparseMatrix, StaticScale};
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
    /// The same with one scale for all of the layer's inputs, found by calibration beforehand.
    Int8Static(StaticScale),
}

/// A tensor in one of the formats that files hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Stored {
    /// f32, of any shape.
    Float(HostTensor),
    /// Codes with scales: a weight `[outputs, ..]` as a matrix of `outputs` rows.
    Quantized {
        /// The weight's shape.
        shape: Vec<usize>,
        /// Its codes.
        matrix: LinearMatrix,
        /// How activations meet it.
        activations: Activations,
    },
    /// Codes of levels of a table: a weight `[outputs, ..]` as a matrix of `outputs` rows. No kernel reads them, so a
    /// device is given the values, or int8 codes where these are the same.
    Levels {
        /// The weight's shape.
        shape: Vec<usize>,
        /// Its codes.
        matrix: CodebookMatrix,
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
            Self::Quantized { shape, .. }
            | Self::Sparse { shape, .. }
            | Self::Levels { shape, .. } => shape,
        }
    }

    /// Its values as f32.
    pub fn values(&self) -> HostTensor {
        let (shape, values) = match self {
            Self::Float(tensor) => return tensor.clone(),
            Self::Quantized { shape, matrix, .. } => (shape, matrix.dequantize()),
            Self::Sparse { shape, matrix, .. } => (shape, matrix.decompress()),
            Self::Levels { shape, matrix } => (shape, matrix.dequantize()),
        };
        let bytes = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        // Matrices have as many elements as their shapes say.
        HostTensor::new(DType::F32, shape.clone(), bytes)
            .unwrap_or_else(|error| unreachable!("{error}"))
    }

    /// `f32`, `int4-g64`, `int2-g16`, `2:4 int8-channel`, `nf4-g32`, with ` x int8` or ` x int8-static` where
    /// activations are quantized too.
    pub fn format(&self) -> String {
        let (name, activations) = match self {
            Self::Float(tensor) => return tensor.dtype().to_string(),
            Self::Levels { matrix, .. } => return matrix.to_string(),
            Self::Quantized {
                matrix,
                activations,
                ..
            } => (matrix.to_string(), activations),
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
            Activations::Int8Static(_) => format!("{name} x int8-static"),
        }
    }

    /// The scale of its inputs that was found beforehand, where it has one.
    pub const fn input_scale(&self) -> Option<StaticScale> {
        match self {
            Self::Quantized {
                activations: Activations::Int8Static(scale),
                ..
            } => Some(*scale),
            Self::Float(_) | Self::Quantized { .. } | Self::Levels { .. } | Self::Sparse { .. } => {
                None
            }
        }
    }

    /// Bytes on a device, where codes have the width that kernels read and levels are f32.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Float(tensor) => tensor.bytes().len() as u64,
            Self::Quantized { matrix, .. } => matrix.matrix().bytes() as u64,
            Self::Levels { matrix, .. } => match self.levels_as_int8() {
                Some(int8) => int8.bytes() as u64,
                None => 4 * matrix.codes().len() as u64,
            },
            Self::Sparse { matrix, .. } => matrix.bytes() as u64,
        }
    }

    /// Levels as the int8 codes that a device is given, of a matrix whose levels are such.
    pub fn levels_as_int8(&self) -> Option<QuantizedMatrix> {
        match self {
            // Of convolutions there may be several groups, which have no kernel for codes.
            Self::Levels { shape, matrix } if shape.len() == 2 => matrix.as_int8(),
            _ => None,
        }
    }

    /// What is wider on a device than in a file, and why, as part of a sentence.
    pub fn widened(&self) -> Option<String> {
        match self {
            Self::Quantized { matrix, .. } => matrix.widened(),
            Self::Levels { matrix, .. } => {
                let to = match self.levels_as_int8() {
                    Some(_) => "int8",
                    None => "f32",
                };
                let table = matrix.codebook();
                Some(format!(
                    "weights of {table} are widened to {to} at load; no kernel of their own"
                ))
            }
            Self::Float(_) | Self::Sparse { .. } => None,
        }
    }

    /// The share of elements that are zero.
    pub fn sparsity(&self) -> f64 {
        match self {
            Self::Sparse { matrix, .. } => matrix.sparsity(),
            Self::Float(_) | Self::Quantized { .. } | Self::Levels { .. } => {
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
