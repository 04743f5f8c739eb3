//! Deliberately broken shaders: a proof that the cases can fail.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::engine::{EngineError, GpuEngine};
use crate::kernels::Kernel;
use crate::shader::{Edit, Sources, Target, Variant, link};

use super::Prepared;
use super::run::run_case;

/// Whether the cases rejected one broken shader.
#[derive(Debug, Clone, Serialize)]
pub struct BrokenReport {
    /// Name of the edit.
    pub edit: String,
    /// Variant it was applied to; empty when no variant links the edited module.
    pub variant: String,
    /// Whether some case failed.
    pub caught: bool,
    /// The case that caught it, and how.
    pub caught_by: String,
}

/// Applies each edit to one variant of each entry shader that links the edited module.
pub(super) fn run_broken(
    engine: &GpuEngine,
    sources: &Sources,
    kernel: &Kernel,
    by_variant: &BTreeMap<Variant, Vec<&Prepared>>,
    progress: &mut dyn FnMut(&str) -> bool,
) -> Result<Vec<BrokenReport>, EngineError> {
    let mut reports = Vec::new();
    for edit in kernel.broken {
        let mut entries = BTreeSet::new();
        for (variant, cases) in by_variant {
            let linked = link(sources, variant, &[], Target::Native)?;
            if !linked.modules().any(|module| module == edit.module)
                || !entries.insert(variant.entry())
            {
                continue;
            }
            if !progress(&format!("{variant} broken by {}", edit.name)) {
                return Ok(reports);
            }
            reports.push(run_edit(engine, edit, by_variant, variant, cases)?);
        }
        if entries.is_empty() {
            let (edit, variant) = (edit.name.to_owned(), String::new());
            let caught_by = "no variant on this adapter links the edited module".to_owned();
            reports.push(BrokenReport {
                edit,
                variant,
                caught: false,
                caught_by,
            });
        }
    }
    Ok(reports)
}

/// Tries the variant's cases, then those of the other variants of the same entry that link the module:
/// an edit may only show in a format that the first variant does not have.
fn run_edit(
    engine: &GpuEngine,
    edit: &Edit,
    by_variant: &BTreeMap<Variant, Vec<&Prepared>>,
    variant: &Variant,
    cases: &[&Prepared],
) -> Result<BrokenReport, EngineError> {
    let others = by_variant
        .iter()
        .filter(|(other, _)| other.entry() == variant.entry() && *other != variant);
    let candidates = std::iter::once((variant, cases))
        .chain(others.map(|(other, cases)| (other, cases.as_slice())));
    for (candidate, cases) in candidates {
        for one in cases {
            let verdict = match run_case(engine, one, candidate, std::slice::from_ref(edit)) {
                Ok(verdict) => verdict,
                // The other variant does not link the edited module.
                Err(EngineError::Shader(_)) if candidate != variant => break,
                Err(error) => return Err(error),
            };
            if let Some(why) = verdict.failure {
                let (edit, variant) = (edit.name.to_owned(), candidate.to_string());
                let caught_by = format!("{}: {why}", one.case.name);
                return Ok(BrokenReport {
                    edit,
                    variant,
                    caught: true,
                    caught_by,
                });
            }
        }
    }
    let (edit, variant) = (edit.name.to_owned(), variant.to_string());
    Ok(BrokenReport {
        edit,
        variant,
        caught: false,
        caught_by: String::new(),
    })
}
