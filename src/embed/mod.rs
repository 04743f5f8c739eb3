//! Sentences to vectors, with an encoder from a folder of Hugging Face's.
//!
//! Sentences are grouped by length: each group is padded to the next power of two and runs as one prepared plan, so
//! that short sentences do not pay for long ones and a plan is made once for each shape. Vectors come back in the
//! order of the sentences; a sentence's vector does not depend on what shares its batch.

mod error;
mod verify;

use std::collections::BTreeMap;
use std::path::Path;

use crate::engine::{Engine, Plan};
use crate::io::hf::{EncoderConfig, HfFolder, ModelConfig, QuantizationConfig, Shards};
use crate::models::{Bert, Sequences};
use crate::ops::nn::Indices;
use crate::record::Recording;
use crate::tensor::{DType, HostTensor};
use crate::text::Tokenizer;

pub use error::EmbedError;
pub use verify::{PartReport, verify};

/// Tokens that sentence encoders are trained on, where a folder does not say; longer sentences are cut.
pub const MAX_TOKENS: usize = 256;

/// Shortest padded length.
const LEAST_TOKENS: usize = 8;

/// Tokens of a batch, padding included, unless one sentence is longer.
const BATCH_TOKENS: usize = 1024;

/// An encoder in a folder.
#[derive(Debug)]
pub struct EncoderFolder {
    /// Sizes.
    pub config: EncoderConfig,
    /// Tokens of its vocabulary.
    pub tokenizer: Tokenizer,
    /// Its weights, not yet read.
    pub weights: Shards,
    /// How its linear layers are quantized, if they are.
    pub quantization: Option<QuantizationConfig>,
    /// Tokens that a sentence should have at most, by the folder or else [`MAX_TOKENS`].
    pub max_tokens: usize,
}

impl EncoderFolder {
    /// Opens `config.json`, `tokenizer.json`, the weights, and what says how sentences become vectors.
    ///
    /// # Errors
    /// [`EmbedError`]: a file that is missing or damaged, a model that is no encoder or makes vectors otherwise than
    /// by a mean over tokens, a tokenizer with more tokens than the model has embeddings.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, EmbedError> {
        let files = HfFolder::new(&folder);
        let config = match files.config()? {
            ModelConfig::Encoder(config) => config,
            ModelConfig::Decoder(config) => {
                return Err(EmbedError::NotEncoder {
                    folder: folder.as_ref().to_owned(),
                    kind: config.kind,
                });
            }
        };
        let tokenizer = Tokenizer::open(files.tokenizer_path())?;
        if tokenizer.n_ids() > config.vocabulary {
            return Err(EmbedError::Vocabulary {
                folder: folder.as_ref().to_owned(),
                tokens: tokenizer.n_ids(),
                embeddings: config.vocabulary,
            });
        }
        let weights = files.weights()?;
        let max_tokens = files.sentences()?.max_tokens;
        Ok(Self {
            config,
            tokenizer,
            weights,
            quantization: files.quantization()?,
            max_tokens: max_tokens.unwrap_or(MAX_TOKENS),
        })
    }

    /// Uploads the weights: quantized ones in their codes, all others as f32.
    ///
    /// # Errors
    /// [`EmbedError`]: tensors that are missing or of another shape, and what the engine says.
    pub fn upload(&self, engine: &dyn Engine) -> Result<Bert, EmbedError> {
        let mut recording = Recording::new();
        let bert = Bert::upload(
            &mut recording,
            &self.config,
            (&self.weights, self.quantization.as_ref()),
        )?;
        engine.run(&recording)?;
        Ok(bert)
    }

    /// The most tokens that a sentence may have: what was asked for, else what the folder says, as far as the model
    /// has positions.
    pub fn limit(&self, wanted: Option<usize>) -> usize {
        wanted.unwrap_or(self.max_tokens).min(self.config.context)
    }
}

/// A sentence as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// At most as many as asked for, the ends that the model wants included.
    pub tokens: Vec<u32>,
    /// Tokens that did not fit.
    pub cut: usize,
}

impl Sentence {
    /// The tokens of a text; of one that is too long the first and the end token.
    ///
    /// # Errors
    /// [`EmbedError::MaxTokens`] for fewer than the two ends, [`EmbedError::Text`].
    pub fn new(tokenizer: &Tokenizer, text: &str, max_tokens: usize) -> Result<Self, EmbedError> {
        if max_tokens < 2 {
            return Err(EmbedError::MaxTokens { given: max_tokens });
        }
        let mut tokens = tokenizer.encode(text, true)?;
        let cut = tokens.len().saturating_sub(max_tokens);
        if cut > 0 {
            tokens.drain(max_tokens - 1..tokens.len() - 1);
        }
        Ok(Self { tokens, cut })
    }
}

/// An encoder, and the plans it was run with.
pub struct Embedder<'a> {
    engine: &'a dyn Engine,
    bert: Bert,
    /// By batch and tokens.
    plans: BTreeMap<[usize; 2], Box<dyn Plan>>,
}

impl std::fmt::Debug for Embedder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedder")
            .field("bert", &self.bert)
            .field("plans", &self.plans.len())
            .finish_non_exhaustive()
    }
}

impl<'a> Embedder<'a> {
    /// An encoder on the engine that holds its weights.
    pub const fn new(engine: &'a dyn Engine, bert: Bert) -> Self {
        Self {
            engine,
            bert,
            plans: BTreeMap::new(),
        }
    }

    /// The encoder.
    pub const fn bert(&self) -> &Bert {
        &self.bert
    }

    /// Unit vectors `[sentences, width]` of token sequences. `watch` hears how many are done and says whether to go
    /// on.
    ///
    /// # Errors
    /// [`EmbedError`]: a sentence without tokens or with more than the model has positions, a token outside the
    /// vocabulary, [`EmbedError::NotFinite`], [`EmbedError::Stopped`], and what the engine says.
    pub fn embed(
        &mut self,
        sentences: &[Vec<u32>],
        watch: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Vec<f32>, EmbedError> {
        let width = self.bert.config().width;
        let mut vectors = vec![0.0; sentences.len() * width];
        let mut done = 0;
        for batch in batches(sentences, self.bert.config().context)? {
            let made = self.run(sentences, &batch)?;
            for (&sentence, vector) in batch.sentences.iter().zip(made.chunks_exact(width)) {
                vectors[sentence * width..][..width].copy_from_slice(vector);
            }
            done += batch.sentences.len();
            if !watch(done) {
                let of = sentences.len();
                return Err(EmbedError::Stopped { done, of });
            }
        }
        Ok(vectors)
    }

    fn run(&mut self, sentences: &[Vec<u32>], batch: &Batch) -> Result<Vec<f32>, EmbedError> {
        let shape = [batch.rows, batch.tokens];
        let vocabulary = self.bert.config().vocabulary;
        let padded = batch.padded(sentences);
        check_tokens(sentences, batch, vocabulary)?;
        if !self.plans.contains_key(&shape) {
            let plan = self.prepare(shape)?;
            self.plans.insert(shape, plan);
        }
        let inputs = [
            HostTensor::from_words_u32(shape.to_vec(), &padded.tokens)?,
            HostTensor::from_words_u32(vec![batch.rows], &padded.lengths)?,
        ];
        let made = self.plans[&shape].run(&inputs)?;
        let vectors = made[0].to_f32()?;
        let width = self.bert.config().width;
        for (&sentence, vector) in batch.sentences.iter().zip(vectors.chunks_exact(width)) {
            if vector.iter().any(|value| !value.is_finite()) {
                return Err(EmbedError::NotFinite { sentence });
            }
        }
        Ok(vectors)
    }

    fn prepare(&self, [rows, tokens]: [usize; 2]) -> Result<Box<dyn Plan>, EmbedError> {
        let mut recording = Recording::new();
        let vocabulary = self.bert.config().vocabulary;
        let sequences = Sequences {
            tokens: Indices::input(&mut recording, "tokens", &[rows, tokens], vocabulary)?,
            lengths: recording.input(DType::U32, &[rows]),
        };
        let vectors = self.bert.record(&mut recording, &sequences)?;
        recording.download(&vectors);
        Ok(self.engine.prepare(&recording)?)
    }
}

/// Sentences that run together.
#[derive(Debug, PartialEq, Eq)]
struct Batch {
    /// Which, at most as many as there are rows.
    sentences: Vec<usize>,
    /// Sequences of the plan; those left over have one token.
    rows: usize,
    /// Padded length.
    tokens: usize,
}

/// What a plan takes.
struct Padded {
    tokens: Vec<u32>,
    lengths: Vec<u32>,
}

impl Batch {
    fn padded(&self, sentences: &[Vec<u32>]) -> Padded {
        let mut tokens = vec![0; self.rows * self.tokens];
        let mut lengths = vec![1; self.rows];
        for (row, &index) in self.sentences.iter().enumerate() {
            let sentence = &sentences[index];
            tokens[row * self.tokens..][..sentence.len()].copy_from_slice(sentence);
            lengths[row] = sentence.len() as u32;
        }
        Padded { tokens, lengths }
    }
}

/// Groups sentences by padded length, shortest first, each group in order.
fn batches(sentences: &[Vec<u32>], context: usize) -> Result<Vec<Batch>, EmbedError> {
    let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (sentence, tokens) in sentences.iter().enumerate() {
        if tokens.is_empty() || tokens.len() > context {
            return Err(EmbedError::Length {
                sentence,
                tokens: tokens.len(),
                context,
            });
        }
        let padded = tokens.len().next_power_of_two().max(LEAST_TOKENS);
        by_length
            .entry(padded.min(context))
            .or_default()
            .push(sentence);
    }
    let mut batches = Vec::new();
    for (tokens, members) in by_length {
        for sentences in members.chunks((BATCH_TOKENS / tokens).max(1)) {
            batches.push(Batch {
                rows: sentences.len().next_power_of_two(),
                sentences: sentences.to_vec(),
                tokens,
            });
        }
    }
    Ok(batches)
}

fn check_tokens(
    sentences: &[Vec<u32>],
    batch: &Batch,
    vocabulary: usize,
) -> Result<(), EmbedError> {
    for &sentence in &batch.sentences {
        let wrong = |&token: &u32| token as usize >= vocabulary;
        if let Some(at) = sentences[sentence].iter().position(wrong) {
            return Err(EmbedError::Token {
                sentence,
                at,
                token: sentences[sentence][at],
                vocabulary,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_grouped_by_length_and_none_is_lost() {
        let lengths = [3, 9, 8, 100, 16, 1, 40];
        let sentences: Vec<Vec<u32>> = lengths.iter().map(|&length| vec![1; length]).collect();
        let made = batches(&sentences, 100).unwrap();
        let shapes: Vec<_> = made
            .iter()
            .map(|batch| (batch.tokens, batch.rows, batch.sentences.clone()))
            .collect();
        assert_eq!(
            shapes,
            [
                (8, 4, vec![0, 2, 5]),
                (16, 2, vec![1, 4]),
                (64, 1, vec![6]),
                (100, 1, vec![3])
            ]
        );
        let padded = made[1].padded(&sentences);
        assert_eq!(padded.lengths, [9, 16]);
        assert_eq!(padded.tokens.iter().sum::<u32>(), 25);
    }

    #[test]
    fn many_sentences_are_cut_into_batches_of_as_many_tokens() {
        let sentences = vec![vec![1; 30]; 70];
        let rows: Vec<_> = batches(&sentences, 512).unwrap();
        let rows: Vec<_> = rows
            .iter()
            .map(|one| (one.rows, one.sentences.len()))
            .collect();
        assert_eq!(rows, [(32, 32), (32, 32), (8, 6)]);
    }

    #[test]
    fn sentences_without_tokens_or_with_too_many_are_refused_by_number() {
        let said = |sentences: &[Vec<u32>]| batches(sentences, 4).unwrap_err().to_string();
        assert_eq!(
            said(&[vec![1], vec![]]),
            "sentence 1 has 0 tokens; allowed: 1 to 4"
        );
        assert_eq!(
            said(&[vec![0; 5]]),
            "sentence 0 has 5 tokens; allowed: 1 to 4"
        );
    }
}
