//! Normalization of `x [items, channels, inner]`: `y = (x - mean) / sqrt(variance + epsilon) gamma + beta`
//! with statistics of what is normalized together (a row) and a factor and an addend for each channel. The
//! variance is the biased one, from centred values only. RMS normalization has neither mean nor addend:
//! `y = x / sqrt(mean of x^2 + epsilon) gamma` (Zhang and Sennrich 2019).
//!
//! The mean and `1 / deviation` of each row are kept for the gradient. With running statistics, those of a
//! channel move by `momentum` towards the mean and the *unbiased* variance of the batch, as PyTorch does.

mod cases;
mod fast;
mod scope;

use std::sync::Arc;

use crate::record::{
    Access, Bound, Cost, HostOperands, HostResults, Iterations, Launch, Output, Part, Slot,
};
use crate::shader::{Capabilities, Variant};

use super::rows::{RowExtents, parts, read, slot_bytes, write};
use super::running::{Computed, Running, bounds, outputs};
use super::shape::ShapeError;
use super::{FloatType, Kernel, Workload, WorkloadError};

pub(super) use cases::shapes;
pub(super) use scope::check_settings;
pub use scope::{NormShape, Scope};

const NAME: &str = "norm";
const X: u32 = 1;
const GAMMA: u32 = 2;
const BETA: u32 = 3;
const RUNNING: u32 = 6;
const STATISTICS: u32 = 7;
const OUT: u32 = 8;

/// Around what values are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Center {
    /// The mean, with an addend for each channel afterwards.
    Mean,
    /// Zero, without addend.
    Zero,
}

impl Center {
    /// Module of the slots that depend on it.
    pub(super) const fn module(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Zero => "zero",
        }
    }
}

/// Shape, kind and types. Operands by binding: x 1, gamma f32 `[channels]` 2, beta 3 (where there is a mean),
/// running statistics f32 `[channels, 2]` (mean, variance) 6, statistics f32 `[rows, 2]` (mean, 1 / deviation)
/// 7, result 8.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norm {
    /// Extents, and what is normalized together.
    pub shape: NormShape,
    /// Around what values are measured.
    pub center: Center,
    /// Added to the variance; PyTorch's is 1e-5.
    pub epsilon: f32,
    /// Share of this batch in the running statistics of channels, where there are any; PyTorch's is 0.1.
    pub momentum: Option<f32>,
    /// Storage of x.
    pub x: FloatType,
    /// Storage of the result.
    pub out: FloatType,
}

impl Norm {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, rows of more than 2^22 elements, more elements than 32 bits index,
    /// channels that are no multiple of the groups, 16-bit results whose rows would share words, settings out
    /// of range, and running statistics of anything but the mean and variance of more than one element of a
    /// channel.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        self.shape.check(NAME, self.out)?;
        check_settings(NAME, self.epsilon, self.momentum.unwrap_or(0.0))?;
        let runs = self.momentum.is_some();
        let batch = self.shape.scope == Scope::Channel && self.center == Center::Mean;
        if runs && (!batch || self.shape.extents().columns < 2) {
            return Err(ShapeError::Unsupported {
                kernel: NAME,
                name: "running statistics",
                value: self.describe(),
                allowed: "mean and variance per channel, of two or more elements: larger batches, or fewer micro-batches",
            });
        }
        Ok(Arc::new(self))
    }

    fn computed(&self, operands: &HostOperands<'_>) -> Vec<Computed> {
        let RowExtents { rows, columns } = self.shape.extents();
        let (rows, columns) = (rows as usize, columns as usize);
        let x = self
            .x
            .unpack(operands.words(X), self.shape.elements() as usize);
        let mut results = vec![Running::exact(0.0); x.len()];
        let (mut statistics, mut running) = (Vec::new(), Vec::new());
        let count = Running::exact(columns as f64);
        for row in 0..rows {
            let places = || (0..columns).map(|column| self.shape.place(row, column));
            let values: Vec<Running> = places().map(|(at, _)| Running::loaded(x[at])).collect();
            let mean = match self.center {
                Center::Mean => Running::sum(values.iter().copied()) / count,
                Center::Zero => Running::exact(0.0),
            };
            // A mean that is off by e adds columns * e^2 to the squares, but nothing in first order:
            // the errors of its differences cancel. Taken at the exact mean, then.
            let around = Running::exact(mean.value);
            let away = |&value: &Running| value - around;
            let mut squares = Running::sum(values.iter().map(|one| away(one) * away(one)));
            squares.error += columns as f64 * mean.error * (mean.error + 4.0 * self.slack(&values));
            let variance = squares / count;
            let scale = (variance + Running::loaded(self.epsilon)).inverse_sqrt();
            for (value, (at, channel)) in values.iter().zip(places()) {
                let gamma = Running::loaded(operands.f32(GAMMA)[channel]);
                let scaled = (*value - mean) * scale * gamma;
                results[at] = match self.center {
                    Center::Mean => scaled + Running::loaded(operands.f32(BETA)[channel]),
                    Center::Zero => scaled,
                };
            }
            statistics.extend([mean, scale]);
            if let Some(momentum) = self.momentum {
                let before = &operands.f32(RUNNING)[2 * row..2 * row + 2];
                let momentum = Running::loaded(momentum);
                let unbiased = squares / Running::exact(columns as f64 - 1.0);
                for (&before, now) in before.iter().zip([mean, unbiased]) {
                    let kept = (Running::exact(1.0) - momentum) * Running::loaded(before);
                    running.push(kept + momentum * now);
                }
            }
        }
        let mut computed = vec![
            (STATISTICS, FloatType::F32, statistics),
            (OUT, self.out, results),
        ];
        if self.momentum.is_some() {
            computed.insert(0, (RUNNING, FloatType::F32, running));
        }
        computed
    }

    /// What rounding each difference from the mean may add to their sum, per element.
    fn slack(&self, values: &[Running]) -> f64 {
        let largest = values.iter().map(|one| one.value.abs());
        2.0 * super::bounds::U * largest.fold(0.0, f64::max)
    }
}

impl Launch for Norm {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self {
            shape,
            center,
            epsilon,
            momentum,
            x,
            out,
        } = self;
        let shape = shape.describe();
        let center = center.module();
        let momentum = momentum.map_or_else(String::new, |value| format!(" momentum={value}"));
        format!("{shape} around-{center} epsilon={epsilon}{momentum} x-{x} out-{out}")
    }

    fn slots(&self) -> Vec<Slot> {
        let (elements, channels) = (self.shape.elements(), u64::from(self.shape.channels));
        let mut slots = vec![
            read(X, "x", elements * self.x.bytes()),
            read(GAMMA, "gamma", 4 * channels),
        ];
        if self.center == Center::Mean {
            slots.push(read(BETA, "beta", 4 * channels));
        }
        if self.momentum.is_some() {
            slots.push(Slot {
                binding: RUNNING,
                name: "running",
                access: Access::ReadWrite,
                bytes: 8 * channels,
            });
        }
        slots.push(write(
            STATISTICS,
            "statistics",
            8 * self.shape.extents().rows,
        ));
        slots.push(write(OUT, "out", elements * self.out.bytes()));
        slots
    }

    fn params(&self) -> Vec<u8> {
        self.shape
            .params(self.epsilon, self.momentum.unwrap_or(0.0))
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        NormShape::param_fields()
    }

    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let running = if self.momentum.is_some() {
            "update"
        } else {
            "none"
        };
        let variant = Variant::new(NAME)
            .slot("place", self.shape.module())
            .slot("center", self.center.module())
            .slot("running", running)
            .slot("element", self.x.name())
            .slot("store", self.out.name());
        self.shape.extents().variants(&variant, capabilities)
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        self.shape.extents().workgroups(variant)
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        self.shape.extents().iterations(variant, 3, 2)
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        outputs(self.computed(operands))
    }

    fn fast(&self, operands: &HostOperands<'_>, results: &mut HostResults<'_>) -> bool {
        if self.shape.scope != Scope::Groups(1) || self.shape.inner != 1 {
            return false;
        }
        self.compute_rows(operands, results);
        true
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        bounds(self.computed(operands))
    }

    fn cost(&self) -> Cost {
        Cost {
            operations: 8.0 * self.shape.elements() as f64,
            bytes: slot_bytes(&self.slots()),
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        // Channels of a batch cannot be cut: a row takes from every item.
        let Scope::Groups(_) = self.shape.scope else {
            return None;
        };
        let limits = (max_bytes, alignment);
        parts(
            self.shape.items,
            &self.slots(),
            &[GAMMA, BETA],
            limits,
            |run| {
                let shape = NormShape {
                    items: run.end - run.start,
                    ..self.shape
                };
                Arc::new(Self { shape, ..*self })
            },
        )
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [items, channels] = asked.extents("ROWSxCOLUMNS")?;
    let center = asked.choose(&[("layer", Center::Mean), ("rms", Center::Zero)]);
    let x = asked.float().unwrap_or(FloatType::F32);
    let norm = Norm {
        shape: NormShape::rows(items, channels),
        center: center.unwrap_or(Center::Mean),
        epsilon: 1e-5,
        momentum: None,
        x,
        out: x,
    };
    Ok(norm.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "layer, RMS, group and batch normalization, with statistics for the gradient",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    const NORM: Norm = Norm {
        shape: NormShape::rows(2, 6),
        center: Center::Mean,
        epsilon: 1e-5,
        momentum: None,
        x: FloatType::F32,
        out: FloatType::F32,
    };

    #[test]
    fn rejects_groups_that_do_not_divide_and_settings_out_of_range() {
        let scope = Scope::Groups(4);
        let shape = NormShape {
            scope,
            ..NORM.shape
        };
        let uneven = Norm { shape, ..NORM }.launch();
        assert!(matches!(
            uneven,
            Err(ShapeError::NotMultiple { value: 6, .. })
        ));
        for epsilon in [0.0, -1.0, f32::NAN, 1e-40] {
            let launch = Norm { epsilon, ..NORM }.launch();
            assert!(matches!(
                launch,
                Err(ShapeError::Unsupported {
                    name: "epsilon",
                    ..
                })
            ));
        }
    }

    #[test]
    fn running_statistics_are_those_of_channels_of_more_than_one_element() {
        let momentum = Some(0.1);
        let layer = Norm { momentum, ..NORM }.launch();
        assert!(matches!(layer, Err(ShapeError::Unsupported { .. })));
        let single = NormShape {
            items: 1,
            scope: Scope::Channel,
            ..NORM.shape
        };
        let batch = Norm {
            momentum,
            shape: single,
            ..NORM
        };
        let refused = batch.launch().expect_err("one element").to_string();
        assert!(
            refused.ends_with("larger batches, or fewer micro-batches"),
            "{refused}"
        );
        let shape = NormShape { items: 2, ..single };
        assert!(Norm { shape, ..batch }.launch().is_ok());
    }
}
