//! Int8 quantization of activations, dynamic and static: the definitions that the device kernels are compared
//! with.
//!
//! Row `i`, block `b` of `x [m, k]`: `scale = amax / 127`, `q = clamp(round_half_even(x * (127 /
//! amax)), -127, 127)`, so `x ~= scale * q`. Sums of codes serve zero points: `sum (q_w - z) q_x =
//! sum q_w q_x - z sum q_x`. They have their own block length because it is the group of the
//! *weights* that fixes which codes share a `z`.
//!
//! Static: one scale for a whole tensor, found beforehand ([`StaticScale`]), `q = clamp(round_half_even(x * r), -127,
//! 127)` with `r` the scale's reciprocal rounded to f32. Nothing but the product is rounded before the code, so no
//! division decides what a device makes of a value.

use super::error::QuantError;
use super::format::{Bits, Granularity};
use super::layout::{Shape, check_finite, pack_row, row_stride_words};

const MAX_CODE: f64 = 127.0;

/// The scale of activations that calibration found beforehand: one for a whole tensor.
///
/// It is kept as its bits, so that formats of activations can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticScale(u32);

impl StaticScale {
    /// 2^-100: smaller ones have reciprocals that a device may not multiply subnormal values by.
    pub const SMALLEST: f32 = f32::from_bits((127 - 100) << 23);
    /// 2^100: the reciprocals of larger ones get close to subnormals.
    pub const LARGEST: f32 = f32::from_bits((127 + 100) << 23);
    /// The scale of inputs that were zero in every sample: the 2^-23 that PyTorch's observers and compressed-tensors
    /// have for a range of zero.
    pub const OF_ZEROS: Self = Self(f32::EPSILON.to_bits());

    /// A scale of the activations `tensor`.
    ///
    /// # Errors
    /// [`QuantError::StaticScale`] unless it is between [`Self::SMALLEST`] and [`Self::LARGEST`].
    pub fn new(tensor: &str, scale: f32) -> Result<Self, QuantError> {
        if (Self::SMALLEST..=Self::LARGEST).contains(&scale) {
            return Ok(Self(scale.to_bits()));
        }
        Err(QuantError::StaticScale {
            tensor: tensor.to_owned(),
            scale,
        })
    }

    /// The scale whose largest code is the magnitude `amax`, rounded to f32; [`Self::OF_ZEROS`] where it is 0, or so
    /// small that it counts as that.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_largest(tensor: &str, amax: f64) -> Result<Self, QuantError> {
        let largest_zero = MAX_CODE * f64::from(Self::SMALLEST);
        if (0.0..largest_zero).contains(&amax) {
            return Ok(Self::OF_ZEROS);
        }
        Self::new(tensor, (amax / MAX_CODE) as f32)
    }

    /// The scale.
    #[must_use]
    pub const fn get(self) -> f32 {
        f32::from_bits(self.0)
    }

    /// What values are multiplied by: one over the scale, rounded to f32.
    #[must_use]
    pub fn reciprocal(self) -> f32 {
        (1.0 / f64::from(self.get())) as f32
    }

    /// The code of a value. NaN has the code 0, as every reference here has it; what a device makes of it is not
    /// promised.
    #[must_use]
    pub fn code(self, value: f32) -> i8 {
        let scaled = (f64::from(value) * f64::from(self.reciprocal())).round_ties_even();
        scaled.clamp(-MAX_CODE, MAX_CODE) as i8
    }
}

/// Activations quantized to int8, with a scale per block and the sums of their codes.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedRows {
    /// `[m, row_stride_words]`, packed as int8 weights are; padding codes are 0.
    pub codes: Vec<u32>,
    /// Words from one row to the next, a multiple of 4.
    pub row_stride_words: usize,
    /// `[m, ceil(k / block)]`; 0 for a block of zeros.
    pub scales: Vec<f32>,
    /// `[m, ceil(k / sum_block)]`, sums of the codes.
    pub sums: Vec<i32>,
}

/// Quantizes `x [m, k]` per `block` elements of a row (`block == k`: per row), with code sums per
/// `sum_block`.
///
/// Codes are computed in f64 and the scale is rounded to f32 once. A block of zeros has scale 0 and
/// codes 0. The last block of a row may be short.
///
/// # Errors
/// Under the name `activations`: an empty shape or block, a wrong length, more words than a u32 can
/// address, NaN or infinity.
///
/// # Panics
/// If a sum could leave i32, which takes a `sum_block` and a `k` above 16,909,320.
pub fn quantize_rows_reference(
    x: &[f32],
    m: usize,
    k: usize,
    block: usize,
    sum_block: usize,
) -> Result<QuantizedRows, QuantError> {
    const NAME: &str = "activations";
    let shape = Shape::new(NAME, m, k, Bits::Int8, Granularity::Channel)?;
    shape.check_len(NAME, "activations", x.len(), shape.n_weights())?;
    for (what, length) in [("block", block), ("sum_block", sum_block)] {
        if length == 0 {
            let tensor = NAME.to_owned();
            return Err(QuantError::EmptyBlock { tensor, what });
        }
    }
    check_finite(NAME, x, k)?;
    assert!(
        sum_block.min(k) <= i32::MAX as usize / 127,
        "a sum of {} codes can leave i32",
        sum_block.min(k)
    );

    let row_stride_words = row_stride_words(Bits::Int8, k);
    let mut rows = QuantizedRows {
        codes: vec![0; m * row_stride_words],
        row_stride_words,
        scales: Vec::with_capacity(m * k.div_ceil(block)),
        sums: Vec::with_capacity(m * k.div_ceil(sum_block)),
    };
    let mut codes = Vec::with_capacity(k);
    for (row, words) in x
        .chunks_exact(k)
        .zip(rows.codes.chunks_exact_mut(row_stride_words))
    {
        codes.clear();
        for values in row.chunks(block) {
            rows.scales.push(quantize_block(values, &mut codes));
        }
        let sum = |codes: &[i8]| codes.iter().map(|&code| i32::from(code)).sum::<i32>();
        rows.sums.extend(codes.chunks(sum_block).map(sum));
        pack_row(Bits::Int8, &codes, 0, words);
    }
    Ok(rows)
}

/// Appends the codes of a block and returns its scale.
fn quantize_block(values: &[f32], codes: &mut Vec<i8>) -> f32 {
    let amax = values
        .iter()
        .fold(0f32, |amax, value| amax.max(value.abs()));
    if amax == 0.0 {
        codes.resize(codes.len() + values.len(), 0);
        return 0.0;
    }
    let inverse_scale = MAX_CODE / f64::from(amax);
    let code = |&value: &f32| {
        let scaled = (f64::from(value) * inverse_scale).round_ties_even();
        scaled.clamp(-MAX_CODE, MAX_CODE) as i8
    };
    codes.extend(values.iter().map(code));
    (f64::from(amax) / MAX_CODE) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::philox::Philox;

    #[test]
    fn golden_words_scales_and_sums() {
        // Row 0: amax 127, codes as they are with ties 0.5 -> 0, 1.5 -> 2, -2.5 -> -2. Row 1: amax
        // 254, halved.
        let x = [127.0, 0.5, 1.5, -2.5, 3.0, 254.0, -254.0, 2.0, 3.0, 5.0];
        let rows = quantize_rows_reference(&x, 2, 5, 5, 2).unwrap();
        assert_eq!(rows.row_stride_words, 4);
        assert_eq!(rows.codes, [0xfe02_007f, 3, 0, 0, 0x0201_817f, 2, 0, 0]);
        assert_eq!(rows.scales, [1.0, 2.0]);
        assert_eq!(rows.sums, [127, 0, 3, 0, 3, 2]);
    }

    #[test]
    fn blocks_have_their_own_scales_and_zeros_have_scale_zero() {
        let rows = quantize_rows_reference(&[127.0, -127.0, 0.0, -0.0, 12.7], 1, 5, 2, 5).unwrap();
        assert_eq!(rows.scales, [1.0, 0.0, 0.1]);
        assert_eq!(rows.codes, [0x0000_817f, 0x7f, 0, 0]);
        assert_eq!(rows.sums, [127]);
    }

    #[test]
    fn error_is_at_most_half_a_step() {
        let mut stream = Philox::new(5).stream(0);
        let x: Vec<f32> = (0..3 * 70).map(|_| stream.normal()).collect();
        let rows = quantize_rows_reference(&x, 3, 70, 32, 64).unwrap();
        for (index, &value) in x.iter().enumerate() {
            let (row, column) = (index / 70, index % 70);
            let word = rows.codes[row * rows.row_stride_words + column / 4];
            let code = (word >> (8 * (column % 4))) as u8 as i8;
            let scale = f64::from(rows.scales[row * 3 + column / 32]);
            let error = (f64::from(value) - scale * f64::from(code)).abs();
            assert!(error <= scale * 0.500_02, "{value} {code} {scale}");
        }
    }

    #[test]
    fn denormal_rows_keep_full_range_codes() {
        let tiny = f32::from_bits(127);
        let rows = quantize_rows_reference(&[tiny, -tiny, f32::from_bits(1)], 1, 3, 3, 3).unwrap();
        assert_eq!(rows.codes[0], 0x0001_817f);
        assert_eq!(rows.scales, [f32::from_bits(1)]);
    }

    #[test]
    fn static_codes_are_ties_to_even_clamped_and_within_half_a_step() {
        let two = StaticScale::new("x", 2.0).unwrap();
        let codes = [1.0, 3.0, -5.0, 254.0, 256.0, -1e30, f32::INFINITY, 0.0].map(|x| two.code(x));
        assert_eq!(codes, [0, 2, -2, 127, 127, -127, 127, 0]);
        assert_eq!(two.code(f32::NAN), 0);
        let scale = StaticScale::of_largest("x", 3.0).unwrap();
        let mut stream = Philox::new(6).stream(0);
        for _ in 0..200 {
            let x = stream.normal().clamp(-3.0, 3.0);
            let error = (f64::from(x) - f64::from(scale.get()) * f64::from(scale.code(x))).abs();
            assert!(error <= f64::from(scale.get()) * 0.500_02, "{x}");
        }
    }

    #[test]
    fn static_scales_are_numbers_that_have_a_reciprocal() {
        assert_eq!(StaticScale::SMALLEST, 2f32.powi(-100));
        assert_eq!(StaticScale::LARGEST, 2f32.powi(100));
        for bad in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-31, 2e30] {
            let error = StaticScale::new("2.input_scale", bad).unwrap_err();
            let message = error.to_string();
            assert!(
                message.starts_with("2.input_scale: a scale of "),
                "{message}"
            );
            assert!(message.ends_with("2^-100 to 2^100"), "{message}");
        }
        for zero in [0.0, 1e-40, 1e-30] {
            assert_eq!(
                StaticScale::of_largest("x", zero),
                Ok(StaticScale::OF_ZEROS)
            );
        }
        let zeros = StaticScale::OF_ZEROS;
        assert_eq!(zeros.get(), f32::EPSILON);
        assert_eq!(zeros.code(0.0), 0);
        for bad in [f64::NAN, -1.0, f64::INFINITY] {
            assert!(StaticScale::of_largest("x", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn refuses_bad_shapes_blocks_and_values() {
        let refused = |x: &[f32], m, k, block| {
            quantize_rows_reference(x, m, k, block, 4)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            refused(&[0.0; 4], 1, 4, 0),
            "activations: block 0; a block has at least one element"
        );
        assert_eq!(
            refused(&[0.0; 4], 2, 4, 4),
            "activations: 2 x 4 calls for 8 activations, found 4"
        );
        assert!(refused(&[0.0, 0.0, 0.0, f32::NAN], 2, 2, 2).contains("row 1, column 1"));
    }
}
