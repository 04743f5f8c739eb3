//! NF4: 16 levels at equally likely intervals of a normal distribution, exact at -1, 0 and 1.
//!
//! Codes are those of bitsandbytes bit for bit: the weight times `1 / amax` in f32, then the nearest level,
//! the lower one exactly in the middle. Groups of 64 weights are its default.
//!
//! Source: Dettmers, Pagnoni, Holtzman, Zettlemoyer, "QLoRA" (NeurIPS 2023), appendix E.

use super::codebook::{Codebook, CodebookMatrix};
use crate::compress::{CompressError, Weights};
use crate::num::Granularity;

/// The levels of codes 0 to 15.
pub const NF4_LEVELS: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// The code of weight 0.
const ZERO: u8 = 7;

/// Quantizes a matrix to NF4.
///
/// # Errors
/// [`CompressError`] naming the tensor for a group that does not divide `k`.
pub fn nf4(
    weights: &Weights<'_>,
    granularity: Granularity,
) -> Result<CodebookMatrix, CompressError> {
    CodebookMatrix::encode(weights, Codebook::Nf4, granularity, ZERO, |amax, value| {
        let inverse = 1.0 / amax;
        // Below 2^-128 the reciprocal overflows, where bitsandbytes makes NaN of a zero.
        let unit = if inverse.is_finite() {
            value * inverse
        } else {
            value / amax
        };
        code(unit)
    })
}

/// The code of a value between -1 and 1.
fn code(unit: f32) -> u8 {
    let above = |pair: &[f32]| unit > ((f64::from(pair[0]) + f64::from(pair[1])) / 2.0) as f32;
    NF4_LEVELS.windows(2).filter(|pair| above(pair)).count() as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::testing::normal;

    #[test]
    fn boundaries_are_the_fifteen_constants_of_bitsandbytes() {
        const BOUNDARIES: [f64; 15] = [
            -0.848_096_400_499_343_9,
            -0.610_632_926_225_662_2,
            -0.459_995_269_775_390_6,
            -0.339_679_434_895_515_44,
            -0.234_607_405_960_559_84,
            -0.137_911_733_239_889_14,
            -0.045_525_018_125_772_476,
            0.039_790_149_778_127_67,
            0.120_255_250_483_751_3,
            0.203_521_251_678_466_8,
            0.292_013_771_831_989_3,
            0.389_312_535_524_368_3,
            0.501_663_416_624_069_2,
            0.642_786_920_070_648_2,
            0.861_478_418_111_801_1,
        ];
        for (index, boundary) in BOUNDARIES.into_iter().enumerate() {
            let boundary = boundary as f32;
            assert_eq!(code(boundary), index as u8, "the middle goes down");
            assert_eq!(code(boundary.next_up()), index as u8 + 1);
        }
    }

    #[test]
    fn levels_are_their_own_codes_at_any_scale() {
        for (index, &level) in NF4_LEVELS.iter().enumerate() {
            assert_eq!(code(level), index as u8);
        }
        let group: Vec<f32> = NF4_LEVELS.iter().map(|level| 0.25 * level).collect();
        let weights = Weights::new("w", 1, 16, &group).unwrap();
        let matrix = nf4(&weights, Granularity::Channel).unwrap();
        assert_eq!(matrix.codes(), (0..16).collect::<Vec<u8>>());
        assert_eq!(matrix.dequantize(), group);
    }

    #[test]
    fn no_level_is_nearer_than_the_one_chosen() {
        let values = normal(8 * 64, 0);
        let weights = Weights::new("w", 8, 64, &values).unwrap();
        let matrix = nf4(&weights, Granularity::Group(64)).unwrap();
        for (index, (&value, found)) in values.iter().zip(matrix.dequantize()).enumerate() {
            let scale = f64::from(matrix.scales()[index / 64]);
            let distance = |level: f64| (f64::from(value) - level).abs();
            let nearest = NF4_LEVELS
                .iter()
                .map(|&level| distance(scale * f64::from(level)))
                .fold(f64::INFINITY, f64::min);
            // The product by a reciprocal is off by two roundings.
            assert!(distance(f64::from(found)) <= nearest + scale * 1e-6);
        }
    }

    #[test]
    fn zeros_and_the_smallest_numbers_have_codes() {
        let tiny = f32::from_bits(1);
        let values = [0.0, -0.0, tiny, 0.0];
        let weights = Weights::new("w", 2, 2, &values).unwrap();
        let matrix = nf4(&weights, Granularity::Channel).unwrap();
        assert_eq!(matrix.codes(), [7, 7, 15, 7]);
        assert_eq!(matrix.dequantize(), [0.0, 0.0, tiny, 0.0]);
    }
}
