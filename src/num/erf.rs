//! The complementary error function in f64, which the standard library lacks: the definition behind GELU.
//!
//! Up to 2.5 by `erf(x) = 2 / sqrt(pi) e^(-x^2) sum of 2^n x^(2n + 1) / (1 3 .. (2n + 1))`, whose terms
//! are all positive; beyond by the continued fraction `erfc(x) = e^(-x^2) / sqrt(pi) / (x + (1/2) / (x +
//! 1 / (x + (3/2) / (x + ..))))` (Abramowitz and Stegun 7.1.6 and 7.1.14).

use std::f64::consts::PI;

/// `1 - erf(x)`, within 1e-13 of itself for positive `x` up to 26, where it leaves the f64 range.
#[must_use]
pub fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    if x < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..120 {
            term *= 2.0 * x * x / f64::from(2 * n + 1);
            sum += term;
        }
        return 1.0 - 2.0 / PI.sqrt() * (-x * x).exp() * sum;
    }
    let mut tail = x;
    for n in (1..160).rev() {
        tail = x + f64::from(n) / 2.0 / tail;
    }
    (-x * x).exp() / PI.sqrt() / tail
}

/// The normal distribution function `0.5 (1 + erf(x / sqrt(2)))`.
#[must_use]
pub fn normal_distribution(x: f64) -> f64 {
    0.5 * erfc(-x / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_tabulated_values() {
        // Abramowitz and Stegun, table 7.1, and erfc(3), erfc(5) of the same chapter.
        for (x, expected) in [
            (0.0, 1.0),
            (0.5, 0.479_500_122_186_953_5),
            (1.0, 0.157_299_207_050_285_13),
            (2.0, 0.004_677_734_981_047_266),
            (3.0, 2.209_049_699_858_544e-5),
            (5.0, 1.537_459_794_428_035e-12),
        ] {
            assert!((erfc(x) - expected).abs() <= 1e-11 * expected, "{x}");
            assert!((erfc(-x) - (2.0 - expected)).abs() <= 1e-15);
        }
        assert_eq!(erfc(100.0), 0.0);
    }

    #[test]
    fn the_two_formulas_meet() {
        let (below, above) = (erfc(2.5 - 1e-12), erfc(2.5));
        assert!((below / above - 1.0).abs() < 1e-10);
    }
}
