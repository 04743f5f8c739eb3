//! Operations: refused before anything is recorded, or right on the adapter, dispatch by dispatch.

use lapidary::engine::{CpuEngine, Engine};
use lapidary::kernels::elementwise::{Binary, Broadcast, Unary};
use lapidary::kernels::matmul_dense::{Layout, Precision};
use lapidary::kernels::row_reduce::Reduction;
use lapidary::kernels::{Activation, FloatType};
use lapidary::num::{
    Bits, Granularity, QuantizedMatrix, QuantizedParts, ScaleType, Scheme, StaticScale, quantize,
};
use lapidary::ops::{
    ActivationPath, LinearOptions, MatmulOptions, OpError, Weight, binary, cast, linear,
    linear_to_codes, matmul, reduce, transpose, unary,
};
use lapidary::record::{Recording, Tensor};
use lapidary::tensor::{DType, HostTensor};
use lapidary::verify::compare_recording;

use crate::support::{gpu, options, values};

fn upload(recording: &mut Recording, seed: u64, shape: &[usize]) -> Tensor {
    let values = values(seed, shape.iter().product());
    recording.upload(&HostTensor::from_f32(shape.to_vec(), &values).expect("shape fits"))
}

fn weight(recording: &mut Recording, n: usize, k: usize, scheme: &Scheme) -> Weight {
    Weight::upload_quantized(
        recording,
        &quantize("w", &values(7, n * k), n, k, scheme).expect("finite"),
    )
}

/// Codes up to 127, with a scale of 1/2 for all.
fn integer_weight(recording: &mut Recording, n: usize, k: usize) -> Weight {
    let code = |at: usize| ((at * 89 + at / k) % 255) as i16 - 127;
    let codes: Vec<i8> = (0..n * k).map(|at| code(at) as i8).collect();
    let parts = QuantizedParts {
        bits: Bits::Int8,
        granularity: Granularity::Tensor,
        n,
        k,
        codes: &codes,
        scales: &[0.5],
        scale_type: ScaleType::F32,
        zeros: None,
    };
    let matrix = QuantizedMatrix::from_codes("w", &parts).expect("fits");
    Weight::upload_quantized(recording, &matrix)
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

#[test]
fn a_layer_in_every_format_is_proven_dispatch_by_dispatch() {
    for m in [1, 5, 20] {
        let mut recording = Recording::new();
        let x = upload(&mut recording, 1, &[m, 128]);
        let bias = upload(&mut recording, 2, &[48]);
        let residual = upload(&mut recording, 3, &[m, 48]);
        let dense = HostTensor::from_f32_as(DType::F16, vec![48, 128], &values(4, 48 * 128))
            .expect("shape fits");
        let weights = [
            Weight::upload_dense(&mut recording, &dense).expect("a matrix"),
            weight(&mut recording, 48, 128, &Scheme::int4_group(64)),
            weight(&mut recording, 48, 128, &Scheme::int4_group_zero_point(32)),
            weight(&mut recording, 48, 128, &Scheme::int8_channel()),
        ];
        let options = LinearOptions {
            bias: Some(&bias),
            activation: Activation::Silu,
            residual: Some(&residual),
            ..LinearOptions::default()
        };
        for weight in &weights {
            let y = linear(&mut recording, &x, weight, &options).expect("served");
            assert_eq!((y.shape(), y.dtype()), (&[m, 48][..], DType::F32));
        }
        for weight in &weights[1..] {
            for activations in [ActivationPath::Int8PerRow, ActivationPath::Int8PerBlock(32)] {
                linear(
                    &mut recording,
                    &x,
                    weight,
                    &LinearOptions {
                        activations,
                        ..options
                    },
                )
                .expect("served");
            }
        }
        prove(&recording);
    }
}

#[test]
fn elementwise_and_row_operations_are_proven_dispatch_by_dispatch() {
    let mut recording = Recording::new();
    let a = upload(&mut recording, 1, &[3, 5, 16]);
    let row = upload(&mut recording, 2, &[15]);
    let scaled = binary(
        &mut recording,
        &a,
        &row,
        (Binary::Mul, Broadcast::Row),
        FloatType::F32,
    )
    .expect("served");
    let half = cast(&mut recording, &scaled, FloatType::F16).expect("served");
    assert_eq!((half.dtype(), half.shape()), (DType::F16, &[3, 5, 16][..]));
    unary(&mut recording, &half, Unary::GeluTanh, FloatType::Bf16).expect("served");
    let sums = reduce(&mut recording, &scaled, Reduction::Sum).expect("served");
    assert_eq!(sums.shape(), [3, 5]);
    let largest = reduce(&mut recording, &scaled, Reduction::ArgMax).expect("served");
    assert_eq!(largest.dtype(), DType::U32);
    transpose(&mut recording, &sums).expect("served");
    let even = upload(&mut recording, 3, &[6, 4]);
    for x in [&sums, &even] {
        let x = cast(&mut recording, x, FloatType::Bf16).expect("served");
        let turned = transpose(&mut recording, &x).expect("served");
        assert_eq!(turned.dtype(), DType::BF16);
    }
    let same = cast(&mut recording, &sums, FloatType::F32).expect("nothing to do");
    assert_eq!(same.buffer().id(), sums.buffer().id());
    prove(&recording);
}

#[test]
fn batched_products_take_their_batch_from_either_operand() {
    let mut recording = Recording::new();
    let a = upload(&mut recording, 1, &[3, 6, 20]);
    let b = upload(&mut recording, 2, &[20, 9]);
    let turned = upload(&mut recording, 3, &[3, 9, 20]);
    let y = matmul(&mut recording, &a, &b, &MatmulOptions::default()).expect("b is shared");
    assert_eq!(y.shape(), [3, 6, 9]);
    let options = MatmulOptions {
        b_layout: Layout::KLast,
        ..MatmulOptions::default()
    };
    matmul(&mut recording, &a, &turned, &options).expect("both batched");
    prove(&recording);
}

#[test]
fn refusals_name_operation_operand_and_what_is_allowed() {
    let mut recording = Recording::new();
    let x = upload(&mut recording, 1, &[2, 96]);
    let w = weight(&mut recording, 8, 128, &Scheme::int4_group(64));
    let plain = LinearOptions::default();
    let error = linear(&mut recording, &x, &w, &plain).expect_err("96 is not 128");
    assert_eq!(
        error.to_string(),
        "linear: x has shape [2, 96], expected [m, 128] to match the weight [8, 128]"
    );

    let x = upload(&mut recording, 1, &[2, 128]);
    let bias = upload(&mut recording, 2, &[9]);
    let error = linear(
        &mut recording,
        &x,
        &w,
        &LinearOptions {
            bias: Some(&bias),
            ..plain
        },
    )
    .expect_err("9 is not 8");
    assert_eq!(
        error.to_string(),
        "linear: bias has shape [9], expected [8]"
    );

    let dense = HostTensor::from_f32(vec![8, 128], &values(3, 1024)).expect("shape fits");
    let dense = Weight::upload_dense(&mut recording, &dense).expect("a matrix");
    let activations = ActivationPath::Int8PerRow;
    let error = linear(
        &mut recording,
        &x,
        &dense,
        &LinearOptions {
            activations,
            ..plain
        },
    )
    .expect_err("dense");
    assert!(
        matches!(error, OpError::Type { what: "weight", .. }),
        "{error}"
    );

    let activations = ActivationPath::Int8PerBlock(48);
    let error = linear(
        &mut recording,
        &x,
        &w,
        &LinearOptions {
            activations,
            ..plain
        },
    )
    .expect_err("48 and 64");
    assert!(
        matches!(error, OpError::Kernel(_)) && error.to_string().contains("48"),
        "{error}"
    );

    let integers =
        recording.upload(&HostTensor::from_i32(vec![2, 128], &[0; 256]).expect("shape fits"));
    let error = linear(&mut recording, &integers, &w, &plain).expect_err("integers");
    assert_eq!(
        error.to_string(),
        "linear: x is i32, expected f32, f16 or bf16"
    );

    let precision = Precision::F16Multiply;
    let error = linear(
        &mut recording,
        &x,
        &dense,
        &LinearOptions { precision, ..plain },
    )
    .expect_err("f32 operands");
    assert!(matches!(error, OpError::Kernel(_)), "{error}");
    assert_eq!(recording.dispatches().count(), 0, "nothing was recorded");
    assert!(CpuEngine::new().run(&recording).is_ok());
}

#[test]
fn codes_that_layers_hand_on_are_those_of_their_results_and_save_a_launch_each() {
    // Integers under powers of two, so that both ways are exact.
    for m in [1, 8, 9, 40] {
        let mut recording = Recording::new();
        let x = |at: usize| ((at * 37) % 255) as f32 - 127.0;
        let x: Vec<f32> = (0..m * 96).map(x).collect();
        let x = recording.upload(&HostTensor::from_f32(vec![m, 96], &x).expect("shape fits"));
        let bias: Vec<f32> = (0..51).map(|at| at as f32 - 25.0).collect();
        let bias = recording.upload(&HostTensor::from_f32(vec![51], &bias).expect("shape fits"));
        let [one, two, three] =
            [(51, 96), (70, 51), (10, 70)].map(|(n, k)| integer_weight(&mut recording, n, k));
        let scales =
            [1.0, 2048.0, 2048.0].map(|scale| StaticScale::new("x", scale).expect("within range"));
        let layer = |at: usize| LinearOptions {
            activations: ActivationPath::Int8Static(scales[at]),
            bias: (at == 0).then_some(&bias),
            activation: match at {
                0 => Activation::Relu,
                _ => Activation::Identity,
            },
            ..LinearOptions::default()
        };
        let first = linear_to_codes(&mut recording, &x, &one, &layer(0), scales[1]);
        let first = first.expect("served");
        let second = first.linear_to_codes(&mut recording, &two, &layer(1), scales[2]);
        let y = second.expect("served");
        let y = y.linear(&mut recording, &three, &layer(2)).expect("served");
        assert_eq!((y.shape(), y.dtype()), (&[m, 10][..], DType::F32));
        assert_eq!(recording.dispatches().count(), 4);
        let mut other = x;
        for (at, weight) in [&one, &two, &three].into_iter().enumerate() {
            other = linear(&mut recording, &other, weight, &layer(at)).expect("served");
        }
        assert_eq!(recording.dispatches().count(), 4 + 6);
        prove(&recording);
        recording.download(&y);
        recording.download(&other);
        let engines: [&dyn Engine; 3] = [&gpu(options()), &CpuEngine::new(), &CpuEngine::fast()];
        for engine in engines {
            let made = engine.run(&recording).expect("runs");
            let name = engine.name();
            assert_eq!(made[0].bytes(), made[1].bytes(), "m = {m} on {name}");
            let values = made[0].to_f32().expect("f32");
            assert!(values.iter().any(|&one| one != values[0]), "{values:?}");
        }
    }
}

#[test]
fn codes_are_refused_under_another_scale_and_by_weights_that_need_sums_of_them() {
    let mut recording = Recording::new();
    let x = upload(&mut recording, 1, &[3, 64]);
    let residual = upload(&mut recording, 2, &[3, 64]);
    let [near, far] = [0.02, 0.5].map(|scale| StaticScale::new("x", scale).expect("within range"));
    let w = weight(&mut recording, 64, 64, &Scheme::int8_channel());
    let options = |activations| LinearOptions {
        activations,
        ..LinearOptions::default()
    };
    let (of_near, of_far) = (
        options(ActivationPath::Int8Static(near)),
        options(ActivationPath::Int8Static(far)),
    );
    let refused = |error: OpError| {
        let error = error.to_string();
        assert!(
            error.contains("under the scale that activations have"),
            "{error}"
        );
    };
    for path in [ActivationPath::Float, ActivationPath::Int8PerRow] {
        let wrong = linear_to_codes(&mut recording, &x, &w, &options(path), far);
        refused(wrong.expect_err("no scale of its own"));
    }
    let with_residual = LinearOptions {
        residual: Some(&residual),
        ..of_near
    };
    let error = linear_to_codes(&mut recording, &x, &w, &with_residual, far).expect_err("residual");
    assert!(error.to_string().contains("without residual"), "{error}");
    assert_eq!(recording.dispatches().count(), 0, "nothing was recorded");
    let codes = linear_to_codes(&mut recording, &x, &w, &of_near, far).expect("served");
    let wrong = codes.linear(&mut recording, &w, &of_near);
    refused(wrong.expect_err("another scale"));
    for scheme in [Scheme::int4_group(32), Scheme::int4_group_zero_point(32)] {
        let other = weight(&mut recording, 8, 64, &scheme);
        assert!(!other.takes_codes());
        let wrong = codes.linear(&mut recording, &other, &of_far);
        refused(wrong.expect_err("sums of codes"));
        // They are met by codes of their own, with sums.
        linear(&mut recording, &x, &other, &of_near).expect("served");
    }
    let narrow = weight(&mut recording, 8, 32, &Scheme::int8_channel());
    let error = codes.linear(&mut recording, &narrow, &of_far);
    let error = error.expect_err("64 is not 32").to_string();
    assert!(error.contains("expected [m, 32]"), "{error}");
    prove(&recording);
}
