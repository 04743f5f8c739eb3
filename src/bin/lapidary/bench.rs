//! `lapidary bench A [B ..]`: models side by side, against the first.

use std::path::{Path, PathBuf};

use clap::Args;
use lapidary::compress::deploy::{Judge, Judged, MeasureOptions, Measured, measure};
use lapidary::compress::outcome::{KernelTime, Outcome, Speed};
use lapidary::compress::stage::Context;
use lapidary::compress::stage::control::{self, By, Choice, Form, Score};
use lapidary::data::{Dataset, TrainTest};
use lapidary::io::read_text;
use lapidary::report::compression::{CompressionReport, Sensitivity};

use crate::models::{Folder, Opener, data_folder, load_data_for, open_model};
use crate::optimize::goal::set_aside;
use crate::options::{CommonOptions, DeviceOption, Failure};
use crate::outcomes;
use crate::output::{print, print_json};
use crate::recipe::RESOLVED_FILE;
use crate::target::{self, ReportOf};
use crate::train::{stop_on_ctrl_c, usage, write};
use crate::trained::ModelOptions;

/// Versions as JSON, in the folder of `--report`.
pub const OUTCOMES_FILE: &str = "outcomes.json";

/// The page to look at, beside it, and its first picture alone: accuracy against size.
pub const PAGE_FILE: &str = "report.html";
pub const PICTURE_FILE: &str = "report.svg";

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  lapidary bench baseline int8 int4\n  \
    lapidary bench mlp.safetensors mlp-int8 --repeat 5 --device llvmpipe --json")]
pub struct BenchOptions {
    /// Folders of models, or files of `train --out`; the others are compared with the first.
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<PathBuf>,
    #[command(flatten)]
    network: ModelOptions,
    /// Folder with the data, as for `train`; its test set is what counts. By default what the first model says it was made
    /// with, else the images built in.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How often all are measured, in turns; the median counts.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    repeat: u32,
    /// Passes of one sample that are timed each time.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    passes: u32,
    /// Leave times out.
    #[arg(long)]
    no_speed: bool,
    /// Samples whose pass is compared with the definition, operation by operation; 0 leaves that out.
    #[arg(long, default_value_t = 4, value_name = "N")]
    verified: u32,
    /// Measure what each layer of the first model loses when it alone is made smaller, for the page of --report.
    #[arg(long)]
    sensitivity: bool,
    /// Of the samples of the training set that judge layers for --sensitivity; the report tells it.
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Keep what was found in this folder.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// auto, gpu, cpu, an index, or part of an adapter's or driver's name.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: DeviceOption,
}

pub fn run(common: &CommonOptions, options: &BenchOptions) -> Result<(), Failure> {
    let [first, ..] = &options.models[..] else {
        return Err(Failure::Usage("bench: name a model".to_owned()));
    };
    if let Some(folder) = &options.report {
        target::for_report(folder, ReportOf::Networks)?;
    }
    let folder = match &options.data {
        Some(folder) => Some(folder.clone()),
        None => data_folder(first, &options.network)?,
    };
    let data = load_data_for(first, &options.network, folder.as_deref())?;
    let opener = Opener::new(common, &options.device)?;
    let outcomes = measured(options, &data, &opener)?;
    if let Some(folder) = &options.report {
        let costs = match options.sensitivity {
            true => sensitivities(options, &data, &opener)?,
            false => Vec::new(),
        };
        let recipe = folder.with_file_name(RESOLVED_FILE);
        let kept = Kept {
            outcomes: &outcomes,
            opener: &opener,
            class_names: data.test.class_names(),
            seed: options.seed,
            // Where the judgement is a stage, the recipe stands beside it.
            made_by: read_text(&recipe).unwrap_or_else(|_| "bench".to_owned()),
            sensitivities: costs,
        };
        kept.write(folder)?;
    }
    if common.json {
        print_json(&outcomes)?;
    } else {
        print(&outcomes::text(&outcomes))?;
    }
    verdict(&outcomes)
}

fn measured(
    options: &BenchOptions,
    data: &TrainTest,
    opener: &Opener,
) -> Result<Vec<Outcome>, Failure> {
    let mut folders = Vec::new();
    for path in &options.models {
        folders.push(Folder::of(path, &options.network, &data.train)?);
    }
    let names: Vec<(&str, &Path)> = folders
        .iter()
        .map(|one| (one.name.as_str(), one.path.as_path()))
        .collect();
    judge(&names, &data.test, opener, options.how())
}

impl BenchOptions {
    /// How often versions are timed and verified.
    pub fn how(&self) -> How {
        let times = (!self.no_speed).then(|| MeasureOptions {
            single: self.passes as usize,
            batches: (self.passes as usize / 5).max(1),
            ..MeasureOptions::default()
        });
        How {
            times,
            repeat: self.repeat,
            verified_samples: self.verified as usize,
        }
    }
}

/// How often versions are timed and verified.
#[derive(Clone, Copy)]
pub struct How {
    pub times: Option<MeasureOptions>,
    pub repeat: u32,
    pub verified_samples: usize,
}

/// Judges the versions in folders, each against the first.
pub fn judge(
    versions: &[(&str, &Path)],
    test: &Dataset,
    opener: &Opener,
    how: How,
) -> Result<Vec<Outcome>, Failure> {
    let engine = opener.open()?;
    let open = || opener.open();
    let judge = Judge {
        engine: engine.as_ref(),
        open: &open,
        routes: &opener.routes,
        test,
        times: None,
        verified_samples: how.verified_samples,
    };
    let stop = stop_on_ctrl_c()?;
    let stopped = || match stop.load(std::sync::atomic::Ordering::Relaxed) {
        true => Err(Failure::Mismatch(
            "stopped by Ctrl-C while measuring".to_owned(),
        )),
        false => Ok(()),
    };
    let mut judged: Vec<Judged> = Vec::new();
    for (index, (name, folder)) in versions.iter().enumerate() {
        stopped()?;
        eprintln!("[{}/{}] judging {name}", index + 1, versions.len());
        judged.push(judge.judge(name, folder, judged.first())?);
    }
    let mut outcomes: Vec<Outcome> = judged.iter().map(|one| one.outcome.clone()).collect();
    let Some(times) = how.times else {
        return Ok(outcomes);
    };
    let mut turns: Vec<Vec<Measured>> = vec![Vec::new(); versions.len()];
    // In turns, so that what disturbs the machine disturbs all.
    for turn in 0..how.repeat {
        eprintln!("timing all, {} of {}", turn + 1, how.repeat);
        for ((one, (_, folder)), measured) in judged.iter().zip(versions).zip(&mut turns) {
            stopped()?;
            let prepared = one.model.prepare(test)?;
            let inputs = (prepared.inputs(), &opener.routes);
            measured.push(measure(folder, &open, inputs, times)?);
        }
    }
    for (outcome, turns) in outcomes.iter_mut().zip(&turns) {
        let speeds: Vec<Speed> = turns.iter().map(|one| one.speed).collect();
        outcome.speed = median(&speeds);
        outcome.kernels = middle_kernels(turns);
    }
    if let [base, others @ ..] = &mut outcomes[..] {
        for outcome in others {
            outcome.note_slower(Some(&*base));
        }
    }
    Ok(outcomes)
}

/// The median of each time; bytes are the same every time.
fn median(speeds: &[Speed]) -> Option<Speed> {
    let of = |value: fn(&Speed) -> f64| {
        let mut values: Vec<f64> = speeds.iter().map(value).collect();
        values.sort_unstable_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    Some(Speed {
        load_ms: of(|one| one.load_ms)?,
        p50_ms: of(|one| one.p50_ms)?,
        p95_ms: of(|one| one.p95_ms)?,
        p99_ms: of(|one| one.p99_ms)?,
        throughput: of(|one| one.throughput)?,
        ..*speeds.first()?
    })
}

/// Where the device's time went in the turn with the median of its sum.
fn middle_kernels(turns: &[Measured]) -> Vec<KernelTime> {
    let total = |one: &Measured| one.kernels.iter().map(|kernel| kernel.ms).sum::<f64>();
    let mut order: Vec<&Measured> = turns.iter().collect();
    order.sort_by(|a, b| total(a).total_cmp(&total(b)));
    order
        .get(order.len() / 2)
        .map(|one| one.kernels.clone())
        .unwrap_or_default()
}

/// What each layer of the first model costs alone, on samples set aside from the training set.
fn sensitivities(
    options: &BenchOptions,
    data: &TrainTest,
    opener: &Opener,
) -> Result<Vec<Sensitivity>, Failure> {
    let [first, ..] = &options.models[..] else {
        return Ok(Vec::new());
    };
    let model = open_model(first, &options.network, &data.train)?;
    let (rest, validation) = set_aside(&data.train, options.seed)?;
    let engine = opener.open()?;
    let stop = stop_on_ctrl_c()?;
    let context = Context {
        engine: engine.as_ref(),
        train: &rest,
        test: &validation,
        seed: options.seed,
        watch: &|_| !stop.load(std::sync::atomic::Ordering::Relaxed),
        kept: None,
    };
    eprintln!("what each layer costs alone");
    let before = control::score(&context, &model, &validation)?;
    let ways = [(Form::Int4, By::Weights), (Form::FourFifths, By::Weights)];
    let found = control::sensitivities(&context, &model, &validation, &ways)?;
    Ok(found.iter().map(|one| cost(one, before)).collect())
}

/// A sensitivity as reports have it.
pub fn cost(found: &control::Sensitivity, before: Score) -> Sensitivity {
    let choice = Choice {
        weight: found.weight.clone(),
        form: found.form,
        by: found.by,
    };
    Sensitivity {
        setting: choice.name(),
        layer: choice.weight,
        lost: before.accuracy - found.score.accuracy,
    }
}

/// What goes into the folder of a judgement.
pub struct Kept<'a> {
    pub outcomes: &'a [Outcome],
    pub opener: &'a Opener,
    pub class_names: &'a [String],
    pub seed: u64,
    pub made_by: String,
    pub sensitivities: Vec<Sensitivity>,
}

impl Kept<'_> {
    /// Writes numbers, page and picture.
    pub fn write(self, folder: &Path) -> Result<(), Failure> {
        lapidary::io::atomic::create_folder(folder).map_err(usage)?;
        let text = serde_json::to_string_pretty(self.outcomes).map_err(usage)?;
        write(&folder.join(OUTCOMES_FILE), &(text + "\n"))?;
        let [baseline, steps @ ..] = self.outcomes else {
            return Ok(());
        };
        let last = steps.last().unwrap_or(baseline);
        let report = CompressionReport {
            title: format!("{} made smaller", baseline.network),
            device: self.opener.device.clone(),
            driver: self.opener.driver.clone(),
            seed: self.seed,
            created_from: self.made_by,
            input_sha256: baseline.sha256.clone(),
            output_sha256: last.sha256.clone(),
            class_names: self.class_names.to_vec(),
            baseline: baseline.clone(),
            steps: steps.to_vec(),
            sensitivities: self.sensitivities,
            notes: Vec::new(),
        };
        let page = report.to_html().map_err(usage)?;
        write(&folder.join(PAGE_FILE), &page)?;
        let picture = report.pareto_svg().map_err(usage)?;
        write(&folder.join(PICTURE_FILE), &picture)?;
        eprintln!("report: {}", folder.join(PAGE_FILE).display());
        Ok(())
    }
}

/// Fails where a device did not compute what the definition says.
fn verdict(outcomes: &[Outcome]) -> Result<(), Failure> {
    let wrong = outcomes.iter().find_map(|one| {
        let found = one.verification.as_ref()?;
        (!found.passed()).then_some((one.name.as_str(), found))
    });
    match wrong {
        None => Ok(()),
        Some((name, found)) => Err(Failure::Mismatch(format!(
            "{name}: {} is off by {} times what is allowed",
            found.worst_operation, found.worst_over_bound
        ))),
    }
}
