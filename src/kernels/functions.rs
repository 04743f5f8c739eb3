//! Functions that several shaders share (`shaders/lib`), with the error of the way they are computed there.

use crate::num::erf;

use super::bounds::{TINY, U};
use super::running::Running;

/// What the fit of `lib/normal` is off by, relative to the tail.
const FIT_ERROR: f64 = 1.2e-7;

/// Coefficients of the fit, from the highest power of t.
const FIT: [f64; 10] = [
    0.170_872_77,
    -0.822_152_23,
    1.488_515_87,
    -1.135_203_98,
    0.278_868_07,
    -0.186_288_06,
    0.096_784_18,
    0.374_091_96,
    1.000_023_68,
    -1.265_512_23,
];

/// `1 / (1 + e^-v)`, as `lib/logistic`.
pub(super) fn logistic(v: Running) -> Running {
    let t = shrunk(v);
    let above = if v.value < 0.0 {
        t
    } else {
        Running::exact(1.0)
    };
    above / (Running::exact(1.0) + t)
}

/// `logistic(v) (1 - logistic(v))`, as `lib/logistic`.
pub(super) fn logistic_slope(v: Running) -> Running {
    let t = shrunk(v);
    let s = Running::exact(1.0) + t;
    t / (s * s)
}

/// `e^-|v|`
pub(super) fn shrunk(v: Running) -> Running {
    Running {
        value: -v.value.abs(),
        ..v
    }
    .exp()
}

/// `log(1 + t)` for t in [0, 1], as `lib/log1p`.
pub(super) fn log1p(t: Running) -> Running {
    let z = t / (Running::exact(2.0) + t);
    let value = t.value.ln_1p();
    // The slope of 2 atanh(z) is at most 2.25; the series adds a few roundings of the whole.
    Running::within(value, 2.25 * z.error + 10.0 * U * value + TINY)
}

/// The normal distribution function, as `lib/normal`.
pub(super) fn normal_distribution(v: Running) -> Running {
    let near = Running {
        value: v.value.abs().min(16.0),
        ..v
    };
    let slope = Running::rounded(0.125_f64.sqrt());
    let t = Running::exact(1.0) / (Running::exact(1.0) + slope * near);
    let fit = FIT.map(Running::rounded).into_iter();
    let fit = fit.reduce(|sum, one| one + t * sum);
    let bell = (Running::exact(-0.5) * near * near).exp();
    let tail = Running::exact(0.5) * t * fit.unwrap_or(t).exp() * bell;
    let distribution = if v.value < 0.0 {
        tail
    } else {
        Running::exact(1.0) - tail
    };
    let value = erf::normal_distribution(v.value);
    Running::within(value, distribution.error + FIT_ERROR * tail.value + TINY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fit_is_as_close_as_its_source_says() {
        let mut worst: f64 = 0.0;
        for step in 0..1600 {
            let x = f64::from(step) / 100.0;
            let t = 1.0 / (1.0 + 0.125_f64.sqrt() * x);
            let fit = FIT.into_iter().reduce(|sum, one| one + t * sum);
            let tail = 0.5 * t * (fit.unwrap_or(0.0) - 0.5 * x * x).exp();
            worst = worst.max((tail / erf::normal_distribution(-x) - 1.0).abs());
        }
        assert!(worst > 1e-8 && worst < FIT_ERROR, "{worst:e}");
    }

    #[test]
    fn values_are_those_of_the_functions() {
        for x in [-20.0, -1.5, 0.0, 0.3, 7.0] {
            let exact = Running::exact(x);
            let logistic_of = 1.0 / (1.0 + (-x).exp());
            assert!((logistic(exact).value - logistic_of).abs() < 1e-15);
            let slope = logistic_of * (1.0 - logistic_of);
            assert!((logistic_slope(exact).value - slope).abs() < 1e-15);
        }
        let ln2 = log1p(Running::exact(1.0));
        assert!((ln2.value - 2f64.ln()).abs() < 1e-15 && ln2.error < 2e-6);
    }
}
