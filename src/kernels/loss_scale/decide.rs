//! The decision itself, with the error that f32 arithmetic may have made on the way to each number.

use crate::num::optim::Real;
use crate::record::HostOperands;

use super::super::approx::Approx;
use super::super::bounds::{TINY, gamma};
use super::super::grad_stats::CHUNK_WORDS;
use super::{LossScale, STATE, STATISTICS};

/// What one step decides.
pub(super) struct Decision {
    pub scale: Approx,
    pub good: u32,
    pub skipped: bool,
    pub norm: Approx,
    pub largest: Approx,
    pub not_finite: u32,
    pub clip: Approx,
    pub factor: Approx,
}

/// Sum of squares, largest magnitude and elements that are not finite, of all chunks.
fn totals(shape: &LossScale, operands: &HostOperands<'_>) -> (Approx, f32, u32) {
    let words = &operands.words(STATISTICS)[..(CHUNK_WORDS * shape.chunks) as usize];
    let (mut sum, mut largest, mut not_finite) = (0.0, 0, 0u32);
    for chunk in words.chunks(CHUNK_WORDS as usize) {
        sum += f64::from(f32::from_bits(chunk[0]));
        largest = largest.max(chunk[1]);
        not_finite = not_finite.wrapping_add(chunk[2]);
    }
    let added = shape.chunks as usize;
    let flushed = if sum == 0.0 {
        0.0
    } else {
        2.0 * TINY * added as f64
    };
    let sum = Approx {
        value: sum,
        error: if added == 1 {
            flushed
        } else {
            gamma(added + 2) * sum + flushed
        },
    };
    (sum, f32::from_bits(largest), not_finite)
}

/// Reads the statistics and the state, and decides.
pub(super) fn decide(shape: &LossScale, operands: &HostOperands<'_>) -> Decision {
    let numbers = shape.numbers();
    let state = operands.words(STATE);
    let (sum, largest, not_finite) = totals(shape, operands);
    let scale = Approx::stored(f32::from_bits(state[0]));
    let inverse = inverse(scale, Approx::stored(numbers.accumulated));
    let norm = Real::sqrt(sum) * inverse;
    let quotient = Approx::stored(numbers.max_norm) / (norm + Approx::stored(1e-6));
    let clip = if quotient.value - quotient.error >= 1.0 {
        Approx::exact(1.0)
    } else {
        quotient.min(Approx::exact(1.0))
    };
    let bad = not_finite > 0 || sum.value > f64::from(f32::MAX);
    let (mut next, mut good) = (scale, state[1]);
    if shape.scaling.is_some() {
        good = if bad { 0 } else { good.wrapping_add(1) };
        if bad {
            let shrunk = scaled(scale, numbers.backoff);
            next = shrunk.or_at_least_tiny();
        } else if good == numbers.interval {
            good = 0;
            if scale.value <= f64::from(numbers.largest_scale) {
                next = scaled(scale, numbers.growth);
            }
        }
    }
    Decision {
        scale: next,
        good,
        skipped: bad && (numbers.scaling | numbers.skip) != 0,
        norm,
        largest: Approx::stored(largest) * inverse,
        not_finite,
        clip,
        // A product with 1 is exact.
        factor: if clip == Approx::exact(1.0) {
            inverse
        } else {
            inverse * clip
        },
    }
}

impl Approx {
    /// At least the smallest normal f32, so that it is never flushed.
    fn or_at_least_tiny(self) -> Self {
        Real::max(self, Self::exact(TINY))
    }
}

/// A scale times a factor; exact where f32 holds the product, as with powers of two.
fn scaled(scale: Approx, factor: f32) -> Approx {
    let product = scale * Approx::stored(factor);
    if f64::from(product.value as f32) == product.value && product.value >= TINY {
        Approx::exact(product.value)
    } else {
        product
    }
}

/// `1 / (scale * accumulated)`, exact for powers of two.
fn inverse(scale: Approx, accumulated: Approx) -> Approx {
    let product = scale.value * accumulated.value;
    let rounded = product as f32;
    let exact = f64::from(rounded) == product && rounded.to_bits() & 0x007f_ffff == 0;
    if exact && rounded.to_bits() <= 0x7e80_0000 {
        Approx::exact(1.0 / product)
    } else {
        Approx::exact(1.0) / (scale * accumulated)
    }
}

#[cfg(test)]
mod tests {
    use super::super::NotFinite;
    use super::super::tests::plain;
    use super::*;

    fn decided(shape: LossScale, squares: f32, not_finite: u32, state: [u32; 4]) -> Decision {
        let statistics = [squares.to_bits(), squares.sqrt().to_bits(), not_finite, 0];
        let [scale, good, skipped, taken] = state;
        let state = [scale, good, skipped, taken, 0, 0, 0, 0];
        let mut operands = HostOperands::default();
        operands.insert(STATISTICS, &statistics);
        operands.insert(STATE, &state);
        decide(&shape, &operands)
    }

    const SCALE: u32 = 0x4780_0000; // 65536

    #[test]
    fn a_good_step_divides_by_the_scale_exactly() {
        let made = decided(plain(), 4.0, 0, [SCALE, 7, 0, 7]);
        assert_eq!(made.factor, Approx::exact(1.0 / 65536.0));
        assert_eq!((made.good, made.skipped), (8, false));
        assert_eq!(made.norm.value, 2.0 / 65536.0);
        assert_eq!(made.scale.value, 65536.0);
    }

    #[test]
    fn the_scale_doubles_on_the_2000th_good_step_and_halves_on_a_bad_one() {
        let doubled = decided(plain(), 4.0, 0, [SCALE, 1999, 0, 0]);
        assert_eq!((doubled.scale.value, doubled.good), (131_072.0, 0));
        let halved = decided(plain(), 4.0, 1, [SCALE, 1999, 0, 0]);
        assert_eq!((halved.scale.value, halved.good), (32_768.0, 0));
        assert!(halved.skipped);
    }

    #[test]
    fn the_scale_neither_overflows_nor_vanishes() {
        let top = decided(plain(), 4.0, 0, [f32::MAX.to_bits(), 1999, 0, 0]);
        assert_eq!((top.scale.value, top.good), (f64::from(f32::MAX), 0));
        let bottom = decided(plain(), 4.0, 1, [f32::MIN_POSITIVE.to_bits(), 0, 0, 0]);
        assert_eq!(bottom.scale.value, TINY);
    }

    #[test]
    fn a_norm_over_the_limit_is_brought_to_it() {
        let clipped = LossScale {
            max_norm: Some(1.0),
            accumulated: 2,
            scaling: None,
            ..plain()
        };
        let one = 1.0f32.to_bits();
        // A norm of 8 over 2 micro-batches is 4.
        let made = decided(clipped, 64.0, 0, [one, 0, 0, 0]);
        assert!((made.factor.value - 0.5 * 1.0 / (4.0 + 1e-6)).abs() < 1e-9);
        assert_eq!(
            decided(clipped, 1.0, 0, [one, 0, 0, 0]).clip,
            Approx::exact(1.0)
        );
    }

    #[test]
    fn a_fixed_scale_skips_only_when_asked_to() {
        let fixed = LossScale {
            scaling: None,
            ..plain()
        };
        assert!(!decided(fixed, 4.0, 3, [SCALE, 5, 0, 0]).skipped);
        let careful = LossScale {
            not_finite: NotFinite::Skip,
            ..fixed
        };
        let made = decided(careful, 4.0, 3, [SCALE, 5, 0, 0]);
        assert_eq!(
            (made.skipped, made.good, made.scale.value),
            (true, 5, 65536.0)
        );
    }
}
