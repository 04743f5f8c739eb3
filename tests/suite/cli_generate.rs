//! `lapidary run`, `eval --perplexity` and `bench` on a decoder of random weights whose tokens are bytes, and
//! what they refuse.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lapidary::io::gguf::{Array, GgufData, Metadata, Value, write_gguf};
use lapidary::num::ggml::GgmlType;

use crate::support::values;

fn lapidary(arguments: &[&str]) -> Output {
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

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> serde_json::Value {
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
fn model(name: &str) -> PathBuf {
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
    let pairs = pairs.map(|(key, value)| (key.to_owned(), value));
    let metadata = Metadata::new(Vec::from(pairs)).expect("keys once");
    let matrix = |name: &str, kind, shape: &[usize]| {
        let seed = name.bytes().map(u64::from).sum();
        let values: Vec<f32> = values(seed, shape.iter().product())
            .iter()
            .map(|value| 0.5 * value)
            .collect();
        GgufData::encode(name, kind, shape, &values).expect("encodes")
    };
    let ones = |name: &str| GgufData::encode(name, GgmlType::F32, &[32], &[1.0; 32]).expect("ones");
    let tensors = [
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
