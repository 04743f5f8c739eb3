//! How weights lie in `model.safetensors`.
//!
//! * f32 tensors under their own names.
//! * Codes as `pack-quantized` (int4, and int6, int3 and int2 at their own width) or `int-quantized` (int8) of
//!   compressed-tensors.
//! * Codes of HQQ at int6, int3 and int2, whose zero points are finer than a code and so have no place there, as
//!   `lapidary-spread`: as `pack-quantized`, with zero points of 4 bits (8 at int6) in units of a half or
//!   a quarter code.
//! * Codes of levels, for which it has no layout either, as `lapidary-levels`: `X.level_codes` u8, two of 4 bits to a
//!   byte, the first in the high half, and `X.level_scale` f32.
//! * The scale of a layer's inputs that was found beforehand as `X.input_scale`, f32 `[1]`, as compressed-tensors has it.
//! * Pruned float weights as `sparse-24-bitmask` or `sparse-bitmask` of compressed-tensors.
//! * Pruned weights with quantized values, for which it has no layout, as `lapidary-sparse`: the kept values
//!   as `X.sparse.weight..` in the code layouts above, and the places as the words that kernels read:
//!   `X.sparse_indices` for N:M; `X.sparse_starts` and `X.sparse_columns` for blocks; `X.sparse_starts` and
//!   `X.sparse_deltas` for single weights, all u32.

use serde::{Deserialize, Serialize};

use super::{ModelFileError, Stored, layer_of};
use crate::compress::quantize::{Codebook, CodebookMatrix, LinearMatrix};
use crate::io::compressed_tensors::codes::{CodesFormat, WeightArgs, code_parts, read_codes_file};
use crate::io::compressed_tensors::{BitmaskFormat, bitmask_parts, read_bitmask_file};
use crate::io::safetensors::{SafetensorsFile, shown};
use crate::num::sparse::{BlockParts, DeltaParts, NmParts};
use crate::num::{
    BlockMatrix, BlockShape, DeltaBits, DeltaMatrix, Dense, Granularity, NmMatrix, NmPattern,
    SparseLayout, SparseMatrix, StaticScale, ValueFormat, Values,
};
use crate::tensor::{DType, HostTensor};

use super::stored::matrix_shape;

/// Our own extension.
pub const LAPIDARY_SPARSE: &str = "lapidary-sparse";

/// As `pack-quantized`, with zero points that are finer than a code.
pub const LAPIDARY_SPREAD: &str = "lapidary-spread";
/// Codes of levels of a table.
pub const LAPIDARY_LEVELS: &str = "lapidary-levels";

/// What compressed-tensors does not have.
pub const OWN: [&str; 3] = [LAPIDARY_SPARSE, LAPIDARY_SPREAD, LAPIDARY_LEVELS];

/// A table of levels and what shares a scale, in `config.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels {
    /// `nf4`, `log4` or `log8`.
    pub table: String,
    /// `tensor`, `channel` or `group`.
    pub strategy: String,
    /// Of groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_size: Option<u32>,
}

impl Levels {
    /// Those of a matrix.
    pub fn of(matrix: &CodebookMatrix) -> Self {
        let (strategy, group_size) = match matrix.granularity() {
            Granularity::Tensor => ("tensor", None),
            Granularity::Channel => ("channel", None),
            Granularity::Group(size) => ("group", Some(size)),
        };
        Self {
            table: matrix.codebook().to_string(),
            strategy: strategy.to_owned(),
            group_size,
        }
    }

    pub(super) fn parsed(&self) -> Result<(Codebook, Granularity), String> {
        let mut tables = Codebook::ALL.into_iter();
        let table = tables.find(|one| one.to_string() == self.table);
        let granularity = match (self.strategy.as_str(), self.group_size) {
            ("tensor", None) => Some(Granularity::Tensor),
            ("channel", None) => Some(Granularity::Channel),
            ("group", Some(size)) => Some(Granularity::Group(size)),
            _ => None,
        };
        table.zip(granularity).ok_or_else(|| {
            format!(
                "levels are of table {:?}, strategy {:?}, group_size {:?}; allowed: table nf4, log4 or log8, strategy \
                 tensor, channel, or group with a group_size",
                shown(&self.table),
                shown(&self.strategy),
                self.group_size
            )
        })
    }
}

/// Which weights are kept, in `config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// `n` of every `m`, with indices shared by `vector` rows.
    Nm {
        /// Kept of each group.
        n: u32,
        /// Elements of a group.
        m: u32,
        /// Rows that share indices.
        vector: u32,
    },
    /// Blocks.
    Block {
        /// Rows of a block.
        rows: u32,
        /// Columns of a block.
        columns: u32,
    },
    /// Single weights.
    Delta {
        /// 4 or 8.
        bits: u32,
    },
}

impl Layout {
    /// That of a matrix.
    pub fn of(matrix: &SparseMatrix) -> Self {
        match matrix.format().layout {
            SparseLayout::Nm(pattern) => Self::Nm {
                n: pattern.n(),
                m: pattern.m(),
                vector: pattern.vector(),
            },
            SparseLayout::Block(shape) => Self::Block {
                rows: shape.rows() as u32,
                columns: shape.columns() as u32,
            },
            SparseLayout::Delta(bits) => Self::Delta { bits: bits.bits() },
        }
    }

    pub(super) fn sparse(self) -> Result<SparseLayout, String> {
        match self {
            Self::Nm { n, m, vector } => NmPattern::new(n, m, vector)
                .map(SparseLayout::Nm)
                .map_err(|error| error.to_string()),
            Self::Block { rows, columns } => BlockShape::new(rows, columns)
                .map(SparseLayout::Block)
                .map_err(|error| error.to_string()),
            Self::Delta { bits: 4 } => Ok(SparseLayout::Delta(DeltaBits::Four)),
            Self::Delta { bits: 8 } => Ok(SparseLayout::Delta(DeltaBits::Eight)),
            Self::Delta { bits } => Err(format!("deltas of {bits} bits; allowed: 4, 8")),
        }
    }
}

/// How codes are stored, for the configuration.
pub fn codes_args(matrix: &LinearMatrix) -> (String, WeightArgs) {
    let format = matrix.matrix().format();
    let args = WeightArgs::narrow(format, matrix.width(), matrix.spacing());
    let storage = match matrix.spacing() {
        1 => CodesFormat::of(matrix.width()).to_string(),
        _ => LAPIDARY_SPREAD.to_owned(),
    };
    (storage, args)
}

/// The layout for a pruned matrix.
pub fn sparse_storage(matrix: &SparseMatrix) -> &'static str {
    match (matrix.values(), matrix.format().layout) {
        (Values::Quantized(_), _) => LAPIDARY_SPARSE,
        (Values::Float(_), SparseLayout::Nm(pattern)) if pattern == NmPattern::TWO_FOUR => {
            "sparse-24-bitmask"
        }
        (Values::Float(_), _) => "sparse-bitmask",
    }
}

/// What may stand behind `X.` in the names of the parts of a weight that is not f32.
const PARTS: [&str; 15] = [
    "weight",
    "weight_packed",
    "weight_scale",
    "weight_zero_point",
    "weight_shape",
    "compressed",
    "bitmask",
    "row_offsets",
    "shape",
    "level_codes",
    "level_scale",
    "sparse_indices",
    "sparse_columns",
    "sparse_starts",
    "sparse_deltas",
];

/// What stands behind `X.` in the name of the scale of its inputs.
const INPUT_SCALE: &str = "input_scale";

/// Whether a name may be that of a part of a tensor.
pub(super) fn is_part(part: &str, (name, stored): (&str, &Stored)) -> bool {
    if matches!(stored, Stored::Float(_)) {
        return part == name;
    }
    let rest = part
        .strip_prefix(layer_of(name))
        .and_then(|rest| rest.strip_prefix('.'));
    if rest == Some(INPUT_SCALE) {
        return stored.input_scale().is_some();
    }
    let rest = rest.map(|rest| rest.strip_prefix("sparse.").unwrap_or(rest));
    rest.is_some_and(|rest| PARTS.contains(&rest))
}

/// The parts of a tensor in the file.
///
/// # Errors
/// [`ModelFileError`] for a matrix that cannot be stored.
pub fn parts(name: &str, stored: &Stored) -> Result<Vec<(String, HostTensor)>, ModelFileError> {
    let layer = layer_of(name);
    match stored {
        Stored::Float(tensor) => Ok(vec![(name.to_owned(), tensor.clone())]),
        Stored::Quantized { matrix, .. } => {
            let (_, args) = codes_args(matrix);
            let format = CodesFormat::of(matrix.width());
            let mut parts = code_parts(layer, (matrix.matrix(), &args), format)?;
            if let Some(scale) = stored.input_scale() {
                let tensor = HostTensor::from_f32(vec![1], &[scale.get()])?;
                parts.push((format!("{layer}.{INPUT_SCALE}"), tensor));
            }
            Ok(parts)
        }
        Stored::Levels { matrix, .. } => {
            let codes = matrix.packed_codes();
            let codes = HostTensor::new(DType::U8, vec![codes.len()], codes)?;
            let scales = HostTensor::from_f32(vec![matrix.scales().len()], matrix.scales())?;
            Ok(vec![
                (format!("{layer}.level_codes"), codes),
                (format!("{layer}.level_scale"), scales),
            ])
        }
        Stored::Sparse { matrix, .. } => match matrix.values() {
            Values::Float(_) => {
                let format = match sparse_storage(matrix) {
                    "sparse-24-bitmask" => BitmaskFormat::TwoFour,
                    _ => BitmaskFormat::General,
                };
                let dtype = match matrix.values().format().bits() {
                    16 => DType::F16,
                    _ => DType::F32,
                };
                let shape = vec![matrix.n(), matrix.k()];
                let dense = HostTensor::from_f32_as(dtype, shape, &matrix.decompress())?;
                Ok(bitmask_parts(layer, &dense, format)?)
            }
            Values::Quantized(codes) => {
                let args = WeightArgs::of(codes.format());
                let format = CodesFormat::of(args.width);
                let mut parts = code_parts(&format!("{layer}.sparse"), (codes, &args), format)?;
                for (part, words) in places(matrix) {
                    let tensor = HostTensor::from_words_u32(vec![words.len()], words)?;
                    parts.push((format!("{layer}.sparse_{part}"), tensor));
                }
                Ok(parts)
            }
        },
    }
}

/// The lists of words that say where kept values are.
fn places(matrix: &SparseMatrix) -> Vec<(&'static str, &[u32])> {
    match matrix {
        SparseMatrix::Nm(nm) => vec![("indices", nm.indices())],
        SparseMatrix::Block(block) => {
            vec![
                ("columns", block.block_columns()),
                ("starts", block.row_starts()),
            ]
        }
        SparseMatrix::Delta(delta) => {
            vec![("deltas", delta.deltas()), ("starts", delta.row_starts())]
        }
    }
}

/// What is wrong with the tensors of a file.
pub(super) fn wrong(file: &SafetensorsFile, reason: String) -> ModelFileError {
    ModelFileError::Weight {
        file: file.path().to_owned(),
        reason,
    }
}

/// Reads the scale of a layer's inputs that was found beforehand.
///
/// # Errors
/// [`ModelFileError`] naming the file of the tensors and the one that is missing or wrong.
pub(super) fn read_input_scale(
    file: &SafetensorsFile,
    layer: &str,
) -> Result<StaticScale, ModelFileError> {
    let name = format!("{layer}.{INPUT_SCALE}");
    let tensor = file.tensor(&name)?;
    let scale = match tensor.to_f32() {
        Ok(values) if tensor.dtype() == DType::F32 && tensor.shape() == [1] => values[0],
        Ok(_) | Err(_) => {
            let (dtype, shape) = (tensor.dtype(), tensor.shape());
            let reason = format!("tensor {name} is {dtype} {shape:?}; expected f32 [1]");
            return Err(wrong(file, reason));
        }
    };
    StaticScale::new(&name, scale).map_err(|error| wrong(file, error.to_string()))
}

/// Reads the codes of levels of a weight of `shape`.
///
/// # Errors
/// [`ModelFileError`] naming the file of the tensors and the one that is missing or wrong.
pub(super) fn read_levels(
    file: &SafetensorsFile,
    layer: &str,
    (shape, table, granularity): (&[usize], Codebook, Granularity),
) -> Result<CodebookMatrix, ModelFileError> {
    let part = |part: &str, dtype: DType| -> Result<HostTensor, ModelFileError> {
        let name = format!("{layer}.{part}");
        let tensor = file.tensor(&name)?;
        if tensor.dtype() == dtype {
            return Ok(tensor);
        }
        let found = tensor.dtype();
        let reason = format!("tensor {name} is {found}; expected {dtype}");
        Err(wrong(file, reason))
    };
    let codes = part("level_codes", DType::U8)?;
    let scales = part("level_scale", DType::F32)?;
    let scales = scales
        .to_f32()
        .map_err(|error| wrong(file, error.to_string()))?;
    let extents = matrix_shape(shape);
    CodebookMatrix::from_packed(layer, table, granularity, extents, codes.bytes(), scales)
        .map_err(|error| wrong(file, error.to_string()))
}

/// Reads a pruned weight of `shape`; `values` are the arguments of its codes, or whether its floats are f16.
///
/// # Errors
/// [`ModelFileError`] naming the file of the tensors and the one that is missing or wrong.
pub(super) fn read_sparse(
    file: &SafetensorsFile,
    layer: &str,
    (shape, layout): (&[usize], SparseLayout),
    values: Result<WeightArgs, bool>,
) -> Result<SparseMatrix, ModelFileError> {
    let [n, k] = matrix_shape(shape);
    let args = match values {
        Ok(args) => args,
        Err(is_f16) => {
            let dense = read_bitmask_file(file, layer)?;
            if dense.shape() != [n, k] {
                let found = dense.shape();
                let reason = format!("weight {layer} is {found:?}, expected [{n}, {k}]");
                return Err(wrong(file, reason));
            }
            let weights = dense
                .to_f32()
                .map_err(|error| wrong(file, error.to_string()))?;
            let dense = Dense {
                name: layer,
                n,
                k,
                weights: &weights,
            };
            let format = if is_f16 {
                ValueFormat::F16
            } else {
                ValueFormat::F32
            };
            return SparseMatrix::compress(&dense, layout, format)
                .map_err(|error| wrong(file, error.to_string()));
        }
    };
    let codes = read_codes_file(file, &format!("{layer}.sparse"), &args);
    let values = Values::Quantized(codes?);
    let words = |part: &str| -> Result<Vec<u32>, ModelFileError> {
        let name = format!("{layer}.sparse_{part}");
        let tensor = file.tensor(&name)?;
        if tensor.dtype() != DType::U32 {
            let reason = format!("tensor {name} is {}; expected u32", tensor.dtype());
            return Err(wrong(file, reason));
        }
        Ok(tensor.words())
    };
    let made = match layout {
        SparseLayout::Nm(pattern) => NmMatrix::from_parts(
            layer,
            NmParts {
                n,
                k,
                pattern,
                values,
                indices: words("indices")?,
            },
        )
        .map(SparseMatrix::Nm),
        SparseLayout::Block(shape) => BlockMatrix::from_parts(
            layer,
            BlockParts {
                n,
                k,
                shape,
                values,
                row_starts: words("starts")?,
                block_columns: words("columns")?,
            },
        )
        .map(SparseMatrix::Block),
        SparseLayout::Delta(bits) => DeltaMatrix::from_parts(
            layer,
            DeltaParts {
                n,
                k,
                bits,
                values,
                row_starts: words("starts")?,
                deltas: words("deltas")?,
            },
        )
        .map(SparseMatrix::Delta),
    };
    made.map_err(|error| wrong(file, error.to_string()))
}
