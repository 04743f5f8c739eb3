//! The scale of each row of x `[rows, columns]` from its largest magnitude, by the rule of a scheme: what
//! quantizing the row would store, bit for bit, so that a training step makes the scales of its own weights.
//!
//! The quotient is taken of integers and rounded once, to f32 or to f16 (`shaders/quant_scales.wgsl`), so there
//! is no tolerance.

mod cases;

use std::sync::Arc;

use crate::num::quant::fake::{abs_max_floor, abs_max_scale};
use crate::num::quant::{CodeRange, ScaleRule, ScaleType};
use crate::record::{
    Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, Values, params,
};
use crate::shader::{Capabilities, Variant};

use super::rows::{RowExtents, parts, read, slot_bytes, write};
use super::shape::{ShapeError, check_extents, check_index};
use super::{FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "quant_scales";
const X: u32 = 1;
const OUT: u32 = 8;

/// Longest row: 65,535 turns of a workgroup of 256, which is where some drivers stop loops.
const MAX_COLUMNS: u64 = 65_535 * 256;

params! {
    struct Params {
        rows: u32,
        columns: u32,
        divisor: u32,
        shift: u32,
        doubled: u32,
        floor_bits: u32,
        ceiling_bits: u32,
    }
}

/// Shape, rule and types. Operands by binding: x 1, scales f32 `[rows]` 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuantScales {
    /// Rows, each with a scale.
    pub rows: u32,
    /// Elements of a row.
    pub columns: u32,
    /// Storage of x.
    pub x: FloatType,
    /// Codes there are.
    pub range: CodeRange,
    /// How a scale follows from the largest magnitude; not [`ScaleRule::MinMax`].
    pub rule: ScaleRule,
    /// Type that scales are rounded to; they are stored as f32.
    pub scale_type: ScaleType,
}

impl QuantScales {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, rows of more than 16,776,960 elements, more elements than 32 bits
    /// index, and the rule of both ends.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let RowExtents { rows, columns } = self.extents();
        check_extents(NAME, &[("rows", rows), ("columns", columns)])?;
        check_index(NAME, "rows * columns", rows * columns)?;
        if columns > MAX_COLUMNS {
            return Err(ShapeError::TooLarge {
                kernel: NAME,
                name: "columns",
                value: columns,
                limit: MAX_COLUMNS,
                reason: "loops of one workgroup",
            });
        }
        if self.range.twice_divisor(self.rule).is_none() {
            return Err(ShapeError::Unsupported {
                kernel: NAME,
                name: "scale rule",
                value: format!("{:?}", self.rule),
                allowed: "rules of the largest magnitude",
            });
        }
        Ok(Arc::new(self))
    }

    fn extents(&self) -> RowExtents {
        RowExtents {
            rows: self.rows.into(),
            columns: self.columns.into(),
        }
    }
}

impl Launch for QuantScales {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self {
            rows,
            columns,
            x,
            range,
            rule,
            scale_type,
        } = self;
        let (min, max) = (range.min(), range.max());
        let scale = format!("scale-f{}", scale_type.bits());
        format!("rows={rows} columns={columns} codes={min}..={max} {rule:?} {scale} x-{x}")
    }

    fn slots(&self) -> Vec<Slot> {
        let RowExtents { rows, columns } = self.extents();
        vec![
            read(X, "x", rows * columns * self.x.bytes()),
            write(OUT, "scales", 4 * rows),
        ]
    }

    fn params(&self) -> Vec<u8> {
        let twice = self.range.twice_divisor(self.rule).unwrap_or(2);
        let doubled = twice.unsigned_abs() % 2;
        let divisor = twice.unsigned_abs() / (2 - doubled);
        let floor = abs_max_floor(self.rule, self.scale_type) as f32;
        let ceiling: f32 = match self.scale_type {
            ScaleType::F32 => f32::MAX,
            ScaleType::F16 => 65504.0,
        };
        bytemuck::bytes_of(&Params {
            rows: self.rows,
            columns: self.columns,
            divisor,
            shift: divisor.ilog2() + 1,
            doubled,
            floor_bits: floor.to_bits(),
            ceiling_bits: ceiling.to_bits(),
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let sign = match self.rule {
            ScaleRule::SignedAbsMax => "of_largest",
            ScaleRule::RestrictedAbsMax | ScaleRule::FullRangeAbsMax | ScaleRule::MinMax => {
                "positive"
            }
        };
        let dropped = match self.scale_type {
            ScaleType::F32 => 0,
            ScaleType::F16 => 13,
        };
        let variant = Variant::new(NAME)
            .slot("scale_sign", sign)
            .slot("element", self.x.name())
            .number("DROPPED_BITS", dropped);
        self.extents().variants(&variant, capabilities)
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        self.extents().workgroups(variant)
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        self.extents().iterations(variant, 2, 2)
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let len = self.rows as usize * self.columns as usize;
        let x = self.x.unpack(operands.words(X), len);
        let largest = |found: f32, &one: &f32| if one.abs() > found.abs() { one } else { found };
        let scale = |row: &[f32]| {
            let extreme = row.iter().fold(0.0, largest);
            let scale = abs_max_scale(extreme, self.range, self.rule, self.scale_type);
            scale.unwrap_or(f32::NAN).into()
        };
        let scales = x.chunks(self.columns as usize).map(scale).collect();
        vec![Output::new(OUT, Values::F32(scales))]
    }

    fn bound(&self, _: &HostOperands<'_>) -> Vec<Bound> {
        vec![Bound::Exact]
    }

    fn cost(&self) -> Cost {
        Cost {
            operations: 2.0 * f64::from(self.rows) * f64::from(self.columns),
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
    let [rows, columns] = asked.extents("ROWSxCOLUMNS")?;
    let range = asked.take("int2 to int8", |word| {
        CodeRange::of_bits(word.strip_prefix("int")?.parse().ok()?).ok()
    });
    let rule = asked.choose(&[
        ("restricted", ScaleRule::RestrictedAbsMax),
        ("full-range", ScaleRule::FullRangeAbsMax),
        ("signed", ScaleRule::SignedAbsMax),
    ]);
    let shape = QuantScales {
        rows,
        columns,
        x: asked.float().unwrap_or(FloatType::F32),
        range: range.unwrap_or(CodeRange::stored_as(crate::num::Bits::Int8)),
        rule: rule.unwrap_or(ScaleRule::RestrictedAbsMax),
        scale_type: ScaleType::F32,
    };
    Ok(shape.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "scales of rows from their largest magnitudes, as quantizing them would store",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};
