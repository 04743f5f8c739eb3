//! How far a model's predictions are from those of another: the Kullback-Leibler divergence
//! `sum_t p(t) (ln p(t) - ln q(t))` of a model `q` from its base `p`, after every token of a text (Kullback and
//! Leibler, 1951). Perplexity alone can hide a change, because gains and losses of single tokens cancel in it.

use std::ops::Range;

use rayon::prelude::*;

use crate::engine::Engine;
use crate::models::llama::Llama;

use super::perplexity::{CutText, mean, standard_error};
use super::session::LONGEST;
use super::{GenerateError, Perplexity, Session, SessionOptions, Windows};

/// Two models on one text.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Divergence {
    /// How well the model predicts the text.
    pub model: Perplexity,
    /// How well the base does.
    pub base: Perplexity,
    /// Divergence of the model from the base, in nats, for each token that counts.
    pub nats: Vec<f64>,
    /// Whether both hold the same token most likely, for each token that counts.
    pub same_top: Vec<bool>,
}

impl Divergence {
    /// Mean divergence, in nats a token.
    #[must_use]
    pub fn mean(&self) -> f64 {
        mean(self.nats.iter().copied())
    }

    /// Standard error of [`Self::mean`], as if tokens were independent.
    #[must_use]
    pub fn mean_error(&self) -> f64 {
        standard_error(self.nats.iter().copied())
    }

    /// The least value that a share of all divergences does not exceed: 0.5 for the median, 1 for the largest.
    #[must_use]
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.nats.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (share.clamp(0.0, 1.0) * sorted.len() as f64).ceil() as usize;
        sorted
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }

    /// Share of tokens that both models hold most likely.
    #[must_use]
    pub fn agreement(&self) -> f64 {
        mean(self.same_top.iter().map(|&same| f64::from(u8::from(same))))
    }

    /// Standard error of [`Self::agreement`].
    #[must_use]
    pub fn agreement_error(&self) -> f64 {
        standard_error(self.same_top.iter().map(|&same| f64::from(u8::from(same))))
    }

    /// Mean of `ln p - ln q` of the text's own tokens: the logarithm of the model's perplexity over the base's.
    #[must_use]
    pub fn log_ratio(&self) -> f64 {
        mean(self.differences())
    }

    /// Standard error of [`Self::log_ratio`]: of the pairs, which vary far less than either model alone.
    #[must_use]
    pub fn log_ratio_error(&self) -> f64 {
        standard_error(self.differences())
    }

    fn differences(&self) -> impl Iterator<Item = f64> + Clone + '_ {
        let base = self.base.log_probabilities.iter();
        let pairs = base.zip(&self.model.log_probabilities);
        pairs.map(|(&p, &q)| f64::from(p) - f64::from(q))
    }
}

/// Reads a text with both models, window by window, and compares what each says of the next token. Logits are
/// compared pass by pass and not kept. Tokens that count, and `go_on`, are as for
/// [`log_probabilities`](super::log_probabilities).
///
/// # Errors
/// [`GenerateError::OtherVocabulary`], and as [`log_probabilities`](super::log_probabilities).
pub fn divergence(
    engine: &dyn Engine,
    [model, base]: [&Llama; 2],
    tokens: &[u32],
    windows: Windows,
    options: SessionOptions,
    go_on: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Divergence, GenerateError> {
    let vocabulary = model.config().vocabulary;
    if base.config().vocabulary != vocabulary {
        return Err(GenerateError::OtherVocabulary {
            model: vocabulary,
            base: base.config().vocabulary,
        });
    }
    let mut session = Session::new(engine, model, options)?;
    let mut base_session = Session::new(engine, base, options)?;
    let context = session.context().min(base_session.context());
    let mut found = Divergence::default();
    for window in windows.cut(tokens.len(), context)? {
        session.rewind(0);
        base_session.rewind(0);
        let given = &tokens[window.tokens.clone()];
        let (before, after) = (&given[..given.len() - 1], &given[1..]);
        let mut skipped = window.skipped;
        for (piece, next) in before.chunks(LONGEST).zip(after.chunks(LONGEST)) {
            let (q, p) = (
                session.feed_for_all_logits(piece)?,
                base_session.feed_for_all_logits(piece)?,
            );
            let first = skipped.min(piece.len());
            skipped -= first;
            let (p, q) = (&p[first * vocabulary..], &q[first * vocabulary..]);
            found.extend(vocabulary, (p, q), &next[first..]);
        }
        if !go_on(window.tokens.end, tokens.len()) {
            break;
        }
    }
    Ok(found)
}

/// What a base says of a part of a text: its logits, kept on the host, so that models can be compared with it when it is
/// no longer on the device.
#[derive(Debug)]
pub struct BaseLogits {
    windows: Range<usize>,
    vocabulary: usize,
    /// `[predictions, vocabulary]`
    logits: Vec<f32>,
    /// How well it predicts that part.
    pub perplexity: Perplexity,
}

impl BaseLogits {
    /// Reads some windows of a text, one of [`CutText::parts`]. `progress` is told of the tokens of each window when
    /// it is done.
    ///
    /// # Errors
    /// As [`Session::feed`].
    pub fn read(
        session: &mut Session<'_>,
        (text, windows): (&CutText, Range<usize>),
        progress: &mut dyn FnMut(usize),
    ) -> Result<Self, GenerateError> {
        let vocabulary = session.vocabulary();
        let mut found = Self {
            windows: windows.clone(),
            vocabulary,
            logits: Vec::new(),
            perplexity: Perplexity::default(),
        };
        let take = |logits: &[f32], next: &[u32]| {
            found.logits.extend_from_slice(logits);
            let rows = logits.par_chunks(vocabulary).zip(next.par_iter());
            let own: Vec<f32> = rows
                .map(|(row, &next)| Logits::new(row).ln(next as usize) as f32)
                .collect();
            found.perplexity.log_probabilities.extend(own);
        };
        each_piece(session, (text, windows), take, progress)?;
        Ok(found)
    }
}

impl Divergence {
    /// Reads the windows whose logits a base left, with another model.
    ///
    /// # Errors
    /// [`GenerateError::OtherVocabulary`], and as [`Session::feed`].
    pub fn from_base(
        session: &mut Session<'_>,
        text: &CutText,
        base: &BaseLogits,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Self, GenerateError> {
        let vocabulary = session.vocabulary();
        if base.vocabulary != vocabulary {
            return Err(GenerateError::OtherVocabulary {
                model: vocabulary,
                base: base.vocabulary,
            });
        }
        let (mut found, mut done) = (Self::default(), 0);
        let take = |logits: &[f32], next: &[u32]| {
            let of_base = &base.logits[done..done + logits.len()];
            done += logits.len();
            found.extend(vocabulary, (of_base, logits), next);
        };
        each_piece(session, (text, base.windows.clone()), take, progress)?;
        Ok(found)
    }

    /// Adds what was found behind it in the text.
    pub fn append(&mut self, mut later: Self) {
        self.nats.append(&mut later.nats);
        self.same_top.append(&mut later.same_top);
        self.model.append(later.model);
        self.base.append(later.base);
    }

    /// Compares rows of logits `[n, vocabulary]` of the base, `p`, with those of the model, `q`; all are finite.
    fn extend(&mut self, vocabulary: usize, (p, q): (&[f32], &[f32]), next: &[u32]) {
        let rows = p.par_chunks(vocabulary).zip(q.par_chunks(vocabulary));
        // Each row is one sum in one order, so that the bits do not depend on the number of threads.
        let compared: Vec<Compared> = rows
            .zip(next.par_iter())
            .map(|((p, q), &next)| Compared::new(p, q, next as usize))
            .collect();
        for one in compared {
            self.nats.push(one.nats);
            self.same_top.push(one.same_top);
            self.base.log_probabilities.push(one.ln_p);
            self.model.log_probabilities.push(one.ln_q);
        }
    }
}

/// Reads windows of a text and hands on the logits `[n, vocabulary]` after each token that counts, with the n tokens
/// that come next.
fn each_piece(
    session: &mut Session<'_>,
    (text, windows): (&CutText, Range<usize>),
    mut take: impl FnMut(&[f32], &[u32]),
    progress: &mut dyn FnMut(usize),
) -> Result<(), GenerateError> {
    let vocabulary = session.vocabulary();
    for window in text.windows(windows) {
        session.rewind(0);
        let given = &text.tokens()[window.tokens.clone()];
        let (before, after) = (&given[..given.len() - 1], &given[1..]);
        let mut skipped = window.skipped;
        for (piece, next) in before.chunks(LONGEST).zip(after.chunks(LONGEST)) {
            let logits = session.feed_for_all_logits(piece)?;
            let first = skipped.min(piece.len());
            skipped -= first;
            take(&logits[first * vocabulary..], &next[first..]);
        }
        progress(given.len());
    }
    Ok(())
}

/// The predictions of two models after one token.
struct Compared {
    nats: f64,
    same_top: bool,
    ln_p: f32,
    ln_q: f32,
}

impl Compared {
    /// Of the logits `p` of the base and `q` of the model, both `[vocabulary]` and finite.
    fn new(p: &[f32], q: &[f32], next: usize) -> Self {
        let (p, q) = (Logits::new(p), Logits::new(q));
        let mut nats = 0.0;
        for token in 0..p.values.len() {
            let ln_p = p.ln(token);
            nats += ln_p.exp() * (ln_p - q.ln(token));
        }
        Self {
            // Not below zero but for roundings.
            nats: nats.max(0.0),
            same_top: p.top == q.top,
            ln_p: p.ln(next) as f32,
            ln_q: q.ln(next) as f32,
        }
    }
}

/// Logits after one token.
struct Logits<'a> {
    values: &'a [f32],
    /// `ln(sum(exp(z)))`
    log_sum: f64,
    /// The most likely token, the lowest of equal ones.
    top: usize,
}

impl<'a> Logits<'a> {
    fn new(values: &'a [f32]) -> Self {
        let mut top = 0;
        for (token, value) in values.iter().enumerate() {
            if *value > values[top] {
                top = token;
            }
        }
        let largest = values.get(top).copied().map_or(0.0, f64::from);
        let parts = values.iter().map(|&z| (f64::from(z) - largest).exp());
        Self {
            values,
            log_sum: parts.sum::<f64>().ln() + largest,
            top,
        }
    }

    fn ln(&self, token: usize) -> f64 {
        f64::from(self.values[token]) - self.log_sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &[([f32; 3], [f32; 3], u32)]) -> Divergence {
        let mut found = Divergence::default();
        let p: Vec<f32> = rows.iter().flat_map(|(p, _, _)| *p).collect();
        let q: Vec<f32> = rows.iter().flat_map(|(_, q, _)| *q).collect();
        let next: Vec<u32> = rows.iter().map(|(_, _, next)| *next).collect();
        found.extend(3, (&p, &q), &next);
        found
    }

    #[test]
    fn rows_on_threads_are_rows_one_by_one_to_the_last_bit() {
        let vocabulary = 1000;
        let logit =
            |row: usize, token: usize| ((row * 7919 + token * 104_729) % 1999) as f32 / 97.0;
        let rows = |shift: usize| -> Vec<f32> {
            let each = (0..64).flat_map(|row| (0..vocabulary).map(move |token| (row, token)));
            each.map(|(row, token)| logit(row + shift, token)).collect()
        };
        let (p, q) = (rows(0), rows(3));
        let next: Vec<u32> = (0..64).map(|row| row * 13).collect();
        let mut all = Divergence::default();
        all.extend(vocabulary, (&p, &q), &next);
        let mut alone = Divergence::default();
        for (row, &next) in next.iter().enumerate() {
            let row = row * vocabulary..(row + 1) * vocabulary;
            let mut one = Divergence::default();
            one.extend(vocabulary, (&p[row.clone()], &q[row]), &[next]);
            alone.append(one);
        }
        let bits = |found: &Divergence| -> Vec<u64> {
            let nats = found.nats.iter().map(|nats| nats.to_bits());
            let values = [&found.model, &found.base].into_iter();
            let values = values.flat_map(|one| &one.log_probabilities);
            nats.chain(values.map(|value| value.to_bits().into()))
                .collect()
        };
        assert_eq!(bits(&all), bits(&alone));
        assert!(all.mean() > 0.0 && all.nats.len() == 64);
    }

    #[test]
    fn a_divergence_worked_out_by_hand() {
        // p = 1/2, 1/4, 1/4 and q = 1/4, 1/4, 1/2: 1/2 ln 2 - 1/4 ln 2.
        let ln = |x: f32| x.ln();
        let p = [ln(0.5), ln(0.25), ln(0.25)];
        let q = [ln(0.25) + 7.0, ln(0.25) + 7.0, ln(0.5) + 7.0];
        let found = of(&[(p, q, 0), (p, p, 0)]);
        let expected = 0.25 * std::f64::consts::LN_2;
        assert!((found.nats[0] - expected).abs() < 1e-6, "{found:?}");
        assert_eq!(found.nats[1], 0.0);
        assert_eq!(found.same_top, [false, true]);
        assert_eq!(found.agreement(), 0.5);
        assert!((found.mean() - expected / 2.0).abs() < 1e-6);
        // Of two values a and 0 the standard error is a / 2.
        assert!((found.mean_error() - expected / 2.0).abs() < 1e-6);
        // The next token has 1/2 and 1/4 of the first row, the same of the second.
        assert!((found.log_ratio() - std::f64::consts::LN_2 / 2.0).abs() < 1e-6);
    }

    #[test]
    fn quantiles_are_values_that_were_found() {
        let mut found = of(&[]);
        assert_eq!(found.quantile(0.5), 0.0);
        found.nats = vec![3.0, 1.0, 2.0, 4.0];
        assert_eq!(found.quantile(0.5), 2.0);
        assert_eq!(found.quantile(0.75), 3.0);
        assert_eq!(found.quantile(0.9), 4.0);
        assert_eq!(found.quantile(1.0), 4.0);
        assert_eq!(found.quantile(0.0), 1.0);
    }

    #[test]
    fn impossible_tokens_of_both_count_nothing() {
        let found = of(&[([0.0, 0.0, -1e30], [0.0, 0.0, -1e30], 0)]);
        assert_eq!(found.nats, [0.0]);
    }
}
