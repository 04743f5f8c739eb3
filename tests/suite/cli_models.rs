//! `lapidary train` with networks of images, and a trained one under a new head.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lapidary::data::{Dataset, save_safetensors};
use lapidary::io::safetensors::SafetensorsFile;

use crate::support::values;

fn train(arguments: &[&str]) -> Output {
    let tiny = ["--epochs", "1", "--batch-size", "12", "--json"];
    Command::new(env!("CARGO_BIN_EXE_lapidary"))
        .arg("train")
        .args(tiny)
        .args(["--device", "llvmpipe"])
        .args(arguments)
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

/// Two sets of images of 8 by 8 whose class is the row that is bright.
fn images(folder: &str, n_classes: u32) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a scratch folder");
    for (file, seed) in [("train", 1), ("test", 2)] {
        let labels: Vec<u32> = (0..24).map(|row| row % n_classes).collect();
        let mut inputs = values(seed, 64 * labels.len());
        for (sample, &label) in inputs.chunks_exact_mut(64).zip(&labels) {
            for pixel in &mut sample[8 * label as usize..][..8] {
                *pixel += 2.0;
            }
        }
        let names = (0..n_classes).map(|class| class.to_string()).collect();
        let data = Dataset::new(inputs, vec![1, 8, 8], labels, names).expect("valid");
        let path = folder.join(file).with_extension("safetensors");
        save_safetensors(&data, path).expect("writes");
    }
    folder
}

#[test]
fn networks_of_images_train_and_say_what_they_cost() {
    let folder = images("models-train", 3);
    let data = folder.to_string_lossy().into_owned();
    for (model, name, parameters, multiply_adds) in [
        (
            "cnn",
            "cnn 3",
            16 * 9 + 16 + 32 * 16 * 9 + 32 + 128 * 64 + 64 + 64 * 3 + 3,
            16 * 9 * 64 + 32 * 16 * 9 * 16 + 128 * 64 + 64 * 3,
        ),
        ("mlp", "mlp 64-4-3", 64 * 4 + 4 + 4 * 3 + 3, 64 * 4 + 4 * 3),
        (
            "mobilenet",
            "mobilenet 0.125 3",
            // Six layers of 8 channels, then 16, 16, 32, 32.
            (72 + 2 * 8)
                + (72 + 64)
                + (72 + 128)
                + (144 + 256)
                + (144 + 512)
                + (288 + 1024)
                + 2 * (8 + 8 + 8 + 16 + 16 + 16 + 16 + 32 + 32 + 32)
                + 32 * 3
                + 3,
            64 * (72 + 72 + 64) + 16 * (72 + 128 + 144 + 256) + 4 * (144 + 512 + 288 + 1024) + 96,
        ),
    ] {
        let output = train(&[
            "--model", model, "--width", "0.125", "--hidden", "4", "--data", &data,
        ]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(report["model"], name);
        assert_eq!(report["parameters"], parameters, "{name}");
        assert_eq!(report["multiply_adds"], multiply_adds, "{name}");
        let shown = format!("{name}: {parameters} parameters, {multiply_adds} multiply-adds");
        assert!(said(&output).contains(&shown), "{}", said(&output));
    }
    let refused = train(&["--model", "mobilenet", "--width", "0"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("width = 0; allowed: more than 0"));
}

#[test]
fn a_trained_network_takes_a_new_head() {
    let (three, four) = (images("models-three", 3), images("models-four", 4));
    let path = |folder: &Path, name: &str| folder.join(name).to_string_lossy().into_owned();
    let (first, second) = (path(&three, "first.st"), path(&three, "second.st"));
    let base = ["--model", "mobilenet", "--width", "0.125", "--data"];
    let (from, to) = (path(&three, ""), path(&four, ""));
    let output = train(&[&base[..], &[&from, "--out", &first]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));

    let again = [&base[..], &[&to, "--init", &first]].concat();
    let output = train(&again);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("shape [3, 32], the network needs [4, 32]"),
        "{}",
        said(&output)
    );
    let freeze = ["--freeze", "0.*", "--freeze", "31.*"];
    let more = [&again[..], &["--new-head", "--out", &second], &freeze[..]].concat();
    let output = train(&more);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let (before, after) = (
        SafetensorsFile::open(&first).expect("reads"),
        SafetensorsFile::open(&second).expect("reads"),
    );
    let get = |file: &SafetensorsFile, name: &str| file.tensor(name).expect("there");
    assert_eq!(get(&before, "0.weight"), get(&after, "0.weight"));
    for part in ["running_mean", "running_var"] {
        let named = |layer: &str| format!("{layer}.{part}");
        let [frozen, other] = [named("31"), named("28")];
        assert_eq!(get(&before, &frozen), get(&after, &frozen));
        assert_ne!(get(&before, &other), get(&after, &other));
    }
    assert_eq!(get(&after, "34.weight").shape(), [4, 32]);
}

#[test]
fn a_student_is_distilled_from_a_file_and_then_teaches_itself() {
    let folder = images("models-distill", 3);
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (data, teacher, student) = (path(""), path("teacher.st"), path("student"));
    let output = train(&["--model", "cnn", "--data", &data, "--out", &teacher]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let distill = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_lapidary"))
            .args(["distill", "--device", "llvmpipe", "--json"])
            .args(["--epochs", "2", "--batch-size", "12"])
            .args(arguments)
            .env(
                "LAPIDARY_CACHE",
                Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"),
            )
            .output()
            .expect("the command starts")
    };
    let first = [
        &teacher,
        &student,
        "--student",
        "mobilenet 0.125",
        "--hint",
        "attention",
        "--labelled",
        "12",
        "--control",
    ];
    let output = distill(&first);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["log"]["cache"], "written");
    assert_eq!(report["log"]["labelled"], serde_json::json!([4, 4, 4]));
    assert!(report["labels_alone_accuracy"].is_number());
    let again: serde_json::Value =
        serde_json::from_slice(&distill(&first).stdout).expect("the same again");
    assert_eq!(again["log"]["cache"], "read");
    assert_eq!(again["sha256"], report["sha256"]);

    // The data are those in its receipt.
    let second = path("second");
    let output = distill(&[&student, &second, "--student", &student, "--loss", "logits"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));

    let refused = distill(&[&teacher, &second, "--student", "vgg"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        said(&refused).contains("no kind `vgg`"),
        "{}",
        said(&refused)
    );
    let refused = distill(&[&teacher, &second, "--student", "cnn", "--hint-layers", "1"]);
    assert_eq!(refused.status.code(), Some(2));
}
