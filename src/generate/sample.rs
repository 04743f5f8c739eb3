//! The choice of the next token from the largest logits, in the order of llama.cpp: penalties, the k largest,
//! the smallest set of a share p of the probability (Holtzman et al. 2020), a share of the largest probability
//! (Nguyen et al., "min-p", 2024), temperature.

use crate::num::Philox;

use super::{Candidates, GenerateError};

/// Last tokens that a penalty is for. It only lowers logits, so the `top_k` largest with it are among the
/// `top_k + PENALIZED_TOKENS` largest without it.
pub const PENALIZED_TOKENS: usize = 64;

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Divides logits; 0 takes the most likely token.
    pub temperature: f64,
    /// Most likely tokens that are kept, 1 to 960.
    pub top_k: usize,
    /// Share of probability that is kept, in (0, 1].
    pub top_p: f64,
    /// Tokens less likely than this share of the most likely one are left out; in [0, 1].
    pub min_p: f64,
    /// Divides positive logits of the last [`PENALIZED_TOKENS`] tokens and multiplies negative ones; at least 1,
    /// which is none (Keskar et al., "CTRL", 2019).
    pub repeat_penalty: f64,
    /// What chance is a function of, with the position.
    pub seed: u64,
}

impl Default for Sampling {
    /// The most likely token.
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 40,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            seed: 0,
        }
    }
}

impl Sampling {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`GenerateError::Setting`] naming the first that is out of range.
    pub fn check(&self) -> Result<(), GenerateError> {
        let refuse = |name, value, allowed| {
            Err(GenerateError::Setting {
                name,
                value,
                allowed,
            })
        };
        if !(0.0..=100.0).contains(&self.temperature) {
            return refuse("temperature", self.temperature, "0 to 100");
        }
        if !(1..=1024 - PENALIZED_TOKENS).contains(&self.top_k) {
            return refuse("top-k", self.top_k as f64, "1 to 960");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return refuse("top-p", self.top_p, "above 0, at most 1");
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return refuse("min-p", self.min_p, "0 to 1");
        }
        if !(1.0..=100.0).contains(&self.repeat_penalty) {
            return refuse("repeat-penalty", self.repeat_penalty, "1 to 100");
        }
        Ok(())
    }

    /// How many of the largest logits it takes to choose exactly, of `vocabulary`.
    #[must_use]
    pub fn n_candidates(&self, vocabulary: usize) -> usize {
        let kept = if self.temperature == 0.0 {
            1
        } else {
            self.top_k
        };
        let penalized = if self.repeat_penalty > 1.0 {
            PENALIZED_TOKENS
        } else {
            0
        };
        (kept + penalized).min(vocabulary)
    }
}

/// Chooses tokens, one position after the other.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
}

impl Sampler {
    /// Checks the settings.
    ///
    /// # Errors
    /// As [`Sampling::check`].
    pub fn new(sampling: Sampling) -> Result<Self, GenerateError> {
        sampling.check()?;
        Ok(Self { sampling })
    }

    /// The next token after `before`, all tokens of the text so far: a function of seed, position and candidates.
    /// `None` without candidates.
    #[must_use]
    pub fn choose(&self, candidates: &Candidates, before: &[u32]) -> Option<u32> {
        let Sampling {
            temperature,
            top_k,
            top_p,
            min_p,
            ..
        } = self.sampling;
        let mut kept = self.penalized(candidates, before);
        if temperature == 0.0 {
            return kept.first().map(|&(token, _)| token);
        }
        kept.truncate(top_k);
        let most = kept.first()?.1;
        // Shares of what is kept so far, not of the whole vocabulary, as llama.cpp has it.
        let weights = |kept: &[(u32, f64)], temperature: f64| -> Vec<f64> {
            let weight = |&(_, logit): &(u32, f64)| ((logit - most) / temperature).exp();
            kept.iter().map(weight).collect()
        };
        let plain = weights(&kept, 1.0);
        let total: f64 = plain.iter().sum();
        let mut share = 0.0;
        let within = plain.iter().position(|weight| {
            share += weight / total;
            share >= top_p
        });
        let above = plain.iter().position(|&weight| weight < min_p);
        let count = within.map_or(kept.len(), |last| last + 1);
        kept.truncate(count.min(above.unwrap_or(kept.len())).max(1));
        let weights = weights(&kept, temperature);
        let total: f64 = weights.iter().sum();
        let mut stream = Philox::new(self.sampling.seed).stream(before.len() as u64);
        let mut left = f64::from(stream.uniform()) * total;
        for (&(token, _), weight) in kept.iter().zip(&weights) {
            if left < *weight {
                return Some(token);
            }
            left -= weight;
        }
        kept.last().map(|&(token, _)| token)
    }

    /// Tokens and logits with the penalty, the largest first.
    fn penalized(&self, candidates: &Candidates, before: &[u32]) -> Vec<(u32, f64)> {
        let penalty = self.sampling.repeat_penalty;
        let last = &before[before.len().saturating_sub(PENALIZED_TOKENS)..];
        let pairs = candidates.tokens.iter().zip(&candidates.logits);
        let mut all: Vec<(u32, f64)> = pairs
            .map(|(&token, &logit)| {
                let logit = f64::from(logit);
                let lowered = if logit > 0.0 {
                    logit / penalty
                } else {
                    logit * penalty
                };
                (
                    token,
                    if last.contains(&token) {
                        lowered
                    } else {
                        logit
                    },
                )
            })
            .collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(logits: &[f32]) -> Candidates {
        Candidates {
            tokens: (0..logits.len() as u32).collect(),
            logits: logits.to_vec(),
        }
    }

    /// How often each token comes out over many positions.
    fn counts(sampling: Sampling, logits: &[f32]) -> Vec<usize> {
        let sampler = Sampler::new(sampling).unwrap();
        let mut counts = vec![0; logits.len()];
        for position in 0..4000 {
            let before = vec![u32::MAX; position];
            let token = sampler.choose(&candidates(logits), &before).unwrap();
            counts[token as usize] += 1;
        }
        counts
    }

    fn warm() -> Sampling {
        Sampling {
            temperature: 1.0,
            ..Sampling::default()
        }
    }

    #[test]
    fn without_temperature_the_most_likely_token_that_no_penalty_lowers_is_taken() {
        let sampler = Sampler::new(Sampling::default()).unwrap();
        assert_eq!(sampler.choose(&candidates(&[3.0, 2.0]), &[0]), Some(0));
        let sampling = Sampling {
            repeat_penalty: 2.0,
            ..Sampling::default()
        };
        let sampler = Sampler::new(sampling).unwrap();
        assert_eq!(sampler.choose(&candidates(&[3.0, 2.0]), &[0]), Some(1));
        assert_eq!(sampler.choose(&candidates(&[-1.0, -1.5]), &[0]), Some(1));
        let long_ago = [&[0][..], &[9; PENALIZED_TOKENS]].concat();
        assert_eq!(sampler.choose(&candidates(&[3.0, 2.0]), &long_ago), Some(0));
    }

    #[test]
    fn tokens_come_as_often_as_their_probability_says() {
        let counts = counts(warm(), &[3f32.ln(), 0.0]);
        // 3 standard deviations of 4000 draws with p = 3/4 are 82.
        assert!(counts[0].abs_diff(3000) < 82, "{counts:?}");
    }

    #[test]
    fn top_k_top_p_and_min_p_leave_out_the_tail() {
        let logits = [2f32.ln(), 0.0, 0.0, -9.0];
        let top_k = Sampling { top_k: 2, ..warm() };
        assert_eq!(counts(top_k, &logits)[2..], [0, 0]);
        let top_p = Sampling {
            top_p: 0.5,
            ..warm()
        };
        assert!(counts(top_p, &logits)[2..].iter().all(|&count| count == 0));
        let min_p = Sampling {
            min_p: 0.6,
            ..warm()
        };
        assert_eq!(counts(min_p, &logits)[0], 4000);
        let all = counts(warm(), &logits);
        assert!(all[1] > 0 && all[2] > 0);
    }

    #[test]
    fn the_same_seed_and_position_choose_the_same_token() {
        let sampler = Sampler::new(warm()).unwrap();
        let logits = candidates(&[0.0; 32]);
        let other = Sampling { seed: 1, ..warm() };
        let other = Sampler::new(other).unwrap();
        let draw = |sampler: &Sampler| -> Vec<Option<u32>> {
            (0..16)
                .map(|n| sampler.choose(&logits, &vec![0; n]))
                .collect()
        };
        assert_eq!(draw(&sampler), draw(&sampler));
        assert_ne!(draw(&sampler), draw(&other));
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (sampling, name) in [
            (
                Sampling {
                    temperature: f64::NAN,
                    ..warm()
                },
                "temperature",
            ),
            (Sampling { top_k: 0, ..warm() }, "top-k"),
            (
                Sampling {
                    top_k: 961,
                    ..warm()
                },
                "top-k",
            ),
            (
                Sampling {
                    top_p: 0.0,
                    ..warm()
                },
                "top-p",
            ),
            (
                Sampling {
                    min_p: 1.5,
                    ..warm()
                },
                "min-p",
            ),
            (
                Sampling {
                    repeat_penalty: 0.5,
                    ..warm()
                },
                "repeat-penalty",
            ),
        ] {
            let error = Sampler::new(sampling).unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }
}
