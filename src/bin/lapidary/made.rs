//! What `prune`, `quantize` and `distill` share: a model is opened with its data, a stage makes another of it, both are
//! judged on the test set, and the result goes into a folder with a receipt that says how to make it again.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use lapidary::compress::deploy::Deployed;
use lapidary::compress::model::{MODEL_FILE, Model};
use lapidary::compress::outcome::Quality;
use lapidary::compress::stage::{Context, Progress};
use lapidary::data::{Dataset, TrainTest};
use lapidary::engine::Engine;
use lapidary::io::atomic::create_folder;
use lapidary::io::file_sha256;
use lapidary::models::Network as _;
use lapidary::ops::Routes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::config::Settings;
use crate::models::{data_folder, load_data_for, open_model};
use crate::options::{CommonOptions, Failure};
use crate::output::{bytes, print, print_json};
use crate::target;
use crate::train::{stop_on_ctrl_c, usage};
use crate::trained::ModelOptions;

/// What a command that makes a model of another is told.
pub struct Making<'a> {
    /// The command.
    pub stage: &'static str,
    pub input: &'a Path,
    pub out: &'a Path,
    pub described: &'a ModelOptions,
    pub data: Option<&'a Path>,
    /// Folder for what is done, where something is to be kept.
    pub kept: Option<&'a Path>,
    pub seed: u64,
    /// All of its flags that say what is made.
    pub settings: &'a Settings,
}

/// A model and its data.
pub struct Opened {
    pub model: Model,
    pub data: TrainTest,
    /// The folder of the data; `None` for those built in.
    pub folder: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Report<'a, L> {
    model: String,
    network: String,
    out: String,
    device: String,
    seed: u64,
    /// On the test set, before and after.
    accuracy: [f64; 2],
    /// Share of test samples with the same class before and after.
    agreement: Option<f64>,
    /// Of the tensors on a device, before and after: codes of 2 and 3 bits take 4 there, levels 32.
    bytes: [u64; 2],
    file_bytes: u64,
    sha256: String,
    #[serde(flatten)]
    log: &'a L,
}

impl Making<'_> {
    /// The model, with the data named, else those it was made with, else those built in.
    pub fn open(&self) -> Result<Opened, Failure> {
        let folder = match self.data {
            Some(folder) => Some(folder.to_owned()),
            None => data_folder(self.input, self.described)?,
        };
        let data = load_data_for(self.input, self.described, folder.as_deref())?;
        Ok(Opened {
            model: open_model(self.input, self.described, &data.train)?,
            data,
            folder,
        })
    }

    /// Refuses an OUT that cannot be written, or holds what is no model, or what is read; before all work.
    pub fn check_out(&self) -> Result<(), Failure> {
        target::for_model(self.out, &[self.input])
    }

    /// Does something that tells of its progress and ends with Ctrl-C.
    pub fn with_context<T>(
        &self,
        engine: &dyn Engine,
        data: &TrainTest,
        run: impl FnOnce(&Context<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if let Some(folder) = self.kept {
            create_folder(folder).map_err(usage)?;
        }
        let stop = stop_on_ctrl_c()?;
        let last = RefCell::new(String::new());
        let watch = |progress: &Progress| {
            if *last.borrow() != progress.what {
                eprintln!("{}: {}", progress.stage, progress.what);
                last.borrow_mut().clone_from(&progress.what);
            }
            !stop.load(Ordering::Relaxed)
        };
        run(&Context {
            engine,
            train: &data.train,
            test: &data.test,
            seed: self.seed,
            watch: &watch,
            kept: self.kept,
        })
    }

    /// Where a result comes from, and how to make it again.
    pub fn receipt(
        &self,
        opened: &Opened,
        log: &impl Serialize,
        engine: &dyn Engine,
    ) -> Result<BTreeMap<String, Value>, Failure> {
        let weights = match self.input.is_dir() {
            true => self.input.join(MODEL_FILE),
            false => self.input.to_owned(),
        };
        let (sha256, _) = file_sha256(&weights).map_err(usage)?;
        let mut receipt = BTreeMap::from([
            ("stage".to_owned(), json!(self.stage)),
            ("base".to_owned(), json!(self.input.display().to_string())),
            ("base_sha256".to_owned(), json!(sha256)),
            ("seed".to_owned(), json!(self.seed)),
            ("device".to_owned(), json!(engine.name())),
            (
                "settings".to_owned(),
                serde_json::to_value(self.settings).map_err(usage)?,
            ),
            ("log".to_owned(), serde_json::to_value(log).map_err(usage)?),
        ]);
        if let Some(folder) = &opened.folder {
            receipt.insert("data".to_owned(), json!(folder.display().to_string()));
        }
        Ok(receipt)
    }

    /// Judges both models, writes the new one and prints what was gained and lost. `text` are the lines of its log.
    pub fn finish<L: Serialize>(
        &self,
        common: &CommonOptions,
        (opened, engine): (&Opened, &dyn Engine),
        (made, log): (&Model, &L),
        text: impl FnOnce(&L) -> Vec<String>,
    ) -> Result<(), Failure> {
        let test = &opened.data.test;
        let (before, logits) = judged(engine, &opened.model, test, None)?;
        let (after, _) = judged(engine, made, test, Some(&logits))?;
        let saved = made.save(self.out, &self.receipt(opened, log, engine)?)?;
        let report = Report {
            model: self.input.display().to_string(),
            network: made.network().describe(),
            out: self.out.display().to_string(),
            device: engine.name(),
            seed: self.seed,
            accuracy: [before.accuracy.value, after.accuracy.value],
            agreement: after.agreement,
            bytes: [opened.model.bytes(), made.bytes()],
            file_bytes: saved.file_bytes,
            sha256: saved.sha256,
            log,
        };
        if common.json {
            return print_json(&report);
        }
        let ([before, after], [b0, b1]) = (report.accuracy, report.bytes);
        let mut lines = vec![report.device];
        lines.extend(text(log));
        lines.push(format!(
            "test accuracy {before:.4} before, {after:.4} after"
        ));
        lines.push(format!(
            "{} on a device before, {} after",
            bytes(b0),
            bytes(b1)
        ));
        lines.push(format!(
            "{}: {} of weights, {} tensors read back",
            report.out,
            bytes(report.file_bytes),
            saved.tensors_read_back
        ));
        print(&lines.join("\n"))
    }
}

/// Quality on the test set, and logits.
pub fn judged(
    engine: &dyn Engine,
    model: &Model,
    test: &Dataset,
    against: Option<&[f32]>,
) -> Result<(Quality, Vec<f32>), Failure> {
    let test = model.prepare(test)?;
    let logits = Deployed::new(engine, model, &Routes::default())?.logits(test.inputs())?;
    let classes = model.network().n_classes();
    let quality = Quality::of(&logits, test.labels(), classes, against).map_err(usage)?;
    Ok((quality, logits))
}
