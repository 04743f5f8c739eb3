//! A decoder that was trained here as a folder of Hugging Face's, which runs as any other.

use std::path::Path;

use serde_json::{Value, json};

use crate::io::atomic::{create_folder, write_bytes};
use crate::io::hf::{DecoderConfig, DecoderKind};
use crate::io::safetensors::write_safetensors;
use crate::models::{Layer, ModelError, NamedTensor, Network as _, Sequential, check_values};
use crate::num::RotaryScaling;

use super::ModelTensor;

/// Writes `config.json`, `model.safetensors` and `tokenizer.json` of a network that
/// [`decoder`](crate::models::decoder) made, with its values in the network's order. `tokenizer` is the text of a
/// `tokenizer.json` whose ids are the network's tokens.
///
/// # Errors
/// [`ModelError::Description`] for a network of other layers, [`ModelError::OtherValues`] for values that are not
/// its own, [`ModelError::Io`] for files that cannot be written.
pub fn save_decoder(
    folder: impl AsRef<Path>,
    network: &Sequential,
    values: &[NamedTensor],
    tokenizer: &str,
) -> Result<(), ModelError> {
    check_values(network, values)?;
    let folder = folder.as_ref();
    let refuse = |reason: &str| ModelError::Description {
        description: network.describe(),
        reason: reason.to_owned(),
    };
    let other = || refuse("only a decoder can be written as a folder of this kind");
    let (Some(&Layer::Embedding { vocabulary, width }), &[length]) =
        (network.layers().first(), network.sample_shape())
    else {
        return Err(other());
    };
    let mut names = vec![ModelTensor::Embedding];
    let mut blocks = Vec::new();
    let mut layers = network.layers()[1..].iter();
    while let Some(layer) = layers.next() {
        let at = blocks.len();
        match (*layer, layers.next()) {
            (Layer::SelfAttention(heads), Some(&Layer::GatedFeedForward { hidden, epsilon })) => {
                if epsilon != heads.epsilon {
                    return Err(refuse("norms of its blocks differ in what they add"));
                }
                blocks.push((heads, hidden));
                names.extend([
                    ModelTensor::AttentionNorm(at),
                    ModelTensor::Q(at),
                    ModelTensor::K(at),
                    ModelTensor::V(at),
                    ModelTensor::AttentionOut(at),
                    ModelTensor::FfnNorm(at),
                    ModelTensor::Gate(at),
                    ModelTensor::Up(at),
                    ModelTensor::Down(at),
                ]);
            }
            (
                Layer::RmsNorm { .. },
                Some(Layer::Linear {
                    has_bias: false, ..
                }),
            ) => names.extend([ModelTensor::OutputNorm, ModelTensor::Head]),
            _ => return Err(other()),
        }
    }
    let (Some(&(heads, hidden)), Some(ModelTensor::Head)) = (blocks.first(), names.last()) else {
        return Err(other());
    };
    if blocks.iter().any(|block| *block != (heads, hidden)) || names.len() != values.len() {
        return Err(refuse(
            "blocks of different sizes have no folder of this kind",
        ));
    }
    let config = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": width,
        "intermediate_size": hidden,
        "max_position_embeddings": length,
        "num_attention_heads": heads.heads,
        "num_hidden_layers": blocks.len(),
        "num_key_value_heads": heads.kv_heads,
        "rms_norm_eps": heads.epsilon,
        "rope_theta": heads.rope_base,
        "tie_word_embeddings": false,
        "torch_dtype": "float32",
        "vocab_size": vocabulary,
    });
    let tensors: Vec<NamedTensor> = names
        .iter()
        .zip(values)
        .map(|(name, (_, value))| (name.hf_name(), value.clone()))
        .collect();
    let write = |name: &str, text: String| write_bytes(&folder.join(name), text.as_bytes());
    create_folder(folder)?;
    // A folder is no model before it has a configuration, so the weights are there first.
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    write_safetensors(folder.join("model.safetensors"), &tensors, &metadata)?;
    write("tokenizer.json", tokenizer.to_owned())?;
    write("config.json", format!("{config:#}\n"))?;
    Ok(())
}

/// A `config.json` of a decoder of these sizes; `is_tied` whether its head is the embedding.
#[must_use]
pub fn decoder_config(config: &DecoderConfig, is_tied: bool) -> Value {
    let (architecture, model_type) = match (config.kind, config.sliding_window) {
        (DecoderKind::Llama, None) => ("LlamaForCausalLM", "llama"),
        (DecoderKind::Llama, Some(_)) | (DecoderKind::Mistral, _) => {
            ("MistralForCausalLM", "mistral")
        }
        (DecoderKind::Qwen2, _) => ("Qwen2ForCausalLM", "qwen2"),
        (DecoderKind::Qwen3, _) => ("Qwen3ForCausalLM", "qwen3"),
    };
    let rope_scaling = match config.rope_scaling {
        RotaryScaling::None => Value::Null,
        RotaryScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RotaryScaling::Llama3 {
            factor,
            low,
            high,
            context,
        } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low,
            "high_freq_factor": high,
            "original_max_position_embeddings": context,
        }),
    };
    json!({
        "architectures": [architecture],
        "model_type": model_type,
        "hidden_act": "silu",
        "hidden_size": config.width,
        "head_dim": config.head_dim,
        "intermediate_size": config.ffn_width,
        "max_position_embeddings": config.context,
        "num_attention_heads": config.n_heads,
        "num_hidden_layers": config.n_layers,
        "num_key_value_heads": config.n_kv_heads,
        "rms_norm_eps": config.rms_epsilon,
        "rope_theta": config.rope_base,
        "rope_scaling": rope_scaling,
        "sliding_window": config.sliding_window,
        "use_sliding_window": config.sliding_window.is_some(),
        "tie_word_embeddings": is_tied,
        "torch_dtype": "float32",
        "vocab_size": config.vocabulary,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::hf::ModelConfig;

    #[test]
    fn a_configuration_is_read_back_as_it_was() {
        let llama3 = RotaryScaling::Llama3 {
            factor: 8.0,
            low: 1.0,
            high: 4.0,
            context: 8192.0,
        };
        for (kind, sliding_window, rope_scaling) in [
            (DecoderKind::Llama, None, llama3),
            (DecoderKind::Mistral, Some(64), RotaryScaling::None),
            (
                DecoderKind::Qwen2,
                None,
                RotaryScaling::Linear { factor: 2.5 },
            ),
            (DecoderKind::Qwen2, Some(32), RotaryScaling::None),
            (DecoderKind::Qwen3, None, RotaryScaling::None),
        ] {
            let config = DecoderConfig {
                kind,
                vocabulary: 48,
                width: 32,
                n_layers: 3,
                ffn_width: 64,
                n_heads: 4,
                n_kv_heads: 2,
                head_dim: 16,
                rope_base: 1234.5,
                rope_scaling,
                rms_epsilon: 1e-6,
                context: 128,
                sliding_window,
                tied_head: Some(true),
            };
            let text = decoder_config(&config, true).to_string();
            let read = ModelConfig::from_json(&text).unwrap();
            assert_eq!(read, ModelConfig::Decoder(config));
        }
    }
}
