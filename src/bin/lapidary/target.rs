//! Where a command may write, known before anything that takes time. A model goes into a new folder, an empty one, or one
//! that holds a model of ours, which is replaced. Nothing goes into the place of what is read.

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

/// Refuses to write a result over what it is made of.
pub fn is_another_file(input: &Path, output: &Path) -> Result<(), Failure> {
    let (Ok(from), Ok(to)) = (input.canonicalize(), output.canonicalize()) else {
        return Ok(());
    };
    if from != to && !is_linked(&from, &to) {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{}: is also what is read; name another file to write",
        output.display()
    )))
}

#[cfg(unix)]
fn is_linked(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let place = |path: &Path| path.metadata().map(|found| (found.dev(), found.ino()));
    matches!((place(a), place(b)), (Ok(a), Ok(b)) if a == b)
}

#[cfg(not(unix))]
const fn is_linked(_: &Path, _: &Path) -> bool {
    false
}

/// Refuses a folder to be made that is there and holds something: files of another model would count on.
pub fn is_empty_folder(folder: &Path) -> Result<(), Failure> {
    let refuse = |why: String| Err(Failure::Usage(format!("{}: {why}", folder.display())));
    match std::fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => refuse("is a folder with files in it; name a new one".to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => refuse(error.to_string()),
    }
}
