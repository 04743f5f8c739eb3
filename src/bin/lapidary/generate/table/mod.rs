//! `lapidary eval A B .. --perplexity FILE`: language models, and ways to run them, side by side on one text. The first
//! row is the base; its logits stay on the host while the others read, a part of the text at a time, so that one model
//! is on the device and no more logits than a part has are in memory.

mod facts;
mod plan;
mod show;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::ProgressBar;
use lapidary::engine::Engine;
use lapidary::generate::{
    BaseLogits, Divergence, GenerateError, Headers, LanguageModel, Perplexity, Session,
    log_probabilities,
};
use lapidary::report::language::{AgainstBase, Estimate, LanguageReport, TextQuality, TextSpeed};

use crate::options::{CommonOptions, DeviceOption, Failure};
use crate::output::number_of;
use crate::train::stop_on_ctrl_c;

use super::{PerplexityOptions, failure, speed};
use plan::{Plan, Row};

/// What was found of a row so far.
#[derive(Default)]
struct Found {
    perplexity: Perplexity,
    /// Of all rows but the first.
    against: Divergence,
    speed: Option<TextSpeed>,
}

impl Found {
    /// Whether there is anything to show.
    const fn is_begun(&self) -> bool {
        self.speed.is_some() || !self.perplexity.log_probabilities.is_empty()
    }
}

pub fn run(
    common: &CommonOptions,
    (models, device): (&[PathBuf], &DeviceOption),
    text: &Path,
    options: &PerplexityOptions,
) -> Result<(), Failure> {
    if let Some(folder) = &options.report {
        show::check(folder, models.iter().chain(&options.base))?;
    }
    let plan = Plan::new(common, (models, device), text, options)?;
    let stop = stop_on_ctrl_c()?;
    let mut found: Vec<Found> = plan.rows.iter().map(|_| Found::default()).collect();
    let measured = plan.measure(&mut found, &stop);
    let mut error = None;
    let ended = match measured {
        Ok(()) => Ok(()),
        Err(Stop::Asked) => Err(Failure::Mismatch(format!(
            "stopped by Ctrl-C; {} of {} rows are complete",
            plan.complete(&found),
            plan.rows.len()
        ))),
        // There is nothing to keep.
        Err(Stop::Failed(failure)) if !found.iter().any(Found::is_begun) => return Err(failure),
        Err(Stop::Failed(failure)) => {
            error = Some(failure.to_string());
            Err(failure)
        }
    };
    let mut report = plan.report(&found, ended.is_ok());
    report.error = error;
    // To the terminal first: what cannot be written is no reason to lose it.
    let printed = show::print_report(common, &report);
    let kept = match &options.report {
        Some(folder) => show::write_report(folder, &report),
        None => Ok(()),
    };
    first_of([ended, printed, kept])
}

/// The first failure; the others are told, for a command ends with one.
fn first_of(all: [Result<(), Failure>; 3]) -> Result<(), Failure> {
    let mut failures = all.into_iter().filter_map(Result::err);
    let Some(first) = failures.next() else {
        return Ok(());
    };
    for other in failures {
        eprintln!("lapidary: {other}");
    }
    Err(first)
}

/// Why measuring ended early.
enum Stop {
    /// By Ctrl-C.
    Asked,
    Failed(Failure),
}

impl Stop {
    /// The same, with the row it happened in.
    fn in_row(self, index: usize, rows: &[Row]) -> Self {
        match self {
            Self::Asked => Self::Asked,
            Self::Failed(failure) => {
                Self::Failed(failure.in_row((index, rows.len()), &rows[index].facts.name))
            }
        }
    }
}

impl From<GenerateError> for Stop {
    fn from(error: GenerateError) -> Self {
        match error {
            GenerateError::Stopped { .. } => Self::Asked,
            other => Self::Failed(failure(other)),
        }
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A row on a device of its own, which ends with it.
struct Opened {
    engine: Box<dyn Engine>,
    model: LanguageModel,
}

impl Plan {
    /// Reads the text with every row, part by part.
    fn measure(&self, found: &mut [Found], stop: &AtomicBool) -> Result<(), Stop> {
        if let ([row], [found]) = (&self.rows[..], &mut *found) {
            let read = self.alone(row, found, stop);
            return read.map_err(|stop| stop.in_row(0, &self.rows));
        }
        let parts = self.text.parts(self.vocabulary, self.most_logits);
        let n_parts = parts.len();
        for (part, windows) in parts.into_iter().enumerate() {
            let mut base: Option<BaseLogits> = None;
            for (index, found) in found.iter_mut().enumerate() {
                let given = (&windows, [part, n_parts]);
                let read = self.read((index, found), given, &mut base, stop);
                read.map_err(|stop| stop.in_row(index, &self.rows))?;
            }
        }
        Ok(())
    }

    /// Reads a part of the text with a row. The first makes the base, the others are compared with it.
    fn read(
        &self,
        (index, found): (usize, &mut Found),
        (windows, [part, n_parts]): (&Range<usize>, [usize; 2]),
        base: &mut Option<BaseLogits>,
        stop: &AtomicBool,
    ) -> Result<(), Stop> {
        let row = &self.rows[index];
        let opened = self.open(index, stop)?;
        if part == 0 {
            self.time((index, row), &opened, found, stop)?;
        }
        let part = match n_parts {
            1 => String::new(),
            _ => format!(", part {} of {n_parts} of the text", part + 1),
        };
        self.say(index, &format!("reading{part}"));
        let bar = self.bar(windows);
        let mut progress = |tokens: usize| bar.inc(tokens as u64);
        let mut session = self.session(&opened, row)?.stopped_by(stop);
        match &*base {
            None => {
                let given = (&self.text, windows.clone());
                let logits = BaseLogits::read(&mut session, given, &mut progress)?;
                found.perplexity.append(logits.perplexity.clone());
                *base = Some(logits);
            }
            Some(base) => {
                let own = Divergence::from_base(&mut session, &self.text, base, &mut progress)?;
                found.perplexity.append(own.model.clone());
                found.against.append(own);
            }
        }
        bar.finish_and_clear();
        self.say(index, &told(found));
        Ok(())
    }

    /// A single row, which is compared with nothing.
    fn alone(&self, row: &Row, found: &mut Found, stop: &AtomicBool) -> Result<(), Stop> {
        let opened = self.open(0, stop)?;
        self.time((0, row), &opened, found, stop)?;
        self.say(0, "reading");
        let bar = self.bar(&(0..usize::MAX));
        let mut is_stopped = false;
        let mut go_on = |done: usize, all: usize| {
            bar.set_position(done as u64);
            is_stopped = stop.load(Ordering::Relaxed) && done < all;
            !is_stopped
        };
        let perplexity = log_probabilities(
            opened.engine.as_ref(),
            &opened.model.llama,
            self.text.tokens(),
            self.windows,
            row.language.session(1),
            &mut go_on,
        )?;
        bar.finish_and_clear();
        if is_stopped {
            return Err(Stop::Asked);
        }
        found.perplexity = perplexity;
        self.say(0, &told(found));
        Ok(())
    }

    /// Puts a row's model on a new device.
    fn open(&self, index: usize, stop: &AtomicBool) -> Result<Opened, Stop> {
        if stop.load(Ordering::Relaxed) {
            return Err(Stop::Asked);
        }
        self.say(index, "loading");
        let row = &self.rows[index];
        let engine = self.opener.open().map_err(Failure::from)?;
        let headers = Headers::read(&row.file).map_err(failure)?;
        let given = (row.file.as_path(), headers.vocabulary);
        let model = row.language.open_with(engine.as_ref(), given, 1)?;
        Ok(Opened { engine, model })
    }

    fn session<'a>(&self, opened: &'a Opened, row: &Row) -> Result<Session<'a>, Stop> {
        let settings = row.language.session(1);
        Ok(Session::new(
            opened.engine.as_ref(),
            &opened.model.llama,
            settings,
        )?)
    }

    /// How fast a row is, where that is asked for.
    fn time(
        &self,
        (index, row): (usize, &Row),
        opened: &Opened,
        found: &mut Found,
        stop: &AtomicBool,
    ) -> Result<(), Stop> {
        let Some(timed) = self.timed else {
            return Ok(());
        };
        self.say(index, "timing");
        let given = (&opened.model.llama, row.language.session(1));
        let speed = speed::measure(opened.engine.as_ref(), given, timed, stop)?;
        let rates = speed.prefill(timed).zip(speed.decode(timed));
        found.speed = rates.map(|(prefill, decode)| TextSpeed {
            prefill,
            decode,
            submissions_per_token: speed.submissions_per_token,
            cache_bytes: speed.cache_bytes,
            peak_device_bytes: speed.peak_device_bytes,
        });
        Ok(())
    }

    /// A bar over the tokens of some windows.
    fn bar(&self, windows: &Range<usize>) -> ProgressBar {
        let n = self.text.n_read_of(windows.clone());
        ProgressBar::new(n as u64)
    }

    fn say(&self, index: usize, what: &str) {
        let (name, n) = (&self.rows[index].facts.name, self.rows.len());
        eprintln!("[{}/{n}] {name}: {what}", index + 1);
    }

    /// Rows that were judged by the whole text.
    fn complete(&self, found: &[Found]) -> usize {
        let all = self.text.n_predictions();
        let is_complete = |one: &&Found| one.perplexity.log_probabilities.len() == all;
        found.iter().filter(is_complete).count()
    }

    fn report(&self, found: &[Found], is_complete: bool) -> LanguageReport {
        let mut report = self.empty_report();
        report.is_complete = is_complete;
        for (index, (row, found)) in report.rows.iter_mut().zip(found).enumerate() {
            row.predictions = found.perplexity.log_probabilities.len();
            row.speed = found.speed;
            if row.predictions > 0 {
                row.quality = Some(quality(&found.perplexity));
                row.against = (index > 0).then(|| against(&found.against));
            }
            if (1..self.text.n_predictions()).contains(&row.predictions) {
                report.notes.push(format!(
                    "{}: judged by {} of {} predictions only",
                    row.name,
                    row.predictions,
                    self.text.n_predictions()
                ));
            }
        }
        report
    }
}

/// What a row came to, in a line.
fn told(found: &Found) -> String {
    let quality = quality(&found.perplexity).perplexity;
    let speed = found.speed.map_or_else(String::new, |speed| {
        format!(
            ", {:.1} tokens/s read, {:.1} written",
            speed.prefill.median, speed.decode.median
        )
    });
    format!(
        "perplexity {} +- {}{speed}",
        number_of(quality.value),
        number_of(quality.standard_error)
    )
}

fn quality(found: &Perplexity) -> TextQuality {
    TextQuality {
        loss: Estimate {
            value: found.loss(),
            standard_error: found.loss_error(),
        },
        perplexity: Estimate {
            value: found.value(),
            standard_error: found.error(),
        },
    }
}

fn against(found: &Divergence) -> AgainstBase {
    AgainstBase {
        log_likelihood_difference: Estimate {
            // Without the sign of zero.
            value: 0.0 - found.log_ratio(),
            standard_error: found.log_ratio_error(),
        },
        divergence: Estimate {
            value: found.mean(),
            standard_error: found.mean_error(),
        },
        median_divergence: found.quantile(0.5),
        divergence_of_99_percent: found.quantile(0.99),
        largest_divergence: found.quantile(1.0),
        same_top_token: Estimate {
            value: found.agreement(),
            standard_error: found.agreement_error(),
        },
    }
}
