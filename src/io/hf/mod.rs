//! A model as Hugging Face's libraries store it: a folder of `config.json`, weights in safetensors files,
//! and optionally `generation_config.json`, `tokenizer.json` and `tokenizer_config.json`.

mod config;
mod error;
mod quantized;
mod sentences;
mod shards;

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::read_text;
use config::Fields;

pub use config::{DecoderConfig, DecoderKind, EncoderConfig, ModelConfig};
pub use error::{ConfigError, HfError, ShardError};
pub use quantized::{CodeGroups, LinearError, QuantizationConfig, QuantizedLinear};
pub use sentences::SentenceConfig;
pub use shards::Shards;

/// How a model's authors sample it; what they do not say is `None`, or empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationConfig {
    /// Tokens that end a text.
    pub end_tokens: Vec<u32>,
    /// Divides logits.
    pub temperature: Option<f64>,
    /// Most likely tokens kept.
    pub top_k: Option<usize>,
    /// Share of probability kept.
    pub top_p: Option<f64>,
    /// Divides the logits of tokens already there.
    pub repetition_penalty: Option<f64>,
}

impl GenerationConfig {
    /// Reads a `generation_config.json`.
    ///
    /// # Errors
    /// [`ConfigError::Json`] and [`ConfigError::Field`].
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        let json = Fields::parse(text)?;
        let token = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let end_tokens = match json.get("eos_token_id") {
            None => Some(Vec::new()),
            Some(Value::Array(all)) => all.iter().map(token).collect(),
            Some(one) => token(one).map(|id| vec![id]),
        };
        let float = |field| json.get(field).map(|_| json.float(field)).transpose();
        Ok(Self {
            end_tokens: end_tokens.ok_or_else(|| ConfigError::Field {
                field: "eos_token_id",
                found: json
                    .get("eos_token_id")
                    .map_or_else(String::new, Value::to_string),
                expected: "a token or a list of tokens",
            })?,
            temperature: float("temperature")?,
            top_k: json.optional_count("top_k")?,
            top_p: float("top_p")?,
            repetition_penalty: float("repetition_penalty")?,
        })
    }
}

/// Tokens around a text, as `tokenizer_config.json` spells them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// What a text begins with.
    pub begin: Option<String>,
    /// What ends it.
    pub end: Option<String>,
    /// Whether every text begins with it; `None` where `tokenizer.json` alone says.
    pub adds_begin: Option<bool>,
    /// Whether every text ends with its end, said as that.
    pub adds_end: Option<bool>,
    /// Whether what follows a special token begins with a space, as every text does.
    pub is_legacy: Option<bool>,
    /// Tokens that the vocabulary was extended by, by ids.
    pub added: Vec<AddedToken>,
}

/// A token that is matched in a text as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedToken {
    /// Its id.
    pub id: u32,
    /// Its text.
    pub content: String,
    /// Whether it is no part of what is said.
    pub is_special: bool,
}

impl SpecialTokens {
    /// Reads a `tokenizer_config.json`.
    ///
    /// # Errors
    /// [`ConfigError::Json`] and [`ConfigError::Field`].
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        let json = Fields::parse(text)?;
        let token = |field: &'static str| match json.get(field) {
            None => Ok(None),
            // A token with its properties, or alone.
            Some(Value::Object(of)) => match of.get("content").and_then(Value::as_str) {
                Some(content) => Ok(Some(content.to_owned())),
                None => Err(ConfigError::Field {
                    field,
                    found: "an object without it".to_owned(),
                    expected: "a string, or an object with a content",
                }),
            },
            Some(_) => json.text(field).map(|token| Some(token.to_owned())),
        };
        let flag = |field| json.get(field).map(|_| json.flag(field, false)).transpose();
        const ADDED: &str = "added_tokens_decoder";
        let added = match json.get(ADDED) {
            None => Vec::new(),
            Some(value) => Fields::of(value, ADDED)?.added(ADDED)?,
        };
        Ok(Self {
            begin: token("bos_token")?,
            end: token("eos_token")?,
            adds_begin: flag("add_bos_token")?,
            adds_end: flag("add_eos_token")?,
            is_legacy: flag("legacy")?,
            added,
        })
    }
}

/// A folder with a model.
#[derive(Clone, Debug)]
pub struct HfFolder {
    folder: PathBuf,
}

impl HfFolder {
    /// Names the folder; nothing is read yet.
    #[must_use]
    pub fn new(folder: impl AsRef<Path>) -> Self {
        Self {
            folder: folder.as_ref().to_owned(),
        }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Where a tokenizer would be.
    #[must_use]
    pub fn tokenizer_path(&self) -> PathBuf {
        self.folder.join("tokenizer.json")
    }

    /// Where SentencePiece's model would be, for folders without a `tokenizer.json`.
    #[must_use]
    pub fn sentencepiece_path(&self) -> PathBuf {
        self.folder.join("tokenizer.model")
    }

    /// What the model is made of.
    ///
    /// # Errors
    /// [`HfError::Io`] without a `config.json`, [`HfError::Config`] as [`ModelConfig::from_json`].
    pub fn config(&self) -> Result<ModelConfig, HfError> {
        self.read("config.json", ModelConfig::from_json)
    }

    /// How its linear layers are quantized; `None` where they are not.
    ///
    /// # Errors
    /// As [`Self::config`], and [`HfError::Config`] as [`QuantizationConfig::from_json`].
    pub fn quantization(&self) -> Result<Option<QuantizationConfig>, HfError> {
        self.read("config.json", QuantizationConfig::from_json)
    }

    /// How it is sampled; nothing is said without a `generation_config.json`.
    ///
    /// # Errors
    /// [`HfError::Config`] as [`GenerationConfig::from_json`].
    pub fn generation(&self) -> Result<GenerationConfig, HfError> {
        if !self.folder.join("generation_config.json").exists() {
            return Ok(GenerationConfig::default());
        }
        self.read("generation_config.json", GenerationConfig::from_json)
    }

    /// Tokens around a text; nothing is said without a `tokenizer_config.json`. Added tokens that it does not name are
    /// those of an `added_tokens.json`.
    ///
    /// # Errors
    /// [`HfError::Config`] as [`SpecialTokens::from_json`].
    pub fn special_tokens(&self) -> Result<SpecialTokens, HfError> {
        let mut tokens = SpecialTokens::default();
        if self.folder.join("tokenizer_config.json").exists() {
            tokens = self.read("tokenizer_config.json", SpecialTokens::from_json)?;
        }
        const ADDED: &str = "added_tokens.json";
        if tokens.added.is_empty() && self.folder.join(ADDED).exists() {
            tokens.added = self.read(ADDED, |text| Fields::parse(text)?.added(ADDED))?;
        }
        Ok(tokens)
    }

    /// The chat template of `chat_template.jinja` or `tokenizer_config.json`, if there is one. Of several
    /// named templates it is the one named `default`.
    ///
    /// # Errors
    /// [`HfError::Config`] for a `tokenizer_config.json` of another form.
    pub fn chat_template(&self) -> Result<Option<String>, HfError> {
        let alone = self.folder.join("chat_template.jinja");
        if alone.exists() {
            return Ok(Some(read_text(alone)?));
        }
        if !self.folder.join("tokenizer_config.json").exists() {
            return Ok(None);
        }
        self.read("tokenizer_config.json", |text| {
            let json = Fields::parse(text)?;
            match json.get("chat_template") {
                None => Ok(None),
                Some(Value::String(template)) => Ok(Some(template.clone())),
                Some(Value::Array(named)) => Ok(named
                    .iter()
                    .find(|one| one.get("name").and_then(Value::as_str) == Some("default"))
                    .and_then(|one| one.get("template")?.as_str())
                    .map(str::to_owned)),
                Some(_) => json.text("chat_template").map(|_| None),
            }
        })
    }

    /// How sentences become vectors, by the files of `sentence-transformers`; nothing is said without them.
    ///
    /// # Errors
    /// [`HfError::Config`] as [`SentenceConfig::check_pooling`] and [`SentenceConfig::from_json`].
    pub fn sentences(&self) -> Result<SentenceConfig, HfError> {
        const POOLING: &str = "1_Pooling/config.json";
        const SENTENCES: &str = "sentence_bert_config.json";
        const MODULES: &str = "modules.json";
        if self.folder.join(MODULES).exists() {
            self.read(MODULES, SentenceConfig::check_modules)?;
        }
        if self.folder.join(POOLING).exists() {
            self.read(POOLING, SentenceConfig::check_pooling)?;
        }
        if !self.folder.join(SENTENCES).exists() {
            return Ok(SentenceConfig::default());
        }
        self.read(SENTENCES, SentenceConfig::from_json)
    }

    /// The weights.
    ///
    /// # Errors
    /// As [`Shards::open`].
    pub fn weights(&self) -> Result<Shards, HfError> {
        Shards::open(&self.folder)
    }

    fn read<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, ConfigError>,
    ) -> Result<T, HfError> {
        let file = self.folder.join(name);
        parse(&read_text(&file)?).map_err(|reason| HfError::Config {
            file,
            reason: Box::new(reason),
        })
    }
}

#[cfg(test)]
mod quantized_tests;
#[cfg(test)]
mod tests;
