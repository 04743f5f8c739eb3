//! `lapidary profile sparse --sweep sparsity`: from which share of zeros on each format of pruned weights is
//! faster than the dense kernel here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use lapidary::engine::gpu::{GpuEngine, GpuOptions};
use lapidary::io::atomic;
use lapidary::kernels::value_format;
use lapidary::num::ValueFormat;
use lapidary::report::Page;
use lapidary::report::plot::{self, Axis, Lines, PlotError, Series};
use lapidary::tune::{Sweep, SweepError, SweepPoint, sweep};

use crate::options::{CommonOptions, Failure, announce, can_be_written, missed};
use crate::output::{number, print, print_json, table};
use crate::profile::ProfileOptions;

/// Spread of times above which a number is not to be trusted.
const BUSY: f64 = 0.2;

/// Largest weight of a sweep: each format is packed on the CPU at each sparsity.
const MOST_WEIGHTS: u64 = 1 << 28;

pub fn run(common: &CommonOptions, options: &ProfileOptions) -> Result<(), Failure> {
    if options.kernel != "sparse" {
        return Err(Failure::Usage(format!(
            "--sweep sparsity compares the formats of pruned weights: profile sparse, not {}",
            options.kernel
        )));
    }
    let shape = extents(&options.shape)?;
    let values = match options.format.as_str() {
        "" => ValueFormat::F32,
        word => value_format(word).ok_or_else(|| {
            Failure::Usage(format!(
                "--format {word}: values of pruned weights are f32, f16, or symmetric int8 or int4 with \
                 -tensor, -channel or -g32 and the like"
            ))
        })?,
    };
    let device = options
        .device
        .adapter("profile times shaders on an adapter")?;
    for file in options.svg.iter().chain(&options.html) {
        can_be_written(file)?;
    }
    let sources = common.sources()?;
    let engine = GpuEngine::open(GpuOptions {
        device,
        sources: sources.clone(),
        cooperative_matrix: common.cooperative_matrix,
        ..GpuOptions::default()
    })?;
    announce(engine.summary());
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    ctrlc::set_handler(move || seen.store(true, Ordering::Relaxed))
        .map_err(|error| Failure::Usage(format!("Ctrl-C handler: {error}")))?;
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{elapsed:>4} {wide_msg}") {
        bar.set_style(style);
    }
    let made = sweep(&engine, &sources, shape, values, &mut |label| {
        bar.set_message(label.to_owned());
        bar.tick();
        !stop.load(Ordering::Relaxed)
    });
    bar.finish_and_clear();
    let made = made.map_err(|error| match error {
        SweepError::Engine(error) => missed(error),
        SweepError::Shape(_) | SweepError::Sparse(_) => Failure::Mismatch(error.to_string()),
    })?;
    let stopped =
        || Failure::Mismatch("stopped by Ctrl-C: what was measured so far is above".to_owned());
    let Some(made) = made else {
        return Err(stopped());
    };
    if common.json {
        print_json(&made)?;
    } else {
        print_sweep(&made)?;
    }
    let command = format!(
        "lapidary profile sparse --sweep sparsity --shape {} --format {}",
        options.shape, made.values
    );
    let unwritten = |file: &std::path::Path, error: &dyn std::fmt::Display| {
        Failure::Usage(format!("{}: {error}", file.display()))
    };
    if let Some(file) = &options.svg {
        let svg = picture(&made).map_err(|error| unwritten(file, &error))?;
        atomic::write_bytes(file, svg.as_bytes())
            .map_err(|error| Failure::Usage(error.to_string()))?;
        eprintln!("plot written to {}", file.display());
    }
    if let Some(file) = &options.html {
        let html = page(&made, &command).map_err(|error| unwritten(file, &error))?;
        atomic::write_bytes(file, html.as_bytes())
            .map_err(|error| Failure::Usage(error.to_string()))?;
        eprintln!("report written to {}", file.display());
    }
    if made.stopped { Err(stopped()) } else { Ok(()) }
}

fn extents(shape: &str) -> Result<[u32; 3], Failure> {
    let parsed: Option<Vec<u32>> = shape.split('x').map(|one| one.parse().ok()).collect();
    let extents: Option<[u32; 3]> = parsed.and_then(|extents| extents.try_into().ok());
    let usage = |why: &str| Failure::Usage(format!("--shape {shape}: {why}"));
    match extents {
        Some([m, n, k]) if m > 0 && n > 0 && k > 0 => {
            if u64::from(n) * u64::from(k) > MOST_WEIGHTS {
                return Err(usage("a sweep takes weights of at most 2^28 elements"));
            }
            Ok([m, n, k])
        }
        _ => Err(usage(
            "expected MxNxK, each at least 1, such as 1x2048x2048",
        )),
    }
}

/// Name, sparsity and times of each point, dense first.
fn rows(sweep: &Sweep) -> Vec<(&str, &SweepPoint)> {
    let lines = sweep.lines.iter();
    let points = lines.flat_map(|line| {
        line.points
            .iter()
            .map(move |point| (line.format.as_str(), point))
    });
    std::iter::once(("dense", &sweep.dense))
        .chain(points)
        .collect()
}

const COLUMNS: [&str; 6] = [
    "format",
    "zeros",
    "bytes a weight",
    "ms",
    "spread",
    "against dense",
];

fn cells((format, point): (&str, &SweepPoint)) -> [String; 6] {
    [
        format.to_owned(),
        format!("{:.1}%", 100.0 * point.sparsity),
        format!("{:.3}", point.bytes_per_weight),
        format!("{:.4}", point.timing.median_ns / 1e6),
        spread(point.timing.spread()),
        format!("{:.2}x", point.speedup),
    ]
}

/// A spread, and a word where the machine was doing something else too.
fn spread(share: f64) -> String {
    let busy = if share > BUSY { ", busy" } else { "" };
    format!("{:.0}%{busy}", 100.0 * share)
}

/// One sentence for each format.
fn crossovers(sweep: &Sweep) -> Vec<String> {
    let line = |line: &lapidary::tune::SweepLine| match (line.crossover, line.points.as_slice()) {
        (Some(at), [_]) => format!(
            "{}: faster than dense at its {:.1}%",
            line.format,
            100.0 * at
        ),
        (None, [only]) => format!(
            "{}: not faster than dense at its {:.1}%",
            line.format,
            100.0 * only.sparsity
        ),
        (Some(at), [first, ..]) if at <= first.sparsity => format!(
            "{}: faster than dense from {:.1}% zeros or less",
            line.format,
            100.0 * at
        ),
        (Some(at), _) => format!(
            "{}: faster than dense from {:.1}% zeros",
            line.format,
            100.0 * at
        ),
        (None, points) => format!(
            "{}: not faster than dense up to {:.1}% zeros",
            line.format,
            100.0 * points.last().map_or(0.0, |point| point.sparsity)
        ),
    };
    sweep.lines.iter().map(line).collect()
}

fn print_sweep(sweep: &Sweep) -> Result<(), Failure> {
    let [m, n, k] = sweep.shape;
    print(&format!("{} | {}", sweep.adapter, sweep.driver))?;
    print(&format!(
        "x [{m}, {k}] times a weight [{n}, {k}], values {}",
        sweep.values
    ))?;
    let mut shown = table(&COLUMNS);
    for row in rows(sweep) {
        let [format, others @ ..] = cells(row);
        let mut line = vec![format.into()];
        line.extend(others.map(number));
        shown.add_row(line);
    }
    print(&shown.to_string())?;
    crossovers(sweep).iter().try_for_each(|line| print(line))
}

fn picture(sweep: &Sweep) -> Result<String, PlotError> {
    let [m, n, k] = sweep.shape;
    let ms = |point: &SweepPoint| (100.0 * point.sparsity, point.timing.median_ns / 1e6);
    let (_, dense) = ms(&sweep.dense);
    let mut series = vec![Series {
        name: "dense".to_owned(),
        points: vec![(0.0, dense), (100.0, dense)],
    }];
    series.extend(sweep.lines.iter().map(|line| Series {
        name: line.format.clone(),
        points: line.points.iter().map(ms).collect(),
    }));
    plot::lines(&Lines {
        title: format!(
            "{m} x {n} x {k}, {} values, {}",
            sweep.values, sweep.adapter
        ),
        x_axis: Axis {
            label: "zeros in the weight, %".to_owned(),
            log: false,
        },
        y_axis: Axis {
            label: "time, ms".to_owned(),
            log: true,
        },
        series,
    })
}

fn page(sweep: &Sweep, command: &str) -> Result<String, PlotError> {
    let mut page = Page::new("Time against sparsity");
    page.paragraph(&format!("{} | {}", sweep.adapter, sweep.driver));
    page.paragraph(&format!("Made by: {command}"));
    page.figure(
        "Median time of the fastest variant of each format.",
        &picture(sweep)?,
    );
    let body: Vec<Vec<String>> = rows(sweep)
        .into_iter()
        .map(|row| cells(row).to_vec())
        .collect();
    page.table(&COLUMNS, &body);
    page.heading("Where each format begins to pay");
    for line in crossovers(sweep) {
        page.paragraph(&line);
    }
    Ok(page.to_html())
}
