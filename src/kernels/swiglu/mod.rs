//! Gated rows: `out = silu(gate) * value` with `silu(g) = g / (1 + e^-g)` (Shazeer, "GLU Variants Improve
//! Transformer", 2020). Gate and value may be halves of the rows of one product, bound twice.

mod cases;

use std::sync::Arc;

use crate::record::{
    Bound, Cost, HostOperands, HostResults, Iterations, Launch, Output, Part, Slot, params,
};
use crate::shader::{Capabilities, Variant};

use super::fast::{Stored, fill, fill_stored};
use super::functions::logistic;
use super::rows::{check_pairs, parts, read, slot_bytes, write};
use super::running::{Computed, Running, bounds, outputs};
use super::shape::{ShapeError, check_extents, check_index};
use super::{FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "swiglu";
const GATE: u32 = 1;
const VALUE: u32 = 2;
const OUT: u32 = 8;

params! {
    struct Params {
        rows: u32,
        columns: u32,
        pairs: u32,
        gate_offset: u32,
        gate_stride: u32,
        value_offset: u32,
        value_stride: u32,
    }
}

/// Where the rows of an operand lie, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowPlace {
    /// Of the first element.
    pub offset: u32,
    /// From one row to the next.
    pub stride: u32,
}

/// Shape and types. Operands by binding: gate 1, value 2, result `[rows, columns]` 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swiglu {
    /// Rows.
    pub rows: u32,
    /// Elements of a row of the result.
    pub columns: u32,
    /// Rows of the gate.
    pub gate_place: RowPlace,
    /// Rows of the value.
    pub value_place: RowPlace,
    /// Storage of the gate.
    pub gate: FloatType,
    /// Storage of the value.
    pub value: FloatType,
    /// Storage of the result.
    pub out: FloatType,
}

/// `g / (1 + e^-g)` in f32; `e^-|g|` never overflows.
pub(super) fn silu(gate: f32) -> f32 {
    let shrunk = (-gate.abs()).exp();
    let above = if gate < 0.0 { shrunk } else { 1.0 };
    gate * (above / (1.0 + shrunk))
}

impl RowPlace {
    const fn start(self, row: usize) -> usize {
        self.offset as usize + row * self.stride as usize
    }
}

impl Swiglu {
    /// Gate and value `[rows, columns]` each.
    pub const fn apart(rows: u32, columns: u32, storage: FloatType) -> Self {
        let place = RowPlace {
            offset: 0,
            stride: columns,
        };
        Self {
            rows,
            columns,
            gate_place: place,
            value_place: place,
            gate: storage,
            value: storage,
            out: storage,
        }
    }

    /// One operand `[rows, 2 columns]`, the gate first in each row, bound as both.
    pub const fn halves(rows: u32, columns: u32, storage: FloatType) -> Self {
        let stride = columns.saturating_mul(2);
        Self {
            gate_place: RowPlace { offset: 0, stride },
            value_place: RowPlace {
                offset: columns,
                stride,
            },
            ..Self::apart(rows, columns, storage)
        }
    }

    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, rows past the end of their stride, more elements than 32 bits index,
    /// and 16-bit results with an odd number of columns.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let (rows, columns) = (u64::from(self.rows), u64::from(self.columns));
        check_extents(NAME, &[("rows", rows), ("columns", columns)])?;
        for (name, place) in [("gate", self.gate_place), ("value", self.value_place)] {
            let within = u64::from(place.offset) + columns;
            if within > place.stride.into() {
                return Err(ShapeError::TooLarge {
                    kernel: NAME,
                    name,
                    value: within,
                    limit: place.stride.into(),
                    reason: "elements from one row to the next",
                });
            }
            check_index(NAME, name, rows * u64::from(place.stride))?;
        }
        // A pair past the end of an odd row counts as an element.
        check_index(NAME, "rows * columns", rows * (columns + 1))?;
        check_pairs(NAME, self.out, ("columns", self.columns))?;
        Ok(Arc::new(self))
    }

    fn computed(&self, operands: &HostOperands<'_>) -> Vec<Computed> {
        let rows = self.rows as usize;
        let unpack = |storage: FloatType, binding, place: RowPlace| {
            storage.unpack(operands.words(binding), rows * place.stride as usize)
        };
        let gate = unpack(self.gate, GATE, self.gate_place);
        let value = unpack(self.value, VALUE, self.value_place);
        let at = |place: RowPlace, row: usize, column: usize| place.start(row) + column;
        let mut results = Vec::with_capacity(rows * self.columns as usize);
        for row in 0..rows {
            for column in 0..self.columns as usize {
                let gate = Running::loaded(gate[at(self.gate_place, row, column)]);
                let value = Running::loaded(value[at(self.value_place, row, column)]);
                results.push(gate * logistic(gate) * value);
            }
        }
        vec![(OUT, self.out, results)]
    }
}

impl Launch for Swiglu {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self {
            rows,
            columns,
            gate_place,
            value_place,
            gate,
            value,
            out,
        } = self;
        let place = |at: &RowPlace| format!("{}-{}", at.offset, at.stride);
        let (from, with) = (place(gate_place), place(value_place));
        format!(
            "rows={rows} columns={columns} gate-{gate} at {from} value-{value} at {with} out-{out}"
        )
    }

    fn slots(&self) -> Vec<Slot> {
        let rows = u64::from(self.rows);
        let bytes = |stride: u32, storage: FloatType| rows * u64::from(stride) * storage.bytes();
        vec![
            read(GATE, "x", bytes(self.gate_place.stride, self.gate)),
            read(
                VALUE,
                "b_values",
                bytes(self.value_place.stride, self.value),
            ),
            write(OUT, "out", bytes(self.columns, self.out)),
        ]
    }

    fn params(&self) -> Vec<u8> {
        bytemuck::bytes_of(&Params {
            rows: self.rows,
            columns: self.columns,
            pairs: self.columns.div_ceil(2),
            gate_offset: self.gate_place.offset,
            gate_stride: self.gate_place.stride,
            value_offset: self.value_place.offset,
            value_stride: self.value_place.stride,
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, _: &Capabilities) -> Vec<Variant> {
        let variant = Variant::new(NAME)
            .slot("element", self.gate.name())
            .slot("second", self.value.name())
            .slot("store", self.out.name());
        vec![variant.number("WORKGROUP_SIZE", 64)]
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        let pairs = u64::from(self.rows) * u64::from(self.columns.div_ceil(2));
        pairs.div_ceil(variant.get("WORKGROUP_SIZE").into())
    }

    fn iterations(&self, _: &Variant) -> Iterations {
        // No loop depends on the shape.
        Iterations::default()
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        outputs(self.computed(operands))
    }

    fn fast(&self, operands: &HostOperands<'_>, results: &mut HostResults<'_>) -> bool {
        let columns = self.columns as usize;
        let gate = Stored::new(self.gate, operands.words(GATE));
        let value = Stored::new(self.value, operands.words(VALUE));
        let room = || (vec![0.0; columns], vec![0.0; columns]);
        let len = self.rows as usize * columns;
        fill_stored(results, OUT, (self.out, len), |values| {
            fill(values, (columns, 8 * columns), room, |(a, b), row, out| {
                let gates = gate.read(self.gate_place.start(row), a);
                let values = value.read(self.value_place.start(row), b);
                for (out, (&one, value)) in out.iter_mut().zip(gates.iter().zip(values)) {
                    *out = silu(one) * value;
                }
            });
        });
        true
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        bounds(self.computed(operands))
    }

    fn cost(&self) -> Cost {
        let elements = f64::from(self.rows) * f64::from(self.columns);
        let bytes = self.gate.bytes() + self.value.bytes() + self.out.bytes();
        Cost {
            operations: 6.0 * elements,
            bytes: (elements * bytes as f64).min(slot_bytes(&self.slots())),
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
    let [rows, columns] = asked.extents("ROWSxCOLUMNS")?;
    let storage = asked.float().unwrap_or(FloatType::F32);
    Ok(Swiglu::apart(rows, columns, storage).launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "rows gated by silu, from two operands or the halves of one",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_rows_past_their_stride_and_odd_rows_of_16_bit_results() {
        let swiglu = Swiglu::halves(2, 3, FloatType::F32);
        assert!(swiglu.launch().is_ok());
        let mut past = swiglu;
        past.value_place.offset = 4;
        assert!(matches!(
            past.launch(),
            Err(ShapeError::TooLarge { name: "value", .. })
        ));
        let odd = Swiglu::apart(2, 3, FloatType::F16);
        assert!(matches!(
            odd.launch(),
            Err(ShapeError::NotMultiple {
                name: "columns",
                ..
            })
        ));
    }
}
