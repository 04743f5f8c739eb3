//! `lapidary train CONFIG.toml`: keys are flags, flags win, and what is wrong is said with its line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lapidary::io::safetensors::SafetensorsFile;

use crate::support::three_classes;

fn train(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lapidary"))
        .arg("train")
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

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    fs::write(&file, text).expect("writes");
    file
}

#[test]
fn a_file_gives_settings_and_the_command_line_wins_over_it() {
    let folder = three_classes("config-wins");
    let data = folder.to_string_lossy().replace('\\', "/");
    let text = format!(
        "model = \"mlp\"\ndata = \"{data}\"\nhidden = [4, 3]\nepochs = 1\nbatch-size = 0x10\n\
         learning_rate = 5e-2\nraw_inputs = true\nfreeze = [\"1.*\"]\ndevice = \"llvmpipe\"\n"
    );
    let config = write(&folder, "config.toml", &text);
    let out = folder.join("out.st");
    let words = [config.as_path(), &out].map(|path| path.to_string_lossy().into_owned());
    let output = train(&[
        &words[0], "--hidden", "5", "--freeze", "3.bias", "--out", &words[1], "--json",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    // Not 5-5-4-3-3: values of the command line replace those of the file.
    assert_eq!(report["model"], "mlp 5-5-3");
    assert_eq!(report["parameters"].as_u64(), Some(48));
    assert_eq!(report["trained_parameters"].as_u64(), Some(45));
    let settings = &report["settings"];
    assert_eq!(settings["batch_size"], 16);
    assert_eq!(settings["hidden"], serde_json::json!([5]));
    assert_eq!(settings["freeze"], serde_json::json!(["3.bias"]));
    assert_eq!(settings["optimizer"], "adamw");
    assert_eq!(settings["raw_inputs"], true);
    assert!(settings.get("out").is_none(), "{settings}");

    // The settings kept in the file train the same network again.
    let kept = SafetensorsFile::open(&out).expect("reads").metadata()["settings"].clone();
    let config = write(&folder, "kept.toml", &kept);
    let again = folder.join("again.st");
    let words = [config.as_path(), &again].map(|path| path.to_string_lossy().into_owned());
    let output = train(&[&words[0], "--out", &words[1], "--device", "llvmpipe"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(
        fs::read(&out).expect("reads"),
        fs::read(&again).expect("reads")
    );
}

#[test]
fn settings_that_need_others_may_stand_in_a_file_in_any_order() {
    let folder = three_classes("config-together");
    let data = folder.to_string_lossy().replace('\\', "/");
    let text = format!(
        "min_delta = 0.1\nrestore_best = true\nmodel = \"mlp\"\ndata = \"{data}\"\nhidden = [4]\n\
         batch_size = 16\nepochs = 2\ndevice = \"llvmpipe\"\n"
    );
    let alone = write(&folder, "alone.toml", &text);
    let output = train(&[&alone.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("--patience"), "{}", said(&output));
    // The other may come from the command line or from the file.
    let output = train(&[&alone.to_string_lossy(), "--patience", "1"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let together = write(&folder, "together.toml", &format!("{text}patience = 1\n"));
    let output = train(&[&together.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn what_is_wrong_in_a_file_is_said_with_line_and_key() {
    let folder = three_classes("config-wrong");
    for (line, expected) in [
        (
            "batch_sice = 3",
            "2: `batch_sice` is no setting; near: batch_size",
        ),
        ("epochs = 0", "2: `epochs`: invalid value '0'"),
        ("schedule = \"liner\"", "similar value exists: 'linear'"),
        ("hidden = []", "2: `hidden` is empty"),
        ("raw_inputs = 1", "2: `raw_inputs` takes true or false"),
        ("seed = [1, 2]", "2: `seed` takes one value"),
        ("data = {a = 1}", "2: `data` is a table"),
        ("hidden = [[4]]", "2: `hidden` is an array with arrays"),
        ("optimizer = \"adamx\"", "similar value exists: 'adamax"),
        ("epochs = ", "2: "),
        (
            "batch_size = 1\nbatch-size = 2",
            "`batch_size` is there twice",
        ),
        ("json = true", "2: `json` is no setting"),
    ] {
        let config = write(&folder, "wrong.toml", &format!("model = \"mlp\"\n{line}\n"));
        let output = train(&[&config.to_string_lossy()]);
        assert_eq!(output.status.code(), Some(2), "{line}: {}", said(&output));
        assert!(said(&output).contains(expected), "{}", said(&output));
        assert!(said(&output).contains("wrong.toml"), "{}", said(&output));
    }
    let output = train(&["/nonexistent.toml"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("no such file"), "{}", said(&output));
}
