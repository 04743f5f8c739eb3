//! Decoders of the llama family: RMS norm, grouped heads with rotary positions over a cache, SwiGLU, each
//! around a residual (Touvron et al., "LLaMA", 2023; Ainslie et al., "GQA", 2023). Qwen2 adds biases to q, k
//! and v, Qwen3 norms of the heads of q and k, Mistral a window within which a position sees others.
//!
//! ```text
//! x = embedding[tokens]
//! for each layer:
//!     x += out(attention(rotate(q), cache of rotate(k), cache of v))    q, k, v = qkv(norm(x))
//!     x += down(silu(gate) * up)                                        gate, up = gate_up(norm(x))
//! logits = head(norm(x))
//! ```
//!
//! Weights keep the format of their file. Matrices that read the same input and have one format lie below
//! each other and are one product. Everything else is f32.

mod cache;
mod error;
mod export;
mod footprint;
mod source;
mod weights;

use crate::io::hf::{DecoderConfig, DecoderKind};
use crate::kernels::FloatType;
use crate::num::{rotary_frequencies, rotary_table};
use crate::ops::nn::{
    AttentionOptions, HeadOrder, Heads, Indices, Mask, NormKind, NormOptions, RotaryOptions,
    Rotation, append_to_cache, append_to_int8_cache, attention_in_parts, attention_over_int8,
    embedding_of, norm, rotary, swiglu_halves, upload_rotary_table,
};
use crate::ops::{ActivationPath, OpError, Weight, slice};
use crate::record::{Recording, Tensor};

use weights::{Joined, Linear, Loader};

pub use cache::{CacheRows, CacheType, KvCache};
pub use error::LlamaError;
pub use export::save_decoder;
pub use footprint::{Footprint, Use};
pub use source::{GgufWeights, HfWeights, ModelTensor, StoredMatrix, WeightSource};

/// Keys that one part of attention over the cache should at least have, where there are many.
const KEYS_OF_A_PART: usize = 32;

/// Parts beyond which putting them together costs more than it gains.
const MAX_PARTS: usize = 16;

/// A decoder whose weights are on an engine.
#[derive(Debug, Clone)]
pub struct Llama {
    config: DecoderConfig,
    context: usize,
    rotation: Rotation,
    /// `[vocabulary, width]`
    embedding: Weight,
    layers: Vec<Layer>,
    norm: Tensor,
    /// `[vocabulary, width]`; the embedding where the head is tied.
    head: Linear,
    /// f32 `[context, head_dim / 2, 2]`
    angles: Tensor,
    activations: ActivationPath,
    n_bytes: u64,
}

#[derive(Debug, Clone)]
struct Layer {
    attention_norm: Tensor,
    /// `[(heads + 2 kv_heads) head_dim, width]`
    qkv: Joined,
    qkv_bias: Option<Tensor>,
    /// Norms of the heads of q and of k.
    head_norms: Option<[Tensor; 2]>,
    out: Linear,
    ffn_norm: Tensor,
    /// `[2 ffn_width, width]`
    gate_up: Joined,
    down: Linear,
}

/// What a pass is about, all of it on the engine: n tokens of each of some sequences.
#[derive(Debug, Clone, Copy)]
pub struct Tokens<'a> {
    /// The tokens, `[sequences n]`, a sequence's beside each other.
    pub tokens: &'a Indices,
    /// Position of the first of each sequence, u32 `[sequences]`.
    pub start: &'a Tensor,
    /// Positions of each sequence in the cache when all tokens are in it, `start + n`, u32 `[sequences]`.
    pub length: &'a Tensor,
}

impl Llama {
    /// Puts a model's weights on an engine, a layer at a time: `run` runs each recording of uploads, so that the
    /// host never holds a second copy of them all. At most `context` positions will be asked for.
    ///
    /// # Errors
    /// [`LlamaError`] for tensors that are missing or of another shape, and for sizes the kernels have no path
    /// for; whatever `run` says.
    pub fn load<E: From<LlamaError>>(
        source: &dyn WeightSource,
        context: usize,
        mut run: impl FnMut(&Recording) -> Result<(), E>,
    ) -> Result<Self, E> {
        let config = source.config()?;
        let context = context.min(largest_context(&config)).max(1);
        let mut loader = Loader::new(source, &config)?;
        let (embedding, head, norm) = loader.ends()?;
        run(&loader.take())?;
        let mut layers = Vec::new();
        for index in 0..config.n_layers {
            layers.push(loader.layer(index)?);
            run(&loader.take())?;
        }
        let frequencies = rotary_frequencies(config.head_dim, config.rope_base);
        let table = rotary_table(context, &frequencies);
        let mut recording = Recording::new();
        let angles =
            upload_rotary_table(&mut recording, context, &table).map_err(LlamaError::Tensor)?;
        run(&recording)?;
        Ok(Self {
            context,
            rotation: source.rotation(),
            embedding,
            layers,
            norm,
            head,
            angles,
            activations: ActivationPath::Float,
            n_bytes: loader.n_bytes(),
            config,
        })
    }

    /// The same weights, with activations that meet the quantized ones as `path` says.
    #[must_use]
    pub fn with_activations(mut self, path: ActivationPath) -> Self {
        self.activations = path;
        self
    }

    /// Sizes.
    #[must_use]
    pub const fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Positions that can be asked for.
    #[must_use]
    pub const fn context(&self) -> usize {
        self.context
    }

    /// Bytes of all weights on the engine.
    #[must_use]
    pub const fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// An empty cache for so many positions of each of some sequences.
    #[must_use]
    pub fn cache(&self, kind: CacheType, sequences: usize, capacity: usize) -> KvCache {
        let DecoderConfig {
            n_kv_heads,
            head_dim,
            ..
        } = self.config;
        let shape = [sequences, n_kv_heads, capacity, head_dim];
        KvCache::new(kind, self.config.n_layers, shape)
    }

    /// Appends a pass over n tokens of each sequence, whose keys and values go into the cache, and returns the
    /// hidden states after the last norm, f32 `[sequences n, width]`.
    ///
    /// # Errors
    /// [`OpError`] for tensors that do not fit the model.
    pub fn record(
        &self,
        recording: &mut Recording,
        given: Tokens<'_>,
        cache: &KvCache,
    ) -> Result<Tensor, OpError> {
        let mut x = self.record_embedding(recording, given.tokens)?;
        for (layer, rows) in cache.layers().iter().enumerate() {
            x = self.record_layer(recording, layer, (&x, given), rows)?;
        }
        self.record_output_norm(recording, &x)
    }

    /// Appends one layer, from 0: hidden states f32 `[sequences n, width]` to hidden states, with the cache of that
    /// layer.
    ///
    /// # Errors
    /// [`OpError`] for tensors that do not fit the model.
    pub fn record_layer(
        &self,
        recording: &mut Recording,
        layer: usize,
        (x, given): (&Tensor, Tokens<'_>),
        cache: &CacheRows,
    ) -> Result<Tensor, OpError> {
        let layer = &self.layers[layer];
        let x = self.record_attention(recording, layer, (x, given), cache)?;
        self.record_ffn(recording, layer, &x)
    }

    /// Appends the norm before the head.
    ///
    /// # Errors
    /// [`OpError`] for hidden states of another width.
    pub fn record_output_norm(
        &self,
        recording: &mut Recording,
        x: &Tensor,
    ) -> Result<Tensor, OpError> {
        self.record_norm(recording, x, &self.norm)
    }

    /// Appends the logits, f32 `[n, vocabulary]`, of hidden states `[n, width]`.
    ///
    /// # Errors
    /// [`OpError`] for hidden states of another width.
    pub fn record_logits(
        &self,
        recording: &mut Recording,
        hidden: &Tensor,
    ) -> Result<Tensor, OpError> {
        self.head
            .record(recording, hidden, self.activations, (None, None))
    }

    /// Appends the rows of the embedding, f32 `[n, width]`.
    ///
    /// # Errors
    /// [`OpError`] for indices of another number of rows.
    pub fn record_embedding(
        &self,
        recording: &mut Recording,
        tokens: &Indices,
    ) -> Result<Tensor, OpError> {
        embedding_of(recording, &self.embedding, tokens, FloatType::F32)
    }

    /// x plus what its tokens attend to.
    fn record_attention(
        &self,
        recording: &mut Recording,
        layer: &Layer,
        (x, given): (&Tensor, Tokens<'_>),
        cache: &CacheRows,
    ) -> Result<Tensor, OpError> {
        let DecoderConfig {
            n_heads,
            n_kv_heads,
            head_dim,
            ..
        } = self.config;
        let (rows, batch) = (x.shape()[0], given.start.len().max(1));
        if !rows.is_multiple_of(batch) {
            return Err(OpError::Shape {
                op: "attention",
                what: "tokens",
                got: vec![rows],
                expected: format!("as many of each of {batch} sequences"),
            });
        }
        let n = rows / batch;
        let normed = self.record_norm(recording, x, &layer.attention_norm)?;
        let qkv = layer.qkv.record(
            recording,
            &normed,
            self.activations,
            layer.qkv_bias.as_ref(),
        )?;
        let (keys, values) = (n_heads..n_heads + n_kv_heads, n_heads + n_kv_heads);
        let values = values..values + n_kv_heads;
        let all = view(&qkv, &[batch, n, values.end, head_dim]);
        let ((q, of_q), (k, of_k)) = match &layer.head_norms {
            None => ((all.clone(), Some(0..n_heads)), (all.clone(), Some(keys))),
            Some([q_norm, k_norm]) => {
                let mut normed = |heads: std::ops::Range<usize>, gamma| {
                    let columns = heads.start * head_dim..heads.end * head_dim;
                    let part = slice(recording, &qkv, 1, columns)?;
                    let normed = view(&part, &[rows * heads.len(), head_dim]);
                    let normed = self.record_norm(recording, &normed, gamma)?;
                    Ok::<_, OpError>(view(&normed, &[batch, n, heads.len(), head_dim]))
                };
                let q = normed(0..n_heads, q_norm)?;
                ((q, None), (normed(keys, k_norm)?, None))
            }
        };
        let turned = |heads, rotation| RotaryOptions {
            starts: given.start,
            table: &self.angles,
            rotation,
            order: HeadOrder::TokensFirst,
            heads,
            is_backward: false,
            out: FloatType::F32,
        };
        let q = rotary(recording, &q, &turned(of_q, self.rotation))?;
        let options = AttentionOptions {
            order: HeadOrder::TokensFirst,
            kv_order: HeadOrder::HeadsFirst,
            mask: Mask::CausalInCache,
            lengths: Some(given.length.clone()),
            ..AttentionOptions::default()
        };
        let seen = match cache {
            CacheRows::Float { k: key, v: value } => {
                append_to_cache(recording, &k, key, &turned(of_k, self.rotation))?;
                append_to_cache(
                    recording,
                    &all,
                    value,
                    &turned(Some(values), Rotation::None),
                )?;
                let heads = Heads {
                    q: &q,
                    k: key,
                    v: value,
                };
                attention_in_parts(recording, heads, parts(n, key.shape()[2]), &options)?
            }
            CacheRows::Int8 { k: key, v: value } => {
                let k = rotary(recording, &k, &turned(of_k, self.rotation))?;
                let order = HeadOrder::TokensFirst;
                append_to_int8_cache(recording, (&k, order, None), given.start, key)?;
                append_to_int8_cache(recording, (&all, order, Some(values)), given.start, value)?;
                let splits = parts(n, key.codes.shape()[2]);
                attention_over_int8(recording, &q, [key, value], splits, &options)?
            }
        };
        let seen = view(&seen, &[rows, n_heads * head_dim]);
        layer
            .out
            .record(recording, &seen, self.activations, (None, Some(x)))
    }

    /// x plus what the feed-forward part makes of it.
    fn record_ffn(
        &self,
        recording: &mut Recording,
        layer: &Layer,
        x: &Tensor,
    ) -> Result<Tensor, OpError> {
        let normed = self.record_norm(recording, x, &layer.ffn_norm)?;
        let gate_up = layer
            .gate_up
            .record(recording, &normed, self.activations, None)?;
        let gated = swiglu_halves(recording, &gate_up, FloatType::F32)?;
        layer
            .down
            .record(recording, &gated, self.activations, (None, Some(x)))
    }

    fn record_norm(
        &self,
        recording: &mut Recording,
        x: &Tensor,
        gamma: &Tensor,
    ) -> Result<Tensor, OpError> {
        let options = NormOptions {
            kind: NormKind::Rms,
            gamma,
            beta: None,
            epsilon: self.config.rms_epsilon as f32,
            running: None,
            out: FloatType::F32,
        };
        Ok(norm(recording, x, &options)?.y)
    }
}

/// Positions a model can be asked for: where a window is narrower than the context, positions past it would
/// see what they must not.
#[must_use]
pub fn largest_context(config: &DecoderConfig) -> usize {
    config
        .sliding_window
        .map_or(config.context, |window| window.min(config.context))
}

/// Which elements make a pair in the files of llama.cpp, which reorders q and k of the llama family only.
const fn gguf_rotation(kind: DecoderKind) -> Rotation {
    match kind {
        DecoderKind::Llama | DecoderKind::Mistral => Rotation::Neighbours,
        DecoderKind::Qwen2 | DecoderKind::Qwen3 => Rotation::Halves,
    }
}

/// Into how many parts keys are cut. Many queries fill an adapter by themselves.
fn parts(queries: usize, capacity: usize) -> u32 {
    if queries > 1 {
        return 1;
    }
    capacity.div_ceil(KEYS_OF_A_PART).clamp(1, MAX_PARTS) as u32
}

/// The same memory in another shape of as many elements.
fn view(x: &Tensor, shape: &[usize]) -> Tensor {
    Tensor::of_buffer(x.buffer().clone(), x.dtype(), shape)
}
