//! Recipes that are killed in the middle of a stage: they go on from the last epoch, to the same bytes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lapidary::data::{Dataset, save_safetensors};

use crate::support::values;

/// Stages that train, each with the file it keeps.
const STAGES: [(&str, &str); 5] = [
    ("base", "training.safetensors"),
    ("half", "training.safetensors"),
    ("small", "training.safetensors"),
    ("int2", "training.safetensors"),
    ("student", "by-labels.safetensors"),
];

/// A set of three classes with 16 features, and a recipe whose stages take long enough to be killed.
fn place() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("resume");
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
        "data = {folder:?}\ndevice = \"llvmpipe\"\nseed = 5\n\
         [[stage]]\nstage = \"train\"\nname = \"base\"\nmodel = \"mlp\"\nhidden = \"16\"\nepochs = 120\nbatch_size = 16\n\
         [[stage]]\nstage = \"prune\"\nname = \"half\"\nsparsity = \"50%\"\nmethod = \"wanda\"\nsamples = 32\nprunings = 20\n\
         epochs = 100\nfine_tune = 20\nbatch_size = 16\n\
         [[stage]]\nstage = \"prune\"\nname = \"small\"\nfrom = \"base\"\nsparsity = \"50%\"\nstructured = true\n\
         fine_tune = 120\nbatch_size = 16\n\
         [[stage]]\nstage = \"qat\"\nname = \"int2\"\nfrom = \"base\"\nscheme = \"int2-g16\"\nqat_epochs = 120\nbatch_size = 16\n\
         [[stage]]\nstage = \"distill\"\nname = \"student\"\nfrom = \"base\"\nstudent = \"mlp 8\"\nlabelled = 48\nepochs = 5\n\
         fine_tune_epochs = 120\nbatch_size = 16\n"
    );
    fs::write(folder.join("recipe.toml"), recipe).expect("writes");
    folder
}

fn start(folder: &Path, work: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_lapidary"))
        .args(["optimize", "--recipe"])
        .arg(folder.join("recipe.toml"))
        .arg("--work")
        .arg(work)
        .env(
            "LAPIDARY_CACHE",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"),
        )
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts")
}

/// Runs to the end and gives what was said.
fn finish(folder: &Path, work: &Path) -> String {
    let output = start(folder, work).wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

/// All files below a folder.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut left = vec![folder.to_owned()];
    while let Some(one) = left.pop() {
        for entry in fs::read_dir(one).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.insert(path.strip_prefix(folder).expect("below").to_owned());
            }
        }
    }
    found
}

#[test]
fn a_recipe_that_is_killed_in_every_stage_ends_with_the_same_bytes() {
    let folder = place();
    let [whole, killed] = ["whole", "killed"].map(|name| folder.join(name));
    finish(&folder, &whole);
    let mut said = Vec::new();
    for (stage, file) in STAGES {
        let kept = killed.join(".kept").join(stage).join(file);
        let mut child = start(&folder, &killed);
        // Drained, so that a full pipe never holds it.
        let pipe = child.stderr.take().expect("piped");
        let drained = std::thread::spawn(|| std::io::read_to_string(pipe));
        let began = Instant::now();
        while !kept.exists() {
            assert!(
                began.elapsed() < Duration::from_secs(120),
                "{stage} keeps nothing"
            );
            let ended = child.try_wait().expect("asks");
            assert!(ended.is_none(), "{stage} ended before it was killed");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().expect("kills");
        child.wait().expect("ends");
        said.push(drained.join().expect("reads").expect("text"));
        assert!(
            !killed.join(stage).join("stage.json").exists(),
            "{stage} was done before it was killed"
        );
        // As a process leaves it that is killed while it writes.
        fs::create_dir_all(killed.join(stage)).expect("a folder");
        for half in [killed.join(stage), killed.join(".kept").join(stage)] {
            fs::write(half.join(".lapidary-half.tmp"), b"half").expect("writes");
        }
    }
    said.push(finish(&folder, &killed));
    for (said, (stage, _)) in said.iter().skip(1).zip(STAGES) {
        let goes_on = said.contains("going on after epoch") || said.contains("resumed after step");
        assert!(goes_on, "{stage} began anew:\n{said}");
    }
    assert_eq!(files(&killed), files(&whole), "no half file is left");
    for (stage, _) in STAGES {
        for file in ["model.safetensors", "config.json"] {
            let [one, other] =
                [&killed, &whole].map(|work| fs::read(work.join(stage).join(file)).expect("there"));
            assert!(one == other, "{stage}/{file} differs");
        }
        let receipt = |work: &Path| {
            let text = fs::read_to_string(work.join(stage).join("receipt.json")).expect("there");
            let mut receipt: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let removed = receipt.as_object_mut().and_then(|one| one.remove("base"));
            assert!(removed.is_some() || stage == "base");
            // Outputs of the teacher may have been kept before the kill.
            if let Some(log) = receipt.get_mut("log").and_then(|log| log.as_object_mut()) {
                log.remove("cache");
            }
            receipt
        };
        assert_eq!(receipt(&killed), receipt(&whole), "{stage}");
    }
    // As after a kill between the last two steps of a stage.
    let stray = killed.join(".kept/base");
    fs::create_dir_all(&stray).expect("a folder");
    fs::write(stray.join("training.safetensors"), b"done").expect("writes");
    finish(&folder, &killed);
    assert_eq!(files(&killed), files(&whole), "what was kept goes");
}
