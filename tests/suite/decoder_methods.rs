//! What methods cost a language model: a small decoder, trained here on two texts, in fewer bits and with weights left
//! out. Losses are compared window by window on text it has not seen, so that an order holds with its interval.

use std::path::Path;

use lapidary::compress::deploy::Deployed;
use lapidary::compress::model::Model;
use lapidary::compress::stage::Context;
use lapidary::compress::stage::prune::{PruneAmount, PruneMethod, PruneOptions, prune};
use lapidary::compress::stage::quantize::{Method, QuantizeOptions, quantize};
use lapidary::data::{
    Dataset, Loader, LoaderOptions, Standardization, StandardizeBy, TrainTest, load_text,
};
use lapidary::engine::Engine;
use lapidary::models::llama::save_decoder;
use lapidary::models::{DecoderSizes, Network as _, decoder};
use lapidary::num::optim::{Convention, Optimizer};
use lapidary::num::schedule::Schedule;
use lapidary::ops::Routes;
use lapidary::text::byte_tokenizer;
use lapidary::train::{Start, TrainOptions, Trainer};

use crate::cli_decoder::{path, report, scratch};
use crate::support::{gpu, options};

const LENGTH: usize = 64;
const STEPS: u64 = 300;

/// Half-width of a 95% interval in standard errors.
const INTERVAL: f64 = 1.96;

fn trained(engine: &dyn Engine, data: &TrainTest) -> Model {
    let sizes = DecoderSizes {
        blocks: 2,
        width: 64,
        heads: 4,
        kv_heads: 2,
        hidden: 128,
    };
    let network = decoder(LENGTH, 256, sizes).expect("sizes");
    let settings = TrainOptions {
        learning_rate: 4e-3,
        schedule: Schedule::Polynomial {
            total: STEPS,
            power: 1.0,
            end: 0.0,
        },
        batch_size: 16,
        ..TrainOptions::new(Optimizer::named("adamw", Convention::PyTorch).expect("a name"))
    };
    let mut trainer = Trainer::new(engine, &network, settings, Start::Seed).expect("starts");
    let loader = Loader::new(data.train.clone().into(), LoaderOptions::learning(16, 0));
    let loader = loader.expect("valid");
    let mut batches = (0..).flat_map(|epoch| loader.epoch(epoch).expect("starts"));
    for _ in 0..STEPS {
        trainer
            .step(&batches.next().expect("epochs go on"))
            .expect("steps");
    }
    let inputs = Standardization::from_parts(StandardizeBy::Whole, vec![0.0], vec![1.0], LENGTH);
    let values = trainer.parameters().expect("reads");
    drop(trainer);
    Model::new(network, inputs.expect("valid"), values).expect("fits")
}

/// Logarithms of probabilities, a row for each byte of the held-out texts.
fn predictions(engine: &dyn Engine, model: &Model, test: &Dataset) -> Vec<Vec<f64>> {
    let deployed = Deployed::new(engine, model, &Routes::default()).expect("fits");
    let logits = deployed.logits(test.inputs()).expect("runs");
    let rows = logits.chunks_exact(model.network().n_classes());
    let ln = |row: &[f32]| -> Vec<f64> {
        let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
        row.iter().map(|&x| f64::from(x) - sum.ln()).collect()
    };
    rows.map(ln).collect()
}

/// The mean of each window.
fn by_window(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let all: Vec<f64> = values.collect();
    let mean = |window: &[f64]| window.iter().sum::<f64>() / window.len() as f64;
    all.chunks_exact(LENGTH).map(mean).collect()
}

/// Mean cross-entropy of each window, in nats a byte.
fn losses(found: &[Vec<f64>], test: &Dataset) -> Vec<f64> {
    let rows = found.iter().zip(test.labels());
    by_window(rows.map(|(row, &label)| -row[label as usize]))
}

/// Mean divergence of each window from what the f32 model predicts, in nats a byte: it sees a change that moves the
/// loss of single bytes either way, where that of 6 and 8 bits is lost in the mean.
fn divergences(found: &[Vec<f64>], baseline: &[Vec<f64>]) -> Vec<f64> {
    let one = |(q, p): (&Vec<f64>, &Vec<f64>)| -> f64 {
        let each = p.iter().zip(q);
        each.map(|(p, q)| p.exp() * (p - q)).sum()
    };
    by_window(found.iter().zip(baseline).map(one))
}

/// Mean of `a - b` over windows, and half of its 95% interval.
fn difference(a: &[f64], b: &[f64]) -> (f64, f64) {
    let n = a.len() as f64;
    let each: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    let mean = each.iter().sum::<f64>() / n;
    let variance = each.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, INTERVAL * (variance / n).sqrt())
}

/// The last tenths of both texts, as [`load_text`] sets them aside, and as much of what is before for calibration.
fn cut_texts(folder: &Path) -> [String; 2] {
    let (mut before, mut held_out) = (String::new(), String::new());
    for name in ["alice29.txt", "asyoulik.txt"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("data/texts")
            .join(name);
        let text = std::fs::read_to_string(file).expect("a text");
        let tenth = text.len() / 10;
        before += text.get(..tenth).expect("ASCII");
        held_out += text.get(text.len() - tenth..).expect("ASCII");
    }
    [("before.txt", before), ("held-out.txt", held_out)].map(|(name, text)| {
        std::fs::write(folder.join(name), text).expect("writes");
        path(folder, name)
    })
}

/// Bits that go to some weights and not to others cost the predictions less than if chance gave them: a share of all
/// weights at 6 bits and the rest at 4 is, in the mean over which they are, on the line between all at 4 and all at 6.
fn mixed_widths_lose_less_than_chance_would(model: &Model) {
    let folder = scratch("decoder-mixed");
    let base = path(&folder, "base");
    let (network, values) = (model.network(), model.values());
    save_decoder(&base, network, &values, &byte_tokenizer()).expect("a decoder");
    let [before, held_out] = cut_texts(&folder);
    let made = |name: &str, more: [&str; 2]| {
        let out = path(&folder, name);
        let given = [
            "quantize",
            &base,
            &out,
            "--method",
            "nearest",
            "--calibration",
            &before,
        ];
        let told = report(&[&given[..], &["--window", "64"], &more].concat());
        let weights = told["weights"].as_array().expect("weights").clone();
        let number = |value: &serde_json::Value| value.as_f64().expect("a number");
        let size = |one: &serde_json::Value| number(&one["shape"][0]) * number(&one["shape"][1]);
        let bits = weights
            .iter()
            .map(|one| size(one) * number(&one["bits_per_weight"]));
        let mean_bits = bits.sum::<f64>() / weights.iter().map(size).sum::<f64>();
        let judged = [
            "eval",
            &out,
            "--perplexity",
            &held_out,
            "--window",
            "64",
            "--base",
            &base,
        ];
        let against = report(&judged)["against"].clone();
        let found =
            ["mean_divergence", "divergence_standard_error"].map(|key| number(&against[key]));
        println!(
            "{name}: {mean_bits:.4} bits, divergence {:.6} +- {:.6}",
            found[0],
            INTERVAL * found[1]
        );
        (mean_bits, found)
    };
    let (four_bits, four) = made("four", ["--scheme", "int4-g32"]);
    let (six_bits, six) = made("six", ["--scheme", "int6-g32"]);
    for given in ["5", "6"] {
        let (bits, mixed) = made(&format!("mixed-{given}"), ["--bits", given]);
        assert!(four_bits < bits && bits <= given.parse().expect("a number"));
        let share = (bits - four_bits) / (six_bits - four_bits);
        let line = four[0] + share * (six[0] - four[0]);
        // The interval of values that do not know of each other, which is wider than that of pairs.
        let of_line = ((1.0 - share) * four[1]).hypot(share * six[1]);
        let interval = INTERVAL * of_line.hypot(mixed[1]);
        let less = line - mixed[0];
        println!("{given} bits: less than on the line by {less:.6} +- {interval:.6}");
        assert!(less > interval, "{less} {interval}");
    }
}

/// What a model says of the held-out texts, window by window.
struct Judged {
    losses: Vec<f64>,
    divergences: Vec<f64>,
}

#[test]
fn methods_come_in_their_order_on_a_language_model() {
    let engine = gpu(options());
    let texts = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/texts");
    let data = load_text(texts, LENGTH).expect("texts");
    let model = trained(&engine, &data);
    let context = Context {
        engine: &engine,
        train: &data.train,
        test: &data.test,
        seed: 0,
        watch: &|_| true,
        kept: None,
    };
    let predicted = predictions(&engine, &model, &data.test);
    let baseline = losses(&predicted, &data.test);
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    println!("baseline: {:.4} nats a byte", mean(&baseline));
    // Knowing which letters are frequent gives about 3.
    assert!(mean(&baseline) < 2.6, "{}", mean(&baseline));
    let judged = |name: &str, made: &Model| {
        let found = predictions(&engine, made, &data.test);
        let apart = divergences(&found, &predicted);
        let found = losses(&found, &data.test);
        let (more, interval) = difference(&found, &baseline);
        println!(
            "{name}: {more:+.4} +- {interval:.4}, divergence {:.6}",
            mean(&apart)
        );
        Judged {
            losses: found,
            divergences: apart,
        }
    };
    let coded = |scheme: &str, method| {
        let options = QuantizeOptions {
            method,
            ..QuantizeOptions::new(scheme.parse().expect("a scheme"))
        };
        let (made, _) = quantize(&context, &model, &options).expect("fits");
        judged(&format!("{scheme} {}", method.name()), &made)
    };
    let pruned = |amount: &str, method| {
        let amount = match amount {
            "50%" => PruneAmount::Share(0.5),
            pattern => pattern.parse().expect("a pattern"),
        };
        let options = PruneOptions::new(method, amount).expect("in range");
        let (made, _) = prune(&context, &model, &options).expect("fits");
        judged(&format!("{amount:?} {method:?}"), &made)
    };
    let int8 = coded("int8-g32", Method::Nearest);
    let int6 = coded("int6-g32", Method::Nearest);
    let int4 = coded("int4-g32", Method::Nearest);
    let int3 = coded("int3-g32", Method::Nearest);
    let int2 = coded("int2-g32", Method::Nearest);
    let int3_wide = coded("int3-g64", Method::Nearest);
    let int3_gptq = coded("int3-g32", Method::Gptq);
    let int2_gptq = coded("int2-g32", Method::Gptq);
    let half = pruned("50%", PruneMethod::Magnitude);
    let half_wanda = pruned("50%", PruneMethod::Wanda);
    let half_sparse = pruned("50%", PruneMethod::SparseGpt);
    let groups = pruned("2:4", PruneMethod::Magnitude);
    for (what, worse, better) in [
        ("4 bits lose more than 6", &int4, &int6),
        ("3 bits lose more than 4", &int3, &int4),
        ("2 bits lose more than 3", &int2, &int3),
        ("groups of 64 lose more than of 32", &int3_wide, &int3),
        (
            "3 bits to nearest lose more than by GPTQ",
            &int3,
            &int3_gptq,
        ),
        (
            "2 bits to nearest lose more than by GPTQ",
            &int2,
            &int2_gptq,
        ),
        (
            "half by magnitude loses more than by SparseGPT",
            &half,
            &half_sparse,
        ),
        ("2:4 loses more than any half by magnitude", &groups, &half),
        (
            "2:4 by magnitude loses more than a half by Wanda",
            &groups,
            &half_wanda,
        ),
    ] {
        let (more, interval) = difference(&worse.losses, &better.losses);
        println!("{what}: {more:.4} +- {interval:.4}");
        assert!(more > interval, "{what}: {more:.5} +- {interval:.5}");
    }
    for (what, worse, better) in [
        ("6 bits", &int6, &int8),
        ("4 bits", &int4, &int6),
        ("3 bits", &int3, &int4),
        ("2 bits", &int2, &int3),
    ] {
        let (more, interval) = difference(&worse.divergences, &better.divergences);
        println!("{what} diverge more than the next: {more:.6} +- {interval:.6}");
        assert!(more > interval, "{what}: {more:.7} +- {interval:.7}");
    }
    mixed_widths_lose_less_than_chance_would(&model);
}
