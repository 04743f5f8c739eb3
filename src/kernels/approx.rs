//! A number with the error that f32 arithmetic may have made on the way to it: running error analysis
//! (Higham, *Accuracy and Stability of Numerical Algorithms*, section 3.3) with what WGSL allows each
//! operation. The value is the f64 definition, so that definition and bound are one computation.

use std::ops::{Add, Div, Mul, Sub};

use crate::num::optim::Real;

use super::bounds::{TINY, U};

/// A value in f64, and how far an f32 computation of it may be off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Approx {
    pub value: f64,
    pub error: f64,
}

impl Approx {
    /// A number as a shader loads it: a subnormal may become 0.
    pub fn stored(value: f32) -> Self {
        let value = f64::from(value);
        let error = if value.abs() < TINY { value.abs() } else { 0.0 };
        Self { value, error }
    }

    /// A number that is 0 or normal, and loaded as it is.
    pub const fn exact(value: f64) -> Self {
        Self { value, error: 0.0 }
    }

    /// The result of an operation with `units` units of rounding error, on operands that are off.
    fn rounded(value: f64, size: f64, error: f64, units: f64) -> Self {
        // 0 from exact operands is exact; anything else may be flushed.
        let flushed = if size + error == 0.0 { 0.0 } else { TINY };
        let error = error + units * U * (size + error) + flushed;
        Self { value, error }
    }

    /// The smaller of two.
    pub fn min(self, other: Self) -> Self {
        Self {
            value: self.value.min(other.value),
            error: self.error.max(other.error),
        }
    }
}

impl Add for Approx {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        // The size of the terms, not of the sum: a sum of three may be reassociated.
        let size = self.value.abs() + other.value.abs();
        let value = self.value + other.value;
        Self::rounded(value, size, self.error + other.error, 1.0)
    }
}

impl Sub for Approx {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        let value = -other.value;
        self + Self { value, ..other }
    }
}

impl Mul for Approx {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let (a, b) = (self.value.abs(), other.value.abs());
        let error = a * other.error + b * self.error + self.error * other.error;
        Self::rounded(self.value * other.value, a * b, error, 1.0)
    }
}

impl Div for Approx {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        let smallest = other.value.abs() - other.error;
        let error = if smallest > 0.0 {
            (self.error + value.abs() * other.error) / smallest
        } else {
            f64::INFINITY
        };
        Self::rounded(value, value.abs(), error, 2.5)
    }
}

impl Real for Approx {
    const ZERO: Self = Self::exact(0.0);

    fn abs(self) -> Self {
        let value = self.value.abs();
        Self { value, ..self }
    }

    fn sqrt(self) -> Self {
        let value = self.value.sqrt();
        let above = (self.value + self.error).sqrt() - value;
        let below = value - (self.value - self.error).max(0.0).sqrt();
        // As 1 / inverseSqrt: 2 units, then a division of 2.5.
        Self::rounded(value, value, above.max(below), 4.6)
    }

    fn max(self, other: Self) -> Self {
        Self {
            value: self.value.max(other.value),
            error: self.error.max(other.error),
        }
    }

    fn sign(self) -> Self {
        Self {
            value: Real::sign(self.value),
            error: if self.error > 0.0 { 1.0 } else { 0.0 },
        }
    }

    fn clip(self, limit: Self) -> Self {
        let value = Real::clip(self.value, limit.value);
        Self {
            value,
            error: self.error.max(limit.error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f32_arithmetic_stays_within_the_error() {
        let pairs = [(3.7f32, 0.123), (-1e-3, 8e4), (1.0, 1.0), (5e-39, 2.0)];
        for (a, b) in pairs {
            let (x, y) = (Approx::stored(a), Approx::stored(b));
            let within = |made: f32, exact: Approx| {
                assert!((f64::from(made) - exact.value).abs() <= exact.error.max(0.0));
            };
            within(a + b, x + y);
            within(a - b, x - y);
            within(a * b, x * y);
            within(a / b, x / y);
            within(b.sqrt(), Real::sqrt(y));
            within((a * b + a) / (b.sqrt() + 1e-3), {
                (x * y + x) / (Real::sqrt(y) + Approx::stored(1e-3))
            });
        }
    }

    #[test]
    fn zero_from_zeros_is_exact_and_a_divisor_that_may_be_zero_has_no_bound() {
        let zero = Approx::exact(0.0);
        assert_eq!(zero + zero, zero);
        assert_eq!(zero * Approx::exact(3.0), zero);
        let unsure = Approx {
            value: 1.0,
            error: 1.0,
        };
        assert_eq!((zero / unsure).error, f64::INFINITY);
    }

    #[test]
    fn a_root_of_almost_nothing_is_off_by_the_root_of_the_error() {
        let square = Approx {
            value: 0.0,
            error: 1e-8,
        };
        let root = Real::sqrt(square);
        assert!((1e-4..1.001e-4).contains(&root.error), "{root:?}");
    }
}
