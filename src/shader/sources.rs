//! The shader files by module path: those built into the library, or a caller's replacement set.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::ShaderError;

static EMBEDDED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/shaders.rs"));

/// A complete set of shader modules.
#[derive(Debug, Clone)]
pub struct Sources {
    modules: BTreeMap<String, Cow<'static, str>>,
    embedded: bool,
}

impl Sources {
    /// The files the library was built with.
    pub fn embedded() -> Self {
        let modules = EMBEDDED
            .iter()
            .map(|&(module, text)| (module.to_owned(), Cow::Borrowed(text)))
            .collect();
        Self {
            modules,
            embedded: true,
        }
    }

    /// A replacement set, keyed by module path without extension (`lib/pack`).
    ///
    /// # Errors
    /// [`ShaderError::MissingFile`] when the set lacks a module the library has.
    pub fn replaced_by(files: BTreeMap<String, String>) -> Result<Self, ShaderError> {
        if let Some((module, _)) = EMBEDDED
            .iter()
            .find(|(module, _)| !files.contains_key(*module))
        {
            return Err(ShaderError::MissingFile {
                module: (*module).to_owned(),
            });
        }
        let modules = files
            .into_iter()
            .map(|(module, text)| (module, Cow::Owned(text)))
            .collect();
        Ok(Self {
            modules,
            embedded: false,
        })
    }

    /// Text of one module.
    pub fn get(&self, module: &str) -> Option<&str> {
        self.modules.get(module).map(AsRef::as_ref)
    }

    /// Whether these are the library's own files; only those may run without runtime checks.
    pub const fn is_embedded(&self) -> bool {
        self.embedded
    }

    /// Module paths in order.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.modules.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_a_folder_without_every_embedded_file() {
        let error =
            Sources::replaced_by(BTreeMap::new()).expect_err("an empty set lacks every file");
        assert!(matches!(error, ShaderError::MissingFile { .. }));
    }
}
