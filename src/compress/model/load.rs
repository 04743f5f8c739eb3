//! Reading a model: a folder that [`Model::save`] wrote, with everything checked against its configuration.

use std::path::Path;

use serde::Deserialize;

use super::config::{Config, WeightConfig};
use super::{
    ARTIFACT_FORMAT, Activations, CONFIG_FILE, MODEL_FILE, Model, ModelFileError, Stored, layer_of,
    storage,
};
use crate::compress::quantize::LinearMatrix;
use crate::data::{Standardization, StandardizeBy};
use crate::io::compressed_tensors::codes::{ActivationArgs, WeightArgs, read_codes_file};
use crate::io::read_text;
use crate::io::safetensors::SafetensorsFile;
use crate::models::{Network, Role, Sequential, TensorSpec, load_tensor};

impl Model {
    /// Reads a folder that [`Model::save`] wrote.
    ///
    /// # Errors
    /// [`ModelFileError`] naming the file and the key or tensor that is missing or wrong.
    pub fn load(folder: impl AsRef<Path>) -> Result<Self, ModelFileError> {
        let folder = folder.as_ref();
        let path = folder.join(CONFIG_FILE);
        if folder.is_dir() && !path.exists() {
            return Err(ModelFileError::NoModel {
                file: folder.to_owned(),
                reason: format!(
                    "there is no {CONFIG_FILE} in this folder, so it is no finished model"
                ),
            });
        }
        let text = read_text(&path)?;
        let refuse = |key: &str, found: String, allowed: &str| ModelFileError::Config {
            file: path.clone(),
            key: key.to_owned(),
            found,
            allowed: allowed.to_owned(),
        };
        let no_model = |reason: String| ModelFileError::NoModel {
            file: path.clone(),
            reason,
        };
        // Before the rest, so that files of another kind are told as such.
        let head: Head =
            serde_json::from_str(&text).map_err(|error| no_model(error.to_string()))?;
        if head.format.as_deref() != Some(ARTIFACT_FORMAT) {
            return Err(refuse(
                "format",
                head.format
                    .map_or_else(|| "missing".to_owned(), |found| format!("{found:?}")),
                ARTIFACT_FORMAT,
            ));
        }
        let config: Config =
            serde_json::from_str(&text).map_err(|error| no_model(error.to_string()))?;
        let network = Sequential::new(
            config.network.clone(),
            &config.sample_shape,
            config.layers.clone(),
        )
        .map_err(|error| no_model(error.to_string()))?;
        let inputs = inputs(&config).map_err(|error| no_model(error.to_string()))?;
        let file = SafetensorsFile::open(folder.join(MODEL_FILE))?;
        let specs = network.tensors();
        let is_weight = |layer: &String| specs.iter().any(|one| layer_of(&one.name) == layer);
        if let Some(layer) = config.weights.keys().find(|layer| !is_weight(layer)) {
            let names: Vec<&str> = specs.iter().map(|one| layer_of(&one.name)).collect();
            return Err(refuse("weights", format!("{layer:?}"), &names.join(", ")));
        }
        let mut tensors = Vec::new();
        for spec in specs {
            let one = config.weights.get(layer_of(&spec.name));
            let stored = match one
                .filter(|_| spec.role == Role::Parameter && spec.name.ends_with(".weight"))
            {
                None => Stored::Float(load_tensor(&file, &spec)?),
                Some(one) => read((&file, &path), &spec, one)?,
            };
            tensors.push((spec.name, stored));
        }
        let is_read = |part: &str| {
            let mut all = tensors.iter();
            all.any(|(name, stored)| storage::is_part(part, (name, stored)))
        };
        let names = file.tensors().iter().map(|one| one.name.as_str());
        let unread: Vec<&str> = names.filter(|name| !is_read(name)).collect();
        if !unread.is_empty() {
            return Err(ModelFileError::Unread {
                file: file.path().to_owned(),
                names: unread.join(", "),
            });
        }
        let model = Self::of_stored(network, inputs, tensors)?;
        // What it says twice, for us and for tools that read compressed-tensors, must be the same.
        let own = Config::of(&model);
        if own.weights != config.weights {
            let differs =
                |(layer, one): &(&String, &WeightConfig)| own.weights.get(*layer) != Some(*one);
            let layer = config
                .weights
                .iter()
                .find(differs)
                .map(|(layer, _)| layer.as_str());
            return Err(refuse(
                &format!("weights.{}", layer.unwrap_or_default()),
                "another layout than that of the tensors".to_owned(),
                "the one they have",
            ));
        }
        if config.quantization_config.is_some()
            && own.quantization_config != config.quantization_config
        {
            return Err(refuse(
                "quantization_config",
                "another than `weights` and the layers".to_owned(),
                "the same, or none",
            ));
        }
        Ok(model)
    }
}

#[derive(Deserialize)]
struct Head {
    format: Option<String>,
}

/// How samples are prepared: one mean for all, one a channel, or one a feature.
fn inputs(config: &Config) -> Result<Standardization, ModelFileError> {
    let n_features = config.sample_shape.iter().product();
    let by = match config.input_mean.len() {
        1 => StandardizeBy::Whole,
        n if config.sample_shape.len() > 1 && n == config.sample_shape[0] => StandardizeBy::Channel,
        _ => StandardizeBy::Feature,
    };
    let (mean, std) = (config.input_mean.clone(), config.input_std.clone());
    Ok(Standardization::from_parts(by, mean, std, n_features)?)
}

/// One weight as its configuration says.
fn read(
    (file, config): (&SafetensorsFile, &Path),
    spec: &TensorSpec,
    one: &WeightConfig,
) -> Result<Stored, ModelFileError> {
    let refuse = |reason: String| ModelFileError::Weight {
        file: config.to_owned(),
        reason,
    };
    let layer = layer_of(&spec.name);
    if one.shape != spec.shape {
        return Err(refuse(format!(
            "weights.{layer}.shape is {:?}, the network needs {:?}",
            one.shape, spec.shape
        )));
    }
    let path = format!("weights.{layer}.weights");
    let args = match &one.weights {
        None => None,
        Some(value) => {
            Some(WeightArgs::from_json(&path, value).map_err(|error| refuse(error.to_string()))?)
        }
    };
    let activations = match &one.input_activations {
        None => None,
        Some(value) => {
            ActivationArgs::from_json(&format!("weights.{layer}.input_activations"), value)
                .map_err(|error| refuse(error.to_string()))?
        }
    };
    let activations = match activations {
        None => Activations::Float,
        Some(ActivationArgs::Token) => Activations::Int8PerRow,
        Some(ActivationArgs::Group(size)) => Activations::Int8PerBlock(size),
        Some(ActivationArgs::Tensor) => {
            Activations::Int8Static(storage::read_input_scale(file, layer)?)
        }
    };
    let shape = one.shape.clone();
    if let (storage::LAPIDARY_LEVELS, Some(levels)) = (one.storage.as_str(), &one.levels) {
        let (table, granularity) = levels
            .parsed()
            .map_err(|reason| refuse(format!("weight {layer}: {reason}")))?;
        let matrix = storage::read_levels(file, layer, (&shape, table, granularity))?;
        return Ok(Stored::Levels { shape, matrix });
    }
    match (one.storage.as_str(), args, one.layout) {
        ("pack-quantized" | "int-quantized" | storage::LAPIDARY_SPREAD, Some(args), None) => {
            let matrix = read_codes_file(file, layer, &args)?;
            let found = [matrix.n(), matrix.k()];
            if found != super::matrix_shape(&shape) {
                return Err(storage::wrong(
                    file,
                    format!("weight {layer} has codes {found:?}, the network needs {shape:?}"),
                ));
            }
            Ok(Stored::Quantized {
                shape,
                matrix: LinearMatrix::new(matrix, args.width, args.spacing),
                activations,
            })
        }
        ("sparse-24-bitmask" | "sparse-bitmask" | storage::LAPIDARY_SPARSE, args, Some(layout)) => {
            if let Activations::Int8Static(_) = activations {
                return Err(refuse(format!(
                    "weights.{layer}.input_activations is static; no kernel multiplies pruned weights in integers"
                )));
            }
            let values = match (args, one.values.as_deref()) {
                (Some(args), None) => Ok(args),
                (None, Some("f32")) => Err(false),
                (None, Some("f16")) => Err(true),
                _ => {
                    return Err(refuse(format!(
                        "weights.{layer}: expected either weights, or values that are f32 or f16"
                    )));
                }
            };
            let layout = layout
                .sparse()
                .map_err(|reason| refuse(format!("weight {layer}: {reason}")))?;
            let matrix = storage::read_sparse(file, layer, (&shape, layout), values)?;
            Ok(Stored::Sparse {
                shape,
                matrix,
                activations,
            })
        }
        (other, ..) => Err(refuse(format!(
            "weights.{layer}.storage is {:?}; allowed: pack-quantized, int-quantized and lapidary-spread with \
             weights, sparse-24-bitmask, sparse-bitmask and lapidary-sparse with a layout, lapidary-levels with levels",
            crate::io::safetensors::shown(other)
        ))),
    }
}
