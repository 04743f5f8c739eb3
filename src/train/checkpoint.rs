//! Checkpoints: a safetensors file from which training goes on to the same bits.
//!
//! Parameters and running statistics have their own names, so that a checkpoint is also a model; the
//! optimizer's state of `NAME` is `optimizer.NAME`, f32 `[elements, slots]`. The metadata say how many steps
//! were taken, and under which settings, which must be the same again: order and changes of samples, and what is
//! dropped, are functions of the seed and the step, and so no other state is needed. What else must be the same, as
//! [`TrainOptions::same`] says it, is `same.KEY`.
//!
//! The state of the loss scale is `loss_scale`; tensors of the best epoch, where they are to be restored, are
//! `best.NAME`; the metadata `progress` are what early stopping and a plateau remember.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::io::safetensors::{SafetensorsFile, shown, write_safetensors};
use crate::models::{NamedTensor, Network, TensorSpec, load_f32};
use crate::tensor::HostTensor;

use super::progress::Progress;
use super::{TrainError, TrainOptions};

const FORMAT: &str = "lapidary-checkpoint-2";
const STATE: &str = "optimizer.";
const SCALE: &str = "loss_scale";
const BEST: &str = "best.";
const PROGRESS: &str = "progress";
const SAME: &str = "same.";

/// The settings that must not change.
const FIXED: [&str; 16] = [
    "seed",
    "batch_size",
    "steps_per_epoch",
    "optimizer_rule",
    "optimizer_options",
    "learning_rate",
    "schedule",
    "clock",
    "label_smoothing",
    "max_norm",
    "max_value",
    "plateau",
    "early_stopping",
    "freeze",
    "precision",
    "micro_batches",
];

/// A state of training.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    pub(super) parameters: Vec<NamedTensor>,
    /// One a parameter; `None` for frozen ones, running statistics, and optimizers without state.
    pub(super) states: Vec<Option<HostTensor>>,
    /// State of the loss scale, u32 `[8]`, where losses are scaled.
    pub(super) scale: Option<HostTensor>,
    /// Numbers of the epochs so far, as text.
    pub(super) progress: String,
    /// Tensors of the best epoch, where they are to be restored.
    pub(super) best: Option<Vec<NamedTensor>>,
    pub(super) n_steps: u64,
    /// Values of [`FIXED`], and of [`TrainOptions::same`] behind [`SAME`].
    settings: BTreeMap<String, String>,
    /// Where it was read from; empty for one that was not.
    file: PathBuf,
}

impl Checkpoint {
    pub(super) fn new(
        parameters: Vec<NamedTensor>,
        (states, scale): (Vec<Option<HostTensor>>, Option<HostTensor>),
        progress: &Progress,
        (n_steps, options): (u64, &TrainOptions),
    ) -> Self {
        Self {
            parameters,
            states,
            scale,
            progress: progress.to_text(),
            best: progress.best.clone(),
            n_steps,
            settings: settings(options),
            file: PathBuf::new(),
        }
    }

    /// Steps taken.
    pub const fn n_steps(&self) -> u64 {
        self.n_steps
    }

    /// The parameters and running statistics.
    pub fn parameters(&self) -> &[NamedTensor] {
        &self.parameters
    }

    /// Writes the file, whole or not at all, with `notes` beside what training needs; notes cannot replace
    /// that.
    ///
    /// # Errors
    /// [`TrainError::NotKept`] for a state that [`Self::load`] would refuse, [`TrainError::Io`]; the file is as it was
    /// then.
    pub fn save(
        &self,
        path: impl AsRef<Path>,
        notes: &BTreeMap<String, String>,
    ) -> Result<(), TrainError> {
        self.save_beside(path, notes, &[])
    }

    /// The same with tensors of whoever trains, which [`Self::load`] leaves to them.
    ///
    /// # Errors
    /// [`TrainError::Io`], also for a name that is taken.
    pub fn save_beside(
        &self,
        path: impl AsRef<Path>,
        notes: &BTreeMap<String, String>,
        beside: &[NamedTensor],
    ) -> Result<(), TrainError> {
        let mut tensors = self.parameters.clone();
        for ((name, _), state) in self.parameters.iter().zip(&self.states) {
            let state = state.iter().cloned();
            tensors.extend(state.map(|state| (format!("{STATE}{name}"), state)));
        }
        let scale = self.scale.iter().cloned();
        tensors.extend(scale.map(|words| (SCALE.to_owned(), words)));
        let best = self.best.iter().flatten().cloned();
        tensors.extend(best.map(|(name, tensor)| (format!("{BEST}{name}"), tensor)));
        // What `load` would refuse is not kept in the place of something good.
        for (name, tensor) in &tensors {
            let values = if name == SCALE {
                Vec::new()
            } else {
                tensor.to_f32()?
            };
            if let Some(index) = values.iter().position(|value| !value.is_finite()) {
                return Err(TrainError::NotKept {
                    file: path.as_ref().to_owned(),
                    tensor: name.clone(),
                    index,
                    value: values[index],
                });
            }
        }
        tensors.extend(beside.iter().cloned());
        let mut metadata = notes.clone();
        metadata.insert(PROGRESS.into(), self.progress.clone());
        metadata.insert("format".into(), FORMAT.into());
        metadata.insert("steps".into(), self.n_steps.to_string());
        metadata.extend(self.settings.clone());
        Ok(write_safetensors(path, &tensors, &metadata)?)
    }

    /// Reads a checkpoint of `network`.
    ///
    /// # Errors
    /// [`TrainError`] naming the file and the tensor or metadata that is missing or differs.
    pub fn load(path: impl AsRef<Path>, network: &dyn Network) -> Result<Self, TrainError> {
        let file = SafetensorsFile::open(path)?;
        let text = |key: &'static str, expected: &'static str| {
            let found = file.metadata().get(key);
            found.cloned().ok_or_else(|| TrainError::NoCheckpoint {
                file: file.path().to_owned(),
                key,
                found: "missing".into(),
                expected,
            })
        };
        let refuse = |key, found: &str, expected| TrainError::NoCheckpoint {
            file: file.path().to_owned(),
            key,
            found: shown(found),
            expected,
        };
        let format = text("format", FORMAT)?;
        if format != FORMAT {
            return Err(refuse("format", &format, FORMAT));
        }
        let steps = text("steps", "a number")?;
        let n_steps = steps
            .parse()
            .map_err(|_| refuse("steps", &steps, "a number"))?;
        let mut settings = BTreeMap::new();
        for key in FIXED {
            settings.insert(key.to_owned(), text(key, "a setting")?);
        }
        let same = file.metadata().iter();
        let same = same.filter(|(key, _)| key.starts_with(SAME));
        settings.extend(same.map(|(key, value)| (key.clone(), value.clone())));
        let (mut parameters, mut states) = (Vec::new(), Vec::new());
        for spec in network.tensors() {
            let value = load_f32(&file, &spec.name, &spec.shape)?;
            let name = spec.name;
            let state = format!("{STATE}{name}");
            let entry = file.tensors().iter().find(|entry| entry.name == state);
            states.push(match entry {
                // Its number of slots is checked where it meets the optimizer.
                Some(entry) => Some(load_f32(&file, &state, &entry.shape)?),
                None => None,
            });
            parameters.push((name, value));
        }
        let has = |name: &str| file.tensors().iter().any(|entry| entry.name == name);
        let has_scale = has(SCALE);
        let scale = if has_scale {
            Some(file.tensor(SCALE)?)
        } else {
            None
        };
        let best_of = |spec: TensorSpec| {
            let value = load_f32(&file, &format!("{BEST}{}", spec.name), &spec.shape)?;
            Ok::<_, TrainError>((spec.name, value))
        };
        let best = if parameters
            .iter()
            .any(|(name, _)| has(&format!("{BEST}{name}")))
        {
            let all: Result<Vec<NamedTensor>, _> =
                network.tensors().into_iter().map(best_of).collect();
            Some(all?)
        } else {
            None
        };
        Ok(Self {
            parameters,
            states,
            scale,
            progress: text(PROGRESS, "numbers")?,
            best,
            n_steps,
            settings,
            file: file.path().to_owned(),
        })
    }

    /// What the epochs so far said.
    pub(super) fn progress(&self, options: &TrainOptions) -> Result<Progress, TrainError> {
        let progress = Progress::new(options)?.with_text(&self.progress);
        let progress = progress.ok_or_else(|| TrainError::NoCheckpoint {
            file: self.file.clone(),
            key: PROGRESS,
            found: shown(&self.progress),
            expected: "numbers",
        })?;
        Ok(Progress {
            best: self.best.clone(),
            ..progress
        })
    }

    /// Refuses to go on with other settings.
    pub(super) fn check(&self, options: &TrainOptions) -> Result<(), TrainError> {
        let now = settings(options);
        let keys = self.settings.keys().chain(now.keys());
        let mut keys = FIXED.into_iter().chain(keys.map(String::as_str));
        let Some(key) = keys.find(|&key| self.settings.get(key) != now.get(key)) else {
            return Ok(());
        };
        let said = |all: &BTreeMap<String, String>| {
            let value = all.get(key).filter(|value| !value.is_empty());
            value.map_or_else(|| "nothing".to_owned(), |value| shown(value))
        };
        Err(TrainError::OtherTraining {
            file: self.file.clone(),
            key: key.strip_prefix(SAME).unwrap_or(key).to_owned(),
            found: said(&self.settings),
            expected: said(&now),
        })
    }
}

/// What must not change: values of [`FIXED`] by key, and what the caller adds.
fn settings(options: &TrainOptions) -> BTreeMap<String, String> {
    // Shortest decimals, which tell apart what is not the same bits.
    let values = [
        options.seed.to_string(),
        options.batch_size.to_string(),
        options.steps_per_epoch.to_string(),
        options.optimizer.rule().name().to_owned(),
        format!("{:?}", options.optimizer),
        format!("{:?}", options.learning_rate),
        format!("{:?}", options.schedule),
        format!("{:?}", options.clock),
        format!("{:?}", options.label_smoothing),
        format!("{:?}", options.max_norm),
        format!("{:?}", options.max_value),
        format!("{:?}", options.plateau),
        format!("{:?}", options.early_stopping),
        options.freeze.join(" "),
        options.precision.name().to_owned(),
        options.micro_batches.to_string(),
    ];
    let fixed = FIXED.iter().map(|&key| key.to_owned()).zip(values);
    let same = options.same.iter();
    let same = same.map(|(key, value)| (format!("{SAME}{key}"), value.clone()));
    fixed.chain(same).collect()
}
