//! Pruned weights in layers: both routes, both engines, and what the tuner remembers of them.

use std::sync::Arc;

use lapidary::engine::{CpuEngine, Engine};
use lapidary::kernels::sparse::{Route, SparseMatmul, Stored, matrix_operands};
use lapidary::kernels::{FloatType, REGISTRY, Workload};
use lapidary::num::{
    BlockShape, DeltaBits, Dense, NmPattern, Scheme, SparseLayout, SparseMatrix, ValueFormat,
};
use lapidary::ops::{ActivationPath, LinearOptions, OpError, Weight, linear};
use lapidary::record::{Build, Pin, Recording, usable_variants};
use lapidary::shader::Sources;
use lapidary::tensor::{DType, HostTensor};
use lapidary::tune::{Key, Store, Tuned, tune_route};
use lapidary::verify::compare_recording;

use crate::support::{gpu, options, values};

const N: usize = 48;
const K: usize = 128;

/// A weight pruned to 2:4 in every second column of blocks, which every layout holds.
fn matrix(layout: SparseLayout, format: ValueFormat) -> SparseMatrix {
    let mut weights = values(7, N * K);
    for (at, weight) in weights.iter_mut().enumerate() {
        if at % 4 >= 2 || (at % K) / 16 % 2 == 1 {
            *weight = 0.0;
        }
    }
    let dense = Dense {
        name: "w",
        weights: &weights,
        n: N,
        k: K,
    };
    SparseMatrix::compress(&dense, layout, format).expect("packs")
}

fn layouts() -> [SparseLayout; 3] {
    [
        SparseLayout::Nm(NmPattern::new(2, 4, 16).expect("a pattern")),
        SparseLayout::Block(BlockShape::new(16, 16).expect("a shape")),
        SparseLayout::Delta(DeltaBits::Four),
    ]
}

fn layer(matrix: &SparseMatrix, m: usize, route: Route) -> Recording {
    let mut recording = Recording::new();
    let mut upload = |seed, shape: &[usize]| {
        let values = values(seed, shape.iter().product());
        recording.upload(&HostTensor::from_f32(shape.to_vec(), &values).expect("shape fits"))
    };
    let (x, bias) = (upload(1, &[m, K]), upload(2, &[N]));
    let weight = Weight::upload_sparse(&mut recording, matrix, route);
    let options = LinearOptions {
        bias: Some(&bias),
        ..LinearOptions::default()
    };
    let y = linear(&mut recording, &x, &weight, &options).expect("recorded");
    recording.download(&y);
    recording
}

#[test]
fn a_layer_with_a_pruned_weight_is_within_its_bound_on_either_route() {
    let gpu = gpu(options());
    let int8 = ValueFormat::Quantized(Scheme::int8_tensor());
    for layout in layouts() {
        for format in [ValueFormat::F32, ValueFormat::F16, int8] {
            let matrix = matrix(layout, format);
            for m in [1, 5, 20] {
                let mut results = Vec::new();
                for route in [Route::Sparse, Route::Dense] {
                    let recording = layer(&matrix, m, route);
                    for report in compare_recording(&gpu, &recording).expect("runs") {
                        let comparison = report.comparison;
                        assert!(
                            comparison.passed(),
                            "{matrix} m={m} {route:?}: {comparison:?}"
                        );
                    }
                    let result = CpuEngine::new().run(&recording).expect("runs");
                    results.push(result[0].to_f32().expect("f32"));
                }
                // The same product, summed over other terms of zero only.
                assert_eq!(results[0], results[1], "{matrix} m={m}");
            }
        }
    }
}

#[test]
fn a_weight_says_how_it_is_stored() {
    let mut recording = Recording::new();
    let matrix = matrix(layouts()[0], ValueFormat::Quantized(Scheme::int8_channel()));
    let sparse = Weight::upload_sparse(&mut recording, &matrix, Route::Sparse);
    assert_eq!(sparse.describe(), "2:4x16 int8-channel");
    let dense = Weight::upload_sparse(&mut recording, &matrix, Route::Dense);
    assert_eq!(dense.describe(), "int8-channel");
    assert_eq!(sparse.shape(), Ok([N, K]));
}

#[test]
fn refuses_integer_activations_and_other_shapes_for_a_pruned_weight() {
    let mut recording = Recording::new();
    let weight = Weight::upload_sparse(
        &mut recording,
        &matrix(layouts()[1], ValueFormat::F32),
        Route::Sparse,
    );
    let x = recording.tensor(DType::F32, &[2, K]);
    let integers = LinearOptions {
        activations: ActivationPath::Int8PerRow,
        ..LinearOptions::default()
    };
    let refused = linear(&mut recording, &x, &weight, &integers);
    assert!(
        matches!(
            refused,
            Err(OpError::Type {
                what: "activations",
                ..
            })
        ),
        "{refused:?}"
    );
    let narrow = recording.tensor(DType::F32, &[2, K - 4]);
    let refused = linear(&mut recording, &narrow, &weight, &LinearOptions::default());
    assert!(
        matches!(refused, Err(OpError::Shape { what: "x", .. })),
        "{refused:?}"
    );
    let halves = LinearOptions {
        out: FloatType::Bf16,
        ..LinearOptions::default()
    };
    assert!(linear(&mut recording, &x, &weight, &halves).is_err());
}

#[test]
fn the_tuner_measures_both_routes_once_and_remembers_the_faster() {
    let gpu = gpu(options());
    let sources = Sources::embedded();
    let mut store = Store::empty(Key::new(gpu.summary(), &sources));
    let matrix = matrix(layouts()[1], ValueFormat::F32);
    let shape = SparseMatmul::of(&matrix, 1);
    assert_eq!(store.route(shape), None);
    let launch = shape.launch().expect("a launch");
    let mut on_turn = |_: &str| true;
    let tuned = tune_route(&gpu, &sources, &mut store, &launch, &mut on_turn).expect("tunes");
    let Some(Tuned::Measured(choice)) = tuned else {
        panic!("{tuned:?}");
    };
    assert_eq!(choice.evidence.len(), 2);
    let fastest = &choice.evidence[0];
    let expected = if fastest.variant == "dense" && choice.variant == "dense" {
        Route::Dense
    } else {
        Route::Sparse
    };
    assert_eq!(store.route(shape), Some(expected));
    assert_eq!(store.routes().pick(shape), expected);
    let mut recording = Recording::new();
    let weight = Weight::upload_pruned(&mut recording, &matrix, 1, &store.routes());
    let described = match expected {
        Route::Sparse => "block16x16 f32",
        Route::Dense => "f32",
    };
    assert_eq!(weight.describe(), described);
    let again = tune_route(&gpu, &sources, &mut store, &launch, &mut on_turn).expect("tunes");
    assert!(matches!(again, Some(Tuned::Known(_))), "{again:?}");
    // Dense products have one way only.
    let dense = shape.dense().expect("a launch");
    let none = tune_route(&gpu, &sources, &mut store, &dense, &mut on_turn).expect("tunes");
    assert!(none.is_none());
}

#[test]
fn refuses_counts_and_formats_that_no_matrix_has() {
    let shape = SparseMatmul::of(&matrix(layouts()[2], ValueFormat::F32), 1);
    let stored = |count, longest| SparseMatmul {
        stored: Stored { count, longest },
        ..shape
    };
    assert!(stored(64, 16).launch().is_ok());
    // Not whole steps; a longest row of none; more than the rows can hold; one longer than all.
    for (count, longest) in [(3, 3), (8, 0), (8 * N as u32 + 8, 8), (8, 16)] {
        let refused = stored(count, longest).launch();
        assert!(refused.is_err(), "{count} {longest}: {refused:?}");
    }
    for (kernel, format, says) in [
        ("sparse_nm", "2:4,int4-g16-zp", "symmetric"),
        ("sparse_delta", "delta4,int4-channel", "group of entries"),
        ("sparse_block", "block16x16,0%,1x1", "knows"),
    ] {
        let known = REGISTRY
            .iter()
            .find(|one| one.name == kernel)
            .expect("a kernel");
        let refused = Workload::new(kernel, "1x64x64", format).launch(known.workload);
        let message = refused.expect_err("refused").to_string();
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn an_infinite_activation_reaches_only_rows_that_keep_its_weight() {
    // Whole steps of eight, so that no padding is stored: the last columns, but in the second row the first.
    let mut weights = vec![0.0; 4 * 16];
    for (row, first) in [(0, 8), (1, 0), (2, 8), (3, 8)] {
        weights[row * 16 + first..row * 16 + first + 8].fill(1.0);
    }
    let dense = Dense {
        name: "w",
        weights: &weights,
        n: 4,
        k: 16,
    };
    let layout = SparseLayout::Delta(DeltaBits::Four);
    let matrix = SparseMatrix::compress(&dense, layout, ValueFormat::F32).expect("packs");
    let shape = SparseMatmul::of(&matrix, 1);
    let launch = shape.launch().expect("a launch");
    let mut x = vec![1.0; 16];
    x[15] = f32::INFINITY;
    let gpu = gpu(options());
    for variant in usable_variants(launch.as_ref(), gpu.capabilities(), Build::Trusted) {
        let mut recording = Recording::new();
        let x = recording.upload(&HostTensor::from_f32(vec![1, 16], &x).expect("fits"));
        let y = recording.tensor(DType::F32, &[1, 4]);
        let mut buffers = vec![(1, x.buffer().clone()), (8, y.buffer().clone())];
        for (binding, words) in matrix_operands(&matrix) {
            let tensor = recording.tensor(DType::U32, &[words.len()]);
            recording
                .upload_words(tensor.buffer(), words)
                .expect("fits");
            buffers.push((binding, tensor.buffer().clone()));
        }
        let pin = Pin {
            variant: variant.clone(),
            edits: Vec::new(),
            build: Build::Trusted,
        };
        let bound: Vec<_> = buffers
            .iter()
            .map(|(binding, buffer)| (*binding, buffer))
            .collect();
        recording
            .dispatch_pinned(Arc::clone(&launch), &bound, pin)
            .expect("recorded");
        recording.download(&y);
        let y = gpu.run(&recording).expect("runs")[0].to_f32().expect("f32");
        let infinite = f32::INFINITY;
        assert_eq!(y, [infinite, 8.0, infinite, infinite], "{variant}");
    }
}
