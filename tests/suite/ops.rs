//! Operations: refused before anything is recorded, or right on the adapter, dispatch by dispatch.

use lapidary::engine::{CpuEngine, Engine};
use lapidary::kernels::elementwise::{Binary, Broadcast, Unary};
use lapidary::kernels::matmul_dense::{Layout, Precision};
use lapidary::kernels::row_reduce::Reduction;
use lapidary::kernels::{Activation, FloatType};
use lapidary::num::{Scheme, quantize};
use lapidary::ops::{
    ActivationPath, LinearOptions, MatmulOptions, OpError, Weight, binary, cast, linear, matmul,
    reduce, transpose, unary,
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
