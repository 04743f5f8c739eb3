//! Choices on disk: one file for each adapter, driver and set of shaders, with the times each choice was
//! made from. A file that is corrupt, or of another adapter, driver or set of shaders, is not used: what
//! it says may be wrong here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::engine::Choices;
use crate::engine::gpu::AdapterSummary;
use crate::io::{IoError, atomic};
use crate::shader::Sources;

use super::roofline::Rooflines;
use super::timing::{Method, Timing};

const FORMAT: &str = "lapidary tuning 1";

/// What choices hold for: change any of it and they are void.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Adapter name.
    pub adapter: String,
    /// Driver name and version.
    pub driver: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// SHA-256 of all shader files.
    pub shaders: String,
}

/// The variant for one class of shapes, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Kernel name.
    pub kernel: String,
    /// The class, from [`crate::record::Launch::shape_class`].
    pub class: String,
    /// Printed variant.
    pub variant: String,
    /// Set by hand: measuring does not replace it.
    pub pinned: bool,
    /// The shape that was measured.
    pub shape: String,
    /// How; absent when nothing was measured.
    pub method: Option<Method>,
    /// Times of all candidates, fastest first.
    pub evidence: Vec<Evidence>,
}

/// One candidate's times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Printed variant.
    pub variant: String,
    /// Its times.
    pub timing: Timing,
}

/// A variant that computed something wrong on this adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Printed variant.
    pub variant: String,
    /// What was wrong.
    pub reason: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    format: String,
    key: Key,
    rooflines: Option<Rooflines>,
    choices: Vec<Choice>,
    quarantined: Vec<Quarantined>,
}

/// Why a store cannot be written or taken over.
#[derive(Debug, Error)]
pub enum StoreError {
    /// No folder for caches is known.
    #[error("no cache folder: set LAPIDARY_CACHE to a folder")]
    NoFolder,
    /// A file could not be read or written.
    #[error(transparent)]
    Io(Box<IoError>),
    /// A file that is no store.
    #[error("{}: not a tuning file: {reason}", file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A store of something else.
    #[error("{}: made for {theirs}, this is {ours}", file.display())]
    Foreign {
        /// The file.
        file: PathBuf,
        /// What it was made for.
        theirs: String,
        /// What is needed.
        ours: String,
    },
}

impl From<IoError> for StoreError {
    fn from(error: IoError) -> Self {
        Self::Io(Box::new(error))
    }
}

/// The choices of one adapter, driver and set of shaders.
#[derive(Debug, Clone, PartialEq)]
pub struct Store {
    key: Key,
    rooflines: Option<Rooflines>,
    choices: BTreeMap<(String, String), Choice>,
    quarantined: BTreeMap<String, String>,
}

impl Key {
    /// The key of an adapter and a set of shaders.
    pub fn new(adapter: &AdapterSummary, sources: &Sources) -> Self {
        let mut hash = Sha256::new();
        for module in sources.modules() {
            let text = sources.get(module).unwrap_or_default();
            for part in [module, text] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part.as_bytes());
            }
        }
        Self {
            adapter: adapter.name.clone(),
            driver: adapter.driver.clone(),
            backend: adapter.backend.clone(),
            shaders: hex(&hash.finalize()),
        }
    }

    fn describe(&self) -> String {
        let shaders = self.shaders.get(..12).unwrap_or(&self.shaders);
        format!(
            "{} | {} | {} | shaders {shaders}",
            self.adapter, self.driver, self.backend
        )
    }

    /// Name of its file, the same on every run.
    fn file_name(&self) -> String {
        let digest = hex(&Sha256::digest(format!("{self:?}").as_bytes()));
        format!("tuning-{}.json", &digest[..16])
    }
}

impl Store {
    /// A store without choices.
    pub const fn empty(key: Key) -> Self {
        Self {
            key,
            rooflines: None,
            choices: BTreeMap::new(),
            quarantined: BTreeMap::new(),
        }
    }

    /// The folder that stores are kept in: `LAPIDARY_CACHE`, else the user's folder for caches.
    ///
    /// # Errors
    /// [`StoreError::NoFolder`].
    pub fn folder() -> Result<PathBuf, StoreError> {
        if let Some(folder) = std::env::var_os("LAPIDARY_CACHE").filter(|name| !name.is_empty()) {
            return Ok(folder.into());
        }
        use etcetera::BaseStrategy as _;
        let base = etcetera::choose_base_strategy().map_err(|_| StoreError::NoFolder)?;
        Ok(base.cache_dir().join("lapidary"))
    }

    /// What is stored in `folder` under a key. A file that cannot be used counts as empty; the second value
    /// says why, for one line to the user.
    pub fn open(folder: &Path, key: Key) -> (Self, Option<String>) {
        let file = folder.join(key.file_name());
        if !file.exists() {
            return (Self::empty(key), None);
        }
        match Self::read(&file, &key) {
            Ok(store) => (store, None),
            Err(error) => (Self::empty(key), Some(format!("ignored: {error}"))),
        }
    }

    /// Reads a file that must be of this key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read(file: &Path, key: &Key) -> Result<Self, StoreError> {
        let corrupt = |reason: String| StoreError::Corrupt {
            file: file.to_owned(),
            reason,
        };
        let text = fs::read_to_string(file).map_err(|error| corrupt(error.to_string()))?;
        let parsed: File =
            serde_json::from_str(&text).map_err(|error| corrupt(error.to_string()))?;
        if parsed.format != FORMAT {
            return Err(corrupt(format!(
                "format `{}`, expected `{FORMAT}`",
                parsed.format
            )));
        }
        if parsed.key != *key {
            return Err(StoreError::Foreign {
                file: file.to_owned(),
                theirs: parsed.key.describe(),
                ours: key.describe(),
            });
        }
        let is_time = |ns: f64| ns.is_finite() && ns > 0.0;
        for choice in &parsed.choices {
            if let Some(one) = choice
                .evidence
                .iter()
                .find(|one| !is_time(one.timing.median_ns))
            {
                return Err(corrupt(format!(
                    "{} {}: a median time of {} ns",
                    choice.kernel, choice.class, one.timing.median_ns
                )));
            }
        }
        let mut store = Self::empty(parsed.key);
        store.rooflines = parsed.rooflines;
        parsed.choices.into_iter().for_each(|one| store.choose(one));
        for one in parsed.quarantined {
            store.quarantined.insert(one.variant, one.reason);
        }
        Ok(store)
    }

    /// Writes the store into `folder`, making it where it is missing, and returns the file's path.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn save(&self, folder: &Path) -> Result<PathBuf, StoreError> {
        let file = folder.join(self.key.file_name());
        fs::create_dir_all(folder).map_err(|reason| IoError::Write {
            file: file.clone(),
            reason,
        })?;
        self.write(&file)?;
        Ok(file)
    }

    /// Writes the store to a file.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn write(&self, file: &Path) -> Result<(), StoreError> {
        let content = File {
            format: FORMAT.to_owned(),
            key: self.key.clone(),
            rooflines: self.rooflines.clone(),
            choices: self.choices.values().cloned().collect(),
            quarantined: self.quarantined().collect(),
        };
        let text = serde_json::to_string_pretty(&content).map_err(|error| StoreError::Corrupt {
            file: file.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(atomic::write_bytes(file, text.as_bytes())?)
    }

    /// The choice for a class of shapes.
    pub fn choice(&self, kernel: &str, class: &str) -> Option<&Choice> {
        self.choices.get(&(kernel.to_owned(), class.to_owned()))
    }

    /// All choices, by kernel and class.
    pub fn choices(&self) -> impl Iterator<Item = &Choice> {
        self.choices.values()
    }

    /// Sets a choice in place of the one for the same class.
    pub fn choose(&mut self, choice: Choice) {
        let key = (choice.kernel.clone(), choice.class.clone());
        self.choices.insert(key, choice);
    }

    /// Forgets the choice for a class of shapes.
    pub fn forget(&mut self, kernel: &str, class: &str) {
        self.choices.remove(&(kernel.to_owned(), class.to_owned()));
    }

    /// Forgets all choices and probes; what was found wrong stays.
    pub fn clear(&mut self) {
        self.choices.clear();
        self.rooflines = None;
    }

    /// Marks a variant as wrong on this adapter, and drops the choices that name it.
    pub fn quarantine(&mut self, variant: &str, reason: &str) {
        self.quarantined
            .insert(variant.to_owned(), reason.to_owned());
        self.choices.retain(|_, choice| choice.variant != variant);
    }

    /// Marks a variant as right again.
    pub fn release(&mut self, variant: &str) {
        self.quarantined.remove(variant);
    }

    /// Why a variant is in quarantine.
    pub fn why_quarantined(&self, variant: &str) -> Option<&str> {
        self.quarantined.get(variant).map(String::as_str)
    }

    /// Variants that are wrong on this adapter, by name.
    pub fn quarantined(&self) -> impl Iterator<Item = Quarantined> {
        self.quarantined
            .iter()
            .map(|(variant, reason)| Quarantined {
                variant: variant.clone(),
                reason: reason.clone(),
            })
    }

    /// The adapter's limits, if they were probed.
    pub const fn rooflines(&self) -> Option<&Rooflines> {
        self.rooflines.as_ref()
    }

    /// Keeps the adapter's limits.
    pub fn set_rooflines(&mut self, rooflines: Rooflines) {
        self.rooflines = Some(rooflines);
    }

    /// The table an engine asks.
    pub fn table(&self) -> Choices {
        let mut table = Choices::default();
        for choice in self.choices.values() {
            table.set_class(&choice.kernel, &choice.class, &choice.variant);
        }
        for variant in self.quarantined.keys() {
            table.quarantine(variant);
        }
        table
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(driver: &str) -> Key {
        Key {
            adapter: "an adapter".to_owned(),
            driver: driver.to_owned(),
            backend: "vulkan".to_owned(),
            shaders: "0123456789abcdef".to_owned(),
        }
    }

    fn choice(variant: &str) -> Choice {
        Choice {
            kernel: "cast".to_owned(),
            class: "count=<=64".to_owned(),
            variant: variant.to_owned(),
            pinned: false,
            shape: "count=64".to_owned(),
            method: Some(Method::WallClock),
            evidence: vec![Evidence {
                variant: variant.to_owned(),
                timing: Timing::of(vec![1.0, 2.0]).expect("two samples"),
            }],
        }
    }

    #[test]
    fn what_is_saved_is_found_again_under_the_same_key_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::empty(key("1"));
        store.choose(choice("a"));
        store.quarantine("b", "bits differ");
        store.save(folder.path()).expect("saves");
        assert_eq!(Store::open(folder.path(), key("1")), (store, None));
        let (other, note) = Store::open(folder.path(), key("2"));
        assert_eq!((other.choices().count(), note), (0, None));
    }

    #[test]
    fn a_corrupt_or_foreign_file_is_ignored_with_one_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(key("1").file_name());
        for text in ["", "{", "[]", "{\"format\": \"x\"}", "\u{0}"] {
            fs::write(&file, text).expect("writes");
            let (store, note) = Store::open(folder.path(), key("1"));
            assert_eq!(store.choices().count(), 0);
            let note = note.expect("a reason");
            assert!(
                note.contains("not a tuning file") && !note.contains('\n'),
                "{note}"
            );
        }
        let mut theirs = Store::empty(key("2"));
        theirs.choose(choice("a"));
        theirs.write(&file).expect("writes");
        let (store, note) = Store::open(folder.path(), key("1"));
        assert_eq!(store.choices().count(), 0);
        assert!(note.expect("a reason").contains("made for an adapter | 2"));
    }

    #[test]
    fn a_quarantined_variant_is_never_chosen() {
        let mut store = Store::empty(key("1"));
        store.choose(choice("a"));
        store.quarantine("a", "bits differ");
        assert_eq!(store.choices().count(), 0);
        assert_eq!(store.why_quarantined("a"), Some("bits differ"));
    }
}
