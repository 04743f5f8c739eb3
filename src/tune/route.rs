//! Whether a pruned weight is multiplied as it is stored or with its zeros written out: both ways are tuned,
//! and the faster is kept as a choice of its own, with both times.

use std::sync::Arc;

use crate::engine::EngineError;
use crate::engine::gpu::GpuEngine;
use crate::kernels::sparse::{Route, SparseMatmul};
use crate::ops::Routes;
use crate::record::{Build, Launch, usable_variants};
use crate::shader::{Sources, Variant};

use super::store::{Choice, Evidence, Store};
use super::timing::{Effort, OnTurn, is_tie, time_variants};
use super::tuner::{Tuned, tune};

/// Names of the two ways in a stored choice.
const SPARSE: &str = "sparse";
const DENSE: &str = "dense";

/// What follows the kernel's name in the name that a route is kept under.
const SUFFIX: &str = " route";

/// Kernel name that a route is kept under.
pub fn route_kernel(kernel: &str) -> String {
    format!("{kernel}{SUFFIX}")
}

/// The way that a stored choice says.
fn route_of(choice: &Choice) -> Route {
    if choice.variant == DENSE {
        Route::Dense
    } else {
        Route::Sparse
    }
}

impl Store {
    /// The faster way for a class of products with pruned weights, if it was measured.
    pub fn route(&self, shape: SparseMatmul) -> Option<Route> {
        let launch = shape.launch().ok()?;
        let choice = self.choice(&route_kernel(launch.kernel()), &launch.shape_class())?;
        Some(route_of(choice))
    }
}

impl Store {
    /// All routes that were measured, for [`crate::ops::Weight::upload_pruned`].
    pub fn routes(&self) -> Routes {
        let mut routes = Routes::default();
        for choice in self.choices() {
            if let Some(kernel) = choice.kernel.strip_suffix(SUFFIX) {
                routes.set(kernel, &choice.class, route_of(choice));
            }
        }
        routes
    }
}

/// Tunes a product with a pruned weight and its dense counterpart, and keeps which is faster. `None` for
/// launches without a counterpart. A tie goes to the sparse way, which holds less memory.
///
/// # Errors
/// As [`tune`].
pub fn tune_route(
    engine: &GpuEngine,
    sources: &Sources,
    store: &mut Store,
    launch: &Arc<dyn Launch>,
    on_turn: &mut OnTurn<'_>,
) -> Result<Option<Tuned>, EngineError> {
    let Some(dense) = launch.dense() else {
        return Ok(None);
    };
    let (kernel, class) = (route_kernel(launch.kernel()), launch.shape_class());
    if let Some(choice) = store.choice(&kernel, &class) {
        return Ok(Some(Tuned::Known(choice.clone())));
    }
    // Choices are for classes of shapes; the two ways are compared on this very one.
    let mut evidence = Vec::new();
    let mut method = None;
    for (way, launch) in [(SPARSE, launch), (DENSE, &dense)] {
        let choice = match tune(engine, sources, store, launch, &mut *on_turn)? {
            Tuned::Known(choice) | Tuned::Measured(choice) => choice,
            Tuned::Stopped => return Ok(Some(Tuned::Stopped)),
        };
        let usable = usable_variants(launch.as_ref(), engine.capabilities(), Build::Trusted);
        let chosen = usable
            .into_iter()
            .filter(|variant| variant.to_string() == choice.variant);
        let chosen: Vec<Variant> = chosen.collect();
        let mut stopped = false;
        let mut watched = |label: &str| {
            stopped |= !on_turn(label);
            !stopped
        };
        let (how, measured) = time_variants(engine, launch, &chosen, Effort::TUNE, &mut watched)?;
        if stopped {
            return Ok(Some(Tuned::Stopped));
        }
        method = Some(how);
        for one in measured {
            evidence.push(Evidence {
                variant: way.to_owned(),
                timing: one.timing?,
            });
        }
    }
    let [sparse, dense] = evidence.as_slice() else {
        return Ok(None);
    };
    let is_slower = dense.timing.median_ns < sparse.timing.median_ns
        && !is_tie(dense.timing.place(), sparse.timing.place());
    let variant = if is_slower { DENSE } else { SPARSE };
    evidence.sort_by(|a, b| a.timing.median_ns.total_cmp(&b.timing.median_ns));
    let choice = Choice {
        kernel,
        class,
        variant: variant.to_owned(),
        pinned: false,
        shape: launch.describe(),
        method,
        evidence,
    };
    store.choose(choice.clone());
    Ok(Some(Tuned::Measured(choice)))
}
