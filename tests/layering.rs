//! The floors hold: a floor uses only what stands below it, and each external crate is named in one
//! place. Reads the `use crate::` paths of every source file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Floors and what each may use. A floor may always use itself.
const FLOORS: &[(&str, &[&str])] = &[
    ("num", &[]),
    ("tensor", &["num"]),
    ("io", &["num", "tensor"]),
    ("data", &["num", "tensor", "io"]),
    ("text", &["num", "tensor", "io"]),
    ("eval", &["num"]),
    ("shader", &["num", "tensor"]),
    ("record", &["num", "tensor", "shader"]),
    ("kernels", &["num", "tensor", "shader", "record"]),
    ("ops", &["num", "tensor", "shader", "record", "kernels"]),
    (
        "autograd",
        &["num", "tensor", "shader", "record", "kernels", "ops"],
    ),
    ("engine", &["num", "tensor", "shader", "record"]),
    (
        "models",
        &[
            "num", "tensor", "io", "record", "kernels", "ops", "autograd",
        ],
    ),
    (
        "generate",
        &[
            "num", "tensor", "io", "text", "record", "kernels", "ops", "engine", "models", "verify",
        ],
    ),
    (
        "train",
        &[
            "num", "tensor", "io", "data", "eval", "record", "kernels", "ops", "autograd",
            "engine", "models",
        ],
    ),
    ("search", &["num", "io"]),
    (
        "verify",
        &[
            "num", "tensor", "io", "shader", "record", "kernels", "ops", "engine",
        ],
    ),
    (
        "embed",
        &[
            "num", "tensor", "io", "text", "record", "kernels", "ops", "engine", "models", "verify",
        ],
    ),
    (
        "tune",
        &[
            "num", "tensor", "io", "shader", "record", "kernels", "ops", "engine", "verify",
        ],
    ),
    (
        "compress",
        &[
            "num", "tensor", "io", "data", "eval", "shader", "record", "kernels", "ops",
            "autograd", "models", "engine", "train", "verify", "tune",
        ],
    ),
    (
        "report",
        &[
            "num", "tensor", "io", "shader", "record", "kernels", "ops", "engine", "verify",
            "tune", "compress", "models", "data", "eval",
        ],
    ),
];

/// External crates and the folders that may name them.
const FENCES: &[(&str, &[&str])] = &[
    ("wgpu", &["src/engine/gpu"]),
    ("naga", &["src/shader"]),
    ("pollster", &["src/engine/gpu", "src/bin"]),
    ("futures_intrusive", &["src/engine/gpu"]),
    ("safetensors", &["src/io"]),
    ("memmap2", &["src/io"]),
    ("flate2", &["src/io"]),
    ("csv", &["src/io"]),
    (
        "tempfile",
        &[
            "src/io",
            "src/tune",
            "src/data",
            "src/search",
            "src/compress",
        ],
    ),
    ("tokenizers", &["src/text"]),
    ("minijinja", &["src/text"]),
    ("jiff", &["src/text"]),
    ("plotters", &["src/report"]),
    ("sha2", &["src/io", "src/tune"]),
    ("etcetera", &["src/tune"]),
    ("clap", &["src/bin"]),
    ("clap_complete", &["src/bin"]),
    ("indicatif", &["src/bin"]),
    ("comfy_table", &["src/bin"]),
    ("toml", &["src/bin"]),
    ("ctrlc", &["src/bin"]),
    ("env_logger", &["src/bin"]),
    // The floors up to the engines must run in a browser: no files, threads or clocks.
    (
        "std::fs",
        &["src/io", "src/tune", "src/compress", "src/bin"],
    ),
    // Pipelines compile in parallel, batches are made ahead; nothing else below the trainer uses
    // threads.
    ("std::thread", &["src/engine/gpu", "src/data", "src/bin"]),
    // Rows of a result on all cores; where there are no threads, rayon does them one by one.
    (
        "rayon",
        &[
            "src/kernels/fast",
            "src/engine/cpu.rs",
            "src/generate/divergence.rs",
        ],
    ),
    ("std::time", &["src/tune", "src/compress/deploy", "src/bin"]),
];

#[test]
fn a_floor_uses_only_what_stands_below_it() {
    let floors: BTreeMap<&str, &[&str]> = FLOORS.iter().copied().collect();
    let mut breaches = Vec::new();
    for (path, text) in sources() {
        let Some(floor) = floor_of(&path) else {
            continue;
        };
        let allowed = floors
            .get(floor.as_str())
            .unwrap_or_else(|| panic!("{floor} has no floor: add it here"));
        for used in crate_paths(&text) {
            if used != floor && !allowed.contains(&used.as_str()) {
                breaches.push(format!("{}: {floor} uses {used}", path.display()));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn external_crates_are_named_only_in_their_place() {
    let mut breaches = Vec::new();
    for (path, text) in sources() {
        let relative = path
            .strip_prefix(root())
            .expect("sources lie below the root");
        for (name, places) in FENCES {
            if places.iter().any(|place| relative.starts_with(place)) {
                continue;
            }
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            for line in code.filter(|line| names_crate(line, name)) {
                breaches.push(format!(
                    "{}: {name} in `{}`",
                    relative.display(),
                    line.trim()
                ));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn the_checks_can_fail() {
    assert_eq!(
        crate_paths("use crate::engine::Engine;\nuse crate::{num, ops::x};"),
        ["engine", "num", "ops"]
    );
    assert!(names_crate("let a = wgpu::Limits::default();", "wgpu"));
    assert!(names_crate("use std::fs;", "std::fs"));
    assert!(!names_crate(
        "use crate::io::safetensors::parse;",
        "safetensors"
    ));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    collect(&root().join("src"), &mut files);
    assert!(files.len() > 30, "only {} source files found", files.len());
    files
}

fn collect(folder: &Path, files: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).expect("readable source folder") {
        let path = entry.expect("readable entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("readable source file");
            files.push((path, text));
        }
    }
}

/// First folder or file below `src`; the binary and the crate root stand above all floors.
fn floor_of(path: &Path) -> Option<String> {
    let relative = path
        .strip_prefix(root().join("src"))
        .expect("sources lie below src");
    let first = relative
        .components()
        .next()?
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    let name = first.trim_end_matches(".rs").to_owned();
    (name != "lib" && name != "bin").then_some(name)
}

/// First path segment after each `crate::`, also inside `crate::{a, b::c}`.
fn crate_paths(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let list = &list[..list.find("};").unwrap_or(list.len())];
            let mut depth = 0;
            for item in list.split_inclusive([',', '{', '}']) {
                if depth == 0 {
                    found.push(first_segment(item.trim()));
                }
                depth += item.matches('{').count();
                depth = depth.saturating_sub(item.matches('}').count());
            }
        } else {
            found.push(first_segment(rest));
        }
    }
    // `pub(crate) use params` and macro paths name no floor.
    found.retain(|name| !name.is_empty());
    found
}

fn first_segment(path: &str) -> String {
    path.chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect()
}

/// Whether a line names the crate as a path or a `use`, not as one of our own modules of that name.
fn names_crate(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = &line[..at];
        let after = &line[at + name.len()..];
        let starts = !before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':');
        let path = after.starts_with("::")
            || (before.trim_end().ends_with("use") && after.starts_with(';'));
        starts && path && !before.contains("mod ")
    })
}
