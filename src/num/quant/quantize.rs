//! Round-to-nearest quantization of a weight matrix: a scale for each group, then a code for each
//! weight.
//!
//! Groups are independent; what happens within one is [`super::rule`].

use super::error::QuantError;
use super::format::{Granularity, Zero};
use super::layout::{Shape, check_finite};
use super::matrix::{QuantizedMatrix, Zeros};
use super::rule::{Coder, ideal_scale};
use super::scheme::Scheme;

/// Quantizes `w [n, k]`, row major with `n` output and `k` input features.
///
/// A weight whose code is not clamped is off by at most half a scale. A group of zeros gets zero
/// codes (its zero point, if it has one) and the scale [`Scheme::scale_floor`], or a zero of GGML's
/// sign under [`super::CodeScale::UnroundedF32`].
///
/// # Errors
/// A [`QuantError`] naming `tensor_name` for: zero dimensions, a group size that is not a positive
/// multiple of the codes in a word (8 for int4, 4 for int8) or that does not divide `k`, more
/// packed words than a u32 can address, `w.len()` other than `n * k`, NaN or infinity in `w`, and a
/// scale above the largest f16 where scales are f16.
pub fn quantize(
    tensor_name: &str,
    w: &[f32],
    n: usize,
    k: usize,
    scheme: &Scheme,
) -> Result<QuantizedMatrix, QuantError> {
    let shape = Shape::new(tensor_name, n, k, scheme.bits, scheme.granularity)?;
    shape.check_len(tensor_name, "weights", w.len(), shape.n_weights())?;
    check_finite(tensor_name, w, k)?;

    let group_len = match scheme.granularity {
        Granularity::Tensor => shape.n_weights(),
        Granularity::Channel | Granularity::Group(_) => shape.group_size,
    };
    let mut codes = Vec::with_capacity(w.len());
    let mut scales = Vec::with_capacity(shape.n_scales);
    let mut zeros = Vec::with_capacity(shape.n_scales);
    let mut minima = Vec::with_capacity(shape.n_scales);
    for (index, group) in w.chunks_exact(group_len).enumerate() {
        let coder = Coder::fit(scheme, group);
        if !coder.stored_scale.is_finite() {
            return Err(QuantError::Scale {
                tensor: tensor_name.to_owned(),
                scale: ideal_scale(scheme, group),
                group: index,
                allowed: "the largest f16 is 65504; store f32 scales instead",
            });
        }
        if !coder.stored_minimum.is_finite() {
            return Err(QuantError::Scale {
                tensor: tensor_name.to_owned(),
                scale: coder.stored_minimum,
                group: index,
                allowed: "the minimum of a group, too, is at most 65504 as f16; store f32 scales instead",
            });
        }
        codes.extend(group.iter().map(|&value| coder.code(value)));
        scales.push(coder.stored_scale as f32);
        zeros.push(coder.zero);
        minima.push(coder.stored_minimum as f32);
    }
    let zeros = match scheme.rule.zero() {
        Zero::Symmetric => Zeros::None,
        Zero::ZeroPoint => Zeros::Points(zeros),
        Zero::FloatMinimum => Zeros::Minima(minima),
    };
    Ok(QuantizedMatrix::assemble(
        scheme.format(),
        shape,
        &codes,
        scales,
        zeros,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::philox::Philox;
    use crate::num::quant::{Bits, QuantizedParts, Rounding, ScaleRule, ScaleType};

    fn normal_matrix(seed: u64, len: usize) -> Vec<f32> {
        let mut stream = Philox::new(seed).stream(0);
        (0..len).map(|_| stream.normal()).collect()
    }

    const RESTRICTED_INT4: Scheme = Scheme {
        rule: ScaleRule::RestrictedAbsMax,
        ..Scheme::int4_group(8)
    };

    fn all_schemes() -> Vec<Scheme> {
        let rules = [
            ScaleRule::RestrictedAbsMax,
            ScaleRule::FullRangeAbsMax,
            ScaleRule::SignedAbsMax,
            ScaleRule::MinMax,
        ];
        let starts = [
            Scheme::int4_group(8),
            Scheme::int8_group(16),
            Scheme::int8_channel(),
            Scheme::int8_tensor(),
            Scheme::int4_channel(),
        ];
        let pairs = starts
            .iter()
            .flat_map(|&start| rules.map(|rule| Scheme { rule, ..start }));
        let roundings = [
            Rounding::HalfEven,
            Rounding::HalfAway,
            Rounding::TruncateAfterHalf,
        ];
        pairs
            .flat_map(|scheme| roundings.map(|rounding| Scheme { rounding, ..scheme }))
            .collect()
    }

    #[test]
    fn zeros_give_zero_weights_and_a_usable_scale() {
        for scheme in all_schemes() {
            let matrix = quantize("w", &[0.0; 32], 2, 16, &scheme).unwrap();
            assert!(
                matrix.scales().iter().all(|scale| scale.is_normal()),
                "{scheme:?}"
            );
            assert!(
                matrix.dequantize().iter().all(|&weight| weight == 0.0),
                "{scheme:?}"
            );
        }
    }

    #[test]
    fn unclamped_error_is_at_most_half_a_scale_and_zero_is_exact() {
        let kinds: [fn(f32) -> f32; 7] = [
            |x| x,
            f32::abs,
            |x| -x.abs() - 1.0,
            |x| x * x * x * 100.0,
            |x| x * 1e-6,
            |x| x * 1e-41,
            |x| if x > 0.0 { 3.25 } else { 0.0 },
        ];
        for (kind, map) in kinds.iter().enumerate() {
            let mut w: Vec<f32> = normal_matrix(11, 6 * 48).into_iter().map(map).collect();
            w[5] = 0.0;
            for scheme in all_schemes() {
                let matrix = quantize("w", &w, 6, 48, &scheme).unwrap();
                for (index, &value) in w.iter().enumerate() {
                    let (row, column) = (index / 48, index % 48);
                    let group = match scheme.granularity {
                        Granularity::Tensor => 0,
                        _ => row * matrix.groups_per_row() + column / matrix.group_size(),
                    };
                    let scale = f64::from(matrix.scales()[group]).abs();
                    let code = matrix.code(row, column);
                    let error = (matrix.weight(row, column) - f64::from(value)).abs();
                    let clamped = code == scheme.bits.min() || code == scheme.bits.max();
                    assert!(
                        clamped || error <= scale * 0.5,
                        "kind {kind} {scheme:?} {index} {value}"
                    );
                    assert!(
                        error <= scale * 1.02,
                        "clamping costs at most half a step more: {scheme:?}"
                    );
                    assert!(value != 0.0 || matrix.weight(row, column) == 0.0);
                }
            }
        }
    }

    #[test]
    fn restricted_codes_never_use_the_most_negative_one() {
        for (scheme, min) in [
            (RESTRICTED_INT4, -7),
            (Scheme::int8_group(8), -127),
            (Scheme::int8_channel(), -127),
        ] {
            let matrix = quantize("w", &normal_matrix(2, 4096), 16, 256, &scheme).unwrap();
            assert_eq!(
                matrix.unpacked_codes().into_iter().min(),
                Some(min),
                "{scheme:?}"
            );
        }
    }

    #[test]
    fn quantizing_again_changes_nothing() {
        // The full range rule is left out: its largest weight comes back as 7 or 8 steps, and 8 /
        // 7.5 is another scale.
        let min_max_f32 = Scheme {
            scale_type: ScaleType::F32,
            ..Scheme::int4_group_zero_point(32)
        };
        let idempotent = [
            RESTRICTED_INT4,
            Scheme::int4_group(32),
            Scheme::int8_group(32),
            Scheme::int8_channel(),
            Scheme::int8_tensor(),
            Scheme::ggml_q8_0(),
            min_max_f32,
        ];
        for scheme in idempotent {
            let once = quantize("w", &normal_matrix(3, 2048), 8, 256, &scheme).unwrap();
            let twice = quantize("w", &once.dequantize(), 8, 256, &scheme).unwrap();
            assert_eq!(
                (once.codes(), once.zeros()),
                (twice.codes(), twice.zeros()),
                "{scheme:?}"
            );
            if scheme.scale_type == ScaleType::F16 {
                assert_eq!(
                    once, twice,
                    "every product with an f16 scale is exact: {scheme:?}"
                );
            }
        }
    }

    #[test]
    fn rows_of_one_element_and_tensors_share_scales_as_named() {
        let channel = quantize("w", &[2.0, -1.0, 0.0], 3, 1, &Scheme::int8_channel()).unwrap();
        assert_eq!(channel.unpacked_codes(), [127, -127, 0]);
        assert_eq!(channel.scales().len(), 3);
        let tensor = quantize("w", &[127.0, -1.0, 63.5], 3, 1, &Scheme::int8_tensor()).unwrap();
        assert_eq!(tensor.unpacked_codes(), [127, -1, 64]);
        assert_eq!(tensor.scales(), [1.0]);
    }

    #[test]
    fn device_bytes_follow_the_formula() {
        for group_size in [32u32, 64, 128] {
            for (scheme, bits) in [
                (Scheme::int4_group(group_size), 4.0),
                (Scheme::int8_group(group_size), 8.0),
                (Scheme::int4_group_zero_point(group_size), 4.0),
            ] {
                let matrix = quantize("w", &normal_matrix(4, 4 * 384), 4, 384, &scheme).unwrap();
                let per_group = if matrix.zeros().is_some() { 24.0 } else { 16.0 };
                assert_eq!(
                    matrix.bits_per_weight(),
                    bits + per_group / f64::from(group_size)
                );
                let words = matrix.codes().len()
                    + matrix.packed_scales().len()
                    + matrix.packed_zeros().map_or(0, |zeros| zeros.len());
                assert_eq!(matrix.bytes(), 4 * words);
            }
        }
        let q4_0 = quantize("w", &[1.0; 64], 1, 64, &Scheme::ggml_q4_0()).unwrap();
        let q8_0 = quantize("w", &[1.0; 64], 1, 64, &Scheme::ggml_q8_0()).unwrap();
        assert_eq!([q4_0.bits_per_weight(), q8_0.bits_per_weight()], [4.5, 8.5]);
    }

    #[test]
    fn importing_the_parts_gives_the_same_matrix() {
        let matrix = quantize(
            "w",
            &normal_matrix(9, 3 * 40),
            3,
            40,
            &Scheme::int4_group_zero_point(8),
        )
        .unwrap();
        let zeros: Vec<i8> = matrix
            .zeros()
            .unwrap()
            .iter()
            .map(|&zero| zero as i8)
            .collect();
        let again = QuantizedMatrix::from_codes(
            "w",
            &QuantizedParts {
                bits: Bits::Int4,
                granularity: Granularity::Group(8),
                n: 3,
                k: 40,
                codes: &matrix.unpacked_codes(),
                scales: matrix.scales(),
                scale_type: ScaleType::F16,
                zeros: Some(&zeros),
            },
        );
        assert_eq!(again, Ok(matrix));
    }

    #[test]
    fn codes_above_a_float_minimum_are_off_by_half_a_scale_and_keep_what_is_on_their_grid() {
        let w = normal_matrix(21, 6 * 64);
        for scheme in [Scheme::ggml_q4_1(), Scheme::int4_group_minimum(16)] {
            let once = quantize("w", &w, 6, 64, &scheme).unwrap();
            let group = once.group_size();
            for (index, &value) in w.iter().enumerate() {
                let (row, column) = (index / 64, index % 64);
                let scale = f64::from(once.scales()[index / group]);
                let error = (once.weight(row, column) - f64::from(value)).abs();
                // Half a step, and what scale and minimum lost as f16.
                assert!(error <= scale * 0.52 + 2e-3, "{scheme:?} {value} {error}");
            }
            let twice = quantize("w", &once.dequantize(), 6, 64, &scheme).unwrap();
            assert_eq!(twice, once, "{scheme:?}");
        }
    }

    #[test]
    fn refusals_name_the_tensor_the_value_and_what_is_allowed() {
        let refused = |w: &[f32], n, k, scheme: Scheme| {
            quantize("q_proj", w, n, k, &scheme)
                .unwrap_err()
                .to_string()
        };
        let cases = [
            (
                refused(&[0.0; 96], 1, 96, Scheme::int4_group(64)),
                "q_proj: k = 96 is not a multiple of group_size 64",
            ),
            (
                refused(&[0.0; 96], 1, 96, Scheme::int4_group(12)),
                "q_proj: group_size 12 is not a positive multiple of 8, the number of int4 codes in a packed word",
            ),
            (
                refused(&[0.0; 96], 1, 96, Scheme::int8_group(0)),
                "q_proj: group_size 0 is not a positive multiple of 4, the number of int8 codes in a packed word",
            ),
            (
                refused(&[0.0; 5], 2, 3, Scheme::int8_channel()),
                "q_proj: 2 x 3 calls for 6 weights, found 5",
            ),
            (
                refused(&[], 0, 3, Scheme::int8_channel()),
                "q_proj: a matrix of 0 x 3 has no elements; n and k must be at least 1",
            ),
            (
                refused(&[], 1 << 31, 64, Scheme::int8_channel()),
                "q_proj: 2147483648 x 64 packs to more than 4294967295 words, the most that a u32 can address",
            ),
            (
                refused(
                    &[0.0, 0.0, 0.0, 0.0, f32::NEG_INFINITY, f32::NAN],
                    2,
                    3,
                    Scheme::int8_tensor(),
                ),
                "q_proj: element 4 (row 1, column 1) is -inf; every element must be finite",
            ),
            (
                refused(&[1e6; 8], 1, 8, Scheme::int4_group(8)),
                "q_proj: scale -125000 of group 0 cannot be stored; the largest f16 is 65504; store f32 scales instead",
            ),
        ];
        for (message, expected) in cases {
            assert_eq!(message, expected);
        }
    }
}
