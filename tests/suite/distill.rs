//! What a student learns from a teacher: losses against their definitions and gradients against differences.

use lapidary::autograd::{HintLoss, RowLabels, SoftTargets, Tape, TeacherLoss, Var};
use lapidary::engine::{CpuEngine, Engine};
use lapidary::ops::OpError;
use lapidary::ops::nn::{Conv2dOptions, Indices, Target};
use lapidary::record::{Recording, Tensor};
use lapidary::tensor::HostTensor;
use lapidary::verify::compare_recording;

use crate::support::{gpu, options};

/// Records a loss of rows over one parameter.
type Loss = fn(&mut Tape, Var) -> Result<Var, OpError>;

fn host(shape: &[usize], values: &[f32]) -> HostTensor {
    HostTensor::from_f32(shape.to_vec(), values).expect("shape fits")
}

/// Multiples of 2^-12, so that steps of multiples of 2^-7 are exact.
fn values(seed: u64, len: usize) -> Vec<f32> {
    let values = crate::support::values(seed, len);
    let rounded = values.iter().map(|v| (v * 4096.0).round() / 4096.0);
    rounded.collect()
}

fn drawn(tape: &mut Tape, seed: u64, shape: &[usize]) -> Tensor {
    let values = values(seed, shape.iter().product());
    tape.recording().upload(&host(shape, &values))
}

/// Losses, and the gradient of their sum.
fn pass(shape: &[usize], x: &[f32], loss: Loss) -> Recording {
    let mut tape = Tape::new();
    let x = tape.recording().upload(&host(shape, x));
    let x = tape.parameter(&x);
    let losses = loss(&mut tape, x).expect("recorded");
    let value = tape.value(losses).clone();
    let ones = tape
        .recording()
        .upload(&host(&[value.len()], &vec![1.0; value.len()]));
    let gradients = tape.backward(&[(losses, &ones)]).expect("recorded");
    let gradient = gradients.get(x).expect("used").clone();
    tape.recording().download(&value);
    tape.recording().download(&gradient);
    tape.into_recording()
}

/// Losses and gradient on the adapter, every dispatch within its bound, and the gradient against differences.
fn check(shape: &[usize], loss: Loss) -> (Vec<f32>, Vec<f32>) {
    let x = values(1, shape.iter().product());
    let adapter = gpu(options());
    let recording = pass(shape, &x, loss);
    for report in compare_recording(&adapter, &recording).expect("runs") {
        assert!(report.comparison.passed(), "{report:?}");
    }
    let made = adapter.run(&recording).expect("runs");
    let [losses, gradient] = [0, 1].map(|index| made[index].to_f32().expect("f32"));
    let cpu = CpuEngine::new();
    let total = |x: &[f32]| -> f64 {
        let losses = &cpu.run(&pass(shape, x, loss)).expect("runs")[0];
        losses
            .to_f32()
            .expect("f32")
            .iter()
            .copied()
            .map(f64::from)
            .sum()
    };
    let largest = gradient.iter().fold(0f32, |most, one| most.max(one.abs()));
    let step = 1.0 / 128.0;
    for at in (0..x.len()).step_by(1 + x.len() / 10) {
        let moved = |steps: f32| {
            let mut moved = x.clone();
            moved[at] += steps * step;
            total(&moved)
        };
        let [one, two] = [moved(1.0) - moved(-1.0), moved(2.0) - moved(-2.0)];
        let expected = (8.0 * one - two) / (12.0 * f64::from(step));
        // Differences of fourth order: what is left is the rounding of losses and of the few stored values
        // before them, 18 of them over 12 steps, and the gradient's own, which was compared with its bound.
        let size = 1.5 / f64::from(step) * total(&x).abs().max(1.0);
        let allowed = 8.0 * 2f64.powi(-24) * size + 1e-5 * f64::from(largest);
        let seen = f64::from(gradient[at]);
        assert!(
            (seen - expected).abs() <= allowed,
            "element {at}: {seen}, {expected}"
        );
    }
    (losses, gradient)
}

const SETTINGS: SoftTargets = SoftTargets {
    hard_share: 0.25,
    temperature: 3.0,
};

fn soft_targets(tape: &mut Tape, x: Var, settings: SoftTargets) -> Result<Var, OpError> {
    let labels = (&[0, 4, 2, 2][..], 5);
    let labels = Indices::upload(tape.recording(), "labels", &[4], labels)?;
    let teacher = drawn(tape, 7, &[4, 5]);
    tape.soft_target_loss(x, &labels, &teacher, settings)
}

#[test]
fn soft_targets_mix_with_labels_as_their_shares_say() {
    let (mixed, _) = check(&[4, 5], |tape, x| soft_targets(tape, x, SETTINGS));
    let (soft, _) = check(&[4, 5], |tape, x| {
        let hard_share = 0.0;
        soft_targets(
            tape,
            x,
            SoftTargets {
                hard_share,
                ..SETTINGS
            },
        )
    });
    let (hard, _) = check(&[4, 5], |tape, x| {
        let hard_share = 1.0;
        soft_targets(
            tape,
            x,
            SoftTargets {
                hard_share,
                ..SETTINGS
            },
        )
    });
    // The definition in f64.
    let (x, teacher) = (values(1, 20), values(7, 20));
    let shares = |row: &[f32], temperature: f64| -> Vec<f64> {
        let powers = row.iter().map(|&x| (f64::from(x) / temperature).exp());
        let sum: f64 = powers.clone().sum();
        powers.map(|power| power / sum).collect()
    };
    for (row, label) in [0, 4, 2, 2].into_iter().enumerate() {
        let places = 5 * row..5 * row + 5;
        let p = shares(&x[places.clone()], 3.0);
        let t = shares(&teacher[places.clone()], 3.0);
        let divergence: f64 = t.iter().zip(&p).map(|(t, p)| t * (t / p).ln()).sum();
        let expected = [-shares(&x[places], 1.0)[label].ln(), 9.0 * divergence];
        assert!((f64::from(hard[row]) - expected[0]).abs() < 2e-6);
        assert!((f64::from(soft[row]) - expected[1]).abs() < 1e-5);
        let mixture = 0.25 * expected[0] + 0.75 * expected[1];
        assert!((f64::from(mixed[row]) - mixture).abs() < 1e-5);
    }
}

#[test]
fn a_teacher_that_is_the_student_costs_nothing() {
    let same: [Loss; 3] = [
        |tape, x| {
            let teacher = drawn(tape, 1, &[3, 8]);
            let temperature = 2.0;
            tape.row_loss(
                x,
                Target::Teacher {
                    logits: &teacher,
                    temperature,
                },
            )
        },
        |tape, x| {
            let teacher = drawn(tape, 1, &[3, 8]);
            tape.row_loss(x, Target::Values(&teacher))
        },
        |tape, x| {
            let teacher = drawn(tape, 1, &[3, 8]);
            tape.row_loss(x, Target::Direction(&teacher))
        },
    ];
    for loss in same {
        let (losses, gradient) = check(&[3, 8], loss);
        assert_eq!(losses, [0.0; 3]);
        assert_eq!(gradient, [0.0; 24]);
    }
    let (losses, gradient) = check(&[2, 3, 8], |tape, x| {
        let teacher = drawn(tape, 1, &[2, 3, 8]);
        tape.attention_transfer_loss(x, &teacher)
    });
    assert_eq!(losses, [0.0; 2]);
    assert!(gradient.iter().all(|slope| *slope == 0.0));
}

#[test]
fn directions_are_one_less_the_cosine() {
    let (losses, _) = check(&[5, 12], |tape, x| {
        let teacher = drawn(tape, 3, &[5, 12]);
        tape.row_loss(x, Target::Direction(&teacher))
    });
    let (x, teacher) = (values(1, 60), values(3, 60));
    for ((x, t), loss) in x.chunks(12).zip(teacher.chunks(12)).zip(losses) {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter()
                .zip(b)
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum()
        };
        let expected = 1.0 - dot(x, t) / (dot(x, x) * dot(t, t)).sqrt();
        assert!(
            (f64::from(loss) - expected).abs() < 1e-6,
            "{loss} {expected}"
        );
    }
}

#[test]
fn attention_transfer_compares_maps_of_length_one_whatever_the_channels() {
    let (losses, _) = check(&[2, 3, 4, 5], |tape, x| {
        let teacher = drawn(tape, 3, &[2, 6, 4, 5]);
        tape.attention_transfer_loss(x, &teacher)
    });
    let (x, teacher) = (values(1, 120), values(3, 240));
    let map = |features: &[f32]| -> Vec<f64> {
        let mut map = [0.0; 20];
        for (index, value) in features.iter().enumerate() {
            map[index % 20] += f64::from(*value).powi(2);
        }
        let length = map.iter().map(|one| one * one).sum::<f64>().sqrt();
        map.iter().map(|one| one / length).collect()
    };
    for item in 0..2 {
        let (a, b) = (
            map(&x[60 * item..][..60]),
            map(&teacher[120 * item..][..120]),
        );
        let squares = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2));
        let expected = squares.sum::<f64>() / 20.0;
        assert!((f64::from(losses[item]) - expected).abs() < 1e-7);
    }
}

#[test]
fn hints_reach_the_student_through_a_learned_projection() {
    check(&[6, 4], |tape, x| {
        let projection = drawn(tape, 4, &[9, 4]);
        let projection = tape.parameter(&projection);
        let hint = drawn(tape, 5, &[6, 9]);
        let projected = tape.linear(x, projection, None)?;
        tape.row_loss(projected, Target::Values(&hint))
    });
}

#[test]
fn shares_and_teachers_that_do_not_fit_are_refused() {
    let mut tape = Tape::new();
    let x = drawn(&mut tape, 1, &[4, 5]);
    let x = tape.parameter(&x);
    for hard_share in [-0.1, 1.5, f32::NAN] {
        let refused = soft_targets(
            &mut tape,
            x,
            SoftTargets {
                hard_share,
                ..SETTINGS
            },
        );
        assert!(matches!(refused, Err(OpError::Kernel(_))), "{hard_share}");
    }
    let temperature = 0.0;
    let refused = soft_targets(
        &mut tape,
        x,
        SoftTargets {
            temperature,
            ..SETTINGS
        },
    );
    assert!(refused.is_err());
    let teacher = drawn(&mut tape, 1, &[4, 3, 2]);
    assert!(tape.attention_transfer_loss(x, &teacher).is_err());
}

/// Labels of which two are unknown.
fn by_teacher(tape: &mut Tape, x: Var, loss: TeacherLoss) -> Result<Var, OpError> {
    let labels = (&[0, 4, 2, 2][..], 5);
    let labels = Indices::upload(tape.recording(), "labels", &[4], labels)?;
    let known = tape.recording().upload(&host(&[4], &[1.0, 0.0, 0.0, 1.0]));
    let teacher = drawn(tape, 7, &[4, 5]);
    let labels = RowLabels {
        labels: &labels,
        known: Some(&known),
    };
    tape.teacher_loss(x, labels, &teacher, loss)
}

#[test]
fn rows_without_labels_learn_from_the_teacher_alone() {
    let (partly, slopes) = check(&[4, 5], |tape, x| {
        by_teacher(tape, x, TeacherLoss::SoftTargets(SETTINGS))
    });
    let (mixed, with_labels) = check(&[4, 5], |tape, x| soft_targets(tape, x, SETTINGS));
    let (alone, without) = check(&[4, 5], |tape, x| {
        let hard_share = 0.0;
        let settings = SoftTargets {
            hard_share,
            ..SETTINGS
        };
        soft_targets(tape, x, settings)
    });
    for row in 0..4 {
        let of = 5 * row..5 * row + 5;
        let (loss, slope) = match row {
            0 | 3 => (mixed[row], &with_labels[of.clone()]),
            _ => (alone[row], &without[of.clone()]),
        };
        assert_eq!(partly[row], loss, "row {row}");
        assert_eq!(&slopes[of], slope, "row {row}");
    }
}

#[test]
fn squares_of_logits_are_means_over_the_classes() {
    let (losses, _) = check(&[4, 5], |tape, x| {
        by_teacher(tape, x, TeacherLoss::Logits { hard_share: 0.25 })
    });
    let (x, teacher) = (values(1, 20), values(7, 20));
    for (row, loss) in losses.into_iter().enumerate() {
        let places = 5 * row..5 * row + 5;
        let pairs = x[places.clone()].iter().zip(&teacher[places.clone()]);
        let squares: f64 = pairs.map(|(x, t)| f64::from(x - t).powi(2)).sum();
        let exps: Vec<f64> = x[places].iter().map(|&x| f64::from(x).exp()).collect();
        let entropy = -(exps[[0, 4, 2, 2][row]] / exps.iter().sum::<f64>()).ln();
        let expected = match row {
            0 | 3 => 0.25 * entropy + 0.75 * squares / 5.0,
            _ => squares / 5.0,
        };
        assert!((f64::from(loss) - expected).abs() < 1e-6, "row {row}");
    }
}

#[test]
fn hints_add_their_weight_of_each_loss() {
    /// The loss of features alone, which is added to that of no logits.
    fn hint(tape: &mut Tape, x: Var, loss: HintLoss, channels: usize) -> Result<Var, OpError> {
        let nothing = tape.recording().upload(&host(&[2], &[0.5; 2]));
        let nothing = tape.constant(&nothing);
        let teacher = drawn(tape, 3, &[2, channels, 4, 5]);
        tape.hint_loss(nothing, x, &teacher, (loss, 2.0))
    }
    let (x, teacher) = (values(1, 120), values(3, 120));
    let items = || x.chunks(60).zip(teacher.chunks(60));
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
        products.sum()
    };
    let (squares, _) = check(&[2, 3, 4, 5], |tape, x| hint(tape, x, HintLoss::Squares, 3));
    for ((x, t), loss) in items().zip(squares) {
        let differences: Vec<f32> = x.iter().zip(t).map(|(x, t)| x - t).collect();
        let expected = 0.5 + 2.0 * dot(&differences, &differences) / 60.0;
        assert!((f64::from(loss) - expected).abs() < 1e-6);
    }
    let (cosines, _) = check(&[2, 3, 4, 5], |tape, x| hint(tape, x, HintLoss::Cosine, 3));
    for ((x, t), loss) in items().zip(cosines) {
        let expected = 0.5 + 2.0 * (1.0 - dot(x, t) / (dot(x, x) * dot(t, t)).sqrt());
        assert!((f64::from(loss) - expected).abs() < 2e-6);
    }
    let (maps, _) = check(&[2, 3, 4, 5], |tape, x| {
        hint(tape, x, HintLoss::Attention, 6)
    });
    let (alone, _) = check(&[2, 3, 4, 5], |tape, x| {
        let teacher = drawn(tape, 3, &[2, 6, 4, 5]);
        tape.attention_transfer_loss(x, &teacher)
    });
    for (map, alone) in maps.into_iter().zip(alone) {
        assert!((map - (0.5 + 2.0 * alone)).abs() < 1e-6);
    }
    let mut tape = Tape::new();
    let x = drawn(&mut tape, 1, &[2, 3, 4, 5]);
    let x = tape.parameter(&x);
    assert!(hint(&mut tape, x, HintLoss::Squares, 6).is_err());
}

#[test]
fn images_are_projected_by_a_convolution_that_learns() {
    check(&[6, 4, 1, 1], |tape, projection| {
        let x = drawn(tape, 4, &[2, 4, 3, 3]);
        let x = tape.parameter(&x);
        let projected = tape.conv2d(x, projection, None, &Conv2dOptions::default())?;
        let nothing = tape.recording().upload(&host(&[2], &[0.0; 2]));
        let nothing = tape.constant(&nothing);
        let hint = drawn(tape, 5, &[2, 6, 3, 3]);
        tape.hint_loss(nothing, projected, &hint, (HintLoss::Squares, 1.0))
    });
}
