//! The pruning stage on an engine: exact counts, zeros that stay through every step, masks that only lose weights,
//! and smaller networks that compute what the masked ones do.

use lapidary::compress::deploy::Deployed;
use lapidary::compress::model::{Model, Stored};
use lapidary::compress::prune::keep_units;
use lapidary::compress::stage::Context;
use lapidary::compress::stage::prune::{
    PruneAmount, PruneMethod, PruneMisfit, PruneOptions, PruneSchedule, PruneScope, PruneStorage,
    Tuning, masks_of, prune, prune_plan,
};
use lapidary::compress::stage::sensitivity::{ScanOptions, prune_sensitivity, scan};
use lapidary::compress::stage::shrink::coupling::{Units, units_of};
use lapidary::compress::stage::shrink::{
    ShrinkOptions, UnitScore, cut, remove_layer, shrink, zeroed,
};
use lapidary::data::{Dataset, Loader, LoaderOptions, Standardization, StandardizeBy};
use lapidary::engine::Engine;
use lapidary::models::{Layer, Network as _, Role, Sequential, cnn, mobilenet};
use lapidary::num::ValueFormat;
use lapidary::num::mask::{Amount, Mask, Units as Block};
use lapidary::num::optim::{Convention, Optimizer};
use lapidary::ops::Routes;
use lapidary::ops::nn::Curve;
use lapidary::tensor::HostTensor;
use lapidary::train::{Additions, Start, TrainOptions, Trainer};

use crate::support::{gpu, options, values};

/// Images of 12 by 12 whose class is the row that is bright.
fn images(n: usize) -> Dataset {
    let labels: Vec<u32> = (0..n as u32).map(|row| row % 4).collect();
    let mut inputs = values(1, 144 * n);
    for (sample, &label) in inputs.chunks_exact_mut(144).zip(&labels) {
        for pixel in &mut sample[24 * label as usize..][..24] {
            *pixel += 1.0;
        }
    }
    let names = (0..4).map(|class| class.to_string()).collect();
    Dataset::new(inputs, vec![1, 12, 12], labels, names).expect("valid")
}

fn model(network: Sequential) -> Model {
    let values = network.parameters(5).expect("small");
    let inputs = Standardization::from_parts(StandardizeBy::Whole, vec![0.0], vec![1.0], 144);
    Model::new(network, inputs.expect("valid"), values).expect("fits")
}

fn mlp() -> Model {
    let layers = vec![
        Layer::Flatten,
        Layer::linear(32),
        Layer::Activation(Curve::Relu),
        Layer::linear(16),
        Layer::Activation(Curve::Softplus),
        Layer::linear(4),
    ];
    model(Sequential::new("mlp", &[1, 12, 12], layers).expect("fits"))
}

fn with_context<T>(data: &Dataset, run: impl FnOnce(&Context<'_>) -> T) -> T {
    let engine = gpu(options());
    run(&Context {
        engine: &engine,
        train: data,
        test: data,
        seed: 3,
        watch: &|_| true,
        kept: None,
    })
}

fn logits(engine: &dyn Engine, model: &Model, data: &Dataset) -> Vec<f32> {
    let deployed = Deployed::new(engine, model, &Routes::default()).expect("fits");
    deployed.logits(data.inputs()).expect("runs")
}

fn zeros(model: &Model, name: &str) -> usize {
    let values = model.tensor(name).expect("there").values();
    let values = values.to_f32().expect("f32");
    values.iter().filter(|&&value| value == 0.0).count()
}

const WEIGHTS: [(&str, usize); 3] = [("1.weight", 4608), ("3.weight", 512), ("5.weight", 64)];

#[test]
fn every_method_drops_exactly_what_was_asked_for() {
    let data = images(64);
    let model = mlp();
    with_context(&data, |context| {
        for (name, method) in PruneMethod::NAMES {
            let options = PruneOptions {
                samples: 32,
                ..PruneOptions::new(method, PruneAmount::Share(0.75)).expect("in range")
            };
            let (pruned, log) = prune(context, &model, &options).expect("runs");
            for (layer, (weight, count)) in log.layers.iter().zip(WEIGHTS) {
                assert_eq!(layer.name, weight);
                assert_eq!(zeros(&pruned, weight), count * 3 / 4, "{name} {weight}");
                assert_eq!(layer.kept, count / 4);
                // SparseGPT changes what is left, too.
                let most = match method {
                    PruneMethod::SparseGpt => f64::INFINITY,
                    _ => 1.0,
                };
                assert!(
                    layer.weight_error > 0.0 && layer.weight_error < most,
                    "{layer:?}"
                );
            }
            assert!((log.sparsity - 0.75).abs() < 1e-12, "{log:?}");
            // Without training, what is not pruned is as it was.
            assert_eq!(pruned.tensor("3.bias"), model.tensor("3.bias"));
        }
        let global = PruneOptions {
            scope: PruneScope::Global,
            ..PruneOptions::new(PruneMethod::Magnitude, PruneAmount::Share(0.9)).expect("in range")
        };
        let (pruned, log) = prune(context, &model, &global).expect("runs");
        let all: usize = WEIGHTS.iter().map(|(name, _)| zeros(&pruned, name)).sum();
        // round(0.9 * 5184) = round(4665.6)
        assert_eq!(all, 4666);
        assert!(
            log.layers[0].sparsity > log.layers[2].sparsity,
            "wide layers have smaller weights"
        );
    });
}

#[test]
fn one_sample_is_magnitude_and_says_so_and_many_are_not() {
    let data = images(256);
    let model = mlp();
    with_context(&data, |context| {
        let made = |method, samples| {
            let options = PruneOptions {
                samples,
                ..PruneOptions::new(method, PruneAmount::Share(0.5)).expect("in range")
            };
            prune(context, &model, &options).expect("runs")
        };
        let (smallest, _) = made(PruneMethod::Magnitude, 1);
        let (few, log) = made(PruneMethod::SparseGpt, 1);
        assert_eq!(few.values(), smallest.values());
        for (name, inputs) in [("1.weight", 144), ("3.weight", 32), ("5.weight", 16)] {
            let said = format!(
                "{name}: pruned by magnitude: 1 rows of samples for {inputs} inputs, too few to judge by"
            );
            assert!(log.notes.contains(&said), "{log:?}");
        }
        // With more rows than inputs nothing is asked.
        let (many, log) = made(PruneMethod::SparseGpt, 256);
        assert!(
            log.notes.iter().all(|note| !note.contains("by magnitude")),
            "{log:?}"
        );
        assert_ne!(many.values(), smallest.values());
    });
}

#[test]
fn groups_and_blocks_are_exact_and_stored_without_their_zeros_compute_the_same() {
    let data = images(64);
    let model = mlp();
    with_context(&data, |context| {
        let block = Block {
            rows: 16,
            columns: 16,
        };
        let blocks = PruneAmount::Share(0.5).in_blocks(block).expect("a share");
        for (text, amount) in [
            ("2:4", "2:4".parse().expect("reads")),
            ("1:4x8", "1:4x8".parse().expect("reads")),
            ("delta", PruneAmount::Share(0.8)),
            ("block", blocks),
        ] {
            let mut options = PruneOptions::new(PruneMethod::Magnitude, amount).expect("in range");
            options.keep = vec!["5.*".to_owned()];
            let (dense, _) = prune(context, &model, &options).expect("runs");
            options.storage = PruneStorage::Sparse(ValueFormat::F32);
            let (sparse, log) = prune(context, &model, &options).expect("runs");
            let values = |model: &Model| model.tensor("1.weight").expect("there").values();
            assert_eq!(values(&dense), values(&sparse), "{text}");
            assert!(log.layers[0].format.starts_with(text), "{log:?}");
            assert_eq!(log.kept.len(), 1);
            assert_eq!(zeros(&sparse, "5.weight"), 0);
            if let PruneAmount::NOfM { keep, group, .. } = amount {
                let weight = values(&dense).to_f32().expect("f32");
                for group in weight.chunks_exact(group) {
                    assert_eq!(group.iter().filter(|&&one| one != 0.0).count(), keep);
                }
            }
            let [before, after] = [&dense, &sparse].map(|one| logits(context.engine, one, &data));
            let off = before.iter().zip(&after).map(|(a, b)| (a - b).abs());
            assert!(
                off.fold(0.0, f32::max) < 1e-4,
                "{text}: sums in another order"
            );
            let half = PruneOptions {
                storage: PruneStorage::Sparse(ValueFormat::F16),
                ..options
            };
            let (half, _) = prune(context, &model, &half).expect("runs");
            assert!(
                half.bytes() < sparse.bytes() && sparse.bytes() < model.bytes(),
                "{text}"
            );
        }
    });
}

/// The weights that a mask drops, as they are in training.
fn dropped(trainer: &Trainer<'_>, name: &str, mask: &Mask) -> Vec<f32> {
    let values = trainer.parameters().expect("there");
    let (_, value) = values.iter().find(|(one, _)| one == name).expect("there");
    let weights = value.to_f32().expect("f32").into_iter().enumerate();
    let k = mask.k();
    weights
        .filter(|(index, _)| !mask.keeps(index / k, index % k))
        .map(|(_, weight)| weight)
        .collect()
}

#[test]
fn pruned_weights_are_zero_after_every_step_whatever_the_optimizer_remembers() {
    let data = images(64);
    let engine = gpu(options());
    let model = mlp();
    let network = model.network();
    let loader = Loader::new(data.into(), LoaderOptions::learning(32, 1)).expect("fits");
    for optimizer in ["momentum", "nesterov", "adam", "adamw"] {
        let optimizer = Optimizer::named(optimizer, Convention::PyTorch).expect("a name");
        let training = TrainOptions {
            batch_size: 32,
            steps_per_epoch: 2,
            ..TrainOptions::new(optimizer)
        };
        let name = "1.weight".to_owned();
        let full = Mask::from_fn(32, 144, |_, _| true);
        let additions = Additions {
            masks: vec![(name.clone(), full)],
            teacher: None,
        };
        let start = Start::Parameters(model.values());
        let mut trainer =
            Trainer::with(&engine, network, (training, start), additions).expect("fits");
        // Steps first, so that the optimizer has a state of what is dropped later.
        for batch in loader.epoch(0).expect("two batches") {
            trainer.step(&batch).expect("runs");
        }
        for (epoch, period) in [(1, 2), (2, 4)] {
            let mask = Mask::from_fn(32, 144, |row, column| (row + column) % period == 0);
            trainer
                .set_masks(&[(name.clone(), mask.clone())])
                .expect("fits");
            for batch in loader.epoch(epoch).expect("two batches") {
                trainer.step(&batch).expect("runs");
                let dropped = dropped(&trainer, &name, &mask);
                assert!(
                    dropped.iter().all(|weight| weight.to_bits() == 0),
                    "{optimizer:?}"
                );
            }
        }
    }
}

#[test]
fn gradual_pruning_loses_weights_only_and_ends_where_it_was_told() {
    let data = images(96);
    let model = mlp();
    with_context(&data, |context| {
        for (amount, method) in [
            (PruneAmount::Share(0.8), PruneMethod::Magnitude),
            ("2:4".parse().expect("reads"), PruneMethod::Magnitude),
            (PruneAmount::Share(0.8), PruneMethod::Taylor),
        ] {
            let options = PruneOptions {
                schedule: PruneSchedule::Gradual {
                    epochs: 2,
                    prunings: 4,
                },
                tuning: Tuning {
                    batch_size: 16,
                    optimizer: Optimizer::named("adam", Convention::PyTorch).expect("a name"),
                    ..Tuning::epochs(2).expect("in range")
                },
                samples: 32,
                ..PruneOptions::new(method, amount).expect("in range")
            };
            let (pruned, log) = prune(context, &model, &options).expect("runs");
            // 12 steps of pruning, every third.
            let steps: Vec<u64> = log.prunings.iter().map(|one| one.step).collect();
            assert_eq!(steps, [3, 6, 9, 12]);
            assert!(log.prunings.is_sorted_by(|a, b| a.sparsity <= b.sparsity));
            assert_eq!(log.losses.len(), 4);
            for (layer, (weight, count)) in log.layers.iter().zip(WEIGHTS) {
                let share = amount.share();
                let gone = (share * count as f64).round_ties_even() as usize;
                assert_eq!(layer.kept, count - gone);
                assert_eq!(zeros(&pruned, weight), gone, "{weight}");
            }
            let again = prune(context, &model, &options).expect("runs").0;
            assert_eq!(again, pruned, "the same seed gives the same bits");
            // What is pruned stays pruned when it is pruned further.
            let first = masks_of(&pruned).expect("f32");
            let further = PruneOptions::new(PruneMethod::Magnitude, PruneAmount::Share(0.9));
            let further = prune(context, &pruned, &further.expect("in range"));
            let second = masks_of(&further.expect("runs").0).expect("f32");
            for ((_, second), (_, first)) in second.iter().zip(&first) {
                assert_eq!(second.is_subset_of(first), Ok(true));
            }
        }
    });
}

#[test]
fn convolutions_run_without_their_zeros_and_are_judged_by_their_inputs() {
    let data = images(32);
    let network = mobilenet(&[1, 12, 12], 4, 0.25).expect("fits");
    let model = model(network);
    with_context(&data, |context| {
        for (_, method) in PruneMethod::NAMES {
            let options = PruneOptions {
                storage: PruneStorage::Sparse(ValueFormat::F32),
                samples: 16,
                ..PruneOptions::new(method, "2:4".parse().expect("reads")).expect("in range")
            };
            let (sparse, log) = prune(context, &model, &options).expect("runs");
            assert!(
                log.layers.iter().all(|one| one.format == "2:4 f32"),
                "{log:?}"
            );
            assert!(log.layers.iter().all(|one| one.sparsity == 0.5), "{log:?}");
            let values = sparse.values();
            let (network, inputs) = (sparse.network().clone(), sparse.inputs().clone());
            let dense = Model::new(network, inputs, values).expect("fits");
            let [a, b] = [&dense, &sparse].map(|one| logits(context.engine, one, &data));
            let off = a.iter().zip(&b).map(|(a, b)| (a - b).abs());
            assert!(off.fold(0.0, f32::max) < 1e-4, "sums in another order");
        }
    });
}

#[test]
fn a_stage_stops_when_it_is_told_to_and_refuses_what_does_not_fit() {
    let data = images(32);
    let model = model(mobilenet(&[1, 12, 12], 4, 0.25).expect("fits"));
    let two_four: PruneAmount = "2:4".parse().expect("reads");
    let mut options = PruneOptions::new(PruneMethod::Magnitude, two_four).expect("in range");
    let plan = prune_plan(&model, &options).expect("fits");
    // 3x3 kernels of one channel: 9 weights.
    assert_eq!((plan.targets.len(), plan.kept.len()), (6, 6));
    assert!(plan.kept[0].1.contains("9 weights"), "{:?}", plan.kept);
    options.misfit = PruneMisfit::Error;
    assert!(
        prune_plan(&model, &options)
            .unwrap_err()
            .to_string()
            .contains("0.weight")
    );
    options.keep = vec!["no*".to_owned()];
    let refused = prune_plan(&model, &options).unwrap_err().to_string();
    assert!(refused.contains("keep = no*"), "{refused}");
    options.keep = vec!["*".to_owned()];
    assert!(prune_plan(&model, &options).is_err(), "nothing left");
    let engine = gpu(crate::support::options());
    let context = Context {
        engine: &engine,
        train: &data,
        test: &data,
        seed: 0,
        watch: &|progress| progress.done == 0,
        kept: None,
    };
    let tuned = PruneOptions {
        tuning: Tuning::epochs(1).expect("in range"),
        ..PruneOptions::new(PruneMethod::Magnitude, PruneAmount::Share(0.5)).expect("in range")
    };
    let stopped = prune(&context, &model, &tuned).unwrap_err().to_string();
    assert!(
        stopped.starts_with("stopped in prune at epoch 1 of 1"),
        "{stopped}"
    );
}

#[test]
fn layers_and_epochs_that_were_kept_are_not_done_again() {
    let data = images(64);
    let model = mlp();
    let options = PruneOptions {
        samples: 32,
        tuning: Tuning {
            batch_size: 16,
            ..Tuning::epochs(3).expect("in range")
        },
        ..PruneOptions::new(PruneMethod::SparseGpt, PruneAmount::Share(0.5)).expect("in range")
    };
    let folder = tempfile::tempdir().expect("a folder");
    with_context(&data, |whole| {
        let (expected, log) = prune(whole, &model, &options).expect("runs");
        let told = std::cell::RefCell::new(Vec::new());
        let until = |last: &'static str| {
            let told = &told;
            move |progress: &lapidary::compress::stage::Progress| {
                told.borrow_mut().push(progress.what.clone());
                !progress.what.starts_with(last)
            }
        };
        for last in ["sparsegpt 3.weight", "epoch 2 of 3"] {
            let stopping = Context {
                watch: &until(last),
                kept: Some(folder.path()),
                ..*whole
            };
            assert!(prune(&stopping, &model, &options).is_err(), "{last}");
        }
        told.borrow_mut().clear();
        let going_on = Context {
            watch: &until("nothing"),
            kept: Some(folder.path()),
            ..*whole
        };
        assert_eq!(
            prune(&going_on, &model, &options).expect("runs"),
            (expected, log)
        );
        let told = told.take();
        assert!(
            told.contains(&"going on after epoch 1".to_owned()),
            "{told:?}"
        );
        let again = |one: &String| one.starts_with("sparsegpt") || one.starts_with("epoch 1 ");
        assert!(!told.iter().any(again), "{told:?}");
    });
}

/// A model whose normalizations have statistics that matter.
fn worn(network: Sequential) -> Model {
    let mut model = model(network);
    for spec in model.network().tensors() {
        if spec.shape.len() == 1 || spec.role == Role::Statistics {
            let count = spec.shape.iter().product();
            let made: Vec<f32> = values(7, count)
                .iter()
                .map(|value| 1.0 + 0.5 * value)
                .collect();
            let made = HostTensor::from_f32(spec.shape.clone(), &made).expect("fits");
            model.set(&spec.name, Stored::Float(made)).expect("there");
        }
    }
    model
}

#[test]
fn a_network_without_units_computes_what_the_one_with_these_units_at_zero_does() {
    let data = images(16);
    let engine = gpu(options());
    let networks = [
        mlp().network().clone(),
        cnn(&[1, 12, 12], 4).expect("fits"),
        mobilenet(&[1, 12, 12], 4, 0.25).expect("fits"),
    ];
    for network in networks {
        let original = worn(network);
        let (mut small, mut masked) = (original.clone(), original.clone());
        let mut n_cut = 0;
        for layer in 0..original.network().layers().len() {
            let Ok(units): Result<Units, String> = units_of(original.network(), layer) else {
                continue;
            };
            let scores = values(layer as u64, units.count);
            let kept = keep_units("units", &scores, Amount::Sparsity(0.4)).expect("in range");
            small = cut(&small, &units, &kept).expect("fits");
            masked = zeroed(&masked, &units, &kept).expect("fits");
            n_cut += 1;
        }
        assert!(n_cut >= 2);
        let [small_logits, masked_logits] =
            [&small, &masked].map(|one| logits(&engine, one, &data));
        let largest = masked_logits
            .iter()
            .fold(0f32, |most, one| most.max(one.abs()));
        for (a, b) in small_logits.iter().zip(&masked_logits) {
            // Other orders of at most a thousand f32 terms.
            assert!(
                (a - b).abs() <= 1e-5 * largest.max(1.0),
                "{a} {b} {largest}"
            );
        }
        let name = small.network().describe();
        assert_ne!(masked_logits, logits(&engine, &original, &data), "{name}");
        assert!(small.bytes() < original.bytes() * 3 / 4, "{name}");
        let cost = |model: &Model| -> u64 {
            let layers = model.network().summary();
            layers.iter().map(|one| one.multiply_adds).sum()
        };
        assert!(cost(&small) < cost(&original) * 3 / 4, "{name}");
    }
}

#[test]
fn shrinking_counts_what_it_cut_and_trains_what_is_left() {
    let data = images(64);
    let original = worn(mobilenet(&[1, 12, 12], 4, 0.25).expect("fits"));
    with_context(&data, |context| {
        for score in [UnitScore::L1, UnitScore::L2, UnitScore::Taylor] {
            // The fourth block keeps 32 channels: 9 and 12 of layers 0 to 2 and 6 a block.
            let options = ShrinkOptions {
                score,
                samples: 32,
                keep: vec!["0.weight".to_owned()],
                tuning: Tuning {
                    batch_size: 32,
                    ..Tuning::epochs(1).expect("in range")
                },
                ..ShrinkOptions::new(0.5).expect("in range")
            };
            let (small, log) = shrink(context, &original, &options).expect("runs");
            assert_eq!(log.cut.len(), 5, "{log:?}");
            assert!(
                log.cut
                    .iter()
                    .all(|(_, [before, after])| 2 * after == *before)
            );
            assert_eq!(log.losses.len(), 1);
            assert!(
                log.multiply_adds[1] < log.multiply_adds[0] * 2 / 3,
                "{log:?}"
            );
            assert_eq!(log.bytes, [original.bytes(), small.bytes()]);
            assert_eq!(log.parameters[1], small.n_parameters());
            assert!(
                log.kept
                    .iter()
                    .any(|(name, why)| name == "0.weight" && why.contains("matches"))
            );
        }
        // The pointwise convolution of the third block keeps 32 channels of 6x6.
        let shallow = remove_layer(&original, 18).expect("keeps its shape");
        assert_eq!(shallow.network().layers()[18..20], [Layer::Identity; 2]);
        assert!(shallow.bytes() < original.bytes());
        assert!(
            logits(context.engine, &shallow, &data)
                .iter()
                .all(|one| one.is_finite())
        );
        let refused = remove_layer(&original, 12).unwrap_err().to_string();
        assert!(refused.contains("keeps the shape"), "{refused}");
        assert!(remove_layer(&original, 99).is_err());
        assert!(ShrinkOptions::new(1.0).is_err());
    });
}

#[test]
fn a_scan_changes_one_layer_at_a_time_and_ranks_them() {
    let data = images(96);
    let trained = PruneOptions {
        tuning: Tuning {
            batch_size: 16,
            ..Tuning::epochs(6).expect("in range")
        },
        ..PruneOptions::new(PruneMethod::Magnitude, PruneAmount::Share(0.0)).expect("in range")
    };
    with_context(&data, |context| {
        let (model, log) = prune(context, &mlp(), &trained).expect("runs");
        assert!(log.losses[5] < log.losses[0], "{:?}", log.losses);
        let scanned = ScanOptions {
            validation_share: 0.25,
            samples: 20,
        };
        let amounts = [0.0, 0.5, 0.98].map(PruneAmount::Share);
        let found = prune_sensitivity(context, &model, &amounts, &scanned).expect("runs");
        assert_eq!((found.samples, found.changes.len()), (20, 9));
        for changes in found.changes.chunks(3) {
            assert_eq!(changes[0].judged, found.baseline, "nothing was pruned");
            assert!(changes.iter().all(|one| one.layer == changes[0].layer));
            assert!(changes[2].judged.loss > found.baseline.loss, "{changes:?}");
        }
        let ranking = found.ranking();
        assert_eq!(ranking.len(), 3);
        assert!(ranking.is_sorted_by(|a, b| a.1 >= b.1));
        // Any other change, here one that does nothing.
        let same = |model: &Model, _: &str, _: usize| Ok(model.clone());
        let layers = ["1.weight".to_owned()];
        let none = scan(context, &model, &scanned, (&layers, &layers, &same)).expect("runs");
        assert_eq!(none.changes[0].drop, 0.0);
    });
}
