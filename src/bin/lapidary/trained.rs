//! A trained network from its file: what it is, how its inputs are prepared, and its parameters.
//!
//! The file's metadata hold the settings it was trained with, so that whatever `train` can make can be made
//! again; files from elsewhere are described by flags.

use std::path::{Path, PathBuf};

use clap::Args;
use lapidary::compress::model::Model;
use lapidary::data::{Dataset, Standardization, StandardizeBy, TrainTest};
use lapidary::io::safetensors::SafetensorsFile;
use lapidary::models::{NamedTensor, Network, load_parameters};

use crate::config::{self, Document};
use crate::options::Failure;
use crate::train::tables::Cleaning;
use crate::train::{TrainCommand, setup, usage};

/// Flags for files that do not say what they hold. They win over what a file says.
#[derive(Debug, Default, Args)]
pub struct ModelOptions {
    /// What the file holds, as `train --model`; for files that do not say.
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Extents of the hidden layers of an mlp.
    #[arg(long, value_name = "N,N")]
    hidden: Option<String>,
    /// The network takes inputs as they are stored (bytes as the share of 255).
    #[arg(long)]
    raw_inputs: bool,
    /// Take classes by their numbers, where the file or the data have no other names for them.
    #[arg(long)]
    by_number: bool,
    /// Settings the network was trained with, for files that do not hold them.
    #[arg(long, value_name = "CONFIG.toml")]
    config: Option<PathBuf>,
}

impl ModelOptions {
    /// Each flag, and whether it was given.
    pub fn flags(&self) -> [(bool, &'static str); 5] {
        [
            (self.model.is_some(), "--model"),
            (self.hidden.is_some(), "--hidden"),
            (self.raw_inputs, "--raw-inputs"),
            (self.by_number, "--by-number"),
            (self.config.is_some(), "--config"),
        ]
    }
}

/// A network and its file.
pub struct Trained {
    file: SafetensorsFile,
    by_number: bool,
    pub options: TrainCommand,
}

impl Trained {
    pub fn open(path: &Path, options: &ModelOptions) -> Result<Self, Failure> {
        if path.is_dir() {
            return Err(Failure::Usage(format!(
                "{}: this is a folder, and a file of `train --out` is called for; `lapidary bench` judges the model of a \
                 folder, `lapidary convert` makes a file of it",
                path.display()
            )));
        }
        let file = SafetensorsFile::open(path).map_err(usage)?;
        let document = match (&options.config, file.metadata().get("settings")) {
            (Some(config), _) => Document::read(config)?,
            (None, Some(settings)) => {
                let origin = format!("{}, metadata `settings`", path.display());
                Document::of(origin.into(), settings.clone())
            }
            (None, None) if options.model.is_none() => {
                return Err(Failure::Usage(format!(
                    "{}: its metadata do not say what it is; say so by --model, or by --config with the settings it was trained with",
                    path.display()
                )));
            }
            (None, None) => Document::of(path.to_owned(), String::new()),
        };
        let mut words = Vec::new();
        for entry in document.entries(&document.table()?)? {
            let is_replaced = match entry.key.as_str() {
                "model" => options.model.is_some(),
                "hidden" => options.hidden.is_some(),
                "raw-inputs" => options.raw_inputs,
                _ => false,
            };
            let made = document.arguments(&entry)?;
            if !is_replaced {
                words.extend(made);
            }
        }
        for (flag, value) in [("model", &options.model), ("hidden", &options.hidden)] {
            words.extend(value.iter().map(|value| format!("--{flag}={value}")));
        }
        if options.raw_inputs {
            words.push("--raw-inputs".to_owned());
        }
        let by_number = options.by_number;
        let options = config::train_command(words).map_err(|error| document.about(&error))?;
        Ok(Self {
            file,
            by_number,
            options,
        })
    }

    /// What the metadata say.
    fn note(&self, key: &str) -> Option<&str> {
        self.file.metadata().get(key).map(String::as_str)
    }

    /// An error about what the file says.
    fn wrong(&self, message: &str) -> Failure {
        Failure::Usage(format!("{}: {message}", self.file.path().display()))
    }

    /// Cleans both sets as training did, by what the file says was learned then.
    pub fn clean(&self, data: &mut TrainTest) -> Result<(), Failure> {
        let cleaning = Cleaning::from_notes(|key| self.note(key), &self.options.tables);
        let cleaning = cleaning.map_err(|message| self.wrong(&message))?;
        cleaning.apply("training set", &mut data.train)?;
        cleaning.apply("test set", &mut data.test)
    }

    /// Refuses samples of another shape and other classes than the network was trained on, as far as the
    /// file names them.
    pub fn check(&self, data: &Dataset) -> Result<(), Failure> {
        let shape = join(data.sample_shape());
        if let Some(trained) = self.note("sample_shape")
            && trained != shape
        {
            let message = format!("trained on samples of shape {trained}; the data's are {shape}");
            return Err(self.wrong(&message));
        }
        let Some(text) = self.note("classes") else {
            return Ok(());
        };
        let classes: Vec<String> = serde_json::from_str(text)
            .map_err(|error| self.wrong(&format!("metadata `classes`: {error}")))?;
        let names = data.class_names();
        if classes.len() != names.len() {
            let message = format!(
                "trained on {} classes; the data have {}",
                classes.len(),
                names.len()
            );
            return Err(self.wrong(&message));
        }
        if self.by_number && (is_numbered(&classes) || is_numbered(names)) {
            return Ok(());
        }
        match classes.iter().zip(names).position(|(a, b)| a != b) {
            None => Ok(()),
            Some(class) => {
                let advice = if is_numbered(&classes) || is_numbered(names) {
                    "; --by-number takes classes by their numbers"
                } else {
                    ""
                };
                Err(self.wrong(&format!(
                    "trained with class {class} called {:?}; in the data it is {:?}{advice}",
                    classes[class], names[class]
                )))
            }
        }
    }

    /// How inputs are prepared. What the file does not say is measured on the training set, as `train`
    /// would.
    pub fn inputs(&self, train: &Dataset) -> Result<Standardization, Failure> {
        let (Some(mean), Some(std)) = (self.note("input_mean"), self.note("input_std")) else {
            return setup::inputs(self.options.raw_inputs, train);
        };
        if self.options.raw_inputs {
            return setup::inputs(true, train);
        }
        let numbers = |key: &str, text: &str| {
            let numbers = text.split_whitespace().map(str::parse::<f32>);
            let numbers: Result<Vec<f32>, _> = numbers.collect();
            numbers.map_err(|error| self.wrong(&format!("metadata `{key}`: {error}")))
        };
        let mean = numbers("input_mean", mean)?;
        let by = match mean.len() {
            1 => StandardizeBy::Whole,
            n if n == train.n_features() => StandardizeBy::Feature,
            _ => StandardizeBy::Channel,
        };
        let std = numbers("input_std", std)?;
        Standardization::from_parts(by, mean, std, train.n_features())
            .map_err(|error| self.wrong(&error.to_string()))
    }

    /// The network for data of this kind, and its parameters.
    pub fn network(&self, data: &Dataset) -> Result<(Box<dyn Network>, Vec<NamedTensor>), Failure> {
        let network = setup::network(&self.options, data)?;
        let parameters = load_parameters(network.as_ref(), self.file.path())?;
        Ok((network, parameters))
    }

    /// The same as a model of compression.
    pub fn model(&self, data: &Dataset) -> Result<Model, Failure> {
        self.check(data)?;
        let network = setup::sequential(&self.options, data)?;
        let parameters = load_parameters(&network, self.file.path())?;
        Ok(Model::new(network, self.inputs(data)?, parameters)?)
    }
}

/// Whether classes are only called by their numbers.
fn is_numbered(names: &[String]) -> bool {
    let mut numbered = names.iter().enumerate();
    numbered.all(|(class, name)| *name == class.to_string())
}

/// Numbers as the metadata have them.
pub fn join<T: ToString>(values: &[T]) -> String {
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    values.join(" ")
}
