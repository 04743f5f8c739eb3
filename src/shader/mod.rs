//! Shaders: what varies (`Variant`), how files become one WGSL text (`link`), what is checked
//! before a driver sees it (`check`), and what can be counted in it (`counts`).
//!
//! Shader files are WGSL with WESL import lines. Numbers and types vary through one generated module
//! named `variant`; capabilities and formats vary through the choice of imported module (a *slot*);
//! function bodies hold no conditionals on either.

mod capabilities;
mod check;
mod counts;
#[cfg(test)]
mod counts_tests;
mod link;
mod sources;
mod variant;

pub use capabilities::{Capabilities, CooperativeTiles};
pub use check::{Binding, CheckedShader, check};
pub use counts::StaticCounts;
pub use link::{Linked, Target, link};
pub use sources::Sources;
pub use variant::{Constant, Edit, Variant};

use thiserror::Error;

/// Why a shader could not be linked or was rejected.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum ShaderError {
    /// An import or an entry names a module that no file defines.
    #[error("{importer}: no shader module `{module}` (expected file shaders/{module}.wgsl)")]
    UnknownModule {
        /// Module holding the import line, or the variant's name for the entry.
        importer: String,
        /// Module asked for.
        module: String,
    },
    /// An import names something its module does not declare.
    #[error("{importer}: module `{module}` declares no `{name}`")]
    UnknownName {
        /// Module holding the import line.
        importer: String,
        /// Module looked in.
        module: String,
        /// Name asked for.
        name: String,
    },
    /// Two linked modules declare the same name.
    #[error("`{name}` is declared by both `{first}` and `{second}`")]
    DuplicateName {
        /// The name.
        name: String,
        /// Module linked first.
        first: String,
        /// Module linked second.
        second: String,
    },
    /// A module uses another module's name without importing it.
    #[error("{module}: uses `{name}` of `{owner}` without importing it")]
    NotImported {
        /// Module with the use.
        module: String,
        /// The name.
        name: String,
        /// Module that declares it.
        owner: String,
    },
    /// Modules import each other in a ring.
    #[error("import cycle through `{module}`")]
    Cycle {
        /// A module on the ring.
        module: String,
    },
    /// An import line that is not of the form `import package::path::name;`.
    #[error("{module}:{line}: malformed import, expected `import package::path::name;`")]
    MalformedImport {
        /// Module holding the line.
        module: String,
        /// Line number from 1.
        line: usize,
    },
    /// A declared edit does not match the text exactly once.
    #[error("edit `{edit}`: `{find}` occurs {count} times in `{module}`, expected once")]
    EditMismatch {
        /// Name of the edit.
        edit: String,
        /// Module to be edited.
        module: String,
        /// Text looked for.
        find: String,
        /// Occurrences found.
        count: usize,
    },
    /// A shader folder lacks a file that the embedded set has.
    #[error("shader folder lacks `{module}.wgsl`")]
    MissingFile {
        /// Module path without extension.
        module: String,
    },
    /// WGSL that does not parse or validate.
    #[error("{variant}: {place}: {message}\n{snippet}")]
    Invalid {
        /// Printed variant.
        variant: String,
        /// `file:line` of the offending source, where known.
        place: String,
        /// One-line reason.
        message: String,
        /// Annotated source snippet.
        snippet: String,
    },
    /// Workgroup variables over the device's limit.
    #[error("{variant}: {bytes} bytes of workgroup memory, limit {limit}")]
    WorkgroupStorage {
        /// Printed variant.
        variant: String,
        /// Bytes declared.
        bytes: u32,
        /// Device limit in bytes.
        limit: u32,
    },
    /// Workgroup size over the device's limit.
    #[error("{variant}: {invocations} invocations a workgroup, limit {limit}")]
    WorkgroupSize {
        /// Printed variant.
        variant: String,
        /// Invocations declared.
        invocations: u32,
        /// Device limit.
        limit: u32,
    },
    /// A backend writer refused a validated module.
    #[error("{variant}: {language} writer: {message}")]
    Writer {
        /// Printed variant.
        variant: String,
        /// `SPIR-V`, `MSL` or `HLSL`.
        language: &'static str,
        /// The writer's message.
        message: String,
    },
}
