//! Encoders: vectors against a plain f64 forward pass, independence of what shares a batch, weights in other formats,
//! compression with calibration, and the command `embed`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lapidary::compress::prune::{SparseGpt, Sparsity};
use lapidary::compress::quantize::{Gptq, Linear, Width};
use lapidary::compress::transformer::{BertInputs, Method, compress_bert};
use lapidary::embed::{Embedder, EncoderFolder, Sentence, verify};
use lapidary::engine::{CpuEngine, Engine};
use lapidary::io::safetensors::{SafetensorsFile, write_safetensors};
use lapidary::kernels::sparse::Route;
use lapidary::models::{BertLinear, bert_tensor};
use lapidary::num::Granularity;
use lapidary::num::erf::normal_distribution;
use lapidary::tensor::HostTensor;

use crate::support::{gpu, options, values};

const WORDS: [&str; 10] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "stone", "cuts", "glass", "and", "light", "is",
];
const WIDTH: usize = 32;
const FFN: usize = 64;
const HEADS: usize = 4;
const LAYERS: usize = 2;
const CONTEXT: usize = 12;
const EPSILON: f64 = 1e-12;

/// A folder with a small encoder without training.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a scratch folder");
    let config = serde_json::json!({
        "model_type": "bert", "hidden_act": "gelu", "hidden_size": WIDTH, "num_attention_heads": HEADS,
        "intermediate_size": FFN, "num_hidden_layers": LAYERS, "vocab_size": WORDS.len(),
        "layer_norm_eps": EPSILON, "max_position_embeddings": CONTEXT,
    });
    let special = |id: usize| {
        serde_json::json!({
            "id": id, "content": WORDS[id], "special": true, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false,
        })
    };
    let vocabulary: BTreeMap<&str, usize> = WORDS.iter().copied().zip(0..).collect();
    let tokenizer = serde_json::json!({
        "version": "1.0",
        "added_tokens": (0..4).map(special).collect::<Vec<_>>(),
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary,
        },
    });
    fs::write(folder.join("config.json"), config.to_string()).expect("writes");
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).expect("writes");
    let mut shapes = vec![
        (
            "embeddings.word_embeddings.weight".to_owned(),
            vec![WORDS.len(), WIDTH],
        ),
        (
            "embeddings.position_embeddings.weight".to_owned(),
            vec![CONTEXT, WIDTH],
        ),
        (
            "embeddings.token_type_embeddings.weight".to_owned(),
            vec![2, WIDTH],
        ),
    ];
    let mut norms = vec!["embeddings.LayerNorm".to_owned()];
    for layer in 0..LAYERS {
        norms.push(format!("encoder.layer.{layer}.attention.output.LayerNorm"));
        norms.push(format!("encoder.layer.{layer}.output.LayerNorm"));
        for which in BertLinear::ALL {
            let [n, k] = match which {
                BertLinear::Up => [FFN, WIDTH],
                BertLinear::Down => [WIDTH, FFN],
                _ => [WIDTH, WIDTH],
            };
            shapes.push((format!("{}.weight", which.name(layer)), vec![n, k]));
            shapes.push((format!("{}.bias", which.name(layer)), vec![n]));
        }
    }
    for norm in norms {
        shapes.push((format!("{norm}.weight"), vec![WIDTH]));
        shapes.push((format!("{norm}.bias"), vec![WIDTH]));
    }
    let tensor = |(seed, (name, shape)): (usize, (String, Vec<usize>))| {
        let len = shape.iter().product();
        let mut content = values(seed as u64, len);
        if name.ends_with("LayerNorm.weight") {
            content.iter_mut().for_each(|x| *x = 1.0 + 0.3 * *x);
        }
        (name, HostTensor::from_f32(shape, &content).expect("fits"))
    };
    let tensors: Vec<_> = shapes.into_iter().enumerate().map(tensor).collect();
    write_safetensors(folder.join("model.safetensors"), &tensors, &BTreeMap::new())
        .expect("writes");
    folder
}

fn encode(folder: &EncoderFolder, texts: &[&str]) -> Vec<Vec<u32>> {
    let tokens = |text: &&str| Sentence::new(&folder.tokenizer, text, CONTEXT).expect("tokens");
    texts.iter().map(|text| tokens(text).tokens).collect()
}

fn embed(engine: &dyn Engine, folder: &EncoderFolder, sentences: &[Vec<u32>]) -> Vec<f32> {
    let bert = folder.upload(engine).expect("uploads");
    Embedder::new(engine, bert)
        .embed(sentences, &mut |_| true)
        .expect("runs")
}

pub const TEXTS: [&str; 5] = [
    "stone",
    "light cuts glass",
    "stone cuts glass and light cuts stone",
    "",
    "glass is light and stone is glass and light is light",
];

/// The definition, one sentence at a time.
struct Plain<'a>(&'a EncoderFolder);

impl Plain<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Vec<f64> {
        let tensor = bert_tensor(&self.0.weights, name, shape).expect("there");
        let values = tensor.to_f32().expect("f32");
        values.into_iter().map(f64::from).collect()
    }

    fn linear(&self, layer: usize, which: BertLinear, x: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let ([n, k], name) = (which.shape(&self.0.config), which.name(layer));
        let weight = self.tensor(&format!("{name}.weight"), &[n, k]);
        let bias = self.tensor(&format!("{name}.bias"), &[n]);
        let one = |x: &Vec<f64>| {
            let rows = weight.chunks_exact(k).zip(&bias);
            rows.map(|(row, bias)| dot(row, x) + bias).collect()
        };
        x.iter().map(one).collect()
    }

    fn norm(&self, name: &str, x: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let gamma = self.tensor(&format!("{name}.weight"), &[WIDTH]);
        let beta = self.tensor(&format!("{name}.bias"), &[WIDTH]);
        let one = |x: &Vec<f64>| {
            let mean = x.iter().sum::<f64>() / WIDTH as f64;
            let centred: Vec<f64> = x.iter().map(|x| x - mean).collect();
            let scale = (dot(&centred, &centred) / WIDTH as f64 + EPSILON).sqrt();
            let scaled = centred.iter().zip(gamma.iter().zip(&beta));
            scaled
                .map(|(x, (gamma, beta))| x / scale * gamma + beta)
                .collect()
        };
        x.iter().map(one).collect()
    }

    fn embed(&self, tokens: &[u32]) -> Vec<f64> {
        let words = self.tensor("embeddings.word_embeddings.weight", &[WORDS.len(), WIDTH]);
        let places = self.tensor("embeddings.position_embeddings.weight", &[CONTEXT, WIDTH]);
        let kinds = self.tensor("embeddings.token_type_embeddings.weight", &[2, WIDTH]);
        let first = |(place, &token): (usize, &u32)| {
            let at = |column: usize| {
                words[token as usize * WIDTH + column]
                    + places[place * WIDTH + column]
                    + kinds[column]
            };
            (0..WIDTH).map(at).collect()
        };
        let hidden: Vec<Vec<f64>> = tokens.iter().enumerate().map(first).collect();
        let mut hidden = self.norm("embeddings.LayerNorm", &hidden);
        for layer in 0..LAYERS {
            let name = format!("encoder.layer.{layer}");
            let [q, k, v] = [BertLinear::Query, BertLinear::Key, BertLinear::Value]
                .map(|which| self.linear(layer, which, &hidden));
            let attended = attention(&q, &k, &v);
            let sum = add(
                &self.linear(layer, BertLinear::AttentionOutput, &attended),
                &hidden,
            );
            let between = self.norm(&format!("{name}.attention.output.LayerNorm"), &sum);
            let mut wide = self.linear(layer, BertLinear::Up, &between);
            for x in wide.iter_mut().flatten() {
                *x *= normal_distribution(*x);
            }
            let sum = add(&self.linear(layer, BertLinear::Down, &wide), &between);
            hidden = self.norm(&format!("{name}.output.LayerNorm"), &sum);
        }
        let mean: Vec<f64> = (0..WIDTH)
            .map(|column| hidden.iter().map(|row| row[column]).sum::<f64>() / hidden.len() as f64)
            .collect();
        let length = dot(&mean, &mean).sqrt();
        mean.iter().map(|x| x / length).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(a: &[Vec<f64>], b: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let row = |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(|(a, b)| a + b).collect();
    a.iter().zip(b).map(row).collect()
}

fn attention(q: &[Vec<f64>], k: &[Vec<f64>], v: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let dim = WIDTH / HEADS;
    let mut made = vec![vec![0.0; WIDTH]; q.len()];
    for head in 0..HEADS {
        let part = head * dim..(head + 1) * dim;
        for (q, made) in q.iter().zip(&mut made) {
            let score =
                |k: &Vec<f64>| dot(&q[part.clone()], &k[part.clone()]) / (dim as f64).sqrt();
            let shares: Vec<f64> = k.iter().map(|k| score(k).exp()).collect();
            let whole: f64 = shares.iter().sum();
            for (share, v) in shares.iter().zip(v) {
                for column in part.clone() {
                    made[column] += share / whole * v[column];
                }
            }
        }
    }
    made
}

#[test]
fn vectors_are_those_of_the_definition_on_both_engines() {
    let folder = EncoderFolder::open(folder("bert-definition")).expect("opens");
    let sentences = encode(&folder, &TEXTS);
    assert_eq!(sentences[1], [2, 8, 5, 6, 3]);
    assert_eq!(sentences[4].len(), CONTEXT, "cut");
    let (gpu, cpu) = (gpu(options()), CpuEngine::new());
    for engine in [&gpu as &dyn Engine, &cpu] {
        let vectors = embed(engine, &folder, &sentences);
        for (sentence, vector) in sentences.iter().zip(vectors.chunks_exact(WIDTH)) {
            for (&got, expected) in vector.iter().zip(Plain(&folder).embed(sentence)) {
                let error = (f64::from(got) - expected).abs();
                assert!(error <= 1e-5, "{}: {got} and {expected}", engine.name());
            }
        }
    }
}

#[test]
fn a_vector_does_not_depend_on_what_shares_its_batch() {
    let folder = EncoderFolder::open(folder("bert-batches")).expect("opens");
    let sentences = encode(&folder, &TEXTS);
    let engine = gpu(options());
    let together = embed(&engine, &folder, &sentences);
    let bert = folder.upload(&engine).expect("uploads");
    let mut embedder = Embedder::new(&engine, bert);
    for (sentence, expected) in sentences.iter().zip(together.chunks_exact(WIDTH)) {
        let alone = embedder.embed(std::slice::from_ref(sentence), &mut |_| true);
        for (alone, expected) in alone.expect("runs").iter().zip(expected) {
            assert!((alone - expected).abs() <= 1e-6, "{alone} and {expected}");
        }
    }
    let refused = embedder.embed(&[vec![2, 10, 3]], &mut |_| true);
    let said = refused.expect_err("no such token").to_string();
    assert_eq!(said, "sentence 0, token 1 is 10; allowed: below 10");
    let stopped = embedder.embed(&sentences, &mut |_| false);
    let said = stopped.expect_err("stopped").to_string();
    assert!(said.starts_with("stopped after "), "{said}");
}

#[test]
fn every_operation_of_a_pass_is_within_its_bound() {
    let folder = EncoderFolder::open(folder("bert-verify")).expect("opens");
    let engine = gpu(options());
    let bert = folder.upload(&engine).expect("uploads");
    let parts = verify(&engine, &bert, &encode(&folder, &TEXTS)).expect("runs");
    let names: Vec<&str> = parts.iter().map(|one| one.part.as_str()).collect();
    assert_eq!(names, ["embeddings", "layer 0", "layer 1", "sentences"]);
    for part in &parts {
        assert!(part.worst_over_bound <= 1.0, "{part:?}");
        assert!(part.operations > 1 && part.elements > 0, "{part:?}");
    }
}

#[test]
fn compressed_encoders_run_and_lose_as_much_as_their_formats() {
    let folder = EncoderFolder::open(folder("bert-compress")).expect("opens");
    let engine = gpu(options());
    let bert = folder.upload(&engine).expect("uploads");
    let sentences = encode(&folder, &TEXTS);
    let original = embed(&engine, &folder, &sentences);
    let inputs = BertInputs {
        engine: &engine,
        bert: &bert,
        weights: &folder.weights,
        calibration: &sentences,
        watch: &|_| true,
    };
    let group = Granularity::Group(32);
    let int8 = Method::Nearest(Linear::symmetric(Width::Int8, Granularity::Channel));
    let int4 = Method::Gptq(Linear::asymmetric(Width::Int4, group), Gptq::default());
    let half = Method::SparseGpt(Sparsity::Share(0.5), SparseGpt::default());
    for (method, least, format) in [
        (int8, 0.999, "int8-channel"),
        (int4, 0.9, "int4-g32-zp"),
        (half, 0.5, "delta4 f32"),
    ] {
        let made = compress_bert(&inputs, &method, Route::Sparse).expect("compresses");
        assert_eq!(made.linears.len(), LAYERS * BertLinear::ALL.len());
        assert!(made.linears.iter().all(|one| one.stored.format() == format));
        let vectors = Embedder::new(&engine, made.bert)
            .embed(&sentences, &mut |_| true)
            .expect("runs");
        let rows = original
            .chunks_exact(WIDTH)
            .zip(vectors.chunks_exact(WIDTH));
        for (a, b) in rows {
            let cosine: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            assert!(cosine >= least, "{}: {cosine}", method.name());
        }
    }
    let nothing = BertInputs {
        calibration: &[],
        ..inputs
    };
    let refused = compress_bert(&nothing, &int4, Route::Sparse).expect_err("nothing to see");
    assert_eq!(
        refused.to_string(),
        "calibration sentences = 0; allowed: at least one with tokens"
    );
    let stopping = BertInputs {
        watch: &|progress| progress.done < 3,
        ..inputs
    };
    let stopped = compress_bert(&stopping, &int8, Route::Sparse).expect_err("stopped");
    let said = stopped.to_string();
    assert_eq!(
        said,
        "stopped in transformer at encoder.layer.0.attention.output.dense (3 of 12)"
    );
}

fn command(arguments: &[&str]) -> Output {
    lapidary(&[&["embed"], arguments].concat())
}

pub fn lapidary(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lapidary"))
        .args(arguments)
        .args(["--device", "llvmpipe"])
        .env(
            "LAPIDARY_CACHE",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"),
        )
        .output()
        .expect("the command starts")
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn embed_writes_a_vector_for_each_line() {
    let model = folder("bert-command");
    let text = model.join("lines.txt");
    fs::write(&text, TEXTS.join("\n")).expect("writes");
    let [model_path, text_path] = [&model, &text].map(|path| path.to_string_lossy().into_owned());
    let output = command(&[&model_path, &text_path]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("1 of 5 sentences cut to 12 tokens, line 5 the first"));
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), TEXTS.len());
    assert_eq!(lines[1]["tokens"], 5);

    let file = model.join("vectors.safetensors");
    let path = file.to_string_lossy().into_owned();
    let output = command(&[&model_path, &text_path, "--output", &path]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let written = SafetensorsFile::open(&file).expect("opens");
    let vectors = written.tensor("embeddings").expect("there");
    assert_eq!(vectors.shape(), [5, WIDTH]);
    let first = vectors.to_f32().expect("f32")[0];
    let printed = lines[0]["embedding"][0].as_f64().map(|x| x as f32);
    assert_eq!(
        printed,
        Some(first),
        "the shortest digits that are this f32"
    );

    let output = command(&[&model_path, &text_path, "--verify"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("layer 1"));
}

#[test]
fn embed_refuses_what_is_no_encoder_and_texts_without_lines() {
    let model = folder("bert-refused");
    let empty = model.join("empty.txt");
    fs::write(&empty, "").expect("writes");
    let [model_path, text] = [&model, &empty].map(|path| path.to_string_lossy().into_owned());
    let output = command(&[&model_path, &text]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("no lines; one sentence on each is needed"));
    fs::write(&empty, "stone").expect("writes");
    let output = command(&[&model_path, &text, "--max-tokens", "1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("at most 1 tokens a sentence; allowed: 2 or more"));
    let refused = |given: &[&str], told: &str| {
        let output = command(given);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(told), "{}", said(&output));
    };
    refused(
        &[&model_path, &text, "--output", &text],
        "is also what is read",
    );
    assert_eq!(fs::read_to_string(&empty).expect("reads"), "stone");
    refused(&[&text, &text], "is no folder");
    fs::create_dir_all(model.join("1_Pooling")).expect("a folder");
    let pooling = model.join("1_Pooling/config.json");
    let by_first = r#"{"pooling_mode_cls_token":true,"pooling_mode_mean_tokens":false}"#;
    fs::write(&pooling, by_first).expect("writes");
    refused(
        &[&model_path, &text],
        "pooling is pooling_mode_cls_token; supported: pooling_mode_mean_tokens",
    );
    fs::write(&pooling, r#"{"pooling_mode_mean_tokens":true}"#).expect("writes");
    let sentences = model.join("sentence_bert_config.json");
    fs::write(&sentences, r#"{"max_seq_length":3}"#).expect("writes");
    fs::write(&empty, TEXTS[1]).expect("writes");
    let output = command(&[&model_path, &text]);
    assert!(
        said(&output).contains("1 of 1 sentences cut to 3 tokens"),
        "{}",
        said(&output)
    );
    let config = model.join("config.json");
    let other = fs::read_to_string(&config).expect("reads");
    let fewer = format!("\"num_hidden_layers\":{LAYERS}");
    fs::write(&config, other.replace(&fewer, "\"num_hidden_layers\":1")).expect("writes");
    refused(&[&model_path, &text], "its configuration says 1");
    let wider = other.replace(&format!("\"hidden_size\":{WIDTH}"), "\"hidden_size\":64");
    fs::write(&config, wider).expect("writes");
    let output = command(&[&model_path, &text]);
    assert_eq!(output.status.code(), Some(2));
    let told = "has shape [10, 32], the network needs [10, 64]";
    assert!(said(&output).contains(told), "{}", said(&output));
}

/// Vectors of the test's texts by a model in a folder, from the command.
fn vectors(model: &str, text: &str) -> Vec<Vec<f64>> {
    let output = command(&[model, text]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    let vector = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let elements = line["embedding"].as_array().expect("an array").iter();
        elements
            .map(|one| one.as_f64().expect("a number"))
            .collect()
    };
    lines.lines().map(vector).collect()
}

#[test]
fn encoders_are_compressed_by_command_and_read_again() {
    let base = folder("bert-compressed");
    let text = base.join("lines.txt");
    fs::write(&text, TEXTS.join("\n")).expect("writes");
    fs::create_dir_all(base.join("1_Pooling")).expect("a folder");
    let pooling = r#"{"pooling_mode_mean_tokens": true}"#;
    fs::write(base.join("1_Pooling/config.json"), pooling).expect("writes");
    let place = base.join("out");
    fs::create_dir_all(&place).expect("a folder");
    let path = |at: &Path| at.to_string_lossy().into_owned();
    let (base, text) = (path(&base), path(&text));
    let own = vectors(&base, &text);
    let calibrated = ["--calibration", &text];
    let cases: [(&str, &[&str], f64); 4] = [
        ("nearest", &["--scheme", "int8-channel"], 0.999),
        (
            "gptq",
            &["--scheme", "int4-g32-zp", calibrated[0], calibrated[1]],
            0.95,
        ),
        ("hqq", &["--scheme", "int4-g32-zp", "--method", "hqq"], 0.95),
        (
            "sparsegpt",
            &[
                "--sparsity",
                "2:4",
                "--method",
                "sparsegpt",
                calibrated[0],
                calibrated[1],
            ],
            0.4,
        ),
    ];
    for (name, flags, least) in cases {
        let out = path(&place.join(name));
        let stage = if name == "sparsegpt" {
            "prune"
        } else {
            "quantize"
        };
        let made = lapidary(&[&[stage, &base, &out], flags].concat());
        assert_eq!(made.status.code(), Some(0), "{name}: {}", said(&made));
        let found = vectors(&out, &text);
        assert_ne!(found, own, "{name}");
        for (a, b) in own.iter().zip(&found) {
            let cosine = dot(a, b);
            assert!(cosine >= least, "{name}: {cosine}");
        }
        assert!(Path::new(&out).join("1_Pooling/config.json").exists());
        let judged = command(&[&out, &text, "--verify"]);
        assert_eq!(judged.status.code(), Some(0), "{name}: {}", said(&judged));
        let again = lapidary(&["verify", &out, "--against", &base]);
        assert_eq!(again.status.code(), Some(0), "{name}: {}", said(&again));
    }
    let config = fs::read_to_string(place.join("gptq/config.json")).expect("reads");
    let config: serde_json::Value = serde_json::from_str(&config).expect("JSON");
    assert_eq!(config["quantization_config"]["format"], "pack-quantized");
    let pruned = SafetensorsFile::open(place.join("sparsegpt/model.safetensors")).expect("opens");
    let weight = pruned
        .tensor("encoder.layer.1.output.dense.weight")
        .expect("there");
    for group in weight.to_f32().expect("f32").chunks_exact(4) {
        assert!(
            group.iter().filter(|&&w| w == 0.0).count() >= 2,
            "{group:?}"
        );
    }

    let (coded, fresh) = (path(&place.join("gptq")), path(&place.join("fresh")));
    let refusals: [(&[&str], &str); 6] = [
        (&[&coded, &fresh, "--scheme", "int8"], "in codes already"),
        (
            &[&base, &fresh, "--scheme", "w8a8"],
            "activations of an encoder",
        ),
        (
            &[&base, &fresh, "--scheme", "int4", "--method", "gptq"],
            "--calibration TEXT",
        ),
        (
            &[
                &base,
                &fresh,
                "--scheme",
                "int4",
                "--method",
                "awq",
                calibrated[0],
                calibrated[1],
            ],
            "method of an encoder",
        ),
        (
            &[&base, &fresh, "--scheme", "int8", "--keep", "nothing"],
            "pattern of weights to keep",
        ),
        (
            &[&base, &fresh, "--scheme", "int8", "--max-ram", "1K"],
            "of memory",
        ),
    ];
    for (flags, reason) in refusals {
        let refused = lapidary(&[&["quantize"], flags].concat());
        assert_eq!(
            refused.status.code(),
            Some(2),
            "{flags:?}: {}",
            said(&refused)
        );
        assert!(
            said(&refused).contains(reason),
            "{flags:?}: {}",
            said(&refused)
        );
        assert!(!Path::new(&fresh).exists());
    }
}
