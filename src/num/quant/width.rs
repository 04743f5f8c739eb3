//! Widths of integer codes, narrower ones than a kernel reads too.
//!
//! Kernels read int8 and int4 ([`Bits`]). int3 and int2 codes are computed with as int4 ones of a smaller range:
//! -4..=3 and -2..=1 lie within -8..=7, so a matrix of them runs on every int4 kernel as it is; int6 codes likewise as
//! int8 ones. In files they have their own width.

use std::fmt;

use super::format::Bits;

/// Width of integer codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// -2..=1.
    Int2,
    /// -4..=3.
    Int3,
    /// -8..=7.
    Int4,
    /// -32..=31.
    Int6,
    /// -128..=127.
    Int8,
}

impl Width {
    /// Every width, narrowest first.
    pub const ALL: [Self; 5] = [Self::Int2, Self::Int3, Self::Int4, Self::Int6, Self::Int8];

    /// Bits of a code.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Int2 => 2,
            Self::Int3 => 3,
            Self::Int4 => 4,
            Self::Int6 => 6,
            Self::Int8 => 8,
        }
    }

    /// Smallest code, `-2^(bits - 1)`.
    #[must_use]
    pub const fn min(self) -> i32 {
        -(1 << (self.bits() - 1))
    }

    /// Largest code, `2^(bits - 1) - 1`.
    #[must_use]
    pub const fn max(self) -> i32 {
        (1 << (self.bits() - 1)) - 1
    }

    /// Whether a code is one of this width.
    #[must_use]
    pub const fn holds(self, code: i32) -> bool {
        self.min() <= code && code <= self.max()
    }

    /// The width that kernels read such codes as.
    #[must_use]
    pub const fn container(self) -> Bits {
        match self {
            Self::Int2 | Self::Int3 | Self::Int4 => Bits::Int4,
            Self::Int6 | Self::Int8 => Bits::Int8,
        }
    }

    /// The width of so many bits.
    #[must_use]
    pub const fn of_bits(bits: u32) -> Option<Self> {
        match bits {
            2 => Some(Self::Int2),
            3 => Some(Self::Int3),
            4 => Some(Self::Int4),
            6 => Some(Self::Int6),
            8 => Some(Self::Int8),
            _ => None,
        }
    }

    /// The width of codes that use all of what a kernel reads.
    #[must_use]
    pub const fn of(bits: Bits) -> Self {
        match bits {
            Bits::Int4 => Self::Int4,
            Bits::Int8 => Self::Int8,
        }
    }

    /// Codes in a 32-bit word, none across words: 16, 10, 8, 5 and 4.
    #[must_use]
    pub const fn per_word(self) -> usize {
        32 / self.bits() as usize
    }

    /// How many container codes lie between neighbouring codes when they are spread over the whole
    /// container: 4, 2, 1, 4, 1.
    #[must_use]
    pub const fn widest_spacing(self) -> i32 {
        1 << (self.container().bits() - self.bits())
    }
}

impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "int{}", self.bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_lie_within_their_containers() {
        for width in Width::ALL {
            let container = width.container();
            assert!(width.min() >= container.min() && width.max() <= container.max());
            assert_eq!(
                width.min() * width.widest_spacing(),
                container.min(),
                "spread codes begin with the container's first"
            );
        }
        for width in Width::ALL {
            assert_eq!(Width::of_bits(width.bits()), Some(width));
        }
        assert_eq!(Width::of_bits(5), None);
        assert_eq!(Width::ALL.map(Width::per_word), [16, 10, 8, 5, 4]);
        assert_eq!((Width::Int3.min(), Width::Int3.max()), (-4, 3));
        assert_eq!((Width::Int6.min(), Width::Int6.max()), (-32, 31));
        assert_eq!(Width::Int2.to_string(), "int2");
    }
}
