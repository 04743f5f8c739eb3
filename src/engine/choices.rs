//! The plain table an engine asks for a launch's variant. Filled by whoever measured; an engine never
//! measures by itself and falls back to the kernel's first guess.

use std::collections::BTreeMap;

use crate::record::{Build, Launch, usable_variants};
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

    /// The chosen variant if this adapter can launch and finish it, else the kernel's first guess. `None`
    /// when every variant passes the driver's loop limit.
    pub fn pick(
        &self,
        launch: &dyn Launch,
        capabilities: &Capabilities,
        build: Build,
    ) -> Option<Variant> {
        let mut variants = usable_variants(launch, capabilities, build);
        let wanted = self.table.get(&key(launch));
        let chosen = wanted.and_then(|name| {
            variants
                .iter()
                .position(|variant| variant.to_string() == *name)
        });
        (!variants.is_empty()).then(|| variants.swap_remove(chosen.unwrap_or(0)))
    }
}

fn key(launch: &dyn Launch) -> String {
    format!("{} {}", launch.kernel(), launch.describe())
}
