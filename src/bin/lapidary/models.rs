//! Models named on the command line: folders that compression writes, and files of `train --out`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use lapidary::compress::deploy::DeployError;
use lapidary::compress::model::{Model, ModelFileError, RECEIPT_FILE};
use lapidary::compress::stage::StageError;
use lapidary::data::{Dataset, TrainTest};
use lapidary::engine::gpu::{GpuEngine, GpuOptions};
use lapidary::engine::{CpuEngine, Engine, EngineError};
use lapidary::io::folder::set_aside;
use lapidary::models::{Network as _, SampleKind};
use lapidary::ops::Routes;
use lapidary::tune::Store;

use crate::options::{CommonOptions, DeviceOption, Failure, INSTALL_HINT, announce};
use crate::stores;
use crate::train::{setup, usage};
use crate::trained::{ModelOptions, Trained, join};

/// A model for data of this kind: a folder that [`Model::save`] wrote, or a safetensors file as `train --out`
/// writes it or as the flags describe it. `train` is the training set, as it was loaded.
pub fn open_model(path: &Path, options: &ModelOptions, train: &Dataset) -> Result<Model, Failure> {
    if let Some(aside) = set_aside(path) {
        return Err(Failure::Usage(format!(
            "{}: replacing it was stopped at the last step; the model that was there is {}, to be renamed back",
            path.display(),
            aside.display()
        )));
    }
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
    let data = load_data_for(path, options, folder.as_deref())?;
    Ok((open_model(path, options, &data.train)?, data))
}

/// The data in a folder, or those built in; texts in windows as long as those a model was made for.
pub fn load_data_for(
    path: &Path,
    options: &ModelOptions,
    folder: Option<&Path>,
) -> Result<TrainTest, Failure> {
    let window = if path.is_dir() {
        let model = Model::load(path)?;
        match (model.network().samples(), model.network().sample_shape()) {
            (SampleKind::Tokens { .. }, &[window]) => Some(window),
            _ => None,
        }
    } else {
        Trained::open(path, options)?.options.window
    };
    setup::load_windows(folder, window)
}

/// The folder of data that a model says it was made with; `None` for those built in.
pub fn data_folder(path: &Path, options: &ModelOptions) -> Result<Option<PathBuf>, Failure> {
    if set_aside(path).is_some() {
        // Whoever opens the model says so.
        return Ok(None);
    }
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

/// A model as a folder: itself, or a copy of a file that goes when this is dropped.
pub struct Folder {
    pub path: PathBuf,
    /// What tables call it.
    pub name: String,
    is_copy: bool,
}

impl Folder {
    pub fn of(path: &Path, options: &ModelOptions, train: &Dataset) -> Result<Self, Failure> {
        let named = path.file_stem().filter(|_| !path.is_dir());
        let name = named.or(path.file_name()).unwrap_or(path.as_os_str());
        let name = name.to_string_lossy().into_owned();
        let model = open_model(path, options, train)?;
        if path.is_dir() {
            let path = path.to_owned();
            return Ok(Self {
                path,
                name,
                is_copy: false,
            });
        }
        Self::copy_of(&model, name)
    }

    /// A model that is in no folder yet.
    pub fn copy_of(model: &Model, name: String) -> Result<Self, Failure> {
        static COPIES: AtomicUsize = AtomicUsize::new(0);
        let copy = COPIES.fetch_add(1, Ordering::Relaxed);
        let copy = format!("lapidary-{}-{copy}", std::process::id());
        let copy = Self {
            path: std::env::temp_dir().join(copy),
            name,
            is_copy: true,
        };
        model.save(&copy.path, &BTreeMap::new())?;
        Ok(copy)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_copy
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            eprintln!("note: {}: {error}", self.path.display());
        }
    }
}

/// Gives engines for one device, each new and with the choices kept for it.
pub struct Opener {
    /// `None` for the CPU engine.
    gpu: Option<(GpuOptions, Store)>,
    /// Its name.
    pub device: String,
    /// Its driver's name.
    pub driver: String,
    /// How pruned weights run.
    pub routes: Routes,
}

impl Opener {
    pub fn new(common: &CommonOptions, device: &DeviceOption) -> Result<Self, Failure> {
        if *device == DeviceOption::Cpu {
            return Ok(Self::cpu());
        }
        let sources = common.sources()?;
        let options = GpuOptions {
            device: device.adapter("")?,
            sources: sources.clone(),
            cooperative_matrix: common.cooperative_matrix,
            ..GpuOptions::default()
        };
        let engine = match GpuEngine::open(options.clone()) {
            Err(error @ EngineError::NoAdapter { .. }) if *device == DeviceOption::Auto => {
                eprintln!("note: {error}; this runs on the CPU. {INSTALL_HINT}");
                return Ok(Self::cpu());
            }
            opened => opened?,
        };
        announce(engine.summary());
        let (_, store) = stores::open(engine.summary(), &sources)?;
        Ok(Self {
            device: engine.name(),
            driver: engine.summary().driver.clone(),
            routes: store.routes(),
            gpu: Some((options, store)),
        })
    }

    fn cpu() -> Self {
        Self {
            gpu: None,
            device: CpuEngine::fast().name(),
            driver: "none".to_owned(),
            routes: Routes::default(),
        }
    }

    pub fn open(&self) -> Result<Box<dyn Engine>, EngineError> {
        let Some((options, store)) = &self.gpu else {
            return Ok(Box::new(CpuEngine::fast()));
        };
        let engine = GpuEngine::open(options.clone())?;
        engine.set_choices(store.table());
        Ok(Box::new(engine))
    }
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
