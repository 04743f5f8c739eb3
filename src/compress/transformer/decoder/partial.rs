//! What is done of a decoder, beside the name that it will have: a safetensors file for the ends, then one for each
//! layer, written when the layer is done. A run that was stopped goes on behind the last of them.
//!
//! `OUT.partial/model-00001-of-000NN.safetensors` and so on are the files of the finished folder, which the folder
//! becomes by a rename. Each says what it is a part of: model, settings, texts, device. Files of anything else are
//! not touched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::compress::model::{CONFIG_FILE, ModelFileError, RECEIPT_FILE};
use crate::compress::stage::StageError;
use crate::io::atomic;
use crate::io::compressed_tensors::codes::{WeightArgs, read_codes_file};
use crate::io::safetensors::{SafetensorsFile, write_safetensors};
use crate::io::{file_sha256, read_text, sha256};
use crate::tensor::HostTensor;

use super::block::{DecoderLinear, FloatWeight, LayerWeights};
use super::solve::LinearLog;

/// Metadata: what a file is a part of, by a hash, and in words.
const PART_OF: &str = "part_of";
const MADE_OF: &str = "made_of";
const LAYER: &str = "layer";

/// What narrowing costs, as far as it is measured.
const COSTS_FILE: &str = "sensitivity.json";

#[derive(Debug, Serialize, Deserialize)]
struct Costs {
    part_of: String,
    /// Of each group of weights at each of its widths, in nats a token.
    nats: Vec<Vec<f64>>,
}

/// What is known of a finished layer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct LayerNote {
    pub logs: Vec<LinearLog>,
    /// Weights in codes, by their name without `.weight`.
    pub coded: BTreeMap<String, Coded>,
}

/// How codes lie in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::compress::transformer) struct Coded {
    /// `pack-quantized`, `int-quantized` or `lapidary-spread`.
    pub format: String,
    /// The `weights` of a config group.
    pub weights: Value,
}

impl Coded {
    pub(super) fn args(&self, layer: &str) -> Result<WeightArgs, StageError> {
        let args = WeightArgs::from_json(layer, &self.weights);
        Ok(args.map_err(ModelFileError::from)?)
    }
}

/// A decoder on its way.
#[derive(Debug)]
pub struct Partial {
    out: PathBuf,
    folder: PathBuf,
    key: String,
    made_of: BTreeMap<String, String>,
    n_layers: usize,
    has_ends: bool,
    layers: Vec<LayerNote>,
}

/// Tensors by name.
pub(in crate::compress::transformer) type Tensors = Vec<(String, HostTensor)>;

impl Partial {
    /// What there is of `out`, which must not be there yet: nothing, or the layers that a run of the same model and
    /// settings finished. `made_of` names all that the bytes depend on.
    ///
    /// # Errors
    /// [`StageError::Setting`] for an `out` that is there, and for a folder of something else beside it, with what
    /// differs; files that cannot be read or written.
    pub fn open(
        out: &Path,
        made_of: BTreeMap<String, String>,
        n_layers: usize,
    ) -> Result<Self, StageError> {
        if out.symlink_metadata().is_ok() {
            return Err(StageError::Setting {
                what: "output".to_owned(),
                given: format!("{}, which is there already", out.display()),
                allowed: "a name that is not there".to_owned(),
            });
        }
        // Without a slash at its end.
        let out: PathBuf = out.components().collect();
        let mut name = out.clone().into_os_string();
        name.push(".partial");
        let said: Vec<String> = made_of
            .iter()
            .map(|(key, value)| format!("{key}={value}\n"))
            .collect();
        let mut partial = Self {
            out,
            folder: PathBuf::from(name),
            key: sha256(said.iter().map(String::as_bytes)),
            made_of,
            n_layers,
            has_ends: false,
            layers: Vec::new(),
        };
        atomic::create_folder(&partial.folder)?;
        atomic::remove_leftovers(&partial.folder)?;
        if let Some(first) = partial.file(0)? {
            partial.require_own(&first)?;
            partial.has_ends = true;
            while partial.layers.len() < n_layers {
                let Some(file) = partial.file(partial.layers.len() + 1)? else {
                    break;
                };
                let note = file.metadata().get(LAYER).filter(|_| partial.is_own(&file));
                let note: Option<LayerNote> = note.and_then(|text| serde_json::from_str(text).ok());
                match note {
                    Some(note) => partial.layers.push(note),
                    None => break,
                }
            }
        }
        Ok(partial)
    }

    /// Layers that are done; `None` before the ends are.
    #[must_use]
    pub fn finished(&self) -> Option<usize> {
        self.has_ends.then_some(self.layers.len())
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What was done to each weight of the finished layers.
    #[must_use]
    pub fn logs(&self) -> Vec<LinearLog> {
        self.layers
            .iter()
            .flat_map(|layer| layer.logs.iter().cloned())
            .collect()
    }

    fn is_own(&self, file: &SafetensorsFile) -> bool {
        file.metadata().get(PART_OF) == Some(&self.key)
    }

    fn require_own(&self, file: &SafetensorsFile) -> Result<(), StageError> {
        if self.is_own(file) {
            return Ok(());
        }
        let text = file.metadata().get(MADE_OF).map_or("", String::as_str);
        let other: BTreeMap<String, String> = serde_json::from_str(text).unwrap_or_default();
        let keys = other.keys().chain(self.made_of.keys());
        let mut differing: Vec<String> = keys
            .filter(|key| other.get(*key) != self.made_of.get(*key))
            .map(|key| {
                let of = |all: &BTreeMap<String, String>| match all.get(key) {
                    Some(value) => value.clone(),
                    None => "nothing".to_owned(),
                };
                format!("{key} was {} and is {}", of(&other), of(&self.made_of))
            })
            .collect();
        differing.sort();
        differing.dedup();
        Err(StageError::Setting {
            what: "what is left of a run".to_owned(),
            given: format!("{}, where {}", self.folder.display(), differing.join(", ")),
            allowed: "leftovers of the same run; remove the folder to begin anew".to_owned(),
        })
    }

    fn name(&self, index: usize) -> String {
        format!(
            "model-{:05}-of-{:05}.safetensors",
            index + 1,
            self.n_layers + 1
        )
    }

    /// A file that is there: the ends, then the layers.
    fn file(&self, index: usize) -> Result<Option<SafetensorsFile>, StageError> {
        let path = self.folder.join(self.name(index));
        match path.exists() {
            true => Ok(Some(SafetensorsFile::open(path)?)),
            false => Ok(None),
        }
    }

    /// A file of a finished layer, from 0.
    pub(super) fn layer_file(&self, layer: usize) -> Result<SafetensorsFile, StageError> {
        let path = self.folder.join(self.name(layer + 1));
        Ok(SafetensorsFile::open(path)?)
    }

    pub(super) fn note(&self, layer: usize) -> Option<&LayerNote> {
        self.layers.get(layer)
    }

    /// Embedding, norm and head.
    pub(super) fn write_ends(&mut self, tensors: &Tensors) -> Result<(), StageError> {
        let made_of = json!(self.made_of).to_string();
        self.write(0, tensors, [(MADE_OF, made_of)])?;
        self.has_ends = true;
        Ok(())
    }

    /// The next layer.
    pub(super) fn write_layer(
        &mut self,
        tensors: &Tensors,
        note: LayerNote,
    ) -> Result<(), StageError> {
        let text = serde_json::to_string(&note).map_err(|error| self.unwritable(&error))?;
        self.write(self.layers.len() + 1, tensors, [(LAYER, text)])?;
        self.layers.push(note);
        Ok(())
    }

    fn unwritable(&self, error: &serde_json::Error) -> ModelFileError {
        ModelFileError::Weight {
            file: self.folder.clone(),
            reason: error.to_string(),
        }
    }

    fn write(
        &self,
        index: usize,
        tensors: &Tensors,
        more: [(&str, String); 1],
    ) -> Result<(), StageError> {
        let mut metadata = BTreeMap::from([
            ("format".to_owned(), "pt".to_owned()),
            (PART_OF.to_owned(), self.key.clone()),
        ]);
        metadata.extend(more.map(|(key, value)| (key.to_owned(), value)));
        write_safetensors(self.folder.join(self.name(index)), tensors, &metadata)?;
        Ok(())
    }

    /// What is known of what narrowing costs; nothing of another run, or of a file that cannot be read.
    pub(super) fn costs(&self) -> Vec<Vec<f64>> {
        let text = read_text(self.folder.join(COSTS_FILE)).unwrap_or_default();
        match serde_json::from_str::<Costs>(&text) {
            Ok(costs) if costs.part_of == self.key => costs.nats,
            Ok(_) | Err(_) => Vec::new(),
        }
    }

    pub(super) fn write_costs(&self, nats: &[Vec<f64>]) -> Result<(), StageError> {
        let costs = Costs {
            part_of: self.key.clone(),
            nats: nats.to_vec(),
        };
        let text = serde_json::to_string(&costs).map_err(|error| self.unwritable(&error))?;
        atomic::write_bytes(&self.folder.join(COSTS_FILE), text.as_bytes())?;
        Ok(())
    }

    /// The weights of a finished layer, and its codes.
    pub(super) fn layer(
        &self,
        layer: usize,
    ) -> Result<
        (
            LayerWeights,
            BTreeMap<DecoderLinear, crate::num::QuantizedMatrix>,
        ),
        StageError,
    > {
        let file = self.layer_file(layer)?;
        let (mut linears, mut codes) = (BTreeMap::new(), BTreeMap::new());
        let mut own = Vec::new();
        for which in DecoderLinear::ALL {
            let name = which.name(layer);
            let coded = self.note(layer).and_then(|note| note.coded.get(&name));
            let weight = if let Some(coded) = coded {
                codes.insert(which, read_codes_file(&file, &name, &coded.args(&name)?)?);
                FloatWeight {
                    values: Vec::new(),
                    dtype: crate::tensor::DType::F32,
                }
            } else {
                let host = file.tensor(&which.tensor(layer).hf_name())?;
                FloatWeight {
                    values: host.to_f32()?,
                    dtype: host.dtype(),
                }
            };
            own.push(format!("{name}."));
            linears.insert(which, weight);
        }
        let mut changed = BTreeMap::new();
        for entry in file.tensors() {
            let is_weight = own.iter().any(|prefix| {
                entry
                    .name
                    .strip_prefix(prefix.as_str())
                    .is_some_and(|part| part.starts_with("weight"))
            });
            if !is_weight {
                changed.insert(entry.name.clone(), file.tensor(&entry.name)?.to_f32()?);
            }
        }
        let weights = LayerWeights {
            index: layer,
            linears,
            changed,
        };
        Ok((weights, codes))
    }

    /// Makes it the folder that it will be: `config.json` of `config`, `receipt.json`, `files` beside them, and the
    /// index of the weights. Gives bytes of each file of weights.
    ///
    /// # Errors
    /// Files that cannot be read or written.
    pub fn finish(
        self,
        config: &Value,
        files: &[(String, Vec<u8>)],
        receipt: &BTreeMap<String, Value>,
    ) -> Result<Vec<(String, u64)>, StageError> {
        let (mut places, mut total, mut sizes) = (serde_json::Map::new(), 0, Vec::new());
        let mut hashes = serde_json::Map::new();
        for index in 0..=self.n_layers {
            let name = self.name(index);
            let Some(file) = self.file(index)? else {
                let reason = format!("{name} is not done");
                let file = self.folder.clone();
                return Err(ModelFileError::NoModel { file, reason }.into());
            };
            for tensor in file.tensors() {
                total += tensor.n_bytes as u64;
                places.insert(tensor.name.clone(), json!(name));
            }
            let (hash, bytes) = file_sha256(file.path())?;
            hashes.insert(name.clone(), json!(hash));
            sizes.push((name, bytes));
        }
        let write = |name: &str, text: String| {
            atomic::write_bytes(&self.folder.join(name), (text + "\n").as_bytes())
        };
        let index = json!({"metadata": {"total_size": total}, "weight_map": places});
        write("model.safetensors.index.json", format!("{index:#}"))?;
        for (name, bytes) in files {
            atomic::write_bytes(&self.folder.join(name), bytes)?;
        }
        let mut receipt = receipt.clone();
        receipt.insert("weights_sha256".to_owned(), hashes.into());
        receipt.insert("version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
        write(RECEIPT_FILE, format!("{:#}", json!(receipt)))?;
        write(CONFIG_FILE, format!("{config:#}"))?;
        atomic::remove_if_there(&self.folder.join(COSTS_FILE))?;
        atomic::rename_folder(&self.folder, &self.out)?;
        Ok(sizes)
    }

    pub(super) const fn layers(&self) -> &Vec<LayerNote> {
        &self.layers
    }

    pub(super) fn out(&self) -> &Path {
        &self.out
    }
}
