//! The operations: their definition in f64 and the error the WGSL specification allows each.

use crate::kernels::bounds::{TINY, U};
use crate::kernels::functions::{log1p, normal_distribution, shrunk};
use crate::kernels::running::Running;
use crate::kernels::{Activation, FloatType};
use crate::num::erf;

/// A function of two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b`; undefined for `|b|` outside `[2^-126, 2^126]`, zero included.
    Div,
    /// The larger; undefined when one is NaN.
    Max,
    /// The smaller; undefined when one is NaN.
    Min,
}

/// A function of one operand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unary {
    /// `-a`
    Neg,
    /// `|a|`
    Abs,
    /// `a * a`
    Square,
    /// Square root; 0 for subnormals, undefined for negative `a`.
    Sqrt,
    /// `1 / sqrt(a)`; undefined for `a` below 2^-126.
    Rsqrt,
    /// `e^a`; undefined above 88.
    Exp,
    /// Natural logarithm; undefined for `a` below 2^-126.
    Log,
    /// `max(a, 0)`
    Relu,
    /// `a * sigmoid(a)`
    Silu,
    /// As [`Activation::GeluTanh`].
    GeluTanh,
    /// `1 / (1 + e^-a)`
    Sigmoid,
    /// Hyperbolic tangent, within 1e-5.
    Tanh,
    /// `a`, or `slope a` below 0.
    LeakyRelu {
        /// Slope below 0; finite.
        slope: f32,
    },
    /// `a Phi(a)` with the normal distribution function (Hendrycks and Gimpel 2016).
    GeluErf,
    /// `a`, or `alpha (e^a - 1)` below 0 (Clevert et al. 2015).
    Elu {
        /// Factor below 0; finite.
        alpha: f32,
    },
    /// `log(1 + e^a)`
    Softplus,
    /// `a clamp(a + 3, 0, 6) / 6` (Howard et al. 2019)
    Hardswish,
}

/// How the second operand is spread over `[rows, columns]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broadcast {
    /// `[rows, columns]`: not at all.
    Full,
    /// `[rows]`: one value for each row.
    Row,
    /// `[columns]`: one value for each column.
    Column,
    /// `[1]`: one value for all.
    Scalar,
}

/// A second operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Second {
    /// Its shape.
    pub broadcast: Broadcast,
    /// How it is stored.
    pub storage: FloatType,
}

/// What is computed for each element.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Operation {
    /// A function of `a` and `b`.
    Binary(Binary, Second),
    /// A function of `a`.
    Unary(Unary),
    /// `alpha * a + beta`
    Affine {
        /// Factor; finite.
        alpha: f32,
        /// Addend; finite.
        beta: f32,
    },
}

impl Binary {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Add,
        Self::Sub,
        Self::Mul,
        Self::Div,
        Self::Max,
        Self::Min,
    ];

    /// Name in slots and printed shapes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Sub => "sub",
            Self::Mul => "mul",
            Self::Div => "div",
            Self::Max => "max",
            Self::Min => "min",
        }
    }

    fn apply(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::Mul => a * b,
            Self::Div => a / b,
            Self::Max => a.max(b),
            Self::Min => a.min(b),
        }
    }

    fn error(self, a: f64, b: f64) -> f64 {
        let size = self.apply(a, b).abs();
        let lost = flushed(a) + flushed(b);
        // A product or quotient with a flushed operand is lost whole.
        let lost_whole = if lost > 0.0 { size } else { 0.0 };
        match self {
            Self::Add | Self::Sub => U * size + lost + TINY,
            Self::Mul => U * size + lost_whole + TINY,
            Self::Div => 2.5 * U * size + lost_whole + TINY,
            Self::Max | Self::Min => lost,
        }
    }
}

impl Unary {
    /// All of them, with PyTorch's settings.
    pub const ALL: [Self; 17] = [
        Self::Neg,
        Self::Abs,
        Self::Square,
        Self::Sqrt,
        Self::Rsqrt,
        Self::Exp,
        Self::Log,
        Self::Relu,
        Self::Silu,
        Self::GeluTanh,
        Self::Sigmoid,
        Self::Tanh,
        Self::LeakyRelu { slope: 0.01 },
        Self::GeluErf,
        Self::Elu { alpha: 1.0 },
        Self::Softplus,
        Self::Hardswish,
    ];

    /// Name in slots and printed shapes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Neg => "neg",
            Self::Abs => "abs",
            Self::Square => "square",
            Self::Sqrt => "sqrt",
            Self::Rsqrt => "rsqrt",
            Self::Exp => "exp",
            Self::Log => "log",
            Self::Relu => "relu",
            Self::Silu => "silu",
            Self::GeluTanh => "gelu_tanh",
            Self::Sigmoid => "sigmoid",
            Self::Tanh => "tanh",
            Self::LeakyRelu { .. } => "leaky_relu",
            Self::GeluErf => "gelu_erf",
            Self::Elu { .. } => "elu",
            Self::Softplus => "softplus",
            Self::Hardswish => "hardswish",
        }
    }

    /// The setting of those that have one.
    pub const fn setting(self) -> Option<f32> {
        match self {
            Self::LeakyRelu { slope } => Some(slope),
            Self::Elu { alpha } => Some(alpha),
            Self::Neg
            | Self::Abs
            | Self::Square
            | Self::Sqrt
            | Self::Rsqrt
            | Self::Exp
            | Self::Log
            | Self::Relu
            | Self::Silu
            | Self::GeluTanh
            | Self::Sigmoid
            | Self::Tanh
            | Self::GeluErf
            | Self::Softplus
            | Self::Hardswish => None,
        }
    }

    fn apply(self, a: f64) -> f64 {
        match self {
            Self::Neg => -a,
            Self::Abs => a.abs(),
            Self::Square => a * a,
            Self::Sqrt => a.sqrt(),
            Self::Rsqrt => 1.0 / a.sqrt(),
            Self::Exp => a.exp(),
            Self::Log => a.ln(),
            Self::Relu => Activation::Relu.apply(a),
            Self::Silu => Activation::Silu.apply(a),
            Self::GeluTanh => Activation::GeluTanh.apply(a),
            Self::Sigmoid => 1.0 / (1.0 + (-a).exp()),
            Self::Tanh => a.tanh(),
            Self::LeakyRelu { slope } if a < 0.0 => f64::from(slope) * a,
            Self::LeakyRelu { .. } => a,
            Self::GeluErf => a * erf::normal_distribution(a),
            Self::Elu { alpha } if a < 0.0 => f64::from(alpha) * a.exp_m1(),
            Self::Elu { .. } => a,
            Self::Softplus => a.max(0.0) + (-a.abs()).exp().ln_1p(),
            Self::Hardswish => a * (a / 6.0 + 0.5).clamp(0.0, 1.0),
        }
    }

    fn error(self, a: f64) -> f64 {
        let size = self.apply(a).abs();
        match self {
            Self::Neg | Self::Abs | Self::Relu => flushed(a),
            Self::Square => U * size + TINY,
            Self::Sqrt if flushed(a) > 0.0 => size,
            // As 1 / inverseSqrt(a): 2 units, then a division of 2.5.
            Self::Sqrt => 4.6 * U * size,
            Self::Rsqrt => 2.0 * U * size,
            Self::Exp => (3.0 + 2.0 * a.abs()) * U * size + TINY,
            Self::Log if (0.5..=2.0).contains(&a) => 2f64.powi(-21),
            Self::Log => 3.0 * U * size,
            Self::Silu => Activation::Silu.error(a, flushed(a)),
            Self::GeluTanh => Activation::GeluTanh.error(a, flushed(a)),
            // exp within 3 + 2|a| units, one addition, a division of 2.5; exp may be flushed.
            Self::Sigmoid => (8.0 + 2.0 * a.abs()) * U * size + TINY,
            Self::Tanh => 1e-5,
            Self::LeakyRelu { .. } => U * size + flushed(a) + TINY,
            Self::GeluErf => (operand(a) * normal_distribution(operand(a))).error,
            Self::Elu { .. } if a >= 0.0 => flushed(a),
            // By series: seven terms whose later ones are small.
            Self::Elu { .. } if a >= -0.25 => 4.0 * U * size + TINY,
            Self::Elu { alpha } => {
                let below = operand(a).exp() - Running::exact(1.0);
                (operand(alpha.into()) * below).error
            }
            Self::Softplus => {
                let above = operand(a).max(Running::exact(0.0));
                (above + log1p(shrunk(operand(a)))).error
            }
            Self::Hardswish => {
                let rising = operand(a) * Running::rounded(1.0 / 6.0) + Running::exact(0.5);
                // Past the ends the rounded factor is exactly 0 or 1, or within its error of it.
                let factor = Running::within((a / 6.0 + 0.5).clamp(0.0, 1.0), rising.error);
                let saturated =
                    rising.value.abs() - rising.error > 1.0 || rising.value < -rising.error;
                if saturated {
                    U * size + TINY
                } else {
                    (operand(a) * factor).error
                }
            }
        }
    }
}

impl Operation {
    /// Name in slots and printed shapes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Binary(binary, _) => binary.name(),
            Self::Unary(unary) => unary.name(),
            Self::Affine { .. } => "affine",
        }
    }

    /// The second operand, when there is one.
    pub const fn second(self) -> Option<Second> {
        match self {
            Self::Binary(_, second) => Some(second),
            Self::Unary(_) | Self::Affine { .. } => None,
        }
    }

    /// The definition; `b` is not looked at by operations of one operand.
    pub fn apply(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Binary(binary, _) => binary.apply(a, b),
            Self::Unary(unary) => unary.apply(a),
            Self::Affine { alpha, beta } => f64::from(alpha) * a + f64::from(beta),
        }
    }

    /// Allowed error of the f32 result, before it is stored.
    pub(super) fn error(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Binary(binary, _) => binary.error(a, b),
            Self::Unary(unary) => unary.error(a),
            Self::Affine { alpha, beta } => {
                let (alpha, beta) = (f64::from(alpha), f64::from(beta));
                let product = (alpha * a).abs();
                // Fused or not; operands and the product may be flushed.
                let lost = if flushed(a) + flushed(alpha) > 0.0 {
                    product
                } else {
                    0.0
                };
                let sum = (alpha * a + beta).abs();
                U * (product + sum * (1.0 + U)) + lost + flushed(beta) + 2.0 * TINY
            }
        }
    }

    /// Whether results of small integers are exact.
    pub(super) const fn is_exact(self) -> bool {
        match self {
            Self::Binary(Binary::Div, _) => false,
            Self::Binary(_, _) | Self::Affine { .. } => true,
            Self::Unary(unary) => {
                matches!(unary, Unary::Neg | Unary::Abs | Unary::Square | Unary::Relu)
            }
        }
    }
}

impl Broadcast {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Full, Self::Row, Self::Column, Self::Scalar];

    /// Name in slots and printed shapes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Row => "row",
            Self::Column => "column",
            Self::Scalar => "scalar",
        }
    }
}

/// An f32 operand as it is loaded.
fn operand(value: f64) -> Running {
    Running::within(value, flushed(value))
}

/// What flushing may remove from an f32 operand.
fn flushed(value: f64) -> f64 {
    if value.abs() < TINY { value.abs() } else { 0.0 }
}
