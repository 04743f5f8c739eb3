//! `lapidary train`: what it writes, that it goes on where it stopped, and what it refuses.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use lapidary::io::safetensors::SafetensorsFile;

use crate::support::three_classes;

fn train(arguments: &[&str]) -> Output {
    let tiny = ["--model", "mlp", "--hidden", "4", "--batch-size", "16"];
    Command::new(env!("CARGO_BIN_EXE_lapidary"))
        .arg("train")
        .args(tiny)
        .args(["--device", "llvmpipe", "--learning-rate", "0.05"])
        .args(arguments)
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

#[test]
fn train_writes_network_log_curves_and_a_report() {
    let folder = three_classes("train-files");
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (data, out, log, svg) = (path(""), path("out.st"), path("log.jsonl"), path("a.svg"));
    let files = ["--data", &data, "--out", &out, "--log", &log, "--svg", &svg];
    let output = train(&[&["--epochs", "8", "--json"], &files[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["steps"], 48);
    assert_eq!(report["model"], "mlp 5-4-3");
    assert_eq!(report["parameters"], 5 * 4 + 4 + 4 * 3 + 3);
    let accuracy = report["test_accuracy"].as_f64().expect("a number");
    assert!(accuracy > 0.8, "{report}");
    assert!(said(&output).contains("epoch 8: training loss"));

    let file = SafetensorsFile::open(&out).expect("reads");
    assert_eq!(file.tensor("1.weight").expect("there").shape(), [4, 5]);
    assert_eq!(file.metadata()["model"], "mlp 5-4-3");
    let log = fs::read_to_string(&log).expect("reads");
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 48 + 8);
    assert_eq!(lines[0]["event"], "step");
    assert_eq!(lines[0]["learning_rate"], 0.05);
    assert_eq!(lines[55]["test_accuracy"], report["test_accuracy"]);
    assert!(lines[47]["loss"].as_f64() < lines[0]["loss"].as_f64());
    let svg = fs::read_to_string(&svg).expect("reads");
    assert!(svg.contains("test accuracy"));
}

#[test]
fn train_goes_on_from_a_checkpoint_to_the_same_bits() {
    let folder = three_classes("train-resume");
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let run = |epochs: &str, more: &[&str]| {
        let data = path("");
        let common = [
            "--data",
            &data,
            "--schedule",
            "constant",
            // What is random in the data resumes too.
            "--noise",
            "0.05",
            "--epochs",
            epochs,
        ];
        let output = train(&[&common, more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        said(&output)
    };
    let (whole, parts, kept) = (path("whole.st"), path("parts.st"), path("kept.st"));
    run("3", &["--out", &whole]);
    run("1", &["--checkpoint", &kept]);
    let said = run("3", &["--checkpoint", &kept, "--out", &parts]);
    assert!(said.contains("resumed after step 6"), "{said}");
    assert_eq!(
        fs::read(&whole).expect("reads"),
        fs::read(&parts).expect("reads")
    );
    // Nothing is left to do, and it says how good the network is.
    let said = run("3", &["--checkpoint", &kept]);
    assert!(said.contains("test accuracy"), "{said}");
}

#[test]
fn train_refuses_what_does_not_fit_with_exit_code_2() {
    let folder = three_classes("train-refused");
    let data = folder.to_string_lossy().into_owned();
    let other = folder.join("other.st").to_string_lossy().into_owned();
    let tensors = [(
        "1.weight".to_owned(),
        lapidary::tensor::HostTensor::from_f32(vec![2], &[0.0; 2]).expect("fits"),
    )];
    lapidary::io::safetensors::write_safetensors(&other, &tensors, &BTreeMap::new())
        .expect("writes");
    for (arguments, expected) in [
        (
            &["--init", &other][..],
            "tensor `1.weight` has shape [2], the network needs [4, 5]",
        ),
        (&["--checkpoint", &other], "no checkpoint"),
        (&["--freeze", "9.*"], "no parameter has such a name"),
        (&["--optimizer", "adamx"], "adamw"),
        (&["--epochs", "0"], "0"),
        (&["--batch-size", "97"], "batch size"),
        (&["--label-smoothing", "1.5"], "1.5"),
        (&["--hidden", "4,0"], "layer 2"),
        (&["--shift", "1"], "images"),
        (&["--noise=-1"], "noise"),
    ] {
        let mut all = vec!["--data", &data];
        all.extend(arguments);
        // The fixed arguments name a batch size and extents already.
        let output = if arguments[0] == "--batch-size" || arguments[0] == "--hidden" {
            Command::new(env!("CARGO_BIN_EXE_lapidary"))
                .args(["train", "--model", "mlp", "--device", "llvmpipe"])
                .args(&all)
                .output()
                .expect("the command starts")
        } else {
            train(&all)
        };
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            said(&output)
        );
        assert!(said(&output).contains(expected), "{}", said(&output));
    }
    let output = train(&["--data", "/nonexistent-folder"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
}

#[test]
fn a_loss_that_is_not_finite_ends_with_1_and_leaves_the_checkpoint() {
    let folder = three_classes("train-diverges");
    let data = folder.to_string_lossy().into_owned();
    let kept = folder.join("kept.st").to_string_lossy().into_owned();
    let run = |epochs: &str, rate: &str| {
        Command::new(env!("CARGO_BIN_EXE_lapidary"))
            .args([
                "train", "--model", "mlp", "--hidden", "4", "--device", "llvmpipe",
            ])
            .args(["--data", &data, "--batch-size", "16", "--optimizer", "sgd"])
            .args(["--schedule", "constant", "--checkpoint", &kept])
            .args(["--epochs", epochs, "--learning-rate", rate])
            .output()
            .expect("the command starts")
    };
    assert_eq!(run("1", "0.1").status.code(), Some(0));
    let before = fs::read(&kept).expect("reads");
    let output = run("2", "1e38");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("the loss is"), "{}", said(&output));
    assert_eq!(fs::read(&kept).expect("reads"), before);
}

#[cfg(unix)]
#[test]
fn ctrl_c_writes_the_checkpoint_and_ends_with_1() {
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    let folder = three_classes("train-ctrl-c");
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (data, kept, log) = (path(""), path("kept.st"), path("log.jsonl"));
    let command = |epochs: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lapidary"));
        command
            .args([
                "train", "--model", "mlp", "--hidden", "4", "--device", "llvmpipe",
            ])
            .args(["--data", &data, "--batch-size", "16", "--log", &log])
            .args(["--checkpoint", &kept, "--schedule", "constant"])
            .args(["--epochs", epochs])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    };
    let child = command("1000000").spawn().expect("the command starts");
    let began = Instant::now();
    while fs::read_to_string(&log).unwrap_or_default().lines().count() < 20 {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "no step was logged"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status();
    assert!(sent.expect("kill is there").success());
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("stopped by Ctrl-C after step"));
    let file = SafetensorsFile::open(&kept).expect("a whole file");
    let steps = file.metadata()["steps"].clone();
    let output = command("1").output().expect("the command starts");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let resumed = format!("resumed after step {steps}");
    assert!(said(&output).contains(&resumed), "{}", said(&output));
}
