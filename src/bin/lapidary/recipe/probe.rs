//! How long a stage would take, and what it would make: its first steps, taken and timed on a network with first
//! values, which cost what trained ones cost. Nothing of it is kept.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use lapidary::compress::model::Model;
use lapidary::compress::stage::{Context, Progress};
use lapidary::data::{Loader, TrainTest};
use lapidary::engine::Engine;
use lapidary::models::Network as _;
use lapidary::train::{Start, Trainer};

use super::Stage;
use crate::bench::{BenchOptions, judge};
use crate::config;
use crate::distill::DistillCommand;
use crate::models::Opener;
use crate::options::{CommonOptions, DeviceOption, Failure};
use crate::prune::PruneCommand;
use crate::quantize::QuantizeCommand;
use crate::train::{setup, stop_on_ctrl_c, usage};

/// Steps that are timed, after the first, which is slower than others.
const STEPS: usize = 8;
/// Seconds after which a stage that takes no steps is stopped.
const SECONDS: f64 = 3.0;

/// What becomes of a stage.
pub struct Estimate {
    /// `None` for what takes no time worth telling.
    pub seconds: Option<f64>,
    /// Where they come from.
    pub how: String,
}

/// In the place of a model that a stage would make: as large, with first values.
#[derive(Clone)]
pub struct StandIn {
    pub model: Model,
    pub data: Option<PathBuf>,
}

/// Data and devices, opened once.
pub struct Prober<'a> {
    common: &'a CommonOptions,
    data: RefCell<Vec<(Option<PathBuf>, Rc<TrainTest>)>>,
    openers: RefCell<Vec<(DeviceOption, Rc<Opener>)>>,
}

impl<'a> Prober<'a> {
    pub fn new(common: &'a CommonOptions) -> Self {
        Self {
            common,
            data: RefCell::new(Vec::new()),
            openers: RefCell::new(Vec::new()),
        }
    }

    pub fn data(&self, folder: Option<&Path>) -> Result<Rc<TrainTest>, Failure> {
        let known = self
            .data
            .borrow()
            .iter()
            .find_map(|(one, data)| (one.as_deref() == folder).then(|| Rc::clone(data)));
        if let Some(data) = known {
            return Ok(data);
        }
        let data = Rc::new(setup::load_data(folder)?);
        let entry = (folder.map(Path::to_owned), Rc::clone(&data));
        self.data.borrow_mut().push(entry);
        Ok(data)
    }

    /// The device that a stage names.
    fn opener(&self, stage: &Stage) -> Result<Rc<Opener>, Failure> {
        let named = stage
            .words
            .iter()
            .find_map(|word| word.strip_prefix("--device="));
        let device: DeviceOption = named.unwrap_or("auto").parse().map_err(Failure::Usage)?;
        let known = self
            .openers
            .borrow()
            .iter()
            .find_map(|(one, opener)| (*one == device).then(|| Rc::clone(opener)));
        if let Some(opener) = known {
            return Ok(opener);
        }
        let opener = Rc::new(Opener::new(self.common, &device)?);
        self.openers.borrow_mut().push((device, Rc::clone(&opener)));
        Ok(opener)
    }

    /// The names of the devices that were used.
    pub fn devices(&self) -> String {
        let openers = self.openers.borrow();
        let names: Vec<&str> = openers.iter().map(|(_, one)| one.device.as_str()).collect();
        names.join(", ")
    }

    /// The first steps of training.
    pub fn train(&self, stage: &Stage) -> Result<(Estimate, StandIn), Failure> {
        let options = config::train_command(stage.words.clone())
            .map_err(|error| Failure::Usage(error.to_string()))?;
        let data = setup::data(&options)?;
        let network = setup::sequential(&options, &data.train)?;
        let engine = self.opener(stage)?.open()?;
        let loader = setup::loader(&options, &data.inputs);
        let loader = Loader::new(Arc::new(data.train), loader).map_err(usage)?;
        let n_batches = loader.n_batches() as u64;
        let settings = setup::training(&options, n_batches)?;
        let mut trainer = Trainer::new(engine.as_ref(), &network, settings, Start::Seed)?;
        let mut ends = Vec::new();
        for batch in loader.epoch(0).map_err(usage)?.take(1 + STEPS) {
            trainer.step(&batch)?;
            ends.push(Instant::now());
        }
        let step = median_between(&ends).unwrap_or(0.0);
        let began = Instant::now();
        let watched = data.validation.as_ref().unwrap_or(&data.test);
        trainer.evaluate(watched)?;
        let evaluation = began.elapsed().as_secs_f64();
        let steps = u64::from(options.epochs) * n_batches;
        let values = network.parameters(options.seed)?;
        Ok((
            Estimate {
                seconds: Some(steps as f64 * step + f64::from(options.epochs) * evaluation),
                how: format!(
                    "{steps} steps of {:.1} ms, {} looks at the test set of {evaluation:.2} s",
                    1e3 * step,
                    options.epochs
                ),
            },
            StandIn {
                model: Model::new(network, data.inputs, values)?,
                data: options.data,
            },
        ))
    }

    /// The beginning of a stage that makes a model of a model.
    pub fn make(&self, stage: &Stage, from: &StandIn) -> Result<(Estimate, StandIn), Failure> {
        let named = stage.settings.get("data").and_then(|one| one.as_str());
        let folder = named.map(PathBuf::from).or_else(|| from.data.clone());
        let data = self.data(folder.as_deref())?;
        let engine = self.opener(stage)?.open()?;
        let number = |key: &str| stage.settings.get(key).and_then(serde_json::Value::as_u64);
        let seed = number("seed").unwrap_or(0);
        let engine = engine.as_ref();
        let teacher = &from.model;
        let (estimate, model) = match stage.kind.command {
            "prune" => {
                let command: PruneCommand = self.command(stage, &[], &[])?;
                let (heard, _) = hear(engine, (&data, seed), |context| {
                    command.make(context, teacher)
                })?;
                let at_once = ["--schedule=one-shot", "--method=magnitude", "--fine-tune=0"];
                let besides = ["--schedule", "--method", "--fine-tune"];
                let command: PruneCommand = self.command(stage, &besides, &at_once)?;
                (
                    heard.estimate(),
                    whole(engine, (&data, seed), |context| {
                        command.make(context, teacher)
                    })?,
                )
            }
            "quantize" => {
                let command: QuantizeCommand = self.command(stage, &[], &[])?;
                let (heard, made) = hear(engine, (&data, seed), |context| {
                    command.make(context, teacher)
                })?;
                let model = match made {
                    Some((model, _)) => model,
                    None => {
                        let mut quick = vec!["--method=nearest", "--qat-epochs=0", "--calib=1"];
                        let mut besides = vec!["--method", "--qat-epochs", "--calib"];
                        let activations = stage.settings.get("activations");
                        let activations = activations.and_then(serde_json::Value::as_str);
                        // One sample is too few for a range by a histogram.
                        if activations.is_some_and(|name| name.starts_with("int8-static")) {
                            quick.push("--activations=int8-static");
                            besides.push("--activations");
                        }
                        let command: QuantizeCommand = self.command(stage, &besides, &quick)?;
                        whole(engine, (&data, seed), |context| {
                            command.make(context, teacher)
                        })?
                    }
                };
                (heard.estimate(), model)
            }
            _ => {
                let no_cache = ["--no-cache"];
                let command: DistillCommand = self.command(stage, &no_cache, &no_cache)?;
                let (heard, _) = hear(engine, (&data, seed), |context| {
                    command.make(context, teacher)
                })?;
                let batch = number("batch_size").unwrap_or(1).max(1);
                let labelled = number("labelled").unwrap_or(data.train.n_samples() as u64);
                let tuned = number("fine_tune_epochs").unwrap_or(0) * (labelled / batch).max(1);
                let is_compared = stage.settings.get("control") == Some(&true.into());
                let heard = heard.with_more(tuned, if is_compared { 2 } else { 1 });
                (heard.estimate(), command.begun(teacher, &data.train)?)
            }
        };
        let data = folder;
        Ok((estimate, StandIn { model, data }))
    }

    /// One judgement, for each of `count` models.
    pub fn judge(
        &self,
        stage: &Stage,
        (one, count): (&StandIn, usize),
    ) -> Result<Estimate, Failure> {
        let command: BenchOptions = self.command(stage, &[], &[])?;
        let data = self.data(one.data.as_deref())?;
        let opener = self.opener(stage)?;
        let folder = std::env::temp_dir().join(format!("lapidary-plan-{}", std::process::id()));
        one.model
            .save(&folder, &std::collections::BTreeMap::new())?;
        let began = Instant::now();
        let judged = judge(&[("a model", &folder)], &data.test, &opener, command.how());
        let seconds = began.elapsed().as_secs_f64();
        std::fs::remove_dir_all(&folder).map_err(usage)?;
        judged?;
        Ok(Estimate {
            seconds: Some(count as f64 * seconds),
            how: format!("{count} models of {seconds:.1} s, as one was judged"),
        })
    }

    /// A stage's command with some flags in the place of others.
    fn command<T: clap::FromArgMatches>(
        &self,
        stage: &Stage,
        besides: &[&str],
        with: &[&str],
    ) -> Result<T, Failure> {
        let is_out = |word: &String| {
            let flag = word.split('=').next().unwrap_or_default();
            besides.contains(&flag)
        };
        let places: &[&str] = match stage.kind.makes {
            super::Makes::Report => &["IN"],
            _ => &["IN", "OUT"],
        };
        let words = places.iter().map(|&place| place.to_owned());
        let words = words.chain(stage.words.iter().filter(|word| !is_out(word)).cloned());
        let words: Vec<String> = words
            .chain(with.iter().map(|&word| word.to_owned()))
            .collect();
        config::parsed(stage.kind.command, &words)
            .map_err(|error| Failure::Usage(error.to_string()))
    }
}

/// What a stage told before it was stopped.
struct Heard {
    began: Instant,
    ended: Instant,
    /// When its steps of training were taken.
    steps: Vec<Instant>,
    of: u64,
    /// What it was at when it was stopped; `None` where it came to its end.
    stopped_at: Option<String>,
}

impl Heard {
    /// `tuned` steps more, and all of them so many times.
    fn with_more(self, tuned: u64, times: u64) -> Self {
        Self {
            of: times * (self.of + tuned),
            ..self
        }
    }

    fn estimate(&self) -> Estimate {
        let taken = (self.ended - self.began).as_secs_f64();
        match (
            &self.stopped_at,
            median_between(&self.steps),
            self.steps.first(),
        ) {
            (Some(_), Some(step), Some(&first)) => {
                let before = (first - self.began).as_secs_f64();
                Estimate {
                    seconds: Some(before + self.of as f64 * step),
                    how: format!(
                        "{} steps of {:.1} ms, {before:.1} s before the first",
                        self.of,
                        1e3 * step
                    ),
                }
            }
            (Some(what), ..) => Estimate {
                seconds: Some(taken),
                how: format!("more than this: stopped at {what}"),
            },
            (None, ..) => Estimate {
                seconds: Some(taken),
                how: "all of it was done".to_owned(),
            },
        }
    }
}

/// Runs a stage until its time is known.
fn hear<T>(
    engine: &dyn Engine,
    (data, seed): (&TrainTest, u64),
    make: impl FnOnce(&Context<'_>) -> Result<T, Failure>,
) -> Result<(Heard, Option<T>), Failure> {
    let began = Instant::now();
    let stop = stop_on_ctrl_c()?;
    let heard = RefCell::new(Heard {
        began,
        ended: began,
        steps: Vec::new(),
        of: 0,
        stopped_at: None,
    });
    let watch = |progress: &Progress| {
        if stop.load(std::sync::atomic::Ordering::Relaxed) {
            return false;
        }
        let mut heard = heard.borrow_mut();
        // Steps of training tell of their epoch, and of all steps.
        if progress.what.starts_with("epoch ") {
            heard.steps.push(Instant::now());
            heard.of = progress.of as u64;
        }
        let is_known = heard.steps.len() > 1 + STEPS;
        let is_long = heard.steps.is_empty() && began.elapsed().as_secs_f64() > SECONDS;
        if is_known || is_long {
            heard.stopped_at = Some(progress.what.clone());
        }
        !(is_known || is_long)
    };
    let made = make(&Context {
        engine,
        train: &data.train,
        test: &data.test,
        seed,
        watch: &watch,
        kept: None,
    });
    let mut heard = heard.into_inner();
    heard.ended = Instant::now();
    match made {
        Ok(made) => Ok((heard, Some(made))),
        Err(_) if heard.stopped_at.is_some() => Ok((heard, None)),
        Err(failure) => Err(failure),
    }
}

/// Runs a quick stage to its end.
fn whole<L>(
    engine: &dyn Engine,
    (data, seed): (&TrainTest, u64),
    make: impl FnOnce(&Context<'_>) -> Result<(Model, L), Failure>,
) -> Result<Model, Failure> {
    let (model, _) = make(&Context {
        engine,
        train: &data.train,
        test: &data.test,
        seed,
        watch: &|_| true,
        kept: None,
    })?;
    Ok(model)
}

/// The median time between steps, in seconds.
fn median_between(ends: &[Instant]) -> Option<f64> {
    let between = ends
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs_f64());
    let mut between: Vec<f64> = between.collect();
    between.sort_unstable_by(f64::total_cmp);
    between.get(between.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn steps_that_were_timed_stand_for_all() {
        let began = Instant::now();
        let at = |ms: u64| began + Duration::from_millis(ms);
        let heard = Heard {
            began,
            ended: at(700),
            steps: vec![at(500), at(510), at(520), at(600)],
            of: 1000,
            stopped_at: Some("epoch 1".to_owned()),
        };
        let seconds = heard.estimate().seconds.expect("known");
        assert!((seconds - 10.5).abs() < 1e-9, "{seconds}");
        let doubled = heard.with_more(500, 2).estimate().seconds.expect("known");
        assert!((doubled - 30.5).abs() < 1e-9, "{doubled}");
    }

    #[test]
    fn what_came_to_its_end_took_what_it_took() {
        let began = Instant::now();
        let heard = Heard {
            began,
            ended: began + Duration::from_millis(250),
            steps: Vec::new(),
            of: 0,
            stopped_at: None,
        };
        assert_eq!(heard.estimate().seconds, Some(0.25));
        assert_eq!(median_between(&[began]), None);
    }
}
