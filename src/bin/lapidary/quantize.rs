//! `lapidary quantize MODEL OUT`: weights in fewer bits.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use clap::{Args, ValueEnum};
use lapidary::compress::deploy::Deployed;
use lapidary::compress::model::{Activations, Model, Saved};
use lapidary::compress::outcome::Quality;
use lapidary::compress::quantize::{Action, Misfit, Planned};
use lapidary::compress::stage::qat::{QatLog, QatOptions, qat};
use lapidary::compress::stage::quantize::{
    Method, QuantizeLog, QuantizeOptions, QuantizeScheme, plan_quantize, quantize,
};
use lapidary::compress::stage::{Context, Progress};
use lapidary::data::Dataset;
use lapidary::engine::Engine;
use lapidary::io::file_sha256;
use lapidary::models::Network as _;
use lapidary::num::optim::{Convention, Optimizer};
use lapidary::ops::Routes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::models::{data_folder, open_model};
use crate::options::{CommonOptions, DeviceOption, Failure};
use crate::output::{bytes, number, print, print_json, table};
use crate::train::{self, setup, stop_on_ctrl_c, usage};
use crate::trained::ModelOptions;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MisfitName {
    /// It is an error.
    Error,
    /// The largest group that fits.
    SmallerGroup,
    /// int8, a scale for each channel.
    Int8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ActivationsName {
    /// As they are.
    Float,
    /// Quantized to int8, a scale a row.
    Int8,
    /// Quantized to int8, a scale for 32 inputs.
    #[value(name = "int8-g32")]
    Int8G32,
    /// Quantized to int8, a scale for 64 inputs.
    #[value(name = "int8-g64")]
    Int8G64,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    lapidary quantize mlp.safetensors mlp-int8 --scheme int8\n  \
    lapidary quantize mlp.safetensors mlp-w8a8 --scheme w8a8 --method smoothquant\n  \
    lapidary quantize mlp.safetensors mlp-int4 --scheme int4-g32 --on-misfit smaller-group --keep '5.*'\n  \
    lapidary quantize mlp.safetensors mlp-int4 --scheme w4a16-g64 --on-misfit int8 --plan\n  \
    lapidary quantize mlp.safetensors mlp-int2 --scheme int2-g16 --qat-epochs 2")]
pub struct QuantizeCommand {
    /// A folder of a model, or a file of `train --out`.
    #[arg(value_name = "MODEL")]
    input: PathBuf,
    /// Folder to write.
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// int8, int4, int3, int2, nf4, log8 or log4, or wBaB with the bits of weights and activations; then -tensor,
    /// -channel or -gN, -zp for zero points or -narrow, -mse or -kl for ranges without outliers, -f16 or -f32 for
    /// scales.
    #[arg(long, value_name = "SCHEME", value_parser = scheme)]
    scheme: QuantizeScheme,
    /// How codes are found: nearest, gptq, awq, hqq or smoothquant; gptq by default, nearest for nf4, log8 and log4.
    #[arg(long, value_name = "NAME", value_parser = method)]
    method: Option<Method>,
    /// Samples of the training set that calibrate.
    #[arg(long, default_value_t = 256, value_name = "N")]
    calib: usize,
    /// Names of weights that stay as they are, with * for any characters; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    keep: Vec<String>,
    /// What becomes of a weight that the scheme does not fit.
    #[arg(long, value_enum, default_value = "error")]
    on_misfit: MisfitName,
    /// How activations meet the weights; by default what the scheme says.
    #[arg(long, value_enum)]
    activations: Option<ActivationsName>,
    /// Take the mean error of a layer's outputs into its bias.
    #[arg(long)]
    bias_correction: bool,
    /// Train for so many epochs with weights as they will be stored, and store them rounded to nearest.
    #[arg(long, default_value_t = 0, value_name = "N")]
    qat_epochs: u32,
    /// With --qat-epochs: as `train --optimizer`.
    #[arg(long, default_value = "adam", value_name = "NAME")]
    optimizer: String,
    /// With --qat-epochs: rate of the first step; it falls to 0 in a line.
    #[arg(long, default_value_t = 0.001, value_name = "RATE")]
    learning_rate: f64,
    /// With --qat-epochs: samples of a step.
    #[arg(long, default_value_t = 128, value_name = "N")]
    batch_size: usize,
    /// Write nothing; say what would become of each weight.
    #[arg(long)]
    plan: bool,
    /// Seed of the choice and order of samples.
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    #[command(flatten)]
    model: ModelOptions,
    /// Folder with the data, as for `train`. By default what the model says it was made with, else the images built
    /// in.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// auto, gpu, cpu, an index, or part of an adapter's or driver's name.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: DeviceOption,
}

#[derive(Debug, Serialize)]
struct Report {
    model: String,
    network: String,
    out: String,
    device: String,
    seed: u64,
    /// On the test set, before and after.
    accuracy: [f64; 2],
    /// Share of test samples with the same class before and after.
    agreement: Option<f64>,
    /// Of the tensors on a device, before and after.
    bytes: [u64; 2],
    file_bytes: u64,
    sha256: String,
    #[serde(flatten)]
    log: Log,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Log {
    Quantize(QuantizeLog),
    Qat(QatLog),
}

/// A weight's part of a plan.
#[derive(Debug, Serialize)]
struct PlannedWeight {
    name: String,
    becomes: String,
    reason: String,
    bytes: u64,
}

pub fn run(common: &CommonOptions, options: &QuantizeCommand) -> Result<(), Failure> {
    let settings = settings(options);
    let optimizer = Optimizer::named(&options.optimizer, Convention::PyTorch).map_err(usage)?;
    let folder = match &options.data {
        Some(folder) => Some(folder.clone()),
        None => data_folder(&options.input, &options.model)?,
    };
    let data = setup::load_data(folder.as_deref())?;
    let model = open_model(&options.input, &options.model, &data.train)?;
    let planned = plan_quantize(&model, &settings)?;
    if options.plan {
        return print_plan(common, &planned);
    }
    let engine = train::engine(common, &options.device)?;
    let stop = stop_on_ctrl_c()?;
    let last = RefCell::new(String::new());
    let watch = |progress: &Progress| {
        if *last.borrow() != progress.what {
            eprintln!("{}: {}", progress.stage, progress.what);
            last.borrow_mut().clone_from(&progress.what);
        }
        !stop.load(Ordering::Relaxed)
    };
    let context = Context {
        engine: engine.as_ref(),
        train: &data.train,
        test: &data.test,
        seed: options.seed,
        watch: &watch,
    };
    let (made, log) = if options.qat_epochs == 0 {
        let (made, log) = quantize(&context, &model, &settings)?;
        (made, Log::Quantize(log))
    } else {
        let settings = QatOptions {
            quantize: settings,
            epochs: options.qat_epochs,
            optimizer,
            learning_rate: options.learning_rate,
            batch_size: options.batch_size,
        };
        let (made, log) = qat(&context, &model, &settings)?;
        (made, Log::Qat(log))
    };
    let before = judged(engine.as_ref(), &model, &data.test, None)?;
    let after = judged(engine.as_ref(), &made, &data.test, Some(&before.1))?;
    let receipt = receipt(options, (&log, folder), engine.as_ref())?;
    let saved = made.save(&options.out, &receipt)?;
    let report = Report {
        model: options.input.display().to_string(),
        network: made.network().describe(),
        out: options.out.display().to_string(),
        device: engine.name(),
        seed: options.seed,
        accuracy: [before.0.accuracy.value, after.0.accuracy.value],
        agreement: after.0.agreement,
        bytes: [model.bytes(), made.bytes()],
        file_bytes: saved.file_bytes,
        sha256: saved.sha256.clone(),
        log,
    };
    if common.json {
        print_json(&report)
    } else {
        print(&text(&report, &saved))
    }
}

fn scheme(name: &str) -> Result<QuantizeScheme, String> {
    name.parse::<QuantizeScheme>()
        .map_err(|error| error.to_string())
}

fn method(name: &str) -> Result<Method, String> {
    name.parse::<Method>().map_err(|error| error.to_string())
}

fn settings(options: &QuantizeCommand) -> QuantizeOptions {
    let activations = match options.activations {
        None => options.scheme.activations,
        Some(ActivationsName::Float) => Activations::Float,
        Some(ActivationsName::Int8) => Activations::Int8PerRow,
        Some(ActivationsName::Int8G32) => Activations::Int8PerBlock(32),
        Some(ActivationsName::Int8G64) => Activations::Int8PerBlock(64),
    };
    let scheme = QuantizeScheme {
        activations,
        ..options.scheme
    };
    let usual = match scheme.as_linear() {
        Some(_) if options.qat_epochs == 0 => Method::Gptq,
        Some(_) | None => Method::Nearest,
    };
    QuantizeOptions {
        method: options.method.unwrap_or(usual),
        keep: options.keep.clone(),
        misfit: match options.on_misfit {
            MisfitName::Error => Misfit::Error,
            MisfitName::SmallerGroup => Misfit::SmallerGroup,
            MisfitName::Int8 => Misfit::Int8,
        },
        bias_correction: options.bias_correction,
        samples: options.calib,
        ..QuantizeOptions::new(scheme)
    }
}

fn print_plan(common: &CommonOptions, planned: &[Planned]) -> Result<(), Failure> {
    let weight = |one: &Planned| PlannedWeight {
        name: one.name.clone(),
        becomes: match one.action {
            Action::Keep => "kept".to_owned(),
            Action::Quantize(linear) => linear.to_string(),
        },
        reason: one.reason.clone(),
        bytes: one.bytes,
    };
    let weights: Vec<PlannedWeight> = planned.iter().map(weight).collect();
    if common.json {
        return print_json(&weights);
    }
    let mut shown = table(&["weight", "becomes", "bytes", "why"]);
    for one in weights {
        shown.add_row(vec![
            one.name.into(),
            one.becomes.into(),
            number(bytes(one.bytes)),
            one.reason.into(),
        ]);
    }
    print(&shown.to_string())
}

/// Quality on the test set, and logits.
fn judged(
    engine: &dyn Engine,
    model: &Model,
    test: &Dataset,
    against: Option<&[f32]>,
) -> Result<(Quality, Vec<f32>), Failure> {
    let test = model.prepare(test)?;
    let logits = Deployed::new(engine, model, &Routes::default())?.logits(test.inputs())?;
    let classes = model.network().n_classes();
    let quality = Quality::of(&logits, test.labels(), classes, against).map_err(usage)?;
    Ok((quality, logits))
}

/// Where the result came from.
fn receipt(
    options: &QuantizeCommand,
    (log, data): (&Log, Option<PathBuf>),
    engine: &dyn Engine,
) -> Result<BTreeMap<String, Value>, Failure> {
    let base = options.input.display().to_string();
    let mut receipt = BTreeMap::from([
        ("stage".to_owned(), json!("quantize")),
        ("base".to_owned(), json!(base)),
        ("seed".to_owned(), json!(options.seed)),
        ("device".to_owned(), json!(engine.name())),
        ("log".to_owned(), serde_json::to_value(log).map_err(usage)?),
    ]);
    if let Some(folder) = data {
        receipt.insert("data".to_owned(), json!(folder.display().to_string()));
    }
    let weights = match options.input.is_dir() {
        true => options.input.join(lapidary::compress::model::MODEL_FILE),
        false => options.input.clone(),
    };
    let (sha256, _) = file_sha256(&weights).map_err(usage)?;
    receipt.insert("base_sha256".to_owned(), json!(sha256));
    Ok(receipt)
}

fn text(report: &Report, saved: &Saved) -> String {
    let mut shown = table(&[
        "weight",
        "format",
        "bits",
        "output error",
        "to nearest",
        "how",
    ]);
    let percent = |share: Option<f64>| {
        number(share.map_or_else(String::new, |share| format!("{:.2}%", 100.0 * share)))
    };
    let (title, notes) = match &report.log {
        Log::Quantize(log) => {
            for layer in &log.layers {
                shown.add_row(vec![
                    layer.name.as_str().into(),
                    layer.format.as_str().into(),
                    number(format!("{:.2}", layer.bits_per_weight)),
                    percent(layer.error),
                    percent(layer.nearest_error),
                    layer.notes.join("; ").into(),
                ]);
            }
            let title = format!("{} by {}, {} samples", log.scheme, log.method, log.samples);
            (title, &log.notes)
        }
        Log::Qat(log) => {
            shown = table(&["weight", "format", "why"]);
            for (name, format, why) in &log.layers {
                shown.add_row([name, format, why]);
            }
            let losses: Vec<String> = log.losses.iter().map(|loss| format!("{loss:.4}")).collect();
            let title = format!("{}, trained; losses {}", log.scheme, losses.join(", "));
            (title, &log.notes)
        }
    };
    let [before, after] = report.accuracy;
    let mut lines = vec![title, shown.to_string()];
    lines.extend(notes.iter().map(|note| format!("note: {note}")));
    lines.push(format!(
        "test accuracy {before:.4} before, {after:.4} after; weights {} before, {} after",
        bytes(report.bytes[0]),
        bytes(report.bytes[1])
    ));
    lines.push(format!(
        "{}: {}, {} tensors read back",
        saved.folder.display(),
        bytes(saved.file_bytes),
        saved.tensors_read_back
    ));
    lines.join("\n")
}
