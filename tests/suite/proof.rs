//! `verify` itself: on adapters that lack things, and when something is wrong.

use lapidary::engine::gpu::GpuOptions;
use lapidary::kernels::{Effort, REGISTRY};
use lapidary::shader::Sources;
use lapidary::verify::{Status, verify_kernel};

use crate::support::{gpu, options};

#[test]
fn an_adapter_without_extensions_passes_and_names_what_it_skipped() {
    let engine = gpu(GpuOptions {
        without_f16: true,
        without_subgroups: true,
        ..options()
    });
    let sources = Sources::embedded();
    let kernel = REGISTRY
        .iter()
        .find(|kernel| kernel.name == "row_reduce")
        .expect("registered");
    let report =
        verify_kernel(&engine, &sources, kernel, Effort::Quick, &mut |_| true).expect("runs");
    assert!(!report.failed(), "{report:?}");
    let skipped =
        |why: &Status| matches!(why, Status::Skipped(reason) if reason.contains("subgroups"));
    assert!(
        report
            .variants
            .iter()
            .any(|variant| skipped(&variant.status))
    );
    assert!(report.broken.iter().any(|one| one.skipped.is_some()));
    assert!(report.broken.iter().any(|one| one.caught));
}

#[test]
fn a_run_that_is_stopped_says_it_is_not_complete() {
    let engine = gpu(options());
    let kernel = REGISTRY
        .iter()
        .find(|kernel| kernel.name == "cast")
        .expect("registered");
    let report = verify_kernel(
        &engine,
        &Sources::embedded(),
        kernel,
        Effort::Quick,
        &mut |at| at.done < 2,
    )
    .expect("runs");
    assert!(!report.complete && report.variants.len() == 2);
}
