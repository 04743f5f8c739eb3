//! A language model that another is made of: its weights, the files beside them, and what names it.

use std::path::Path;

use lapidary::io::gguf::{GgufFile, Metadata};
use lapidary::io::{file_sha256, files_with_extension, read_bytes, read_text, sha256};
use lapidary::models::llama::{GgufWeights, HfWeights, ModelTensor, WeightSource, decoder_config};
use lapidary::text::Tokenizer;
use serde_json::{Value, json};

use crate::options::Failure;
use crate::train::usage;

/// What lies beside the weights of a folder and is copied.
const BESIDE: [&str; 10] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "generation_config.json",
    "LICENSE",
];

/// The base of a compressed model.
pub enum Base {
    Gguf(GgufFile),
    Folder(HfWeights),
}

impl Base {
    pub fn open(path: &Path) -> Result<Self, Failure> {
        Ok(match path.is_dir() {
            true => Self::Folder(HfWeights::open(path).map_err(usage)?),
            false => Self::Gguf(GgufFile::open(path).map_err(usage)?),
        })
    }

    /// Does something with its weights.
    pub fn with_source<T>(
        &self,
        run: impl FnOnce(&dyn WeightSource) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        match self {
            Self::Gguf(file) => run(&GgufWeights::new(file).map_err(usage)?),
            Self::Folder(weights) => run(weights),
        }
    }

    /// SHA-256 of a file, or over those of a folder's weights.
    pub fn sha256(&self) -> Result<String, Failure> {
        match self {
            Self::Gguf(file) => Ok(file_sha256(file.path()).map_err(usage)?.0),
            Self::Folder(weights) => folder_sha256(weights.path()),
        }
    }

    /// Its configuration as a folder has it.
    pub fn config(&self) -> Result<Value, Failure> {
        match self {
            Self::Folder(weights) => {
                let text = read_text(weights.path().join("config.json")).map_err(usage)?;
                serde_json::from_str(&text).map_err(usage)
            }
            Self::Gguf(file) => {
                let source = GgufWeights::new(file).map_err(usage)?;
                if source.rotary_factors().map_err(usage)?.is_some() {
                    return Err(Failure::Usage(format!(
                        "{}: has factors of its rotation (rope_freqs.weight), for which config.json of a folder has no \
                         place; allowed: an OUT that ends in .gguf",
                        file.path().display()
                    )));
                }
                let is_tied = !source.has(ModelTensor::Head);
                Ok(decoder_config(&source.config().map_err(usage)?, is_tied))
            }
        }
    }

    /// The files beside its weights, as a folder has them.
    pub fn files(&self) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        let mut files = Vec::new();
        match self {
            Self::Folder(weights) => {
                for name in BESIDE {
                    let path = weights.path().join(name);
                    if path.exists() {
                        files.push((name.to_owned(), read_bytes(&path).map_err(usage)?));
                    }
                }
            }
            Self::Gguf(file) => {
                let metadata = file.metadata();
                let tokenizer = Tokenizer::gguf_json(metadata).map_err(usage)?;
                files.push(("tokenizer.json".to_owned(), tokenizer.into_bytes()));
                for (name, value) in tokens_around(metadata)? {
                    files.push((name.to_owned(), format!("{value:#}\n").into_bytes()));
                }
            }
        }
        Ok(files)
    }
}

/// SHA-256 of what names a GGUF file or a folder with safetensors weights.
pub fn base_sha256(path: &Path) -> Result<String, Failure> {
    match path.is_dir() {
        true => folder_sha256(path),
        false => Ok(file_sha256(path).map_err(usage)?.0),
    }
}

/// SHA-256 over those of a folder's weights and its configuration.
pub fn folder_sha256(folder: &Path) -> Result<String, Failure> {
    let mut files = files_with_extension(folder, "safetensors").map_err(usage)?;
    files.push(folder.join("config.json"));
    let mut lines = Vec::new();
    for file in files {
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        lines.push(format!("{} {name}\n", file_sha256(&file).map_err(usage)?.0));
    }
    Ok(sha256(lines.iter().map(String::as_bytes)))
}

/// Refuses a base that is in codes already.
pub fn refuse_coded(path: &Path, is_coded: bool) -> Result<(), Failure> {
    match is_coded {
        false => Ok(()),
        true => Err(Failure::Usage(format!(
            "{}: its weights are in codes already; allowed: the model that it was made of",
            path.display()
        ))),
    }
}

/// `tokenizer_config.json` and `generation_config.json` of a GGUF file's metadata.
fn tokens_around(metadata: &Metadata) -> Result<[(&'static str, Value); 2], Failure> {
    let tokens = metadata.texts("tokenizer.ggml.tokens").map_err(usage)?;
    let id = |key: &str| -> Result<Option<u64>, Failure> {
        let found = metadata.get(key).map(|_| metadata.count(key));
        found.transpose().map_err(usage)
    };
    let (begin, end) = (
        id("tokenizer.ggml.bos_token_id")?,
        id("tokenizer.ggml.eos_token_id")?,
    );
    let word = |id: Option<u64>| tokens.get(usize::try_from(id?).ok()?);
    const TEMPLATE: &str = "tokenizer.chat_template";
    let template = match metadata.get(TEMPLATE) {
        Some(_) => Some(metadata.text(TEMPLATE).map_err(usage)?),
        None => None,
    };
    let mut tokenizer = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": word(begin),
        "eos_token": word(end),
    });
    if let Some(template) = template {
        tokenizer["chat_template"] = json!(template);
    }
    let generation = json!({"bos_token_id": begin, "eos_token_id": end});
    Ok([
        ("tokenizer_config.json", tokenizer),
        ("generation_config.json", generation),
    ])
}
