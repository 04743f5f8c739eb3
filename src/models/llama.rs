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

mod block;
mod cache;
mod error;
mod export;
mod footprint;
mod source;
mod to_gguf;
mod weights;

use crate::io::hf::{DecoderConfig, DecoderKind};
use crate::kernels::FloatType;
use crate::ops::nn::{Indices, Rotation, embedding_of};
use crate::ops::{ActivationPath, OpError, Weight};
use crate::record::{Recording, Tensor};

use block::{Frame, Layer};
use weights::{Linear, Loader, Rows};

pub use block::{LlamaBlock, LlamaEmbedding, LlamaHead, Pass};
pub use cache::{CacheRows, CacheType, KvCache};
pub use error::LlamaError;
pub use export::{decoder_config, save_decoder};
pub use footprint::{Footprint, Use, n_parameters};
pub use source::{GgufWeights, HfWeights, ModelTensor, StoredMatrix, WeightSource};
pub use to_gguf::GgufExport;
pub(crate) use to_gguf::{halves_of_neighbours, neighbours_of_halves};

/// A decoder whose weights are on an engine.
#[derive(Debug, Clone)]
pub struct Llama {
    frame: Frame,
    context: usize,
    /// `[vocabulary, width]`
    embedding: Weight,
    layers: Vec<Layer>,
    norm: Tensor,
    /// `[vocabulary, width]`; the embedding where the head is tied.
    head: Linear,
    n_bytes: u64,
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
        let n_bytes = loader.n_bytes();
        let mut recording = Recording::new();
        let frame = Frame::new(&mut recording, config, (context, source))?;
        run(&recording)?;
        Ok(Self {
            frame,
            context,
            embedding,
            layers,
            norm,
            head,
            n_bytes,
        })
    }

    /// The same weights, with activations that meet the quantized ones as `path` says.
    #[must_use]
    pub fn with_activations(mut self, path: ActivationPath) -> Self {
        self.frame.activations = path;
        self
    }

    /// Whether any matrix of a layer is quantized, so that activations of int8 can meet it.
    #[must_use]
    pub fn is_quantized(&self) -> bool {
        let mut layers = self.layers.iter();
        layers.any(|layer| {
            layer.qkv.is_quantized()
                || layer.gate_up.is_quantized()
                || layer.out.is_quantized()
                || layer.down.is_quantized()
        })
    }

    /// Sizes.
    #[must_use]
    pub const fn config(&self) -> &DecoderConfig {
        &self.frame.config
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
        } = self.frame.config;
        let shape = [sequences, n_kv_heads, capacity, head_dim];
        KvCache::new(kind, self.frame.config.n_layers, shape)
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
        let pass = self
            .frame
            .record(recording, layer, (x, given.start, given.length), cache)?;
        Ok(pass.output)
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
        self.frame.record_norm(recording, x, &self.norm)
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
        let hidden = Rows::Float(hidden.clone());
        self.head
            .record(recording, &hidden, self.frame.activations, (None, None))
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
