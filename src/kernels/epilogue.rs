//! What follows a matrix product, in the same launch: `y = activate(sum + bias) + residual`.
//!
//! Bias is f32 `[n]`, residual f32 shaped as the output. Errors of the built-in functions are those
//! the WGSL specification allows.

use crate::record::{Access, HostOperands, Slot, Values};
use crate::shader::Variant;

use super::FloatType;
use super::bounds::{TINY, U};
use super::shape::ShapeError;

/// Binding numbers all matrix products share.
pub(super) const BIAS: u32 = 6;
pub(super) const RESIDUAL: u32 = 7;
pub(super) const OUT: u32 = 8;

/// A function applied to each element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// `v`
    #[default]
    Identity,
    /// `max(v, 0)`
    Relu,
    /// `v * sigmoid(v)` (Elfwing et al. 2017)
    Silu,
    /// `0.5 v (1 + tanh(sqrt(2 / pi) (v + 0.044715 v^3)))` (Hendrycks and Gimpel 2016)
    GeluTanh,
}

impl Activation {
    /// All functions.
    pub const ALL: [Self; 4] = [Self::Identity, Self::Relu, Self::Silu, Self::GeluTanh];

    /// Name in slots and printed shapes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Relu => "relu",
            Self::Silu => "silu",
            Self::GeluTanh => "gelu_tanh",
        }
    }

    /// The function in f64.
    pub fn apply(self, v: f64) -> f64 {
        match self {
            Self::Identity => v,
            Self::Relu => v.max(0.0),
            Self::Silu => v / (1.0 + (-v).exp()),
            Self::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (v + 0.044715 * v * v * v);
                0.5 * v * (1.0 + inner.tanh())
            }
        }
    }

    /// Allowed error of the function's f32 result for an argument within `error` of `v`.
    pub fn error(self, v: f64, error: f64) -> f64 {
        let size = v.abs() + error;
        match self {
            Self::Identity | Self::Relu => error,
            // |silu'| <= 1.1. exp within 3 + 2|v| units, division 2.5, and three more operations;
            // exp of large negative arguments may be flushed.
            Self::Silu => {
                1.1 * error + self.apply(v).abs() * (9.0 + 2.0 * size) * U + (1.0 + size) * TINY
            }
            // |gelu'| <= 1.13. tanh within 1e-5; the polynomial's relative error of 6 units moves
            // tanh by at most 0.45 of that; three more operations.
            Self::GeluTanh => 1.13 * error + size * (0.5e-5 + (0.5 * 0.45 * 6.0 + 3.0) * U) + TINY,
        }
    }

    /// Whether integers stay exact.
    pub const fn is_exact(self) -> bool {
        matches!(self, Self::Identity | Self::Relu)
    }
}

/// Bias, activation and residual of a matrix product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Epilogue {
    /// Add an f32 vector over the columns before the activation.
    pub bias: bool,
    /// Applied to the biased sum.
    pub activation: Activation,
    /// Add an f32 tensor shaped as the output after the activation.
    pub residual: bool,
}

impl Epilogue {
    /// Every combination worth a case of its own: each part alone, and all together.
    pub(super) const CASES: [Self; 5] = [
        Self {
            bias: false,
            activation: Activation::Identity,
            residual: false,
        },
        Self {
            bias: true,
            activation: Activation::Relu,
            residual: false,
        },
        Self {
            bias: false,
            activation: Activation::Identity,
            residual: true,
        },
        Self {
            bias: true,
            activation: Activation::Silu,
            residual: true,
        },
        Self {
            bias: true,
            activation: Activation::GeluTanh,
            residual: false,
        },
    ];

    /// Storage bindings it adds, for an output of `rows` by `columns`.
    pub(super) fn slots(self, rows: u64, columns: u64) -> Vec<Slot> {
        let mut slots = Vec::new();
        if self.bias {
            slots.push(Slot {
                binding: BIAS,
                name: "bias",
                access: Access::Read,
                bytes: 4 * columns,
            });
        }
        if self.residual {
            let bytes = 4 * rows * columns;
            slots.push(Slot {
                binding: RESIDUAL,
                name: "residual",
                access: Access::Read,
                bytes,
            });
        }
        slots
    }

    /// Fills the slots that `lib/epilogue` imports.
    pub(super) fn choose(self, variant: Variant, out: FloatType) -> Variant {
        variant
            .slot("bias", if self.bias { "column" } else { "none" })
            .slot("activation", self.activation.name())
            .slot("residual", if self.residual { "tensor" } else { "none" })
            .slot("store", out.name())
    }

    /// Suffix of printed shapes, empty when there is nothing to print.
    pub(super) fn describe(self) -> String {
        let mut text = String::new();
        if self.bias {
            text.push_str(" bias");
        }
        if self.activation != Activation::Identity {
            text.push(' ');
            text.push_str(self.activation.name());
        }
        if self.residual {
            text.push_str(" residual");
        }
        text
    }

    /// The finished value of output element `index` (flat, `columns` wide) whose sum is `sum`.
    pub(super) fn apply(
        self,
        operands: &HostOperands<'_>,
        index: usize,
        columns: usize,
        sum: f64,
    ) -> f64 {
        let biased = if self.bias {
            sum + f64::from(operands.f32(BIAS)[index % columns])
        } else {
            sum
        };
        let activated = self.activation.apply(biased);
        if self.residual {
            activated + f64::from(operands.f32(RESIDUAL)[index])
        } else {
            activated
        }
    }

    /// Allowed error of the stored element when its sum is within `error` of `sum`.
    pub(super) fn error(
        self,
        operands: &HostOperands<'_>,
        (index, columns): (usize, usize),
        (sum, error): (f64, f64),
        out: FloatType,
    ) -> f64 {
        let (mut value, mut error) = (sum, error);
        if self.bias {
            let bias = f64::from(operands.f32(BIAS)[index % columns]);
            value += bias;
            error += U * (value.abs() + error) + flushed(bias) + TINY;
        }
        error = self.activation.error(value, error);
        value = self.activation.apply(value);
        if self.residual {
            let residual = f64::from(operands.f32(RESIDUAL)[index]);
            value += residual;
            error += U * (value.abs() + error) + flushed(residual) + TINY;
        }
        error + out.store_error(value.abs() + error)
    }
}

/// Refuses output types that rows of `n` elements cannot be stored in.
pub(super) fn check_output(kernel: &'static str, out: FloatType, n: u32) -> Result<(), ShapeError> {
    if out == FloatType::Bf16 || (out == FloatType::F16 && !n.is_multiple_of(2)) {
        let (value, allowed) = (format!("{out} with n = {n}"), "f32, or f16 with an even n");
        return Err(ShapeError::Unsupported {
            kernel,
            name: "output storage",
            value,
            allowed,
        });
    }
    Ok(())
}

/// Values as the output's storage type.
pub(super) fn stored(out: FloatType, values: Vec<f64>) -> Values {
    match out {
        FloatType::F32 => Values::F32(values),
        FloatType::F16 => Values::F16(values),
        FloatType::Bf16 => Values::Bf16(values),
    }
}

/// What flushing may remove from an f32 operand.
fn flushed(value: f64) -> f64 {
    if value.abs() < TINY { value.abs() } else { 0.0 }
}
