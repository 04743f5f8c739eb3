//! What the files of `sentence-transformers` say of how an encoder's hidden states become one vector.

use serde_json::Value;

use super::ConfigError;
use super::config::Fields;
use crate::io::safetensors::shown;

/// How sentences are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentenceConfig {
    /// Most tokens of a sentence, its ends included.
    pub max_tokens: Option<usize>,
}

impl SentenceConfig {
    /// Reads a `sentence_bert_config.json`.
    ///
    /// # Errors
    /// A [`ConfigError`] naming the field, what stands there and what is allowed.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        let max_tokens = Fields::parse(text)?.optional_count("max_seq_length")?;
        Ok(Self { max_tokens })
    }

    /// Refuses a `modules.json` with parts other than an encoder, pooling and division by the length.
    ///
    /// # Errors
    /// [`ConfigError::Unsupported`] with the part.
    pub fn check_modules(text: &str) -> Result<(), ConfigError> {
        let modules: Vec<Value> =
            serde_json::from_str(text).map_err(|reason| ConfigError::Json {
                reason: shown(&reason.to_string()),
            })?;
        for module in &modules {
            let module = Fields::of(module, "module")?;
            let kind = module.text("type")?;
            if !["Transformer", "Pooling", "Normalize"]
                .iter()
                .any(|known| kind.ends_with(known))
            {
                return Err(ConfigError::Unsupported {
                    feature: "a module of the encoder",
                    found: shown(kind),
                    allowed: "Transformer, Pooling, Normalize",
                });
            }
        }
        Ok(())
    }

    /// Refuses a configuration of pooling that is not the mean over tokens.
    ///
    /// # Errors
    /// [`ConfigError::Unsupported`] with what it is.
    pub fn check_pooling(text: &str) -> Result<(), ConfigError> {
        const MEAN: &str = "pooling_mode_mean_tokens";
        let json = Fields::parse(text)?;
        let refused = |found: &str| {
            Err(ConfigError::Unsupported {
                feature: "pooling",
                found: shown(found),
                allowed: MEAN,
            })
        };
        if json.get("pooling_mode").is_some() {
            return match json.text("pooling_mode")? {
                "mean" => Ok(()),
                other => refused(other),
            };
        }
        let modes = [
            "pooling_mode_cls_token",
            "pooling_mode_max_tokens",
            "pooling_mode_mean_sqrt_len_tokens",
            "pooling_mode_weightedmean_tokens",
            "pooling_mode_lasttoken",
        ];
        for mode in modes {
            if json.flag(mode, false)? {
                return refused(mode);
            }
        }
        match json.flag(MEAN, true)? {
            true => Ok(()),
            false => refused("none"),
        }
    }
}
