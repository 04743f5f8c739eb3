//! The gradient through an activation: `dx[i] = dy[i] f'(x[i])`, from the same x the function was given.
//!
//! Computed in f32 from f32, f16 or bf16 and rounded once to the output's type. Slopes are written through
//! exponentials of values that are never positive, so that nothing overflows and nothing cancels; tanh in
//! particular as `4 e^-2|x| / (1 + e^-2|x|)^2`, which is accurate relative to itself where `1 - tanh^2` is
//! not.

mod cases;
mod curve;

use std::sync::Arc;

use crate::record::{Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, params};
use crate::shader::{Capabilities, Variant};

use super::rows::{parts, read, slot_bytes, write};
use super::running::{Computed, Running, bounds, outputs};
use super::shape::{ShapeError, check_extents};
use super::{FloatType, Kernel, Workload, WorkloadError};

pub use curve::Curve;

const NAME: &str = "activation_backward";
const X: u32 = 1;
const DY: u32 = 2;
const OUT: u32 = 8;

params! {
    struct Params {
        count: u32,
        alpha: f32,
    }
}

/// Extent, function and types.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ActivationBackward {
    /// Elements.
    pub count: u32,
    /// The function whose slope is taken.
    pub curve: Curve,
    /// Storage of x, what the function was given.
    pub x: FloatType,
    /// Storage of dy, the gradient of what it gave.
    pub dy: FloatType,
    /// Storage of the result.
    pub out: FloatType,
}

impl ActivationBackward {
    /// Checks the extent and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for no elements and a setting that is not finite.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        check_extents(NAME, &[("count", self.count.into())])?;
        match self.curve.setting() {
            Some(value) if !value.is_finite() => Err(ShapeError::Unsupported {
                kernel: NAME,
                name: "setting",
                value: value.to_string(),
                allowed: "finite numbers",
            }),
            Some(_) | None => Ok(Arc::new(self)),
        }
    }

    fn computed(&self, operands: &HostOperands<'_>) -> Vec<Computed> {
        let count = self.count as usize;
        let x = self.x.unpack(operands.words(X), count);
        let dy = self.dy.unpack(operands.words(DY), count);
        let gradient = |(&x, &dy)| Running::loaded(dy) * self.curve.slope(x);
        vec![(OUT, self.out, x.iter().zip(&dy).map(gradient).collect())]
    }
}

impl Launch for ActivationBackward {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self {
            count,
            curve,
            x,
            dy,
            out,
        } = self;
        let setting = curve.setting();
        let setting = setting.map_or_else(String::new, |value| format!(" setting={value}"));
        format!(
            "{} count={count}{setting} x-{x} dy-{dy} out-{out}",
            curve.name()
        )
    }

    fn slots(&self) -> Vec<Slot> {
        let count = u64::from(self.count);
        vec![
            read(X, "x", count * self.x.bytes()),
            read(DY, "b_values", count * self.dy.bytes()),
            write(OUT, "out", count * self.out.bytes()),
        ]
    }

    fn params(&self) -> Vec<u8> {
        bytemuck::bytes_of(&Params {
            count: self.count,
            alpha: self.curve.setting().unwrap_or(0.0),
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, _: &Capabilities) -> Vec<Variant> {
        let variant = Variant::new(NAME)
            .slot("slope", self.curve.name())
            .slot("element", self.x.name());
        let variant = variant.slot("second", self.dy.name());
        vec![
            variant
                .slot("pair", self.out.name())
                .number("WORKGROUP_SIZE", 64),
        ]
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        u64::from(self.count).div_ceil(2 * u64::from(variant.get("WORKGROUP_SIZE")))
    }

    fn iterations(&self, _: &Variant) -> Iterations {
        // No loop depends on the shape.
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
            operations: 2.0 * f64::from(self.count),
            bytes: slot_bytes(&self.slots()),
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        parts(
            self.count,
            &self.slots(),
            &[],
            (max_bytes, alignment),
            |run| {
                let count = run.end - run.start;
                Arc::new(Self { count, ..*self })
            },
        )
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [count] = asked.extents("COUNT")?;
    let curve = asked.choose(&Curve::ALL.map(|one| (one.name(), one)));
    let x = asked.float().unwrap_or(FloatType::F32);
    let launch = ActivationBackward {
        count,
        curve: curve.unwrap_or(Curve::Silu),
        x,
        dy: x,
        out: x,
    };
    Ok(launch.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "gradients through activation functions",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ActivationBackward = ActivationBackward {
        count: 3,
        curve: Curve::Relu,
        x: FloatType::F32,
        dy: FloatType::F32,
        out: FloatType::F32,
    };

    #[test]
    fn rejects_no_elements_and_settings_that_are_not_finite() {
        let empty = ActivationBackward { count: 0, ..SHAPE }.launch();
        assert!(matches!(empty, Err(ShapeError::Zero { name: "count", .. })));
        let alpha = f32::NAN;
        let curve = Curve::Elu { alpha };
        let unfinished = ActivationBackward { curve, ..SHAPE }.launch();
        assert!(matches!(unfinished, Err(ShapeError::Unsupported { .. })));
    }

    #[test]
    fn every_slope_has_its_shader() {
        let sources = crate::shader::Sources::embedded();
        for curve in Curve::ALL {
            let module = format!("slope/{}", curve.name());
            assert!(sources.get(&module).is_some(), "{module}");
        }
    }
}
