//! Half precision floats, packed two to a 32-bit word with the first element in the low half.
//!
//! | type | sign, exponent, fraction bits | largest finite | smallest normal | smallest subnormal |
//! |---|---|---|---|---|
//! | f16 (IEEE 754 binary16) | 1, 5, 10 | 65504 | 2^-14 | 2^-24 |
//! | bf16 (upper half of an f32) | 1, 8, 7 | 2^128 - 2^120 | 2^-126 | 2^-133 |
//!
//! Rounding is to nearest, ties to even; values that round past the largest finite become infinity;
//! NaN stays NaN. The f64 conversions are written out here because `half::f16::from_f64` goes
//! through f32 on x86 (two roundings) and drops the low 32 bits elsewhere, so that a value just
//! above a tie can round down.

use half::{bf16, f16};

/// Smallest positive normal f16, 2^-14. Below it a device may flush to zero.
pub const F16_MIN_NORMAL: f64 = 1.0 / 16384.0;

/// Largest finite f16.
pub const F16_MAX: f64 = 65504.0;

/// Packs `values` as f16: word `i` holds element `2i` in bits 0-15 and `2i + 1` in bits 16-31.
///
/// Returns `values.len().div_ceil(2)` words. The unused half of an odd tail is zero.
#[must_use]
pub fn pack_f16(values: &[f32]) -> Vec<u32> {
    pack_halves(values, |value| f16::from_f32(value).to_bits())
}

/// Reads the first `len` f16 elements of `words`. Exact.
///
/// # Panics
/// If `words` holds fewer than `len` elements, which is a bug of the caller.
#[must_use]
pub fn unpack_f16(words: &[u32], len: usize) -> Vec<f32> {
    unpack_halves(words, len, |bits| f16::from_bits(bits).to_f32())
}

/// Packs `values` as bf16: word `i` holds element `2i` in bits 0-15 and `2i + 1` in bits 16-31.
///
/// Returns `values.len().div_ceil(2)` words. The unused half of an odd tail is zero.
#[must_use]
pub fn pack_bf16(values: &[f32]) -> Vec<u32> {
    pack_halves(values, |value| bf16::from_f32(value).to_bits())
}

/// Reads the first `len` bf16 elements of `words`. Exact.
///
/// # Panics
/// If `words` holds fewer than `len` elements, which is a bug of the caller.
#[must_use]
pub fn unpack_bf16(words: &[u32], len: usize) -> Vec<f32> {
    unpack_halves(words, len, |bits| bf16::from_bits(bits).to_f32())
}

/// The f16 nearest to `x`, ties to even, as f64. One rounding, unlike going through f32.
#[must_use]
pub fn round_to_f16(x: f64) -> f64 {
    round_to_format(x, 10, -14, F16_MAX)
}

/// The bf16 nearest to `x`, ties to even, as f64. One rounding, unlike going through f32.
#[must_use]
pub fn round_to_bf16(x: f64) -> f64 {
    round_to_format(x, 7, -126, f64::from(bf16::MAX.to_f32()))
}

fn pack_halves(values: &[f32], to_bits: impl Fn(f32) -> u16) -> Vec<u32> {
    let word = |pair: &[f32]| {
        let low = u32::from(to_bits(pair[0]));
        let high = pair.get(1).map_or(0, |&value| u32::from(to_bits(value)));
        low | (high << 16)
    };
    values.chunks(2).map(word).collect()
}

fn unpack_halves(words: &[u32], len: usize, from_bits: impl Fn(u16) -> f32) -> Vec<f32> {
    assert!(
        len.div_ceil(2) <= words.len(),
        "{len} half floats asked of {} words",
        words.len()
    );
    let halves = words
        .iter()
        .flat_map(|&word| [(word & 0xffff) as u16, (word >> 16) as u16]);
    halves.take(len).map(from_bits).collect()
}

/// Rounds to a binary float with `fraction_bits`, smallest normal exponent `min_exponent` and
/// largest finite `max`.
///
/// The spacing of the format around `x` is a power of two, so dividing by it, rounding to an
/// integer and multiplying back are exact but for the one rounding meant.
fn round_to_format(x: f64, fraction_bits: i32, min_exponent: i32, max: f64) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    // An f64 subnormal reads as exponent -1023: far below both formats, where only the clamp
    // matters.
    let exponent = ((x.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    let spacing = 2f64.powi(exponent.max(min_exponent) - fraction_bits);
    let rounded = (x / spacing).round_ties_even() * spacing;
    if rounded.abs() > max {
        f64::INFINITY.copysign(x)
    } else {
        rounded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ULP_AT_ONE: f64 = 1.0 / 1024.0;

    #[test]
    fn packs_f16_low_half_first_with_a_zero_odd_tail() {
        assert_eq!(pack_f16(&[1.0, -2.0, 65504.0]), [0xc000_3c00, 0x0000_7bff]);
        assert_eq!(
            unpack_f16(&[0xc000_3c00, 0x0000_7bff], 3),
            [1.0, -2.0, 65504.0]
        );
        assert!(pack_f16(&[]).is_empty());
    }

    #[test]
    fn packs_bf16_low_half_first_with_a_zero_odd_tail() {
        assert_eq!(
            pack_bf16(&[1.0, -2.0, 3.140_625]),
            [0xc000_3f80, 0x0000_4049]
        );
        assert_eq!(
            unpack_bf16(&[0xc000_3f80, 0x0000_4049], 3),
            [1.0, -2.0, 3.140_625]
        );
    }

    #[test]
    fn every_f16_pattern_survives_unpack_and_pack() {
        let words: Vec<u32> = (0..0x8000u32)
            .map(|i| (2 * i) | ((2 * i + 1) << 16))
            .collect();
        let values = unpack_f16(&words, 0x1_0000);
        let packed = pack_f16(&values);
        for (index, value) in values.iter().enumerate() {
            let bits = (packed[index / 2] >> (16 * (index % 2))) & 0xffff;
            if value.is_nan() {
                assert!(f16::from_bits(bits as u16).is_nan(), "{index:#x}");
            } else {
                assert_eq!(bits as usize, index);
                assert_eq!(round_to_f16(f64::from(*value)), f64::from(*value));
            }
        }
    }

    #[test]
    fn rounds_f16_ties_to_even() {
        assert_eq!(round_to_f16(1.0 + 0.5 * ULP_AT_ONE), 1.0);
        assert_eq!(round_to_f16(1.0 + 1.5 * ULP_AT_ONE), 1.0 + 2.0 * ULP_AT_ONE);
        assert_eq!(round_to_f16(-2049.0), -2048.0);
        assert_eq!(round_to_f16(2051.0), 2052.0);
        assert_eq!(pack_f16(&[2049.0, 2051.0]), pack_f16(&[2048.0, 2052.0]));
    }

    #[test]
    fn rounds_once_where_going_through_f32_rounds_twice() {
        let just_above_a_tie = 1.0 + 0.5 * ULP_AT_ONE + 2f64.powi(-40);
        assert_eq!(round_to_f16(just_above_a_tie), 1.0 + ULP_AT_ONE);
        assert_eq!(round_to_f16(f64::from(just_above_a_tie as f32)), 1.0);
        let just_above_a_bf16_tie = 1.0 + 2f64.powi(-8) + 2f64.powi(-40);
        assert_eq!(round_to_bf16(just_above_a_bf16_tie), 1.0 + 2f64.powi(-7));
    }

    #[test]
    fn f16_overflows_from_65520_and_not_before() {
        assert_eq!(round_to_f16(65519.99), 65504.0);
        assert_eq!(round_to_f16(65520.0), f64::INFINITY);
        assert_eq!(round_to_f16(-65520.0), f64::NEG_INFINITY);
        assert_eq!(pack_f16(&[65519.99, 65520.0]), [0x7c00_7bff]);
    }

    #[test]
    fn f16_subnormals_are_kept() {
        let tiny = 2f64.powi(-24);
        assert_eq!(round_to_f16(tiny), tiny);
        assert_eq!(
            round_to_f16(0.5 * tiny),
            0.0,
            "a tie between 0 and the first subnormal goes to 0"
        );
        assert_eq!(round_to_f16(0.500_001 * tiny), tiny);
        assert_eq!(round_to_f16(2.5 * tiny), 2.0 * tiny);
        assert_eq!(
            round_to_f16(1023.5 * tiny),
            F16_MIN_NORMAL,
            "the carry reaches the normals"
        );
        assert_eq!(
            pack_f16(&[tiny as f32, F16_MIN_NORMAL as f32]),
            [0x0400_0001]
        );
    }

    #[test]
    fn bf16_has_the_range_of_f32() {
        assert_eq!(round_to_bf16(f64::from(f32::MAX)), f64::INFINITY);
        assert_eq!(round_to_bf16(3.389e38), f64::from(bf16::MAX.to_f32()));
        assert_eq!(round_to_bf16(2f64.powi(-133)), 2f64.powi(-133));
        assert_eq!(round_to_bf16(2f64.powi(-134)), 0.0);
        assert_eq!(round_to_bf16(257.0), 256.0);
        assert_eq!(round_to_bf16(259.0), 260.0);
    }

    #[test]
    fn nan_infinity_and_signed_zero_are_kept() {
        for round in [round_to_f16, round_to_bf16] {
            assert!(round(f64::NAN).is_nan());
            assert_eq!(round(f64::INFINITY), f64::INFINITY);
            assert_eq!(round(-0.0).to_bits(), (-0.0f64).to_bits());
            assert_eq!(round(-1e-300).to_bits(), (-0.0f64).to_bits());
            assert_eq!(round(f64::from_bits(1)), 0.0);
        }
        let f16_back = unpack_f16(&pack_f16(&[f32::NAN, f32::NEG_INFINITY]), 2);
        let bf16_back = unpack_bf16(&pack_bf16(&[f32::NAN, f32::NEG_INFINITY]), 2);
        assert!(f16_back[0].is_nan() && bf16_back[0].is_nan());
        assert_eq!([f16_back[1], bf16_back[1]], [f32::NEG_INFINITY; 2]);
    }

    #[test]
    fn agrees_with_the_f32_conversion_on_every_f16_midpoint() {
        for bits in 0..0x7bffu16 {
            let low = f16::from_bits(bits).to_f32();
            let high = f16::from_bits(bits + 1).to_f32();
            let middle = 0.5 * (low + high);
            for value in [middle.next_down(), middle, middle.next_up()] {
                assert_eq!(
                    round_to_f16(f64::from(value)),
                    f16::from_f32(value).to_f64(),
                    "{value:e}"
                );
            }
        }
    }
}
