//! How a quantized matrix is stored, which is all that a kernel needs to know.
//!
//! A weight is `w ~= scale * (q - zero)` with `q` a signed integer in `[-2^(b-1), 2^(b-1) - 1]`, or,
//! with a float minimum, `w ~= scale * (q + 2^(b-1)) + minimum`, where the sum in brackets is the unsigned
//! code.
//! The words are described in [`super::layout`]; how scales and codes were found is a
//! [`super::Scheme`].

use std::fmt;

use super::layout::row_stride_words;

/// Width of the integer codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bits {
    /// -128..=127.
    Int8,
    /// -8..=7.
    Int4,
}

impl Bits {
    /// Bits in a code.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Int8 => 8,
            Self::Int4 => 4,
        }
    }

    /// Smallest code, -2^(b-1).
    #[must_use]
    pub const fn min(self) -> i32 {
        -(1 << (self.bits() - 1))
    }

    /// Largest code, 2^(b-1) - 1.
    #[must_use]
    pub const fn max(self) -> i32 {
        (1 << (self.bits() - 1)) - 1
    }

    /// Codes in a 32-bit word.
    #[must_use]
    pub const fn per_word(self) -> usize {
        32 / self.bits() as usize
    }
}

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "int{}", self.bits())
    }
}

/// Which weights share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Granularity {
    /// The whole matrix.
    Tensor,
    /// An output feature, which is a row.
    Channel,
    /// This many consecutive elements of a row.
    Group(u32),
}

/// Whether weight 0 is code 0 or a code of its own per group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Zero {
    /// Zero points are 0 and not stored.
    Symmetric,
    /// One integer zero point beside each scale.
    ZeroPoint,
    /// One float beside each scale, of the scale's type, that unsigned codes are counted from. Weight 0
    /// need not have a code. GGML Q4_1, and any quantizer whose zero point is not rounded (HQQ: the
    /// minimum is `-scale * zero`).
    FloatMinimum,
}

/// How a scale is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScaleType {
    /// One f32 each.
    F32,
    /// One f16 each, rounded to nearest even.
    F16,
}

impl ScaleType {
    /// Bits in a stored scale.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::F32 => 32,
            Self::F16 => 16,
        }
    }
}

/// How a quantized matrix is stored: what a kernel must know. Displays as `int4-g64-zp`,
/// `int4-g32-min` or `int8-channel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QuantFormat {
    /// Width of the codes.
    pub bits: Bits,
    /// Which weights share a scale.
    pub granularity: Granularity,
    /// Whether zero points are stored.
    pub zero: Zero,
    /// How scales are stored.
    pub scale_type: ScaleType,
}

impl QuantFormat {
    /// Device bytes of an `[n, k]` matrix: codes, scales and zero points, padding included.
    #[must_use]
    pub fn device_bytes(self, n: usize, k: usize) -> u64 {
        let scales = match self.granularity {
            Granularity::Tensor => 1,
            Granularity::Channel => n,
            Granularity::Group(size) => n.saturating_mul(k / (size as usize).max(1)),
        };
        let scales = scales as u64;
        let scale_words = scales
            .saturating_mul(self.scale_type.bits().into())
            .div_ceil(32);
        let zero_words = match self.zero {
            Zero::Symmetric => 0,
            Zero::ZeroPoint => scales.div_ceil(4),
            Zero::FloatMinimum => scale_words,
        };
        let codes = n.saturating_mul(row_stride_words(self.bits, k)) as u64;
        codes
            .saturating_add(scale_words)
            .saturating_add(zero_words)
            .saturating_mul(4)
    }
}

impl fmt::Display for QuantFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.granularity {
            Granularity::Tensor => write!(f, "{}-tensor", self.bits)?,
            Granularity::Channel => write!(f, "{}-channel", self.bits)?,
            Granularity::Group(size) => write!(f, "{}-g{size}", self.bits)?,
        }
        match self.zero {
            Zero::Symmetric => Ok(()),
            Zero::ZeroPoint => f.write_str("-zp"),
            Zero::FloatMinimum => f.write_str("-min"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_ranges_are_twos_complement() {
        assert_eq!([Bits::Int8.min(), Bits::Int8.max()], [-128, 127]);
        assert_eq!([Bits::Int4.min(), Bits::Int4.max()], [-8, 7]);
        assert_eq!([Bits::Int8.per_word(), Bits::Int4.per_word()], [4, 8]);
    }

    #[test]
    fn displays_as_width_granularity_and_zero_points() {
        let mut format = QuantFormat {
            bits: Bits::Int4,
            granularity: Granularity::Group(64),
            zero: Zero::ZeroPoint,
            scale_type: ScaleType::F16,
        };
        assert_eq!(format.to_string(), "int4-g64-zp");
        format.granularity = Granularity::Channel;
        assert_eq!(format.to_string(), "int4-channel-zp");
        format.zero = Zero::Symmetric;
        format.granularity = Granularity::Tensor;
        assert_eq!(format.to_string(), "int4-tensor");
    }
}
