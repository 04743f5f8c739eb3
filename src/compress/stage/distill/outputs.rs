//! What a teacher says of the training set: its logits and the features behind one of its layers, made once and
//! kept in a file when it is not too large.
//!
//! The file names by SHA-256 the teacher and the data it was made of, and the device, whose last bits it holds. One
//! of anything else, and one that cannot be read, is made anew.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::STAGE;
use crate::compress::deploy::Deployed;
use crate::compress::model::{Model, ModelFileError};
use crate::compress::stage::{Context, StageError};
use crate::data::Dataset;
use crate::io::safetensors::{SafetensorsFile, write_safetensors};
use crate::io::sha256;
use crate::models::Network;
use crate::ops::Routes;
use crate::tensor::HostTensor;

/// Where a teacher's outputs are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// The file, safetensors.
    pub file: PathBuf,
    /// Outputs of more bytes are not written.
    pub most_bytes: u64,
}

impl Cache {
    /// A file of at most 1 GB.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self {
            file: file.into(),
            most_bytes: 1_000_000_000,
        }
    }
}

/// What became of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheUse {
    /// There was to be none.
    None,
    /// The file was there and right.
    Read,
    /// The outputs were made and written.
    Written,
    /// The outputs were made and have more bytes than are allowed.
    TooLarge,
}

/// What a teacher says of every sample.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outputs {
    /// `[samples, classes]`
    pub logits: Arc<[f32]>,
    /// Shape of a sample, and `[samples, shape..]`.
    pub features: Option<(Vec<usize>, Arc<[f32]>)>,
    pub cache: CacheUse,
}

/// What a teacher says of prepared samples, with the features behind `layer`.
pub(super) fn outputs(
    context: &Context<'_>,
    (teacher, prepared): (&Model, &Dataset),
    layer: Option<usize>,
    cache: Option<&Cache>,
) -> Result<Outputs, StageError> {
    let (samples, classes) = (prepared.n_samples(), teacher.network().n_classes());
    let shape = layer
        .map(|layer| shape_behind(teacher, layer))
        .transpose()?;
    let key = key(context, (teacher, prepared), layer)?;
    if let Some((logits, features)) =
        cache.and_then(|cache| read(cache, &key, ([samples, classes], shape.as_deref())))
    {
        return Ok(Outputs {
            logits: logits.into(),
            features: shape.zip(features.map(Into::into)),
            cache: CacheUse::Read,
        });
    }
    let of = if layer.is_some() { 2 } else { 1 };
    context.tell(STAGE, "the teacher's logits", [0, of])?;
    let inputs = prepared.inputs();
    let logits = Deployed::new(context.engine, teacher, &Routes::default())?.logits(inputs)?;
    let features = match layer {
        None => None,
        Some(layer) => {
            context.tell(STAGE, "the teacher's features", [1, of])?;
            let part = until(teacher, layer)?;
            Some(Deployed::new(context.engine, &part, &Routes::default())?.logits(inputs)?)
        }
    };
    let cache = write(cache, &key, (&logits, classes), features.as_deref())?;
    Ok(Outputs {
        logits: logits.into(),
        features: shape.zip(features.map(Into::into)),
        cache,
    })
}

fn shape_behind(teacher: &Model, layer: usize) -> Result<Vec<usize>, StageError> {
    let network = teacher.network();
    // The error names the layers there are.
    network.until(layer)?;
    let shape = network.shape_behind(layer).unwrap_or_default();
    Ok(shape.to_vec())
}

/// The layers up to one as a model whose logits are the features behind it.
fn until(teacher: &Model, layer: usize) -> Result<Model, StageError> {
    let network = teacher.network().until(layer)?;
    let tensors = &teacher.tensors()[..network.tensors().len()];
    Ok(Model::of_stored(
        network,
        teacher.inputs().clone(),
        tensors.to_vec(),
    )?)
}

/// What a file of outputs is of.
fn key(
    context: &Context<'_>,
    (teacher, prepared): (&Model, &Dataset),
    layer: Option<usize>,
) -> Result<BTreeMap<String, String>, StageError> {
    let layers = serde_json::to_string(teacher.network().layers());
    let layers = layers.map_err(|error| ModelFileError::Weight {
        file: PathBuf::new(),
        reason: format!("layers: {error}"),
    })?;
    let mut parts = vec![layers.into_bytes()];
    for (name, stored) in teacher.tensors() {
        parts.push(format!("{name} {} {:?}", stored.format(), stored.shape()).into_bytes());
        parts.push(stored.values().bytes().to_vec());
    }
    let shape = format!("{:?}", prepared.sample_shape());
    let data = [shape.as_bytes(), bytemuck::cast_slice(prepared.inputs())];
    Ok(BTreeMap::from([
        (
            "teacher_sha256".to_owned(),
            sha256(parts.iter().map(Vec::as_slice)),
        ),
        // As the teacher is given them, which its preparation is part of.
        ("data_sha256".to_owned(), sha256(data)),
        ("device".to_owned(), context.engine.name()),
        (
            "layer".to_owned(),
            layer.map_or_else(|| "none".to_owned(), |layer| layer.to_string()),
        ),
    ]))
}

/// Logits and features of a file with this key; `None` where it must be made anew.
fn read(
    cache: &Cache,
    key: &BTreeMap<String, String>,
    ([samples, classes], shape): ([usize; 2], Option<&[usize]>),
) -> Option<(Vec<f32>, Option<Vec<f32>>)> {
    let file = SafetensorsFile::open(&cache.file).ok()?;
    if file.metadata() != key {
        return None;
    }
    let values = |name: &str, columns: usize| -> Option<Vec<f32>> {
        let tensor = file.tensor(name).ok()?;
        let values = tensor.to_f32().ok()?;
        (*tensor.shape() == [samples, columns] && values.iter().all(|one| one.is_finite()))
            .then_some(values)
    };
    let logits = values("logits", classes)?;
    let features = match shape {
        None => None,
        Some(shape) => Some(values("features", shape.iter().product())?),
    };
    Some((logits, features))
}

fn write(
    cache: Option<&Cache>,
    key: &BTreeMap<String, String>,
    (logits, classes): (&[f32], usize),
    features: Option<&[f32]>,
) -> Result<CacheUse, StageError> {
    let Some(cache) = cache else {
        return Ok(CacheUse::None);
    };
    let elements = logits.len() + features.map_or(0, <[f32]>::len);
    if 4 * elements as u64 > cache.most_bytes {
        return Ok(CacheUse::TooLarge);
    }
    let samples = logits.len() / classes.max(1);
    let tensor =
        |values: &[f32]| HostTensor::from_f32(vec![samples, values.len() / samples.max(1)], values);
    let mut tensors = vec![("logits".to_owned(), tensor(logits)?)];
    if let Some(features) = features {
        tensors.push(("features".to_owned(), tensor(features)?));
    }
    write_safetensors(&cache.file, &tensors, key).map_err(ModelFileError::from)?;
    Ok(CacheUse::Written)
}
