//! Float values in rows that a kernel can load 16 bytes at a time.

use super::dense::{check_count, check_len, check_values};
use super::error::SparseError;
use crate::num::float::{pack_f16, unpack_f16};

/// Values that shaders take at a time.
const STEP_VALUES: usize = 8;

/// Type of a stored float.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// One to a word.
    F32,
    /// Two to a word, the first in the low half.
    F16,
}

impl ValueType {
    /// Values in a 32-bit word.
    #[must_use]
    pub const fn per_word(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::F16 => 2,
        }
    }

    /// Words from one row of so many values to the next: whole steps of eight values, as shaders take
    /// them.
    #[must_use]
    pub fn row_stride_words(self, columns: usize) -> usize {
        columns.next_multiple_of(STEP_VALUES) / self.per_word()
    }
}

/// A row-major `[rows, columns]` matrix of finite floats, each row padded with zeros to whole
/// steps of eight values.
#[derive(Clone, Debug, PartialEq)]
pub struct FloatRows {
    value_type: ValueType,
    rows: usize,
    columns: usize,
    /// `[rows, row_stride_words]`
    words: Vec<u32>,
}

impl FloatRows {
    /// Packs `values [rows, columns]`. -0 becomes 0, as do f16 that underflow.
    ///
    /// # Errors
    /// A [`SparseError`] naming `tensor` for zero dimensions, a wrong length, more words than a u32
    /// can count, NaN, infinity, and values that overflow an f16.
    pub fn pack(
        tensor: &str,
        value_type: ValueType,
        [rows, columns]: [usize; 2],
        values: &[f32],
    ) -> Result<Self, SparseError> {
        let stride = check_shape(tensor, value_type, rows, columns)? / rows;
        check_len(tensor, "values", values.len(), rows * columns)?;
        check_values(tensor, values, columns, value_type == ValueType::F16)?;
        let mut words = Vec::with_capacity(rows * stride);
        for (row, values) in values.chunks_exact(columns).enumerate() {
            match value_type {
                ValueType::F32 => words.extend(values.iter().map(|value| (value + 0.0).to_bits())),
                ValueType::F16 => words.extend(pack_f16(values).into_iter().map(without_minus_0)),
            }
            words.resize((row + 1) * stride, 0);
        }
        Ok(Self {
            value_type,
            rows,
            columns,
            words,
        })
    }

    /// Takes words that were packed elsewhere.
    ///
    /// # Errors
    /// A [`SparseError`] naming `tensor` for zero dimensions, a wrong length, more words than a u32
    /// can count, NaN, infinity, and padding that is not zero.
    pub fn from_words(
        tensor: &str,
        value_type: ValueType,
        [rows, columns]: [usize; 2],
        words: Vec<u32>,
    ) -> Result<Self, SparseError> {
        let n_words = check_shape(tensor, value_type, rows, columns)?;
        check_len(tensor, "value words", words.len(), n_words)?;
        let matrix = Self {
            value_type,
            rows,
            columns,
            words,
        };
        for row in 0..rows {
            let padded = matrix.unpack_row(row, matrix.row_stride_words() * value_type.per_word());
            if let Err(error) = check_values(tensor, &padded[..columns], columns, false) {
                return Err(in_row(error, row));
            }
            // A stored -0 is zero too, but not the padding that is promised.
            if padded[columns..].iter().any(|value| value.to_bits() != 0) {
                return Err(SparseError::Padding {
                    tensor: tensor.to_owned(),
                    what: "the end of value row",
                    index: row,
                });
            }
        }
        Ok(matrix)
    }

    /// Type of the values.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        self.value_type
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values in a row, without padding.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Words from one row to the next, a multiple of 4.
    #[must_use]
    pub fn row_stride_words(&self) -> usize {
        self.value_type.row_stride_words(self.columns)
    }

    /// Packed values `[rows, row_stride_words]`.
    #[must_use]
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// All values `[rows, columns]`. Exact.
    #[must_use]
    pub fn to_f32(&self) -> Vec<f32> {
        (0..self.rows)
            .flat_map(|row| self.unpack_row(row, self.columns))
            .collect()
    }

    /// The first `len` values of a row, padding included.
    fn unpack_row(&self, row: usize, len: usize) -> Vec<f32> {
        let stride = self.row_stride_words();
        let words = &self.words[row * stride..][..stride];
        match self.value_type {
            ValueType::F32 => words[..len]
                .iter()
                .map(|&bits| f32::from_bits(bits))
                .collect(),
            ValueType::F16 => unpack_f16(words, len),
        }
    }
}

/// The number of words, if the shape is allowed.
fn check_shape(
    tensor: &str,
    value_type: ValueType,
    rows: usize,
    columns: usize,
) -> Result<usize, SparseError> {
    if rows == 0 || columns == 0 {
        return Err(SparseError::Empty {
            tensor: tensor.to_owned(),
            n: rows,
            k: columns,
        });
    }
    let shape = [rows, columns];
    // Checked first, so that the padded length below cannot overflow.
    check_count(tensor, "stored values", shape, rows.checked_mul(columns))?;
    let n_words = rows.checked_mul(value_type.row_stride_words(columns));
    check_count(tensor, "value words", shape, n_words)
}

/// A pair of f16 with 0 for -0.
fn without_minus_0(pair: u32) -> u32 {
    let half = |bits: u32| if bits == 0x8000 { 0 } else { bits };
    half(pair & 0xffff) | half(pair >> 16) << 16
}

/// The error of a row that was checked by itself.
fn in_row(error: SparseError, in_row: usize) -> SparseError {
    match error {
        SparseError::NotFinite {
            tensor,
            value,
            column,
            ..
        } => SparseError::NotFinite {
            tensor,
            value,
            row: in_row,
            column,
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_padded_with_zeros_to_eight_values() {
        let f32s = FloatRows::pack("w", ValueType::F32, [2, 1], &[1.0, -0.0]).unwrap();
        let mut expected = [0; 16];
        expected[0] = 0x3f80_0000;
        assert_eq!(f32s.words(), expected);
        let f16s = FloatRows::pack(
            "w",
            ValueType::F16,
            [2, 3],
            &[1.0, -2.0, 0.5, -1e-9, 0.0, 3.0],
        );
        let f16s = f16s.unwrap();
        assert_eq!(f16s.words(), [0xc000_3c00, 0x3800, 0, 0, 0, 0x4200, 0, 0]);
        assert_eq!(f16s.to_f32(), [1.0, -2.0, 0.5, 0.0, 0.0, 3.0]);
        let strides =
            |value_type: ValueType| [1, 4, 5, 8, 9].map(|k| value_type.row_stride_words(k));
        assert_eq!(strides(ValueType::F32), [8, 8, 8, 8, 16]);
        assert_eq!(strides(ValueType::F16), [4, 4, 4, 4, 8]);
    }

    #[test]
    fn words_are_taken_as_they_were_made() {
        for value_type in [ValueType::F32, ValueType::F16] {
            let values: Vec<f32> = (0..15).map(|i| i as f32 * 0.25).collect();
            let made = FloatRows::pack("w", value_type, [3, 5], &values).unwrap();
            let taken = FloatRows::from_words("w", value_type, [3, 5], made.words().to_vec());
            assert_eq!(taken, Ok(made));
        }
    }

    #[test]
    fn words_with_padding_or_values_that_are_not_finite_are_refused() {
        let refused = |value_type, columns, words: &[u32]| {
            FloatRows::from_words("w", value_type, [2, columns], words.to_vec())
                .unwrap_err()
                .to_string()
        };
        let mut words = [0; 8];
        words[5] = 0x7c00_0000;
        assert_eq!(
            refused(ValueType::F16, 4, &words),
            "w: inf in row 1, column 3; every weight must be finite"
        );
        assert_eq!(
            refused(ValueType::F16, 3, &words),
            "w: the end of value row 1 is not zero; padding must be"
        );
        let mut wide = [0; 16];
        wide[9] = 0x8000_0000;
        assert_eq!(
            refused(ValueType::F32, 1, &wide),
            "w: the end of value row 1 is not zero; padding must be"
        );
        assert_eq!(
            refused(ValueType::F32, 5, &words),
            "w: 16 value words are called for, found 8"
        );
        assert_eq!(
            refused(ValueType::F32, 0, &words),
            "w: a matrix of 2 x 0 has no elements; n and k must be at least 1"
        );
        assert_eq!(
            refused(ValueType::F32, 1 << 31, &words),
            "w: 2 x 2147483648 has more than 4294967295 stored values, the most that a u32 can count"
        );
    }

    #[test]
    fn values_that_overflow_an_f16_are_refused_and_only_those() {
        let pack = |value| FloatRows::pack("w", ValueType::F16, [1, 2], &[0.0, value]);
        assert_eq!(pack(65519.0).unwrap().to_f32(), [0.0, 65504.0]);
        assert_eq!(
            pack(-65520.0).unwrap_err().to_string(),
            "w: -65520 in row 0, column 1 is too large; the largest f16 is 65504"
        );
    }
}
