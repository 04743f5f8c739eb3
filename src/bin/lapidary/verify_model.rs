//! `lapidary verify MODEL [--against BASE]`: a model's own proof. Every operation of a forward pass is compared with its
//! definition on the device's inputs, every tensor of the file with what its codes and scales are; against a base, the
//! command that made the model is run again and its file compared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lapidary::compress::deploy::Deployed;
use lapidary::compress::model::MODEL_FILE;
use lapidary::compress::outcome::Verification;
use lapidary::io::{file_sha256, read_text};
use serde::Serialize;

use crate::config::{Document, exists};
use crate::models::{Folder, Opener, data_folder};
use crate::options::{CommonOptions, DeviceOption, Failure};
use crate::output::{as_step, print, print_json};
use crate::recipe::{Receipt, STAGE_FILE};
use crate::train::{setup, usage};
use crate::trained::ModelOptions;

/// Samples of the compared pass.
const SAMPLES: usize = 8;

#[derive(Debug, Serialize)]
struct Report {
    model: PathBuf,
    device: String,
    verification: Verification,
    /// Whether the command that made it gives the same file again; `None` where that was not asked.
    made_again: Option<bool>,
}

/// Verifies each model; fails with the first that is wrong, after all.
pub fn run(
    common: &CommonOptions,
    models: &[PathBuf],
    (device, against): (&DeviceOption, Option<&Path>),
) -> Result<(), Failure> {
    let opener = Opener::new(common, device)?;
    let engine = opener.open()?;
    let mut reports = Vec::new();
    for path in models {
        let options = ModelOptions::default();
        let data = setup::load_data(data_folder(path, &options)?.as_deref())?;
        let folder = Folder::of(path, &options, &data.train)?;
        let model = lapidary::compress::model::Model::load(&folder.path)?;
        let tensors = model.read_back(&folder.path)?;
        let few = data
            .test
            .first(SAMPLES.min(data.test.n_samples()))
            .map_err(usage)?;
        let prepared = model.prepare(&few)?;
        let deployed = Deployed::new(engine.as_ref(), &model, &opener.routes)?;
        let verification = deployed.verify(prepared.inputs(), tensors)?;
        let made_again = match against {
            None => None,
            Some(base) => Some(is_made_again(path, base)?),
        };
        reports.push(Report {
            model: path.clone(),
            device: engine.name(),
            verification,
            made_again,
        });
    }
    if common.json {
        print_json(&reports)?;
    } else {
        print(&text(&reports))?;
    }
    let is_wrong = |one: &&Report| !one.verification.passed() || one.made_again == Some(false);
    match reports.iter().find(is_wrong) {
        None => Ok(()),
        Some(one) => Err(Failure::Mismatch(format!("{}: wrong", one.model.display()))),
    }
}

fn text(reports: &[Report]) -> String {
    let line = |one: &Report| {
        let found = &one.verification;
        let again = match one.made_again {
            None => String::new(),
            Some(true) => ", the command that made it gives the same bytes again".to_owned(),
            Some(false) => ", BUT the command that made it gives other bytes".to_owned(),
        };
        format!(
            "{}: {} tensors read back bit for bit; {} operations, {} of {} elements exact, worst error {:.3} of its bound \
             ({}){again}, on {}",
            one.model.display(),
            found.tensors_read_back,
            found.operations,
            found.exact,
            found.elements,
            found.worst_over_bound,
            found.worst_operation,
            one.device
        )
    };
    reports.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Runs the stage that made a model again, from the base.
fn is_made_again(model: &Path, base: &Path) -> Result<bool, Failure> {
    let file = model.join(STAGE_FILE);
    let refuse = |reason: String| Failure::Usage(format!("{}: {reason}", model.display()));
    if !file.exists() {
        return Err(refuse(format!(
            "there is no {STAGE_FILE}, which says how it was made: only stages of recipes can be made again"
        )));
    }
    let receipt: Receipt = serde_json::from_str(&read_text(&file).map_err(usage)?)
        .map_err(|error| refuse(format!("{STAGE_FILE}: {error}")))?;
    let Some(command) = receipt.command().filter(|command| exists(command)) else {
        return Err(refuse(format!(
            "made by {}, which takes no model",
            receipt.stage
        )));
    };
    let settings: BTreeMap<String, serde_json::Value> =
        serde_json::from_value(receipt.settings.clone()).map_err(usage)?;
    let lines: String = settings
        .iter()
        .map(|(key, value)| format!("{key} = {value}\n"))
        .collect();
    let document = Document::of(file, lines);
    let mut words = vec![command.to_owned()];
    let again = std::env::temp_dir().join(format!("lapidary-again-{}", std::process::id()));
    words.extend([base, &again].map(|path| path.to_string_lossy().into_owned()));
    for entry in document.entries(&document.table()?)? {
        words.extend(document.arguments_of(command, &entry)?);
    }
    let made = as_step(|| crate::run_words(&words));
    let same = made.and_then(|()| {
        let hash = |folder: &Path| file_sha256(&folder.join(MODEL_FILE)).map_err(usage);
        Ok(hash(&again)? == hash(model)?)
    });
    if again.exists() {
        std::fs::remove_dir_all(&again).map_err(usage)?;
    }
    same
}
