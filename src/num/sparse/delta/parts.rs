//! Checks of delta parts that were made elsewhere.

use super::{DeltaMatrix, DeltaParts, ROW_MULTIPLE, row_multiple};
use crate::num::quant::Granularity;
use crate::num::sparse::dense::{check_dims, check_len, check_row_starts};
use crate::num::sparse::error::SparseError;
use crate::num::sparse::fields::field_words;
use crate::num::sparse::values::StoredFormat;

impl DeltaMatrix {
    /// Takes parts that were made elsewhere.
    ///
    /// # Errors
    /// A [`SparseError`] naming `tensor`: a shape that is empty or too large, row starts that do not
    /// ascend from 0 in whole row multiples, deltas or values that do not match them, scales of a
    /// granularity that entries do not have, entries past the last column, two on one column, and
    /// padding that is not zero or not at the end of a row.
    pub fn from_parts(tensor: &str, parts: DeltaParts) -> Result<Self, SparseError> {
        check_dims(tensor, parts.n, parts.k)?;
        let multiple = checked_row_multiple(tensor, parts.k, parts.values.format())?;
        let total = check_row_starts(tensor, &parts.row_starts, parts.n, multiple)?;
        let n_entries = total.max(multiple);
        let n_words = field_words(parts.bits.bits(), n_entries);
        check_len(tensor, "delta words", parts.deltas.len(), n_words)?;
        parts.values.check(tensor, [1, n_entries])?;
        let matrix = Self { parts };
        let values = matrix.parts.values.to_f32();
        for row in 0..matrix.n() {
            matrix.check_row(tensor, row, &values)?;
        }
        let unused = total..n_entries;
        if let Some(index) = unused
            .clone()
            .find(|&index| matrix.delta(index) != 0 || values[index] != 0.0)
        {
            return Err(SparseError::Padding {
                tensor: tensor.to_owned(),
                what: "entry",
                index,
            });
        }
        Ok(matrix)
    }

    /// Refuses a row with an entry past the last column, on the column of another or after padding.
    fn check_row(&self, tensor: &str, row: usize, values: &[f32]) -> Result<(), SparseError> {
        let tensor = || tensor.to_owned();
        let (mut column, mut is_padding) = (0, false);
        for (entry, index) in self.row_entries(row).enumerate() {
            let delta = self.delta(index);
            column += delta as u64;
            if column >= self.k() as u64 {
                return Err(SparseError::ColumnOutOfRange {
                    tensor: tensor(),
                    row,
                    entry,
                    column,
                    max: self.k() - 1,
                });
            }
            if delta != 0 && is_padding {
                return Err(SparseError::EntryAfterPadding {
                    tensor: tensor(),
                    row,
                    entry,
                    delta: delta as u32,
                });
            }
            is_padding |= delta == 0 && entry > 0;
            if is_padding && values[index] != 0.0 {
                return Err(SparseError::RepeatedColumn {
                    tensor: tensor(),
                    row,
                    entry,
                    value: values[index],
                });
            }
        }
        Ok(())
    }
}

/// What the entries of a row of `k` columns come in multiples of. A row has at most `k` entries
/// before padding, so a longer group would be padding for the most part.
pub(super) fn checked_row_multiple(
    tensor: &str,
    k: usize,
    values: StoredFormat,
) -> Result<usize, SparseError> {
    let longest = k.checked_next_multiple_of(ROW_MULTIPLE).unwrap_or(k);
    row_multiple(values)
        .filter(|&multiple| multiple <= longest)
        .ok_or_else(|| SparseError::Granularity {
            tensor: tensor.to_owned(),
            granularity: values.granularity().unwrap_or(Granularity::Channel),
            allowed: format!(
                "a tensor or groups of a multiple of 8 entries up to {longest}; \
                 for a scale per row use groups, because all rows are stored as one"
            ),
        })
}
