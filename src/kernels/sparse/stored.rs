//! Stored values as kernels see them: the rows they are stored in, their words and scales, their decoding.

use half::f16;

use crate::kernels::bounds::TINY;
use crate::kernels::shape::{ShapeError, check_index, check_multiple};
use crate::kernels::weight::{STEP, WeightShape};
use crate::num::{Granularity, SparseLayout, StoredFormat, ValueType, Zero};
use crate::record::{Access, HostOperands, Slot};
use crate::shader::Variant;

use super::{SCALES, SparseMatmul, Stored, VALUES};

/// The matrix of stored values: `[n, kept]`, `[blocks, area]` or `[1, entries]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredShape {
    pub rows: u32,
    pub columns: u32,
    pub format: StoredFormat,
}

impl SparseMatmul {
    /// How values are stored. A matrix that keeps nothing stores padding, as no buffer may be empty.
    pub(super) fn values(&self) -> StoredShape {
        let count = self.stored.count;
        let (rows, columns) = match self.format.layout {
            SparseLayout::Nm(pattern) => (self.n, pattern.kept(self.k as usize) as u32),
            SparseLayout::Block(shape) => (count.max(1), shape.area() as u32),
            SparseLayout::Delta(_) => (1, count.max(self.row_multiple())),
        };
        StoredShape {
            rows,
            columns,
            format: self.format.values,
        }
    }

    /// Refuses counts that no matrix of this shape has: kernels trust them, for indices and for how long a
    /// loop is.
    pub(super) fn check_stored(&self, kernel: &'static str) -> Result<(), ShapeError> {
        let (count, longest) = (u64::from(self.stored.count), u64::from(self.stored.longest));
        let (n, k) = (self.n as usize, self.k as usize);
        let (rows, most) = match self.format.layout {
            SparseLayout::Nm(pattern) => {
                let kept = pattern.kept(k) as u64;
                check_index(kernel, "stored values", u64::from(self.n) * kept)?;
                if (count, longest) != (u64::from(self.n) * kept, kept) {
                    return Err(self.impossible(kernel, "n * k / m values in each of n rows"));
                }
                return Ok(());
            }
            SparseLayout::Block(shape) => {
                let [rows, columns] = shape.grid(n, k);
                (rows as u64, columns as u64)
            }
            SparseLayout::Delta(_) => {
                let multiple = u64::from(self.row_multiple());
                check_multiple(
                    kernel,
                    ("stored entries", count),
                    ("the row multiple", multiple),
                )?;
                // Bridges and padding come on top of at most k weights.
                (u64::from(self.n), u64::from(u32::MAX))
            }
        };
        check_index(kernel, "stored", rows.saturating_mul(longest))?;
        if longest > most || count > rows * longest || (longest > count) {
            return Err(self.impossible(kernel, "as many as the longest row allows, in all rows"));
        }
        Ok(())
    }

    fn impossible(&self, kernel: &'static str, allowed: &'static str) -> ShapeError {
        let Stored { count, longest } = self.stored;
        ShapeError::Unsupported {
            kernel,
            name: "what is stored",
            value: format!("{count} in all, {longest} in the longest row"),
            allowed,
        }
    }

    /// Entries that rows of single weights come in multiples of.
    pub(super) const fn row_multiple(&self) -> u32 {
        match self.format.values {
            StoredFormat::Quantized(format) => match format.granularity {
                Granularity::Group(size) => size,
                Granularity::Tensor | Granularity::Channel => STEP,
            },
            StoredFormat::Float(_) => STEP,
        }
    }
}

impl StoredShape {
    /// Refuses scale groups that shaders have no path for.
    pub fn check(self, kernel: &'static str, layout: SparseLayout) -> Result<(), ShapeError> {
        let StoredFormat::Quantized(format) = self.format else {
            return Ok(());
        };
        if format.zero != Zero::Symmetric {
            return Err(ShapeError::Unsupported {
                kernel,
                name: "weight format",
                value: format.to_string(),
                allowed: "symmetric ones: a pruned weight is exactly zero",
            });
        }
        if matches!(layout, SparseLayout::Delta(_)) && format.granularity == Granularity::Channel {
            return Err(ShapeError::Unsupported {
                kernel,
                name: "weight format",
                value: format.to_string(),
                allowed: "one scale for the tensor, or one for each group of entries",
            });
        }
        if let Granularity::Group(size) = format.granularity {
            let size = u64::from(size);
            check_multiple(
                kernel,
                ("group_size", size),
                ("one shader step,", STEP.into()),
            )?;
            let run = match layout {
                SparseLayout::Nm(_) => u64::from(self.columns),
                SparseLayout::Block(shape) => shape.columns() as u64,
                SparseLayout::Delta(_) if size.is_power_of_two() => size,
                SparseLayout::Delta(_) => {
                    return Err(ShapeError::Unsupported {
                        kernel,
                        name: "group size",
                        value: size.to_string(),
                        allowed: "powers of two from 8",
                    });
                }
            };
            check_multiple(kernel, ("values of a row", run), ("group_size", size))?;
        }
        Ok(())
    }

    fn quantized(self) -> Option<WeightShape> {
        let StoredFormat::Quantized(format) = self.format else {
            return None;
        };
        Some(WeightShape {
            n: self.rows,
            k: self.columns,
            format,
        })
    }

    pub fn row_words(self) -> u32 {
        match self.format {
            StoredFormat::Float(value_type) => {
                value_type.row_stride_words(self.columns as usize) as u32
            }
            StoredFormat::Quantized(_) => self.quantized().map_or(0, WeightShape::row_words),
        }
    }

    /// Values that share a scale along a stored row; the whole row where it has one scale, or none.
    pub fn group_size(self) -> u32 {
        self.quantized()
            .map_or(self.columns, WeightShape::group_size)
    }

    /// Scales of one stored row; 0 where all rows share one or have none.
    pub fn scale_stride(self) -> u32 {
        self.quantized().map_or(0, WeightShape::scale_row_stride)
    }

    pub fn slots(self) -> Vec<Slot> {
        let read = |binding, name, bytes| Slot {
            binding,
            name,
            access: Access::Read,
            bytes,
        };
        let words = u64::from(self.rows) * u64::from(self.row_words());
        let mut slots = vec![read(VALUES, "values", 4 * words)];
        if let Some(weight) = self.quantized() {
            let bytes = weight.scale_count(self.rows) * weight.scale_bytes();
            slots.push(read(SCALES, "scales", bytes));
        }
        slots
    }

    /// Fills the slots that say how values are decoded.
    pub fn choose(self, variant: Variant) -> Variant {
        match (self.format, self.quantized()) {
            (_, Some(weight)) => weight.choose(variant, "stored").without("zero"),
            (StoredFormat::Float(ValueType::F16), None) => {
                variant.slot("stored", "f16").slot("scale", "one")
            }
            (StoredFormat::Float(ValueType::F32) | StoredFormat::Quantized(_), None) => {
                variant.slot("stored", "f32").slot("scale", "one")
            }
        }
    }

    /// A stored value as a real number, and the magnitude below which loading may flush it.
    pub fn value(self, operands: &HostOperands<'_>, row: usize, column: usize) -> (f64, f64) {
        let row_words = self.row_words() as usize;
        let words = &operands.words(VALUES)[row * row_words..];
        match (self.format, self.quantized()) {
            (_, Some(weight)) => {
                let scale = weight.scale(operands, weight.scale_index(row, column));
                (scale * f64::from(weight.code(operands, row, column)), TINY)
            }
            (StoredFormat::Float(ValueType::F16), None) => {
                let bits = (words[column / 2] >> (16 * (column % 2))) as u16;
                (f16::from_bits(bits).to_f64(), 2f64.powi(-14))
            }
            (StoredFormat::Float(ValueType::F32) | StoredFormat::Quantized(_), None) => {
                (f64::from(f32::from_bits(words[column])), TINY)
            }
        }
    }
}
