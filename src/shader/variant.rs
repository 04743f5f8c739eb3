//! One way to build a kernel's shader: entry file, constants, and which module fills each slot.
//!
//! The printed form, `matmul_quant[activation=f32,weight=int4] TILE_M=8 TILE_N=8`, is the pipeline
//! key, label, tuning key, test id and bench id.

use std::collections::BTreeMap;
use std::fmt;

/// Value of a line in the generated `variant` module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Constant {
    /// `const NAME: u32 = valueu;`
    U32(u32),
    /// `alias NAME = type;`
    Type(&'static str),
}

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U32(value) => write!(f, "{value}"),
            Self::Type(name) => f.write_str(name),
        }
    }
}

/// A textual change to one module, used to make deliberately broken shaders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edit {
    /// What is broken, for example `dropped_last_term`.
    pub name: &'static str,
    /// Module path without extension, for example `lib/pack`.
    pub module: &'static str,
    /// Text that must occur exactly once.
    pub find: &'static str,
    /// Its replacement.
    pub replace: &'static str,
}

/// Entry file, slot choices and constants of one linked shader.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Variant {
    entry: &'static str,
    slots: BTreeMap<&'static str, &'static str>,
    constants: BTreeMap<&'static str, Constant>,
}

impl Variant {
    /// A variant of `shaders/{entry}.wgsl` with nothing chosen yet.
    pub const fn new(entry: &'static str) -> Self {
        Self {
            entry,
            slots: BTreeMap::new(),
            constants: BTreeMap::new(),
        }
    }

    /// Fills a slot: `import package::{slot}::name` then reads `shaders/{slot}/{module}.wgsl`.
    #[must_use]
    pub fn slot(mut self, slot: &'static str, module: &'static str) -> Self {
        self.slots.insert(slot, module);
        self
    }

    /// Empties a slot again, for an entry that has no use for it.
    #[must_use]
    pub fn without(mut self, slot: &str) -> Self {
        self.slots.remove(slot);
        self
    }

    /// Sets a `u32` constant of the generated module.
    #[must_use]
    pub fn number(mut self, name: &'static str, value: u32) -> Self {
        self.constants.insert(name, Constant::U32(value));
        self
    }

    /// Sets a type alias of the generated module.
    #[must_use]
    pub fn alias(mut self, name: &'static str, type_name: &'static str) -> Self {
        self.constants.insert(name, Constant::Type(type_name));
        self
    }

    /// Entry module, also the stem of the shader file.
    pub const fn entry(&self) -> &'static str {
        self.entry
    }

    /// Module chosen for a slot.
    pub fn chosen(&self, slot: &str) -> Option<&'static str> {
        self.slots.get(slot).copied()
    }

    /// Whether the generated module has this constant.
    pub fn has(&self, name: &str) -> bool {
        self.constants.contains_key(name)
    }

    /// Value of a numeric constant.
    ///
    /// # Panics
    /// When the variant has no such number: a kernel asking for what it never set is our own bug.
    pub fn get(&self, name: &str) -> u32 {
        match self.constants.get(name) {
            Some(Constant::U32(value)) => *value,
            other => panic!("{self}: constant {name} is {other:?}, expected a number"),
        }
    }

    /// Text of the generated `variant` module.
    pub fn module_text(&self) -> String {
        let mut text = String::new();
        for (name, constant) in &self.constants {
            match constant {
                Constant::U32(value) => text.push_str(&format!("const {name}: u32 = {value}u;\n")),
                Constant::Type(type_name) => {
                    text.push_str(&format!("alias {name} = {type_name};\n"))
                }
            }
        }
        text
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.entry)?;
        let slots: Vec<String> = self
            .slots
            .iter()
            .map(|(slot, module)| format!("{slot}={module}"))
            .collect();
        if !slots.is_empty() {
            write!(f, "[{}]", slots.join(","))?;
        }
        for (name, constant) in &self.constants {
            write!(f, " {name}={constant}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_slots_and_constants_in_name_order() {
        let variant = Variant::new("matmul")
            .slot("weight", "int4")
            .slot("reduce", "shared")
            .number("TILE_N", 8);
        assert_eq!(
            variant.to_string(),
            "matmul[reduce=shared,weight=int4] TILE_N=8"
        );
    }

    #[test]
    fn module_text_declares_each_constant_once() {
        let variant = Variant::new("matmul")
            .number("TILE_N", 8)
            .alias("Accumulator", "f32");
        assert_eq!(
            variant.module_text(),
            "alias Accumulator = f32;\nconst TILE_N: u32 = 8u;\n"
        );
    }
}
