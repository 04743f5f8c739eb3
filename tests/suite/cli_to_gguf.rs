//! Language models as GGUF files: codes with zero points as Q4_1, and folders of Hugging Face's by `lapidary convert`.

use std::fs;
use std::path::Path;

use lapidary::io::gguf::GgufFile;
use lapidary::io::hf::Shards;
use lapidary::io::safetensors::write_safetensors;
use lapidary::num::ggml::GgmlType;
use lapidary::tensor::{DType, HostTensor};
use lapidary::text::byte_tokenizer;
use serde_json::{Value as Json, json};

use crate::cli_decoder::{
    divergence, folder, gguf, kill_when, lapidary, path, refused, report, said, scratch, texts,
};

fn kind(file: &str, name: &str) -> Option<GgmlType> {
    let opened = GgufFile::open(file).expect("opens");
    let mut all = opened.tensors().iter();
    all.find(|one| one.name == name).map(|one| one.kind)
}

/// Runs `convert`, which has no device.
fn convert(arguments: &[&str]) -> Result<Json, String> {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_lapidary"))
        .arg("convert")
        .args(arguments)
        .arg("--json")
        .output()
        .expect("the command starts");
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).expect("JSON")),
        false => {
            assert_eq!(output.status.code(), Some(2), "{}", said(&output));
            Err(said(&output))
        }
    }
}

#[test]
fn codes_with_zero_points_become_q4_1_and_are_judged_as_they_will_be_read() {
    let scratch = scratch("lm-q4-1");
    let (base, file) = (
        folder(&scratch.join("base"), 4, 2),
        gguf(&scratch.join("base.gguf"), 4, 2),
    );
    let [calibration, judge] = texts(&scratch);
    let calibrated = [
        "--calibration",
        &calibration,
        "--window",
        "32",
        "--samples",
        "20",
    ];
    for (method, scheme) in [
        ("nearest", "int4-g32-zp"),
        ("gptq", "int4-g32-zp"),
        ("hqq", "int4-g32"),
    ] {
        let (out, beside) = (
            path(&scratch, &format!("{method}.gguf")),
            path(&scratch, method),
        );
        let made = |from: &str, to: &str| {
            let given = ["quantize", from, to, "--scheme", scheme, "--method", method];
            report(&[&given[..], &calibrated].concat());
        };
        made(&file, &out);
        made(&base, &beside);
        assert_eq!(kind(&out, "blk.0.attn_q.weight"), Some(GgmlType::Q4_1));
        assert_eq!(kind(&out, "blk.3.ffn_down.weight"), Some(GgmlType::Q4_1));
        assert_eq!(kind(&out, "token_embd.weight"), Some(GgmlType::F32));
        let opened = GgufFile::open(&out).expect("opens");
        assert_eq!(
            opened.metadata().count("general.file_type").expect("there"),
            3
        );
        assert!(divergence(&out, &base, &judge) > 0.0);
        // What is coded without a look at the texts is what the folder's codes become, minima rounded in the same way.
        if method != "gptq" {
            let converted = path(&scratch, &format!("{method}-converted.gguf"));
            convert(&[&beside, &converted, "--lossy"]).expect("writes");
            let other = GgufFile::open(&converted).expect("opens");
            for one in opened.tensors() {
                let found = other.decoded(&one.name).expect("there");
                assert_eq!(
                    opened.decoded(&one.name).expect("there"),
                    found,
                    "{}",
                    one.name
                );
            }
        }
    }
    // Killed in the middle it ends with the same bytes, minima and all.
    let out = path(&scratch, "killed.gguf");
    let given = ["quantize", &file, &out, "--scheme", "int4-g32-zp"];
    let given = [&given[..], &calibrated].concat();
    kill_when(
        &given,
        &scratch.join("killed.gguf.partial/model-00003-of-00005.safetensors"),
    );
    let done = lapidary(&given);
    assert!(done.status.success(), "{}", said(&done));
    assert!(
        fs::read(&out).expect("reads") == fs::read(path(&scratch, "gptq.gguf")).expect("reads")
    );
    // A folder of the same name would have other codes behind the first layer.
    let partial = scratch.join("other.gguf.partial");
    let out = path(&scratch, "other.gguf");
    let mut given: Vec<&str> = given.clone();
    given[2] = &out;
    kill_when(&given, &partial.join("model-00002-of-00005.safetensors"));
    let other = scratch.join("other.partial");
    fs::rename(&partial, &other).expect("renames");
    let out = path(&scratch, "other");
    given[2] = &out;
    refused(&given, "kind was a GGUF file and is a folder");
}

#[test]
fn a_folder_becomes_a_file_of_the_same_model() {
    let scratch = scratch("lm-to-gguf");
    let base = folder(&scratch.join("base"), 2, 2);
    let [_, judge] = texts(&scratch);
    let out = path(&scratch, "f32.gguf");
    let told = convert(&[&base, &out]).expect("writes");
    assert_eq!(
        (&told["is_lossless"], &told["network"]),
        (&json!(true), &json!("21 F32"))
    );
    // The same tensors as the file that was written by hand, q and k in its order.
    let by_hand = gguf(&scratch.join("by-hand.gguf"), 2, 2);
    let [own, other] = [&out, &by_hand].map(|file| GgufFile::open(file).expect("opens"));
    assert_eq!(own.tensors().len(), other.tensors().len());
    for one in other.tensors() {
        let found = own.tensor(&one.name).expect("there");
        assert_eq!(
            found,
            other.tensor(&one.name).expect("there"),
            "{}",
            one.name
        );
    }
    let text =
        |model: &str| report(&["run", model, "-p", "facet", "--max-tokens", "8"])["text"].clone();
    assert_eq!(text(&out), text(&base));
    assert!(divergence(&out, &base, &judge) < 1e-9);

    // Types that round are asked for twice.
    let rounded = path(&scratch, "q8.gguf");
    let error = convert(&[&base, &rounded, "--to", "q8_0"]).unwrap_err();
    assert!(error.contains("16 of 21 tensors change"), "{error}");
    assert!(!Path::new(&rounded).exists());
    let told = convert(&[&base, &rounded, "--to", "q4_0", "--lossy"]).expect("writes");
    assert_eq!(told["is_lossless"], false);
    assert_eq!(kind(&rounded, "blk.1.attn_k.weight"), Some(GgmlType::Q4_0));
    assert_eq!(kind(&rounded, "output.weight"), Some(GgmlType::Q8_0));
    let by_convert = path(&scratch, "by-convert.gguf");
    convert(&[&by_hand, &by_convert, "--to", "q4_0", "--lossy"]).expect("writes");
    assert!(divergence(&rounded, &by_convert, &judge) < 1e-9);

    // Codes stay codes: of 3, 4, 6 and 8 bits in groups of 32.
    let mixed = path(&scratch, "mixed");
    let given = [
        "quantize",
        &base,
        &mixed,
        "--bits",
        "5.5",
        "--calibration",
        &judge,
    ];
    report(&[&given[..], &["--window", "32"]].concat());
    let as_file = path(&scratch, "mixed.gguf");
    let told = convert(&[&mixed, &as_file]).expect("writes");
    assert_eq!(told["is_lossless"], true);
    let network = told["network"].as_str().expect("a text");
    assert!(
        network.contains("Q8_0") && network.contains("Q4_0"),
        "{network}"
    );
    let apart = divergence(&as_file, &mixed, &judge);
    assert!(apart < 1e-9, "{apart}");
    let zero_points = path(&scratch, "zp");
    report(&["quantize", &base, &zero_points, "--scheme", "int4-g32-zp"]);
    let as_file = path(&scratch, "zp.gguf");
    let error = convert(&[&zero_points, &as_file]).unwrap_err();
    assert!(error.contains("14 of 21 tensors change"), "{error}");
    convert(&[&zero_points, &as_file, "--lossy"]).expect("writes");
    assert_eq!(kind(&as_file, "blk.0.ffn_up.weight"), Some(GgmlType::Q4_1));
    // bf16 stays bf16.
    let half = scratch.join("half");
    fs::create_dir(&half).expect("a folder");
    for name in ["config.json", "tokenizer.json"] {
        fs::copy(Path::new(&base).join(name), half.join(name)).expect("copies");
    }
    let shards = Shards::open(&base).expect("opens");
    let round = |name: &str| {
        let tensor = shards.tensor(name).expect("there");
        let values = tensor.to_f32().expect("floats");
        HostTensor::from_f32_as(DType::BF16, tensor.shape().to_vec(), &values).expect("fits")
    };
    let all: Vec<(String, HostTensor)> = shards
        .names()
        .map(|name| (name.to_owned(), round(name)))
        .collect();
    write_safetensors(half.join("model.safetensors"), &all, &Default::default()).expect("writes");
    let (half, as_file) = (
        half.to_string_lossy().into_owned(),
        path(&scratch, "half.gguf"),
    );
    let told = convert(&[&half, &as_file]).expect("writes");
    assert_eq!(told["network"], "16 BF16, 5 F32");
    assert!(divergence(&as_file, &half, &judge) < 1e-9);
}

#[test]
fn settings_that_change_what_a_decoder_computes_go_with_it_or_are_refused() {
    let scratch = scratch("lm-to-gguf-settings");
    let base = folder(&scratch.join("base"), 1, 2);
    let [_, judge] = texts(&scratch);
    let config = fs::read_to_string(scratch.join("base/config.json")).expect("reads");
    let config: Json = serde_json::from_str(&config).expect("JSON");
    let with = |name: &str, changes: &[(&str, Json)]| {
        let place = scratch.join(name);
        fs::create_dir(&place).expect("a folder");
        for file in ["model.safetensors", "tokenizer.json"] {
            fs::copy(Path::new(&base).join(file), place.join(file)).expect("copies");
        }
        let mut config = config.clone();
        for (key, value) in changes {
            config[key] = value.clone();
        }
        fs::write(place.join("config.json"), config.to_string()).expect("writes");
        place.to_string_lossy().into_owned()
    };
    let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                        "original_max_position_embeddings": 16});
    for (name, changes) in [
        ("llama3", vec![("rope_scaling", llama3)]),
        (
            "linear",
            vec![(
                "rope_scaling",
                json!({"rope_type": "linear", "factor": 3.0}),
            )],
        ),
        ("base", vec![("rope_theta", json!(500.0))]),
        ("epsilon", vec![("rms_norm_eps", json!(0.5))]),
        ("tied", vec![("tie_word_embeddings", json!(true))]),
        (
            "window",
            vec![
                ("model_type", json!("mistral")),
                ("sliding_window", json!(64)),
            ],
        ),
    ] {
        let model = with(&format!("of-{name}"), &changes);
        let out = path(&scratch, &format!("{name}.gguf"));
        convert(&[&model, &out]).expect("writes");
        let apart = divergence(&out, &model, &judge);
        assert!(apart < 1e-9, "{name}: {apart}");
        // But for a window as long as the context each is another model.
        if name != "window" {
            assert!(divergence(&out, &base, &judge) > 1e-6, "{name}");
        }
    }

    let out = path(&scratch, "out.gguf");
    for (given, expected) in [
        (vec![base.as_str(), "out-folder"], "let OUT end in .gguf"),
        (
            vec![&base, &out, "--to", "folder"],
            "whose types are f32, f16, q4_0, q4_1 and q8_0",
        ),
    ] {
        let error = convert(&given).unwrap_err();
        assert!(error.contains(expected), "{given:?}: {error}");
    }
    let wide = path(&scratch, "channel");
    report(&["quantize", &base, &wide, "--scheme", "int8-channel"]);
    let error = convert(&[&wide, &out]).unwrap_err();
    assert!(
        error.contains("`model.layers.0.self_attn.q_proj.weight`, int8-channel"),
        "{error}"
    );
    convert(&[&wide, &out, "--to", "q8_0", "--lossy"]).expect("writes");
    fs::remove_file(&out).expect("removes");
    for (file, text, expected) in [
        (
            "tokenizer.json",
            byte_tokenizer().replace("\"BPE\"", "\"Unigram\""),
            "model.type of tokenizer.json",
        ),
        ("tokenizer.json", "{".to_owned(), "tokenizer: "),
        (
            "config.json",
            config
                .to_string()
                .replace("\"vocab_size\":256", "\"vocab_size\":255"),
            "255",
        ),
    ] {
        let model = with(&format!("bad-{}-{}", file, text.len()), &[]);
        fs::write(Path::new(&model).join(file), text).expect("writes");
        let error = convert(&[&model, &out]).unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let model = with("none", &[]);
    fs::remove_file(Path::new(&model).join("tokenizer.json")).expect("removes");
    let error = convert(&[&model, &out]).unwrap_err();
    assert!(
        error.contains("neither tokenizer.json nor tokenizer.model is there"),
        "{error}"
    );
    assert!(!Path::new(&out).exists());
}
