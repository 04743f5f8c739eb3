//! What a stage keeps while it runs, so that one that was killed goes on from there to the same bits.
//!
//! Training keeps a checkpoint after every epoch, with the masks it runs under; what goes layer by layer keeps each
//! layer that is done. Each file names by SHA-256 what it is a part of: the model, the data, the settings, the seed
//! and the device, whose last bits it holds. One of anything else, and one that cannot be read, counts as not there.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::prune::NamedMasks;
use super::{Context, StageError};
use crate::compress::model::{Model, ModelFileError, RECEIPT_FILE};
use crate::io::safetensors::{SafetensorsFile, write_safetensors};
use crate::io::sha256;
use crate::models::{NamedTensor, Network};
use crate::num::mask::Mask;
use crate::tensor::HostTensor;
use crate::train::{Checkpoint, Trainer};

/// Name in the metadata of what a file is a part of.
const KEY: &str = "part_of";
/// Before the names of masks.
const MASK: &str = "mask.";

/// The folder in which a stage keeps what it did to this model with these settings.
#[derive(Debug)]
pub(super) struct Kept<'a> {
    folder: &'a Path,
    key: String,
}

/// Training that was stopped.
#[derive(Debug)]
pub(super) struct Stopped {
    pub checkpoint: Checkpoint,
    pub masks: NamedMasks,
    notes: Notes,
}

/// What a file says of what was done: JSON by name.
#[derive(Debug, Default)]
pub(super) struct Notes(BTreeMap<String, String>);

impl Notes {
    /// Adds a value.
    pub fn with(mut self, name: &str, value: &impl Serialize) -> Result<Self, StageError> {
        let text = serde_json::to_string(value).map_err(|error| ModelFileError::Weight {
            file: PathBuf::new(),
            reason: format!("{name}: {error}"),
        })?;
        self.0.insert(name.to_owned(), text);
        Ok(self)
    }

    /// A value, where there is one of this kind.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.0.get(name)?).ok()
    }
}

impl Stopped {
    /// A note, where there is one of this kind.
    pub fn note<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.notes.get(name)
    }
}

impl<'a> Kept<'a> {
    /// What `stage` keeps of `model`; `None` where the context names no folder.
    pub fn of(
        context: &Context<'a>,
        (stage, model): (&str, &Model),
        settings: &impl Debug,
    ) -> Result<Option<Self>, StageError> {
        let Some(folder) = context.kept else {
            return Ok(None);
        };
        let layers = serde_json::to_string(model.network().layers());
        let layers = layers.map_err(|error| ModelFileError::Weight {
            file: folder.to_owned(),
            reason: format!("layers: {error}"),
        })?;
        let train = context.train;
        let said = format!(
            "{} {stage} {settings:?} {} {} {layers} {:?} {:?}",
            env!("CARGO_PKG_VERSION"),
            context.seed,
            context.engine.name(),
            model.inputs(),
            train.sample_shape(),
        );
        let mut parts = vec![said.into_bytes()];
        for (name, stored) in model.tensors() {
            parts.push(format!("{name} {} {:?}", stored.format(), stored.shape()).into_bytes());
            parts.push(stored.values().bytes().to_vec());
        }
        let data: [&[u8]; 2] = [
            bytemuck::cast_slice(train.inputs()),
            bytemuck::cast_slice(train.labels()),
        ];
        let key = sha256(parts.iter().map(Vec::as_slice).chain(data));
        Ok(Some(Self { folder, key }))
    }

    /// A file or folder of it.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Keeps training after an epoch, with its masks.
    pub fn keep_training(
        &self,
        name: &str,
        (trainer, masks): (&Trainer<'_>, &NamedMasks),
        notes: Notes,
    ) -> Result<(), StageError> {
        let notes = self.signed(notes);
        let masks = mask_tensors(masks)?;
        let file = self.path(&format!("{name}.safetensors"));
        Ok(trainer.checkpoint()?.save_beside(file, &notes, &masks)?)
    }

    /// Training of a network as it was kept.
    pub fn training(&self, name: &str, network: &dyn Network) -> Option<Stopped> {
        let path = self.path(&format!("{name}.safetensors"));
        let file = self.open(&path)?;
        Some(Stopped {
            masks: masks(&file)?,
            notes: Notes(file.metadata().clone()),
            checkpoint: Checkpoint::load(&path, network).ok()?,
        })
    }

    /// Keeps values and masks.
    pub fn keep_values(
        &self,
        name: &str,
        (values, masks): (&[NamedTensor], &NamedMasks),
        notes: Notes,
    ) -> Result<(), StageError> {
        let mut tensors = values.to_vec();
        tensors.extend(mask_tensors(masks)?);
        let file = self.path(&format!("{name}.safetensors"));
        write_safetensors(file, &tensors, &self.signed(notes)).map_err(ModelFileError::from)?;
        Ok(())
    }

    /// Values of a model's tensors and masks as they were kept.
    pub fn values(
        &self,
        name: &str,
        model: &Model,
    ) -> Option<(Vec<NamedTensor>, NamedMasks, Notes)> {
        let file = self.open(&self.path(&format!("{name}.safetensors")))?;
        let mut values = Vec::new();
        for (name, _) in model.tensors() {
            values.push((name.clone(), file.tensor(name).ok()?));
        }
        Some((values, masks(&file)?, Notes(file.metadata().clone())))
    }

    /// Keeps a model of which `done` layers are done, in the place of the one with fewer.
    pub fn keep_model(&self, done: usize, model: &Model, notes: &Notes) -> Result<(), StageError> {
        let folder = |done: usize| self.path(&format!("layers-{done}"));
        let notes = self.signed(Notes(notes.0.clone()));
        let receipt = notes.into_iter().map(|(name, text)| (name, text.into()));
        model.save(folder(done), &receipt.collect())?;
        if let Some(before) = done.checked_sub(1) {
            // What is left of it does no harm: the one with the most layers is taken.
            let _ = std::fs::remove_dir_all(folder(before));
        }
        Ok(())
    }

    /// The model with the most layers done, of `of` layers.
    pub fn model(&self, of: usize) -> Option<(usize, Model, Notes)> {
        (1..=of).rev().find_map(|done| {
            let folder = self.path(&format!("layers-{done}"));
            let receipt = std::fs::read_to_string(folder.join(RECEIPT_FILE)).ok()?;
            let notes: BTreeMap<String, serde_json::Value> = serde_json::from_str(&receipt).ok()?;
            let text = |(name, value): (&String, &serde_json::Value)| {
                Some((name.clone(), value.as_str()?.to_owned()))
            };
            let notes: BTreeMap<String, String> = notes.iter().filter_map(text).collect();
            if notes.get(KEY) != Some(&self.key) {
                return None;
            }
            Some((done, Model::load(&folder).ok()?, Notes(notes)))
        })
    }

    fn signed(&self, notes: Notes) -> BTreeMap<String, String> {
        let mut notes = notes.0;
        notes.insert(KEY.to_owned(), self.key.clone());
        notes
    }

    /// A file that is a part of this.
    fn open(&self, path: &Path) -> Option<SafetensorsFile> {
        let file = SafetensorsFile::open(path).ok()?;
        (file.metadata().get(KEY) == Some(&self.key)).then_some(file)
    }
}

/// Masks as tensors: their extents, then their words.
fn mask_tensors(masks: &NamedMasks) -> Result<Vec<NamedTensor>, StageError> {
    let mut tensors = Vec::new();
    for (index, (name, mask)) in masks.iter().enumerate() {
        let mut words = vec![mask.n() as u32, mask.k() as u32];
        words.extend(mask.words());
        let tensor = HostTensor::from_words_u32(vec![words.len()], &words)?;
        // Files sort tensors by name.
        tensors.push((format!("{MASK}{index:06}.{name}"), tensor));
    }
    Ok(tensors)
}

/// The masks of a file, in its order; `None` where one is none.
fn masks(file: &SafetensorsFile) -> Option<NamedMasks> {
    let mut masks = Vec::new();
    for entry in file.tensors() {
        let Some(name) = entry.name.strip_prefix(MASK) else {
            continue;
        };
        let (_, name) = name.split_once('.')?;
        let words = file.tensor(&entry.name).ok()?.words();
        let [n, k, words @ ..] = &words[..] else {
            return None;
        };
        let mask = Mask::from_words(name, *n as usize, *k as usize, words.to_vec()).ok()?;
        masks.push((name.to_owned(), mask));
    }
    Some(masks)
}
