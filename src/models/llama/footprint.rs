//! What a decoder will take of a device's memory, from the sizes in its files alone: known before anything is read.

use crate::io::hf::{DecoderConfig, DecoderKind};

use super::cache::{CacheType, KvCache};
use super::{LlamaError, ModelTensor, WeightSource, largest_context};

/// How a decoder is to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// How keys and values are stored.
    pub cache: CacheType,
    /// Texts side by side.
    pub texts: usize,
    /// Positions of each; those of the model where it has fewer.
    pub context: usize,
    /// Tokens of the longest pass, of all texts together.
    pub pass: usize,
}

/// Bytes on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footprint {
    /// Weights and the table of angles.
    pub weights: u64,
    /// Keys and values of all positions, and of half as many that they are copied from when they grow to that.
    pub cache: u64,
    /// Intermediate results of the longest pass with all of its logits, at most.
    pub activations: u64,
    /// The buffer with most bytes, by its first tensor: matrices that read the same input may be one.
    pub largest: (String, u64),
}

impl Footprint {
    /// Adds up a model's tensors and what work with it takes.
    ///
    /// # Errors
    /// [`LlamaError`] for tensors that are missing.
    pub fn of(source: &dyn WeightSource, how: Use) -> Result<Self, LlamaError> {
        let config = source.config()?;
        let context = how.context.min(largest_context(&config)).max(1);
        let angles = bytes_of([context, config.head_dim, 1]);
        let mut largest = (String::new(), 0);
        let mut weights = angles;
        for buffer in buffers(&config, source) {
            let mut n_bytes = 0;
            for &tensor in &buffer {
                n_bytes += source.device_bytes(tensor)?;
            }
            weights += n_bytes;
            if n_bytes > largest.1 {
                let name = buffer.first().map(|&tensor| source.name(tensor));
                largest = (name.unwrap_or_default(), n_bytes);
            }
        }
        let cache = |capacity: usize| {
            let shape = [how.texts, config.n_kv_heads, capacity, config.head_dim];
            KvCache::new(how.cache, config.n_layers, shape).n_bytes()
        };
        // A pass may be filled up past the last position.
        let cache = cache(context + how.pass) + cache(context / 2);
        Ok(Self {
            weights,
            cache,
            activations: activations(&config, how.pass.max(how.texts)),
            largest,
        })
    }

    /// All of it.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.weights + self.cache + self.activations
    }

    /// Refuses a model that is larger than a device allows.
    ///
    /// # Errors
    /// [`LlamaError::Memory`], [`LlamaError::Buffer`].
    pub fn check(
        &self,
        source: &dyn WeightSource,
        memory: Option<u64>,
        buffer: Option<u64>,
    ) -> Result<(), LlamaError> {
        let file = || source.path().to_owned();
        if let Some(limit) = memory.filter(|&limit| self.total() > limit) {
            return Err(LlamaError::Memory {
                file: file(),
                weights: self.weights,
                cache: self.cache,
                activations: self.activations,
                total: self.total(),
                limit,
            });
        }
        if let Some(limit) = buffer.filter(|&limit| self.largest.1 > limit) {
            return Err(LlamaError::Buffer {
                file: file(),
                name: self.largest.0.clone(),
                n_bytes: self.largest.1,
                limit,
            });
        }
        Ok(())
    }
}

/// Numbers that a model's weights stand for, whatever their format; a head that is the embedding counts once.
///
/// # Errors
/// [`LlamaError`] for models that are not known.
pub fn n_parameters(source: &dyn WeightSource) -> Result<u64, LlamaError> {
    let config = source.config()?;
    let tensors = buffers(&config, source).into_iter().flatten();
    Ok(tensors.map(|tensor| n_elements(&config, tensor)).sum())
}

fn n_elements(config: &DecoderConfig, tensor: ModelTensor) -> u64 {
    use ModelTensor as T;
    let heads = config.n_heads * config.head_dim;
    let kv_heads = config.n_kv_heads * config.head_dim;
    let shape = match tensor {
        T::Embedding | T::Head => [config.vocabulary, config.width],
        T::OutputNorm | T::AttentionNorm(_) | T::FfnNorm(_) => [config.width, 1],
        T::Q(_) | T::AttentionOut(_) => [heads, config.width],
        T::K(_) | T::V(_) => [kv_heads, config.width],
        T::QBias(_) => [heads, 1],
        T::KBias(_) | T::VBias(_) => [kv_heads, 1],
        T::QNorm(_) | T::KNorm(_) => [config.head_dim, 1],
        T::Gate(_) | T::Up(_) | T::Down(_) => [config.ffn_width, config.width],
    };
    let extents = shape.iter().map(|&extent| extent as u64);
    extents.fold(1, u64::saturating_mul)
}

/// Every tensor that is uploaded, those together that are one buffer where their formats allow it.
fn buffers(config: &DecoderConfig, source: &dyn WeightSource) -> Vec<Vec<ModelTensor>> {
    use ModelTensor as T;
    let mut all = vec![vec![T::Embedding], vec![T::OutputNorm]];
    if !config.tied_head.unwrap_or(!source.has(T::Head)) {
        all.push(vec![T::Head]);
    }
    for layer in 0..config.n_layers {
        all.extend([
            vec![T::AttentionNorm(layer)],
            vec![T::Q(layer), T::K(layer), T::V(layer)],
            vec![T::AttentionOut(layer)],
            vec![T::FfnNorm(layer)],
            vec![T::Gate(layer), T::Up(layer)],
            vec![T::Down(layer)],
        ]);
        match config.kind {
            DecoderKind::Qwen2 => {
                all.push(vec![T::QBias(layer), T::KBias(layer), T::VBias(layer)]);
            }
            DecoderKind::Qwen3 => all.extend([vec![T::QNorm(layer)], vec![T::KNorm(layer)]]),
            DecoderKind::Llama | DecoderKind::Mistral => {}
        }
    }
    all
}

/// Of a layer three hidden states live at once, and beside them either heads (as they come, turned, their result) or
/// the feed-forward part (gate, up, their product), once more as integers; after the last one the logits and their
/// losses.
fn activations(config: &DecoderConfig, rows: usize) -> u64 {
    let heads = (config.n_heads + config.n_kv_heads) * (config.head_dim + 1);
    let widest = (4 * heads).max(4 * config.ffn_width);
    let layer = bytes_of([rows, 3 * config.width + widest, 1]);
    let logits = bytes_of([rows, config.vocabulary + config.width, 2]);
    layer.max(logits)
}

/// Of f32.
fn bytes_of(shape: [usize; 3]) -> u64 {
    let extents = shape.iter().map(|&extent| extent as u64);
    extents.fold(4, u64::saturating_mul)
}
