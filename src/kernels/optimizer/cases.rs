//! Cases: every rule on every kind of gradient, each storage type, with and without a mask, with
//! scaled and clipped gradients, in the middle of a run, and skipped.

use crate::kernels::{Case, DataKind, Effort, FloatType};
use crate::num::Philox;
use crate::num::optim::{
    Coefficients, Control, Convention, Method, Optimizer, Penalty, ROW, UpdateRule,
};
use crate::shader::Edit;

use super::{COEFFICIENTS, CONTROL, MASK, NAME, OUT, OptimizerStep, PARAMETER, STATE, X};

/// What `control` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Steer {
    /// Gradients as they are.
    Plain,
    /// Multiplied and clipped, after a step was skipped that the table does not know of.
    Clipped,
    /// Nothing may change.
    Skipped,
}

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut cases = Vec::new();
    for (turn, rule) in UpdateRule::ALL.into_iter().enumerate() {
        let step = |n, k| OptimizerStep {
            n,
            k,
            rule,
            gradient: FloatType::F32,
            copy: None,
            masked: false,
            rows: 3,
        };
        for data in DataKind::ALL {
            cases.extend(case(step(65, 3), data, Steer::Plain));
        }
        cases.extend(case(step(1500, 1), DataKind::Integers, Steer::Plain));
        cases.extend(case(step(129, 1), DataKind::Normal, Steer::Clipped));
        cases.extend(case(step(1, 1), DataKind::Outliers, Steer::Clipped));
        let [gradient, copy] = [
            [FloatType::F16, FloatType::Bf16],
            [FloatType::Bf16, FloatType::F16],
        ][turn % 2];
        let mixed = OptimizerStep {
            gradient,
            copy: Some(copy),
            masked: true,
            ..step(21, 35)
        };
        cases.extend(case(mixed, DataKind::Normal, Steer::Plain));
        cases.extend(case(mixed, DataKind::Normal, Steer::Clipped));
        cases.extend(case(mixed, DataKind::Outliers, Steer::Skipped));
        if effort == Effort::Full {
            for gradient in [FloatType::F32, FloatType::F16, FloatType::Bf16] {
                for copy in [None, Some(FloatType::F16), Some(FloatType::Bf16)] {
                    let wide = OptimizerStep {
                        gradient,
                        copy,
                        ..step(3000, 33)
                    };
                    cases.extend(case(wide, DataKind::Cancelling, Steer::Clipped));
                }
            }
        }
    }
    cases
}

/// A case; `None` only when the shape itself is refused, which the shape tests cover.
pub(super) fn case(step: OptimizerStep, data: DataKind, steer: Steer) -> Option<Case> {
    let operands = operands(&step, data, steer, u64::from(step.n));
    let mut case = Case::new(step.launch().ok()?, operands, data);
    case.name = format!("{} {steer:?}", case.name);
    let exact = matches!(step.rule, UpdateRule::Sgd | UpdateRule::Momentum);
    Some(if exact && steer == Steer::Plain {
        case
    } else {
        case.bounded()
    })
}

/// The optimizer of a rule. Integers stay exact with it under SGD and momentum.
fn optimizer(rule: UpdateRule, data: DataKind) -> Optimizer {
    let betas = [0.8, 0.95];
    let epsilon = 1e-3;
    let adam = |amsgrad| Method::Adam {
        betas,
        epsilon,
        amsgrad,
    };
    let rmsprop = |momentum, centred| Method::Rmsprop {
        rho: 0.9,
        epsilon,
        momentum,
        centred,
    };
    let method = match rule {
        UpdateRule::Sgd => Method::Sgd,
        UpdateRule::Momentum => Method::Momentum {
            momentum: 0.5,
            dampening: 0.0,
            nesterov: true,
        },
        UpdateRule::Adagrad => Method::Adagrad {
            learning_rate_decay: 0.1,
            epsilon,
            initial_sum: 0.1,
        },
        UpdateRule::Adadelta => Method::Adadelta { rho: 0.9, epsilon },
        UpdateRule::Adam => adam(false),
        UpdateRule::Amsgrad => adam(true),
        UpdateRule::Rmsprop => rmsprop(0.0, false),
        UpdateRule::RmspropMomentum => rmsprop(0.7, false),
        UpdateRule::RmspropCentred => rmsprop(0.0, true),
        UpdateRule::RmspropCentredMomentum => rmsprop(0.7, true),
        UpdateRule::Nadam => Method::Nadam {
            betas,
            epsilon,
            momentum_decay: 0.004,
        },
        UpdateRule::Adamax => Method::Adamax { betas, epsilon },
        UpdateRule::Radam => Method::Radam { betas, epsilon },
    };
    // Keras puts epsilon, and the rate of momentum, in the other places.
    let convention = match data {
        DataKind::Cancelling | DataKind::Denormals => Convention::Keras,
        _ => Convention::PyTorch,
    };
    let penalty = if data == DataKind::Integers {
        Penalty {
            l1: 1.0,
            l2: 0.5,
            decoupled: 0.5,
        }
    } else {
        Penalty {
            l1: 0.01,
            l2: 0.02,
            decoupled: 0.3,
        }
    };
    Optimizer::new(method, convention).with_penalty(penalty)
}

/// Operands of a step in the middle of a run: the state is what earlier steps left.
pub(super) fn operands(
    step: &OptimizerStep,
    data: DataKind,
    steer: Steer,
    seed: u64,
) -> Vec<(u32, Vec<u32>)> {
    let count = step.n as usize * step.k as usize;
    let optimizer = optimizer(step.rule, data);
    let integers = data == DataKind::Integers;
    let rate = if integers { 0.5 } else { 0.05 };
    // RAdam changes its form between these steps.
    let call = if integers { 3 } else { 9 };
    let (mut parameters, mut state) = warm(&optimizer, count, integers, seed);
    let bits = |values: Vec<f64>| values.iter().map(|&v| (v as f32).to_bits()).collect();
    let control = match steer {
        Steer::Plain => [1.0f32.to_bits(), f32::MAX.to_bits(), 0, 2],
        Steer::Clipped => [0.37f32.to_bits(), 0.5f32.to_bits(), 0, 3],
        Steer::Skipped => [1.0f32.to_bits(), f32::MAX.to_bits(), 1, 3],
    };
    let table = Coefficients::table(&optimizer, rate, call, 2, step.rows as usize);
    let gradients = step.gradient.pack(&data.values(seed, count));
    if data == DataKind::Denormals {
        parameters[count / 2] = 1e-40;
    }
    let mut operands = vec![
        (X, gradients),
        (
            COEFFICIENTS,
            table.values().iter().map(|v| v.to_bits()).collect(),
        ),
        (CONTROL, control.to_vec()),
    ];
    if let Some(copy) = step.copy {
        let stale: Vec<f32> = parameters.iter().map(|&value| value as f32).collect();
        operands.push((OUT, copy.pack(&stale)));
    }
    if step.masked {
        operands.push((MASK, mask(step, seed)));
    }
    operands.push((PARAMETER, bits(parameters)));
    if !state.is_empty() {
        state.truncate(count * step.rule.slots().len());
        operands.push((STATE, bits(state)));
    }
    operands
}

/// Parameters and state after two steps.
fn warm(optimizer: &Optimizer, count: usize, integers: bool, seed: u64) -> (Vec<f64>, Vec<f64>) {
    let kind = if integers {
        DataKind::Integers
    } else {
        DataKind::Normal
    };
    let draw = |seed| kind.values(seed, count).into_iter().map(f64::from);
    let mut parameters: Vec<f64> = draw(seed + 1).collect();
    let mut state = optimizer.initial_state().repeat(count);
    let control = Control {
        factor: 1.0,
        limit: f64::MAX,
    };
    for turn in 1..3 {
        let gradients: Vec<f64> = draw(seed + 1 + turn).collect();
        let row: [f64; ROW] = optimizer.coefficients(turn, if integers { 0.5 } else { 0.05 });
        optimizer.step(&row, control, (&mut parameters, &gradients), &mut state);
    }
    (parameters, state)
}

/// About half is kept; bits behind a row are 0.
fn mask(step: &OptimizerStep, seed: u64) -> Vec<u32> {
    let mut random = Philox::new(seed).stream(99);
    let row_words = step.k.div_ceil(32);
    let tail = u32::MAX >> ((32 - step.k % 32) % 32);
    let mut words: Vec<u32> = (0..step.n * row_words).map(|_| random.next_u32()).collect();
    for last in words
        .chunks_mut(row_words as usize)
        .filter_map(<[u32]>::last_mut)
    {
        *last &= tail;
    }
    words
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "skipped_steps_are_taken",
        module: NAME,
        find: " || control[2] != 0u",
        replace: "",
    },
    Edit {
        name: "factor_ignored",
        module: NAME,
        find: " * factor;",
        replace: ";",
    },
    Edit {
        name: "never_clipped",
        module: NAME,
        find: "abs(scaled) > limit",
        replace: "false",
    },
    Edit {
        name: "clipped_without_its_sign",
        module: NAME,
        find: "select(limit, -limit, scaled < 0.0)",
        replace: "limit",
    },
    Edit {
        name: "no_l1",
        module: NAME,
        find: "coefficient(1u) * sign(old) + ",
        replace: "",
    },
    Edit {
        name: "no_decoupled_decay",
        module: NAME,
        find: "coefficient(0u) * old",
        replace: "old",
    },
    Edit {
        name: "second_of_a_pair_missing",
        module: NAME,
        find: "second = step(index + 1u, factor, limit)",
        replace: "second = 0u",
    },
    Edit {
        name: "last_pair_missing",
        module: NAME,
        find: "index < params.count",
        replace: "index + 2u < params.count",
    },
    Edit {
        name: "pruned_parameters_stay",
        module: NAME,
        find: "parameter[index] = 0.0;",
        replace: "",
    },
    Edit {
        name: "pruned_state_stays",
        module: "memory/slots",
        find: "= 0.0",
        replace: "*= 1.0",
    },
    Edit {
        name: "skipped_steps_count",
        module: "optimizer/params",
        find: "min(skipped - known, params.rows - 1u)",
        replace: "0u",
    },
    Edit {
        name: "mask_rows_not_padded",
        module: "kept/mask",
        find: "index / params.columns * params.row_words",
        replace: "index / params.columns",
    },
    Edit {
        name: "momentum_without_looking_ahead",
        module: "rule/momentum",
        find: " + coefficient(6u) * g",
        replace: "",
    },
    Edit {
        name: "epsilon_of_adagrad_missing",
        module: "rule/adagrad",
        find: " + coefficient(5u)",
        replace: "",
    },
    Edit {
        name: "adadelta_forgets_its_steps",
        module: "rule/adadelta",
        find: "rho * u + rest * (d * d)",
        replace: "rest * (d * d)",
    },
    Edit {
        name: "adam_not_corrected",
        module: "rule/adam",
        find: "sqrt(v) * coefficient(8u)",
        replace: "sqrt(v)",
    },
    Edit {
        name: "amsgrad_is_adam",
        module: "rule/amsgrad",
        find: "max(state[3u * index + 2u], v)",
        replace: "v",
    },
    Edit {
        name: "epsilon_of_rmsprop_missing",
        module: "rule/rmsprop",
        find: " + coefficient(6u)",
        replace: "",
    },
    Edit {
        name: "rmsprop_without_momentum",
        module: "rule/rmsprop_momentum",
        find: "coefficient(7u) * state[2u * index + 1u] + ",
        replace: "",
    },
    Edit {
        name: "rmsprop_not_centred",
        module: "rule/rmsprop_centred",
        find: "v - mean * mean",
        replace: "v",
    },
    Edit {
        name: "centre_of_the_wrong_slot",
        module: "rule/rmsprop_centred_momentum",
        find: "state[3u * index + 1u] = mean",
        replace: "state[3u * index + 1u] = v",
    },
    Edit {
        name: "nadam_without_the_gradient",
        module: "rule/nadam",
        find: "coefficient(7u) * g + ",
        replace: "",
    },
    Edit {
        name: "adamax_without_decay",
        module: "rule/adamax",
        find: "coefficient(5u) * state[2u * index + 1u]",
        replace: "state[2u * index + 1u]",
    },
    Edit {
        name: "radam_always_adaptive",
        module: "rule/radam",
        find: " + coefficient(9u) * m",
        replace: "",
    },
];
