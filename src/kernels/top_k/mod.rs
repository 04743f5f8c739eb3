//! The largest elements of each row of `x [rows, columns]` and where they are, the largest first, the lowest
//! index first of equal ones: a few bytes to choose the next token from.
//!
//! Elements are compared as integer keys in the order of the values and only moved, so results are exact on
//! every driver. -0 equals 0; a positive NaN is larger than infinity.

mod cases;

use std::sync::Arc;

use crate::record::{
    Bound, Cost, HostOperands, HostResults, Iterations, Launch, Output, Part, Slot, Values, params,
};
use crate::shader::{Capabilities, Variant};

use super::fast::Stored;
use super::iterations::looped;
use super::rows::{RowExtents, parts, read, slot_bytes, write};
use super::shape::{ShapeError, check_extents, check_index};
use super::{FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "top_k";
const X: u32 = 1;
const VALUES: u32 = 7;
const OUT: u32 = 8;

/// Most elements of a row that are chosen: each costs a look at all lanes.
const MAX_COUNT: u64 = 1024;

params! {
    struct Params {
        rows: u32,
        columns: u32,
        count: u32,
    }
}

/// Shape and type. Operands by binding: x 1, values f32 `[rows, count]` 7, indices u32 `[rows, count]` 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopK {
    /// Rows.
    pub rows: u32,
    /// Elements of a row.
    pub columns: u32,
    /// How many of them are chosen.
    pub count: u32,
    /// Storage of x.
    pub x: FloatType,
}

impl TopK {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, rows of more than 2^22 elements, a count above 1024 or that of the
    /// columns, and more elements than 32 bits index.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let [rows, columns, count] = [self.rows, self.columns, self.count].map(u64::from);
        RowExtents { rows, columns }.check(NAME)?;
        check_extents(NAME, &[("count", count)])?;
        let limit = columns.min(MAX_COUNT);
        if count > limit {
            return Err(ShapeError::TooLarge {
                kernel: NAME,
                name: "count",
                value: count,
                limit,
                reason: "elements of a row, and 1024",
            });
        }
        check_index(NAME, "rows * count", rows * count)?;
        Ok(Arc::new(self))
    }

    /// Indices of the largest elements of each row.
    fn chosen(&self, x: &[f32]) -> Vec<u32> {
        let mut chosen = Vec::new();
        for row in x.chunks(self.columns as usize) {
            let mut order: Vec<u32> = (0..self.columns).collect();
            // Adding 0 makes -0 a 0. The sort is stable: equal elements stay in order.
            let key = |index: &u32| row[*index as usize] + 0.0;
            order.sort_by(|a, b| key(b).total_cmp(&key(a)));
            chosen.extend_from_slice(&order[..self.count as usize]);
        }
        chosen
    }
}

impl TopK {
    /// The same without sorting what is not chosen.
    fn chosen_fast(&self, row: &[f32]) -> Vec<u32> {
        // In ascending order of keys, the larger values and then the lower indices come first.
        let key = |(index, &value): (usize, &f32)| {
            let bits = (value + 0.0).to_bits();
            let ascending = bits ^ (((bits as i32 >> 31) as u32) | 0x8000_0000);
            (u64::from(!ascending) << 32) | index as u64
        };
        let mut keys: Vec<u64> = row.iter().enumerate().map(key).collect();
        let count = self.count as usize;
        if count < keys.len() {
            keys.select_nth_unstable(count);
            keys.truncate(count);
        }
        keys.sort_unstable();
        keys.into_iter().map(|key| key as u32).collect()
    }
}

impl Launch for TopK {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self {
            rows,
            columns,
            count,
            x,
        } = self;
        format!("rows={rows} columns={columns} count={count} x-{x}")
    }

    fn slots(&self) -> Vec<Slot> {
        let [rows, columns, count] = [self.rows, self.columns, self.count].map(u64::from);
        vec![
            read(X, "x", rows * columns * self.x.bytes()),
            write(VALUES, "chosen_values", 4 * rows * count),
            write(OUT, "chosen", 4 * rows * count),
        ]
    }

    fn params(&self) -> Vec<u8> {
        bytemuck::bytes_of(&Params {
            rows: self.rows,
            columns: self.columns,
            count: self.count,
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let variant = Variant::new(NAME).slot("element", self.x.name());
        let mut lanes = vec![256, 64];
        if capabilities.software || self.columns <= 2048 {
            lanes.reverse();
        }
        let number = |lanes| variant.clone().number("WORKGROUP_SIZE", lanes);
        lanes.into_iter().map(number).collect()
    }

    fn workgroups(&self, _: &Variant) -> u64 {
        self.rows.into()
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        let lanes = u64::from(variant.get("WORKGROUP_SIZE"));
        let look = looped(u64::from(self.columns).div_ceil(lanes), 0);
        // The chosen elements may all be one lane's.
        let count = looped(self.count.into(), look + looped(lanes.ilog2().into(), 0));
        Iterations {
            unrolled: count,
            rolled: count,
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let columns = self.columns as usize;
        let x = self
            .x
            .unpack(operands.words(X), self.rows as usize * columns);
        let chosen = self.chosen(&x);
        let value = |(at, &index): (usize, &u32)| {
            let row = at / self.count as usize;
            x[row * columns + index as usize].to_bits()
        };
        let values = chosen.iter().enumerate().map(value).collect();
        vec![
            Output::new(VALUES, Values::Words(values)),
            Output::new(OUT, Values::Words(chosen)),
        ]
    }

    fn fast(&self, operands: &HostOperands<'_>, results: &mut HostResults<'_>) -> bool {
        let (columns, count) = (self.columns as usize, self.count as usize);
        let x = Stored::new(self.x, operands.words(X)).all(self.rows as usize * columns);
        for (at, row) in x.chunks_exact(columns).enumerate() {
            let chosen = self.chosen_fast(row);
            let place = at * count..(at + 1) * count;
            let values = &mut results.words(VALUES)[place.clone()];
            for (value, &index) in values.iter_mut().zip(&chosen) {
                *value = row[index as usize].to_bits();
            }
            results.words(OUT)[place].copy_from_slice(&chosen);
        }
        true
    }

    fn bound(&self, _: &HostOperands<'_>) -> Vec<Bound> {
        vec![Bound::Exact, Bound::Exact]
    }

    fn cost(&self) -> Cost {
        Cost {
            operations: f64::from(self.rows) * f64::from(self.columns),
            bytes: slot_bytes(&self.slots()),
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let limits = (max_bytes, alignment);
        parts(self.rows, &self.slots(), &[], limits, |run| {
            let rows = run.end - run.start;
            Arc::new(Self { rows, ..*self })
        })
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [rows, columns, count] = asked.extents("ROWSxCOLUMNSxCOUNT")?;
    let x = asked.float().unwrap_or(FloatType::F32);
    let shape = TopK {
        rows,
        columns,
        count,
        x,
    };
    Ok(shape.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "the largest elements of rows and where they are",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: TopK = TopK {
        rows: 1,
        columns: 5,
        count: 3,
        x: FloatType::F32,
    };

    #[test]
    fn of_equal_elements_the_lowest_index_comes_first() {
        assert_eq!(SHAPE.chosen(&[1.0, 3.0, -0.0, 3.0, 0.0]), [1, 3, 0]);
        assert_eq!(SHAPE.chosen(&[-0.0, 0.0, -1.0, f32::NAN, 0.0]), [3, 0, 1]);
    }

    #[test]
    fn rejects_more_elements_than_a_row_has() {
        let more = TopK { count: 6, ..SHAPE };
        assert!(matches!(
            more.launch(),
            Err(ShapeError::TooLarge {
                name: "count",
                limit: 5,
                ..
            })
        ));
        let none = TopK { count: 0, ..SHAPE };
        assert!(matches!(
            none.launch(),
            Err(ShapeError::Zero { name: "count", .. })
        ));
    }
}
