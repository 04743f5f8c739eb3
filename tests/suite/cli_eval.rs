//! `lapidary eval`: the metrics of a trained network, and files and data that do not fit.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lapidary::data::{Dataset, load_safetensors, save_safetensors};
use lapidary::io::safetensors::{SafetensorsFile, write_safetensors};

use crate::support::three_classes;

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
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A folder of data and a network trained on it, with the report of training.
fn trained(name: &str, more: &[&str]) -> (PathBuf, String, serde_json::Value) {
    let folder = three_classes(name);
    let (data, out) = (shown(&folder), shown(&folder.join("out.st")));
    let words = ["train", "--model", "mlp", "--hidden", "4", "--data", &data];
    let words = [
        &words[..],
        &["--epochs", "4", "--batch-size", "16", "--json"],
        more,
    ]
    .concat();
    let output = lapidary(&[&words[..], &["--learning-rate", "0.05", "--out", &out]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report = serde_json::from_slice(&output.stdout).expect("JSON");
    (folder, out, report)
}

fn refused(arguments: &[&str], expected: &str) {
    let output = lapidary(arguments);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(
        said(&output).contains(expected),
        "{expected}: {}",
        said(&output)
    );
}

#[test]
fn eval_finds_what_training_found_and_more() {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("eval-finds/kept.st");
    let kept = shown(&kept);
    let (folder, out, trained) = trained("eval-finds", &["--checkpoint", &kept]);
    let (svg, html) = (shown(&folder.join("a.svg")), shown(&folder.join("a.html")));
    let output = lapidary(&["eval", &out, "--json", "--svg", &svg, "--html", &html]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["accuracy"], trained["test_accuracy"]);
    assert_eq!(report["log_loss"], trained["test_loss"]);
    assert_eq!(report["model"], trained["model"]);
    assert_eq!(report["micro"]["f1"], report["accuracy"]);
    // Three classes have no fifth guess.
    assert_eq!(report["top_k"], 3);
    assert_eq!(report["top_k_accuracy"], 1.0);
    assert_eq!(report["samples"], 30);
    assert!(report["auc"].as_f64().expect("a number") > 0.8, "{report}");
    let rows = report["confusion"].as_array().expect("rows");
    for row in rows {
        let counts = row.as_array().expect("counts").iter();
        assert_eq!(
            counts.filter_map(serde_json::Value::as_u64).sum::<u64>(),
            10
        );
    }
    assert!(
        fs::read_to_string(&svg)
            .expect("reads")
            .contains("taken for")
    );
    assert!(
        fs::read_to_string(&html)
            .expect("reads")
            .contains("weighted mean")
    );
    // A checkpoint is a model too.
    let output = lapidary(&["eval", &kept, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let kept: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(kept["confusion"], report["confusion"]);
    let output = lapidary(&["eval", &out, "--top", "2"]);
    let text = said(&output);
    for expected in [
        "top 2 accuracy",
        "macro mean",
        "class taken for",
        "samples/s",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn a_file_without_metadata_is_described_by_flags() {
    let (folder, out, trained) = trained("eval-plain", &["--raw-inputs"]);
    let data = shown(&folder);
    let plain = shown(&folder.join("plain.st"));
    let file = SafetensorsFile::open(&out).expect("reads");
    let tensors: Vec<_> = file
        .tensors()
        .iter()
        .map(|entry| (entry.name.clone(), file.tensor(&entry.name).expect("reads")))
        .collect();
    write_safetensors(&plain, &tensors, &BTreeMap::new()).expect("writes");
    let flags = ["--model", "mlp", "--hidden", "4", "--raw-inputs", "--json"];
    let output = lapidary(&[&["eval", &plain, "--data", &data], &flags[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["log_loss"], trained["test_loss"]);
    refused(&["eval", &plain, "--data", &data], "say so by --model");
    let wrong = ["--model", "mlp", "--hidden", "5", "--raw-inputs"];
    refused(
        &[&["eval", &plain, "--data", &data], &wrong[..]].concat(),
        "tensor `1.weight` has shape [4, 5], the network needs [5, 5]",
    );
    refused(&["eval", &plain, "--model", "mpl"], "possible values");
}

#[test]
fn settings_that_need_others_come_back_from_a_file() {
    let early = ["--patience", "2", "--min-delta", "0.1", "--restore-best"];
    let (folder, out, trained) = trained("eval-together", &early);
    assert_eq!(trained["settings"]["min_delta"], 0.1);
    let output = lapidary(&["eval", &out, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["log_loss"], trained["test_loss"]);

    let (data, again) = (shown(&folder), shown(&folder.join("again.st")));
    let words = ["train", "--model", "mlp", "--hidden", "4", "--data", &data];
    let files = ["--batch-size", "16", "--init", &out, "--out", &again];
    let anew = ["--new-head", "--redraw", "1.bias"];
    let output = lapidary(&[&words[..], &files, &anew].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let output = lapidary(&["eval", &again]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn data_that_do_not_fit_the_network_are_named() {
    let (folder, out, _) = trained("eval-refuses", &[]);
    let train = load_safetensors(folder.join("train.safetensors")).expect("reads");
    let other = |name: &str, train: &Dataset, test: &Dataset| {
        let other = folder.join(name);
        fs::create_dir_all(&other).expect("a folder");
        save_safetensors(train, other.join("train.safetensors")).expect("writes");
        save_safetensors(test, other.join("test.safetensors")).expect("writes");
        shown(&other)
    };
    let wide = train.select_features(&[0, 1, 2, 3]).expect("four");
    let data = other("narrow", &wide, &wide);
    refused(
        &["eval", &out, "--data", &data],
        "trained on samples of shape 5; the data's are 4",
    );

    let two: Vec<usize> = (0..96).filter(|row| row % 3 != 1).collect();
    let without = train.select_rows(&two).expect("rows");
    let data = other("empty", &train, &without);
    refused(
        &["eval", &out, "--data", &data],
        "class 1 (\"b\") has no samples",
    );

    let renamed = |names: &[&str]| {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let (inputs, labels) = (train.inputs().to_vec(), train.labels().to_vec());
        Dataset::new(inputs, vec![5], labels, names).expect("valid")
    };
    let swapped = renamed(&["a", "c", "b"]);
    let data = other("swapped", &swapped, &swapped);
    refused(
        &["eval", &out, "--data", &data],
        "trained with class 1 called \"b\"; in the data it is \"c\"",
    );
    // Numbers may be those of the file's classes, but nobody said so.
    let numbered = renamed(&["0", "1", "2"]);
    let data = other("numbered", &numbered, &numbered);
    refused(
        &["eval", &out, "--data", &data],
        "trained with class 0 called \"a\"; in the data it is \"0\"; --by-number takes",
    );
    refused(
        &[
            "eval",
            &out,
            "--data",
            &other("named", &swapped, &swapped),
            "--by-number",
        ],
        "trained with class 1 called \"b\"",
    );
    let output = lapidary(&["eval", &out, "--data", &data, "--by-number"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    refused(&["eval", &shown(&folder.join("none.st"))], "no such file");
}
