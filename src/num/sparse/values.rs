//! The stored values of a pruned matrix, alike for all formats: floats or symmetric integer codes.
//!
//! A format lays the weights it keeps out as a matrix of its own, and this is that matrix. Rows are
//! padded to 16 bytes, of f32 to 32. Groups of a quantized one count *stored* values along a stored row.

use std::fmt;

use super::error::SparseError;
use super::float_rows::{FloatRows, ValueType};
use crate::num::quant::layout::ROW_ALIGN_WORDS;
use crate::num::quant::{Granularity, QuantFormat, QuantizedMatrix, Scheme, Zero, quantize};

/// How to store values: what a caller asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueFormat {
    /// As they are.
    F32,
    /// Rounded to nearest even; overflow is refused.
    F16,
    /// Quantized under a symmetric scheme.
    Quantized(Scheme),
}

impl ValueFormat {
    /// What is stored of it.
    #[must_use]
    pub fn stored(&self) -> StoredFormat {
        match self {
            Self::F32 => StoredFormat::Float(ValueType::F32),
            Self::F16 => StoredFormat::Float(ValueType::F16),
            Self::Quantized(scheme) => StoredFormat::Quantized(scheme.format()),
        }
    }
}

/// How values are stored: what a kernel must know. Displays as `f32`, `f16` or a [`QuantFormat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoredFormat {
    /// Floats of this type.
    Float(ValueType),
    /// Integer codes with scales and without zero points.
    Quantized(QuantFormat),
}

impl StoredFormat {
    /// Bits of one value, without its share of a scale.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Float(value_type) => 32 / value_type.per_word() as u32,
            Self::Quantized(format) => format.bits.bits(),
        }
    }

    /// Device bytes of a `[rows, columns]` matrix of such values and its scales, padding included.
    /// Columns that groups do not tile count as if the last group were whole.
    #[must_use]
    pub fn bytes(self, rows: usize, columns: usize) -> usize {
        match self {
            Self::Float(value_type) => 4 * rows * value_type.row_stride_words(columns),
            Self::Quantized(format) => {
                let n_scales = match format.granularity {
                    Granularity::Tensor => 1,
                    Granularity::Channel => rows,
                    Granularity::Group(size) => rows * columns.div_ceil(size.max(1) as usize),
                };
                let scale_words = (n_scales * format.scale_type.bits() as usize).div_ceil(32);
                let words = columns.div_ceil(format.bits.per_word());
                4 * (rows * words.next_multiple_of(ROW_ALIGN_WORDS) + scale_words)
            }
        }
    }

    /// Bytes of one value with its share of the scales, where `row_len` values make a row; without
    /// padding, and without the one scale of a tensor.
    #[must_use]
    pub fn bytes_per_value(self, row_len: f64) -> f64 {
        let value = f64::from(self.bits()) / 8.0;
        let Self::Quantized(format) = self else {
            return value;
        };
        let scale = f64::from(format.scale_type.bits()) / 8.0;
        match format.granularity {
            Granularity::Tensor => value,
            Granularity::Channel => value + scale / row_len,
            Granularity::Group(size) => value + scale / f64::from(size),
        }
    }

    /// The granularity of the scales; `None` for floats.
    #[must_use]
    pub fn granularity(self) -> Option<Granularity> {
        match self {
            Self::Float(_) => None,
            Self::Quantized(format) => Some(format.granularity),
        }
    }

    /// Refuses zero points.
    pub(super) fn check_symmetric(self, tensor: &str) -> Result<(), SparseError> {
        match self {
            Self::Quantized(format) if format.zero != Zero::Symmetric => {
                let tensor = tensor.to_owned();
                Err(SparseError::ZeroPoint { tensor })
            }
            Self::Quantized(_) | Self::Float(_) => Ok(()),
        }
    }
}

impl fmt::Display for StoredFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Float(ValueType::F32) => f.write_str("f32"),
            Self::Float(ValueType::F16) => f.write_str("f16"),
            Self::Quantized(format) => format.fmt(f),
        }
    }
}

/// A matrix of stored values.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Floats.
    Float(FloatRows),
    /// Codes of a symmetric scheme.
    Quantized(QuantizedMatrix),
}

impl Values {
    /// Stores `values [rows, columns]`.
    ///
    /// # Errors
    /// As [`FloatRows::pack`] and [`quantize()`], and [`SparseError::ZeroPoint`] for a scheme with
    /// zero points.
    pub fn pack(
        tensor: &str,
        format: ValueFormat,
        [rows, columns]: [usize; 2],
        values: &[f32],
    ) -> Result<Self, SparseError> {
        format.stored().check_symmetric(tensor)?;
        let floats = |value_type| {
            FloatRows::pack(tensor, value_type, [rows, columns], values).map(Self::Float)
        };
        match format {
            ValueFormat::F32 => floats(ValueType::F32),
            ValueFormat::F16 => floats(ValueType::F16),
            ValueFormat::Quantized(scheme) => Ok(Self::Quantized(quantize(
                tensor, values, rows, columns, &scheme,
            )?)),
        }
    }

    /// How the values are stored.
    #[must_use]
    pub fn format(&self) -> StoredFormat {
        match self {
            Self::Float(rows) => StoredFormat::Float(rows.value_type()),
            Self::Quantized(matrix) => StoredFormat::Quantized(matrix.format()),
        }
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        match self {
            Self::Float(rows) => rows.rows(),
            Self::Quantized(matrix) => matrix.n(),
        }
    }

    /// Values in a row, without padding.
    #[must_use]
    pub fn columns(&self) -> usize {
        match self {
            Self::Float(rows) => rows.columns(),
            Self::Quantized(matrix) => matrix.k(),
        }
    }

    /// Words from one row of [`words`](Self::words) to the next, a multiple of 4.
    #[must_use]
    pub fn row_stride_words(&self) -> usize {
        match self {
            Self::Float(rows) => rows.row_stride_words(),
            Self::Quantized(matrix) => matrix.row_stride_words(),
        }
    }

    /// Packed values or codes, `[rows, row_stride_words]`.
    #[must_use]
    pub fn words(&self) -> &[u32] {
        match self {
            Self::Float(rows) => rows.words(),
            Self::Quantized(matrix) => matrix.codes(),
        }
    }

    /// Scales as device words; `None` for floats.
    #[must_use]
    pub fn scale_words(&self) -> Option<Vec<u32>> {
        match self {
            Self::Float(_) => None,
            Self::Quantized(matrix) => Some(matrix.packed_scales()),
        }
    }

    /// All values `[rows, columns]`. Zeros are +0, also under a negative scale.
    #[must_use]
    pub fn to_f32(&self) -> Vec<f32> {
        let mut values = match self {
            Self::Float(rows) => rows.to_f32(),
            Self::Quantized(matrix) => matrix.dequantize(),
        };
        values.iter_mut().for_each(|value| *value += 0.0);
        values
    }

    /// Values other than zero, as stored: a small weight may have become 0.
    #[must_use]
    pub fn n_nonzero(&self) -> usize {
        self.to_f32().iter().filter(|&&value| value != 0.0).count()
    }

    /// Device bytes of values and scales, padding included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.format().bytes(self.rows(), self.columns())
    }

    /// Refuses values of another shape than `[rows, columns]`, and zero points.
    pub(super) fn check(
        &self,
        tensor: &str,
        [rows, columns]: [usize; 2],
    ) -> Result<(), SparseError> {
        self.format().check_symmetric(tensor)?;
        if [self.rows(), self.columns()] == [rows, columns] {
            return Ok(());
        }
        Err(SparseError::ValueShape {
            tensor: tensor.to_owned(),
            found_rows: self.rows(),
            found_columns: self.columns(),
            rows,
            columns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_every_word_handed_to_the_device() {
        let formats = [
            ValueFormat::F32,
            ValueFormat::F16,
            ValueFormat::Quantized(Scheme::int8_tensor()),
            ValueFormat::Quantized(Scheme::int4_channel()),
            ValueFormat::Quantized(Scheme::int4_group(8)),
            ValueFormat::Quantized(Scheme::int8_group(24)),
        ];
        for format in formats {
            let values = Values::pack("w", format, [3, 24], &[1.5; 72]).unwrap();
            let scale_words = values.scale_words().map_or(0, |words| words.len());
            assert_eq!(values.bytes(), 4 * (values.words().len() + scale_words));
            assert_eq!(values.words().len(), 3 * values.row_stride_words());
            assert_eq!(values.format(), format.stored());
            assert_eq!(
                [values.rows(), values.columns(), values.n_nonzero()],
                [3, 24, 72]
            );
        }
    }

    #[test]
    fn zeros_are_positive_also_under_a_negative_scale() {
        let mut weights = [0.0; 8];
        weights[3] = 1.0;
        let format = ValueFormat::Quantized(Scheme::int4_group(8));
        let values = Values::pack("w", format, [1, 8], &weights).unwrap();
        assert!(matches!(&values, Values::Quantized(matrix) if matrix.scales()[0] < 0.0));
        let bits: Vec<u32> = values
            .to_f32()
            .iter()
            .map(|value| value.to_bits())
            .collect();
        assert_eq!(bits, weights.map(f32::to_bits));
    }

    #[test]
    fn zero_points_are_refused() {
        let format = ValueFormat::Quantized(Scheme::int4_group_zero_point(8));
        assert_eq!(
            Values::pack("w", format, [1, 8], &[1.0; 8])
                .unwrap_err()
                .to_string(),
            "w: values with zero points; pruned weights need a symmetric scheme"
        );
    }
}
