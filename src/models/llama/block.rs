//! One layer of a decoder: attention over its cache and the feed-forward part, each around a residual.

use crate::io::hf::DecoderConfig;
use crate::kernels::FloatType;
use crate::num::{rotary_frequencies, rotary_table};
use crate::ops::nn::{
    AttentionOptions, HeadOrder, Heads, Indices, Mask, NormKind, NormOptions, RotaryOptions,
    Rotation, append_to_cache, append_to_int8_cache, attention_codes, attention_codes_over_int8,
    attention_in_parts, attention_over_int8, embedding_of, norm, rotary, swiglu_halves,
    upload_rotary_table,
};
use crate::ops::{ActivationPath, CODED_BLOCK, OpError, Weight, norm_codes, slice, swiglu_codes};
use crate::record::{Recording, Tensor};

use super::weights::{Joined, Linear, Loader, Rows};
use super::{CacheRows, CacheType, KvCache, LlamaError, WeightSource, largest_context};

/// Keys that one part of attention over the cache should at least have, where there are many.
const KEYS_OF_A_PART: usize = 32;

/// Parts beyond which putting them together costs more than it gains.
const MAX_PARTS: usize = 16;

/// What all layers share.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) config: DecoderConfig,
    rotation: Rotation,
    /// f32 `[context, head_dim / 2, 2]`
    angles: Tensor,
    pub(super) activations: ActivationPath,
}

/// The weights of a layer.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) attention_norm: Tensor,
    /// `[(heads + 2 kv_heads) head_dim, width]`
    pub(super) qkv: Joined,
    pub(super) qkv_bias: Option<Tensor>,
    /// Norms of the heads of q and of k.
    pub(super) head_norms: Option<[Tensor; 2]>,
    pub(super) out: Linear,
    pub(super) ffn_norm: Tensor,
    /// `[2 ffn_width, width]`
    pub(super) gate_up: Joined,
    pub(super) down: Linear,
}

/// What the linear weights of a layer read, and what the layer gives: f32, a row a token.
#[derive(Debug, Clone)]
pub struct Pass {
    /// Of q, k and v: `[m, width]`
    pub attention_input: Tensor,
    /// Of what mixes the heads: `[m, heads head_dim]`
    pub heads: Tensor,
    /// Of gate and up: `[m, width]`
    pub ffn_input: Tensor,
    /// Of down: `[m, ffn_width]`
    pub gated: Tensor,
    /// Hidden states: `[m, width]`
    pub output: Tensor,
}

/// The same, where what the weights read may be codes.
#[derive(Debug, Clone)]
pub(super) struct Made {
    attention_input: Rows,
    heads: Rows,
    ffn_input: Rows,
    gated: Rows,
    pub(super) output: Tensor,
}

/// One layer on an engine, without the rest of its decoder.
#[derive(Debug, Clone)]
pub struct LlamaBlock {
    frame: Frame,
    layer: Layer,
}

impl LlamaBlock {
    /// Puts a layer, from 0, on an engine: `run` runs the recording of uploads. At most `context` positions will be
    /// asked for.
    ///
    /// # Errors
    /// [`LlamaError`] for tensors that are missing or of another shape, and for sizes the kernels have no path for;
    /// whatever `run` says.
    pub fn load<E: From<LlamaError>>(
        source: &dyn WeightSource,
        (index, context): (usize, usize),
        run: impl FnOnce(&Recording) -> Result<(), E>,
    ) -> Result<Self, E> {
        let config = source.config()?;
        let context = context.min(largest_context(&config)).max(1);
        let mut loader = Loader::new(source, &config)?;
        let layer = loader.layer(index)?;
        let mut recording = loader.take();
        let frame = Frame::new(&mut recording, config, (context, source))?;
        run(&recording)?;
        Ok(Self { frame, layer })
    }

    /// Appends the layer over whole texts from their first tokens on: hidden states f32 `[sequences n, width]`. `start`
    /// and `length` are those of [`super::Tokens`].
    ///
    /// # Errors
    /// [`OpError`] for tensors that do not fit the model.
    pub fn record(
        &self,
        recording: &mut Recording,
        x: &Tensor,
        (start, length): (&Tensor, &Tensor),
    ) -> Result<Pass, OpError> {
        let sequences = start.len().max(1);
        let capacity = x.shape()[0] / sequences;
        let config = &self.frame.config;
        let shape = [sequences, config.n_kv_heads, capacity, config.head_dim];
        let cache = KvCache::new(CacheType::F32, 1, shape);
        cache.clear(recording)?;
        let rows = &cache.layers()[0];
        let made = self
            .frame
            .record(recording, &self.layer, (x, start, length), rows)?;
        Ok(Pass {
            attention_input: made.attention_input.float()?,
            heads: made.heads.float()?,
            ffn_input: made.ffn_input.float()?,
            gated: made.gated.float()?,
            output: made.output,
        })
    }
}

/// The embedding of a decoder on an engine, without the rest of it.
#[derive(Debug, Clone)]
pub struct LlamaEmbedding {
    /// `[vocabulary, width]`
    weight: Weight,
}

impl LlamaEmbedding {
    /// Puts it on an engine: `run` runs the recording of its upload.
    ///
    /// # Errors
    /// [`LlamaError`] for a tensor that is missing or of another shape; whatever `run` says.
    pub fn load<E: From<LlamaError>>(
        source: &dyn WeightSource,
        run: impl FnOnce(&Recording) -> Result<(), E>,
    ) -> Result<Self, E> {
        let config = source.config()?;
        let mut loader = Loader::new(source, &config)?;
        let weight = loader.embedding()?;
        run(&loader.take())?;
        Ok(Self { weight })
    }

    /// Appends the rows of tokens, f32 `[n, width]`.
    ///
    /// # Errors
    /// [`OpError`] for indices of another number of rows.
    pub fn record(&self, recording: &mut Recording, tokens: &Indices) -> Result<Tensor, OpError> {
        embedding_of(recording, &self.weight, tokens, FloatType::F32)
    }
}

/// The last norm and the head of a decoder on an engine, without the rest of it.
#[derive(Debug, Clone)]
pub struct LlamaHead {
    frame: Frame,
    norm: Tensor,
    /// `[vocabulary, width]`
    head: Linear,
}

impl LlamaHead {
    /// Puts both on an engine: `run` runs the recording of their upload.
    ///
    /// # Errors
    /// [`LlamaError`] for a tensor that is missing or of another shape; whatever `run` says.
    pub fn load<E: From<LlamaError>>(
        source: &dyn WeightSource,
        run: impl FnOnce(&Recording) -> Result<(), E>,
    ) -> Result<Self, E> {
        let config = source.config()?;
        let mut loader = Loader::new(source, &config)?;
        let (head, norm) = loader.head()?;
        let mut recording = loader.take();
        let frame = Frame::new(&mut recording, config, (1, source))?;
        run(&recording)?;
        Ok(Self { frame, norm, head })
    }

    /// Appends the logits, f32 `[n, vocabulary]`, of hidden states behind the last layer, f32 `[n, width]`.
    ///
    /// # Errors
    /// [`OpError`] for hidden states of another width.
    pub fn record(&self, recording: &mut Recording, x: &Tensor) -> Result<Tensor, OpError> {
        let x = Rows::Float(self.frame.record_norm(recording, x, &self.norm)?);
        self.head
            .record(recording, &x, self.frame.activations, (None, None))
    }
}

impl Frame {
    /// Records the upload of its table of angles.
    pub(super) fn new(
        recording: &mut Recording,
        config: DecoderConfig,
        (context, source): (usize, &dyn WeightSource),
    ) -> Result<Self, LlamaError> {
        let mut frequencies = rotary_frequencies(config.head_dim, config.rope_base);
        for frequency in &mut frequencies {
            *frequency = config.rope_scaling.scaled(*frequency);
        }
        if let Some(factors) = source.rotary_factors()? {
            for (frequency, factor) in frequencies.iter_mut().zip(factors) {
                *frequency /= f64::from(factor);
            }
        }
        let table = rotary_table(context, &frequencies);
        let angles = upload_rotary_table(recording, context, &table).map_err(LlamaError::Tensor)?;
        Ok(Self {
            rotation: source.rotation(),
            angles,
            activations: ActivationPath::Float,
            config,
        })
    }

    /// What layers read and give, from hidden states f32 `[sequences n, width]`, with the cache of that layer.
    pub(super) fn record(
        &self,
        recording: &mut Recording,
        layer: &Layer,
        (x, start, length): (&Tensor, &Tensor, &Tensor),
        cache: &CacheRows,
    ) -> Result<Made, OpError> {
        let (attention_input, heads) =
            self.record_attention(recording, layer, (x, start, length), cache)?;
        let residual = (None, Some(x));
        let x = layer
            .out
            .record(recording, &heads, self.activations, residual)?;
        let segment = layer.gate_up.segment(self.activations);
        let ffn_input = self.record_norm_for(recording, &x, &layer.ffn_norm, segment)?;
        let gate_up = layer
            .gate_up
            .record(recording, &ffn_input, self.activations, None)?;
        let gated = match layer.down.segment(self.activations) {
            Some(segment) => Rows::Codes(swiglu_codes(recording, &gate_up, segment)?),
            None => Rows::Float(swiglu_halves(recording, &gate_up, FloatType::F32)?),
        };
        let output = layer
            .down
            .record(recording, &gated, self.activations, (None, Some(&x)))?;
        Ok(Made {
            attention_input,
            heads,
            ffn_input,
            gated,
            output,
        })
    }

    /// What q, k and v read, and what the tokens attend to, head by head.
    fn record_attention(
        &self,
        recording: &mut Recording,
        layer: &Layer,
        (x, start, length): (&Tensor, &Tensor, &Tensor),
        cache: &CacheRows,
    ) -> Result<(Rows, Rows), OpError> {
        let DecoderConfig {
            n_heads,
            n_kv_heads,
            head_dim,
            ..
        } = self.config;
        let (rows, batch) = (x.shape()[0], start.len().max(1));
        if !rows.is_multiple_of(batch) {
            return Err(OpError::Shape {
                op: "attention",
                what: "tokens",
                got: vec![rows],
                expected: format!("as many of each of {batch} sequences"),
            });
        }
        let n = rows / batch;
        let segment = layer.qkv.segment(self.activations);
        let normed = self.record_norm_for(recording, x, &layer.attention_norm, segment)?;
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
            starts: start,
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
            lengths: Some(length.clone()),
            ..AttentionOptions::default()
        };
        let coded = layer.out.segment(self.activations);
        let coded = coded.filter(|_| head_dim.is_multiple_of(CODED_BLOCK as usize));
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
                let splits = parts(n, key.shape()[2]);
                match coded.filter(|_| splits > 1) {
                    Some(segment) => {
                        let coded = (splits, segment);
                        Rows::Codes(attention_codes(recording, heads, coded, &options)?)
                    }
                    None => Rows::Float(attention_in_parts(recording, heads, splits, &options)?),
                }
            }
            CacheRows::Int8 { k: key, v: value } => {
                let k = rotary(recording, &k, &turned(of_k, self.rotation))?;
                let order = HeadOrder::TokensFirst;
                append_to_int8_cache(recording, (&k, order, None), start, key)?;
                append_to_int8_cache(recording, (&all, order, Some(values)), start, value)?;
                let splits = parts(n, key.codes.shape()[2]);
                let caches = [key, value];
                match coded.filter(|_| splits > 1) {
                    Some(segment) => {
                        let coded = (splits, segment);
                        let seen =
                            attention_codes_over_int8(recording, &q, caches, coded, &options)?;
                        Rows::Codes(seen)
                    }
                    None => Rows::Float(attention_over_int8(
                        recording, &q, caches, splits, &options,
                    )?),
                }
            }
        };
        let seen = match seen {
            Rows::Float(seen) => Rows::Float(view(&seen, &[rows, n_heads * head_dim])),
            codes @ Rows::Codes(_) => codes,
        };
        Ok((normed, seen))
    }

    /// The norm as the products behind it take it: codes with a sum of every `segment`, or rows.
    pub(super) fn record_norm_for(
        &self,
        recording: &mut Recording,
        x: &Tensor,
        gamma: &Tensor,
        segment: Option<u32>,
    ) -> Result<Rows, OpError> {
        let Some(segment) = segment else {
            return Ok(Rows::Float(self.record_norm(recording, x, gamma)?));
        };
        let epsilon = self.config.rms_epsilon as f32;
        let codes = norm_codes(recording, x, (gamma, epsilon), segment)?;
        Ok(Rows::Codes(codes))
    }

    pub(super) fn record_norm(
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

/// Into how many parts keys are cut. Many queries fill an adapter by themselves.
fn parts(queries: usize, capacity: usize) -> u32 {
    if queries > 1 {
        return 1;
    }
    capacity.div_ceil(KEYS_OF_A_PART).clamp(1, MAX_PARTS) as u32
}

/// The same memory in another shape of as many elements.
pub(super) fn view(x: &Tensor, shape: &[usize]) -> Tensor {
    Tensor::of_buffer(x.buffer().clone(), x.dtype(), shape)
}
