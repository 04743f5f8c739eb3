//! `lapidary train`: train a classifier on a folder of data or on the images built in.

mod optimizer;
mod rates;
pub mod setup;
pub mod tables;
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use clap::Args;
use lapidary::data::Loader;
use lapidary::engine::Engine;
use lapidary::io::safetensors::write_safetensors;
use lapidary::models::{ModelError, Network, file_tensors, head, transfer};
use lapidary::train::{Checkpoint, Event, Start, TrainError, TrainOptions, Trainer, fit};
use serde::Serialize;

use crate::config::Settings;
use crate::models::Opener;
use crate::options::{CommonOptions, DeviceOption, Failure, can_be_written};
use crate::output::{print, print_json};

use optimizer::OptimizerOptions;
use rates::RateOptions;
use setup::{InitialName, Model, PrecisionName};
use tables::TableOptions;
use watch::Watch;

#[derive(Debug, Args)]
pub struct TrainCommand {
    /// TOML file of settings: its keys are the long flags, which win over it.
    #[arg(value_name = "CONFIG.toml")]
    config: Option<PathBuf>,
    /// What is trained.
    #[arg(long, value_enum)]
    model: Model,
    /// Extents of the hidden layers of an mlp.
    #[arg(
        long,
        value_name = "N,N",
        value_delimiter = ',',
        default_value = "256,128"
    )]
    hidden: Vec<usize>,
    /// Factor of the channels of a mobilenet.
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    width: f64,
    /// Sizes of a decoder: blocks, width, heads, heads of keys and values, and hidden extent.
    #[arg(long, value_name = "N-N-N-N-N", default_value = "4-128-4-2-352")]
    sizes: String,
    /// Bytes of a window of texts, 128 by default.
    #[arg(long, value_name = "BYTES")]
    pub window: Option<usize>,
    /// Folder with IDX files, train.csv and test.csv, train.safetensors and test.safetensors, or texts (*.txt);
    /// by default the images of Fashion-MNIST built in.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Take inputs as they are stored (bytes as the share of 255), instead of with mean 0 and deviation 1.
    #[arg(long)]
    pub raw_inputs: bool,
    /// Passes over the training set.
    #[arg(long, default_value_t = 6, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: u32,
    #[command(flatten)]
    pub tables: TableOptions,
    /// Share of the training set that is set aside, of each class alike: it decides instead of the test set on
    /// --patience, --restore-best and --schedule plateau.
    #[arg(long, value_name = "SHARE")]
    pub validation: Option<f64>,
    /// Samples of a step. Each epoch leaves out, another time others, what does not fill a step.
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub batch_size: usize,
    #[command(flatten)]
    optimizer: OptimizerOptions,
    #[command(flatten)]
    rates: RateOptions,
    /// Weight spread evenly over all classes, from 0 to 1.
    #[arg(long, default_value_t = 0.0, value_name = "W")]
    label_smoothing: f32,
    /// Largest norm of all gradients together.
    #[arg(long, value_name = "NORM")]
    max_norm: Option<f32>,
    /// Largest magnitude of an element of a gradient, after the norm was clipped.
    #[arg(long, value_name = "VALUE")]
    max_value: Option<f32>,
    /// How results between operations are stored; f16 has a dynamic loss scale. Parameters stay f32.
    #[arg(long, value_enum, default_value = "f32")]
    precision: PrecisionName,
    /// Parts in which a step takes its samples, one after the other: more need less memory.
    #[arg(long, default_value_t = 1, value_name = "N")]
    micro_batches: usize,
    /// Parts of the network of which a step keeps only the results, and makes the rest again on the way back: more need
    /// less memory and more time.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    segments: u32,
    /// Move each image by up to so many pixels, another way in every epoch.
    #[arg(long, default_value_t = 0, value_name = "PIXELS")]
    shift: usize,
    /// Mirror images left for right with this probability.
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    flip: f32,
    /// Add noise of this standard deviation, in units of the prepared inputs.
    #[arg(long, default_value_t = 0.0, value_name = "STD")]
    noise: f32,
    /// Cut a square of this side out of each image.
    #[arg(long, default_value_t = 0, value_name = "PIXELS")]
    cutout: usize,
    /// End after so many epochs without a better loss on the test set, or with --validation on that part.
    #[arg(long, value_name = "EPOCHS")]
    patience: Option<u32>,
    /// With --patience: by how much a loss is better, 0 by default.
    #[arg(long, value_name = "LOSS", requires = "patience")]
    min_delta: Option<f64>,
    /// With --patience: keep the parameters of the epoch with the best such loss.
    #[arg(long, requires = "patience")]
    pub restore_best: bool,
    /// Seed of the first values and of the order of samples.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// How first values are drawn: uniform as torch.nn.Linear, or as Glorot and Bengio.
    #[arg(long, value_enum, default_value = "torch")]
    initial: InitialName,
    /// Start from the parameters of a safetensors file.
    #[arg(long, value_name = "FILE")]
    pub init: Option<PathBuf>,
    /// Draw the last layer anew instead of taking it from the file of --init: for other classes.
    #[arg(long, requires = "init")]
    pub new_head: bool,
    /// Names of parameters that are drawn anew instead of taken from the file of --init, with * for any
    /// characters; may be given several times.
    #[arg(long, value_name = "PATTERN", requires = "init")]
    pub redraw: Vec<String>,
    /// Names of parameters that are not trained, with * for any characters; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    freeze: Vec<String>,
    /// Write the trained parameters.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Keep the state of training here after every epoch and on Ctrl-C; goes on from it when it is there.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Write a line of JSON for every step and epoch.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Draw losses and accuracy over the epochs.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// auto, gpu, cpu, an index, or part of an adapter's or driver's name.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceOption,
    /// All of these as they are in the end.
    #[arg(skip)]
    pub settings: Settings,
}

#[derive(Debug, Serialize)]
struct Report {
    model: String,
    device: String,
    parameters: usize,
    trained_parameters: usize,
    /// Of one sample in the forward pass, without biases, normalization, activations and pooling.
    multiply_adds: u64,
    /// Of a step's intermediates, on the device.
    intermediate_bytes: u64,
    /// Parameters, copies, state, gradients, activations, batch and a pass of evaluation, each in memory of its own.
    counted_bytes: u64,
    /// The same with intermediates that share memory.
    needed_bytes: u64,
    /// Held by the engine at the most.
    device_bytes: Option<u64>,
    loss_scale: Option<f32>,
    skipped_steps: Option<u32>,
    ended_early: bool,
    epochs: u32,
    steps: u64,
    resumed_from_step: u64,
    seconds: f64,
    /// Median of the steps after the first.
    step_milliseconds: Option<f64>,
    first_step_seconds: Option<f64>,
    samples_per_second: Option<f64>,
    test_loss: f64,
    test_accuracy: f64,
    /// Whether --patience or --schedule plateau went by the test set, which then judged what it had chosen.
    test_set_decided: bool,
    settings: Settings,
}

pub fn run(common: &CommonOptions, options: &TrainCommand) -> Result<(), Failure> {
    let began = Instant::now();
    for file in [&options.out, &options.checkpoint, &options.svg] {
        file.iter().try_for_each(|file| can_be_written(file))?;
    }
    let data = setup::data(options)?;
    let same = setup::same(options, &data);
    let network = setup::network(options, &data.train)?;
    eprintln!("{}", cost(network.as_ref()));
    let loader_options = setup::loader(options, &data.inputs);
    let loader = Loader::new(data.train.into(), loader_options).map_err(usage)?;
    note_left_out(&loader);
    let judges = Judges::new(options);
    let watched = data.validation.as_ref().unwrap_or(&data.test);
    let settings = TrainOptions {
        same,
        ..setup::training(options, loader.n_batches() as u64)?
    };
    let start = start(options, network.as_ref())?;
    let engine = engine(common, &options.device)?;
    let mut trainer = Trainer::new(engine.as_ref(), network.as_ref(), settings, start)?;
    let resumed_from_step = trainer.n_steps();
    if resumed_from_step > 0 {
        eprintln!("resumed after step {resumed_from_step}");
    }
    let notes = setup::notes(
        options,
        (network.as_ref(), loader.data()),
        (&data.cleaning, &data.inputs),
    );

    let stop = stop_on_ctrl_c()?;
    let n_steps = u64::from(options.epochs) * loader.n_batches() as u64;
    let per_epoch = loader.n_batches() as u64;
    let mut watch = Watch::new(options, judges, (resumed_from_step, n_steps))?;
    let keep = |trainer: &Trainer<'_>| match &options.checkpoint {
        Some(file) => Ok::<(), TrainError>(trainer.checkpoint()?.save(file, &notes)?),
        None => Ok(()),
    };
    let mut on = |trainer: &Trainer<'_>, event: &Event<'_>| {
        watch.see(event)?;
        // An epoch that is over is judged first: what is kept begins the next one.
        let ends_epoch = matches!(event, Event::Step { step, .. } if step % per_epoch == 0);
        let stopped = stop.load(Ordering::Relaxed) && !ends_epoch;
        if stopped || matches!(event, Event::Epoch(_)) {
            keep(trainer)?;
        }
        Ok::<bool, Failure>(!stopped)
    };
    let fitted = fit(&mut trainer, (&loader, watched), options.epochs, &mut on);
    watch.finish();
    let fitted = fitted?;
    if fitted.is_stopped {
        let step = trainer.n_steps();
        return Err(Failure::Mismatch(match &options.checkpoint {
            Some(file) => format!(
                "stopped by Ctrl-C after step {step} of {n_steps}; the same command goes on from {}",
                file.display()
            ),
            None => format!(
                "stopped by Ctrl-C after step {step} of {n_steps}; without --checkpoint nothing is kept"
            ),
        }));
    }

    let test = match fitted.epochs.last() {
        Some(report) if !options.restore_best && data.validation.is_none() => report.test,
        // Everything was done before, other parameters were put back, or another set was watched.
        _ => trainer.evaluate(&data.test)?,
    };
    if let Some(file) = &options.out {
        let tensors = file_tensors(network.as_ref(), &trainer.parameters()?)?;
        write_safetensors(file, &tensors, &notes).map_err(usage)?;
    }
    match &options.svg {
        Some(file) if fitted.epochs.is_empty() => {
            eprintln!(
                "note: no epoch was left to train, {} is as it was",
                file.display()
            );
        }
        Some(file) => watch.draw(file)?,
        None => {}
    }
    let [parameters, trained_parameters] = trainer.n_parameters();
    let (median, memory) = (watch.median_step_seconds(), trainer.memory());
    let report = Report {
        model: network.describe(),
        device: engine.name(),
        parameters,
        trained_parameters,
        multiply_adds: multiply_adds(network.as_ref()),
        intermediate_bytes: trainer.intermediate_bytes(),
        counted_bytes: memory.counted(),
        needed_bytes: memory.needed(),
        device_bytes: memory.device,
        loss_scale: trainer.scale().map(|scale| scale.scale),
        skipped_steps: trainer.scale().map(|scale| scale.skipped),
        ended_early: fitted.ended_early,
        epochs: options.epochs,
        steps: trainer.n_steps(),
        resumed_from_step,
        seconds: began.elapsed().as_secs_f64(),
        step_milliseconds: median.map(|seconds| 1e3 * seconds),
        first_step_seconds: watch.first_step_seconds(),
        samples_per_second: median.map(|seconds| options.batch_size as f64 / seconds),
        test_loss: test.loss,
        test_accuracy: test.accuracy,
        test_set_decided: judges == Judges::TestDecides,
        settings: options.settings.clone(),
    };
    if common.json {
        print_json(&report)?;
    } else {
        print(&text(&report))?;
    }
    watch.log_is_whole()
}

/// Says how many samples an epoch leaves out.
fn note_left_out(loader: &Loader) {
    let batch_size = loader.options().batch_size;
    let (all, taken) = (loader.data().n_samples(), loader.n_batches() * batch_size);
    if taken < all {
        eprintln!(
            "note: an epoch takes {taken} of {all} samples; {} do not fill a step of {batch_size}, others in each epoch",
            all - taken
        );
    }
}

/// What is watched while training goes on, and whether that decides anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judges {
    Test,
    TestDecides,
    Validation,
}

impl Judges {
    fn new(options: &TrainCommand) -> Self {
        let is_deciding = options.patience.is_some() || options.rates.plateau().is_some();
        match (options.validation, is_deciding) {
            (Some(_), _) => Self::Validation,
            (None, true) => Self::TestDecides,
            (None, false) => Self::Test,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Test | Self::TestDecides => "test",
            Self::Validation => "validation",
        }
    }
}

/// `cnn 10: 105866 parameters, 1117056 multiply-adds a sample`
fn cost(network: &dyn Network) -> String {
    let layers = network.summary();
    let parameters: usize = layers.iter().map(|one| one.parameters).sum();
    format!(
        "{}: {parameters} parameters, {} multiply-adds a sample",
        network.describe(),
        multiply_adds(network)
    )
}

fn multiply_adds(network: &dyn Network) -> u64 {
    network.summary().iter().map(|one| one.multiply_adds).sum()
}

/// What training begins with.
pub fn start(options: &TrainCommand, network: &dyn Network) -> Result<Start, Failure> {
    match (&options.checkpoint, &options.init) {
        (Some(file), init) if file.exists() => {
            if let Some(init) = init {
                eprintln!(
                    "note: {} is not read: training goes on from {}",
                    init.display(),
                    file.display()
                );
            }
            Ok(Start::Checkpoint(Checkpoint::load(file, network)?))
        }
        (_, Some(file)) => {
            let mut anew = options.redraw.clone();
            anew.extend(head(network).filter(|_| options.new_head));
            let values = transfer(network, file, (&anew, options.seed))?;
            Ok(Start::Parameters(values))
        }
        (_, None) => Ok(Start::Seed),
    }
}

/// The engine for a device, with the choices kept for it.
pub fn engine(common: &CommonOptions, device: &DeviceOption) -> Result<Box<dyn Engine>, Failure> {
    if *device == DeviceOption::Cpu {
        eprintln!(
            "note: on the CPU, operations that only training has run as they are defined, which is slow"
        );
    }
    Ok(Opener::new(common, device)?.open()?)
}

/// From the first Ctrl-C to one that ends the process at once.
const AGAIN: Duration = Duration::from_millis(500);

/// Whether Ctrl-C was pressed; the same flag for all that one process does.
pub fn stop_on_ctrl_c() -> Result<Arc<AtomicBool>, Failure> {
    static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    if let Some(stop) = STOP.get() {
        return Ok(Arc::clone(stop));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    // Who asks again after a while does not want to wait; some shells and wrappers give the same one twice. 130 is
    // what shells call such an end.
    let first = OnceLock::new();
    let handler = move || {
        seen.store(true, Ordering::Relaxed);
        if first.get_or_init(Instant::now).elapsed() > AGAIN {
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(handler)
        .map_err(|error| Failure::Usage(format!("Ctrl-C handler: {error}")))?;
    Ok(Arc::clone(STOP.get_or_init(|| stop)))
}

fn text(report: &Report) -> String {
    let mut lines = vec![
        report.device.clone(),
        format!(
            "{}, {} parameters, {} of them trained, {} multiply-adds a sample",
            report.model, report.parameters, report.trained_parameters, report.multiply_adds
        ),
        format!(
            "test accuracy {:.4}, test loss {:.4}",
            report.test_accuracy, report.test_loss
        ),
        format!(
            "{} steps of {} epochs, {:.1} s",
            report.steps, report.epochs, report.seconds
        ),
    ];
    if let (Some(step), Some(rate)) = (report.step_milliseconds, report.samples_per_second) {
        lines.push(format!("{step:.2} ms a step, {rate:.0} samples/s"));
    }
    if report.test_set_decided {
        lines.push(
            "the test set decided on rates or on the end of training, so these are better than on samples never seen; \
             --validation sets a part aside for that"
                .to_owned(),
        );
    }
    if let Some(held) = report.device_bytes {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        lines.push(format!(
            "{:.2} MB on the device: {:.2} MB needed, {:.2} MB of it between the operations of a step; {:.2} MB counted from shapes",
            megabytes(held),
            megabytes(report.needed_bytes),
            megabytes(report.intermediate_bytes),
            megabytes(report.counted_bytes)
        ));
    }
    if let (Some(scale), Some(skipped)) = (report.loss_scale, report.skipped_steps) {
        lines.push(format!("loss scale {scale}, {skipped} steps skipped"));
    }
    lines.join("\n")
}

pub fn usage(error: impl std::fmt::Display) -> Failure {
    Failure::Usage(error.to_string())
}

/// Writes a file whole or not at all.
pub fn write(file: &Path, text: &str) -> Result<(), Failure> {
    lapidary::io::atomic::write_bytes(file, text.as_bytes()).map_err(usage)
}

/// Notes in the metadata of files.
type Notes = BTreeMap<String, String>;

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Engine(error) => (*error).into(),
            TrainError::LossNotFinite { .. }
            | TrainError::GradientNotFinite { .. }
            | TrainError::ParameterNotFinite { .. }
            | TrainError::ScoreNotFinite { .. }
            | TrainError::NotKept { .. } => Self::Mismatch(error.to_string()),
            TrainError::OtherTraining { ref file, .. } => Self::Usage(format!(
                "{error}; under other settings, training begins with these parameters by --init {}",
                file.display()
            )),
            _ => Self::Usage(error.to_string()),
        }
    }
}
