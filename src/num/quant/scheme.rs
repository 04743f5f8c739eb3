//! By which convention the scales and codes of a matrix are found.
//!
//! Tools disagree: three scale conventions and three roundings of ties are in daily use, and a file
//! compared with its own writer must follow that writer. A [`Scheme`] names one choice of each
//! beside the [`QuantFormat`] that they lead to; the arithmetic is in [`super::rule`].

use std::fmt;

use super::format::{Bits, Granularity, QuantFormat, ScaleType, Zero};
use crate::num::float::F16_MIN_NORMAL;

/// How the scale of a group follows from its weights. `amax` is the largest magnitude in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScaleRule {
    /// `amax / (2^(b-1) - 1)`, that is /127 or /7: "narrow range", the most negative code is never
    /// used. GGML Q8_0, AutoAWQ without zero points, TensorFlow Lite weights.
    RestrictedAbsMax,
    /// `amax / ((qmax - qmin) / 2)`, that is /127.5 or /7.5: the largest positive weight is clamped
    /// by half a step. PyTorch observers, torchao, compressed-tensors.
    FullRangeAbsMax,
    /// The weight of largest magnitude, sign kept, over `-2^(b-1)`: it is the one that gets the
    /// extra code, so the scale is negative where that weight is positive. GGML Q4_0.
    SignedAbsMax,
    /// `(max - min) / (2^b - 1)` with the range widened to include 0, and
    /// `zero = round(qmin - min / scale)`, half to even, clamped to a code. PyTorch asymmetric;
    /// GPTQ and AWQ with zero points, whose codes are unsigned: the same values plus `2^(b-1)`.
    MinMax,
    /// `(max - min) / (2^b - 1)` over the group's own range, which need not include 0, with `min` kept
    /// as a float: `q = round((x - min) / scale)`, unsigned. GGML Q4_1.
    MinMaxFloat,
}

impl ScaleRule {
    /// The zero points that the rule calls for. Only a rule decides this, so a symmetric rule with
    /// zero points cannot be written down.
    #[must_use]
    pub const fn zero(self) -> Zero {
        match self {
            Self::RestrictedAbsMax | Self::FullRangeAbsMax | Self::SignedAbsMax => Zero::Symmetric,
            Self::MinMax => Zero::ZeroPoint,
            Self::MinMaxFloat => Zero::FloatMinimum,
        }
    }
}

/// Rounding of `x / scale` to an integer; they differ on ties only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// Ties to even: PyTorch, NumPy, WGSL `round`. The zero point is added after rounding, as
    /// torchao and GPTQ do; compressed-tensors adds it before, which moves ties under odd ones.
    HalfEven,
    /// Ties away from zero: C `roundf`, Rust `round`, GGML Q8_0.
    HalfAway,
    /// `trunc(x / scale + zero + 2^(b-1) + 0.5)` on the unsigned offset code, so ties go up: GGML
    /// Q4_0 (`+ 8.5`) and Q4_1 (`(x - min) / scale + 0.5`).
    TruncateAfterHalf,
}

/// The scale that codes are computed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodeScale {
    /// The stored scale, after rounding to its type and after its floor; the quotient is taken in
    /// f64, where it cannot fall on a tie that the exact quotient of two f32 misses.
    Stored,
    /// GGML's arithmetic, all in f32: `d` before rounding to f16, then `x * (1 / d)`. The stored
    /// scale has no floor: it may be an f16 subnormal, or a zero for a group of zeros.
    UnroundedF32,
}

/// How to quantize a matrix. Start from a preset and change a field:
/// `Scheme { rule, ..Scheme::int4_group(64) }`.
///
/// Displays as its [`QuantFormat`]; rule and rounding are how the codes were found, not what they
/// mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scheme {
    /// Width of the codes.
    pub bits: Bits,
    /// Which weights share a scale.
    pub granularity: Granularity,
    /// How a scale follows from its group.
    pub rule: ScaleRule,
    /// What happens to ties.
    pub rounding: Rounding,
    /// How scales are stored.
    pub scale_type: ScaleType,
    /// Which scale the codes are computed with.
    pub code_scale: CodeScale,
}

impl Scheme {
    /// int4, one f16 scale per `group_size`, signed maximum rule: on normal weights it loses about
    /// 0.7 dB less than [`ScaleRule::FullRangeAbsMax`] and 1.1 dB less than
    /// [`ScaleRule::RestrictedAbsMax`] at the same size.
    #[must_use]
    pub const fn int4_group(group_size: u32) -> Self {
        Self::new(
            Bits::Int4,
            Granularity::Group(group_size),
            ScaleRule::SignedAbsMax,
            ScaleType::F16,
        )
    }

    /// int4 with an f16 scale and a zero point per `group_size`.
    #[must_use]
    pub const fn int4_group_zero_point(group_size: u32) -> Self {
        Self::new(
            Bits::Int4,
            Granularity::Group(group_size),
            ScaleRule::MinMax,
            ScaleType::F16,
        )
    }

    /// int4 with an f16 scale and an f16 minimum per `group_size`.
    #[must_use]
    pub const fn int4_group_minimum(group_size: u32) -> Self {
        Self::new(
            Bits::Int4,
            Granularity::Group(group_size),
            ScaleRule::MinMaxFloat,
            ScaleType::F16,
        )
    }

    /// int4, one f32 scale per output feature.
    #[must_use]
    pub const fn int4_channel() -> Self {
        Self::new(
            Bits::Int4,
            Granularity::Channel,
            ScaleRule::SignedAbsMax,
            ScaleType::F32,
        )
    }

    /// int8, one f16 scale per `group_size`, codes in -127..=127.
    #[must_use]
    pub const fn int8_group(group_size: u32) -> Self {
        Self::new(
            Bits::Int8,
            Granularity::Group(group_size),
            ScaleRule::RestrictedAbsMax,
            ScaleType::F16,
        )
    }

    /// int8, one f32 scale per output feature, codes in -127..=127.
    #[must_use]
    pub const fn int8_channel() -> Self {
        Self::new(
            Bits::Int8,
            Granularity::Channel,
            ScaleRule::RestrictedAbsMax,
            ScaleType::F32,
        )
    }

    /// int8, one f32 scale for the whole matrix, codes in -127..=127.
    #[must_use]
    pub const fn int8_tensor() -> Self {
        Self::new(
            Bits::Int8,
            Granularity::Tensor,
            ScaleRule::RestrictedAbsMax,
            ScaleType::F32,
        )
    }

    /// The codes and scales of a GGML Q4_0 tensor, block 32.
    #[must_use]
    pub const fn ggml_q4_0() -> Self {
        Self {
            rounding: Rounding::TruncateAfterHalf,
            code_scale: CodeScale::UnroundedF32,
            ..Self::int4_group(32)
        }
    }

    /// The codes, scales and minima of a GGML Q4_1 tensor, block 32.
    #[must_use]
    pub const fn ggml_q4_1() -> Self {
        Self {
            rounding: Rounding::TruncateAfterHalf,
            code_scale: CodeScale::UnroundedF32,
            ..Self::int4_group_minimum(32)
        }
    }

    /// The codes and scales of a GGML Q8_0 tensor, block 32.
    #[must_use]
    pub const fn ggml_q8_0() -> Self {
        Self {
            rounding: Rounding::HalfAway,
            code_scale: CodeScale::UnroundedF32,
            ..Self::int8_group(32)
        }
    }

    /// compressed-tensors W4A16: int4 symmetric groups, scale `amax / 7.5`, here stored as f16.
    #[must_use]
    pub const fn compressed_tensors_int4(group_size: u32) -> Self {
        Self {
            rule: ScaleRule::FullRangeAbsMax,
            ..Self::int4_group(group_size)
        }
    }

    /// compressed-tensors W8A16 and W8A8 weights: int8 channels, scale `amax / 127.5`.
    #[must_use]
    pub const fn compressed_tensors_int8() -> Self {
        Self {
            rule: ScaleRule::FullRangeAbsMax,
            ..Self::int8_channel()
        }
    }

    const fn new(
        bits: Bits,
        granularity: Granularity,
        rule: ScaleRule,
        scale_type: ScaleType,
    ) -> Self {
        Self {
            bits,
            granularity,
            rule,
            rounding: Rounding::HalfEven,
            scale_type,
            code_scale: CodeScale::Stored,
        }
    }

    /// How matrices of this scheme are stored.
    #[must_use]
    pub const fn format(&self) -> QuantFormat {
        QuantFormat {
            bits: self.bits,
            granularity: self.granularity,
            zero: self.rule.zero(),
            scale_type: self.scale_type,
        }
    }

    /// The smallest magnitude of a scale under [`CodeScale::Stored`]; also the scale of a group of
    /// zeros.
    ///
    /// f32 epsilon (2^-23) for the two PyTorch rules, as its observers and compressed-tensors have
    /// it, and for the others the smallest normal f32: subnormals may be flushed on a device. f16
    /// scales never go below the smallest normal f16, 2^-14, for the same reason.
    #[must_use]
    pub fn scale_floor(&self) -> f64 {
        let rule_floor = match self.rule {
            ScaleRule::FullRangeAbsMax | ScaleRule::MinMax => f64::from(f32::EPSILON),
            ScaleRule::RestrictedAbsMax | ScaleRule::SignedAbsMax | ScaleRule::MinMaxFloat => {
                f64::from(f32::MIN_POSITIVE)
            }
        };
        match self.scale_type {
            ScaleType::F32 => rule_floor,
            ScaleType::F16 => F16_MIN_NORMAL,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.format().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_as_the_storage_format() {
        assert_eq!(Scheme::int4_group(64).to_string(), "int4-g64");
        assert_eq!(Scheme::int4_group_zero_point(64).to_string(), "int4-g64-zp");
        assert_eq!(Scheme::int8_channel().to_string(), "int8-channel");
        assert_eq!(Scheme::int8_tensor().to_string(), "int8-tensor");
        assert_eq!(Scheme::ggml_q8_0().to_string(), "int8-g32");
        assert_eq!(Scheme::ggml_q4_1().to_string(), "int4-g32-min");
    }

    #[test]
    fn scale_floors_are_normal_numbers_of_their_type() {
        assert_eq!(Scheme::int4_group(32).scale_floor(), 2f64.powi(-14));
        assert_eq!(
            Scheme::compressed_tensors_int8().scale_floor(),
            2f64.powi(-23)
        );
        assert_eq!(Scheme::int8_channel().scale_floor(), 2f64.powi(-126));
    }
}
