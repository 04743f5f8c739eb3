//! From the words of the command line to data, network and settings.

use std::path::Path;

use clap::ValueEnum;
use lapidary::data::split::stratified_split;
use lapidary::data::{
    Augmentation, Dataset, LoadOptions, LoaderOptions, Standardization, StandardizeBy, TrainTest,
    load,
};
use lapidary::io::sha256;
use lapidary::kernels::FloatType;
use lapidary::models::{Initial, Mlp, Network, Sequential, cnn, described, mobilenet};
use lapidary::ops::nn::Curve;
use lapidary::train::{EarlyStopping, TrainOptions};

use crate::options::Failure;
use crate::trained::join;

use super::tables::{Cleaning, named};
use super::{Notes, TrainCommand, usage};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Model {
    /// Linear layers with relu between.
    Mlp,
    /// Two convolutions with pooling, two linear layers; for images.
    Cnn,
    /// Depthwise-separable convolutions with batch normalization, after MobileNet; for images.
    Mobilenet,
    /// A decoder of the llama family that guesses the next byte; for texts.
    Decoder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionName {
    /// 32 bits throughout.
    F32,
    /// 16 bits between operations, with a loss scale.
    F16,
    /// 16 bits with the range of f32.
    Bf16,
}

impl From<PrecisionName> for FloatType {
    fn from(name: PrecisionName) -> Self {
        match name {
            PrecisionName::F32 => Self::F32,
            PrecisionName::F16 => Self::F16,
            PrecisionName::Bf16 => Self::Bf16,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InitialName {
    /// As torch.nn.Linear.
    Torch,
    /// As Keras's Dense.
    Glorot,
}

/// What a network is trained and judged on, and how its inputs are prepared.
pub struct Prepared {
    pub train: Dataset,
    /// What decides on rates, the end of training and which parameters are kept, where it is not the test set.
    pub validation: Option<Dataset>,
    pub test: Dataset,
    pub cleaning: Cleaning,
    pub inputs: Standardization,
}

/// All sets, prepared by what is learned from the training set alone.
pub fn data(options: &TrainCommand) -> Result<Prepared, Failure> {
    let mut data = load_windows(options.data.as_deref(), options.window)?;
    if let [only] = data.train.class_names() {
        return Err(Failure::Usage(format!(
            "the training set has one class, {only:?}; a classifier needs two or more"
        )));
    }
    let mut validation = None;
    if let Some(share) = options.validation {
        let split = stratified_split(&data.train, share, options.seed).map_err(usage)?;
        validation = Some(data.train.select_rows(&split.validation).map_err(usage)?);
        data.train = data.train.select_rows(&split.train).map_err(usage)?;
    }
    let cleaning = options.tables.clean(&mut data)?;
    let inputs = inputs(options.raw_inputs, &data.train)?;
    if let Some(validation) = &mut validation {
        cleaning.apply("validation set", validation)?;
        inputs.apply(validation).map_err(usage)?;
    }
    inputs.apply(&mut data.train).map_err(usage)?;
    inputs.apply(&mut data.test).map_err(usage)?;
    Ok(Prepared {
        train: data.train,
        validation,
        test: data.test,
        cleaning,
        inputs,
    })
}

/// Both sets of a folder, or those built in.
pub fn load_data(folder: Option<&Path>) -> Result<TrainTest, Failure> {
    load_windows(folder, None)
}

/// The same, texts in windows of so many bytes.
pub fn load_windows(folder: Option<&Path>, window: Option<usize>) -> Result<TrainTest, Failure> {
    let mut options = LoadOptions::default();
    options.window = window.unwrap_or(options.window);
    match folder {
        Some(folder) => load(folder, &options).map_err(usage),
        None => built_in(),
    }
}

/// How inputs are prepared: by what is measured on the training set, or not at all, as the tokens of a text.
pub fn inputs(raw_inputs: bool, train: &Dataset) -> Result<Standardization, Failure> {
    if raw_inputs || train.labels_per_sample() > 1 {
        let (by, n) = (StandardizeBy::Whole, train.n_features());
        return Standardization::from_parts(by, vec![0.0], vec![1.0], n).map_err(usage);
    }
    let by = match train.sample_shape() {
        [1, _, _] => StandardizeBy::Whole,
        [_, _, _] => StandardizeBy::Channel,
        _ => StandardizeBy::Feature,
    };
    Standardization::fit(train, by).map_err(|error| named(error, train))
}

#[cfg(feature = "fashion-mnist")]
fn built_in() -> Result<TrainTest, Failure> {
    lapidary::data::fashion_mnist_subset().map_err(usage)
}

#[cfg(not(feature = "fashion-mnist"))]
fn built_in() -> Result<TrainTest, Failure> {
    Err(Failure::Usage(
        "built without the feature fashion-mnist: name a folder with --data".to_owned(),
    ))
}

pub fn network(options: &TrainCommand, train: &Dataset) -> Result<Box<dyn Network>, Failure> {
    Ok(Box::new(sequential(options, train)?))
}

/// The same, with its layers for who changes them.
pub fn sequential(options: &TrainCommand, train: &Dataset) -> Result<Sequential, Failure> {
    let initial = match options.initial {
        InitialName::Torch => Initial::Torch,
        InitialName::Glorot => Initial::Glorot,
    };
    let (shape, classes) = (train.sample_shape(), train.n_classes());
    let network = match options.model {
        Model::Mlp => {
            let network = Mlp::new(shape, &options.hidden, classes, Curve::Relu)?;
            Sequential::from(network.with_initial(initial))
        }
        Model::Cnn => cnn(shape, classes)?.with_initial(initial),
        Model::Decoder => {
            let text = format!("decoder {}", options.sizes);
            described(&text, shape, classes)?.with_initial(initial)
        }
        Model::Mobilenet => mobilenet(shape, classes, options.width)?.with_initial(initial),
    };
    Ok(network.with_segments(options.segments as usize))
}

/// Batches for learning, images changed as the options say. What is moved in or cut out is black.
pub fn loader(options: &TrainCommand, inputs: &Standardization) -> LoaderOptions {
    LoaderOptions {
        augmentation: Augmentation {
            max_shift: options.shift,
            flip_probability: options.flip,
            noise_std: options.noise,
            cutout_side: options.cutout,
            fill: inputs.value(0, 0.0),
        },
        ..LoaderOptions::learning(options.batch_size, options.seed)
    }
}

pub fn training(options: &TrainCommand, steps_per_epoch: u64) -> Result<TrainOptions, Failure> {
    let (optimizer, learning_rate) = options.optimizer.made()?;
    Ok(TrainOptions {
        learning_rate,
        schedule: options.rates.made(options.epochs, steps_per_epoch)?,
        clock: options.rates.clock(steps_per_epoch),
        label_smoothing: options.label_smoothing,
        max_norm: options.max_norm,
        max_value: options.max_value,
        precision: options.precision.into(),
        micro_batches: options.micro_batches,
        plateau: options.rates.plateau(),
        early_stopping: options.patience.map(|patience| EarlyStopping {
            patience,
            min_delta: options.min_delta.unwrap_or(0.0),
            restore_best: options.restore_best,
        }),
        batch_size: options.batch_size,
        steps_per_epoch,
        seed: options.seed,
        freeze: options.freeze.clone(),
        ..TrainOptions::new(optimizer)
    })
}

/// What a checkpoint must find again besides settings of training: the prepared samples, by a hash, and how they are
/// changed.
pub fn same(options: &TrainCommand, data: &Prepared) -> Notes {
    if options.checkpoint.is_none() {
        return Notes::new();
    }
    let hash = |set: &Dataset| {
        let inputs: Vec<u8> = set.inputs().iter().flat_map(|x| x.to_le_bytes()).collect();
        let labels: Vec<u8> = set.labels().iter().flat_map(|x| x.to_le_bytes()).collect();
        let kind = format!("{:?} {:?}", set.sample_shape(), set.class_names());
        sha256([kind.as_bytes(), inputs.as_slice(), labels.as_slice()])
    };
    let mut notes = Notes::from([
        ("training set".to_owned(), hash(&data.train)),
        ("test set".to_owned(), hash(&data.test)),
        ("shift".to_owned(), options.shift.to_string()),
        ("flip".to_owned(), options.flip.to_string()),
        ("noise".to_owned(), options.noise.to_string()),
        ("cutout".to_owned(), options.cutout.to_string()),
    ]);
    if let Some(validation) = &data.validation {
        notes.insert("validation set".to_owned(), hash(validation));
    }
    notes
}

/// What a reader of the file needs to use the network: its kind, the data it is for, how inputs are prepared,
/// and all settings, from which `eval` makes the network again.
pub fn notes(
    options: &TrainCommand,
    (network, train): (&dyn Network, &Dataset),
    (cleaning, inputs): (&Cleaning, &Standardization),
) -> Notes {
    let classes = serde_json::Value::from(train.class_names()).to_string();
    let mut notes = Notes::from([
        ("model".to_owned(), network.describe()),
        ("activation".to_owned(), "relu".to_owned()),
        ("sample_shape".to_owned(), join(train.sample_shape())),
        ("classes".to_owned(), classes),
        ("optimizer".to_owned(), options.optimizer.optimizer.clone()),
        ("settings".to_owned(), options.settings.toml()),
        ("input_mean".to_owned(), join(inputs.mean())),
        ("input_std".to_owned(), join(inputs.std())),
    ]);
    cleaning.note(&mut notes);
    notes
}
