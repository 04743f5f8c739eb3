//! Every variant of one launch against the adapter's limits: how long it takes, how sure that is, what
//! its shader does, and how much of the lower roof it reaches.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::engine::EngineError;
use crate::engine::gpu::GpuEngine;
use crate::record::{Access, Build, Cost, Launch, Slot, usable_variants};
use crate::shader::{Capabilities, Sources, StaticCounts, Target, Variant, check, link};
use crate::verify::needs;

use super::roofline::{Roof, Rooflines};
use super::store::Store;
use super::timing::{Effort, Measured, Method, OnTurn, Timing, is_tie, time_variants};

/// Spread above which the machine was busy with something else too.
const NOISY: f64 = 0.2;

/// Variants to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All that the adapter can launch.
    All,
    /// The one the engine would use: the tuned choice, else the first guess.
    Best,
}

/// What became of a variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProfileStatus {
    /// It has times.
    Measured,
    /// It could not be compiled or run, and why.
    Failed(String),
    /// It was not tried, or not to a first time, and why.
    NotRun(String),
}

/// A variant's time beside the fastest one's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// The fastest median.
    Winner,
    /// Too close to the winner to tell apart.
    Tie,
    /// Times the winner's median.
    Slower(f64),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Winner => f.write_str("winner"),
            Self::Tie => f.write_str("tie"),
            Self::Slower(ratio) => write!(f, "slower by {ratio:.2}x"),
        }
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One variant. What needs times is `None` without them.
#[derive(Debug, Clone, Serialize)]
pub struct VariantProfile {
    /// The variant, printed.
    #[serde(serialize_with = "printed")]
    pub variant: Variant,
    /// Whether it has times.
    pub status: ProfileStatus,
    /// Its time beside the fastest one's.
    pub verdict: Option<Verdict>,
    /// Nanoseconds a dispatch, the middle sample.
    pub median_ns: Option<f64>,
    /// The sample a tenth of the way up.
    pub low_ns: Option<f64>,
    /// The sample nine tenths of the way up.
    pub high_ns: Option<f64>,
    /// Distance of the last two, as a share of the median.
    pub spread: Option<f64>,
    /// The spread is above a fifth: the machine was busy with something else too.
    pub noisy: bool,
    /// Samples taken.
    pub samples: usize,
    /// Milliseconds from linking to a compiled pipeline, with the driver's caches as they were.
    pub compile_ms: Option<f64>,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: Option<u32>,
    /// What the text of the shader says it does.
    pub counts: Option<StaticCounts>,
    /// 10^9 bytes a second, of those that must move at least once.
    pub gb_per_s: Option<f64>,
    /// 10^9 operations a second.
    pub gop_per_s: Option<f64>,
    /// The probe that limits this variant at the launch's intensity.
    pub roof: Option<String>,
    /// What that roof allows here: 10^9 operations a second, or bytes for a launch without operations.
    pub roof_rate: Option<f64>,
    /// Share of it that was reached. Past 100 where the probe is no limit of this variant: caches are
    /// faster than memory, and integers are not computed as the probe computes.
    pub percent_of_roof: Option<f64>,
}

/// All of them, fastest first, then those without times.
#[derive(Debug, Clone, Serialize)]
pub struct Profile {
    /// Kernel name.
    pub kernel: &'static str,
    /// Shape and formats of the launch.
    pub shape: String,
    /// Adapter name.
    pub adapter: String,
    /// Its driver.
    pub driver: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: &'static str,
    /// How the variants were timed.
    pub method: Method,
    /// The adapter's limits.
    pub rooflines: Rooflines,
    /// Multiplies and adds of one launch.
    pub operations: f64,
    /// Bytes that must move at least once.
    pub bytes: f64,
    /// Operations for each byte; `None` where no bytes move.
    pub intensity: Option<f64>,
    /// The caller ended it before all rounds were taken.
    pub stopped: bool,
    /// The variants.
    pub variants: Vec<VariantProfile>,
}

/// Variants of the launch on adapters with more features, with what this one lacks.
fn lacking(
    launch: &dyn Launch,
    capabilities: &Capabilities,
    sources: &Sources,
) -> Result<Vec<(Variant, String)>, EngineError> {
    let here = launch.variants(capabilities);
    let elsewhere = launch.variants(&capabilities.with_every_feature());
    let others = elsewhere.into_iter().filter(|one| !here.contains(one));
    others
        .map(|variant| {
            let needs = needs(&variant, sources, capabilities)?;
            Ok((variant, format!("the adapter lacks {needs}")))
        })
        .collect()
}

/// Times the variants of a launch in turns and compares them with each other and with `rooflines`.
///
/// # Errors
/// Device errors that concern more than one variant, [`EngineError::LoopTooLong`] when no variant can
/// finish the launch, and the first variant's error when all of them fail.
pub fn profile(
    engine: &GpuEngine,
    sources: &Sources,
    launch: &Arc<dyn Launch>,
    which: Which,
    store: &Store,
    rooflines: Rooflines,
    on_turn: &mut OnTurn<'_>,
) -> Result<Profile, EngineError> {
    let capabilities = engine.capabilities();
    let mut tried = usable_variants(launch.as_ref(), capabilities, Build::Trusted);
    if tried.is_empty() {
        return Err(EngineError::LoopTooLong {
            kernel: launch.kernel(),
            shape: launch.describe(),
            limit: capabilities.max_loop_iterations,
        });
    }
    let mut not_run = Vec::new();
    tried.retain(|variant| {
        let why = store.why_quarantined(&variant.to_string());
        not_run.extend(why.map(|why| (variant.clone(), format!("quarantined: {why}"))));
        why.is_none()
    });
    match which {
        Which::Best => {
            let best = store
                .table()
                .pick(launch.as_ref(), capabilities, Build::Trusted);
            tried.retain(|variant| best.as_ref() == Some(variant));
        }
        Which::All => {
            let limit = capabilities.max_loop_iterations;
            let reason = format!("more than the {limit} loop iterations this driver runs");
            let rest = launch.variants(capabilities).into_iter();
            let known: Vec<&Variant> = not_run.iter().map(|(variant, _)| variant).collect();
            let rest: Vec<Variant> = rest
                .filter(|variant| !tried.contains(variant) && !known.contains(&variant))
                .collect();
            let rest = rest.into_iter();
            not_run.extend(rest.map(|variant| (variant, reason.clone())));
            not_run.extend(lacking(launch.as_ref(), capabilities, sources)?);
        }
    }
    let mut stopped = false;
    let mut watched = |label: &str| {
        stopped |= !on_turn(label);
        !stopped
    };
    let (method, measured) = time_variants(engine, launch, &tried, Effort::PROFILE, &mut watched)?;
    if let Some(error) = error_of_all(&measured, stopped) {
        return Err(error);
    }
    let unmeasured = tried
        .into_iter()
        .filter(|variant| !measured.iter().any(|one| one.variant == *variant));
    not_run.extend(unmeasured.map(|variant| (variant, "stopped".to_owned())));

    let scale = Scale {
        cost: launch.cost(),
        memory_roof: memory_roof(&launch.slots()),
        rooflines: &rooflines,
    };
    let shader = |variant: &Variant| {
        let linked = link(sources, variant, &[], Target::Native).ok()?;
        let checked = check(&linked, variant, &capabilities.with_every_feature()).ok()?;
        Some((checked.workgroup_bytes(), checked.counts()))
    };
    let mut variants = Vec::new();
    for one in measured {
        let known = shader(&one.variant);
        variants.push(scale.variant(one, stopped, known));
    }
    for (variant, reason) in not_run {
        let known = shader(&variant);
        variants.push(without_times(variant, ProfileStatus::NotRun(reason), known));
    }
    rank(&mut variants);
    let cost = scale.cost;
    let summary = engine.summary();
    Ok(Profile {
        kernel: launch.kernel(),
        shape: launch.describe(),
        adapter: summary.name.clone(),
        driver: summary.driver.clone(),
        backend: summary.backend.clone(),
        kind: summary.kind,
        method,
        operations: cost.operations,
        bytes: cost.bytes,
        intensity: (cost.bytes > 0.0).then(|| cost.operations / cost.bytes),
        stopped,
        variants,
        rooflines,
    })
}

/// When no variant has times although nobody stopped: why the first one has none.
fn error_of_all(measured: &[Measured], stopped: bool) -> Option<EngineError> {
    if stopped || measured.iter().any(|one| one.timing.is_ok()) {
        return None;
    }
    measured.first()?.timing.as_ref().err().cloned()
}

/// What times are compared with.
struct Scale<'a> {
    cost: Cost,
    memory_roof: &'static str,
    rooflines: &'a Rooflines,
}

impl Scale<'_> {
    fn variant(
        &self,
        measured: Measured,
        stopped: bool,
        shader: Option<(u32, StaticCounts)>,
    ) -> VariantProfile {
        let compiled = measured.compile_ms > 0.0;
        let mut profile = match &measured.timing {
            Ok(timing) => self.with_times(measured.variant, timing, shader),
            // It compiled and was stopped before its first turn.
            Err(_) if stopped && compiled => {
                let status = ProfileStatus::NotRun("stopped".to_owned());
                without_times(measured.variant, status, shader)
            }
            Err(error) => {
                let status = ProfileStatus::Failed(error.to_string());
                without_times(measured.variant, status, shader)
            }
        };
        profile.compile_ms = compiled.then_some(measured.compile_ms);
        profile
    }

    fn with_times(
        &self,
        variant: Variant,
        timing: &Timing,
        shader: Option<(u32, StaticCounts)>,
    ) -> VariantProfile {
        let dot4 = shader.is_some_and(|(_, counts)| counts.dot4 > 0);
        let compute = compute_roof(dot4, variant.chosen("product") == Some("f16"));
        let roof = lower_roof(self.cost, self.rooflines, self.memory_roof, compute);
        let spread = timing.spread();
        let per_ns = |work: f64| (work > 0.0).then(|| work / timing.median_ns);
        VariantProfile {
            median_ns: Some(timing.median_ns),
            low_ns: Some(timing.low_ns),
            high_ns: Some(timing.high_ns),
            spread: Some(spread),
            noisy: spread > NOISY,
            samples: timing.samples,
            gb_per_s: per_ns(self.cost.bytes),
            gop_per_s: per_ns(self.cost.operations),
            roof_rate: roof.map(|roof| {
                let work = if self.cost.operations > 0.0 {
                    self.cost.operations
                } else {
                    self.cost.bytes
                };
                work / roof.least_ns
            }),
            percent_of_roof: roof.map(|roof| 100.0 * roof.least_ns / timing.median_ns),
            roof: roof.map(|roof| roof.name.to_owned()),
            ..without_times(variant, ProfileStatus::Measured, shader)
        }
    }
}

fn without_times(
    variant: Variant,
    status: ProfileStatus,
    shader: Option<(u32, StaticCounts)>,
) -> VariantProfile {
    VariantProfile {
        variant,
        status,
        verdict: None,
        median_ns: None,
        low_ns: None,
        high_ns: None,
        spread: None,
        noisy: false,
        samples: 0,
        compile_ms: None,
        workgroup_bytes: shader.map(|(bytes, _)| bytes),
        counts: shader.map(|(_, counts)| counts),
        gb_per_s: None,
        gop_per_s: None,
        roof: None,
        roof_rate: None,
        percent_of_roof: None,
    }
}

/// The probe of memory that a launch is like: reading when at most a quarter of its operands is
/// written, else copying.
fn memory_roof(slots: &[Slot]) -> &'static str {
    let bytes_of = |touched: fn(Access) -> bool| -> u64 {
        let slots = slots.iter().filter(|slot| touched(slot.access));
        slots.map(|slot| slot.bytes).sum()
    };
    let read = bytes_of(|access| access != Access::Write);
    let written = bytes_of(|access| access != Access::Read);
    if written.saturating_mul(3) <= read {
        "read"
    } else {
        "copy"
    }
}

/// The probe of arithmetic that a variant is like.
fn compute_roof(dot4: bool, f16: bool) -> &'static str {
    if dot4 {
        "dot4I8Packed"
    } else if f16 {
        "fma f16"
    } else {
        "fma f32"
    }
}

/// A limit on one launch.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Limit<'a> {
    name: &'a str,
    least_ns: f64,
}

/// The probe at whose rate the launch takes longest; `None` where none was probed.
fn lower_roof<'a>(
    cost: Cost,
    rooflines: &'a Rooflines,
    memory: &str,
    compute: &str,
) -> Option<Limit<'a>> {
    let limit = |roofs: &'a [Roof], name: &str, work: f64| {
        let roof = roofs.iter().find(|roof| roof.name == name)?;
        (work > 0.0 && roof.rate > 0.0).then(|| Limit {
            name: &roof.name,
            least_ns: work / roof.rate,
        })
    };
    let memory = limit(&rooflines.memory, memory, cost.bytes);
    let compute = limit(&rooflines.compute, compute, cost.operations);
    let both = memory.into_iter().chain(compute);
    both.max_by(|a, b| a.least_ns.total_cmp(&b.least_ns))
}

/// Sorts by median, those without at the end as they were, and gives verdicts.
fn rank(variants: &mut [VariantProfile]) {
    let key = |one: &VariantProfile| one.median_ns.unwrap_or(f64::INFINITY);
    variants.sort_by(|a, b| key(a).total_cmp(&key(b)));
    let mut winner = None;
    for variant in variants {
        let (Some(median), Some(spread)) = (variant.median_ns, variant.spread) else {
            continue;
        };
        let (best, best_spread) = match winner {
            None => {
                winner = Some((median, spread));
                variant.verdict = Some(Verdict::Winner);
                continue;
            }
            Some(winner) => winner,
        };
        variant.verdict = Some(beside(best, best_spread, median, spread));
    }
}

/// The verdict on a variant that is not the winner.
fn beside(best: f64, best_spread: f64, median: f64, spread: f64) -> Verdict {
    if is_tie((best, best_spread), (median, spread)) {
        Verdict::Tie
    } else {
        Verdict::Slower(median / best)
    }
}

fn printed<S: Serializer>(variant: &Variant, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(variant)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooflines() -> Rooflines {
        let roof = |name: &str, rate| Roof {
            name: name.to_owned(),
            rate,
            spread: 0.0,
            variant: String::new(),
        };
        Rooflines {
            method: Method::Timestamps,
            memory: vec![roof("read", 10.0), roof("copy", 8.0)],
            compute: vec![roof("fma f32", 100.0), roof("dot4I8Packed", 400.0)],
        }
    }

    #[test]
    fn close_medians_tie_within_their_spreads() {
        assert_eq!(beside(100.0, 0.0, 102.0, 0.0), Verdict::Tie);
        assert_eq!(beside(100.0, 0.0, 103.0, 0.0), Verdict::Slower(1.03));
        assert_eq!(beside(100.0, 0.05, 109.0, 0.15), Verdict::Tie);
        assert_eq!(beside(100.0, 0.05, 111.0, 0.15), Verdict::Slower(1.11));
        assert_eq!(Verdict::Slower(1.834).to_string(), "slower by 1.83x");
    }

    #[test]
    fn variants_are_ranked_with_those_without_times_at_the_end() {
        let of = |index, median: Option<f64>| VariantProfile {
            median_ns: median,
            spread: median.map(|_| 0.0),
            ..without_times(
                Variant::new("cast").number("INDEX", index),
                ProfileStatus::Measured,
                None,
            )
        };
        let mut variants = vec![
            of(0, None),
            of(1, Some(30.0)),
            of(2, Some(20.0)),
            of(3, Some(20.1)),
            of(4, None),
        ];
        rank(&mut variants);
        let ranked: Vec<_> = variants
            .iter()
            .map(|one| (one.variant.get("INDEX"), one.verdict))
            .collect();
        let expected = [
            (2, Some(Verdict::Winner)),
            (3, Some(Verdict::Tie)),
            (1, Some(Verdict::Slower(1.5))),
            (0, None),
            (4, None),
        ];
        assert_eq!(ranked, expected);
    }

    #[test]
    fn the_roof_is_the_one_that_takes_longest() {
        let rooflines = rooflines();
        let name = |operations, bytes, compute| {
            let cost = Cost { operations, bytes };
            lower_roof(cost, &rooflines, "read", compute).map(|roof| roof.name)
        };
        assert_eq!(name(1e3, 1e3, "fma f32"), Some("read"));
        assert_eq!(name(1e5, 1e3, "fma f32"), Some("fma f32"));
        assert_eq!(name(2e4, 1e3, "fma f32"), Some("fma f32"));
        assert_eq!(name(2e4, 1e3, "dot4I8Packed"), Some("read"));
        assert_eq!(name(0.0, 1e3, "fma f32"), Some("read"));
        // A roof that was not probed limits nothing.
        assert_eq!(name(1e5, 0.0, "fma f16"), None);
        let cost = Cost {
            operations: 1e3,
            bytes: 1e3,
        };
        let limit = lower_roof(cost, &rooflines, "copy", "fma f32").expect("probed");
        assert_eq!(limit.least_ns, 125.0);
    }

    #[test]
    fn roofs_are_chosen_by_what_a_variant_does() {
        assert_eq!(compute_roof(true, true), "dot4I8Packed");
        assert_eq!(compute_roof(false, true), "fma f16");
        assert_eq!(compute_roof(false, false), "fma f32");
        let slot = |access, bytes| Slot {
            binding: 1,
            name: "data",
            access,
            bytes,
        };
        let of =
            |read, written| memory_roof(&[slot(Access::Read, read), slot(Access::Write, written)]);
        assert_eq!((of(300, 100), of(200, 100)), ("read", "copy"));
        assert_eq!(memory_roof(&[slot(Access::ReadWrite, 100)]), "copy");
        assert_eq!(memory_roof(&[slot(Access::Write, 100)]), "copy");
    }
}
