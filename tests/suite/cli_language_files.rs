//! Files of language models that say more than is known, or are named otherwise: nothing that would change a result
//! is left out in silence, and nothing is written over what it was made of.

use std::fs;
use std::path::{Path, PathBuf};

use lapidary::io::gguf::Value;

use crate::cli_generate::{json, lapidary, model, model_with, said};

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn text_file(name: &str) -> String {
    let file = scratch(name);
    fs::write(&file, "a text of thirty bytes, or so.").expect("writes");
    file.to_string_lossy().into_owned()
}

/// What is said of a model, which must be refused.
fn refused(name: &str, keys: &[(&str, Value)], tensors: &[(&str, &[f32])]) -> String {
    let path = model_with(name, keys, tensors);
    let output = lapidary(&[
        "run",
        &path.to_string_lossy(),
        "-p",
        "ab",
        "--max-tokens",
        "2",
    ]);
    assert_eq!(output.status.code(), Some(2), "{name}: {}", said(&output));
    said(&output)
}

#[test]
fn what_would_change_the_result_and_is_not_known_is_refused_by_name() {
    let mut ones = [1.0; 32];
    ones[3] = f32::NAN;
    for (name, tensor, told) in [
        (
            "language-bias.gguf",
            ("blk.0.attn_q.bias", &[0.5_f32; 32] as &[f32]),
            "tensor `blk.0.attn_q.bias` has no place in a Llama decoder",
        ),
        (
            "language-layer.gguf",
            ("blk.1.attn_norm.weight", &[1.0_f32; 32] as &[f32]),
            "has tensors of 2 layers, its configuration says 1",
        ),
        (
            "language-nan.gguf",
            ("blk.0.attn_norm.weight", &ones as &[f32]),
            "tensor `blk.0.attn_norm.weight`, element 3 is NaN; allowed: finite numbers",
        ),
        (
            "language-factors.gguf",
            ("rope_freqs.weight", &[1.0_f32; 7] as &[f32]),
            "tensor `rope_freqs.weight` has shape [7], its configuration wants [8]",
        ),
        (
            "language-zero-factor.gguf",
            ("rope_freqs.weight", &[0.0_f32; 8] as &[f32]),
            "tensor `rope_freqs.weight`, element 0 is 0; allowed: numbers above 0",
        ),
    ] {
        let error = refused(name, &[], &[tensor]);
        assert!(error.contains(told), "{error}");
    }
    for (name, key, value, told) in [
        (
            "language-many.gguf",
            "llama.block_count",
            Value::U32(4_000_000_000),
            "has tensors of 1 layers, its configuration says 4000000000",
        ),
        (
            "language-experts.gguf",
            "llama.expert_count",
            Value::U32(8),
            "metadata key \"llama.expert_count\" is 8; supported: 0",
        ),
    ] {
        let error = refused(name, &[(key, value)], &[]);
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn factors_of_the_rotation_count_and_biases_of_zero_do_not() {
    let text = text_file("language-factors.txt");
    let perplexity = |name: &str, tensors: &[(&str, &[f32])]| {
        let path = model_with(name, &[], tensors);
        // The window is as long as the context.
        let given = [
            "eval",
            &path.to_string_lossy(),
            "--perplexity",
            &text,
            "--json",
        ];
        let report = json(&lapidary(&given));
        assert_eq!(report["window"], 64);
        report["perplexity"].as_f64().expect("a number")
    };
    let plain = perplexity("language-plain.gguf", &[]);
    let ones = ("rope_freqs.weight", &[1.0_f32; 8] as &[f32]);
    assert_eq!(perplexity("language-ones.gguf", &[ones]), plain);
    let bias = ("blk.0.attn_q.bias", &[0.0_f32; 32] as &[f32]);
    assert_eq!(perplexity("language-no-bias.gguf", &[bias]), plain);
    let slow = ("rope_freqs.weight", &[8.0_f32; 8] as &[f32]);
    assert_ne!(perplexity("language-slow.gguf", &[slow]), plain);
}

#[test]
fn a_gguf_file_is_known_by_how_it_begins() {
    let path = model("language-named.gguf");
    let other = scratch("language-named");
    fs::copy(&path, &other).expect("copies");
    let other = other.to_string_lossy();
    let made = json(&lapidary(&[
        "run",
        &other,
        "-p",
        "-a b",
        "--max-tokens",
        "3",
        "--json",
    ]));
    assert_eq!(made["prompt_tokens"], 4);
    let output = lapidary(&["run", &other, "-p", "a", "--temperature", "-1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("temperature = -1"),
        "{}",
        said(&output)
    );
}

#[test]
fn an_input_is_not_written_over_and_a_folder_of_another_model_neither() {
    let path = model("language-over.gguf");
    let before = fs::read(&path).expect("reads");
    let link = scratch("language-over-link.gguf");
    let _ = fs::remove_file(&link);
    fs::hard_link(&path, &link).expect("links");
    for output in [&path, &link] {
        let (from, to) = (path.to_string_lossy(), output.to_string_lossy());
        let made = convert(&[&from, &to, "--to", "q8_0", "--lossy"]);
        assert_eq!(made.status.code(), Some(2));
        assert!(
            said(&made).contains("is also what is read"),
            "{}",
            said(&made)
        );
    }
    assert_eq!(fs::read(&path).expect("reads"), before);
    // Behind a command the word is a name.
    let made = convert(&["run", "language-over.gguf", "--to", "f32"]);
    assert!(said(&made).contains("run: "), "{}", said(&made));
}

fn convert(arguments: &[&str]) -> std::process::Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_lapidary"))
        .arg("convert")
        .args(arguments)
        .output()
        .expect("the command starts")
}

#[test]
fn a_decoder_trained_on_windows_of_any_length_can_be_converted_and_judged() {
    let folder = scratch("language-window");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("texts")).expect("a folder");
    let line = "to be or not to be, that is the question that this text asks. ";
    fs::write(folder.join("texts/a.txt"), line.repeat(12)).expect("writes");
    let [texts, file, out] = ["texts", "d.safetensors", "hf"]
        .map(|name| folder.join(name).to_string_lossy().into_owned());
    let trained = lapidary(&[
        "train",
        "--model",
        "decoder",
        "--sizes",
        "1-16-2-1-32",
        "--window",
        "24",
        "--data",
        &texts,
        "--batch-size",
        "4",
        "--epochs",
        "1",
        "--out",
        &file,
    ]);
    assert!(trained.status.success(), "{}", said(&trained));
    let made = convert(&[&file, &out, "--to", "hf"]);
    assert!(made.status.success(), "{}", said(&made));
    let judged = lapidary(&["bench", &file, "--no-speed", "--verified", "0"]);
    assert!(judged.status.success(), "{}", said(&judged));
    let again = convert(&[&file, &out, "--to", "hf"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(
        said(&again).contains("is a folder with files in it"),
        "{}",
        said(&again)
    );
    let back = convert(&[&out, &format!("{out}-2")]);
    assert_eq!(back.status.code(), Some(2));
    assert!(
        said(&back).contains("a folder of Hugging Face's becomes a GGUF file"),
        "{}",
        said(&back)
    );
}
