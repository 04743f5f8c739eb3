//! Scores that the cases of the mask kernels are made of: every kind of data, ties, and bits that no
//! arithmetic would make.

use crate::num::Philox;

use super::DataKind;

/// What scores hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScoreKind {
    /// As for other kernels.
    Data(DataKind),
    /// A few small integers: ties everywhere.
    Tied,
    /// One value.
    Equal,
    /// Infinities, NaN of both signs, subnormals and zeros of both signs among numbers.
    Special,
}

impl ScoreKind {
    pub const ALL: [Self; 10] = [
        Self::Data(DataKind::Integers),
        Self::Data(DataKind::Normal),
        Self::Data(DataKind::Outliers),
        Self::Data(DataKind::Denormals),
        Self::Data(DataKind::Zeros),
        Self::Data(DataKind::OneNonzero),
        Self::Data(DataKind::Cancelling),
        Self::Tied,
        Self::Equal,
        Self::Special,
    ];

    /// The kind a case is listed under; what is exact in any order counts as integers.
    pub const fn data(self) -> DataKind {
        match self {
            Self::Data(data) => data,
            Self::Tied | Self::Equal | Self::Special => DataKind::Integers,
        }
    }

    /// What a case's name says besides its shape and data.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Data(_) => "",
            Self::Tied => " tied",
            Self::Equal => " equal",
            Self::Special => " special",
        }
    }

    /// Bits of `len` scores.
    pub fn words(self, seed: u64, len: usize) -> Vec<u32> {
        let mut random = Philox::new(seed).stream(77);
        let bits = |value: f32| value.to_bits();
        match self {
            Self::Data(data) => data.values(seed, len).into_iter().map(bits).collect(),
            Self::Tied => (0..len)
                .map(|_| bits(random.integer(0..=2) as f32))
                .collect(),
            Self::Equal => vec![bits(0.75); len],
            Self::Special => (0..len)
                .map(|_| {
                    let special = [
                        0x7f80_0000,
                        0xff80_0000,
                        0x7fc0_0000,
                        0xffc0_0001,
                        0x0000_0001,
                        0x807f_ffff,
                        0x8000_0000,
                        0x0080_0000,
                        0x8080_0000,
                    ];
                    let choice = random.below(16) as usize;
                    let ordinary = bits(random.integer(-2..=2) as f32);
                    special.get(choice).copied().unwrap_or(ordinary)
                })
                .collect(),
        }
    }
}
