//! `lapidary run MODEL -p TEXT`: text from a language model, streamed.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use clap::Args;
use lapidary::generate::{
    Ended, GenerateError, GenerateOptions, Sampler, Sampling, Session, Vocabulary, generate,
    generate_each,
};
use lapidary::io::read_text;
use lapidary::text::Message;
use serde::Serialize;

use crate::options::{CommonOptions, DeviceOption, Failure};
use crate::output::{print, print_json};
use crate::train;

use super::{LanguageOptions, Opened, check_prompt, failure, is_language_model};

#[derive(Debug, Args)]
pub struct RunOptions {
    /// A GGUF file, or a folder with config.json, tokenizer.json or tokenizer.model, and safetensors files.
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// What to go on with; `-` reads it from the standard input.
    #[arg(
        short,
        long,
        value_name = "TEXT",
        required_unless_present = "prompt_file",
        allow_hyphen_values = true
    )]
    prompt: Option<String>,
    /// A file of prompts, one a line, that are gone on with side by side.
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    prompt_file: Option<PathBuf>,
    /// Prompts of a file that are read at the same time.
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=128))]
    batch_size: u32,
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
    #[arg(
        long,
        default_value_t = 0.0,
        value_name = "T",
        allow_negative_numbers = true
    )]
    temperature: f64,
    /// Most likely tokens that are kept, up to 960.
    #[arg(long, default_value_t = 40, value_name = "K")]
    top_k: usize,
    /// Share of probability that is kept.
    #[arg(
        long,
        default_value_t = 1.0,
        value_name = "P",
        allow_negative_numbers = true
    )]
    top_p: f64,
    /// Leave out tokens less likely than this share of the most likely one.
    #[arg(
        long,
        default_value_t = 0.0,
        value_name = "P",
        allow_negative_numbers = true
    )]
    min_p: f64,
    /// Lowers the logits of the last 64 tokens by this factor.
    #[arg(
        long,
        default_value_t = 1.0,
        value_name = "X",
        allow_negative_numbers = true
    )]
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
            "{}: no language model: expected a .gguf file, or a folder with config.json and tokenizer.json or tokenizer.model",
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
    if let Some(file) = &options.prompt_file {
        return batches(common, options, file, (sampling, &sampler));
    }
    let prompt = prompt(options.prompt.as_deref().unwrap_or_default())?;
    let (opened, tokens) = Opened::new(
        common,
        &options.device,
        &options.model,
        (&options.language, 1),
        |vocabulary, context| {
            let tokens = tokens(vocabulary, options, &prompt)?;
            check_prompt(&tokens, 0, context)?;
            Ok(tokens)
        },
    )?;
    let model = &opened.model;
    let n_candidates = sampling.n_candidates(model.llama.config().vocabulary);
    let settings = options.language.session(n_candidates);
    let engine = opened.engine.as_ref();
    let stop = train::stop_on_ctrl_c()?;
    let session = Session::new(engine, &model.llama, settings).map_err(failure)?;
    let mut session = session.stopped_by(&stop);

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
    let tokenizer = &model.vocabulary.tokenizer;
    let made = generate(&mut session, tokenizer, &tokens, &sampler, goal, &mut take);
    let made = made.map_err(failure)?;
    let seconds = began.elapsed().as_secs_f64();
    let first = first.unwrap_or(seconds);
    if let Err(error) = written
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        return Err(Failure::Usage(format!("stdout: {error}")));
    }
    let later = made.tokens.len() - made.before_shown;
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
    let is_stopped = stop.load(Ordering::Relaxed) && made.ended == Ended::Caller;
    let end = || match is_stopped {
        false => Ok(()),
        true => Err(Failure::Mismatch("stopped by Ctrl-C".to_owned())),
    };
    if common.json {
        print_json(&report)?;
        return end();
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
    end()
}

fn tokens(
    vocabulary: &Vocabulary,
    options: &RunOptions,
    prompt: &str,
) -> Result<Vec<u32>, Failure> {
    let tokens = if options.chat {
        let message = |role: &str, content: &str| Message {
            role: role.to_owned(),
            content: content.to_owned(),
        };
        let system = options.system.iter().map(|text| message("system", text));
        let messages: Vec<Message> = system.chain([message("user", prompt)]).collect();
        vocabulary.chat_tokens(&messages)
    } else {
        vocabulary.tokens(prompt)
    };
    tokens.map_err(failure)
}

#[derive(Debug, Serialize)]
struct BatchReport {
    model: String,
    device: String,
    texts: Vec<TextReport>,
    seconds: f64,
    tokens_per_second: f64,
}

#[derive(Debug, Serialize)]
struct TextReport {
    prompt: String,
    prompt_tokens: usize,
    text: String,
    tokens: Vec<u32>,
    ended: &'static str,
}

/// Every line of a file, some at a time.
fn batches(
    common: &CommonOptions,
    options: &RunOptions,
    file: &Path,
    (sampling, sampler): (Sampling, &Sampler),
) -> Result<(), Failure> {
    let content = read_text(file).map_err(|error| Failure::Usage(error.to_string()))?;
    let lines = (1..).zip(content.lines());
    let lines: Vec<(usize, &str)> = lines.filter(|(_, line)| !line.is_empty()).collect();
    let prompts: Vec<&str> = lines.iter().map(|(_, line)| *line).collect();
    if prompts.is_empty() {
        return Err(Failure::Usage(format!(
            "{}: holds no prompt; expected one a line",
            file.display()
        )));
    }
    let batch_size = options.batch_size as usize;
    let language = (&options.language, batch_size.min(prompts.len()));
    // What is too long is said before weights are read.
    let (opened, all) = Opened::new(
        common,
        &options.device,
        &options.model,
        language,
        |vocabulary, context| {
            let mut all = Vec::new();
            for (line, prompt) in &lines {
                let given = tokens(vocabulary, options, prompt)?;
                if given.is_empty() || given.len() > context {
                    return Err(Failure::Usage(format!(
                        "{}, line {line}: the prompt has {} tokens; allowed: 1 to {context}",
                        file.display(),
                        given.len()
                    )));
                }
                all.push(given);
            }
            Ok(all)
        },
    )?;
    let model = &opened.model;
    let n_candidates = sampling.n_candidates(model.llama.config().vocabulary);
    let settings = options.language.session(n_candidates);
    let engine = opened.engine.as_ref();
    let goal = GenerateOptions {
        max_tokens: options.max_tokens as usize,
        end_tokens: model.ends(),
        stops: &options.stop,
    };
    let stop = train::stop_on_ctrl_c()?;
    let began = Instant::now();
    let (mut texts, mut made) = (Vec::new(), 0);
    for (batch, given) in prompts.chunks(batch_size).zip(all.chunks(batch_size)) {
        let session = Session::of_texts(engine, &model.llama, settings, batch.len());
        let mut session = session.map_err(failure)?.stopped_by(&stop);
        let mut pieces = vec![String::new(); batch.len()];
        let generated = generate_each(
            &mut session,
            &model.vocabulary.tokenizer,
            given,
            sampler,
            goal,
            &mut |text, piece| {
                pieces[text] += piece;
                !stop.load(Ordering::Relaxed)
            },
        );
        let generated = match generated {
            Err(GenerateError::Stopped { .. }) => break,
            generated => generated.map_err(failure)?,
        };
        for (index, one) in generated.into_iter().enumerate() {
            made += one.tokens.len();
            let report = TextReport {
                prompt: batch[index].to_owned(),
                prompt_tokens: given[index].len(),
                text: std::mem::take(&mut pieces[index]),
                tokens: one.tokens,
                ended: one.ended.describe(),
            };
            if !common.json {
                print(&format!("> {}\n{}\n", report.prompt, report.text))?;
            }
            texts.push(report);
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let report = BatchReport {
        model: options.model.display().to_string(),
        device: engine.name(),
        texts,
        seconds,
        tokens_per_second: made as f64 / seconds.max(1e-9),
    };
    let n_done = report.texts.len();
    let end = || match stop.load(Ordering::Relaxed) {
        false => Ok(()),
        true => Err(Failure::Mismatch(format!(
            "stopped by Ctrl-C; {n_done} of {} prompts have a text",
            prompts.len()
        ))),
    };
    if common.json {
        print_json(&report)?;
        return end();
    }
    eprintln!(
        "{} prompts, {made} tokens made in {seconds:.2} s, {:.1} tokens/s; {}",
        report.texts.len(),
        report.tokens_per_second,
        report.device
    );
    end()
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
