//! The user's store of tuned choices, for the commands that read or change it.

use std::path::PathBuf;

use lapidary::engine::gpu::AdapterSummary;
use lapidary::shader::Sources;
use lapidary::tune::{Key, Store};

use crate::options::Failure;

/// The folder, and what it holds for an adapter and a set of shaders. A file that cannot be used is said in
/// one line and counts as empty.
pub fn open(adapter: &AdapterSummary, sources: &Sources) -> Result<(PathBuf, Store), Failure> {
    let folder = Store::folder().map_err(|error| Failure::Usage(error.to_string()))?;
    let (store, note) = Store::open(&folder, Key::new(adapter, sources));
    if let Some(note) = note {
        eprintln!("note: {note}");
    }
    Ok((folder, store))
}

/// Writes a store back.
pub fn save(folder: &std::path::Path, store: &Store) -> Result<PathBuf, Failure> {
    store
        .save(folder)
        .map_err(|error| Failure::Usage(error.to_string()))
}
