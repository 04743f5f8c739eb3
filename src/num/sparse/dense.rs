//! The dense side of packing: a masked matrix to be checked, and sizes that a u32 can count.

use half::f16;

use super::error::SparseError;
use super::values::ValueFormat;

/// A masked weight matrix to be packed: pruned weights are zero. -0 counts as zero.
#[derive(Clone, Copy, Debug)]
pub struct Dense<'a> {
    /// Tensor name, for messages.
    pub name: &'a str,
    /// Row major `[n, k]`.
    pub weights: &'a [f32],
    /// Rows, output features.
    pub n: usize,
    /// Columns, input features.
    pub k: usize,
}

impl Dense<'_> {
    /// Refuses what no format can hold: zero dimensions, a wrong length, more weights than a u32
    /// can count, NaN, infinity, and what overflows an f16 if values are to be f16.
    pub(super) fn check(&self, values: ValueFormat) -> Result<(), SparseError> {
        let Self { name, n, k, .. } = *self;
        check_dims(name, n, k)?;
        check_len(name, "weights", self.weights.len(), n * k)?;
        check_values(name, self.weights, k, values == ValueFormat::F16)
    }

    /// One weight.
    pub(super) fn at(&self, row: usize, column: usize) -> f32 {
        self.weights[row * self.k + column]
    }
}

/// Refuses values of a `[rows, columns]` array that are not finite or, if they are to be f16, round
/// to infinity.
pub(super) fn check_values(
    tensor: &str,
    values: &[f32],
    columns: usize,
    as_f16: bool,
) -> Result<(), SparseError> {
    let is_bad =
        |&value: &f32| !value.is_finite() || (as_f16 && f16::from_f32(value).is_infinite());
    let Some(index) = values.iter().position(is_bad) else {
        return Ok(());
    };
    let (tensor, value) = (tensor.to_owned(), values[index]);
    let (row, column) = (index / columns, index % columns);
    Err(if value.is_finite() {
        SparseError::F16Overflow {
            tensor,
            value,
            row,
            column,
        }
    } else {
        SparseError::NotFinite {
            tensor,
            value,
            row,
            column,
        }
    })
}

/// Refuses zero dimensions and more than `u32::MAX` weights; afterwards `n * k` cannot overflow.
pub(super) fn check_dims(tensor: &str, n: usize, k: usize) -> Result<(), SparseError> {
    if n == 0 || k == 0 {
        let tensor = tensor.to_owned();
        return Err(SparseError::Empty { tensor, n, k });
    }
    check_count(tensor, "weights", [n, k], n.checked_mul(k)).map(|_| ())
}

/// `count`, unless a u32 cannot hold it; `None` stands for a count that a usize cannot hold.
pub(super) fn check_count(
    tensor: &str,
    what: &'static str,
    [n, k]: [usize; 2],
    count: Option<usize>,
) -> Result<usize, SparseError> {
    match count {
        Some(count) if u32::try_from(count).is_ok() => Ok(count),
        _ => Err(SparseError::TooLarge {
            tensor: tensor.to_owned(),
            what,
            n,
            k,
        }),
    }
}

/// Refuses a list of the wrong length.
pub(super) fn check_len(
    tensor: &str,
    what: &'static str,
    found: usize,
    expected: usize,
) -> Result<(), SparseError> {
    if found == expected {
        return Ok(());
    }
    Err(SparseError::WrongLength {
        tensor: tensor.to_owned(),
        what,
        found,
        expected,
    })
}

/// Refuses row starts that are not `n_rows + 1` ascending numbers from 0; returns the last.
pub(super) fn check_row_starts(
    tensor: &str,
    row_starts: &[u32],
    n_rows: usize,
    multiple: usize,
) -> Result<usize, SparseError> {
    check_len(tensor, "row starts", row_starts.len(), n_rows + 1)?;
    let tensor = || tensor.to_owned();
    if row_starts[0] != 0 {
        return Err(SparseError::FirstRowStart {
            tensor: tensor(),
            found: row_starts[0],
        });
    }
    for (row, pair) in row_starts.windows(2).enumerate() {
        let (start, end) = (pair[0], pair[1]);
        if end < start {
            return Err(SparseError::RowStartsDescend {
                tensor: tensor(),
                row,
                start,
                end,
            });
        }
        if !(end as usize).is_multiple_of(multiple) {
            return Err(SparseError::RowStartNotMultiple {
                tensor: tensor(),
                row,
                end,
                multiple,
            });
        }
    }
    Ok(row_starts[n_rows] as usize)
}
