//! The door for codes found elsewhere: importers of files, and quantizers better than rounding to
//! nearest.

use super::error::QuantError;
use super::format::{Bits, Granularity, QuantFormat, ScaleType, Zero};
use super::layout::Shape;
use super::matrix::{QuantizedMatrix, Zeros};
use crate::num::float::round_to_f16;

/// Codes, scales and zero points found elsewhere, for [`QuantizedMatrix::from_codes`].
///
/// `n_scales` below is `n * k / group_size`, `n` for channels, 1 for a tensor.
#[derive(Clone, Copy, Debug)]
pub struct QuantizedParts<'a> {
    /// Width of the codes.
    pub bits: Bits,
    /// Which weights share a scale.
    pub granularity: Granularity,
    /// Rows, output features.
    pub n: usize,
    /// Columns, input features.
    pub k: usize,
    /// Signed codes `[n, k]`. A format with unsigned codes subtracts `2^(b-1)` from codes and zero
    /// points alike.
    pub codes: &'a [i8],
    /// `[n_scales]`, finite; of any sign and possibly zero.
    pub scales: &'a [f32],
    /// How to store the scales; with F16 each must already be an f16 value.
    pub scale_type: ScaleType,
    /// `[n_scales]` in the range of the signed codes; `None` for symmetric.
    pub zeros: Option<&'a [i8]>,
}

/// Unsigned codes above a float minimum, for [`QuantizedMatrix::from_minima`]:
/// `w = scale * code + minimum`. `n_scales` is as for [`QuantizedParts`].
#[derive(Clone, Copy, Debug)]
pub struct MinimumParts<'a> {
    /// Width of the codes.
    pub bits: Bits,
    /// Which weights share a scale and a minimum.
    pub granularity: Granularity,
    /// Rows, output features.
    pub n: usize,
    /// Columns, input features.
    pub k: usize,
    /// Unsigned codes `[n, k]`, below `2^b`.
    pub codes: &'a [u8],
    /// `[n_scales]`, finite; of any sign and possibly zero.
    pub scales: &'a [f32],
    /// `[n_scales]`, finite. A float zero point `z` of `scale * (code - z)` is the minimum
    /// `-scale * z`.
    pub minima: &'a [f32],
    /// How to store scales and minima; with F16 each must already be an f16 value.
    pub scale_type: ScaleType,
}

impl QuantizedMatrix {
    /// Packs codes above a float minimum that an importer or another quantizer found.
    ///
    /// # Errors
    /// As [`Self::from_codes`]; a minimum is held to what a scale is held to.
    pub fn from_minima(tensor_name: &str, parts: &MinimumParts<'_>) -> Result<Self, QuantError> {
        let shape = Shape::new(tensor_name, parts.n, parts.k, parts.bits, parts.granularity)?;
        shape.check_len(tensor_name, "codes", parts.codes.len(), shape.n_weights())?;
        shape.check_len(tensor_name, "scales", parts.scales.len(), shape.n_scales)?;
        shape.check_len(tensor_name, "minima", parts.minima.len(), shape.n_scales)?;
        let most = parts.bits.max() - parts.bits.min();
        if let Some(index) = parts.codes.iter().position(|&code| i32::from(code) > most) {
            return Err(QuantError::UnsignedOutOfRange {
                tensor: tensor_name.to_owned(),
                value: parts.codes[index],
                index,
                bits: parts.bits,
                max: most,
            });
        }
        for values in [parts.scales, parts.minima] {
            for (group, &value) in values.iter().enumerate() {
                check_scale(tensor_name, group, f64::from(value), parts.scale_type)?;
            }
        }
        let format = QuantFormat {
            bits: parts.bits,
            granularity: parts.granularity,
            zero: Zero::FloatMinimum,
            scale_type: parts.scale_type,
        };
        let signed = |&code: &u8| (i32::from(code) + parts.bits.min()) as i8;
        let codes: Vec<i8> = parts.codes.iter().map(signed).collect();
        Ok(Self::assemble(
            format,
            shape,
            &codes,
            parts.scales.to_vec(),
            Zeros::Minima(parts.minima.to_vec()),
        ))
    }

    /// Packs codes that an importer or another quantizer found.
    ///
    /// # Errors
    /// A [`QuantError`] naming `tensor_name` for: zero dimensions, groups that do not tile rows or
    /// words, wrong lengths, more words than a u32 can address, codes or zero points out of range,
    /// scales that are not finite or not f16.
    pub fn from_codes(tensor_name: &str, parts: &QuantizedParts<'_>) -> Result<Self, QuantError> {
        let shape = Shape::new(tensor_name, parts.n, parts.k, parts.bits, parts.granularity)?;
        shape.check_len(tensor_name, "codes", parts.codes.len(), shape.n_weights())?;
        shape.check_len(tensor_name, "scales", parts.scales.len(), shape.n_scales)?;
        check_range(tensor_name, "code", parts.bits, parts.codes)?;
        if let Some(zeros) = parts.zeros {
            shape.check_len(tensor_name, "zero points", zeros.len(), shape.n_scales)?;
            check_range(tensor_name, "zero point", parts.bits, zeros)?;
        }
        for (group, &scale) in parts.scales.iter().enumerate() {
            check_scale(tensor_name, group, f64::from(scale), parts.scale_type)?;
        }
        let format = QuantFormat {
            bits: parts.bits,
            granularity: parts.granularity,
            zero: parts.zeros.map_or(Zero::Symmetric, |_| Zero::ZeroPoint),
            scale_type: parts.scale_type,
        };
        let zeros = parts.zeros.map_or(Zeros::None, |zeros| {
            Zeros::Points(zeros.iter().map(|&zero| i32::from(zero)).collect())
        });
        Ok(Self::assemble(
            format,
            shape,
            parts.codes,
            parts.scales.to_vec(),
            zeros,
        ))
    }
}

/// Refuses codes or zero points outside the range of their width.
fn check_range(
    tensor: &str,
    what: &'static str,
    bits: Bits,
    values: &[i8],
) -> Result<(), QuantError> {
    let (min, max) = (bits.min(), bits.max());
    match values
        .iter()
        .position(|&value| !(min..=max).contains(&i32::from(value)))
    {
        None => Ok(()),
        Some(index) => Err(QuantError::OutOfRange {
            tensor: tensor.to_owned(),
            what,
            value: values[index],
            index,
            bits,
            min,
            max,
        }),
    }
}

/// Refuses a scale that its storage type cannot hold exactly.
fn check_scale(
    tensor: &str,
    group: usize,
    scale: f64,
    scale_type: ScaleType,
) -> Result<(), QuantError> {
    let (fits, allowed) = match scale_type {
        ScaleType::F32 => (scale.is_finite(), "it must be finite"),
        ScaleType::F16 => (
            scale.is_finite() && round_to_f16(scale) == scale,
            "it must be an f16 value, at most 65504",
        ),
    };
    if fits {
        return Ok(());
    }
    Err(QuantError::Scale {
        tensor: tensor.to_owned(),
        scale,
        group,
        allowed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODES: [i8; 16] = [-8, 7, 0, 1, 2, 3, 4, 5, -1, -2, -3, -4, -5, -6, -7, -8];

    fn parts() -> QuantizedParts<'static> {
        QuantizedParts {
            bits: Bits::Int4,
            granularity: Granularity::Group(8),
            n: 1,
            k: 16,
            codes: &CODES,
            scales: &[0.5, -2.0],
            scale_type: ScaleType::F16,
            zeros: Some(&[3, -8]),
        }
    }

    fn refused(parts: QuantizedParts<'_>) -> String {
        QuantizedMatrix::from_codes("w", &parts)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn rejects_codes_and_zero_points_out_of_range() {
        let mut codes = CODES;
        codes[5] = 8;
        let error = refused(QuantizedParts {
            codes: &codes,
            ..parts()
        });
        assert_eq!(error, "w: code 8 at 5 is outside -8..=7, the range of int4");
        let error = refused(QuantizedParts {
            zeros: Some(&[0, -9]),
            ..parts()
        });
        assert_eq!(
            error,
            "w: zero point -9 at 1 is outside -8..=7, the range of int4"
        );
    }

    #[test]
    fn rejects_scales_that_cannot_be_stored() {
        let error = refused(QuantizedParts {
            scales: &[0.5, 0.1],
            ..parts()
        });
        assert!(
            error.starts_with("w: scale 0.1") && error.contains("f16"),
            "{error}"
        );
        let error = refused(QuantizedParts {
            scales: &[f32::NAN, 0.5],
            ..parts()
        });
        assert!(error.contains("scale NaN of group 0"), "{error}");
    }

    #[test]
    fn golden_weights_above_a_minimum() {
        let codes = [0, 15, 1, 2, 3, 4, 5, 6];
        let parts = MinimumParts {
            bits: Bits::Int4,
            granularity: Granularity::Group(8),
            n: 1,
            k: 8,
            codes: &codes,
            scales: &[0.5],
            minima: &[-1.25],
            scale_type: ScaleType::F16,
        };
        let matrix = QuantizedMatrix::from_minima("w", &parts).unwrap();
        assert_eq!(
            matrix.dequantize(),
            [-1.25, 6.25, -0.75, -0.25, 0.25, 0.75, 1.25, 1.75]
        );
        assert_eq!(matrix.format().to_string(), "int4-g8-min");
        assert_eq!(matrix.code(0, 1), 7);
        assert_eq!(matrix.packed_zeros(), Some(vec![0x0000_bd00]));
        assert_eq!(matrix.bytes(), 4 * (4 + 1 + 1));
        // Nibbles are the unsigned codes: 0 f 1 2 low, 3 4 5 6 high.
        assert_eq!(matrix.codes()[0], 0x6251_4f30);
        let refused = |parts: MinimumParts<'_>| {
            QuantizedMatrix::from_minima("w", &parts)
                .unwrap_err()
                .to_string()
        };
        let mut wide = codes;
        wide[3] = 16;
        assert_eq!(
            refused(MinimumParts {
                codes: &wide,
                ..parts
            }),
            "w: code 16 at 3 is above 15, the largest of unsigned int4"
        );
        let error = refused(MinimumParts {
            minima: &[f32::INFINITY],
            ..parts
        });
        assert!(error.starts_with("w: scale inf of group 0"), "{error}");
        assert_eq!(
            refused(MinimumParts {
                minima: &[],
                ..parts
            }),
            "w: 1 x 8 calls for 1 minima, found 0"
        );
    }

    #[test]
    fn rejects_wrong_lengths() {
        let error = refused(QuantizedParts {
            scales: &[1.0],
            ..parts()
        });
        assert_eq!(error, "w: 1 x 16 calls for 2 scales, found 1");
        let error = refused(QuantizedParts {
            codes: &CODES[1..],
            ..parts()
        });
        assert_eq!(error, "w: 1 x 16 calls for 16 codes, found 15");
        let error = refused(QuantizedParts {
            zeros: Some(&[0]),
            ..parts()
        });
        assert_eq!(error, "w: 1 x 16 calls for 2 zero points, found 1");
    }
}
