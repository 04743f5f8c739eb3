//! `lapidary eval MODEL --perplexity FILE`: how well a language model predicts a text.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use clap::Args;
use indicatif::ProgressBar;
use lapidary::generate::{Windows, log_probabilities};
use lapidary::io::read_text;
use serde::Serialize;

use crate::options::{CommonOptions, DeviceOption, Failure};
use crate::output::{print, print_json};
use crate::train;

use super::{LanguageOptions, Opened, failure};

#[derive(Debug, Args)]
pub struct PerplexityOptions {
    /// Judge a language model by this text instead: a GGUF file or a folder of Hugging Face's.
    #[arg(long, value_name = "FILE")]
    pub perplexity: Option<PathBuf>,
    /// Tokens of a window.
    #[arg(long, default_value_t = 512, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    window: u32,
    /// From one window to the next; tokens that two windows hold count once. By default the window.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    stride: Option<u32>,
    /// Tokens of the text that are read; all unless given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    tokens: Option<u32>,
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
    let windows = Windows {
        window: options.window as usize,
        stride: options.stride.unwrap_or(options.window) as usize,
    };
    let stop = train::stop_on_ctrl_c()?;
    let bar = ProgressBar::new(tokens.len() as u64);
    let began = Instant::now();
    let judged = log_probabilities(
        opened.engine.as_ref(),
        &opened.model.llama,
        &tokens,
        windows,
        options.language.session(1),
        &mut |done, _| {
            bar.set_position(done as u64);
            !stop.load(Ordering::Relaxed)
        },
    )
    .map_err(failure)?;
    bar.finish_and_clear();
    let predicted = judged.log_probabilities.len();
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
    };
    if common.json {
        return print_json(&report);
    }
    print(&format!(
        "perplexity {:.4} +- {:.4} ({:.5} +- {:.5} nats a token) over {predicted} tokens, window {}, stride {}\n{:.1} tokens/s on {}",
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
