//! Within limits: versions are made and judged on samples set aside from the training set, the best within the limits
//! is kept and judged on the test set, which takes no part in the choice.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;

use lapidary::compress::deploy::{MeasureOptions, measure};
use lapidary::compress::model::{MODEL_FILE, Model};
use lapidary::compress::outcome::Outcome;
use lapidary::compress::stage::control::{self, Choice, Form, Sensitivity, Trials, try_forms};
use lapidary::compress::stage::{Context, Progress};
use lapidary::data::Dataset;
use lapidary::data::split::stratified_split;
use lapidary::io::file_sha256;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Goal, OptimizeOptions};
use crate::bench::{How, Kept, cost, judge};
use crate::models::{Folder, Opener, data_folder, load_data_for, open_model, open_with_data};
use crate::options::{CommonOptions, DeviceOption, Failure};
use crate::outcomes;
use crate::output::{bytes, number, print, print_json, table};
use crate::target;
use crate::train::{stop_on_ctrl_c, usage};
use crate::trained::ModelOptions;

/// Of the training set, set aside to judge versions by.
const VALIDATION_SHARE: f64 = 0.2;
/// Samples set aside at the most: more would tell little and take long.
const VALIDATION_SAMPLES: usize = 4000;
/// Passes that are timed for each version.
const TIMES: MeasureOptions = MeasureOptions {
    warm_up: 5,
    single: 50,
    batches: 1,
};

/// A version beside the limits.
#[derive(Debug, Clone, Serialize)]
struct Line {
    name: String,
    /// The form of each weight, and what it was made by.
    forms: BTreeMap<String, String>,
    bytes: u64,
    /// Of the model's bytes.
    size: f64,
    /// On the samples set aside.
    accuracy: f64,
    /// Lost against the model.
    drop: f64,
    /// Median of one sample; only measured where the goal or a limit needs it.
    ms: Option<f64>,
    /// No other is better in size, accuracy or time, and no worse in the rest.
    is_pareto: bool,
    /// By how much the limits are missed, relative to each and summed; 0 within them.
    missed: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    goal: String,
    limits: Value,
    /// Accuracy of the model as it came, on the samples set aside.
    baseline_accuracy: f64,
    versions: Vec<Line>,
    /// Rise of the cross-entropy, in nats, with one layer alone in a form.
    sensitivities: Vec<Value>,
    chosen: String,
    within_limits: bool,
    /// The model and the chosen version on the test set.
    outcomes: Vec<Outcome>,
    folder: String,
}

pub fn run(
    common: &CommonOptions,
    options: &OptimizeOptions,
    (goal, input): (Goal, &Path),
) -> Result<(), Failure> {
    let folder = match &options.data {
        Some(folder) => Some(folder.clone()),
        None => data_folder(input, &options.network)?,
    };
    let data = load_data_for(input, &options.network, folder.as_deref())?;
    let model = open_model(input, &options.network, &data.train)?;
    let base = options.work.join("baseline");
    let kept = options.work.join("optimized");
    for out in [&base, &kept] {
        target::for_model(out, &[input])?;
    }
    let device = options.device.clone().unwrap_or(DeviceOption::Auto);
    let opener = Opener::new(common, &device)?;
    let seed = options.seed.unwrap_or(0);
    let (rest, validation) = set_aside(&data.train, seed)?;
    let trials = trials(
        &opener,
        (&model, options.max_drop),
        (&rest, &validation, seed),
    )?;
    let receipt = |how: &str| BTreeMap::from([("made_by".to_owned(), Value::from(how))]);
    model.save(&base, &receipt("the model as it came"))?;

    let lines = lines(options, goal, (&trials, &validation), &opener)?;
    let best = best(&lines, goal);
    let Some(chosen) = best else {
        return Err(Failure::Mismatch(
            "no layer of this model fits any narrower form: weights must be matrices with rows that 8 divides"
                .to_owned(),
        ));
    };
    let line = &lines[chosen];
    let mut notes = receipt("optimize");
    notes.insert("forms".to_owned(), json!(line.forms));
    if let Some(folder) = &folder {
        notes.insert("data".to_owned(), json!(folder.display().to_string()));
    }
    notes.insert("validation_accuracy".to_owned(), json!(line.accuracy));
    notes.insert("seed".to_owned(), json!(seed));
    notes.insert("device".to_owned(), json!(opener.open()?.name()));
    notes.insert("base".to_owned(), json!(input.display().to_string()));
    // It can be made again of the model and of its copy.
    let weights = match input.is_dir() {
        true => input.join(MODEL_FILE),
        false => input.to_owned(),
    };
    for (key, file) in [
        ("base_sha256", weights),
        ("copy_sha256", base.join(MODEL_FILE)),
    ] {
        let (sha256, _) = file_sha256(file).map_err(usage)?;
        notes.insert(key.to_owned(), json!(sha256));
    }
    trials.tried[chosen].model.save(&kept, &notes)?;
    let how = How {
        times: Some(MeasureOptions::default()),
        repeat: 1,
        verified_samples: 4,
    };
    let versions = [
        ("baseline", base.as_path()),
        (line.name.as_str(), kept.as_path()),
    ];
    let outcomes = judge(&versions, &data.test, &opener, how)?;
    let costs = trials.sensitivities.iter();
    let found = Kept {
        outcomes: &outcomes,
        opener: &opener,
        class_names: data.test.class_names(),
        seed,
        made_by: format!(
            "optimize --goal {}: {}",
            format!("{goal:?}").to_lowercase(),
            serde_json::to_string_pretty(&line.forms).map_err(usage)?
        ),
        sensitivities: costs.map(|one| cost(one, trials.baseline)).collect(),
    };
    found.write(&options.work.join("report"))?;
    let within_limits = line.missed == 0.0;
    let report = Report {
        goal: format!("{goal:?}").to_lowercase(),
        limits: json!({
            "max_drop": options.max_drop, "max_size": options.max_size, "max_ms": options.max_ms,
        }),
        baseline_accuracy: trials.baseline.accuracy,
        sensitivities: sensitivities(&trials),
        chosen: line.name.clone(),
        within_limits,
        outcomes,
        folder: kept.display().to_string(),
        versions: lines,
    };
    if common.json {
        print_json(&report)?;
    } else {
        print(&text(&report))?;
    }
    match within_limits {
        true => Ok(()),
        false => Err(Failure::Mismatch(format!(
            "no version is within the limits; the nearest is {}, kept in {}",
            report.chosen, report.folder
        ))),
    }
}

/// Makes the version that a receipt tells of again, from its base.
pub fn make_again(
    common: &CommonOptions,
    (base, device): (&Path, &DeviceOption),
    receipt: &BTreeMap<String, Value>,
    out: &Path,
) -> Result<(), Failure> {
    let missing = |key: &str| Failure::Usage(format!("its receipt has no `{key}`"));
    let seed = receipt.get("seed").and_then(Value::as_u64);
    let seed = seed.ok_or_else(|| missing("seed"))?;
    let Some(Value::Object(named)) = receipt.get("forms") else {
        return Err(missing("forms"));
    };
    let mut forms = Vec::new();
    for (weight, name) in named {
        let name = name.as_str().ok_or_else(|| missing(weight))?;
        forms.push(Choice::named(weight, name)?);
    }
    let folder = receipt.get("data").and_then(Value::as_str);
    let options = ModelOptions::default();
    let (model, data) = open_with_data(base, &options, folder.map(Path::new))?;
    let (rest, validation) = set_aside(&data.train, seed)?;
    let engine = Opener::new(common, device)?.open()?;
    let context = Context {
        engine: engine.as_ref(),
        train: &rest,
        test: &validation,
        seed,
        watch: &|_| true,
        kept: None,
    };
    let made = control::make_again(&context, &model, &forms)?;
    made.save(out, &BTreeMap::new())?;
    Ok(())
}

/// The training set in two parts, in which every class has its share: to calibrate with, and to judge by.
pub fn set_aside(train: &Dataset, seed: u64) -> Result<(Dataset, Dataset), Failure> {
    let most = VALIDATION_SAMPLES as f64 / train.n_samples().max(1) as f64;
    let split = stratified_split(train, VALIDATION_SHARE.min(most), seed).map_err(usage)?;
    let [rest, validation] = [&split.train, &split.validation].map(|rows| train.select_rows(rows));
    Ok((rest.map_err(usage)?, validation.map_err(usage)?))
}

fn trials(
    opener: &Opener,
    (model, max_drop): (&Model, f64),
    (rest, validation, seed): (&Dataset, &Dataset, u64),
) -> Result<Trials, Failure> {
    let engine = opener.open()?;
    let stop = stop_on_ctrl_c()?;
    let watch = |progress: &Progress| {
        eprintln!(
            "[{}/{}] {}: {}",
            progress.done + 1,
            progress.of,
            progress.stage,
            progress.what
        );
        !stop.load(Ordering::Relaxed)
    };
    let context = Context {
        engine: engine.as_ref(),
        train: rest,
        test: validation,
        seed,
        watch: &watch,
        kept: None,
    };
    Ok(try_forms(
        &context,
        model,
        (validation, max_drop),
        &Form::NARROWER,
    )?)
}

/// All versions beside the limits.
fn lines(
    options: &OptimizeOptions,
    goal: Goal,
    (trials, validation): (&Trials, &Dataset),
    opener: &Opener,
) -> Result<Vec<Line>, Failure> {
    let is_timed = goal == Goal::Latency || options.max_ms.is_some();
    let mut lines = Vec::new();
    for one in &trials.tried {
        let ms = match is_timed {
            false => None,
            true => {
                // In a folder of its own: what is in the work folder is the user's.
                let scratch = Folder::copy_of(&one.model, one.name.clone())?;
                let prepared = one.model.prepare(validation)?;
                let inputs = (prepared.inputs(), &opener.routes);
                let measured = measure(&scratch.path, &|| opener.open(), inputs, TIMES)?;
                Some(measured.speed.p50_ms)
            }
        };
        let size = one.bytes as f64 / trials.baseline_bytes.max(1) as f64;
        let drop = one.score.lost(&trials.baseline);
        let over = |value: f64, limit: f64| (value - limit).max(0.0) / limit.max(1e-3);
        // By the rule that the paths end by.
        let missed_drop = match one.score.keeps(&trials.baseline, options.max_drop) {
            true => 0.0,
            false => over(drop, options.max_drop).max(f64::MIN_POSITIVE),
        };
        let missed = missed_drop
            + options.max_size.map_or(0.0, |limit| over(size, limit))
            + ms.zip(options.max_ms)
                .map_or(0.0, |(ms, limit)| over(ms, limit));
        lines.push(Line {
            name: one.name.clone(),
            forms: one
                .forms
                .iter()
                .map(|one| (one.weight.clone(), one.name()))
                .collect(),
            bytes: one.bytes,
            size,
            accuracy: one.score.accuracy,
            drop,
            ms,
            is_pareto: false,
            missed,
        });
    }
    for index in 0..lines.len() {
        lines[index].is_pareto = !lines.iter().any(|one| one.dominates(&lines[index]));
    }
    Ok(lines)
}

impl Line {
    /// Whether it is no worse in anything that was measured, and better in something.
    fn dominates(&self, other: &Self) -> bool {
        let time = |line: &Self| line.ms.unwrap_or(0.0);
        let no_worse = self.bytes <= other.bytes
            && self.accuracy >= other.accuracy
            && time(self) <= time(other);
        let better =
            self.bytes < other.bytes || self.accuracy > other.accuracy || time(self) < time(other);
        no_worse && better
    }
}

/// The best of those that miss the limits least: no other is better in something and no worse in the rest.
fn best(lines: &[Line], goal: Goal) -> Option<usize> {
    let cost = |line: &Line| match goal {
        Goal::Accuracy => -line.accuracy,
        Goal::Size => line.bytes as f64,
        Goal::Latency => line.ms.unwrap_or(f64::INFINITY),
    };
    // Equal ones: the more accurate, the smaller, the faster, the first.
    let order = |a: &&(usize, &Line), b: &&(usize, &Line)| {
        a.1.missed
            .total_cmp(&b.1.missed)
            .then(cost(a.1).total_cmp(&cost(b.1)))
            .then(b.1.accuracy.total_cmp(&a.1.accuracy))
            .then(a.1.bytes.cmp(&b.1.bytes))
            .then(a.1.ms.unwrap_or(0.0).total_cmp(&b.1.ms.unwrap_or(0.0)))
    };
    let all: Vec<(usize, &Line)> = lines.iter().enumerate().collect();
    all.iter().min_by(order).map(|(index, _)| *index)
}

fn sensitivities(trials: &Trials) -> Vec<Value> {
    let one = |one: &Sensitivity| {
        json!({
            "weight": one.weight,
            "form": Choice { weight: one.weight.clone(), form: one.form, by: one.by }.name(),
            "loss_rise": one.score.loss - trials.baseline.loss,
            "accuracy_drop": trials.baseline.accuracy - one.score.accuracy,
        })
    };
    trials.sensitivities.iter().map(one).collect()
}

fn text(report: &Report) -> String {
    let mut rows = table(&[
        "version",
        "bytes",
        "of model",
        "accuracy",
        "lost",
        "one sample",
        "Pareto",
        "limits",
    ]);
    for line in &report.versions {
        rows.add_row([
            line.name.clone().into(),
            number(bytes(line.bytes)),
            number(format!("{:.2}x", line.size)),
            number(format!("{:.2}%", 100.0 * line.accuracy)),
            number(format!("{:.2}", 100.0 * line.drop)),
            number(
                line.ms
                    .map_or_else(|| "not measured".to_owned(), |ms| format!("{ms:.3} ms")),
            ),
            if line.is_pareto { "yes" } else { "" }.into(),
            if line.missed == 0.0 { "met" } else { "missed" }.into(),
        ]);
    }
    format!(
        "{rows}\n\non samples set aside from the training set; lost in points. Chosen for {}: {}, in {}\n\n{}",
        report.goal,
        report.chosen,
        report.folder,
        outcomes::text(&report.outcomes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, bytes: u64, accuracy: f64, missed: f64) -> Line {
        Line {
            name: name.to_owned(),
            forms: BTreeMap::new(),
            bytes,
            size: 0.0,
            accuracy,
            drop: 0.0,
            ms: None,
            is_pareto: false,
            missed,
        }
    }

    #[test]
    fn what_is_chosen_is_better_in_something_than_every_other() {
        let mut lines = Vec::new();
        // Few values, so that many are equal.
        for at in 0..200u64 {
            let few = |factor: u64, of: u64| (at * factor + at * at) % of;
            lines.push(Line {
                ms: Some(few(7, 4) as f64),
                ..line("v", few(3, 5), few(5, 6) as f64, few(2, 3) as f64)
            });
        }
        for goal in [Goal::Accuracy, Goal::Latency, Goal::Size] {
            for count in 1..=lines.len() {
                let lines = &mut lines[..count];
                // Whoever is no worse in all misses no limit by more.
                for line in lines.iter_mut() {
                    line.missed = (line.bytes as f64 - 2.0).max(0.0)
                        + (1.0 - line.accuracy).max(0.0)
                        + (line.ms.unwrap_or(0.0) - 1.0).max(0.0);
                }
                let chosen = best(lines, goal).expect("there are some");
                let dominated = lines.iter().any(|one| one.dominates(&lines[chosen]));
                assert!(!dominated, "{goal:?} of {count}");
            }
        }
    }

    #[test]
    fn limits_come_before_the_goal() {
        let lines = [
            line("small but bad", 10, 0.5, 4.0),
            line("int8", 25, 0.9, 0.0),
            line("int4", 14, 0.89, 0.0),
        ];
        assert_eq!(best(&lines, Goal::Size), Some(2));
        assert_eq!(best(&lines, Goal::Accuracy), Some(1));
        assert_eq!(best(&lines[..1], Goal::Size), Some(0), "the nearest");
        assert_eq!(best(&[], Goal::Size), None);
    }
}
