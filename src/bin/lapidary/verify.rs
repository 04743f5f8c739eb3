//! `lapidary verify`: the proof, on the user's own adapter.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use lapidary::engine::gpu::{AdapterSummary, DeviceChoice, GpuEngine, GpuOptions, list_adapters};
use lapidary::io::near_names;
use lapidary::kernels::{Effort, Kernel, REGISTRY};
use lapidary::shader::Sources;
use lapidary::tune::Quarantined;
use lapidary::verify::{KernelReport, Status, finite_or_text, verify_kernel};
use serde::Serialize;

use crate::generate::{self, LanguageOptions};
use crate::options::{CommonOptions, DeviceOption, Failure, INSTALL_HINT, announce};
use crate::output::{number, print, print_json, table};
use crate::{stores, verify_model};

#[derive(Debug, Args)]
pub struct VerifyOptions {
    /// Kernels to verify; all of them if none is named. What exists as a file or folder is a model instead.
    kernels: Vec<String>,
    /// For a model that a recipe made: do it again from this one, and compare the bytes.
    #[arg(long, value_name = "MODEL")]
    against: Option<PathBuf>,
    /// For a language model: read a prompt and compare every operation with the CPU reference, on the inputs it has
    /// on the device.
    #[arg(long, conflicts_with = "against")]
    against_cpu: bool,
    /// What is read; a few words are enough.
    #[arg(
        short,
        long,
        value_name = "TEXT",
        default_value = "The quick brown fox",
        requires = "against_cpu"
    )]
    prompt: String,
    #[command(flatten)]
    language: LanguageOptions,
    /// auto, gpu, an index, or part of an adapter's or driver's name.
    #[arg(
        long,
        default_value = "auto",
        value_name = "DEVICE",
        conflicts_with = "all_adapters"
    )]
    device: DeviceOption,
    /// Verify every adapter of this machine, one after the other.
    #[arg(long)]
    all_adapters: bool,
    /// The shorter set of cases (the default).
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// More shapes and longer sums.
    #[arg(long)]
    full: bool,
}

#[derive(Debug, Serialize)]
struct AdapterReport {
    adapter: String,
    driver: String,
    backend: String,
    kind: &'static str,
    kernels: Vec<KernelReport>,
    totals: Totals,
    /// Kernels that could not be run to their end, and why.
    errors: Vec<String>,
    /// Variants that an earlier run found wrong and this one did not try.
    quarantined_earlier: Vec<Quarantined>,
}

#[derive(Debug, Default, Serialize)]
struct Totals {
    passed: usize,
    quarantined: usize,
    expected_failures: usize,
    unexpected_passes: usize,
    skipped: usize,
    elements: usize,
    exact: usize,
    #[serde(serialize_with = "finite_or_text")]
    worst: f64,
    broken_shaders: usize,
    broken_shaders_caught: usize,
    broken_shaders_skipped: usize,
    kernels_not_reached: Vec<String>,
}

/// Whether a name is the kernel's, or its family's: `sparse` for all of `sparse_nm` and so on.
fn is_named(kernel: &Kernel, name: &str) -> bool {
    let family = kernel.name.strip_prefix(name);
    family.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

/// Kernels by name or family, or all; an unknown name lists what there is.
pub fn selected(names: &[String]) -> Result<Vec<&'static Kernel>, Failure> {
    let known = || {
        REGISTRY
            .iter()
            .map(|kernel| kernel.name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    if let Some(name) = names
        .iter()
        .find(|name| !REGISTRY.iter().any(|kernel| is_named(kernel, name)))
    {
        let families = ["sparse", "mask"];
        let names = REGISTRY.iter().map(|kernel| kernel.name).chain(families);
        let near = near_names(name, names);
        let meant = if near.is_empty() {
            String::new()
        } else {
            format!("; did you mean {}?", near.join(" or "))
        };
        return Err(Failure::Usage(format!(
            "no kernel `{name}`{meant}; there are: {}",
            known()
        )));
    }
    let wanted =
        |kernel: &&&Kernel| names.is_empty() || names.iter().any(|name| is_named(kernel, name));
    Ok(REGISTRY.iter().filter(wanted).copied().collect())
}

pub fn run(common: &CommonOptions, options: &VerifyOptions) -> Result<(), Failure> {
    let models: Vec<PathBuf> = options.kernels.iter().map(PathBuf::from).collect();
    let n_models = models.iter().filter(|path| path.exists()).count();
    if n_models > 0 || options.against.is_some() || options.against_cpu {
        if let Some(missing) = models.iter().find(|path| !path.exists()) {
            return Err(Failure::Usage(format!(
                "{}: there is no such model (kernels and models are verified apart)",
                missing.display()
            )));
        }
        if options.all_adapters || models.is_empty() {
            return Err(Failure::Usage(
                "verify of models: name them, and one --device".to_owned(),
            ));
        }
        if options.against_cpu {
            let settings = (options.prompt.as_str(), &options.language);
            return generate::verify(common, &options.device, &models, settings);
        }
        let against = options.against.as_deref();
        if let Some(model) = models.iter().find(|path| generate::is_language_model(path)) {
            let Some(base) = against else {
                let by = match generate::is_encoder(model) {
                    true => "`lapidary embed MODEL TEXT --verify`",
                    false => "--against-cpu",
                };
                return Err(Failure::Usage(format!(
                    "{}: {}; {by} compares its operations with the CPU reference, --against what it was made of with what it \
                     holds",
                    model.display(),
                    generate::kind(model)
                )));
            };
            return verify_model::made_again(common, &models, (&options.device, base));
        }
        return verify_model::run(common, &models, (&options.device, against));
    }
    let kernels = selected(&options.kernels)?;
    let sources = common.sources()?;
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    ctrlc::set_handler(move || seen.store(true, Ordering::Relaxed))
        .map_err(|error| Failure::Usage(format!("Ctrl-C handler: {error}")))?;
    let effort = if options.full {
        Effort::Full
    } else {
        Effort::Quick
    };
    let mut reports = Vec::new();
    let mut failure = None;
    // What one adapter or kernel could not do takes nothing from the others' results.
    for choice in choices(options)? {
        let gpu = GpuOptions {
            device: choice,
            sources: sources.clone(),
            cooperative_matrix: common.cooperative_matrix,
            ..GpuOptions::default()
        };
        match verify_adapter(&gpu, &kernels, effort, &stop, &mut failure) {
            Ok(report) => {
                if !common.json {
                    print_report(&report)?;
                }
                reports.push(report);
            }
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    if common.json && !reports.is_empty() {
        print_json(&reports)?;
    }
    match failure {
        Some(failure) => Err(failure),
        None => judge(&reports, options),
    }
}

fn choices(options: &VerifyOptions) -> Result<Vec<DeviceChoice>, Failure> {
    if options.all_adapters {
        let count = pollster::block_on(list_adapters()).len();
        if count == 0 {
            return Err(Failure::Device(format!(
                "no GPU adapter to verify\n{INSTALL_HINT}"
            )));
        }
        return Ok((0..count).map(DeviceChoice::Index).collect());
    }
    let why = "verify compares an adapter with the CPU reference";
    Ok(vec![options.device.adapter(why)?])
}

fn verify_adapter(
    gpu: &GpuOptions,
    kernels: &[&'static Kernel],
    effort: Effort,
    stop: &AtomicBool,
    failure: &mut Option<Failure>,
) -> Result<AdapterReport, Failure> {
    let sources = &gpu.sources;
    let open = || GpuEngine::open(gpu.clone());
    let first = open()?;
    let summary: AdapterSummary = first.summary().clone();
    announce(&summary);
    eprintln!("verifying {} kernels on {}", kernels.len(), summary.line());
    // A software adapter compiles shaders on one core; one engine a core keeps them all busy. Hardware
    // is given one engine, as a user would run it.
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let workers = if summary.capabilities.software {
        cores.min(kernels.len()).max(1)
    } else {
        1
    };
    let mut engines = vec![first];
    for _ in 1..workers {
        engines.push(open()?);
    }
    let next = AtomicUsize::new(0);
    let bars = MultiProgress::new();
    let results: Mutex<Vec<(usize, Result<KernelReport, Failure>)>> = Mutex::default();
    thread::scope(|scope| {
        for engine in &engines {
            let (next, bars, results) = (&next, &bars, &results);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(kernel) = kernels.get(index) else {
                        break;
                    };
                    let report = verify_one(engine, sources, kernel, effort, stop, bars);
                    results
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((index, report));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    let mut reports = Vec::new();
    let mut errors = Vec::new();
    for (index, result) in results {
        match result {
            Ok(report) => reports.push(report),
            Err(error) => {
                errors.push(format!("{}: {error}", kernels[index].name));
                failure.get_or_insert(error);
            }
        }
    }
    // The proof stands whatever becomes of the file that remembers it.
    let quarantined_earlier = remember(&summary, sources, &reports).unwrap_or_else(|error| {
        eprintln!("note: not kept for later runs: {error}");
        Vec::new()
    });
    let mut totals = total(&reports);
    if stop.load(Ordering::Relaxed) {
        // The last ones started were cut short; they count as not reached.
        let done = |kernel: &&&Kernel| {
            !reports
                .iter()
                .any(|report| report.kernel == kernel.name && report.complete)
        };
        totals.kernels_not_reached = kernels
            .iter()
            .filter(done)
            .map(|kernel| kernel.name.to_owned())
            .collect();
    }
    Ok(AdapterReport {
        adapter: summary.name,
        driver: summary.driver,
        backend: summary.backend,
        kind: summary.kind,
        kernels: reports,
        totals,
        errors,
        quarantined_earlier,
    })
}

/// Puts what was found wrong into quarantine for every later run, takes what was found right out, and
/// returns what is in it besides.
fn remember(
    summary: &AdapterSummary,
    sources: &Sources,
    reports: &[KernelReport],
) -> Result<Vec<Quarantined>, Failure> {
    let (folder, mut store) = stores::open(summary, sources)?;
    let before = store.clone();
    let mut tried = BTreeSet::new();
    for variant in reports.iter().flat_map(|report| &report.variants) {
        match &variant.status {
            Status::Passed | Status::UnexpectedPass(_) => store.release(&variant.variant),
            Status::Quarantined(why) | Status::ExpectedFailure(why) => {
                store.quarantine(&variant.variant, why);
            }
            Status::Skipped(_) => continue,
        }
        tried.insert(variant.variant.as_str());
    }
    if store != before {
        stores::save(&folder, &store)?;
    }
    let others = store.quarantined();
    Ok(others
        .filter(|one| !tried.contains(one.variant.as_str()))
        .collect())
}

fn verify_one(
    engine: &GpuEngine,
    sources: &Sources,
    kernel: &Kernel,
    effort: Effort,
    stop: &AtomicBool,
    bars: &MultiProgress,
) -> Result<KernelReport, Failure> {
    let bar = bars.add(ProgressBar::new(0));
    if let Ok(style) = ProgressStyle::with_template(
        "{prefix:20} {pos:>4}/{len:4} {elapsed:>4} (left {eta}) {wide_msg}",
    ) {
        bar.set_style(style);
    }
    bar.set_prefix(kernel.name);
    let report = verify_kernel(engine, sources, kernel, effort, &mut |progress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
        bar.set_message(progress.label.to_owned());
        !stop.load(Ordering::Relaxed)
    });
    bar.finish_and_clear();
    Ok(report?)
}

fn total(reports: &[KernelReport]) -> Totals {
    let mut totals = Totals::default();
    for report in reports {
        for variant in &report.variants {
            match variant.status {
                Status::Passed => totals.passed += 1,
                Status::Quarantined(_) => totals.quarantined += 1,
                Status::ExpectedFailure(_) => totals.expected_failures += 1,
                Status::UnexpectedPass(_) => totals.unexpected_passes += 1,
                Status::Skipped(_) => totals.skipped += 1,
            }
            totals.elements += variant.elements;
            totals.exact += variant.exact;
            totals.worst = totals.worst.max(variant.worst);
        }
        let skipped = report
            .broken
            .iter()
            .filter(|one| one.skipped.is_some())
            .count();
        totals.broken_shaders_skipped += skipped;
        totals.broken_shaders += report.broken.len() - skipped;
        totals.broken_shaders_caught += report.broken.iter().filter(|one| one.caught).count();
    }
    totals
}

fn print_report(report: &AdapterReport) -> Result<(), Failure> {
    print(&format!(
        "{} | {} | {} | {}",
        report.adapter, report.driver, report.backend, report.kind
    ))?;
    let mut rows = table(&[
        "result",
        "cases",
        "exact",
        "worst/bound",
        "variant, and where the worst was",
    ]);
    for variant in report.kernels.iter().flat_map(|kernel| &kernel.variants) {
        let at = if variant.place.is_empty() {
            String::new()
        } else {
            format!("  at {}", variant.place)
        };
        let (result, detail) = match &variant.status {
            Status::Passed => ("ok", String::new()),
            Status::Quarantined(why) => ("QUARANTINED", format!("  <- {why}")),
            Status::ExpectedFailure(link) => ("expected failure", format!("  <- {link}")),
            Status::UnexpectedPass(link) => (
                "UNEXPECTED PASS",
                format!("  <- remove the entry for {link}"),
            ),
            Status::Skipped(why) => ("skipped", format!("  <- {why}")),
        };
        rows.add_row([
            result.into(),
            number(variant.cases),
            number(format!("{}/{}", variant.exact, variant.elements)),
            number(format!("{:.4}", variant.worst)),
            format!("{}{at}{detail}", variant.variant).into(),
        ]);
    }
    print(&rows.to_string())?;
    let worst = report
        .kernels
        .iter()
        .flat_map(|kernel| &kernel.variants)
        .max_by(|a, b| a.worst.total_cmp(&b.worst));
    if let Some(worst) = worst.filter(|worst| worst.worst > 0.0) {
        print(&format!(
            "worst error over bound {:.4}: {} | {}",
            worst.worst, worst.variant, worst.place
        ))?;
    }
    for kernel in &report.kernels {
        for one in &kernel.broken {
            match &one.skipped {
                Some(why) => print(&format!(
                    "broken shader skipped: {} {}: {why}",
                    kernel.kernel, one.edit
                ))?,
                None if !one.caught => {
                    print(&format!(
                        "NOT CAUGHT: {} {} {}",
                        kernel.kernel, one.edit, one.variant
                    ))?;
                }
                None => {}
            }
        }
    }
    for kernel in report
        .kernels
        .iter()
        .filter(|kernel| !kernel.edits_not_applicable.is_empty())
    {
        let edits = kernel.edits_not_applicable.join(", ");
        print(&format!(
            "{}: the shader files differ where these are broken, so not run: {edits}",
            kernel.kernel
        ))?;
    }
    for one in &report.quarantined_earlier {
        print(&format!(
            "quarantined by an earlier run: {} <- {}",
            one.variant, one.reason
        ))?;
    }
    let totals = &report.totals;
    let (caught, run) = (totals.broken_shaders_caught, totals.broken_shaders);
    match (100 * caught).checked_div(run) {
        Some(percent) => print(&format!(
            "broken shaders caught: {caught}/{run} ({percent}%)"
        ))?,
        None => print("broken shaders: none was run")?,
    }
    print(&format!(
        "{} variants passed, {} quarantined, {} expected failures, {} skipped",
        totals.passed, totals.quarantined, totals.expected_failures, totals.skipped
    ))?;
    report
        .errors
        .iter()
        .try_for_each(|error| print(&format!("NOT FINISHED: {error}")))
}

fn judge(reports: &[AdapterReport], options: &VerifyOptions) -> Result<(), Failure> {
    let mut problems = Vec::new();
    for report in reports {
        let totals = &report.totals;
        let missed = totals.broken_shaders - totals.broken_shaders_caught;
        if totals.quarantined + totals.unexpected_passes + missed > 0 {
            problems.push(format!(
                "{}: {} variants quarantined, {} unexpected passes, {missed} broken shaders not caught",
                report.adapter, totals.quarantined, totals.unexpected_passes
            ));
        }
        if !totals.kernels_not_reached.is_empty() {
            let rest = totals.kernels_not_reached.join(" ");
            let effort = if options.full { " --full" } else { "" };
            problems.push(format!(
                "{0}: stopped by Ctrl-C; go on with: lapidary verify {rest} --device '{0}'{effort}",
                report.adapter
            ));
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Failure::Mismatch(problems.join("\n")))
    }
}
