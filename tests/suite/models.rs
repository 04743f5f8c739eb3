//! Networks with running statistics and dropout in training: resumed, frozen, evaluated.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lapidary::data::{Dataset, Loader, LoaderOptions};
use lapidary::engine::{CpuEngine, Engine};
use lapidary::io::safetensors::write_safetensors;
use lapidary::models::{Layer, NamedTensor, Network, Role, Sequential, load_parameters};
use lapidary::num::optim::{Convention, Optimizer};
use lapidary::ops::nn::Curve;
use lapidary::tensor::HostTensor;
use lapidary::train::{Checkpoint, Start, TrainOptions, Trainer};

use crate::support::{gpu, options, values};

pub(crate) fn torch(name: &str) -> Optimizer {
    Optimizer::named(name, Convention::PyTorch).expect("a name")
}

pub(crate) fn scratch(name: &str) -> PathBuf {
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
fn running_statistics_of_pytorch_files_are_read() {
    let network = network();
    let mut tensors = network.parameters(3).expect("small");
    tensors.remove(4);
    let vector = |first: f32| {
        let values: Vec<f32> = (0..8).map(|n| first + n as f32).collect();
        HostTensor::from_f32(vec![8], &values).expect("fits")
    };
    tensors.push(("1.running_mean".to_owned(), vector(0.5)));
    tensors.push(("1.running_var".to_owned(), vector(1.0)));
    let file = scratch("torch.safetensors");
    write_safetensors(&file, &tensors, &BTreeMap::new()).expect("writes");
    let loaded = load_parameters(&network, &file).expect("reads");
    let running = value(&loaded, "1.running").to_f32().expect("f32");
    assert_eq!(running[..4], [0.5, 1.0, 1.5, 2.0]);
    tensors.pop();
    write_safetensors(&file, &tensors, &BTreeMap::new()).expect("writes");
    let error = load_parameters(&network, &file).expect_err("no variance");
    assert!(error.to_string().contains("1.running"), "{error}");
}
