//! Weights in one safetensors file, or in several behind an index.

use std::path::Path;

use serde::Deserialize;

use super::{HfError, ShardError};
use crate::io::read_text;
use crate::io::safetensors::header::Pairs;
use crate::io::safetensors::{SafetensorsFile, TensorEntry, shown};
use crate::tensor::HostTensor;

const INDEX: &str = "model.safetensors.index.json";
const WHOLE: &str = "model.safetensors";

#[derive(Deserialize)]
struct Index {
    weight_map: Pairs,
}

/// The weights of a folder, all shards open and checked against their index.
#[derive(Debug)]
pub struct Shards {
    folder: std::path::PathBuf,
    /// Sorted by name.
    files: Vec<(String, SafetensorsFile)>,
    /// Tensor and index of its shard, sorted by name.
    places: Vec<(String, usize)>,
}

impl Shards {
    /// Opens `model.safetensors`, or every shard that `model.safetensors.index.json` lists.
    ///
    /// # Errors
    /// [`HfError::Shards`] for a folder without either, an index that is none, shards that are missing,
    /// lead elsewhere or lack a tensor, and tensors in two shards; [`HfError::Io`] for a damaged shard.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, HfError> {
        let folder = folder.as_ref();
        let index = folder.join(INDEX);
        if index.exists() {
            return Self::open_index(folder, &index);
        }
        if !folder.join(WHOLE).exists() {
            return Err(refused(folder, ShardError::NoWeights));
        }
        let file = SafetensorsFile::open(folder.join(WHOLE))?;
        let places = file.tensors().iter().map(|tensor| (tensor.name.clone(), 0));
        Ok(Self {
            folder: folder.to_owned(),
            places: places.collect(),
            files: vec![(WHOLE.to_owned(), file)],
        })
    }

    fn open_index(folder: &Path, index: &Path) -> Result<Self, HfError> {
        let refused = |reason| refused(index, reason);
        let parsed: Index = serde_json::from_str(&read_text(index)?).map_err(|reason| {
            refused(ShardError::Json {
                reason: shown(&reason.to_string()),
            })
        })?;
        let mut listed = parsed.weight_map.0;
        listed.sort_unstable();
        if let Some(pair) = listed.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(refused(ShardError::ListedTwice {
                tensor: shown(&pair[0].0),
            }));
        }
        let mut names: Vec<&str> = Vec::new();
        for (tensor, shard) in &listed {
            if !is_plain(shard) {
                return Err(refused(ShardError::ShardName {
                    tensor: shown(tensor),
                    shard: shown(shard),
                }));
            }
            names.push(shard);
        }
        names.sort_unstable();
        names.dedup();
        let mut files = Vec::with_capacity(names.len());
        for name in names {
            let path = folder.join(name);
            if !path.exists() {
                let mut meant = listed.iter().filter(|(_, shard)| shard == name);
                let tensor = meant.next().map_or("", |(tensor, _)| tensor);
                return Err(refused(ShardError::MissingShard {
                    shard: shown(name),
                    tensor: shown(tensor),
                    n_tensors: 1 + meant.count(),
                }));
            }
            files.push((name.to_owned(), SafetensorsFile::open(path)?));
        }
        let mut places: Vec<(String, usize)> = Vec::new();
        for (shard, (_, file)) in files.iter().enumerate() {
            let held = file.tensors().iter();
            places.extend(held.map(|tensor| (tensor.name.clone(), shard)));
        }
        places.sort_unstable();
        if let Some(pair) = places.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(refused(ShardError::InTwoShards {
                tensor: shown(&pair[0].0),
                first: files[pair[0].1].0.clone(),
                second: files[pair[1].1].0.clone(),
            }));
        }
        for (tensor, shard) in &listed {
            let place = places.binary_search_by(|(held, _)| held.cmp(tensor));
            if place.is_ok_and(|place| files[places[place].1].0 == *shard) {
                continue;
            }
            return Err(refused(ShardError::NotInShard {
                tensor: shown(tensor),
                shard: shown(shard),
            }));
        }
        let folder = folder.to_owned();
        Ok(Self {
            folder,
            files,
            places,
        })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.iter().map(|(name, _)| name.as_str())
    }

    /// Number of files.
    #[must_use]
    pub fn n_shards(&self) -> usize {
        self.files.len()
    }

    /// A copy of one tensor.
    ///
    /// # Errors
    /// [`ShardError::UnknownTensor`], and [`HfError::Io`] as [`SafetensorsFile::tensor`] has it.
    pub fn tensor(&self, name: &str) -> Result<HostTensor, HfError> {
        Ok(self.shard_of(name)?.tensor(name)?)
    }

    /// The stored bytes of one tensor.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn tensor_bytes(&self, name: &str) -> Result<(&TensorEntry, &[u8]), HfError> {
        Ok(self.shard_of(name)?.tensor_bytes(name)?)
    }

    /// Whether a shard has a tensor of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.place(name).is_ok()
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.places
            .binary_search_by(|(held, _)| held.as_str().cmp(name))
    }

    pub(super) fn shard_of(&self, name: &str) -> Result<&SafetensorsFile, HfError> {
        match self.place(name) {
            Ok(place) => Ok(&self.files[self.places[place].1].1),
            Err(_) => Err(refused(
                &self.folder,
                ShardError::UnknownTensor {
                    tensor: shown(name),
                    n_tensors: self.places.len(),
                    n_shards: self.files.len(),
                },
            )),
        }
    }
}

/// The name of a safetensors file, and of nothing else: no folders, no index that leads back.
fn is_plain(shard: &str) -> bool {
    shard.ends_with(".safetensors") && !shard.contains(['/', '\\', ':', '\0'])
}

fn refused(file: &Path, reason: ShardError) -> HfError {
    HfError::Shards {
        file: file.to_owned(),
        reason,
    }
}
