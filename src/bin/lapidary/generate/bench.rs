//! `lapidary bench MODEL`: how fast a language model reads and writes on an adapter.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use lapidary::generate::Session;
use serde::Serialize;

use crate::options::{CommonOptions, DeviceOption, Failure};
use crate::output::{bytes, print, print_json};

use super::{LanguageOptions, Opened, failure};

#[derive(Debug, Args)]
pub struct BenchOptions {
    /// A GGUF file, or a folder with config.json, tokenizer.json or tokenizer.model, and safetensors files.
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Tokens that are read.
    #[arg(short, long, default_value_t = 128, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    prompt: u32,
    /// Tokens that are made after them.
    #[arg(short, long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    new: u32,
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
    load_seconds: f64,
    /// The first pass of each kind, which compiles.
    compile_seconds: f64,
    prompt_tokens: usize,
    prefill_tokens_per_second: f64,
    first_token_seconds: f64,
    new_tokens: usize,
    decode_tokens_per_second: f64,
    dispatches_per_token: usize,
    weight_bytes: u64,
    cache_bytes: u64,
    device_bytes: Option<u64>,
}

pub fn bench(common: &CommonOptions, options: &BenchOptions) -> Result<(), Failure> {
    let opened = Opened::new(common, &options.device, &options.model, &options.language)?;
    let (engine, llama) = (opened.engine.as_ref(), &opened.model.llama);
    let settings = options.language.session(1);
    let mut session = Session::new(engine, llama, settings).map_err(failure)?;
    let vocabulary = llama.config().vocabulary as u32;
    // Any tokens do: time depends on their number only.
    let prompt: Vec<u32> = (0..options.prompt).map(|i| i % vocabulary).collect();
    let new = options.new as usize;

    let began = Instant::now();
    // Reading as far as the timed run will go makes the cache as large as it will be; the plans over it come
    // after that.
    let all: Vec<u32> = prompt
        .iter()
        .copied()
        .cycle()
        .take(prompt.len() + new)
        .collect();
    session.feed(&all).map_err(failure)?;
    session.rewind(0);
    session.feed(&prompt).map_err(failure)?;
    decode(&mut session, prompt[0], 1)?;
    let compile_seconds = began.elapsed().as_secs_f64();
    let dispatches_per_token = session.n_dispatches();

    session.rewind(0);
    let began = Instant::now();
    let first = session.feed(&prompt).map_err(failure)?;
    let first_token_seconds = began.elapsed().as_secs_f64();
    let began = Instant::now();
    decode(
        &mut session,
        first.tokens.first().copied().unwrap_or(0),
        new,
    )?;
    let decode_seconds = began.elapsed().as_secs_f64();

    let report = Report {
        model: options.model.display().to_string(),
        device: engine.name(),
        load_seconds: opened.load_seconds,
        compile_seconds,
        prompt_tokens: prompt.len(),
        prefill_tokens_per_second: prompt.len() as f64 / first_token_seconds,
        first_token_seconds,
        new_tokens: new,
        decode_tokens_per_second: new as f64 / decode_seconds,
        dispatches_per_token,
        weight_bytes: llama.n_bytes(),
        cache_bytes: session.cache_bytes(),
        device_bytes: engine.device_bytes(),
    };
    if common.json {
        return print_json(&report);
    }
    let held = report.device_bytes.map_or_else(String::new, |count| {
        format!(", {} on the device", bytes(count))
    });
    print(&format!(
        "{}\nload     {:.2} s, then {:.2} s until everything is compiled\nprefill  {:.1} tokens/s: {} tokens, the first new one after {:.3} s\ndecode   {:.1} tokens/s: {} tokens, {} dispatches each\nmemory   {} of weights, {} of cache{held}",
        report.device,
        report.load_seconds,
        report.compile_seconds,
        report.prefill_tokens_per_second,
        report.prompt_tokens,
        report.first_token_seconds,
        report.decode_tokens_per_second,
        report.new_tokens,
        report.dispatches_per_token,
        bytes(report.weight_bytes),
        bytes(report.cache_bytes),
    ))
}

/// Reads a token, then the most likely one after it, `count` in all.
fn decode(session: &mut Session<'_>, mut token: u32, count: usize) -> Result<(), Failure> {
    for _ in 0..count {
        let next = session.feed(&[token]).map_err(failure)?;
        token = next.tokens.first().copied().unwrap_or(token);
    }
    Ok(())
}
