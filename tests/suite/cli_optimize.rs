//! Recipes, limits and the commands around models: same bytes again, stages that are skipped, what is wrong by line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lapidary::data::{Dataset, save_safetensors};

use crate::support::values;

fn lapidary(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lapidary"))
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

fn works(arguments: &[&str]) -> Output {
    let output = lapidary(arguments);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{arguments:?}\n{}",
        said(&output)
    );
    output
}

/// An empty folder but for a set of three classes with 16 features, and a recipe.
fn place(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a scratch folder");
    for (file, seed, n) in [("train", 1, 96), ("test", 2, 30)] {
        let labels: Vec<u32> = (0..n).map(|row| row % 3).collect();
        let mut inputs = values(seed, 16 * labels.len());
        for (sample, &label) in inputs.chunks_exact_mut(16).zip(&labels) {
            sample[label as usize] += 2.0;
        }
        let names = ["a", "b", "c"].map(str::to_owned).to_vec();
        let data = Dataset::new(inputs, vec![16], labels, names).expect("valid");
        save_safetensors(&data, folder.join(file).with_extension("safetensors")).expect("writes");
    }
    let recipe = format!(
        "data = {:?}\ndevice = \"llvmpipe\"\n\
         [[stage]]\nstage = \"train\"\nname = \"base\"\nmodel = \"mlp\"\nhidden = \"16\"\nepochs = 4\nbatch_size = 16\n\
         [[stage]]\nstage = \"quantize\"\nname = \"int8\"\nscheme = \"int8\"\nmethod = \"nearest\"\n\
         [[stage]]\nstage = \"prune\"\nname = \"half\"\nfrom = \"base\"\nsparsity = \"50%\"\nvalues = \"dense\"\nepochs = 1\nfine_tune = 1\nbatch_size = 16\n\
         [[stage]]\nstage = \"evaluate\"\nname = \"report\"\nno_speed = true\n",
        shown(&folder)
    );
    fs::write(folder.join("recipe.toml"), recipe).expect("writes");
    folder
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn weights(work: &Path, stage: &str) -> Vec<u8> {
    fs::read(work.join(stage).join("model.safetensors")).expect("weights")
}

#[test]
fn a_recipe_gives_the_same_bytes_again_and_skips_what_is_there() {
    let folder = place("optimize-recipe");
    let recipe = shown(&folder.join("recipe.toml"));
    let [first, second] = ["first", "second"].map(|name| folder.join(name));
    let plan = works(&[
        "optimize",
        "--recipe",
        &recipe,
        "--work",
        &shown(&first),
        "--plan",
    ]);
    assert!(
        said(&plan).contains("nothing was touched"),
        "{}",
        said(&plan)
    );
    assert!(!first.exists(), "a plan touches nothing");
    for work in [&first, &second] {
        let done = works(&["optimize", "--recipe", &recipe, "--work", &shown(work)]);
        let table = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(
            table.contains("int8") && table.contains("not measured"),
            "{table}"
        );
    }
    for stage in ["base", "int8", "half"] {
        assert_eq!(weights(&first, stage), weights(&second, stage), "{stage}");
    }
    let page = fs::read_to_string(first.join("report/report.html")).expect("a page");
    assert!(page.contains("int8"));

    // As after a crash in the middle of a stage.
    fs::remove_file(first.join("int8/stage.json")).expect("was there");
    let again = said(&works(&[
        "optimize",
        "--recipe",
        &recipe,
        "--work",
        &shown(&first),
    ]));
    assert!(again.contains("train base: is there already"), "{again}");
    assert!(
        !again.contains("quantize int8: is there already"),
        "{again}"
    );
    assert!(again.contains("prune half: is there already"), "{again}");
    assert_eq!(weights(&first, "int8"), weights(&second, "int8"));

    let (base, int8) = (shown(&first.join("base")), shown(&first.join("int8")));
    let proof = works(&["verify", &int8, "--against", &base, "--device", "llvmpipe"]);
    assert!(
        said(&proof).contains("gives the same bytes again"),
        "{}",
        said(&proof)
    );
    let other = lapidary(&[
        "verify",
        &int8,
        "--against",
        &shown(&first.join("half")),
        "--device",
        "llvmpipe",
    ]);
    assert_eq!(other.status.code(), Some(1), "{}", said(&other));
    let inspected = works(&["inspect", &int8]);
    assert!(
        said(&inspected).contains("int8-channel"),
        "{}",
        said(&inspected)
    );

    let copy = shown(&folder.join("copy.safetensors"));
    let data = shown(&folder);
    let converted = works(&["convert", &int8, &copy, "--data", &data]);
    assert!(
        said(&converted).contains("losslessly"),
        "{}",
        said(&converted)
    );
    assert!(
        said(&converted).contains("holds no codes"),
        "{}",
        said(&converted)
    );
    let refused = lapidary(&["convert", &base, &copy, "--to", "f16", "--data", &data]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("--lossy"), "{}", said(&refused));

    let lines = works(&[
        "run", &int8, "--first", "3", "--data", &data, "--device", "llvmpipe",
    ]);
    let text = String::from_utf8_lossy(&lines.stdout).into_owned();
    assert_eq!(text.lines().count(), 3, "{text}");
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert!(["a", "b", "c"].contains(&line["class"].as_str().expect("a class")));
    }
}

#[test]
fn limits_are_met_or_the_nearest_version_is_told() {
    let folder = place("optimize-goal");
    let (data, file) = (shown(&folder), shown(&folder.join("base.safetensors")));
    works(&[
        "train",
        "--model",
        "mlp",
        "--hidden",
        "16",
        "--epochs",
        "4",
        "--batch-size",
        "16",
        "--data",
        &data,
        "--out",
        &file,
        "--device",
        "llvmpipe",
    ]);
    let work = shown(&folder.join("work"));
    let words = [
        "optimize", &file, "--goal", "size", "--work", &work, "--device", "llvmpipe", "--json",
    ];
    let met = works(&[&words[..], &["--max-drop", "50%"]].concat());
    let report: serde_json::Value = serde_json::from_slice(&met.stdout).expect("JSON");
    assert_eq!(report["within_limits"], true);
    let size = |version: &serde_json::Value| version["bytes"].as_u64().expect("bytes");
    let versions = report["versions"].as_array().expect("versions");
    let within = versions.iter().filter(|one| one["missed"] == 0.0);
    let chosen = versions
        .iter()
        .find(|one| one["name"] == report["chosen"])
        .expect("chosen");
    assert_eq!(Some(size(chosen)), within.map(size).min());

    let missed = lapidary(&[&words[..], &["--max-size", "1%"]].concat());
    assert_eq!(missed.status.code(), Some(1), "{}", said(&missed));
    assert!(
        said(&missed).contains("the nearest is"),
        "{}",
        said(&missed)
    );
}
