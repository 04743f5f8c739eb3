//! What a model is made of, as its `config.json` or its GGUF metadata say.

use serde_json::Value;

use super::{AddedToken, ConfigError};
use crate::io::gguf::Metadata;
use crate::io::safetensors::shown;
use crate::num::RotaryScaling;

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
    /// What the frequencies become; GGUF files may hold a factor for each pair besides.
    pub rope_scaling: RotaryScaling,
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
        let rope_base = format!("{architecture}.rope.freq_base");
        let epsilon = format!("{architecture}.attention.layer_norm_rms_epsilon");
        let (width, n_heads) = (count("embedding_length")?, count("attention.head_count")?);
        let head_dim = match optional("attention.key_length")? {
            Some(head_dim) => head_dim,
            None => divide("embedding_length", width, "head_count", n_heads)?,
        };
        gguf_as_usual(metadata, architecture, head_dim)?;
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
                Some(_) => gguf_above_zero(metadata, &rope_base)?,
                None => 10_000.0,
            },
            rope_scaling: gguf_rope_scaling(metadata, architecture)?,
            rms_epsilon: gguf_above_zero(metadata, &epsilon)?,
            context: count("context_length")?,
            sliding_window: gguf_window(metadata, architecture)?,
            tied_head: None,
        })
    }
}

/// A size, which is never 0.
fn gguf_count(metadata: &Metadata, key: &str) -> Result<usize, ConfigError> {
    let value = metadata.count(key)?;
    let count = usize::try_from(value).ok().filter(|&count| count > 0);
    count.ok_or_else(|| unsupported_key(key, &value, "1 to what memory can address"))
}

fn unsupported_key(key: &str, found: &dyn std::fmt::Display, allowed: &'static str) -> ConfigError {
    ConfigError::Key {
        key: key.to_owned(),
        found: shown(&found.to_string()),
        allowed,
    }
}

/// A number that f32 holds as a normal one.
fn is_above_zero(value: f64) -> bool {
    value > 0.0 && (value as f32).is_normal()
}

fn gguf_above_zero(metadata: &Metadata, key: &str) -> Result<f64, ConfigError> {
    let value = metadata.float(key)?;
    match is_above_zero(value) {
        true => Ok(value),
        false => Err(unsupported_key(key, &value, ABOVE_ZERO)),
    }
}

/// A window of 0 is none.
fn gguf_window(metadata: &Metadata, architecture: &str) -> Result<Option<usize>, ConfigError> {
    let key = format!("{architecture}.attention.sliding_window");
    match metadata.get(&key) {
        Some(_) if metadata.count(&key)? > 0 => gguf_count(metadata, &key).map(Some),
        _ => Ok(None),
    }
}

/// Without a type a factor is that of linear scaling, as llama.cpp reads it; its older name has none.
fn gguf_rope_scaling(
    metadata: &Metadata,
    architecture: &str,
) -> Result<RotaryScaling, ConfigError> {
    let key = |name: &str| format!("{architecture}.rope.{name}");
    let kind = key("scaling.type");
    if metadata.get(&kind).is_some() {
        match metadata.text(&kind)? {
            "none" => return Ok(RotaryScaling::None),
            "linear" => {}
            other => return Err(unsupported_key(&kind, &other, "none, linear")),
        }
    }
    for factor in [key("scaling.factor"), key("scale_linear")] {
        if metadata.get(&factor).is_some() && metadata.float(&factor)? != 0.0 {
            let factor = gguf_above_zero(metadata, &factor)?;
            return Ok(RotaryScaling::Linear { factor });
        }
    }
    Ok(RotaryScaling::None)
}

/// Refuses keys that change what a decoder computes and that are not what they are elsewhere.
fn gguf_as_usual(
    metadata: &Metadata,
    architecture: &str,
    head_dim: usize,
) -> Result<(), ConfigError> {
    let widths = [
        "rope.dimension_count",
        "attention.key_length",
        "attention.value_length",
    ];
    for name in widths {
        let key = format!("{architecture}.{name}");
        if metadata.get(&key).is_some() && metadata.count(&key)? != head_dim as u64 {
            return Err(unsupported_key(
                &key,
                &metadata.count(&key)?,
                "the width of a head",
            ));
        }
    }
    let experts = format!("{architecture}.expert_count");
    if metadata.get(&experts).is_some() && metadata.count(&experts)? != 0 {
        return Err(unsupported_key(&experts, &metadata.count(&experts)?, "0"));
    }
    let factors = [
        "rope.scaling.attn_factor",
        "logit_scale",
        "embedding_scale",
        "residual_scale",
    ];
    for name in factors {
        let key = format!("{architecture}.{name}");
        if metadata.get(&key).is_some() && metadata.float(&key)? != 1.0 {
            return Err(unsupported_key(&key, &metadata.float(&key)?, "1"));
        }
    }
    Ok(())
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

const ABOVE_ZERO: &str = "numbers above 0 that f32 can hold";

fn unsupported_rope(found: &str) -> ConfigError {
    ConfigError::Unsupported {
        feature: "rope scaling",
        found: shown(found),
        allowed: "default, linear, llama3",
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

    fn above_zero(&self, field: &'static str) -> Result<f64, ConfigError> {
        let value = self.float(field)?;
        match is_above_zero(value) {
            true => Ok(value),
            false => Err(self.wrong(field, "a number above 0 that f32 can hold")),
        }
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
        let (rope_base, rope_scaling) = self.rope()?;
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
            rope_scaling,
            rms_epsilon: self.above_zero("rms_norm_eps")?,
            context: self.count("max_position_embeddings")?,
            sliding_window,
            tied_head: Some(self.flag("tie_word_embeddings", false)?),
        })
    }

    /// Base and scaling of the rotation, which are fields of their own, or all in `rope_parameters`.
    fn rope(&self) -> Result<(f64, RotaryScaling), ConfigError> {
        let within = match (self.get("rope_parameters"), self.get("rope_scaling")) {
            (Some(parameters), _) => Self::of(parameters, "rope_parameters")?,
            (None, Some(scaling)) => Self::of(scaling, "rope_scaling")?,
            (None, None) => Self(serde_json::Map::new()),
        };
        let base = match [&within, self]
            .into_iter()
            .find(|fields| fields.get("rope_theta").is_some())
        {
            Some(fields) => fields.above_zero("rope_theta")?,
            None => 10_000.0,
        };
        for fields in [&within, self] {
            const PART: &str = "partial_rotary_factor";
            if fields.get(PART).is_some() && fields.float(PART)? != 1.0 {
                return Err(ConfigError::Unsupported {
                    feature: PART,
                    found: fields.float(PART)?.to_string(),
                    allowed: "1",
                });
            }
        }
        let kind = ["rope_type", "type"]
            .into_iter()
            .find(|kind| within.get(kind).is_some());
        let scaling = match kind.map(|kind| within.text(kind)).transpose()? {
            // A factor whose use is not said.
            None if within.get("factor").is_some() => {
                return Err(unsupported_rope(&Value::Object(within.0).to_string()));
            }
            None | Some("default") => RotaryScaling::None,
            Some("linear") => RotaryScaling::Linear {
                factor: within.above_zero("factor")?,
            },
            Some("llama3") => {
                let (low, high) = (
                    within.above_zero("low_freq_factor")?,
                    within.above_zero("high_freq_factor")?,
                );
                if low >= high {
                    return Err(within.wrong("low_freq_factor", "less than high_freq_factor"));
                }
                RotaryScaling::Llama3 {
                    factor: within.above_zero("factor")?,
                    low,
                    high,
                    context: within.above_zero("original_max_position_embeddings")?,
                }
            }
            Some(other) => return Err(unsupported_rope(other)),
        };
        Ok((base, scaling))
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
        let head = divide("hidden_size", width, "num_attention_heads", n_heads)?;
        divide("head width", head, "numbers read together,", 4)?;
        Ok(ModelConfig::Encoder(EncoderConfig {
            vocabulary: self.count("vocab_size")?,
            width,
            n_layers: self.count("num_hidden_layers")?,
            ffn_width: self.count("intermediate_size")?,
            n_heads,
            norm_epsilon: self.above_zero("layer_norm_eps")?,
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
