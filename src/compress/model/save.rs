//! Writing a model: into a folder beside the one asked for, read back and compared, then renamed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::config::Config;
use super::{CONFIG_FILE, MODEL_FILE, Model, ModelFileError, RECEIPT_FILE, storage};
use crate::io::safetensors::{SafetensorsFile, write_safetensors};
use crate::io::{atomic, file_sha256};

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
    /// Writes the model to a folder, made where it is missing, and reads it back. Each file is replaced in one
    /// step, `config.json` last, so that a folder with a configuration is whole. `receipt` says where the model
    /// came from; what the weights are is added to it.
    ///
    /// # Errors
    /// [`ModelFileError`] naming the file and what cannot be written, or differs when it is read back.
    pub fn save(
        &self,
        folder: impl AsRef<Path>,
        receipt: &BTreeMap<String, Value>,
    ) -> Result<Saved, ModelFileError> {
        let folder = folder.as_ref();
        atomic::create_folder(folder)?;
        let mut tensors = Vec::new();
        for (name, stored) in &self.tensors {
            tensors.extend(storage::parts(name, stored)?);
        }
        let weights = folder.join(MODEL_FILE);
        let config = Config::of(self);
        let metadata = BTreeMap::from([
            ("format".to_owned(), config.format.clone()),
            ("model".to_owned(), config.network.clone()),
        ]);
        atomic::remove_if_there(&folder.join(CONFIG_FILE))?;
        write_safetensors(&weights, &tensors, &metadata)?;
        let (sha256, file_bytes) = file_sha256(&weights)?;
        let mut receipt = receipt.clone();
        receipt.insert("weights_sha256".to_owned(), Value::from(sha256.as_str()));
        receipt.insert("weights_bytes".to_owned(), Value::from(file_bytes));
        receipt.insert("version".to_owned(), Value::from(env!("CARGO_PKG_VERSION")));
        write_json(&folder.join(RECEIPT_FILE), &receipt)?;
        write_json(&folder.join(CONFIG_FILE), &config)?;
        let again = Self::load(folder)?;
        let differs = self
            .tensors
            .iter()
            .zip(&again.tensors)
            .find(|(one, other)| one != other);
        if let Some(((name, _), _)) = differs {
            return Err(ModelFileError::ReadBack {
                file: weights,
                name: name.clone(),
            });
        }
        Ok(Saved {
            folder: folder.to_owned(),
            file_bytes,
            sha256,
            tensors_read_back: tensors.len(),
        })
    }
}

impl Model {
    /// Makes the tensors of the weights file again from the model and compares them with the file in a folder,
    /// bit for bit. Gives how many are equal, which is all of them.
    ///
    /// # Errors
    /// [`ModelFileError::ReadBack`] naming the first that differs, and files that cannot be read.
    pub fn read_back(&self, folder: impl AsRef<Path>) -> Result<usize, ModelFileError> {
        let file = SafetensorsFile::open(folder.as_ref().join(MODEL_FILE))?;
        let mut equal = 0;
        for (name, stored) in &self.tensors {
            for (part, tensor) in storage::parts(name, stored)? {
                if file.tensor(&part)? != tensor {
                    return Err(ModelFileError::ReadBack {
                        file: file.path().to_owned(),
                        name: part,
                    });
                }
                equal += 1;
            }
        }
        Ok(equal)
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

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), ModelFileError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| ModelFileError::NoModel {
        file: path.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(atomic::write_bytes(path, (text + "\n").as_bytes())?)
}
