//! Running a recipe: each stage's command, into a folder of its own, unless what is there was made by the same
//! command from the same input.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use lapidary::compress::model::{CONFIG_FILE, MODEL_FILE, Model};
use lapidary::io::atomic::{create_folder, remove_if_there, remove_leftovers};
use lapidary::io::{file_sha256, read_text, sha256};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Makes, Recipe, Stage};
use crate::bench::OUTCOMES_FILE;
use crate::models::{data_folder, open_with_data};
use crate::options::Failure;
use crate::output::as_step;
use crate::target;
use crate::train::{setup, stop_on_ctrl_c, usage, write};
use crate::trained::ModelOptions;

/// What a stage was, in its folder; written last.
pub const STAGE_FILE: &str = "stage.json";
/// What the recipes that are kept begin with.
const RECORD: &str = "# A recipe as it was run.\n";
/// The recipe, in the work folder.
const RECIPE_FILE: &str = "recipe.toml";
/// The file of a stage that trains, before it is a model's folder.
const TRAINED_FILE: &str = "trained.safetensors";
/// What it keeps while it trains.
const TRAINING_FILE: &str = "training.safetensors";

/// The same with every setting, beside it.
pub const RESOLVED_FILE: &str = "resolved.toml";
/// Both names, which no stage has.
pub(super) const FILES: [&str; 2] = [RECIPE_FILE, RESOLVED_FILE];
/// The folder, in the work folder, of what stages keep while they run; no stage is called so.
const KEPT_FOLDER: &str = ".kept";
/// In a stage's part of it: what the stage was.
const KEPT_FILE: &str = "kept.json";

/// Where a recipe starts and works.
pub struct Place<'a> {
    /// A model to start from.
    pub model: Option<&'a Path>,
    /// The folder of stages' results.
    pub work: &'a Path,
    /// Flags of every command: `--shaders DIR`.
    pub global: Vec<String>,
}

/// What makes a stage's result what it is. The same receipt stands for the same result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    pub stage: String,
    name: String,
    version: String,
    /// All settings of the command, defaults too.
    pub settings: Value,
    /// SHA-256 of the input's files, in order.
    inputs: Vec<String>,
    /// SHA-256 of the samples it learns from or calibrates by, where they are of a folder.
    #[serde(default)]
    data: Option<String>,
    /// SHA-256 of what was made.
    output: Option<String>,
}

impl Receipt {
    /// Whether it is of the model in this folder as it is now.
    pub fn is_of(&self, model: &Path) -> bool {
        self.output.is_some() && hash(model).ok() == self.output
    }

    /// The command that makes a model from a model; `None` for other stages.
    pub fn command(&self) -> Option<&'static str> {
        let of = |one: &&super::Kind| one.name == self.stage && one.makes == Makes::Model;
        super::KINDS.iter().find(of).map(|one| one.command)
    }
}

/// Runs all stages whose results are not there yet. Gives the folders of models, and of the last judgement.
pub fn run(recipe: &Recipe, place: &Place<'_>) -> Result<Done, Failure> {
    create_folder(place.work).map_err(usage)?;
    remove_leftovers(place.work).map_err(usage)?;
    check_places(recipe, place)?;
    record(recipe, place.work)?;
    let stop = stop_on_ctrl_c()?;
    let mut done = Done::default();
    for (index, stage) in recipe.stages.iter().enumerate() {
        let shown = format!(
            "[{}/{}] {} {}",
            index + 1,
            recipe.stages.len(),
            stage.kind.name,
            stage.name
        );
        if stop.load(Ordering::Relaxed) {
            return Err(Failure::Mismatch(format!(
                "stopped by Ctrl-C before {}; the same command goes on from there",
                stage.name
            )));
        }
        let inputs = inputs(recipe, stage, place)?;
        let folder = folder(stage, place.work);
        let receipt = receipt(stage, &inputs)?;
        // Judgements are looked at, not built on, and hold times: they are made anew.
        if stage.kind.makes != Makes::Report && is_there(&receipt, stage, &folder)? {
            eprintln!("{shown}: is there already");
            // Killed between its last two steps, it left what it kept.
            Keeping::at(stage, place.work).end()?;
        } else {
            eprintln!("{shown}");
            let began = Instant::now();
            let keeping = Keeping::of(stage, &receipt, place.work)?;
            let made = make(stage, (&inputs, &folder), place, keeping.as_ref());
            made.map_err(|failure| match stage.kind.makes {
                Makes::Report => failure,
                Makes::First | Makes::Model | Makes::Copy => recipe.failed(stage, failure),
            })?;
            let kept = Receipt {
                output: Some(output(stage, &folder)?),
                ..receipt
            };
            let text = serde_json::to_string_pretty(&kept).map_err(usage)?;
            write(&receipt_file(stage, &folder), &(text + "\n"))?;
            if let Some(keeping) = keeping {
                keeping.end()?;
            }
            eprintln!("{shown}: {:.1} s", began.elapsed().as_secs_f64());
        }
        match stage.kind.makes {
            Makes::First | Makes::Model => done.models.push((stage.name.clone(), folder)),
            Makes::Report => done.report = Some(folder),
            Makes::Copy => {}
        }
    }
    Ok(done)
}

/// Keeps the recipe in the work folder, as it was given and with every setting. A file of these names is only
/// replaced when it is such a record; the recipe itself may be one of them.
fn record(recipe: &Recipe, work: &Path) -> Result<(), Failure> {
    let texts = [
        (RECIPE_FILE, recipe.document.text().to_owned()),
        (RESOLVED_FILE, recipe.resolved()),
    ];
    // As they were kept before they said so in their first line.
    let resolved = work.join(RESOLVED_FILE);
    let is_old = resolved.exists()
        && read_text(&resolved)
            .map_err(usage)?
            .starts_with("[[stage]]\nstage = ");
    let mut records = Vec::new();
    for (name, text) in texts {
        let text = match text.starts_with(RECORD) {
            true => text,
            false => format!("{RECORD}{text}"),
        };
        let file = work.join(name);
        let given = recipe.document.file().canonicalize();
        if given.is_ok_and(|given| file.canonicalize().is_ok_and(|file| file == given)) {
            continue;
        }
        if file.exists() && !is_old && !read_text(&file).map_err(usage)?.starts_with(RECORD) {
            return Err(Failure::Usage(format!(
                "{}: there is a file of this name that no recipe left here; allowed: another work folder, or another \
                 name for this file",
                file.display()
            )));
        }
        records.push((file, text));
    }
    for (file, text) in records {
        write(&file, &text)?;
    }
    Ok(())
}

/// Refuses stages whose results would take the place of the model that the recipe starts from, of other stages'
/// results, or of files that no stage left, before anything is done.
fn check_places(recipe: &Recipe, place: &Place<'_>) -> Result<(), Failure> {
    let made = |stage: &&Stage| stage.kind.makes != Makes::Copy;
    let results: Vec<PathBuf> = recipe
        .stages
        .iter()
        .filter(made)
        .map(|one| folder(one, place.work))
        .collect();
    for stage in &recipe.stages {
        let folder = folder(stage, place.work);
        let mut read: Vec<&Path> = place.model.into_iter().collect();
        if stage.kind.makes == Makes::Copy {
            read.extend(results.iter().map(PathBuf::as_path));
            if results.contains(&folder) {
                return Err(Failure::Usage(format!(
                    "stage {}: {} is the folder of another stage; allowed: another `to`",
                    stage.name,
                    folder.display()
                )));
            }
        }
        let mut found = target::apart(&folder, &read);
        // A folder that training began has but its file.
        let is_begun = folder.join(TRAINED_FILE).exists();
        if stage.kind.makes == Makes::First && !folder.join(STAGE_FILE).exists() && !is_begun {
            found = found.and_then(|()| target::for_model(&folder, &read));
        }
        found.map_err(|failure| failure.in_stage(&stage.name))?;
    }
    Ok(())
}

/// What a recipe made.
#[derive(Debug, Default)]
pub struct Done {
    /// Names and folders.
    pub models: Vec<(String, PathBuf)>,
    /// The folder of the last judgement.
    pub report: Option<PathBuf>,
}

/// The folder, or for an export the file, that a stage makes.
pub(super) fn folder(stage: &Stage, work: &Path) -> PathBuf {
    match &stage.to {
        Some(to) => to.clone(),
        None => work.join(&stage.name),
    }
}

/// An export may be a file: its receipt stands beside it.
fn receipt_file(stage: &Stage, made: &Path) -> PathBuf {
    match stage.kind.makes {
        Makes::Copy => {
            let name = made.file_name().unwrap_or_default().to_string_lossy();
            made.with_file_name(format!("{name}.{STAGE_FILE}"))
        }
        Makes::First | Makes::Model | Makes::Report => made.join(STAGE_FILE),
    }
}

/// The models that a stage reads.
pub(super) fn inputs(
    recipe: &Recipe,
    stage: &Stage,
    place: &Place<'_>,
) -> Result<Vec<PathBuf>, Failure> {
    let given = || place.model.map(Path::to_owned);
    let of = |index: usize| recipe.stages.get(index).map(|one| folder(one, place.work));
    Ok(match stage.kind.makes {
        Makes::First => Vec::new(),
        Makes::Model | Makes::Copy => {
            let one = stage.from.map_or_else(given, of);
            one.into_iter().collect()
        }
        Makes::Report => {
            let before = recipe
                .stages
                .iter()
                .take_while(|one| one.name != stage.name);
            let made = before.filter(|one| matches!(one.kind.makes, Makes::First | Makes::Model));
            given()
                .into_iter()
                .chain(made.map(|one| folder(one, place.work)))
                .collect()
        }
    })
}

pub(super) fn receipt(stage: &Stage, inputs: &[PathBuf]) -> Result<Receipt, Failure> {
    let mut hashes = Vec::new();
    for input in inputs {
        hashes.push(hash(input)?);
    }
    Ok(Receipt {
        stage: stage.kind.name.to_owned(),
        name: stage.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        settings: serde_json::to_value(&stage.settings).map_err(usage)?,
        inputs: hashes,
        data: data_hash(stage, inputs)?,
        output: None,
    })
}

/// SHA-256 of the samples and labels in the folder that a stage or its model names; `None` for those built in.
fn data_hash(stage: &Stage, inputs: &[PathBuf]) -> Result<Option<String>, Failure> {
    if !matches!(stage.kind.makes, Makes::First | Makes::Model) {
        return Ok(None);
    }
    let named = stage.settings.get("data").and_then(Value::as_str);
    let folder = match (named, inputs.first()) {
        (Some(folder), _) => Some(PathBuf::from(folder)),
        (None, Some(model)) => data_folder(model, &ModelOptions::default())?,
        (None, None) => None,
    };
    let Some(folder) = folder else {
        return Ok(None);
    };
    let data = setup::load_data(Some(&folder))?;
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for set in [&data.train, &data.test] {
        parts.push(format!("{:?} {:?}", set.sample_shape(), set.class_names()).into_bytes());
        parts.push(
            set.inputs()
                .iter()
                .flat_map(|one| one.to_le_bytes())
                .collect(),
        );
        parts.push(
            set.labels()
                .iter()
                .flat_map(|one| one.to_le_bytes())
                .collect(),
        );
    }
    Ok(Some(sha256(parts.iter().map(Vec::as_slice))))
}

/// SHA-256 of a model: of its weights and configuration, or of its file.
fn hash(model: &Path) -> Result<String, Failure> {
    let of = |file: &Path| file_sha256(file).map(|(hash, _)| hash).map_err(usage);
    if model.is_dir() {
        let parts = [MODEL_FILE, CONFIG_FILE].map(|file| of(&model.join(file)));
        let [weights, config] = parts;
        return Ok(format!("{} {}", weights?, config?));
    }
    of(model)
}

fn output(stage: &Stage, folder: &Path) -> Result<String, Failure> {
    match stage.kind.makes {
        Makes::Report => file_sha256(folder.join(OUTCOMES_FILE))
            .map(|(hash, _)| hash)
            .map_err(usage),
        Makes::First | Makes::Model | Makes::Copy => hash(folder),
    }
}

/// Whether a stage's result is there and was made as it would be now.
pub(super) fn is_there(receipt: &Receipt, stage: &Stage, folder: &Path) -> Result<bool, Failure> {
    let file = receipt_file(stage, folder);
    if !file.exists() {
        return Ok(false);
    }
    let text = read_text(&file).map_err(usage)?;
    let Ok(kept) = serde_json::from_str::<Receipt>(&text) else {
        return Ok(false);
    };
    let expected = Receipt {
        output: kept.output.clone(),
        ..receipt.clone()
    };
    Ok(kept == expected && output(stage, folder).ok() == kept.output)
}

/// Where a stage keeps what it has done, until it is whole.
struct Keeping {
    folder: PathBuf,
}

impl Keeping {
    fn at(stage: &Stage, work: &Path) -> Self {
        let folder = work.join(KEPT_FOLDER).join(&stage.name);
        Self { folder }
    }

    /// The place of a stage that makes a model; what another stage of that name kept there is removed.
    fn of(stage: &Stage, receipt: &Receipt, work: &Path) -> Result<Option<Self>, Failure> {
        if !matches!(stage.kind.makes, Makes::First | Makes::Model) {
            return Ok(None);
        }
        let Self { folder } = Self::at(stage, work);
        let file = folder.join(KEPT_FILE);
        let said = serde_json::to_string_pretty(&(receipt, &stage.words)).map_err(usage)? + "\n";
        let is_same = file.exists() && read_text(&file).map_err(usage)? == said;
        if !is_same {
            if folder.exists() {
                std::fs::remove_dir_all(&folder).map_err(usage)?;
            }
            create_folder(&folder).map_err(usage)?;
            write(&file, &said)?;
        }
        remove_leftovers(&folder).map_err(usage)?;
        Ok(Some(Self { folder }))
    }

    /// Removes what was kept, where something was, and the folder of all stages when it was the last.
    fn end(self) -> Result<(), Failure> {
        if !self.folder.exists() {
            return Ok(());
        }
        std::fs::remove_dir_all(&self.folder).map_err(usage)?;
        if let Some(all) = self.folder.parent() {
            // Others may be in it.
            let _ = std::fs::remove_dir(all);
        }
        Ok(())
    }
}

/// Runs a stage's command.
fn make(
    stage: &Stage,
    (inputs, folder): (&[PathBuf], &Path),
    place: &Place<'_>,
    keeping: Option<&Keeping>,
) -> Result<(), Failure> {
    if folder.is_dir() {
        remove_leftovers(folder).map_err(usage)?;
    }
    remove_if_there(&receipt_file(stage, folder)).map_err(usage)?;
    let shown = |path: &Path| path.to_string_lossy().into_owned();
    let mut words = place.global.clone();
    words.push(stage.kind.command.to_owned());
    match stage.kind.makes {
        Makes::First => {
            create_folder(folder).map_err(usage)?;
            words.push(format!("--out={}", shown(&folder.join(TRAINED_FILE))));
        }
        Makes::Model | Makes::Copy => {
            words.extend(inputs.iter().map(|one| shown(one)));
            words.push(shown(folder));
        }
        Makes::Report => {
            words.extend(inputs.iter().map(|one| shown(one)));
            words.push(format!("--report={}", shown(folder)));
        }
    }
    if let Some(keeping) = keeping {
        let kept = match stage.kind.makes {
            Makes::First => keeping.folder.join(TRAINING_FILE),
            Makes::Model | Makes::Report | Makes::Copy => keeping.folder.clone(),
        };
        words.push(format!("--checkpoint={}", shown(&kept)));
    }
    words.extend(stage.words.iter().cloned());
    if stage.kind.makes == Makes::Report {
        return crate::run_words(&words);
    }
    as_step(|| crate::run_words(&words))?;
    if stage.kind.makes == Makes::First {
        let file = folder.join(TRAINED_FILE);
        let (model, _) = open_with_data(&file, &ModelOptions::default(), None)?;
        save(&model, folder, stage)?;
        remove_if_there(&file).map_err(usage)?;
    }
    Ok(())
}

fn save(model: &Model, folder: &Path, stage: &Stage) -> Result<(), Failure> {
    let mut receipt = BTreeMap::from([
        ("made_by".to_owned(), Value::from("train")),
        (
            "settings".to_owned(),
            serde_json::to_value(&stage.settings).map_err(usage)?,
        ),
    ]);
    if let Some(data) = stage.settings.get("data") {
        receipt.insert("data".to_owned(), data.clone());
    }
    model.save(folder, &receipt)?;
    Ok(())
}
