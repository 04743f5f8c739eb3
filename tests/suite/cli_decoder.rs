//! `lapidary quantize` and `lapidary prune` of language models: small decoders of random weights, as a folder and as a
//! GGUF file, become folders and files that run; killed in the middle they end with the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use lapidary::io::gguf::{Array, GgufData, GgufFile, Metadata, Value, write_gguf};
use lapidary::io::hf::Shards;
use lapidary::io::safetensors::write_safetensors;
use lapidary::models::llama::ModelTensor;
use lapidary::num::ggml::GgmlType;
use lapidary::tensor::HostTensor;
use lapidary::text::byte_tokenizer;
use serde_json::{Value as Json, json};

use crate::support::values;

const WIDTH: usize = 64;
const FFN: usize = 128;
const HEAD: usize = 16;
const HEADS: usize = 4;
const BYTES: usize = 256;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lapidary"));
    command.args(arguments).args(["--device", "llvmpipe"]).env(
        "LAPIDARY_CACHE",
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"),
    );
    command
}

pub(crate) fn lapidary(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the command starts")
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn report(arguments: &[&str]) -> Json {
    let output = lapidary(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

pub(crate) fn refused(arguments: &[&str], expected: &str) {
    let output = lapidary(arguments);
    assert_eq!(
        output.status.code(),
        Some(2),
        "{arguments:?}: {}",
        said(&output)
    );
    let error = said(&output);
    assert!(error.contains(expected), "{arguments:?}: {error}");
}

/// An empty folder.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// Tensors of a decoder, with rows of q and k as Hugging Face has them.
fn tensors(layers: usize, kv_heads: usize) -> Vec<(ModelTensor, Vec<usize>, Vec<f32>)> {
    use ModelTensor as T;
    let (heads, kv) = (HEADS * HEAD, kv_heads * HEAD);
    let mut shapes = vec![
        (T::Embedding, vec![BYTES, WIDTH]),
        (T::OutputNorm, vec![WIDTH]),
        (T::Head, vec![BYTES, WIDTH]),
    ];
    for at in 0..layers {
        shapes.extend([
            (T::AttentionNorm(at), vec![WIDTH]),
            (T::Q(at), vec![heads, WIDTH]),
            (T::K(at), vec![kv, WIDTH]),
            (T::V(at), vec![kv, WIDTH]),
            (T::AttentionOut(at), vec![WIDTH, heads]),
            (T::FfnNorm(at), vec![WIDTH]),
            (T::Gate(at), vec![FFN, WIDTH]),
            (T::Up(at), vec![FFN, WIDTH]),
            (T::Down(at), vec![WIDTH, FFN]),
        ]);
    }
    let make = |(tensor, shape): (T, Vec<usize>)| {
        let name = tensor.hf_name();
        let seed = name.bytes().fold(7, |seed: u64, byte| {
            seed.wrapping_mul(31).wrapping_add(byte.into())
        });
        let all = values(seed, shape.iter().product());
        let is_norm = name.contains("norm");
        let scale = if is_norm { 0.5 } else { 0.3 };
        let own = |value: &f32| scale * value + f32::from(u8::from(is_norm));
        (tensor, shape, all.iter().map(own).collect())
    };
    shapes.into_iter().map(make).collect()
}

pub(crate) fn folder(path: &Path, layers: usize, kv_heads: usize) -> String {
    fs::create_dir_all(path).expect("a folder");
    let config = json!({
        "model_type": "llama", "hidden_act": "silu", "hidden_size": WIDTH, "num_attention_heads": HEADS,
        "num_key_value_heads": kv_heads, "intermediate_size": FFN, "num_hidden_layers": layers, "vocab_size": BYTES,
        "rms_norm_eps": 1e-5, "max_position_embeddings": 64, "tie_word_embeddings": false, "mine": "kept",
    });
    fs::write(path.join("config.json"), config.to_string()).expect("writes");
    fs::write(path.join("tokenizer.json"), byte_tokenizer()).expect("writes");
    let named = |(tensor, shape, values): (ModelTensor, Vec<usize>, Vec<f32>)| {
        (
            tensor.hf_name(),
            HostTensor::from_f32(shape, &values).expect("fits"),
        )
    };
    let all: Vec<(String, HostTensor)> = tensors(layers, kv_heads).into_iter().map(named).collect();
    write_safetensors(path.join("model.safetensors"), &all, &BTreeMap::new()).expect("writes");
    path.to_string_lossy().into_owned()
}

/// The same weights as a GGUF file, where elements of a pair are neighbours.
pub(crate) fn gguf(path: &Path, layers: usize, kv_heads: usize) -> String {
    let text = |text: &str| Value::String(text.to_owned());
    let tokenizer: Json = serde_json::from_str(&byte_tokenizer()).expect("JSON");
    let vocabulary = tokenizer["model"]["vocab"].as_object().expect("a map");
    let mut tokens = vec![String::new(); BYTES];
    for (token, id) in vocabulary {
        tokens[id.as_u64().expect("an id") as usize] = token.clone();
    }
    let pairs = [
        ("general.architecture", text("llama")),
        ("llama.embedding_length", Value::U32(WIDTH as u32)),
        ("llama.block_count", Value::U32(layers as u32)),
        ("llama.feed_forward_length", Value::U32(FFN as u32)),
        ("llama.attention.head_count", Value::U32(HEADS as u32)),
        ("llama.attention.head_count_kv", Value::U32(kv_heads as u32)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("llama.context_length", Value::U32(64)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("gpt-2")),
        ("tokenizer.ggml.tokens", Value::Array(Array::String(tokens))),
        (
            "tokenizer.ggml.merges",
            Value::Array(Array::String(Vec::new())),
        ),
        (
            "tokenizer.ggml.token_type",
            Value::Array(Array::I32(vec![1; BYTES])),
        ),
    ];
    let pairs = pairs.map(|(key, value)| (key.to_owned(), value));
    let metadata = Metadata::new(Vec::from(pairs)).expect("keys once");
    let data = |(tensor, shape, values): (ModelTensor, Vec<usize>, Vec<f32>)| {
        let is_rotated = matches!(tensor, ModelTensor::Q(_) | ModelTensor::K(_));
        let values: Vec<f32> = match (is_rotated, shape.as_slice()) {
            (true, &[rows, k]) => (0..rows)
                .flat_map(|row| {
                    let (head, at) = (row / HEAD, row % HEAD);
                    let from = head * HEAD + at / 2 + at % 2 * (HEAD / 2);
                    values[from * k..(from + 1) * k].to_vec()
                })
                .collect(),
            _ => values,
        };
        GgufData::encode(&tensor.gguf_name(), GgmlType::F32, &shape, &values).expect("encodes")
    };
    let all: Vec<GgufData> = tensors(layers, kv_heads).into_iter().map(data).collect();
    write_gguf(path, &metadata, &all).expect("writes");
    path.to_string_lossy().into_owned()
}

/// A text for calibration and one that judges.
pub(crate) fn texts(folder: &Path) -> [String; 2] {
    let words = [
        "stone", "cuts", "a", "facet", "while", "the", "wheel", "turns", "on",
    ];
    let text = |start: usize, n: usize| {
        let word = |at: usize| words[(at * at + start * at + 3 * start) % words.len()];
        (0..n).map(word).collect::<Vec<_>>().join(" ")
    };
    [("calibration.txt", 1, 500), ("judge.txt", 4, 60)].map(|(name, start, n)| {
        let path = folder.join(name);
        fs::write(&path, text(start, n)).expect("writes");
        path.to_string_lossy().into_owned()
    })
}

pub(crate) fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_string_lossy().into_owned()
}

/// Mean divergence of a model from its base, in nats a token.
pub(crate) fn divergence(model: &str, base: &str, text: &str) -> f64 {
    let given = [
        "eval",
        model,
        "--perplexity",
        text,
        "--window",
        "32",
        "--base",
        base,
    ];
    report(&given)["against"]["mean_divergence"]
        .as_f64()
        .expect("a number")
}

/// Sums of squared errors of all weights: of the method, and of rounding to nearest.
fn errors(report: &Json) -> [f64; 2] {
    ["error", "nearest_error"].map(|key| {
        let weights = report["weights"].as_array().expect("weights");
        weights
            .iter()
            .filter_map(|one| one[key].as_f64())
            .map(|error| error * error)
            .sum()
    })
}

fn dense(folder: &str, name: &str) -> Vec<f32> {
    let shards = Shards::open(folder).expect("opens");
    shards
        .tensor(name)
        .expect("there")
        .to_f32()
        .expect("floats")
}

#[test]
fn methods_that_see_a_text_lose_less_and_their_folders_run() {
    let scratch = scratch("lm-methods");
    let base = folder(&scratch.join("base"), 2, 4);
    let [calibration, judge] = texts(&scratch);
    let calibrated = [
        "--calibration",
        &calibration,
        "--window",
        "32",
        "--samples",
        "40",
    ];
    let mut lost = BTreeMap::new();
    for method in ["nearest", "gptq", "awq", "hqq", "smoothquant"] {
        let out = path(&scratch, method);
        let given = [
            "quantize",
            &base,
            &out,
            "--scheme",
            "int3-g32-zp",
            "--method",
            method,
        ];
        let told = report(&[&given[..], &calibrated].concat());
        assert_eq!(told["windows"], 40);
        assert_eq!(told["weights"].as_array().map(Vec::len), Some(14));
        // q: 64 rows of 2 groups, 7 words of 10 codes a row; f16 scales, zero points as 10 to a word; the shape.
        let bits = 8.0 * (64 * 7 * 4 + 64 * 2 * 2 + 7 * 2 * 4 + 16) as f64 / (64.0 * 64.0);
        match method {
            "hqq" => {}
            _ => assert_eq!(told["weights"][0]["bits_per_weight"], bits),
        }
        let [own, nearest] = errors(&told);
        match method {
            "gptq" | "awq" => assert!(own < nearest, "{method}: {own} {nearest}"),
            "nearest" => assert_eq!(own, nearest),
            _ => {}
        }
        lost.insert(method, divergence(&out, &base, &judge));
        // Settings of its own stay, and what the folder needs is there.
        let config = fs::read_to_string(scratch.join(method).join("config.json")).expect("reads");
        let config: Json = serde_json::from_str(&config).expect("JSON");
        assert_eq!(config["mine"], "kept");
        // Zero points of HQQ are finer than codes of 3 bits, for which there is no layout of others.
        let format = match method {
            "hqq" => "lapidary-spread",
            _ => "pack-quantized",
        };
        assert_eq!(config["quantization_config"]["format"], format);
        let group = &config["quantization_config"]["config_groups"]["group_0"];
        assert_eq!(group["targets"], json!(["Linear"]));
        assert_eq!(group["weights"]["num_bits"], 3);
        assert!(!scratch.join(format!("{method}.partial")).exists());
        let inspected = Command::new(env!("CARGO_BIN_EXE_lapidary"))
            .args(["inspect", &out])
            .output();
        let inspected = inspected.expect("the command starts");
        assert!(inspected.status.success(), "{}", said(&inspected));
    }
    assert!(lost["gptq"] < lost["nearest"], "{lost:?}");
    // Factors change nothing but the rounding: at 8 bits both are the model they were made of.
    for method in ["awq", "smoothquant"] {
        let out = path(&scratch, &format!("{method}-8"));
        let given = [
            "quantize", &base, &out, "--scheme", "int8-g32", "--method", method,
        ];
        report(&[&given[..], &calibrated].concat());
        let lost_at_8 = divergence(&out, &base, &judge);
        assert!(lost_at_8 < 0.01 * lost["nearest"], "{method}: {lost_at_8}");
        let norm = "model.layers.0.input_layernorm.weight";
        assert_ne!(dense(&out, norm), dense(&base, norm), "{method}");
    }
}

#[test]
fn fewer_bits_lose_more_and_six_are_five_codes_a_word() {
    let scratch = scratch("lm-widths");
    let base = folder(&scratch.join("base"), 2, 2);
    let [_, judge] = texts(&scratch);
    let made = |scheme: &str, method: &str| {
        let out = path(&scratch, &format!("{scheme}-{method}"));
        let given = [
            "quantize", &base, &out, "--scheme", scheme, "--method", method,
        ];
        let told = report(&given)["weights"][0].clone();
        (divergence(&out, &base, &judge), told)
    };
    let all = ["int8-g32", "int6-g32", "int4-g32", "int3-g32"].map(|one| made(one, "nearest").0);
    assert!(all.is_sorted_by(|a, b| a < b), "{all:?}");
    // q: 64 rows of 13 words, the last of 4 codes; scales of f16 or f32; zero points along the rows; the shape.
    for (scheme, method, bytes) in [
        ("int6-g32", "nearest", 64 * 13 * 4 + 64 * 2 * 2 + 16),
        ("int6-channel", "nearest", 64 * 13 * 4 + 64 * 4 + 16),
        (
            "int6-g32-zp",
            "nearest",
            64 * 13 * 4 + 64 * 2 * 2 + 13 * 2 * 4 + 16,
        ),
        // Zero points of 8 bits, a quarter of a code apart.
        (
            "int6-g32",
            "hqq",
            64 * 13 * 4 + 64 * 2 * 2 + 16 * 2 * 4 + 16,
        ),
    ] {
        let scratch = scratch.join(format!("{scheme}-{method}"));
        if scratch.exists() {
            fs::remove_dir_all(&scratch).expect("removes");
        }
        let (lost, told) = made(scheme, method);
        assert!(
            lost < all[2],
            "{scheme} {method}: {lost}, at 4 bits {all:?}"
        );
        let bits = f64::from(8 * bytes) / (64.0 * 64.0);
        assert_eq!(told["bits_per_weight"], bits, "{scheme} {method}");
        let notes = told["notes"].to_string();
        assert!(
            notes.contains("int6 codes are widened to int8"),
            "{scheme} {method}: {notes}"
        );
        let config = fs::read_to_string(scratch.join("config.json")).expect("reads");
        let config: Json = serde_json::from_str(&config).expect("JSON");
        let group = &config["quantization_config"]["config_groups"]["group_0"];
        assert_eq!(group["weights"]["num_bits"], 6);
        let format = match method {
            "hqq" => "lapidary-spread",
            _ => "pack-quantized",
        };
        assert_eq!(group["format"], format);
    }
}

#[test]
fn a_file_and_a_folder_of_the_same_weights_become_the_same() {
    let scratch = scratch("lm-kinds");
    let (base, file) = (
        folder(&scratch.join("base"), 2, 2),
        gguf(&scratch.join("base.gguf"), 2, 2),
    );
    let [_, judge] = texts(&scratch);
    let made = |from: &str, name: &str| {
        let out = path(&scratch, name);
        let given = [
            "quantize",
            from,
            &out,
            "--scheme",
            "int4-g32",
            "--keep",
            "*.0.mlp.*",
        ];
        let told = report(&given);
        let kept = told["weights"].as_array().expect("weights").iter();
        assert_eq!(kept.filter(|one| one["format"] == "f32").count(), 3);
        out
    };
    let (of_folder, of_file) = (made(&base, "of-folder"), made(&file, "of-file"));
    let [one, other] = [&of_folder, &of_file].map(|out| Shards::open(out).expect("opens"));
    let names: Vec<&str> = one.names().collect();
    assert_eq!(names, other.names().collect::<Vec<_>>());
    assert!(names.contains(&"model.layers.0.self_attn.q_proj.weight_packed"));
    for name in names {
        assert_eq!(
            one.tensor(name).expect("there"),
            other.tensor(name).expect("there"),
            "{name}"
        );
    }
    // The file's tokenizer went with it.
    let text =
        |model: &str| report(&["run", model, "-p", "facet", "--max-tokens", "8"])["text"].clone();
    assert_eq!(text(&of_folder), text(&of_file));

    // A GGUF file of it holds the same codes, and runs as the folder does.
    let again = made(&file, "again.gguf");
    let divergence = divergence(&again, &of_folder, &judge);
    assert!(divergence < 1e-9, "{divergence}");
    let opened = GgufFile::open(&again).expect("opens");
    let kind = |name: &str| {
        opened
            .tensors()
            .iter()
            .find(|one| one.name == name)
            .map(|one| one.kind)
    };
    assert_eq!(kind("blk.0.attn_q.weight"), Some(GgmlType::Q4_0));
    assert_eq!(kind("blk.0.ffn_up.weight"), Some(GgmlType::F32));
    assert_eq!(kind("token_embd.weight"), Some(GgmlType::F32));
    assert!(!scratch.join("again.gguf.partial").exists());
}

#[test]
fn pruned_models_have_exactly_the_zeros_asked_for_and_run() {
    let scratch = scratch("lm-pruned");
    let base = folder(&scratch.join("base"), 2, 2);
    let [calibration, judge] = texts(&scratch);
    let calibrated = [
        "--calibration",
        &calibration,
        "--window",
        "32",
        "--samples",
        "40",
    ];
    let mut lost = BTreeMap::new();
    for (method, sparsity) in [
        ("magnitude", "50%"),
        ("wanda", "2:4"),
        ("sparsegpt", "50%"),
        ("sparsegpt", "2:4"),
    ] {
        let name = format!("{method}-{}", sparsity.replace(':', "of"));
        let out = path(&scratch, &name);
        let given = [
            "prune",
            &base,
            &out,
            "--sparsity",
            sparsity,
            "--method",
            method,
        ];
        let told = report(&[&given[..], &calibrated].concat());
        for one in told["weights"].as_array().expect("weights") {
            assert_eq!(one["sparsity"], 0.5, "{one}");
        }
        lost.insert(name, errors(&told)[0]);
        let up = dense(&out, "model.layers.1.mlp.up_proj.weight");
        let zeros = |of: &[f32]| of.iter().filter(|&&weight| weight == 0.0).count();
        if sparsity == "2:4" {
            assert!(up.chunks_exact(4).all(|four| zeros(four) == 2));
        }
        assert_eq!(zeros(&up), up.len() / 2);
        let lost = divergence(&out, &base, &judge);
        assert!(lost.is_finite() && lost > 0.0, "{lost}");
    }
    assert!(lost["sparsegpt-50%"] < lost["magnitude-50%"], "{lost:?}");
    assert!(lost["sparsegpt-2of4"] < lost["wanda-2of4"], "{lost:?}");
    let file = gguf(&scratch.join("base.gguf"), 2, 2);
    let out = path(&scratch, "half.gguf");
    report(&["prune", &file, &out, "--sparsity", "50%"]);
    let same = divergence(&out, &path(&scratch, "magnitude-50%"), &judge);
    assert!(same < 1e-9, "{same}");
}

#[test]
fn weights_that_do_not_fit_follow_the_policy_and_several_codes_are_one_folder() {
    let scratch = scratch("lm-misfit");
    let base = folder(&scratch.join("base"), 1, 2);
    let [_, judge] = texts(&scratch);
    let out = path(&scratch, "mixed");
    let given = ["quantize", &base, &out, "--scheme", "int4-g128"];
    refused(
        &given,
        "model.layers.0.self_attn.q_proj.weight: k = 64 is not a multiple of group_size 128",
    );
    assert!(!scratch.join("mixed.partial").exists(), "nothing was begun");
    let told = report(&[&given[..], &["--on-misfit", "int8", "--plan"]].concat());
    assert_eq!(told["weights"][0]["becomes"], "int8-channel");
    report(&[&given[..], &["--on-misfit", "int8"]].concat());
    let config = fs::read_to_string(scratch.join("mixed/config.json")).expect("reads");
    assert!(config.contains("mixed-precision"), "{config}");
    let mixed = divergence(&out, &base, &judge);
    // A slash at its end is no part of a name.
    let all = path(&scratch, "all/");
    report(&["quantize", &base, &all, "--scheme", "int4-g32"]);
    assert!(
        mixed < divergence(&all, &base, &judge),
        "six of seven weights have 8 bits"
    );
}

#[test]
fn what_cannot_be_is_refused_by_name_before_anything_is_written() {
    let scratch = scratch("lm-refused");
    let (base, file) = (
        folder(&scratch.join("base"), 1, 2),
        gguf(&scratch.join("base.gguf"), 1, 2),
    );
    let [calibration, _] = texts(&scratch);
    let (out, out_file) = (path(&scratch, "out"), path(&scratch, "out.gguf"));
    let int4 = ["quantize", &base, &out, "--scheme", "int4-g32"];
    let with = |more: &[&'static str]| -> Vec<String> {
        int4.iter()
            .chain(more)
            .map(|word| (*word).to_owned())
            .collect()
    };
    let calibrated = ["--calibration", &calibration];
    for (given, expected) in [
        (
            with(&["--method", "gptq"]),
            "method without --calibration TEXT = gptq; allowed: nearest, hqq",
        ),
        (
            with(&["--keep", "head"]),
            "patterns that fit one of model.layers.0.self_attn.q_proj.weight",
        ),
        (with(&["--qat-epochs", "1"]), "there is no --qat-epochs"),
        (with(&["--max-ram", "64K"]), "allowed: 0.1 MiB"),
        (with(&["--calibration", "absent.txt"]), "absent.txt"),
        (
            [&int4[..], &calibrated, &["--window", "65"]]
                .concat()
                .iter()
                .map(|&one| one.to_owned())
                .collect(),
            "tokens of a calibration text = 65; allowed: 1 to the model's context of 64",
        ),
        (
            [&int4[..], &calibrated, &["--window", "60000"]]
                .concat()
                .iter()
                .map(|&one| one.to_owned())
                .collect(),
            "0 windows of 60000 are taken",
        ),
    ] {
        let given: Vec<&str> = given.iter().map(String::as_str).collect();
        refused(&given, expected);
    }
    refused(
        &["quantize", &base, &out, "--scheme", "nf4"],
        "--scheme nf4-g32 for a language model",
    );
    refused(
        &["quantize", &base, &out_file, "--scheme", "int4-g32"],
        "of which `lapidary convert` makes a GGUF file",
    );
    refused(
        &["quantize", &file, &out_file, "--scheme", "int4-g64"],
        "scheme of a GGUF file = int4-g64 by nearest; allowed: int4-g32, which is Q4_0",
    );
    // HQQ has zero points, for which there is no type of 8 bits; and weights that do not fit are not found last.
    let wide = [
        "quantize", &file, &out_file, "--scheme", "int8-g32", "--method", "hqq",
    ];
    refused(&wide, "scheme of a GGUF file = int8-g32 by hqq");
    refused(
        &["quantize", &base, &base, "--scheme", "int4-g32"],
        "which is there already",
    );
    refused(
        &[
            "prune",
            &base,
            &out,
            "--sparsity",
            "50%",
            "--method",
            "taylor",
        ],
        "magnitude, wanda and sparsegpt",
    );
    refused(
        &["prune", &base, &out, "--sparsity", "50%", "--structured"],
        "no --structured",
    );
    refused(
        &[
            "prune",
            &base,
            &out,
            "--sparsity",
            "50%",
            "--method",
            "wanda",
        ],
        "allowed: magnitude",
    );
    refused(
        &[
            "prune",
            &base,
            &out,
            "--sparsity",
            "2:3",
            "--misfit",
            "error",
        ],
        "inputs = 64; allowed: multiples of 3",
    );
    refused(
        &[
            "quantize",
            "Cargo.toml",
            &out,
            "--scheme",
            "int4",
            "--window",
            "9",
        ],
        "--window is for language models",
    );
    assert!(!Path::new(&out).exists() && !scratch.join("out.partial").exists());
}

pub(crate) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path());
    let named = |path: PathBuf| {
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        (name, fs::read(&path).expect("reads"))
    };
    entries.map(named).collect()
}

/// Starts a run and kills it when a file is there.
pub(crate) fn kill_when(given: &[&str], file: &Path) {
    let mut child: Child = command(given)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the command starts");
    let began = Instant::now();
    while !file.exists() {
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "{}",
            file.display()
        );
        let ended = child.try_wait().expect("asks");
        assert!(ended.is_none(), "ended before it was killed");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("kills");
    child.wait().expect("ends");
}

#[test]
fn a_run_that_is_killed_goes_on_and_ends_with_the_same_bytes() {
    let scratch = scratch("lm-killed");
    let base = folder(&scratch.join("base"), 8, 4);
    let [calibration, _] = texts(&scratch);
    for method in ["gptq", "awq"] {
        let given = |out: &'static str| {
            let words = [
                "quantize", &base, out, "--scheme", "int4-g32", "--method", method,
            ];
            let more = [
                "--calibration",
                &calibration,
                "--window",
                "32",
                "--samples",
                "20",
            ];
            words
                .into_iter()
                .chain(more)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let in_scratch = |words: Vec<String>| -> Vec<String> {
            let mut words = words;
            words[2] = path(&scratch, &format!("{}-{method}", words[2]));
            words
        };
        let [whole, killed] = ["whole", "killed"].map(|out| in_scratch(given(out)));
        let as_words = |all: &[String]| -> Vec<String> { all.to_vec() };
        let run = |words: &[String]| {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            lapidary(&words)
        };
        let done = run(&whole);
        assert!(done.status.success(), "{}", said(&done));
        let partial = PathBuf::from(format!("{}.partial", killed[2]));
        for shard in [2, 5] {
            let words = as_words(&killed);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            kill_when(
                &words,
                &partial.join(format!("model-{shard:05}-of-00009.safetensors")),
            );
            assert!(!Path::new(&killed[2]).exists(), "it was not done");
        }
        // As a process leaves it that is killed while it writes.
        fs::write(partial.join(".lapidary-half.tmp"), b"half").expect("writes");
        let mut other = killed.clone();
        other[4] = "int8-g32".to_owned();
        let refused = run(&other);
        assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
        let error = said(&refused);
        assert!(error.contains("scheme was Linear { width: Int4"), "{error}");
        assert!(error.contains("remove the folder to begin anew"), "{error}");
        let done = run(&killed);
        assert!(done.status.success(), "{}", said(&done));
        assert!(said(&done).contains("going on behind"), "{}", said(&done));
        let [one, other] = [&whole, &killed].map(|words| files(Path::new(&words[2])));
        assert_eq!(
            one.keys().collect::<Vec<_>>(),
            other.keys().collect::<Vec<_>>()
        );
        for (name, bytes) in &one {
            assert!(*bytes == other[name], "{method}: {name} differs");
        }
        assert!(!partial.exists());
    }
}

#[test]
fn the_command_that_made_a_model_gives_the_same_bytes_again() {
    let scratch = scratch("lm-again");
    let base = folder(&scratch.join("base"), 2, 2);
    let [calibration, _] = texts(&scratch);
    let out = path(&scratch, "out");
    let given = [
        "quantize",
        &base,
        &out,
        "--scheme",
        "int4-g32",
        "--calibration",
        &calibration,
    ];
    report(&[&given[..], &["--window", "32", "--samples", "10"]].concat());
    let told = report(&["verify", &out, "--against", &base]);
    assert_eq!(told[0]["differing"], json!([]));
    // Another base is named as such.
    let other = folder(&scratch.join("other"), 2, 2);
    let shards = Shards::open(&other).expect("opens");
    let mut all: Vec<(String, HostTensor)> = shards
        .names()
        .map(|name| (name.to_owned(), shards.tensor(name).expect("there")))
        .collect();
    let name = "model.layers.1.mlp.down_proj.weight";
    for (_, tensor) in all.iter_mut().filter(|(one, _)| one == name) {
        let mut values = tensor.to_f32().expect("floats");
        values[5] += 2.0;
        *tensor = HostTensor::from_f32(tensor.shape().to_vec(), &values).expect("fits");
    }
    drop(shards);
    write_safetensors(
        scratch.join("other/model.safetensors"),
        &all,
        &BTreeMap::new(),
    )
    .expect("writes");
    let output = lapidary(&["verify", &out, "--against", &other]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let text = said(&output);
    assert!(text.contains("so it is another base"), "{text}");
}
