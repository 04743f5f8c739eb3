//! Training in mixed precision, in micro-batches, and what is said when a number is not finite.

use std::collections::BTreeMap;
use std::path::Path;

use lapidary::data::{Batch, Dataset, Loader, LoaderOptions};
use lapidary::engine::{CpuEngine, Engine};
use lapidary::kernels::FloatType;
use lapidary::models::{Layer, Mlp, NamedTensor, Network, Sequential, cnn, mobilenet};
use lapidary::num::optim::{Convention, Optimizer};
use lapidary::num::schedule::PlateauRule;
use lapidary::ops::nn::Curve;
use lapidary::ops::optim::DynamicScale;
use lapidary::tensor::HostTensor;
use lapidary::train::{
    Checkpoint, EarlyStopping, Event, LossScale, Start, TrainError, TrainOptions, Trainer,
    TrainingMemory, fit,
};

use crate::support::{gpu, options, values};

/// 48 samples of 6 features in three classes that a line tells apart: an odd number of logits.
fn loader() -> Loader {
    let mut inputs = values(5, 48 * 6);
    let labels: Vec<u32> = (0..48).map(|row| row % 3).collect();
    for (sample, &label) in inputs.chunks_exact_mut(6).zip(&labels) {
        sample[label as usize] += 1.5;
    }
    let names = ["a", "b", "c"].map(str::to_owned).to_vec();
    let data = Dataset::new(inputs, vec![6], labels, names).expect("valid");
    Loader::new(data.into(), LoaderOptions::learning(16, 0)).expect("valid")
}

fn batch(step: u64) -> Batch {
    let batches = loader().epoch_from((step / 3) as u32, (step % 3) as usize);
    batches.expect("starts").next().expect("three batches")
}

fn network() -> Mlp {
    Mlp::new(&[6], &[5], 3, Curve::Tanh).expect("sizes")
}

/// The same data as small images, through batch normalization.
fn normalized() -> Sequential {
    let layers = vec![
        Layer::Conv2d {
            outputs: 4,
            kernel: 1,
            stride: 1,
            padding: 0,
            groups: 1,
            has_bias: false,
        },
        Layer::BATCH_NORM,
        Layer::Activation(Curve::Relu),
        Layer::Flatten,
        Layer::linear(3),
    ];
    Sequential::new("normalized", &[1, 2, 3], layers).expect("fits")
}

fn settings(name: &str, precision: FloatType) -> TrainOptions {
    TrainOptions {
        learning_rate: 0.02,
        batch_size: 16,
        steps_per_epoch: 3,
        evaluation_batch: 20,
        precision,
        ..TrainOptions::new(Optimizer::named(name, Convention::PyTorch).expect("a name"))
    }
}

fn train_to(trainer: &mut Trainer<'_>, n_steps: u64) -> Vec<f64> {
    let mut losses = Vec::new();
    while trainer.n_steps() < n_steps {
        losses.push(trainer.step(&batch(trainer.n_steps())).expect("steps"));
    }
    losses
}

#[test]
fn mixed_precision_learns_what_f32_does() {
    let (network, on_gpu) = (network(), gpu(options()));
    for engine in [&on_gpu as &dyn Engine, &CpuEngine::new()] {
        let run = |precision| {
            let options = settings("adam", precision);
            let mut trainer = Trainer::new(engine, &network, options, Start::Seed).expect("fits");
            train_to(&mut trainer, 60)
        };
        let expected = run(FloatType::F32);
        assert!(expected[59] < 0.5 * expected[0], "{expected:?}");
        for (precision, unit) in [
            (FloatType::F16, 2f64.powi(-11)),
            (FloatType::Bf16, 2f64.powi(-8)),
        ] {
            let losses = run(precision);
            // The first loss is of the same parameters: x, two weights, two results and the slope between are
            // rounded once each, and move logits, of at most 4, by that share of them.
            assert!((losses[0] - expected[0]).abs() <= 6.0 * 4.0 * unit);
            assert!(losses[59] < 0.5 * losses[0], "{precision}: {losses:?}");
        }
    }
}

#[test]
fn an_overflow_skips_the_step_halves_the_scale_and_changes_no_byte() {
    overflow_changes_no_byte(&network());
    // Not even of running statistics, which the pass had moved.
    overflow_changes_no_byte(&normalized());
}

fn overflow_changes_no_byte(network: &dyn Network) {
    let engine = gpu(options());
    let first = 2f32.powi(40);
    let options = TrainOptions {
        loss_scale: LossScale {
            first,
            ..LossScale::default()
        },
        ..settings("adam", FloatType::F16)
    };
    let mut trainer = Trainer::new(&engine, network, options, Start::Seed).expect("fits");
    let bytes = |trainer: &Trainer<'_>, file: &str| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("train");
        std::fs::create_dir_all(&folder).expect("a scratch folder");
        let saved = trainer.checkpoint().expect("downloads");
        saved
            .save(folder.join(file), &BTreeMap::new())
            .expect("writes");
        let file = lapidary::io::safetensors::SafetensorsFile::open(folder.join(file));
        let file = file.expect("reads");
        let tensors = file.tensors().iter().filter(|one| one.name != "loss_scale");
        let tensors = tensors.map(|one| (one.name.clone(), file.tensor(&one.name).expect("there")));
        tensors.collect::<Vec<NamedTensor>>()
    };
    let before = bytes(&trainer, "before.safetensors");
    assert!(
        before
            .iter()
            .any(|(name, _)| name.starts_with("optimizer."))
    );
    // Gradients of logits are about 2^40 / 16: far past 65504, until the scale is.
    trainer.step(&batch(0)).expect("a finite loss");
    let scale = *trainer.scale().expect("f16");
    assert_eq!(
        (scale.scale, scale.skipped, scale.taken),
        (first / 2.0, 1, 0)
    );
    assert_eq!(bytes(&trainer, "after.safetensors"), before);
    assert_eq!(trainer.n_steps(), 1);
    let mut skipped = 1;
    while trainer.scale().expect("f16").taken == 0 {
        trainer.step(&batch(0)).expect("a finite loss");
        skipped += 1;
        assert!(skipped < 41, "{:?}", trainer.scale());
    }
    assert_ne!(bytes(&trainer, "moved.safetensors"), before);
    let scale = trainer.scale().expect("f16");
    assert_eq!(scale.scale, first / 2f32.powi(skipped - 1));
    assert!(scale.scale > 65536.0);
}

#[test]
fn training_in_f16_resumes_in_the_middle_of_an_epoch_to_the_same_bits() {
    let network = network();
    let engine = gpu(options());
    let options = TrainOptions {
        loss_scale: LossScale {
            // The first three overflow; then the scale grows after every second good step and overflows again.
            first: 2f32.powi(23),
            rule: DynamicScale {
                interval: 2,
                ..DynamicScale::default()
            },
        },
        max_value: Some(0.2),
        ..settings("adamw", FloatType::F16)
    };
    let new = |start| Trainer::new(&engine, &network, options.clone(), start).expect("fits");
    let mut whole = new(Start::Seed);
    let losses = train_to(&mut whole, 20);
    let mut first = new(Start::Seed);
    assert_eq!(train_to(&mut first, 10), losses[..10]);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mixed-half.safetensors");
    let saved = first.checkpoint().expect("downloads");
    saved.save(&file, &BTreeMap::new()).expect("writes");
    let report = *first.scale().expect("f16");
    assert!(report.skipped > 0 && report.taken > 0, "{report:?}");
    drop(first);
    let mut second = new(Start::Checkpoint(
        Checkpoint::load(&file, &network).expect("reads"),
    ));
    assert_eq!(second.scale(), Some(&report));
    assert_eq!(train_to(&mut second, 20), losses[10..]);
    assert_eq!(
        second.checkpoint().expect("downloads"),
        whole.checkpoint().expect("downloads")
    );
    let wide = TrainOptions {
        precision: FloatType::F32,
        ..options.clone()
    };
    let saved = Checkpoint::load(&file, &network).expect("reads");
    let error = Trainer::new(&engine, &network, wide, Start::Checkpoint(saved));
    let error = error.expect_err("another precision").to_string();
    assert!(error.ends_with("precision was f16, now f32"), "{error}");
}

#[test]
fn a_step_in_micro_batches_is_the_step_of_the_whole_batch() {
    let network = network();
    let engine = gpu(options());
    let run = |micro_batches| {
        let options = TrainOptions {
            // The change of a parameter is its gradient.
            learning_rate: 1.0,
            micro_batches,
            ..settings("sgd", FloatType::F32)
        };
        let mut trainer = Trainer::new(&engine, &network, options, Start::Seed).expect("fits");
        let loss = trainer.step(&batch(0)).expect("steps");
        (loss, trainer.parameters().expect("downloads"))
    };
    let (loss, expected) = run(1);
    for parts in [2, 4, 16] {
        let (of_parts, made) = run(parts);
        assert_eq!(
            of_parts, loss,
            "losses of samples do not depend on the batch"
        );
        for ((name, a), (_, b)) in made.iter().zip(&expected) {
            let (a, b) = (a.to_f32().expect("f32"), b.to_f32().expect("f32"));
            let largest = b
                .iter()
                .fold(1.0f32, |largest, value| largest.max(value.abs()));
            for (a, b) in a.iter().zip(&b) {
                // 16 terms of at most 1/16 times an input of at most 2.5, in two orders, and the subtraction.
                let allowed = 2.0 * 17.0 * 2.5 * f32::EPSILON / 2.0 + largest * f32::EPSILON;
                assert!((a - b).abs() <= allowed, "{name}: {a} {b}");
            }
        }
    }
    let odd = TrainOptions {
        micro_batches: 3,
        ..settings("sgd", FloatType::F32)
    };
    let error = Trainer::new(&engine, &network, odd, Start::Seed).expect_err("16 in three parts");
    assert_eq!(
        error.to_string(),
        "micro-batches of a step = 3; allowed: divisors of the batch size"
    );
}

#[test]
fn what_is_not_finite_is_named_and_parameters_stay() {
    let (network, on_gpu) = (network(), gpu(options()));
    for engine in [&on_gpu as &dyn Engine, &CpuEngine::new()] {
        for precision in [FloatType::F32, FloatType::Bf16] {
            let mut parameters = network.parameters(0).expect("small");
            let mut weights = parameters[2].1.to_f32().expect("f32");
            weights[7] = f32::NAN;
            let shape = parameters[2].1.shape().to_vec();
            parameters[2].1 = HostTensor::from_f32(shape, &weights).expect("fits");
            let start = Start::Parameters(parameters);
            let options = settings("adam", precision);
            let mut trainer = Trainer::new(engine, &network, options, start).expect("fits");
            let before = trainer.checkpoint().expect("downloads");
            let error = trainer.step(&batch(0)).expect_err("a NaN weight");
            let text = error.to_string();
            assert!(
                text.contains(
                    "first not finite: parameter `3.weight`, element 7, is NaN before the step"
                ),
                "{text}"
            );
            let after = trainer.checkpoint().expect("downloads");
            let words = |saved: &Checkpoint| -> Vec<Vec<u32>> {
                saved
                    .parameters()
                    .iter()
                    .map(|(_, tensor)| tensor.words())
                    .collect()
            };
            assert_eq!(words(&before), words(&after));
        }
    }
}

#[test]
fn a_step_that_fails_leaves_no_trace_in_running_statistics_either() {
    let (network, on_gpu) = (normalized(), gpu(options()));
    for engine in [&on_gpu as &dyn Engine, &CpuEngine::new()] {
        for precision in [FloatType::F32, FloatType::Bf16] {
            let new = || {
                let settings = settings("adam", precision);
                let mut trainer =
                    Trainer::new(engine, &network, settings, Start::Seed).expect("fits");
                train_to(&mut trainer, 3);
                trainer
            };
            let (mut failed, mut whole) = (new(), new());
            let before = failed.checkpoint().expect("downloads");
            let mut bad = batch(3);
            bad.inputs[7] = f32::NAN;
            let error = failed.step(&bad).expect_err("a NaN").to_string();
            // A relu may have made 0 of it before the loss.
            assert!(error.starts_with("step 4: "), "{error}");
            assert!(error.contains("the step was not taken"), "{error}");
            let origin = "first not finite: the batch, element 7, is NaN";
            assert!(error.contains(origin), "{error}");
            assert_eq!(failed.checkpoint().expect("downloads"), before);
            assert_eq!(failed.n_steps(), 3);
            assert_eq!(train_to(&mut failed, 6), train_to(&mut whole, 6));
            assert_eq!(
                failed.checkpoint().expect("downloads"),
                whole.checkpoint().expect("downloads")
            );
        }
    }
}

/// A layer of zeros, over inputs whose first feature is `first`.
fn of_zeros(first: f32) -> (Mlp, Start, Batch) {
    let network = Mlp::new(&[6], &[], 3, Curve::Relu).expect("sizes");
    let zeros = network.parameters(0).expect("small").into_iter();
    let zeros = zeros.map(|(name, tensor)| {
        let values = vec![0.0; tensor.len()];
        let shape = tensor.shape().to_vec();
        (name, HostTensor::from_f32(shape, &values).expect("fits"))
    });
    let start = Start::Parameters(zeros.collect());
    let mut batch = batch(0);
    batch
        .inputs
        .chunks_exact_mut(6)
        .for_each(|row| row[0] = first);
    (network, start, batch)
}

#[test]
fn gradients_and_new_parameters_are_judged_where_losses_are_finite() {
    let on_gpu = gpu(options());
    for engine in [&on_gpu as &dyn Engine, &CpuEngine::new()] {
        // The first losses are ln 3. Labels are not equally many, so gradients are up to 1e30 / 16.
        let (network, start, batch) = of_zeros(1e30);
        let plain = settings("sgd", FloatType::F32);
        let mut trainer = Trainer::new(engine, &network, plain, start).expect("fits");
        let before = trainer.checkpoint().expect("downloads");
        let error = trainer.step(&batch).expect_err("squares past f32");
        let text = error.to_string();
        assert!(
            matches!(error, TrainError::GradientNotFinite { step: 1, .. }),
            "{text}"
        );
        assert!(text.contains("the sum of the squares"), "{text}");
        assert_eq!(trainer.checkpoint().expect("downloads"), before);

        let (network, start, batch) = of_zeros(1e6);
        let too_fast = TrainOptions {
            learning_rate: 1e38,
            ..settings("sgd", FloatType::F32)
        };
        let mut trainer = Trainer::new(engine, &network, too_fast, start).expect("fits");
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mixed-lost.safetensors");
        let good = trainer.checkpoint().expect("downloads");
        good.save(&file, &BTreeMap::new()).expect("finite");
        let bytes = std::fs::read(&file).expect("reads");
        let error = trainer.step(&batch).expect_err("past the range");
        let text = error.to_string();
        assert!(
            matches!(error, TrainError::ParameterNotFinite { step: 1, .. }),
            "{text}"
        );
        let origin = "first not finite: parameter `1.weight`, element 0, is";
        assert!(text.contains(origin), "{text}");
        assert!(text.contains("made by the optimizer (sgd)"), "{text}");
        // Nor is such a state kept in the place of a good one.
        let lost = trainer.checkpoint().expect("downloads");
        let error = lost.save(&file, &BTreeMap::new()).expect_err("refused");
        let text = error.to_string();
        assert!(text.contains("not written, and as it was"), "{text}");
        assert!(text.contains("`1.weight`, element 0, is"), "{text}");
        assert_eq!(std::fs::read(&file).expect("reads"), bytes);
    }
}

#[test]
fn scores_that_are_not_finite_are_traced_to_an_operation() {
    let (network, on_gpu) = (network(), gpu(options()));
    let data = loader().data().clone();
    for engine in [&on_gpu as &dyn Engine, &CpuEngine::new()] {
        let mut parameters = network.parameters(0).expect("small");
        // Five results of tanh times these: past the range in both directions.
        let shape = parameters[2].1.shape().to_vec();
        parameters[2].1 = HostTensor::from_f32(shape, &[3e38; 15]).expect("fits");
        let shape = parameters[1].1.shape().to_vec();
        parameters[1].1 = HostTensor::from_f32(shape, &[9.0; 5]).expect("fits");
        let start = Start::Parameters(parameters);
        let settings = settings("sgd", FloatType::F32);
        let trainer = Trainer::new(engine, &network, settings, start).expect("fits");
        let text = trainer.evaluate(&data).expect_err("infinite").to_string();
        let expected = "after step 0: the scores of sample 0 are not finite; first not finite: the result with `3.weight` and `3.bias`, element 0, is inf, made by";
        assert!(text.starts_with(expected), "{text}");
    }
}

/// 8 images of 16x16 in three classes.
fn images() -> Batch {
    Batch {
        inputs: values(4, 8 * 256),
        labels: (0..8).map(|row| row % 3).collect(),
        rows: (0..8).collect(),
        n_counted: 8,
    }
}

#[test]
fn segments_train_to_the_same_bits_in_less_memory() {
    let engine = gpu(options());
    let cnn = cnn(&[1, 16, 16], 3).expect("fits");
    let mobilenet = mobilenet(&[1, 16, 16], 3, 0.25).expect("fits");
    for network in [cnn, mobilenet] {
        for precision in [FloatType::F32, FloatType::F16] {
            let run = |segments| {
                let network = network.clone().with_segments(segments);
                let options = TrainOptions {
                    batch_size: 8,
                    evaluation_batch: 1,
                    ..settings("adam", precision)
                };
                let mut trainer =
                    Trainer::new(&engine, &network, options, Start::Seed).expect("fits");
                let losses: Vec<f64> = (0..3)
                    .map(|_| trainer.step(&images()).expect("steps"))
                    .collect();
                let (bytes, memory) = (trainer.intermediate_bytes(), trainer.memory());
                let saved = trainer.checkpoint().expect("downloads");
                (losses, saved, bytes, memory.activations)
            };
            let whole = run(1);
            for segments in [2, 4] {
                let parts = run(segments);
                let name = network.describe();
                println!(
                    "{name} {precision}: {} bytes of intermediates, {} in {segments} segments",
                    whole.2, parts.2
                );
                assert_eq!(parts.0, whole.0);
                assert_eq!(parts.1, whole.1);
                assert!(parts.2 < whole.2, "{} {}", parts.2, whole.2);
                assert!(parts.3 < whole.3, "{} {}", parts.3, whole.3);
            }
        }
    }
}

#[test]
fn an_exploding_learning_rate_is_stopped_where_numbers_end() {
    let network = Mlp::new(&[6], &[5], 3, Curve::Relu).expect("sizes");
    let engine = gpu(options());
    for (precision, rate) in [(FloatType::F32, 1e25), (FloatType::F16, 1e8)] {
        let options = TrainOptions {
            learning_rate: rate,
            ..settings("sgd", precision)
        };
        let mut trainer = Trainer::new(&engine, &network, options, Start::Seed).expect("fits");
        let mut error = None;
        let mut good = Vec::new();
        for step in 0..40 {
            good = trainer.parameters().expect("downloads");
            if let Err(found) = trainer.step(&batch(step)) {
                error = Some(found);
                break;
            }
        }
        let error = error.expect("no training survives this");
        let (step, origin) = match &error {
            TrainError::LossNotFinite { step, origin, .. }
            | TrainError::GradientNotFinite { step, origin } => (*step, origin),
            other => panic!("{other}"),
        };
        let origin = origin.as_ref().expect("the second pass finds it");
        println!("{precision}: {error}");
        assert!(step > 1, "{error}");
        assert!(origin.tensor.contains(".weight"), "{error}");
        // What exploded is a result, or a copy of a weight past 65504; no parameter was lost.
        assert!(
            origin.operation.is_some() || origin.tensor.contains("copy"),
            "{error}"
        );
        let kept = trainer.parameters().expect("downloads");
        assert_eq!(kept, good);
        for (_, tensor) in &kept {
            assert!(
                tensor
                    .to_f32()
                    .expect("f32")
                    .iter()
                    .all(|value| value.is_finite())
            );
        }
    }
}

#[test]
fn training_ends_early_with_the_best_parameters_and_a_checkpoint_remembers() {
    let (network, loader) = (network(), loader());
    let engine = gpu(options());
    let options = TrainOptions {
        // So high that the loss rises after some epochs.
        learning_rate: 0.6,
        plateau: Some(PlateauRule {
            patience: 0,
            factor: 0.5,
            ..PlateauRule::default()
        }),
        early_stopping: Some(EarlyStopping {
            patience: 2,
            min_delta: 0.02,
            restore_best: true,
        }),
        ..settings("adam", FloatType::F16)
    };
    let data = loader.data().clone();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mixed-early.safetensors");
    let run = |stop_after: Option<u64>, start| {
        let mut trainer = Trainer::new(&engine, &network, options.clone(), start).expect("fits");
        let fitted = fit::<TrainError>(
            &mut trainer,
            (&loader, &data),
            200,
            &mut |trainer, event| {
                let Event::Epoch(report) = event else {
                    return Ok(true);
                };
                let stops = stop_after == Some(report.epoch.into());
                if stops {
                    trainer.checkpoint()?.save(&file, &BTreeMap::new())?;
                }
                Ok(!stops)
            },
        );
        let fitted = fitted.expect("trains");
        let test = trainer.evaluate(&data).expect("runs");
        (fitted, test, trainer.parameters().expect("downloads"))
    };
    let (whole, test, parameters) = run(None, Start::Seed);
    assert!(whole.ended_early && !whole.is_stopped);
    let losses: Vec<f64> = whole.epochs.iter().map(|one| one.test.loss).collect();
    // Better by more than 0.02, until two in a row are not.
    let mut best = (0, f64::INFINITY);
    for (epoch, &loss) in losses.iter().enumerate() {
        if loss < best.1 - 0.02 {
            best = (epoch, loss);
        }
    }
    assert_eq!(losses.len(), best.0 + 3, "{losses:?}");
    assert_eq!(test.loss, best.1);

    // Between the best epoch and the last.
    let middle = best.0 as u64 + 1;
    let (first, ..) = run(Some(middle), Start::Seed);
    assert!(first.is_stopped);
    let saved = Checkpoint::load(&file, &network).expect("reads");
    let (rest, of_rest, restored) = run(None, Start::Checkpoint(saved));
    assert_eq!(rest.epochs, whole.epochs[middle as usize + 1..]);
    assert_eq!((of_rest, restored), (test, parameters));
}

#[test]
fn what_is_on_the_device_is_near_what_is_counted() {
    let sizes = Mlp::new(&[1, 28, 28], &[256, 128], 10, Curve::Relu).expect("sizes");
    let networks: [Sequential; 3] = [
        sizes.into(),
        cnn(&[1, 28, 28], 10).expect("fits"),
        // 28 pixels end in rows of 49, which 16 bits cannot store.
        mobilenet(&[1, 32, 32], 10, 0.5).expect("fits"),
    ];
    for (index, network) in networks.iter().enumerate() {
        let mut counts = Vec::new();
        for (precision, micro_batches) in [
            (FloatType::F32, 1),
            (FloatType::F16, 1),
            (FloatType::F32, 4),
        ] {
            let memory = memory_of(network, precision, micro_batches);
            let (held, needed) = (memory.device.expect("a device"), memory.needed());
            println!(
                "{}, {precision}, {micro_batches} parts: {held} held, {needed} needed, {} counted, {memory:?}",
                network.describe(),
                memory.counted()
            );
            assert!(10 * held.abs_diff(needed) <= 2 * needed, "{memory:?}");
            counts.push(memory);
        }
        assert!(counts[1].activations < counts[0].activations * 6 / 10);
        assert!(counts[2].activations * 4 <= counts[0].activations + 64);
        if index == 0 {
            for memory in counts {
                // Each of six tensors is padded to 16 bytes.
                assert!(memory.parameters.abs_diff(4 * 235_146) < 6 * 16);
                assert!(memory.state.abs_diff(8 * 235_146) < 6 * 16);
            }
        }
    }
}

/// After a step on 32 images and a pass of evaluation.
fn memory_of(network: &Sequential, precision: FloatType, micro_batches: usize) -> TrainingMemory {
    let engine = gpu(options());
    let options = TrainOptions {
        micro_batches,
        precision,
        batch_size: 32,
        evaluation_batch: 32,
        ..TrainOptions::new(Optimizer::named("adamw", Convention::PyTorch).expect("a name"))
    };
    let mut trainer = Trainer::new(&engine, network, options, Start::Seed).expect("fits");
    let batch = Batch {
        inputs: values(3, 32 * network.sample_shape().iter().product::<usize>()),
        labels: (0..32).map(|row| row % 10).collect(),
        rows: (0..32).collect(),
        n_counted: 32,
    };
    trainer.step(&batch).expect("steps");
    trainer.predictor().logits(&batch.inputs).expect("runs");
    trainer.memory()
}
