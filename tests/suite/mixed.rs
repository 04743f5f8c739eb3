//! Mixed precision on the tape: what lies between operations is 16 bits wide, and gradients are those of f32.

use lapidary::autograd::{Tape, Var};
use lapidary::engine::{CpuEngine, Engine};
use lapidary::kernels::FloatType;
use lapidary::ops::nn::{Curve, Distribution};
use lapidary::ops::{MatmulOptions, OpError, cast, matmul};
use lapidary::record::{Recording, Tensor};
use lapidary::tensor::{DType, HostTensor};
use lapidary::verify::compare_recording;

use crate::support::{gpu, options, values};

const HALVES: [FloatType; 2] = [FloatType::F16, FloatType::Bf16];

/// Records a network over its parameters.
type Network = fn(&mut Tape, &[Var]) -> Result<Var, OpError>;

/// Values of each parameter by its index.
type Values = fn(u64, usize) -> Vec<f32>;

/// Integers from -2 to 2.
fn integers(seed: u64, count: usize) -> Vec<f32> {
    let values = values(seed, count).into_iter();
    values.map(|value| (2.0 * value).round()).collect()
}

/// Forward and backward; products read 16-bit copies of the parameters. Downloads the output as f32, then
/// each parameter's gradient.
fn pass(shapes: &[&[usize]], values: Values, storage: FloatType, network: Network) -> Recording {
    let mut tape = Tape::new().with_storage(storage);
    let mut vars = Vec::new();
    for (seed, shape) in (1u64..).zip(shapes) {
        let count = shape.iter().product();
        let host = HostTensor::from_f32(shape.to_vec(), &values(seed, count)).expect("fits");
        let tensor = tape.recording().upload(&host);
        let var = tape.parameter(&tensor);
        if storage != FloatType::F32 {
            let copy = cast(tape.recording(), &tensor, storage).expect("f32");
            tape.keep_copy(var, &copy).expect("of one shape");
        }
        vars.push(var);
    }
    let output = network(&mut tape, &vars).expect("recorded");
    let value = tape.value(output).clone();
    let wide = cast(tape.recording(), &value, FloatType::F32).expect("floats");
    tape.recording().download(&wide);
    let first = values(99, value.len());
    let first = HostTensor::from_f32(value.shape().to_vec(), &first).expect("fits");
    let first = tape.recording().upload(&first);
    let first = cast(tape.recording(), &first, storage).expect("f32");
    let gradients = tape.backward(&[(output, &first)]).expect("recorded");
    for var in vars {
        let gradient = gradients.get(var).expect("every parameter is used");
        assert_eq!(gradient.dtype(), DType::F32);
        let gradient = gradient.clone();
        tape.recording().download(&gradient);
    }
    tape.into_recording()
}

/// A layer, a residual connection and a layer with an odd number of outputs.
fn layers(tape: &mut Tape, vars: &[Var]) -> Result<Var, OpError> {
    let x = tape.reshape(vars[0], &[5, 6])?;
    let hidden = tape.linear(x, vars[1], Some(vars[2]))?;
    let sum = tape.add(hidden, x)?;
    let bent = tape.activation(sum, Curve::Relu)?;
    tape.linear(bent, vars[3], Some(vars[4]))
}

const LAYERS: &[&[usize]] = &[&[5, 3, 2], &[6, 6], &[6], &[7, 6], &[7]];

#[test]
fn gradients_of_integers_are_those_of_f32_bit_for_bit() {
    // Sums stay below 256, up to which bf16 holds every integer.
    let on_gpu = gpu(options());
    for engine in [&CpuEngine::new() as &dyn Engine, &on_gpu] {
        let expected = engine
            .run(&pass(LAYERS, small, FloatType::F32, layers))
            .expect("runs");
        assert!(expected[2].to_f32().expect("f32").iter().any(|&g| g != 0.0));
        for storage in HALVES {
            let made = engine.run(&pass(LAYERS, small, storage, layers));
            assert_eq!(made.expect("runs"), expected, "{storage}");
        }
    }
}

#[test]
fn relu_in_the_launch_of_a_product_gives_the_bits_of_relu_behind_it() {
    let apart: Network = |tape, vars| {
        let y = tape.linear(vars[0], vars[1], Some(vars[2]))?;
        tape.activation(y, Curve::Relu)
    };
    let fused: Network = |tape, vars| tape.linear_relu(vars[0], vars[1], Some(vars[2]));
    let on_gpu = gpu(options());
    for shapes in [&[&[6, 20][..], &[12, 20], &[12]], &[&[5, 9], &[7, 9], &[7]]] {
        for storage in [FloatType::F32, FloatType::F16, FloatType::Bf16] {
            for engine in [&CpuEngine::new() as &dyn Engine, &on_gpu] {
                let run = |network| engine.run(&pass(shapes, values, storage, network));
                let expected = run(apart).expect("runs");
                let zeros = expected[0].to_f32().expect("f32");
                assert!(zeros.contains(&0.0), "{zeros:?}");
                assert_eq!(run(fused).expect("runs"), expected, "{storage}");
            }
        }
    }
}

/// Integers from -1 to 1.
fn small(seed: u64, count: usize) -> Vec<f32> {
    integers(seed, count).iter().map(|v| v.signum()).collect()
}

#[test]
fn every_dispatch_between_16_bit_tensors_is_within_its_bound() {
    let network: Network = |tape, vars| {
        let hidden = tape.linear(vars[0], vars[1], Some(vars[2]))?;
        let bent = tape.activation(hidden, Curve::GeluErf)?;
        let chances = tape.softmax(bent, Distribution::Softmax)?;
        let odd = tape.linear(chances, vars[3], None)?;
        tape.softmax(odd, Distribution::LogSoftmax)
    };
    let shapes: &[&[usize]] = &[&[9, 20], &[12, 20], &[12], &[7, 12]];
    let engine = gpu(options());
    for storage in HALVES {
        let recording = pass(shapes, values, storage, network);
        for report in compare_recording(&engine, &recording).expect("runs") {
            assert!(report.comparison.passed(), "{storage}: {report:?}");
        }
    }
}

#[test]
fn gradients_stored_in_f16_are_near_those_of_f32() {
    let network: Network = |tape, vars| {
        let hidden = tape.linear(vars[0], vars[1], Some(vars[2]))?;
        let bent = tape.activation(hidden, Curve::Tanh)?;
        tape.linear(bent, vars[3], None)
    };
    let shapes: &[&[usize]] = &[&[9, 20], &[12, 20], &[12], &[6, 12]];
    let engine = CpuEngine::new();
    let run = |storage| {
        engine
            .run(&pass(shapes, values, storage, network))
            .expect("runs")
    };
    let expected = run(FloatType::F32);
    for (storage, unit) in [
        (FloatType::F16, 2f64.powi(-11)),
        (FloatType::Bf16, 2f64.powi(-8)),
    ] {
        for (made, expected) in run(storage).iter().zip(&expected) {
            let (made, expected) = (made.to_f32().expect("f32"), expected.to_f32().expect("f32"));
            let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
            let size = square(&mut expected.iter().map(|&v| f64::from(v))).sqrt();
            let pairs = made.iter().zip(&expected);
            let apart = square(&mut pairs.map(|(a, b)| f64::from(a - b))).sqrt();
            // Each of x, both weights, the first gradient and two results in between is rounded once; what
            // a rounding of the argument does to tanh and its slope is counted as two more.
            assert!(apart <= 8.0 * unit * size, "{storage}: {apart} of {size}");
        }
    }
}

#[test]
fn segments_give_the_same_bits_in_mixed_precision() {
    let plain: Network = |tape, vars| {
        let hidden = tape.linear(vars[0], vars[1], Some(vars[2]))?;
        let again = tape.linear(hidden, vars[1], None)?;
        tape.add(again, hidden)
    };
    let segments: Network = |tape, vars| {
        let hidden = tape.linear(vars[0], vars[1], Some(vars[2]))?;
        tape.segment(&[hidden, vars[1]], |tape, vars| {
            let again = tape.linear(vars[0], vars[1], None)?;
            tape.add(again, vars[0])
        })
    };
    let shapes: &[&[usize]] = &[&[3, 8], &[8, 8], &[8]];
    let engine = CpuEngine::new();
    let expected = engine.run(&pass(shapes, values, FloatType::F16, plain));
    let made = engine.run(&pass(shapes, values, FloatType::F16, segments));
    assert_eq!(made.expect("runs"), expected.expect("runs"));
}

#[test]
fn products_with_an_odd_last_dimension_are_stored_in_16_bits() {
    let engine = gpu(options());
    for storage in HALVES {
        let mut recording = Recording::new();
        let upload = |recording: &mut Recording, seed, shape: [usize; 2]| -> Tensor {
            let values = integers(seed, shape[0] * shape[1]);
            recording.upload(&HostTensor::from_f32(shape.to_vec(), &values).expect("fits"))
        };
        let a = upload(&mut recording, 1, [3, 4]);
        let b = upload(&mut recording, 2, [4, 5]);
        let exact = matmul(&mut recording, &a, &b, &MatmulOptions::default()).expect("fits");
        let options = MatmulOptions {
            out: storage,
            ..MatmulOptions::default()
        };
        let made = matmul(&mut recording, &a, &b, &options).expect("fits");
        assert_eq!((made.dtype(), made.shape()), (storage.dtype(), &[3, 5][..]));
        recording.download(&exact);
        recording.download(&made);
        let results = engine.run(&recording).expect("runs");
        assert_eq!(results[0].to_f32(), results[1].to_f32());
    }
}

#[test]
fn a_copy_of_another_shape_or_type_is_refused() {
    let mut tape = Tape::new().with_storage(FloatType::F16);
    let value = tape.recording().tensor(DType::F32, &[2, 3]);
    let (turned, wide) = (
        tape.recording().tensor(DType::F16, &[3, 2]),
        tape.recording().tensor(DType::F32, &[2, 3]),
    );
    let var = tape.parameter(&value);
    let error = tape.keep_copy(var, &turned).expect_err("another shape");
    assert_eq!(
        error.to_string(),
        "keep_copy: copy has shape [3, 2], expected [2, 3], as the value has"
    );
    let error = tape.keep_copy(var, &wide).expect_err("no copy");
    assert_eq!(
        error.to_string(),
        "keep_copy: copy is f32, expected f16 or bf16"
    );
}
