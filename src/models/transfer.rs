//! Transfer learning: the tensors of a trained network, but for those that are drawn anew.

use std::path::Path;

use crate::io::safetensors::SafetensorsFile;

use super::network::load_tensor;
use super::{ModelError, NamedTensor, Network, matches};

/// Values for `network`: tensors whose names fit one of the patterns `anew` (`*` stands for any characters) are
/// drawn from the seed, the others come from a file as [`load_parameters`](super::load_parameters) says. The
/// file's tensors of those names may have any shape or be missing.
///
/// # Errors
/// [`ModelError`] naming the pattern that fits no tensor, and the file's tensor that is missing, has another shape
/// or type, or holds what is not finite.
pub fn transfer(
    network: &dyn Network,
    path: impl AsRef<Path>,
    (anew, seed): (&[String], u64),
) -> Result<Vec<NamedTensor>, ModelError> {
    let specs = network.tensors();
    let unused = |pattern: &&String| !specs.iter().any(|one| matches(pattern, &one.name));
    if let Some(pattern) = anew.iter().find(unused) {
        let names: Vec<&str> = specs.iter().map(|one| one.name.as_str()).collect();
        return Err(ModelError::NothingAnew {
            pattern: pattern.clone(),
            names: names.join(", "),
        });
    }
    let file = SafetensorsFile::open(path)?;
    let mut values = network.parameters(seed)?;
    for (spec, (name, value)) in specs.iter().zip(&mut values) {
        if !anew.iter().any(|pattern| matches(pattern, name)) {
            *value = load_tensor(&file, spec)?;
        }
    }
    Ok(values)
}

/// The pattern of the names of the last layer that has tensors: the head, which other classes replace.
pub fn head(network: &dyn Network) -> Option<String> {
    let last = network.tensors().pop()?.name;
    let (layer, _) = last.rsplit_once('.')?;
    Some(format!("{layer}.*"))
}
