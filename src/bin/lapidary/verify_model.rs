//! `lapidary verify MODEL [--against BASE]`: a model's own proof. Every operation of a forward pass is compared with its
//! definition on the device's inputs, every tensor of the file with what its codes and scales are; against a base, the
//! command that made the model is run again and its file compared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lapidary::compress::deploy::Deployed;
use lapidary::compress::model::RECEIPT_FILE;
use lapidary::compress::outcome::Verification;
use lapidary::io::hf::Shards;
use lapidary::io::read_text;
use serde::Serialize;
use serde_json::Value;

use crate::config::{Document, exists};
use crate::models::{Folder, Opener, data_folder};
use crate::optimize::{global, goal::make_again};
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
    /// Tensors of the file that the command that made it does not give again, bit for bit; `None` where that was not
    /// asked.
    differing: Option<Vec<String>>,
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
        let differing = match against {
            None => None,
            Some(base) => Some(differing(common, (path, base), device)?),
        };
        reports.push(Report {
            model: path.clone(),
            device: engine.name(),
            verification,
            differing,
        });
    }
    if common.json {
        print_json(&reports)?;
    } else {
        print(&text(&reports))?;
    }
    let is_wrong = |one: &&Report| {
        let differs = one
            .differing
            .as_ref()
            .is_some_and(|names| !names.is_empty());
        differs || !one.verification.passed()
    };
    match reports.iter().find(is_wrong) {
        None => Ok(()),
        Some(one) => Err(Failure::Mismatch(format!("{}: wrong", one.model.display()))),
    }
}

fn text(reports: &[Report]) -> String {
    let line = |one: &Report| {
        let found = &one.verification;
        let again = match one.differing.as_deref() {
            None => String::new(),
            Some([]) => ", the command that made it gives the same bytes again".to_owned(),
            Some(names) => format!(
                ", BUT the command that made it gives other bytes: {}",
                names.join(", ")
            ),
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

/// How a model was made.
enum Made {
    /// By a command with these settings, which the file says.
    Command(&'static str, BTreeMap<String, Value>, PathBuf),
    /// By `optimize --goal`, whose receipt has the form of each weight.
    Goal(BTreeMap<String, Value>),
}

/// Commands that make a model of a model, and say in its receipt how.
const COMMANDS: [&str; 3] = ["prune", "quantize", "distill"];

impl Made {
    /// By a recipe's file, or by the receipt.
    fn of(model: &Path) -> Result<Self, Failure> {
        let refuse = |reason: String| Failure::Usage(format!("{}: {reason}", model.display()));
        let stage = model.join(STAGE_FILE);
        if stage.exists() {
            let receipt: Receipt = serde_json::from_str(&read_text(&stage).map_err(usage)?)
                .map_err(|error| refuse(format!("{STAGE_FILE}: {error}")))?;
            let Some(command) = receipt.command().filter(|command| exists(command)) else {
                return Err(refuse(format!(
                    "made by {}, which takes no model",
                    receipt.stage
                )));
            };
            let settings = serde_json::from_value(receipt.settings).map_err(usage)?;
            return Ok(Self::Command(command, settings, stage));
        }
        let file = model.join(RECEIPT_FILE);
        if !file.exists() {
            return Err(refuse(format!(
                "there is neither {STAGE_FILE} nor {RECEIPT_FILE}, which say how it was made"
            )));
        }
        let receipt: BTreeMap<String, Value> =
            serde_json::from_str(&read_text(&file).map_err(usage)?)
                .map_err(|error| refuse(format!("{RECEIPT_FILE}: {error}")))?;
        if receipt.contains_key("forms") {
            return Ok(Self::Goal(receipt));
        }
        let name = receipt.get("stage").and_then(Value::as_str);
        let command = COMMANDS.into_iter().find(|one| Some(*one) == name);
        let (Some(command), Some(Value::Object(settings))) = (command, receipt.get("settings"))
        else {
            return Err(refuse(format!(
                "{RECEIPT_FILE} has no `stage` of {} with its `settings`, so that nothing says how it was made",
                COMMANDS.join(", ")
            )));
        };
        let settings = settings.clone().into_iter().collect();
        Ok(Self::Command(command, settings, file))
    }

    /// Makes it again, of a base.
    fn again(
        &self,
        common: &CommonOptions,
        (base, out): (&Path, &Path),
        device: &DeviceOption,
    ) -> Result<(), Failure> {
        let (command, settings, file) = match self {
            Self::Goal(receipt) => return make_again(common, (base, device), receipt, out),
            Self::Command(command, settings, file) => (*command, settings, file),
        };
        let lines = settings
            .iter()
            .map(|(key, value)| format!("{key} = {value}\n"));
        let document = Document::of(file.clone(), lines.collect());
        let mut words = global(common);
        words.push(command.to_owned());
        words.extend([base, out].map(|path| path.to_string_lossy().into_owned()));
        for entry in document.entries(&document.table()?)? {
            words.extend(document.arguments_of(command, &entry)?);
        }
        words.push(format!("--device={device}"));
        as_step(|| crate::run_words(&words))
    }
}

/// Makes a model again from its base, in the way that it says, and names the tensors that are not the same bit for bit.
fn differing(
    common: &CommonOptions,
    (model, base): (&Path, &Path),
    device: &DeviceOption,
) -> Result<Vec<String>, Failure> {
    let made = Made::of(model)?;
    let again = std::env::temp_dir().join(format!("lapidary-again-{}", std::process::id()));
    let done = made.again(common, (base, &again), device);
    let names = done.and_then(|()| names_of_differing(model, &again));
    // A language model that was not finished is beside it.
    for left in [again.with_extension("partial"), again] {
        if left.exists() {
            std::fs::remove_dir_all(&left).map_err(usage)?;
        }
    }
    names
}

fn names_of_differing(model: &Path, again: &Path) -> Result<Vec<String>, Failure> {
    let open = |folder: &Path| Shards::open(folder).map_err(usage);
    let (there, again) = (open(model)?, open(again)?);
    let names: BTreeSet<&str> = there.names().chain(again.names()).collect();
    let differs = |name: &&str| match (there.tensor(name), again.tensor(name)) {
        (Ok(there), Ok(again)) => there != again,
        (Ok(_) | Err(_), Ok(_) | Err(_)) => true,
    };
    let names = names.into_iter().filter(differs).map(str::to_owned);
    Ok(names.collect())
}

/// A language model, and what the command that made it gives otherwise.
#[derive(Debug, Serialize)]
struct Again {
    model: PathBuf,
    base: PathBuf,
    /// Tensors that are not the same, bit for bit.
    differing: Vec<String>,
}

/// Makes language models again from what they were made of; fails with the first that is not the same, after all.
pub fn made_again(
    common: &CommonOptions,
    models: &[PathBuf],
    (device, base): (&DeviceOption, &Path),
) -> Result<(), Failure> {
    let mut reports = Vec::new();
    for model in models {
        reports.push(Again {
            model: model.clone(),
            base: base.to_owned(),
            differing: differing(common, (model, base), device)?,
        });
    }
    let line = |one: &Again| match one.differing.as_slice() {
        [] => format!(
            "{}: the command that made it gives the same bytes again of {}",
            one.model.display(),
            one.base.display()
        ),
        names => format!(
            "{}: the command that made it gives other bytes of {}: {}",
            one.model.display(),
            one.base.display(),
            names.join(", ")
        ),
    };
    match common.json {
        true => print_json(&reports)?,
        false => print(&reports.iter().map(line).collect::<Vec<_>>().join("\n"))?,
    }
    match reports.iter().find(|one| !one.differing.is_empty()) {
        None => Ok(()),
        Some(one) => Err(Failure::Mismatch(format!("{}: wrong", one.model.display()))),
    }
}
