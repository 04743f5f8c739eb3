//! Kinds of test data. Each is aimed at a class of mistakes that the others let pass.

use crate::num::Philox;

/// What the operands of a case hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataKind {
    /// Small integers: every product and partial sum is exact in f32, so results are bitwise equal
    /// whatever the order of summation. Catches indexing, tail and race mistakes without a tolerance.
    Integers,
    /// Standard normal values.
    Normal,
    /// Normal values with a few near the largest finite f16.
    Outliers,
    /// Subnormals and values around the smallest normal f32.
    Denormals,
    /// All zero.
    Zeros,
    /// A single element that is not zero.
    OneNonzero,
    /// Alternating signs of equal size plus noise: results far smaller than their terms.
    Cancelling,
}

impl DataKind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Integers,
        Self::Normal,
        Self::Outliers,
        Self::Denormals,
        Self::Zeros,
        Self::OneNonzero,
        Self::Cancelling,
    ];

    /// Name in case ids.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Integers => "integers",
            Self::Normal => "normal",
            Self::Outliers => "outliers",
            Self::Denormals => "denormals",
            Self::Zeros => "zeros",
            Self::OneNonzero => "one_nonzero",
            Self::Cancelling => "cancelling",
        }
    }

    /// `len` values; the same seed gives the same values everywhere.
    pub fn values(self, seed: u64, len: usize) -> Vec<f32> {
        let mut stream = Philox::new(seed).stream(self as u64);
        (0..len)
            .map(|index| match self {
                Self::Integers => stream.integer(-8..=8) as f32,
                Self::Normal => stream.normal(),
                Self::Outliers => {
                    let value = stream.normal();
                    if stream.below(64) == 0 {
                        60_000.0 * value.signum()
                    } else {
                        value
                    }
                }
                Self::Denormals => {
                    f32::from_bits(stream.below(0x0100_0000))
                        * if index % 2 == 0 { 1.0 } else { -1.0 }
                }
                Self::Zeros => 0.0,
                Self::OneNonzero => {
                    if index == len / 2 {
                        3.0
                    } else {
                        0.0
                    }
                }
                Self::Cancelling => {
                    (if index % 2 == 0 { 100.0 } else { -100.0 }) + 0.001 * stream.normal()
                }
            })
            .collect()
    }
}
