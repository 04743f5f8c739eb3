//! `lapidary run`, `eval --perplexity` and `bench` on a decoder of random weights whose tokens are bytes, and
//! what they refuse.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lapidary::io::gguf::{Array, GgufData, Metadata, Value, write_gguf};
use lapidary::num::ggml::GgmlType;

use crate::support::values;

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

pub fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", said(output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The characters that stand for bytes in a byte-level vocabulary (GPT-2).
fn byte_tokens() -> Vec<String> {
    let is_shown = |byte: u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut next = 256;
    (0..256)
        .map(|byte| {
            let code = if is_shown(byte) {
                byte
            } else {
                next += 1;
                next - 1
            };
            char::from_u32(code).expect("a character").to_string()
        })
        .collect()
}

/// A decoder of one layer.
pub fn model(name: &str) -> PathBuf {
    model_with(name, &[], &[])
}

/// The same with other values of keys, and with tensors in the place of those of their name, or besides.
pub fn model_with(name: &str, keys: &[(&str, Value)], others: &[(&str, &[f32])]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let text = |text: &str| Value::String(text.to_owned());
    let mut tokens = byte_tokens();
    tokens.push("<|im_end|>".to_owned());
    let n_tokens = tokens.len();
    let pairs = [
        ("general.architecture", text("llama")),
        ("llama.embedding_length", Value::U32(32)),
        ("llama.block_count", Value::U32(1)),
        ("llama.feed_forward_length", Value::U32(64)),
        ("llama.attention.head_count", Value::U32(2)),
        ("llama.attention.head_count_kv", Value::U32(1)),
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
            Value::Array(Array::I32([vec![1; 256], vec![3]].concat())),
        ),
        ("tokenizer.ggml.eos_token_id", Value::U32(256)),
        (
            "tokenizer.chat_template",
            text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"),
        ),
    ];
    let mut pairs = Vec::from(pairs);
    pairs.retain(|(key, _)| keys.iter().all(|(other, _)| other != key));
    pairs.extend_from_slice(keys);
    let pairs = pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value));
    let metadata = Metadata::new(pairs.collect()).expect("keys once");
    let matrix = |name: &str, kind, shape: &[usize]| {
        let seed = name.bytes().map(u64::from).sum();
        let values: Vec<f32> = values(seed, shape.iter().product())
            .iter()
            .map(|value| 0.5 * value)
            .collect();
        let data = GgufData::encode(name, kind, shape, &values).expect("encodes");
        (name.to_owned(), data)
    };
    let floats = |name: &str, values: &[f32]| {
        let data = GgufData::encode(name, GgmlType::F32, &[values.len()], values);
        (name.to_owned(), data.expect("encodes"))
    };
    let ones = |name: &str| floats(name, &[1.0; 32]);
    let mut tensors = vec![
        matrix("token_embd.weight", GgmlType::Q8_0, &[n_tokens, 32]),
        ones("output_norm.weight"),
        ones("blk.0.attn_norm.weight"),
        matrix("blk.0.attn_q.weight", GgmlType::Q4_1, &[32, 32]),
        matrix("blk.0.attn_k.weight", GgmlType::Q4_1, &[16, 32]),
        // Of another format, so that the three are no single product.
        matrix("blk.0.attn_v.weight", GgmlType::F16, &[16, 32]),
        matrix("blk.0.attn_output.weight", GgmlType::Q4_0, &[32, 32]),
        ones("blk.0.ffn_norm.weight"),
        matrix("blk.0.ffn_gate.weight", GgmlType::Q4_1, &[64, 32]),
        matrix("blk.0.ffn_up.weight", GgmlType::Q4_1, &[64, 32]),
        matrix("blk.0.ffn_down.weight", GgmlType::F32, &[32, 64]),
    ];
    tensors.retain(|(name, _)| others.iter().all(|(other, _)| other != name));
    tensors.extend(others.iter().map(|(name, values)| floats(name, values)));
    let tensors: Vec<GgufData> = tensors.into_iter().map(|(_, data)| data).collect();
    write_gguf(&path, &metadata, &tensors).expect("writes");
    path
}

#[test]
fn a_text_is_the_same_for_the_same_seed_and_ends_where_it_should() {
    let path = model("generate-run.gguf");
    let path = path.to_string_lossy();
    let run = |more: &[&str]| {
        let given = ["run", &path, "-p", "ab", "--json"];
        json(&lapidary(&[&given[..], more].concat()))
    };
    let warm = ["--max-tokens", "12", "--temperature", "2", "--seed"];
    let first = run(&[&warm[..], &["1"]].concat());
    assert_eq!(first["prompt_tokens"], 2);
    assert_eq!(first["text"], run(&[&warm[..], &["1"]].concat())["text"]);
    assert_ne!(
        first["tokens"],
        run(&[&warm[..], &["2"]].concat())["tokens"]
    );
    // The context of 64 ends it before 100 tokens do: 2 of the prompt, and the last one is not read again.
    let long = run(&[
        "--max-tokens",
        "100",
        "--repeat-penalty",
        "1.5",
        "--kv",
        "f16",
    ]);
    if long["ended"] == "the context is full" {
        assert_eq!(long["tokens"].as_array().map(Vec::len), Some(63));
    } else {
        assert_eq!(long["ended"], "the model ended it");
    }
    let chat = run(&["--chat", "--system", "s", "--max-tokens", "1"]);
    // "system: s\nuser: ab\n" in bytes.
    assert_eq!(chat["prompt_tokens"], 19);
}

#[test]
fn plain_output_is_the_text_and_nothing_else() {
    let path = model("generate-plain.gguf");
    let path = path.to_string_lossy();
    let given = ["run", &path, "-p", "ab", "--max-tokens", "9"];
    let text = json(&lapidary(&[&given[..], &["--json"]].concat()));
    let plain = lapidary(&given);
    assert!(plain.status.success(), "{}", said(&plain));
    let expected = format!("{}\n", text["text"].as_str().expect("text"));
    assert_eq!(String::from_utf8_lossy(&plain.stdout), expected);
    assert!(said(&plain).contains("2 tokens read"), "{}", said(&plain));
}

#[test]
fn prompts_of_a_file_give_what_each_gives_alone() {
    let path = model("generate-batch.gguf");
    let path = path.to_string_lossy();
    let prompts = ["a", "a longer prompt", "third"];
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("generate-prompts.txt");
    fs::write(&file, prompts.join("\n\n") + "\n").expect("writes");
    let file = file.to_string_lossy();
    let more = ["--max-tokens", "9", "--temperature", "0.7", "--json"];
    let given = ["run", &path, "--prompt-file", &file, "--batch-size", "2"];
    let report = json(&lapidary(&[&given[..], &more].concat()));
    let texts = report["texts"].as_array().expect("texts");
    assert_eq!(texts.len(), 3);
    for (text, prompt) in texts.iter().zip(prompts) {
        let alone = json(&lapidary(
            &[&["run", &path, "-p", prompt][..], &more].concat(),
        ));
        assert_eq!(text["prompt"], prompt);
        for key in ["tokens", "text", "ended", "prompt_tokens"] {
            assert_eq!(text[key], alone[key], "{prompt}: {key}");
        }
    }
    let empty = Path::new(env!("CARGO_TARGET_TMPDIR")).join("generate-no-prompts.txt");
    fs::write(&empty, "\n").expect("writes");
    let output = lapidary(&["run", &path, "--prompt-file", &empty.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("holds no prompt"),
        "{}",
        said(&output)
    );
}

#[test]
fn perplexity_and_speed_are_reported() {
    let path = model("generate-eval.gguf");
    let path = path.to_string_lossy();
    let text = Path::new(env!("CARGO_TARGET_TMPDIR")).join("generate-text.txt");
    fs::write(&text, "a text of thirty bytes, or so.").expect("writes");
    let text = text.to_string_lossy();
    let given = [
        "eval",
        &path,
        "--perplexity",
        &text,
        "--json",
        "--window",
        "16",
    ];
    let report = json(&lapidary(&given));
    assert_eq!(report["tokens"], 30);
    assert_eq!(report["predicted"], 15 + 13);
    let overlapping = json(&lapidary(&[&given[..], &["--stride", "8"]].concat()));
    assert_eq!(overlapping["predicted"], 29);
    let perplexity = report["perplexity"].as_f64().expect("a number");
    let loss = report["loss"].as_f64().expect("a number");
    assert!((perplexity - loss.exp()).abs() < 1e-9 * perplexity);
    assert!(report["perplexity_standard_error"].as_f64() > Some(0.0));

    let report = json(&lapidary(&[
        "bench", &path, "-p", "20", "-n", "4", "--json",
    ]));
    assert_eq!(report["prompt_tokens"], 20);
    assert_eq!(report["new_tokens"], 4);
    assert!(report["dispatches_per_token"].as_u64() > Some(10));
    assert_eq!(report["submissions_per_token"], 1.0);
    assert_eq!(report["repeat"], 1);
    let held = |key: &str| report[key].as_u64().expect("bytes");
    assert!(held("peak_device_bytes") >= held("weight_bytes") + held("cache_bytes"));
    let rate = report["decode"]["median"].as_f64();
    assert_eq!(report["decode_tokens_per_second"].as_f64(), rate);
}

#[test]
fn a_file_encoded_again_has_no_divergence_and_a_coarser_one_has() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let model = model("generate-base.gguf");
    let text = folder.join("generate-base.txt");
    fs::write(&text, "a text of thirty bytes, or so.").expect("writes");
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let convert = |from: &str, to: &str, kind: &str, more: &[&str]| {
        let given = ["convert", from, to, "--to", kind, "--json"];
        let output = Command::new(env!("CARGO_BIN_EXE_lapidary"))
            .args(given)
            .args(more)
            .output();
        output.expect("the command starts")
    };
    let (model, text) = (model.to_string_lossy(), text.to_string_lossy());
    let refused = convert(&model, &path("generate-q4.gguf"), "q4_1", &[]);
    assert_eq!(refused.status.code(), Some(2));
    let error = said(&refused);
    assert!(error.contains("3 of 11 tensors change, blk.0."), "{error}");
    assert!(error.contains("--lossy rounds them"), "{error}");

    let q4 = path("generate-q4.gguf");
    let report = json(&convert(&model, &q4, "q4_1", &["--lossy"]));
    assert_eq!(report["is_lossless"], false);
    let (floats, again) = (path("generate-f32.gguf"), path("generate-again.gguf"));
    let report = json(&convert(&q4, &floats, "f32", &[]));
    assert_eq!(report["is_lossless"], true);
    json(&convert(&floats, &again, "q4_1", &[]));
    assert!(fs::read(&q4).expect("read") == fs::read(&again).expect("read"));

    let against = |model: &str, base: &str| {
        let given = ["eval", model, "--perplexity", &text, "--base", base];
        json(&lapidary(
            &[&given[..], &["--json", "--window", "20"]].concat(),
        ))
    };
    let same = against(&again, &q4);
    let found = &same["against"];
    assert_eq!(same["perplexity"], found["base_perplexity"]);
    for key in [
        "mean_divergence",
        "largest_divergence",
        "log_perplexity_ratio",
    ] {
        assert_eq!(found[key], 0.0, "{key}");
    }
    assert_eq!(found["same_top_token"], 1.0);
    let coarser = against(&q4, &model);
    let found = |key: &str| coarser["against"][key].as_f64().expect("a number");
    assert_eq!(coarser["predicted"], 28);
    assert!(found("mean_divergence") > 1e-4, "{coarser}");
    assert!(found("divergence_standard_error") > 0.0);
    assert!(found("median_divergence") <= found("divergence_of_90_percent"));
    assert!(found("divergence_of_99_percent") <= found("largest_divergence"));
    // Without a base, the same perplexity by another route: a loss on the device.
    let given = [
        "eval",
        &q4,
        "--perplexity",
        &text,
        "--window",
        "20",
        "--json",
    ];
    let alone = json(&lapidary(&given))["perplexity"].as_f64();
    let beside = coarser["perplexity"].as_f64().expect("a number");
    assert!((alone.expect("a number") / beside - 1.0).abs() < 1e-5);
}

#[test]
fn a_broken_shader_is_named_with_its_layer_and_the_built_in_ones_pass() {
    let path = model("generate-verify.gguf");
    let path = path.to_string_lossy();
    let given = ["verify", &path, "--against-cpu", "-p", "abc"];
    let report = json(&lapidary(&[&given[..], &["--json"]].concat()));
    assert_eq!(report[0]["tokens"], 3);
    assert_eq!(report[0]["first_wrong"], serde_json::Value::Null);
    assert!(report[0]["operations"].as_u64() > Some(20), "{report}");
    assert!(report[0]["worst_over_bound"].as_f64() <= Some(1.0));

    let shaders = Path::new(env!("CARGO_TARGET_TMPDIR")).join("generate-shaders");
    copy(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders"),
        &shaders,
    );
    let file = shaders.join("swiglu.wgsl");
    let sound = fs::read_to_string(&file).expect("reads");
    let broken = sound.replacen("return gate * logistic(gate)", "return logistic(gate)", 1);
    assert_ne!(sound, broken);
    fs::write(&file, broken).expect("writes");
    let shaders = shaders.to_string_lossy();
    let output = lapidary(&[&given[..], &["--shaders", &shaders]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let error = said(&output);
    assert!(
        error.contains("reading 2 tokens, layer 0, operation"),
        "{error}"
    );
    assert!(error.contains(": swiglu "), "{error}");

    let output = lapidary(&["verify", &path]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("--against-cpu"), "{}", said(&output));
    let output = lapidary(&["verify", "Cargo.toml", "--against-cpu"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("for language models"),
        "{}",
        said(&output)
    );
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("reads") {
        let entry = entry.expect("an entry").path();
        let to = to.join(entry.file_name().expect("a name"));
        if entry.is_dir() {
            copy(&entry, &to);
        } else {
            fs::copy(&entry, &to).expect("copies");
        }
    }
}

#[test]
fn a_model_larger_than_memory_is_refused_with_its_sizes() {
    let path = model("generate-memory.gguf");
    let path = path.to_string_lossy();
    let given = ["run", &path, "-p", "ab", "--max-tokens", "2"];
    let output = lapidary(&[&given[..], &["--max-memory", "100K"]].concat());
    assert_eq!(output.status.code(), Some(2));
    let error = said(&output);
    let expected = "generate-memory.gguf: needs 0.3 MiB of memory: 0.0 MiB of weights, up to 0.0 MiB of cache and 0.3 MiB of intermediate results";
    assert!(error.contains(expected), "{error}");
    assert!(error.contains("allowed: 0.1 MiB"), "{error}");
    let output = lapidary(&[&given[..], &["--max-memory", "1M"]].concat());
    assert!(output.status.success(), "{}", said(&output));
    let output = lapidary(&[&given[..], &["--max-memory", "1T"]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("K, M or G"), "{}", said(&output));
}

#[test]
fn a_file_is_shown_with_its_sizes_types_and_metadata() {
    let path = model("generate-inspect.gguf");
    let path = path.to_string_lossy();
    let inspect = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_lapidary"))
            .args(["inspect", &path])
            .args(more)
            .output();
        output.expect("the command starts")
    };
    let report = json(&inspect(&["--json"]));
    assert_eq!(report["model"]["kind"], "llama");
    assert_eq!(report["model"]["head_width"], 16);
    assert_eq!(report["n_tensors"], 11);
    assert_eq!(report["tensors"][3]["type"], "Q4_1");
    assert_eq!(report["metadata"]["tokenizer.ggml.tokens"], "257 of string");
    let plain = inspect(&[]);
    let text = String::from_utf8_lossy(&plain.stdout).into_owned();
    for expected in ["blk.0.ffn_down.weight", "\"gpt2\"", "GGUF: 11 tensors"] {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn bad_input_is_named_with_code_2() {
    let path = model("generate-bad.gguf");
    let path = path.to_string_lossy();
    let no_model = Path::new(env!("CARGO_TARGET_TMPDIR")).join("generate-none.gguf");
    fs::write(&no_model, "GGUF").expect("writes");
    let no_model = no_model.to_string_lossy();
    let long = "x".repeat(65);
    for (arguments, expected) in [
        (
            vec!["run", "absent.gguf", "-p", "a"],
            "absent.gguf: no such file",
        ),
        (vec!["run", &no_model, "-p", "a"], "generate-none.gguf"),
        (vec!["run", "Cargo.toml", "-p", "a"], "no language model"),
        (vec!["run", &path, "-p", ""], "the prompt has no tokens"),
        (vec!["run", &path, "-p", &long], "65 more do not fit 64"),
        (vec!["run", &path, "-p", "a", "--top-p", "0"], "top-p = 0"),
        (
            vec!["run", &path, "-p", "a", "--kv", "f64"],
            "allowed: f32, f16, int8",
        ),
        (
            vec!["bench", &path, "-p", "64", "-n", "1"],
            "the context is full",
        ),
    ] {
        let output = lapidary(&arguments);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            said(&output)
        );
        assert!(
            said(&output).contains(expected),
            "{arguments:?}: {}",
            said(&output)
        );
    }
}
