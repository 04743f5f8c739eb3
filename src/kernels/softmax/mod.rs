//! Softmax over rows of `x [rows, columns]`: `y = e^(x - max) / sum of e^(x - max)`, or its logarithm
//! `x - max - log(sum)`.
//!
//! Subtracting the largest element first keeps every exponential at most 1, so rows of any size have finite
//! results. Differences below -100 count as -100, whose exponential is below the smallest normal f32: some
//! drivers make NaN of larger ones.

mod cases;

use std::sync::Arc;

use crate::record::{Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, params};
use crate::shader::{Capabilities, Variant};

use super::rows::{RowExtents, check_pairs, parts, read, slot_bytes, write};
use super::running::{Computed, Running, bounds, outputs};
use super::shape::ShapeError;
use super::{FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "softmax";
const X: u32 = 1;
const OUT: u32 = 8;

params! {
    struct Params {
        rows: u32,
        columns: u32,
    }
}

/// Shares, or their logarithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// Positive numbers whose sum is 1.
    Softmax,
    /// Their natural logarithms.
    LogSoftmax,
}

impl Distribution {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Softmax, Self::LogSoftmax];

    /// Name in slots and printed shapes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Softmax => "softmax",
            Self::LogSoftmax => "log_softmax",
        }
    }
}

/// Shape, function and types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Softmax {
    /// Rows, each a distribution of its own.
    pub rows: u32,
    /// Elements of a row.
    pub columns: u32,
    /// What is made of a row.
    pub distribution: Distribution,
    /// Storage of x.
    pub x: FloatType,
    /// Storage of the result.
    pub out: FloatType,
}

impl Softmax {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, rows of more than 2^22 elements, more elements than 32 bits index,
    /// and 16-bit results with an odd number of columns.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        self.extents().check(NAME)?;
        check_pairs(NAME, self.out, ("columns", self.columns))?;
        Ok(Arc::new(self))
    }

    fn extents(&self) -> RowExtents {
        RowExtents {
            rows: self.rows.into(),
            columns: self.columns.into(),
        }
    }

    fn computed(&self, operands: &HostOperands<'_>) -> Vec<Computed> {
        let (rows, columns) = (self.rows as usize, self.columns as usize);
        let x = self.x.unpack(operands.words(X), rows * columns);
        let results = x.chunks(columns).flat_map(|row| {
            let row: Vec<Running> = row.iter().copied().map(Running::loaded).collect();
            let row = RowShares::new(&row);
            match self.distribution {
                Distribution::Softmax => row.shares(),
                Distribution::LogSoftmax => row.logarithms(),
            }
        });
        vec![(OUT, self.out, results.collect())]
    }
}

/// What softmax makes of a row.
pub(super) struct RowShares {
    /// Each element less the largest.
    pub below: Vec<Running>,
    /// Sum of their exponentials.
    pub sum: Running,
}

impl RowShares {
    pub fn new(row: &[Running]) -> Self {
        let largest = row.iter().copied().reduce(Running::max);
        let largest = largest.unwrap_or(Running::exact(0.0));
        let below: Vec<Running> = row.iter().map(|&one| one - largest).collect();
        let sum = Running::sum(below.iter().map(|one| one.exp()));
        Self { below, sum }
    }

    pub fn shares(&self) -> Vec<Running> {
        self.below.iter().map(|one| one.exp() / self.sum).collect()
    }

    pub fn logarithms(&self) -> Vec<Running> {
        let log_sum = self.sum.ln();
        self.below.iter().map(|&one| one - log_sum).collect()
    }
}

impl Launch for Softmax {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self {
            rows,
            columns,
            distribution,
            x,
            out,
        } = self;
        let name = distribution.name();
        format!("{name} rows={rows} columns={columns} x-{x} out-{out}")
    }

    fn slots(&self) -> Vec<Slot> {
        let elements = u64::from(self.rows) * u64::from(self.columns);
        vec![
            read(X, "x", elements * self.x.bytes()),
            write(OUT, "out", elements * self.out.bytes()),
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
        let variant = Variant::new(NAME)
            .slot("distribution", self.distribution.name())
            .slot("element", self.x.name())
            .slot("store", self.out.name());
        self.extents().variants(&variant, capabilities)
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        self.extents().workgroups(variant)
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        self.extents().iterations(variant, 3, 2)
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        outputs(self.computed(operands))
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        bounds(self.computed(operands))
    }

    fn cost(&self) -> Cost {
        Cost {
            operations: 5.0 * f64::from(self.rows) * f64::from(self.columns),
            bytes: slot_bytes(&self.slots()),
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        parts(
            self.rows,
            &self.slots(),
            &[],
            (max_bytes, alignment),
            |run| {
                let rows = run.end - run.start;
                Arc::new(Self { rows, ..*self })
            },
        )
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [rows, columns] = asked.extents("ROWSxCOLUMNS")?;
    let distribution = asked.choose(&Distribution::ALL.map(|one| (one.name(), one)));
    let x = asked.float().unwrap_or(FloatType::F32);
    let shape = Softmax {
        rows,
        columns,
        distribution: distribution.unwrap_or(Distribution::Softmax),
        x,
        out: x,
    };
    Ok(shape.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "softmax and log-softmax of rows",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Softmax = Softmax {
        rows: 2,
        columns: 3,
        distribution: Distribution::Softmax,
        x: FloatType::F32,
        out: FloatType::F32,
    };

    #[test]
    fn rejects_empty_rows_and_odd_rows_of_16_bit_results() {
        let empty = Softmax {
            columns: 0,
            ..SHAPE
        };
        assert!(matches!(
            empty.launch(),
            Err(ShapeError::Zero {
                name: "columns",
                ..
            })
        ));
        let odd = Softmax {
            out: FloatType::F16,
            ..SHAPE
        };
        assert!(matches!(
            odd.launch(),
            Err(ShapeError::NotMultiple {
                name: "columns",
                value: 3,
                ..
            })
        ));
    }

    #[test]
    fn bounds_are_those_of_the_numerics_rule() {
        // |p error| <= p u (9 + 3 |x'| + 3 sum of p |x'| + n): running analysis must not be far above.
        let row: Vec<Running> = (0..50)
            .map(|index| Running::loaded((index % 7) as f32))
            .collect();
        let shares = RowShares::new(&row);
        let results = shares.shares();
        let mean: f64 = results
            .iter()
            .zip(&shares.below)
            .map(|(p, below)| p.value * below.value.abs())
            .sum();
        for (p, below) in results.iter().zip(&shares.below) {
            let rule = p.value
                * super::super::bounds::U
                * (9.0 + 3.0 * below.value.abs() + 3.0 * mean + 50.0);
            assert!(p.error < 1.2 * rule && p.error > 0.5 * rule, "{p:?} {rule}");
        }
    }
}
