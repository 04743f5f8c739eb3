//! Matrices in codes that stand for levels of a table: `w ~= scale * levels[code]`.
//!
//! The levels lie between -1 and 1 and the scale of a group is its largest magnitude, kept as f32, so the
//! largest weight of a group is exact where 1 is a level of its sign. Values are one f32 product, which is
//! the whole definition.

use std::fmt;

use super::logarithmic::LogWidth;
use super::{logarithmic, nf4};
use crate::compress::{CompressError, Weights};
use crate::num::{Bits, Granularity, QuantError, QuantizedMatrix, QuantizedParts, ScaleType};

/// A table of levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codebook {
    /// The 16 levels of NF4: [`super::nf4()`].
    Nf4,
    /// Zero and powers of two of either sign: [`super::logarithmic()`].
    Log2(LogWidth),
}

impl Codebook {
    /// Every table.
    pub const ALL: [Self; 3] = [
        Self::Nf4,
        Self::Log2(LogWidth::Four),
        Self::Log2(LogWidth::Eight),
    ];

    /// Bits of a code.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Nf4 => 4,
            Self::Log2(width) => width.bits(),
        }
    }

    /// The level of every code, `2^bits` of them.
    #[must_use]
    pub fn levels(self) -> Vec<f32> {
        match self {
            Self::Nf4 => nf4::NF4_LEVELS.to_vec(),
            Self::Log2(width) => logarithmic::levels(width),
        }
    }
}

/// Displays as `nf4`, `log4` and `log8`.
impl fmt::Display for Codebook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nf4 => "nf4",
            Self::Log2(LogWidth::Four) => "log4",
            Self::Log2(LogWidth::Eight) => "log8",
        })
    }
}

/// Displays as `nf4-g32`, `log8-channel`.
impl fmt::Display for CodebookMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.granularity {
            Granularity::Tensor => write!(f, "{}-tensor", self.codebook),
            Granularity::Channel => write!(f, "{}-channel", self.codebook),
            Granularity::Group(size) => write!(f, "{}-g{size}", self.codebook),
        }
    }
}

/// An `[n, k]` matrix of codes into a [`Codebook`].
#[derive(Clone, Debug, PartialEq)]
pub struct CodebookMatrix {
    codebook: Codebook,
    granularity: Granularity,
    n: usize,
    k: usize,
    codes: Vec<u8>,
    scales: Vec<f32>,
}

impl CodebookMatrix {
    /// A matrix of codes `[n, k]` and scales: one for a tensor, `n` for channels, `n k / group` for
    /// groups.
    ///
    /// # Errors
    /// [`CompressError`] naming `tensor`: no elements, groups that do not divide `k`, wrong lengths, codes
    /// past the table, scales that are not finite.
    pub fn from_parts(
        tensor: &str,
        codebook: Codebook,
        granularity: Granularity,
        [n, k]: [usize; 2],
        codes: Vec<u8>,
        scales: Vec<f32>,
    ) -> Result<Self, CompressError> {
        let length = group_length(tensor, granularity, n, k)?;
        let count = n.saturating_mul(k);
        CompressError::check_len(tensor, "codes", codes.len(), count)?;
        CompressError::check_len(tensor, "scales", scales.len(), count / length)?;
        CompressError::check_finite(tensor, "scale", &scales)?;
        let largest = (1u32 << codebook.bits()) - 1;
        if let Some(index) = codes.iter().position(|&code| u32::from(code) > largest) {
            return Err(CompressError::Packed {
                tensor: tensor.to_owned(),
                problem: format!("code {} at {index} is above {largest}", codes[index]),
            });
        }
        Ok(Self {
            codebook,
            granularity,
            n,
            k,
            codes,
            scales,
        })
    }

    /// Codes every group of a matrix by `code`, which is given the group's largest magnitude (never 0)
    /// and a weight; `zero` is the code of a group of zeros.
    pub(super) fn encode(
        weights: &Weights<'_>,
        codebook: Codebook,
        granularity: Granularity,
        zero: u8,
        code: impl Fn(f32, f32) -> u8,
    ) -> Result<Self, CompressError> {
        let (n, k) = (weights.n(), weights.k());
        let length = group_length(weights.name(), granularity, n, k)?;
        let mut codes = Vec::with_capacity(n * k);
        let mut scales = Vec::with_capacity(n * k / length);
        for group in weights.values().chunks_exact(length) {
            let amax = group.iter().fold(0f32, |amax, value| amax.max(value.abs()));
            scales.push(amax);
            if amax == 0.0 {
                codes.resize(codes.len() + group.len(), zero);
            } else {
                codes.extend(group.iter().map(|&value| code(amax, value)));
            }
        }
        Ok(Self {
            codebook,
            granularity,
            n,
            k,
            codes,
            scales,
        })
    }

    /// Table of levels.
    #[must_use]
    pub const fn codebook(&self) -> Codebook {
        self.codebook
    }

    /// Which weights share a scale.
    #[must_use]
    pub const fn granularity(&self) -> Granularity {
        self.granularity
    }

    /// Rows and columns.
    #[must_use]
    pub const fn shape(&self) -> [usize; 2] {
        [self.n, self.k]
    }

    /// Codes `[n, k]`.
    #[must_use]
    pub fn codes(&self) -> &[u8] {
        &self.codes
    }

    /// Scales: one for a tensor, `[n]` for channels, `[n, k / group]` for groups.
    #[must_use]
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// The values `[n, k]`: `scale * level`, rounded to f32 once.
    #[must_use]
    pub fn dequantize(&self) -> Vec<f32> {
        let levels = self.codebook.levels();
        let length = self.codes.len() / self.scales.len();
        let mut values = Vec::with_capacity(self.codes.len());
        for (codes, &scale) in self.codes.chunks_exact(length).zip(&self.scales) {
            values.extend(codes.iter().map(|&code| scale * levels[usize::from(code)]));
        }
        values
    }

    /// The same values as int8 codes, where the levels are whole multiples of the smallest: `log4`, whose levels are
    /// 64ths. A 64th of a scale is exact, and so is every product. `None` for other tables, and for groups that no
    /// whole words hold.
    #[must_use]
    pub fn as_int8(&self) -> Option<QuantizedMatrix> {
        if self.codebook != Codebook::Log2(LogWidth::Four) {
            return None;
        }
        let levels = self.codebook.levels();
        let steps = |code: &u8| (64.0 * levels[usize::from(*code)]) as i8;
        let codes: Vec<i8> = self.codes.iter().map(steps).collect();
        let scales: Vec<f32> = self.scales.iter().map(|scale| scale / 64.0).collect();
        let parts = QuantizedParts {
            bits: Bits::Int8,
            granularity: self.granularity,
            n: self.n,
            k: self.k,
            codes: &codes,
            scales: &scales,
            scale_type: ScaleType::F32,
            zeros: None,
        };
        // Groups that are no multiple of four are refused.
        let made = QuantizedMatrix::from_codes("levels", &parts).ok()?;
        // A 64th of a tiny scale may not be exact.
        (made.dequantize() == self.dequantize()).then_some(made)
    }

    /// The codes as bytes: one each at 8 bits; at 4 bits two to a byte, the first in the *high* nibble as
    /// bitsandbytes has them, with a zero nibble after an odd count.
    #[must_use]
    pub fn packed_codes(&self) -> Vec<u8> {
        if self.codebook.bits() == 8 {
            return self.codes.clone();
        }
        let pair = |pair: &[u8]| pair[0] << 4 | pair.get(1).copied().unwrap_or(0);
        self.codes.chunks(2).map(pair).collect()
    }

    /// A matrix of codes as [`Self::packed_codes`] has them.
    ///
    /// # Errors
    /// [`CompressError`] naming `tensor`: what [`Self::from_parts`] refuses, bytes that are not the codes, and a nibble
    /// that is set after the last.
    pub fn from_packed(
        tensor: &str,
        codebook: Codebook,
        granularity: Granularity,
        [n, k]: [usize; 2],
        bytes: &[u8],
        scales: Vec<f32>,
    ) -> Result<Self, CompressError> {
        let count = n.saturating_mul(k);
        let codes = match codebook.bits() {
            8 => bytes.to_vec(),
            _ => {
                let expected = count.div_ceil(2);
                CompressError::check_len(tensor, "bytes of codes", bytes.len(), expected)?;
                let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
                let mut codes: Vec<u8> = nibbles.collect();
                if codes
                    .split_off(count.min(codes.len()))
                    .iter()
                    .any(|&code| code != 0)
                {
                    return Err(CompressError::Packed {
                        tensor: tensor.to_owned(),
                        problem: format!("bits are set after the last of {count} codes"),
                    });
                }
                codes
            }
        };
        Self::from_parts(tensor, codebook, granularity, [n, k], codes, scales)
    }

    /// Bits a weight takes, its part of an f32 scale included.
    #[must_use]
    pub fn bits_per_weight(&self) -> f64 {
        let scale_bits = 32.0 * self.scales.len() as f64;
        f64::from(self.codebook.bits()) + scale_bits / self.codes.len() as f64
    }
}

/// Weights that share a scale.
fn group_length(
    tensor: &str,
    granularity: Granularity,
    n: usize,
    k: usize,
) -> Result<usize, CompressError> {
    let tensor = || tensor.to_owned();
    if n == 0 || k == 0 {
        let tensor = tensor();
        return Err(QuantError::Empty { tensor, n, k }.into());
    }
    match granularity {
        Granularity::Tensor => Ok(n.saturating_mul(k)),
        Granularity::Channel => Ok(k),
        Granularity::Group(0) => Err(QuantError::EmptyBlock {
            tensor: tensor(),
            what: "group_size",
        }
        .into()),
        Granularity::Group(group_size) if !k.is_multiple_of(group_size as usize) => {
            Err(QuantError::KNotMultipleOfGroup {
                tensor: tensor(),
                k,
                group_size,
            }
            .into())
        }
        Granularity::Group(group_size) => Ok(group_size as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(codes: &[u8], scales: &[f32]) -> Result<CodebookMatrix, CompressError> {
        let group = Granularity::Group(2);
        CodebookMatrix::from_parts(
            "w",
            Codebook::Nf4,
            group,
            [1, 4],
            codes.into(),
            scales.into(),
        )
    }

    #[test]
    fn a_value_is_scale_times_level() {
        let matrix = parts(&[0, 7, 15, 8], &[2.0, 0.5]).unwrap();
        assert_eq!(matrix.dequantize(), [-2.0, 0.0, 0.5, 0.5 * 0.079_580_3]);
        assert_eq!(matrix.packed_codes(), [0x07, 0xf8]);
        assert_eq!(matrix.bits_per_weight(), 4.0 + 32.0 / 2.0);
    }

    #[test]
    fn packed_codes_come_back_and_what_follows_them_must_be_zero() {
        let group = Granularity::Tensor;
        let made = |codes: &[u8], table| {
            let (codes, scales) = (codes.to_vec(), vec![0.5]);
            CodebookMatrix::from_parts("w", table, group, [1, 3], codes, scales).unwrap()
        };
        let packed = |bytes: &[u8], table| {
            CodebookMatrix::from_packed("w", table, group, [1, 3], bytes, vec![0.5])
        };
        for table in Codebook::ALL {
            let matrix = made(&[3, 15, 9], table);
            assert_eq!(packed(&matrix.packed_codes(), table), Ok(matrix));
        }
        let refused = |bytes: &[u8]| packed(bytes, Codebook::Nf4).unwrap_err().to_string();
        assert!(refused(&[0x12, 0x34]).contains("after the last of 3 codes"));
        assert!(refused(&[0x12]).contains("1 bytes of codes"));
    }

    #[test]
    fn levels_that_are_whole_steps_are_int8_codes_of_the_same_values() {
        let values: Vec<f32> = (0..64).map(|i| 0.3 * (i as f32 - 30.5) / 31.0).collect();
        let weights = Weights::new("w", 4, 16, &values).unwrap();
        let rounding = logarithmic::LogRounding::default();
        for granularity in [
            Granularity::Tensor,
            Granularity::Channel,
            Granularity::Group(8),
        ] {
            let four = logarithmic(&weights, LogWidth::Four, granularity, rounding);
            let four = four.unwrap();
            let int8 = four.as_int8().unwrap();
            assert_eq!(int8.dequantize(), four.dequantize());
            assert_eq!(int8.unpacked_codes().iter().max(), Some(&64));
            let eight = logarithmic(&weights, LogWidth::Eight, granularity, rounding);
            assert_eq!(eight.unwrap().as_int8(), None);
            assert_eq!(nf4(&weights, granularity).unwrap().as_int8(), None);
        }
        // Two codes are half a word; a 64th of the scale is no f32.
        let two = Granularity::Group(2);
        let four = logarithmic(&weights, LogWidth::Four, two, rounding);
        assert_eq!(four.unwrap().as_int8(), None);
        let tiny = vec![3e-45; 64];
        let weights = Weights::new("w", 4, 16, &tiny).unwrap();
        let granularity = Granularity::Channel;
        let four = logarithmic(&weights, LogWidth::Four, granularity, rounding);
        assert_eq!(four.unwrap().as_int8(), None);
    }

    #[test]
    fn refuses_parts_that_do_not_fit() {
        let refused = |codes: &[u8], scales: &[f32]| parts(codes, scales).unwrap_err().to_string();
        assert!(refused(&[0; 3], &[1.0; 2]).contains("3 codes"));
        assert!(refused(&[0; 4], &[1.0]).contains("1 scales"));
        assert!(refused(&[0, 16, 0, 0], &[1.0; 2]).contains("code 16 at 1 is above 15"));
        assert!(refused(&[0; 4], &[1.0, f32::NAN]).contains("scale 1 is NaN"));
        for group in [0, 3] {
            assert!(group_length("w", Granularity::Group(group), 1, 4).is_err());
        }
    }
}
