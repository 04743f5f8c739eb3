//! Students of a trained teacher: what they learn from, the same bits again, and labels that are few.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lapidary::autograd::{HintLoss, SoftTargets, TeacherLoss};
use lapidary::compress::deploy::Deployed;
use lapidary::compress::model::Model;
use lapidary::compress::stage::distill::{
    Cache, CacheUse, DistillOptions, Hint, Student, by_labels_alone, distill,
};
use lapidary::compress::stage::{Context, Progress, StageError};
use lapidary::data::{
    Dataset, Loader, LoaderOptions, Standardization, StandardizeBy, fashion_mnist_subset,
};
use lapidary::engine::{CpuEngine, Engine};
use lapidary::eval;
use lapidary::kernels::FloatType;
use lapidary::models::{Hinted, Network, Sequential, described, load_parameters};
use lapidary::num::optim::{Convention, Optimizer};
use lapidary::ops::Routes;
use lapidary::train::{
    Additions, Checkpoint, Start, Teacher, TeacherHint, TrainError, TrainOptions, Trainer,
};

use crate::support::{gpu, options, values};

const GO_ON: &dyn Fn(&Progress) -> bool = &|_| true;

fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("distill");
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

fn plain(features: usize) -> Standardization {
    Standardization::from_parts(StandardizeBy::Whole, vec![0.0], vec![1.0], features)
        .expect("valid")
}

fn small(text: &str, seed: u64) -> Model {
    let network = described(text, &[6], 3).expect("fits");
    let values = network.parameters(seed).expect("small");
    Model::new(network, plain(6), values).expect("fits")
}

fn context<'a>(engine: &'a dyn Engine, data: &'a Dataset, seed: u64) -> Context<'a> {
    Context {
        engine,
        train: data,
        test: data,
        seed,
        watch: GO_ON,
        kept: None,
    }
}

fn small_options() -> DistillOptions {
    DistillOptions {
        epochs: 2,
        batch_size: 16,
        learning_rate: 0.01,
        ..DistillOptions::default()
    }
}

fn training(batch_size: usize, precision: FloatType) -> TrainOptions {
    TrainOptions {
        batch_size,
        precision,
        steps_per_epoch: 3,
        learning_rate: 0.01,
        ..TrainOptions::new(Optimizer::named("adamw", Convention::PyTorch).expect("a name"))
    }
}

/// What `model` says of all samples, and the features behind a layer.
fn said(model: &Model, layer: usize) -> (Arc<[f32]>, Arc<[f32]>) {
    let (engine, data) = (CpuEngine::new(), small_data());
    let logits = |model: &Model| -> Arc<[f32]> {
        let deployed = Deployed::new(&engine, model, &Routes::default()).expect("fits");
        deployed.logits(data.inputs()).expect("runs").into()
    };
    let until = model.network().until(layer).expect("there");
    let tensors = model.tensors()[..until.tensors().len()].to_vec();
    let part = Model::of_stored(until, plain(6), tensors).expect("fits");
    (logits(model), logits(&part))
}

fn batch(epoch: u32) -> lapidary::data::Batch {
    let loader = Loader::new(small_data().into(), LoaderOptions::learning(16, 0)).expect("valid");
    loader.epoch(epoch).expect("made").next().expect("a batch")
}

#[test]
fn a_student_that_is_its_teacher_loses_nothing() {
    let model = small("mlp 5", 3);
    let (logits, features) = said(&model, 2);
    for loss in [
        TeacherLoss::Logits { hard_share: 0.0 },
        TeacherLoss::SoftTargets(SoftTargets {
            hard_share: 0.0,
            temperature: 2.0,
        }),
    ] {
        for hint in [HintLoss::Squares, HintLoss::Cosine] {
            // Without a projection features are the teacher's own.
            let network = Hinted::new(model.network().clone(), 2).expect("there");
            let engine = CpuEngine::new();
            let teacher = Teacher {
                hint: Some(TeacherHint {
                    features: Arc::clone(&features),
                    shape: vec![5],
                    loss: hint,
                    weight: 1.0,
                }),
                ..Teacher::new(Arc::clone(&logits), loss)
            };
            let start = Start::Parameters(model.values());
            let additions = Additions {
                teacher: Some(teacher),
                ..Additions::default()
            };
            let options = training(16, FloatType::F32);
            let mut trainer = Trainer::with(&engine, &network, (options, start), additions);
            let trainer = trainer.as_mut().expect("fits");
            assert_eq!(trainer.step(&batch(0)).expect("finite"), 0.0, "{hint:?}");
        }
    }
}

#[test]
fn labels_of_samples_without_one_never_count() {
    let engine = gpu(options());
    let (model, network) = (small("mlp 7", 1), small("mlp 5", 2));
    let (logits, _) = said(&model, 2);
    let step = |change: bool| {
        let teacher = Teacher {
            labelled: Some((0..48).map(|row| row % 2 == 0).collect()),
            ..Teacher::new(
                Arc::clone(&logits),
                TeacherLoss::SoftTargets(SoftTargets {
                    hard_share: 0.5,
                    temperature: 2.0,
                }),
            )
        };
        let additions = Additions {
            teacher: Some(teacher),
            ..Additions::default()
        };
        let started = (training(16, FloatType::F32), Start::Seed);
        let mut trainer =
            Trainer::with(&engine, network.network(), started, additions).expect("fits");
        let mut batch = batch(0);
        let pairs = batch.labels.iter_mut().zip(&batch.rows);
        for (label, row) in pairs.filter(|_| change) {
            *label = if row % 2 == 1 { 2 } else { *label };
        }
        let loss = trainer.step(&batch).expect("finite");
        (loss, trainer.parameters().expect("runs"))
    };
    assert_eq!(step(false), step(true));
}

#[test]
fn a_hint_resumes_from_a_checkpoint_to_the_same_bits() {
    let engine = gpu(options());
    let (model, student) = (small("mlp 8", 1), small("mlp 4", 2));
    let (logits, features) = said(&model, 2);
    let network = Hinted::projected(student.network().clone(), 2, &[8]).expect("flat");
    let additions = || Additions {
        teacher: Some(Teacher {
            hint: Some(TeacherHint {
                features: Arc::clone(&features),
                shape: vec![8],
                loss: HintLoss::Squares,
                weight: 0.5,
            }),
            ..Teacher::new(
                Arc::clone(&logits),
                TeacherLoss::Logits { hard_share: 0.25 },
            )
        }),
        ..Additions::default()
    };
    let options = || training(16, FloatType::F32);
    let mut trainer =
        Trainer::with(&engine, &network, (options(), Start::Seed), additions()).expect("fits");
    let file = scratch("hinted.safetensors");
    let before = trainer.parameters().expect("runs");
    trainer.step(&batch(0)).expect("finite");
    let checkpoint = trainer.checkpoint().expect("runs");
    checkpoint
        .save(&file, &std::collections::BTreeMap::new())
        .expect("written");
    trainer.step(&batch(1)).expect("finite");
    let expected = trainer.parameters().expect("runs");
    let start = Start::Checkpoint(Checkpoint::load(&file, &network).expect("read"));
    let mut again =
        Trainer::with(&engine, &network, (options(), start), additions()).expect("fits");
    again.step(&batch(1)).expect("finite");
    assert_eq!(again.parameters().expect("runs"), expected);
    // The projection learns.
    for name in ["hint.weight", "hint.bias"] {
        let of = |all: &[(String, _)]| all.iter().position(|one| one.0 == name).expect("there");
        let at = of(&expected);
        assert_ne!(before[at], expected[at], "{name}");
    }
    let Err(refused) = Trainer::with(
        &engine,
        student.network(),
        (options(), Start::Seed),
        additions(),
    ) else {
        panic!("a network that tells of no features");
    };
    assert!(
        matches!(refused, TrainError::NoFeatures { .. }),
        "{refused}"
    );
}

#[test]
fn the_same_seed_gives_the_same_student_and_the_cache_is_read_only_for_what_it_is_of() {
    let (engine, data) = (gpu(options()), small_data());
    let teacher = small("mlp 8", 1);
    let student: Student = described("mlp 4", &[6], 3).expect("fits").into();
    let file = scratch("outputs.safetensors");
    let _ = std::fs::remove_file(&file);
    let settings = DistillOptions {
        hint: Some(Hint {
            loss: HintLoss::Cosine,
            weight: 0.5,
            layers: None,
        }),
        labelled: Some(12),
        fine_tune_epochs: 1,
        cache: Some(Cache::new(&file)),
        ..small_options()
    };
    let run = |teacher: &Model, data: &Dataset, seed, settings: &DistillOptions| {
        distill(&context(&engine, data, seed), teacher, &student, settings).expect("trains")
    };
    let (first, log) = run(&teacher, &data, 7, &settings);
    assert_eq!(log.cache, CacheUse::Written);
    assert_eq!((log.labelled.as_slice(), log.steps), (&[4, 4, 4][..], 7));
    assert_eq!(log.hint_layers, Some([2, 2]));
    assert_eq!(first.tensors().len(), 4);
    let (second, log) = run(&teacher, &data, 7, &settings);
    assert_eq!((second, log.cache), (first.clone(), CacheUse::Read));
    assert_ne!(run(&teacher, &data, 8, &settings).0, first);
    // Another teacher, other data, a file that is cut, one that may not be large.
    let other = small("mlp 8", 2);
    assert_eq!(run(&other, &data, 7, &settings).1.cache, CacheUse::Written);
    let fewer = data.first(45).expect("there");
    assert_eq!(run(&other, &fewer, 7, &settings).1.cache, CacheUse::Written);
    assert_eq!(run(&other, &fewer, 7, &settings).1.cache, CacheUse::Read);
    let bytes = std::fs::read(&file).expect("there");
    std::fs::write(&file, &bytes[..bytes.len() / 2]).expect("written");
    assert_eq!(run(&teacher, &data, 7, &settings), {
        let (model, log) = (first.clone(), log.clone());
        let cache = CacheUse::Written;
        (
            model,
            lapidary::compress::stage::distill::DistillLog { cache, ..log },
        )
    });
    let small = DistillOptions {
        cache: Some(Cache {
            file: scratch("none.safetensors"),
            most_bytes: 100,
        }),
        ..settings.clone()
    };
    let (model, log) = run(&teacher, &data, 7, &small);
    assert_eq!((model, log.cache), (first, CacheUse::TooLarge));
    assert!(!scratch("none.safetensors").exists());
}

#[test]
fn sixteen_bits_follow_thirty_two() {
    let (engine, data) = (gpu(options()), small_data());
    let teacher = small("mlp 8", 1);
    let student: Student = described("mlp 4", &[6], 3).expect("fits").into();
    let losses = |precision, loss| {
        let settings = DistillOptions {
            precision,
            loss,
            hint: Some(Hint {
                loss: HintLoss::Squares,
                weight: 0.5,
                layers: None,
            }),
            labelled: Some(24),
            ..small_options()
        };
        let made = distill(&context(&engine, &data, 3), &teacher, &student, &settings);
        made.expect("trains").1.epochs
    };
    for loss in [
        DistillOptions::default().loss,
        TeacherLoss::Logits { hard_share: 0.25 },
    ] {
        let exact = losses(FloatType::F32, loss);
        // Activations below 4 in three layers, stored with 11 and with 8 bits.
        for (precision, unit) in [
            (FloatType::F16, 2f64.powi(-11)),
            (FloatType::Bf16, 2f64.powi(-8)),
        ] {
            for (one, wanted) in losses(precision, loss).iter().zip(&exact) {
                let off = (one.loss - wanted.loss).abs();
                assert!(off <= 16.0 * unit, "{precision}: {one:?}, {wanted:?}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_before_training() {
    let (engine, data) = (CpuEngine::new(), small_data());
    let teacher = small("mlp 8", 1);
    let refused = |network: Sequential, options: DistillOptions| {
        let made = distill(
            &context(&engine, &data, 0),
            &teacher,
            &network.into(),
            &options,
        );
        made.expect_err("refused").to_string()
    };
    let student = || described("mlp 4", &[6], 3).expect("fits");
    let other = described("mlp 4", &[6], 2).expect("fits");
    assert!(refused(other, small_options()).contains("[6] in 3, as the teacher"));
    let attention = Hint {
        loss: HintLoss::Attention,
        weight: 1.0,
        layers: None,
    };
    for (options, message) in [
        (
            DistillOptions {
                labelled: Some(2),
                ..small_options()
            },
            "samples with labels = 2; allowed: 3 to 48",
        ),
        (
            DistillOptions {
                loss: TeacherLoss::Logits { hard_share: 1.5 },
                ..small_options()
            },
            "share of the labels = 1.5; allowed: 0 to 1",
        ),
        (
            DistillOptions {
                hint: Some(attention),
                ..small_options()
            },
            "images of the same height and width",
        ),
        (
            DistillOptions {
                hint: Some(Hint {
                    loss: HintLoss::Squares,
                    weight: 1.0,
                    layers: Some([9, 2]),
                }),
                ..small_options()
            },
            "layer 9: the network has 4",
        ),
        (
            DistillOptions {
                hint: Some(Hint {
                    loss: HintLoss::Squares,
                    weight: 0.0,
                    layers: None,
                }),
                ..small_options()
            },
            "weight of the hint = 0",
        ),
    ] {
        let told = refused(student(), options);
        assert!(told.contains(message), "{told}");
    }
    let stopped = Context {
        watch: &|progress| progress.done < 3,
        kept: None,
        ..context(&engine, &data, 0)
    };
    let made = distill(&stopped, &teacher, &student().into(), &small_options());
    assert!(matches!(made, Err(StageError::Stopped { progress }) if progress.done == 3));
}

/// The network that PyTorch trained on all of Fashion-MNIST; its inputs are bytes as the share of 255.
fn torch_teacher() -> Model {
    let network = described("mlp 256-128", &[1, 28, 28], 10).expect("fits");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fmnist_mlp_f32.safetensors");
    let values = load_parameters(&network, file).expect("reference");
    Model::new(network, plain(784), values).expect("fits")
}

#[test]
fn a_teacher_makes_up_for_labels_that_are_few() {
    let (engine, data) = (gpu(options()), fashion_mnist_subset().expect("built in"));
    let train = data.train.first(6000).expect("there");
    let teacher = torch_teacher();
    let student = Student {
        inputs: Some(Standardization::fit(&train, StandardizeBy::Whole).expect("varied")),
        ..described("mlp 32", &[1, 28, 28], 10).expect("fits").into()
    };
    let settings = DistillOptions {
        labelled: Some(200),
        epochs: 10,
        ..DistillOptions::default()
    };
    let accuracy = |model: &Model| {
        let test = model.prepare(&data.test).expect("fits");
        let deployed = Deployed::new(&engine, model, &Routes::default()).expect("fits");
        let logits = deployed.logits(test.inputs()).expect("runs");
        eval::accuracy(&logits, test.labels(), 10).expect("finite")
    };
    let mut gains = Vec::new();
    for seed in 0..3 {
        let context = context(&engine, &train, seed);
        let (model, _) = distill(&context, &teacher, &student, &settings).expect("trains");
        let alone = by_labels_alone(&context, &teacher, &student, &settings).expect("trains");
        gains.push(accuracy(&model) - accuracy(&alone));
    }
    let mean = gains.iter().sum::<f64>() / gains.len() as f64;
    assert!(mean >= 0.03, "{gains:?}");
}
