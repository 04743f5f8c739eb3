//! The rules on one element. `c` is a row of coefficients; which number stands where is said at each
//! rule, and `coefficients.rs` fills them in.

use super::coefficients::{KEEP, L1, L2, ROW, RULE};
use super::real::Real;

/// How an element is updated. The coefficients decide the conventions; a rule is only the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateRule {
    /// `p -= lr g`
    Sgd,
    /// `v = a v + b g; p -= c v + d g`
    Momentum,
    /// `G += g^2; p -= lr g / (sqrt(G + inside) + outside)`
    Adagrad,
    /// `v = rho v + (1 - rho) g^2; d = sqrt(u + eps) / sqrt(v + eps) g; u = rho u + (1 - rho) d^2;
    /// p -= lr d`
    Adadelta,
    /// `m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p -= a m / (sqrt(v) c + eps)`
    Adam,
    /// As Adam, with the largest `v` so far in the denominator.
    Amsgrad,
    /// `v = rho v + (1 - rho) g^2; p -= c b g / (sqrt(v + inside) + outside)`
    Rmsprop,
    /// As RMSprop, with `s = mu s + b g / den; p -= c s`.
    RmspropMomentum,
    /// As RMSprop, with a mean gradient `a` and `v - a^2` for `v` in the denominator.
    RmspropCentred,
    /// Both.
    RmspropCentredMomentum,
    /// `m`, `v` as Adam; `p -= (a g + b m) / (sqrt(v) c + eps)`
    Nadam,
    /// `m` as Adam; `u = max(b2 u, |g| + inside); p -= a m / (u + outside)`
    Adamax,
    /// `m`, `v` as Adam; `p -= a m / (sqrt(v) + eps) + b m`, where a or b is 0.
    Radam,
}

impl UpdateRule {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Sgd,
        Self::Momentum,
        Self::Adagrad,
        Self::Adadelta,
        Self::Adam,
        Self::Amsgrad,
        Self::Rmsprop,
        Self::RmspropMomentum,
        Self::RmspropCentred,
        Self::RmspropCentredMomentum,
        Self::Nadam,
        Self::Adamax,
        Self::Radam,
    ];

    /// Name in slots and printed shapes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sgd => "sgd",
            Self::Momentum => "momentum",
            Self::Adagrad => "adagrad",
            Self::Adadelta => "adadelta",
            Self::Adam => "adam",
            Self::Amsgrad => "amsgrad",
            Self::Rmsprop => "rmsprop",
            Self::RmspropMomentum => "rmsprop_momentum",
            Self::RmspropCentred => "rmsprop_centred",
            Self::RmspropCentredMomentum => "rmsprop_centred_momentum",
            Self::Nadam => "nadam",
            Self::Adamax => "adamax",
            Self::Radam => "radam",
        }
    }

    /// What each slot of an element's state holds, in order. All begin at 0, but the sum of Adagrad
    /// in Keras: [`super::Optimizer::initial_state`].
    pub const fn slots(self) -> &'static [&'static str] {
        match self {
            Self::Sgd => &[],
            Self::Momentum => &["momentum"],
            Self::Adagrad => &["sum_of_squares"],
            Self::Adadelta => &["mean_square", "mean_square_of_steps"],
            Self::Adam | Self::Nadam | Self::Radam => &["mean", "mean_square"],
            Self::Amsgrad => &["mean", "mean_square", "largest_mean_square"],
            Self::Rmsprop => &["mean_square"],
            Self::RmspropMomentum => &["mean_square", "momentum"],
            Self::RmspropCentred => &["mean_square", "mean"],
            Self::RmspropCentredMomentum => &["mean_square", "mean", "momentum"],
            Self::Adamax => &["mean", "largest"],
        }
    }

    /// f32 operations on an element, for rates.
    pub const fn operations(self) -> u32 {
        match self {
            Self::Sgd => 2,
            Self::Momentum => 7,
            Self::Adagrad => 8,
            Self::Adadelta => 15,
            Self::Adam | Self::Amsgrad | Self::Radam => 13,
            Self::Rmsprop => 10,
            Self::RmspropMomentum | Self::RmspropCentred => 13,
            Self::RmspropCentredMomentum => 17,
            Self::Nadam => 15,
            Self::Adamax => 10,
        }
    }

    /// The parameter after the rule, given the parameter after decoupled decay; updates `state`.
    fn apply<R: Real>(self, c: &[R; ROW], p: R, g: R, state: &mut [R]) -> R {
        let c = &c[RULE..];
        match self {
            Self::Sgd => p - c[0] * g,
            Self::Momentum => {
                state[0] = c[0] * state[0] + c[1] * g;
                p - (c[2] * state[0] + c[3] * g)
            }
            Self::Adagrad => {
                state[0] = state[0] + g * g;
                p - c[0] * (g / ((state[0] + c[1]).sqrt() + c[2]))
            }
            Self::Adadelta => {
                state[0] = c[0] * state[0] + c[1] * (g * g);
                let step = (state[1] + c[2]).sqrt() / (state[0] + c[2]).sqrt() * g;
                state[1] = c[0] * state[1] + c[1] * (step * step);
                p - c[3] * step
            }
            Self::Adam => {
                means(c, g, state);
                p - c[4] * (state[0] / (state[1].sqrt() * c[5] + c[6]))
            }
            Self::Amsgrad => {
                means(c, g, state);
                state[2] = state[2].max(state[1]);
                p - c[4] * (state[0] / (state[2].sqrt() * c[5] + c[6]))
            }
            Self::Rmsprop => {
                state[0] = c[0] * state[0] + c[1] * (g * g);
                p - c[6] * (c[5] * (g / (state[0] + c[2]).sqrt_plus(c[3])))
            }
            Self::RmspropMomentum => {
                state[0] = c[0] * state[0] + c[1] * (g * g);
                state[1] = c[4] * state[1] + c[5] * (g / (state[0] + c[2]).sqrt_plus(c[3]));
                p - c[6] * state[1]
            }
            Self::RmspropCentred => {
                let variance = centred(c, g, state);
                p - c[6] * (c[5] * (g / (variance + c[2]).sqrt_plus(c[3])))
            }
            Self::RmspropCentredMomentum => {
                let variance = centred(c, g, state);
                state[2] = c[4] * state[2] + c[5] * (g / (variance + c[2]).sqrt_plus(c[3]));
                p - c[6] * state[2]
            }
            Self::Nadam => {
                means(c, g, state);
                p - (c[4] * g + c[5] * state[0]) / (state[1].sqrt() * c[6] + c[7])
            }
            Self::Adamax => {
                state[0] = c[0] * state[0] + c[1] * g;
                state[1] = (c[2] * state[1]).max(g.abs() + c[3]);
                p - c[5] * (state[0] / (state[1] + c[4]))
            }
            Self::Radam => {
                means(c, g, state);
                p - (c[4] * (state[0] / (state[1].sqrt() + c[5])) + c[6] * state[0])
            }
        }
    }
}

/// Running means of the gradient and its square.
fn means<R: Real>(c: &[R], g: R, state: &mut [R]) {
    state[0] = c[0] * state[0] + c[1] * g;
    state[1] = c[2] * state[1] + c[3] * (g * g);
}

/// Running means of the square and of the gradient; their variance. PyTorch takes the root of a
/// difference that rounding can make negative; here it is at least 0.
fn centred<R: Real>(c: &[R], g: R, state: &mut [R]) -> R {
    state[0] = c[0] * state[0] + c[1] * (g * g);
    state[1] = c[0] * state[1] + c[1] * g;
    (state[0] - state[1] * state[1]).max(R::ZERO)
}

/// `sqrt(x) + outside`, the denominator of RMSprop.
trait SqrtPlus: Real {
    fn sqrt_plus(self, outside: Self) -> Self {
        self.sqrt() + outside
    }
}

impl<R: Real> SqrtPlus for R {}

/// What is done to every gradient before anything else.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Control<R> {
    /// Multiplies the gradient: the inverse of the loss scale, times the factor of norm clipping.
    pub factor: R,
    /// Largest magnitude after that.
    pub limit: R,
}

/// One step of one element: the new parameter; `state` is updated.
pub fn step_element<R: Real>(
    rule: UpdateRule,
    c: &[R; ROW],
    control: Control<R>,
    (parameter, gradient): (R, R),
    state: &mut [R],
) -> R {
    let clipped = (gradient * control.factor).clip(control.limit);
    let penalised = clipped + (c[L1] * parameter.sign() + c[L2] * parameter);
    rule.apply(c, c[KEEP] * parameter, penalised, state)
}
