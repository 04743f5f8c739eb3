//! Writing a model: into a draft beside the folder asked for, read back and compared, then put in its place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::config::Config;
use super::{
    ARTIFACT_FORMAT, CONFIG_FILE, MODEL_FILE, Model, ModelFileError, RECEIPT_FILE, storage,
};
use crate::io::folder::FolderDraft;
use crate::io::safetensors::{SafetensorsFile, write_safetensors};
use crate::io::{atomic, file_sha256, read_text, sha256};

/// Keys of a receipt: what was written.
const WEIGHTS_SHA256: &str = "weights_sha256";
const CONFIG_SHA256: &str = "config_sha256";

/// A model on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The folder.
    pub folder: PathBuf,
    /// Bytes of its weights file.
    pub file_bytes: u64,
    /// SHA-256 of its weights file.
    pub sha256: String,
    /// Tensors that were read back and are equal, bit for bit.
    pub tensors_read_back: usize,
}

impl Model {
    /// Writes the model to a folder, made where it is missing. It is written beside it and read back before it takes
    /// the folder's place, so a model that was there stays as it was until then, and where anything fails. Other
    /// files of the folder stay. `receipt` says where the model came from; what the weights are is added to it.
    ///
    /// # Errors
    /// [`ModelFileError`] naming the file and what cannot be written, or differs when it is read back; a folder
    /// whose configuration is of something else is not replaced.
    pub fn save(
        &self,
        folder: impl AsRef<Path>,
        receipt: &BTreeMap<String, Value>,
    ) -> Result<Saved, ModelFileError> {
        let folder = folder.as_ref();
        require_own(folder)?;
        let draft = FolderDraft::begin(folder, CONFIG_FILE)?;
        let mut tensors = Vec::new();
        for (name, stored) in &self.tensors {
            tensors.extend(storage::parts(name, stored)?);
        }
        let weights = draft.path().join(MODEL_FILE);
        let config = Config::of(self);
        let metadata = BTreeMap::from([
            ("format".to_owned(), config.format.clone()),
            ("model".to_owned(), config.network.clone()),
        ]);
        write_safetensors(&weights, &tensors, &metadata)?;
        let (weights_sha256, file_bytes) = file_sha256(&weights)?;
        let mut receipt = receipt.clone();
        let config = json_text(&draft.path().join(CONFIG_FILE), &config)?;
        receipt.insert(
            CONFIG_SHA256.to_owned(),
            Value::from(sha256([config.as_bytes()])),
        );
        receipt.insert(
            WEIGHTS_SHA256.to_owned(),
            Value::from(weights_sha256.as_str()),
        );
        receipt.insert("weights_bytes".to_owned(), Value::from(file_bytes));
        receipt.insert("version".to_owned(), Value::from(env!("CARGO_PKG_VERSION")));
        let file = draft.path().join(RECEIPT_FILE);
        atomic::write_bytes(&file, json_text(&file, &receipt)?.as_bytes())?;
        atomic::write_bytes(&draft.path().join(CONFIG_FILE), config.as_bytes())?;
        let again = Self::load(draft.path())?;
        let differs = self
            .tensors
            .iter()
            .zip(&again.tensors)
            .find(|(one, other)| one != other);
        if let Some(((name, _), _)) = differs {
            return Err(ModelFileError::ReadBack {
                file: folder.join(MODEL_FILE),
                name: name.clone(),
            });
        }
        draft.finish()?;
        Ok(Saved {
            folder: folder.to_owned(),
            file_bytes,
            sha256: weights_sha256,
            tensors_read_back: tensors.len(),
        })
    }
}

impl Model {
    /// Makes the tensors of the weights file again from the model and compares them with the file in a folder,
    /// bit for bit. Gives how many are equal, which is all of them and of the file.
    ///
    /// # Errors
    /// [`ModelFileError::ReadBack`] naming the first that differs, and files that cannot be read.
    pub fn read_back(&self, folder: impl AsRef<Path>) -> Result<usize, ModelFileError> {
        let file = SafetensorsFile::open(folder.as_ref().join(MODEL_FILE))?;
        let (mut equal, mut made) = (0, Vec::new());
        for (name, stored) in &self.tensors {
            for (part, tensor) in storage::parts(name, stored)? {
                if file.tensor(&part)? != tensor {
                    return Err(ModelFileError::ReadBack {
                        file: file.path().to_owned(),
                        name: part,
                    });
                }
                equal += 1;
                made.push(part);
            }
        }
        let names = file.tensors().iter().map(|one| &one.name);
        let unread: Vec<&str> = names
            .filter(|name| !made.contains(name))
            .map(String::as_str)
            .collect();
        if !unread.is_empty() {
            return Err(ModelFileError::Unread {
                file: file.path().to_owned(),
                names: unread.join(", "),
            });
        }
        Ok(equal)
    }

    /// Compares weights and configuration in a folder with the SHA-256 that its receipt has of them. Gives how many
    /// of the two it has.
    ///
    /// # Errors
    /// [`ModelFileError::Changed`] naming the file that is another, and files that cannot be read.
    pub fn check_hashes(folder: impl AsRef<Path>) -> Result<usize, ModelFileError> {
        let folder = folder.as_ref();
        let receipt = folder.join(RECEIPT_FILE);
        if !receipt.exists() {
            return Ok(0);
        }
        let said: Value = serde_json::from_str(&read_text(&receipt)?).map_err(|error| {
            ModelFileError::NoModel {
                file: receipt,
                reason: error.to_string(),
            }
        })?;
        let mut checked = 0;
        for (key, name) in [(WEIGHTS_SHA256, MODEL_FILE), (CONFIG_SHA256, CONFIG_FILE)] {
            let Some(said) = said[key].as_str() else {
                continue;
            };
            let file = folder.join(name);
            let (found, _) = file_sha256(&file)?;
            if found != said {
                let said = said.to_owned();
                return Err(ModelFileError::Changed { file, found, said });
            }
            checked += 1;
        }
        Ok(checked)
    }

    /// Bytes that each tensor takes in the weights file, in the network's order.
    ///
    /// # Errors
    /// [`ModelFileError`] for a weight that cannot be written.
    pub fn stored_bytes(&self) -> Result<Vec<(String, u64)>, ModelFileError> {
        let mut all = Vec::new();
        for (name, stored) in &self.tensors {
            let parts = storage::parts(name, stored)?;
            let bytes = parts.iter().map(|(_, part)| part.bytes().len() as u64);
            all.push((name.clone(), bytes.sum()));
        }
        Ok(all)
    }
}

/// Refuses a folder whose configuration is not that of a model of ours.
fn require_own(folder: &Path) -> Result<(), ModelFileError> {
    let file = folder.join(CONFIG_FILE);
    if !file.exists() || is_model(folder) {
        return Ok(());
    }
    Err(ModelFileError::NoModel {
        file,
        reason: format!("it is not of {ARTIFACT_FORMAT}, and only such a model is replaced"),
    })
}

/// Whether a folder holds a model that [`Model::save`] wrote: its configuration says so.
pub fn is_model(folder: &Path) -> bool {
    let text = read_text(folder.join(CONFIG_FILE));
    let config = text
        .ok()
        .and_then(|text| serde_json::from_str::<Value>(&text).ok());
    config.is_some_and(|config| config["format"] == ARTIFACT_FORMAT)
}

fn json_text(file: &Path, value: &impl serde::Serialize) -> Result<String, ModelFileError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| ModelFileError::NoModel {
        file: file.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(text + "\n")
}
