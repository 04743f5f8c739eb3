//! `lapidary eval MODEL --perplexity FILE`: how well a language model predicts a text. Several models, or ways to run
//! one, are a table (`table`).

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use clap::Args;
use indicatif::ProgressBar;
use lapidary::generate::{
    Divergence, GenerateError, Headers, Perplexity, Windows, divergence, log_probabilities,
};
use lapidary::io::read_text;
use lapidary::models::llama::CacheType;
use serde::Serialize;

use crate::options::{CommonOptions, DeviceOption, Failure, given};
use crate::output::{print, print_json};
use crate::train;

use super::{Activations, ByteCount, LanguageOptions, Opened, failure, table};

const DEFAULT_WINDOW: usize = 512;

/// What is said of `--max-logits` where no logits wait.
pub const NO_TABLE: &str =
    "--max-logits: only for tables of at least two rows, where the base's logits wait on the host";

#[derive(Debug, Args)]
pub struct PerplexityOptions {
    /// Judge a language model by this text instead: a GGUF file or a folder of Hugging Face's.
    #[arg(long, value_name = "FILE")]
    pub perplexity: Option<PathBuf>,
    /// Tokens of a window; by default 512, or the context of a model that has less.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    window: Option<u32>,
    /// From one window to the next; tokens that two windows hold count once. By default the window.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    stride: Option<u32>,
    /// Tokens of the text that are read; all unless given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    tokens: Option<u32>,
    /// Compare the model's predictions with those of this one: the Kullback-Leibler divergence, and how often both
    /// hold the same token most likely. Several models are compared with it, else with the first of them.
    #[arg(long, value_name = "MODEL", requires = "perplexity")]
    pub base: Option<PathBuf>,
    /// How keys and values are kept: f32, f16 or int8; several of them are rows of a table, and the base has the first.
    /// f32 unless given.
    #[arg(long, value_delimiter = ',', value_name = "TYPE,..")]
    kv: Vec<CacheType>,
    /// Most tokens of a window; by default what the model allows, up to 8192.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    context: Option<u32>,
    /// How activations meet quantized weights: float, or int8 in blocks of 32; several of them are rows of a table, and
    /// the base has the first.
    /// float unless given.
    #[arg(long, value_delimiter = ',', value_name = "HOW,..")]
    activations: Vec<Activations>,
    /// Refuse a model whose weights, cache of the whole context and intermediate results need more, before anything is
    /// uploaded: bytes, or a number of K, M or G (1024 of each the one before).
    #[arg(long, value_name = "SIZE")]
    max_memory: Option<ByteCount>,
    /// In a table: the base's logits that wait on the host while the others read, at most, or those of a window; a
    /// longer text is read in parts. 1G unless given, or a quarter of the free memory where that is less.
    #[arg(long, value_name = "SIZE", requires = "perplexity")]
    pub max_logits: Option<ByteCount>,
    /// In a table: how often reading and writing are timed after a first time; the median counts. 0 leaves times out;
    /// once unless given.
    #[arg(long, value_name = "N", requires = "perplexity", value_parser = clap::value_parser!(u32).range(..=100))]
    pub repeat: Option<u32>,
    /// Keep the table in this folder: a page, a picture and the numbers.
    #[arg(long, value_name = "DIR", requires = "perplexity")]
    pub report: Option<PathBuf>,
}

impl PerplexityOptions {
    /// How keys and values are kept, in the order of rows.
    pub fn caches(&self) -> &[CacheType] {
        match &self.kv[..] {
            [] => &[CacheType::F32],
            given => given,
        }
    }

    /// How activations meet weights, in the order of rows.
    pub fn paths(&self) -> &[Activations] {
        match &self.activations[..] {
            [] => &[Activations::FLOAT],
            given => given,
        }
    }

    /// Refuses what would change nothing, because no language model is judged.
    pub fn refuse(&self) -> Result<(), Failure> {
        let given = given(&[
            (self.window.is_some(), "--window"),
            (self.stride.is_some(), "--stride"),
            (self.tokens.is_some(), "--tokens"),
            (!self.kv.is_empty(), "--kv"),
            (self.context.is_some(), "--context"),
            (!self.activations.is_empty(), "--activations"),
            (self.max_memory.is_some(), "--max-memory"),
        ]);
        match given {
            None => Ok(()),
            Some(flags) => Err(Failure::Usage(format!(
                "{flags}: only for language models, which --perplexity FILE judges"
            ))),
        }
    }

    /// How a language model is run, with the types of a row.
    pub fn language(&self, kv: CacheType, activations: Activations) -> LanguageOptions {
        LanguageOptions {
            kv,
            context: self.context,
            activations,
            max_memory: self.max_memory,
        }
    }

    /// How a text is cut for models that have so many positions.
    pub fn windows(&self, context: usize) -> Windows {
        let window = match self.window {
            Some(window) => window as usize,
            None => DEFAULT_WINDOW.min(context),
        };
        Windows {
            window,
            stride: self.stride.map_or(window, |stride| stride as usize),
        }
    }

    /// Those tokens of a text that are read.
    pub fn cut(&self, mut tokens: Vec<u32>) -> Vec<u32> {
        tokens.truncate(self.tokens.map_or(usize::MAX, |n| n as usize));
        tokens
    }
}

#[derive(Debug, Serialize)]
struct Report {
    model: String,
    text: String,
    device: String,
    tokens: usize,
    /// Tokens that were predicted.
    predicted: usize,
    window: usize,
    stride: usize,
    /// Mean of `-ln p`.
    loss: f64,
    loss_standard_error: f64,
    perplexity: f64,
    perplexity_standard_error: f64,
    tokens_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<Against>,
}

/// The model beside its base; divergences are in nats a token.
#[derive(Debug, Serialize)]
struct Against {
    base: String,
    base_perplexity: f64,
    base_perplexity_standard_error: f64,
    /// Mean of `ln p` of the base less that of the model.
    log_perplexity_ratio: f64,
    log_perplexity_ratio_standard_error: f64,
    mean_divergence: f64,
    divergence_standard_error: f64,
    median_divergence: f64,
    divergence_of_90_percent: f64,
    divergence_of_99_percent: f64,
    largest_divergence: f64,
    same_top_token: f64,
    same_top_token_standard_error: f64,
}

impl Against {
    fn new(base: &Path, found: &Divergence) -> Self {
        Self {
            base: base.display().to_string(),
            base_perplexity: found.base.value(),
            base_perplexity_standard_error: found.base.error(),
            log_perplexity_ratio: found.log_ratio(),
            log_perplexity_ratio_standard_error: found.log_ratio_error(),
            mean_divergence: found.mean(),
            divergence_standard_error: found.mean_error(),
            median_divergence: found.quantile(0.5),
            divergence_of_90_percent: found.quantile(0.9),
            divergence_of_99_percent: found.quantile(0.99),
            largest_divergence: found.quantile(1.0),
            same_top_token: found.agreement(),
            same_top_token_standard_error: found.agreement_error(),
        }
    }

    fn text(&self) -> String {
        format!(
            "base       {:.4} +- {:.4}, ln of the ratio {:.6} +- {:.6}\ndivergence {:.6e} +- {:.1e} nats a token; median {:.3e}, 90% {:.3e}, 99% {:.3e}, largest {:.3e}\nsame top token {:.3}% +- {:.3}%",
            self.base_perplexity,
            self.base_perplexity_standard_error,
            self.log_perplexity_ratio,
            self.log_perplexity_ratio_standard_error,
            self.mean_divergence,
            self.divergence_standard_error,
            self.median_divergence,
            self.divergence_of_90_percent,
            self.divergence_of_99_percent,
            self.largest_divergence,
            100.0 * self.same_top_token,
            100.0 * self.same_top_token_standard_error,
        )
    }
}

pub fn perplexity(
    common: &CommonOptions,
    (models, device): (&[PathBuf], &DeviceOption),
    text: &Path,
    options: &PerplexityOptions,
) -> Result<(), Failure> {
    let (model, kv, activations) = match (models, options.caches(), options.paths()) {
        ([model], [kv], [activations]) if options.repeat.is_none() && options.report.is_none() => {
            (model.as_path(), *kv, *activations)
        }
        _ => return table::run(common, (models, device), text, options),
    };
    if options.max_logits.is_some() {
        return Err(Failure::Usage(NO_TABLE.to_owned()));
    }
    let content = read_text(text).map_err(|error| Failure::Usage(error.to_string()))?;
    let language = options.language(kv, activations);
    let base = match &options.base {
        None => None,
        Some(path) => Some((path, Headers::read(path).map_err(failure)?)),
    };
    let given = (&language, 1);
    let (opened, (tokens, windows)) =
        Opened::new(common, device, model, given, |vocabulary, context| {
            let tokens = options.cut(vocabulary.tokens(&content).map_err(failure)?);
            let mut least = context;
            if let Some((path, base)) = &base {
                same_tokens(path, base, (&content, &tokens))?;
                least = least.min(base.context(language.positions()));
            }
            let windows = options.windows(context);
            windows.check(tokens.len(), least).map_err(failure)?;
            Ok((tokens, windows))
        })?;
    let base = match base {
        None => None,
        Some((path, headers)) => {
            let (model, base) = (opened.model.llama.config(), &headers.config);
            if model.vocabulary != base.vocabulary {
                return Err(failure(GenerateError::OtherVocabulary {
                    model: model.vocabulary,
                    base: base.vocabulary,
                }));
            }
            let given = (path.as_path(), headers.vocabulary);
            let base = language.open_with(opened.engine.as_ref(), given, 1)?;
            Some((path, base))
        }
    };
    let stop = train::stop_on_ctrl_c()?;
    let bar = ProgressBar::new(tokens.len() as u64);
    let began = Instant::now();
    let mut go_on = |done: usize, _: usize| {
        bar.set_position(done as u64);
        !stop.load(Ordering::Relaxed)
    };
    let (engine, llama) = (opened.engine.as_ref(), &opened.model.llama);
    let settings = language.session(1);
    let (judged, against): (Perplexity, _) = match &base {
        None => {
            let judged = log_probabilities(engine, llama, &tokens, windows, settings, &mut go_on);
            (judged.map_err(failure)?, None)
        }
        Some((path, base)) => {
            let pair = [llama, &base.llama];
            let found = divergence(engine, pair, &tokens, windows, settings, &mut go_on);
            let found = found.map_err(failure)?;
            let against = Against::new(path, &found);
            (found.model, Some(against))
        }
    };
    bar.finish_and_clear();
    let predicted = judged.log_probabilities.len();
    if stop.load(Ordering::Relaxed) && predicted + 1 < tokens.len() {
        return Err(Failure::Mismatch(format!(
            "stopped by Ctrl-C after {predicted} of {} predictions, whose perplexity is {:.4}",
            tokens.len() - 1,
            judged.value()
        )));
    }
    let report = Report {
        model: model.display().to_string(),
        text: text.display().to_string(),
        device: opened.engine.name(),
        tokens: tokens.len(),
        predicted,
        window: windows.window,
        stride: windows.stride,
        loss: judged.loss(),
        loss_standard_error: judged.loss_error(),
        perplexity: judged.value(),
        perplexity_standard_error: judged.error(),
        tokens_per_second: predicted as f64 / began.elapsed().as_secs_f64().max(1e-9),
        against,
    };
    if common.json {
        return print_json(&report);
    }
    let against = report.against.as_ref();
    let against = against.map_or_else(String::new, |one| format!("{}\n", one.text()));
    print(&format!(
        "perplexity {:.4} +- {:.4} ({:.5} +- {:.5} nats a token) over {predicted} tokens, window {}, stride {}\n{against}{:.1} tokens/s on {}",
        report.perplexity,
        report.perplexity_standard_error,
        report.loss,
        report.loss_standard_error,
        report.window,
        report.stride,
        report.tokens_per_second,
        report.device,
    ))
}

/// Refuses a base that reads the text as other tokens than the model.
pub fn same_tokens(
    path: &Path,
    base: &Headers,
    (content, tokens): (&str, &[u32]),
) -> Result<(), Failure> {
    let of_base = base.vocabulary.tokens(content).map_err(failure)?;
    if of_base.starts_with(tokens) {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{}: its tokenizer makes other tokens of the text than that of the model; predictions of other tokens cannot be compared",
        path.display()
    )))
}
