//! Networks: running statistics and dropout in training, normalization folded, heads replaced, and a
//! convolutional network of PyTorch's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lapidary::data::{Dataset, Loader, LoaderOptions, fashion_mnist_subset};
use lapidary::engine::{CpuEngine, Engine};
use lapidary::eval;
use lapidary::io::safetensors::{SafetensorsFile, write_safetensors};
use lapidary::models::{
    Layer, NamedTensor, Network, Role, Sequential, cnn, file_tensors, fold, head, load_parameters,
    mobilenet, transfer,
};
use lapidary::num::optim::{Convention, Optimizer};
use lapidary::ops::nn::Curve;
use lapidary::record::{Recording, Tensor};
use lapidary::tensor::HostTensor;
use lapidary::train::{Checkpoint, Predictor, Start, TrainOptions, Trainer};

use crate::support::{gpu, options, values};

fn torch(name: &str) -> Optimizer {
    Optimizer::named(name, Convention::PyTorch).expect("a name")
}

fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("models");
    std::fs::create_dir_all(&folder).expect("a scratch folder");
    folder.join(name)
}

/// 48 samples of 6 features in three classes that a line tells apart.
fn small_data() -> Dataset {
    let mut inputs = values(5, 48 * 6);
    let labels: Vec<u32> = (0..48).map(|row| row % 3).collect();
    for (sample, &label) in inputs.chunks_exact_mut(6).zip(&labels) {
        sample[label as usize] += 1.5;
    }
    let names = ["a", "b", "c"].map(str::to_owned).to_vec();
    Dataset::new(inputs, vec![6], labels, names).expect("valid")
}

fn settings(freeze: &[&str]) -> TrainOptions {
    TrainOptions {
        learning_rate: 0.02,
        batch_size: 16,
        steps_per_epoch: 3,
        evaluation_batch: 20,
        freeze: freeze.iter().map(|&one| one.to_owned()).collect(),
        ..TrainOptions::new(torch("adamw"))
    }
}

fn network() -> Sequential {
    let layers = vec![
        Layer::linear(8),
        Layer::BATCH_NORM,
        Layer::Activation(Curve::Relu),
        Layer::Dropout { probability: 0.25 },
        Layer::linear(3),
    ];
    Sequential::new("test", &[6], layers).expect("fits")
}

/// Trains up to `n_steps` and returns the losses.
fn train_to(trainer: &mut Trainer<'_>, n_steps: u64) -> Vec<f64> {
    let loader = Loader::new(small_data().into(), LoaderOptions::learning(16, 0)).expect("valid");
    let mut losses = Vec::new();
    while trainer.n_steps() < n_steps {
        let (epoch, first) = (trainer.n_steps() / 3, trainer.n_steps() % 3);
        let batches = loader.epoch_from(epoch as u32, first as usize);
        let batch = batches.expect("starts").next().expect("three batches");
        losses.push(trainer.step(&batch).expect("steps"));
    }
    losses
}

fn value<'a>(tensors: &'a [NamedTensor], name: &str) -> &'a HostTensor {
    let found = tensors.iter().find(|one| one.0 == name);
    &found.unwrap_or_else(|| panic!("no {name}")).1
}

#[test]
fn running_statistics_and_dropout_resume_to_the_same_bits() {
    let network = network();
    let adapter = gpu(options());
    for engine in [&CpuEngine::new() as &dyn Engine, &adapter] {
        let new = |start| Trainer::new(engine, &network, settings(&[]), start).expect("fits");
        let mut whole = new(Start::Seed);
        let losses = train_to(&mut whole, 10);
        let mut first = new(Start::Seed);
        assert_eq!(train_to(&mut first, 4), losses[..4]);
        let file = scratch("half.safetensors");
        let saved = first.checkpoint().expect("downloads");
        saved.save(&file, &BTreeMap::new()).expect("writes");
        let loaded = Checkpoint::load(&file, &network).expect("reads");
        let running = value(loaded.parameters(), "1.running").to_f32();
        assert_ne!(running.expect("f32")[..2], [0.0, 1.0]);
        let mut second = new(Start::Checkpoint(loaded));
        assert_eq!(train_to(&mut second, 10), losses[4..]);
        assert_eq!(
            second.checkpoint().expect("downloads"),
            whole.checkpoint().expect("downloads")
        );
        let inputs = small_data();
        let logits = |trainer: &Trainer<'_>| trainer.predictor().logits(inputs.inputs());
        assert_eq!(
            logits(&second).expect("runs"),
            logits(&whole).expect("runs")
        );
    }
}

#[test]
fn running_statistics_move_by_the_momentum_towards_those_of_the_batch() {
    let layers = vec![Layer::BATCH_NORM, Layer::linear(3)];
    let network = Sequential::new("test", &[6], layers).expect("fits");
    let engine = CpuEngine::new();
    let mut trainer = Trainer::new(&engine, &network, settings(&[]), Start::Seed).expect("fits");
    let loader = Loader::new(small_data().into(), LoaderOptions::learning(16, 0)).expect("valid");
    let batch = loader.epoch(0).expect("starts").next().expect("a batch");
    trainer.step(&batch).expect("steps");
    let tensors = trainer.parameters().expect("downloads");
    let running = value(&tensors, "0.running").to_f32().expect("f32");
    for channel in 0..6 {
        let column = batch.inputs.iter().skip(channel).step_by(6);
        let column: Vec<f64> = column.map(|&x| f64::from(x)).collect();
        let mean = column.iter().sum::<f64>() / 16.0;
        let squares = column.iter().map(|x| (x - mean) * (x - mean));
        let variance = squares.sum::<f64>() / 15.0;
        for (seen, expected) in [(0, 0.1 * mean), (1, 0.9 + 0.1 * variance)] {
            let seen = f64::from(running[2 * channel + seen]);
            assert!((seen - expected).abs() < 1e-6, "{seen} {expected}");
        }
    }
}

#[test]
fn a_frozen_normalization_keeps_its_running_statistics_and_uses_them() {
    let network = network();
    let engine = CpuEngine::new();
    let mut start = network.parameters(1).expect("small");
    let statistics: Vec<f32> = (0..16).map(|n| 0.25 + n as f32 / 16.0).collect();
    start[4].1 = HostTensor::from_f32(vec![8, 2], &statistics).expect("fits");
    for freeze in ["1.*", "1.running"] {
        let start = Start::Parameters(start.clone());
        let made = Trainer::new(&engine, &network, settings(&[freeze]), start);
        let mut trainer = made.expect("fits");
        train_to(&mut trainer, 5);
        let after = trainer.parameters().expect("downloads");
        let running = value(&after, "1.running").to_f32().expect("f32");
        assert_eq!(running, statistics);
        let gamma = value(&after, "1.weight").to_f32().expect("f32");
        assert_eq!(gamma == [1.0; 8], freeze == "1.*");
        assert_ne!(
            value(&after, "0.weight"),
            value(&network.parameters(1).expect("small"), "0.weight")
        );
    }
    let all = Trainer::new(
        &engine,
        &network,
        settings(&["*.weight", "*.bias"]),
        Start::Seed,
    );
    let refused = all.expect_err("only statistics are left").to_string();
    assert!(refused.contains("nothing is left to train"), "{refused}");
}

#[test]
fn counts_leave_running_statistics_out() {
    let network = network();
    let engine = CpuEngine::new();
    let trainer = Trainer::new(&engine, &network, settings(&[]), Start::Seed).expect("fits");
    let count = 6 * 8 + 8 + 8 + 8 + 8 * 3 + 3;
    assert_eq!(trainer.n_parameters(), [count; 2]);
    let summary = network.summary();
    assert_eq!(
        summary.iter().map(|one| one.parameters).sum::<usize>(),
        count
    );
    let roles = network.tensors().into_iter().map(|one| one.role);
    assert_eq!(roles.filter(|&role| role == Role::Statistics).count(), 1);
}

#[test]
fn running_statistics_of_files_have_the_names_of_pytorch() {
    let network = network();
    let mut values = network.parameters(3).expect("small");
    let pairs: Vec<f32> = (0..16).map(|n| 0.5 + n as f32).collect();
    values[4].1 = HostTensor::from_f32(vec![8, 2], &pairs).expect("fits");
    let mut tensors = file_tensors(&network, &values).expect("fits");
    let names: Vec<&str> = tensors[3..6].iter().map(|one| one.0.as_str()).collect();
    assert_eq!(names, ["1.bias", "1.running_mean", "1.running_var"]);
    let mean = tensors[4].1.to_f32().expect("f32");
    assert_eq!(mean[..2], [0.5, 2.5]);
    let file = scratch("torch.safetensors");
    write_safetensors(&file, &tensors, &BTreeMap::new()).expect("writes");
    let loaded = load_parameters(&network, &file).expect("reads");
    assert_eq!(loaded, values);
    tensors.remove(5);
    write_safetensors(&file, &tensors, &BTreeMap::new()).expect("writes");
    let error = load_parameters(&network, &file).expect_err("no variance");
    assert!(error.to_string().contains("1.running"), "{error}");
}

/// Logits of a network with given values in evaluation.
fn logits(
    engine: &dyn Engine,
    network: &dyn Network,
    values: &[NamedTensor],
    inputs: &[f32],
) -> Vec<f32> {
    let mut uploads = Recording::new();
    let tensors: Vec<Tensor> = values.iter().map(|one| uploads.upload(&one.1)).collect();
    engine.run(&uploads).expect("uploads");
    let predictor = Predictor::new(engine, network, &tensors, 32).expect("fits");
    predictor.logits(inputs).expect("runs")
}

#[test]
fn a_folded_normalization_is_the_same_within_what_rounding_can_do() {
    let (inputs, outputs) = (37, 21);
    let layers = vec![Layer::linear(outputs), Layer::BATCH_NORM];
    let network = Sequential::new("test", &[inputs], layers).expect("fits");
    let mut tensors = network.parameters(1).expect("small");
    let set = |tensors: &mut Vec<NamedTensor>, at: usize, values: &[f32]| {
        let shape = tensors[at].1.shape().to_vec();
        tensors[at].1 = HostTensor::from_f32(shape, values).expect("fits");
    };
    set(&mut tensors, 2, &values(2, outputs));
    set(&mut tensors, 3, &values(3, outputs));
    let running: Vec<f32> =
        values(4, 2 * outputs)
            .chunks_exact(2)
            .fold(Vec::new(), |mut all, pair| {
                all.extend([pair[0], 0.01 + pair[1].abs()]);
                all
            });
    set(&mut tensors, 4, &running);
    let (folded, folded_tensors) = fold(&network, &tensors).expect("fits");
    assert_eq!(folded.layers()[1], Layer::Identity);
    assert_eq!(folded_tensors.len(), 2);

    let x = values(9, 16 * inputs);
    let f64s = |tensors: &[NamedTensor], at: usize| -> Vec<f64> {
        let values = tensors[at].1.to_f32().expect("f32");
        values.into_iter().map(f64::from).collect()
    };
    let (weight, bias) = (f64s(&tensors, 0), f64s(&tensors, 1));
    let (gamma, beta) = (f64s(&tensors, 2), f64s(&tensors, 3));
    let unit = 2f64.powi(-24);
    for engine in [&CpuEngine::new() as &dyn Engine, &gpu(options())] {
        let before = logits(engine, &network, &tensors, &x);
        let after = logits(engine, &folded, &folded_tensors, &x);
        for (at, (before, after)) in before.iter().zip(&after).enumerate() {
            let (row, channel) = (at / outputs, at % outputs);
            let (mean, variance) = (running[2 * channel], running[2 * channel + 1]);
            let (mean, variance) = (f64::from(mean), f64::from(variance));
            let scale = gamma[channel] / (variance + f64::from(1e-5f32)).sqrt();
            let terms = weight[channel * inputs..][..inputs]
                .iter()
                .zip(&x[row * inputs..])
                .map(|(w, &x)| w * f64::from(x));
            let (sum, size) = terms.fold((bias[channel], bias[channel].abs()), |(a, b), t| {
                (a + t, b + t.abs())
            });
            let y = (sum - mean) * scale + beta[channel];
            let n = inputs as f64;
            // Unfolded: the sum has n + 1 roundings, then the difference, the sum under the root, the root
            // (WGSL allows 2 units in the last place, 4 half ones), two products and the addend.
            let unfolded = scale.abs() * ((n + 2.0) * size + 9.0 * (sum - mean).abs()) + y.abs();
            // Folded: weights and bias are rounded once more.
            let parts = scale.abs() * size + ((mean * scale).abs() + beta[channel].abs());
            let allowed = unit * (unfolded + (n + 3.0) * parts);
            let difference = f64::from(*before) - f64::from(*after);
            assert!(
                difference.abs() <= allowed,
                "row {row} channel {channel}: {before}, folded {after}, allowed {allowed:e}"
            );
            assert!((f64::from(*before) - y).abs() <= allowed);
        }
    }
}

/// Every product and sum is exact in f32, and every root too.
#[test]
fn folded_convolutions_of_whole_numbers_are_the_same_bit_for_bit() {
    let convolution = |outputs, kernel, groups, has_bias| Layer::Conv2d {
        outputs,
        kernel,
        stride: 1,
        padding: kernel / 2,
        groups,
        has_bias,
    };
    let norm = Layer::BatchNorm {
        epsilon: 0.0625,
        momentum: 0.1,
    };
    let relu = Layer::Activation(Curve::Relu);
    let layers = vec![
        convolution(4, 3, 1, false),
        norm,
        relu,
        convolution(4, 3, 4, true),
        norm,
        relu,
        convolution(6, 1, 1, false),
        norm,
        // Nothing to fold this one into.
        norm,
        Layer::Flatten,
        Layer::linear(3),
    ];
    let network = Sequential::new("test", &[1, 5, 4], layers).expect("fits");
    let tensors: Vec<NamedTensor> = network
        .tensors()
        .into_iter()
        .map(|spec| {
            let count = spec.shape.iter().product::<usize>();
            let values: Vec<f32> = (0..count)
                .map(|at| match spec.role {
                    // Mean 0, 1, ..; variance such that with epsilon it is 1/4 or 1.
                    Role::Statistics if at % 2 == 0 => (at % 3) as f32,
                    Role::Statistics => [0.1875, 0.9375][at / 2 % 2],
                    Role::Parameter => (at * 7 % 5) as f32 - 2.0,
                })
                .collect();
            let value = HostTensor::from_f32(spec.shape, &values).expect("fits");
            (spec.name, value)
        })
        .collect();
    let (folded, folded_tensors) = fold(&network, &tensors).expect("fits");
    let names: Vec<&str> = folded_tensors.iter().map(|one| one.0.as_str()).collect();
    assert_eq!(
        names,
        [
            "0.weight",
            "0.bias",
            "3.weight",
            "3.bias",
            "6.weight",
            "6.bias",
            "8.weight",
            "8.bias",
            "8.running",
            "10.weight",
            "10.bias"
        ]
    );
    let inputs: Vec<f32> = (0..3 * 20).map(|at| (at * 5 % 7) as f32 - 3.0).collect();
    let engine = CpuEngine::new();
    let before = logits(&engine, &network, &tensors, &inputs);
    assert_eq!(logits(&engine, &folded, &folded_tensors, &inputs), before);
    assert!(before.iter().any(|&logit| logit != before[0]));
    let error = fold(&network, &tensors[1..]).expect_err("one is missing");
    assert!(
        error.to_string().contains("the network has `0.weight"),
        "{error}"
    );
}

#[test]
fn a_replaced_head_learns_while_frozen_tensors_keep_their_bytes() {
    let engine = CpuEngine::new();
    let trained = network();
    let mut trainer = Trainer::new(&engine, &trained, settings(&[]), Start::Seed).expect("fits");
    train_to(&mut trainer, 6);
    let file = scratch("trained.safetensors");
    let before = trainer.parameters().expect("downloads");
    write_safetensors(&file, &before, &BTreeMap::new()).expect("writes");

    // The same body for other classes.
    let mut layers = trained.layers().to_vec();
    *layers.last_mut().expect("layers") = Layer::linear(4);
    let other = Sequential::new("test", &[6], layers).expect("fits");
    let anew = head(&other).expect("has tensors");
    assert_eq!(anew, "4.*");
    let values = transfer(&other, &file, (&[anew], 7)).expect("fits");
    assert_eq!(values[..5], before[..5]);
    assert_eq!(values[5..], other.parameters(7).expect("small")[5..]);
    let mut settings = settings(&["0.*", "1.*"]);
    settings.steps_per_epoch = 3;
    let start = Start::Parameters(values.clone());
    let mut trainer = Trainer::new(&engine, &other, settings, start).expect("fits");
    assert_eq!(trainer.n_parameters()[1], 8 * 4 + 4);
    train_to(&mut trainer, 6);
    let after = trainer.parameters().expect("downloads");
    let bytes = |tensors: &[NamedTensor]| -> Vec<Vec<u32>> {
        tensors.iter().map(|one| one.1.words().to_vec()).collect()
    };
    assert_eq!(bytes(&after)[..5], bytes(&before)[..5]);
    assert_ne!(after[5], values[5]);
    assert_ne!(after[6], values[6]);

    let refused = |anew: &[&str]| {
        let anew: Vec<String> = anew.iter().map(|&one| one.to_owned()).collect();
        let refused = transfer(&other, &file, (&anew, 0));
        refused.expect_err("refused").to_string()
    };
    assert!(
        refused(&[]).ends_with(
            "trained.safetensors: tensor `4.weight` has shape [3, 8], the network needs [4, 8]"
        ),
        "{}",
        refused(&[])
    );
    assert!(refused(&["4.weight"]).contains("tensor `4.bias`"));
    assert_eq!(
        refused(&["4.*", "head.*"]),
        "`head.*` to draw anew: no tensor has such a name; there are: 0.weight, 0.bias, 1.weight, 1.bias, 1.running, 4.weight, 4.bias"
    );
}

#[test]
fn logits_of_a_convolutional_network_trained_by_pytorch_are_its_own() {
    let images = fashion_mnist_subset().expect("built in").test;
    let images = images.first(256).expect("2,000 images");
    let network = cnn(&[1, 28, 28], 10).expect("fits");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fmnist_cnn_f32.safetensors");
    let tensors = load_parameters(&network, &path).expect("the network's");
    let file = SafetensorsFile::open(&path).expect("part of the repository");
    let expected = file.tensor("ref.logits_test_first256").expect("there");
    let expected = expected.to_f32().expect("f32");
    // That network was trained on shares of 255 as they are.
    let made = logits(&gpu(options()), &network, &tensors, images.inputs());
    let pairs = made.iter().zip(&expected);
    let worst = pairs.fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
    println!("largest difference of 2,560 logits: {worst:e}");
    assert_eq!(made.len(), expected.len());
    assert!(worst <= 1e-4, "{worst:e}");
    let classes = |logits: &[f32]| eval::predictions(logits, 10).expect("rows of ten");
    assert_eq!(classes(&made), classes(&expected));
    let accuracy = eval::accuracy(&made, images.labels(), 10).expect("labels");
    assert!(accuracy > 0.85, "{accuracy}");
}

#[test]
fn convolutional_networks_learn_their_batch_and_resume_to_the_same_bits() {
    let images = fashion_mnist_subset().expect("built in").train;
    let images = images.first(16).expect("10,000 images");
    let loader = Loader::new(images.into(), LoaderOptions::learning(16, 0)).expect("valid");
    let batch = loader.epoch(0).expect("starts").next().expect("a batch");
    let adapter = gpu(options());
    let small = mobilenet(&[1, 28, 28], 10, 0.25).expect("fits");
    let plain = cnn(&[1, 28, 28], 10).expect("fits");
    for network in [&small as &dyn Network, &plain] {
        let settings = TrainOptions {
            learning_rate: 0.01,
            batch_size: 16,
            ..TrainOptions::new(torch("adam"))
        };
        let new = |start| Trainer::new(&adapter, network, settings.clone(), start).expect("fits");
        let mut whole = new(Start::Seed);
        let losses: Vec<f64> = (0..8).map(|_| whole.step(&batch).expect("steps")).collect();
        assert!(losses[7] < 0.7 * losses[0], "{losses:?}");
        let mut first = new(Start::Seed);
        for loss in &losses[..3] {
            assert_eq!(first.step(&batch).expect("steps"), *loss);
        }
        let file = scratch("convolutions.safetensors");
        let saved = first.checkpoint().expect("downloads");
        saved.save(&file, &BTreeMap::new()).expect("writes");
        let mut second = new(Start::Checkpoint(
            Checkpoint::load(&file, network).expect("reads"),
        ));
        for loss in &losses[3..] {
            assert_eq!(second.step(&batch).expect("steps"), *loss);
        }
        assert_eq!(
            second.checkpoint().expect("downloads"),
            whole.checkpoint().expect("downloads")
        );
    }
}
