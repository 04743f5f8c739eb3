//! The scale of a group by its rule, then the codes of its weights.
//!
//! Scales and codes are computed in f64 and rounded once, so a result does not depend on the order
//! of anything. The two GGML presets are computed in f32 instead, operation by operation as GGML
//! does, because codes near a tie depend on it and a file must equal the one its own writer makes.

use super::format::{ScaleType, Zero};
use super::scheme::{CodeScale, Rounding, ScaleRule, Scheme};
use crate::num::float::round_to_f16;

/// Turns the weights of one group into codes.
pub(super) struct Coder {
    scheme: Scheme,
    step: Step,
    /// The scale as its type holds it; infinite if it overflows.
    pub stored_scale: f64,
    /// The zero point; 0 if there is none.
    pub zero: i32,
    /// The minimum that codes are computed with; 0 if there is none.
    minimum: f64,
    /// The minimum as its type holds it; infinite if it overflows.
    pub stored_minimum: f64,
}

/// How a weight is brought to units of one code.
enum Step {
    /// f64 division by the stored scale.
    Divide(f64),
    /// f32 multiplication by a reciprocal, GGML's way.
    Multiply(f32),
}

impl Coder {
    /// Finds scale and zero point of a group.
    pub fn fit(scheme: &Scheme, group: &[f32]) -> Self {
        let ideal = ideal_scale(scheme, group);
        let (scale, stored_scale, step) = match scheme.code_scale {
            CodeScale::Stored => {
                let magnitude = ideal.abs().max(scheme.scale_floor());
                let floored = if ideal < 0.0 { -magnitude } else { magnitude };
                let stored = round_to_type(floored, scheme.scale_type);
                (stored, stored, Step::Divide(stored))
            }
            CodeScale::UnroundedF32 => {
                // Equal to GGML's f32 division: f64 has more than twice the bits of f32.
                let scale = ideal as f32;
                let inverse = 1.0 / scale;
                // Where 1 / scale overflows, all weights are below 2^-120 and become 0.
                let inverse = if inverse.is_finite() { inverse } else { 0.0 };
                let scale = f64::from(scale);
                (
                    scale,
                    round_to_type(scale, scheme.scale_type),
                    Step::Multiply(inverse),
                )
            }
        };
        let zero = match scheme.rule.zero() {
            Zero::Symmetric | Zero::FloatMinimum => 0,
            Zero::ZeroPoint => zero_point(scheme, range_with_zero(group).0, scale),
        };
        let exact_minimum = match scheme.rule.zero() {
            Zero::Symmetric | Zero::ZeroPoint => 0.0,
            Zero::FloatMinimum => range(group).0,
        };
        let stored_minimum = round_to_type(exact_minimum, scheme.scale_type);
        let minimum = match scheme.code_scale {
            CodeScale::Stored => stored_minimum,
            CodeScale::UnroundedF32 => exact_minimum,
        };
        Self {
            scheme: *scheme,
            stored_scale,
            step,
            zero,
            minimum,
            stored_minimum,
        }
    }

    /// The code of one weight.
    pub fn code(&self, value: f32) -> i8 {
        let (min, max) = (
            f64::from(self.scheme.bits.min()),
            f64::from(self.scheme.bits.max()),
        );
        // Codes above a minimum are unsigned: the smallest code is its zero point.
        let zero = match self.scheme.rule.zero() {
            Zero::Symmetric | Zero::ZeroPoint => f64::from(self.zero),
            Zero::FloatMinimum => min,
        };
        let scaled = match self.step {
            Step::Divide(scale) => (f64::from(value) - self.minimum) / scale,
            Step::Multiply(inverse) => f64::from((value - self.minimum as f32) * inverse),
        };
        let code = match self.scheme.rounding {
            Rounding::HalfEven => scaled.round_ties_even() + zero,
            Rounding::HalfAway => scaled.round() + zero,
            Rounding::TruncateAfterHalf => {
                let half = zero - min + 0.5;
                let offset_code = match self.step {
                    Step::Divide(_) => scaled + half,
                    Step::Multiply(_) => f64::from(scaled as f32 + half as f32),
                };
                offset_code.trunc() + min
            }
        };
        code.clamp(min, max) as i8
    }
}

/// The scale of a group by its rule, before floor and rounding; 0 (of either sign) for a group of
/// zeros.
pub(super) fn ideal_scale(scheme: &Scheme, group: &[f32]) -> f64 {
    let (qmin, qmax) = (f64::from(scheme.bits.min()), f64::from(scheme.bits.max()));
    match scheme.rule {
        ScaleRule::RestrictedAbsMax => signed_abs_max(group).abs() / qmax,
        ScaleRule::FullRangeAbsMax => signed_abs_max(group).abs() / ((qmax - qmin) / 2.0),
        ScaleRule::SignedAbsMax => signed_abs_max(group) / qmin,
        ScaleRule::MinMax => {
            let (low, high) = range_with_zero(group);
            (high - low) / (qmax - qmin)
        }
        ScaleRule::MinMaxFloat => {
            let (low, high) = range(group);
            match scheme.code_scale {
                CodeScale::Stored => (high - low) / (qmax - qmin),
                // GGML takes the difference in f32.
                CodeScale::UnroundedF32 => f64::from(high as f32 - low as f32) / (qmax - qmin),
            }
        }
    }
}

/// The element of largest magnitude, the first one if several.
fn signed_abs_max(group: &[f32]) -> f64 {
    let largest = |found: f32, &value: &f32| {
        if value.abs() > found.abs() {
            value
        } else {
            found
        }
    };
    f64::from(group.iter().fold(0.0, largest))
}

/// Smallest and largest element of a group, which is not empty.
fn range(group: &[f32]) -> (f64, f64) {
    // `min` and `max` may take either zero; GGML keeps the first of equals.
    let widen = |(low, high): (f32, f32), &value: &f32| {
        (
            if value < low { value } else { low },
            if value > high { value } else { high },
        )
    };
    let (low, high) = group.iter().fold((f32::MAX, f32::MIN), widen);
    (f64::from(low), f64::from(high))
}

/// Smallest and largest element, widened to include 0 so that a weight of 0 has a code.
fn range_with_zero(group: &[f32]) -> (f64, f64) {
    let widen = |(low, high): (f32, f32), &value: &f32| (low.min(value), high.max(value));
    let (low, high) = group.iter().fold((0.0, 0.0), widen);
    (f64::from(low), f64::from(high))
}

/// `round(qmin - low / scale)`, half to even, clamped to a code.
fn zero_point(scheme: &Scheme, low: f64, scale: f64) -> i32 {
    let (qmin, qmax) = (f64::from(scheme.bits.min()), f64::from(scheme.bits.max()));
    let steps_below_zero = if low < 0.0 { low / scale } else { 0.0 };
    (qmin - steps_below_zero)
        .round_ties_even()
        .clamp(qmin, qmax) as i32
}

fn round_to_type(scale: f64, scale_type: ScaleType) -> f64 {
    match scale_type {
        ScaleType::F32 => f64::from(scale as f32),
        ScaleType::F16 => round_to_f16(scale),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::quant::quantize;

    const RESTRICTED_INT4: Scheme = Scheme {
        rule: ScaleRule::RestrictedAbsMax,
        ..Scheme::int4_group(8)
    };

    /// One row through a scheme: codes, scales, zero points.
    fn row(w: &[f32], scheme: Scheme) -> (Vec<i8>, Vec<f32>, Option<Vec<i32>>) {
        let matrix = quantize("w", w, 1, w.len(), &scheme).unwrap();
        let zeros = matrix.zeros().map(<[i32]>::to_vec);
        (matrix.unpacked_codes(), matrix.scales().to_vec(), zeros)
    }

    /// One row of codes under another rounding, with a scale of exactly 1.
    fn ties(rounding: Rounding, scheme: Scheme, w: &[f32]) -> Vec<i8> {
        let (codes, scales, _) = row(w, Scheme { rounding, ..scheme });
        assert_eq!(scales, [1.0]);
        codes
    }

    /// `w` padded with zeros to one GGML block.
    fn block(w: &[f32]) -> Vec<f32> {
        let mut block = w.to_vec();
        block.resize(32, 0.0);
        block
    }

    #[test]
    fn golden_restricted_rule_and_its_ties() {
        let w = [7.0, -7.0, 0.5, 1.5, 2.5, -0.5, -1.5, 3.0];
        let codes = |rounding| ties(rounding, RESTRICTED_INT4, &w);
        assert_eq!(codes(Rounding::HalfEven), [7, -7, 0, 2, 2, 0, -2, 3]);
        assert_eq!(codes(Rounding::HalfAway), [7, -7, 1, 2, 3, -1, -2, 3]);
        assert_eq!(
            codes(Rounding::TruncateAfterHalf),
            [7, -7, 1, 2, 3, 0, -1, 3]
        );
    }

    #[test]
    fn golden_full_range_rule_clamps_the_positive_end() {
        let w = [7.5, -7.5, 0.5, 1.5, 2.5, -0.5, -2.5, 0.0];
        let scheme = Scheme::compressed_tensors_int4(8);
        assert_eq!(
            ties(Rounding::HalfEven, scheme, &w),
            [7, -8, 0, 2, 2, 0, -2, 0]
        );
        let (codes, scales, _) = row(&[127.5, -127.5, 64.5], Scheme::compressed_tensors_int8());
        assert_eq!((codes, scales), (vec![127, -128, 64], vec![1.0]));
    }

    #[test]
    fn golden_signed_rule_gives_the_first_largest_weight_the_extra_code() {
        let w = [8.0, -4.0, 3.5, 7.5, -7.5, 0.5, 0.0, -8.0];
        let (codes, scales, zeros) = row(&w, Scheme::int4_group(8));
        assert_eq!(codes, [-8, 4, -4, -8, 7, 0, 0, 7]);
        assert_eq!((scales, zeros), (vec![-1.0], None));
        let int8 = Scheme {
            rule: ScaleRule::SignedAbsMax,
            ..Scheme::int8_channel()
        };
        let (codes, scales, _) = row(&[64.0, -128.0, 128.0], int8);
        assert_eq!((codes, scales), (vec![64, -128, 127], vec![1.0]));
    }

    #[test]
    fn golden_min_max_rule_has_its_zero_point_and_ties() {
        let w = [-3.0, 12.0, 0.0, 1.0, -1.0, 5.0, 11.5, 0.5];
        let scheme = Scheme::int4_group_zero_point(8);
        assert_eq!(row(&w, scheme).2, Some(vec![-5]));
        assert_eq!(
            ties(Rounding::HalfEven, scheme, &w),
            [-8, 7, -5, -4, -6, 0, 7, -5]
        );
        assert_eq!(
            ties(Rounding::TruncateAfterHalf, scheme, &w),
            [-8, 7, -5, -4, -6, 0, 7, -4]
        );
        let int8 = Scheme {
            rule: ScaleRule::MinMax,
            ..Scheme::int8_channel()
        };
        let (codes, scales, zeros) = row(&[-100.0, 155.0, 0.0, 0.5], int8);
        assert_eq!(codes, [-128, 127, -28, -28]);
        assert_eq!((scales, zeros), (vec![1.0], Some(vec![-28])));
    }

    #[test]
    fn golden_ggml_q4_0_block_truncates_after_adding_eight_and_a_half() {
        let w = block(&[8.0, -4.0, 3.5, 7.5, -7.5, 0.5, -0.5, -8.0]);
        let (codes, scales, _) = row(&w, Scheme::ggml_q4_0());
        assert_eq!(codes[..8], [-8, 4, -3, -7, 7, 0, 1, 7]);
        assert_eq!(scales, [-1.0]);
        // The sum is an f32 one: 8.5 plus the f32 below one half is 9, not just under it.
        let just_below_a_tie = -(0.5f32.next_down());
        assert_eq!(
            row(&block(&[8.0, just_below_a_tie]), Scheme::ggml_q4_0()).0[1],
            1
        );
    }

    #[test]
    fn zero_points_on_a_tie_round_to_even() {
        let tied = |low: f32| [low, low + 15.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let zero = |low| row(&tied(low), Scheme::int4_group_zero_point(8)).2;
        assert_eq!([zero(-2.5), zero(-3.5)], [Some(vec![-6]), Some(vec![-4])]);
    }

    #[test]
    fn ggml_codes_come_from_the_scale_before_it_is_rounded_to_f16() {
        // d = 0.1 is stored as 0.09997559: 0.6499 / d is 6.499, but 6.5006 stored scales.
        let w = block(&[-0.8, 0.6499]);
        let (codes, scales, _) = row(&w, Scheme::ggml_q4_0());
        assert_eq!((codes[1], scales[0]), (6, 0.099_975_586));
        let stored = Scheme {
            code_scale: CodeScale::Stored,
            ..Scheme::ggml_q4_0()
        };
        assert_eq!(row(&w, stored).0[1], 7);
    }

    #[test]
    fn golden_ggml_q4_1_block_counts_from_its_minimum_and_truncates_after_adding_a_half() {
        let mut w = block(&[-3.0, 12.0, -2.5, 0.0, 0.49, 0.5]);
        w[6..].fill(1.0);
        let matrix = quantize("w", &w, 1, 32, &Scheme::ggml_q4_1()).unwrap();
        assert_eq!(
            (matrix.scales(), matrix.minima()),
            (&[1.0][..], Some(&[-3.0][..]))
        );
        // Unsigned 0 15 1 3 3 4, ties up; stored 8 lower.
        assert_eq!(matrix.unpacked_codes()[..6], [-8, 7, -7, -5, -5, -4]);
        let constant = quantize("w", &[2.5; 32], 1, 32, &Scheme::ggml_q4_1()).unwrap();
        assert_eq!(
            (constant.scales(), constant.dequantize()),
            (&[0.0][..], vec![2.5; 32])
        );
        // Codes come from the minimum before it is rounded to f16.
        let third = quantize("w", &block(&[1.0 / 3.0, 0.5]), 1, 32, &Scheme::ggml_q4_1()).unwrap();
        assert_eq!(
            third.minima(),
            Some(&[0.0][..]),
            "the block is filled with zeros"
        );
        let huge = quantize("w", &[1e6; 32], 1, 32, &Scheme::ggml_q4_1()).unwrap_err();
        assert!(
            huge.to_string().contains("the minimum of a group"),
            "{huge}"
        );
    }

    #[test]
    fn golden_ggml_q8_0_block_rounds_half_away() {
        let w = block(&[127.0, -127.0, 0.5, 1.5, -2.5, 126.49]);
        let (codes, scales, _) = row(&w, Scheme::ggml_q8_0());
        assert_eq!(codes[..6], [127, -127, 1, 2, -3, 126]);
        assert_eq!(scales, [1.0]);
    }

    #[test]
    fn ggml_blocks_of_zeros_keep_the_sign_of_ggmls_zero_scale() {
        let matrix = quantize("w", &[0.0; 32], 1, 32, &Scheme::ggml_q4_0()).unwrap();
        assert_eq!(matrix.packed_scales(), [0x8000], "0 / -8 is -0");
        assert_eq!(matrix.codes(), [0x8888_8888; 4]);
        let matrix = quantize("w", &[0.0; 32], 1, 32, &Scheme::ggml_q8_0()).unwrap();
        assert_eq!(matrix.packed_scales(), [0]);
        let denormals =
            quantize("w", &[f32::from_bits(1); 32], 1, 32, &Scheme::ggml_q4_0()).unwrap();
        assert_eq!(denormals.dequantize(), [0.0; 32]);
    }

    #[test]
    fn one_sided_and_constant_rows_use_the_whole_asymmetric_range() {
        let scheme = Scheme::int4_group_zero_point(8);
        let rising = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 7.5];
        let (codes, scales, zeros) = row(&rising, scheme);
        assert_eq!(
            (codes[0], codes[7], scales, zeros),
            (-6, 7, vec![0.5], Some(vec![-8]))
        );
        let (codes, scales, zeros) = row(&rising.map(|x| -x), scheme);
        assert_eq!(
            (codes[0], codes[7], scales, zeros),
            (5, -8, vec![0.5], Some(vec![7]))
        );
        let (codes, scales, zeros) = row(&[3.75; 8], scheme);
        assert_eq!(
            (codes, scales, zeros),
            (vec![7; 8], vec![0.25], Some(vec![-8]))
        );
        let (codes, scales, _) = row(&[-3.75; 8], Scheme::int4_group(8));
        assert_eq!((codes, scales), (vec![-8; 8], vec![0.468_75]));
    }
}
