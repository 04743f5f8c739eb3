//! `lapidary verify MODEL [--against BASE]`: a model's own proof. Every operation of a forward pass is compared with its
//! definition on the device's inputs, every tensor of the file with what its codes and scales are, the files with the
//! SHA-256 of their receipt; against a base, the command that made the model is run again and its files compared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lapidary::compress::deploy::Deployed;
use lapidary::compress::model::{CONFIG_FILE, MODEL_FILE, Model, ModelFileError, RECEIPT_FILE};
use lapidary::compress::outcome::Verification;
use lapidary::io::atomic::create_folder;
use lapidary::io::hf::Shards;
use lapidary::io::{file_sha256, read_text};
use serde::Serialize;
use serde_json::Value;

use crate::config::{Document, exists};
use crate::generate::made_of::base_sha256;
use crate::models::{Folder, Opener, data_folder, load_data_for};
use crate::optimize::{global, goal::make_again};
use crate::options::{CommonOptions, DeviceOption, Failure};
use crate::output::{as_step, print, print_json};
use crate::recipe::{Receipt, STAGE_FILE};
use crate::train::usage;
use crate::trained::ModelOptions;

/// Samples of the compared pass.
const SAMPLES: usize = 8;

#[derive(Debug, Serialize)]
struct Report {
    model: PathBuf,
    device: String,
    verification: Verification,
    /// Of weights and configuration, those whose SHA-256 is in the receipt, and right.
    hashes: usize,
    /// Tensors and keys of the configuration that the command that made it does not give again, bit for bit; `None`
    /// where that was not asked.
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
        let from = data_folder(path, &options)?;
        let data = load_data_for(path, &options, from.as_deref())?;
        let folder = Folder::of(path, &options, &data.train)?;
        let hashes = Model::check_hashes(&folder.path).map_err(wrong)?;
        let model = Model::load(&folder.path)?;
        let tensors = model.read_back(&folder.path).map_err(wrong)?;
        let few = data
            .test
            .first(SAMPLES.min(data.test.n_samples()))
            .map_err(usage)?;
        let prepared = model.prepare(&few)?;
        let deployed = Deployed::new(engine.as_ref(), &model, &opener.routes)?;
        let verification = deployed.verify(prepared.inputs(), tensors)?;
        let differing = match against {
            None => None,
            Some(base) => {
                let hash = weights_sha256(base)?;
                let device = (device, engine.name());
                Some(differing(
                    common,
                    (path, base),
                    &hash,
                    (device.0, &device.1),
                )?)
            }
        };
        reports.push(Report {
            model: path.clone(),
            device: engine.name(),
            verification,
            hashes,
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
        let hashes = match one.hashes {
            0 => "no SHA-256 in a receipt",
            1 => "SHA-256 of the weights as in the receipt",
            _ => "SHA-256 of weights and configuration as in the receipt",
        };
        format!(
            "{}: {hashes}; {} tensors read back bit for bit; {} operations, {} of {} elements exact, worst error {:.3} of its bound \
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

/// A file that is not what it should be.
fn wrong(error: ModelFileError) -> Failure {
    match error {
        ModelFileError::Changed { .. }
        | ModelFileError::ReadBack { .. }
        | ModelFileError::Unread { .. } => Failure::Mismatch(error.to_string()),
        _ => error.into(),
    }
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
        let made_by_stage = match stage.exists() {
            false => None,
            true => {
                let receipt: Receipt = serde_json::from_str(&read_text(&stage).map_err(usage)?)
                    .map_err(|error| refuse(format!("{STAGE_FILE}: {error}")))?;
                // A command may have put another model there since.
                Some(receipt).filter(|receipt| receipt.is_of(model))
            }
        };
        if let Some(receipt) = made_by_stage {
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
                "there is neither {STAGE_FILE} of it nor {RECEIPT_FILE}, which say how it was made"
            )));
        }
        let receipt = receipt_of(model)?;
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

/// What a model's receipt says; nothing where there is none.
fn receipt_of(model: &Path) -> Result<BTreeMap<String, Value>, Failure> {
    let file = model.join(RECEIPT_FILE);
    if !file.exists() {
        return Ok(BTreeMap::new());
    }
    serde_json::from_str(&read_text(&file).map_err(usage)?)
        .map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))
}

/// SHA-256 of a base's weights, which must be those of its own receipt.
fn weights_sha256(base: &Path) -> Result<String, Failure> {
    let weights = match base.is_dir() {
        true => {
            Model::check_hashes(base).map_err(wrong)?;
            base.join(MODEL_FILE)
        }
        false => base.to_owned(),
    };
    Ok(file_sha256(&weights).map_err(usage)?.0)
}

/// Refuses a base that is another than the receipt's, or was changed.
fn check_base(
    (model, base): (&Path, &Path),
    (receipt, found): (&BTreeMap<String, Value>, &str),
) -> Result<(), Failure> {
    let keys = ["base_sha256", "teacher_sha256", "copy_sha256"];
    let said = |key: &str| receipt.get(key).and_then(Value::as_str);
    let said: Vec<&str> = keys.into_iter().filter_map(said).collect();
    if said.is_empty() || said.contains(&found) {
        return Ok(());
    }
    let named = receipt.get("base").and_then(Value::as_str);
    Err(Failure::Mismatch(format!(
        "{}: made of {}, whose weights have SHA-256 {}; {} has {found}, so it is another base",
        model.display(),
        named.unwrap_or("a model"),
        said.join(" or "),
        base.display()
    )))
}

/// Makes a model again from its base, in the way that it says, and names what is not the same bit for bit.
fn differing(
    common: &CommonOptions,
    (model, base): (&Path, &Path),
    base_sha256: &str,
    (device, engine): (&DeviceOption, &str),
) -> Result<Vec<String>, Failure> {
    let made = Made::of(model)?;
    let receipt = receipt_of(model)?;
    check_base((model, base), (&receipt, base_sha256))?;
    // In a folder of its own: a command may write beside what it makes.
    let place = std::env::temp_dir().join(format!("lapidary-again-{}", std::process::id()));
    create_folder(&place).map_err(usage)?;
    let again = place.join("model");
    let done = made.again(common, (base, &again), device);
    let names = done.and_then(|()| names_of_differing(model, &again));
    std::fs::remove_dir_all(&place).map_err(usage)?;
    let names = names?;
    match receipt.get("device").and_then(Value::as_str) {
        Some(said) if said != engine && !names.is_empty() => Err(Failure::Usage(format!(
            "{}: made on {said}; on {engine} the command that made it gives other bytes, which devices may: judge it \
             with --device on the one it was made on",
            model.display()
        ))),
        Some(_) | None => Ok(names),
    }
}

fn names_of_differing(model: &Path, again: &Path) -> Result<Vec<String>, Failure> {
    let open = |folder: &Path| Shards::open(folder).map_err(usage);
    let mut differing = differing_keys(model, again)?;
    let (there, again) = (open(model)?, open(again)?);
    let names: BTreeSet<&str> = there.names().chain(again.names()).collect();
    let differs = |name: &&str| match (there.tensor(name), again.tensor(name)) {
        (Ok(there), Ok(again)) => there != again,
        (Ok(_) | Err(_), Ok(_) | Err(_)) => true,
    };
    differing.extend(names.into_iter().filter(differs).map(str::to_owned));
    Ok(differing)
}

/// Keys of the configuration that are not the same.
fn differing_keys(model: &Path, again: &Path) -> Result<Vec<String>, Failure> {
    let read = |folder: &Path| -> Result<BTreeMap<String, Value>, Failure> {
        let file = folder.join(CONFIG_FILE);
        serde_json::from_str(&read_text(&file).map_err(usage)?)
            .map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))
    };
    let (there, again) = (read(model)?, read(again)?);
    let keys: BTreeSet<&String> = there.keys().chain(again.keys()).collect();
    let differs = keys
        .into_iter()
        .filter(|key| there.get(*key) != again.get(*key));
    Ok(differs
        .map(|key| format!("{key} of {CONFIG_FILE}"))
        .collect())
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
    let engine = Opener::new(common, device)?.open()?.name();
    let hash = base_sha256(base)?;
    let mut reports = Vec::new();
    for model in models {
        reports.push(Again {
            model: model.clone(),
            base: base.to_owned(),
            differing: differing(common, (model, base), &hash, (device, &engine))?,
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
