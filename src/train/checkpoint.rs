//! Checkpoints: a safetensors file from which training goes on to the same bits.
//!
//! Parameters and running statistics have their own names, so that a checkpoint is also a model; the
//! optimizer's state of `NAME` is `optimizer.NAME`, f32 `[elements, slots]`. The metadata say how many steps
//! were taken, and the seed, batch size, steps of an epoch and rule of the optimizer, which must be the same
//! again: order and changes of samples, and what is dropped, are functions of the seed and the step, and so no
//! other state is needed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::io::safetensors::{SafetensorsFile, shown, write_safetensors};
use crate::models::{NamedTensor, Network, load_f32};
use crate::tensor::HostTensor;

use super::{TrainError, TrainOptions};

const FORMAT: &str = "lapidary-checkpoint-1";
const STATE: &str = "optimizer.";

/// The settings that must not change.
const FIXED: [&str; 5] = [
    "seed",
    "batch_size",
    "steps_per_epoch",
    "optimizer_rule",
    "freeze",
];

/// A state of training.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    pub(super) parameters: Vec<NamedTensor>,
    /// One a parameter; `None` for frozen ones, running statistics, and optimizers without state.
    pub(super) states: Vec<Option<HostTensor>>,
    pub(super) n_steps: u64,
    /// Values of [`FIXED`].
    settings: Vec<String>,
    /// Where it was read from; empty for one that was not.
    file: PathBuf,
}

impl Checkpoint {
    pub(super) fn new(
        parameters: Vec<NamedTensor>,
        states: Vec<Option<HostTensor>>,
        (n_steps, options): (u64, &TrainOptions),
    ) -> Self {
        Self {
            parameters,
            states,
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
    /// [`TrainError::Io`].
    pub fn save(
        &self,
        path: impl AsRef<Path>,
        notes: &BTreeMap<String, String>,
    ) -> Result<(), TrainError> {
        let mut tensors = self.parameters.clone();
        for ((name, _), state) in self.parameters.iter().zip(&self.states) {
            let state = state.iter().cloned();
            tensors.extend(state.map(|state| (format!("{STATE}{name}"), state)));
        }
        let mut metadata = notes.clone();
        metadata.insert("format".into(), FORMAT.into());
        metadata.insert("steps".into(), self.n_steps.to_string());
        for (key, value) in FIXED.iter().zip(&self.settings) {
            metadata.insert((*key).into(), value.clone());
        }
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
        let settings: Result<Vec<String>, TrainError> =
            FIXED.iter().map(|&key| text(key, "a setting")).collect();
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
        Ok(Self {
            parameters,
            states,
            n_steps,
            settings: settings?,
            file: file.path().to_owned(),
        })
    }

    /// Refuses to go on with other settings.
    pub(super) fn check(&self, options: &TrainOptions) -> Result<(), TrainError> {
        let now = settings(options);
        for ((key, found), expected) in FIXED.iter().zip(&self.settings).zip(now) {
            if *found != expected {
                return Err(TrainError::OtherTraining {
                    file: self.file.clone(),
                    key,
                    found: shown(found),
                    expected,
                });
            }
        }
        Ok(())
    }
}

/// Values of [`FIXED`], in that order.
fn settings(options: &TrainOptions) -> Vec<String> {
    vec![
        options.seed.to_string(),
        options.batch_size.to_string(),
        options.steps_per_epoch.to_string(),
        options.optimizer.rule().name().to_owned(),
        options.freeze.join(" "),
    ]
}
