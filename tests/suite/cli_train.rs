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
        (
            &["--hidden", "9223372036854775807"],
            "`1.weight` of [9223372036854775807, 5]",
        ),
        (
            &["--hidden", "100000,100000"],
            "`3.weight` of [100000, 100000]",
        ),
        (&["--out", "/nonexistent-folder/a.st"], "there is no folder"),
        (
            &["--svg", "/nonexistent-folder/a.svg"],
            "there is no folder",
        ),
        (&["--out", &data], "there is a folder of that name"),
        (&["--checkpoint", &data], "there is a folder of that name"),
        (
            &["--every", "3"],
            "--every is for --schedule step or exponential",
        ),
        (&["--momentum", "0.5"], "--momentum: adamw has none"),
        (&["--betas", "0.9,1"], "second beta"),
        (
            &["--schedule", "step", "--every", "0"],
            "time between two steps is 0",
        ),
        (&["--min-delta", "0.1"], "--patience"),
        (&["--validation", "1"], "validation share 1"),
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
        // Nothing is lost, because nothing was done.
        assert!(!said(&output).contains("epoch 1"), "{}", said(&output));
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

/// The lines of a log of these events.
fn logged(log: &str, event: &str) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(log).expect("reads");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    lines.filter(|line| line["event"] == event).collect()
}

#[test]
fn rates_follow_the_schedule_that_is_asked_for() {
    let folder = three_classes("train-rates");
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (data, log) = (path(""), path("log.jsonl"));
    for (words, expected) in [
        (
            &[
                "--schedule",
                "step",
                "--every",
                "1",
                "--gamma",
                "0.5",
                "--clock",
                "epochs",
            ][..],
            [0.05, 0.05, 0.025, 0.025],
        ),
        (
            &[
                "--schedule",
                "piecewise",
                "--milestones",
                "1,7",
                "--rates",
                "1,0.5,0.25",
            ],
            [1.0, 0.5, 0.5, 0.25],
        ),
        (
            &[
                "--schedule",
                "constant",
                "--warm-up",
                "2",
                "--warm-up-start",
                "0.5",
            ],
            [0.025, 0.05, 0.05, 0.05],
        ),
    ] {
        let common = ["--data", &data, "--epochs", "2", "--log", &log];
        let output = train(&[&common, words].concat());
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let steps = logged(&log, "step");
        // Two epochs of six steps.
        let rates = [0, 5, 6, 11].map(|step: usize| steps[step]["learning_rate"].as_f64());
        assert_eq!(rates, expected.map(Some), "{words:?}");
    }
}

#[test]
fn a_part_of_the_training_set_decides_and_the_test_set_judges() {
    let folder = three_classes("train-validation");
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (data, log) = (path(""), path("log.jsonl"));
    let run = |more: &[&str]| {
        let common = ["--data", &data, "--epochs", "4", "--log", &log, "--json"];
        let output = train(&[&common[..], &["--patience", "3", "--restore-best"], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let report = serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("JSON");
        (report, said(&output))
    };
    let (report, text) = run(&["--validation", "0.25"]);
    assert_eq!(report["test_set_decided"], false);
    // 72 of 96 samples are left, four steps of 16 and eight samples over.
    assert_eq!(report["steps"], 4 * 4);
    assert!(text.contains("an epoch takes 64 of 72 samples; 8 do not fill a step of 16"));
    assert!(text.contains("validation accuracy"), "{text}");
    let epochs = logged(&log, "epoch");
    assert!(epochs[0]["validation_loss"].is_f64() && epochs[0]["test_loss"].is_null());
    // 24 samples are judged while training goes on, 30 in the end.
    let share = |value: &serde_json::Value, n: f64| {
        let count = value.as_f64().expect("a number") * n;
        (count - count.round()).abs() < n * f64::EPSILON
    };
    assert!(
        epochs
            .iter()
            .all(|one| share(&one["validation_accuracy"], 24.0))
    );
    assert!(share(&report["test_accuracy"], 30.0));
    let (report, text) = run(&[]);
    assert_eq!(report["test_set_decided"], true);
    assert!(!text.contains("note: an epoch takes"), "{text}");
    assert!(logged(&log, "epoch")[0]["test_loss"].is_f64());
}

#[test]
fn tables_are_cleaned_by_what_the_training_set_says() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("train-tables");
    fs::create_dir_all(&folder).expect("a folder");
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    // The first feature tells nothing, the second everything; one value is missing and one row is there twice.
    let rows = |n: usize| -> String {
        let row = |row: usize| {
            let class = row % 2;
            let clear = if row == 3 {
                String::new()
            } else {
                format!("{}.{row:02}", 4 * class)
            };
            format!("{},{clear},{}\n", row / 2 % 3, ["zebra", "ape"][class])
        };
        (0..n).map(row).collect()
    };
    let text = format!("dull,clear,label\n{}0,0.00,zebra\n", rows(40));
    fs::write(folder.join("train.csv"), text).expect("writes");
    fs::write(
        folder.join("test.csv"),
        format!("dull,clear,label\n{}", rows(20)),
    )
    .expect("writes");
    let (data, out) = (path(""), path("out.st"));
    let output = train(&["--data", &data]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let expected = "row 4 of the training set (from 1, without a header), feature \"clear\"";
    assert!(said(&output).contains(expected), "{}", said(&output));
    let clean = ["--drop-duplicates", "--fill-missing", "--select-best", "1"];
    let common = ["--data", &data, "--epochs", "20", "--out", &out];
    let output = train(&[&common, &clean[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    for expected in [
        "1 duplicates dropped",
        "training set: 1 missing values filled",
        "features: \"clear\"",
        "test set: 1 missing values filled",
        "mlp 1-4-2",
    ] {
        assert!(
            said(&output).contains(expected),
            "{expected}: {}",
            said(&output)
        );
    }
    let file = SafetensorsFile::open(&out).expect("reads");
    assert_eq!(file.metadata()["features"], "1");
    let output = Command::new(env!("CARGO_BIN_EXE_lapidary"))
        .args(["eval", &out, "--device", "llvmpipe", "--json"])
        .output()
        .expect("the command starts");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["samples"], 20);
    assert!(report["accuracy"].as_f64() > Some(0.9), "{report}");
}

#[cfg(feature = "fashion-mnist")]
#[test]
fn an_mlp_learns_the_images_built_in_within_a_minute() {
    let output = Command::new(env!("CARGO_BIN_EXE_lapidary"))
        .args(["train", "--model", "mlp", "--hidden", "64", "--epochs", "6"])
        .args(["--device", "llvmpipe", "--json"])
        .output()
        .expect("the command starts");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(report["test_accuracy"].as_f64() >= Some(0.83), "{report}");
    assert!(report["seconds"].as_f64() < Some(60.0), "{report}");
}
