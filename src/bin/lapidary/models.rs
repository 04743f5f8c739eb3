//! Models named on the command line: folders that compression writes, and files of `train --out`.

use std::path::{Path, PathBuf};

use lapidary::compress::deploy::DeployError;
use lapidary::compress::model::{Model, ModelFileError, RECEIPT_FILE};
use lapidary::compress::stage::StageError;
use lapidary::data::{Dataset, TrainTest};
use lapidary::models::Network as _;

use crate::options::Failure;
use crate::train::{setup, usage};
use crate::trained::{ModelOptions, Trained, join};

/// A model for data of this kind: a folder that [`Model::save`] wrote, or a safetensors file as `train --out`
/// writes it or as the flags describe it. `train` is the training set, as it was loaded.
pub fn open_model(path: &Path, options: &ModelOptions, train: &Dataset) -> Result<Model, Failure> {
    if !path.is_dir() {
        return Trained::open(path, options)?.model(train);
    }
    let model = Model::load(path)?;
    let network = model.network();
    if network.sample_shape() != train.sample_shape() || network.n_classes() != train.n_classes() {
        return Err(Failure::Usage(format!(
            "{}: made for samples of shape {} in {} classes; the data have {} in {}",
            path.display(),
            join(network.sample_shape()),
            network.n_classes(),
            join(train.sample_shape()),
            train.n_classes()
        )));
    }
    Ok(model)
}

/// A model, and the data in the folder named, else those it was made with, else those built in.
pub fn open_with_data(
    path: &Path,
    options: &ModelOptions,
    data: Option<&Path>,
) -> Result<(Model, TrainTest), Failure> {
    let folder = match data {
        Some(folder) => Some(folder.to_owned()),
        None => data_folder(path, options)?,
    };
    let data = setup::load_data(folder.as_deref())?;
    Ok((open_model(path, options, &data.train)?, data))
}

/// The folder of data that a model says it was made with; `None` for those built in.
pub fn data_folder(path: &Path, options: &ModelOptions) -> Result<Option<PathBuf>, Failure> {
    if !path.is_dir() {
        return Ok(Trained::open(path, options)?.options.data);
    }
    Ok(receipt_value(path, "data").map(PathBuf::from))
}

/// A string of a model folder's receipt, which may be missing.
pub fn receipt_value(folder: &Path, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(folder.join(RECEIPT_FILE)).ok()?;
    let receipt: serde_json::Value = serde_json::from_str(&text).ok()?;
    receipt.get(key)?.as_str().map(str::to_owned)
}

impl From<ModelFileError> for Failure {
    fn from(error: ModelFileError) -> Self {
        usage(error)
    }
}

impl From<DeployError> for Failure {
    fn from(error: DeployError) -> Self {
        match error {
            DeployError::Engine(error) => error.into(),
            DeployError::Train(error) => error.into(),
            _ => usage(error),
        }
    }
}

impl From<StageError> for Failure {
    fn from(error: StageError) -> Self {
        match error {
            StageError::Stopped { .. } => Self::Mismatch(error.to_string()),
            StageError::Engine(error) => (*error).into(),
            StageError::Train(error) => (*error).into(),
            StageError::Deploy(error) => (*error).into(),
            _ => usage(error),
        }
    }
}
