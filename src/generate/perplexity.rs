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

impl Window {
    /// Those that count.
    fn n_predictions(&self) -> usize {
        (self.tokens.len() - 1).saturating_sub(self.skipped)
    }
}

impl Windows {
    /// Whether a text of so many tokens can be cut so, where a model has `context` positions.
    ///
    /// # Errors
    /// [`GenerateError::TooShort`], [`GenerateError::Window`], [`GenerateError::Setting`].
    pub fn check(self, n_tokens: usize, context: usize) -> Result<(), GenerateError> {
        self.cut(n_tokens, context).map(|_| ())
    }

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

/// A text cut into windows, for several models that read it one after the other.
#[derive(Debug, Clone)]
pub struct CutText {
    tokens: Vec<u32>,
    windows: Vec<Window>,
}

impl CutText {
    /// Cuts a text for models that all have `context` positions.
    ///
    /// # Errors
    /// As [`Windows::check`].
    pub fn new(tokens: Vec<u32>, how: Windows, context: usize) -> Result<Self, GenerateError> {
        let windows = how.cut(tokens.len(), context)?;
        Ok(Self { tokens, windows })
    }

    /// Its tokens.
    #[must_use]
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Tokens that count as predictions.
    #[must_use]
    pub fn n_predictions(&self) -> usize {
        self.windows.iter().map(Window::n_predictions).sum()
    }

    /// Tokens that a model reads in some windows, those of overlaps as often as they are read.
    #[must_use]
    pub fn n_read_of(&self, windows: Range<usize>) -> usize {
        let windows = self.windows(windows).iter();
        windows.map(|one| one.tokens.len()).sum()
    }

    /// Parts of whole windows, in order, whose predictions over a vocabulary take at most so many bytes of f32, or
    /// of a single window each where that takes more.
    #[must_use]
    pub fn parts(&self, vocabulary: usize, most_bytes: u64) -> Vec<Range<usize>> {
        let mut parts: Vec<Range<usize>> = Vec::new();
        let mut held = 0;
        for (index, window) in self.windows.iter().enumerate() {
            let n_bytes = 4 * window.n_predictions() as u64 * vocabulary as u64;
            match parts.last_mut() {
                Some(part) if held + n_bytes <= most_bytes => part.end = index + 1,
                _ => {
                    parts.push(index..index + 1);
                    held = 0;
                }
            }
            held += n_bytes;
        }
        parts
    }

    /// Bytes of the logits of the window with most predictions.
    #[must_use]
    pub fn largest_window_bytes(&self, vocabulary: usize) -> u64 {
        let predictions = self.windows.iter().map(Window::n_predictions).max();
        4 * predictions.unwrap_or(0) as u64 * vocabulary as u64
    }

    pub(super) fn windows(&self, range: Range<usize>) -> &[Window] {
        let end = range.end.min(self.windows.len());
        self.windows.get(range.start..end).unwrap_or_default()
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

    /// Adds what was found behind it in the text.
    pub fn append(&mut self, mut later: Self) {
        self.log_probabilities.append(&mut later.log_probabilities);
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
    fn parts_hold_every_window_once_and_no_more_than_they_may() {
        let how = Windows {
            window: 8,
            stride: 4,
        };
        let text = CutText::new((0..30).collect(), how, 8).expect("fits");
        // Of 8 tokens 7 are predicted, of those behind 4 that were read before 4 more.
        assert_eq!(text.n_predictions(), 29);
        let row = 4 * 10;
        assert_eq!(text.largest_window_bytes(10), 7 * row);
        for most in [0, 7 * row, 11 * row, 15 * row, u64::MAX] {
            let parts = text.parts(10, most);
            let mut next = 0;
            for part in &parts {
                assert_eq!(part.start, next);
                next = part.end;
                let windows = text.windows(part.clone());
                let held: usize = windows.iter().map(Window::n_predictions).sum();
                assert!(windows.len() == 1 || held as u64 * row <= most, "{parts:?}");
            }
            assert_eq!(next, text.windows.len());
        }
        assert_eq!(text.parts(10, 11 * row)[0], 0..2);
        assert_eq!(text.parts(10, u64::MAX).len(), 1);
    }

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
