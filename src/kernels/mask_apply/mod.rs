//! Pruned weights: `out[i] = x[i]` where the mask keeps, else +0, for `x [n, k]` in f32, f16 or bf16.
//!
//! The mask has a bit for each unit, `[units, ceil(row_units / 32)]` words; an element goes with its unit.
//! Bits are moved, never computed with, so that what is kept is unchanged, NaN and subnormals included.

mod cases;

use std::sync::Arc;

use crate::record::{
    Access, Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, Values, params,
};
use crate::shader::{Capabilities, Variant};

use super::iterations::looped;
use super::mask_shape::{MaskShape, RowPart};
use super::shape::ShapeError;
use super::{FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "mask_apply";
const X: u32 = 1;
const MASK: u32 = 2;
const OUT: u32 = 8;

params! {
    struct Params {
        n: u32,
        k: u32,
        row_words: u32,
        unit_rows: u32,
        unit_columns: u32,
        first_row: u32,
    }
}

/// Weights `[n, k]` and the units that their mask has bits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskApply {
    /// The matrix and its units: a mask with a bit for each element has units of 1 by 1.
    pub shape: MaskShape,
    /// Storage of the weights. Behind an odd count of 16-bit elements the unused half of the last word is
    /// zero.
    pub x: FloatType,
}

#[derive(Debug, Clone, Copy)]
struct ApplyLaunch {
    shape: MaskShape,
    x: FloatType,
    /// First row of the whole matrix that this part makes, where units have several rows.
    first_row: u32,
    /// Rows of the mask that are bound.
    mask_rows: u32,
}

impl MaskApply {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents and more elements than 32 bits index.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        self.shape.check(NAME)?;
        let [mask_rows, _] = self.shape.units();
        Ok(Arc::new(ApplyLaunch {
            shape: self.shape,
            x: self.x,
            first_row: 0,
            mask_rows,
        }))
    }
}

impl ApplyLaunch {
    fn elements(&self) -> u64 {
        u64::from(self.shape.n) * u64::from(self.shape.k)
    }

    fn mask_row_words(&self) -> u32 {
        self.shape.units()[1].div_ceil(32)
    }

    fn word_elements(&self) -> u32 {
        (4 / self.x.bytes()) as u32
    }
}

impl Launch for ApplyLaunch {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        format!("{} x-{}", self.shape.describe(), self.x)
    }

    fn slots(&self) -> Vec<Slot> {
        let slot = |binding, name, access, bytes| Slot {
            binding,
            name,
            access,
            bytes,
        };
        let bytes = self.elements() * self.x.bytes();
        let mask = 4 * u64::from(self.mask_rows) * u64::from(self.mask_row_words());
        vec![
            slot(X, "x", Access::Read, bytes),
            slot(MASK, "mask", Access::Read, mask),
            slot(OUT, "out", Access::Write, bytes),
        ]
    }

    fn params(&self) -> Vec<u8> {
        bytemuck::bytes_of(&Params {
            n: self.shape.n,
            k: self.shape.k,
            row_words: self.mask_row_words(),
            unit_rows: self.shape.unit_rows,
            unit_columns: self.shape.unit_columns,
            first_row: self.first_row,
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, _: &Capabilities) -> Vec<Variant> {
        let variant = Variant::new(NAME).number("WORKGROUP_SIZE", 64);
        vec![variant.number("WORD_ELEMENTS", self.word_elements())]
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        let elements = variant.get("WORD_ELEMENTS") * variant.get("WORKGROUP_SIZE");
        self.elements().div_ceil(elements.into())
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        Iterations {
            unrolled: 0,
            rolled: looped(variant.get("WORD_ELEMENTS").into(), 0),
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let (x, mask) = (operands.words(X), operands.words(MASK));
        let (k, row_words) = (self.shape.k as usize, self.mask_row_words() as usize);
        let units = self.shape.as_units();
        let per_word = self.word_elements() as usize;
        let element = u32::MAX >> (32 - 32 / per_word);
        let mut words = vec![0; (self.elements() as usize).div_ceil(per_word)];
        for index in 0..self.elements() as usize {
            let row = (self.first_row as usize + index / k) / units.rows;
            let column = index % k / units.columns;
            if mask[row * row_words + column / 32] >> (column % 32) & 1 == 1 {
                let at = index / per_word;
                words[at] |= x[at] & element << (index % per_word * 32 / per_word);
            }
        }
        vec![Output::new(OUT, Values::Words(words))]
    }

    fn bound(&self, _: &HostOperands<'_>) -> Vec<Bound> {
        vec![Bound::Exact]
    }

    fn cost(&self) -> Cost {
        Cost {
            operations: 0.0,
            bytes: self.slots().iter().map(|slot| slot.bytes as f64).sum(),
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let row = u64::from(self.shape.k) * self.x.bytes();
        let mask = [(MASK, 4 * u64::from(self.mask_row_words()))];
        let by_row = vec![(X, row), (OUT, row)];
        let limits = (max_bytes, alignment);
        let parts = self.shape.cut_rows(by_row, &mask, Vec::new(), limits)?;
        let part = |RowPart {
                        shape,
                        start,
                        ranges,
                    }: RowPart| {
            let mut part = Self { shape, ..*self };
            if shape.unit_rows == 1 {
                part.mask_rows = shape.n;
            } else {
                part.first_row += start;
            }
            Part {
                launch: Arc::new(part),
                ranges,
            }
        };
        Some(parts.into_iter().map(part).collect())
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [n, k] = asked.extents("NxK")?;
    let shape = MaskShape {
        n,
        k,
        unit_rows: 1,
        unit_columns: 1,
    };
    let x = asked.float().unwrap_or(FloatType::F32);
    Ok(MaskApply { shape, x }.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "weights [n, k] with +0 wherever a mask of elements, blocks, rows or columns keeps nothing",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::cases::case;
    use super::*;
    use crate::kernels::DataKind;
    use crate::kernels::parts_test::check_parts;

    #[test]
    fn rejects_empty_extents() {
        let shape = MaskShape {
            n: 4,
            k: 8,
            unit_rows: 1,
            unit_columns: 0,
        };
        let x = FloatType::F16;
        assert!(matches!(
            MaskApply { shape, x }.launch(),
            Err(ShapeError::Zero {
                name: "unit_columns",
                ..
            })
        ));
    }

    #[test]
    fn the_half_behind_an_odd_count_is_zero() {
        let shape = MaskShape {
            n: 1,
            k: 3,
            unit_rows: 1,
            unit_columns: 1,
        };
        let launch = MaskApply {
            shape,
            x: FloatType::F16,
        }
        .launch()
        .expect("valid");
        let (x, mask) = ([0x2222_1111, 0xffff_3333], [0b101]);
        let mut operands = HostOperands::default();
        operands.insert(X, &x);
        operands.insert(MASK, &mask);
        let outputs = launch.reference(&operands);
        assert_eq!(outputs[0].values, Values::Words(vec![0x1111, 0x3333]));
    }

    #[test]
    fn parts_make_what_the_whole_makes() {
        for shape in [(300, 9, 1, 1), (300, 9, 8, 2)] {
            for x in [FloatType::F32, FloatType::Bf16] {
                let case = case(shape, x, DataKind::Integers).expect("valid");
                assert!(check_parts(case.launch.as_ref(), &case.operands, 2048, 64) > 1);
            }
        }
    }
}
