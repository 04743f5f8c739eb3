//! Error bounds of f32 arithmetic as WGSL allows it: every operation may round to either neighbour,
//! sums may be reassociated, products fused, subnormals flushed.
//!
//! A sum of products in which no term passes through more than `d` roundings, in any order, has an
//! error of at most `gamma(d) * sum |terms|` (Higham, *Accuracy and Stability of Numerical
//! Algorithms*, section 3.1, with u = 2^-23 for "either neighbour").

/// Relative error of one f32 operation rounded to either neighbour.
pub const U: f64 = 1.1920928955078125e-7;

/// Smallest normal f32; smaller values and results may be flushed to zero.
pub const TINY: f64 = 1.1754943508222875e-38;

/// Relative error of `roundings` successive f32 roundings.
///
/// # Panics
/// When there are so many that no bound holds (more than about 8 million).
pub fn gamma(roundings: usize) -> f64 {
    let product = roundings as f64 * U;
    assert!(
        product < 1.0,
        "{roundings} roundings have no f32 error bound"
    );
    product / (1.0 - product)
}

/// Running bound of one dot product: magnitudes of terms, and what flushing may remove.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct DotBound {
    sum: f64,
    flushed: f64,
}

impl DotBound {
    /// Adds the term `a * b`, where loading `a` may flush it below `flush_a`, likewise `b`.
    pub fn add(&mut self, (a, flush_a): (f64, f64), (b, flush_b): (f64, f64)) {
        let (a, b) = (a.abs(), b.abs());
        let term = a * b;
        self.sum += term;
        if a < flush_a || b < flush_b {
            self.flushed += term;
        }
        // The product itself may be flushed, and each partial sum.
        self.flushed += 2.0 * TINY;
    }

    /// Sum of the magnitudes of the terms.
    #[cfg(test)]
    pub const fn magnitude(&self) -> f64 {
        self.sum
    }

    /// Allowed error when no term passes through more than `roundings` roundings.
    pub fn error(&self, roundings: usize) -> f64 {
        gamma(roundings) * self.sum + self.flushed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_grows_with_roundings_and_size() {
        let mut dot = DotBound::default();
        dot.add((3.0, TINY), (4.0, TINY));
        assert!(dot.error(2) >= 2.0 * U * 12.0 && dot.error(2) < 2.01 * U * 12.0);
    }

    #[test]
    fn a_flushed_operand_may_lose_its_whole_term() {
        let mut dot = DotBound::default();
        dot.add((TINY / 2.0, TINY), (1e30, TINY));
        assert!(dot.error(1) >= TINY / 2.0 * 1e30);
    }
}
