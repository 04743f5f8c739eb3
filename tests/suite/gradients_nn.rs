//! Gradients of operations with curvature against differences of fourth order, and of linear ones bit for bit:
//! normalizations, losses, embeddings, dropout, joining.

use lapidary::autograd::{Tape, Var};
use lapidary::engine::{CpuEngine, Engine};
use lapidary::ops::OpError;
use lapidary::ops::nn::{DropoutOptions, Indices, NormKind, Running, Target};
use lapidary::record::{Recording, Tensor};
use lapidary::tensor::HostTensor;

use crate::support::{gpu, options, values};

type Network = fn(&mut Tape, &[Var]) -> Result<Var, OpError>;

fn host(shape: &[usize], values: &[f32]) -> HostTensor {
    HostTensor::from_f32(shape.to_vec(), values).expect("fits")
}

/// Multiples of 2^-12, so that steps of multiples of 2^-6 are exact.
fn drawn(seed: u64, shape: &[usize]) -> HostTensor {
    let values = values(seed, shape.iter().product());
    let values: Vec<f32> = values
        .iter()
        .map(|v| (v * 4096.0).round() / 4096.0)
        .collect();
    host(shape, &values)
}

fn pass(parameters: &[HostTensor], network: Network, seed: Option<&HostTensor>) -> Recording {
    let mut tape = Tape::new();
    let vars: Vec<Var> = parameters
        .iter()
        .map(|host| {
            let tensor = tape.recording().upload(host);
            tape.parameter(&tensor)
        })
        .collect();
    let output = network(&mut tape, &vars).expect("recorded");
    let value = tape.value(output).clone();
    tape.recording().download(&value);
    if let Some(seed) = seed {
        let seed = tape.recording().upload(seed);
        let gradients = tape.backward(&[(output, &seed)]).expect("recorded");
        for var in vars {
            let gradient = gradients.get(var).expect("every parameter is used").clone();
            tape.recording().download(&gradient);
        }
    }
    tape.into_recording()
}

/// Compares each gradient with differences at one and two steps on both sides of `sum(seed * output)`, whose
/// error is a thirtieth of the step's fourth power, 2e-9, times a fifth derivative.
fn check(shapes: &[&[usize]], network: Network) {
    let parameters: Vec<HostTensor> = (1..).zip(shapes).map(|(n, s)| drawn(n, s)).collect();
    let cpu = CpuEngine::new();
    let run = |recording: &Recording| cpu.run(recording).expect("runs");
    let output = &run(&pass(&parameters, network, None))[0];
    let seed = drawn(99, output.shape());
    let weights = seed.to_f32().expect("f32");
    let made = run(&pass(&parameters, network, Some(&seed)));
    let loss = |parameters: &[HostTensor]| {
        let output = run(&pass(parameters, network, None))[0]
            .to_f32()
            .expect("f32");
        let terms = output.iter().zip(&weights);
        terms.fold((0.0, 0.0), |(sum, size), (value, weight)| {
            let term = f64::from(*value) * f64::from(*weight);
            (sum + term, f64::abs(term) + size)
        })
    };
    let step = 1.0 / 64.0;
    for (index, parameter) in parameters.iter().enumerate() {
        let gradient = made[1 + index].to_f32().expect("f32");
        let center = parameter.to_f32().expect("f32");
        assert_eq!(made[1 + index].shape(), parameter.shape());
        for at in (0..center.len()).step_by(1 + center.len() / 12) {
            let moved = |steps: f32| {
                let mut values = center.clone();
                values[at] += steps * step;
                let mut parameters = parameters.clone();
                parameters[index] = host(parameter.shape(), &values);
                loss(&parameters)
            };
            let [(a, size), (b, _), (c, _), (d, _)] = [-2.0, -1.0, 1.0, 2.0].map(moved);
            let expected = (8.0 * (c - b) - (d - a)) / (12.0 * f64::from(step));
            // Results round to f32 after a few operations; derivatives of fifth order here are below 100.
            let allowed = 8.0 * size * 2f64.powi(-24) / f64::from(step) + 1e-6;
            let seen = f64::from(gradient[at]);
            assert!(
                (seen - expected).abs() <= allowed,
                "parameter {index} element {at}: {seen}, expected {expected} within {allowed}"
            );
        }
    }
}

#[test]
fn gradients_through_normalizations_equal_differences() {
    check(&[&[5, 8], &[8], &[8]], |tape, vars| {
        tape.norm(vars[0], NormKind::Layer, (vars[1], Some(vars[2])), 0.1)
    });
    check(&[&[5, 8], &[8]], |tape, vars| {
        tape.norm(vars[0], NormKind::Rms, (vars[1], None), 0.1)
    });
    check(&[&[3, 4, 5], &[4], &[4]], |tape, vars| {
        tape.norm(vars[0], NormKind::Group(2), (vars[1], Some(vars[2])), 0.1)
    });
    check(&[&[3, 4, 5], &[4], &[4]], |tape, vars| {
        tape.batch_norm(vars[0], (vars[1], vars[2]), None, 0.1)
    });
    check(&[&[9, 4], &[4], &[4]], |tape, vars| {
        tape.batch_norm(vars[0], (vars[1], vars[2]), None, 0.1)
    });
}

#[test]
fn gradients_through_running_statistics_equal_differences() {
    check(&[&[3, 4, 5], &[4], &[4]], |tape, vars| {
        let statistics = [0.5, 2.0, -0.25, 0.5, 0.0, 1.0, 1.0, 3.0];
        let running = tape.recording().upload(&host(&[4, 2], &statistics));
        tape.norm_by_running(vars[0], &running, (vars[1], vars[2]), 0.1)
    });
}

#[test]
fn gradients_of_losses_equal_differences() {
    let shapes: &[&[usize]] = &[&[4, 5]];
    check(shapes, |tape, vars| {
        let labels = (&[0, 4, 2, 2][..], 5);
        let labels = Indices::upload(tape.recording(), "labels", &[4], labels)?;
        let target = Target::Labels {
            labels: &labels,
            smoothing: 0.1,
        };
        tape.row_loss(vars[0], target)
    });
    check(shapes, |tape, vars| {
        let chances: Vec<f32> = (0..20).map(|n| n as f32 / 20.0).collect();
        let weights = tape.recording().upload(&host(&[4, 5], &chances));
        let target = Target::Soft {
            weights: &weights,
            smoothing: 0.0,
        };
        tape.row_loss(vars[0], target)
    });
    check(shapes, |tape, vars| {
        let logits = tape.recording().upload(&drawn(7, &[4, 5]));
        let target = Target::Teacher {
            logits: &logits,
            temperature: 2.0,
        };
        tape.row_loss(vars[0], target)
    });
    check(shapes, |tape, vars| {
        let expected = tape.recording().upload(&drawn(7, &[4, 5]));
        tape.row_loss(vars[0], Target::Values(&expected))
    });
    check(shapes, |tape, vars| {
        let chances: Vec<f32> = (0..20).map(|n| n as f32 / 20.0).collect();
        let chances = tape.recording().upload(&host(&[4, 5], &chances));
        // The mean of it and of squares, as distillation mixes two losses.
        let first = tape.row_loss(vars[0], Target::Chances(&chances))?;
        let second = tape.row_loss(vars[0], Target::Values(&chances))?;
        let (first, second) = (
            tape.affine(first, (0.75, 0.0))?,
            tape.affine(second, (0.25, 0.0))?,
        );
        tape.add(first, second)
    });
}

#[test]
fn gradients_of_products_means_tables_and_joined_variables_equal_differences() {
    check(&[&[3, 4], &[3, 4]], |tape, vars| {
        let product = tape.multiply(vars[0], vars[1])?;
        let square = tape.multiply(product, product)?;
        tape.affine(square, (-1.5, 0.25))
    });
    check(&[&[2, 3, 7]], |tape, vars| tape.mean(vars[0]));
    check(&[&[6, 3]], |tape, vars| {
        let rows = (&[5, 0, 5, 2][..], 6);
        let rows = Indices::upload(tape.recording(), "tokens", &[2, 2], rows)?;
        tape.embedding(vars[0], &rows)
    });
    for dimension in [0, 1, 2] {
        let network: Network = match dimension {
            0 => |tape, vars| tape.concatenate(&[vars[0], vars[1], vars[0]], 0),
            1 => |tape, vars| tape.concatenate(&[vars[0], vars[1], vars[0]], 1),
            _ => |tape, vars| tape.concatenate(&[vars[0], vars[1], vars[0]], 2),
        };
        let mut other = [2, 3, 4];
        other[dimension] = 5;
        check(&[&[2, 3, 4], &other], network);
    }
}

#[test]
fn dropout_drops_the_same_elements_of_the_gradient() {
    let network: Network = |tape, vars| {
        let step = HostTensor::from_words_u32(vec![1], &[7]).expect("one");
        let step = tape.recording().upload(&step);
        let options = DropoutOptions {
            probability: 0.25,
            seed: 3,
            stream: 1,
        };
        tape.dropout(vars[0], options, &step)
    };
    check(&[&[8, 16]], network);
    let ones = host(&[8, 16], &[1.0; 128]);
    let adapter = gpu(options());
    for engine in [&CpuEngine::new() as &dyn Engine, &adapter] {
        let made = engine.run(&pass(std::slice::from_ref(&ones), network, Some(&ones)));
        let made = made.expect("runs");
        assert_eq!(made[0], made[1]);
        let kept = made[0].to_f32().expect("f32");
        let kept = kept.iter().filter(|value| **value != 0.0).count();
        assert!((80..112).contains(&kept), "{kept} of 128");
    }
}

#[test]
fn joined_bits_are_those_of_the_parts_and_misfits_are_refused() {
    let mut recording = Recording::new();
    let (a, b) = (drawn(1, &[2, 3]), drawn(2, &[2, 2]));
    let (left, right) = (recording.upload(&a), recording.upload(&b));
    let joined = lapidary::ops::concatenate(&mut recording, &[&left, &right], 1).expect("fits");
    recording.download(&joined);
    let part = lapidary::ops::slice(&mut recording, &joined, 1, 3..5).expect("inside");
    recording.download(&part);
    for engine in [&CpuEngine::new() as &dyn Engine, &gpu(options())] {
        let made = engine.run(&recording).expect("runs");
        let (a, b) = (a.to_f32().expect("f32"), b.to_f32().expect("f32"));
        let expected = [&a[..3], &b[..2], &a[3..], &b[2..]].concat();
        assert_eq!(made[0], host(&[2, 5], &expected));
        assert_eq!(made[1].to_f32().expect("f32"), b);
    }
    let commands = recording.commands().len();
    let mut refused = |parts: &[&Tensor], dimension| {
        let made = lapidary::ops::concatenate(&mut recording, parts, dimension);
        made.expect_err("refused").to_string()
    };
    assert_eq!(
        refused(&[&left, &right], 0),
        "concatenate: part has shape [2, 2], expected [2, 3] but for dimension 0"
    );
    assert!(refused(&[&left], 2).contains("a dimension 2"));
    assert!(refused(&[], 0).contains("at least one"));
    let outside = lapidary::ops::slice(&mut recording, &left, 1, 2..4);
    assert_eq!(
        outside.expect_err("three columns").to_string(),
        "slice: range has shape [2, 4], expected a start below the end, which is at most 3"
    );
    assert_eq!(recording.commands().len(), commands);
}

#[test]
fn a_segment_moves_running_statistics_once() {
    let moved = |in_segment: bool| {
        let mut tape = Tape::new();
        let upload = |tape: &mut Tape, host: &HostTensor| {
            let tensor = tape.recording().upload(host);
            tape.parameter(&tensor)
        };
        let inputs = [
            upload(&mut tape, &drawn(1, &[6, 4])),
            upload(&mut tape, &drawn(2, &[4])),
            upload(&mut tape, &drawn(3, &[4])),
        ];
        let start = host(&[4, 2], &[0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]);
        let statistics = tape.recording().upload(&start);
        let held = statistics.clone();
        let forward = move |tape: &mut Tape, vars: &[Var]| {
            let running = Running {
                statistics: &held,
                momentum: 0.1,
            };
            tape.batch_norm(vars[0], (vars[1], vars[2]), Some(running), 1e-5)
        };
        let y = if in_segment {
            // One inside another is recorded once more from the outer one's backward pass.
            tape.segment(&inputs, move |tape, vars| {
                tape.segment(vars, forward.clone())
            })
        } else {
            forward(&mut tape, &inputs)
        };
        let y = y.expect("recorded");
        let seed = tape.recording().upload(&drawn(9, &[6, 4]));
        let gradients = tape.backward(&[(y, &seed)]).expect("recorded");
        let dx = gradients.get(inputs[0]).expect("used").clone();
        tape.recording().download(&statistics);
        tape.recording().download(&dx);
        CpuEngine::new().run(&tape.into_recording()).expect("runs")
    };
    let plain = moved(false);
    assert_ne!(plain[0].to_f32().expect("f32")[..2], [0.0, 1.0]);
    assert_eq!(moved(true), plain);
}
