//! The arithmetic that an update needs. `f64` is the definition; a kernel's bound comes from a type
//! that carries the error of each operation along.

use std::ops::{Add, Div, Mul, Sub};

/// A number that an update can be computed with.
pub trait Real:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// 0, exactly.
    const ZERO: Self;
    /// Magnitude.
    #[must_use]
    fn abs(self) -> Self;
    /// Square root of a number that is not negative.
    #[must_use]
    fn sqrt(self) -> Self;
    /// The larger of two; NaN where one is.
    #[must_use]
    fn max(self, other: Self) -> Self;
    /// -1, 0 or 1: the subgradient of the magnitude, 0 at 0.
    #[must_use]
    fn sign(self) -> Self;
    /// The nearest number whose magnitude is at most `limit`.
    #[must_use]
    fn clip(self, limit: Self) -> Self;
}

impl Real for f64 {
    const ZERO: Self = 0.0;

    fn abs(self) -> Self {
        Self::abs(self)
    }

    fn sqrt(self) -> Self {
        Self::sqrt(self)
    }

    fn max(self, other: Self) -> Self {
        if self.is_nan() || other.is_nan() {
            Self::NAN
        } else {
            Self::max(self, other)
        }
    }

    fn sign(self) -> Self {
        if self == 0.0 { 0.0 } else { self.signum() }
    }

    fn clip(self, limit: Self) -> Self {
        // NaN stays NaN.
        if Self::abs(self) > limit {
            limit * self.signum()
        } else {
            self
        }
    }
}
