//! `config.json` of an artifact.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Activations, Model, Stored, layer_of, storage};
use crate::io::compressed_tensors::codes::{ActivationArgs, CodesFormat, WeightArgs};
use crate::models::{Layer, Network};
use crate::num::{StoredFormat, Values};

/// `format` of a configuration.
pub const ARTIFACT_FORMAT: &str = "lapidary-model-1";
/// The tensors.
pub const MODEL_FILE: &str = "model.safetensors";
/// The network.
pub const CONFIG_FILE: &str = "config.json";
/// Where it came from.
pub const RECEIPT_FILE: &str = "receipt.json";

/// What is in `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub format: String,
    /// Kind and extents, for people.
    pub network: String,
    pub sample_shape: Vec<usize>,
    pub layers: Vec<Layer>,
    pub input_mean: Vec<f32>,
    pub input_std: Vec<f32>,
    /// Weights that are not f32, by layer.
    #[serde(default)]
    pub weights: BTreeMap<String, WeightConfig>,
    /// The same for tools that read compressed-tensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization_config: Option<Value>,
}

/// How one weight is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WeightConfig {
    /// `pack-quantized`, `int-quantized`, `sparse-24-bitmask`, `sparse-bitmask`, `lapidary-sparse`, `lapidary-spread`
    /// or `lapidary-levels`.
    pub storage: String,
    pub shape: Vec<usize>,
    /// Codes, of the weight or of its kept values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_activations: Option<Value>,
    /// Of a pruned weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<storage::Layout>,
    /// Of a pruned weight's float values: `f32` or `f16`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<String>,
    /// Of codes of levels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub levels: Option<storage::Levels>,
}

impl Config {
    pub fn of(model: &Model) -> Self {
        let network = model.network();
        let weights: BTreeMap<String, WeightConfig> = model
            .tensors()
            .iter()
            .filter_map(|(name, stored)| {
                Some((layer_of(name).to_owned(), WeightConfig::of(stored)?))
            })
            .collect();
        Self {
            format: ARTIFACT_FORMAT.to_owned(),
            network: network.describe(),
            sample_shape: network.sample_shape().to_vec(),
            layers: network.layers().to_vec(),
            input_mean: model.inputs().mean().to_vec(),
            input_std: model.inputs().std().to_vec(),
            quantization_config: quantization_config(model, &weights),
            weights,
        }
    }
}

impl WeightConfig {
    fn of(stored: &Stored) -> Option<Self> {
        let input_activations = |activations: &Activations| match activations {
            Activations::Float => None,
            Activations::Int8PerRow => Some(ActivationArgs::Token.to_json()),
            Activations::Int8PerBlock(size) => Some(ActivationArgs::Group(*size).to_json()),
            Activations::Int8Static(_) => Some(ActivationArgs::Tensor.to_json()),
        };
        match stored {
            Stored::Float(_) => None,
            Stored::Quantized {
                shape,
                matrix,
                activations,
            } => {
                let (storage, args) = storage::codes_args(matrix);
                Some(Self {
                    storage,
                    shape: shape.clone(),
                    weights: Some(args.to_json()),
                    input_activations: input_activations(activations),
                    layout: None,
                    values: None,
                    levels: None,
                })
            }
            Stored::Levels { shape, matrix } => Some(Self {
                storage: storage::LAPIDARY_LEVELS.to_owned(),
                shape: shape.clone(),
                weights: None,
                input_activations: None,
                layout: None,
                values: None,
                levels: Some(storage::Levels::of(matrix)),
            }),
            Stored::Sparse {
                shape,
                matrix,
                activations,
            } => {
                let (weights, values) = match matrix.values() {
                    Values::Quantized(codes) => {
                        (Some(WeightArgs::of(codes.format()).to_json()), None)
                    }
                    Values::Float(rows) => {
                        let name = StoredFormat::Float(rows.value_type()).to_string();
                        (None, Some(name))
                    }
                };
                Some(Self {
                    storage: storage::sparse_storage(matrix).to_owned(),
                    shape: shape.clone(),
                    weights,
                    input_activations: input_activations(activations),
                    layout: Some(storage::Layout::of(matrix)),
                    values,
                    levels: None,
                })
            }
        }
    }
}

/// `quantization_config` as compressed-tensors has it: a group for each way of storing codes. `None` where
/// nothing is stored in a layout of theirs.
fn quantization_config(model: &Model, weights: &BTreeMap<String, WeightConfig>) -> Option<Value> {
    let known = [CodesFormat::Packed, CodesFormat::Bytes].map(|format| format.to_string());
    let mut groups: Vec<(Value, Vec<&str>)> = Vec::new();
    let mut sparse: Vec<(&str, &str)> = Vec::new();
    for (layer, one) in weights {
        if known.contains(&one.storage) {
            let group = json!({
                "weights": one.weights,
                "input_activations": one.input_activations,
                "output_activations": null,
                "format": one.storage,
            });
            match groups.iter_mut().find(|(other, _)| *other == group) {
                Some((_, targets)) => targets.push(layer),
                None => groups.push((group, vec![layer])),
            }
        } else if !storage::OWN.contains(&one.storage.as_str()) {
            sparse.push((layer, &one.storage));
        }
    }
    if groups.is_empty() && sparse.is_empty() {
        return None;
    }
    let stored: Vec<&str> = groups
        .iter()
        .flat_map(|(_, targets)| targets.iter().copied())
        .collect();
    let ignore: Vec<String> = model
        .weights()
        .into_iter()
        .map(|one| layer_of(&one.name).to_owned())
        .filter(|layer| !stored.contains(&layer.as_str()))
        .collect();
    let format = match &groups[..] {
        [] => "dense".to_owned(),
        [(group, _)] => group["format"].as_str().unwrap_or_default().to_owned(),
        _ => "mixed-precision".to_owned(),
    };
    let named = |(index, (mut group, targets)): (usize, (Value, Vec<&str>))| {
        group["targets"] = json!(targets);
        (format!("group_{index}"), group)
    };
    let config_groups: BTreeMap<String, Value> =
        groups.into_iter().enumerate().map(named).collect();
    let mut config = json!({
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
        "format": format,
        "ignore": ignore,
        "kv_cache_scheme": null,
        "global_compression_ratio": null,
        "config_groups": config_groups,
    });
    if let Some((_, format)) = sparse.first() {
        config["sparsity_config"] = json!({
            "format": format,
            "targets": sparse.iter().map(|(layer, _)| layer).collect::<Vec<_>>(),
            "ignore": [],
            "sparsity_structure": if *format == "sparse-24-bitmask" { "2:4" } else { "unstructured" },
        });
    }
    Some(config)
}
