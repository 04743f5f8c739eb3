//! Where a command may put a model, known before anything that takes time: a new folder, an empty one, or one that
//! holds a model of ours, which is replaced. Never in the place of what is read.

use std::path::Path;

use lapidary::compress::model::{CONFIG_FILE, is_model};
use lapidary::io::atomic::is_temporary;
use lapidary::io::folder::check_writable;

use crate::options::Failure;
use crate::train::usage;

/// Refuses a folder to be written that holds anything but a model, or an input, or that cannot be written. Says so
/// when a model there will be replaced.
pub fn for_model(out: &Path, inputs: &[&Path]) -> Result<(), Failure> {
    let refuse = |reason: &str| Err(Failure::Usage(format!("{}: {reason}", out.display())));
    apart(out, inputs)?;
    if out.is_dir() {
        if is_model(out) {
            eprintln!("note: {}: the model there is replaced", out.display());
        } else if out.join(CONFIG_FILE).exists() {
            return refuse(
                "its config.json is not of a model that lapidary wrote; allowed: a new folder, an empty one, or one \
                 with such a model, which is replaced",
            );
        } else if has_files(out).map_err(usage)? {
            return refuse(
                "there are files in this folder and no model; allowed: a new folder, an empty one, or one with a \
                 model that lapidary wrote, which is replaced",
            );
        }
    }
    check_writable(out, CONFIG_FILE).map_err(usage)
}

/// Whether there is anything in a folder but what a killed writer left.
fn has_files(folder: &Path) -> std::io::Result<bool> {
    for entry in std::fs::read_dir(folder)? {
        if !is_temporary(&entry?.file_name()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Refuses a file or folder to be written that is an input, or holds one.
pub fn apart(out: &Path, inputs: &[&Path]) -> Result<(), Failure> {
    let Ok(place) = out.canonicalize() else {
        return Ok(());
    };
    let holds = |input: &&&Path| {
        input
            .canonicalize()
            .is_ok_and(|input| input.starts_with(&place))
    };
    match inputs.iter().find(holds) {
        None => Ok(()),
        Some(input) => Err(Failure::Usage(format!(
            "{}: writing there would replace {}, which is read; allowed: another name",
            out.display(),
            input.display()
        ))),
    }
}
