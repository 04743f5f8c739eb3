//! Rates at boundaries: those of the examples in PyTorch's documentation where it has one, else worked
//! by hand from its code.

use super::*;

fn rates(schedule: &Schedule, base: f64, times: &[u64]) -> Vec<f64> {
    schedule.check().expect("allowed");
    times.iter().map(|&t| schedule.rate(base, t)).collect()
}

fn near(got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len());
    for (a, b) in got.iter().zip(expected) {
        assert!(
            (a - b).abs() <= 1e-12 * b.abs().max(1e-6),
            "{got:?} for {expected:?}"
        );
    }
}

#[test]
fn steps_fall_at_their_multiples() {
    let every_30 = Schedule::Step {
        every: 30,
        gamma: 0.1,
    };
    let got = rates(&every_30, 0.05, &[0, 29, 30, 59, 60, 90]);
    near(&got, &[0.05, 0.05, 0.005, 0.005, 0.0005, 0.00005]);
    near(&rates(&Schedule::Constant, 0.05, &[0, 1000]), &[0.05, 0.05]);
}

#[test]
fn milestones_fall_when_they_are_reached() {
    let schedule = Schedule::MultiStep {
        milestones: vec![30, 80],
        gamma: 0.1,
    };
    let got = rates(&schedule, 0.05, &[29, 30, 79, 80, 81]);
    near(&got, &[0.05, 0.005, 0.005, 0.0005, 0.0005]);
}

#[test]
fn a_piecewise_boundary_is_on_the_side_of_its_library() {
    let schedule = |at| Schedule::Piecewise {
        boundaries: vec![100, 110],
        values: vec![1.0, 0.5, 0.1],
        at,
    };
    let times = [0, 99, 100, 101, 109, 110, 111];
    let torch = rates(&schedule(Boundary::Begins), 9.0, &times);
    near(&torch, &[1.0, 1.0, 0.5, 0.5, 0.5, 0.1, 0.1]);
    let keras = rates(&schedule(Boundary::Ends), 9.0, &times);
    near(&keras, &[1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.1]);
}

#[test]
fn exponentials_fall_by_gamma_each_time() {
    let schedule = |over| Schedule::Exponential { gamma: 0.5, over };
    near(
        &rates(&schedule(1), 0.4, &[0, 1, 2, 10]),
        &[0.4, 0.2, 0.1, 0.4 / 1024.0],
    );
    near(
        &rates(&schedule(4), 0.4, &[0, 2, 4]),
        &[0.4, 0.4 * 0.5_f64.sqrt(), 0.2],
    );
}

#[test]
fn polynomials_end_and_stay() {
    let line = Schedule::Polynomial {
        total: 4,
        power: 1.0,
        end: 0.0,
    };
    let got = rates(&line, 0.05, &[0, 1, 2, 3, 4, 9]);
    near(&got, &[0.05, 0.0375, 0.025, 0.0125, 0.0, 0.0]);
    let square = Schedule::Polynomial {
        total: 4,
        power: 2.0,
        end: 0.1,
    };
    near(&rates(&square, 0.5, &[0, 2, 4, 5]), &[0.5, 0.2, 0.1, 0.1]);
}

#[test]
fn a_cosine_rises_again_or_stays() {
    let cosine = |then| Schedule::Cosine {
        total: 6,
        minimum: 0.1,
        then,
    };
    let got = rates(&cosine(AfterEnd::Rise), 1.1, &[0, 2, 3, 4, 6, 9, 12]);
    near(&got, &[1.1, 0.85, 0.6, 0.35, 0.1, 0.6, 1.1]);
    near(
        &rates(&cosine(AfterEnd::Hold), 1.1, &[3, 6, 9]),
        &[0.6, 0.1, 0.1],
    );
}

#[test]
fn a_line_of_factors_reaches_its_end_and_stays() {
    let schedule = Schedule::Linear {
        start: 0.5,
        end: 1.0,
        total: 4,
    };
    let got = rates(&schedule, 0.05, &[0, 1, 2, 3, 4, 5]);
    near(&got, &[0.025, 0.03125, 0.0375, 0.04375, 0.05, 0.05]);
}

#[test]
fn a_linear_schedule_warms_up_from_zero_and_falls_to_zero() {
    let schedule = Schedule::WarmUpLinear {
        warm_up: 4,
        total: 12,
    };
    let got = rates(&schedule, 0.8, &[0, 1, 3, 4, 5, 8, 11, 12, 13]);
    near(&got, &[0.0, 0.2, 0.6, 0.8, 0.7, 0.4, 0.1, 0.0, 0.0]);
    let without = Schedule::WarmUpLinear {
        warm_up: 0,
        total: 4,
    };
    near(&rates(&without, 0.8, &[0, 1, 4]), &[0.8, 0.6, 0.0]);
}

#[test]
fn a_warm_up_hands_over_at_time_zero_of_what_follows() {
    let schedule = Schedule::WarmUp {
        warm_up: 2,
        start: 0.25,
        then: Box::new(Schedule::Exponential {
            gamma: 0.9,
            over: 1,
        }),
    };
    let got = rates(&schedule, 1.0, &[0, 1, 2, 3, 4]);
    near(&got, &[0.25, 0.625, 1.0, 0.9, 0.81]);
}

#[test]
fn one_cycle_peaks_at_its_share_and_ends_on_the_last_step() {
    let cosine = Schedule::one_cycle(10);
    // The peak is at 0.3 * 10 - 1, the end at 10 - 1.
    let got = rates(&cosine, 0.1, &[0, 1, 2, 9, 20]);
    near(&got, &[0.004, 0.052, 0.1, 4e-7, 4e-7]);
    let halfway = Schedule::one_cycle(20).rate(0.1, 12);
    near(
        &[halfway],
        &[4e-7 + (0.1 - 4e-7) / 2.0 * (1.0 + (7.0 * std::f64::consts::PI / 14.0).cos())],
    );
    let line = Schedule::OneCycle {
        total: 9,
        rise: 1.0 / 3.0,
        initial_divisor: 10.0,
        final_divisor: 10.0,
        anneal: Anneal::Linear,
    };
    let got = rates(&line, 1.0, &[0, 1, 2, 5, 8]);
    near(&got, &[0.1, 0.55, 1.0, 0.505, 0.01]);
}

#[test]
fn epochs_keep_the_rate_within_one() {
    let schedule = Schedule::Step {
        every: 2,
        gamma: 0.5,
    };
    let clock = Clock::Epochs { steps_per_epoch: 3 };
    let got: Vec<f64> = (0..13)
        .map(|step| schedule.rate(1.0, clock.time(step).expect("steps")))
        .collect();
    assert_eq!(got[..6], [1.0; 6]);
    assert_eq!(got[6..12], [0.5; 6]);
    assert_eq!(got[12], 0.25);
    assert_eq!(Clock::Steps.time(7), Ok(7));
    assert!(Clock::Epochs { steps_per_epoch: 0 }.time(1).is_err());
}

#[test]
fn a_plateau_bears_its_patience_and_cools_down() {
    let rule = PlateauRule {
        patience: 2,
        cooldown: 1,
        factor: 0.5,
        minimum: 0.2,
        ..PlateauRule::default()
    };
    let mut plateau = Plateau::new(rule, 1.0).expect("allowed");
    // Best 1; two are borne, the third lets it fall; the next is in the cooldown.
    let got: Vec<f64> = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5]
        .into_iter()
        .map(|metric| plateau.observe(metric))
        .collect();
    assert_eq!(got, [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]);
    for _ in 0..8 {
        plateau.observe(f64::NAN);
    }
    assert_eq!(plateau.rate, 0.2);
}

#[test]
fn a_metric_must_be_better_by_the_threshold() {
    let improves = |better, threshold, best: f64, metric| {
        let rule = PlateauRule {
            better,
            threshold,
            ..PlateauRule::default()
        };
        let mut plateau = Plateau::new(rule, 1.0).expect("allowed");
        plateau.observe(best);
        plateau.observe(metric);
        plateau.bad == 0
    };
    assert!(!improves(
        Better::Lower,
        Threshold::Relative(0.1),
        10.0,
        9.0
    ));
    assert!(improves(Better::Lower, Threshold::Relative(0.1), 10.0, 8.9));
    assert!(!improves(
        Better::Lower,
        Threshold::Absolute(0.5),
        10.0,
        9.5
    ));
    assert!(improves(
        Better::Higher,
        Threshold::Relative(0.1),
        10.0,
        11.5
    ));
    assert!(!improves(
        Better::Higher,
        Threshold::Absolute(0.5),
        10.0,
        10.5
    ));
}

#[test]
fn numbers_out_of_range_are_named() {
    let refused = |schedule: Schedule, said: &str| {
        let error = schedule.check().expect_err(said).to_string();
        assert!(error.contains(said), "{error}");
    };
    refused(
        Schedule::Step {
            every: 0,
            gamma: 0.1,
        },
        "time between two steps is 0",
    );
    refused(
        Schedule::MultiStep {
            milestones: vec![30, 30],
            gamma: 0.1,
        },
        "boundary 1 is 30, not after 30",
    );
    refused(
        Schedule::Piecewise {
            boundaries: vec![1],
            values: vec![1.0],
            at: Boundary::Begins,
        },
        "1 values for 1 boundaries",
    );
    refused(
        Schedule::Exponential {
            gamma: f64::NAN,
            over: 1,
        },
        "gamma = NaN",
    );
    refused(
        Schedule::WarmUpLinear {
            warm_up: 5,
            total: 5,
        },
        "warm-up 5 of 5",
    );
    refused(Schedule::one_cycle(3), "share of the way up = 0.3");
    let rule = PlateauRule {
        factor: 1.0,
        ..PlateauRule::default()
    };
    assert!(Plateau::new(rule, 1.0).is_err());
}
