//! Error bounds by running analysis: a real number together with how far an f32 computation of it may be
//! off, both carried through a formula (Higham, *Accuracy and Stability of Numerical Algorithms*, section
//! 3.3).
//!
//! A kernel writes its formula once; the values are its definition in f64 and the errors its bound. Each
//! operation adds what the WGSL specification allows it, either neighbour for sums and products, and
//! what flushing may remove. A fused multiply-add rounds once less and stays within.

use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::record::{Bound, Output};

use super::FloatType;
use super::bounds::{TINY, U, gamma};
use super::epilogue::stored;

/// A value and how far its f32 computation may be off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Running {
    pub value: f64,
    pub error: f64,
}

impl Running {
    /// A constant that f32 holds exactly.
    pub const fn exact(value: f64) -> Self {
        Self { value, error: 0.0 }
    }

    /// A constant rounded to f32.
    pub fn rounded(value: f64) -> Self {
        let error = U * value.abs();
        Self { value, error }
    }

    /// An operand: exact, but for a subnormal that a driver may flush.
    pub fn loaded(value: f32) -> Self {
        let value = f64::from(value);
        let error = if value.abs() < TINY { value.abs() } else { 0.0 };
        Self { value, error }
    }

    /// The value with the rounding of one operation of `units` added to the error so far.
    fn made(value: f64, error: f64, units: f64) -> Self {
        let error = error + units * U * (value.abs() + error) + TINY;
        Self { value, error }
    }

    /// `e^self`, within 3 + 2|x| units.
    pub fn exp(self) -> Self {
        let value = self.value.exp();
        let error = (self.value + self.error).exp() - value;
        Self::made(
            value,
            error,
            3.0 + 2.0 * (self.value.abs() + self.error).min(200.0),
        )
    }

    /// Natural logarithm, within 2^-21 between 0.5 and 2, else 3 units.
    pub fn ln(self) -> Self {
        let value = self.value.ln();
        let lowest = (self.value - self.error).max(TINY);
        let error = self.error / lowest;
        let near_one = (0.49..2.01).contains(&self.value);
        let floor = if near_one { 2f64.powi(-21) } else { 0.0 };
        let made = Self::made(value, error, 3.0);
        Self {
            error: made.error + floor,
            ..made
        }
    }

    /// `1 / sqrt(self)`, within 2 units.
    pub fn inverse_sqrt(self) -> Self {
        let value = 1.0 / self.value.sqrt();
        let lowest = self.value - self.error;
        let error = if lowest > 0.0 {
            1.0 / lowest.sqrt() - value
        } else {
            f64::INFINITY
        };
        Self::made(value, error, 2.0)
    }

    /// A value known by other means to be within `error` of the argument's image.
    pub fn within(value: f64, error: f64) -> Self {
        Self { value, error }
    }

    /// The larger of two.
    pub fn max(self, other: Self) -> Self {
        Self {
            value: self.value.max(other.value),
            error: self.error.max(other.error),
        }
    }

    /// A sum in any order.
    pub fn sum(terms: impl IntoIterator<Item = Self>) -> Self {
        let (mut value, mut size, mut error, mut count) = (0.0, 0.0, 0.0, 0);
        for term in terms {
            value += term.value;
            size += term.value.abs() + term.error;
            error += term.error;
            count += 1;
        }
        let error = error + gamma(count) * size + count as f64 * TINY;
        Self { value, error }
    }
}

impl Add for Running {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self::made(self.value + other.value, self.error + other.error, 1.0)
    }
}

impl Sub for Running {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Neg for Running {
    type Output = Self;

    fn neg(self) -> Self {
        Self {
            value: -self.value,
            ..self
        }
    }
}

impl Mul for Running {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let error = self.value.abs() * other.error + (other.value.abs() + other.error) * self.error;
        Self::made(self.value * other.value, error, 1.0)
    }
}

impl Div for Running {
    type Output = Self;

    /// Within 2.5 units, for divisors between 2^-126 and 2^126.
    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        let lowest = other.value.abs() - other.error;
        let error = if lowest > 0.0 {
            (self.error + value.abs() * other.error) / lowest
        } else {
            f64::INFINITY
        };
        Self::made(value, error, 2.5)
    }
}

/// One output of a launch: its binding, how it is stored, and its elements.
pub(super) type Computed = (u32, FloatType, Vec<Running>);

/// The values, as [`crate::record::Launch::reference`] gives them.
pub(super) fn outputs(computed: Vec<Computed>) -> Vec<Output> {
    let one = |(binding, out, values): Computed| {
        let values = values.into_iter().map(|one| one.value).collect();
        Output::new(binding, stored(out, values))
    };
    computed.into_iter().map(one).collect()
}

/// The errors with that of the store, as [`crate::record::Launch::bound`] gives them.
pub(super) fn bounds(computed: Vec<Computed>) -> Vec<Bound> {
    let one = |(_, out, values): Computed| {
        let allowed = |one: Running| one.error + out.store_error(one.value.abs() + one.error);
        Bound::Absolute(values.into_iter().map(allowed).collect())
    };
    computed.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancelling_difference_keeps_the_error_of_its_terms() {
        let a = Running::within(1.0, 1e-3);
        let difference = a - Running::exact(1.0);
        assert_eq!(difference.value, 0.0);
        assert!(difference.error >= 1e-3);
    }

    #[test]
    fn errors_grow_through_functions_as_their_slopes_say() {
        let x = Running::within(3.0, 1e-3);
        assert!((x.exp().error / (1e-3 * 3f64.exp()) - 1.0).abs() < 0.01);
        assert!((x.ln().error / (1e-3 / 3.0) - 1.0).abs() < 0.01);
        assert!((x.inverse_sqrt().error / (0.5e-3 / 3f64.powf(1.5)) - 1.0).abs() < 0.01);
        assert!((Running::exact(1.0) / x).error > 1.1e-4);
        assert_eq!((x / Running::within(0.1, 0.2)).error, f64::INFINITY);
    }
}
