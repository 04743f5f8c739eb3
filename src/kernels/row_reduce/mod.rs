//! One number for each row of `x [rows, columns]`: sum, mean, sum of squares, largest, smallest,
//! largest magnitude (f32), or the index of the largest element (u32, the lowest of equal ones).
//!
//! A sum in any order has an error of at most `gamma(columns + 2) * sum |x|`, squares included. The
//! extremes are elements of the row: exact, except that a subnormal one may be flushed to zero. The
//! index is found on integer keys in the order of the values, so it is exact on every driver; -0
//! equals 0 and a positive NaN is larger than infinity.

mod cases;

use std::sync::Arc;

use crate::record::{
    Access, Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, Values, params,
};
use crate::shader::{Capabilities, Variant};

use super::bounds::{TINY, U, gamma};
use super::iterations::looped;
use super::shape::{ShapeError, check_extents, check_index};
use super::split::{Streams, Tile, cut};
use super::{FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "row_reduce";
const X: u32 = 1;
const OUT: u32 = 8;

/// Longest row: past it a f32 sum has no bound worth the name (`gamma` of 2^22 terms is 1).
const MAX_COLUMNS: u64 = 1 << 22;

/// Longest row for a single lane: a poor choice long before, on any adapter.
const MAX_LANE_COLUMNS: u32 = 1 << 15;

/// Rows longer than this get workgroups of 256 instead of 64.
const LONG_ROW: u32 = 2048;

params! {
    struct Params {
        rows: u32,
        columns: u32,
    }
}

/// What becomes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// `sum x`
    Sum,
    /// `sum x / columns`
    Mean,
    /// `sum x^2`
    SumSquares,
    /// Largest element; undefined with NaN.
    Max,
    /// Smallest element; undefined with NaN.
    Min,
    /// Largest `|x|`; undefined with NaN.
    AbsMax,
    /// Lowest index of the largest element, as u32.
    ArgMax,
}

impl Reduction {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Sum,
        Self::Mean,
        Self::SumSquares,
        Self::Max,
        Self::Min,
        Self::AbsMax,
        Self::ArgMax,
    ];

    /// Name in slots and printed shapes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Mean => "mean",
            Self::SumSquares => "sum_squares",
            Self::Max => "max",
            Self::Min => "min",
            Self::AbsMax => "abs_max",
            Self::ArgMax => "argmax",
        }
    }
}

/// Shape, storage and reduction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowReduce {
    /// Rows: elements of the result.
    pub rows: u32,
    /// Elements of a row.
    pub columns: u32,
    /// Storage of x.
    pub x: FloatType,
    /// What becomes of a row.
    pub reduction: Reduction,
}

impl RowReduce {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, rows of more than 2^22 elements, and more elements than 32
    /// bits index.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let (rows, columns) = (u64::from(self.rows), u64::from(self.columns));
        check_extents(NAME, &[("rows", rows), ("columns", columns)])?;
        if columns > MAX_COLUMNS {
            return Err(ShapeError::TooLarge {
                kernel: NAME,
                name: "columns",
                value: columns,
                limit: MAX_COLUMNS,
                reason: "longer f32 sums have no useful error bound; reduce in two steps",
            });
        }
        check_index(NAME, "rows * columns", rows * columns)?;
        Ok(Arc::new(self))
    }

    fn for_each_row(&self, operands: &HostOperands<'_>, visit: impl FnMut(&[f32])) {
        let (rows, columns) = (self.rows as usize, self.columns as usize);
        let x = self.x.unpack(operands.words(X), rows * columns);
        x.chunks(columns).for_each(visit);
    }

    /// The definition of every reduction but the index.
    fn value(&self, row: &[f32]) -> f64 {
        let values = row.iter().map(|&value| f64::from(value));
        match self.reduction {
            Reduction::Sum => values.sum(),
            Reduction::Mean => values.sum::<f64>() / row.len() as f64,
            Reduction::SumSquares => values.map(|value| value * value).sum(),
            Reduction::Max => values.fold(f64::NEG_INFINITY, f64::max),
            Reduction::Min => values.fold(f64::INFINITY, f64::min),
            Reduction::AbsMax => values.map(f64::abs).fold(0.0, f64::max),
            Reduction::ArgMax => f64::from(first_largest(row)),
        }
    }

    fn allowed(&self, row: &[f32]) -> f64 {
        let sizes = row.iter().map(|&value| f64::from(value).abs());
        // A subnormal element may be flushed, and so may each partial sum.
        let flushed = 2.0 * TINY * row.len() as f64;
        match self.reduction {
            Reduction::Sum => gamma(row.len() + 2) * sizes.sum::<f64>() + flushed,
            Reduction::Mean => {
                let mean = sizes.sum::<f64>() / row.len() as f64;
                // A division of 2.5 units follows.
                (gamma(row.len() + 2) + 2.6 * U) * mean + flushed
            }
            Reduction::SumSquares => {
                gamma(row.len() + 2) * sizes.map(|size| size * size).sum::<f64>() + flushed
            }
            Reduction::Max | Reduction::Min | Reduction::AbsMax => {
                let result = self.value(row).abs();
                if result < TINY { TINY } else { 0.0 }
            }
            Reduction::ArgMax => 0.0,
        }
    }
}

/// Lowest index of the largest element; -0 equals 0, NaN lies beyond the infinity of its sign.
fn first_largest(row: &[f32]) -> u32 {
    let mut best = 0;
    for (index, value) in row.iter().enumerate() {
        // Adding 0 makes -0 a 0.
        if (value + 0.0).total_cmp(&(row[best] + 0.0)).is_gt() {
            best = index;
        }
    }
    best as u32
}

impl Launch for RowReduce {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self {
            rows,
            columns,
            x,
            reduction,
        } = self;
        format!("{} rows={rows} columns={columns} x-{x}", reduction.name())
    }

    fn slots(&self) -> Vec<Slot> {
        let (rows, columns) = (u64::from(self.rows), u64::from(self.columns));
        vec![
            Slot {
                binding: X,
                name: "x",
                access: Access::Read,
                bytes: rows * columns * self.x.bytes(),
            },
            Slot {
                binding: OUT,
                name: "out",
                access: Access::Write,
                bytes: 4 * rows,
            },
        ]
    }

    fn params(&self) -> Vec<u8> {
        bytemuck::bytes_of(&Params {
            rows: self.rows,
            columns: self.columns,
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let variant = |entry, reduce, lanes| {
            let variant = Variant::new(entry)
                .slot("element", self.x.name())
                .slot("reduce", reduce);
            let variant = variant.number("WORKGROUP_SIZE", lanes);
            match self.reduction {
                Reduction::ArgMax => variant.slot("row", "argmax"),
                other => variant.slot("row", "fold").slot("reduction", other.name()),
            }
        };
        let lanes = if self.columns > LONG_ROW { 256 } else { 64 };
        let mut variants = vec![variant("row_reduce/workgroup", "shared", lanes)];
        if capabilities.subgroups {
            variants.push(variant("row_reduce/workgroup", "subgroup", lanes));
        }
        if self.columns <= MAX_LANE_COLUMNS {
            // Lanes of hardware should read neighbours; a CPU wants no barriers.
            let place = if capabilities.software {
                0
            } else {
                variants.len()
            };
            variants.insert(place, variant(NAME, "none", 64));
        }
        variants
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        let rows = u64::from(self.rows);
        if variant.entry() == NAME {
            rows.div_ceil(variant.get("WORKGROUP_SIZE").into())
        } else {
            rows
        }
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        let lanes = variant.get("WORKGROUP_SIZE");
        let (per_lane, reduction) = if variant.entry() == NAME {
            (self.columns, 0)
        } else {
            (self.columns.div_ceil(lanes), lanes)
        };
        let count = looped(per_lane.into(), 0) + looped(reduction.into(), 0);
        Iterations {
            unrolled: count,
            rolled: count,
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        if self.reduction == Reduction::ArgMax {
            let mut indices = Vec::new();
            self.for_each_row(operands, |row| indices.push(first_largest(row)));
            return vec![Output::new(OUT, Values::Words(indices))];
        }
        let mut values = Vec::new();
        self.for_each_row(operands, |row| values.push(self.value(row)));
        vec![Output::new(OUT, Values::F32(values))]
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        if self.reduction == Reduction::ArgMax {
            return vec![Bound::Exact];
        }
        let mut allowed = Vec::new();
        self.for_each_row(operands, |row| allowed.push(self.allowed(row)));
        vec![Bound::Absolute(allowed)]
    }

    fn cost(&self) -> Cost {
        let (rows, elements) = (
            f64::from(self.rows),
            f64::from(self.rows) * f64::from(self.columns),
        );
        let per_element = if self.reduction == Reduction::SumSquares {
            2.0
        } else {
            1.0
        };
        Cost {
            operations: per_element * elements,
            bytes: elements * self.x.bytes() as f64 + 4.0 * rows,
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let by_row = vec![(X, u64::from(self.columns) * self.x.bytes()), (OUT, 4)];
        let tiles = cut(
            self.rows,
            1,
            &Streams {
                by_row,
                ..Streams::default()
            },
            max_bytes,
            alignment,
        )?;
        let part = |tile: Tile| {
            let rows = tile.rows.end - tile.rows.start;
            Part {
                launch: Arc::new(Self { rows, ..*self }),
                ranges: tile.ranges,
            }
        };
        Some(tiles.into_iter().map(part).collect())
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [rows, columns] = asked.extents("ROWSxCOLUMNS")?;
    let reduction = asked.choose(&Reduction::ALL.map(|one| (one.name(), one)));
    let shape = RowReduce {
        rows,
        columns,
        x: asked.float().unwrap_or(FloatType::F32),
        reduction: reduction.unwrap_or(Reduction::Sum),
    };
    Ok(shape.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "sum, mean, sum of squares, extremes and argmax of each row",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::DataKind;
    use crate::kernels::parts_test::check_parts;

    const SHAPE: RowReduce = RowReduce {
        rows: 2,
        columns: 3,
        x: FloatType::F32,
        reduction: Reduction::ArgMax,
    };

    #[test]
    fn rejects_empty_rows() {
        let launch = RowReduce {
            columns: 0,
            ..SHAPE
        }
        .launch();
        assert!(matches!(
            launch,
            Err(ShapeError::Zero {
                name: "columns",
                ..
            })
        ));
    }

    #[test]
    fn rejects_rows_too_long_for_a_bound() {
        let columns = MAX_COLUMNS as u32 + 1;
        let launch = RowReduce {
            columns,
            reduction: Reduction::Sum,
            ..SHAPE
        }
        .launch();
        assert!(matches!(
            launch,
            Err(ShapeError::TooLarge {
                name: "columns",
                ..
            })
        ));
        assert!(gamma(MAX_COLUMNS as usize + 2) < 1.01);
    }

    #[test]
    fn rejects_more_elements_than_an_index_holds() {
        let launch = RowReduce {
            rows: 1 << 12,
            columns: 1 << 20,
            ..SHAPE
        }
        .launch();
        assert!(matches!(
            launch,
            Err(ShapeError::TooLarge {
                name: "rows * columns",
                ..
            })
        ));
    }

    #[test]
    fn the_lowest_of_equal_indices_wins() {
        assert_eq!(first_largest(&[1.0, 3.0, 3.0]), 1);
        assert_eq!(first_largest(&[-0.0, 0.0]), 0);
        assert_eq!(first_largest(&[1.0, f32::NAN, f32::INFINITY]), 1);
        assert_eq!(first_largest(&[f32::NEG_INFINITY; 3]), 0);
    }

    #[test]
    fn parts_make_what_the_whole_makes() {
        for (columns, x) in [(5, FloatType::F32), (7, FloatType::F16)] {
            let shape = RowReduce {
                rows: 1001,
                columns,
                x,
                reduction: Reduction::Sum,
            };
            let launch = shape.launch().expect("valid");
            let values = x.pack(&DataKind::Integers.values(3, 1001 * columns as usize));
            assert!(check_parts(launch.as_ref(), &[(X, values)], 4096, 256) > 2);
        }
    }
}
