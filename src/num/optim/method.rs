//! Optimizers by name, with the defaults of PyTorch 2 or Keras 3.

use super::{Control, OptimError, ROW, UpdateRule, step_element};

/// Whose details are followed where the two differ: defaults, the place of epsilon (Keras's Adam adds
/// it before the bias correction, its Adagrad and RMSprop under the root), initial accumulators
/// (Keras's Adagrad starts at 0.1), and momentum (Keras keeps the learning rate inside).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Convention {
    /// `torch.optim`.
    #[default]
    PyTorch,
    /// `keras.optimizers`.
    Keras,
}

/// The method and its constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// Plain gradient descent.
    Sgd,
    /// Heavy ball or Nesterov momentum (Sutskever et al. 2013).
    Momentum {
        /// In [0, 1).
        momentum: f64,
        /// Share of the gradient that does not enter the momentum, from the second step on.
        dampening: f64,
        /// Look ahead by one step.
        nesterov: bool,
    },
    /// Duchi et al. 2011.
    Adagrad {
        /// The rate is divided by `1 + (step - 1) * this`.
        learning_rate_decay: f64,
        /// Added to the denominator.
        epsilon: f64,
        /// Sum of squares before the first step.
        initial_sum: f64,
    },
    /// Zeiler 2012.
    Adadelta {
        /// Share of the running means that is kept.
        rho: f64,
        /// Added under both roots.
        epsilon: f64,
    },
    /// Kingma and Ba 2015; AMSGrad is Reddi et al. 2018.
    Adam {
        /// Shares kept of the means of the gradient and its square.
        betas: [f64; 2],
        /// Added to the denominator.
        epsilon: f64,
        /// Divide by the largest mean square so far.
        amsgrad: bool,
    },
    /// Hinton's lecture 6e; centred as in Graves 2013.
    Rmsprop {
        /// Share of the running mean that is kept: `alpha` in PyTorch, `rho` in Keras.
        rho: f64,
        /// Added to the denominator.
        epsilon: f64,
        /// 0 for none.
        momentum: f64,
        /// Divide by the deviation from the mean gradient.
        centred: bool,
    },
    /// Dozat 2016.
    Nadam {
        /// As Adam.
        betas: [f64; 2],
        /// As Adam.
        epsilon: f64,
        /// How fast the momentum grows: 0.004 in PyTorch, 1 in Keras.
        momentum_decay: f64,
    },
    /// Kingma and Ba 2015, section 7.1.
    Adamax {
        /// As Adam; the second is of the largest gradient.
        betas: [f64; 2],
        /// As Adam.
        epsilon: f64,
    },
    /// Liu et al. 2020.
    Radam {
        /// As Adam.
        betas: [f64; 2],
        /// As Adam.
        epsilon: f64,
    },
}

/// What pulls parameters towards 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Penalty {
    /// `l1 * sign(p)` is added to the gradient: the subgradient of `l1 * sum |p|`.
    pub l1: f64,
    /// `l2 * p` is added to the gradient: PyTorch's coupled `weight_decay`. A penalty
    /// `l2 * sum p^2`, as Keras's regularizers write it, is twice this.
    pub l2: f64,
    /// `p *= 1 - lr * decoupled` before the step: AdamW (Loshchilov and Hutter 2019), and the
    /// `weight_decay` of every Keras optimizer.
    pub decoupled: f64,
}

impl Penalty {
    /// The gradient of Keras's `l1 * sum |p| + l2 * sum p^2`.
    pub const fn keras_l1_l2(l1: f64, l2: f64) -> Self {
        Self {
            l1,
            l2: 2.0 * l2,
            decoupled: 0.0,
        }
    }
}

/// A method, its penalties, and whose details it follows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optimizer {
    /// The method.
    pub method: Method,
    /// Penalties.
    pub penalty: Penalty,
    /// Whose details.
    pub convention: Convention,
}

/// Names that [`Optimizer::named`] knows.
pub const OPTIMIZERS: [&str; 12] = [
    "sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "adam", "adamw", "amsgrad",
    "nadam", "adamax", "radam",
];

impl Optimizer {
    /// A method without penalties.
    pub const fn new(method: Method, convention: Convention) -> Self {
        Self {
            method,
            penalty: Penalty {
                l1: 0.0,
                l2: 0.0,
                decoupled: 0.0,
            },
            convention,
        }
    }

    /// An optimizer with the library's defaults; momentum, which has none, is 0.9.
    ///
    /// # Errors
    /// [`OptimError::Unknown`], which lists the names; [`OptimError::NotInKeras`].
    pub fn named(name: &str, convention: Convention) -> Result<Self, OptimError> {
        let keras = convention == Convention::Keras;
        let pick = |torch: f64, other: f64| if keras { other } else { torch };
        let (betas, epsilon) = ([0.9, 0.999], pick(1e-8, 1e-7));
        let momentum = |nesterov| Method::Momentum {
            momentum: 0.9,
            dampening: 0.0,
            nesterov,
        };
        let adam = |amsgrad| Method::Adam {
            betas,
            epsilon,
            amsgrad,
        };
        let method = match name {
            "sgd" => Method::Sgd,
            "momentum" => momentum(false),
            "nesterov" => momentum(true),
            "adagrad" => Method::Adagrad {
                learning_rate_decay: 0.0,
                epsilon: pick(1e-10, 1e-7),
                initial_sum: pick(0.0, 0.1),
            },
            "adadelta" => Method::Adadelta {
                rho: pick(0.9, 0.95),
                epsilon: pick(1e-6, 1e-7),
            },
            "rmsprop" => Method::Rmsprop {
                rho: pick(0.99, 0.9),
                epsilon,
                momentum: 0.0,
                centred: false,
            },
            "adam" | "adamw" => adam(false),
            "amsgrad" => adam(true),
            "nadam" => Method::Nadam {
                betas,
                epsilon,
                momentum_decay: pick(0.004, 1.0),
            },
            "adamax" => Method::Adamax { betas, epsilon },
            "radam" if keras => return Err(OptimError::NotInKeras { optimizer: "radam" }),
            "radam" => Method::Radam { betas, epsilon },
            _ => {
                return Err(OptimError::Unknown {
                    name: name.to_owned(),
                    allowed: OPTIMIZERS.join(", "),
                });
            }
        };
        let mut made = Self::new(method, convention);
        if name == "adamw" {
            made.penalty.decoupled = pick(0.01, 0.004);
        }
        Ok(made)
    }

    /// The learning rate that the library uses when none is given.
    pub const fn default_learning_rate(&self) -> f64 {
        match (self.convention, self.method) {
            (Convention::PyTorch, Method::Adagrad { .. } | Method::Rmsprop { .. })
            | (Convention::Keras, Method::Sgd | Method::Momentum { .. }) => 0.01,
            (Convention::PyTorch, Method::Adadelta { .. }) => 1.0,
            (Convention::PyTorch, Method::Nadam { .. } | Method::Adamax { .. }) => 0.002,
            (Convention::PyTorch | Convention::Keras, _) => 0.001,
        }
    }

    /// The same with another penalty.
    #[must_use]
    pub const fn with_penalty(self, penalty: Penalty) -> Self {
        Self { penalty, ..self }
    }

    /// The form of its update.
    pub const fn rule(&self) -> UpdateRule {
        match self.method {
            Method::Sgd => UpdateRule::Sgd,
            Method::Momentum { .. } => UpdateRule::Momentum,
            Method::Adagrad { .. } => UpdateRule::Adagrad,
            Method::Adadelta { .. } => UpdateRule::Adadelta,
            Method::Adam { amsgrad: false, .. } => UpdateRule::Adam,
            Method::Adam { amsgrad: true, .. } => UpdateRule::Amsgrad,
            Method::Rmsprop {
                momentum, centred, ..
            } => match (momentum != 0.0, centred) {
                (false, false) => UpdateRule::Rmsprop,
                (true, false) => UpdateRule::RmspropMomentum,
                (false, true) => UpdateRule::RmspropCentred,
                (true, true) => UpdateRule::RmspropCentredMomentum,
            },
            Method::Nadam { .. } => UpdateRule::Nadam,
            Method::Adamax { .. } => UpdateRule::Adamax,
            Method::Radam { .. } => UpdateRule::Radam,
        }
    }

    /// What each slot of an element's state holds before the first step.
    pub fn initial_state(&self) -> Vec<f64> {
        let slots = self.rule().slots().len();
        match self.method {
            Method::Adagrad { initial_sum, .. } => vec![initial_sum],
            _ => vec![0.0; slots],
        }
    }

    /// Checks every constant.
    ///
    /// # Errors
    /// [`OptimError`] for the first one that is out of range.
    pub fn check(&self) -> Result<(), OptimError> {
        let optimizer = self.rule().name();
        let out = |what, value, allowed| {
            Err(OptimError::OutOfRange {
                optimizer,
                what,
                value,
                allowed,
            })
        };
        for (what, value) in self.shares() {
            if !(0.0..1.0).contains(&value) {
                return out(what, value, "0 to below 1");
            }
        }
        if let Some(epsilon) = self.epsilon()
            && !(1e-30..=1.0).contains(&epsilon)
        {
            return out("epsilon", epsilon, "1e-30 to 1, which f32 holds");
        }
        let Penalty { l1, l2, decoupled } = self.penalty;
        let mut sizes = vec![
            ("l1", l1),
            ("l2", l2),
            ("decoupled weight decay", decoupled),
        ];
        match self.method {
            Method::Momentum {
                momentum,
                dampening,
                nesterov: true,
            } if momentum == 0.0 || dampening != 0.0 => {
                return Err(OptimError::Nesterov {
                    momentum,
                    dampening,
                });
            }
            Method::Momentum { dampening, .. }
                if dampening != 0.0 && self.convention == Convention::Keras =>
            {
                return out("dampening", dampening, "0: Keras has none");
            }
            Method::Momentum { dampening, .. } => sizes.push(("dampening", dampening)),
            Method::Adagrad {
                learning_rate_decay,
                initial_sum,
                ..
            } => sizes.extend([
                ("learning rate decay", learning_rate_decay),
                ("initial sum", initial_sum),
            ]),
            Method::Nadam { momentum_decay, .. } => sizes.push(("momentum decay", momentum_decay)),
            _ => {}
        }
        for (what, value) in sizes {
            if !(value >= 0.0 && value.is_finite()) {
                return out(what, value, "0 or more, finite");
            }
        }
        match self.method {
            // Five steps of memory: below, the rectification divides by 0.
            Method::Radam { betas, .. } if betas[1] <= 0.6 => {
                out("second beta", betas[1], "over 0.6")
            }
            _ => Ok(()),
        }
    }

    fn shares(&self) -> Vec<(&'static str, f64)> {
        match self.method {
            Method::Sgd | Method::Adagrad { .. } => Vec::new(),
            Method::Momentum { momentum, .. } => vec![("momentum", momentum)],
            Method::Adadelta { rho, .. } => vec![("rho", rho)],
            Method::Rmsprop { rho, momentum, .. } => vec![("rho", rho), ("momentum", momentum)],
            Method::Adam { betas, .. }
            | Method::Nadam { betas, .. }
            | Method::Adamax { betas, .. }
            | Method::Radam { betas, .. } => {
                vec![("first beta", betas[0]), ("second beta", betas[1])]
            }
        }
    }

    const fn epsilon(&self) -> Option<f64> {
        match self.method {
            Method::Sgd | Method::Momentum { .. } => None,
            Method::Adagrad { epsilon, .. }
            | Method::Adadelta { epsilon, .. }
            | Method::Adam { epsilon, .. }
            | Method::Rmsprop { epsilon, .. }
            | Method::Nadam { epsilon, .. }
            | Method::Adamax { epsilon, .. }
            | Method::Radam { epsilon, .. } => Some(epsilon),
        }
    }

    /// One step in f64: the definition. `state` is `[parameters, slots]`, as the kernel has it.
    ///
    /// # Panics
    /// When the slices' lengths do not go together, which is a bug of the caller.
    pub fn step(
        &self,
        coefficients: &[f64; ROW],
        control: Control<f64>,
        (parameters, gradients): (&mut [f64], &[f64]),
        state: &mut [f64],
    ) {
        let (rule, slots) = (self.rule(), self.rule().slots().len());
        assert_eq!(parameters.len(), gradients.len(), "a gradient each");
        assert_eq!(parameters.len() * slots, state.len(), "a state each");
        for (index, parameter) in parameters.iter_mut().enumerate() {
            let own = &mut state[index * slots..(index + 1) * slots];
            let operands = (*parameter, gradients[index]);
            *parameter = step_element(rule, coefficients, control, operands, own);
        }
    }
}
