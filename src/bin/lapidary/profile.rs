//! `lapidary profile KERNEL --shape MxNxK`: how fast each variant of a kernel is, and what limits it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use lapidary::engine::EngineError;
use lapidary::engine::gpu::{DeviceChoice, GpuEngine, GpuOptions};
use lapidary::io::atomic;
use lapidary::record::{Build, usable_variants};
use lapidary::report::Page;
use lapidary::report::plot::{self, Bar, Bars, ComputeRoof, MemoryRoof, PlotError, Point};
use lapidary::tune::{
    Method, OnTurn, Profile, ProfileStatus, Rooflines, Store, VariantProfile, Verdict, Which,
    profile,
};

use crate::options::{CommonOptions, DeviceOption, Failure, announce, can_be_written, missed};
use crate::output::{number, print, print_json, table};
use crate::shaders::write_variants;
use crate::stores;
use crate::workload::launch;

#[derive(Debug, Args)]
pub struct ProfileOptions {
    /// Kernel to profile, or `sparse` with `--sweep`.
    pub kernel: String,
    /// Extents of the launch, such as 512x512x512; what they are is the kernel's to say.
    #[arg(long, value_name = "MxNxK")]
    pub shape: String,
    /// Formats of the launch, comma-separated, such as int4-g64 or f16,nn, or of pruned weights
    /// 2:4x16,int8-channel, block16x16,75% and delta4,90%; the kernel's own if not given.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub format: String,
    /// Times against the share of zeros in the weight for every format of pruned weights (with the kernel
    /// `sparse`; --format is then that of the values, such as f32, f16 or int8-channel).
    #[arg(long, value_enum, value_name = "WHAT")]
    sweep: Option<Sweep>,
    /// With --sweep: write the plot to this file.
    #[arg(long, value_name = "FILE", requires = "sweep")]
    pub svg: Option<PathBuf>,
    /// All variants, or only the engine's first guess.
    #[arg(long, value_enum, default_value_t = Variants::All, conflicts_with = "sweep")]
    variants: Variants,
    /// auto, gpu, an index, or part of an adapter's or driver's name.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceOption,
    /// Probe the adapter's rooflines again.
    #[arg(long, conflicts_with = "sweep")]
    fresh: bool,
    /// Write a report with plots to this file: one page that needs nothing else.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write the shader of each variant to this folder, as `lapidary shaders` does.
    #[arg(long, value_name = "DIR", conflicts_with = "sweep")]
    dump: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sweep {
    Sparsity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Variants {
    All,
    Best,
}

pub fn run(common: &CommonOptions, options: &ProfileOptions) -> Result<(), Failure> {
    if options.sweep == Some(Sweep::Sparsity) {
        return crate::sweep::run(common, options);
    }
    let launch = launch(&options.kernel, &options.shape, &options.format)?;
    if let Some(file) = &options.html {
        can_be_written(file)?;
    }
    let device = options
        .device
        .adapter("profile times shaders on an adapter")?;
    let sources = common.sources()?;
    let engine = GpuEngine::open(GpuOptions {
        device,
        sources: sources.clone(),
        cooperative_matrix: common.cooperative_matrix,
        ..GpuOptions::default()
    })?;
    announce(engine.summary());
    // What no variant can serve is said before seconds go into probes.
    let capabilities = engine.capabilities();
    if usable_variants(launch.as_ref(), capabilities, Build::Trusted).is_empty() {
        return Err(missed(EngineError::LoopTooLong {
            kernel: launch.kernel(),
            shape: launch.describe(),
            limit: capabilities.max_loop_iterations,
        }));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    ctrlc::set_handler(move || seen.store(true, Ordering::Relaxed))
        .map_err(|error| Failure::Usage(format!("Ctrl-C handler: {error}")))?;

    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{prefix:20} {elapsed:>4} {wide_msg}") {
        bar.set_style(style);
    }
    let mut on_turn = |label: &str| {
        bar.set_message(label.to_owned());
        bar.tick();
        !stop.load(Ordering::Relaxed)
    };
    bar.set_prefix("rooflines");
    let (folder, mut store) = stores::open(engine.summary(), &sources)?;
    let kept = (folder.as_path(), &mut store);
    let rooflines = rooflines(&engine, kept, options.fresh, &mut on_turn)?;
    bar.set_prefix(launch.kernel());
    let which = match options.variants {
        Variants::All => Which::All,
        Variants::Best => Which::Best,
    };
    let profile = profile(
        &engine,
        &sources,
        &launch,
        which,
        &store,
        rooflines,
        &mut on_turn,
    );
    bar.finish_and_clear();
    let profile = profile.map_err(missed)?;

    if common.json {
        print_json(&profile)?;
    } else {
        print_profile(&profile)?;
    }
    if let Some(file) = &options.html {
        let html = page(&profile, &command(common, options))
            .map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
        atomic::write_bytes(file, html.as_bytes())
            .map_err(|error| Failure::Usage(error.to_string()))?;
        eprintln!("report written to {}", file.display());
    }
    if let Some(folder) = &options.dump {
        let variants = profile.variants.iter().map(|one| &one.variant);
        let written = write_variants(folder, &sources, profile.kernel, variants)?;
        let (count, folder) = (written.len(), folder.display());
        eprintln!("shaders of {count} variants written to {folder}, in the table's order");
    }
    if profile.stopped {
        return Err(Failure::Mismatch(
            "stopped by Ctrl-C: what was measured so far is above".to_owned(),
        ));
    }
    Ok(())
}

/// The adapter's limits: kept from an earlier run, unless fresh ones are asked for or there are none.
fn rooflines(
    engine: &GpuEngine,
    (folder, store): (&Path, &mut Store),
    fresh: bool,
    on_turn: &mut OnTurn<'_>,
) -> Result<Rooflines, Failure> {
    if let Some(known) = store.rooflines().filter(|_| !fresh) {
        eprintln!("note: rooflines are those of an earlier run; --fresh probes them again");
        return Ok(known.clone());
    }
    let probed = Rooflines::probe(engine, &mut *on_turn)?;
    // Probes that were cut short are no limits.
    if on_turn("rooflines probed") {
        store.set_rooflines(probed.clone());
        stores::save(folder, store)?;
    }
    Ok(probed)
}

/// The command that makes this report again, without the names of files.
fn command(common: &CommonOptions, options: &ProfileOptions) -> String {
    let mut command = format!(
        "lapidary profile {} --shape {}",
        options.kernel, options.shape
    );
    if !options.format.is_empty() {
        command += &format!(" --format {}", options.format);
    }
    if options.variants == Variants::Best {
        command += " --variants best";
    }
    match &options.device {
        DeviceOption::Named(DeviceChoice::Name(name)) => command += &format!(" --device '{name}'"),
        DeviceOption::Named(DeviceChoice::Index(index)) => command += &format!(" --device {index}"),
        _ => {}
    }
    if common.shaders.is_some() {
        command += " --shaders DIR";
    }
    command
}

fn method(method: Method) -> &'static str {
    match method {
        Method::Timestamps => "GPU timestamps",
        Method::WallClock => "wall clock over several dispatches",
    }
}

/// What was measured, on what, and how: one line each.
fn header(profile: &Profile) -> Vec<String> {
    let Profile {
        adapter,
        driver,
        backend,
        kind,
        ..
    } = profile;
    let intensity = profile.intensity.map_or(String::new(), |intensity| {
        format!(" ({intensity:.2} operations per byte)")
    });
    let roofs = &profile.rooflines;
    let memory = roofs.memory.iter().map(|roof| (roof, "GB/s"));
    let compute = roofs.compute.iter().map(|roof| (roof, "GOP/s"));
    let roofs: Vec<String> = memory
        .chain(compute)
        .map(|(roof, unit)| {
            let spread = spread(roof.spread, roof.spread > 0.2);
            format!("{} {:.1} {unit} ({spread})", roof.name, roof.rate)
        })
        .collect();
    let roofs = if roofs.is_empty() {
        "none was probed".to_owned()
    } else {
        roofs.join(", ")
    };
    vec![
        format!("adapter: {adapter} | {driver} | {backend} | {kind}"),
        format!("launch: {} {}", profile.kernel, profile.shape),
        format!(
            "work: {} operations, {} bytes{intensity}",
            profile.operations, profile.bytes
        ),
        format!("times: {}", method(profile.method)),
        format!("roofs, by {}: {roofs}", method(profile.rooflines.method)),
    ]
}

const COLUMNS: [&str; 14] = [
    "verdict",
    "median ms",
    "spread",
    "GB/s",
    "GOP/s",
    "of roof",
    "compile ms",
    "shared bytes",
    "loads",
    "multiply-adds",
    "dot4",
    "matrix products",
    "barriers",
    "variant",
];

/// One cell for each column.
fn row(one: &VariantProfile) -> Vec<String> {
    let digits = |value: Option<f64>, digits: usize| {
        value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let count = |value: Option<u32>| value.map_or("-".to_owned(), |value| value.to_string());
    let verdict = match (&one.status, one.verdict) {
        (_, Some(verdict)) => verdict.to_string(),
        (ProfileStatus::Failed(_), None) => "FAILED".to_owned(),
        (ProfileStatus::Measured | ProfileStatus::NotRun(_), None) => "not run".to_owned(),
    };
    let reason = match &one.status {
        ProfileStatus::Measured => String::new(),
        ProfileStatus::Failed(reason) | ProfileStatus::NotRun(reason) => format!("  <- {reason}"),
    };
    let roof = match (one.percent_of_roof, &one.roof) {
        (Some(percent), Some(name)) => format!("{percent:.1}% of {name}"),
        _ => "-".to_owned(),
    };
    let counts = one.counts.as_ref();
    vec![
        verdict,
        digits(one.median_ns.map(|ns| ns / 1e6), 4),
        one.spread
            .map_or("-".to_owned(), |share| spread(share, one.noisy)),
        digits(one.gb_per_s, 2),
        digits(one.gop_per_s, 2),
        roof,
        digits(one.compile_ms, 1),
        count(one.workgroup_bytes),
        count(counts.map(|counts| counts.storage_loads)),
        count(counts.map(|counts| counts.multiply_adds)),
        count(counts.map(|counts| counts.dot4)),
        count(counts.map(|counts| counts.matrix_products)),
        count(counts.map(|counts| counts.barriers)),
        format!("{}{reason}", one.variant),
    ]
}

fn spread(share: f64, busy: bool) -> String {
    let busy = if busy { ", busy" } else { "" };
    format!("{:.0}% spread{busy}", 100.0 * share)
}

fn print_profile(profile: &Profile) -> Result<(), Failure> {
    for line in header(profile) {
        print(&line)?;
    }
    let mut rows = table(&COLUMNS);
    for one in &profile.variants {
        let cells = row(one).into_iter().enumerate();
        rows.add_row(cells.map(|(column, text)| match column {
            0 | 2 | 5 | 12 => text.into(),
            _ => number(text),
        }));
    }
    print(&rows.to_string())
}

/// The report as HTML.
fn page(profile: &Profile, command: &str) -> Result<String, PlotError> {
    let title = format!("{} {}", profile.kernel, profile.shape);
    let mut page = Page::new(title.clone());
    for line in header(profile) {
        page.paragraph(&line);
    }
    page.paragraph(&format!("command: {command}"));
    let measured = profile
        .variants
        .iter()
        .filter(|one| one.median_ns.is_some());
    let won = |one: &VariantProfile| one.verdict == Some(Verdict::Winner);

    let points: Vec<Point> = measured
        .clone()
        .filter_map(|one| {
            Some(Point {
                label: one.variant.to_string(),
                intensity: profile.intensity.filter(|intensity| *intensity > 0.0)?,
                gop_per_s: one.gop_per_s?,
                highlighted: won(one),
            })
        })
        .collect();
    let roofs = &profile.rooflines;
    if points.is_empty() || roofs.memory.is_empty() && roofs.compute.is_empty() {
        page.paragraph("No roofline plot: no operations per byte, no times or no roofs.");
    } else {
        let memory = roofs.memory.iter().map(|roof| MemoryRoof {
            name: roof.name.clone(),
            gb_per_s: roof.rate,
        });
        let compute = roofs.compute.iter().map(|roof| ComputeRoof {
            name: roof.name.clone(),
            gop_per_s: roof.rate,
        });
        let svg = plot::roofline(&plot::Roofline {
            title: title.clone(),
            memory: memory.collect(),
            compute: compute.collect(),
            points,
        })?;
        page.figure("Variants below the adapter's rooflines.", &svg);
    }

    let rows: Vec<Bar> = measured
        .filter_map(|one| {
            Some(Bar {
                label: one.variant.to_string(),
                value: one.median_ns? / 1e6,
                low: one.low_ns? / 1e6,
                high: one.high_ns? / 1e6,
                highlighted: won(one),
            })
        })
        .collect();
    if rows.is_empty() {
        page.paragraph("No bars: no variant has times.");
    } else {
        let unit = "milliseconds".to_owned();
        let svg = plot::bars(&Bars { title, unit, rows })?;
        page.figure(
            "Medians; whiskers from the first to the ninth tenth of the samples.",
            &svg,
        );
    }
    let rows: Vec<Vec<String>> = profile.variants.iter().map(row).collect();
    page.table(&COLUMNS, &rows);
    page.paragraph(
        "Loads, multiply-adds, dot products and barriers are counted in the text of the shader: \
         a loop's body counts once.",
    );
    Ok(page.to_html())
}
