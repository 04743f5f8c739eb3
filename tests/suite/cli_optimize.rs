//! Recipes, limits and the commands around models: same bytes again, stages that are skipped, what is wrong by line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lapidary::compress::model::Model;
use lapidary::data::{Dataset, save_safetensors};

use crate::support::values;

pub(crate) fn lapidary(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lapidary"))
        .args(arguments)
        .env(
            "LAPIDARY_CACHE",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"),
        )
        .output()
        .expect("the command starts")
}

pub(crate) fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

pub(crate) fn works(arguments: &[&str]) -> Output {
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
pub(crate) fn place(name: &str) -> PathBuf {
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
        "data = {:?}\ndevice = \"llvmpipe\"\nseed = 7331\n\
         [[stage]]\nstage = \"train\"\nname = \"base\"\nmodel = \"mlp\"\nhidden = \"16\"\nepochs = 4\nbatch_size = 16\n\
         [[stage]]\nstage = \"quantize\"\nname = \"int8\"\nscheme = \"int8\"\nmethod = \"nearest\"\n\
         [[stage]]\nstage = \"prune\"\nname = \"half\"\nfrom = \"base\"\nsparsity = \"50%\"\nvalues = \"dense\"\nepochs = 1\nfine_tune = 1\nbatch_size = 16\n\
         [[stage]]\nstage = \"evaluate\"\nname = \"report\"\nno_speed = true\nsensitivity = true\n",
        shown(&folder)
    );
    fs::write(folder.join("recipe.toml"), recipe).expect("writes");
    folder
}

pub(crate) fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn weights(work: &Path, stage: &str) -> Vec<u8> {
    fs::read(work.join(stage).join("model.safetensors")).expect("weights")
}

/// What a recipe would do.
fn plan(recipe: &str, work: &Path) -> serde_json::Value {
    let work = shown(work);
    let words = ["optimize", "--recipe", recipe, "--work", &work, "--plan"];
    let text = works(&words);
    assert!(
        said(&text).contains("nothing was touched"),
        "{}",
        said(&text)
    );
    let output = works(&[&words[..], &["--json"]].concat());
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn a_recipe_gives_the_same_bytes_again_and_skips_what_is_there() {
    let folder = place("optimize-recipe");
    let recipe = shown(&folder.join("recipe.toml"));
    let [first, second] = ["first", "second"].map(|name| folder.join(name));
    let planned = plan(&recipe, &first);
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
    assert!(page.contains("int8") && page.contains("What each layer alone costs"));
    assert!(page.contains("7331"), "the seed");
    let picture = fs::read_to_string(first.join("report/report.svg")).expect("a picture");
    assert!(picture.starts_with("<svg"), "{picture}");

    // What was planned is what came out, and what is there takes no time again.
    let later = plan(&recipe, &first);
    for (index, stage) in ["base", "int8", "half"].into_iter().enumerate() {
        let model = Model::load(first.join(stage)).expect("reads");
        let sizes = model.stored_bytes().expect("writable");
        let bytes: u64 = sizes.iter().map(|(_, bytes)| bytes).sum();
        let [before, after] = [&planned, &later].map(|plan| &plan["stages"][index]);
        assert_eq!(before["name"], stage);
        assert_eq!(before["bytes"], bytes, "{before}");
        assert!(before["seconds"].as_f64().is_some_and(|one| one > 0.0));
        assert_eq!(before["is_there"], false);
        assert_eq!(after["is_there"], true);
        assert!(after["seconds"].is_null(), "{after}");
    }
    assert!(
        planned["stages"][0]["how"]
            .as_str()
            .is_some_and(|how| how.starts_with("24 steps of"))
    );

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

    // Bytes of an IDX file are shares of 255.
    let bytes: Vec<u8> = (0..4 * 16u32).map(|at| (at * 37 % 256) as u8).collect();
    let mut idx = vec![0, 0, 8, 2, 0, 0, 0, 4, 0, 0, 0, 16];
    idx.extend(&bytes);
    let [images, same] = ["images-idx2-ubyte", "same.safetensors"].map(|name| folder.join(name));
    fs::write(&images, idx).expect("writes");
    let inputs = bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect();
    let names = ["a", "b", "c"].map(str::to_owned).to_vec();
    let samples = Dataset::new(inputs, vec![16], vec![0; 4], names).expect("valid");
    save_safetensors(&samples, &same).expect("writes");
    let classes = [images, same].map(|file| {
        let file = shown(&file);
        works(&[
            "run", &int8, "--input", &file, "--data", &data, "--device", "llvmpipe",
        ])
        .stdout
    });
    assert_eq!(classes[0], classes[1]);
    assert_eq!(String::from_utf8_lossy(&classes[0]).lines().count(), 4);
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
    assert_eq!(chosen["is_pareto"], true, "{report}");
    let sensitivities = report["sensitivities"].as_array().expect("layers");
    for form in [
        "int4 by nearest",
        "int4 by gptq",
        "80% by magnitude",
        "80% by wanda",
    ] {
        assert!(
            sensitivities.iter().any(|one| one["form"] == form),
            "{form}"
        );
    }
    let kept = format!("{work}/optimized");
    let device = ["--device", "llvmpipe"];
    let proof = works(&[&["verify", &kept, "--against", &file], &device[..]].concat());
    assert!(
        said(&proof).contains("gives the same bytes again"),
        "{}",
        said(&proof)
    );
    let page = fs::read_to_string(format!("{work}/report/report.html")).expect("a page");
    assert!(page.contains("What each layer alone costs"));

    let missed = lapidary(&[&words[..], &["--max-size", "1%"]].concat());
    assert_eq!(missed.status.code(), Some(1), "{}", said(&missed));
    assert!(
        said(&missed).contains("the nearest is"),
        "{}",
        said(&missed)
    );
    let report: serde_json::Value = serde_json::from_slice(&missed.stdout).expect("JSON");
    let versions = report["versions"].as_array().expect("versions");
    let missed = |one: &serde_json::Value| one["missed"].as_f64().expect("a number");
    let nearest = versions.iter().map(missed).fold(f64::INFINITY, f64::min);
    let chosen = versions
        .iter()
        .find(|one| one["name"] == report["chosen"])
        .expect("chosen");
    assert_eq!(missed(chosen), nearest);
    assert_eq!(chosen["is_pareto"], true, "{report}");
}

#[test]
fn models_of_single_commands_are_made_again_from_their_base() {
    let folder = place("verify-against");
    let path = |name: &str| shown(&folder.join(name));
    let (data, device) = (path(""), ["--device", "llvmpipe"]);
    let [base, other] =
        [("base.safetensors", "1"), ("other.safetensors", "2")].map(|(name, seed)| {
            let (file, small) = (
                path(name),
                ["--epochs", "2", "--batch-size", "16", "--hidden", "16"],
            );
            let words = [
                "train", "--model", "mlp", "--data", &data, "--seed", seed, "--out", &file,
            ];
            works(&[&words[..], &small, &device].concat());
            file
        });
    let small = ["--batch-size", "16"];
    let [int4, half, student] = ["int4", "half", "student"].map(path);
    works(
        &[
            &[
                "quantize", &base, &int4, "--scheme", "int4-g16", "--calib", "20",
            ],
            &device[..],
        ]
        .concat(),
    );
    let words = [
        "prune",
        &base,
        &half,
        "--sparsity",
        "50%",
        "--epochs",
        "1",
        "--seed",
        "3",
    ];
    works(&[&words[..], &small, &device].concat());
    let words = [
        "distill",
        &base,
        &student,
        "--student",
        "mlp 8",
        "--epochs",
        "1",
    ];
    works(&[&words[..], &small, &device].concat());
    for made in [&int4, &half, &student] {
        let proof = works(&[&["verify", made, "--against", &base], &device[..]].concat());
        let said = said(&proof);
        assert!(
            said.contains("gives the same bytes again"),
            "{made}: {said}"
        );
    }
    let wrong = lapidary(&[&["verify", &int4, "--against", &other], &device[..]].concat());
    assert_eq!(wrong.status.code(), Some(1), "{}", said(&wrong));
    assert!(
        said(&wrong).contains("so it is another base"),
        "{}",
        said(&wrong)
    );
    // A model that nobody compressed has nothing to be made again by.
    let receipt = format!("{{\"data\": {data:?}}}");
    fs::write(folder.join("int4/receipt.json"), receipt).expect("writes");
    let unknown = lapidary(&[&["verify", &int4, "--against", &base], &device[..]].concat());
    assert_eq!(unknown.status.code(), Some(2), "{}", said(&unknown));
    assert!(
        said(&unknown).contains("receipt.json"),
        "{}",
        said(&unknown)
    );
}
