//! `lapidary run MODEL --input FILE`: a class for every sample of a file, as lines of JSON.

use std::path::{Path, PathBuf};

use clap::Args;
use lapidary::compress::deploy::Deployed;
use lapidary::compress::model::Model;
use lapidary::data::{Dataset, load_csv, load_idx_images, load_safetensors};
use lapidary::eval::{log_probabilities, predictions};
use lapidary::io::csv::CsvOptions;
use lapidary::models::Network as _;
use serde::Serialize;

use crate::models::{Opener, open_with_data};
use crate::options::{CommonOptions, DeviceOption, Failure};
use crate::output::print;
use crate::train::usage;
use crate::trained::{ModelOptions, join};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lapidary run mlp-int8 --input samples.csv\n  \
    lapidary run mlp.safetensors --input test.safetensors --first 10\n  \
    lapidary run mlp-int8 --input t10k-images-idx3-ubyte.gz"
)]
pub struct RunOptions {
    /// Folder of a model, or file of `train --out`.
    #[arg(value_name = "MODEL")]
    input: PathBuf,
    #[command(flatten)]
    network: ModelOptions,
    /// Samples: a CSV file with a column `label`, a `.safetensors` file with `inputs` and `labels`, or any other as an
    /// IDX file of images, which may end in `.gz`. Without it, the test set of the data.
    #[arg(long = "input", value_name = "FILE")]
    samples: Option<PathBuf>,
    /// Only so many samples.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    first: Option<u64>,
    /// Folder with the data the network is for, as for `train`.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// auto, gpu, cpu, an index, or part of an adapter's or driver's name.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: DeviceOption,
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    sample: usize,
    class: &'a str,
    probability: f32,
    /// Of each class, in the order of the data.
    probabilities: &'a [f32],
}

pub fn run(common: &CommonOptions, options: &RunOptions) -> Result<(), Failure> {
    let (model, data) = open_with_data(&options.input, &options.network, options.data.as_deref())?;
    let names = data.train.class_names().to_vec();
    let mut samples = match &options.samples {
        None => data.test,
        Some(file) => read(file, &model)?,
    };
    if let Some(first) = options.first {
        let first = usize::try_from(first).unwrap_or(usize::MAX);
        samples = samples
            .first(first.min(samples.n_samples()))
            .map_err(usage)?;
    }
    let prepared = model.prepare(&samples)?;
    let opener = Opener::new(common, &options.device)?;
    let engine = opener.open()?;
    let deployed = Deployed::new(engine.as_ref(), &model, &opener.routes)?;
    let logits = deployed.logits(prepared.inputs())?;
    let n = model.network().n_classes();
    let classes = predictions(&logits, n).map_err(usage)?;
    let probabilities: Vec<f32> = log_probabilities(&logits, n)
        .map_err(usage)?
        .into_iter()
        .map(f32::exp)
        .collect();
    let mut lines = Vec::with_capacity(classes.len());
    for (sample, (&class, row)) in classes
        .iter()
        .zip(probabilities.chunks_exact(n))
        .enumerate()
    {
        let class = class as usize;
        let line = Line {
            sample,
            class: names.get(class).map_or("", String::as_str),
            probability: row[class],
            probabilities: row,
        };
        lines.push(serde_json::to_string(&line).map_err(usage)?);
    }
    print(&lines.join("\n"))
}

fn read(file: &Path, model: &Model) -> Result<Dataset, Failure> {
    let is_of = |name: &str| file.extension().is_some_and(|one| one == name);
    let samples = if is_of("csv") {
        let options = CsvOptions {
            separator: b',',
            label: Some("label".to_owned()),
        };
        load_csv(file, &options)
    } else if is_of("safetensors") {
        load_safetensors(file)
    } else {
        load_idx_images(file)
    };
    let samples = samples.map_err(usage)?;
    let shape = model.network().sample_shape();
    let features: usize = shape.iter().product();
    if samples.n_features() != features {
        return Err(Failure::Usage(format!(
            "{}: samples have {} values, the network takes {features} ({})",
            file.display(),
            samples.n_features(),
            join(shape)
        )));
    }
    samples.reshaped(shape.to_vec()).map_err(usage)
}
