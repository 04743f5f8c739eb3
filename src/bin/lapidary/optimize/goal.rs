//! Within limits: versions are made and judged on samples set aside from the training set, the best within the limits
//! is kept and judged on the test set, which takes no part in the choice.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;

use lapidary::compress::deploy::{MeasureOptions, measure};
use lapidary::compress::model::Model;
use lapidary::compress::outcome::{Candidate, Outcome, pareto};
use lapidary::compress::stage::control::{Form, Trials, try_forms};
use lapidary::compress::stage::{Context, Progress};
use lapidary::data::split::stratified_split;
use lapidary::data::{Dataset, TrainTest};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Goal, OptimizeOptions};
use crate::bench::{How, judge};
use crate::models::{Opener, data_folder, open_model};
use crate::options::{CommonOptions, DeviceOption, Failure};
use crate::outcomes;
use crate::output::{bytes, number, print, print_json, table};
use crate::train::{setup, stop_on_ctrl_c, usage};

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
    /// The form of each weight.
    forms: BTreeMap<String, &'static str>,
    bytes: u64,
    /// Of the model's bytes.
    size: f64,
    /// On the samples set aside.
    accuracy: f64,
    /// Lost against the model.
    drop: f64,
    /// Median of one sample; only measured where the goal or a limit needs it.
    ms: Option<f64>,
    /// No other is better in size, or time, and as good in accuracy.
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
    let data = setup::load_data(folder.as_deref())?;
    let model = open_model(input, &options.network, &data.train)?;
    let device = options.device.clone().unwrap_or(DeviceOption::Auto);
    let opener = Opener::new(common, &device)?;
    let seed = options.seed.unwrap_or(0);
    let validation = set_aside(&data.train, seed)?;
    let trials = trials(
        &opener,
        (&model, options.max_drop),
        (&data, &validation, seed),
    )?;
    let base = options.work.join("baseline");
    let receipt = |how: &str| BTreeMap::from([("made_by".to_owned(), Value::from(how))]);
    model.save(&base, &receipt("the model as it came"))?;

    let lines = lines(options, goal, (&trials, &validation), &opener)?;
    let found = best(&lines, goal);
    let Some(chosen) = found else {
        return Err(Failure::Mismatch(
            "no layer of this model fits any narrower form: weights must be matrices with rows that 8 divides"
                .to_owned(),
        ));
    };
    let line = &lines[chosen];
    let kept = options.work.join("optimized");
    let mut notes = receipt("optimize");
    notes.insert("forms".to_owned(), json!(line.forms));
    notes.insert("validation_accuracy".to_owned(), json!(line.accuracy));
    notes.insert("seed".to_owned(), json!(seed));
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

/// A part of the training set in which every class has its share.
fn set_aside(train: &Dataset, seed: u64) -> Result<Dataset, Failure> {
    let most = VALIDATION_SAMPLES as f64 / train.n_samples().max(1) as f64;
    let split = stratified_split(train, VALIDATION_SHARE.min(most), seed).map_err(usage)?;
    train.select_rows(&split.validation).map_err(usage)
}

fn trials(
    opener: &Opener,
    (model, max_drop): (&Model, f64),
    (data, validation, seed): (&TrainTest, &Dataset, u64),
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
        train: &data.train,
        test: &data.test,
        seed,
        watch: &watch,
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
    let scratch = options.work.join("version");
    let mut lines = Vec::new();
    for one in &trials.tried {
        let ms = match is_timed {
            false => None,
            true => {
                one.model.save(&scratch, &BTreeMap::new())?;
                let prepared = one.model.prepare(validation)?;
                let inputs = (prepared.inputs(), &opener.routes);
                let measured = measure(&scratch, &|| opener.open(), inputs, TIMES)?;
                Some(measured.speed.p50_ms)
            }
        };
        let size = one.bytes as f64 / trials.baseline_bytes.max(1) as f64;
        let drop = trials.baseline.accuracy - one.score.accuracy;
        let over = |value: f64, limit: f64| (value - limit).max(0.0) / limit.max(1e-3);
        let missed = over(drop, options.max_drop)
            + options.max_size.map_or(0.0, |limit| over(size, limit))
            + ms.zip(options.max_ms)
                .map_or(0.0, |(ms, limit)| over(ms, limit));
        lines.push(Line {
            name: one.name.clone(),
            forms: one
                .forms
                .iter()
                .map(|(weight, form)| (weight.clone(), form.name()))
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
    if is_timed {
        std::fs::remove_dir_all(&scratch).map_err(usage)?;
    }
    let candidates: Vec<Candidate> = lines
        .iter()
        .map(|line| Candidate {
            cost: line.ms.unwrap_or(line.bytes as f64),
            worth: line.accuracy,
        })
        .collect();
    for (line, is_pareto) in lines.iter_mut().zip(pareto(&candidates)) {
        line.is_pareto = is_pareto;
    }
    Ok(lines)
}

/// The best of those that miss the limits least.
fn best(lines: &[Line], goal: Goal) -> Option<usize> {
    let cost = |line: &Line| match goal {
        Goal::Accuracy => -line.accuracy,
        Goal::Size => line.bytes as f64,
        Goal::Latency => line.ms.unwrap_or(f64::INFINITY),
    };
    // Equal ones: the smaller, then the first.
    let order = |a: &&(usize, &Line), b: &&(usize, &Line)| {
        a.1.missed
            .total_cmp(&b.1.missed)
            .then(cost(a.1).total_cmp(&cost(b.1)))
            .then(b.1.accuracy.total_cmp(&a.1.accuracy))
            .then(a.1.bytes.cmp(&b.1.bytes))
    };
    let all: Vec<(usize, &Line)> = lines.iter().enumerate().collect();
    all.iter().min_by(order).map(|(index, _)| *index)
}

fn sensitivities(trials: &Trials) -> Vec<Value> {
    let one = |one: &lapidary::compress::stage::control::Sensitivity| {
        json!({
            "weight": one.weight,
            "form": one.form.name(),
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
