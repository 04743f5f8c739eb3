//! Decoders that are trained here: the same logits as the decoder that runs files, training that learns, and
//! compression by the stages that other networks have.

use std::path::{Path, PathBuf};

use lapidary::data::{Dataset, Loader, LoaderOptions, load_text};
use lapidary::engine::{CpuEngine, Engine};
use lapidary::generate::{LanguageModel, Session, SessionOptions};
use lapidary::models::llama::save_decoder;
use lapidary::models::{DecoderSizes, Network as _, Sequential, decoder};
use lapidary::num::optim::{Convention, Optimizer};
use lapidary::tensor::HostTensor;
use lapidary::text::byte_tokenizer;
use lapidary::train::{Placed, Predictor, Start, TrainOptions, Trainer};

use crate::support::{gpu, options};

const LENGTH: usize = 24;

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("decoder")
        .join(name)
}

fn texts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/texts")
}

fn small() -> Sequential {
    let sizes = DecoderSizes {
        blocks: 2,
        width: 32,
        heads: 4,
        kv_heads: 2,
        hidden: 48,
    };
    decoder(LENGTH, 256, sizes).expect("sizes")
}

fn logits(engine: &dyn Engine, network: &Sequential, tokens: &[u32]) -> Vec<f32> {
    let mut uploads = lapidary::record::Recording::new();
    let values = network.parameters(7).expect("small");
    let placed = values
        .iter()
        .map(|(_, value)| Placed::Dense(uploads.upload(value)));
    let placed: Vec<Placed> = placed.collect();
    engine.run(&uploads).expect("uploads");
    let predictor = Predictor::of_placed(engine, network, &placed, 2).expect("prepares");
    let inputs: Vec<f32> = tokens.iter().map(|&token| token as f32).collect();
    predictor.logits(&inputs).expect("runs")
}

/// Both compute the same sums in f32 in other orders; the longest has 48 terms over two blocks, values stay below 4.
const ALLOWED: f32 = 2e-5;

#[test]
fn a_decoder_in_training_is_the_one_that_its_folder_runs() {
    let (network, folder) = (small(), scratch("folder"));
    let values = network.parameters(7).expect("small");
    save_decoder(&folder, &network, &values, &byte_tokenizer()).expect("written");
    let text = "Alice was beginning to g";
    for engine in [&gpu(options()) as &dyn Engine, &CpuEngine::new()] {
        let model = LanguageModel::open(engine, &folder, LENGTH).expect("opens");
        let tokens = model.tokens(text).expect("bytes");
        assert_eq!(tokens.len(), LENGTH);
        let trained = logits(engine, &network, &tokens);
        assert_eq!(trained.len(), LENGTH * 256);
        let mut session =
            Session::new(engine, &model.llama, SessionOptions::default()).expect("starts");
        for (at, token) in tokens.iter().enumerate() {
            let run = session.feed_for_logits(&[*token]).expect("feeds");
            let expected = &trained[at * 256..][..256];
            let worst = run.iter().zip(expected).map(|(a, b)| (a - b).abs());
            let worst = worst.fold(0.0, f32::max);
            assert!(worst <= ALLOWED, "token {at}: {worst}");
        }
    }
}

fn training(precision: lapidary::kernels::FloatType) -> (f64, f64) {
    let (network, engine) = (small(), gpu(options()));
    let data = load_text(texts(), LENGTH).expect("texts").train;
    let data: Dataset = data.first(256).expect("longer");
    let settings = TrainOptions {
        learning_rate: 5e-3,
        batch_size: 16,
        micro_batches: 2,
        steps_per_epoch: 16,
        precision,
        ..TrainOptions::new(Optimizer::named("adamw", Convention::PyTorch).expect("a name"))
    };
    let mut trainer = Trainer::new(&engine, &network, settings, Start::Seed).expect("starts");
    let before = trainer.evaluate(&data).expect("judges").loss;
    let loader = Loader::new(data.clone().into(), LoaderOptions::learning(16, 0)).expect("valid");
    for epoch in 0..2 {
        for batch in loader.epoch(epoch).expect("starts") {
            trainer.step(&batch).expect("steps");
        }
    }
    (before, trainer.evaluate(&data).expect("judges").loss)
}

#[test]
fn a_decoder_learns_which_bytes_follow_each_other() {
    for precision in [
        lapidary::kernels::FloatType::F32,
        lapidary::kernels::FloatType::F16,
    ] {
        let (before, after) = training(precision);
        // Nothing is known at first: ln 256, and half the variance of logits, which a uniform head on normed rows
        // makes a third. Single letters of English with spaces have about 2.9 nats; two epochs of 6 KB come near.
        let expected = 256f64.ln() + 1.0 / 6.0;
        assert!((before - expected).abs() < 1.0 / 6.0, "{before}");
        assert!(after < 3.2, "{after}");
    }
}

#[test]
fn tokens_past_the_vocabulary_are_refused_by_place() {
    let network = small();
    let engine = CpuEngine::new();
    let mut tokens = [1u32; 2 * LENGTH];
    tokens[LENGTH + 3] = 256;
    let mut uploads = lapidary::record::Recording::new();
    let values = network.parameters(0).expect("small");
    let placed: Vec<Placed> = values
        .iter()
        .map(|(_, value)| Placed::Dense(uploads.upload(value)))
        .collect();
    engine.run(&uploads).expect("uploads");
    let predictor = Predictor::of_placed(&engine, &network, &placed, 1).expect("prepares");
    let inputs: Vec<f32> = tokens.iter().map(|&token| token as f32).collect();
    let refused = predictor.logits(&inputs).expect_err("no such token");
    assert_eq!(refused.to_string(), "tokens[3] is 256, allowed: 0 to 255");
    let wrong = HostTensor::from_f32(vec![1], &[0.0]).expect("one");
    let refused = save_decoder(
        scratch("none"),
        &network,
        &[("0.weight".to_owned(), wrong)],
        "",
    );
    assert!(refused.is_err());
}
