//! Activation functions that training knows: the forward function and its slope.

use serde::{Deserialize, Serialize};

use crate::kernels::elementwise::Unary;
use crate::kernels::functions::{logistic, logistic_slope, normal_distribution};
use crate::kernels::running::Running;

use super::super::bounds::TINY;

/// An activation function. Slopes at a kink are those PyTorch gives: 0 for ReLU at 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Curve {
    /// `max(x, 0)`
    Relu,
    /// `x`, or `slope x` below 0. PyTorch's slope is 0.01.
    LeakyRelu {
        /// Slope below 0; finite.
        slope: f32,
    },
    /// `x Phi(x)` with the normal distribution function (Hendrycks and Gimpel 2016).
    GeluErf,
    /// Its approximation by tanh.
    GeluTanh,
    /// `x logistic(x)` (Elfwing et al. 2017)
    Silu,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `x clamp(x + 3, 0, 6) / 6` (Howard et al. 2019)
    Hardswish,
    /// `x`, or `alpha (e^x - 1)` below 0 (Clevert et al. 2015). PyTorch's alpha is 1.
    Elu {
        /// Factor below 0; finite.
        alpha: f32,
    },
    /// `log(1 + e^x)`
    Softplus,
}

impl Curve {
    /// All of them, with PyTorch's settings.
    pub const ALL: [Self; 10] = [
        Self::Relu,
        Self::LeakyRelu { slope: 0.01 },
        Self::GeluErf,
        Self::GeluTanh,
        Self::Silu,
        Self::Sigmoid,
        Self::Tanh,
        Self::Hardswish,
        Self::Elu { alpha: 1.0 },
        Self::Softplus,
    ];

    /// The function itself.
    pub const fn unary(self) -> Unary {
        match self {
            Self::Relu => Unary::Relu,
            Self::LeakyRelu { slope } => Unary::LeakyRelu { slope },
            Self::GeluErf => Unary::GeluErf,
            Self::GeluTanh => Unary::GeluTanh,
            Self::Silu => Unary::Silu,
            Self::Sigmoid => Unary::Sigmoid,
            Self::Tanh => Unary::Tanh,
            Self::Hardswish => Unary::Hardswish,
            Self::Elu { alpha } => Unary::Elu { alpha },
            Self::Softplus => Unary::Softplus,
        }
    }

    /// Name in slots and printed shapes.
    pub const fn name(self) -> &'static str {
        self.unary().name()
    }

    /// The setting of those that have one.
    pub const fn setting(self) -> Option<f32> {
        self.unary().setting()
    }

    /// Whether slopes are exact for small integers.
    pub(super) const fn is_exact(self) -> bool {
        matches!(self, Self::Relu)
    }

    /// The slope at `x`.
    pub(super) fn slope(self, x: f32) -> Running {
        let v = Running::loaded(x);
        let one = Running::exact(1.0);
        // A subnormal may be taken for zero, which lies on one side of a kink.
        let kink = |below: Running| {
            let slope = if v.value > 0.0 { one } else { below };
            let lost = if v.error > 0.0 {
                (1.0 - below.value).abs()
            } else {
                0.0
            };
            Running::within(slope.value, slope.error + lost)
        };
        let clamped = |limit: f64| Running {
            value: v.value.clamp(-limit, limit),
            ..v
        };
        match self {
            Self::Relu => kink(Running::exact(0.0)),
            Self::LeakyRelu { slope } => kink(Running::loaded(slope)),
            Self::GeluErf => {
                let near = clamped(16.0);
                let bell = (Running::exact(-0.5) * near * near).exp();
                let density = Running::rounded(1.0 / (2.0 * std::f64::consts::PI).sqrt());
                normal_distribution(v) + density * near * bell
            }
            Self::GeluTanh => {
                let near = clamped(12.0);
                let double = Running::rounded(2.0 * (2.0 / std::f64::consts::PI).sqrt());
                let square = near * near;
                let twice = double * near * (one + Running::rounded(0.044715) * square);
                let inner = double * (one + Running::rounded(3.0 * 0.044715) * square);
                logistic(twice) + near * logistic_slope(twice) * inner
            }
            Self::Silu => logistic(v) + v * logistic_slope(v),
            Self::Sigmoid => logistic_slope(v),
            Self::Tanh => Running::exact(4.0) * logistic_slope(Running::exact(2.0) * v),
            Self::Hardswish if v.value <= -3.0 => Running::exact(0.0),
            Self::Hardswish if v.value >= 3.0 => one,
            Self::Hardswish => v * Running::rounded(1.0 / 3.0) + Running::exact(0.5),
            Self::Elu { alpha } if v.value <= -TINY => Running::loaded(alpha) * v.exp(),
            Self::Elu { alpha } => kink(Running::loaded(alpha)),
            Self::Softplus => logistic(v),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::elementwise::Operation;

    #[test]
    fn slopes_are_the_differences_of_the_functions() {
        for curve in Curve::ALL {
            let function = Operation::Unary(curve.unary());
            for x in [-20.0_f32, -3.5, -1.25, -0.1, 0.2, 0.75, 2.5, 6.0, 30.0] {
                let (at, h) = (f64::from(x), 1e-5);
                let difference =
                    (function.apply(at + h, 0.0) - function.apply(at - h, 0.0)) / (2.0 * h);
                let slope = curve.slope(x);
                assert!(
                    (slope.value - difference).abs() < 1e-8,
                    "{} at {x}: {slope:?}, {difference}",
                    curve.name()
                );
                assert!(slope.error < 1e-4, "{} at {x}: {slope:?}", curve.name());
            }
        }
    }
}
