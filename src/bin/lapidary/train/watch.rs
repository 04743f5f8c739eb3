//! What is shown and kept while training runs: progress, a log, curves. The only clock of training.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use lapidary::report::plot::{Axis, Lines, Series, lines};
use lapidary::train::{EpochReport, Evaluation, Event};
use serde::{Deserialize, Serialize};

use crate::options::Failure;

use super::{Judges, TrainCommand, usage, write};

/// Points of the curve of training losses: more would be noise.
const CURVE_POINTS: usize = 200;

/// A line of the log.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line {
    Step {
        step: u64,
        epoch: u32,
        loss: f64,
        learning_rate: f64,
        seconds: f64,
    },
    Epoch {
        epoch: u32,
        step: u64,
        train_loss: f64,
        /// Loss and accuracy of the set that is watched.
        #[serde(flatten)]
        watched: BTreeMap<String, f64>,
        seconds: f64,
    },
}

pub struct Watch {
    bar: ProgressBar,
    judges: Judges,
    log: Option<(PathBuf, File)>,
    /// Why the log ends early.
    lost: Option<Failure>,
    began: Instant,
    last: Instant,
    batch_size: usize,
    first_step: u64,
    n_steps: u64,
    step_seconds: Vec<f64>,
    /// Step and loss.
    losses: Vec<(u64, f64)>,
    epochs: Vec<EpochReport>,
}

impl Watch {
    /// For training from step `first_step` to `n_steps`. What a log has of the steps before stays, and is drawn too;
    /// what it has of later ones, which were lost, is cut off.
    pub fn new(
        options: &TrainCommand,
        judges: Judges,
        (first_step, n_steps): (u64, u64),
    ) -> Result<Self, Failure> {
        let bar = ProgressBar::new(n_steps);
        bar.set_position(first_step);
        if let Ok(style) =
            ProgressStyle::with_template("{pos}/{len} steps, {elapsed} and {eta} to go {wide_msg}")
        {
            bar.set_style(style);
        }
        let (mut losses, mut epochs) = (Vec::new(), Vec::new());
        let log = match &options.log {
            None => None,
            Some(path) => {
                let mut how = OpenOptions::new();
                how.create(true).write(true);
                let how = if first_step > 0 {
                    (losses, epochs) = cut(path, first_step, judges)?;
                    how.append(true)
                } else {
                    how.truncate(true)
                };
                let file = how.open(path);
                Some((path.clone(), file.map_err(|error| of_file(path, &error))?))
            }
        };
        if let (Some(svg), true, true) = (&options.svg, first_step > 0, losses.is_empty()) {
            eprintln!(
                "note: no --log has the steps before, so {} shows those after step {first_step}",
                svg.display()
            );
        }
        Ok(Self {
            bar,
            judges,
            log,
            lost: None,
            began: Instant::now(),
            last: Instant::now(),
            batch_size: options.batch_size,
            first_step,
            n_steps,
            step_seconds: Vec::new(),
            losses,
            epochs,
        })
    }

    pub fn see(&mut self, event: &Event<'_>) -> Result<(), Failure> {
        let line = match *event {
            Event::Step {
                step,
                epoch,
                loss,
                learning_rate,
            } => {
                self.step_seconds.push(self.last.elapsed().as_secs_f64());
                self.losses.push((step, loss));
                self.bar.set_position(step);
                let rate = self.rate();
                self.bar
                    .set_message(format!("loss {loss:.4}, {rate:.0} samples/s"));
                Line::Step {
                    step,
                    epoch,
                    loss,
                    learning_rate,
                    seconds: self.began.elapsed().as_secs_f64(),
                }
            }
            Event::Epoch(report) => {
                self.epochs.push(*report);
                self.say(report);
                Line::Epoch {
                    epoch: report.epoch,
                    step: report.step,
                    train_loss: report.train_loss,
                    watched: BTreeMap::from([
                        (format!("{}_loss", self.judges.name()), report.test.loss),
                        (
                            format!("{}_accuracy", self.judges.name()),
                            report.test.accuracy,
                        ),
                    ]),
                    seconds: self.began.elapsed().as_secs_f64(),
                }
            }
        };
        if let Some((path, file)) = &mut self.log {
            let text = serde_json::to_string(&line).map_err(usage)?;
            // A full disk costs the log, not the network.
            if let Err(error) = writeln!(file, "{text}") {
                let lost = of_file(path, &error);
                eprintln!("note: {lost}; training goes on without the log");
                self.lost = Some(lost);
                self.log = None;
            }
        }
        self.last = Instant::now();
        Ok(())
    }

    /// A line on stderr; the bar is not shown where that is no terminal.
    fn say(&self, report: &EpochReport) {
        let seconds = self.began.elapsed().as_secs_f64();
        let taken = report.step.saturating_sub(self.first_step).max(1) as f64;
        let watched = self.judges.name();
        let left = seconds / taken * self.n_steps.saturating_sub(report.step) as f64;
        self.bar.suspend(|| {
            eprintln!(
                "epoch {}: training loss {:.4}, {watched} loss {:.4}, {watched} accuracy {:.4}, {:.0} samples/s, {seconds:.1} s, {left:.1} s to go",
                report.epoch + 1,
                report.train_loss,
                report.test.loss,
                report.test.accuracy,
                self.rate(),
            );
        });
    }

    /// Samples a second of the last steps.
    fn rate(&self) -> f64 {
        let last = &self.step_seconds[self.step_seconds.len().saturating_sub(20)..];
        (last.len() * self.batch_size) as f64 / last.iter().sum::<f64>().max(1e-9)
    }

    pub fn finish(&mut self) {
        self.bar.finish_and_clear();
        if let Some((path, file)) = &self.log
            && let Err(error) = file.sync_all()
            // Pipes and terminals have no disk.
            && error.kind() != std::io::ErrorKind::InvalidInput
        {
            self.lost = Some(of_file(path, &error));
        }
    }

    /// Ends the command when a line of the log was lost, after everything else was kept.
    pub fn log_is_whole(self) -> Result<(), Failure> {
        self.lost.map_or(Ok(()), Err)
    }

    /// The first step of this run, which may compile pipelines.
    pub fn first_step_seconds(&self) -> Option<f64> {
        self.step_seconds.first().copied()
    }

    pub fn median_step_seconds(&self) -> Option<f64> {
        let mut later = self.step_seconds.get(1..)?.to_vec();
        later.sort_unstable_by(f64::total_cmp);
        later.get(later.len() / 2).copied()
    }

    /// Draws what was seen in this run, and in those before it that the log has.
    pub fn draw(&self, file: &Path) -> Result<(), Failure> {
        let Some(last) = self.epochs.last() else {
            return Err(Failure::Usage(format!(
                "{}: no epoch was trained, so there is no curve",
                file.display()
            )));
        };
        let per_epoch = last.step as f64 / f64::from(last.epoch + 1);
        let chunk = self.losses.len().div_ceil(CURVE_POINTS).max(1);
        let mean = |chunk: &[(u64, f64)]| {
            let n = chunk.len() as f64;
            let sums = chunk
                .iter()
                .fold((0.0, 0.0), |(steps, losses), (step, loss)| {
                    (steps + *step as f64, losses + loss)
                });
            (sums.0 / n / per_epoch, sums.1 / n)
        };
        let of_epochs = |name: &str, value: fn(&EpochReport) -> f64| Series {
            name: name.to_owned(),
            points: self
                .epochs
                .iter()
                .map(|one| (f64::from(one.epoch + 1), value(one)))
                .collect(),
        };
        let watched = self.judges.name();
        let axis = |label: &str| Axis {
            label: label.to_owned(),
            log: false,
        };
        let picture = lines(&Lines {
            title: "Training".to_owned(),
            x_axis: axis("epochs"),
            y_axis: axis("loss (nats), accuracy (share)"),
            series: vec![
                Series {
                    name: "training loss".to_owned(),
                    points: self.losses.chunks(chunk).map(mean).collect(),
                },
                of_epochs(&format!("{watched} loss"), |one| one.test.loss),
                of_epochs(&format!("{watched} accuracy"), |one| one.test.accuracy),
            ],
        });
        write(file, &picture.map_err(usage)?)
    }
}

/// Steps with their losses, and epochs.
type Past = (Vec<(u64, f64)>, Vec<EpochReport>);

/// Cuts a log behind a step and returns what it has up to there. A last line that was not written whole is cut too.
fn cut(path: &Path, step: u64, judges: Judges) -> Result<Past, Failure> {
    let (mut losses, mut epochs) = (Vec::new(), Vec::new());
    if !path.exists() {
        return Ok((losses, epochs));
    }
    let text = lapidary::io::read_text(path).map_err(usage)?;
    let mut kept = String::new();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if !line.ends_with('\n') {
            break;
        }
        let read: Line = serde_json::from_str(line).map_err(|error| {
            let (file, line) = (path.display(), index + 1);
            usage(format!(
                "{file}: line {line} is not of a log of training: {error}"
            ))
        })?;
        match read {
            Line::Step { step: at, loss, .. } if at <= step => losses.push((at, loss)),
            Line::Epoch {
                epoch,
                step: at,
                train_loss,
                watched,
                ..
            } if at <= step => {
                let of = |what: &str| {
                    let found = watched.get(&format!("{}_{what}", judges.name()));
                    found.copied().ok_or_else(|| {
                        let (file, line, set) = (path.display(), index + 1, judges.name());
                        usage(format!(
                            "{file}: line {line} has no {what} of the {set} set"
                        ))
                    })
                };
                epochs.push(EpochReport {
                    epoch,
                    step: at,
                    train_loss,
                    test: Evaluation {
                        loss: of("loss")?,
                        accuracy: of("accuracy")?,
                    },
                });
            }
            Line::Step { .. } | Line::Epoch { .. } => continue,
        }
        kept.push_str(line);
    }
    if kept != text {
        write(path, &kept)?;
    }
    Ok((losses, epochs))
}

fn of_file(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Usage(format!("{}: {error}", path.display()))
}
