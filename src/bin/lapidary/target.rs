//! Where a command may write, known before anything that takes time. A model goes into a new folder, an empty one, or one
//! that holds a model of ours, which is replaced; a language model or an encoder goes into a new one. Nothing goes into the place of what is read.

use std::path::Path;

use lapidary::compress::model::{CONFIG_FILE, is_model};
use lapidary::io::atomic::is_temporary;
use lapidary::io::folder::check_writable;
use lapidary::io::read_text;
use serde_json::Value;

use crate::bench::{OUTCOMES_FILE, PAGE_FILE, PICTURE_FILE};
use crate::options::{Failure, can_be_written};
use crate::recipe::STAGE_FILE;
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

/// What the numbers in the folder of a report are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportOf {
    /// A list of versions.
    Networks,
    /// A table with a text.
    LanguageModels,
}

impl ReportOf {
    /// Of the text of a file of numbers; `None` where it is neither.
    fn read(text: &str) -> Option<Self> {
        match serde_json::from_str(text).ok()? {
            Value::Array(_) => Some(Self::Networks),
            Value::Object(fields) => {
                let has = |key: &str| fields.contains_key(key);
                (has("rows") && has("text")).then_some(Self::LanguageModels)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        }
    }
}

/// Refuses a folder for a report that holds a model, what a recipe made, or the report of something else, and one that
/// cannot be written. A report of the same kind is replaced. Makes nothing.
pub fn for_report(folder: &Path, of: ReportOf) -> Result<(), Failure> {
    const ALLOWED: &str =
        "allowed: a folder without one, or with a report of the same kind, which is replaced";
    let refuse = |reason: String| Err(Failure::Usage(format!("{}: {reason}", folder.display())));
    if !folder.is_dir() {
        return check_writable(folder, OUTCOMES_FILE).map_err(usage);
    }
    let holds = |name: &&str| folder.join(name).exists();
    if holds(&CONFIG_FILE) {
        return refuse(format!("has a {CONFIG_FILE}, as models have; {ALLOWED}"));
    }
    // The judgement of a recipe is of networks, and made again where it was.
    let is_stage = holds(&STAGE_FILE);
    if is_stage && of != ReportOf::Networks {
        return refuse(format!(
            "has a {STAGE_FILE}: a recipe made what is there; {ALLOWED}"
        ));
    }
    if holds(&OUTCOMES_FILE) {
        let text = read_text(folder.join(OUTCOMES_FILE)).map_err(usage)?;
        match (ReportOf::read(&text), of) {
            (Some(found), _) if found == of => {}
            (Some(ReportOf::Networks), _) => {
                return refuse(format!("its {OUTCOMES_FILE} is of networks; {ALLOWED}"));
            }
            (Some(ReportOf::LanguageModels), _) => {
                return refuse(format!(
                    "its {OUTCOMES_FILE} is of language models; {ALLOWED}"
                ));
            }
            (None, _) => {
                return refuse(format!(
                    "its {OUTCOMES_FILE} is of no report of lapidary; {ALLOWED}"
                ));
            }
        }
    } else if let Some(name) = [PAGE_FILE, PICTURE_FILE].iter().find(|name| holds(name))
        && !is_stage
    {
        return refuse(format!(
            "has a {name} and no {OUTCOMES_FILE} that says what it is of; {ALLOWED}"
        ));
    }
    for name in [OUTCOMES_FILE, PAGE_FILE, PICTURE_FILE] {
        can_be_written(&folder.join(name))?;
    }
    Ok(())
}

/// Refuses a name that is there already, also as an empty folder, or that cannot be written: compressed language models
/// and encoders replace nothing.
pub fn is_new(out: &Path) -> Result<(), Failure> {
    if out.symlink_metadata().is_ok() {
        return Err(Failure::Usage(format!(
            "output = {}, which is there already; allowed: a name that is not there",
            out.display()
        )));
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
