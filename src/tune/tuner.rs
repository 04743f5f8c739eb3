//! Choosing a variant for one launch: candidates in the order of the kernel's cheap model, parity with
//! the reference first, then times taken in turns. A candidate that computes something wrong goes into
//! quarantine and is never timed.

use std::sync::Arc;

use crate::engine::{EngineError, GpuEngine};
use crate::record::{Build, Launch, usable_variants};
use crate::shader::{Sources, Target, Variant, check, link};
use crate::verify::check_example;

use super::store::{Choice, Evidence, Store};
use super::timing::{Effort, Measured, OnTurn, Timing, check_size, is_tie, time_variants};

/// What became of one launch.
#[derive(Debug, Clone)]
pub enum Tuned {
    /// The store already had a choice for this class.
    Known(Choice),
    /// Measured now.
    Measured(Choice),
    /// Stopped before all times were taken; nothing was chosen.
    Stopped,
}

/// Chooses a variant for the class of `launch` unless the store has one, and puts it into the store.
///
/// # Errors
/// Device errors; no candidate that is right and can be timed is [`EngineError::Quarantined`].
pub fn tune(
    engine: &GpuEngine,
    sources: &Sources,
    store: &mut Store,
    launch: &Arc<dyn Launch>,
    on_turn: &mut OnTurn<'_>,
) -> Result<Tuned, EngineError> {
    let (kernel, class) = (launch.kernel(), launch.shape_class());
    check_size(engine, launch.as_ref())?;
    let usable = usable_variants(launch.as_ref(), engine.capabilities(), Build::Trusted);
    if usable.is_empty() {
        return Err(EngineError::LoopTooLong {
            kernel,
            shape: launch.describe(),
            limit: engine.capabilities().max_loop_iterations,
        });
    }
    // A choice of a variant that this version does not have is none.
    let known = store.choice(kernel, &class).filter(|choice| {
        let mut names = usable.iter().map(ToString::to_string);
        names.any(|name| name == choice.variant)
    });
    if let Some(choice) = known {
        return Ok(Tuned::Known(choice.clone()));
    }
    let mut candidates = Vec::new();
    for variant in usable {
        if store.why_quarantined(&variant.to_string()).is_some() {
            continue;
        }
        if !on_turn(&format!("checking {variant}")) {
            return Ok(Tuned::Stopped);
        }
        match check_example(engine, launch, &variant)? {
            None => candidates.push(variant),
            Some(why) => store.quarantine(&variant.to_string(), &why),
        }
    }
    let mut stopped = false;
    let mut watched = |label: &str| {
        stopped |= !on_turn(label);
        !stopped
    };
    let (method, measured) =
        time_variants(engine, launch, &candidates, Effort::TUNE, &mut watched)?;
    if stopped {
        // Times cut short are no evidence.
        return Ok(Tuned::Stopped);
    }
    let Some((variant, evidence)) = choose(sources, engine, measured)? else {
        return Err(EngineError::Quarantined {
            kernel,
            shape: launch.describe(),
        });
    };
    let choice = Choice {
        kernel: kernel.to_owned(),
        class,
        variant: variant.to_string(),
        pinned: false,
        shape: launch.describe(),
        method: Some(method),
        evidence,
    };
    store.choose(choice.clone());
    Ok(Tuned::Measured(choice))
}

/// The fastest, or the simplest of those that tie with it; and all times, fastest first.
fn choose(
    sources: &Sources,
    engine: &GpuEngine,
    measured: Vec<Measured>,
) -> Result<Option<(Variant, Vec<Evidence>)>, EngineError> {
    let mut timed: Vec<(Variant, Timing)> = measured
        .into_iter()
        .filter_map(|one| Some((one.variant, one.timing.ok()?)))
        .collect();
    timed.sort_by(|(_, a), (_, b)| a.median_ns.total_cmp(&b.median_ns));
    let Some((_, best)) = timed.first().cloned() else {
        return Ok(None);
    };
    let mut simplest: Option<(u64, &Variant)> = None;
    for (variant, _) in timed
        .iter()
        .filter(|(_, timing)| is_tie(timing.place(), best.place()))
    {
        let complexity = complexity(sources, engine, variant)?;
        if simplest.is_none_or(|(least, _)| complexity < least) {
            simplest = Some((complexity, variant));
        }
    }
    let chosen = simplest.map(|(_, variant)| variant.clone());
    let evidence = timed
        .iter()
        .map(|(variant, timing)| Evidence {
            variant: variant.to_string(),
            timing: timing.clone(),
        })
        .collect();
    Ok(chosen.map(|variant| (variant, evidence)))
}

/// Grows with what a variant asks of a driver: extensions above all, then workgroup memory, then
/// multiply-adds written out.
fn complexity(
    sources: &Sources,
    engine: &GpuEngine,
    variant: &Variant,
) -> Result<u64, EngineError> {
    let linked = link(sources, variant, &[], Target::Native)?;
    let checked = check(&linked, variant, engine.capabilities())?;
    let extensions = link(sources, variant, &[], Target::Web)?.extensions.len();
    let counts = checked.counts();
    Ok((extensions as u64) << 40
        | u64::from(checked.workgroup_bytes()) << 16
        | u64::from(counts.multiply_adds.min(0xffff)))
}

/// Puts a variant in place by hand.
///
/// # Errors
/// The names of the variants there are, when none has that name.
pub fn pin(
    engine: &GpuEngine,
    store: &mut Store,
    launch: &dyn Launch,
    name: &str,
) -> Result<Choice, Vec<String>> {
    let variants = usable_variants(launch, engine.capabilities(), Build::Trusted);
    let names: Vec<String> = variants.iter().map(ToString::to_string).collect();
    if !names.iter().any(|one| one == name) || store.why_quarantined(name).is_some() {
        return Err(names);
    }
    let choice = Choice {
        kernel: launch.kernel().to_owned(),
        class: launch.shape_class(),
        variant: name.to_owned(),
        pinned: true,
        shape: launch.describe(),
        method: None,
        evidence: Vec::new(),
    };
    store.choose(choice.clone());
    Ok(choice)
}
