//! The weights of one layer of a decoder: read as f32, replaced by what they become.

use std::collections::BTreeMap;
use std::path::Path;

use crate::compress::stage::StageError;
use crate::io::hf::{DecoderConfig, DecoderKind};
use crate::models::llama::{
    LlamaError, ModelTensor, StoredMatrix, WeightSource, halves_of_neighbours,
};
use crate::num::{QuantizedMatrix, round_to_f16};
use crate::ops::nn::Rotation;
use crate::tensor::{DType, HostTensor};

/// A linear weight of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DecoderLinear {
    /// `[heads head_dim, width]`
    Query,
    /// `[kv_heads head_dim, width]`
    Key,
    /// `[kv_heads head_dim, width]`
    Value,
    /// `[width, heads head_dim]`
    AttentionOutput,
    /// `[ffn_width, width]`
    Gate,
    /// `[ffn_width, width]`
    Up,
    /// `[width, ffn_width]`
    Down,
}

impl DecoderLinear {
    /// All of a layer.
    pub const ALL: [Self; 7] = [
        Self::Query,
        Self::Key,
        Self::Value,
        Self::AttentionOutput,
        Self::Gate,
        Self::Up,
        Self::Down,
    ];

    /// The tensor of a layer, from 0.
    #[must_use]
    pub const fn tensor(self, layer: usize) -> ModelTensor {
        match self {
            Self::Query => ModelTensor::Q(layer),
            Self::Key => ModelTensor::K(layer),
            Self::Value => ModelTensor::V(layer),
            Self::AttentionOutput => ModelTensor::AttentionOut(layer),
            Self::Gate => ModelTensor::Gate(layer),
            Self::Up => ModelTensor::Up(layer),
            Self::Down => ModelTensor::Down(layer),
        }
    }

    /// Its name in a folder of Hugging Face's, without `.weight`.
    #[must_use]
    pub fn name(self, layer: usize) -> String {
        let name = self.tensor(layer).hf_name();
        name.strip_suffix(".weight").unwrap_or(&name).to_owned()
    }

    /// Outputs and inputs.
    #[must_use]
    pub const fn shape(self, config: &DecoderConfig) -> [usize; 2] {
        let (width, heads) = (config.width, config.n_heads * config.head_dim);
        match self {
            Self::Query => [heads, width],
            Self::Key | Self::Value => [config.n_kv_heads * config.head_dim, width],
            Self::AttentionOutput => [width, heads],
            Self::Gate | Self::Up => [config.ffn_width, width],
            Self::Down => [width, config.ffn_width],
        }
    }

    /// Heads of its rows, where these are rotated.
    const fn rotated_heads(self, config: &DecoderConfig) -> Option<usize> {
        match self {
            Self::Query => Some(config.n_heads),
            Self::Key => Some(config.n_kv_heads),
            _ => None,
        }
    }
}

/// A weight as f32, rows in the order of Hugging Face's, and the type that holds it.
#[derive(Debug, Clone)]
pub(super) struct FloatWeight {
    pub values: Vec<f32>,
    pub dtype: DType,
}

/// A layer's weights and vectors as they are while it is compressed.
#[derive(Debug)]
pub(super) struct LayerWeights {
    pub index: usize,
    pub linears: BTreeMap<DecoderLinear, FloatWeight>,
    /// Norms and biases that factors were moved into, by [`ModelTensor::hf_name`].
    pub changed: BTreeMap<String, Vec<f32>>,
}

impl LayerWeights {
    pub fn read(
        source: &dyn WeightSource,
        config: &DecoderConfig,
        index: usize,
    ) -> Result<Self, StageError> {
        let mut linears = BTreeMap::new();
        for which in DecoderLinear::ALL {
            let shape = which.shape(config);
            let mut weight = float_weight(source, which.tensor(index), &shape)?;
            if let (Rotation::Neighbours, Some(heads)) =
                (source.rotation(), which.rotated_heads(config))
            {
                let rows = halves_of_neighbours(heads, config.head_dim);
                weight.values = permuted(&weight.values, shape[1], &rows);
            }
            linears.insert(which, weight);
        }
        Ok(Self {
            index,
            linears,
            changed: BTreeMap::new(),
        })
    }

    /// A vector as f32, with what was moved into it.
    pub fn vector(
        &self,
        source: &dyn WeightSource,
        tensor: ModelTensor,
    ) -> Result<Vec<f32>, StageError> {
        match self.changed.get(&tensor.hf_name()) {
            Some(changed) => Ok(changed.clone()),
            None => Ok(source.vector(tensor)?.to_f32()?),
        }
    }

    /// Its vectors.
    pub fn vectors(&self, config: &DecoderConfig) -> Vec<ModelTensor> {
        use ModelTensor as T;
        let at = self.index;
        let mut all = vec![T::AttentionNorm(at), T::FfnNorm(at)];
        match config.kind {
            DecoderKind::Llama | DecoderKind::Mistral => {}
            DecoderKind::Qwen2 => all.extend([T::QBias(at), T::KBias(at), T::VBias(at)]),
            DecoderKind::Qwen3 => all.extend([T::QNorm(at), T::KNorm(at)]),
        }
        all
    }
}

/// A matrix of any format as f32, and the narrowest float type, but no narrower than that of the file, that holds it.
pub(super) fn float_weight(
    source: &dyn WeightSource,
    tensor: ModelTensor,
    shape: &[usize; 2],
) -> Result<FloatWeight, StageError> {
    let stored = source.matrix(tensor)?;
    if stored.shape() != shape {
        return Err(LlamaError::Shape {
            file: source.path().to_owned(),
            name: source.name(tensor),
            found: stored.shape(),
            expected: shape.to_vec(),
        }
        .into());
    }
    let dense = match &stored {
        StoredMatrix::Dense(host) => Some(host.dtype()),
        StoredMatrix::Quantized(_) | StoredMatrix::Ordered(..) => None,
    };
    let values = stored.values()?;
    Ok(FloatWeight {
        dtype: match dense {
            Some(dtype) => dtype,
            None if fits_f16(&values) => DType::F16,
            None => DType::F32,
        },
        values,
    })
}

fn fits_f16(values: &[f32]) -> bool {
    let fits = |&value: &f32| round_to_f16(f64::from(value)) == f64::from(value);
    values.iter().all(fits)
}

/// The row here for each row of a GGUF file, where rows of this weight are in another order there.
pub(super) fn neighbours_of_halves(
    which: DecoderLinear,
    config: &DecoderConfig,
    rotation: Rotation,
) -> Option<Vec<usize>> {
    let heads = which.rotated_heads(config)?;
    if rotation != Rotation::Neighbours {
        return None;
    }
    Some(crate::models::llama::neighbours_of_halves(
        heads,
        config.head_dim,
    ))
}

pub(super) fn permuted(values: &[f32], k: usize, rows: &[usize]) -> Vec<f32> {
    let row = |&row: &usize| &values[row * k..(row + 1) * k];
    rows.iter().flat_map(row).copied().collect()
}

/// A decoder with other weights in one layer, rows in the order of Hugging Face's.
pub(super) struct Replaced<'a> {
    source: &'a dyn WeightSource,
    matrices: BTreeMap<String, StoredMatrix>,
    vectors: BTreeMap<String, HostTensor>,
}

impl<'a> Replaced<'a> {
    /// With the weights as they are; `coded` are those in codes.
    pub fn new(
        source: &'a dyn WeightSource,
        config: &DecoderConfig,
        weights: &LayerWeights,
        coded: &BTreeMap<DecoderLinear, QuantizedMatrix>,
    ) -> Result<Self, StageError> {
        let mut matrices = BTreeMap::new();
        for (which, float) in &weights.linears {
            let stored = match coded.get(which) {
                Some(matrix) => StoredMatrix::Quantized(matrix.clone()),
                None => {
                    let shape = which.shape(config).to_vec();
                    StoredMatrix::Dense(HostTensor::from_f32(shape, &float.values)?)
                }
            };
            matrices.insert(which.tensor(weights.index).hf_name(), stored);
        }
        let mut vectors = BTreeMap::new();
        for (name, values) in &weights.changed {
            let host = HostTensor::from_f32(vec![values.len()], values)?;
            vectors.insert(name.clone(), host);
        }
        Ok(Self {
            source,
            matrices,
            vectors,
        })
    }
}

impl WeightSource for Replaced<'_> {
    fn path(&self) -> &Path {
        self.source.path()
    }

    fn config(&self) -> Result<DecoderConfig, LlamaError> {
        self.source.config()
    }

    fn rotation(&self) -> Rotation {
        Rotation::Halves
    }

    fn name(&self, tensor: ModelTensor) -> String {
        tensor.hf_name()
    }

    fn has(&self, tensor: ModelTensor) -> bool {
        self.source.has(tensor)
    }

    fn matrix(&self, tensor: ModelTensor) -> Result<StoredMatrix, LlamaError> {
        match self.matrices.get(&tensor.hf_name()) {
            Some(matrix) => Ok(matrix.clone()),
            None => self.source.matrix(tensor),
        }
    }

    fn vector(&self, tensor: ModelTensor) -> Result<HostTensor, LlamaError> {
        match self.vectors.get(&tensor.hf_name()) {
            Some(vector) => Ok(vector.clone()),
            None => self.source.vector(tensor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_two_heads_go_to_the_order_of_the_other_file_and_back() {
        // A head of 6: pairs (0, 3), (1, 4), (2, 5) are neighbours in a GGUF file.
        let there = halves_of_neighbours(2, 6);
        assert_eq!(there, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
        let config = DecoderConfig {
            kind: DecoderKind::Llama,
            vocabulary: 1,
            width: 2,
            n_layers: 1,
            ffn_width: 1,
            n_heads: 2,
            n_kv_heads: 1,
            head_dim: 6,
            rope_base: 1e4,
            rope_scaling: crate::num::RotaryScaling::None,
            rms_epsilon: 1e-5,
            context: 1,
            sliding_window: None,
            tied_head: None,
        };
        let values: Vec<f32> = (0..24).map(|at| at as f32).collect();
        let here = permuted(&values, 2, &there);
        let back = neighbours_of_halves(DecoderLinear::Query, &config, Rotation::Neighbours);
        assert_eq!(permuted(&here, 2, &back.unwrap()), values);
        let of = |which, rotation| neighbours_of_halves(which, &config, rotation);
        assert_eq!(of(DecoderLinear::Query, Rotation::Halves), None);
        assert_eq!(of(DecoderLinear::Up, Rotation::Neighbours), None);
    }
}
