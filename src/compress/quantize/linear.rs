//! Linear schemes of every width.

use super::range::RangeChoice;
use crate::compress::CompressError;
use crate::num::Width;
use crate::num::{Granularity, QuantError, ScaleRule, ScaleType, Zero};

/// How a matrix is quantized to integer codes: `w ~= scale * (q - zero)`. Start from a preset and change a
/// field: `Linear { range: RangeChoice::MSE, ..Linear::symmetric(Width::Int4, Granularity::Group(32)) }`.
///
/// Codes are rounded half to even with the scale as it is stored. The other roundings that
/// [`crate::num::Scheme`] knows serve files of other tools.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    /// Width of the codes.
    pub width: Width,
    /// Which weights share a scale.
    pub granularity: Granularity,
    /// How scale and zero point follow from a range: `RestrictedAbsMax` is the symmetric narrow range,
    /// `FullRangeAbsMax` and `SignedAbsMax` are symmetric, `MinMax` is asymmetric.
    pub rule: ScaleRule,
    /// How scales are stored.
    pub scale_type: ScaleType,
    /// Which part of a group's values the codes cover.
    pub range: RangeChoice,
}

impl Linear {
    /// Symmetric codes over the full range: narrow range at int8, where one code in 256 is no loss; below
    /// that the value of largest magnitude gets the extra code. Groups have f16 scales, channels and
    /// tensors f32 ones.
    #[must_use]
    pub const fn symmetric(width: Width, granularity: Granularity) -> Self {
        let rule = match width {
            Width::Int8 => ScaleRule::RestrictedAbsMax,
            Width::Int6 | Width::Int4 | Width::Int3 | Width::Int2 => ScaleRule::SignedAbsMax,
        };
        let scale_type = match granularity {
            Granularity::Group(_) => ScaleType::F16,
            Granularity::Tensor | Granularity::Channel => ScaleType::F32,
        };
        Self {
            width,
            granularity,
            rule,
            scale_type,
            range: RangeChoice::MinMax,
        }
    }

    /// Codes from the smallest to the largest value, with a zero point.
    #[must_use]
    pub const fn asymmetric(width: Width, granularity: Granularity) -> Self {
        Self {
            rule: ScaleRule::MinMax,
            ..Self::symmetric(width, granularity)
        }
    }

    /// Weights of a row that share a scale, `k` for channels and tensors.
    ///
    /// # Errors
    /// [`QuantError`] naming `tensor` for a group that is no whole number of packed words or does not
    /// divide `k`, [`CompressError::FloatMinimum`].
    pub(super) fn group_size(&self, tensor: &str, k: usize) -> Result<usize, CompressError> {
        if self.rule.zero() == Zero::FloatMinimum {
            return Err(CompressError::FloatMinimum {
                tensor: tensor.to_owned(),
            });
        }
        let Granularity::Group(group_size) = self.granularity else {
            return Ok(k);
        };
        let bits = self.width.container();
        let (size, multiple) = (group_size as usize, bits.per_word());
        let tensor = || tensor.to_owned();
        if size == 0 || !size.is_multiple_of(multiple) {
            return Err(QuantError::GroupSize {
                tensor: tensor(),
                group_size,
                bits,
                multiple,
            }
            .into());
        }
        if !k.is_multiple_of(size) {
            return Err(QuantError::KNotMultipleOfGroup {
                tensor: tensor(),
                k,
                group_size,
            }
            .into());
        }
        Ok(size)
    }
}

/// Displays as `int3-g32-zp`.
impl std::fmt::Display for Linear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.granularity {
            Granularity::Tensor => write!(f, "{}-tensor", self.width)?,
            Granularity::Channel => write!(f, "{}-channel", self.width)?,
            Granularity::Group(size) => write!(f, "{}-g{size}", self.width)?,
        }
        match self.rule.zero() {
            Zero::Symmetric => Ok(()),
            Zero::ZeroPoint => f.write_str("-zp"),
            Zero::FloatMinimum => f.write_str("-min"),
        }
    }
}
