//! `lapidary run MODEL -p TEXT`: text from a language model, streamed.

use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

use clap::Args;
use lapidary::generate::{GenerateOptions, Sampler, Sampling, Session, generate};
use lapidary::text::Message;
use serde::Serialize;

use crate::options::{CommonOptions, DeviceOption, Failure};
use crate::output::print_json;
use crate::train;

use super::{LanguageOptions, Opened, failure, is_language_model};

#[derive(Debug, Args)]
pub struct RunOptions {
    /// A GGUF file, or a folder with config.json, tokenizer.json and safetensors files.
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// What to go on with; `-` reads it from the standard input.
    #[arg(short, long, value_name = "TEXT")]
    prompt: String,
    /// Give the prompt as a user's question, by the model's chat template.
    #[arg(long)]
    chat: bool,
    /// What a chat's model is told first.
    #[arg(long, value_name = "TEXT", requires = "chat")]
    system: Option<String>,
    /// Tokens of the text, at most.
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: u32,
    /// Divides logits; 0 takes the most likely token.
    #[arg(long, default_value_t = 0.0, value_name = "T")]
    temperature: f64,
    /// Most likely tokens that are kept, up to 960.
    #[arg(long, default_value_t = 40, value_name = "K")]
    top_k: usize,
    /// Share of probability that is kept.
    #[arg(long, default_value_t = 1.0, value_name = "P")]
    top_p: f64,
    /// Leave out tokens less likely than this share of the most likely one.
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    min_p: f64,
    /// Lowers the logits of the last 64 tokens by this factor.
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    repeat_penalty: f64,
    /// What chance is a function of.
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    seed: u64,
    /// A string that ends the text; may be given several times.
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    #[command(flatten)]
    language: LanguageOptions,
    /// auto, gpu, cpu, an index, or part of an adapter's or driver's name.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: DeviceOption,
}

#[derive(Debug, Serialize)]
struct Report {
    model: String,
    device: String,
    prompt_tokens: usize,
    text: String,
    tokens: Vec<u32>,
    ended: &'static str,
    first_token_seconds: f64,
    tokens_per_second: Option<f64>,
}

pub fn run(common: &CommonOptions, options: &RunOptions) -> Result<(), Failure> {
    if !is_language_model(&options.model) {
        return Err(Failure::Usage(format!(
            "{}: no language model: expected a .gguf file, or a folder with config.json and tokenizer.json",
            options.model.display()
        )));
    }
    let sampling = Sampling {
        temperature: options.temperature,
        top_k: options.top_k,
        top_p: options.top_p,
        min_p: options.min_p,
        repeat_penalty: options.repeat_penalty,
        seed: options.seed,
    };
    let sampler = Sampler::new(sampling).map_err(failure)?;
    let prompt = prompt(&options.prompt)?;
    let opened = Opened::new(common, &options.device, &options.model, &options.language)?;
    let model = &opened.model;
    let tokens = if options.chat {
        let message = |role: &str, content: &str| Message {
            role: role.to_owned(),
            content: content.to_owned(),
        };
        let system = options.system.iter().map(|text| message("system", text));
        let messages: Vec<Message> = system.chain([message("user", &prompt)]).collect();
        model.chat_tokens(&messages)
    } else {
        model.tokens(&prompt)
    };
    let tokens = tokens.map_err(failure)?;
    let n_candidates = sampling.n_candidates(model.llama.config().vocabulary);
    let settings = options.language.session(n_candidates);
    let engine = opened.engine.as_ref();
    let mut session = Session::new(engine, &model.llama, settings).map_err(failure)?;

    let stop = train::stop_on_ctrl_c()?;
    let (mut text, mut first, mut written) = (String::new(), None, Ok(()));
    let began = Instant::now();
    let mut take = |piece: &str| {
        first.get_or_insert_with(|| began.elapsed().as_secs_f64());
        text += piece;
        if !common.json {
            written = show(piece);
        }
        written.is_ok() && !stop.load(Ordering::Relaxed)
    };
    let goal = GenerateOptions {
        max_tokens: options.max_tokens as usize,
        end_tokens: model.ends(),
        stops: &options.stop,
    };
    let tokenizer = &model.tokenizer;
    let made = generate(&mut session, tokenizer, &tokens, &sampler, goal, &mut take);
    let made = made.map_err(failure)?;
    let seconds = began.elapsed().as_secs_f64();
    let first = first.unwrap_or(seconds);
    if let Err(error) = written
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        return Err(Failure::Usage(format!("stdout: {error}")));
    }
    let later = made.tokens.len().saturating_sub(1);
    let report = Report {
        model: options.model.display().to_string(),
        device: engine.name(),
        prompt_tokens: tokens.len(),
        ended: made.ended.describe(),
        first_token_seconds: first,
        tokens_per_second: (later > 0).then(|| later as f64 / (seconds - first).max(1e-9)),
        tokens: made.tokens,
        text,
    };
    if common.json {
        return print_json(&report);
    }
    // A text that does not end its line would run into the shell's prompt.
    let _ = show("\n");
    let speed = report.tokens_per_second.map_or_else(String::new, |speed| {
        format!(", {speed:.1} tokens/s after the first")
    });
    eprintln!(
        "{} tokens read, {} made ({}); loaded in {:.2} s, first token after {first:.2} s{speed}; {}",
        report.prompt_tokens,
        report.tokens.len(),
        report.ended,
        opened.load_seconds,
        report.device,
    );
    Ok(())
}

fn prompt(given: &str) -> Result<String, Failure> {
    if given != "-" {
        return Ok(given.to_owned());
    }
    let mut text = String::new();
    io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Failure::Usage(format!("standard input: {error}")))?;
    Ok(text)
}

fn show(piece: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(piece.as_bytes())?;
    stdout.flush()
}
