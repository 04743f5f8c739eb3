//! How far a model's predictions are from those of another: the Kullback-Leibler divergence
//! `sum_t p(t) (ln p(t) - ln q(t))` of a model `q` from its base `p`, after every token of a text (Kullback and
//! Leibler, 1951). Perplexity alone can hide a change, because gains and losses of single tokens cancel in it.

use crate::engine::Engine;
use crate::models::llama::Llama;

use super::perplexity::{mean, standard_error};
use super::session::LONGEST;
use super::{GenerateError, Perplexity, Session, SessionOptions, Windows};

/// Two models on one text.
#[derive(Debug, Clone, PartialEq)]
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
    let mut found = Divergence {
        model: Perplexity::default(),
        base: Perplexity::default(),
        nats: Vec::new(),
        same_top: Vec::new(),
    };
    for window in windows.cut(tokens.len(), context)? {
        session.rewind(0);
        base_session.rewind(0);
        let given = &tokens[window.tokens.clone()];
        let (before, after) = (&given[..given.len() - 1], &given[1..]);
        let mut place = 0;
        for (piece, next) in before.chunks(LONGEST).zip(after.chunks(LONGEST)) {
            let (q, p) = (
                session.feed_for_all_logits(piece)?,
                base_session.feed_for_all_logits(piece)?,
            );
            for ((q, p), &next) in q.chunks(vocabulary).zip(p.chunks(vocabulary)).zip(next) {
                if place >= window.skipped {
                    found.push(p, q, next as usize);
                }
                place += 1;
            }
        }
        if !go_on(window.tokens.end, tokens.len()) {
            break;
        }
    }
    Ok(found)
}

impl Divergence {
    /// Compares the logits `p` of the base with `q` of the model, both `[vocabulary]` and finite.
    fn push(&mut self, p: &[f32], q: &[f32], next: usize) {
        let (p, q) = (Logits::new(p), Logits::new(q));
        let mut nats = 0.0;
        for token in 0..p.values.len() {
            let ln_p = p.ln(token);
            nats += ln_p.exp() * (ln_p - q.ln(token));
        }
        // Not below zero but for roundings.
        self.nats.push(nats.max(0.0));
        self.same_top.push(p.top == q.top);
        self.base.log_probabilities.push(p.ln(next) as f32);
        self.model.log_probabilities.push(q.ln(next) as f32);
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

    fn of(rows: &[([f32; 3], [f32; 3], usize)]) -> Divergence {
        let mut found = Divergence {
            model: Perplexity::default(),
            base: Perplexity::default(),
            nats: Vec::new(),
            same_top: Vec::new(),
        };
        for (p, q, next) in rows {
            found.push(p, q, *next);
        }
        found
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
