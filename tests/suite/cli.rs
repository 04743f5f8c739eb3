//! The command line: what is printed where, and the exit codes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

use lapidary::io::safetensors::write_safetensors;
use lapidary::tensor::HostTensor;

fn lapidary(arguments: &[&str]) -> Output {
    lapidary_with_cache(
        &Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"),
        arguments,
    )
}

/// The user's own cache must neither be read nor written by tests.
fn lapidary_with_cache(cache: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lapidary"))
        .args(arguments)
        .env("LAPIDARY_CACHE", cache)
        .output()
        .expect("the command starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a scratch folder");
    folder
}

#[test]
fn devices_lists_the_adapter_and_its_limits() {
    let output = lapidary(&["devices", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let rows: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let row = rows.as_array().and_then(|rows| {
        rows.iter().find(|row| {
            row["name"]
                .as_str()
                .is_some_and(|name| name.contains("llvmpipe"))
        })
    });
    let row = row.expect("lavapipe is there: apt-get install -y mesa-vulkan-drivers");
    assert_eq!(row["kind"], "software");
    assert!(
        row["max_binding_bytes"]
            .as_u64()
            .is_some_and(|bytes| bytes >= 128 << 20)
    );
    assert!(stdout(&lapidary(&["devices"])).contains("workgroups a dimension"));
}

#[test]
fn verify_proves_a_kernel_and_reports_json() {
    let output = lapidary(&["verify", "cast", "--device", "llvmpipe", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let totals = &report[0]["totals"];
    assert!(
        totals["passed"].as_u64().is_some_and(|count| count > 0),
        "{totals}"
    );
    assert_eq!(totals["quarantined"], 0);
    assert_eq!(totals["broken_shaders"], totals["broken_shaders_caught"]);
    assert!(totals["worst"].as_f64().is_some_and(|worst| worst <= 1.0));
    assert!(
        stderr(&output).contains("runs shaders on the CPU"),
        "a software adapter is announced"
    );
}

/// Verifies `cast` with a copy of the shaders in which one text of `lib/half.wgsl` is replaced.
fn verify_edited(name: &str, find: &str, replace: &str) -> Output {
    let folder = scratch(name);
    copy_tree(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders"),
        &folder,
    );
    let file = folder.join("lib/half.wgsl");
    let text = fs::read_to_string(&file).expect("the shader is there");
    assert_eq!(text.matches(find).count(), 1, "{find}");
    fs::write(&file, text.replace(find, replace)).expect("writes");
    let folder = folder.to_string_lossy().into_owned();
    lapidary(&[
        "verify",
        "cast",
        "--device",
        "llvmpipe",
        "--shaders",
        &folder,
    ])
}

#[test]
fn verify_quarantines_a_shader_edited_by_the_user() {
    let output = verify_edited(
        "edited-shaders",
        "0xfffu + ((rebased >> 13u) & 1u)",
        "0x1000u",
    );
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stdout(&output).contains("QUARANTINED"));
}

#[test]
fn a_shader_that_does_not_validate_is_shown_with_its_line() {
    let output = verify_edited(
        "invalid-shaders",
        "let sign = (bits >> 16u)",
        "let sign = (bitz >> 16u)",
    );
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let message = stderr(&output);
    assert!(
        message.contains("shaders/lib/half.wgsl:") && message.contains("bitz"),
        "{message}"
    );
}

#[test]
fn a_shader_folder_that_lacks_a_file_is_refused() {
    let folder = scratch("no-shaders").to_string_lossy().into_owned();
    let output = lapidary(&["verify", "--shaders", &folder]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("shader folder lacks"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn usage_and_device_errors_have_their_own_exit_codes() {
    let unknown = lapidary(&["verify", "matmul_quantum"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        stderr(&unknown).contains("no kernel `matmul_quantum`; did you mean matmul_quant"),
        "{}",
        stderr(&unknown)
    );
    assert_eq!(
        lapidary(&["verify", "--no-such-flag"]).status.code(),
        Some(2)
    );
    assert_eq!(
        lapidary(&["verify", "--device", "cpu"]).status.code(),
        Some(2)
    );
    let missing = lapidary(&["verify", "--device", "no such adapter"]);
    assert_eq!(missing.status.code(), Some(3));
    assert!(
        stderr(&missing).contains("no GPU adapter matches `no such adapter`"),
        "{}",
        stderr(&missing)
    );
}

#[test]
fn without_any_adapter_one_line_says_what_to_install() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lapidary"));
    command
        .args(["verify"])
        .env("VK_DRIVER_FILES", "/nonexistent.json")
        .env("VK_ICD_FILENAMES", "/nonexistent.json");
    let output = command.output().expect("the command starts");
    if cfg!(target_os = "linux") {
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        assert!(
            stderr(&output).contains("apt-get install -y mesa-vulkan-drivers"),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn inspect_lists_tensors_and_refuses_what_is_no_model() {
    let folder = scratch("inspect");
    let file = folder.join("model.safetensors");
    let tensors = [
        (
            "b.weight".to_owned(),
            HostTensor::from_f32(vec![2, 3], &[0.0; 6]).expect("shape fits"),
        ),
        (
            "a.bias".to_owned(),
            HostTensor::from_i8(vec![5], &[1; 5]).expect("shape fits"),
        ),
    ];
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    write_safetensors(&file, &tensors, &metadata).expect("writes");
    let path = file.to_string_lossy().into_owned();
    let text = stdout(&lapidary(&["inspect", &path]));
    assert!(
        text.contains("a.bias")
            && text.contains("2 x 3")
            && text.contains("2 tensors, 11 elements, 29 B"),
        "{text}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&stdout(&lapidary(&["inspect", &path, "--json"]))).expect("JSON");
    assert_eq!(json["tensors"][1]["shape"], serde_json::json!([2, 3]));
    assert_eq!(json["metadata"]["format"], "pt");

    fs::write(&file, b"\xff\xff\xff\xff\xff\xff\xff\x7f{}").expect("writes");
    let broken = lapidary(&["inspect", &path]);
    assert_eq!(broken.status.code(), Some(2));
    assert!(
        stderr(&broken).contains("model.safetensors"),
        "{}",
        stderr(&broken)
    );
    assert_eq!(
        lapidary(&["inspect", "/nonexistent"]).status.code(),
        Some(2)
    );
}

#[test]
fn profile_refuses_what_it_cannot_measure() {
    let unknown = lapidary(&["profile", "matmul_dens", "--shape", "8x8x8"]);
    assert_eq!(unknown.status.code(), Some(2));
    let message = stderr(&unknown);
    assert!(
        message.contains("no kernel `matmul_dens`; did you mean matmul_dense")
            && message.contains("there are: "),
        "{message}"
    );
    let extents = lapidary(&["profile", "matmul_dense", "--shape", "8x8"]);
    assert_eq!(extents.status.code(), Some(2));
    assert!(
        stderr(&extents).contains("shape `8x8`: matmul_dense takes MxNxK or BATCHxMxNxK"),
        "{}",
        stderr(&extents)
    );
    let format = ["--shape", "8x8x8", "--format", "f17"];
    let format = lapidary(&[&["profile", "matmul_dense"], &format[..]].concat());
    assert_eq!(format.status.code(), Some(2));
    assert!(
        stderr(&format).contains("format `f17`: matmul_dense knows "),
        "{}",
        stderr(&format)
    );
    let misfit = ["--shape", "8x8x128", "--format", "int4-g24"];
    let misfit = lapidary(&[&["profile", "matmul_quant"], &misfit[..]].concat());
    assert_eq!(misfit.status.code(), Some(1));
    assert!(
        stderr(&misfit).contains("is not a multiple of"),
        "{}",
        stderr(&misfit)
    );
    let cpu = ["--shape", "8x8x8", "--device", "cpu"];
    let cpu = lapidary(&[&["profile", "matmul_dense"], &cpu[..]].concat());
    assert_eq!(cpu.status.code(), Some(2));
}

#[test]
fn profile_measures_and_writes_a_report_and_the_shaders() {
    let folder = scratch("profile");
    let html = folder.join("report.html").to_string_lossy().into_owned();
    let dump = folder.join("dump").to_string_lossy().into_owned();
    let output = lapidary(&[
        "profile",
        "matmul_dense",
        "--shape",
        "64x64x64",
        "--variants",
        "best",
        "--device",
        "llvmpipe",
        "--json",
        "--html",
        &html,
        "--dump",
        &dump,
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let profile: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let best = &profile["variants"][0];
    assert_eq!(best["verdict"], "winner");
    assert_eq!(best["status"], "measured");
    assert!(
        best["median_ns"]
            .as_f64()
            .is_some_and(|median| median > 0.0)
    );
    assert!(
        best["counts"]["multiply_adds"]
            .as_u64()
            .is_some_and(|count| count > 0)
    );
    assert!(best["percent_of_roof"].as_f64().is_some(), "{best}");
    assert_eq!(profile["variants"].as_array().map(Vec::len), Some(1));

    let report = fs::read_to_string(&html).expect("the report is there");
    let variant = best["variant"].as_str().expect("a variant");
    assert!(report.contains(variant) && report.contains("<svg"));
    let report = report.replace("http://www.w3.org/2000/svg", "");
    let fetches = ["http:", "https:"].map(|scheme| report.contains(scheme));
    assert_eq!(fetches, [false, false], "a report needs nothing else");
    for language in ["wgsl", "spirv", "msl", "hlsl"] {
        let files = fs::read_dir(folder.join("dump").join(language)).expect("the folder is there");
        assert_eq!(files.count(), 1, "{language}");
    }
}

#[test]
fn shaders_are_written_in_every_language() {
    let folder = scratch("dump");
    let path = folder.to_string_lossy().into_owned();
    let output = lapidary(&["shaders", &path, "cast"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for language in ["wgsl", "spirv", "msl", "hlsl"] {
        let count = fs::read_dir(folder.join(language))
            .expect("the folder is there")
            .count();
        assert!(count > 0, "{language}");
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("makes the folder");
    for entry in fs::read_dir(from).expect("reads the folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_tree(&path, &target);
        } else {
            fs::copy(&path, &target).expect("copies");
        }
    }
}

const TINY: [&str; 5] = ["tune", "matmul_dense", "--shape", "9x16x32", "--json"];

fn outcome(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    let report: serde_json::Value = serde_json::from_str(&stdout(output)).expect("JSON");
    report["choices"][0]["outcome"]
        .as_str()
        .expect("an outcome")
        .to_owned()
}

#[test]
fn a_second_tuning_finds_the_choices_of_the_first() {
    let cache = scratch("tune-twice");
    assert_eq!(outcome(&lapidary_with_cache(&cache, &TINY)), "measured");
    assert_eq!(outcome(&lapidary_with_cache(&cache, &TINY)), "known");
    let fresh = [&TINY[..], &["--fresh"]].concat();
    assert_eq!(outcome(&lapidary_with_cache(&cache, &fresh)), "measured");
    let clear = lapidary_with_cache(&cache, &["tune", "--clear"]);
    assert!(stdout(&clear).contains("1 choices forgotten"));
    assert_eq!(outcome(&lapidary_with_cache(&cache, &TINY)), "measured");
}

#[test]
fn a_corrupt_tuning_file_is_ignored_with_one_line() {
    let cache = scratch("tune-corrupt");
    outcome(&lapidary_with_cache(&cache, &TINY));
    let mut files = fs::read_dir(&cache).expect("a folder");
    let file = files.next().expect("one file").expect("readable").path();
    fs::write(&file, "{ not json").expect("writes");
    let output = lapidary_with_cache(&cache, &TINY);
    assert_eq!(outcome(&output), "measured");
    let said = stderr(&output);
    let notes: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("not a tuning file"))
        .collect();
    assert_eq!(notes.len(), 1, "{said}");
}

#[test]
fn choices_can_be_exported_imported_and_pinned() {
    let (cache, other) = (scratch("tune-from"), scratch("tune-to"));
    outcome(&lapidary_with_cache(&cache, &TINY));
    let file = cache.join("exported.json");
    let file = file.to_str().expect("a path");
    let exported = lapidary_with_cache(&cache, &["tune", "--export", file]);
    assert_eq!(exported.status.code(), Some(0), "{}", stderr(&exported));
    let imported = lapidary_with_cache(&other, &["tune", "--import", file]);
    assert_eq!(imported.status.code(), Some(0), "{}", stderr(&imported));
    assert_eq!(outcome(&lapidary_with_cache(&other, &TINY)), "known");

    let pinned = [&TINY[..], &["--pin", "matmul_dense[wrong]"]].concat();
    let output = lapidary_with_cache(&other, &pinned);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(said.contains("no usable variant `matmul_dense[wrong]`"));
    let name = said.lines().nth_back(0).expect("a variant").trim();
    let pinned = [&TINY[..], &["--pin", name]].concat();
    assert_eq!(outcome(&lapidary_with_cache(&other, &pinned)), "pinned");
    let fresh = [&TINY[..], &["--fresh"]].concat();
    assert_eq!(outcome(&lapidary_with_cache(&other, &fresh)), "known");
}

#[test]
fn tuning_files_of_other_adapters_and_bad_shapes_are_refused() {
    let cache = scratch("tune-refused");
    let file = cache.join("foreign.json");
    fs::write(&file, "[]").expect("writes");
    let file = file.to_str().expect("a path");
    let output = lapidary_with_cache(&cache, &["tune", "--import", file]);
    assert_eq!(output.status.code(), Some(2));
    let output = lapidary_with_cache(&cache, &["tune", "matmul_dens", "--shape", "8x8x8"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("did you mean matmul_dense"));
    let shape = [
        "tune",
        "matmul_quant",
        "--shape",
        "9x8x96",
        "--format",
        "int4-g64",
    ];
    let output = lapidary_with_cache(&cache, &shape);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("k = 96 is not a multiple of group_size 64"));
}

#[test]
fn a_sweep_over_sparsity_names_every_format_and_draws_it() {
    let folder = scratch("sweep");
    let svg = folder.join("sweep.svg").to_string_lossy().into_owned();
    let shape = [
        "profile", "sparse", "--sweep", "sparsity", "--shape", "1x64x128",
    ];
    let rest = [
        "--format",
        "int8-tensor",
        "--device",
        "llvmpipe",
        "--json",
        "--svg",
    ];
    let output = lapidary(&[&shape[..], &rest[..], &[&svg]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let sweep: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let formats: Vec<&str> = sweep["lines"]
        .as_array()
        .expect("lines")
        .iter()
        .filter_map(|line| line["format"].as_str())
        .collect();
    for format in ["2:4", "2:4x32", "1:8", "block16x16", "block32x32", "delta"] {
        assert!(
            formats.contains(&format),
            "{format} is not among {formats:?}"
        );
    }
    assert!(
        sweep["dense"]["timing"]["median_ns"]
            .as_f64()
            .is_some_and(|median| median > 0.0)
    );
    assert!(
        fs::read_to_string(&svg)
            .expect("a plot")
            .contains("block16x16")
    );
}

#[test]
fn a_sweep_refuses_what_it_cannot_measure() {
    for (arguments, says) in [
        (["matmul_dense", "1x64x64", "f32"], "profile sparse"),
        (["sparse", "64x64", "f32"], "MxNxK"),
        (["sparse", "1x0x64", "f32"], "at least 1"),
        (["sparse", "1x64x64", "int4-g32-zp"], "symmetric"),
        (["sparse", "1x64x64", "float"], "f16"),
    ] {
        let [kernel, shape, format] = arguments;
        let output = lapidary(&[
            "profile", kernel, "--sweep", "sparsity", "--shape", shape, "--format", format,
        ]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(says), "{}", stderr(&output));
    }
    let family = lapidary(&["profile", "sparse", "--shape", "1x64x64"]);
    assert_eq!(family.status.code(), Some(2));
    assert!(
        stderr(&family).contains("sparse_block"),
        "{}",
        stderr(&family)
    );
}

#[test]
fn a_shell_completes_commands_and_flags() {
    let folder = scratch("completions");
    let file = folder.join("lapidary.bash");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = lapidary(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let text = stdout(&output);
        for word in ["quantize", "max-drop", "completions"] {
            assert!(text.contains(word), "{shell} does not know {word}");
        }
        if shell == "bash" {
            fs::write(&file, text).expect("writes");
        }
    }
    for (words, last, expected) in [
        ("lapidary quan", "quan", "quantize"),
        ("lapidary optimize --max-d", "--max-d", "--max-drop"),
    ] {
        let script = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _lapidary lapidary {last} ''; echo \"${{COMPREPLY[@]}}\"",
            file.display()
        );
        let output = Command::new("bash").args(["-c", &script]).output();
        let output = output.expect("bash starts");
        assert_eq!(stdout(&output).trim(), expected, "{}", stderr(&output));
    }
    let refused = lapidary(&["completions", "csh"]);
    assert_eq!(refused.status.code(), Some(2));
}
