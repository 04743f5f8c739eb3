//! `lapidary quantize`: plans, files, and what is refused.

use std::path::Path;
use std::process::{Command, Output};

use lapidary::compress::model::Model;

fn quantize(arguments: &[&str]) -> Output {
    let network =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fmnist_mlp_f32.safetensors");
    Command::new(env!("CARGO_BIN_EXE_lapidary"))
        .arg("quantize")
        .arg(network)
        .args(arguments)
        .args([
            "--model",
            "mlp",
            "--hidden",
            "256,128",
            "--raw-inputs",
            "--device",
            "llvmpipe",
        ])
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

#[test]
fn a_plan_says_what_becomes_of_each_weight_and_writes_nothing() {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("quantize-plan");
    let folder = out.display().to_string();
    let asked = [
        "--scheme",
        "int4-g32",
        "--on-misfit",
        "smaller-group",
        "--keep",
        "5.*",
        "--plan",
        "--json",
    ];
    let output = quantize(&[&[folder.as_str()], &asked[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let becomes: Vec<&str> = plan
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["becomes"].as_str().expect("a word"))
        .collect();
    assert_eq!(becomes, ["int4-g16", "int4-g32", "kept"]);
    assert!(!out.exists());
}

#[test]
fn a_network_becomes_a_folder_that_opens_again_and_says_what_was_lost() {
    let out = tempfile::tempdir().expect("a folder");
    let folder = out.path().join("int8").display().to_string();
    let output = quantize(&[
        &folder, "--scheme", "w8a8", "--method", "nearest", "--calib", "8", "--json",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let [before, after] = [0, 1].map(|at| report["accuracy"][at].as_f64().expect("a number"));
    assert!(before - after <= 0.003, "{before} {after}");
    assert_eq!(
        report["quantize"]["layers"].as_array().map(Vec::len),
        Some(3)
    );
    let model = Model::load(&folder).expect("reads");
    let format = model.tensor("1.weight").expect("there").format();
    assert_eq!(format, "int8-channel x int8");
}

#[test]
fn scales_of_activations_are_found_beforehand_planned_stored_and_made_again() {
    let out = tempfile::tempdir().expect("a folder");
    let folder = out.path().join("static").display().to_string();
    let asked = [
        folder.as_str(),
        "--scheme",
        "w8a8",
        "--activations",
        "int8-static-p0.999",
        "--method",
        "nearest",
        "--calib",
        "32",
        "--json",
    ];
    let planned = quantize(&[&asked[..], &["--plan"]].concat());
    assert_eq!(planned.status.code(), Some(0), "{}", said(&planned));
    let plan: serde_json::Value = serde_json::from_slice(&planned.stdout).expect("JSON");
    assert_eq!(plan[0]["becomes"], "int8-channel x int8-static-p0.999");
    let output = quantize(&asked);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let [before, after] = [0, 1].map(|at| report["accuracy"][at].as_f64().expect("a number"));
    assert!(before - after <= 0.003, "{before} {after}");
    let run = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_lapidary"))
            .args(words)
            .env(
                "LAPIDARY_CACHE",
                Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"),
            )
            .output()
            .expect("the command starts");
        assert_eq!(
            output.status.code(),
            Some(0),
            "{words:?}: {}",
            said(&output)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let shown: serde_json::Value =
        serde_json::from_str(&run(&["inspect", &folder, "--json"])).expect("JSON");
    let first = &shown["tensors"][0];
    assert_eq!(first["format"], "int8-channel x int8-static");
    let scale = first["input_scale"].as_f64().expect("a number");
    assert!(scale > 0.0 && scale <= 1.0 / 127.0 + 1e-9, "{scale}");
    assert_eq!(shown["tensors"][1]["input_scale"], serde_json::Value::Null);
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fmnist_mlp_f32.safetensors");
    let base = base.display().to_string();
    let verified = run(&[
        "verify",
        &folder,
        "--against",
        &base,
        "--device",
        "llvmpipe",
    ]);
    assert!(
        verified.contains("gives the same bytes again"),
        "{verified}"
    );
}

#[test]
fn schemes_and_weights_that_do_not_fit_are_told_with_the_fix() {
    for (arguments, message) in [
        (
            &["out", "--scheme", "int8", "--activations", "int8-statik"][..],
            "activations = int8-statik; allowed: float, int8, int8-g32, int8-g64, int8-static",
        ),
        (
            &[
                "out",
                "--scheme",
                "int8",
                "--activations",
                "int8-static",
                "--qat-epochs",
                "1",
            ][..],
            "activations of quantization-aware training = int8-static",
        ),
        (&["out", "--scheme", "int5"][..], "the nearest is int"),
        (
            &["out", "--scheme", "int8", "--damping", "0"][..],
            "allowed: a share such as 0.01, above 0",
        ),
        (
            &["out", "--scheme", "int8", "--order", "random"][..],
            "activation, static, natural",
        ),
        (
            &["out", "--scheme", "int4-g32"][..],
            "1.weight: k = 784 is not a multiple of group_size 32; use int4-g16",
        ),
        (
            &["out", "--scheme", "int8", "--method", "gtpq"][..],
            "nearest, gptq, awq, hqq, smoothquant",
        ),
        (
            &["out", "--scheme", "nf4", "--method", "gptq"][..],
            "nearest, which finds the nearest level",
        ),
        (
            &["out", "--scheme", "int8", "--keep", "conv*"][..],
            "patterns that fit one of 1.weight",
        ),
    ] {
        let output = quantize(arguments);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(message), "{}", said(&output));
    }
}
