//! A mask from scores and cut-offs: an element is kept when the score of its unit reaches the cut-off, by
//! key and then by the complement of its index, as `mask_threshold` orders them.
//!
//! Scores are those of units, f32 `[units, row_units]`; cut-offs u32 `[units or 1, 2]`, one for each row of
//! units or one for all; the mask is `[n, row_words]` words with a bit for each element.

mod cases;

use std::sync::Arc;

use crate::num::mask::{CutOff, score_key};
use crate::record::{
    Access, Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, Values, params,
};
use crate::shader::{Capabilities, Variant};

use super::iterations::looped;
use super::mask_shape::{MaskShape, RowPart};
use super::shape::{ShapeError, check_index};
use super::{Kernel, Workload, WorkloadError};

const NAME: &str = "mask_select";
const SCORES: u32 = 1;
const CUTS: u32 = 2;
const OUT: u32 = 8;

params! {
    struct Params {
        n: u32,
        k: u32,
        row_words: u32,
        unit_rows: u32,
        unit_columns: u32,
        row_units: u32,
        first_row: u32,
        cut_stride: u32,
        index_stride: u32,
        first_index: u32,
    }
}

/// What a cut-off is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All units, counted row by row from `first_index`, which is that of the first one.
    All {
        /// Units of other matrices that come before.
        first_index: u32,
    },
    /// The units of one row, counted from 0.
    Row,
}

/// A mask of a matrix whose units have scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskSelect {
    /// The matrix and its units.
    pub shape: MaskShape,
    /// What each cut-off is for.
    pub scope: Scope,
}

#[derive(Debug, Clone, Copy)]
struct SelectLaunch {
    shape: MaskShape,
    scope: Scope,
    /// First row of the whole matrix that this part makes, where units have several rows.
    first_row: u32,
    /// Rows of units that are bound.
    unit_rows_bound: u32,
}

impl MaskSelect {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents and indices past 32 bits.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        self.shape.check(NAME)?;
        if let Scope::All { first_index } = self.scope {
            let past = u64::from(first_index) + self.shape.unit_count();
            check_index(NAME, "first_index + units", past)?;
        }
        let [unit_rows_bound, _] = self.shape.units();
        Ok(Arc::new(SelectLaunch {
            shape: self.shape,
            scope: self.scope,
            first_row: 0,
            unit_rows_bound,
        }))
    }
}

impl Launch for SelectLaunch {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let scope = match self.scope {
            Scope::All { first_index: 0 } => "all".to_owned(),
            Scope::All { first_index } => format!("all from {first_index}"),
            Scope::Row => "rows".to_owned(),
        };
        format!("{} of {scope}", self.shape.describe())
    }

    fn slots(&self) -> Vec<Slot> {
        let [_, row_units] = self.shape.units();
        let rows = u64::from(self.unit_rows_bound);
        let slot = |binding, name, access, words| Slot {
            binding,
            name,
            access,
            bytes: 4 * words,
        };
        let cuts = match self.scope {
            Scope::All { .. } => 2,
            Scope::Row => 2 * rows,
        };
        vec![
            slot(SCORES, "scores", Access::Read, rows * u64::from(row_units)),
            slot(CUTS, "cuts", Access::Read, cuts),
            slot(OUT, "out", Access::Write, self.shape.word_count()),
        ]
    }

    fn params(&self) -> Vec<u8> {
        let MaskShape {
            n,
            k,
            unit_rows,
            unit_columns,
        } = self.shape;
        let [_, row_units] = self.shape.units();
        let (cut_stride, index_stride, first_index) = match self.scope {
            Scope::All { first_index } => (0, row_units, first_index),
            Scope::Row => (2, 0, 0),
        };
        bytemuck::bytes_of(&Params {
            n,
            k,
            row_words: self.shape.row_words(),
            unit_rows,
            unit_columns,
            row_units,
            first_row: self.first_row,
            cut_stride,
            index_stride,
            first_index,
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, _: &Capabilities) -> Vec<Variant> {
        vec![Variant::new(NAME).number("WORKGROUP_SIZE", 64)]
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        self.shape
            .word_count()
            .div_ceil(variant.get("WORKGROUP_SIZE").into())
    }

    fn iterations(&self, _: &Variant) -> Iterations {
        let count = looped(32, 0);
        Iterations {
            unrolled: count,
            rolled: count,
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let (scores, cuts) = (operands.words(SCORES), operands.words(CUTS));
        let row_units = self.shape.units()[1] as usize;
        let words = self.shape.words(self.first_row, |row, column| {
            let key = score_key(scores[row * row_units + column]);
            let (cut_at, index) = match self.scope {
                Scope::All { first_index } => (0, first_index + (row * row_units + column) as u32),
                Scope::Row => (2 * row, column as u32),
            };
            let cut = CutOff {
                key: cuts[cut_at],
                inverse_index: cuts[cut_at + 1],
            };
            cut.keeps(key, index)
        });
        vec![Output::new(OUT, Values::Words(words))]
    }

    fn bound(&self, _: &HostOperands<'_>) -> Vec<Bound> {
        vec![Bound::Exact]
    }

    fn cost(&self) -> Cost {
        Cost {
            operations: f64::from(self.shape.n) * f64::from(self.shape.k),
            bytes: self.slots().iter().map(|slot| slot.bytes as f64).sum(),
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let [_, row_units] = self.shape.units();
        let mut by_unit_row = vec![(SCORES, 4 * u64::from(row_units))];
        let mut whole = Vec::new();
        match self.scope {
            Scope::All { .. } => whole.push((CUTS, 8)),
            Scope::Row => by_unit_row.push((CUTS, 8)),
        }
        let by_row = vec![(OUT, 4 * u64::from(self.shape.row_words()))];
        let limits = (max_bytes, alignment);
        let parts = self.shape.cut_rows(by_row, &by_unit_row, whole, limits)?;
        let part = |RowPart {
                        shape,
                        start,
                        ranges,
                    }: RowPart| {
            let mut part = Self { shape, ..*self };
            if shape.unit_rows == 1 {
                part.unit_rows_bound = shape.n;
                if let Scope::All { first_index } = &mut part.scope {
                    *first_index += start * row_units;
                }
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
    let all = Scope::All { first_index: 0 };
    let scope = asked.choose(&[("all", all), ("rows", Scope::Row)]);
    let shape = MaskShape {
        n,
        k,
        unit_rows: 1,
        unit_columns: 1,
    };
    let select = MaskSelect {
        shape,
        scope: scope.unwrap_or(all),
    };
    Ok(select.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "mask words [n, k / 32] of the units whose scores reach a cut-off",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::cases::case;
    use super::*;
    use crate::kernels::mask_data::ScoreKind;
    use crate::kernels::parts_test::check_parts;

    #[test]
    fn rejects_empty_extents_and_indices_past_32_bits() {
        let shape = MaskShape {
            n: 4,
            k: 8,
            unit_rows: 1,
            unit_columns: 1,
        };
        let scope = Scope::All {
            first_index: u32::MAX - 31,
        };
        assert!(matches!(
            MaskSelect { shape, scope }.launch(),
            Err(ShapeError::TooLarge { .. })
        ));
        let shape = MaskShape { k: 0, ..shape };
        let scope = Scope::Row;
        assert!(matches!(
            MaskSelect { shape, scope }.launch(),
            Err(ShapeError::Zero { name: "k", .. })
        ));
    }

    #[test]
    fn parts_make_what_the_whole_makes() {
        for scope in [Scope::All { first_index: 3 }, Scope::Row] {
            let whole = case((300, 64, 1, 4), scope, ScoreKind::Tied, 0.5).expect("valid");
            assert!(check_parts(whole.launch.as_ref(), &whole.operands, 2048, 64) > 2);
            // Units of several rows are bound whole, and only the mask is cut.
            let shared = case((1000, 8, 32, 1), scope, ScoreKind::Tied, 0.5).expect("valid");
            assert!(check_parts(shared.launch.as_ref(), &shared.operands, 1040, 64) > 2);
        }
    }
}
