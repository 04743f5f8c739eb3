//! One text over a cache. Every pass is a plan: tokens and positions are its inputs, and a few bytes come back.

use std::collections::BTreeMap;

use crate::engine::{Engine, Plan};
use crate::kernels::FloatType;
use crate::models::llama::{CacheType, KvCache, Llama, Tokens};
use crate::ops::nn::{Indices, Target, embedding, row_loss, top_k};
use crate::record::Recording;
use crate::tensor::{DType, HostTensor};

use super::GenerateError;

/// Tokens of a pass. A piece of a text takes the smallest that holds it, or several of the largest.
const PASSES: [usize; 5] = [1, 16, 32, 64, 128];

/// The longest pass.
const LONGEST: usize = 128;

/// Positions the cache has room for at first.
const FIRST_CAPACITY: usize = 256;

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionOptions {
    /// How keys and values are stored.
    pub cache: CacheType,
    /// Positions of the text; those of the model where it has fewer.
    pub context: usize,
    /// Largest logits that come back after a token, 1 to 1024 and at most the vocabulary.
    pub n_candidates: usize,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            cache: CacheType::F32,
            context: usize::MAX,
            n_candidates: 1,
        }
    }
}

/// The most likely next tokens, the most likely first, the lowest first of equal ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidates {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// Their logits.
    pub logits: Vec<f32>,
}

/// What comes back from a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wanted {
    /// Nothing: keys and values are in the cache.
    Nothing,
    /// The largest logits after one token.
    Candidates,
    /// All logits after one token.
    Logits,
    /// `-ln p` of a given token after each token.
    Losses,
}

/// One text that grows.
pub struct Session<'a> {
    engine: &'a dyn Engine,
    llama: &'a Llama,
    options: SessionOptions,
    cache: KvCache,
    plans: BTreeMap<(usize, Wanted), Box<dyn Plan>>,
    position: usize,
    n_dispatches: usize,
}

impl std::fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("options", &self.options)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl<'a> Session<'a> {
    /// An empty text.
    ///
    /// # Errors
    /// [`GenerateError::Setting`] for candidates out of range, and what the engine says.
    pub fn new(
        engine: &'a dyn Engine,
        llama: &'a Llama,
        options: SessionOptions,
    ) -> Result<Self, GenerateError> {
        let most = llama.config().vocabulary.min(1024);
        if !(1..=most).contains(&options.n_candidates) {
            return Err(GenerateError::Setting {
                name: "candidates",
                value: options.n_candidates as f64,
                allowed: "1 to 1024, at most the vocabulary",
            });
        }
        let options = SessionOptions {
            context: options.context.min(llama.context()).max(1),
            ..options
        };
        let capacity = capacity_for(FIRST_CAPACITY, options.context);
        let cache = llama.cache(options.cache, capacity);
        let mut recording = Recording::new();
        cache.clear(&mut recording)?;
        engine.run(&recording)?;
        Ok(Self {
            engine,
            llama,
            options,
            cache,
            plans: BTreeMap::new(),
            position: 0,
            n_dispatches: 0,
        })
    }

    /// Tokens read.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.position
    }

    /// Positions there are.
    #[must_use]
    pub const fn context(&self) -> usize {
        self.options.context
    }

    /// Bytes of the cache on the engine.
    #[must_use]
    pub fn cache_bytes(&self) -> u64 {
        self.cache.n_bytes()
    }

    /// Dispatches of the plan that was prepared last.
    #[must_use]
    pub const fn n_dispatches(&self) -> usize {
        self.n_dispatches
    }

    /// Goes back to the first `position` tokens, or stays where there are fewer. The memory is kept.
    pub fn rewind(&mut self, position: usize) {
        self.position = self.position.min(position);
    }

    /// Reads tokens and returns the most likely next ones.
    ///
    /// # Errors
    /// [`GenerateError::ContextFull`] before anything is read, [`GenerateError::EmptyPrompt`],
    /// [`GenerateError::NoSuchToken`], [`GenerateError::NotFinite`], and what the engine says.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<Candidates, GenerateError> {
        let mut results = self.read(tokens, Wanted::Candidates)?.into_iter();
        let (logits, tokens) = (results.next(), results.next());
        let logits = logits.map_or(Ok(Vec::new()), |host| host.to_f32())?;
        self.finite(&logits)?;
        Ok(Candidates {
            tokens: tokens.map_or_else(Vec::new, |host| host.words()),
            logits,
        })
    }

    /// Reads tokens and returns the logits of all next ones, `[vocabulary]`.
    ///
    /// # Errors
    /// As [`Self::feed`].
    pub fn feed_for_logits(&mut self, tokens: &[u32]) -> Result<Vec<f32>, GenerateError> {
        let results = self.read(tokens, Wanted::Logits)?;
        let logits = results.first().map_or(Ok(Vec::new()), HostTensor::to_f32)?;
        self.finite(&logits)?;
        Ok(logits)
    }

    /// Reads tokens and returns the natural logarithm of the probability that each of `next` had after the
    /// token at its place; both have the same length.
    ///
    /// # Errors
    /// As [`Self::feed`].
    pub fn feed_for_log_probabilities(
        &mut self,
        tokens: &[u32],
        next: &[u32],
    ) -> Result<Vec<f32>, GenerateError> {
        self.check(tokens)?;
        self.check_tokens(next)?;
        let mut all = Vec::new();
        for (piece, labels) in tokens.chunks(LONGEST).zip(next.chunks(LONGEST)) {
            let results = self.pass(piece, labels, Wanted::Losses)?;
            let losses = results.first().map_or(Ok(Vec::new()), HostTensor::to_f32)?;
            all.extend(losses.iter().take(labels.len()).map(|loss| -loss));
        }
        self.finite(&all)?;
        Ok(all)
    }

    /// Reads tokens, all but the last pass for the cache only.
    fn read(&mut self, tokens: &[u32], wanted: Wanted) -> Result<Vec<HostTensor>, GenerateError> {
        self.check(tokens)?;
        let mut results = Vec::new();
        let mut pieces = tokens.chunks(LONGEST).peekable();
        while let Some(piece) = pieces.next() {
            let is_last = pieces.peek().is_none();
            let wanted = if is_last { wanted } else { Wanted::Nothing };
            results = self.pass(piece, &[], wanted)?;
        }
        Ok(results)
    }

    fn check(&self, tokens: &[u32]) -> Result<(), GenerateError> {
        if tokens.is_empty() {
            return Err(GenerateError::EmptyPrompt);
        }
        if tokens.len() > self.options.context - self.position {
            return Err(GenerateError::ContextFull {
                position: self.position,
                more: tokens.len(),
                context: self.options.context,
            });
        }
        self.check_tokens(tokens)
    }

    fn check_tokens(&self, tokens: &[u32]) -> Result<(), GenerateError> {
        let vocabulary = self.llama.config().vocabulary;
        match tokens.iter().position(|&one| one as usize >= vocabulary) {
            None => Ok(()),
            Some(at) => Err(GenerateError::NoSuchToken {
                at,
                token: tokens[at],
                vocabulary,
            }),
        }
    }

    fn finite(&self, values: &[f32]) -> Result<(), GenerateError> {
        if values.iter().all(|value| value.is_finite()) {
            return Ok(());
        }
        Err(GenerateError::NotFinite {
            position: self.position,
        })
    }

    /// One submission of up to [`LONGEST`] tokens.
    fn pass(
        &mut self,
        piece: &[u32],
        labels: &[u32],
        wanted: Wanted,
    ) -> Result<Vec<HostTensor>, GenerateError> {
        let n = PASSES
            .into_iter()
            .find(|&n| n >= piece.len())
            .unwrap_or(LONGEST);
        self.grow(self.position + n)?;
        let plan = match self.plans.entry((n, wanted)) {
            std::collections::btree_map::Entry::Occupied(plan) => plan.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                let recording = recorded(
                    self.llama,
                    &self.cache,
                    (n, wanted),
                    self.options.n_candidates,
                )?;
                self.n_dispatches = recording.dispatches().count();
                place.insert(self.engine.prepare(&recording)?)
            }
        };
        let filled = |values: &[u32]| {
            let mut values = values.to_vec();
            values.resize(n, 0);
            HostTensor::from_words_u32(vec![n], &values)
        };
        let one = |value: usize| HostTensor::from_words_u32(vec![1], &[value as u32]);
        let mut inputs = vec![filled(piece)?, one(self.position)?, one(self.position + n)?];
        match wanted {
            Wanted::Nothing => {}
            Wanted::Candidates | Wanted::Logits => inputs.push(one(piece.len() - 1)?),
            Wanted::Losses => inputs.push(filled(labels)?),
        }
        let results = plan.run(&inputs)?;
        self.position += piece.len();
        Ok(results)
    }

    /// Makes room for `positions` positions; plans are over one cache, so theirs end with it.
    fn grow(&mut self, positions: usize) -> Result<(), GenerateError> {
        if positions <= self.cache.capacity() {
            return Ok(());
        }
        let wanted = positions.max(self.cache.capacity().saturating_mul(2));
        let capacity = capacity_for(wanted, self.options.context).max(positions);
        let mut recording = Recording::new();
        let grown = self.cache.grown(&mut recording, capacity)?;
        self.engine.run(&recording)?;
        self.cache = grown;
        self.plans.clear();
        Ok(())
    }
}

/// Rows of a cache for `wanted` positions out of `context`: a pass may be filled up past the last one.
fn capacity_for(wanted: usize, context: usize) -> usize {
    wanted.min(context.saturating_add(LONGEST))
}

/// A pass over n tokens. Inputs: tokens `[n]`, position of the first `[1]`, positions in the cache afterwards
/// `[1]`, and for logits the token they follow `[1]`, for losses the next tokens `[n]`.
fn recorded(
    llama: &Llama,
    cache: &KvCache,
    (n, wanted): (usize, Wanted),
    n_candidates: usize,
) -> Result<Recording, GenerateError> {
    let mut recording = Recording::new();
    let vocabulary = llama.config().vocabulary;
    let tokens = Indices::input(&mut recording, "tokens", &[n], vocabulary)?;
    let start = recording.input(DType::U32, &[1]);
    let length = recording.input(DType::U32, &[1]);
    let given = Tokens {
        tokens: &tokens,
        start: &start,
        length: &length,
    };
    match wanted {
        Wanted::Nothing => {
            llama.record(&mut recording, given, cache)?;
        }
        Wanted::Candidates | Wanted::Logits => {
            let row = Indices::input(&mut recording, "row", &[1], n)?;
            let hidden = llama.record(&mut recording, given, cache)?;
            let last = match n {
                1 => hidden,
                _ => embedding(&mut recording, &hidden, &row, FloatType::F32)?,
            };
            let logits = llama.record_logits(&mut recording, &last)?;
            if wanted == Wanted::Logits {
                recording.download(&logits);
            } else {
                let chosen = top_k(&mut recording, &logits, n_candidates)?;
                recording.download(&chosen.values);
                recording.download(&chosen.indices);
            }
        }
        Wanted::Losses => {
            let labels = Indices::input(&mut recording, "next tokens", &[n], vocabulary)?;
            let hidden = llama.record(&mut recording, given, cache)?;
            let logits = llama.record_logits(&mut recording, &hidden)?;
            let factor = recording.upload(&HostTensor::from_f32(vec![1], &[1.0])?);
            let target = Target::Labels {
                labels: &labels,
                smoothing: 0.0,
            };
            let losses = row_loss(&mut recording, &logits, target, &factor, FloatType::F32)?;
            recording.download(&losses.losses);
        }
    }
    Ok(recording)
}
