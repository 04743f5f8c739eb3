//! What commands write and where: never in the place of what they read or of what is not theirs, and whole or not at
//! all; what `verify` finds in files that were changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use lapidary::compress::model::Model;
use lapidary::compress::stage::prune::{
    PruneAmount, PruneMethod, PruneOptions, PruneScope, PruneStorage, prune_plan,
};
use lapidary::io::safetensors::SafetensorsFile;
use lapidary::num::ValueFormat;
use lapidary::num::mask::Units;
use lapidary::tensor::{DType, HostTensor};

use crate::cli_optimize::{lapidary, place, said, shown, works};

/// A scratch folder with data and the folder `base` of a model.
fn with_base(name: &str) -> (PathBuf, String) {
    let folder = place(name);
    let file = shown(&folder.join("trained.safetensors"));
    let data = shown(&folder);
    let small = ["--hidden", "16", "--epochs", "2", "--batch-size", "16"];
    let words = ["train", "--model", "mlp", "--data", &data, "--out", &file];
    works(&[&words[..], &small, &CPU].concat());
    let base = shown(&folder.join("base"));
    works(&["convert", &file, &base, "--data", &data]);
    // `convert` does not say with which data.
    let receipt = format!("{{\"data\": {data:?}}}");
    fs::write(folder.join("base/receipt.json"), receipt).expect("writes");
    (folder, base)
}

const CPU: [&str; 2] = ["--device", "cpu"];

fn refused(arguments: &[&str], code: i32, reason: &str) {
    let output = lapidary(arguments);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{text}");
    assert!(text.contains(reason), "{arguments:?}\n{text}");
}

/// Every file below a folder, with its bytes.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            let bytes = fs::read(&path).expect("reads");
            all.push((path, bytes));
        }
    }
    all.sort();
    all
}

fn quantized(base: &str, out: &str) -> Output {
    let words = ["quantize", base, out, "--scheme", "int8", "--calib", "20"];
    works(&[&words[..], &CPU].concat())
}

#[test]
fn what_is_read_and_what_is_not_ours_stays() {
    let (folder, base) = with_base("outputs-stay");
    let path = |name: &str| shown(&folder.join(name));
    fs::create_dir(folder.join("foreign")).expect("makes");
    fs::write(folder.join("foreign/config.json"), "hi").expect("writes");
    fs::create_dir(folder.join("notes")).expect("makes");
    fs::write(folder.join("notes/todo"), "hi").expect("writes");
    fs::write(folder.join("file"), "hi").expect("writes");
    let export = format!("[[stage]]\nstage = \"export\"\nto = {base:?}\n");
    fs::write(folder.join("export.toml"), export).expect("writes");
    let same = path("other/../base");
    fs::create_dir(folder.join("other")).expect("makes");
    let before = files(&folder);
    for (out, reason) in [
        (base.as_str(), "which is read"),
        (&same, "which is read"),
        (&path(""), "which is read"),
        (&path("foreign"), "is not of a model that lapidary wrote"),
        (&path("notes"), "no model; allowed: a new folder"),
        (&path("file"), "is no folder"),
        (&path("file/model"), "is no folder"),
    ] {
        for command in [
            &["quantize", base.as_str(), out, "--scheme", "int8"][..],
            &["prune", base.as_str(), out, "--sparsity", "50%"],
            &["distill", base.as_str(), out, "--student", "mlp 8"],
        ] {
            // Only `distill` wants the folder above to be there.
            let reason = match (command[0], out.ends_with("file/model")) {
                ("distill", true) => "there is no folder",
                _ => reason,
            };
            refused(&[command, &CPU].concat(), 2, reason);
        }
        if !out.ends_with("file") && !out.ends_with("file/model") {
            refused(&["convert", &base, out, "--to", "folder"], 2, reason);
        }
    }
    let work = path("");
    refused(
        &[
            "optimize",
            &base,
            "--recipe",
            &path("export.toml"),
            "--work",
            &path("other"),
        ],
        2,
        "which is read",
    );
    fs::rename(folder.join("base"), folder.join("baseline")).expect("renames");
    let goal = [
        "optimize",
        &path("baseline"),
        "--goal",
        "size",
        "--work",
        &work,
    ];
    refused(&[&goal[..], &CPU].concat(), 2, "which is read");
    fs::rename(folder.join("baseline"), folder.join("base")).expect("renames");
    assert!(files(&folder) == before);

    // A recipe keeps itself in its work folder, but not over a file of the user's.
    let mine = fs::read(folder.join("recipe.toml")).expect("reads");
    let other = "[[stage]]\nstage = \"export\"\nto = \"nowhere\"\n";
    fs::write(folder.join("other.toml"), other).expect("writes");
    refused(
        &[
            "optimize",
            &base,
            "--recipe",
            &path("other.toml"),
            "--work",
            &work,
        ],
        2,
        "that no recipe left here",
    );
    assert_eq!(fs::read(folder.join("recipe.toml")).expect("reads"), mine);
}

#[test]
fn a_model_is_replaced_whole_or_not_at_all() {
    let (folder, base) = with_base("outputs-whole");
    let out = folder.join("made");
    fs::create_dir(&out).expect("makes");
    quantized(&base, &shown(&out));
    fs::write(out.join("notes"), "mine").expect("writes");
    let before = files(&out);
    let scheme = ["--scheme", "int4-g16", "--method", "nearest"];
    let to = shown(&out);
    let words = [&["quantize", &base, &to][..], &scheme, &CPU].concat();

    // No file may have more than 512 bytes: as on a full disk, writing fails on the way.
    #[cfg(unix)]
    {
        let script = "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\"";
        let full = std::process::Command::new("sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_lapidary")])
            .args(&words)
            .output()
            .expect("the command starts");
        assert_eq!(full.status.code(), Some(2), "{}", said(&full));
        assert!(said(&full).contains("cannot be written"), "{}", said(&full));
        assert!(files(&out) == before);
    }

    let replaced = works(&words);
    let note = "the model there is replaced";
    assert!(said(&replaced).contains(note), "{}", said(&replaced));
    let after = files(&out);
    assert_eq!(after.len(), before.len());
    assert_eq!(fs::read(out.join("notes")).expect("reads"), b"mine");
    let weights = |all: &[(PathBuf, Vec<u8>)]| {
        let found = all
            .iter()
            .find(|(path, _)| path.ends_with("model.safetensors"));
        found.expect("there").1.clone()
    };
    assert!(weights(&before) != weights(&after));
    let names: Vec<String> = fs::read_dir(&folder)
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert!(
        !names.iter().any(|name| name.starts_with(".lapidary")),
        "{names:?}"
    );
}

#[test]
fn a_proof_is_of_the_files_as_they_are() {
    let (folder, base) = with_base("outputs-proof");
    let made = shown(&folder.join("made"));
    quantized(&base, &made);
    let against = |device: &'static str| {
        ["verify", &made, "--against", &base, "--device", device].map(str::to_owned)
    };
    let judge = |device: &'static str| {
        let words = against(device);
        lapidary(&words.each_ref().map(String::as_str))
    };
    let is_right = judge("cpu");
    assert_eq!(is_right.status.code(), Some(0), "{}", said(&is_right));
    assert!(said(&is_right).contains("SHA-256 of weights and configuration as in the receipt"));
    // A model is no base of itself.
    refused(
        &[&["verify", &made, "--against", &made][..], &CPU].concat(),
        1,
        "another base",
    );

    let [config, weights, receipt] = ["config.json", "model.safetensors", "receipt.json"]
        .map(|name| folder.join("made").join(name));
    let [whole, bytes, said_before] =
        [&config, &weights, &receipt].map(|file| fs::read(file).expect("reads"));
    let text = String::from_utf8(whole.clone()).expect("text");

    // The configuration alone, with and without its SHA-256.
    let changed = text.replacen("\"relu\"", "\"sigmoid\"", 1);
    assert_ne!(changed, text);
    fs::write(&config, &changed).expect("writes");
    refused(
        &[&["verify", &made][..], &CPU].concat(),
        1,
        "config.json: its SHA-256 is",
    );
    let mut loose: serde_json::Value = serde_json::from_slice(&said_before).expect("JSON");
    let keys = loose.as_object_mut().expect("an object");
    assert!(keys.remove("config_sha256").is_some());
    fs::write(&receipt, loose.to_string()).expect("writes");
    let found = judge("cpu");
    assert_eq!(found.status.code(), Some(1), "{}", said(&found));
    assert!(
        said(&found).contains("layers of config.json"),
        "{}",
        said(&found)
    );
    fs::write(&receipt, &said_before).expect("writes");

    // A bias that the configuration does not tell of.
    let mut unread: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let layers = unread["layers"].as_array_mut().expect("a list");
    let mut changes = 0;
    for layer in layers {
        if let Some(has_bias) = layer.pointer_mut("/linear/has_bias") {
            *has_bias = false.into();
            changes += 1;
        }
    }
    assert!(changes > 0, "{text}");
    fs::write(&config, unread.to_string()).expect("writes");
    refused(&["inspect", &made], 2, "1.bias");
    fs::write(&config, &whole).expect("writes");

    // What the configuration says twice and not alike, and what it should not say.
    for (edit, reason) in [
        (
            "/quantization_config/format",
            "config.json: quantization_config is another",
        ),
        ("/input_mean", "config.json: 0 means"),
        ("/more", "config.json: unknown field `more`"),
    ] {
        let mut edited: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        match edited.pointer_mut(edit) {
            Some(place) if place.is_array() => *place = serde_json::json!([]),
            Some(place) => *place = "dense".into(),
            None => edited["more"] = 1.into(),
        }
        fs::write(&config, edited.to_string()).expect("writes");
        refused(&["inspect", &made], 2, reason);
    }
    fs::write(&config, &whole).expect("writes");
    refused(
        &["eval", &made],
        2,
        "`lapidary bench` judges the model of a folder",
    );

    // One bit of one code.
    let mut flipped = bytes.clone();
    *flipped.last_mut().expect("bytes") ^= 1;
    fs::write(&weights, &flipped).expect("writes");
    refused(
        &[&["verify", &made][..], &CPU].concat(),
        1,
        "model.safetensors: its SHA-256 is",
    );
    fs::write(&weights, &bytes).expect("writes");

    // Of another base than the one at hand.
    let mut other: serde_json::Value = serde_json::from_slice(&said_before).expect("JSON");
    other["base_sha256"] = "0".repeat(64).into();
    fs::write(&receipt, other.to_string()).expect("writes");
    let found = judge("cpu");
    assert!(
        said(&found).contains("so it is another base"),
        "{}",
        said(&found)
    );

    // On another device other bytes are no proof that something is wrong.
    let mut other: serde_json::Value = serde_json::from_slice(&said_before).expect("JSON");
    other["device"] = "another".into();
    other["settings"]["scheme"] = "int4-g16".into();
    fs::write(&receipt, other.to_string()).expect("writes");
    let found = judge("cpu");
    assert_eq!(found.status.code(), Some(2), "{}", said(&found));
    assert!(said(&found).contains("made on another"), "{}", said(&found));
    fs::write(&receipt, &said_before).expect("writes");

    // What a recipe left there of a model before it says nothing of this one.
    let stale = serde_json::json!({
        "stage": "quantize", "name": "made", "version": "0", "settings": { "scheme": "int4-g16" },
        "inputs": [], "output": "of another model",
    });
    fs::write(folder.join("made/stage.json"), stale.to_string()).expect("writes");
    let found = judge("cpu");
    assert_eq!(found.status.code(), Some(0), "{}", said(&found));
}

#[test]
fn what_cannot_be_made_is_refused_by_the_plan_with_the_fix() {
    let (folder, base) = with_base("outputs-plans");
    let path = |name: &str| shown(&folder.join(name));
    let (pruned, out) = (path("pruned"), path("out"));
    let small = ["--epochs", "1", "--fine-tune", "0", "--batch-size", "16"];
    let words = ["prune", &base, &pruned, "--sparsity", "50%"];
    works(&[&words[..], &small, &CPU].concat());
    let coded = path("coded");
    quantized(&base, &coded);
    let common = ["--calib", "20", "--device", "cpu"];
    for (input, scheme, reason) in [
        (
            &coded,
            "int4-g16",
            "weights to quantize = none (1.weight kept: it is int8",
        ),
        (&pruned, "nf4-g16", "no codes of levels; use int8-"),
        (
            &pruned,
            "int2-g16",
            "symmetric int8 or int4 codes over their full range; use int8-",
        ),
        (&pruned, "int8", "scales per Channel"),
        (
            &base,
            "nf4",
            "1.weight: k = 16 is not a multiple of group_size 32; use nf4-g16",
        ),
        (&base, "log8-g32", "use log8-g16"),
        (&base, "int8-kl", "at the least; use mse or no range"),
    ] {
        for last in [&["--plan"][..], &[]] {
            let words = ["quantize", input.as_str(), out.as_str(), "--scheme", scheme];
            refused(&[&words[..], &common, last].concat(), 2, reason);
        }
    }
    // Training does not begin either.
    let words = ["quantize", &pruned, &out, "--scheme", "int2-g16"];
    let training = ["--qat-epochs", "1", "--batch-size", "16"];
    refused(
        &[&words[..], &training, &CPU].concat(),
        2,
        "symmetric int8 or int4",
    );
    assert!(!Path::new(&out).exists());

    // What a policy makes of it is what its plan said, in bytes too.
    for (input, scheme, policy, formats) in [
        (&pruned, "int8", "smaller-group", ["int8-g16", "int8-g16"]),
        (&pruned, "nf4-g16", "int8", ["int8-", "int8-"]),
        (&base, "nf4", "smaller-group", ["nf4-g16", "nf4-g16"]),
        (&base, "log4-g32", "int8", ["int8-channel", "int8-channel"]),
        (&base, "int8-kl", "int8", ["int8-channel", "int8-channel"]),
    ] {
        let words = ["quantize", input.as_str(), out.as_str(), "--scheme", scheme];
        let policy = ["--on-misfit", policy, "--method", "nearest", "--json"];
        let words = [&words[..], &policy, &common].concat();
        let plan = works(&[&words[..], &["--plan"]].concat());
        let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).expect("JSON");
        let made = works(&words);
        let made: serde_json::Value = serde_json::from_slice(&made.stdout).expect("JSON");
        let layers = made["quantize"]["layers"].as_array().expect("layers");
        assert_eq!(layers.len(), 2);
        for ((layer, planned), format) in layers
            .iter()
            .zip(plan.as_array().expect("plan"))
            .zip(formats)
        {
            let [becomes, made] =
                [&planned["becomes"], &layer["format"]].map(|one| one.as_str().expect("a word"));
            assert!(becomes.starts_with(format), "{scheme}: {planned}");
            assert!(
                made.contains(becomes.trim_end_matches("-kl")),
                "{scheme}: {planned} {layer}"
            );
            assert_eq!(
                planned["bytes"], layer["bytes"],
                "{scheme}: {planned} {layer}"
            );
        }
    }

    // Blocks that no kernel has are known before training.
    let model = Model::load(&base).expect("reads");
    let amount: PruneAmount = "50%".parse().expect("an amount");
    let units = Units {
        rows: 4,
        columns: 4,
    };
    let amount = amount.in_blocks(units).expect("blocks");
    let mut options = PruneOptions::new(PruneMethod::Magnitude, amount).expect("in range");
    options.scope = PruneScope::Layer;
    options.storage = PruneStorage::Sparse(ValueFormat::F32);
    let message = prune_plan(&model, &options)
        .expect_err("no such blocks")
        .to_string();
    assert!(message.contains("multiples of 8"), "{message}");
}

#[test]
fn half_precision_files_hold_what_they_say() {
    let (folder, base) = with_base("outputs-half");
    let file = shown(&folder.join("half.safetensors"));
    refused(
        &["convert", &base, &file, "--to", "f16"],
        2,
        "--lossy rounds them",
    );
    works(&["convert", &base, &file, "--to", "f16", "--lossy"]);
    let model = Model::load(&base).expect("reads");
    let file = SafetensorsFile::open(&file).expect("opens");
    assert_eq!(file.tensors().len(), model.tensors().len());
    for (name, value) in model.values() {
        let found = file.tensor(&name).expect("there");
        let values = value.to_f32().expect("f32");
        let expected = HostTensor::from_f32_as(DType::F16, value.shape().to_vec(), &values);
        assert_eq!(found, expected.expect("halves"), "{name}");
    }
    let misnamed = shown(&folder.join("model.gguf"));
    refused(
        &["convert", &base, &misnamed],
        2,
        ".gguf is the ending of a file",
    );
}

#[test]
fn a_recipe_sees_that_its_data_are_others() {
    let folder = place("outputs-data");
    let recipe = format!(
        "data = {:?}\ndevice = \"cpu\"\n[[stage]]\nstage = \"train\"\nname = \"base\"\nmodel = \"mlp\"\nhidden = \"16\"\n\
         epochs = 1\nbatch_size = 16\n[[stage]]\nstage = \"quantize\"\nname = \"int8\"\nscheme = \"int8\"\ncalib = 20\n",
        shown(&folder)
    );
    fs::write(folder.join("r.toml"), recipe).expect("writes");
    let (recipe, work) = (shown(&folder.join("r.toml")), shown(&folder.join("work")));
    let there = || {
        let output = works(&["optimize", "--recipe", &recipe, "--work", &work]);
        said(&output).matches("is there already").count()
    };
    assert_eq!([there(), there()], [0, 2]);
    fs::copy(
        folder.join("test.safetensors"),
        folder.join("train.safetensors"),
    )
    .expect("copies");
    assert_eq!([there(), there()], [0, 2]);
}

#[test]
fn a_goal_in_time_leaves_the_work_folder_alone() {
    let (folder, base) = with_base("outputs-goal");
    let mine = folder.join("work/version/mine");
    fs::create_dir_all(mine.parent().expect("a folder")).expect("makes");
    fs::write(&mine, "hi").expect("writes");
    let work = shown(&folder.join("work"));
    let words = [
        "optimize",
        &base,
        "--goal",
        "latency",
        "--max-drop",
        "50%",
        "--work",
        &work,
    ];
    works(&[&words[..], &CPU].concat());
    assert_eq!(fs::read(&mine).expect("reads"), b"hi");
}
