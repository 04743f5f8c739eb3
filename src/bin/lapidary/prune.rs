//! `lapidary prune MODEL OUT`: fewer weights, or fewer neurons and filters.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lapidary::compress::model::Model;
use lapidary::compress::prune::Sparsity;
use lapidary::compress::stage::Context;
use lapidary::compress::stage::prune::{
    PruneAmount, PruneLog, PruneMethod, PruneMisfit, PruneOptions, PruneSchedule, PruneScope,
    PruneStorage, Tuning, prune,
};
use lapidary::compress::stage::sensitivity::{ScanOptions, Sensitivity, prune_sensitivity};
use lapidary::compress::stage::shrink::{ShrinkLog, ShrinkOptions, UnitScore, shrink};
use lapidary::compress::transformer::decoder::{Change, Pruning};
use lapidary::num::ValueFormat;
use lapidary::num::mask::Units;
use lapidary::num::optim::{Convention, Optimizer};
use serde::Serialize;

use crate::config::Settings;
use crate::generate::{self, CalibrationOptions, Compressing, is_language_model};
use crate::made::Making;
use crate::options::{CommonOptions, DeviceOption, Failure};
use crate::output::{number, print, print_json, table};
use crate::train::{self, usage};
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
    lapidary prune mlp.safetensors mlp-scan --sparsity 80% --scan\n  \
    lapidary prune model.gguf model-half --sparsity 50% --method sparsegpt --calibration text.txt --samples 64")]
pub struct PruneCommand {
    /// A folder of a model, a file of `train --out`, or a language model or an encoder, which loses weights all at once
    /// and is not trained: a GGUF file or a folder of Hugging Face's.
    #[arg(value_name = "MODEL")]
    input: PathBuf,
    /// Folder to write; of a GGUF file also a name that ends in .gguf.
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
    /// Samples of the training set, or windows or lines of --calibration, that judge weights.
    #[arg(long, default_value_t = 512, value_name = "N")]
    samples: usize,
    #[command(flatten)]
    calibration: CalibrationOptions,
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
    /// Keep what is done in this folder, after every epoch and layer; goes on from there when it is there.
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
    /// auto, gpu, cpu, an index, or part of an adapter's or driver's name.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: DeviceOption,
    /// All of these that say what is made.
    #[arg(skip)]
    pub settings: Settings,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Log {
    Prune(PruneLog),
    Shrink(ShrinkLog),
}

pub fn run(common: &CommonOptions, options: &PruneCommand) -> Result<(), Failure> {
    if is_language_model(&options.input) {
        return options.language_model(common);
    }
    options.calibration.refuse(&options.input)?;
    let making = options.making();
    let opened = making.open()?;
    let engine = train::engine(common, &options.device)?;
    if options.scan {
        let amount = amount(options)?;
        let found = making.with_context(engine.as_ref(), &opened.data, |context| {
            let settings = ScanOptions::default();
            Ok(prune_sensitivity(
                context,
                &opened.model,
                &[amount],
                &settings,
            )?)
        })?;
        return if common.json {
            print_json(&found)
        } else {
            print(&scan_text(&found))
        };
    }
    making.check_out()?;
    let (made, log) = making.with_context(engine.as_ref(), &opened.data, |context| {
        options.make(context, &opened.model)
    })?;
    making.finish(common, (&opened, engine.as_ref()), (&made, &log), text)
}

impl PruneCommand {
    fn making(&self) -> Making<'_> {
        Making {
            stage: "prune",
            input: &self.input,
            out: &self.out,
            described: &self.model,
            data: self.data.as_deref(),
            kept: self.checkpoint.as_deref(),
            seed: self.seed,
            settings: &self.settings,
        }
    }

    /// A language model or an encoder with zeros.
    fn language_model(&self, common: &CommonOptions) -> Result<(), Failure> {
        let refuse = |reason: String| {
            let input = self.input.display();
            let kind = generate::kind(&self.input);
            Err(Failure::Usage(format!("{input}: {kind}, {reason}")))
        };
        for (is_given, flag) in [
            (self.structured, "--structured"),
            (self.scan, "--scan"),
            (self.block.is_some(), "--block"),
            (
                self.schedule == Some(ScheduleName::Gradual),
                "--schedule gradual",
            ),
            (
                self.checkpoint.is_some(),
                match generate::is_encoder(&self.input) {
                    true => "--checkpoint: it is compressed as a whole",
                    false => "--checkpoint: what is done is in OUT.partial",
                },
            ),
        ] {
            if is_given {
                return refuse(format!("for which there is no {flag}"));
            }
        }
        let pruning = match self.method {
            PruneMethod::Magnitude => Pruning::Magnitude,
            PruneMethod::Wanda => Pruning::Wanda,
            PruneMethod::SparseGpt => Pruning::SparseGpt,
            PruneMethod::Random | PruneMethod::Taylor | PruneMethod::Snip | PruneMethod::Obd => {
                return refuse("whose weights magnitude, wanda and sparsegpt judge".to_owned());
            }
        };
        let sparsity = match amount(self)? {
            PruneAmount::Share(share) => Sparsity::Share(share),
            PruneAmount::NOfM {
                keep,
                group,
                vector: 1,
            } => Sparsity::NOfM { keep, group },
            other => {
                return refuse(format!(
                    "which loses a share or N:M of its weights, not {other}"
                ));
            }
        };
        let change = Change::Prune {
            sparsity,
            pruning,
            misfit: match self.misfit {
                MisfitName::Error => PruneMisfit::Error,
                MisfitName::Keep => PruneMisfit::Keep,
            },
        };
        let compressing = Compressing {
            stage: "prune",
            input: &self.input,
            out: &self.out,
            change,
            mean_bits: None,
            keep: &self.keep,
            samples: self.samples,
            calibration: &self.calibration,
            device: &self.device,
            settings: &self.settings,
            is_plan: false,
        };
        compressing.run(common)
    }

    /// The smaller model.
    pub fn make(&self, context: &Context<'_>, model: &Model) -> Result<(Model, Log), Failure> {
        let amount = amount(self)?;
        if self.structured {
            let (made, log) = shrink(context, model, &structured(self, amount)?)?;
            return Ok((made, Log::Shrink(log)));
        }
        let (made, log) = prune(context, model, &unstructured(self, amount)?)?;
        Ok((made, Log::Prune(log)))
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

fn percent(share: f64) -> String {
    format!("{:.2}%", 100.0 * share)
}

fn text(log: &Log) -> Vec<String> {
    let mut lines = Vec::new();
    match log {
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
    lines
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
