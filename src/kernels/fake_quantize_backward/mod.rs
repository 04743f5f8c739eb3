//! Gradients through fake quantization, straight through where clamping changed nothing: `dx = dy` there and 0
//! elsewhere. A learned scale gets, from each run of elements, `factor sum dy d y / d scale`, where
//! `d y / d scale` is `round(x / scale) - x / scale` where clamping changed nothing, else the clamped code less
//! the zero point (Esser et al. 2020). Runs are summed in the fixed order of a lane or of a tree over lanes.
//!
//! The slope of an element comes from the remainder of the exact division: it is within four units of itself,
//! also where quotient and code nearly cancel.

mod cases;

use std::sync::Arc;

use crate::num::quant::fake::fake_quantize;
use crate::record::{Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot};
use crate::shader::{Capabilities, Variant};

use super::bounds::{TINY, U};
use super::fake_quantize::{CodedRuns, X, asked_runs};
use super::rows::{RowExtents, check_pairs, parts, read, slot_bytes, write};
use super::running::{Computed, Running, bounds, outputs};
use super::shape::ShapeError;
use super::{FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "fake_quantize_backward";
const DY: u32 = 2;
const SLOPES: u32 = 7;
const OUT: u32 = 8;

/// Shape and types. Operands by binding: x 1, dy 2, scales f32 3, zero points 4 (four signed bytes a word),
/// slopes f32 `[rows]` 7, dx 8.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FakeQuantizeBackward {
    /// Extents, scales, codes.
    pub runs: CodedRuns,
    /// What sums of a learned scale are multiplied by; `None` where the scale is not learned.
    pub slope_factor: Option<f32>,
    /// Storage of x.
    pub x: FloatType,
    /// Storage of dy.
    pub dy: FloatType,
    /// Storage of dx.
    pub out: FloatType,
}

impl FakeQuantizeBackward {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, runs of more than 2^22 elements, more elements than 32 bits index,
    /// 16-bit results of odd runs, and a factor that is not finite.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        self.extents().check(NAME)?;
        check_pairs(NAME, self.out, ("columns", self.runs.columns))?;
        match self.slope_factor {
            Some(factor) if !factor.is_finite() => Err(ShapeError::Unsupported {
                kernel: NAME,
                name: "slope factor",
                value: factor.to_string(),
                allowed: "finite numbers",
            }),
            Some(_) | None => Ok(Arc::new(self)),
        }
    }

    fn extents(&self) -> RowExtents {
        RowExtents {
            rows: self.runs.rows.into(),
            columns: self.runs.columns.into(),
        }
    }

    fn computed(&self, operands: &HostOperands<'_>) -> Vec<Computed> {
        let runs = self.runs;
        let (len, columns) = (runs.elements() as usize, runs.columns as usize);
        let x = self.x.unpack(operands.words(X), len);
        let dy = self.dy.unpack(operands.words(DY), len);
        let (mut gradients, mut slopes) = (Vec::with_capacity(len), Vec::new());
        for (row, (x, dy)) in x.chunks(columns).zip(dy.chunks(columns)).enumerate() {
            let (scale, zero) = runs.scale(operands, row);
            let mut terms = Vec::with_capacity(columns);
            for (&x, &dy) in x.iter().zip(dy) {
                let made = fake_quantize(x, scale, zero, runs.range);
                let arriving = Running::loaded(dy);
                // Outside the slope is an integer; inside, two conversions and a quotient, of an x that may
                // be flushed.
                let slope = if made.is_inside {
                    let size = made.scale_slope.abs();
                    let lost = if f64::from(x).abs() < TINY { size } else { 0.0 };
                    Running::within(made.scale_slope, 5.0 * U * size + lost + TINY)
                } else {
                    Running::exact(made.scale_slope)
                };
                terms.push(arriving * slope);
                gradients.push(if made.is_inside {
                    arriving
                } else {
                    Running::exact(0.0)
                });
            }
            if let Some(factor) = self.slope_factor {
                slopes.push(Running::loaded(factor) * Running::sum(terms));
            }
        }
        let mut computed = vec![(OUT, self.out, gradients)];
        if self.slope_factor.is_some() {
            computed.insert(0, (SLOPES, FloatType::F32, slopes));
        }
        computed
    }
}

impl Launch for FakeQuantizeBackward {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self {
            runs,
            slope_factor,
            x,
            dy,
            out,
        } = self;
        let learned = slope_factor.map_or_else(String::new, |factor| format!(" learned={factor}"));
        format!("{}{learned} x-{x} dy-{dy} out-{out}", runs.describe())
    }

    fn slots(&self) -> Vec<Slot> {
        let elements = self.runs.elements();
        let mut slots = vec![
            read(X, "x", elements * self.x.bytes()),
            read(DY, "b_values", elements * self.dy.bytes()),
        ];
        slots.extend(self.runs.scale_slots());
        if self.slope_factor.is_some() {
            slots.push(write(SLOPES, "slopes", 4 * u64::from(self.runs.rows)));
        }
        slots.push(write(OUT, "out", elements * self.out.bytes()));
        slots
    }

    fn params(&self) -> Vec<u8> {
        self.runs.params(self.slope_factor.unwrap_or(0.0))
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        CodedRuns::param_fields()
    }

    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let slope = if self.slope_factor.is_some() {
            "learned"
        } else {
            "none"
        };
        let variant = Variant::new(NAME)
            .slot("scale_slope", slope)
            .slot("element", self.x.name())
            .slot("second", self.dy.name())
            .slot("zero", self.runs.zero_module())
            .slot("store", self.out.name());
        self.extents().variants(&variant, capabilities)
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        self.extents().workgroups(variant)
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        self.extents().iterations(variant, 1, 1)
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        outputs(self.computed(operands))
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        bounds(self.computed(operands))
    }

    fn cost(&self) -> Cost {
        Cost {
            operations: 35.0 * self.runs.elements() as f64,
            bytes: slot_bytes(&self.slots()),
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let (rows, whole) = (self.runs.rows, self.runs.whole());
        let limits = (max_bytes, alignment);
        parts(rows, &self.slots(), whole, limits, |run| {
            let runs = self.runs.part(run);
            Arc::new(Self { runs, ..*self })
        })
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let runs = asked_runs(asked)?;
    let learned = asked.choose(&[("learned", 0.125)]);
    let x = asked.float().unwrap_or(FloatType::F32);
    let shape = FakeQuantizeBackward {
        runs,
        slope_factor: learned,
        x,
        dy: x,
        out: x,
    };
    Ok(shape.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "gradients through fake quantization, of x straight through and of a learned scale",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};
