//! `lapidary bench MODEL`: how fast language models read and write on an adapter, and what they take of memory.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use clap::Args;
use lapidary::generate::{GenerateError, Headers};
use lapidary::io::{forget_peak_memory, peak_memory};
use lapidary::report::language::{Spread, Timed};
use serde::Serialize;

use crate::models::Opener;
use crate::options::{CommonOptions, DeviceOption, Failure};
use crate::output::{bytes, number, plain, print, print_json, table};
use crate::train;

use super::{LanguageOptions, check_prompt, failure, is_language_model, speed};

#[derive(Debug, Args)]
pub struct BenchOptions {
    /// GGUF files, or folders with config.json, tokenizer.json or tokenizer.model, and safetensors files.
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<PathBuf>,
    /// Tokens that are read.
    #[arg(short, long, default_value_t = 128, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    prompt: u32,
    /// Tokens that are made after them.
    #[arg(short, long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    new: u32,
    /// How often both are timed, after a first time that compiles; the median counts.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    repeat: u32,
    #[command(flatten)]
    language: LanguageOptions,
    /// auto, gpu, cpu, an index, or part of an adapter's or driver's name.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: DeviceOption,
}

/// Rates and times are medians of all runs.
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
    /// As the engine counts them; null without a device.
    submissions_per_token: Option<f64>,
    weight_bytes: u64,
    cache_bytes: u64,
    device_bytes: Option<u64>,
    /// The most that was held at a time, on the device and by the process; null where nothing says it.
    peak_device_bytes: Option<u64>,
    peak_host_bytes: Option<u64>,
    repeat: usize,
    prefill: Spread,
    decode: Spread,
}

pub fn bench(common: &CommonOptions, options: &BenchOptions) -> Result<(), Failure> {
    let timed = Timed {
        prompt_tokens: options.prompt as usize,
        new_tokens: options.new as usize,
        repeat: options.repeat as usize,
    };
    // What cannot be read, or has no room for so many tokens, is said before anything is uploaded.
    let mut headers = Vec::new();
    let is_other = |model: &&PathBuf| model.exists() && !is_language_model(model);
    if let (2.., Some(other)) = (options.models.len(), options.models.iter().find(is_other)) {
        return Err(Failure::Usage(format!(
            "{}: no language model (a .gguf file, or a folder with config.json and tokenizer.json or tokenizer.model); networks and language models are measured apart",
            other.display()
        )));
    }
    for model in &options.models {
        let began = Instant::now();
        let found = Headers::read(model).map_err(failure)?;
        let context = found.context(options.language.positions());
        let checked = check_prompt(&vec![0; timed.prompt_tokens], timed.new_tokens, context);
        checked.map_err(|error| match options.models.len() {
            1 => error,
            _ => Failure::Usage(format!("{}: {error}", model.display())),
        })?;
        headers.push((found, began.elapsed().as_secs_f64()));
    }
    let opener = Opener::new(common, &options.device)?;
    let stop = train::stop_on_ctrl_c()?;
    let mut reports = Vec::new();
    let n_models = options.models.len();
    let mut ended = Ok(());
    for (model, headers) in options.models.iter().zip(headers) {
        match one(options, (&opener, model), headers, (timed, &stop)) {
            Ok(None) => {
                ended = Err(Failure::Mismatch(format!(
                    "stopped by Ctrl-C; {} of {n_models} models were measured",
                    reports.len()
                )));
                break;
            }
            Ok(Some(report)) => reports.push(report),
            Err(failure) if n_models == 1 => return Err(failure),
            // Those that were measured are shown.
            Err(failure) => {
                let name = model.display().to_string();
                ended = Err(failure.in_row((reports.len(), n_models), &name));
                break;
            }
        }
    }
    match (common.json, &reports[..]) {
        (_, []) => {}
        (true, [report]) if n_models == 1 => print_json(report)?,
        (true, reports) => print_json(&reports)?,
        (false, [report]) if n_models == 1 => print(&text(report))?,
        (false, reports) => print(&side_by_side(reports, timed))?,
    }
    ended
}

/// One model, on a device of its own; `None` where Ctrl-C ended it.
fn one(
    options: &BenchOptions,
    (opener, path): (&Opener, &Path),
    (headers, header_seconds): (Headers, f64),
    (timed, stop): (Timed, &AtomicBool),
) -> Result<Option<Report>, Failure> {
    let begins_again = forget_peak_memory();
    let engine = opener.open()?;
    let began = Instant::now();
    let given = (path, headers.vocabulary);
    let model = options.language.open_with(engine.as_ref(), given, 1)?;
    let load_seconds = header_seconds + began.elapsed().as_secs_f64();
    let settings = options.language.session(1);
    let given = (&model.llama, settings);
    let speed = match speed::measure(engine.as_ref(), given, timed, stop) {
        Err(GenerateError::Stopped { .. }) => return Ok(None),
        found => found.map_err(failure)?,
    };
    let none = Spread {
        median: f64::NAN,
        low: f64::NAN,
        high: f64::NAN,
    };
    let (prefill, decode) = (
        speed.prefill(timed).unwrap_or(none),
        speed.decode(timed).unwrap_or(none),
    );
    let first_token = Spread::of(&speed.first_token_seconds).unwrap_or(none);
    Ok(Some(Report {
        model: path.display().to_string(),
        device: engine.name(),
        load_seconds,
        compile_seconds: speed.compile_seconds,
        prompt_tokens: timed.prompt_tokens,
        prefill_tokens_per_second: prefill.median,
        first_token_seconds: first_token.median,
        new_tokens: timed.new_tokens,
        decode_tokens_per_second: decode.median,
        dispatches_per_token: speed.dispatches_per_token,
        submissions_per_token: speed.submissions_per_token,
        weight_bytes: model.llama.n_bytes(),
        cache_bytes: speed.cache_bytes,
        device_bytes: engine.device_bytes(),
        peak_device_bytes: speed.peak_device_bytes,
        // A mark that cannot be put back would be of all models before.
        peak_host_bytes: peak_memory().filter(|_| begins_again || options.models.len() == 1),
        repeat: timed.repeat,
        prefill,
        decode,
    }))
}

fn text(report: &Report) -> String {
    let spread = |one: Spread| match report.repeat {
        1 => String::new(),
        n => format!(" ({:.1} to {:.1} in {n} runs)", one.low, one.high),
    };
    let submissions = report
        .submissions_per_token
        .map_or_else(String::new, |count| format!(", {} submitted", times(count)));
    format!(
        "{}\nload     {:.2} s, then {:.2} s until everything is compiled\nprefill  {:.1} tokens/s{}: {} tokens, the first new one after {:.3} s\ndecode   {:.1} tokens/s{}: {} tokens, {} dispatches each{submissions}\nmemory   {} of weights, {} of cache; most held on the device: {}, by the process: {}",
        report.device,
        report.load_seconds,
        report.compile_seconds,
        report.prefill_tokens_per_second,
        spread(report.prefill),
        report.prompt_tokens,
        report.first_token_seconds,
        report.decode_tokens_per_second,
        spread(report.decode),
        report.new_tokens,
        report.dispatches_per_token,
        bytes(report.weight_bytes),
        bytes(report.cache_bytes),
        known(report.peak_device_bytes),
        known(report.peak_host_bytes),
    )
}

/// `once`, `2 times`, `1.5 times`.
fn times(count: f64) -> String {
    match count {
        1.0 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

fn known(count: Option<u64>) -> String {
    count.map_or_else(|| "not measured".to_owned(), bytes)
}

fn side_by_side(reports: &[Report], timed: Timed) -> String {
    let mut rows = table(&[
        "model",
        "load, s",
        "prefill, tok/s",
        "decode, tok/s",
        "first token, s",
        "submissions",
        "weights",
        "cache",
        "most on device",
        "most of process",
    ]);
    let rate = |one: Spread| match timed.repeat {
        1 => format!("{:.1}", one.median),
        _ => format!("{:.1} ({:.1} to {:.1})", one.median, one.low, one.high),
    };
    for one in reports {
        rows.add_row([
            plain(&one.model).into(),
            number(format!("{:.2}", one.load_seconds)),
            number(rate(one.prefill)),
            number(rate(one.decode)),
            number(format!("{:.3}", one.first_token_seconds)),
            number(
                one.submissions_per_token
                    .map_or_else(|| "not measured".to_owned(), |count| count.to_string()),
            ),
            number(bytes(one.weight_bytes)),
            number(bytes(one.cache_bytes)),
            number(known(one.peak_device_bytes)),
            number(known(one.peak_host_bytes)),
        ]);
    }
    let device = reports.first().map_or("", |one| one.device.as_str());
    format!(
        "{rows}\n\n{} tokens read at once, {} made after them; the median of {} and its ends; one model on the device at a time\n{device}",
        timed.prompt_tokens, timed.new_tokens, timed.repeat
    )
}
