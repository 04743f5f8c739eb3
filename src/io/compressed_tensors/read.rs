//! Reading pruned tensors: the parts are checked against each other, then spread out.

use super::{BitmaskEntry, BitmaskError, BitmaskFormat, VALUE_TYPES, has_tensor};
use crate::io::IoError;
use crate::io::safetensors::{Safetensors, SafetensorsFile, StoredDType, TensorEntry, shown};
use crate::tensor::{DType, HostTensor, n_bytes};

/// The pruned tensors among the tensors of a file, sorted by prefix: those with `X.compressed`,
/// `X.shape` and `X.bitmask`.
pub fn bitmask_tensors(tensors: &[TensorEntry]) -> Vec<BitmaskEntry> {
    let prefixes = tensors
        .iter()
        .filter_map(|entry| entry.name.strip_suffix(".compressed"));
    prefixes
        .filter_map(|prefix| BitmaskEntry::of(prefix, |name| has_tensor(tensors, name)))
        .collect()
}

/// The dense matrix of a pruned tensor, pruned elements zero. It takes as much memory as its shape
/// says, at most 32 times that of the bitmask in the file.
///
/// # Errors
/// A [`BitmaskError`] naming the part that is absent or wrong.
pub fn read_bitmask<B: AsRef<[u8]>>(
    file: &Safetensors<B>,
    prefix: &str,
) -> Result<HostTensor, BitmaskError> {
    let part = |name: &str| -> Result<Part<'_>, BitmaskError> {
        let name = format!("{prefix}.{name}");
        let (entry, bytes) = file.tensor_bytes(&name)?;
        let name = shown(&name);
        Ok(Part { name, entry, bytes })
    };
    let has_offsets = has_tensor(file.tensors(), &format!("{prefix}.row_offsets"));
    let format = match has_offsets {
        true => BitmaskFormat::General,
        false => BitmaskFormat::TwoFour,
    };
    let [n, k] = dimensions(&part("shape")?, format)?;
    let bitmask = part("bitmask")?;
    bitmask.check_dtype(DType::U8)?;
    bitmask.check_shape(&[n, k.div_ceil(8)], format)?;
    let mask = Mask {
        name: &bitmask.name,
        bytes: bitmask.bytes,
        k,
    };
    mask.check_tails()?;

    let values = part("compressed")?;
    let dtype = values.value_type()?;
    match format {
        BitmaskFormat::TwoFour => {
            mask.check_groups()?;
            values.check_shape(&[n, k / 2], format)?;
        }
        BitmaskFormat::General => {
            let offsets = part("row_offsets")?;
            offsets.check_dtype(DType::I64)?;
            offsets.check_shape(&[n], format)?;
            let expected = mask.check_offsets(&offsets)?;
            let found = values.entry.n_bytes / dtype.bytes();
            if found != expected {
                return Err(BitmaskError::ValueCount {
                    name: values.name,
                    found,
                    expected,
                });
            }
            values.check_shape(&[expected], format)?;
        }
    }
    let bytes = mask.spread(values.bytes, dtype.bytes(), n_bytes(dtype, &[n, k])?);
    Ok(HostTensor::new(dtype, vec![n, k], bytes)?)
}

/// [`read_bitmask`] of a file on disk.
///
/// # Errors
/// [`IoError::Bitmask`], naming the file.
pub fn read_bitmask_file(file: &SafetensorsFile, prefix: &str) -> Result<HostTensor, IoError> {
    read_bitmask(file.contents(), prefix).map_err(|reason| IoError::Bitmask {
        file: file.path().to_owned(),
        reason,
    })
}

/// One stored tensor of a pruned one.
struct Part<'a> {
    /// Shortened for messages.
    name: String,
    entry: &'a TensorEntry,
    bytes: &'a [u8],
}

impl Part<'_> {
    fn check_dtype(&self, allowed: DType) -> Result<(), BitmaskError> {
        if self.entry.dtype == StoredDType::Supported(allowed) {
            return Ok(());
        }
        Err(BitmaskError::Dtype {
            name: self.name.clone(),
            dtype: self.entry.dtype.to_string(),
            allowed: allowed.to_string(),
        })
    }

    fn check_shape(&self, expected: &[usize], format: BitmaskFormat) -> Result<(), BitmaskError> {
        if self.entry.shape == expected {
            return Ok(());
        }
        Err(BitmaskError::Shape {
            name: self.name.clone(),
            found: self.entry.shape.clone(),
            expected: expected.to_vec(),
            format,
        })
    }

    fn value_type(&self) -> Result<DType, BitmaskError> {
        match self.entry.dtype {
            StoredDType::Supported(dtype) if VALUE_TYPES.contains(&dtype) => Ok(dtype),
            other => Err(BitmaskError::value_type(&self.name, &other)),
        }
    }

    fn i64s(&self) -> impl Iterator<Item = i64> + '_ {
        let (chunks, _) = self.bytes.as_chunks::<8>();
        chunks.iter().map(|&bytes| i64::from_le_bytes(bytes))
    }
}

/// Rows and columns, at least 1 each.
fn dimensions(shape: &Part<'_>, format: BitmaskFormat) -> Result<[usize; 2], BitmaskError> {
    shape.check_dtype(DType::I64)?;
    let expected: &[usize] = match format {
        BitmaskFormat::TwoFour => &[2, 1],
        BitmaskFormat::General => &[2],
    };
    if !matches!(shape.entry.shape[..], [2] | [2, 1]) {
        shape.check_shape(expected, format)?;
    }
    let stored: Vec<i64> = shape.i64s().collect();
    let (n, k) = (stored[0], stored[1]);
    match (usize::try_from(n), usize::try_from(k)) {
        (Ok(rows @ 1..), Ok(columns @ 1..)) if rows.checked_mul(columns).is_some() => {
            Ok([rows, columns])
        }
        _ => Err(BitmaskError::Dimensions {
            name: shape.name.clone(),
            n,
            k,
        }),
    }
}

/// A bitmask `[n, ceil(k / 8)]`.
struct Mask<'a> {
    name: &'a str,
    bytes: &'a [u8],
    k: usize,
}

impl<'a> Mask<'a> {
    fn rows(&self) -> impl Iterator<Item = &'a [u8]> {
        self.bytes.chunks_exact(self.k.div_ceil(8))
    }

    /// Refuses bits past the last column.
    fn check_tails(&self) -> Result<(), BitmaskError> {
        let used = self.k % 8;
        let is_past_end =
            |row: &[u8]| used != 0 && row.last().is_some_and(|last| last >> used != 0);
        match self.rows().position(is_past_end) {
            None => Ok(()),
            Some(row) => Err(BitmaskError::BitPastEnd {
                name: self.name.to_owned(),
                row,
                k: self.k,
            }),
        }
    }

    /// Refuses groups of four that do not keep two.
    fn check_groups(&self) -> Result<(), BitmaskError> {
        if !self.k.is_multiple_of(4) {
            return Err(BitmaskError::NotGroups {
                name: self.name.to_owned(),
                k: self.k,
            });
        }
        for (row, bytes) in self.rows().enumerate() {
            for group in 0..self.k / 4 {
                let found = (bytes[group / 2] >> (4 * (group % 2)) & 0xf).count_ones();
                if found != 2 {
                    return Err(BitmaskError::GroupCount {
                        name: self.name.to_owned(),
                        row,
                        group,
                        found,
                    });
                }
            }
        }
        Ok(())
    }

    /// Refuses offsets other than the bits set before each row; returns the bits set in all.
    fn check_offsets(&self, offsets: &Part<'_>) -> Result<usize, BitmaskError> {
        let mut expected = 0;
        for (row, (bytes, found)) in self.rows().zip(offsets.i64s()).enumerate() {
            if usize::try_from(found) != Ok(expected) {
                return Err(BitmaskError::RowOffset {
                    name: offsets.name.clone(),
                    row,
                    found,
                    expected,
                });
            }
            expected += bytes
                .iter()
                .map(|byte| byte.count_ones() as usize)
                .sum::<usize>();
        }
        Ok(expected)
    }

    /// Puts values, as many as bits are set, at their places among zeros.
    fn spread(&self, values: &[u8], element_bytes: usize, n_bytes: usize) -> Vec<u8> {
        let mut dense = vec![0; n_bytes];
        let mut values = values.chunks_exact(element_bytes);
        let rows = dense.chunks_exact_mut(self.k * element_bytes);
        for (row, mask) in rows.zip(self.rows()) {
            for (column, element) in row.chunks_exact_mut(element_bytes).enumerate() {
                if mask[column / 8] >> (column % 8) & 1 == 1
                    && let Some(value) = values.next()
                {
                    element.copy_from_slice(value);
                }
            }
        }
        debug_assert!(values.next().is_none(), "a value for each bit");
        dense
    }
}
