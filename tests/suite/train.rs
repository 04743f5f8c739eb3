//! Training: logits of a network trained by PyTorch, gradients of a step, checkpoints, and what is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lapidary::data::{Dataset, Loader, LoaderOptions, fashion_mnist_subset};
use lapidary::engine::{CpuEngine, Engine};
use lapidary::eval;
use lapidary::io::safetensors::{SafetensorsFile, write_safetensors};
use lapidary::models::{Mlp, ModelError, NamedTensor, Network, load_parameters};
use lapidary::num::optim::{Convention, Optimizer, Penalty};
use lapidary::num::schedule::{Boundary, Schedule};
use lapidary::ops::OpError;
use lapidary::ops::nn::Curve;
use lapidary::tensor::HostTensor;
use lapidary::train::{Checkpoint, Start, TrainError, TrainOptions, Trainer, fit};

use crate::support::{gpu, options, values};

fn torch(name: &str) -> Optimizer {
    Optimizer::named(name, Convention::PyTorch).expect("a name")
}

fn reference() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fmnist_mlp_f32.safetensors")
}

fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("train");
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

fn small_options(optimizer: Optimizer) -> TrainOptions {
    TrainOptions {
        learning_rate: 0.02,
        batch_size: 16,
        steps_per_epoch: 3,
        evaluation_batch: 20,
        ..TrainOptions::new(optimizer)
    }
}

fn small_network() -> Mlp {
    Mlp::new(&[6], &[5], 3, Curve::Tanh).expect("sizes")
}

fn loader() -> Loader {
    Loader::new(small_data().into(), LoaderOptions::learning(16, 0)).expect("valid")
}

/// Trains up to `n_steps` and returns the losses.
fn train_to(trainer: &mut Trainer<'_>, n_steps: u64) -> Vec<f64> {
    let loader = loader();
    let mut losses = Vec::new();
    while trainer.n_steps() < n_steps {
        let (epoch, first) = (trainer.n_steps() / 3, trainer.n_steps() % 3);
        let batches = loader.epoch_from(epoch as u32, first as usize);
        let batch = batches.expect("starts").next().expect("three batches");
        losses.push(trainer.step(&batch).expect("steps"));
    }
    losses
}

#[test]
fn logits_of_a_network_trained_by_pytorch_are_its_own() {
    let images = fashion_mnist_subset().expect("built in").test;
    let images = images.first(256).expect("2,000 images");
    // That network was trained on shares of 255 as they are.
    let network = Mlp::new(&[1, 28, 28], &[256, 128], 10, Curve::Relu).expect("sizes");
    let parameters = load_parameters(&network, reference()).expect("the network's");
    let file = SafetensorsFile::open(reference()).expect("part of the repository");
    let expected = file.tensor("ref.logits_test_first256").expect("there");
    let expected = expected.to_f32().expect("f32");
    let engine = gpu(options());
    let trainer = Trainer::new(
        &engine,
        &network,
        TrainOptions {
            // Not a divisor of 256, so that the last pass is padded.
            evaluation_batch: 96,
            ..TrainOptions::new(torch("sgd"))
        },
        Start::Parameters(parameters),
    )
    .expect("fits");
    let logits = trainer.predictor().logits(images.inputs()).expect("runs");
    assert_eq!(logits.len(), expected.len());
    let pairs = logits.iter().zip(&expected);
    let worst = pairs.fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
    println!("largest difference of 2,560 logits: {worst:e}");
    assert!(worst <= 1e-4, "{worst:e}");
    let classes = |logits: &[f32]| eval::predictions(logits, 10).expect("rows of ten");
    assert_eq!(classes(&logits), classes(&expected));
    let accuracy = eval::accuracy(&logits, images.labels(), 10).expect("labels");
    assert!(accuracy > 0.8, "{accuracy}");
}

/// The mean loss in f64 of logits made by the definition.
fn loss_of(network: &Mlp, parameters: &[NamedTensor], batch: &lapidary::data::Batch) -> f64 {
    let [mut x, mut width] = [Vec::new(), Vec::new()];
    x.extend(batch.inputs.iter().copied().map(f64::from));
    width.extend(network.sizes().iter().map(|&size| size as f64));
    let n_layers = parameters.len() / 2;
    for (layer, pair) in parameters.chunks_exact(2).enumerate() {
        let (inputs, outputs) = (width[layer] as usize, width[layer + 1] as usize);
        let weight = pair[0].1.to_f32().expect("f32");
        let bias = pair[1].1.to_f32().expect("f32");
        let row = |x: &[f64]| -> Vec<f64> {
            (0..outputs)
                .map(|n| {
                    let terms = weight[n * inputs..][..inputs].iter().zip(x);
                    let sum: f64 = terms.map(|(w, x)| f64::from(*w) * x).sum();
                    let sum = sum + f64::from(bias[n]);
                    if layer + 1 < n_layers {
                        sum.tanh()
                    } else {
                        sum
                    }
                })
                .collect()
        };
        x = x.chunks_exact(inputs).flat_map(row).collect();
    }
    let rows = x.chunks_exact(network.n_classes());
    let losses = rows
        .zip(&batch.labels)
        .map(|(z, &label)| z.iter().map(|z| z.exp()).sum::<f64>().ln() - z[label as usize]);
    losses.sum::<f64>() / batch.labels.len() as f64
}

#[test]
fn a_step_goes_down_the_gradient_of_central_differences() {
    let network = small_network();
    let engine = gpu(options());
    // Plain descent at rate 1: the change of a parameter is its gradient.
    let descent = TrainOptions {
        learning_rate: 1.0,
        ..small_options(torch("sgd"))
    };
    let mut trainer = Trainer::new(&engine, &network, descent, Start::Seed).expect("fits");
    let batch = loader().epoch(0).expect("starts").next().expect("a batch");
    let before = trainer.parameters().expect("downloads");
    assert_eq!(before, network.parameters(0).expect("small"));
    let loss = trainer.step(&batch).expect("steps");
    assert!((loss - loss_of(&network, &before, &batch)).abs() < 1e-5);
    let after = trainer.parameters().expect("downloads");
    for index in 0..before.len() {
        let (old, new) = (before[index].1.to_f32(), after[index].1.to_f32());
        let (old, new) = (old.expect("f32"), new.expect("f32"));
        for at in 0..old.len() {
            let moved = |by: f32| {
                let mut parameters = before.clone();
                let mut values = old.clone();
                values[at] += by;
                let shape = before[index].1.shape().to_vec();
                parameters[index].1 = HostTensor::from_f32(shape, &values).expect("fits");
                (
                    loss_of(&network, &parameters, &batch),
                    f64::from(values[at]),
                )
            };
            let ((above, right), (below, left)) = (moved(1.0 / 256.0), moved(-1.0 / 256.0));
            let expected = (above - below) / (right - left);
            let seen = f64::from(old[at]) - f64::from(new[at]);
            // f32 sums of 16 samples, and a sixth of the step's square times third derivatives.
            assert!(
                (seen - expected).abs() < 2e-5,
                "{} element {at}: {seen}, expected {expected}",
                before[index].0
            );
        }
    }
}

#[test]
fn fifteen_steps_a_checkpoint_and_fifteen_more_are_thirty_steps() {
    let network = small_network();
    let engine = gpu(options());
    let settings = TrainOptions {
        schedule: Schedule::Polynomial {
            total: 40,
            power: 1.0,
            end: 0.0,
        },
        max_norm: Some(0.5),
        label_smoothing: 0.1,
        ..small_options(torch("adamw"))
    };
    let new = |start| Trainer::new(&engine, &network, settings.clone(), start).expect("fits");
    let mut whole = new(Start::Seed);
    let losses = train_to(&mut whole, 30);
    assert!(losses[29] < 0.8 * losses[0], "{losses:?}");

    let mut first = new(Start::Seed);
    assert_eq!(train_to(&mut first, 15), losses[..15]);
    let file = scratch("half.safetensors");
    let notes = BTreeMap::from([("steps".to_owned(), "no".to_owned())]);
    let saved = first.checkpoint().expect("downloads");
    saved.save(&file, &notes).expect("writes");
    drop(first);
    let loaded = Checkpoint::load(&file, &network).expect("reads");
    assert_eq!(loaded.n_steps(), 15);
    assert_eq!(loaded.parameters(), saved.parameters());
    let mut second = new(Start::Checkpoint(loaded));
    assert_eq!(train_to(&mut second, 30), losses[15..]);
    assert_eq!(
        second.checkpoint().expect("downloads"),
        whole.checkpoint().expect("downloads")
    );
}

#[test]
fn both_engines_train_alike_and_each_repeats_its_bits() {
    let network = small_network();
    let on_gpu = gpu(options());
    let run = |engine: &dyn Engine| {
        let settings = small_options(torch("momentum"));
        let mut trainer = Trainer::new(engine, &network, settings, Start::Seed).expect("fits");
        let losses = train_to(&mut trainer, 12);
        (losses, trainer.parameters().expect("downloads"))
    };
    let once = run(&on_gpu);
    assert_eq!(once, run(&on_gpu));
    let reference = run(&CpuEngine::new());
    for (a, b) in once.0.iter().zip(&reference.0) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
}

#[test]
fn a_schedule_that_grows_past_f32_ends_before_the_step() {
    let network = small_network();
    let engine = CpuEngine::new();
    let growing = TrainOptions {
        schedule: Schedule::Piecewise {
            boundaries: vec![1],
            values: vec![1.0, 1e39],
            at: Boundary::Begins,
        },
        ..small_options(torch("sgd"))
    };
    let mut trainer = Trainer::new(&engine, &network, growing, Start::Seed).expect("fits");
    let batch = loader().epoch(0).expect("starts").next().expect("a batch");
    trainer.step(&batch).expect("at rate 1");
    let before = trainer.checkpoint().expect("downloads");
    let error = trainer.step(&batch).expect_err("at rate 1e39").to_string();
    assert!(
        error.starts_with("learning rate of the next step, by its schedule = "),
        "{error}"
    );
    assert_eq!(trainer.checkpoint().expect("downloads"), before);
}

#[test]
fn frozen_parameters_keep_their_bytes_and_the_others_do_not() {
    let network = small_network();
    let engine = CpuEngine::new();
    let frozen = TrainOptions {
        freeze: vec!["1.*".to_owned()],
        // What decays would decay here too.
        optimizer: torch("adamw").with_penalty(Penalty {
            decoupled: 0.5,
            ..Penalty::default()
        }),
        ..small_options(torch("adamw"))
    };
    let mut trainer = Trainer::new(&engine, &network, frozen.clone(), Start::Seed).expect("fits");
    assert_eq!(trainer.n_parameters(), [6 * 5 + 5 + 5 * 3 + 3, 5 * 3 + 3]);
    train_to(&mut trainer, 4);
    let (before, after) = (network.parameters(0), trainer.parameters());
    let (before, after) = (before.expect("small"), after.expect("downloads"));
    assert_eq!(before[..2], after[..2]);
    assert_ne!(before[2], after[2]);
    assert_ne!(before[3], after[3]);
    let refused = |freeze: &str| {
        let freeze = vec![freeze.to_owned()];
        let settings = TrainOptions {
            freeze,
            ..frozen.clone()
        };
        let refused = Trainer::new(&engine, &network, settings, Start::Seed);
        refused.expect_err("refused").to_string()
    };
    assert_eq!(
        refused("7.*"),
        "freeze `7.*`: no parameter has such a name; there are: 1.weight, 1.bias, 3.weight, 3.bias"
    );
    assert!(refused("*").contains("nothing is left to train"));
}

#[test]
fn an_epoch_is_judged_and_training_can_be_stopped() {
    let network = small_network();
    let engine = CpuEngine::new();
    let settings = small_options(torch("adam"));
    let mut trainer = Trainer::new(&engine, &network, settings, Start::Seed).expect("fits");
    let (loader, data) = (loader(), small_data());
    let fitted = fit::<TrainError>(&mut trainer, (&loader, &data), 20, &mut |_, _| Ok(true));
    let fitted = fitted.expect("trains");
    assert_eq!((fitted.epochs.len(), fitted.is_stopped), (20, false));
    let last = fitted.epochs[19];
    assert_eq!((last.epoch, last.step), (19, 60));
    assert!(last.test.accuracy > 0.8, "{last:?}");
    assert!(last.test.loss < fitted.epochs[0].test.loss);
    let seen = trainer.n_steps();
    let fitted = fit::<TrainError>(&mut trainer, (&loader, &data), 22, &mut |trainer, _| {
        Ok(trainer.n_steps() < seen + 2)
    });
    assert!(fitted.expect("trains").is_stopped);
    assert_eq!(trainer.n_steps(), seen + 2);
}

#[test]
fn labels_batches_and_data_that_do_not_fit_are_refused() {
    let network = small_network();
    let engine = CpuEngine::new();
    let settings = small_options(torch("sgd"));
    let mut trainer = Trainer::new(&engine, &network, settings, Start::Seed).expect("fits");
    let batch = loader().epoch(0).expect("starts").next().expect("a batch");
    let mut wrong = batch.clone();
    wrong.labels[7] = 3;
    let error = trainer.step(&wrong).expect_err("3 is no class of 3");
    assert_eq!(error.to_string(), "labels[7] is 3, allowed: 0 to 2");
    wrong = batch.clone();
    wrong.labels.pop();
    let error = trainer.step(&wrong).expect_err("15 labels");
    assert!(matches!(error, TrainError::Op(op) if matches!(*op, OpError::Shape { .. })));
    wrong = batch.clone();
    wrong.inputs.pop();
    let error = trainer.step(&wrong).expect_err("too short");
    assert!(matches!(error, TrainError::OtherData { .. }), "{error}");
    assert_eq!(trainer.n_steps(), 0);
    let wide = Dataset::new(vec![0.0; 7], vec![7], vec![0], vec!["a".into()]).expect("valid");
    let error = trainer.evaluate(&wide).expect_err("seven features");
    assert_eq!(
        error.to_string(),
        "samples have shape [7], the network has [6]"
    );
    let mut broken = batch;
    broken.inputs[6 * 2] = f32::NAN;
    let error = trainer.step(&broken).expect_err("no finite loss");
    assert!(
        matches!(
            error,
            TrainError::LossNotFinite {
                step: 1,
                row: 2,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn files_and_settings_that_do_not_fit_are_refused_by_name() {
    let network = small_network();
    let file = scratch("other.safetensors");
    let write = |tensors: &[NamedTensor]| {
        write_safetensors(&file, tensors, &BTreeMap::new()).expect("writes");
    };
    let good = network.parameters(0).expect("small");
    let mut other = good.clone();
    other[2].1 = HostTensor::from_f32(vec![5, 3], &[0.0; 15]).expect("fits");
    write(&other);
    let error = load_parameters(&network, &file).expect_err("transposed");
    assert!(
        error.to_string().ends_with(
            "other.safetensors: tensor `3.weight` has shape [5, 3], the network needs [3, 5]"
        ),
        "{error}"
    );
    other = good.clone();
    other[1].1 = HostTensor::from_f32(vec![5], &[0.0, 0.0, f32::NAN, 0.0, 0.0]).expect("fits");
    write(&other);
    let error = load_parameters(&network, &file).expect_err("NaN");
    assert!(matches!(error, ModelError::NotFinite { index: 2, .. }));
    write(&good[..3]);
    let error = load_parameters(&network, &file).expect_err("no bias");
    assert!(error.to_string().contains("3.bias"), "{error}");
    let error = Checkpoint::load(&file, &network).expect_err("no metadata");
    assert!(matches!(
        error,
        TrainError::NoCheckpoint { key: "format", .. }
    ));

    let engine = CpuEngine::new();
    let new = |settings: TrainOptions, start| {
        let made = Trainer::new(&engine, &network, settings, start);
        made.expect_err("refused").to_string()
    };
    let settings = small_options(torch("adam"));
    let trainer = Trainer::new(&engine, &network, settings.clone(), Start::Seed).expect("fits");
    let checkpoint = trainer.checkpoint().expect("downloads");
    let file = scratch("refused.safetensors");
    checkpoint.save(&file, &BTreeMap::new()).expect("writes");
    let checkpoint = Checkpoint::load(&file, &network).expect("reads");
    let mut changed = settings.clone();
    changed.seed = 1;
    assert!(new(changed, Start::Checkpoint(checkpoint.clone())).ends_with("seed was 0, now 1"),);
    let mut changed = settings.clone();
    changed.optimizer = torch("sgd");
    let refused = new(changed, Start::Checkpoint(checkpoint));
    assert!(refused.contains("optimizer_rule was"), "{refused}");
    assert_eq!(
        new(settings.clone(), Start::Parameters(good[..3].to_vec())),
        "tensor 3: `nothing` was given, the network has `3.bias f32 [3]`"
    );
    let mut changed = settings.clone();
    changed.learning_rate = f64::NAN;
    assert!(new(changed, Start::Seed).contains("learning rate = NaN"));
    let mut changed = settings;
    changed.batch_size = 0;
    assert!(new(changed, Start::Seed).contains("batch size = 0"));
}
