//! `lapidary prune MODEL OUT`: fewer weights, or fewer neurons and filters.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use clap::{Args, ValueEnum};
use lapidary::compress::deploy::Deployed;
use lapidary::compress::model::{Model, Saved};
use lapidary::compress::outcome::Quality;
use lapidary::compress::stage::prune::{
    PruneAmount, PruneLog, PruneMethod, PruneMisfit, PruneOptions, PruneSchedule, PruneScope,
    PruneStorage, Tuning, prune,
};
use lapidary::compress::stage::sensitivity::{ScanOptions, Sensitivity, prune_sensitivity};
use lapidary::compress::stage::shrink::{ShrinkLog, ShrinkOptions, UnitScore, shrink};
use lapidary::compress::stage::{Context, Progress};
use lapidary::data::Dataset;
use lapidary::engine::Engine;
use lapidary::io::file_sha256;
use lapidary::models::Network as _;
use lapidary::num::ValueFormat;
use lapidary::num::mask::Units;
use lapidary::num::optim::{Convention, Optimizer};
use lapidary::ops::Routes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::models::{data_folder, open_with_data};
use crate::options::{CommonOptions, DeviceOption, Failure};
use crate::output::{bytes, number, print, print_json, table};
use crate::train::{self, stop_on_ctrl_c, usage};
use crate::trained::ModelOptions;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScopeName {
    /// Each output loses the same share.
    Row,
    /// Each layer loses the same share.
    Layer,
    /// The weights of all layers are compared with each other.
    Global,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScheduleName {
    /// All at once.
    OneShot,
    /// While the network trains.
    Gradual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ValuesName {
    /// With their zeros, f32.
    Dense,
    /// Without zeros, f32.
    F32,
    /// Without zeros, f16.
    F16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScoreName {
    /// The sum of magnitudes.
    L1,
    /// The Euclidean norm.
    L2,
    /// What the loss would change by, to first order.
    Taylor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MisfitName {
    /// It is an error.
    Error,
    /// It stays as it is.
    Keep,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    lapidary train --model mlp --out mlp.safetensors\n  \
    lapidary prune mlp.safetensors mlp-80 --sparsity 80%\n  \
    lapidary prune mlp.safetensors mlp-2of4 --sparsity 2:4 --method sparsegpt --values f16\n  \
    lapidary prune mlp.safetensors mlp-half --sparsity 50% --structured\n  \
    lapidary prune mlp.safetensors mlp-blocks --sparsity 75% --block 16x16 --keep '5.*'\n  \
    lapidary prune mlp.safetensors mlp-scan --sparsity 80% --scan")]
pub struct PruneCommand {
    /// A folder of a model, or a file of `train --out`.
    #[arg(value_name = "MODEL")]
    input: PathBuf,
    /// Folder to write.
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// What goes: a share as 80%, or all but N of every M weights as 2:4, with x16 behind it when 16 outputs share
    /// their places.
    #[arg(long, value_name = "AMOUNT")]
    sparsity: String,
    /// How weights are judged: magnitude, random, taylor, snip, obd, wanda or sparsegpt.
    #[arg(long, default_value = "magnitude", value_name = "NAME", value_parser = method)]
    method: PruneMethod,
    /// What weights are compared with; rows for wanda and layers for the others by default.
    #[arg(long, value_enum)]
    scope: Option<ScopeName>,
    /// When weights go; gradual by default, one-shot for sparsegpt.
    #[arg(long, value_enum)]
    schedule: Option<ScheduleName>,
    /// Epochs in which weights go, when they go gradually.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,
    /// How often weights go in these epochs.
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    prunings: u64,
    /// Epochs of training after the last weights went.
    #[arg(long, default_value_t = 2, value_name = "N")]
    fine_tune: u32,
    /// As `train --optimizer`.
    #[arg(long, default_value = "adamw", value_name = "NAME")]
    optimizer: String,
    /// Rate of the first step; it falls to 0 in a line.
    #[arg(long, default_value_t = 0.001, value_name = "RATE")]
    learning_rate: f64,
    /// Samples of a step.
    #[arg(long, default_value_t = 128, value_name = "N")]
    batch_size: usize,
    /// Weights go in blocks of so many outputs and inputs.
    #[arg(long, value_name = "ROWSxCOLUMNS", conflicts_with = "structured")]
    block: Option<String>,
    /// Cut whole neurons and filters; the network gets smaller for every kernel.
    #[arg(long)]
    structured: bool,
    /// With --structured: how neurons and filters are judged.
    #[arg(long, value_enum, default_value = "l1", requires = "structured")]
    score: ScoreName,
    /// With --structured: indices of layers to remove as a whole.
    #[arg(
        long,
        value_name = "N,N",
        value_delimiter = ',',
        requires = "structured"
    )]
    remove: Vec<usize>,
    /// Names of weights that stay as they are, with * for any characters; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    keep: Vec<String>,
    /// What becomes of a layer that N:M does not fit.
    #[arg(long, value_enum, default_value = "keep")]
    misfit: MisfitName,
    /// How pruned weights are stored.
    #[arg(long, value_enum, default_value = "f32")]
    values: ValuesName,
    /// Samples of the training set that judge weights.
    #[arg(long, default_value_t = 512, value_name = "N")]
    samples: usize,
    /// Write nothing; say what each layer alone loses at this sparsity, on a tenth of the training set.
    #[arg(long, conflicts_with = "structured")]
    scan: bool,
    /// Seed of the order of samples.
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
    Prune(PruneLog),
    Shrink(ShrinkLog),
}

pub fn run(common: &CommonOptions, options: &PruneCommand) -> Result<(), Failure> {
    let amount = amount(options)?;
    let folder = match &options.data {
        Some(folder) => Some(folder.clone()),
        None => data_folder(&options.input, &options.model)?,
    };
    let (model, data) = open_with_data(&options.input, &options.model, folder.as_deref())?;
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
    if options.scan {
        let found = prune_sensitivity(&context, &model, &[amount], &ScanOptions::default())?;
        return if common.json {
            print_json(&found)
        } else {
            print(&scan_text(&found))
        };
    }
    let (pruned, log) = if options.structured {
        let (made, log) = shrink(&context, &model, &structured(options, amount)?)?;
        (made, Log::Shrink(log))
    } else {
        let (made, log) = prune(&context, &model, &unstructured(options, amount)?)?;
        (made, Log::Prune(log))
    };
    let before = judged(engine.as_ref(), &model, &data.test, None)?;
    let after = judged(engine.as_ref(), &pruned, &data.test, Some(&before.1))?;
    let saved = pruned.save(
        &options.out,
        &receipt(options, (&log, folder), engine.as_ref())?,
    )?;
    let report = Report {
        model: options.input.display().to_string(),
        network: pruned.network().describe(),
        out: options.out.display().to_string(),
        device: engine.name(),
        seed: options.seed,
        accuracy: [before.0.accuracy.value, after.0.accuracy.value],
        agreement: after.0.agreement,
        bytes: [model.bytes(), pruned.bytes()],
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

fn method(name: &str) -> Result<PruneMethod, String> {
    name.parse::<PruneMethod>()
        .map_err(|error| error.to_string())
}

fn amount(options: &PruneCommand) -> Result<PruneAmount, Failure> {
    let amount: PruneAmount = options.sparsity.parse().map_err(usage)?;
    let Some(block) = &options.block else {
        return Ok(amount);
    };
    let extents = block.split_once('x').and_then(|(rows, columns)| {
        Some(Units {
            rows: rows.parse().ok()?,
            columns: columns.parse().ok()?,
        })
    });
    let units = extents.ok_or_else(|| {
        Failure::Usage(format!(
            "--block {block}: rows and columns are needed, as in 16x16"
        ))
    })?;
    amount.in_blocks(units).map_err(usage)
}

fn tuning(options: &PruneCommand) -> Result<Tuning, Failure> {
    Ok(Tuning {
        epochs: options.fine_tune,
        optimizer: Optimizer::named(&options.optimizer, Convention::PyTorch).map_err(usage)?,
        learning_rate: options.learning_rate,
        batch_size: options.batch_size,
    })
}

fn unstructured(options: &PruneCommand, amount: PruneAmount) -> Result<PruneOptions, Failure> {
    let default = PruneOptions::new(options.method, amount)?;
    let schedule = options.schedule.unwrap_or(match options.method {
        PruneMethod::SparseGpt => ScheduleName::OneShot,
        _ => ScheduleName::Gradual,
    });
    Ok(PruneOptions {
        scope: match options.scope {
            None if matches!(amount, PruneAmount::Blocks { .. }) => PruneScope::Layer,
            None => default.scope,
            Some(ScopeName::Row) => PruneScope::Row,
            Some(ScopeName::Layer) => PruneScope::Layer,
            Some(ScopeName::Global) => PruneScope::Global,
        },
        schedule: match schedule {
            ScheduleName::OneShot => PruneSchedule::OneShot,
            ScheduleName::Gradual => PruneSchedule::Gradual {
                epochs: options.epochs,
                prunings: options.prunings,
            },
        },
        tuning: tuning(options)?,
        keep: options.keep.clone(),
        misfit: match options.misfit {
            MisfitName::Error => PruneMisfit::Error,
            MisfitName::Keep => PruneMisfit::Keep,
        },
        storage: match options.values {
            ValuesName::Dense => PruneStorage::Dense,
            ValuesName::F32 => PruneStorage::Sparse(ValueFormat::F32),
            ValuesName::F16 => PruneStorage::Sparse(ValueFormat::F16),
        },
        samples: options.samples,
        ..default
    })
}

fn structured(options: &PruneCommand, amount: PruneAmount) -> Result<ShrinkOptions, Failure> {
    let PruneAmount::Share(share) = amount else {
        return Err(Failure::Usage(format!(
            "--sparsity {amount} with --structured: a share of neurons and filters is needed, as 50%"
        )));
    };
    Ok(ShrinkOptions {
        score: match options.score {
            ScoreName::L1 => UnitScore::L1,
            ScoreName::L2 => UnitScore::L2,
            ScoreName::Taylor => UnitScore::Taylor,
        },
        keep: options.keep.clone(),
        layers: options.remove.clone(),
        tuning: tuning(options)?,
        samples: options.samples,
        ..ShrinkOptions::new(share)?
    })
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
    options: &PruneCommand,
    (log, data): (&Log, Option<PathBuf>),
    engine: &dyn Engine,
) -> Result<BTreeMap<String, Value>, Failure> {
    let mut receipt = BTreeMap::from([
        ("stage".to_owned(), json!("prune")),
        (
            "base".to_owned(),
            json!(options.input.display().to_string()),
        ),
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

fn percent(share: f64) -> String {
    format!("{:.2}%", 100.0 * share)
}

fn text(report: &Report, saved: &Saved) -> String {
    let mut lines = vec![report.device.clone()];
    match &report.log {
        Log::Prune(log) => {
            let mut rows = table(&[
                "weight", "shape", "kept", "sparsity", "error", "format", "bytes",
            ]);
            for one in &log.layers {
                rows.add_row(vec![
                    one.name.clone().into(),
                    format!("{:?}", one.shape).into(),
                    number(one.kept),
                    number(percent(one.sparsity)),
                    number(format!("{:.4}", one.weight_error)),
                    one.format.clone().into(),
                    number(one.bytes),
                ]);
            }
            lines.push(rows.to_string());
            lines.extend(
                log.kept
                    .iter()
                    .map(|(name, why)| format!("{name} stays: {why}")),
            );
            lines.extend(log.notes.iter().map(|note| format!("note: {note}")));
            let sparsity = percent(log.sparsity);
            lines.push(format!(
                "{sparsity} of the weights of these layers are gone, by {}",
                log.method
            ));
        }
        Log::Shrink(log) => {
            let mut rows = table(&["weight", "units", "left"]);
            for (name, [before, after]) in &log.cut {
                rows.add_row(vec![name.clone().into(), number(before), number(after)]);
            }
            lines.push(rows.to_string());
            lines.extend(
                log.kept
                    .iter()
                    .map(|(name, why)| format!("{name} stays: {why}")),
            );
            let ([p0, p1], [m0, m1]) = (log.parameters, log.multiply_adds);
            lines.push(format!(
                "{p0} parameters became {p1}, {m0} multiply-adds a sample {m1}"
            ));
        }
    }
    let ([before, after], [b0, b1]) = (report.accuracy, report.bytes);
    lines.push(format!(
        "test accuracy {before:.4} before, {after:.4} after"
    ));
    lines.push(format!(
        "{} on a device before, {} after",
        bytes(b0),
        bytes(b1)
    ));
    lines.push(format!(
        "{}: {} of weights, {} tensors read back",
        report.out,
        bytes(saved.file_bytes),
        saved.tensors_read_back
    ));
    lines.join("\n")
}

fn scan_text(found: &Sensitivity) -> String {
    let mut rows = table(&["weight", "sparsity", "accuracy", "drop", "loss"]);
    for one in &found.changes {
        rows.add_row(vec![
            one.layer.clone().into(),
            number(&one.level),
            number(format!("{:.4}", one.judged.accuracy)),
            number(format!("{:.4}", one.drop)),
            number(format!("{:.4}", one.judged.loss)),
        ]);
    }
    let baseline = found.baseline;
    format!(
        "{rows}\naccuracy {:.4}, loss {:.4} before, on {} samples of the training set",
        baseline.accuracy, baseline.loss, found.samples
    )
}
