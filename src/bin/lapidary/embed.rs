//! `lapidary embed MODEL FILE`: a unit vector for each line of a text.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::ProgressBar;
use lapidary::embed::{EmbedError, Embedder, EncoderFolder, Sentence, verify};
use lapidary::engine::Engine;
use lapidary::io::read_text;
use lapidary::io::safetensors::write_safetensors;
use lapidary::models::Bert;
use lapidary::tensor::HostTensor;
use serde::Serialize;

use crate::generate::tell_other_inputs;
use crate::options::{CommonOptions, DeviceOption, Failure, can_be_written};
use crate::output::{number, print, print_json, table};
use crate::target;
use crate::train::{self, usage};

/// How long a run may take without a word.
const QUIET: Duration = Duration::from_secs(2);

/// Sentences that `--verify` computes again on the host.
const VERIFIED: usize = 2;

#[derive(Debug, Args)]
pub struct EmbedOptions {
    /// A folder with config.json, tokenizer.json and safetensors weights of a BERT encoder.
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// A text with one sentence on each line; `-` for stdin.
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// Write `embeddings [lines, width]` f32 and `tokens [lines]` i32 into a safetensors file; without it each line
    /// of stdout is a JSON object.
    #[arg(long, value_name = "FILE.safetensors")]
    output: Option<PathBuf>,
    /// Most tokens of a sentence, its two ends included; what is behind them is cut. By default what the folder says,
    /// else 256.
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Instead of embedding, judge every operation of a pass over the first two sentences against its definition.
    #[arg(long, conflicts_with = "output")]
    verify: bool,
    /// auto, gpu, cpu, an index, or part of an adapter's or driver's name.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: DeviceOption,
}

/// A line of stdout.
#[derive(Debug, Serialize)]
struct Line<'a> {
    /// Number of the sentence, from 0.
    sentence: usize,
    tokens: usize,
    /// Tokens that did not fit.
    cut: usize,
    embedding: &'a [f32],
}

/// What is told of a file that was written.
#[derive(Debug, Serialize)]
struct Written {
    output: String,
    device: String,
    sentences: usize,
    width: usize,
    cut: usize,
}

#[derive(Debug, Serialize)]
struct Part {
    part: String,
    operations: usize,
    elements: usize,
    exact: usize,
    worst_over_bound: f64,
    worst_operation: String,
}

impl From<EmbedError> for Failure {
    fn from(error: EmbedError) -> Self {
        match error {
            EmbedError::Engine(error) => error.into(),
            _ => usage(error),
        }
    }
}

pub fn run(common: &CommonOptions, options: &EmbedOptions) -> Result<(), Failure> {
    if let Some(file) = &options.output {
        can_be_written(file)?;
        target::is_another_file(&options.file, file)?;
    }
    if !options.model.is_dir() {
        return Err(Failure::Usage(format!(
            "{}: is no folder; expected one with config.json, tokenizer.json and safetensors weights of a BERT encoder",
            options.model.display()
        )));
    }
    let folder = EncoderFolder::open(&options.model)?;
    tell_other_inputs(
        &options.model,
        None,
        "; an encoder is run with inputs as floats",
    );
    let limit = folder.limit(options.max_tokens);
    let text = read(&options.file)?;
    let mut sentences = Vec::new();
    for line in text.lines() {
        sentences.push(Sentence::new(&folder.tokenizer, line, limit)?);
    }
    if sentences.is_empty() {
        let file = options.file.display();
        return Err(Failure::Usage(format!(
            "{file}: no lines; one sentence on each is needed"
        )));
    }
    tell_cut(&sentences, limit);
    let engine = train::engine(common, &options.device)?;
    let bert = folder.upload(engine.as_ref())?;
    if options.verify {
        return judge(common, engine.as_ref(), &bert, &sentences);
    }
    let width = folder.config.width;
    let vectors = embed(engine.as_ref(), bert, &sentences)?;
    match &options.output {
        None => {
            for (index, (one, vector)) in sentences
                .iter()
                .zip(vectors.chunks_exact(width))
                .enumerate()
            {
                let line = Line {
                    sentence: index,
                    tokens: one.tokens.len(),
                    cut: one.cut,
                    embedding: vector,
                };
                print(&serde_json::to_string(&line).map_err(usage)?)?;
            }
            Ok(())
        }
        Some(file) => {
            write(file, &sentences, &vectors, width)?;
            let written = Written {
                output: file.display().to_string(),
                device: engine.name(),
                sentences: sentences.len(),
                width,
                cut: sentences.iter().filter(|one| one.cut > 0).count(),
            };
            if common.json {
                return print_json(&written);
            }
            print(&format!(
                "{}: {} vectors of {width} from {}",
                written.output, written.sentences, written.device
            ))
        }
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    if file != Path::new("-") {
        return read_text(file).map_err(usage);
    }
    let mut text = String::new();
    let read = std::io::stdin().lock().read_to_string(&mut text);
    read.map_err(|error| Failure::Usage(format!("stdin: {error}")))?;
    Ok(text)
}

fn tell_cut(sentences: &[Sentence], limit: usize) {
    let cut = sentences.iter().filter(|one| one.cut > 0).count();
    if let Some(first) = sentences.iter().position(|one| one.cut > 0) {
        eprintln!(
            "note: {cut} of {} sentences cut to {limit} tokens, line {} the first (by {} tokens)",
            sentences.len(),
            first + 1,
            sentences[first].cut
        );
    }
}

fn embed(engine: &dyn Engine, bert: Bert, sentences: &[Sentence]) -> Result<Vec<f32>, Failure> {
    let tokens: Vec<Vec<u32>> = sentences.iter().map(|one| one.tokens.clone()).collect();
    let began = Instant::now();
    let mut bar = None;
    let made = Embedder::new(engine, bert).embed(&tokens, &mut |done| {
        if bar.is_none() && began.elapsed() > QUIET {
            bar = Some(ProgressBar::new(tokens.len() as u64));
        }
        if let Some(bar) = &bar {
            bar.set_position(done as u64);
        }
        true
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(made?)
}

fn write(
    file: &Path,
    sentences: &[Sentence],
    vectors: &[f32],
    width: usize,
) -> Result<(), Failure> {
    let counts: Vec<i32> = sentences
        .iter()
        .map(|one| one.tokens.len() as i32)
        .collect();
    let shape = vec![sentences.len(), width];
    let tensors = [
        (
            "embeddings".to_owned(),
            HostTensor::from_f32(shape, vectors).map_err(usage)?,
        ),
        (
            "tokens".to_owned(),
            HostTensor::from_i32(vec![counts.len()], &counts).map_err(usage)?,
        ),
    ];
    write_safetensors(file, &tensors, &BTreeMap::new()).map_err(usage)
}

fn judge(
    common: &CommonOptions,
    engine: &dyn Engine,
    bert: &Bert,
    sentences: &[Sentence],
) -> Result<(), Failure> {
    let first = sentences.iter().take(VERIFIED);
    let tokens: Vec<Vec<u32>> = first.map(|one| one.tokens.clone()).collect();
    let parts: Vec<Part> = verify(engine, bert, &tokens)?
        .into_iter()
        .map(|one| Part {
            part: one.part,
            operations: one.operations,
            elements: one.elements,
            exact: one.exact,
            worst_over_bound: one.worst_over_bound,
            worst_operation: one.worst_operation,
        })
        .collect();
    if common.json {
        print_json(&parts)?;
    } else {
        let mut rows = table(&["part", "operations", "elements", "exact", "worst/bound"]);
        for part in &parts {
            rows.add_row([
                part.part.clone().into(),
                number(part.operations),
                number(part.elements),
                number(part.exact),
                number(format!("{:.4}", part.worst_over_bound)),
            ]);
        }
        print(&format!("{}\n{rows}", engine.name()))?;
    }
    match parts.iter().find(|one| one.worst_over_bound > 1.0) {
        None => Ok(()),
        Some(part) => Err(Failure::Mismatch(format!(
            "{} is the first part with an operation over its bound: {} ({:.3} of what is allowed)",
            part.part, part.worst_operation, part.worst_over_bound
        ))),
    }
}
