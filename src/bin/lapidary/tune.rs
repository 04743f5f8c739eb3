//! `lapidary tune`: measure which variant wins on this adapter, and keep it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use lapidary::engine::gpu::{GpuEngine, GpuOptions};
use lapidary::record::Launch;
use lapidary::tune::{Choice, Key, Store, Tuned, pin, route_kernel, tune, tune_route};
use serde::Serialize;

use crate::options::{CommonOptions, DeviceOption, Failure, announce, can_be_written, missed};
use crate::output::{number, print, print_json, table};
use crate::stores;
use crate::workload::launch;

#[derive(Debug, Args)]
pub struct TuneOptions {
    /// The kernel to tune; without one, the matrix products at a few common shapes.
    kernel: Option<String>,
    /// Extents, such as 1024x1024x1024 for m, n and k.
    #[arg(long, value_name = "MxNxK", requires = "kernel")]
    shape: Option<String>,
    /// Formats, such as int4-g64, f16,nn, or of pruned weights 2:4x16,int8-channel, block16x16,75% and
    /// delta4,90%.
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "FORMAT",
        requires = "kernel"
    )]
    format: String,
    /// auto, gpu, an index, or part of an adapter's or driver's name.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: DeviceOption,
    /// Measure again what was already chosen (pinned choices stay).
    #[arg(long)]
    fresh: bool,
    /// Put this variant in place for the shape, by its printed name, without measuring.
    #[arg(long, value_name = "VARIANT", requires = "shape")]
    pin: Option<String>,
    /// Write all choices to a file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["import", "clear", "kernel"])]
    export: Option<PathBuf>,
    /// Take over the choices of a file made for the same adapter, driver and shaders.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["clear", "kernel"])]
    import: Option<PathBuf>,
    /// Forget all choices, pinned ones too; what was found wrong stays in quarantine.
    #[arg(long, conflicts_with = "kernel")]
    clear: bool,
}

/// Spread of times above which the machine was doing something else too.
const BUSY: f64 = 0.2;

/// What is tuned when nothing is named.
const COMMON: [(&str, &str, &str); 7] = [
    ("matmul_dense", "512x512x512", "f32"),
    ("matmul_dense", "512x512x512", "f16"),
    ("matmul_quant", "512x512x512", "int4-g64"),
    ("matmul_int8", "512x512x512", "int8-channel"),
    ("matmul_int8", "512x512x512", "int4-g64"),
    ("matvec_quant", "1x4096x4096", "int4-g64"),
    ("matvec_int8", "1x4096x4096", "int4-g64"),
];

#[derive(Debug, Serialize)]
struct Row {
    outcome: &'static str,
    seconds: f64,
    #[serde(flatten)]
    choice: Choice,
}

#[derive(Debug, Serialize)]
struct Report {
    adapter: String,
    driver: String,
    backend: String,
    file: String,
    choices: Vec<Row>,
    quarantined: Vec<lapidary::tune::Quarantined>,
    stopped: bool,
}

pub fn run(common: &CommonOptions, options: &TuneOptions) -> Result<(), Failure> {
    let launches = launches(options)?;
    let sources = common.sources()?;
    let device = options
        .device
        .adapter("there is nothing to choose on the CPU engine")?;
    let engine = GpuEngine::open(GpuOptions {
        device,
        sources: sources.clone(),
        cooperative_matrix: common.cooperative_matrix,
        ..GpuOptions::default()
    })?;
    announce(engine.summary());
    let (folder, mut store) = stores::open(engine.summary(), &sources)?;
    let key = Key::new(engine.summary(), &sources);
    if let Some(file) = &options.export {
        can_be_written(file)?;
        store.write(file).map_err(usage)?;
        return print(&format!(
            "{} choices written to {}",
            store.choices().count(),
            file.display()
        ));
    }
    if let Some(file) = &options.import {
        let theirs = Store::read(file, &key).map_err(usage)?;
        let count = theirs.choices().count();
        theirs.choices().for_each(|one| store.choose(one.clone()));
        for one in theirs.quarantined() {
            store.quarantine(&one.variant, &one.reason);
        }
        stores::save(&folder, &store)?;
        return print(&format!(
            "{count} choices taken over from {}",
            file.display()
        ));
    }
    if options.clear {
        let count = store.choices().count();
        store.clear();
        stores::save(&folder, &store)?;
        return print(&format!("{count} choices forgotten"));
    }
    let mut rows = Vec::new();
    if let Some(name) = &options.pin {
        for launch in &launches {
            let choice = pin(&engine, &mut store, launch.as_ref(), name).map_err(|names| {
                Failure::Usage(format!(
                    "no usable variant `{name}` for this shape; there are:\n  {}",
                    names.join("\n  ")
                ))
            })?;
            rows.push(row("pinned", 0.0, choice));
        }
    }
    let mut stopped = false;
    if options.pin.is_none() {
        stopped = !measure(
            &engine,
            common,
            &mut store,
            &launches,
            options.fresh,
            &mut rows,
        )?;
    }
    let file = stores::save(&folder, &store)?;
    let report = Report {
        adapter: engine.summary().name.clone(),
        driver: engine.summary().driver.clone(),
        backend: engine.summary().backend.clone(),
        file: file.display().to_string(),
        choices: rows,
        quarantined: store.quarantined().collect(),
        stopped,
    };
    if common.json {
        print_json(&report)?;
    } else {
        print_report(&report)?;
    }
    if report.stopped {
        return Err(Failure::Mismatch(
            "stopped by Ctrl-C: what was measured in whole is kept".to_owned(),
        ));
    }
    Ok(())
}

/// Tunes each launch and saves nothing; `false` when it was stopped.
fn measure(
    engine: &GpuEngine,
    common: &CommonOptions,
    store: &mut Store,
    launches: &[Arc<dyn Launch>],
    fresh: bool,
    rows: &mut Vec<Row>,
) -> Result<bool, Failure> {
    let sources = common.sources()?;
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    ctrlc::set_handler(move || seen.store(true, Ordering::Relaxed))
        .map_err(|error| Failure::Usage(format!("Ctrl-C handler: {error}")))?;
    let bar = ProgressBar::new(launches.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{pos}/{len} {elapsed:>4} {wide_msg}") {
        bar.set_style(style);
    }
    for launch in launches {
        let class = launch.shape_class();
        let known = store.choice(launch.kernel(), &class).cloned();
        let replaced = known.filter(|choice| fresh && !choice.pinned);
        if replaced.is_some() {
            store.forget(launch.kernel(), &class);
        }
        let began = Instant::now();
        let tuned = tune(engine, &sources, store, launch, &mut |label| {
            bar.set_message(label.to_owned());
            !stop.load(Ordering::Relaxed)
        })
        .map_err(missed)?;
        let seconds = began.elapsed().as_secs_f64();
        match tuned {
            Tuned::Known(choice) => rows.push(row("known", seconds, choice)),
            Tuned::Measured(choice) => rows.push(row("measured", seconds, choice)),
            Tuned::Stopped => {
                // The old choice is better than none.
                replaced.into_iter().for_each(|one| store.choose(one));
                break;
            }
        }
        // A pruned weight may be faster with its zeros written out.
        if let Some(dense) = launch.dense().filter(|_| fresh) {
            store.forget(&route_kernel(launch.kernel()), &class);
            let (kernel, class) = (dense.kernel(), dense.shape_class());
            if store.choice(kernel, &class).is_some_and(|one| !one.pinned) {
                store.forget(kernel, &class);
            }
        }
        let began = Instant::now();
        let route = tune_route(engine, &sources, store, launch, &mut |label| {
            bar.set_message(label.to_owned());
            !stop.load(Ordering::Relaxed)
        })
        .map_err(missed)?;
        let seconds = began.elapsed().as_secs_f64();
        match route {
            Some(Tuned::Known(choice)) => rows.push(row("known", seconds, choice)),
            Some(Tuned::Measured(choice)) => rows.push(row("measured", seconds, choice)),
            Some(Tuned::Stopped) => break,
            None => {}
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(!stop.load(Ordering::Relaxed))
}

fn row(outcome: &'static str, seconds: f64, choice: Choice) -> Row {
    Row {
        outcome,
        seconds,
        choice,
    }
}

fn launches(options: &TuneOptions) -> Result<Vec<Arc<dyn Launch>>, Failure> {
    let Some(name) = &options.kernel else {
        return COMMON
            .iter()
            .map(|(kernel, shape, format)| launch(kernel, shape, format))
            .collect();
    };
    let Some(shape) = &options.shape else {
        return Err(Failure::Usage(format!(
            "tune {name}: --shape is missing, for example --shape 512x512x512"
        )));
    };
    Ok(vec![launch(name, shape, &options.format)?])
}

fn usage(error: impl std::fmt::Display) -> Failure {
    Failure::Usage(error.to_string())
}

fn print_report(report: &Report) -> Result<(), Failure> {
    print(&format!(
        "{} | {} | {}",
        report.adapter, report.driver, report.backend
    ))?;
    let mut rows = table(&[
        "",
        "s",
        "kernel and shape",
        "ms",
        "against the next",
        "variant",
    ]);
    for row in &report.choices {
        let evidence = &row.choice.evidence;
        let of = |name: &str| evidence.iter().find(|one| one.variant == name);
        let chosen = of(&row.choice.variant);
        let next = evidence
            .iter()
            .find(|one| one.variant != row.choice.variant);
        let ms = chosen.map_or_else(
            || "not measured".to_owned(),
            |one| {
                let busy = if one.timing.spread() > BUSY {
                    ", busy"
                } else {
                    ""
                };
                format!("{:.3}{busy}", one.timing.median_ns / 1e6)
            },
        );
        let ratio = chosen.zip(next).map_or_else(String::new, |(one, next)| {
            format!("{:.2}x", next.timing.median_ns / one.timing.median_ns)
        });
        rows.add_row([
            row.outcome.into(),
            number(format!("{:.1}", row.seconds)),
            format!("{} {}", row.choice.kernel, row.choice.shape).into(),
            number(ms),
            number(ratio),
            row.choice.variant.clone().into(),
        ]);
    }
    print(&rows.to_string())?;
    for one in &report.quarantined {
        print(&format!("quarantined: {} <- {}", one.variant, one.reason))?;
    }
    print(&format!("kept in {}", report.file))
}
