//! Logarithmic quantization: zero and signed powers of two, `w ~= sign * scale * 2^e`.
//!
//! A code is a sign bit above a magnitude `m`: 0 is the value 0, and `m` from 1 to `M = 2^(bits-1) - 1`
//! the exponent `e = m - M`, so exponents run from `1 - M` to 0. At 4 bits the magnitudes are 2^-6 to 1, at
//! 8 bits 2^-126 to 1. The code of the sign bit alone is never written and reads as 0: `2^bits - 1` levels.
//!
//! The scale is the largest magnitude of the group. Magnitudes below half of the smallest level, which are
//! nearer to 0, become 0; those above it that round to a smaller exponent get the smallest.

use super::codebook::{Codebook, CodebookMatrix};
use crate::compress::{CompressError, Weights};
use crate::num::Granularity;

/// Width of logarithmic codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogWidth {
    /// 15 levels.
    Four,
    /// 255 levels.
    Eight,
}

impl LogWidth {
    /// Bits of a code.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    /// Exponents there are.
    const fn n_exponents(self) -> i32 {
        (1 << (self.bits() - 1)) - 1
    }

    /// The smallest exponent, -6 or -126.
    #[must_use]
    pub const fn min_exponent(self) -> i32 {
        1 - self.n_exponents()
    }
}

/// Where one power of two ends and the next begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogRounding {
    /// At `sqrt(2) 2^e`, the middle of the logarithms: the relative error is at most `sqrt(2) - 1`.
    #[default]
    Logarithm,
    /// At `1.5 2^e`, the middle of the values, which goes up: the absolute error is least.
    Value,
}

/// The levels of a width, by code.
pub(super) fn levels(width: LogWidth) -> Vec<f32> {
    let half = 1usize << (width.bits() - 1);
    let magnitude = |m: usize| {
        if m == 0 {
            0.0
        } else {
            (m as f32 - width.n_exponents() as f32).exp2()
        }
    };
    let positive = (0..half).map(magnitude);
    let negative = (0..half).map(|m| if m == 0 { 0.0 } else { -magnitude(m) });
    positive.chain(negative).collect()
}

/// Quantizes a matrix to powers of two.
///
/// # Errors
/// [`CompressError`] naming the tensor for a group that does not divide `k`.
pub fn logarithmic(
    weights: &Weights<'_>,
    width: LogWidth,
    granularity: Granularity,
    rounding: LogRounding,
) -> Result<CodebookMatrix, CompressError> {
    let codebook = Codebook::Log2(width);
    CodebookMatrix::encode(weights, codebook, granularity, 0, |amax, value| {
        let magnitude = magnitude_code(f64::from(value.abs()) / f64::from(amax), width, rounding);
        let sign = u8::from(value < 0.0 && magnitude > 0) << (width.bits() - 1);
        sign | magnitude
    })
}

/// The magnitude bits of `ratio`, between 0 and 1. Fraction and exponent are read off the bits of the f64,
/// so no logarithm of a platform takes part.
fn magnitude_code(ratio: f64, width: LogWidth, rounding: LogRounding) -> u8 {
    let smallest = f64::from(width.min_exponent()).exp2();
    if ratio < smallest / 2.0 {
        return 0;
    }
    const FRACTION_BITS: u32 = 52;
    let exponent = (ratio.to_bits() >> FRACTION_BITS) as i32 - 1023;
    let fraction =
        f64::from_bits(ratio.to_bits() & ((1 << FRACTION_BITS) - 1) | 1023 << FRACTION_BITS);
    let boundary = match rounding {
        LogRounding::Logarithm => std::f64::consts::SQRT_2,
        LogRounding::Value => 1.5,
    };
    let rounded = exponent + i32::from(fraction >= boundary);
    let clamped = rounded.clamp(width.min_exponent(), 0);
    (clamped + width.n_exponents()) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::testing::normal;

    #[test]
    fn golden_levels_of_four_bits() {
        let positive = [
            0.0,
            1.0 / 64.0,
            1.0 / 32.0,
            1.0 / 16.0,
            0.125,
            0.25,
            0.5,
            1.0,
        ];
        let levels = levels(LogWidth::Four);
        assert_eq!(levels[..8], positive);
        assert_eq!(
            levels[8..],
            positive.map(|level| if level == 0.0 { 0.0 } else { -level })
        );
    }

    #[test]
    fn eight_bits_have_255_normal_levels_and_zero_among_them() {
        let mut levels = levels(LogWidth::Eight);
        assert!(
            levels
                .iter()
                .all(|level| *level == 0.0 || level.is_normal())
        );
        levels.sort_by(f32::total_cmp);
        levels.dedup();
        assert_eq!(
            (levels.len(), levels[127], levels[128]),
            (255, 0.0, 2f32.powi(-126))
        );
    }

    #[test]
    fn every_level_is_its_own_code() {
        for width in [LogWidth::Four, LogWidth::Eight] {
            for rounding in [LogRounding::Logarithm, LogRounding::Value] {
                let values = levels(width);
                let weights = Weights::new("w", 1, values.len(), &values).unwrap();
                let found = logarithmic(&weights, width, Granularity::Tensor, rounding).unwrap();
                assert_eq!(found.dequantize(), values);
                assert_eq!(found.scales(), [1.0]);
            }
        }
    }

    #[test]
    fn the_boundary_is_the_one_named() {
        let code = |ratio, rounding| magnitude_code(ratio, LogWidth::Four, rounding);
        assert_eq!(code(0.353, LogRounding::Logarithm), 5, "below sqrt(2) / 4");
        assert_eq!(code(0.354, LogRounding::Logarithm), 6);
        assert_eq!(code(0.374_9, LogRounding::Value), 5);
        assert_eq!(code(0.375, LogRounding::Value), 6, "the middle goes up");
        let half = 1.0 / 128.0;
        assert_eq!(code(half, LogRounding::Logarithm), 1);
        assert_eq!(
            code(f64::from(half as f32).next_down(), LogRounding::Logarithm),
            0
        );
    }

    #[test]
    fn relative_error_is_at_most_the_root_of_two_less_one() {
        let values = normal(4 * 256, 1);
        let weights = Weights::new("w", 4, 256, &values).unwrap();
        let found = logarithmic(
            &weights,
            LogWidth::Eight,
            Granularity::Channel,
            LogRounding::Logarithm,
        );
        for (&value, back) in values.iter().zip(found.unwrap().dequantize()) {
            let error = (f64::from(back) / f64::from(value) - 1.0).abs();
            assert!(
                error <= std::f64::consts::SQRT_2 - 1.0 + 1e-7,
                "{value} {back}"
            );
        }
    }

    #[test]
    fn zeros_signs_and_denormals_are_kept() {
        let tiny = f32::from_bits(1);
        let values = [0.0, -0.0, 0.0, -tiny, tiny, 0.0];
        let weights = Weights::new("w", 2, 3, &values).unwrap();
        for width in [LogWidth::Four, LogWidth::Eight] {
            let found = logarithmic(&weights, width, Granularity::Channel, LogRounding::Value);
            assert_eq!(
                found.unwrap().dequantize(),
                [0.0, 0.0, 0.0, -tiny, tiny, 0.0]
            );
        }
    }
}
