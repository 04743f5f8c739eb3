//! Steps worked by hand, the differences between the two libraries, and what is refused. Fifty steps
//! against PyTorch's own numbers are in `tests/suite/optim.rs`.

use super::*;

const PLAIN: Control<f64> = Control {
    factor: 1.0,
    limit: f64::MAX,
};

/// `gradients.len()` steps of one element from 1.
fn run(optimizer: &Optimizer, rate: f64, gradients: &[f64]) -> (f64, Vec<f64>) {
    optimizer.check().expect("in range");
    let (mut p, mut state) = ([1.0], optimizer.initial_state());
    for (g, step) in gradients.iter().zip(1..) {
        let row = optimizer.coefficients(step, rate);
        optimizer.step(&row, PLAIN, (&mut p, &[*g]), &mut state);
    }
    (p[0], state)
}

fn torch(name: &str) -> Optimizer {
    Optimizer::named(name, Convention::PyTorch).expect("a name")
}

fn keras(name: &str) -> Optimizer {
    Optimizer::named(name, Convention::Keras).expect("a name")
}

fn near(got: f64, expected: f64) {
    assert!((got - expected).abs() < 1e-14, "{got} for {expected}");
}

#[test]
fn two_steps_of_momentum_are_those_on_paper() {
    near(run(&torch("sgd"), 0.1, &[0.5, -1.0]).0, 1.0 - 0.05 + 0.1);
    // v = 0.5, then 0.45 - 1 = -0.55.
    near(
        run(&torch("momentum"), 0.1, &[0.5, -1.0]).0,
        1.0 - 0.05 + 0.055,
    );
    // Steps 0.5 + 0.45, then -1 + 0.9 * -0.55.
    let nesterov = run(&torch("nesterov"), 0.1, &[0.5, -1.0]).0;
    near(nesterov, 1.0 - 0.095 + 0.1495);
}

#[test]
fn dampening_spares_the_first_step() {
    let mut optimizer = torch("momentum");
    optimizer.method = Method::Momentum {
        momentum: 0.9,
        dampening: 0.5,
        nesterov: false,
    };
    // v = 1, then 0.9 + 0.5.
    near(run(&optimizer, 0.1, &[1.0, 1.0]).0, 1.0 - 0.1 - 0.14);
    optimizer.convention = Convention::Keras;
    let message = optimizer.check().expect_err("not in Keras").to_string();
    assert_eq!(
        message,
        "momentum: dampening = 0.5; allowed: 0: Keras has none"
    );
}

#[test]
fn one_step_of_each_adaptive_method_is_that_on_paper() {
    let (g, lr) = (0.5, 0.1);
    let first = |name| run(&torch(name), lr, &[g]).0;
    near(first("adagrad"), 1.0 - lr * g / (g + 1e-10));
    let v: f64 = 0.1 * g * g;
    near(
        first("adadelta"),
        1.0 - lr * (1e-6_f64).sqrt() / (v + 1e-6).sqrt() * g,
    );
    near(first("rmsprop"), 1.0 - lr * g / (0.1 * g + 1e-8));
    // The corrections undo the means on the first step.
    near(first("adam"), 1.0 - lr * g / (g + 1e-8));
    near(first("amsgrad"), 1.0 - lr * g / (g + 1e-8));
    near(first("adamw"), (1.0 - lr * 0.01) - lr * g / (g + 1e-8));
    near(first("adamax"), 1.0 - lr * g / (g + 1e-8));
    near(first("radam"), 1.0 - lr * g);
    let mu = |step: f64| 0.9 * (1.0 - 0.5 * 0.96_f64.powf(step * 0.004));
    let (now, next) = (mu(1.0), mu(2.0));
    let mean = 0.1 * g;
    let nadam = (1.0 - now) * g / (1.0 - now) + next * mean / (1.0 - now * next);
    near(first("nadam"), 1.0 - lr * nadam / (g + 1e-8));
}

#[test]
fn centred_rmsprop_divides_by_the_deviation() {
    let mut optimizer = torch("rmsprop");
    optimizer.method = Method::Rmsprop {
        rho: 0.9,
        epsilon: 1e-8,
        momentum: 0.5,
        centred: true,
    };
    let deviation = |square: f64, mean: f64| (square - mean * mean).sqrt() + 1e-8;
    let first = 2.0 / deviation(0.4, 0.2);
    let second = 0.5 * first + 1.0 / deviation(0.36 + 0.1, 0.18 + 0.1);
    let (p, state) = run(&optimizer, 0.1, &[2.0, 1.0]);
    near(p, 1.0 - 0.1 * first - 0.1 * second);
    near(state[2], second);
}

#[test]
fn amsgrad_never_forgets_the_largest_square() {
    let (_, state) = run(&torch("amsgrad"), 0.1, &[10.0, 0.0, 0.0]);
    near(state[2], 0.001 * 100.0);
    assert!(state[1] < state[2]);
}

#[test]
fn radam_rectifies_from_the_sixth_step_on() {
    let optimizer = torch("radam");
    let adaptive = |step| optimizer.coefficients(step, 0.1)[7];
    assert_eq!((1..=5).map(adaptive).sum::<f64>(), 0.0);
    assert!(adaptive(6) > 0.0);
}

#[test]
fn keras_differs_where_it_is_said_to() {
    let (g, lr) = (0.5, 0.1);
    // Epsilon before the bias correction.
    let alpha = lr * 0.001_f64.sqrt() / 0.1;
    let adam = 1.0 - alpha * 0.05 / (0.00025_f64.sqrt() + 1e-7);
    let got = run(&keras("adam"), lr, &[g]).0;
    assert!((got - adam).abs() < 1e-12, "{got} for {adam}");
    // An accumulator that begins at 0.1, and epsilon under the root.
    near(
        run(&keras("adagrad"), lr, &[g]).0,
        1.0 - lr * g / (0.1 + g * g + 1e-7_f64).sqrt(),
    );
    near(
        run(&keras("rmsprop"), lr, &[g]).0,
        1.0 - lr * g / (0.1 * g * g + 1e-7_f64).sqrt(),
    );
    near(run(&keras("adamax"), lr, &[g]).0, 1.0 - lr * g / (g + 1e-7));
    // Momentum and Nesterov agree while the rate stays, and differ when it changes.
    for name in ["momentum", "nesterov"] {
        let (a, b) = (torch(name), keras(name));
        near(
            run(&a, lr, &[0.5, -1.0, 2.0]).0,
            run(&b, lr, &[0.5, -1.0, 2.0]).0,
        );
        let changed = |optimizer: &Optimizer| {
            let (mut p, mut state) = ([1.0], optimizer.initial_state());
            for (step, rate) in [(1, 0.1), (2, 0.01)] {
                let row = optimizer.coefficients(step, rate);
                optimizer.step(&row, PLAIN, (&mut p, &[1.0]), &mut state);
            }
            p[0]
        };
        assert!((changed(&a) - changed(&b)).abs() > 0.05);
    }
    assert_eq!(
        Optimizer::named("radam", Convention::Keras),
        Err(OptimError::NotInKeras { optimizer: "radam" })
    );
}

#[test]
fn penalties_pull_towards_zero_each_in_its_way() {
    let with = |penalty| torch("sgd").with_penalty(penalty);
    let decoupled = Penalty {
        decoupled: 0.5,
        ..Penalty::default()
    };
    near(run(&with(decoupled), 0.1, &[1.0]).0, 0.95 - 0.1);
    near(
        run(&with(Penalty::keras_l1_l2(0.25, 0.5)), 0.1, &[0.0]).0,
        1.0 - 0.025 - 0.1,
    );
    // The subgradient at 0 is 0.
    let optimizer = with(Penalty::keras_l1_l2(0.25, 0.0));
    let mut p = [0.0];
    optimizer.step(
        &optimizer.coefficients(1, 1.0),
        PLAIN,
        (&mut p, &[0.0]),
        &mut [],
    );
    assert_eq!(p, [0.0]);
}

#[test]
fn gradients_are_scaled_then_clipped() {
    let optimizer = torch("sgd");
    let control = Control {
        factor: 0.5,
        limit: 1.0,
    };
    let mut p = [0.0, 0.0, 0.0];
    let row = optimizer.coefficients(1, 1.0);
    optimizer.step(&row, control, (&mut p, &[1.0, -8.0, 2.0]), &mut []);
    assert_eq!(p, [-0.5, 1.0, -1.0]);
}

#[test]
fn a_row_counts_the_steps_that_were_taken() {
    let optimizer = torch("adam");
    let table = Coefficients::table(&optimizer, 0.01, 7, 2, 3);
    for (row, step) in table.values().chunks(ROW).zip([5, 4, 3]) {
        let mut expected = optimizer.coefficients(step, 0.01).map(|value| value as f32);
        expected[SKIPPED] = 2.0;
        assert_eq!(row, expected);
    }
    // Before any step is taken there is only the first.
    let start = Coefficients::table(&optimizer, 0.01, 1, 0, 2);
    assert_eq!(start.values()[..15], start.values()[16..31]);
}

#[test]
fn what_is_no_number_is_never_the_smaller_of_two() {
    for name in ["amsgrad", "adamax"] {
        let (p, state) = run(&torch(name), 0.1, &[f64::NAN]);
        assert!(p.is_nan(), "{name}: {p}");
        let is_lost = state.iter().all(|value| value.is_nan());
        assert!(is_lost, "{name}: {state:?}");
    }
    let mut optimizer = torch("rmsprop");
    optimizer.method = Method::Rmsprop {
        rho: 0.9,
        epsilon: 1e-8,
        momentum: 0.0,
        centred: true,
    };
    // The difference of two squares past the range is no variance of 0.
    let (p, _) = run(&optimizer, 0.1, &[1e200]);
    assert!(p.is_nan(), "{p}");
}

#[test]
fn a_long_run_of_nadam_ends_its_product() {
    let optimizer = torch("nadam");
    let row = optimizer.coefficients(2_000_000, 1.0);
    assert!(row.iter().all(|value| value.is_finite()));
    assert!((row[8] - 0.9).abs() < 1e-6, "{row:?}");
}

#[test]
fn every_name_is_an_optimizer_whose_defaults_are_in_range() {
    for name in OPTIMIZERS {
        torch(name).check().expect("in range");
        if name != "radam" {
            keras(name).check().expect("in range");
        }
    }
    let error = Optimizer::named("adan", Convention::PyTorch).expect_err("no such name");
    assert!(
        error
            .to_string()
            .starts_with("optimizer `adan`; allowed: sgd, momentum")
    );
}

#[test]
fn numbers_out_of_range_are_named() {
    let mut optimizer = torch("adam");
    optimizer.method = Method::Adam {
        betas: [0.9, 1.0],
        epsilon: 1e-8,
        amsgrad: false,
    };
    assert_eq!(
        optimizer.check().expect_err("beta 1").to_string(),
        "adam: second beta = 1; allowed: 0 to below 1"
    );
    optimizer.method = Method::Adam {
        betas: [0.9, 0.999],
        epsilon: 0.0,
        amsgrad: false,
    };
    assert!(optimizer.check().is_err());
    optimizer.method = Method::Momentum {
        momentum: 0.0,
        dampening: 0.0,
        nesterov: true,
    };
    assert_eq!(
        optimizer.check(),
        Err(OptimError::Nesterov {
            momentum: 0.0,
            dampening: 0.0
        })
    );
    let penalty = Penalty {
        l1: f64::NAN,
        ..Penalty::default()
    };
    assert!(torch("sgd").with_penalty(penalty).check().is_err());
}
