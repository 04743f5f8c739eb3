//! The plain table an engine asks for a launch's variant. Filled by whoever measured; an engine never
//! measures by itself and falls back to the kernel's first guess.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::{Build, Launch, usable_variants};
use crate::shader::{Capabilities, Variant};

/// Variant names by kernel and class of shapes, and the variants that must not be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choices {
    table: BTreeMap<(String, String), String>,
    quarantined: BTreeSet<String>,
}

impl Choices {
    /// Sets the variant for the class of a launch's shape.
    pub fn set(&mut self, launch: &dyn Launch, variant: &Variant) {
        self.set_class(launch.kernel(), &launch.shape_class(), &variant.to_string());
    }

    /// Sets the variant, by its printed name, for a kernel's class of shapes.
    pub fn set_class(&mut self, kernel: &str, class: &str, variant: &str) {
        self.table
            .insert((kernel.to_owned(), class.to_owned()), variant.to_owned());
    }

    /// Keeps a variant, by its printed name, from ever being picked.
    pub fn quarantine(&mut self, variant: &str) {
        self.quarantined.insert(variant.to_owned());
    }

    /// The chosen variant if this adapter can launch and finish it, else the kernel's first guess. `None`
    /// when every variant passes the driver's loop limit or is in quarantine.
    pub fn pick(
        &self,
        launch: &dyn Launch,
        capabilities: &Capabilities,
        build: Build,
    ) -> Option<Variant> {
        let mut variants = usable_variants(launch, capabilities, build);
        if !self.quarantined.is_empty() {
            variants.retain(|variant| !self.quarantined.contains(&variant.to_string()));
        }
        let wanted = (!self.table.is_empty())
            .then(|| {
                let key = (launch.kernel().to_owned(), launch.shape_class());
                self.table.get(&key)
            })
            .flatten();
        let chosen = wanted.and_then(|name| {
            variants
                .iter()
                .position(|variant| variant.to_string() == *name)
        });
        (!variants.is_empty()).then(|| variants.swap_remove(chosen.unwrap_or(0)))
    }
}
