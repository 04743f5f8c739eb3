//! `lapidary prune`: a trained file in, a folder of a smaller model out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lapidary::compress::model::Model;
use lapidary::data::{Dataset, save_safetensors};

use crate::support::values;

fn run(arguments: &[&str]) -> Output {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache");
    Command::new(env!("CARGO_BIN_EXE_lapidary"))
        .args(arguments)
        .args(["--device", "llvmpipe"])
        .env("LAPIDARY_CACHE", cache)
        .output()
        .expect("the command starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A scratch folder with data, whose class is the row that is bright, and a network trained on them.
fn trained(name: &str) -> [String; 3] {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a scratch folder");
    for (file, seed) in [("train", 1), ("test", 2)] {
        let labels: Vec<u32> = (0..48).map(|row| row % 4).collect();
        let mut inputs = values(seed, 64 * labels.len());
        for (sample, &label) in inputs.chunks_exact_mut(64).zip(&labels) {
            for pixel in &mut sample[16 * label as usize..][..16] {
                *pixel += 2.0;
            }
        }
        let names = (0..4).map(|class| class.to_string()).collect();
        let data = Dataset::new(inputs, vec![1, 8, 8], labels, names).expect("valid");
        save_safetensors(&data, folder.join(file).with_extension("safetensors")).expect("writes");
    }
    let path = |file: &str| -> String {
        let path: PathBuf = folder.join(file);
        path.to_string_lossy().into_owned()
    };
    let (data, file) = (path("."), path("model.safetensors"));
    let made = run(&[
        "train",
        "--model",
        "mlp",
        "--hidden",
        "32,16",
        "--epochs",
        "4",
        "--batch-size",
        "12",
        "--data",
        &data,
        "--out",
        &file,
    ]);
    assert!(made.status.success(), "{}", said(&made));
    [data, file, path("out")]
}

#[test]
fn a_trained_file_becomes_a_folder_of_a_pruned_model_that_is_pruned_further() {
    let [_, file, out] = trained("cli-prune");
    let small = [
        "--batch-size",
        "12",
        "--epochs",
        "2",
        "--fine-tune",
        "1",
        "--json",
    ];
    let made = run(&[&["prune", &file, &out, "--sparsity", "75%"], &small[..]].concat());
    assert!(made.status.success(), "{}", said(&made));
    let report: serde_json::Value = serde_json::from_slice(&made.stdout).expect("JSON");
    assert_eq!(report["prune"]["method"], "magnitude");
    assert_eq!(report["prune"]["layers"][0]["kept"], 512);
    let model = Model::load(&out).expect("a model");
    assert_eq!(
        model.tensor("1.weight").expect("there").format(),
        "delta4 f32"
    );
    let receipt = fs::read_to_string(Path::new(&out).join("receipt.json")).expect("written");
    assert!(receipt.contains("base_sha256") && receipt.contains("\"prune\""));

    // The data are those of the receipt.
    let further = format!("{out}-2");
    let made = run(&[
        "prune",
        &out,
        &further,
        "--sparsity",
        "50%",
        "--structured",
        "--fine-tune",
        "0",
    ]);
    assert!(made.status.success(), "{}", said(&made));
    let text = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(text.contains("multiply-adds a sample"), "{text}");
    let model = Model::load(&further).expect("a model");
    assert_eq!(model.tensor("3.weight").expect("there").shape(), [8, 16]);
}

#[test]
fn a_scan_writes_nothing_and_mistakes_are_named() {
    let [_, file, out] = trained("cli-prune-scan");
    let scan = run(&["prune", &file, &out, "--sparsity", "90%", "--scan"]);
    assert!(scan.status.success(), "{}", said(&scan));
    let text = String::from_utf8_lossy(&scan.stdout).into_owned();
    assert!(text.contains("5.weight") && text.contains("90%"), "{text}");
    assert!(!Path::new(&out).exists());
    for (arguments, expected) in [
        (&["--sparsity", "lots"][..], "lots"),
        (
            &["--sparsity", "80%", "--method", "best"],
            "magnitude, random",
        ),
        (&["--sparsity", "80%", "--keep", "none*"], "keep = none*"),
        (&["--sparsity", "2:4", "--structured"], "--structured"),
        (&["--sparsity", "80%", "--block", "16"], "16x16"),
        (&["--sparsity", "2:4", "--scope", "global"], "scope of N:M"),
    ] {
        let refused = run(&[&["prune", &file, &out], arguments].concat());
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(said(&refused).contains(expected), "{}", said(&refused));
    }
}
