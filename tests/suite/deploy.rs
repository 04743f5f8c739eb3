//! Models with weights in any format: the same classes on both engines, every operation within its bound,
//! measured from their folder.

use std::collections::BTreeMap;
use std::path::Path;

use lapidary::compress::deploy::{Deployed, MeasureOptions, measure};
use lapidary::compress::model::{Activations, Model, Stored};
use lapidary::compress::outcome::{KernelTime, Quality};
use lapidary::data::{Standardization, StandardizeBy, fashion_mnist_subset};
use lapidary::engine::CpuEngine;
use lapidary::models::{Layer, Sequential, load_parameters};
use lapidary::num::{NmPattern, Scheme, SparseLayout, SparseMatrix, ValueFormat, quantize};
use lapidary::ops::Routes;
use lapidary::ops::nn::Curve;

use crate::support::{gpu, options};

/// The network that PyTorch trained; its inputs are bytes as the share of 255.
fn baseline() -> Model {
    let mut layers = vec![Layer::Flatten];
    for outputs in [256, 128] {
        layers.extend([Layer::linear(outputs), Layer::Activation(Curve::Relu)]);
    }
    layers.push(Layer::linear(10));
    let network = Sequential::new("mlp 784-256-128-10", &[1, 28, 28], layers).expect("fits");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fmnist_mlp_f32.safetensors");
    let values = load_parameters(&network, file).expect("reference");
    let inputs = Standardization::from_parts(StandardizeBy::Whole, vec![0.0], vec![1.0], 784);
    Model::new(network, inputs.expect("valid"), values).expect("fits")
}

/// The baseline with the weights of all layers in another format.
fn stored(how: impl Fn(&str, &[f32], [usize; 2]) -> Stored) -> Model {
    let mut model = baseline();
    for spec in model.weights() {
        let values = model.tensor(&spec.name).expect("there").values();
        let values = values.to_f32().expect("f32");
        let one = how(&spec.name, &values, [spec.shape[0], spec.shape[1]]);
        model.set(&spec.name, one).expect("fits");
    }
    model
}

fn quantized(scheme: Scheme, activations: Activations) -> Model {
    stored(|name, values, [n, k]| Stored::Quantized {
        shape: vec![n, k],
        matrix: quantize(name, values, n, k, &scheme).expect("fits").into(),
        activations,
    })
}

/// 2:4 by magnitude, which is not a good way to prune but a quick one.
fn two_of_four() -> Model {
    stored(|name, values, [n, k]| {
        let mut kept = values.to_vec();
        for group in kept.chunks_exact_mut(4) {
            let mut order = [0, 1, 2, 3];
            order.sort_by(|&a, &b| group[a].abs().total_cmp(&group[b].abs()));
            order[..2].iter().for_each(|&at| group[at] = 0.0);
        }
        let dense = lapidary::num::Dense {
            name,
            n,
            k,
            weights: &kept,
        };
        let layout = SparseLayout::Nm(NmPattern::TWO_FOUR);
        Stored::Sparse {
            shape: vec![n, k],
            matrix: SparseMatrix::compress(&dense, layout, ValueFormat::F32).expect("2:4"),
            activations: Activations::Float,
        }
    })
}

#[test]
fn quantized_and_pruned_models_run_right_and_lose_as_much_as_the_reference_says() {
    let engine = gpu(options());
    let data = fashion_mnist_subset().expect("built in").test;
    let base = baseline();
    let before = Deployed::new(&engine, &base, &Routes::default()).expect("fits");
    let logits = before.logits(data.inputs()).expect("runs");
    let quality = |logits: &[f32], against: Option<&[f32]>| {
        Quality::of(logits, data.labels(), 10, against).expect("logits")
    };
    let accuracy = quality(&logits, None).accuracy.value;
    for (model, most_lost) in [
        (quantized(Scheme::int8_channel(), Activations::Float), 0.002),
        (
            quantized(Scheme::int8_channel(), Activations::Int8PerRow),
            0.003,
        ),
        // PyTorch loses 0.0074 with groups of 32 on the full test set.
        (
            quantized(
                Scheme {
                    rule: lapidary::num::ScaleRule::SignedAbsMax,
                    ..Scheme::int4_group(16)
                },
                Activations::Float,
            ),
            0.012,
        ),
        (two_of_four(), 0.2),
    ] {
        let name = model.tensors()[0].1.format();
        let deployed = Deployed::new(&engine, &model, &Routes::default()).expect("fits");
        let after = deployed.logits(data.inputs()).expect("runs");
        let found = quality(&after, Some(&logits));
        assert!(
            found.accuracy.value >= accuracy - most_lost,
            "{name}: {found:?}, {accuracy} before"
        );
        let verification = deployed.verify(&data.inputs()[..4 * 784], 0).expect("runs");
        assert!(verification.passed(), "{name}: {verification:?}");
        assert!(verification.operations >= 3, "{verification:?}");
        if name.ends_with("x int8") {
            // A rounding before quantization moves a code by a whole step; verification judges each operation.
            continue;
        }
        let cpu = CpuEngine::new();
        let cpu = Deployed::new(&cpu, &model, &Routes::default()).expect("fits");
        let few = &data.inputs()[..32 * 784];
        let cpu = cpu.logits(few).expect("runs");
        let most = cpu
            .iter()
            .zip(&after)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(most < 1e-3, "{name}: logits differ by {most}");
    }
}

#[test]
fn a_folder_is_measured_on_an_engine_of_its_own() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("deploy-measure");
    let model = quantized(Scheme::int8_channel(), Activations::Int8PerRow);
    model.save(&folder, &BTreeMap::new()).expect("written");
    let data = fashion_mnist_subset().expect("built in").test;
    let measured = measure(
        &folder,
        &|| Ok(Box::new(gpu(options()))),
        (data.inputs(), &Routes::default()),
        MeasureOptions {
            warm_up: 1,
            single: 5,
            batches: 2,
        },
    )
    .expect("runs");
    let speed = measured.speed;
    assert!(speed.load_ms > 0.0 && speed.throughput > 0.0, "{speed:?}");
    assert!(
        speed.p50_ms <= speed.p95_ms && speed.p95_ms <= speed.p99_ms,
        "{speed:?}"
    );
    let parameters = model.n_parameters();
    assert!(speed.weight_bytes > parameters && speed.weight_bytes < parameters * 5 / 4);
    assert!(speed.device_bytes > speed.weight_bytes);
    // A device without a clock says nothing; one that has it counts every launch.
    let products = model.weights().len();
    for kernel in &measured.kernels {
        assert!(kernel.ms > 0.0, "{kernel:?}");
    }
    if !measured.kernels.is_empty() {
        let launches = |name: &str| {
            let of = |one: &&KernelTime| one.kernel == name;
            measured
                .kernels
                .iter()
                .find(of)
                .map_or(0, |one| one.launches)
        };
        assert_eq!(launches("quantize_rows"), products);
        assert_eq!(launches("matmul_int8"), products);
    }
    let none = measure(
        &folder,
        &|| Ok(Box::new(gpu(options()))),
        (&[], &Routes::default()),
        MeasureOptions::default(),
    );
    assert!(
        none.expect_err("no samples")
            .to_string()
            .contains("no samples")
    );
}
