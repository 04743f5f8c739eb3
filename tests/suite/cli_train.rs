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
fn train_goes_on_under_the_same_settings_only() {
    let folder = three_classes("train-other");
    let other = three_classes("train-other-data");
    let (data, kept) = (folder.to_string_lossy(), folder.join("kept.st"));
    let sets = ["train.safetensors", "test.safetensors"].map(|name| other.join(name));
    fs::copy(&sets[0], &sets[1]).expect("copies");
    let run = |data: &str, more: &[&str]| {
        let kept = kept.to_string_lossy();
        let common = ["--data", data, "--checkpoint", &kept];
        let has_epochs = more.contains(&"--epochs");
        let epochs: &[&str] = if has_epochs { &[] } else { &["--epochs", "1"] };
        train(&[&common, epochs, more].concat())
    };
    let output = run(&data, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let bytes = fs::read(&kept).expect("reads");
    let out = folder.join("out.st").to_string_lossy().into_owned();
    for (changed, expected) in [
        (&["--schedule", "constant"][..], "schedule was Polynomial"),
        // The rate falls to 0 over all epochs.
        (&["--epochs", "2"], "schedule was Polynomial"),
        (&["--weight-decay", "0.5"], "optimizer_options was"),
        (&["--optimizer", "adam"], "optimizer_options was"),
        (
            &["--label-smoothing", "0.25"],
            "label_smoothing was 0.0, now 0.25",
        ),
        (&["--max-norm", "1"], "max_norm was None, now Some(1.0)"),
        (&["--max-value", "1"], "max_value was None, now Some(1.0)"),
        (&["--patience", "3"], "early_stopping was None"),
        (&["--noise", "0.5"], "noise was 0, now 0.5"),
        (&["--raw-inputs"], "set was"),
    ] {
        let output = run(&data, &[changed, &["--out", &out]].concat());
        let text = said(&output);
        assert_eq!(output.status.code(), Some(2), "{changed:?}: {text}");
        assert!(text.contains(expected), "{changed:?}: {text}");
        assert!(text.contains("by --init"), "{text}");
        // No network claims settings that it was not trained with.
        assert!(!Path::new(&out).exists());
    }
    let output = run(&other.to_string_lossy(), &[]);
    assert!(said(&output).contains("test set was"), "{}", said(&output));
    let output = run(&data, &["--init", "no-such-file.st"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let note = "note: no-such-file.st is not read: training goes on from";
    assert!(said(&output).contains(note), "{}", said(&output));
    assert_eq!(fs::read(&kept).expect("reads"), bytes);
}

#[test]
fn what_a_resumed_run_logs_and_draws_is_that_of_one_run() {
    let folder = three_classes("train-log");
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let run = |epochs: &str, files: &[&str]| {
        let data = path("");
        let common = ["--data", &data, "--schedule", "constant"];
        let output = train(&[&common[..], &["--epochs", epochs], files].concat());
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        said(&output)
    };
    let without_seconds = |file: &str| -> Vec<serde_json::Value> {
        let text = fs::read_to_string(file).expect("reads");
        let lines = text.lines().map(|line| {
            let mut line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            line["seconds"] = 0.into();
            line
        });
        lines.collect()
    };
    let (log, svg, whole) = (path("log.jsonl"), path("a.svg"), path("whole.jsonl"));
    let (kept, drawn) = (path("kept.st"), path("whole.svg"));
    run("3", &["--log", &whole, "--svg", &drawn]);
    let files = ["--log", &log, "--svg", &svg, "--checkpoint", &kept];
    run("1", &files);
    let early = fs::read(&kept).expect("reads");
    run("2", &files);
    // As if it had been killed in the second epoch, in the middle of a line.
    fs::write(&kept, early).expect("writes");
    let text = fs::read_to_string(&log).expect("reads");
    fs::write(&log, &text[..text.len() - 9]).expect("writes");
    run("3", &files);
    assert_eq!(without_seconds(&log), without_seconds(&whole));
    let read = |file: &str| fs::read_to_string(file).expect("reads");
    assert_eq!(read(&svg), read(&drawn));

    fs::remove_file(&log).expect("was there");
    let said_more = run("4", &["--svg", &svg, "--checkpoint", &kept]);
    let note = "shows those after step 18";
    assert!(said_more.contains(note), "{said_more}");
    fs::write(&log, "{\"event\":\"other\"}\n").expect("writes");
    let data = path("");
    let common = ["--data", &data, "--schedule", "constant", "--epochs", "5"];
    let output = train(&[&common[..], &files].concat());
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let expected = "log.jsonl: line 1 is not of a log of training";
    assert!(said(&output).contains(expected), "{}", said(&output));
}

#[test]
fn segments_need_less_memory_and_change_nothing() {
    let folder = three_classes("train-segments");
    let data = folder.to_string_lossy().into_owned();
    let run = |segments: &str| -> serde_json::Value {
        let output = Command::new(env!("CARGO_BIN_EXE_lapidary"))
            .args(["train", "--model", "mlp", "--hidden", "32,32,32,32,32,32"])
            .args([
                "--device",
                "llvmpipe",
                "--batch-size",
                "96",
                "--epochs",
                "1",
            ])
            .args(["--data", &data, "--json", "--segments", segments])
            .output()
            .expect("the command starts");
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let (whole, parts) = (run("1"), run("3"));
    assert_eq!(whole["test_loss"], parts["test_loss"]);
    for key in ["intermediate_bytes", "needed_bytes", "counted_bytes"] {
        assert!(parts[key].as_u64() < whole[key].as_u64(), "{whole} {parts}");
    }
    let output = train(&["--segments", "0"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
}

#[test]
fn a_loss_that_is_not_finite_ends_with_1_and_leaves_the_checkpoint() {
    let folder = three_classes("train-diverges");
    let data = folder.to_string_lossy().into_owned();
    let kept = folder.join("kept.st").to_string_lossy().into_owned();
    let run = |more: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_lapidary"))
            .args([
                "train", "--model", "mlp", "--hidden", "4", "--device", "llvmpipe",
            ])
            .args(["--data", &data, "--optimizer", "sgd"])
            .args(["--schedule", "constant"])
            .args(more)
            .output()
            .expect("the command starts")
    };
    let resumed = |epochs: &str| {
        let rate = ["--learning-rate", "0.1", "--batch-size", "16"];
        run(&[&["--checkpoint", &kept, "--epochs", epochs][..], &rate].concat())
    };
    assert_eq!(resumed("1").status.code(), Some(0));
    // Weights so large that scores pass the range, as a step too large leaves them.
    let file = SafetensorsFile::open(&kept).expect("reads");
    let mut tensors = Vec::new();
    for entry in file.tensors() {
        let tensor = file.tensor(&entry.name).expect("reads");
        let large =
            lapidary::tensor::HostTensor::from_f32(entry.shape.clone(), &vec![2e38; tensor.len()]);
        let is_weight = entry.name == "3.weight" || entry.name == "1.bias";
        let tensor = if is_weight {
            large.expect("fits")
        } else {
            tensor
        };
        tensors.push((entry.name.clone(), tensor));
    }
    let metadata = file.metadata().clone();
    lapidary::io::safetensors::write_safetensors(&kept, &tensors, &metadata).expect("writes");
    let before = fs::read(&kept).expect("reads");
    let output = resumed("2");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("step 7: the loss is"), "{text}");
    let origin = "first not finite: the result with `3.weight` and `3.bias`, element 0, is";
    assert!(text.contains(origin), "{text}");
    assert!(text.contains(", made by matmul"), "{text}");
    assert_eq!(fs::read(&kept).expect("reads"), before);

    // One step an epoch: what it made is judged next, and says where numbers end.
    let one = ["--batch-size", "96", "--epochs", "2", "--learning-rate"];
    let output = run(&[&one[..], &["1e30"]].concat());
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("after step 1: the scores of sample"),
        "{text}"
    );
    assert!(
        text.contains("`3.weight`") && text.contains(", made by matmul"),
        "{text}"
    );
    let output = run(&[&one[..], &["1e39"]].concat());
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(
        said(&output).contains("learning rate = 1000"),
        "{}",
        said(&output)
    );
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
    // Some steps more, and the same in one go.
    let steps_of_all: u64 = steps.parse().expect("a number");
    let epochs = (steps_of_all / 6 + 2).to_string();
    let (parts, whole) = (path("parts.st"), path("whole.st"));
    let output = command(&epochs).args(["--out", &parts]).output();
    let output = output.expect("the command starts");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let resumed = format!("resumed after step {steps}");
    assert!(said(&output).contains(&resumed), "{}", said(&output));
    fs::remove_file(&kept).expect("was there");
    let output = command(&epochs).args(["--out", &whole]).output();
    let output = output.expect("the command starts");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(
        fs::read(&whole).expect("reads"),
        fs::read(&parts).expect("reads")
    );
}
