//! Fake quantization of x seen as runs of elements under one scale each, `[rows, columns]`:
//! `y = scale (clamp(round(x / scale) + zero) - zero)`, as [`crate::num::quant::fake`] defines it.
//!
//! Codes are exact: quotients are rounded as integers (`shaders/lib/steps`), so no tie falls the other way on
//! some driver. What is left is the product with the scale, one rounding, and that of the store.

mod cases;

use std::sync::Arc;

use crate::num::quant::CodeRange;
use crate::num::quant::fake::{fake_quantize, usable_scale};
use crate::record::{Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, params};
use crate::shader::{Capabilities, Variant};

use super::rows::{parts, read, slot_bytes, write};
use super::running::{Computed, Running, bounds, outputs};
use super::shape::{ShapeError, check_extents, check_index};
use super::{FloatType, Kernel, Workload, WorkloadError};

pub(super) use cases::{operands, shapes};

const NAME: &str = "fake_quantize";
pub(super) const X: u32 = 1;
pub(super) const SCALES: u32 = 3;
pub(super) const ZEROS: u32 = 4;
const OUT: u32 = 8;

params! {
    struct Params {
        rows: u32,
        columns: u32,
        scale_stride: u32,
        min_code: i32,
        max_code: i32,
        slope_factor: f32,
    }
}

/// What fake quantization and its gradient share: extents, scales, codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodedRuns {
    /// Runs of elements under one scale.
    pub rows: u32,
    /// Elements of a run.
    pub columns: u32,
    /// Whether all runs share one scale: then there is one, else one a run.
    pub is_shared: bool,
    /// Whether there are zero points, a signed byte beside each scale.
    pub has_zeros: bool,
    /// What codes are clamped to.
    pub range: CodeRange,
}

impl CodedRuns {
    pub(super) const fn elements(&self) -> u64 {
        self.rows as u64 * self.columns as u64
    }

    /// Number of scales.
    pub(super) fn scales(&self) -> u64 {
        if self.is_shared { 1 } else { self.rows.into() }
    }

    pub(super) fn check(&self, kernel: &'static str) -> Result<(), ShapeError> {
        let (rows, columns) = (self.rows.into(), self.columns.into());
        check_extents(kernel, &[("rows", rows), ("columns", columns)])?;
        check_index(kernel, "rows * columns", self.elements())
    }

    pub(super) fn describe(&self) -> String {
        let Self {
            rows,
            columns,
            is_shared,
            has_zeros,
            range,
        } = self;
        let (min, max) = (range.min(), range.max());
        let scales = if *is_shared {
            "one-scale"
        } else {
            "scale-a-row"
        };
        let zeros = if *has_zeros { " zeros" } else { "" };
        format!("rows={rows} columns={columns} codes={min}..={max} {scales}{zeros}")
    }

    /// Slots of scales and zero points.
    pub(super) fn scale_slots(&self) -> Vec<Slot> {
        let mut slots = vec![read(SCALES, "scales", 4 * self.scales())];
        if self.has_zeros {
            slots.push(read(ZEROS, "zeros", self.scales()));
        }
        slots
    }

    /// Bindings that are not cut by rows.
    pub(super) const fn whole(&self) -> &'static [u32] {
        if self.is_shared {
            &[SCALES, ZEROS]
        } else {
            &[]
        }
    }

    pub(super) const fn zero_module(&self) -> &'static str {
        if self.has_zeros { "stored" } else { "none" }
    }

    pub(super) fn params(&self, slope_factor: f32) -> Vec<u8> {
        bytemuck::bytes_of(&Params {
            rows: self.rows,
            columns: self.columns,
            scale_stride: u32::from(!self.is_shared),
            min_code: self.range.min(),
            max_code: self.range.max(),
            slope_factor,
        })
        .to_vec()
    }

    pub(super) const fn param_fields() -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    /// Scale and zero point of a run.
    pub(super) fn scale(&self, operands: &HostOperands<'_>, row: usize) -> (f32, i32) {
        let at = if self.is_shared { 0 } else { row };
        let zero = if self.has_zeros {
            let word = operands.words(ZEROS)[at / 4];
            i32::from((word >> (8 * (at % 4))) as u8 as i8)
        } else {
            0
        };
        (operands.f32(SCALES)[at], zero)
    }

    pub(super) fn part(self, rows: std::ops::Range<u32>) -> Self {
        let rows = rows.end - rows.start;
        Self { rows, ..self }
    }
}

/// Shape and types. Operands by binding: x 1, scales f32 3, zero points 4 (four signed bytes a word), result 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FakeQuantize {
    /// Extents, scales, codes.
    pub runs: CodedRuns,
    /// Storage of x.
    pub x: FloatType,
    /// Storage of the result.
    pub out: FloatType,
}

impl FakeQuantize {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents and more elements than 32 bits index.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        self.runs.check(NAME)?;
        Ok(Arc::new(self))
    }

    fn computed(&self, operands: &HostOperands<'_>) -> Vec<Computed> {
        let runs = self.runs;
        let x = self.x.unpack(operands.words(X), runs.elements() as usize);
        let mut results = Vec::with_capacity(x.len());
        for (row, x) in x.chunks(runs.columns as usize).enumerate() {
            let (scale, zero) = runs.scale(operands, row);
            let step = Running::exact(usable_scale(scale).into());
            results.extend(x.iter().map(|&x| {
                if x.is_nan() {
                    return Running::exact(f64::NAN);
                }
                let code = fake_quantize(x, scale, zero, runs.range).code;
                Running::exact((code - zero).into()) * step
            }));
        }
        vec![(OUT, self.out, results)]
    }
}

impl Launch for FakeQuantize {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self { runs, x, out } = self;
        format!("{} x-{x} out-{out}", runs.describe())
    }

    fn slots(&self) -> Vec<Slot> {
        let elements = self.runs.elements();
        let mut slots = vec![read(X, "x", elements * self.x.bytes())];
        slots.extend(self.runs.scale_slots());
        slots.push(write(OUT, "out", elements * self.out.bytes()));
        slots
    }

    fn params(&self) -> Vec<u8> {
        self.runs.params(0.0)
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        CodedRuns::param_fields()
    }

    fn variants(&self, _: &Capabilities) -> Vec<Variant> {
        let variant = Variant::new(NAME)
            .slot("element", self.x.name())
            .slot("zero", self.runs.zero_module())
            .slot("pair", self.out.name());
        vec![variant.number("WORKGROUP_SIZE", 64)]
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        let lanes = u64::from(variant.get("WORKGROUP_SIZE"));
        self.runs.elements().div_ceil(2 * lanes)
    }

    fn iterations(&self, _: &Variant) -> Iterations {
        // There is no loop.
        Iterations::default()
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        outputs(self.computed(operands))
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        bounds(self.computed(operands))
    }

    fn cost(&self) -> Cost {
        Cost {
            operations: 30.0 * self.runs.elements() as f64,
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

/// Runs that a command line asks for: extents, a width such as `int4`, `zeros`.
pub(super) fn asked_runs(asked: &mut Workload<'_>) -> Result<CodedRuns, WorkloadError> {
    let [rows, columns] = asked.extents("ROWSxCOLUMNS")?;
    let range = asked.take("int2 to int8", |word| {
        CodeRange::of_bits(word.strip_prefix("int")?.parse().ok()?).ok()
    });
    let is_shared = asked.choose(&[("one-scale", true)]).unwrap_or(false);
    let has_zeros = asked.choose(&[("zeros", true)]).unwrap_or(false);
    Ok(CodedRuns {
        rows,
        columns,
        is_shared,
        has_zeros,
        range: range.unwrap_or(CodeRange::stored_as(crate::num::Bits::Int8)),
    })
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let runs = asked_runs(asked)?;
    let x = asked.float().unwrap_or(FloatType::F32);
    let out = asked.float().unwrap_or(x);
    Ok(FakeQuantize { runs, x, out }.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "x to the nearest value of a quantized tensor, 2 to 8 bits, for training",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};
