//! `lapidary tune-hyper`: what it tries, that it goes on where it stopped, and what it refuses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::three_classes;

fn lapidary(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lapidary"));
    command.args(arguments).env(
        "LAPIDARY_CACHE",
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"),
    );
    command
}

fn run(arguments: &[&str]) -> Output {
    lapidary(arguments).output().expect("the command starts")
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn json(output: &Output) -> serde_json::Value {
    assert_eq!(output.status.code(), Some(0), "{}", said(output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "/")
}

/// A folder of data and a file of a search over it.
fn search(name: &str, space: &str) -> (PathBuf, String) {
    let folder = three_classes(name);
    let text = format!(
        "[train]\nmodel = \"mlp\"\ndata = \"{}\"\nepochs = 2\nbatch_size = 16\ndevice = \"llvmpipe\"\n\
         schedule = \"constant\"\n\n[space]\n{space}\n",
        shown(&folder)
    );
    let file = folder.join("space.toml");
    fs::write(&file, text).expect("writes");
    (folder, shown(&file))
}

const SPACE: &str = "learning-rate = { log_uniform = [1e-3, 0.3] }\n\
                     hidden = [[4], [8, 4]]\n\
                     optimizer = { choice = [\"adam\", \"sgd\"] }\n\
                     seed = { integer = [1, 9] }\n\
                     raw_inputs = [true, false]";

#[test]
fn a_grid_tries_everything_and_its_best_settings_train() {
    let space =
        "learning_rate = { log_uniform = [1e-4, 1e-2], points = 3 }\nhidden = [[4], [8, 4]]";
    let (folder, file) = search("search-grid", space);
    let path = |name: &str| shown(&folder.join(name));
    let (svg, best, out) = (path("a.svg"), path("best.toml"), path("out.st"));
    let flags = ["--sampler", "grid", "--pruner", "none", "--json"];
    let files = ["--svg", &svg, "--best", &best];
    let output = run(&[&["tune-hyper", &file], &flags[..], &files].concat());
    let report = json(&output);
    let trials = report["trials"].as_array().expect("a list");
    assert_eq!(trials.len(), 6);
    let values: Vec<f64> = trials
        .iter()
        .filter_map(|one| one["value"].as_f64())
        .collect();
    assert_eq!(values.len(), 6);
    assert!(
        values.windows(2).all(|pair| pair[0] >= pair[1]),
        "{values:?}"
    );
    assert_eq!(report["best"]["value"], values[0]);
    assert_eq!(report["best"]["trial"], trials[0]["trial"]);
    let settings = &report["best"]["settings"];
    assert_eq!(
        settings["learning_rate"],
        trials[0]["values"]["learning_rate"]
    );
    assert!(
        fs::read_to_string(&svg)
            .expect("reads")
            .contains("best so far")
    );

    let output = run(&[
        "train", &best, "--out", &out, "--device", "llvmpipe", "--json",
    ]);
    assert_eq!(json(&output)["settings"], *settings);
}

#[test]
fn a_trial_that_puts_the_best_parameters_back_is_worth_what_they_are() {
    let space = "learning_rate = [1.0]\nmin_delta = [0.0]";
    let (folder, file) = search("search-restored", space);
    let text = fs::read_to_string(&file).expect("reads");
    let early =
        "[train]\npatience = 9\nrestore_best = true\noptimizer = \"momentum\"\nhidden = [16]\n";
    let text = text
        .replace("[train]\n", early)
        .replace("epochs = 2", "epochs = 8");
    fs::write(folder.join("space.toml"), text).expect("writes");
    let output = run(&[
        "tune-hyper",
        &file,
        "--metric",
        "loss",
        "--trials",
        "1",
        "--json",
    ]);
    let report = json(&output);
    let trial = &report["trials"][0];
    let reports = trial["reports"].as_array().expect("a list").iter();
    let reports: Vec<f64> = reports.filter_map(serde_json::Value::as_f64).collect();
    let best = reports.iter().copied().fold(f64::INFINITY, f64::min);
    assert_ne!(reports.last(), Some(&best), "the last epoch is to be worse");
    assert_eq!(trial["value"].as_f64(), Some(best), "{trial}");
}

#[test]
fn what_no_trial_can_have_ends_the_search() {
    for (line, expected) in [
        (
            "init = \"/nonexistent.st\"",
            "/nonexistent.st: no such file",
        ),
        ("validation = 0.5", "`validation`: the search judges by"),
        (
            "hidden = [9223372036854775807]",
            "failed: tensor `1.weight`",
        ),
    ] {
        let (folder, file) = search("search-never", "learning_rate = [0.1]");
        let text = fs::read_to_string(&file).expect("reads");
        let text = text.replace("[train]\n", &format!("[train]\n{line}\n"));
        fs::write(folder.join("space.toml"), text).expect("writes");
        let output = run(&["tune-hyper", &file, "--trials", "1"]);
        assert_ne!(output.status.code(), Some(0), "{}", said(&output));
        assert!(said(&output).contains(expected), "{}", said(&output));
    }
}

#[test]
fn a_search_goes_on_from_its_journal_to_the_same_trials() {
    let (folder, file) = search("search-resume", SPACE);
    let run_to = |journal: &str, n: &str| {
        let journal = shown(&folder.join(journal));
        let flags = [
            "--trials",
            n,
            "--startup-trials",
            "4",
            "--pruner-startup",
            "3",
        ];
        let output = run(&[&["tune-hyper", &file, "--journal", &journal], &flags[..]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        (said(&output), fs::read_to_string(&journal).expect("reads"))
    };
    let (text, whole) = run_to("whole", "9");
    assert_eq!(whole.lines().count(), 10);
    assert!(
        text.contains("validation accuracy") && text.contains("learning_rate"),
        "{text}"
    );
    run_to("parts", "2");
    let (text, parts) = run_to("parts", "9");
    assert!(text.contains("resumed after 2 trials"), "{text}");
    assert_eq!(parts, whole);

    let journal = shown(&folder.join("whole"));
    let output = run(&["tune-hyper", &file, "--journal", &journal, "--folds", "3"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(
        said(&output).contains("the journal of another search"),
        "{}",
        said(&output)
    );
}

#[test]
fn folds_are_each_trained_and_their_mean_counts() {
    let (_, file) = search("search-folds", "hidden = [[4]]");
    let flags = [
        "--folds", "3", "--trials", "1", "--metric", "loss", "--json",
    ];
    let report = json(&run(&[&["tune-hyper", &file], &flags[..]].concat()));
    let trial = &report["trials"][0];
    let reports: Vec<f64> = trial["reports"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(serde_json::Value::as_f64)
        .collect();
    assert_eq!(reports.len(), 3 * 2);
    assert_eq!(trial["value"].as_f64(), reports.last().copied());
    assert_eq!(report["metric"], "validation loss");
}

#[test]
fn a_trial_that_cannot_be_trained_fails_alone() {
    let (_, file) = search(
        "search-fails",
        "learning_rate = [1e38, 0.05]\noptimizer = [\"sgd\"]",
    );
    let flags = ["--sampler", "grid", "--json"];
    let report = json(&run(&[&["tune-hyper", &file], &flags[..]].concat()));
    assert_eq!(report["best"]["trial"], 1);
    assert_eq!(report["trials"][1]["state"], "failed");
    let reason = report["trials"][1]["reason"].as_str().expect("a reason");
    assert!(reason.contains("the loss is"), "{reason}");

    let (_, file) = search(
        "search-fails-all",
        "learning_rate = [1e38]\noptimizer = [\"sgd\"]",
    );
    let output = run(&["tune-hyper", &file, "--sampler", "grid"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        said(&output).contains("no trial came to an end: "),
        "{}",
        said(&output)
    );
}

#[test]
fn what_is_wrong_in_a_space_is_said_with_its_line() {
    for (space, expected) in [
        ("hiden = [[4]]", "10: `hiden` is no setting; near: hidden"),
        (
            "schedule = [\"linear\", \"liner\"]",
            "10: `schedule`: invalid value 'liner'",
        ),
        (
            "seed = { integer = [1, 2], uniform = [1, 2] }",
            "10: `seed`: has two ranges",
        ),
        (
            "seed = { integr = [1, 2] }",
            "`integr` is no kind of range; near: integer",
        ),
        (
            "seed = { uniform = [0.5, 2] }",
            "`seed`: invalid value '0.5'",
        ),
        ("seed = { integer = [1] }", "integer takes two numbers"),
        ("seed = { integer = [2, 1] }", "`seed`: the high end is 1"),
        (
            "learning_rate = { log_uniform = [0, 1] }",
            "above 0 on a logarithmic scale",
        ),
        ("learning_rate = 0.1", "takes a list of values"),
        ("epochs = [1, 2]", "10: `epochs` is in [train] too"),
        ("out = [\"a\"]", "10: `out`: a search writes only"),
        ("device = [\"cpu\"]", "10: `device`: all trials share it"),
        ("", "the space has no dimension"),
        ("hidden = []", "the number of choices is 0"),
        (
            "[spaces]\na = 1",
            "`spaces`; allowed: the tables [train] and [space]",
        ),
    ] {
        let (_, file) = search("search-wrong", space);
        let output = run(&["tune-hyper", &file]);
        assert_eq!(output.status.code(), Some(2), "{space}: {}", said(&output));
        assert!(
            said(&output).contains(expected),
            "{expected}: {}",
            said(&output)
        );
    }
    let (_, file) = search("search-no-points", "learning_rate = { uniform = [0.1, 1] }");
    let output = run(&["tune-hyper", &file, "--sampler", "grid"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(
        said(&output).contains("a grid needs the number of points"),
        "{}",
        said(&output)
    );
    for (flags, expected) in [
        (["--folds", "1"], "folds"),
        (["--folds", "33"], "class 0"),
        (["--validation", "1.5"], "validation share"),
    ] {
        let (_, file) = search("search-flags", SPACE);
        let output = run(&[&["tune-hyper", &file], &flags[..]].concat());
        assert_eq!(
            output.status.code(),
            Some(2),
            "{flags:?}: {}",
            said(&output)
        );
        assert!(
            said(&output).contains(expected),
            "{expected}: {}",
            said(&output)
        );
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_whole_trials_and_ends_with_1() {
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    let (folder, file) = search("search-ctrl-c", SPACE);
    let journal = shown(&folder.join("journal"));
    let words = [
        "tune-hyper",
        &file,
        "--journal",
        &journal,
        "--trials",
        "100000",
    ];
    let child = lapidary(&words)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the command starts");
    let began = Instant::now();
    while fs::read_to_string(&journal)
        .unwrap_or_default()
        .lines()
        .count()
        < 4
    {
        assert!(began.elapsed() < Duration::from_secs(60), "no trial ended");
        std::thread::sleep(Duration::from_millis(20));
    }
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status();
    assert!(sent.expect("kill is there").success());
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let kept = fs::read_to_string(&journal).expect("reads");
    let n = kept.lines().count() - 1;
    let output = run(&["tune-hyper", &file, "--journal", &journal, "--trials", "1"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains(&format!("resumed after {n} trials")));
}
