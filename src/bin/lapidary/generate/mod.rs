//! Language models on the command line: text, perplexity, speed.

mod bench;
mod compress;
mod encoder;
mod inspect;
pub mod made_of;
mod perplexity;
mod run;
mod speed;
mod table;
mod verify;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use lapidary::engine::Engine;
use lapidary::generate::{
    GenerateError, Headers, LanguageModel, SessionOptions, Vocabulary, text_of,
};
use lapidary::io::compressed_tensors::codes::ActivationArgs;
use lapidary::io::hf::HfFolder;
use lapidary::models::llama::{CacheType, Use};
use lapidary::ops::ActivationPath;

use crate::options::{CommonOptions, DeviceOption, Failure};
use crate::train;

pub use bench::{BenchOptions, bench};
pub use compress::{CalibrationOptions, Compressing};
pub use encoder::is_encoder;
pub use inspect::inspect;
pub use perplexity::{PerplexityOptions, perplexity};
pub use run::{RunOptions, run};
pub use verify::verify;

/// Positions that are planned for where a model allows more: memory grows with what is used, a table of angles
/// with what is allowed.
const DEFAULT_CONTEXT: usize = 8192;

/// How activations meet quantized weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activations(ActivationPath);

impl Activations {
    /// As they come.
    pub const FLOAT: Self = Self(ActivationPath::Float);
}

impl std::fmt::Display for Activations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            ActivationPath::Float => "float",
            _ => "int8",
        })
    }
}

impl std::str::FromStr for Activations {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "float" => Ok(Self(ActivationPath::Float)),
            "int8" => Ok(Self(ActivationPath::Int8PerBlock(32))),
            _ => Err("allowed: float, int8".to_owned()),
        }
    }
}

/// How a language model is run.
#[derive(Debug, Clone, Copy, Args)]
pub struct LanguageOptions {
    /// How keys and values are kept: f32, f16 or int8.
    #[arg(long, default_value = "f32", value_name = "TYPE")]
    kv: CacheType,
    /// Most tokens of prompt and text together; by default what the model allows, up to 8192.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    context: Option<u32>,
    /// How activations meet quantized weights: float, or int8 in blocks of 32.
    #[arg(long, default_value = "float", value_name = "HOW")]
    activations: Activations,
    /// Refuse a model whose weights, cache of the whole context and intermediate results need more, before anything is
    /// uploaded: bytes, or a number of K, M or G (1024 of each the one before).
    #[arg(long, value_name = "SIZE")]
    max_memory: Option<ByteCount>,
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteCount(pub u64);

impl std::str::FromStr for ByteCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("K", 10), ("M", 20), ("G", 30)];
        let unit = |(unit, shift): &(&str, u32)| Some((text.strip_suffix(*unit)?, *shift));
        let (number, shift) = units.iter().find_map(unit).unwrap_or((text, 0));
        let bytes: Option<u64> = number.parse().ok();
        bytes
            .and_then(|bytes| bytes.checked_mul(1u64 << shift))
            .map(Self)
            .ok_or_else(|| "allowed: a whole number of bytes, or one with K, M or G".to_owned())
    }
}

/// A model on a device.
struct Opened {
    engine: Box<dyn Engine>,
    model: LanguageModel,
    load_seconds: f64,
}

impl Opened {
    /// For so many texts at the same time. `check` sees the vocabulary and the positions there will be before weights
    /// are read, and what it finds comes back.
    fn new<T>(
        common: &CommonOptions,
        device: &DeviceOption,
        path: &Path,
        (options, texts): (&LanguageOptions, usize),
        check: impl FnOnce(&Vocabulary, usize) -> Result<T, Failure>,
    ) -> Result<(Self, T), Failure> {
        let began = Instant::now();
        let headers = Headers::read(path).map_err(failure)?;
        let checked = check(&headers.vocabulary, headers.context(options.positions()))?;
        let before = began.elapsed();
        let engine = train::engine(common, device)?;
        let began = Instant::now();
        let model = options.open_with(engine.as_ref(), (path, headers.vocabulary), texts)?;
        let opened = Self {
            engine,
            model,
            load_seconds: (before + began.elapsed()).as_secs_f64(),
        };
        Ok((opened, checked))
    }
}

/// A prompt that can be read, with `more` tokens behind it.
fn check_prompt(tokens: &[u32], more: usize, context: usize) -> Result<(), Failure> {
    if tokens.is_empty() {
        return Err(failure(GenerateError::EmptyPrompt));
    }
    if tokens.len() + more > context {
        return Err(failure(GenerateError::ContextFull {
            position: 0,
            more: tokens.len() + more,
            context,
        }));
    }
    Ok(())
}

impl LanguageOptions {
    /// Positions that are asked for; a model may have fewer.
    fn positions(&self) -> usize {
        self.context.map_or(DEFAULT_CONTEXT, |n| n as usize)
    }

    /// What is planned for so many texts.
    fn planned(&self, texts: usize) -> Use {
        Use {
            texts,
            ..text_of(self.positions(), self.kv)
        }
    }

    /// Bytes that may be taken.
    fn most(&self) -> Option<u64> {
        self.max_memory.map(|ByteCount(bytes)| bytes)
    }

    /// Puts a model on a device.
    fn open_with(
        &self,
        engine: &dyn Engine,
        (path, vocabulary): (&Path, Vocabulary),
        texts: usize,
    ) -> Result<LanguageModel, Failure> {
        let how = self.planned(texts);
        let run_with = match self.activations.0 {
            ActivationPath::Int8PerBlock(size) => Some(ActivationArgs::Group(size)),
            _ => None,
        };
        tell_other_inputs(path, run_with, "; --activations says how they are run");
        let model = LanguageModel::open_with(engine, (path, vocabulary), how, self.most());
        let mut model = model.map_err(failure)?;
        model.llama = model.llama.with_activations(self.activations.0);
        if self.activations.0 != ActivationPath::Float && !model.llama.is_quantized() {
            eprintln!(
                "note: {}: no weight is quantized, so --activations changes nothing",
                path.display()
            );
        }
        Ok(model)
    }

    fn session(&self, n_candidates: usize) -> SessionOptions {
        SessionOptions {
            cache: self.kv,
            n_candidates,
            ..SessionOptions::default()
        }
    }
}

/// Says on stderr that a folder's `input_activations` are not what its layers are run with. What cannot be read is said by
/// whoever reads the weights.
pub fn tell_other_inputs(path: &Path, run_with: Option<ActivationArgs>, advice: &str) {
    if !path.is_dir() {
        return;
    }
    let config = HfFolder::new(path).quantization().ok().flatten();
    if let Some(said) = config.as_ref().and_then(|one| one.other_inputs(run_with)) {
        eprintln!(
            "note: {}: the input_activations of its config.json are not followed: {said}{advice}",
            path.display()
        );
    }
}

/// Whether a file is a GGUF file, by its name or by how it begins.
pub fn is_gguf(path: &Path) -> bool {
    let begins = || {
        let mut magic = [0; 4];
        let file = std::fs::File::open(path);
        let read = file.and_then(|mut file| file.read_exact(&mut magic));
        read.is_ok() && &magic == b"GGUF"
    };
    path.extension().is_some_and(|one| one == "gguf") || (path.is_file() && begins())
}

/// Whether a path is a language model, by what it is: a GGUF file, or a folder with a `config.json` and a
/// tokenizer.
pub fn is_language_model(path: &Path) -> bool {
    let has = |name: &str| PathBuf::from(path).join(name).exists();
    let has_tokenizer = has("tokenizer.json") || has("tokenizer.model");
    is_gguf(path) || (path.is_dir() && has("config.json") && has_tokenizer)
}

/// What such a path has, for messages.
pub fn kind(path: &Path) -> &'static str {
    match is_encoder(path) {
        true => "an encoder",
        false => "a language model",
    }
}

fn failure(error: GenerateError) -> Failure {
    match error {
        GenerateError::Engine(error) => error.into(),
        stopped @ GenerateError::Stopped { .. } => Failure::Mismatch(stopped.to_string()),
        other => Failure::Usage(other.to_string()),
    }
}
