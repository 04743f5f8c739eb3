//! Gradients of the tape against central differences, and segments against none, bit for bit.

use lapidary::autograd::{Tape, Var};
use lapidary::engine::{CpuEngine, Engine};
use lapidary::ops::OpError;
use lapidary::record::Recording;
use lapidary::tensor::{DType, HostTensor};

use crate::support::{gpu, options, values};

/// Shapes of the parameters of a network.
type Shapes<'a> = &'a [&'a [usize]];

/// Records a network over its parameters.
type Network = fn(&mut Tape, &[Var]) -> Result<Var, OpError>;

fn host(seed: u64, shape: &[usize]) -> HostTensor {
    HostTensor::from_f32(shape.to_vec(), &values(seed, shape.iter().product())).expect("fits")
}

/// Forward, and backward from the gradient `seed`; downloads the output, then each parameter's gradient.
fn training_pass(
    parameters: &[HostTensor],
    network: Network,
    seed: Option<&HostTensor>,
) -> Recording {
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

/// Compares every gradient with the central difference of `sum(seed * output)` on the CPU engine.
fn check(shapes: Shapes<'_>, network: Network) {
    check_within(shapes, network, 0.0);
}

/// The same where third derivatives do not vanish: they move a central difference by up to `curvature`.
fn check_within(shapes: Shapes<'_>, network: Network, curvature: f64) {
    let parameters: Vec<HostTensor> = (0u64..)
        .zip(shapes)
        .map(|(seed, shape)| host(seed + 1, shape))
        .collect();
    let cpu = CpuEngine::new();
    let output = &cpu
        .run(&training_pass(&parameters, network, None))
        .expect("runs")[0];
    let seed = host(99, output.shape());
    let weights = seed.to_f32().expect("f32");
    let made = cpu
        .run(&training_pass(&parameters, network, Some(&seed)))
        .expect("runs");

    // The sum, and the sum of the sizes of its terms.
    let loss = |parameters: &[HostTensor]| {
        let output = cpu
            .run(&training_pass(parameters, network, None))
            .expect("runs");
        let output = output[0].to_f32().expect("f32");
        let terms = output.iter().zip(&weights);
        terms.fold((0.0, 0.0), |(sum, size), (value, weight)| {
            let term = f64::from(*value) * f64::from(*weight);
            (sum + term, size + term.abs())
        })
    };
    let step = 1.0 / 64.0;
    for (index, parameter) in parameters.iter().enumerate() {
        let gradient = made[1 + index].to_f32().expect("f32");
        let center = parameter.to_f32().expect("f32");
        for at in (0..center.len()).step_by(1 + center.len() / 12) {
            let moved = |by: f32| {
                let mut values = center.clone();
                values[at] += by;
                let mut parameters = parameters.clone();
                parameters[index] =
                    HostTensor::from_f32(parameter.shape().to_vec(), &values).expect("fits");
                (loss(&parameters), f64::from(values[at]))
            };
            let (((above, size), right), ((below, _), left)) = (moved(step), moved(-step));
            let expected = (above - below) / (right - left);
            // Stored values are rounded to f32 once in each of the layers, and the steps see that; second
            // differences of the functions here vanish or are below step^2.
            let allowed = 8.0 * size * 2f64.powi(-24) / f64::from(step) + 1e-6 + curvature;
            let seen = f64::from(gradient[at]);
            assert!(
                (seen - expected).abs() <= allowed,
                "parameter {index} element {at}: {seen}, expected {expected} within {allowed}"
            );
        }
    }
}

#[test]
fn gradients_of_layers_equal_central_differences() {
    check(&[&[5, 6], &[4, 6], &[4]], |tape, vars| {
        tape.linear(vars[0], vars[1], Some(vars[2]))
    });
}

#[test]
fn a_variable_used_twice_gets_the_sum_of_its_gradients() {
    // x w^T + x, then once more through the same weight.
    check(&[&[3, 4], &[4, 4]], |tape, vars| {
        let first = tape.linear(vars[0], vars[1], None)?;
        let sum = tape.add(first, vars[0])?;
        tape.add(sum, sum)
    });
}

#[test]
fn gradients_through_smooth_activations_equal_central_differences() {
    use lapidary::ops::nn::Curve;
    // The step is 1/64; a sixth of its square times third derivatives of at most 2, weights below 1 and
    // four outputs, is 3.3e-4. Kinks of the others have no central difference.
    let shapes: Shapes<'_> = &[&[5, 6], &[4, 6], &[4]];
    check_within(shapes, |tape, vars| through(tape, vars, Curve::Tanh), 4e-4);
    check_within(
        shapes,
        |tape, vars| through(tape, vars, Curve::Sigmoid),
        4e-4,
    );
    check_within(
        shapes,
        |tape, vars| through(tape, vars, Curve::GeluErf),
        4e-4,
    );
    check_within(shapes, |tape, vars| through(tape, vars, Curve::Silu), 4e-4);
}

fn through(tape: &mut Tape, vars: &[Var], curve: lapidary::ops::nn::Curve) -> Result<Var, OpError> {
    let y = tape.linear(vars[0], vars[1], Some(vars[2]))?;
    tape.activation(y, curve)
}

#[test]
fn gradients_through_softmax_and_a_reshape_equal_central_differences() {
    use lapidary::ops::nn::Distribution;
    let shapes: Shapes<'_> = &[&[4, 3, 2], &[5, 6]];
    check_within(
        shapes,
        |tape, vars| {
            let x = tape.reshape(vars[0], &[4, 6])?;
            let y = tape.linear(x, vars[1], None)?;
            tape.softmax(y, Distribution::Softmax)
        },
        4e-4,
    );
    check_within(
        shapes,
        |tape, vars| {
            let x = tape.reshape(vars[0], &[4, 6])?;
            let y = tape.linear(x, vars[1], None)?;
            tape.softmax(y, Distribution::LogSoftmax)
        },
        4e-4,
    );
}

#[test]
fn gradients_through_attention_equal_central_differences() {
    use lapidary::ops::nn::{AttentionOptions, HeadOrder, Mask};
    // Two heads share keys and values; the first queries see few of them.
    let shapes: Shapes<'_> = &[&[2, 3, 4, 4], &[2, 5, 2, 4], &[2, 5, 2, 4]];
    check_within(
        shapes,
        |tape, vars| {
            let causal = AttentionOptions {
                mask: Mask::Causal,
                ..AttentionOptions::default()
            };
            tape.attention([vars[0], vars[1], vars[2]], &causal)
        },
        4e-4,
    );
    let shapes: Shapes<'_> = &[&[1, 2, 3, 8], &[1, 2, 4, 8], &[1, 2, 4, 8]];
    check_within(
        shapes,
        |tape, vars| {
            let full = AttentionOptions {
                order: HeadOrder::HeadsFirst,
                kv_order: HeadOrder::HeadsFirst,
                ..AttentionOptions::default()
            };
            tape.attention([vars[0], vars[1], vars[2]], &full)
        },
        4e-4,
    );
}

#[test]
fn gradients_through_rotary_positions_and_gates_equal_central_differences() {
    use lapidary::num::{rotary_frequencies, rotary_table};
    use lapidary::ops::nn::{HeadOrder, RotaryOptions, Rotation, upload_rotary_table};
    let shapes: Shapes<'_> = &[&[2, 3, 2, 8], &[2, 3, 2, 8]];
    fn network(tape: &mut Tape, vars: &[Var], rotation: Rotation) -> Result<Var, OpError> {
        let table = rotary_table(9, &rotary_frequencies(8, 100.0));
        let table = upload_rotary_table(tape.recording(), 9, &table).expect("pairs");
        let starts = HostTensor::from_words_u32(vec![2], &[1, 5]).expect("fits");
        let starts = tape.recording().upload(&starts);
        let options = RotaryOptions {
            starts: &starts,
            table: &table,
            rotation,
            order: HeadOrder::TokensFirst,
            heads: None,
            is_backward: false,
            out: lapidary::kernels::FloatType::F32,
        };
        let turned = tape.rotary(vars[0], &options)?;
        tape.swiglu(turned, vars[1])
    }
    check_within(
        shapes,
        |tape, vars| network(tape, vars, Rotation::Halves),
        4e-4,
    );
    check_within(
        shapes,
        |tape, vars| network(tape, vars, Rotation::Neighbours),
        4e-4,
    );
}

#[test]
fn a_reshape_to_another_number_of_elements_is_refused() {
    let mut tape = Tape::new();
    let x = tape.recording().tensor(DType::F32, &[2, 3]);
    let x = tape.parameter(&x);
    for shape in [&[5][..], &[2, usize::MAX, 3]] {
        let refused = tape.reshape(x, shape);
        assert!(matches!(refused, Err(OpError::Shape { op: "reshape", .. })));
    }
}

fn deep(tape: &mut Tape, vars: &[Var], in_segments: bool) -> Result<Var, OpError> {
    let mut x = vars[0];
    for pair in vars[1..].chunks_exact(2) {
        let two = |tape: &mut Tape, vars: &[Var]| {
            let hidden = tape.linear(vars[0], vars[1], None)?;
            tape.linear(hidden, vars[2], None)
        };
        let inputs = [x, pair[0], pair[1]];
        x = if in_segments {
            tape.segment(&inputs, two)?
        } else {
            two(tape, &inputs)?
        };
    }
    Ok(x)
}

const DEEP: Shapes<'_> = &[
    &[64, 16],
    &[32, 16],
    &[16, 32],
    &[32, 16],
    &[16, 32],
    &[32, 16],
    &[16, 32],
];

#[test]
fn segments_give_the_same_bits_and_hold_less_memory() {
    let parameters: Vec<HostTensor> = (0u64..)
        .zip(DEEP)
        .map(|(seed, shape)| host(seed + 1, shape))
        .collect();
    let seed = host(99, &[64, 16]);
    let plain = training_pass(
        &parameters,
        |tape, vars| deep(tape, vars, false),
        Some(&seed),
    );
    let segments = training_pass(
        &parameters,
        |tape, vars| deep(tape, vars, true),
        Some(&seed),
    );
    assert!(segments.dispatches().count() > plain.dispatches().count());
    let gpu = gpu(options());
    for engine in [&CpuEngine::new() as &dyn Engine, &gpu] {
        let expected = engine.run(&plain).expect("runs");
        assert_eq!(engine.run(&segments).expect("runs"), expected);
    }
    let bytes = |recording| {
        // Another engine, which holds nothing of these recordings yet.
        let fresh = crate::support::gpu(options());
        let plan = fresh.prepare(recording).expect("fits");
        plan.intermediate_bytes()
    };
    let (of_plain, of_segments) = (bytes(&plain), bytes(&segments));
    println!("{of_plain} bytes, in segments {of_segments}");
    assert!(of_segments < of_plain, "{of_segments} {of_plain}");
}

#[test]
fn a_constant_gets_no_gradient_and_costs_no_kernel() {
    let mut tape = Tape::new();
    let (x, weight) = (host(1, &[2, 3]), host(2, &[4, 3]));
    let x = tape.recording().upload(&x);
    let weight = tape.recording().upload(&weight);
    let (x, weight) = (tape.constant(&x), tape.parameter(&weight));
    let y = tape.linear(x, weight, None).expect("recorded");
    let forward = tape.recording().dispatches().count();
    let seed = tape.recording().upload(&host(3, &[2, 4]));
    let gradients = tape.backward(&[(y, &seed)]).expect("recorded");
    assert!(gradients.get(x).is_none());
    assert!(gradients.get(weight).is_some());
    // The transposition and one product.
    assert_eq!(tape.recording().dispatches().count(), forward + 2);
}

#[test]
fn a_first_gradient_of_another_shape_is_refused() {
    let mut tape = Tape::new();
    let x = tape.recording().tensor(DType::F32, &[2, 3]);
    let x = tape.parameter(&x);
    let seed = tape.recording().tensor(DType::F32, &[3, 2]);
    let refused = tape.backward(&[(x, &seed)]);
    assert!(
        matches!(refused, Err(OpError::Shape { op: "backward", .. })),
        "{refused:?}"
    );
}

#[test]
fn what_was_recorded_before_a_segment_that_fails_is_kept() {
    let mut tape = Tape::new();
    let x = tape.recording().upload(&host(1, &[2, 3]));
    let x = tape.parameter(&x);
    let before = tape.recording().commands().len();
    let failed = tape.segment(&[x], |tape, vars| {
        tape.linear(vars[0], vars[0], Some(vars[0]))
    });
    assert!(failed.is_err());
    assert_eq!(tape.recording().commands().len(), before);
}

#[test]
fn gradients_through_convolutions_equal_central_differences() {
    use lapidary::ops::nn::{Conv1dOptions, Conv2dOptions};
    check(&[&[2, 4, 5, 6], &[6, 2, 3, 2], &[6]], |tape, vars| {
        let options = Conv2dOptions {
            stride: [2, 1],
            padding: [1, 2],
            dilation: [1, 3],
            groups: 2,
            ..Conv2dOptions::default()
        };
        tape.conv2d(vars[0], vars[1], Some(vars[2]), &options)
    });
    // Each channel by itself, then all of them.
    check(&[&[2, 3, 9], &[3, 1, 3], &[4, 3, 1]], |tape, vars| {
        let options = Conv1dOptions {
            stride: 2,
            groups: 3,
            ..Conv1dOptions::default()
        };
        let y = tape.conv1d(vars[0], vars[1], None, &options)?;
        tape.conv1d(y, vars[2], None, &Conv1dOptions::default())
    });
}

#[test]
fn gradients_through_pooling_equal_central_differences() {
    use lapidary::ops::nn::{AverageOver, Pool2dOptions};
    const OVERLAPPING: Pool2dOptions = Pool2dOptions {
        kernel: [3, 2],
        stride: [2, 1],
        padding: [1, 1],
        ..Pool2dOptions::square(3)
    };
    let shapes: Shapes<'_> = &[&[2, 3, 7, 5]];
    check(shapes, |tape, vars| {
        tape.avg_pool2d(vars[0], &OVERLAPPING, AverageOver::Kernel)
    });
    check(shapes, |tape, vars| {
        tape.avg_pool2d(vars[0], &OVERLAPPING, AverageOver::Inside)
    });
    check(shapes, |tape, vars| {
        let y = tape.adaptive_avg_pool2d(vars[0], [3, 4])?;
        tape.global_avg_pool(y)
    });
}
