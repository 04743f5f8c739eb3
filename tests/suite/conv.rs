//! Convolutions and pooling: against PyTorch's results, dispatch by dispatch on the adapter, and what they
//! refuse.
//!
//! `tests/data/torch_convolutions.safetensors` holds operators with inputs, results, the gradient that arrives
//! and the gradients of the inputs, made by PyTorch 2.15.0 on the CPU in f32.

use lapidary::autograd::{Tape, Var};
use lapidary::engine::{CpuEngine, Engine};
use lapidary::io::safetensors::SafetensorsFile;
use lapidary::kernels::{Activation, FloatType};
use lapidary::ops::OpError;
use lapidary::ops::nn::{
    AverageOver, Conv1dOptions, Conv2dOptions, Pool2dOptions, adaptive_avg_pool2d,
    adaptive_avg_pool2d_backward, avg_pool2d, avg_pool2d_backward, channel_sums, conv1d, conv2d,
    conv2d_backward_input, conv2d_backward_weight, global_avg_pool, max_pool2d,
    max_pool2d_backward,
};
use lapidary::record::{Recording, Tensor};
use lapidary::tensor::{DType, HostTensor};
use lapidary::verify::compare_recording;

use crate::support::{gpu, options, values};

/// Allowed difference from PyTorch's results, of the largest element of each.
const RELATIVE: f32 = 2e-6;

/// The fixture.
fn torch() -> SafetensorsFile {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/torch_convolutions.safetensors"
    );
    SafetensorsFile::open(path).expect("the fixture is part of the repository")
}

fn part(torch: &SafetensorsFile, operator: &str, part: &str) -> HostTensor {
    let name = format!("op.{operator}.{part}");
    torch
        .tensor(&name)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Every dispatch of the recording is within its bound on the adapter.
fn prove(recording: &Recording) {
    let reports = compare_recording(&gpu(options()), recording).expect("runs");
    assert_eq!(reports.len(), recording.dispatches().count());
    for report in reports {
        let (kernel, shape, comparison) = (report.kernel, report.shape, report.comparison);
        assert!(
            comparison.elements > 0 && comparison.passed(),
            "{kernel} ({shape}): {comparison:?}"
        );
    }
}

/// Compares an operator on the tape, over `inputs` inputs, and all its gradients with PyTorch's on both
/// engines.
fn check(
    operator: &str,
    inputs: usize,
    record: impl Fn(&mut Tape, &[Var]) -> Result<Var, OpError>,
) {
    let torch = torch();
    let mut tape = Tape::new();
    let vars: Vec<Var> = (0..inputs)
        .map(|index| {
            let host = part(&torch, operator, &format!("in{index}"));
            let tensor = tape.recording().upload(&host);
            tape.parameter(&tensor)
        })
        .collect();
    let output = record(&mut tape, &vars).expect("served");
    let value = tape.value(output).clone();
    let arriving = part(&torch, operator, "gout");
    let arriving = tape.recording().upload(&arriving);
    let gradients = tape.backward(&[(output, &arriving)]).expect("served");
    let mut recording = tape.into_recording();
    recording.download(&value);
    let mut parts = vec!["out".to_owned()];
    for (index, var) in vars.into_iter().enumerate() {
        let gradient = gradients.get(var).expect("every input is used");
        recording.download(gradient);
        parts.push(format!("grad{index}"));
    }
    let adapter = gpu(options());
    let engines: [&dyn Engine; 2] = [&CpuEngine::new(), &adapter];
    for engine in engines {
        let results = engine.run(&recording).expect("runs");
        for (name, result) in parts.iter().zip(results) {
            let expected = part(&torch, operator, name);
            assert_eq!(result.shape(), expected.shape(), "{operator}.{name}");
            let (got, expected) = (
                result.to_f32().expect("f32"),
                expected.to_f32().expect("f32"),
            );
            let largest = expected
                .iter()
                .fold(0.0_f32, |most, one| most.max(one.abs()));
            let worst = got.iter().zip(&expected);
            let worst = worst.fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(
                worst <= RELATIVE * largest,
                "{operator}.{name} on {}: {:e} of the largest",
                engine.name(),
                worst / largest
            );
        }
    }
    prove(&recording);
}

#[test]
fn convolutions_and_their_gradients_agree_with_torch() {
    let usual = Conv2dOptions::default();
    check("conv2d_s1p1", 3, |tape, vars| {
        let options = Conv2dOptions {
            padding: [1; 2],
            ..usual
        };
        tape.conv2d(vars[0], vars[1], Some(vars[2]), &options)
    });
    check("conv2d_dil2", 3, |tape, vars| {
        let options = Conv2dOptions {
            dilation: [2; 2],
            ..usual
        };
        tape.conv2d(vars[0], vars[1], Some(vars[2]), &options)
    });
    check("conv1d", 3, |tape, vars| {
        let options = Conv1dOptions {
            stride: 2,
            padding: 1,
            ..Conv1dOptions::default()
        };
        tape.conv1d(vars[0], vars[1], Some(vars[2]), &options)
    });
}

#[test]
fn pooling_and_its_gradients_agree_with_torch() {
    let overlapping = Pool2dOptions {
        kernel: [3; 2],
        stride: [2; 2],
        padding: [1; 2],
        ..Pool2dOptions::square(3)
    };
    check("maxpool2d", 1, |tape, vars| {
        tape.max_pool2d(vars[0], &Pool2dOptions::square(2))
    });
    check("avgpool2d", 1, |tape, vars| {
        tape.avg_pool2d(vars[0], &overlapping, AverageOver::Kernel)
    });
    check("adaptive_avgpool", 1, |tape, vars| {
        tape.adaptive_avg_pool2d(vars[0], [1; 2])
    });
}

#[test]
fn half_precision_pooling_is_proven_dispatch_by_dispatch() {
    for half in [FloatType::F16, FloatType::Bf16] {
        let mut recording = Recording::new();
        let x = upload(&mut recording, half.dtype(), &[3, 5, 7, 9], 1);
        let options = Pool2dOptions {
            kernel: [3, 2],
            stride: [2; 2],
            padding: [1, 0],
            out: half,
        };
        let y = max_pool2d(&mut recording, &x, &options).expect("served");
        let dx = max_pool2d_backward(&mut recording, &x, &y, &options).expect("served");
        assert_eq!((dx.shape(), dx.dtype()), (x.shape(), half.dtype()));
        for over in [AverageOver::Kernel, AverageOver::Inside] {
            let y = avg_pool2d(&mut recording, &x, &options, over).expect("served");
            avg_pool2d_backward(&mut recording, &y, x.shape(), &options, over).expect("served");
        }
        let y = adaptive_avg_pool2d(&mut recording, &x, [3, 4], half).expect("served");
        adaptive_avg_pool2d_backward(&mut recording, &y, x.shape(), half).expect("served");
        let means = global_avg_pool(&mut recording, &x, half).expect("served");
        assert_eq!(means.shape(), [3, 5]);
        prove(&recording);
    }
}

#[test]
fn nan_is_the_maximum_of_every_window_that_holds_it_and_gets_its_gradient() {
    let mut x = values(1, 16);
    x[6] = f32::NAN;
    x[13] = -f32::NAN;
    let mut recording = Recording::new();
    let host = HostTensor::from_f32(vec![1, 1, 4, 4], &x).expect("shape fits");
    let x = recording.upload(&host);
    let pairs = Pool2dOptions::square(2);
    let y = max_pool2d(&mut recording, &x, &pairs).expect("served");
    let ones = HostTensor::from_f32(vec![1, 1, 2, 2], &[1.0; 4]).expect("shape fits");
    let ones = recording.upload(&ones);
    let dx = max_pool2d_backward(&mut recording, &x, &ones, &pairs).expect("served");
    recording.download(&y);
    recording.download(&dx);
    let adapter = gpu(options());
    let engines: [&dyn Engine; 2] = [&CpuEngine::new(), &adapter];
    for engine in engines {
        let results = engine.run(&recording).expect("runs");
        let y = results[0].to_f32().expect("f32");
        let is_nan: Vec<bool> = y.iter().map(|one| one.is_nan()).collect();
        assert_eq!(is_nan, [false, true, true, false]);
        let dx = results[1].to_f32().expect("f32");
        assert_eq!((dx[6], dx[13]), (1.0, 1.0));
    }
}

fn upload(recording: &mut Recording, dtype: DType, shape: &[usize], seed: u64) -> Tensor {
    let values = values(seed, shape.iter().product());
    recording.upload(&HostTensor::from_f32_as(dtype, shape.to_vec(), &values).expect("shape fits"))
}

#[test]
fn half_precision_convolutions_are_proven_dispatch_by_dispatch() {
    for half in [FloatType::F16, FloatType::Bf16] {
        // 7 by 7 positions of a channel share words with the next; 4 by 4 do not.
        for (side, launches) in [(7, 2), (4, 1)] {
            let mut recording = Recording::new();
            let x = upload(&mut recording, half.dtype(), &[3, 4, side, side], 1);
            let w = upload(&mut recording, half.dtype(), &[6, 2, 3, 3], 2);
            let options = Conv2dOptions {
                padding: [1; 2],
                groups: 2,
                activation: Activation::Relu,
                out: half,
                ..Conv2dOptions::default()
            };
            let y = conv2d(&mut recording, &x, &w, None, &options).expect("served");
            assert_eq!(y.shape(), [3, 6, side, side]);
            assert_eq!(recording.dispatches().count(), launches);
            let dx = conv2d_backward_input(&mut recording, &y, &w, x.shape(), &options);
            let dw = conv2d_backward_weight(&mut recording, &x, &y, w.shape(), &options);
            let (dx, dw) = (dx.expect("served"), dw.expect("served"));
            assert_eq!((dx.shape(), dx.dtype()), (x.shape(), half.dtype()));
            assert_eq!((dw.shape(), dw.dtype()), (w.shape(), DType::F32));
            channel_sums(&mut recording, &y).expect("served");
            prove(&recording);
        }
    }
}

#[test]
fn a_tape_stores_results_and_gradients_of_them_as_it_was_told() {
    let half = FloatType::F16;
    let mut tape = Tape::new().with_storage(half);
    let x = upload(tape.recording(), DType::F16, &[2, 3, 6, 6], 1);
    let w = upload(tape.recording(), DType::F16, &[4, 3, 3, 3], 2);
    let (x, w) = (tape.parameter(&x), tape.parameter(&w));
    let pooled = tape
        .max_pool2d(x, &Pool2dOptions::square(1))
        .expect("served");
    let y = tape.conv2d(pooled, w, None, &Conv2dOptions::default());
    let y = y.expect("served");
    assert_eq!(tape.value(y).dtype(), DType::F16);
    let seed = upload(tape.recording(), DType::F16, &[2, 4, 4, 4], 3);
    let gradients = tape.backward(&[(y, &seed)]).expect("served");
    let dtype = |var| gradients.get(var).expect("wanted").dtype();
    assert_eq!((dtype(pooled), dtype(w)), (DType::F16, DType::F32));
    assert_eq!(dtype(x), DType::F32);
    prove(&tape.into_recording());
}

#[test]
fn refusals_name_the_operand_and_what_is_allowed() {
    let mut recording = Recording::new();
    let x = upload(&mut recording, DType::F32, &[2, 6, 5, 5], 1);
    let w = upload(&mut recording, DType::F32, &[4, 3, 3, 3], 2);
    let before = recording.commands().len();
    let usual = Conv2dOptions::default();
    let refused = |recording: &mut Recording, options: Conv2dOptions| {
        let error = conv2d(recording, &x, &w, None, &options);
        error.expect_err("refused").to_string()
    };
    assert_eq!(
        refused(&mut recording, usual),
        "conv2d: weight has shape [4, 3, 3, 3], expected [out channels, 6, kernel height, kernel width] for 6 channels in 1 groups"
    );
    let groups = Conv2dOptions { groups: 4, ..usual };
    assert_eq!(
        refused(&mut recording, groups),
        "conv2d: x has shape [2, 6, 5, 5], expected channels that are a multiple of 4 groups"
    );
    let two = Conv2dOptions { groups: 2, ..usual };
    let far = Conv2dOptions {
        dilation: [3, 1],
        ..two
    };
    assert_eq!(
        refused(&mut recording, far),
        "conv2d: window (kernel - 1) * dilation + 1 = 7 is over the limit of 5 (input and padding)"
    );
    let still = Conv2dOptions {
        stride: [1, 0],
        ..two
    };
    assert_eq!(
        refused(&mut recording, still),
        "conv2d: stride is 0, at least 1 is needed"
    );
    let error = conv2d(&mut recording, &x, &w, Some(&w), &two).expect_err("no vector");
    assert!(matches!(error, OpError::Shape { what: "bias", .. }));
    let error = conv2d_backward_weight(&mut recording, &x, &x, w.shape(), &two);
    assert!(matches!(
        error.expect_err("3 by 3"),
        OpError::Shape { what: "dy", .. }
    ));
    let sequence = Conv1dOptions::default();
    let error = conv1d(&mut recording, &x, &w, None, &sequence).expect_err("four dimensions");
    assert!(matches!(error, OpError::Shape { op: "conv1d", .. }));
    let window = Pool2dOptions {
        padding: [0, 2],
        ..Pool2dOptions::square(3)
    };
    let error = max_pool2d(&mut recording, &x, &window).expect_err("2 of 3");
    assert_eq!(
        error.to_string(),
        "max_pool2d: padding = 2 is over the limit of 1 (half of the kernel)"
    );
    let error = adaptive_avg_pool2d(&mut recording, &x, [2, 0], FloatType::F32);
    assert_eq!(
        error.expect_err("no columns").to_string(),
        "adaptive_avg_pool2d: result width is 0, at least 1 is needed"
    );
    assert_eq!(recording.commands().len(), before);
}
