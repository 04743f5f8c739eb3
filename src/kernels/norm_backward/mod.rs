//! Gradient of x through a normalization, from x, the gradient dy and the statistics that the kernel `norm`
//! kept: with `h = (x - mean) scale` and `g = dy gamma`, `dx = scale (g - mean of g - h (mean of g h))` over
//! each row; around zero the middle term is absent. Gradients of gamma and beta are sums of the kernel
//! `channel_sums`.

mod cases;

use std::sync::Arc;

use crate::record::{Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot};
use crate::shader::{Capabilities, Variant};

use super::norm::{Center, NormShape, Scope};
use super::rows::{RowExtents, parts, read, slot_bytes, write};
use super::running::{Computed, Running, bounds, outputs};
use super::shape::ShapeError;
use super::{FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "norm_backward";
const X: u32 = 1;
const DY: u32 = 2;
const GAMMA: u32 = 3;
const STATISTICS: u32 = 7;
const OUT: u32 = 8;

/// Shape, kind and types. Operands by binding: x 1, dy 2, gamma f32 `[channels]` 3, statistics f32 `[rows, 2]`
/// (mean, 1 / deviation) 7, result 8.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormBackward {
    /// Extents, and what is normalized together.
    pub shape: NormShape,
    /// Around what values are measured.
    pub center: Center,
    /// Storage of x.
    pub x: FloatType,
    /// Storage of dy.
    pub dy: FloatType,
    /// Storage of the result.
    pub out: FloatType,
}

impl NormBackward {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, rows of more than 2^22 elements, more elements than 32 bits index,
    /// channels that are no multiple of the groups, and 16-bit results whose rows would share words.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        self.shape.check(NAME, self.out)?;
        Ok(Arc::new(self))
    }

    fn computed(&self, operands: &HostOperands<'_>) -> Vec<Computed> {
        let RowExtents { rows, columns } = self.shape.extents();
        let (rows, columns) = (rows as usize, columns as usize);
        let len = self.shape.elements() as usize;
        let x = self.x.unpack(operands.words(X), len);
        let dy = self.dy.unpack(operands.words(DY), len);
        let statistics = operands.f32(STATISTICS);
        let count = Running::exact(columns as f64);
        let mut results = vec![Running::exact(0.0); len];
        for row in 0..rows {
            let [mean, scale] = [statistics[2 * row], statistics[2 * row + 1]].map(Running::loaded);
            let arrived = |column| {
                let (at, channel) = self.shape.place(row, column);
                let gamma = Running::loaded(operands.f32(GAMMA)[channel]);
                let normalized = (Running::loaded(x[at]) - mean) * scale;
                (at, normalized, Running::loaded(dy[at]) * gamma)
            };
            let arrived: Vec<_> = (0..columns).map(arrived).collect();
            let level = match self.center {
                Center::Mean => Running::sum(arrived.iter().map(|one| one.2)) / count,
                Center::Zero => Running::exact(0.0),
            };
            let slope = Running::sum(arrived.iter().map(|one| one.1 * one.2)) / count;
            for (at, normalized, gradient) in arrived {
                results[at] = scale * ((gradient - level) - normalized * slope);
            }
        }
        vec![(OUT, self.out, results)]
    }
}

impl Launch for NormBackward {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self {
            shape,
            center,
            x,
            dy,
            out,
        } = self;
        let (shape, center) = (shape.describe(), center.module());
        format!("{shape} around-{center} x-{x} dy-{dy} out-{out}")
    }

    fn slots(&self) -> Vec<Slot> {
        let elements = self.shape.elements();
        vec![
            read(X, "x", elements * self.x.bytes()),
            read(DY, "b_values", elements * self.dy.bytes()),
            read(GAMMA, "gamma", 4 * u64::from(self.shape.channels)),
            read(STATISTICS, "statistics", 8 * self.shape.extents().rows),
            write(OUT, "out", elements * self.out.bytes()),
        ]
    }

    fn params(&self) -> Vec<u8> {
        self.shape.params(0.0, 0.0)
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        NormShape::param_fields()
    }

    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let variant = Variant::new(NAME)
            .slot("place", self.shape.module())
            .slot("norm_term", self.center.module())
            .slot("element", self.x.name())
            .slot("second", self.dy.name())
            .slot("store", self.out.name());
        self.shape.extents().variants(&variant, capabilities)
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        self.shape.extents().workgroups(variant)
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        self.shape.extents().iterations(variant, 2, 2)
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        outputs(self.computed(operands))
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        bounds(self.computed(operands))
    }

    fn cost(&self) -> Cost {
        Cost {
            operations: 10.0 * self.shape.elements() as f64,
            bytes: slot_bytes(&self.slots()),
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        // Channels of a batch cannot be cut: a row takes from every item.
        let Scope::Groups(_) = self.shape.scope else {
            return None;
        };
        let limits = (max_bytes, alignment);
        parts(self.shape.items, &self.slots(), &[GAMMA], limits, |run| {
            let shape = NormShape {
                items: run.end - run.start,
                ..self.shape
            };
            Arc::new(Self { shape, ..*self })
        })
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [items, channels] = asked.extents("ROWSxCOLUMNS")?;
    let center = asked.choose(&[("layer", Center::Mean), ("rms", Center::Zero)]);
    let x = asked.float().unwrap_or(FloatType::F32);
    let norm = NormBackward {
        shape: NormShape::rows(items, channels),
        center: center.unwrap_or(Center::Mean),
        x,
        dy: x,
        out: x,
    };
    Ok(norm.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "gradients of x through layer, RMS, group and batch normalization",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_16_bit_results_whose_rows_share_words() {
        let odd = NormBackward {
            shape: NormShape::rows(2, 7),
            center: Center::Mean,
            x: FloatType::F16,
            dy: FloatType::F16,
            out: FloatType::F16,
        };
        assert!(matches!(
            odd.launch(),
            Err(ShapeError::NotMultiple { value: 7, .. })
        ));
    }
}
