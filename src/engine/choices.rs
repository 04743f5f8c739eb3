//! The plain table an engine asks for a launch's variant. Filled by whoever measured; an engine never
//! measures by itself and falls back to the kernel's first guess.

use std::collections::BTreeMap;

use crate::record::Launch;
use crate::shader::{Capabilities, Variant};

/// Variant names by kernel and shape.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choices {
    table: BTreeMap<String, String>,
}

impl Choices {
    /// Sets the variant, by its printed name, for one kernel and shape.
    pub fn set(&mut self, launch: &dyn Launch, variant: &Variant) {
        self.table.insert(key(launch), variant.to_string());
    }

    /// The chosen variant if this adapter can launch it, else the kernel's first guess.
    ///
    /// # Panics
    /// When a kernel lists no variant: the trait promises at least one.
    pub fn pick(&self, launch: &dyn Launch, capabilities: &Capabilities) -> Variant {
        let variants = launch.variants(capabilities);
        let wanted = self.table.get(&key(launch));
        let chosen = wanted.and_then(|name| {
            variants
                .iter()
                .position(|variant| variant.to_string() == *name)
        });
        let index = chosen.unwrap_or(0);
        assert!(
            index < variants.len(),
            "{} lists no variant for {}",
            launch.kernel(),
            launch.describe()
        );
        variants[index].clone()
    }
}

fn key(launch: &dyn Launch) -> String {
    format!("{} {}", launch.kernel(), launch.describe())
}
