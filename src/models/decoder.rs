//! Decoders of the llama family small enough to be trained: layers of a [`Sequential`] that take windows of
//! tokens and give logits for the token behind each.
//!
//! ```text
//! x = embedding[tokens]
//! for each block:
//!     x += out(attention(rotate(q), rotate(k), v))    q, k, v of norm(x); nobody sees what comes later
//!     x += down(silu(gate) * up)                      gate, up of norm(x)
//! logits = head(norm(x))
//! ```
//!
//! It is what [`Llama`](super::Llama) runs, with weights that have gradients and without a cache.

use serde::{Deserialize, Serialize};

use crate::autograd::Var;
use crate::num::{rotary_frequencies, rotary_table};
use crate::ops::OpError;
use crate::ops::nn::{
    AttentionOptions, HeadOrder, Mask, NormKind, RotaryOptions, Rotation, upload_rotary_table,
};
use crate::tensor::HostTensor;

use super::layer::Place;
use super::{First, Initial, Layer, ModelError, Pass, Role, Sequential, TensorSpec};

/// Added to the mean of squares before its root.
const EPSILON: f32 = 1e-5;

/// Deviation of the embedding's first values, uniform.
const EMBEDDING_DEVIATION: f64 = 0.02;

/// Sizes of a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecoderSizes {
    /// Blocks of attention and feed-forward part.
    pub blocks: usize,
    /// Extent of what flows through them.
    pub width: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values: a divisor of `heads`.
    pub kv_heads: usize,
    /// Extent between the matrices of a feed-forward part.
    pub hidden: usize,
}

impl Default for DecoderSizes {
    /// Four blocks of width 128, for minutes on two cores.
    fn default() -> Self {
        Self {
            blocks: 4,
            width: 128,
            heads: 4,
            kv_heads: 2,
            hidden: 352,
        }
    }
}

/// Attention of a token over itself and those before it, around a residual: its heads and their positions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfAttention {
    /// Heads of queries; each has width / heads elements, an even number.
    pub heads: usize,
    /// Heads of keys and values: a divisor of `heads`.
    pub kv_heads: usize,
    /// Base of the rotary frequencies.
    pub rope_base: f64,
    /// Added to the mean of squares in the norm before it.
    pub epsilon: f32,
}

/// A decoder for windows of `length` tokens of `vocabulary`: tensors `0.weight` for the embedding, then two layers a
/// block, the last norm and the head.
///
/// # Errors
/// [`ModelError`] for sizes that do not go together.
pub fn decoder(
    length: usize,
    vocabulary: usize,
    sizes: DecoderSizes,
) -> Result<Sequential, ModelError> {
    let DecoderSizes {
        blocks,
        width,
        heads,
        kv_heads,
        hidden,
    } = sizes;
    let mut layers = Vec::new();
    // Two a block, and those before and behind them.
    let reserved = layers.try_reserve(blocks.saturating_mul(2).saturating_add(3));
    reserved.map_err(|_| ModelError::TooLarge {
        what: "a decoder of so many blocks:".to_owned(),
        extents: vec![blocks],
    })?;
    layers.push(Layer::Embedding { vocabulary, width });
    for _ in 0..blocks {
        layers.push(Layer::SelfAttention(SelfAttention {
            heads,
            kv_heads,
            rope_base: 10_000.0,
            epsilon: EPSILON,
        }));
        layers.push(Layer::GatedFeedForward {
            hidden,
            epsilon: EPSILON,
        });
    }
    layers.push(Layer::RmsNorm { epsilon: EPSILON });
    layers.push(Layer::Linear {
        outputs: vocabulary,
        has_bias: false,
    });
    let description = format!("decoder {blocks}-{width}-{heads}-{kv_heads}-{hidden} {vocabulary}");
    Sequential::new(description, &[length], layers)
}

impl DecoderSizes {
    /// Sizes as a decoder's description has them: blocks, width, heads, heads of keys and values, hidden extent.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let sizes: Result<Vec<usize>, _> = text.split('-').map(str::parse).collect();
        let [blocks, width, heads, kv_heads, hidden] = sizes.ok()?[..] else {
            return None;
        };
        Some(Self {
            blocks,
            width,
            heads,
            kv_heads,
            hidden,
        })
    }
}

impl SelfAttention {
    /// What is wrong with these heads for a width: a name, its value and what is allowed.
    pub(super) fn fault(&self, width: usize) -> Option<(&'static str, f64, &'static str)> {
        let Self {
            heads,
            kv_heads,
            rope_base,
            epsilon,
        } = *self;
        if heads == 0 || !width.is_multiple_of(heads) || !(width / heads).is_multiple_of(2) {
            let allowed = "a divisor of the width that leaves an even number to each head";
            return Some(("heads", heads as f64, allowed));
        }
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            let allowed = "a divisor of the heads of queries";
            return Some(("heads of keys and values", kv_heads as f64, allowed));
        }
        if !(rope_base > 1.0 && rope_base.is_finite()) {
            return Some(("base of frequencies", rope_base, "more than 1, finite"));
        }
        positive_fault(epsilon)
    }

    /// Its norm, then q, k, v and out.
    pub(super) fn tensors(&self, place: Place<'_>, initial: Initial) -> Vec<TensorSpec> {
        let width = last(place.input);
        let kv_width = width / self.heads * self.kv_heads;
        let mut made = vec![norm(place.index, "norm", width)];
        for (part, outputs) in [
            ("q", width),
            ("k", kv_width),
            ("v", kv_width),
            ("out", width),
        ] {
            made.push(matrix(place.index, part, [outputs, width], initial));
        }
        made
    }

    /// Multiply-adds of a window.
    pub(super) fn multiply_adds(&self, input: &[usize]) -> u64 {
        let (length, width) = (input[0] as u64, last(input) as u64);
        let kv_width = width / self.heads as u64 * self.kv_heads as u64;
        let products = length * width * (2 * width + 2 * kv_width);
        // Each token with itself and those before it, for weights and for values.
        products + length * (length + 1) / 2 * 2 * width
    }

    /// Appends it; x is `[batch, length, width]`.
    pub(super) fn record(
        &self,
        pass: &mut Pass<'_>,
        x: Var,
        (place, first): (Place<'_>, usize),
    ) -> Result<Var, OpError> {
        let (length, width) = (place.input[0], last(place.input));
        let head = width / self.heads;
        let rows = as_rows(pass, x, width)?;
        let normed = rms_norm(pass, rows, first, self.epsilon)?;
        let n = pass.tape().value(rows).shape()[0];
        let batch = n / length;
        let mut project = |index: usize, heads: usize| {
            let y = pass.linear(normed, first + index, false)?;
            pass.tape().reshape(y, &[batch, length, heads, head])
        };
        let (q, k, v) = (
            project(1, self.heads)?,
            project(2, self.kv_heads)?,
            project(3, self.kv_heads)?,
        );
        let table = rotary_table(length, &rotary_frequencies(head, self.rope_base));
        let starts = HostTensor::from_words_u32(vec![batch], &vec![0; batch])?;
        let recording = pass.tape().recording();
        let table = upload_rotary_table(recording, length, &table)?;
        let starts = recording.upload(&starts);
        let mut turn = |x| {
            let options = RotaryOptions {
                starts: &starts,
                table: &table,
                rotation: Rotation::Halves,
                order: HeadOrder::TokensFirst,
                heads: None,
                is_backward: false,
                out: crate::kernels::FloatType::F32,
            };
            pass.tape().rotary(x, &options)
        };
        let (q, k) = (turn(q)?, turn(k)?);
        let options = AttentionOptions {
            order: HeadOrder::TokensFirst,
            kv_order: HeadOrder::TokensFirst,
            mask: Mask::Causal,
            ..AttentionOptions::default()
        };
        let seen = pass.tape().attention([q, k, v], &options)?;
        let seen = pass.tape().reshape(seen, &[n, width])?;
        let y = pass.linear(seen, first + 4, false)?;
        let sum = pass.tape().add(rows, y)?;
        pass.tape().reshape(sum, &[batch, length, width])
    }
}

/// Tensors of the feed-forward part: its norm, then gate, up and down.
pub(super) fn feed_forward_tensors(
    place: Place<'_>,
    hidden: usize,
    initial: Initial,
) -> Vec<TensorSpec> {
    let width = last(place.input);
    vec![
        norm(place.index, "norm", width),
        matrix(place.index, "gate", [hidden, width], initial),
        matrix(place.index, "up", [hidden, width], initial),
        matrix(place.index, "down", [width, hidden], initial),
    ]
}

/// Appends a feed-forward part around a residual; x is `[batch, length, width]`.
pub(super) fn record_feed_forward(
    pass: &mut Pass<'_>,
    x: Var,
    (place, first): (Place<'_>, usize),
    epsilon: f32,
) -> Result<Var, OpError> {
    let rows = as_rows(pass, x, last(place.input))?;
    let normed = rms_norm(pass, rows, first, epsilon)?;
    let gate = pass.linear(normed, first + 1, false)?;
    let up = pass.linear(normed, first + 2, false)?;
    let gated = pass.tape().swiglu(gate, up)?;
    let y = pass.linear(gated, first + 3, false)?;
    let sum = pass.tape().add(rows, y)?;
    let shape = pass.tape().value(x).shape().to_vec();
    pass.tape().reshape(sum, &shape)
}

/// Appends a norm of each token; x is `[batch, length, width]`.
pub(super) fn record_norm(
    pass: &mut Pass<'_>,
    x: Var,
    (place, first): (Place<'_>, usize),
    epsilon: f32,
) -> Result<Var, OpError> {
    let rows = as_rows(pass, x, last(place.input))?;
    let normed = rms_norm(pass, rows, first, epsilon)?;
    let shape = pass.tape().value(x).shape().to_vec();
    pass.tape().reshape(normed, &shape)
}

/// The norm before the head, or the one of a whole layer.
pub(super) fn norm_tensors(place: Place<'_>) -> Vec<TensorSpec> {
    vec![TensorSpec {
        name: format!("{}.weight", place.index),
        ..norm(place.index, "norm", last(place.input))
    }]
}

/// The table of the embedding.
pub(super) fn embedding_tensors(index: usize, extents: [usize; 2]) -> Vec<TensorSpec> {
    vec![TensorSpec {
        name: format!("{index}.weight"),
        role: Role::Parameter,
        shape: extents.to_vec(),
        first: First::Uniform {
            bound: EMBEDDING_DEVIATION * 3.0_f64.sqrt(),
        },
    }]
}

/// What is wrong with a number that is added below a root.
pub(super) fn positive_fault(epsilon: f32) -> Option<(&'static str, f64, &'static str)> {
    let is_right = epsilon > 0.0 && epsilon.is_finite();
    (!is_right).then(|| ("epsilon", epsilon.into(), "positive and finite"))
}

fn norm(index: usize, part: &str, width: usize) -> TensorSpec {
    TensorSpec {
        name: format!("{index}.{part}.weight"),
        role: Role::Parameter,
        shape: vec![width],
        first: First::Constant(1.0),
    }
}

fn matrix(index: usize, part: &str, [outputs, inputs]: [usize; 2], initial: Initial) -> TensorSpec {
    let [bound, _] = initial.bounds(inputs, outputs);
    TensorSpec {
        name: format!("{index}.{part}.weight"),
        role: Role::Parameter,
        shape: vec![outputs, inputs],
        first: First::Uniform { bound },
    }
}

/// `[batch, length, width]` as `[batch length, width]`.
fn as_rows(pass: &mut Pass<'_>, x: Var, width: usize) -> Result<Var, OpError> {
    let n = pass.tape().value(x).len() / width.max(1);
    pass.tape().reshape(x, &[n, width])
}

fn rms_norm(pass: &mut Pass<'_>, x: Var, gamma: usize, epsilon: f32) -> Result<Var, OpError> {
    let gamma = pass.parameter(gamma)?;
    pass.tape().norm(x, NormKind::Rms, (gamma, None), epsilon)
}

fn last(shape: &[usize]) -> usize {
    shape.last().copied().unwrap_or(0)
}
