//! What a model is made of, as its `config.json` or its GGUF metadata say.

use serde_json::Value;

use super::{AddedToken, ConfigError};
use crate::io::gguf::Metadata;
use crate::io::safetensors::shown;

/// Decoders that differ in configuration only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecoderKind {
    /// Llama, and whatever calls itself so (SmolLM2).
    Llama,
    /// Llama with a sliding window.
    Mistral,
    /// Llama with biases on q, k and v.
    Qwen2,
    /// Llama with RMS norms on q and k.
    Qwen3,
}

/// Sizes of a decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
    /// Which one.
    pub kind: DecoderKind,
    /// Tokens.
    pub vocabulary: usize,
    /// Width of the hidden state.
    pub width: usize,
    /// Layers.
    pub n_layers: usize,
    /// Width within the feed-forward part.
    pub ffn_width: usize,
    /// Heads of q.
    pub n_heads: usize,
    /// Heads of k and v.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Base of the rotation frequencies.
    pub rope_base: f64,
    /// Added to the mean square before its root.
    pub rms_epsilon: f64,
    /// Most tokens.
    pub context: usize,
    /// Tokens a position sees, if fewer than all before it.
    pub sliding_window: Option<usize>,
    /// Whether the output head is the embedding. GGUF does not say: there it is so when the file has no
    /// `output.weight`.
    pub tied_head: Option<bool>,
}

/// Sizes of a BERT encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderConfig {
    /// Tokens.
    pub vocabulary: usize,
    /// Width of the hidden state.
    pub width: usize,
    /// Layers.
    pub n_layers: usize,
    /// Width within the feed-forward part.
    pub ffn_width: usize,
    /// Heads.
    pub n_heads: usize,
    /// Added to the variance before its root.
    pub norm_epsilon: f64,
    /// Most tokens.
    pub context: usize,
}

/// A model.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelConfig {
    /// Predicts tokens.
    Decoder(DecoderConfig),
    /// Makes vectors.
    Encoder(EncoderConfig),
}

impl ModelConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// A [`ConfigError`] naming the field, what stands there and what is allowed; for model types,
    /// activations and rope scalings that are not known too.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        let json = Fields::parse(text)?;
        match json.text("model_type")? {
            "llama" => json.decoder(DecoderKind::Llama),
            "mistral" => json.decoder(DecoderKind::Mistral),
            "qwen2" => json.decoder(DecoderKind::Qwen2),
            "qwen3" => json.decoder(DecoderKind::Qwen3),
            "bert" => json.encoder(),
            found => Err(ConfigError::UnknownArchitecture {
                found: shown(found),
            }),
        }
    }

    /// Reads the metadata of a GGUF file.
    ///
    /// # Errors
    /// As [`Self::from_json`].
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, ConfigError> {
        let architecture = metadata.text("general.architecture")?;
        let kind = match architecture {
            "llama" => DecoderKind::Llama,
            "qwen2" => DecoderKind::Qwen2,
            "qwen3" => DecoderKind::Qwen3,
            "bert" => return gguf_encoder(metadata),
            found => {
                return Err(ConfigError::UnknownArchitecture {
                    found: shown(found),
                });
            }
        };
        let count = |key: &str| gguf_count(metadata, &format!("{architecture}.{key}"));
        let optional = |key: &str| -> Result<Option<usize>, ConfigError> {
            let key = format!("{architecture}.{key}");
            let found = metadata.get(&key);
            found.map(|_| gguf_count(metadata, &key)).transpose()
        };
        let scaling = format!("{architecture}.rope.scaling.type");
        if metadata.get(&scaling).is_some() && metadata.text(&scaling)? != "none" {
            return Err(unsupported_rope(metadata.text(&scaling)?));
        }
        let rope_base = format!("{architecture}.rope.freq_base");
        let epsilon = format!("{architecture}.attention.layer_norm_rms_epsilon");
        let (width, n_heads) = (count("embedding_length")?, count("attention.head_count")?);
        let head_dim = match optional("attention.key_length")? {
            Some(head_dim) => head_dim,
            None => divide("embedding_length", width, "head_count", n_heads)?,
        };
        checked(DecoderConfig {
            kind,
            vocabulary: metadata.texts("tokenizer.ggml.tokens")?.len(),
            width,
            n_layers: count("block_count")?,
            ffn_width: count("feed_forward_length")?,
            n_heads,
            n_kv_heads: optional("attention.head_count_kv")?.unwrap_or(n_heads),
            head_dim,
            rope_base: match metadata.get(&rope_base) {
                Some(_) => metadata.float(&rope_base)?,
                None => 10_000.0,
            },
            rms_epsilon: metadata.float(&epsilon)?,
            context: count("context_length")?,
            sliding_window: optional("attention.sliding_window")?,
            tied_head: None,
        })
    }
}

fn gguf_count(metadata: &Metadata, key: &str) -> Result<usize, ConfigError> {
    let value = metadata.count(key)?;
    usize::try_from(value).map_err(|_| ConfigError::Unsupported {
        feature: "a size",
        found: value.to_string(),
        allowed: "what memory can address",
    })
}

fn gguf_encoder(metadata: &Metadata) -> Result<ModelConfig, ConfigError> {
    let count = |key: &str| gguf_count(metadata, key);
    let (width, n_heads) = (
        count("bert.embedding_length")?,
        count("bert.attention.head_count")?,
    );
    divide("embedding_length", width, "head_count", n_heads)?;
    Ok(ModelConfig::Encoder(EncoderConfig {
        vocabulary: metadata.texts("tokenizer.ggml.tokens")?.len(),
        width,
        n_layers: count("bert.block_count")?,
        ffn_width: count("bert.feed_forward_length")?,
        n_heads,
        norm_epsilon: metadata.float("bert.attention.layer_norm_epsilon")?,
        context: count("bert.context_length")?,
    }))
}

fn unsupported_rope(found: &str) -> ConfigError {
    ConfigError::Unsupported {
        feature: "rope scaling",
        found: shown(found),
        allowed: "none",
    }
}

fn divide(
    what: &'static str,
    value: usize,
    of: &'static str,
    divisor: usize,
) -> Result<usize, ConfigError> {
    if divisor == 0 || !value.is_multiple_of(divisor) {
        return Err(ConfigError::NotMultiple {
            what,
            value,
            of,
            divisor,
        });
    }
    Ok(value / divisor)
}

/// Refuses heads that cannot be grouped, or rotated in pairs.
fn checked(config: DecoderConfig) -> Result<ModelConfig, ConfigError> {
    divide(
        "query heads",
        config.n_heads,
        "key heads",
        config.n_kv_heads,
    )?;
    divide("head width", config.head_dim, "a pair,", 2)?;
    Ok(ModelConfig::Decoder(config))
}

/// A JSON object, read field by field.
pub(super) struct Fields(serde_json::Map<String, Value>);

impl Fields {
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        match serde_json::from_str(text) {
            Ok(Value::Object(map)) => Ok(Self(map)),
            Ok(_) => Err(ConfigError::Json {
                reason: "expected an object".to_owned(),
            }),
            Err(reason) => Err(ConfigError::Json {
                reason: shown(&reason.to_string()),
            }),
        }
    }

    /// An object within another.
    pub fn of(value: &Value, field: &'static str) -> Result<Self, ConfigError> {
        match value {
            Value::Object(map) => Ok(Self(map.clone())),
            other => Err(ConfigError::Field {
                field,
                found: shown(&other.to_string()),
                expected: "an object",
            }),
        }
    }

    /// A field; `None` if it is missing or null.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    fn wrong(&self, field: &'static str, expected: &'static str) -> ConfigError {
        let found = match self.0.get(field) {
            None => "missing".to_owned(),
            Some(value) => shown(&value.to_string()),
        };
        ConfigError::Field {
            field,
            found,
            expected,
        }
    }

    /// Added tokens by ids: ids with their tokens, or tokens with their ids.
    pub fn added(&self, field: &'static str) -> Result<Vec<AddedToken>, ConfigError> {
        let wrong = |found: String| ConfigError::Field {
            field,
            found: shown(&found),
            expected: "tokens with their ids, each once",
        };
        let read = |(key, value): (&String, &Value)| {
            let (id, content, is_special) = match value {
                Value::Object(of) => (
                    key.parse().ok(),
                    of.get("content")?.as_str()?,
                    of.get("special").and_then(Value::as_bool).unwrap_or(false),
                ),
                // Nothing else is said of it; tokens with brackets are special in all such files.
                id => (id.as_u64(), key.as_str(), key.starts_with('<')),
            };
            let id = u32::try_from(id?).ok()?;
            Some(AddedToken {
                id,
                content: content.to_owned(),
                is_special,
            })
        };
        let tokens = self
            .0
            .iter()
            .map(|pair| read(pair).ok_or_else(|| wrong(format!("{}: {}", pair.0, pair.1))));
        let mut tokens = tokens.collect::<Result<Vec<_>, _>>()?;
        tokens.sort_by_key(|token| token.id);
        match tokens.windows(2).find(|two| two[0].id == two[1].id) {
            Some(two) => Err(wrong(format!("{} twice", two[0].id))),
            None => Ok(tokens),
        }
    }

    pub fn text(&self, field: &'static str) -> Result<&str, ConfigError> {
        let value = self.get(field).and_then(Value::as_str);
        value.ok_or_else(|| self.wrong(field, "a string"))
    }

    pub fn count(&self, field: &'static str) -> Result<usize, ConfigError> {
        let value = self.get(field).and_then(Value::as_u64);
        let value = value.and_then(|value| usize::try_from(value).ok());
        value
            .filter(|&value| value > 0)
            .ok_or_else(|| self.wrong(field, "an integer of at least 1"))
    }

    pub fn optional_count(&self, field: &'static str) -> Result<Option<usize>, ConfigError> {
        self.get(field).map(|_| self.count(field)).transpose()
    }

    pub fn float(&self, field: &'static str) -> Result<f64, ConfigError> {
        let value = self.get(field).and_then(Value::as_f64);
        value.ok_or_else(|| self.wrong(field, "a number"))
    }

    pub fn flag(&self, field: &'static str, default: bool) -> Result<bool, ConfigError> {
        match self.get(field) {
            None => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| self.wrong(field, "true or false")),
        }
    }

    fn decoder(&self, kind: DecoderKind) -> Result<ModelConfig, ConfigError> {
        self.one_of("hidden_act", "silu")?;
        if let Some(scaling) = self.get("rope_scaling") {
            let name = scaling.get("rope_type").or_else(|| scaling.get("type"));
            match name.and_then(Value::as_str) {
                Some("default") => {}
                Some(other) => return Err(unsupported_rope(other)),
                None => return Err(unsupported_rope(&scaling.to_string())),
            }
        }
        // Qwen2 has biases that its configuration does not speak of.
        for field in ["attention_bias", "mlp_bias"] {
            if kind != DecoderKind::Qwen2 && self.flag(field, false)? {
                return Err(ConfigError::Unsupported {
                    feature: field,
                    found: "true".to_owned(),
                    allowed: "false",
                });
            }
        }
        let (width, n_heads) = (
            self.count("hidden_size")?,
            self.count("num_attention_heads")?,
        );
        let head_dim = match self.optional_count("head_dim")? {
            Some(head_dim) => head_dim,
            None => divide("hidden_size", width, "num_attention_heads", n_heads)?,
        };
        // Qwen files name a window that only counts when it is switched on.
        let windowed = match kind {
            DecoderKind::Mistral => true,
            DecoderKind::Llama => false,
            DecoderKind::Qwen2 | DecoderKind::Qwen3 => self.flag("use_sliding_window", false)?,
        };
        let sliding_window = match windowed {
            true => self.optional_count("sliding_window")?,
            false => None,
        };
        let rope_base = match self.get("rope_theta") {
            Some(_) => self.float("rope_theta")?,
            None => 10_000.0,
        };
        checked(DecoderConfig {
            kind,
            vocabulary: self.count("vocab_size")?,
            width,
            n_layers: self.count("num_hidden_layers")?,
            ffn_width: self.count("intermediate_size")?,
            n_heads,
            n_kv_heads: self
                .optional_count("num_key_value_heads")?
                .unwrap_or(n_heads),
            head_dim,
            rope_base,
            rms_epsilon: self.float("rms_norm_eps")?,
            context: self.count("max_position_embeddings")?,
            sliding_window,
            tied_head: Some(self.flag("tie_word_embeddings", false)?),
        })
    }

    fn encoder(&self) -> Result<ModelConfig, ConfigError> {
        self.one_of("hidden_act", "gelu")?;
        if self.get("position_embedding_type").is_some() {
            self.one_of("position_embedding_type", "absolute")?;
        }
        let (width, n_heads) = (
            self.count("hidden_size")?,
            self.count("num_attention_heads")?,
        );
        divide("hidden_size", width, "num_attention_heads", n_heads)?;
        Ok(ModelConfig::Encoder(EncoderConfig {
            vocabulary: self.count("vocab_size")?,
            width,
            n_layers: self.count("num_hidden_layers")?,
            ffn_width: self.count("intermediate_size")?,
            n_heads,
            norm_epsilon: self.float("layer_norm_eps")?,
            context: self.count("max_position_embeddings")?,
        }))
    }

    fn one_of(&self, field: &'static str, allowed: &'static str) -> Result<(), ConfigError> {
        let found = self.text(field)?;
        if found == allowed {
            return Ok(());
        }
        Err(ConfigError::Unsupported {
            feature: field,
            found: shown(found),
            allowed,
        })
    }
}
