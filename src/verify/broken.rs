//! Deliberately broken shaders: a proof that the cases can fail.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::engine::{EngineError, GpuEngine};
use crate::kernels::Kernel;
use crate::shader::{Edit, ShaderError, Sources, Target, Variant, link};

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
    /// Why it was not run on this adapter; such an edit counts neither as caught nor as missed.
    pub skipped: Option<String>,
}

/// One edit and the variants of one entry shader that link the edited module.
pub(super) struct Job<'a> {
    pub edit: &'a Edit,
    pub variants: Vec<&'a Variant>,
}

/// Each edit once for each entry shader that links the edited module.
pub(super) fn plan<'a>(
    sources: &Sources,
    kernel: &'a Kernel,
    by_variant: &'a BTreeMap<Variant, Vec<&Prepared>>,
) -> Result<Vec<Job<'a>>, ShaderError> {
    let mut modules: Vec<(&Variant, BTreeSet<String>)> = Vec::new();
    for variant in by_variant.keys() {
        let linked = link(sources, variant, &[], Target::Native)?;
        modules.push((variant, linked.modules().map(str::to_owned).collect()));
    }
    let mut jobs = Vec::new();
    for edit in kernel.broken.iter().filter(|edit| applies(sources, edit)) {
        let linking: Vec<&Variant> = modules
            .iter()
            .filter(|(_, linked)| linked.contains(edit.module))
            .map(|(variant, _)| *variant)
            .collect();
        let entries: BTreeSet<&str> = linking.iter().map(|variant| variant.entry()).collect();
        for entry in &entries {
            let variants = linking
                .iter()
                .copied()
                .filter(|variant| variant.entry() == *entry)
                .collect();
            jobs.push(Job { edit, variants });
        }
        if entries.is_empty() {
            jobs.push(Job {
                edit,
                variants: Vec::new(),
            });
        }
    }
    Ok(jobs)
}

/// Whether an edit can be made. The library's own files always take it; a user's may have changed there.
pub(super) fn applies(sources: &Sources, edit: &Edit) -> bool {
    let once = |text: &str| text.matches(edit.find).count() == 1;
    sources.is_embedded() || sources.get(edit.module).is_some_and(once)
}

/// Runs the cases of the job's variants, one variant after the other, until one case fails: an edit may
/// show only in a format that the first variant does not have. Variants that are wrong without the edit
/// prove nothing and are left out.
pub(super) fn run(
    engine: &GpuEngine,
    job: &Job<'_>,
    by_variant: &BTreeMap<Variant, Vec<&Prepared>>,
    passed: &BTreeSet<String>,
) -> Result<BrokenReport, EngineError> {
    let mut report = BrokenReport {
        edit: job.edit.name.to_owned(),
        variant: String::new(),
        caught: false,
        caught_by: String::new(),
        skipped: None,
    };
    let sound: Vec<&&Variant> = job
        .variants
        .iter()
        .filter(|variant| passed.contains(&variant.to_string()))
        .collect();
    if sound.is_empty() {
        report.skipped = Some(if job.variants.is_empty() {
            format!("no variant on this adapter links `{}`", job.edit.module)
        } else {
            format!(
                "every variant that links `{}` is quarantined",
                job.edit.module
            )
        });
        return Ok(report);
    }
    report.variant = sound[0].to_string();
    for variant in sound {
        for one in &by_variant[*variant] {
            let verdict = run_case(engine, one, variant, std::slice::from_ref(job.edit))?;
            if let Some(why) = verdict.failure {
                report.variant = variant.to_string();
                report.caught = true;
                report.caught_by = format!("{}: {why}", one.case.name);
                return Ok(report);
            }
        }
    }
    Ok(report)
}
