//! `lapidary tune-hyper`: search the settings of training.

mod objective;
mod space_file;

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use lapidary::io::safetensors::SafetensorsFile;
use lapidary::report::plot::{Axis, Trials, trials};
use lapidary::search::{
    MedianPruner, Proposal, Reports, Sampler, SearchError, State, Study, StudyOptions, TpeOptions,
    Trial,
};
use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::config::Settings;
use crate::options::{CommonOptions, DeviceOption, Failure, can_be_written};
use crate::output::{number, print, print_json, table};
use crate::train::{self, TrainCommand, setup, stop_on_ctrl_c, usage, write};

use objective::{Metric, Objective, splits};
use space_file::SpaceFile;

/// Trials where neither the command line nor a grid says how many.
const TRIALS: u32 = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SamplerName {
    /// Every combination of lists and of the points of ranges.
    Grid,
    /// Independent draws.
    Random,
    /// A tree of Parzen estimators, which learns from the trials before.
    Tpe,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PrunerName {
    /// Give up trials that do worse than the median did at the same epoch.
    Median,
    /// Train every trial to its end.
    None,
}

#[derive(Debug, Args)]
pub struct TuneHyperOptions {
    /// TOML file: [train] with settings that stay, [space] with lists and ranges of those that are searched.
    #[arg(value_name = "SPACE.toml")]
    space: PathBuf,
    /// Trials in all, those of the journal too; by default 20, or all of a grid.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    trials: Option<u32>,
    /// How settings are chosen.
    #[arg(long, value_enum, default_value = "tpe")]
    sampler: SamplerName,
    /// Trials that tpe draws at random first.
    #[arg(long, default_value_t = TpeOptions::default().n_startup_trials, value_name = "N")]
    startup_trials: u32,
    /// Judge each trial on this many parts of the training set in turn, each time trained on the others. The median
    /// of --pruner then compares like with like only where all trials have as many epochs.
    #[arg(long, value_name = "K")]
    folds: Option<usize>,
    /// Without --folds, share of the training set that trials are judged by.
    #[arg(long, default_value_t = 0.2, value_name = "SHARE")]
    validation: f64,
    /// What trials are judged by.
    #[arg(long, value_enum, default_value = "accuracy")]
    metric: Metric,
    /// Which trials are given up.
    #[arg(long, value_enum, default_value = "median")]
    pruner: PrunerName,
    /// Complete trials before any is given up.
    #[arg(long, default_value_t = MedianPruner::default().n_startup_trials, value_name = "N")]
    pruner_startup: u32,
    /// Epochs of a trial before it may be given up.
    #[arg(long, default_value_t = MedianPruner::default().n_warmup_steps, value_name = "N")]
    pruner_warmup: u32,
    /// Seed of what is tried, and of the parts of the training set.
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Keep every trial here as a line of JSON; goes on from it when it is there.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Write the settings of the best trial, as a file that `train` takes.
    #[arg(long, value_name = "FILE")]
    best: Option<PathBuf>,
    /// Draw what trials were worth, and the best so far.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// auto, gpu, cpu, an index, or part of an adapter's or driver's name; wins over [train].
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceOption>,
}

#[derive(Debug, Serialize)]
struct Report {
    device: String,
    metric: &'static str,
    search: StudyOptions,
    best: Option<Best>,
    /// Best first.
    trials: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Best {
    trial: u32,
    value: Option<f64>,
    settings: Settings,
}

#[derive(Debug, Serialize)]
struct Row {
    trial: u32,
    state: State,
    value: Option<f64>,
    values: Map<String, Json>,
    /// After each epoch.
    reports: Vec<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub fn run(common: &CommonOptions, options: &TuneHyperOptions) -> Result<(), Failure> {
    for file in [&options.journal, &options.best, &options.svg] {
        file.iter().try_for_each(|file| can_be_written(file))?;
    }
    let file = SpaceFile::read(&options.space)?;
    let search = search(options, &file);
    let n_trials = match (options.trials, search.sampler) {
        (Some(n), _) => n,
        (None, Sampler::Grid) => search.space.n_grid().map_err(usage)?,
        (None, Sampler::Random | Sampler::Tpe(_)) => TRIALS,
    };
    let mut study = match &options.journal {
        Some(path) => Study::with_journal(search, path, about(options, &file)).map_err(usage)?,
        None => Study::new(search),
    };
    let n_before = study.trials().len();
    if n_before > 0 {
        eprintln!("resumed after {n_before} trials");
    }
    let first = file.example()?;
    let data = setup::load_data(first.data.as_deref())?.train;
    // A file that no trial can read ends the search, not each trial.
    if let Some(start) = &first.init
        && file.fixed.iter().any(|word| word.starts_with("--init="))
    {
        SafetensorsFile::open(start).map_err(usage)?;
    }
    let device = options.device.as_ref().unwrap_or(&first.device);
    let engine = train::engine(common, device)?;
    let stop = stop_on_ctrl_c()?;
    let objective = Objective {
        engine: engine.as_ref(),
        data: &data,
        splits: splits(&data, (options.folds, options.validation), options.seed)?,
        metric: options.metric,
        stop: &stop,
    };
    let direction = options.metric.direction();
    let best = study.best().and_then(|trial| trial.value);
    let mut watch = Watch {
        began: Instant::now(),
        n_trials,
        best,
    };
    let mut judge = |proposal: &Proposal<'_>, reports: &mut Reports<'_>| {
        objective.judge(&file.settings(proposal.values())?, reports)
    };
    let is_stopped = study.run::<Failure>(n_trials, &mut judge, &mut |trial| {
        watch.see(trial, |a, b| direction.is_better(a, b));
    })?;

    let report = report(&study, &file, (engine.name(), options.metric))?;
    if let (Some(path), Some(best)) = (&options.best, &report.best) {
        write(path, &best.settings.toml())?;
    }
    if let (Some(path), Some(_)) = (&options.svg, &report.best) {
        write(path, &picture(&study, options.metric)?)?;
    }
    if common.json {
        print_json(&report)?;
    } else {
        print(&text(&study, options.metric))?;
    }
    if is_stopped {
        let n = study.trials().len();
        return Err(Failure::Mismatch(match &options.journal {
            Some(path) => format!(
                "stopped by Ctrl-C after {n} of {n_trials} trials; the same command goes on from {}",
                path.display()
            ),
            None => format!(
                "stopped by Ctrl-C after {n} of {n_trials} trials; without --journal nothing is kept"
            ),
        }));
    }
    if report.best.is_none() {
        let mut reasons = study
            .trials()
            .iter()
            .filter_map(|trial| trial.reason.clone());
        let reason = reasons
            .next()
            .unwrap_or_else(|| "all were given up".to_owned());
        return Err(Failure::Mismatch(format!(
            "no trial came to an end: {reason}"
        )));
    }
    Ok(())
}

fn search(options: &TuneHyperOptions, file: &SpaceFile) -> StudyOptions {
    StudyOptions {
        space: file.space.clone(),
        sampler: match options.sampler {
            SamplerName::Grid => Sampler::Grid,
            SamplerName::Random => Sampler::Random,
            SamplerName::Tpe => Sampler::Tpe(TpeOptions {
                n_startup_trials: options.startup_trials,
                ..TpeOptions::default()
            }),
        },
        pruner: match options.pruner {
            PrunerName::None => None,
            PrunerName::Median => Some(MedianPruner {
                n_startup_trials: options.pruner_startup,
                n_warmup_steps: options.pruner_warmup,
            }),
        },
        direction: options.metric.direction(),
        seed: options.seed,
    }
}

/// What values depend on besides the search itself. The device is left out: a search may go on on another.
fn about(options: &TuneHyperOptions, file: &SpaceFile) -> Map<String, Json> {
    let device = |word: &&String| word.starts_with("--device=");
    let train: Vec<&String> = file.fixed.iter().filter(|word| !device(word)).collect();
    Map::from_iter([
        ("train".to_owned(), train.into_iter().cloned().collect()),
        ("metric".to_owned(), options.metric.name().into()),
        ("folds".to_owned(), options.folds.into()),
        ("validation".to_owned(), options.validation.into()),
    ])
}

/// Says on stderr how trials went.
struct Watch {
    began: Instant,
    n_trials: u32,
    best: Option<f64>,
}

impl Watch {
    fn see(&mut self, trial: &Trial, is_better: impl Fn(f64, f64) -> bool) {
        if let Some(value) = trial.value
            && self.best.is_none_or(|best| is_better(value, best))
        {
            self.best = Some(value);
        }
        let worth = match (trial.state, trial.last_known(), &trial.reason) {
            (State::Failed, _, Some(reason)) => format!("failed: {reason}"),
            (State::Pruned, Some(value), _) => format!("given up at {value:.4}"),
            (_, Some(value), _) => format!("{value:.4}"),
            (_, None, _) => "nothing known".to_owned(),
        };
        let best = self
            .best
            .map_or_else(|| "none".to_owned(), |best| format!("{best:.4}"));
        eprintln!(
            "trial {} of {}: {worth}; best {best}, {:.1} s",
            trial.number + 1,
            self.n_trials,
            self.began.elapsed().as_secs_f64()
        );
    }
}

fn report(
    study: &Study,
    file: &SpaceFile,
    (device, metric): (String, Metric),
) -> Result<Report, Failure> {
    let row = |trial: &Trial| Row {
        trial: trial.number,
        state: trial.state,
        value: trial.value,
        values: study.values_json(trial),
        reports: trial.reports.clone(),
        reason: trial.reason.clone(),
    };
    let best = study.best().map(|trial| {
        let settings = |options: TrainCommand| options.settings;
        Ok::<Best, Failure>(Best {
            trial: trial.number,
            value: trial.value,
            settings: file.settings(&trial.values).map(settings)?,
        })
    });
    Ok(Report {
        device,
        metric: metric.name(),
        search: study.options().clone(),
        best: best.transpose()?,
        trials: study.ranked().into_iter().map(row).collect(),
    })
}

/// The table of trials, best first.
fn text(study: &Study, metric: Metric) -> String {
    let names = study.options().space.dimensions().iter();
    let header = ["trial", metric.name(), "state", "epochs"].into_iter();
    let header: Vec<&str> = header.chain(names.map(|one| one.name.as_str())).collect();
    let mut rows = table(&header);
    for trial in study.ranked() {
        let worth = trial.last_known().map(|value| format!("{value:.4}"));
        let state = match trial.state {
            State::Complete => "complete",
            State::Pruned => "given up",
            State::Failed => "failed",
        };
        let begin = [
            number(trial.number),
            number(worth.unwrap_or_default()),
            state.into(),
            number(trial.reports.len()),
        ];
        let values = study.values_json(trial);
        let dimensions = study.options().space.dimensions().iter();
        let values = dimensions.map(|one| match values.get(&one.name) {
            Some(Json::String(text)) => text.into(),
            // Four digits are enough to see what is better where; all are in --json.
            Some(Json::Number(value)) if value.is_f64() => {
                number(format!("{:.3e}", value.as_f64().unwrap_or_default()))
            }
            Some(other) => number(other),
            None => number(""),
        });
        rows.add_row(begin.into_iter().chain(values));
    }
    rows.to_string()
}

fn picture(study: &Study, metric: Metric) -> Result<String, Failure> {
    let direction = metric.direction();
    let of = |state| {
        let trials = study.trials().iter().filter(move |one| one.state == state);
        let points = trials.filter_map(|one| Some((one.number, one.last_known()?)));
        points.collect::<Vec<(u32, f64)>>()
    };
    let complete = of(State::Complete);
    let mut best: Vec<(u32, f64)> = Vec::new();
    for &(number, value) in &complete {
        if best
            .last()
            .is_none_or(|&(_, before)| direction.is_better(value, before))
        {
            best.push((number, value));
        }
    }
    trials(&Trials {
        title: "Search of settings".to_owned(),
        y_axis: Axis {
            label: metric.name().to_owned(),
            log: false,
        },
        complete,
        pruned: of(State::Pruned),
        best,
    })
    .map_err(usage)
}

impl From<SearchError> for Failure {
    fn from(error: SearchError) -> Self {
        Self::Usage(error.to_string())
    }
}
