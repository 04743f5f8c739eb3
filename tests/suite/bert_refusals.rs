//! Encoders compressed by command: what is refused before any work, and what the written folder holds. Sizes of
//! decoders that no machine has memory for.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;

use lapidary::io::safetensors::{SafetensorsFile, write_safetensors};
use lapidary::tensor::{DType, HostTensor};

use crate::bert::{TEXTS, folder, lapidary, said};
use crate::cli_decoder;

/// Refused by one of the commands that compress, with nothing written.
fn refused(arguments: &[&str], out: &Path, told: &str) {
    let output = lapidary(arguments);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
    assert!(text.contains(told), "{arguments:?}: {text}");
    assert!(!out.exists(), "{arguments:?}");
}

#[test]
fn sizes_that_are_not_those_of_the_tensors_are_refused_before_anything_is_planned() {
    let base = folder("bert-absurd");
    let config = base.join("config.json");
    let own = fs::read_to_string(&config).expect("reads");
    let out = base.join("out");
    let [path, out_path] = [&base, &out].map(|path| path.to_string_lossy().into_owned());
    let (plan, allowed) = (["--plan"], ["--max-ram", "100M"]);
    let all = |told: &str| {
        for flags in [&plan[..], &allowed] {
            let coded = ["quantize", &path, &out_path, "--scheme", "int4-g32"];
            refused(&[&coded, flags].concat(), &out, told);
        }
        refused(
            &["prune", &path, &out_path, "--sparsity", "50%"],
            &out,
            told,
        );
    };
    for (key, value, told) in [
        (
            "num_hidden_layers",
            20_000_000,
            "has tensors of 2 layers, its configuration says 20000000",
        ),
        (
            "num_hidden_layers",
            1_000_000_000_000_000,
            "has tensors of 2 layers, its configuration says 1000000000000000",
        ),
        (
            "max_position_embeddings",
            u64::MAX,
            "`embeddings.position_embeddings.weight` has shape [12, 32], the network needs [18446744073709551615, 32]",
        ),
        (
            "vocab_size",
            u64::MAX,
            "`embeddings.word_embeddings.weight` has shape [10, 32], the network needs [18446744073709551615, 32]",
        ),
        (
            "hidden_size",
            1 << 62,
            "`embeddings.word_embeddings.weight` has shape [10, 32], the network needs [10, 4611686018427387904]",
        ),
        (
            "intermediate_size",
            1 << 62,
            "`encoder.layer.0.intermediate.dense.weight` has shape [64, 32], the network needs [4611686018427387904, 32]",
        ),
    ] {
        let mut changed: serde_json::Value = serde_json::from_str(&own).expect("JSON");
        changed[key] = value.into();
        fs::write(&config, changed.to_string()).expect("writes");
        all(told);
    }
    // A tensor that claims to be of the last of as many layers as the configuration says.
    let weights = base.join("model.safetensors");
    let mut tensors = all_tensors(&weights);
    let last = HostTensor::from_f32(vec![1], &[0.0]).expect("fits");
    tensors.push(("encoder.layer.19999999.none".to_owned(), last));
    write_safetensors(&weights, &tensors, &BTreeMap::new()).expect("writes");
    let mut changed: serde_json::Value = serde_json::from_str(&own).expect("JSON");
    changed["num_hidden_layers"] = 20_000_000.into();
    fs::write(&config, changed.to_string()).expect("writes");
    all("encoder.layer.2.attention.self.query.weight");
}

fn all_tensors(file: &Path) -> Vec<(String, HostTensor)> {
    let file = SafetensorsFile::open(file).expect("opens");
    let names = file.tensors().iter().map(|one| one.name.clone());
    names
        .map(|name| (name.clone(), file.tensor(&name).expect("there")))
        .collect()
}

#[test]
fn pruned_weights_keep_the_type_of_their_file() {
    for (dtype, name) in [(DType::F16, "f16"), (DType::BF16, "bf16")] {
        let base = folder(&format!("bert-pruned-{name}"));
        let weights = base.join("model.safetensors");
        let mut tensors = all_tensors(&weights);
        for (_, tensor) in &mut tensors {
            let values = tensor.to_f32().expect("f32");
            let narrow = HostTensor::from_f32_as(dtype, tensor.shape().to_vec(), &values);
            *tensor = narrow.expect("narrow");
        }
        write_safetensors(&weights, &tensors, &BTreeMap::new()).expect("writes");
        let text = base.join("lines.txt");
        fs::write(&text, TEXTS.join("\n")).expect("writes");
        let [path, text_path] = [&base, &text].map(|path| path.to_string_lossy().into_owned());
        for method in ["magnitude", "wanda", "sparsegpt"] {
            let out = base.join(method);
            let out_path = out.to_string_lossy();
            let made = lapidary(&[
                "prune",
                &path,
                &out_path,
                "--sparsity",
                "50%",
                "--method",
                method,
                "--calibration",
                &text_path,
            ]);
            assert_eq!(made.status.code(), Some(0), "{method}: {}", said(&made));
            let found = all_tensors(&out.join("model.safetensors"));
            assert_eq!(found.len(), tensors.len());
            for (name, own) in &tensors {
                let other = &found.iter().find(|(one, _)| one == name).expect("there").1;
                assert_eq!(other.dtype(), dtype, "{method} {name}");
                let (own, other) = (own.to_f32().expect("f32"), other.to_f32().expect("f32"));
                let is_pruned = name.contains("dense.weight") || name.contains("self.");
                let n_zeros = other.iter().filter(|&&x| x == 0.0).count();
                if !is_pruned || name.ends_with("bias") {
                    assert_eq!(own, other, "{method} {name}");
                } else {
                    assert!(2 * n_zeros >= own.len(), "{method} {name}: {n_zeros}");
                }
                if method != "sparsegpt" {
                    let mut pairs = own.iter().zip(&other);
                    assert!(pairs.all(|(a, b)| a == b || *b == 0.0), "{method} {name}");
                }
            }
        }
    }
}

#[test]
fn encoders_go_into_a_new_place_and_are_called_by_their_name() {
    let base = folder("bert-places");
    let text = base.join("lines.txt");
    fs::write(&text, TEXTS.join("\n")).expect("writes");
    let (there, fresh) = (base.join("there"), base.join("fresh"));
    fs::create_dir_all(&there).expect("a folder");
    let path = |at: &Path| at.to_string_lossy().into_owned();
    let (text, there_path, fresh_path) = (path(&text), path(&there), path(&fresh));
    let base_path = path(&base);
    let quantize = |out: &str, flags: &[&str]| -> Vec<String> {
        let all = [&["quantize", &base_path, out], flags].concat();
        all.into_iter().map(str::to_owned).collect()
    };
    let run = |arguments: &[String]| -> Output {
        lapidary(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    // Before the text, which is missing, is read.
    let early = ["--scheme", "int8", "--calibration", "missing.txt"];
    for out in [&there_path, &base_path] {
        let output = run(&quantize(out, &early));
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        let told = format!("output = {out}, which is there already");
        assert!(said(&output).contains(&told), "{}", said(&output));
    }
    let read = fs::read_dir(&there).expect("a folder");
    assert_eq!(read.count(), 0);

    let planned = run(&quantize(&there_path, &["--scheme", "int8", "--plan"]));
    assert_eq!(planned.status.code(), Some(0), "{}", said(&planned));
    let plan = String::from_utf8_lossy(&planned.stdout).into_owned();
    assert!(
        plan.contains("embeddings, norms and biases stay as they are"),
        "{plan}"
    );
    let named: [(&[&str], &str); 4] = [
        (&["--scheme", "nf4-g32"], "--scheme nf4-g32 for an encoder"),
        (
            &["--scheme", "int8", "--bias-correction"],
            "an encoder, for which there is no --bias-correction",
        ),
        (
            &["--scheme", "w8a8", "--activations", "int8-static"],
            "--activations int8-static for an encoder; allowed: float",
        ),
        (
            &["--scheme", "int8", "--checkpoint", "kept"],
            "an encoder, for which there is no --checkpoint: it is compressed as a whole",
        ),
    ];
    for (flags, told) in named {
        let arguments = quantize(&fresh_path, flags);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        refused(&arguments, &fresh, told);
    }
    let prune = ["prune", &base_path, &fresh_path, "--sparsity", "50%"];
    refused(
        &[&prune[..], &["--structured"]].concat(),
        &fresh,
        "an encoder, for which there is no --structured",
    );
    for flags in [&[][..], &["--against-cpu"]] {
        refused(
            &[&["verify", base_path.as_str()], flags].concat(),
            &fresh,
            "an encoder; `lapidary embed MODEL TEXT --verify` compares its operations",
        );
    }

    let made = run(&quantize(
        &fresh_path,
        &["--scheme", "int8", "--calibration", &text],
    ));
    assert_eq!(made.status.code(), Some(0), "{}", said(&made));
    assert!(
        said(&made).contains("note: 1 of 4 lines of calibration text cut to 12 tokens"),
        "{}",
        said(&made)
    );
    let told = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(told.contains(", 4 lines of calibration text, "), "{told}");
}

#[test]
fn decoders_past_what_can_be_numbered_are_past_the_memory_that_is_allowed() {
    let scratch = cli_decoder::scratch("lm-absurd");
    let base = cli_decoder::folder(&scratch.join("base"), 1, 2);
    let out = scratch.join("out");
    let out_path = out.to_string_lossy();
    let config = Path::new(&base).join("config.json");
    let own = fs::read_to_string(&config).expect("reads");
    for (key, value) in [("intermediate_size", 1 << 62), ("vocab_size", u64::MAX)] {
        let mut changed: serde_json::Value = serde_json::from_str(&own).expect("JSON");
        changed[key] = value.into();
        fs::write(&config, changed.to_string()).expect("writes");
        let command = ["quantize", &base, &out_path, "--scheme", "int4-g32"];
        let allowed = ["--max-ram", "100M"];
        refused(&[&command[..], &allowed].concat(), &out, "of memory");
    }
}
