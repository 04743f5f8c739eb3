//! `lapidary quantize --bits`: language models whose weights get widths of their own, by what narrowing each costs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value as Json, json};

use crate::cli_decoder::{
    divergence, files, folder, gguf, kill_when, lapidary, path, refused, report, said, scratch,
    texts,
};

/// Bits that the weights of a report take in its files.
fn bits(told: &Json) -> f64 {
    let weights = told["weights"].as_array().expect("weights");
    let of = |one: &Json, key: &str| one[key].as_f64().expect("a number");
    let count = |one: &Json| {
        one["shape"][0].as_f64().expect("a number") * one["shape"][1].as_f64().expect("a number")
    };
    let all = weights
        .iter()
        .map(|one| count(one) * of(one, "bits_per_weight"));
    all.sum::<f64>()
}

fn chosen(told: &Json) -> Vec<Json> {
    let groups = told["widths"].as_array().expect("groups");
    let one = |group: &Json| {
        let options = group["options"].as_array().expect("options");
        let mut chosen = options.iter().filter(|one| one["is_chosen"] == true);
        let found = chosen.next().expect("one").clone();
        assert_eq!(chosen.next(), None);
        found
    };
    groups.iter().map(one).collect()
}

#[test]
fn each_weight_gets_a_width_within_the_mean_and_the_folder_runs() {
    let scratch = scratch("lm-mixed");
    let base = folder(&scratch.join("base"), 2, 2);
    let [calibration, judge] = texts(&scratch);
    let calibrated = [
        "--calibration",
        &calibration,
        "--window",
        "32",
        "--samples",
        "20",
    ];
    let made = |name: &str, more: &[&str]| {
        let out = path(&scratch, name);
        let given = [&["quantize", &base, &out][..], more, &calibrated].concat();
        (report(&given), out)
    };
    // 2 layers of q, out 64 x 64; k, v 32 x 64; gate, up 128 x 64; down 64 x 128.
    let weights = 2.0 * 64.0 * (64.0 + 32.0 + 32.0 + 64.0 + 3.0 * 128.0);
    let mut lost = BTreeMap::new();
    for method in ["nearest", "hqq", "awq", "gptq"] {
        let (told, out) = made(method, &["--bits", "5.5", "--method", method]);
        let groups = told["widths"].as_array().expect("groups");
        assert_eq!(groups.len(), 8);
        let names = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
        let names = names.map(|name| format!("model.layers.0.{name}.weight"));
        assert_eq!(groups[0]["weights"], json!(names));
        for group in groups {
            let options = group["options"].as_array().expect("options");
            let of = |key: &str| -> Vec<f64> {
                options
                    .iter()
                    .map(|o| o[key].as_f64().expect("a number"))
                    .collect()
            };
            let formats: Vec<&str> = options
                .iter()
                .filter_map(|o| o["format"].as_str())
                .collect();
            assert_eq!(formats, ["int3-g32", "int4-g32", "int6-g32", "int8-g32"]);
            assert!(of("bytes").is_sorted_by(|a, b| a < b), "{group}");
            assert!(of("nats").is_sorted_by(|a, b| a > b), "{group}");
        }
        let bytes: f64 = chosen(&told)
            .iter()
            .map(|one| one["bytes"].as_f64().expect("a number"))
            .sum();
        assert!(8.0 * bytes <= 5.5 * weights, "{bytes}");
        // What is said of the file is what is in it, whatever zero points the method adds.
        assert!((bits(&told) - 8.0 * bytes).abs() < 0.5, "{method}: {bytes}");
        assert!(chosen(&told).iter().any(|one| one["format"] == "int6-g32"));
        let config = fs::read_to_string(Path::new(&out).join("config.json")).expect("reads");
        let config: Json = serde_json::from_str(&config).expect("JSON");
        let coded = &config["quantization_config"]["config_groups"];
        let widths: std::collections::BTreeSet<u64> = coded
            .as_object()
            .expect("groups")
            .values()
            .filter_map(|group| group["weights"]["num_bits"].as_u64())
            .collect();
        assert!(widths.len() > 1 && widths.contains(&6), "{widths:?}");
        let receipt = fs::read_to_string(Path::new(&out).join("receipt.json")).expect("reads");
        let receipt: Json = serde_json::from_str(&receipt).expect("JSON");
        assert_eq!(receipt["widths"], told["widths"]);
        assert!(!Path::new(&out).join("sensitivity.json").exists());
        lost.insert(method, divergence(&out, &base, &judge));
    }
    let uniform = |scheme: &str| {
        let (_, out) = made(scheme, &["--scheme", scheme, "--method", "nearest"]);
        divergence(&out, &base, &judge)
    };
    let (narrow, wide) = (uniform("int3-g32"), uniform("int8-g32"));
    assert!(
        wide < lost["nearest"] && lost["nearest"] < narrow,
        "{lost:?}"
    );

    // A plan measures and writes nothing.
    let out = path(&scratch, "plan");
    let plan = ["quantize", &base, &out, "--bits", "5.5", "--plan"];
    let planned = report(&[&plan[..], &calibrated].concat());
    let (told, _) = made("again", &["--bits", "5.5"]);
    assert_eq!(planned["widths"], told["widths"]);
    let becomes = |one: &Json| one["becomes"].clone();
    let formats = |one: &Json| one["format"].clone();
    let [planned, told] = [
        (&planned, &becomes as &dyn Fn(&Json) -> Json),
        (&told, &formats),
    ]
    .map(|(told, of)| {
        let weights = told["weights"].as_array().expect("weights");
        weights.iter().map(of).collect::<Vec<_>>()
    });
    assert_eq!(planned, told);
    assert!(!Path::new(&out).exists() && !scratch.join("plan.partial").exists());

    // Nothing is chosen for what is kept, and as wide as all can be is as wide as all are.
    let (told, _) = made("kept", &["--bits", "9", "--keep", "*.mlp.*"]);
    assert_eq!(told["widths"].as_array().map(Vec::len), Some(4));
    let all_wide = chosen(&told).iter().all(|one| one["format"] == "int8-g32");
    assert!(all_wide, "{told}");

    // The command that made it gives the same bytes again.
    let told = report(&["verify", &path(&scratch, "gptq"), "--against", &base]);
    assert_eq!(told[0]["differing"], json!([]));
    let inspected = Command::new(env!("CARGO_BIN_EXE_lapidary"))
        .args(["inspect", &path(&scratch, "gptq")])
        .output()
        .expect("the command starts");
    let text = String::from_utf8_lossy(&inspected.stdout).into_owned();
    assert!(text.contains("int6-g32 (int8 on a device)"), "{text}");
}

#[test]
fn a_run_that_is_killed_does_not_measure_again_and_ends_with_the_same_bytes() {
    let scratch = scratch("lm-mixed-killed");
    let base = folder(&scratch.join("base"), 6, 2);
    let [calibration, _] = texts(&scratch);
    let [whole, killed] = ["whole", "killed"].map(|name| path(&scratch, name));
    let given = |out: &str| -> Vec<String> {
        let words = ["quantize", &base, out, "--bits", "5", "--calibration"];
        let more = [&calibration, "--window", "32", "--samples", "16"];
        let all = words.into_iter().chain(more);
        all.map(str::to_owned).collect()
    };
    let words = |all: &[String]| -> Vec<String> { all.to_vec() };
    let run = |out: &str| {
        let all = words(&given(out));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        lapidary(&all)
    };
    let done = run(&whole);
    assert!(done.status.success(), "{}", said(&done));
    assert!(said(&done).contains("what narrowing costs in layer 0"));
    let partial = PathBuf::from(format!("{killed}.partial"));
    let all = given(&killed);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    kill_when(&all, &partial.join("sensitivity.json"));
    kill_when(&all, &partial.join("model-00003-of-00007.safetensors"));
    let measured = partial.join("sensitivity.json");
    let costs = fs::read_to_string(&measured).expect("there");
    let done = run(&killed);
    assert!(done.status.success(), "{}", said(&done));
    assert!(
        !said(&done).contains("what narrowing costs"),
        "{}",
        said(&done)
    );
    assert!(said(&done).contains("going on behind"), "{}", said(&done));
    let [one, other] = [&whole, &killed].map(|out| files(Path::new(out)));
    let differing: Vec<&String> = one
        .iter()
        .filter(|(name, bytes)| other.get(*name) != Some(bytes))
        .map(|(name, _)| name)
        .collect();
    assert!(
        differing.is_empty() && one.len() == other.len(),
        "{differing:?}"
    );

    // Costs that are damaged or another run's are measured again.
    for text in ["{", &costs.replace("part_of\":\"", "part_of\":\"0")] {
        let out = path(&scratch, "damaged");
        let partial = PathBuf::from(format!("{out}.partial"));
        let all = given(&out);
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        kill_when(&all, &partial.join("model-00002-of-00007.safetensors"));
        fs::write(partial.join("sensitivity.json"), text).expect("writes");
        let done = run(&out);
        assert!(done.status.success(), "{}", said(&done));
        assert!(said(&done).contains("what narrowing costs in layer 0"));
        assert!(files(Path::new(&out)) == files(Path::new(&whole)));
        fs::remove_dir_all(&out).expect("removes");
    }
}

#[test]
fn means_that_cannot_be_are_refused_before_anything_is_measured() {
    let scratch = scratch("lm-mixed-refused");
    let (base, file) = (
        folder(&scratch.join("base"), 1, 2),
        gguf(&scratch.join("base.gguf"), 1, 2),
    );
    let [calibration, _] = texts(&scratch);
    let (out, out_file) = (path(&scratch, "out"), path(&scratch, "out.gguf"));
    let calibrated = ["--calibration", &calibration, "--window", "32"];
    let with = |more: &[&'static str]| -> Vec<String> {
        let all = ["quantize", &base, &out]
            .into_iter()
            .chain(more.iter().copied());
        all.chain(calibrated).map(str::to_owned).collect()
    };
    // 64 inputs are 7 words of 3-bit codes, 128 are 13; f16 scales of 32 weights; 16 bytes of extents.
    let bytes = |n: f64, words: f64, groups: f64| n * (4.0 * words + 2.0 * groups) + 16.0;
    let rows = 64.0 + 32.0 + 32.0 + 64.0 + 128.0 + 128.0;
    let least = bytes(rows, 7.0, 2.0) + 5.0 * 16.0 + bytes(64.0, 13.0, 4.0);
    let least_bits = 8.0 * least / (64.0 * (rows + 128.0));
    let said = format!("{:.2} and more", (100.0 * least_bits).ceil() / 100.0);
    for (given, expected) in [
        (with(&["--bits", "3.5"]), said.as_str()),
        (with(&["--bits", "0"]), "above 0"),
        (with(&["--bits", "nan"]), "above 0"),
        (
            with(&["--bits", "5", "--scheme", "int4"]),
            "cannot be used with",
        ),
        (
            with(&["--bits", "5", "--max-ram", "64K"]),
            "to measure what widths cost",
        ),
        (
            with(&["--bits", "5", "--keep", "head"]),
            "patterns that fit one of",
        ),
    ] {
        let given: Vec<&str> = given.iter().map(String::as_str).collect();
        refused(&given, expected);
    }
    refused(&["quantize", &base, &out], "--scheme");
    refused(
        &["quantize", &base, &out, "--bits", "5"],
        "mean bits of a weight without --calibration TEXT",
    );
    refused(
        &["quantize", &file, &out_file, "--bits", "5"],
        "a GGUF file has no types for all widths of --bits",
    );
    refused(
        &["quantize", "Cargo.toml", &out, "--bits", "5"],
        "--bits is for language models",
    );
    assert!(!Path::new(&out).exists() && !scratch.join("out.partial").exists());
    // The least that is allowed is allowed.
    let enough = format!("{:.2}", (100.0 * least_bits).ceil() / 100.0);
    let given = ["quantize", &base, &out, "--bits", &enough, "--plan"];
    let told = report(&[&given[..], &calibrated, &["--samples", "2"]].concat());
    let narrow = chosen(&told).iter().all(|one| one["format"] == "int3-g32");
    assert!(narrow, "{told}");
}
