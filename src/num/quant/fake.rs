//! Fake quantization: weights and activations that stay floats but take only the values of a quantized
//! tensor, so that training sees the rounding (Jacob et al., "Quantization and Training of Neural Networks
//! for Efficient Integer-Arithmetic-Only Inference", 2018).
//!
//! `y = scale (clamp(round(x / scale) + zero) - zero)`, ties to even, the quotient exact. The gradient of x is
//! that of y where clamping changed nothing and 0 elsewhere. The gradient of a learned scale is that of Esser
//! et al., "Learned Step Size Quantization" (2020): `round(x / scale) - x / scale` where clamping changed
//! nothing, else the code it was clamped to less the zero point. Both take the mask from the rounded code, as
//! PyTorch does.

use super::error::QuantError;
use super::format::{Bits, ScaleType};
use super::scheme::ScaleRule;
use crate::num::float::{F16_MIN_NORMAL, round_to_f16};

/// The integers that codes are clamped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodeRange {
    min: i32,
    max: i32,
}

impl CodeRange {
    /// All codes of a width from 2 to 8 bits, `-2^(b-1) ..= 2^(b-1) - 1`.
    ///
    /// # Errors
    /// [`QuantError::Width`] for other widths.
    pub const fn of_bits(bits: u32) -> Result<Self, QuantError> {
        if bits < 2 || bits > 8 {
            return Err(QuantError::Width { bits });
        }
        let max = (1 << (bits - 1)) - 1;
        Ok(Self { min: -max - 1, max })
    }

    /// The codes that are stored as `bits`.
    #[must_use]
    pub const fn stored_as(bits: Bits) -> Self {
        Self {
            min: bits.min(),
            max: bits.max(),
        }
    }

    /// The same without the most negative code: int8 activations have -127..=127.
    #[must_use]
    pub const fn narrow(self) -> Self {
        Self {
            min: -self.max,
            ..self
        }
    }

    /// Smallest code.
    #[must_use]
    pub const fn min(self) -> i32 {
        self.min
    }

    /// Largest code, `2^(b-1) - 1`.
    #[must_use]
    pub const fn max(self) -> i32 {
        self.max
    }

    /// What a rule divides the largest magnitude by to get a scale, times two so that it is an integer; its
    /// sign is that of the code that the largest magnitude gets.
    ///
    /// `None` for [`ScaleRule::MinMax`] and [`ScaleRule::MinMaxFloat`], which look at both ends.
    #[must_use]
    pub const fn twice_divisor(self, rule: ScaleRule) -> Option<i32> {
        match rule {
            ScaleRule::RestrictedAbsMax => Some(2 * self.max),
            ScaleRule::FullRangeAbsMax => Some(2 * self.max + 1),
            ScaleRule::SignedAbsMax => Some(-2 * (self.max + 1)),
            ScaleRule::MinMax | ScaleRule::MinMaxFloat => None,
        }
    }
}

/// One element through fake quantization.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FakeQuantized {
    /// The code, zero point included.
    pub code: i32,
    /// Whether clamping changed nothing.
    pub is_inside: bool,
    /// `d y / d scale`.
    pub scale_slope: f64,
}

/// The scale that elements are divided by: its sign, and at least the smallest normal f32.
#[must_use]
pub fn usable_scale(scale: f32) -> f32 {
    scale.abs().max(f32::MIN_POSITIVE).copysign(scale)
}

/// Code, mask and slope of an element under a scale, which [`usable_scale`] makes usable. A NaN has the
/// smallest code and is outside.
#[must_use]
pub fn fake_quantize(x: f32, scale: f32, zero: i32, range: CodeRange) -> FakeQuantized {
    let steps = f64::from(x) / f64::from(usable_scale(scale));
    let nearest = steps.round_ties_even() + f64::from(zero);
    let (min, max) = (f64::from(range.min), f64::from(range.max));
    let is_inside = (min..=max).contains(&nearest);
    let code = if nearest > min { nearest.min(max) } else { min } as i32;
    let scale_slope = if is_inside {
        nearest - f64::from(zero) - steps
    } else {
        f64::from(code - zero)
    };
    FakeQuantized {
        code,
        is_inside,
        scale_slope,
    }
}

/// The scale of a group whose element of largest magnitude is `extreme` (the first, if several), for any width:
/// what [`super::quantize()`] takes under the same rule, bit for bit. Infinite where f16 cannot hold it; `None`
/// for [`ScaleRule::MinMax`].
#[must_use]
pub fn abs_max_scale(
    extreme: f32,
    range: CodeRange,
    rule: ScaleRule,
    scale_type: ScaleType,
) -> Option<f32> {
    let divisor = f64::from(range.twice_divisor(rule)?);
    let ideal = match rule {
        ScaleRule::SignedAbsMax => 2.0 * f64::from(extreme) / divisor,
        ScaleRule::RestrictedAbsMax
        | ScaleRule::FullRangeAbsMax
        | ScaleRule::MinMax
        | ScaleRule::MinMaxFloat => 2.0 * f64::from(extreme).abs() / divisor,
    };
    let magnitude = ideal.abs().max(abs_max_floor(rule, scale_type));
    let magnitude = match scale_type {
        ScaleType::F32 => magnitude as f32,
        ScaleType::F16 => round_to_f16(magnitude) as f32,
    };
    Some(if ideal < 0.0 { -magnitude } else { magnitude })
}

/// The smallest magnitude of a scale, as [`super::Scheme::scale_floor`] has it.
pub(crate) fn abs_max_floor(rule: ScaleRule, scale_type: ScaleType) -> f64 {
    match (scale_type, rule) {
        (ScaleType::F16, _) => F16_MIN_NORMAL,
        (ScaleType::F32, ScaleRule::FullRangeAbsMax | ScaleRule::MinMax) => f32::EPSILON.into(),
        (
            ScaleType::F32,
            ScaleRule::RestrictedAbsMax | ScaleRule::SignedAbsMax | ScaleRule::MinMaxFloat,
        ) => f32::MIN_POSITIVE.into(),
    }
}

/// Where a learned scale begins: `2 mean |x| / sqrt(max)` over its elements (Esser et al., section 2.1).
#[must_use]
pub fn first_learned_scale(elements: &[f32], range: CodeRange) -> f32 {
    let sum = elements
        .iter()
        .fold(0.0, |sum, &x| sum + f64::from(x).abs());
    let mean = sum / elements.len().max(1) as f64;
    usable_scale((2.0 * mean / f64::from(range.max).sqrt()) as f32)
}

/// A learned scale as it is stored: of at least the smallest normal number of its type, so that it stays positive,
/// rounded to it, and of the sign that the largest weight of its group gives it.
#[must_use]
pub fn stored_learned_scale(learned: f32, is_negative: bool, scale_type: ScaleType) -> f32 {
    let magnitude = learned.max(least_learned_scale(scale_type));
    let stored = match scale_type {
        ScaleType::F32 => magnitude,
        ScaleType::F16 => round_to_f16(f64::from(magnitude)) as f32,
    };
    if is_negative { -stored } else { stored }
}

/// The smallest learned scale of a type, its smallest normal number.
#[must_use]
pub const fn least_learned_scale(scale_type: ScaleType) -> f32 {
    match scale_type {
        ScaleType::F32 => f32::MIN_POSITIVE,
        ScaleType::F16 => F16_MIN_NORMAL as f32,
    }
}

/// What the gradient of a learned scale is multiplied by, `1 / sqrt(elements max)` (Esser et al., section 2.2).
#[must_use]
pub fn learned_scale_factor(elements: usize, range: CodeRange) -> f32 {
    (1.0 / (elements as f64 * f64::from(range.max)).sqrt()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::philox::Philox;
    use crate::num::quant::{Granularity, Scheme, quantize};

    const RULES: [ScaleRule; 3] = [
        ScaleRule::RestrictedAbsMax,
        ScaleRule::FullRangeAbsMax,
        ScaleRule::SignedAbsMax,
    ];

    fn normal(seed: u64, len: usize) -> Vec<f32> {
        let mut stream = Philox::new(seed).stream(0);
        (0..len).map(|_| stream.normal()).collect()
    }

    #[test]
    fn fake_quantized_weights_are_the_dequantized_ones_bit_for_bit() {
        let w = normal(1, 12 * 64);
        for start in [
            Scheme::int8_channel(),
            Scheme::int4_channel(),
            Scheme::int8_group(32),
            Scheme::int4_group(32),
            Scheme::int8_tensor(),
        ] {
            for rule in RULES {
                let scheme = Scheme { rule, ..start };
                let expected = quantize("w", &w, 12, 64, &scheme).expect("finite");
                let values = expected.dequantize();
                let range = CodeRange::stored_as(scheme.bits);
                let len = match scheme.granularity {
                    Granularity::Tensor => w.len(),
                    Granularity::Channel => 64,
                    Granularity::Group(size) => size as usize,
                };
                for (group, (x, y)) in w.chunks(len).zip(values.chunks(len)).enumerate() {
                    let largest = |a: f32, &b: &f32| if b.abs() > a.abs() { b } else { a };
                    let extreme = x.iter().fold(0.0, largest);
                    let scale = abs_max_scale(extreme, range, rule, scheme.scale_type);
                    let scale = scale.expect("a symmetric rule");
                    assert_eq!(scale.to_bits(), expected.scales()[group].to_bits());
                    for (&x, &y) in x.iter().zip(y) {
                        let made = fake_quantize(x, scale, 0, range).code as f32 * scale;
                        assert_eq!(made.to_bits(), y.to_bits(), "{scheme:?} {x}");
                    }
                }
            }
        }
    }

    #[test]
    fn zero_points_shift_the_range() {
        let range = CodeRange::of_bits(4).expect("a width");
        let scheme = Scheme::int4_group_zero_point(8);
        let w = [-3.0, 12.0, 0.0, 1.0, -1.0, 5.0, 11.5, 0.5];
        let matrix = quantize("w", &w, 1, 8, &scheme).expect("finite");
        let zero = matrix.zeros().expect("stored")[0];
        for (column, &x) in w.iter().enumerate() {
            let made = fake_quantize(x, matrix.scales()[0], zero, range);
            assert_eq!(made.code, matrix.code(0, column));
        }
    }

    #[test]
    fn slopes_of_the_scale_are_the_definition() {
        let range = CodeRange::of_bits(4).expect("a width");
        let at = |x| fake_quantize(x, 0.5, 0, range);
        assert_eq!((at(1.4).code, at(1.4).is_inside), (3, true));
        assert!((at(1.4).scale_slope - (3.0 - 2.8)).abs() < 1e-6);
        // 7.4 steps round to a code there is, 7.5 do not.
        assert!(at(3.7).is_inside && !at(3.75).is_inside);
        assert_eq!(
            [at(3.75).scale_slope, at(-9.0).scale_slope],
            [7.0, -8.0],
            "the clamped codes"
        );
        assert_eq!(fake_quantize(1e30, -0.5, 0, range).code, -8);
    }

    #[test]
    fn widths_from_two_to_eight_bits_have_ranges() {
        let range = |bits| CodeRange::of_bits(bits).map(|range| (range.min(), range.max()));
        assert_eq!(range(2), Ok((-2, 1)));
        assert_eq!(range(3), Ok((-4, 3)));
        assert_eq!(range(8), Ok((-128, 127)));
        for bits in [0, 1, 9, u32::MAX] {
            assert_eq!(range(bits), Err(QuantError::Width { bits }));
        }
    }

    #[test]
    fn scales_that_no_device_could_divide_by_are_made_usable() {
        assert_eq!(usable_scale(0.0), f32::MIN_POSITIVE);
        assert_eq!(usable_scale(-1e-40), -f32::MIN_POSITIVE);
        assert_eq!(
            first_learned_scale(&[], CodeRange { min: -2, max: 1 }),
            f32::MIN_POSITIVE
        );
    }

    #[test]
    fn learned_scales_are_stored_positive_and_rounded_to_their_type() {
        let stored = |learned, scale_type| stored_learned_scale(learned, false, scale_type);
        assert_eq!(stored(0.1, ScaleType::F32), 0.1);
        assert_eq!(stored(0.1, ScaleType::F16), 0.099_975_586);
        assert_eq!(stored_learned_scale(0.25, true, ScaleType::F16), -0.25);
        for learned in [0.0, -3.0, 1e-42] {
            assert_eq!(stored(learned, ScaleType::F16), 6.103_515_6e-5);
            assert_eq!(stored(learned, ScaleType::F32), f32::MIN_POSITIVE);
        }
        assert_eq!(stored(1e6, ScaleType::F16), f32::INFINITY);
    }
}
