//! Language models side by side: what each takes, how well it predicts a text, how far its predictions are from
//! those of the one they are all compared with, and how fast it reads and writes.
//!
//! A [`LanguageReport`] holds what was measured. [`LanguageReport::to_html`] is one file to look at,
//! [`LanguageReport::perplexity_svg`] its first picture alone; serialized, it is everything as numbers. The same
//! report gives the same text, byte for byte. What was not measured is called that.

mod html;
mod pictures;
#[cfg(test)]
mod tests;

use serde::Serialize;

use super::plot::PlotError;
use crate::compress::outcome::{Candidate, pareto};

/// Language models on one text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LanguageReport {
    /// What the page is called.
    pub title: String,
    /// The device that everything was measured on.
    pub device: String,
    /// Its driver, as it names itself.
    pub driver: String,
    /// The command line.
    pub command: String,
    /// What was read.
    pub text: JudgedText,
    /// What was timed; `None` where nothing was.
    pub timed: Option<Timed>,
    /// Whether every row has all it was to have.
    pub is_complete: bool,
    /// The error that ended it before that, with the row it happened in.
    pub error: Option<String>,
    /// The models; the others are compared with the first.
    pub rows: Vec<LanguageRow>,
    /// What is worth knowing about the whole.
    pub notes: Vec<String>,
}

/// The text that judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JudgedText {
    /// Its file.
    pub file: String,
    /// SHA-256 of the whole file.
    pub sha256: String,
    /// Tokens that were read.
    pub tokens: usize,
    /// Tokens that count as predictions.
    pub predictions: usize,
    /// Tokens of a window.
    pub window: usize,
    /// From one window to the next.
    pub stride: usize,
}

/// What a run of timing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Timed {
    /// Tokens that are read.
    pub prompt_tokens: usize,
    /// Tokens that are made after them, one by one.
    pub new_tokens: usize,
    /// Runs, of which the median counts.
    pub repeat: usize,
}

/// A model and how it is run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LanguageRow {
    /// What it is called.
    pub name: String,
    /// Its file or folder.
    pub file: String,
    /// SHA-256 of a file, or over those of a folder's weights.
    pub sha256: String,
    /// How keys and values are kept.
    pub kv: String,
    /// How activations meet quantized weights.
    pub activations: String,
    /// What was done to make it, out of its receipt; `None` without one.
    pub made_by: Option<String>,
    /// What its files hold.
    pub format: String,
    /// Numbers that its weights stand for.
    pub parameters: u64,
    /// Bytes of the tensors in its files.
    pub weight_bytes: u64,
    /// Bits of these a parameter.
    pub bits_per_weight: f64,
    /// Predictions it was judged by.
    pub predictions: usize,
    /// How well it predicts them; `None` where that was not measured.
    pub quality: Option<TextQuality>,
    /// How far it is from the first; `None` for that, and where it was not measured.
    pub against: Option<AgainstBase>,
    /// How fast it is; `None` where that was not measured.
    pub speed: Option<TextSpeed>,
}

/// A mean over tokens and its standard error, as if tokens were independent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub value: f64,
    /// Its standard error; NaN of a single token.
    pub standard_error: f64,
}

/// How well a model predicts a text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TextQuality {
    /// Mean of `-ln p`, in nats a token.
    pub loss: Estimate,
    /// `exp(loss)`, with its error to first order.
    pub perplexity: Estimate,
}

/// A model's predictions beside those of the first, token by token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AgainstBase {
    /// Mean of `ln p` of the model less that of the base, in nats a token; below zero the model predicts worse. Its
    /// error is of the pairs.
    pub log_likelihood_difference: Estimate,
    /// Mean Kullback-Leibler divergence from the base, in nats a token.
    pub divergence: Estimate,
    /// Of single tokens.
    pub median_divergence: f64,
    /// 99 of 100 tokens have at most this.
    pub divergence_of_99_percent: f64,
    /// The largest.
    pub largest_divergence: f64,
    /// Share of tokens for which both hold the same next one most likely.
    pub same_top_token: Estimate,
}

/// The median of some runs, and the least and largest of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The one in the middle; of an even number the mean of the two there.
    pub median: f64,
    /// The least.
    pub low: f64,
    /// The largest.
    pub high: f64,
}

impl Spread {
    /// Of runs; `None` of none.
    #[must_use]
    pub fn of(runs: &[f64]) -> Option<Self> {
        let mut sorted = runs.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        let (before, behind) = (
            sorted.get((sorted.len() - 1) / 2)?,
            sorted.get(sorted.len() / 2)?,
        );
        Some(Self {
            median: f64::midpoint(*before, *behind),
            low,
            high,
        })
    }
}

/// How fast a model reads and writes, and what that takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TextSpeed {
    /// Tokens a second of reading.
    pub prefill: Spread,
    /// Tokens a second of writing.
    pub decode: Spread,
    /// Command buffers submitted for a token that is made; `None` without a device.
    pub submissions_per_token: Option<f64>,
    /// Bytes of the cache.
    pub cache_bytes: u64,
    /// The most bytes held on the device at a time; `None` without one.
    pub peak_device_bytes: Option<u64>,
}

impl LanguageReport {
    /// For each row whether no other has as few bytes of weights and predicts as well, and one of both better; `None`
    /// for rows that were not judged by all predictions.
    #[must_use]
    pub fn front_by_perplexity(&self) -> Vec<Option<bool>> {
        self.front(|row| row.quality.map(|quality| quality.perplexity.value))
    }

    /// The same by the divergence from the first row, which is in it with none.
    #[must_use]
    pub fn front_by_divergence(&self) -> Vec<Option<bool>> {
        let of = |(index, row): (usize, &LanguageRow)| match index {
            0 => row.quality.map(|_| 0.0),
            _ => row.against.map(|against| against.divergence.value),
        };
        let losses: Vec<Option<f64>> = self.rows.iter().enumerate().map(of).collect();
        let mut losses = losses.into_iter();
        self.front(|_| losses.next().flatten())
    }

    /// Where less of the loss is better; asked of every row once, in order.
    fn front(&self, mut loss: impl FnMut(&LanguageRow) -> Option<f64>) -> Vec<Option<bool>> {
        let candidate = |row: &LanguageRow| {
            let loss = loss(row).filter(|loss| !loss.is_nan());
            let loss = loss.filter(|_| row.predictions == self.text.predictions);
            loss.map(|loss| Candidate {
                cost: row.weight_bytes as f64,
                worth: -loss,
            })
        };
        let candidates: Vec<Option<Candidate>> = self.rows.iter().map(candidate).collect();
        let judged: Vec<Candidate> = candidates.iter().flatten().copied().collect();
        let mut front = pareto(&judged).into_iter();
        let of = |one: Option<Candidate>| one.and_then(|_| front.next());
        candidates.into_iter().map(of).collect()
    }

    /// One HTML file that needs nothing else.
    ///
    /// # Errors
    /// [`PlotError`] for numbers that have no place on an axis, named; what there is too much of to draw is left
    /// out, and the page says so.
    pub fn to_html(&self) -> Result<String, PlotError> {
        html::page(self)
    }

    /// Perplexity against bytes of weights, as an SVG of its own; `None` where no row has both.
    ///
    /// # Errors
    /// [`PlotError`] for numbers that have no place on an axis, and where there are too many.
    pub fn perplexity_svg(&self) -> Result<Option<String>, PlotError> {
        Ok(pictures::perplexity(self)?.map(|picture| picture.svg))
    }
}
