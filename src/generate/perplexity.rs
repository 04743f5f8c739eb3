//! How well a model predicts a text: `exp` of the mean of `-ln p` over its tokens, each after those before it
//! in its window.

use std::ops::Range;

use crate::engine::Engine;
use crate::models::llama::Llama;

use super::{GenerateError, Session, SessionOptions};

/// How a text is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Tokens of a window, at least 2.
    pub window: usize,
    /// From one window to the next, 1 to `window`. Only tokens that no window before had count.
    pub stride: usize,
}

/// Tokens that a window reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    /// Which of the text's; at least 2.
    pub tokens: Range<usize>,
    /// Predictions of this window that do not count: of its tokens but the first, in order.
    pub skipped: usize,
}

impl Windows {
    /// The windows of a text of so many tokens, where a model has `context` positions.
    ///
    /// # Errors
    /// [`GenerateError::TooShort`], [`GenerateError::Window`], [`GenerateError::Setting`].
    pub(super) fn cut(self, n_tokens: usize, context: usize) -> Result<Vec<Window>, GenerateError> {
        if n_tokens < 2 {
            return Err(GenerateError::TooShort { found: n_tokens });
        }
        let Self { window, stride } = self;
        if window < 2 || window > context {
            return Err(GenerateError::Window { window, context });
        }
        if stride < 1 || stride > window {
            return Err(GenerateError::Setting {
                name: "stride",
                value: stride as f64,
                allowed: "1 to the window",
            });
        }
        let mut all = Vec::new();
        let mut start = 0;
        // The first token that no window had yet.
        let mut next = 1;
        while next < n_tokens {
            let end = (start + window).min(n_tokens);
            if end - start >= 2 {
                all.push(Window {
                    tokens: start..end,
                    skipped: next.max(start + 1) - (start + 1),
                });
            }
            next = end;
            start += stride;
        }
        Ok(all)
    }
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Perplexity {
    /// `ln p` of each token that counts.
    pub log_probabilities: Vec<f32>,
}

impl Perplexity {
    /// Mean of `-ln p`, in nats a token.
    #[must_use]
    pub fn loss(&self) -> f64 {
        -mean(self.values())
    }

    /// `exp(loss)`.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.loss().exp()
    }

    /// Standard error of [`Self::loss`], as if tokens were independent; NaN for a single token, of which it is not known.
    #[must_use]
    pub fn loss_error(&self) -> f64 {
        standard_error(self.values())
    }

    fn values(&self) -> impl Iterator<Item = f64> + Clone + '_ {
        self.log_probabilities.iter().copied().map(f64::from)
    }

    /// Standard error of [`Self::value`], to first order.
    #[must_use]
    pub fn error(&self) -> f64 {
        self.value() * self.loss_error()
    }
}

/// 0 for none.
pub(super) fn mean(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let n = values.clone().count().max(1);
    values.sum::<f64>() / n as f64
}

/// Of the mean of independent values; NaN for fewer than two.
pub(super) fn standard_error(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let n = values.clone().count();
    if n < 2 {
        return f64::NAN;
    }
    let mean = mean(values.clone());
    let squares: f64 = values.map(|value| (value - mean).powi(2)).sum();
    (squares / (n - 1) as f64 / n as f64).sqrt()
}

/// `ln p` of every token that counts: in the first window all but its first, in the others those behind the
/// window before, and all but the first where windows do not overlap. `go_on` is asked after every window with
/// tokens done and in all, and ends the work by `false`.
///
/// # Errors
/// [`GenerateError::TooShort`], [`GenerateError::Setting`] for windows that do not fit the context, and as
/// [`Session::feed`].
pub fn log_probabilities(
    engine: &dyn Engine,
    llama: &Llama,
    tokens: &[u32],
    windows: Windows,
    options: SessionOptions,
    go_on: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Perplexity, GenerateError> {
    let mut session = Session::new(engine, llama, options)?;
    let mut all = Vec::new();
    for window in windows.cut(tokens.len(), session.context())? {
        session.rewind(0);
        let given = &tokens[window.tokens.clone()];
        let (before, after) = (&given[..given.len() - 1], &given[1..]);
        let values = session.feed_for_log_probabilities(before, after)?;
        all.extend_from_slice(&values[window.skipped..]);
        if !go_on(window.tokens.end, tokens.len()) {
            break;
        }
    }
    Ok(Perplexity {
        log_probabilities: all,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perplexity_of_even_odds_is_two_and_its_error_is_none() {
        let even = Perplexity {
            log_probabilities: vec![-std::f32::consts::LN_2; 8],
        };
        assert!((even.value() - 2.0).abs() < 1e-6);
        assert!(even.error() < 1e-6);
        let mixed = Perplexity {
            log_probabilities: vec![-1.0, -3.0],
        };
        assert_eq!(mixed.loss(), 2.0);
        assert!((mixed.loss_error() - 1.0).abs() < 1e-12);
        let single = Perplexity {
            log_probabilities: vec![-1.0],
        };
        assert!(single.error().is_nan(), "one token says nothing of others");
    }
}
