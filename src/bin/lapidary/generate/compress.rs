//! `lapidary quantize` and `lapidary prune` of a language model: layer by layer, in the memory that is allowed, and on
//! from the last layer where a run was stopped.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use clap::Args;
use lapidary::compress::stage::{Progress, StageError};
use lapidary::compress::transformer::decoder::{
    Change, DecoderInputs, DecoderOptions, DecoderWeight, LinearLog, MemoryPlan, MixedWidths,
    Partial, WidthGroup, compress_decoder, decoder_quantization, gguf_type, mixed_widths,
    plan_decoder,
};
use lapidary::engine::Engine;
use lapidary::generate::Vocabulary;
use lapidary::io::{read_text, sha256};
use lapidary::models::llama::WeightSource;
use serde::Serialize;
use serde_json::{Value, json};

use crate::config::Settings;
use crate::options::{CommonOptions, DeviceOption, Failure, folder_exists};
use crate::output::{bytes, number, print, print_json, table};
use crate::target;
use crate::train::{self, usage};

use super::encoder::is_encoder;
use super::made_of::Base;
use super::{ByteCount, failure};

/// Tokens of a window unless given.
const WINDOW: usize = 512;

/// What is not compressed.
const STAYS: &str = "embedding, head and norms";

/// What language models are calibrated with.
#[derive(Debug, Args)]
pub struct CalibrationOptions {
    /// Language models and encoders: a text; what their weights read of it guides the method, and errors are told by
    /// it. Encoders take it line by line.
    #[arg(long, value_name = "TEXT")]
    calibration: Option<PathBuf>,
    /// Language models: tokens of a window of that text; 512 unless given. Windows are taken evenly from all of it, as
    /// the lines of an encoder's are.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    window: Option<u32>,
    /// Language models and encoders: refuse, before weights are read, what may need more host memory besides the program and the
    /// driver: bytes, or a number of K, M or G.
    #[arg(long, value_name = "SIZE")]
    max_ram: Option<ByteCount>,
}

impl CalibrationOptions {
    /// The text.
    pub fn text(&self) -> Option<&Path> {
        self.calibration.as_deref()
    }

    /// Tokens of a window, if that was said.
    pub fn window(&self) -> Option<u32> {
        self.window
    }

    /// Bytes of host memory that may be used.
    pub fn max_ram(&self) -> Option<u64> {
        self.max_ram.map(|ByteCount(bytes)| bytes)
    }

    /// Refuses them for a model that is none.
    pub fn refuse(&self, model: &Path) -> Result<(), Failure> {
        for (is_given, flag) in [
            (self.calibration.is_some(), "--calibration"),
            (self.window.is_some(), "--window"),
            (self.max_ram.is_some(), "--max-ram"),
        ] {
            if is_given {
                return Err(Failure::Usage(format!(
                    "{}: {flag} is for language models and encoders: a .gguf file, or a folder with config.json and tokenizer.json or tokenizer.model",
                    model.display()
                )));
            }
        }
        Ok(())
    }
}

/// What is told of a compression.
pub struct Compressing<'a> {
    /// The command.
    pub stage: &'static str,
    pub input: &'a Path,
    pub out: &'a Path,
    pub change: Change,
    /// Mean bits of a weight, for widths that are chosen.
    pub mean_bits: Option<f64>,
    pub keep: &'a [String],
    /// Most windows.
    pub samples: usize,
    pub calibration: &'a CalibrationOptions,
    pub device: &'a DeviceOption,
    /// All flags that say what is made.
    pub settings: &'a Settings,
    /// Whether nothing is written.
    pub is_plan: bool,
}

#[derive(Debug, Serialize)]
struct Plan {
    weights: Vec<DecoderWeight>,
    #[serde(skip_serializing_if = "Option::is_none")]
    widths: Option<Vec<WidthGroup>>,
    memory: MemoryPlan,
    memory_total: u64,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub model: String,
    pub out: String,
    pub device: String,
    pub method: &'static str,
    /// Of calibration text: of a language model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<usize>,
    /// Of calibration text: of an encoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lines: Option<usize>,
    pub tokens: usize,
    /// Layers that an earlier run had finished.
    pub layers_found: usize,
    pub file_bytes: u64,
    pub memory: MemoryPlan,
    /// What was chosen of what, where widths are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub widths: Option<Vec<WidthGroup>>,
    pub weights: Vec<LinearLog>,
}

impl Compressing<'_> {
    pub fn run(&self, common: &CommonOptions) -> Result<(), Failure> {
        folder_exists(self.out)?;
        if !self.is_plan {
            target::is_new(self.out)?;
        }
        if is_encoder(self.input) {
            return self.run_encoder(common);
        }
        let is_gguf = self.out.extension().is_some_and(|one| one == "gguf");
        let base = Base::open(self.input)?;
        if is_gguf {
            if let Base::Folder(_) = base {
                return Err(Failure::Usage(format!(
                    "{}: a GGUF file is made of a GGUF file; let OUT be the name of a folder, of which `lapidary convert` makes \
                     a GGUF file",
                    self.out.display()
                )));
            }
            if self.mean_bits.is_some() {
                return Err(Failure::Usage(format!(
                    "{}: a GGUF file has no types for all widths of --bits; let OUT be the name of a folder",
                    self.out.display()
                )));
            }
            if let Change::Quantize { linear, coding, .. } = &self.change {
                gguf_type(linear, *coding)?;
            }
        }
        let texts = self.texts()?;
        let options = DecoderOptions {
            change: self.change,
            keep: self.keep.to_vec(),
            mean_bits: self.mean_bits,
            is_gguf,
            max_memory: self.calibration.max_ram.map(|ByteCount(bytes)| bytes),
        };
        base.with_source(|source| {
            let config = source.config().map_err(usage)?;
            let (weights, memory) = plan_decoder(&config, &options, (&texts, None))?;
            if self.is_plan && self.mean_bits.is_none() {
                return print_plan(common, weights, (STAYS, memory), None);
            }
            if self.is_plan {
                let engine = train::engine(common, self.device)?;
                let mixed = self.watched(engine.as_ref(), source, &texts, |inputs| {
                    mixed_widths(inputs, &options)
                })?;
                let (weights, memory) = plan_decoder(&config, &options, (&texts, mixed.as_ref()))?;
                return print_plan(common, weights, (STAYS, memory), mixed);
            }
            self.compress(common, (&base, source), &options, (&texts, memory))
        })
    }

    /// Windows of the text, evenly from all of it.
    fn texts(&self) -> Result<Vec<Vec<u32>>, Failure> {
        let Some(path) = self.calibration.text() else {
            return Ok(Vec::new());
        };
        let content = read_text(path).map_err(usage)?;
        let vocabulary = Vocabulary::open(self.input).map_err(failure)?;
        let tokens = vocabulary.tokens(&content).map_err(failure)?;
        let window = self.calibration.window.map_or(WINDOW, |n| n as usize);
        let found: Vec<&[u32]> = tokens.chunks_exact(window).collect();
        if found.is_empty() || self.samples == 0 {
            return Err(Failure::Usage(format!(
                "{}: {} tokens, of which {} windows of {window} are taken; at least one is needed",
                path.display(),
                tokens.len(),
                found.len().min(self.samples)
            )));
        }
        let n = found.len().min(self.samples);
        let taken = (0..n).map(|index| found[index * found.len() / n].to_vec());
        Ok(taken.collect())
    }

    fn compress(
        &self,
        common: &CommonOptions,
        (base, source): (&Base, &dyn WeightSource),
        options: &DecoderOptions,
        (texts, memory): (&[Vec<u32>], MemoryPlan),
    ) -> Result<(), Failure> {
        let engine = train::engine(common, self.device)?;
        let n_layers = source.config().map_err(usage)?.n_layers;
        let base_hash = base.sha256()?;
        let made_of = self.made_of(engine.as_ref(), &base_hash, texts)?;
        let mut partial = Partial::open(self.out, made_of, n_layers)?;
        let layers_found = partial.finished().unwrap_or(0);
        if partial.finished().is_some() {
            eprintln!(
                "{}: going on behind {layers_found} of {n_layers} layers in {}",
                self.stage,
                partial.folder().display()
            );
        }
        eprintln!(
            "{}: {STAYS} stay as they are; up to {} of memory",
            self.stage,
            bytes(memory.total())
        );
        let (weights, mixed) = self.watched(engine.as_ref(), source, texts, |inputs| {
            let made = compress_decoder(inputs, options, &mut partial);
            if let Err(StageError::Stopped { .. }) = made {
                eprintln!(
                    "{}: the same command goes on behind the last layer",
                    self.stage
                );
            }
            made
        })?;
        let widths = mixed.map(|mixed| mixed.groups);
        let file_bytes = match base {
            Base::Gguf(file) if self.out.extension().is_some_and(|one| one == "gguf") => {
                let coded = match &self.change {
                    Change::Quantize { linear, coding, .. } => Some((linear, *coding)),
                    Change::Prune { .. } => None,
                };
                partial.finish_gguf(file, coded)?
            }
            _ => {
                let mut config = base.config()?;
                let coded = decoder_quantization(&partial, &self.change);
                if let Some(fields) = config.as_object_mut() {
                    fields.remove("quantization_config");
                    fields.extend(coded.map(|coded| ("quantization_config".to_owned(), coded)));
                }
                let receipt =
                    self.receipt(engine.as_ref(), &base_hash, (&weights, widths.as_deref()))?;
                let sizes = partial.finish(&config, &base.files()?, &receipt)?;
                sizes.iter().map(|(_, bytes)| bytes).sum()
            }
        };
        let report = Report {
            model: self.input.display().to_string(),
            out: self.out.display().to_string(),
            device: engine.name(),
            method: self.change.method(),
            windows: Some(texts.len()),
            lines: None,
            tokens: texts.iter().map(Vec::len).sum(),
            layers_found,
            file_bytes,
            memory,
            widths,
            weights,
        };
        show(common, &report)
    }

    /// Does something that tells of its progress here and may be stopped.
    fn watched<T>(
        &self,
        engine: &dyn Engine,
        source: &dyn WeightSource,
        texts: &[Vec<u32>],
        run: impl FnOnce(&DecoderInputs<'_>) -> Result<T, StageError>,
    ) -> Result<T, Failure> {
        let stop = train::stop_on_ctrl_c()?;
        let last = RefCell::new(String::new());
        let watch = |progress: &Progress| {
            if *last.borrow() != progress.what {
                let (done, of) = (progress.done, progress.of);
                eprintln!(
                    "{}: {} ({done} of {of} done)",
                    progress.stage, progress.what
                );
                last.borrow_mut().clone_from(&progress.what);
            }
            !stop.load(Ordering::Relaxed)
        };
        let inputs = DecoderInputs {
            engine,
            source,
            texts,
            watch: &watch,
        };
        Ok(run(&inputs)?)
    }

    /// All that the bytes depend on.
    fn made_of(
        &self,
        engine: &dyn Engine,
        base: &str,
        texts: &[Vec<u32>],
    ) -> Result<BTreeMap<String, String>, Failure> {
        let tokens: Vec<u8> = texts
            .iter()
            .flatten()
            .flat_map(|id| id.to_le_bytes())
            .collect();
        let lengths = format!("{:?}", texts.iter().map(Vec::len).collect::<Vec<_>>());
        let method = |change: &Change| match change {
            Change::Quantize { linear, misfit, .. } => match self.mean_bits {
                Some(bits) => format!("widths for a mean of {bits} bits {misfit:?}"),
                None => format!("{linear:?} {misfit:?}"),
            },
            Change::Prune {
                sparsity, misfit, ..
            } => format!("{sparsity:?} {misfit:?}"),
        };
        let pairs = [
            ("base_sha256", base.to_owned()),
            (
                "calibration_sha256",
                sha256([tokens.as_slice(), lengths.as_bytes()]),
            ),
            ("device", engine.name()),
            ("kind", self.kind().to_owned()),
            ("keep", format!("{:?}", self.keep)),
            ("method", self.change.method().to_owned()),
            ("scheme", method(&self.change)),
            ("stage", self.stage.to_owned()),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        Ok(pairs.map(|(key, value)| (key.to_owned(), value)).into())
    }

    /// What is made.
    fn kind(&self) -> &'static str {
        match self.out.extension().is_some_and(|one| one == "gguf") {
            true => "a GGUF file",
            false => "a folder",
        }
    }

    /// Where the result comes from, and how to make it again.
    fn receipt(
        &self,
        engine: &dyn Engine,
        base_sha256: &str,
        (weights, widths): (&[LinearLog], Option<&[WidthGroup]>),
    ) -> Result<BTreeMap<String, Value>, Failure> {
        let mut receipt = BTreeMap::from([
            ("stage".to_owned(), json!(self.stage)),
            ("method".to_owned(), json!(self.change.method())),
            ("base".to_owned(), json!(self.input.display().to_string())),
            ("base_sha256".to_owned(), json!(base_sha256)),
            ("device".to_owned(), json!(engine.name())),
            (
                "settings".to_owned(),
                serde_json::to_value(self.settings).map_err(usage)?,
            ),
            (
                "log".to_owned(),
                serde_json::to_value(weights).map_err(usage)?,
            ),
        ]);
        if let Some(widths) = widths {
            let widths = serde_json::to_value(widths).map_err(usage)?;
            receipt.insert("widths".to_owned(), widths);
        }
        Ok(receipt)
    }
}

pub(super) fn show(common: &CommonOptions, report: &Report) -> Result<(), Failure> {
    match common.json {
        true => print_json(report),
        false => print(&text(report)),
    }
}

pub(super) fn print_plan(
    common: &CommonOptions,
    weights: Vec<DecoderWeight>,
    (stays, memory): (&str, MemoryPlan),
    mixed: Option<MixedWidths>,
) -> Result<(), Failure> {
    let codes = mixed.as_ref().map_or_else(String::new, |mixed| {
        format!("\nchosen codes take {}", bytes(mixed.bytes()))
    });
    if common.json {
        return print_json(&Plan {
            weights,
            widths: mixed.map(|mixed| mixed.groups),
            memory,
            memory_total: memory.total(),
        });
    }
    let mut shown = table(&["weight", "becomes", "why"]);
    for one in weights {
        shown.add_row([one.name, one.becomes, one.reason]);
    }
    print(&format!(
        "{shown}\n{stays} stay as they are{codes}\nup to {} of memory",
        bytes(memory.total())
    ))
}

fn text(report: &Report) -> String {
    let mut shown = table(&[
        "weight",
        "format",
        "bits",
        "zeros",
        "output error",
        "to nearest",
        "how",
    ]);
    let percent = |share: Option<f64>| {
        number(share.map_or_else(String::new, |share| format!("{:.3}%", 100.0 * share)))
    };
    for one in &report.weights {
        shown.add_row(vec![
            one.name.as_str().into(),
            one.format.as_str().into(),
            number(format!("{:.2}", one.bits_per_weight)),
            percent(one.sparsity),
            percent(one.error),
            percent(one.nearest_error),
            one.notes.join("; ").into(),
        ]);
    }
    let taken = match (report.windows, report.lines) {
        (_, Some(lines)) => format!("{lines} lines"),
        (windows, None) => format!("{} windows", windows.unwrap_or(0)),
    };
    let count = |log: &LinearLog| (log.shape[0] * log.shape[1]) as f64;
    let elements: f64 = report.weights.iter().map(count).sum();
    let bits = report
        .weights
        .iter()
        .map(|log| count(log) * log.bits_per_weight);
    format!(
        "{shown}\n{} by {}, {} of calibration text, {} tokens, on {}\n{:.2} bits a weight of the layers; {}: {}",
        report.model,
        report.method,
        taken,
        report.tokens,
        report.device,
        bits.sum::<f64>() / elements.max(1.0),
        report.out,
        bytes(report.file_bytes)
    )
}
