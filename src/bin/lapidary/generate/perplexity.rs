//! `lapidary eval MODEL --perplexity FILE`: how well a language model predicts a text.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use clap::Args;
use indicatif::ProgressBar;
use lapidary::generate::{
    Divergence, LanguageModel, Perplexity, Windows, divergence, log_probabilities,
};
use lapidary::io::read_text;
use serde::Serialize;

use crate::options::{CommonOptions, DeviceOption, Failure};
use crate::output::{print, print_json};
use crate::train;

use super::{LanguageOptions, Opened, failure};

const DEFAULT_WINDOW: usize = 512;

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
    /// hold the same token most likely.
    #[arg(long, value_name = "MODEL", requires = "perplexity")]
    base: Option<PathBuf>,
    #[command(flatten)]
    language: LanguageOptions,
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
    (model, device): (&Path, &DeviceOption),
    text: &Path,
    options: &PerplexityOptions,
) -> Result<(), Failure> {
    let content = read_text(text).map_err(|error| Failure::Usage(error.to_string()))?;
    let opened = Opened::new(common, device, model, &options.language)?;
    let mut tokens = opened.model.tokens(&content).map_err(failure)?;
    tokens.truncate(options.tokens.map_or(usize::MAX, |n| n as usize));
    let window = match options.window {
        Some(window) => window as usize,
        None => DEFAULT_WINDOW.min(opened.model.llama.context()),
    };
    let windows = Windows {
        window,
        stride: options.stride.map_or(window, |stride| stride as usize),
    };
    let base = match &options.base {
        None => None,
        Some(path) => Some(open_base(
            &opened,
            path,
            (content.as_str(), tokens.as_slice()),
            options,
        )?),
    };
    let stop = train::stop_on_ctrl_c()?;
    let bar = ProgressBar::new(tokens.len() as u64);
    let began = Instant::now();
    let mut go_on = |done: usize, _: usize| {
        bar.set_position(done as u64);
        !stop.load(Ordering::Relaxed)
    };
    let (engine, llama) = (opened.engine.as_ref(), &opened.model.llama);
    let settings = options.language.session(1);
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

/// The other model, on the same device and run the same way; it must read the text as the same tokens.
fn open_base<'a>(
    opened: &Opened,
    path: &'a Path,
    (content, tokens): (&str, &[u32]),
    options: &PerplexityOptions,
) -> Result<(&'a Path, LanguageModel), Failure> {
    let base = options.language.open(opened.engine.as_ref(), path, 1)?;
    let of_base = base.tokens(content).map_err(failure)?;
    if !of_base.starts_with(tokens) {
        return Err(Failure::Usage(format!(
            "{}: its tokenizer makes other tokens of the text than that of the model; predictions of other tokens cannot be compared",
            path.display()
        )));
    }
    Ok((path, base))
}
