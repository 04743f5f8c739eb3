//! Sums longer than a driver's loop limit: llvmpipe silently stops after 65,535 loop iterations, so
//! such launches must get a variant that stays below, or an error, and never a wrong result.

use std::sync::Arc;

use lapidary::engine::{Engine, EngineError, GpuEngine};
use lapidary::kernels::matmul_dense::{Broadcast, Layout, MatmulDense, Precision};
use lapidary::kernels::matmul_int8::MatmulInt8;
use lapidary::kernels::matmul_quant::MatmulQuant;
use lapidary::kernels::matvec_int8::MatvecInt8;
use lapidary::kernels::matvec_quant::MatvecQuant;
use lapidary::kernels::{Epilogue, FloatType};
use lapidary::num::Scheme;
use lapidary::record::{Build, Launch, Pin, Recording, Tensor, usable_variants};
use lapidary::tensor::{DType, HostTensor};

use crate::support::{gpu, options};

/// Products of ones, so that every element of the result is k.
fn launches(k: u32) -> Vec<Arc<dyn Launch>> {
    let weight = Scheme::int8_channel().format();
    let (m, n) = (2, 4);
    let plain = Epilogue::default();
    let quant = MatmulQuant {
        m,
        n,
        k,
        x: FloatType::F32,
        weight,
        epilogue: plain,
        out: FloatType::F32,
    };
    let dense = |b_layout| MatmulDense {
        batch: 1,
        m,
        n,
        k,
        a: FloatType::F32,
        b: FloatType::F32,
        a_layout: Layout::KLast,
        b_layout,
        a_broadcast: Broadcast::PerBatch,
        b_broadcast: Broadcast::PerBatch,
        precision: Precision::Full,
        epilogue: plain,
        out: FloatType::F32,
    };
    // Segments of 64, so that integer sums stay exact at any k.
    let grouped = MatmulInt8 {
        m,
        n,
        k,
        block: 64,
        weight: Scheme::int8_group(64).format(),
        epilogue: plain,
        out: FloatType::F32,
        codes: false,
    };
    let mut integer = Vec::new();
    if k.is_multiple_of(64) {
        integer.extend([grouped.launch(), MatvecInt8(grouped).launch()]);
    }
    [
        quant.launch(),
        MatvecQuant(quant).launch(),
        dense(Layout::KLast).launch(),
        dense(Layout::KFirst).launch(),
    ]
    .into_iter()
    .chain(integer)
    .map(|launch| launch.expect("the shape is served"))
    .collect()
}

/// What makes an operand hold ones: bytes for codes, f16 pairs for the scales of groups.
fn ones(kernel: &str, binding: u32) -> u32 {
    match (kernel, binding) {
        ("matmul_int8" | "matvec_int8", 1 | 2) | ("matmul_quant" | "matvec_quant", 2) => {
            0x0101_0101
        }
        ("matmul_int8" | "matvec_int8", 3) => 0x3c00_3c00,
        _ => 1.0_f32.to_bits(),
    }
}

fn run(
    engine: &GpuEngine,
    launch: &Arc<dyn Launch>,
    pin: Option<Pin>,
) -> Result<HostTensor, EngineError> {
    let mut recording = Recording::new();
    let mut operands = Vec::new();
    for slot in launch.slots() {
        let tensor = Tensor::new(DType::F32, &[slot.bytes.div_ceil(4) as usize]);
        let ones = ones(launch.kernel(), slot.binding);
        recording
            .upload_words(tensor.buffer(), vec![ones; tensor.len()])
            .expect("fits");
        operands.push((slot.binding, tensor));
    }
    let buffers: Vec<_> = operands
        .iter()
        .map(|(binding, tensor)| (*binding, tensor.buffer()))
        .collect();
    match pin {
        Some(pin) => recording.dispatch_pinned(Arc::clone(launch), &buffers, pin)?,
        None => recording.dispatch(Arc::clone(launch), &buffers)?,
    }
    recording.download(&operands.last().expect("the output").1);
    Ok(engine.run(&recording)?.remove(0))
}

#[test]
fn every_variant_said_to_finish_gives_the_whole_sum() {
    let engine = gpu(options());
    assert_eq!(
        engine.capabilities().max_loop_iterations,
        65_535,
        "llvmpipe's limit is known"
    );
    let mut tried = 0;
    for k in [8_184, 26_176, 65_472, 131_072, 524_224] {
        for launch in launches(k) {
            for build in [Build::Trusted, Build::Checked] {
                for variant in usable_variants(launch.as_ref(), engine.capabilities(), build) {
                    let pin = Pin {
                        variant: variant.clone(),
                        edits: Vec::new(),
                        build,
                    };
                    let sums = run(&engine, &launch, Some(pin))
                        .expect("runs")
                        .to_f32()
                        .expect("floats");
                    assert!(
                        sums.iter().all(|&sum| sum == k as f32),
                        "k = {k} {build:?} {variant}: {sums:?}"
                    );
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 40, "only {tried} variants tried");
}

#[test]
fn a_sum_no_variant_can_finish_is_an_error_not_a_wrong_result() {
    let engine = gpu(options());
    for launch in launches(4_000_000) {
        match run(&engine, &launch, None) {
            Ok(sums) => {
                let sums = sums.to_f32().expect("floats");
                assert!(
                    sums.iter().all(|&sum| sum == 4e6),
                    "{}: {sums:?}",
                    launch.describe()
                );
            }
            Err(error) => {
                assert!(
                    matches!(error, EngineError::LoopTooLong { limit: 65_535, .. }),
                    "{error}"
                );
            }
        }
    }
}
