//! What an optimizer step does with its gradients, decided where they are: the factor that undoes the
//! loss scale and clips the norm of all gradients together, and whether the step is skipped because one
//! of them is not finite. And what becomes of the scale: it grows after enough good steps and shrinks
//! on a bad one, as `torch.amp.GradScaler` does it.
//!
//! The state is eight words: the scale (f32), good steps since it last changed, steps skipped, steps
//! taken, and of the last step the norm of the unscaled gradients (f32), their largest magnitude (f32),
//! how many elements were not finite, and the clipping factor (f32). The result is the `control` of
//! [`super::optimizer`].
//!
//! With the sum S of all squares: `inverse = 1 / (scale * accumulated)`, exact for powers of two;
//! `norm = sqrt(S) * inverse`; `clip = min(1, max_norm / (norm + 1e-6))`, as `clip_grad_norm_` has it;
//! `factor = inverse * clip`. A scale never grows to infinity nor shrinks below the smallest normal f32.

mod cases;
mod decide;

use std::sync::Arc;

use crate::record::{
    Access, Bound, Cost, HostOperands, Iterations, Launch, Output, Slot, Values, params,
};
use crate::shader::{Capabilities, Variant};

use super::approx::Approx;
use super::grad_stats::CHUNK_WORDS;
use super::iterations::looped;
use super::optimizer::CONTROL_WORDS;
use super::shape::{ShapeError, check_extents};
use super::{DataKind, Kernel, Workload, WorkloadError};
use decide::decide;

const NAME: &str = "loss_scale";
const STATISTICS: u32 = 1;
const STATE: u32 = 2;
const OUT: u32 = 8;

/// Words of the state.
pub const SCALE_WORDS: u32 = 8;

/// Most chunks whose sum has a bound worth the name: 2^31 elements.
const MAX_CHUNKS: u32 = 1 << 22;

params! {
    struct Params {
        chunks: u32,
        scaling: u32,
        skip: u32,
        interval: u32,
        growth: f32,
        backoff: f32,
        largest_scale: f32,
        max_norm: f32,
        max_value: f32,
        accumulated: f32,
    }
}

/// How a dynamic loss scale changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DynamicScale {
    /// Factor after `interval` good steps, at least 1.
    pub growth: f32,
    /// Factor after a step whose gradients were not finite, over 0 and at most 1.
    pub backoff: f32,
    /// Good steps until the scale grows, at least 1.
    pub interval: u32,
}

impl Default for DynamicScale {
    /// As `torch.amp.GradScaler`; it begins at a scale of 65536.
    fn default() -> Self {
        Self {
            growth: 2.0,
            backoff: 0.5,
            interval: 2000,
        }
    }
}

/// What becomes of a step whose gradients are not all finite, when the scale is fixed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NotFinite {
    /// It is taken, and NaN spreads: PyTorch without a scaler.
    #[default]
    Apply,
    /// It is skipped, as with a dynamic scale.
    Skip,
}

/// Clipping and scaling of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossScale {
    /// Chunks of the statistics, those of all gradients together.
    pub chunks: u32,
    /// How the scale changes; `None` when it stays what it is.
    pub scaling: Option<DynamicScale>,
    /// What becomes of gradients that are not finite under a fixed scale.
    pub not_finite: NotFinite,
    /// Largest norm of all gradients together.
    pub max_norm: Option<f32>,
    /// Largest magnitude of an element, after the norm was clipped.
    pub max_value: Option<f32>,
    /// Micro-batches whose gradients were added; they are divided by it.
    pub accumulated: u32,
}

impl LossScale {
    /// Checks the numbers and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for no chunks or more than 2^22, and for factors and limits out of range.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let counts = [("chunks", self.chunks), ("accumulated", self.accumulated)];
        check_extents(NAME, &counts.map(|(name, count)| (name, count.into())))?;
        if self.chunks > MAX_CHUNKS {
            return Err(ShapeError::TooLarge {
                kernel: NAME,
                name: "chunks",
                value: self.chunks.into(),
                limit: MAX_CHUNKS.into(),
                reason: "longer f32 sums have no useful error bound",
            });
        }
        let refuse = |name, value: f32, allowed| {
            Err(ShapeError::Unsupported {
                kernel: NAME,
                name,
                value: value.to_string(),
                allowed,
            })
        };
        if let Some(scaling) = self.scaling {
            check_extents(NAME, &[("interval", scaling.interval.into())])?;
            if !(scaling.growth >= 1.0 && scaling.growth.is_finite()) {
                return refuse("growth", scaling.growth, "at least 1, finite");
            }
            if !(scaling.backoff > 0.0 && scaling.backoff <= 1.0) {
                return refuse("backoff", scaling.backoff, "over 0 and at most 1");
            }
        }
        for (name, limit) in [("max_norm", self.max_norm), ("max_value", self.max_value)] {
            if let Some(value) = limit
                && !value.is_normal() | value.is_sign_negative()
            {
                return refuse(name, value, "over 0, finite and no subnormal");
            }
        }
        Ok(Arc::new(self))
    }

    fn numbers(&self) -> Params {
        let scaling = self.scaling.unwrap_or_default();
        Params {
            chunks: self.chunks,
            scaling: self.scaling.is_some().into(),
            skip: (self.not_finite == NotFinite::Skip).into(),
            interval: scaling.interval,
            growth: scaling.growth,
            backoff: scaling.backoff,
            largest_scale: f32::MAX / scaling.growth,
            max_norm: self.max_norm.unwrap_or(f32::MAX),
            max_value: self.max_value.unwrap_or(f32::MAX),
            accumulated: self.accumulated as f32,
        }
    }

    /// Outputs and their bounds, in words of the state and of `control`.
    fn outputs(&self, operands: &HostOperands<'_>) -> Vec<(Output, Bound)> {
        let state = operands.words(STATE);
        let made = decide(self, operands);
        let skipped = state[2].wrapping_add(made.skipped.into());
        let taken = state[3].wrapping_add((!made.skipped).into());
        let floats = |binding, first_word, values: &[Approx]| {
            let output = Output {
                binding,
                first_word,
                values: Values::F32(values.iter().map(|one| one.value).collect()),
            };
            let errors = values.iter().map(|one| one.error).collect();
            (output, Bound::Absolute(errors))
        };
        let words = |binding, first_word, words: &[u32]| {
            let output = Output {
                binding,
                first_word,
                values: Values::Words(words.to_vec()),
            };
            (output, Bound::Exact)
        };
        let limit = Approx::exact(self.numbers().max_value.into());
        vec![
            floats(STATE, 0, &[made.scale]),
            words(STATE, 1, &[made.good, skipped, taken]),
            floats(STATE, 4, &[made.norm, made.largest]),
            words(STATE, 6, &[made.not_finite]),
            floats(STATE, 7, &[made.clip]),
            floats(OUT, 0, &[made.factor, limit]),
            words(OUT, 2, &[made.skipped.into(), skipped]),
        ]
    }
}

impl Launch for LossScale {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let number = |value: Option<f32>| value.map_or("off".to_owned(), |value| value.to_string());
        let scaling = self.scaling.map_or("fixed".to_owned(), |scaling| {
            let DynamicScale {
                growth,
                backoff,
                interval,
            } = scaling;
            format!("x{growth} after {interval}, x{backoff}")
        });
        format!(
            "chunks={} scale {scaling} {:?} max_norm={} max_value={} accumulated={}",
            self.chunks,
            self.not_finite,
            number(self.max_norm),
            number(self.max_value),
            self.accumulated
        )
    }

    fn slots(&self) -> Vec<Slot> {
        let slot = |binding, name, access, words: u32| Slot {
            binding,
            name,
            access,
            bytes: 4 * u64::from(words),
        };
        vec![
            slot(
                STATISTICS,
                "statistics",
                Access::Read,
                CHUNK_WORDS * self.chunks,
            ),
            slot(STATE, "state", Access::ReadWrite, SCALE_WORDS),
            slot(OUT, "control", Access::Write, CONTROL_WORDS),
        ]
    }

    fn params(&self) -> Vec<u8> {
        bytemuck::bytes_of(&self.numbers()).to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let variant = |reduce, lanes| {
            let variant = Variant::new(NAME).slot("reduce", reduce);
            variant.number("WORKGROUP_SIZE", lanes)
        };
        let mut variants = vec![variant("shared", 256)];
        if capabilities.subgroups {
            variants.push(variant("subgroup", 256));
        }
        // A CPU wants no barriers.
        let place = if capabilities.software {
            0
        } else {
            variants.len()
        };
        variants.insert(place, variant("none", 1));
        variants
    }

    fn workgroups(&self, _: &Variant) -> u64 {
        1
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        let lanes = variant.get("WORKGROUP_SIZE");
        let reductions = if lanes == 1 {
            0
        } else {
            3 * looped(lanes.into(), 0)
        };
        let count = looped(self.chunks.div_ceil(lanes).into(), 0) + reductions;
        Iterations {
            unrolled: count,
            rolled: count,
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let both = self.outputs(operands).into_iter();
        both.map(|(output, _)| output).collect()
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        let both = self.outputs(operands).into_iter();
        both.map(|(_, bound)| bound).collect()
    }

    fn cost(&self) -> Cost {
        let chunks = f64::from(self.chunks);
        Cost {
            operations: 3.0 * chunks,
            bytes: 16.0 * chunks + 2.0 * 32.0 + 16.0,
        }
    }

    fn shape_class(&self) -> String {
        format!("chunks<={}", self.chunks.next_power_of_two())
    }

    fn example(&self, _: u64) -> Vec<(u32, Vec<u32>)> {
        cases::operands(self, DataKind::Normal, [65536.0f32.to_bits(), 3, 1, 9], 0)
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [chunks] = asked.extents("CHUNKS")?;
    let scale = LossScale {
        chunks,
        scaling: Some(DynamicScale::default()),
        not_finite: NotFinite::Apply,
        max_norm: Some(1.0),
        max_value: None,
        accumulated: 1,
    };
    Ok(scale.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "the loss scale, the clipping factor and whether to skip, from statistics of all gradients",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn plain() -> LossScale {
        LossScale {
            chunks: 1,
            scaling: Some(DynamicScale::default()),
            not_finite: NotFinite::Apply,
            max_norm: None,
            max_value: None,
            accumulated: 1,
        }
    }

    #[test]
    fn rejects_numbers_out_of_range() {
        let scaling = |growth, backoff, interval| LossScale {
            scaling: Some(DynamicScale {
                growth,
                backoff,
                interval,
            }),
            ..plain()
        };
        for wrong in [
            scaling(0.5, 0.5, 1),
            scaling(f32::NAN, 0.5, 1),
            scaling(2.0, 0.0, 1),
            scaling(2.0, 1.5, 1),
            scaling(2.0, 0.5, 0),
            LossScale {
                max_norm: Some(0.0),
                ..plain()
            },
            LossScale {
                max_value: Some(f32::INFINITY),
                ..plain()
            },
            LossScale {
                max_value: Some(-1.0),
                ..plain()
            },
            LossScale {
                accumulated: 0,
                ..plain()
            },
            LossScale {
                chunks: 0,
                ..plain()
            },
        ] {
            assert!(wrong.launch().is_err(), "{wrong:?}");
        }
    }
}
