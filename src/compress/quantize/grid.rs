//! The values that the codes of one group stand for: `scale * (q - zero)`.
//!
//! Scale and zero point follow from a range by the rules of [`crate::num::ScaleRule`]; with the full
//! range of a group they are those of [`crate::num::quantize()`], bit for bit.

use super::linear::Linear;
use super::range::Range;
use crate::num::{Rounding, ScaleRule, ScaleType, Scheme, Zero, round_to_f16};

/// Codes of one group, or of a layer's activations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// As its type holds it; infinite if it overflows.
    pub scale: f64,
    /// Zero point, 0 if symmetric.
    pub zero: i32,
    /// Smallest code.
    pub min: i32,
    /// Largest code.
    pub max: i32,
}

impl Grid {
    /// The codes of a range. Of a scheme its width, rule and scale type are used.
    ///
    /// Static codes of activations are `Grid::fit(&scheme, calibration.range(..)?)`.
    #[must_use]
    pub fn fit(linear: &Linear, range: Range) -> Self {
        let (qmin, qmax) = (linear.width.min(), linear.width.max());
        let (low_code, high_code) = (f64::from(qmin), f64::from(qmax));
        let ideal = match linear.rule {
            ScaleRule::RestrictedAbsMax => range.amax() / high_code,
            ScaleRule::FullRangeAbsMax => range.amax() / ((high_code - low_code) / 2.0),
            ScaleRule::SignedAbsMax if range.high_is_larger => range.amax() / low_code,
            ScaleRule::SignedAbsMax => -range.amax() / low_code,
            ScaleRule::MinMax => (range.high - range.low) / (high_code - low_code),
        };
        let magnitude = ideal.abs().max(scale_floor(linear));
        let scale = round_scale(magnitude.copysign(ideal), linear.scale_type);
        // A zero divided by a negative code is -0, but a group of zeros has the positive floor.
        let scale = if ideal == 0.0 { scale.abs() } else { scale };
        let zero = match linear.rule.zero() {
            Zero::Symmetric => 0,
            Zero::ZeroPoint => {
                let below = if range.low < 0.0 {
                    range.low / scale
                } else {
                    0.0
                };
                (low_code - below)
                    .round_ties_even()
                    .clamp(low_code, high_code) as i32
            }
        };
        // A narrow range keeps its promise under clipping too.
        let min = match linear.rule {
            ScaleRule::RestrictedAbsMax => -qmax,
            ScaleRule::FullRangeAbsMax | ScaleRule::SignedAbsMax | ScaleRule::MinMax => qmin,
        };
        Self {
            scale,
            zero,
            min,
            max: qmax,
        }
    }

    /// The code nearest to a value, ties to even, and that of the nearer end for one outside the range.
    #[must_use]
    pub fn code(&self, value: f64) -> i32 {
        let code = (value / self.scale).round_ties_even() + f64::from(self.zero);
        code.clamp(f64::from(self.min), f64::from(self.max)) as i32
    }

    /// What a code stands for.
    #[must_use]
    pub fn value(&self, code: i32) -> f64 {
        f64::from(code - self.zero) * self.scale
    }

    /// The value nearest to a value.
    #[must_use]
    pub fn nearest(&self, value: f64) -> f64 {
        self.value(self.code(value))
    }
}

/// The smallest magnitude of a scale, [`Scheme::scale_floor`].
pub(super) fn scale_floor(linear: &Linear) -> f64 {
    Scheme {
        bits: linear.width.container(),
        granularity: linear.granularity,
        rule: linear.rule,
        rounding: Rounding::HalfEven,
        scale_type: linear.scale_type,
        code_scale: crate::num::CodeScale::Stored,
    }
    .scale_floor()
}

/// A scale as its type holds it.
pub(super) fn round_scale(scale: f64, scale_type: ScaleType) -> f64 {
    match scale_type {
        ScaleType::F32 => f64::from(scale as f32),
        ScaleType::F16 => round_to_f16(scale),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::quantize::Width;
    use crate::num::Granularity;

    fn grid(width: Width, rule: ScaleRule, group: &[f64]) -> Grid {
        let linear = Linear {
            rule,
            scale_type: ScaleType::F32,
            ..Linear::symmetric(width, Granularity::Tensor)
        };
        Grid::fit(&linear, Range::of(group))
    }

    #[test]
    fn golden_two_bit_levels_of_every_rule() {
        let levels = |rule, group: &[f64]| {
            let grid = grid(Width::Int2, rule, group);
            (grid.min..=grid.max)
                .map(|code| grid.value(code))
                .collect::<Vec<f64>>()
        };
        let group = [1.0, -3.0, 2.0];
        assert_eq!(
            levels(ScaleRule::RestrictedAbsMax, &group),
            [-3.0, 0.0, 3.0]
        );
        assert_eq!(
            levels(ScaleRule::FullRangeAbsMax, &group),
            [-4.0, -2.0, 0.0, 2.0]
        );
        assert_eq!(
            levels(ScaleRule::SignedAbsMax, &group),
            [-3.0, -1.5, 0.0, 1.5]
        );
        assert_eq!(
            levels(ScaleRule::SignedAbsMax, &[3.0, -1.0]),
            [3.0, 1.5, 0.0, -1.5]
        );
        assert_eq!(
            levels(ScaleRule::MinMax, &[-1.0, 2.0]),
            [-1.0, 0.0, 1.0, 2.0]
        );
    }

    #[test]
    fn codes_of_values_are_their_own() {
        for width in Width::ALL {
            for rule in [
                ScaleRule::RestrictedAbsMax,
                ScaleRule::FullRangeAbsMax,
                ScaleRule::SignedAbsMax,
                ScaleRule::MinMax,
            ] {
                let grid = grid(width, rule, &[0.7, -1.3, 0.01]);
                for code in grid.min..=grid.max {
                    assert_eq!(grid.code(grid.value(code)), code, "{width} {rule:?}");
                }
            }
        }
    }

    #[test]
    fn a_group_of_zeros_has_a_positive_scale() {
        for rule in [ScaleRule::SignedAbsMax, ScaleRule::MinMax] {
            let grid = grid(Width::Int3, rule, &[0.0; 4]);
            assert!(grid.scale > 0.0);
            assert_eq!(grid.nearest(0.0), 0.0);
        }
    }
}
