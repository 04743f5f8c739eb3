//! What compressing a network gained and what it lost: a page, a table for a terminal, a picture.
//!
//! A [`CompressionReport`] holds what was measured of the baseline and of every version that was made of it.
//! [`CompressionReport::to_html`] is one file to look at, [`CompressionReport::to_text`] a table to read in
//! passing, [`CompressionReport::pareto_svg`] accuracy against size alone; serialized, it is everything as
//! numbers. The same report gives the same text, byte for byte.
//!
//! Nothing is softened: what became slower or larger is called so, what was not measured is called that, and
//! a change of accuracy comes with the interval that the number of test samples allows ([`change()`]).
//! `docs/reading-a-report.md` says what each number means.

mod change;
mod html;
mod layers;
mod pictures;
mod tables;
mod terminal;
#[cfg(test)]
mod tests;
pub(super) mod words;

use serde::Serialize;

use super::plot::PlotError;
use crate::compress::outcome::{Candidate, Outcome, Speed, pareto};

pub use change::change;

/// A network that was made smaller, step by step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CompressionReport {
    /// What the page is called.
    pub title: String,
    /// The device that times and checks come from.
    pub device: String,
    /// Its driver, as it names itself.
    pub driver: String,
    /// Of everything random.
    pub seed: u64,
    /// The recipe, resolved in full.
    pub created_from: String,
    /// SHA-256 of the weights file that went in.
    pub input_sha256: String,
    /// SHA-256 of the weights file that came out. It says which step is the result; if no step has it, the
    /// last is.
    pub output_sha256: String,
    /// Names of the classes, in order. Classes without a name are numbered.
    pub class_names: Vec<String>,
    /// What everything is compared with.
    pub baseline: Outcome,
    /// Every version that was made, in order.
    pub steps: Vec<Outcome>,
    /// What each layer alone costs, where it was measured.
    pub sensitivities: Vec<Sensitivity>,
    /// What is worth knowing about the whole.
    pub notes: Vec<String>,
}

/// What accuracy is lost when one layer alone is made smaller.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sensitivity {
    /// The layer.
    pub layer: String,
    /// What was done to it: `int4-g64`, `pruned 80%`.
    pub setting: String,
    /// Accuracy before less accuracy after, as a share; negative where it rose.
    pub lost: f64,
}

impl CompressionReport {
    /// The baseline, then the steps.
    pub fn versions(&self) -> impl Iterator<Item = &Outcome> {
        std::iter::once(&self.baseline).chain(&self.steps)
    }

    /// The version that came out: the last step with the output's hash, else the last step, else the baseline.
    pub fn result(&self) -> &Outcome {
        let is_output = |step: &&Outcome| step.sha256 == self.output_sha256;
        let output = self.steps.iter().rev().find(is_output);
        output.or(self.steps.last()).unwrap_or(&self.baseline)
    }

    /// For each of [`Self::versions`] whether no other has a smaller file and a higher accuracy.
    pub fn front_by_size(&self) -> Vec<bool> {
        let candidate = |one: &Outcome| Candidate {
            cost: one.file_bytes as f64,
            worth: one.quality.accuracy.value,
        };
        pareto(&self.versions().map(candidate).collect::<Vec<_>>())
    }

    /// The same by the median latency of one sample; `None` for versions that were not timed.
    pub fn front_by_latency(&self) -> Vec<Option<bool>> {
        let candidate = |one: &Outcome| {
            timed(one).map(|speed| Candidate {
                cost: speed.p50_ms,
                worth: one.quality.accuracy.value,
            })
        };
        let candidates: Vec<Option<Candidate>> = self.versions().map(candidate).collect();
        let measured: Vec<Candidate> = candidates.iter().flatten().copied().collect();
        let mut front = pareto(&measured).into_iter();
        let of = |one: Option<Candidate>| one.and_then(|_| front.next());
        candidates.into_iter().map(of).collect()
    }

    /// One HTML file that needs nothing else: light or dark as the reader's system is, fit for a phone and for
    /// paper.
    ///
    /// # Errors
    /// [`PlotError`] for numbers that have no place on an axis, named; what there is too much of to draw is
    /// left out, and the page says so.
    pub fn to_html(&self) -> Result<String, PlotError> {
        html::page(self)
    }

    /// A table for a terminal, plain text. Lines are at most `max_width` columns wide where that is at least
    /// 40; on narrow terminals versions stand below each other.
    pub fn to_text(&self, max_width: usize) -> String {
        terminal::table(self, max_width)
    }

    /// Accuracy against the size of the file, as an SVG of its own.
    ///
    /// # Errors
    /// [`PlotError`] for numbers that have no place on an axis.
    pub fn pareto_svg(&self) -> Result<String, PlotError> {
        pictures::accuracy_against_size(self)
    }
}

/// What a step made of the baseline, in words: size, accuracy, speed.
///
/// ```text
/// 3.8x smaller, 0.3 points of accuracy lost, 1.6x faster at batch 64, 5 % slower at batch 1
/// ```
pub fn gained_and_lost(baseline: &Outcome, step: &Outcome) -> String {
    words::gains(baseline, step).join(", ")
}

/// The times of a version, unless they are none: a time is finite and above zero.
fn timed(outcome: &Outcome) -> Option<&Speed> {
    let is_time = |value: f64| value.is_finite() && value > 0.0;
    let speed = outcome.speed.as_ref();
    speed.filter(|speed| is_time(speed.p50_ms) && is_time(speed.throughput))
}
