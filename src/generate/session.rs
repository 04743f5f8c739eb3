//! Texts over a cache. Every pass is a plan: tokens and positions are its inputs, and a few bytes come back.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

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
pub(super) const LONGEST: usize = 128;

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
#[derive(Debug, Clone, PartialEq, Default)]
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
    /// All logits after each token.
    AllLogits,
    /// `-ln p` of a given token after each token.
    Losses,
}

/// A text that grows, or several of different lengths side by side.
pub struct Session<'a> {
    engine: &'a dyn Engine,
    llama: &'a Llama,
    options: SessionOptions,
    cache: KvCache,
    plans: BTreeMap<(usize, Wanted), Box<dyn Plan>>,
    /// Tokens read of each text.
    positions: Vec<usize>,
    n_dispatches: usize,
    stop: Option<&'a AtomicBool>,
}

impl std::fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("options", &self.options)
            .field("positions", &self.positions)
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
        Self::of_texts(engine, llama, options, 1)
    }

    /// Several empty texts, at least 1, whose passes are one.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_texts(
        engine: &'a dyn Engine,
        llama: &'a Llama,
        options: SessionOptions,
        n_texts: usize,
    ) -> Result<Self, GenerateError> {
        let n_texts = n_texts.max(1);
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
        let cache = llama.cache(options.cache, n_texts, capacity);
        let mut recording = Recording::new();
        cache.clear(&mut recording)?;
        engine.run(&recording)?;
        Ok(Self {
            engine,
            llama,
            options,
            cache,
            plans: BTreeMap::new(),
            positions: vec![0; n_texts],
            n_dispatches: 0,
            stop: None,
        })
    }

    /// The same, which asks before every pass whether to stop: `true` ends it with [`GenerateError::Stopped`].
    #[must_use]
    pub const fn stopped_by(mut self, stop: &'a AtomicBool) -> Self {
        self.stop = Some(stop);
        self
    }

    /// Tokens read; of several texts those of the first.
    #[must_use]
    pub fn position(&self) -> usize {
        self.positions[0]
    }

    /// Tokens read of each text.
    #[must_use]
    pub fn positions(&self) -> &[usize] {
        &self.positions
    }

    /// Positions there are for each text.
    #[must_use]
    pub const fn context(&self) -> usize {
        self.options.context
    }

    /// Tokens that the model predicts.
    #[must_use]
    pub const fn vocabulary(&self) -> usize {
        self.llama.config().vocabulary
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

    /// Goes back to the first `position` tokens of each text, or stays where there are fewer. The memory is kept.
    pub fn rewind(&mut self, position: usize) {
        for one in &mut self.positions {
            *one = position.min(*one);
        }
    }

    /// Reads tokens and returns the most likely next ones.
    ///
    /// # Errors
    /// [`GenerateError::ContextFull`] before anything is read, [`GenerateError::EmptyPrompt`],
    /// [`GenerateError::NoSuchToken`], [`GenerateError::NotFinite`], [`GenerateError::Texts`] in a session of several
    /// texts, and what the engine says.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<Candidates, GenerateError> {
        self.check_alone(tokens)?;
        let found = self.feed_each(&[tokens])?;
        Ok(found.into_iter().next().unwrap_or_default())
    }

    /// Reads tokens of each text and returns the most likely next ones of each; texts without new tokens wait, and
    /// have no candidates.
    ///
    /// # Errors
    /// As [`Self::feed`]; [`GenerateError::Texts`] for another number of texts, [`GenerateError::EmptyPrompt`] when
    /// there are no tokens at all.
    pub fn feed_each(&mut self, texts: &[&[u32]]) -> Result<Vec<Candidates>, GenerateError> {
        if texts.len() != self.positions.len() {
            return Err(GenerateError::Texts {
                given: texts.len(),
                expected: self.positions.len(),
            });
        }
        for (text, tokens) in texts.iter().enumerate() {
            self.check_room(text, tokens)?;
            self.check_tokens(tokens)?;
        }
        let most = texts.iter().map(|tokens| tokens.len()).max().unwrap_or(0);
        if most == 0 {
            return Err(GenerateError::EmptyPrompt);
        }
        let mut found = vec![Candidates::default(); texts.len()];
        let longest = self.longest();
        for begin in (0..most).step_by(longest) {
            let piece = |tokens: &&[u32]| -> Range<usize> {
                begin.min(tokens.len())..(begin + longest).min(tokens.len())
            };
            let pieces: Vec<&[u32]> = texts.iter().map(|tokens| &tokens[piece(tokens)]).collect();
            let ends = |tokens: &&[u32]| tokens.len() > begin && tokens.len() <= begin + longest;
            let wanted = if texts.iter().any(ends) {
                Wanted::Candidates
            } else {
                Wanted::Nothing
            };
            let results = self.pass(&pieces, &[], wanted)?;
            let [logits, tokens] = results.as_slice() else {
                continue;
            };
            let (logits, tokens) = (logits.to_f32()?, tokens.words());
            let count = self.options.n_candidates;
            let rows = logits.chunks(count).zip(tokens.chunks(count));
            for (text, (logits, tokens)) in rows.enumerate() {
                if texts.get(text).is_some_and(ends) {
                    self.finite(text, logits)?;
                    found[text] = Candidates {
                        tokens: tokens.to_vec(),
                        logits: logits.to_vec(),
                    };
                }
            }
        }
        Ok(found)
    }

    /// Reads tokens and returns the logits of all next ones, `[vocabulary]`.
    ///
    /// # Errors
    /// As [`Self::feed`].
    pub fn feed_for_logits(&mut self, tokens: &[u32]) -> Result<Vec<f32>, GenerateError> {
        self.check_alone(tokens)?;
        let mut results = Vec::new();
        let mut pieces = tokens.chunks(LONGEST).peekable();
        while let Some(piece) = pieces.next() {
            let is_last = pieces.peek().is_none();
            let wanted = if is_last {
                Wanted::Logits
            } else {
                Wanted::Nothing
            };
            results = self.pass(&[piece], &[], wanted)?;
        }
        let logits = results.first().map_or(Ok(Vec::new()), HostTensor::to_f32)?;
        self.finite(0, &logits)?;
        Ok(logits)
    }

    /// Reads tokens and returns the logits of all next ones after each, `[tokens, vocabulary]`.
    ///
    /// # Errors
    /// As [`Self::feed`].
    pub fn feed_for_all_logits(&mut self, tokens: &[u32]) -> Result<Vec<f32>, GenerateError> {
        self.check_alone(tokens)?;
        let mut all = Vec::new();
        for piece in tokens.chunks(LONGEST) {
            let results = self.pass(&[piece], &[], Wanted::AllLogits)?;
            let logits = results.first().map_or(Ok(Vec::new()), HostTensor::to_f32)?;
            let rows = piece.len() * self.llama.config().vocabulary;
            all.extend(logits.into_iter().take(rows));
        }
        self.finite(0, &all)?;
        Ok(all)
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
        self.check_alone(tokens)?;
        self.check_tokens(next)?;
        let mut all = Vec::new();
        for (piece, labels) in tokens.chunks(LONGEST).zip(next.chunks(LONGEST)) {
            let results = self.pass(&[piece], labels, Wanted::Losses)?;
            let losses = results.first().map_or(Ok(Vec::new()), HostTensor::to_f32)?;
            all.extend(losses.iter().take(labels.len()).map(|loss| -loss));
        }
        self.finite(0, &all)?;
        Ok(all)
    }

    /// Tokens of a text in a pass, at most: passes of several texts are not longer than those of one.
    fn longest(&self) -> usize {
        let share = LONGEST / self.positions.len();
        let fitting = PASSES.into_iter().filter(|&n| n <= share);
        fitting.max().unwrap_or(1)
    }

    /// Checks the tokens of the only text.
    fn check_alone(&self, tokens: &[u32]) -> Result<(), GenerateError> {
        if self.positions.len() != 1 {
            return Err(GenerateError::Texts {
                given: 1,
                expected: self.positions.len(),
            });
        }
        if tokens.is_empty() {
            return Err(GenerateError::EmptyPrompt);
        }
        self.check_room(0, tokens)?;
        self.check_tokens(tokens)
    }

    fn check_room(&self, text: usize, tokens: &[u32]) -> Result<(), GenerateError> {
        let position = self.positions[text];
        if tokens.len() > self.options.context - position {
            return Err(GenerateError::ContextFull {
                position,
                more: tokens.len(),
                context: self.options.context,
            });
        }
        Ok(())
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

    fn finite(&self, text: usize, values: &[f32]) -> Result<(), GenerateError> {
        if values.iter().all(|value| value.is_finite()) {
            return Ok(());
        }
        Err(GenerateError::NotFinite {
            position: self.positions[text],
        })
    }

    /// One submission: up to [`LONGEST`] tokens of each text.
    fn pass(
        &mut self,
        pieces: &[&[u32]],
        labels: &[u32],
        wanted: Wanted,
    ) -> Result<Vec<HostTensor>, GenerateError> {
        if self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            let position = self.positions.iter().copied().max().unwrap_or(0);
            return Err(GenerateError::Stopped { position });
        }
        let longest = pieces.iter().map(|piece| piece.len()).max();
        let n = pass_length(longest.unwrap_or(0));
        let last = self.positions.iter().copied().max();
        self.grow(last.unwrap_or(0) + n)?;
        let plan = match self.plans.entry((n, wanted)) {
            std::collections::btree_map::Entry::Occupied(plan) => plan.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                let recording = recorded(
                    self.llama,
                    &self.cache,
                    (self.positions.len(), n, wanted),
                    self.options.n_candidates,
                )?;
                self.n_dispatches = recording.dispatches().count();
                place.insert(self.engine.prepare(&recording)?)
            }
        };
        let filled = |values: &[&[u32]]| {
            let mut all = Vec::with_capacity(values.len() * n);
            for (text, values) in values.iter().enumerate() {
                all.extend_from_slice(values);
                all.resize((text + 1) * n, 0);
            }
            HostTensor::from_words_u32(vec![all.len()], &all)
        };
        let numbers = |values: &mut dyn Iterator<Item = usize>| {
            let words: Vec<u32> = values.map(|value| value as u32).collect();
            HostTensor::from_words_u32(vec![words.len()], &words)
        };
        let positions = &self.positions;
        let mut inputs = vec![
            filled(pieces)?,
            numbers(&mut positions.iter().copied())?,
            numbers(&mut positions.iter().map(|position| position + n))?,
        ];
        match wanted {
            Wanted::Nothing | Wanted::AllLogits => {}
            Wanted::Candidates | Wanted::Logits => {
                // A text without tokens has no last one; its row is not read.
                let lengths = pieces.iter().map(|piece| piece.len());
                let mut rows = lengths
                    .enumerate()
                    .map(|(text, length)| text * n + length.saturating_sub(1));
                inputs.push(numbers(&mut rows)?);
            }
            Wanted::Losses => inputs.push(filled(&[labels])?),
        }
        let results = plan.run(&inputs)?;
        for (position, piece) in self.positions.iter_mut().zip(pieces) {
            *position += piece.len();
        }
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

/// Tokens of the pass that reads a piece of up to [`LONGEST`].
pub(super) fn pass_length(piece: usize) -> usize {
    let mut passes = PASSES.into_iter();
    passes.find(|&n| n >= piece).unwrap_or(LONGEST)
}

/// Rows of a cache for `wanted` positions out of `context`: a pass may be filled up past the last one.
fn capacity_for(wanted: usize, context: usize) -> usize {
    wanted.min(context.saturating_add(LONGEST))
}

/// A pass over n tokens of each text. Inputs: tokens `[texts n]`, position of the first `[texts]`, positions in the
/// cache afterwards `[texts]`, and for logits the token they follow `[texts]`, for losses the next tokens
/// `[texts n]`.
fn recorded(
    llama: &Llama,
    cache: &KvCache,
    (texts, n, wanted): (usize, usize, Wanted),
    n_candidates: usize,
) -> Result<Recording, GenerateError> {
    let mut recording = Recording::new();
    let vocabulary = llama.config().vocabulary;
    let tokens = Indices::input(&mut recording, "tokens", &[texts * n], vocabulary)?;
    let start = recording.input(DType::U32, &[texts]);
    let length = recording.input(DType::U32, &[texts]);
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
            let row = Indices::input(&mut recording, "row", &[texts], texts * n)?;
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
        Wanted::AllLogits => {
            let hidden = llama.record(&mut recording, given, cache)?;
            let logits = llama.record_logits(&mut recording, &hidden)?;
            recording.download(&logits);
        }
        Wanted::Losses => {
            let labels = Indices::input(&mut recording, "next tokens", &[texts * n], vocabulary)?;
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
