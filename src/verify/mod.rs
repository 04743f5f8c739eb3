//! Proof on the user's own adapter: every variant of every kernel against its CPU reference, and every
//! declared broken shader rejected by the same cases.
//!
//! A case passes when its outputs are bitwise equal (integers) or within the derived bound, the guard
//! words behind each output are untouched, no element was left unwritten, a second run gives the same
//! bits, and the build with the driver's runtime checks gives the same bits as the one without.

mod broken;
mod recording;
mod run;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::engine::{EngineError, GpuEngine};
use crate::kernels::{Case, DataKind, Effort, Kernel};
use crate::record::{Bound, Build, Comparison, HostOperands, Launch, Output, usable_variants};
use crate::shader::{Capabilities, ShaderError, Sources, Target, Variant, link};

pub use broken::BrokenReport;
pub use recording::{DispatchReport, compare_recording};
use run::{Verdict, run_case};

/// How one variant fared over all its cases.
#[derive(Debug, Clone, Serialize)]
pub struct VariantReport {
    /// Printed variant.
    pub variant: String,
    /// What became of it.
    pub status: Status,
    /// Cases run.
    pub cases: usize,
    /// Output elements compared.
    pub elements: usize,
    /// Elements whose bits equal the rounded reference.
    pub exact: usize,
    /// Largest error over bound; in JSON the text `"infinite"` where bits that must be equal differ.
    #[serde(serialize_with = "finite_or_text")]
    pub worst: f64,
    /// Case and element of the worst error, or of the failure.
    pub place: String,
}

/// JSON has no infinity; `null` would hide it.
///
/// # Errors
/// Those of the serializer.
pub fn finite_or_text<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() {
        serializer.serialize_f64(*value)
    } else {
        serializer.serialize_str("infinite")
    }
}

/// What became of a variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// All cases passed.
    Passed,
    /// Some case failed; the variant must not be used on this adapter.
    Quarantined(String),
    /// It failed as a known report says.
    ExpectedFailure(String),
    /// It was expected to fail and did not: the entry is out of date.
    UnexpectedPass(String),
    /// Not run, with the reason.
    Skipped(String),
}

impl Status {
    /// Whether this outcome fails a verification.
    pub const fn is_failure(&self) -> bool {
        matches!(self, Self::Quarantined(_) | Self::UnexpectedPass(_))
    }
}

/// Results of one kernel.
#[derive(Debug, Clone, Serialize)]
pub struct KernelReport {
    /// Kernel name.
    pub kernel: String,
    /// What it computes.
    pub summary: String,
    /// One entry per variant, in name order.
    pub variants: Vec<VariantReport>,
    /// One entry per broken shader that was run.
    pub broken: Vec<BrokenReport>,
    /// Broken shaders that could not be made because the user's shader files differ there.
    pub edits_not_applicable: Vec<String>,
    /// Whether everything was run.
    pub complete: bool,
}

impl KernelReport {
    /// Whether any variant failed or any broken shader passed.
    pub fn failed(&self) -> bool {
        self.variants
            .iter()
            .any(|variant| variant.status.is_failure())
            || self
                .broken
                .iter()
                .any(|one| !one.caught && one.skipped.is_none())
    }
}

/// Every variant of a kernel that an adapter with these capabilities would be given, in order, with a
/// launch that asks for it.
pub fn variants_of(
    kernel: &Kernel,
    effort: Effort,
    capabilities: &Capabilities,
) -> BTreeMap<Variant, Arc<dyn Launch>> {
    let mut variants = BTreeMap::new();
    for case in (kernel.cases)(effort) {
        for variant in case.launch.variants(capabilities) {
            variants
                .entry(variant)
                .or_insert_with(|| Arc::clone(&case.launch));
        }
    }
    variants
}

/// A case with its reference computed once for all variants.
struct Prepared {
    case: Case,
    outputs: Vec<Output>,
    bounds: Vec<Bound>,
}

impl Prepared {
    fn new(case: Case) -> Self {
        let mut operands = HostOperands::default();
        for (binding, words) in &case.operands {
            operands.insert(*binding, words);
        }
        let outputs = case.launch.reference(&operands);
        let bounds = case.launch.bound(&operands);
        Self {
            case,
            outputs,
            bounds,
        }
    }
}

/// Compares one variant with the reference on a launch's own example, at a reduced size: what is wrong with
/// it, or `None`. Two runs of the build that is used; `verify_kernel` is the whole proof.
///
/// # Errors
/// Device loss, and shaders that do not validate; what the driver refuses to build or run counts as wrong.
pub fn check_example(
    engine: &GpuEngine,
    launch: &Arc<dyn Launch>,
    variant: &Variant,
) -> Result<Option<String>, EngineError> {
    // A variant that the smaller launch does not offer may not suit it.
    let smaller = launch.reduced().filter(|smaller| {
        let variants = smaller.variants(engine.capabilities());
        variants.contains(variant)
    });
    let reduced = smaller.unwrap_or_else(|| Arc::clone(launch));
    let operands = reduced.example(1);
    let prepared = Prepared::new(Case::new(reduced, operands, DataKind::Normal));
    match run::run_trusted(engine, &prepared, variant) {
        Ok(verdict) => Ok(verdict.failure),
        Err(error @ (EngineError::DeviceLost { .. } | EngineError::Shader(_))) => Err(error),
        Err(error) => Ok(Some(error.to_string())),
    }
}

/// How far the verification of a kernel is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// Steps finished.
    pub done: usize,
    /// Steps in all: variants, then broken shaders.
    pub total: usize,
    /// What runs next.
    pub label: &'a str,
}

/// Told before each step; returning `false` stops the run.
pub type OnProgress<'a> = dyn FnMut(Progress<'_>) -> bool + 'a;

/// Verifies one kernel. What was not reached when `progress` stopped it is left out of the report.
///
/// # Errors
/// Device errors; a wrong result is a report, not an error.
pub fn verify_kernel(
    engine: &GpuEngine,
    sources: &Sources,
    kernel: &Kernel,
    effort: Effort,
    progress: &mut OnProgress<'_>,
) -> Result<KernelReport, EngineError> {
    let prepared: Vec<Prepared> = (kernel.cases)(effort)
        .into_iter()
        .map(Prepared::new)
        .collect();
    let by_variant = group_by_variant(&prepared, engine.capabilities());
    let mut report = KernelReport {
        kernel: kernel.name.to_owned(),
        summary: kernel.summary.to_owned(),
        variants: Vec::new(),
        broken: Vec::new(),
        edits_not_applicable: kernel
            .broken
            .iter()
            .filter(|edit| !broken::applies(sources, edit))
            .map(|edit| edit.name.to_owned())
            .collect(),
        complete: false,
    };
    let broken = broken::plan(sources, kernel, &by_variant)?;
    let total = by_variant.len() + broken.len();
    for (done, (variant, cases)) in by_variant.iter().enumerate() {
        if !progress(Progress {
            done,
            total,
            label: &variant.to_string(),
        }) {
            return Ok(report);
        }
        report
            .variants
            .push(verify_variant(engine, kernel, variant, cases)?);
    }
    report.variants.extend(skipped(
        &prepared,
        &by_variant,
        sources,
        engine.capabilities(),
    )?);
    report.variants.sort_by(|a, b| a.variant.cmp(&b.variant));
    let sound = report
        .variants
        .iter()
        .filter(|one| one.status == Status::Passed);
    let passed: BTreeSet<String> = sound.map(|one| one.variant.clone()).collect();
    for (index, job) in broken.iter().enumerate() {
        let label = format!("{} in {}", job.edit.name, job.edit.module);
        if !progress(Progress {
            done: by_variant.len() + index,
            total,
            label: &label,
        }) {
            return Ok(report);
        }
        report
            .broken
            .push(broken::run(engine, job, &by_variant, &passed)?);
    }
    report.complete = true;
    Ok(report)
}

fn group_by_variant<'a>(
    prepared: &'a [Prepared],
    capabilities: &Capabilities,
) -> BTreeMap<Variant, Vec<&'a Prepared>> {
    let mut by_variant: BTreeMap<Variant, Vec<&Prepared>> = BTreeMap::new();
    for one in prepared {
        // Every case runs in both builds; the checked one has more loop iterations.
        for variant in usable_variants(one.case.launch.as_ref(), capabilities, Build::Checked) {
            by_variant.entry(variant).or_default().push(one);
        }
    }
    by_variant
}

/// Variants other adapters would have, with what this one lacks.
fn skipped(
    prepared: &[Prepared],
    by_variant: &BTreeMap<Variant, Vec<&Prepared>>,
    sources: &Sources,
    capabilities: &Capabilities,
) -> Result<Vec<VariantReport>, EngineError> {
    let mut reports = Vec::new();
    for (variant, cases) in group_by_variant(prepared, &Capabilities::everything()) {
        if by_variant.contains_key(&variant) {
            continue;
        }
        let needs = needs(&variant, sources, capabilities)?;
        reports.push(VariantReport {
            variant: variant.to_string(),
            status: Status::Skipped(format!("the adapter lacks {needs}")),
            cases: cases.len(),
            elements: 0,
            exact: 0,
            worst: 0.0,
            place: String::new(),
        });
    }
    Ok(reports)
}

/// What an adapter with `capabilities` lacks of what a variant needs, in words.
///
/// # Errors
/// A [`ShaderError`] when the variant cannot be linked.
pub fn needs(
    variant: &Variant,
    sources: &Sources,
    capabilities: &Capabilities,
) -> Result<String, ShaderError> {
    let linked = link(sources, variant, &[], Target::Web)?;
    let missing = linked.extensions.iter().filter_map(|one| {
        let size = variant.has("SUBGROUP").then(|| variant.get("SUBGROUP"));
        match (one.as_str(), size) {
            ("wgpu_cooperative_matrix", _) if !capabilities.cooperative.any() => {
                Some("cooperative matrices".to_owned())
            }
            ("wgpu_cooperative_matrix", _) => Some("cooperative matrices of this kind".to_owned()),
            ("f16", _) if capabilities.f16 => None,
            ("subgroups", Some(size)) => (capabilities.subgroup_size() != Some(size))
                .then(|| format!("subgroups of exactly {size}")),
            ("subgroups", None) if capabilities.subgroups => None,
            (other, _) => Some(other.to_owned()),
        }
    });
    Ok(missing.collect::<Vec<_>>().join(" and "))
}

fn verify_variant(
    engine: &GpuEngine,
    kernel: &Kernel,
    variant: &Variant,
    cases: &[&Prepared],
) -> Result<VariantReport, EngineError> {
    let printed = variant.to_string();
    let mut total = Comparison::default();
    let (mut place, mut failure) = (String::new(), None);
    for one in cases {
        let Verdict {
            comparison,
            failure: why,
        } = match run_case(engine, one, variant, &[]) {
            Ok(verdict) => verdict,
            // What the driver refuses to build or run is as good as wrong here; a lost device, or shader
            // text that does not validate, concerns more than this variant.
            Err(error @ (EngineError::DeviceLost { .. } | EngineError::Shader(_))) => {
                return Err(error);
            }
            Err(error) => {
                failure.get_or_insert_with(|| format!("{}: {error}", one.case.name));
                continue;
            }
        };
        if total.place.is_none() || comparison.worst > total.worst {
            place = describe_place(one, &comparison);
        }
        total.merge(comparison);
        if let Some(why) = why {
            failure.get_or_insert_with(|| format!("{}: {why}", one.case.name));
        }
    }
    let name = engine.summary();
    let expected = kernel.expected_failures.iter().find(|known| {
        (name.name.contains(known.adapter) || name.driver.contains(known.adapter))
            && printed.contains(known.variant)
    });
    let status = match (failure, expected) {
        (None, None) => Status::Passed,
        (Some(why), None) => Status::Quarantined(why),
        (Some(_), Some(known)) => Status::ExpectedFailure(known.link.to_owned()),
        (None, Some(known)) => Status::UnexpectedPass(known.link.to_owned()),
    };
    Ok(VariantReport {
        variant: printed,
        status,
        cases: cases.len(),
        elements: total.elements,
        exact: total.exact,
        worst: total.worst,
        place,
    })
}

fn describe_place(one: &Prepared, comparison: &Comparison) -> String {
    comparison.place.as_ref().map_or_else(String::new, |place| {
        format!(
            "{} [{}]: {:e} for {:e}",
            one.case.name, place.index, place.got, place.expected
        )
    })
}
