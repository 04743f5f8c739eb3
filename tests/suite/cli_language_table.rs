//! `lapidary eval A B .. --perplexity`: language models of random weights side by side, the folder that keeps the table,
//! and what is refused before anything is run; `lapidary bench A B`.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lapidary::io::gguf::{Array, Value};
use lapidary::text::byte_tokenizer;
use serde_json::{Value as Json, json};

use crate::cli_generate::{json as parsed, lapidary, model, model_with, said};

const TEXT: &str = "a text of thirty bytes, or so.";

/// An empty folder.
fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn text_in(folder: &Path, text: &str) -> String {
    let file = folder.join("text.txt");
    fs::write(&file, text).expect("writes");
    shown(&file)
}

/// The same model with weights rounded to nearest, as a folder with a receipt.
fn quantized(model: &str, folder: &Path) -> String {
    let out = shown(&folder.join("int3"));
    let given = ["quantize", model, &out, "--scheme", "int3-g16", "--json"];
    parsed(&lapidary(&given));
    out
}

fn number(value: &Json) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value}: a number"))
}

#[test]
fn rows_are_what_each_model_gives_alone_and_the_base_comes_first() {
    let scratch = scratch("table-rows");
    let text = text_in(&scratch, TEXT);
    let base = shown(&model("table-rows.gguf"));
    let other = quantized(&base, &scratch);
    let judged = ["--perplexity", &text, "--window", "16", "--json"];
    let given = ["eval", &other, &base, "--base", &base, "--repeat", "0"];
    let kv = ["--kv", "f32,int8"];
    let table = parsed(&lapidary(&[&given[..], &judged, &kv].concat()));
    let rows = table["rows"].as_array().expect("rows");
    let names: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(
        names,
        [
            "table-rows.gguf, kv f32",
            "int3, kv f32",
            "int3, kv int8",
            "table-rows.gguf, kv int8",
        ]
    );
    assert_eq!(table["is_complete"], true);
    assert_eq!(table["text"]["predictions"], 28);
    assert_eq!(table["timed"], Json::Null);
    for row in rows {
        assert_eq!(row["speed"], Json::Null, "not asked for");
        assert_eq!(row["predictions"], 28);
    }
    assert_eq!(rows[0]["against"], Json::Null);
    // Both models on the device at once give the same numbers, to the last bit.
    let alone = ["eval", &other, "--base", &base];
    let alone = parsed(&lapidary(&[&alone[..], &judged].concat()));
    let (found, row) = (&alone["against"], &rows[1]);
    assert_eq!(row["quality"]["perplexity"]["value"], alone["perplexity"]);
    let base_perplexity = &rows[0]["quality"]["perplexity"];
    assert_eq!(base_perplexity["value"], found["base_perplexity"]);
    let error = &found["base_perplexity_standard_error"];
    assert_eq!(&base_perplexity["standard_error"], error);
    let against = &row["against"];
    for (mean, value, error) in [
        (
            &against["divergence"],
            "mean_divergence",
            "divergence_standard_error",
        ),
        (
            &against["same_top_token"],
            "same_top_token",
            "same_top_token_standard_error",
        ),
    ] {
        assert_eq!(mean["value"], found[value]);
        assert_eq!(mean["standard_error"], found[error]);
    }
    let difference = number(&against["log_likelihood_difference"]["value"]);
    assert_eq!(difference, -number(&found["log_perplexity_ratio"]));
    assert!(number(&against["divergence"]["value"]) > 1e-4);
    // A cache of int8 changes little, and something.
    let of_cache = number(&rows[3]["against"]["divergence"]["value"]);
    assert!(of_cache > 0.0 && of_cache < number(&against["divergence"]["value"]));

    // 257 tokens of width 32, one layer of 32 and 16 and 64, three norms; the head is the embedding.
    let parameters = 257 * 32 + 2 * 32 * 32 + 2 * 16 * 32 + 3 * 64 * 32 + 3 * 32;
    for row in rows {
        assert_eq!(row["parameters"], parameters);
        let bits = 8.0 * number(&row["weight_bytes"]) / f64::from(parameters);
        assert_eq!(number(&row["bits_per_weight"]), bits);
    }
    for (row, path) in [(&rows[0], &base), (&rows[1], &other)] {
        let output = Command::new(env!("CARGO_BIN_EXE_lapidary"))
            .args(["inspect", path, "--json"])
            .output();
        let inspected = parsed(&output.expect("the command starts"));
        assert_eq!(row["weight_bytes"], inspected["n_bytes"]);
    }
    // A text read in parts gives the same.
    let given = [&given[..], &judged, &kv, &["--max-logits", "1K"]].concat();
    let in_parts = lapidary(&given);
    let told = said(&in_parts);
    for expected in [
        "[1/4] table-rows.gguf, kv f32: reading, part 1 of 2",
        "[4/4] table-rows.gguf, kv int8: reading, part 2 of 2",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    assert_eq!(parsed(&in_parts)["rows"], table["rows"]);

    assert_eq!(rows[1]["made_by"], "quantize nearest int3-g16");
    assert_eq!(rows[0]["made_by"], Json::Null);
    let format = "compressed-tensors, int3-g16 (int4 on a device)";
    assert_eq!(rows[1]["format"], format);
}

#[test]
fn the_folder_holds_a_page_a_picture_and_the_same_numbers() {
    let scratch = scratch("table-report");
    let text = text_in(&scratch, TEXT);
    let base = shown(&model("table-report.gguf"));
    let other = quantized(&base, &scratch);
    let smaller = shown(&scratch.join("q4.gguf"));
    let convert = ["convert", &base, &smaller, "--to", "q4_1", "--lossy"];
    let output = Command::new(env!("CARGO_BIN_EXE_lapidary"))
        .args(convert)
        .output();
    let output = output.expect("the command starts");
    assert!(output.status.success(), "{}", said(&output));
    let folder = scratch.join("kept").join("report");
    let kept = shown(&folder);
    let given = [
        "eval",
        &base,
        &smaller,
        &other,
        "--perplexity",
        &text,
        "--repeat",
        "2",
    ];
    let table = parsed(&lapidary(
        &[&given[..], &["--report", &kept, "--json"]].concat(),
    ));
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("is there");
    let numbers: Json = serde_json::from_str(&read("outcomes.json")).expect("JSON");
    assert_eq!(numbers, table);
    // The context is 64: half of it is read, the rest is made.
    let timed = json!({"prompt_tokens": 32, "new_tokens": 32, "repeat": 2});
    assert_eq!(table["timed"], timed);
    for row in table["rows"].as_array().expect("rows") {
        let speed = &row["speed"];
        for rate in [&speed["prefill"], &speed["decode"]] {
            let [low, median, high] = ["low", "median", "high"].map(|key| number(&rate[key]));
            assert!(0.0 < low && low <= median && median <= high, "{rate}");
            assert_eq!(median, f64::midpoint(low, high), "of two runs");
        }
        assert_eq!(speed["submissions_per_token"], 1.0);
        assert!(number(&speed["peak_device_bytes"]) > number(&speed["cache_bytes"]));
    }
    // A folder keeps the embedding as floats, which makes it larger than the file it was made of, and no better.
    let weights = |row: usize| number(&table["rows"][row]["weight_bytes"]);
    assert!(weights(1) < weights(0) && weights(0) < weights(2));
    assert_eq!(table["front_by_divergence"], json!([true, true, false]));
    let (page, picture) = (read("report.html"), read("report.svg"));
    let sha256 = table["text"]["sha256"].as_str().expect("a hash");
    assert_eq!(sha256.len(), 64);
    for expected in [
        sha256,
        "table-report.gguf",
        "int3",
        "quantize nearest int3-g16",
        "llvmpipe",
        "--repeat 2",
        "nothing is random",
        "the median of 2 runs",
        "Energy: not measured",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
    assert!(page.contains(picture.trim()) && picture.contains("Perplexity against size"));
    assert!(!page.contains("INCOMPLETE"));

    let plain = lapidary(&[
        "eval",
        &base,
        &smaller,
        &other,
        "--perplexity",
        &text,
        "--repeat",
        "0",
    ]);
    assert_eq!(plain.status.code(), Some(0), "{}", said(&plain));
    let shown = String::from_utf8_lossy(&plain.stdout).into_owned();
    for expected in [
        "* table-report.gguf",
        "* q4.gguf",
        "  int3",
        "speed: not measured",
        "29 predictions",
        "quantize nearest int3-g16",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let progress = said(&plain);
    for expected in [
        "[1/3] table-report.gguf: loading",
        "[3/3] int3: perplexity ",
    ] {
        assert!(progress.contains(expected), "{expected}: {progress}");
    }
}

#[test]
fn a_single_model_is_a_table_where_that_is_asked_for_and_else_what_it_was() {
    let scratch = scratch("table-single");
    let text = text_in(&scratch, TEXT);
    let model = shown(&model("table-single.gguf"));
    let given = ["eval", &model, "--perplexity", &text, "--json"];
    let alone = parsed(&lapidary(&given));
    let table = parsed(&lapidary(&[&given[..], &["--repeat", "1"]].concat()));
    let row = &table["rows"][0];
    assert_eq!(row["name"], "table-single.gguf");
    assert_eq!(row["quality"]["perplexity"]["value"], alone["perplexity"]);
    assert_eq!(row["quality"]["loss"]["value"], alone["loss"]);
    assert_eq!(row["against"], Json::Null);
    let fields = alone.as_object().expect("a map");
    let fields: Vec<&str> = fields.keys().map(String::as_str).collect();
    assert_eq!(
        fields,
        [
            "device",
            "loss",
            "loss_standard_error",
            "model",
            "perplexity",
            "perplexity_standard_error",
            "predicted",
            "stride",
            "text",
            "tokens",
            "tokens_per_second",
            "window",
        ]
    );
}

#[test]
fn what_cannot_be_compared_is_named_before_anything_is_run() {
    let scratch = scratch("table-bad");
    let text = text_in(&scratch, TEXT);
    let base = shown(&model("table-bad.gguf"));
    let link = shown(&scratch.join("table-bad-again.gguf"));
    fs::copy(&base, &link).expect("copies");
    let short = [("llama.context_length", Value::U32(20))];
    let short = shown(&model_with("table-short.gguf", &short, &[]));
    // The same bytes under other numbers.
    let tokenizer: Json = serde_json::from_str(&byte_tokenizer()).expect("JSON");
    let vocabulary = tokenizer["model"]["vocab"].as_object().expect("a map");
    let mut tokens = vec!["<|im_end|>".to_owned(); 257];
    for (token, id) in vocabulary {
        tokens[255 - number(id) as usize].clone_from(token);
    }
    let tokens = [("tokenizer.ggml.tokens", Value::Array(Array::String(tokens)))];
    let strange = shown(&model_with("table-strange.gguf", &tokens, &[]));
    let folder = quantized(&base, &scratch);
    let report = shown(&scratch.join("text.txt").join("report"));
    let judged = ["--perplexity", text.as_str()];
    let file = "Cargo.toml";
    for (arguments, expected) in [
        (vec!["eval", &base, "absent.gguf"], "absent.gguf: no such"),
        (vec!["eval", &base, file], "Cargo.toml: no language model"),
        (vec!["eval", &base, &base], "named twice"),
        (
            vec!["eval", &base, "--kv", "int8,int8"],
            "int8 is there twice",
        ),
        (
            vec!["eval", &base, &link, "--kv", "f64,f32"],
            "allowed: f32, f16, int8",
        ),
        (
            vec!["eval", &base, &short, "--window", "21"],
            "window = 21; allowed: 2 to 20",
        ),
        (
            vec!["eval", &base, &link, "--stride", "65"],
            "stride = 65; allowed: 1 to the window",
        ),
        (
            vec!["eval", &base, &link, "--max-memory", "100K"],
            "table-bad.gguf: needs",
        ),
        (
            vec!["eval", &base, &strange],
            "table-strange.gguf: its tokenizer",
        ),
        (
            vec!["eval", &base, &link, "--base", &strange],
            "its tokenizer makes other tokens",
        ),
        (vec!["eval", &base, &folder, "--report", &folder], "is read"),
        (vec!["eval", &base, &link, "--report", &report], "text.txt"),
        (vec!["eval", &base, "--window", "65"], "allowed: 2 to 64"),
        (
            vec!["eval", &base, "--base", &short, "--window", "21"],
            "allowed: 2 to 20",
        ),
    ] {
        let output = lapidary(&[&arguments[..], &judged].concat());
        let error = said(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(expected), "{arguments:?}: {error}");
        assert!(!error.contains("loading"), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty());
    }
    let output = lapidary(&["eval", &base, &link]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("2 models; allowed: one"),
        "{}",
        said(&output)
    );
    // The device is not even opened for what is said by the files.
    for arguments in [
        vec!["run", &base, "-p", ""],
        vec!["bench", &base, &short, "-p", "20", "-n", "1"],
        vec!["eval", &base, "--perplexity", &text, "--window", "65"],
    ] {
        let error = said(&lapidary(&arguments));
        assert!(!error.contains("runs shaders on the CPU"), "{error}");
    }
}

#[test]
fn ctrl_c_keeps_what_is_finished_and_says_that_it_is_not_all() {
    let scratch = scratch("table-ctrl-c");
    let text = text_in(&scratch, &TEXT.repeat(400));
    let base = shown(&model("table-ctrl-c.gguf"));
    let link = shown(&scratch.join("other.gguf"));
    fs::copy(&base, &link).expect("copies");
    let kept = scratch.join("report");
    let mut child = Command::new(env!("CARGO_BIN_EXE_lapidary"))
        .args(["eval", &base, &link, "--perplexity", &text, "--repeat", "0"])
        .args(["--window", "8", "--report", &shown(&kept)])
        .args(["--device", "llvmpipe"])
        .env(
            "LAPIDARY_CACHE",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"),
        )
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let second = lines.by_ref().find(|line| {
        let line = line.as_ref().expect("text");
        line.contains("[2/2] other.gguf: reading")
    });
    assert!(second.is_some(), "the second row began");
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status();
    assert!(sent.expect("kill is there").success());
    let rest: Vec<String> = lines.map(|line| line.expect("text")).collect();
    let mut shown = String::new();
    let stdout = child.stdout.take();
    stdout
        .expect("piped")
        .read_to_string(&mut shown)
        .expect("text");
    assert_eq!(child.wait().expect("ends").code(), Some(1), "{rest:?}");
    let told = rest.join("\n");
    assert!(
        told.contains("stopped by Ctrl-C; 1 of 2 rows are complete"),
        "{told}"
    );
    assert!(shown.contains("incomplete: stopped before"), "{shown}");
    let row = |name: &str| shown.lines().find(|line| line.contains(name));
    let (first, second) = (row("table-ctrl-c.gguf"), row("other.gguf"));
    assert!(first.is_some_and(|line| line.contains(" +- ")), "{shown}");
    assert!(
        second.is_some_and(|line| line.contains("not measured")),
        "{shown}"
    );
    let page = fs::read_to_string(kept.join("report.html")).expect("is there");
    assert!(page.contains("INCOMPLETE"));
    let numbers = fs::read_to_string(kept.join("outcomes.json")).expect("is there");
    let numbers: Json = serde_json::from_str(&numbers).expect("JSON");
    assert_eq!(numbers["is_complete"], false);
    assert_eq!(numbers["rows"][1]["quality"], Json::Null);
}

/// A model whose logits are past every number.
fn broken(name: &str) -> String {
    let norm = [3e38; 32];
    shown(&model_with(name, &[], &[("output_norm.weight", &norm)]))
}

#[test]
fn an_error_in_a_row_keeps_those_before_it() {
    let scratch = scratch("table-error");
    let text = text_in(&scratch, TEXT);
    let base = shown(&model("table-error.gguf"));
    let link = shown(&scratch.join("third.gguf"));
    fs::copy(&base, &link).expect("copies");
    let broken = broken("table-broken.gguf");
    let kept = scratch.join("report");
    let report = shown(&kept);
    let given = ["eval", &base, &broken, &link, "--perplexity", &text];
    let given = [&given[..], &["--repeat", "0", "--report", &report]].concat();
    let output = lapidary(&given);
    let told = said(&output);
    let error = "row 2 of 3, table-broken.gguf: the logits after token ";
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains(error), "{told}");
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    for (name, expected) in [
        ("table-error.gguf", " +- "),
        ("table-broken.gguf", "not measured"),
        ("third.gguf", "not measured"),
    ] {
        let row = table.lines().find(|line| line.contains(name));
        assert!(row.is_some_and(|row| row.contains(expected)), "{table}");
    }
    assert!(table.contains("incomplete: stopped before"), "{table}");
    assert!(table.contains(error), "{table}");
    let read = |name: &str| fs::read_to_string(kept.join(name)).expect("is there");
    let page = read("report.html");
    assert!(page.contains("INCOMPLETE") && page.contains(error));
    let numbers: Json = serde_json::from_str(&read("outcomes.json")).expect("JSON");
    assert_eq!(numbers["is_complete"], false);
    let found = numbers["error"].as_str().expect("an error");
    assert!(found.starts_with(error), "{found}");
    assert_eq!(numbers["rows"][0]["predictions"], 29);
    for row in [1, 2] {
        assert_eq!(numbers["rows"][row]["quality"], Json::Null);
    }
    let printed = lapidary(&[&given[..], &["--json"]].concat());
    assert_eq!(printed.status.code(), Some(2));
    let printed: Json = serde_json::from_slice(&printed.stdout).expect("JSON");
    assert_eq!(printed["rows"], numbers["rows"]);
    assert_eq!(printed["error"], numbers["error"]);

    // Without a row that is finished there is nothing to keep.
    let report = shown(&scratch.join("nothing"));
    let given = ["eval", &broken, &base, "--perplexity", &text];
    let output = lapidary(&[&given[..], &["--repeat", "0", "--report", &report]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("row 1 of 2, table-broken.gguf: the logits"));
    assert!(output.stdout.is_empty());
    assert!(!Path::new(&report).exists());

    let given = ["bench", &base, &broken, &link, "-p", "4", "-n", "2"];
    let output = lapidary(&[&given[..], &["--json"]].concat());
    let told = said(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("row 2 of 3, "), "{told}");
    let reports: Json = serde_json::from_slice(&output.stdout).expect("JSON");
    let reports = reports.as_array().expect("a list");
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0]["model"], base.as_str());
}

#[test]
fn a_report_replaces_one_of_its_kind_and_nothing_else() {
    let scratch = scratch("table-folders");
    let text = text_in(&scratch, TEXT);
    let base = shown(&model("table-folders.gguf"));
    let judged = ["eval", &base, "--perplexity", &text, "--repeat", "0"];
    let with = |folder: &Path| {
        let folder = shown(folder);
        lapidary(&[&judged[..], &["--report", &folder]].concat())
    };
    let kept = scratch.join("kept");
    for _ in 0..2 {
        let output = with(&kept);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }
    for (name, content, expected) in [
        ("config.json", "{}", "has a config.json"),
        ("stage.json", "{}", "a recipe made what is there"),
        ("outcomes.json", "[]", "its outcomes.json is of networks"),
        ("outcomes.json", "{}", "is of no report of lapidary"),
        ("outcomes.json", "{", "is of no report of lapidary"),
        (
            "report.html",
            "a page",
            "has a report.html and no outcomes.json",
        ),
    ] {
        let folder = scratch.join("other");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(name), content).expect("writes");
        let output = with(&folder);
        let told = said(&output);
        assert_eq!(output.status.code(), Some(2), "{name}: {told}");
        assert!(told.contains(expected), "{name}: {told}");
        assert!(!told.contains("loading"), "{name}: {told}");
        let files = fs::read_dir(&folder).expect("is there").count();
        assert_eq!(files, 1, "{name}");
        let found = fs::read_to_string(folder.join(name)).expect("is there");
        assert_eq!(found, content);
    }
    // Nor does a report of networks replace one of language models.
    let report = shown(&kept);
    let output = lapidary(&["bench", "absent.safetensors", "--report", &report]);
    assert_eq!(output.status.code(), Some(2));
    let told = said(&output);
    assert!(
        told.contains("its outcomes.json is of language models"),
        "{told}"
    );

    // What is refused leaves no folder.
    let absent = scratch.join("absent");
    let folder = shown(&absent.join("report"));
    for given in [
        ["eval", &base, "--perplexity", "absent.txt"],
        ["eval", "absent.gguf", "--perplexity", &text],
    ] {
        let output = lapidary(&[&given[..], &["--report", &folder]].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(!absent.exists());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_written_is_no_reason_to_lose_the_rest() {
    let scratch = scratch("table-full");
    let text = text_in(&scratch, &TEXT.repeat(100));
    let base = shown(&model("table-full.gguf"));
    let started = |report: &Path, stdout: Stdio| {
        Command::new(env!("CARGO_BIN_EXE_lapidary"))
            .args(["eval", &base, "--perplexity", &text, "--repeat", "0"])
            .args(["--window", "8", "--report", &shown(report)])
            .args(["--device", "llvmpipe"])
            .env(
                "LAPIDARY_CACHE",
                Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"),
            )
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts")
    };
    // A full disk behind stdout.
    let full = fs::OpenOptions::new().write(true).open("/dev/full");
    let kept = scratch.join("kept");
    let child = started(&kept, Stdio::from(full.expect("is there")));
    let output = child.wait_with_output().expect("ends");
    let told = said(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("lapidary: stdout: "), "{told}");
    assert!(kept.join("report.html").exists() && kept.join("outcomes.json").exists());
    // A report that has no place any more when it is written.
    let kept = scratch.join("gone");
    let mut child = started(&kept, Stdio::piped());
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let begun = lines.by_ref().find(|line| {
        let line = line.as_ref().expect("text");
        line.contains("[1/1] table-full.gguf: loading")
    });
    assert!(begun.is_some(), "the row began");
    fs::write(&kept, "in the way").expect("writes");
    let rest: Vec<String> = lines.map(|line| line.expect("text")).collect();
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(2), "{rest:?}");
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    let row = table.lines().find(|line| line.contains("table-full.gguf"));
    assert!(row.is_some_and(|row| row.contains(" +- ")), "{table}");
    let found = fs::read_to_string(&kept).expect("is there");
    assert_eq!(found, "in the way");
}

#[test]
fn flags_that_would_change_nothing_are_refused_by_name() {
    let scratch = scratch("table-flags");
    let text = text_in(&scratch, TEXT);
    let base = shown(&model("table-flags.gguf"));
    let network = shown(&scratch.join("net.safetensors"));
    fs::write(&network, "a file").expect("writes");
    let of_networks = ["--html", "x.html", "--svg", "y.svg", "--data", "/tmp"];
    let more = ["--top", "5", "--batch-size", "256", "--model", "mlp"];
    let of_text = ["--kv", "f32", "--activations", "float", "--window", "4"];
    let memory = ["--max-memory", "1", "--context", "8"];
    let judged = ["eval", &base, "--perplexity", &text];
    for (arguments, expected) in [
        (
            [&judged[..], &of_networks, &more].concat(),
            "--data, --top, --batch-size, --svg, --html, --model: only for networks",
        ),
        (
            [&["eval", &network][..], &of_text, &memory].concat(),
            "--window, --kv, --context, --activations, --max-memory: only for language models",
        ),
        (
            [&judged[..], &["--max-logits", "1K"]].concat(),
            "--max-logits: only for tables of at least two rows",
        ),
        (
            [&judged[..], &["--max-logits", "1K", "--repeat", "0"]].concat(),
            "--max-logits: only for tables of at least two rows",
        ),
        (
            vec!["bench", &network, &base],
            "net.safetensors: no language model",
        ),
        (
            vec!["bench", &base, &network],
            "networks and language models are measured apart",
        ),
    ] {
        let output = lapidary(&arguments);
        let error = said(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(expected), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn several_models_are_timed_side_by_side() {
    let scratch = scratch("table-bench");
    let base = shown(&model("table-bench.gguf"));
    let other = quantized(&base, &scratch);
    let given = [
        "bench", &base, &other, "-p", "8", "-n", "4", "--repeat", "3",
    ];
    let reports = parsed(&lapidary(&[&given[..], &["--json"]].concat()));
    let reports = reports.as_array().expect("one a model");
    assert_eq!(reports.len(), 2);
    for report in reports {
        assert_eq!(report["repeat"], 3);
        assert_eq!(report["submissions_per_token"], 1.0);
        let [low, median, high] =
            ["low", "median", "high"].map(|key| number(&report["decode"][key]));
        assert!(0.0 < low && low <= median && median <= high);
        assert_eq!(number(&report["decode_tokens_per_second"]), median);
        let peak = number(&report["peak_device_bytes"]);
        assert!(peak >= number(&report["weight_bytes"]) + number(&report["cache_bytes"]));
        if cfg!(target_os = "linux") {
            // llvmpipe keeps tensors in the host's memory.
            assert!(number(&report["peak_host_bytes"]) > peak);
        }
    }
    let plain = lapidary(&given);
    assert_eq!(plain.status.code(), Some(0), "{}", said(&plain));
    let shown = String::from_utf8_lossy(&plain.stdout).into_owned();
    for expected in [
        "table-bench.gguf",
        "int3",
        "the median of 3",
        "most on device",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
}
