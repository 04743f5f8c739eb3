//! Gradients through softmax or log-softmax over rows, from what the function gave: `dx = y (dy - sum of y
//! dy)`, and for y a logarithm `dx = dy - e^y (sum of dy)`.

mod cases;

use std::sync::Arc;

use crate::record::{Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, params};
use crate::shader::{Capabilities, Variant};

use super::rows::{RowExtents, check_pairs, parts, read, slot_bytes, write};
use super::running::{Computed, Running, bounds, outputs};
use super::shape::ShapeError;
use super::softmax::Distribution;
use super::{FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "softmax_backward";
const Y: u32 = 1;
const DY: u32 = 2;
const OUT: u32 = 8;

params! {
    struct Params {
        rows: u32,
        columns: u32,
    }
}

/// Shape, function and types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoftmaxBackward {
    /// Rows, each a distribution of its own.
    pub rows: u32,
    /// Elements of a row.
    pub columns: u32,
    /// What y is.
    pub distribution: Distribution,
    /// Storage of y.
    pub y: FloatType,
    /// Storage of dy, the gradient of y.
    pub dy: FloatType,
    /// Storage of the result.
    pub out: FloatType,
}

impl SoftmaxBackward {
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
        let y = self.y.unpack(operands.words(Y), rows * columns);
        let dy = self.dy.unpack(operands.words(DY), rows * columns);
        let mut results = Vec::with_capacity(y.len());
        for (y, dy) in y.chunks(columns).zip(dy.chunks(columns)) {
            let both = || {
                let pair = y.iter().zip(dy);
                pair.map(|(&y, &dy)| (Running::loaded(y), Running::loaded(dy)))
            };
            match self.distribution {
                Distribution::Softmax => {
                    let sum = Running::sum(both().map(|(y, dy)| y * dy));
                    results.extend(both().map(|(y, dy)| y * (dy - sum)));
                }
                Distribution::LogSoftmax => {
                    let sum = Running::sum(both().map(|(_, dy)| dy));
                    results.extend(both().map(|(y, dy)| dy - y.exp() * sum));
                }
            }
        }
        vec![(OUT, self.out, results)]
    }
}

impl Launch for SoftmaxBackward {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self {
            rows,
            columns,
            distribution,
            y,
            dy,
            out,
        } = self;
        let name = distribution.name();
        format!("{name} rows={rows} columns={columns} y-{y} dy-{dy} out-{out}")
    }

    fn slots(&self) -> Vec<Slot> {
        let elements = u64::from(self.rows) * u64::from(self.columns);
        vec![
            read(Y, "x", elements * self.y.bytes()),
            read(DY, "b_values", elements * self.dy.bytes()),
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
            .slot("distribution_slope", self.distribution.name())
            .slot("element", self.y.name())
            .slot("second", self.dy.name())
            .slot("store", self.out.name());
        self.extents().variants(&variant, capabilities)
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        self.extents().workgroups(variant)
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        self.extents().iterations(variant, 2, 1)
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        outputs(self.computed(operands))
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        bounds(self.computed(operands))
    }

    fn cost(&self) -> Cost {
        Cost {
            operations: 4.0 * f64::from(self.rows) * f64::from(self.columns),
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
    let y = asked.float().unwrap_or(FloatType::F32);
    let shape = SoftmaxBackward {
        rows,
        columns,
        distribution: distribution.unwrap_or(Distribution::Softmax),
        y,
        dy: y,
        out: y,
    };
    Ok(shape.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "gradients through softmax and log-softmax of rows",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_odd_rows_of_16_bit_results() {
        let odd = SoftmaxBackward {
            rows: 2,
            columns: 7,
            distribution: Distribution::Softmax,
            y: FloatType::F16,
            dy: FloatType::F16,
            out: FloatType::Bf16,
        };
        assert!(matches!(
            odd.launch(),
            Err(ShapeError::NotMultiple {
                name: "columns",
                value: 7,
                ..
            })
        ));
    }
}
