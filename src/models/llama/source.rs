//! Where a decoder's tensors come from: a GGUF file, or a folder of Hugging Face's. They differ in names, in
//! the order of rows of q and k, and in formats.

use std::path::{Path, PathBuf};

use crate::io::gguf::GgufFile;
use crate::io::hf::{
    DecoderConfig, DecoderKind, HfFolder, ModelConfig, QuantizationConfig, Shards,
};
use crate::io::safetensors::shown;
use crate::num::QuantizedMatrix;
use crate::num::ggml::{GgmlType, repacked_bytes};
use crate::ops::nn::Rotation;
use crate::tensor::{HostTensor, TensorError};

use super::{LlamaError, gguf_rotation};

/// A tensor by its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelTensor {
    /// `[vocabulary, width]`
    Embedding,
    /// `[width]`, before the head.
    OutputNorm,
    /// `[vocabulary, width]`; missing where it is the embedding.
    Head,
    /// `[width]`, before attention.
    AttentionNorm(usize),
    /// `[heads head_dim, width]`
    Q(usize),
    /// `[kv_heads head_dim, width]`
    K(usize),
    /// `[kv_heads head_dim, width]`
    V(usize),
    /// `[heads head_dim]`
    QBias(usize),
    /// `[kv_heads head_dim]`
    KBias(usize),
    /// `[kv_heads head_dim]`
    VBias(usize),
    /// `[head_dim]`
    QNorm(usize),
    /// `[head_dim]`
    KNorm(usize),
    /// `[width, heads head_dim]`
    AttentionOut(usize),
    /// `[width]`, before the feed-forward part.
    FfnNorm(usize),
    /// `[ffn_width, width]`
    Gate(usize),
    /// `[ffn_width, width]`
    Up(usize),
    /// `[width, ffn_width]`
    Down(usize),
}

impl ModelTensor {
    /// Those of a layer.
    pub(super) fn of_layer(kind: DecoderKind, layer: usize) -> impl Iterator<Item = Self> {
        let more: [Option<Self>; 3] = match kind {
            DecoderKind::Qwen2 => [Self::QBias, Self::KBias, Self::VBias].map(|of| Some(of(layer))),
            DecoderKind::Qwen3 => [Some(Self::QNorm(layer)), Some(Self::KNorm(layer)), None],
            DecoderKind::Llama | DecoderKind::Mistral => [None; 3],
        };
        let always = [
            Self::AttentionNorm,
            Self::Q,
            Self::K,
            Self::V,
            Self::AttentionOut,
            Self::FfnNorm,
            Self::Gate,
            Self::Up,
            Self::Down,
        ];
        let always = always.map(|of: fn(usize) -> Self| of(layer));
        always.into_iter().chain(more.into_iter().flatten())
    }

    /// Its name in a GGUF file.
    #[must_use]
    pub fn gguf_name(self) -> String {
        let (layer, name) = match self {
            Self::Embedding => return "token_embd.weight".to_owned(),
            Self::OutputNorm => return "output_norm.weight".to_owned(),
            Self::Head => return "output.weight".to_owned(),
            Self::AttentionNorm(layer) => (layer, "attn_norm.weight"),
            Self::Q(layer) => (layer, "attn_q.weight"),
            Self::K(layer) => (layer, "attn_k.weight"),
            Self::V(layer) => (layer, "attn_v.weight"),
            Self::QBias(layer) => (layer, "attn_q.bias"),
            Self::KBias(layer) => (layer, "attn_k.bias"),
            Self::VBias(layer) => (layer, "attn_v.bias"),
            Self::QNorm(layer) => (layer, "attn_q_norm.weight"),
            Self::KNorm(layer) => (layer, "attn_k_norm.weight"),
            Self::AttentionOut(layer) => (layer, "attn_output.weight"),
            Self::FfnNorm(layer) => (layer, "ffn_norm.weight"),
            Self::Gate(layer) => (layer, "ffn_gate.weight"),
            Self::Up(layer) => (layer, "ffn_up.weight"),
            Self::Down(layer) => (layer, "ffn_down.weight"),
        };
        format!("blk.{layer}.{name}")
    }

    /// Its name in a folder of Hugging Face's.
    #[must_use]
    pub fn hf_name(self) -> String {
        let (layer, name) = match self {
            Self::Embedding => return "model.embed_tokens.weight".to_owned(),
            Self::OutputNorm => return "model.norm.weight".to_owned(),
            Self::Head => return "lm_head.weight".to_owned(),
            Self::AttentionNorm(layer) => (layer, "input_layernorm.weight"),
            Self::Q(layer) => (layer, "self_attn.q_proj.weight"),
            Self::K(layer) => (layer, "self_attn.k_proj.weight"),
            Self::V(layer) => (layer, "self_attn.v_proj.weight"),
            Self::QBias(layer) => (layer, "self_attn.q_proj.bias"),
            Self::KBias(layer) => (layer, "self_attn.k_proj.bias"),
            Self::VBias(layer) => (layer, "self_attn.v_proj.bias"),
            Self::QNorm(layer) => (layer, "self_attn.q_norm.weight"),
            Self::KNorm(layer) => (layer, "self_attn.k_norm.weight"),
            Self::AttentionOut(layer) => (layer, "self_attn.o_proj.weight"),
            Self::FfnNorm(layer) => (layer, "post_attention_layernorm.weight"),
            Self::Gate(layer) => (layer, "mlp.gate_proj.weight"),
            Self::Up(layer) => (layer, "mlp.up_proj.weight"),
            Self::Down(layer) => (layer, "mlp.down_proj.weight"),
        };
        format!("model.layers.{layer}.{name}")
    }
}

/// A matrix as it is stored.
#[derive(Debug, Clone)]
pub enum StoredMatrix {
    /// f32, f16 or bf16.
    Dense(HostTensor),
    /// Codes and scales.
    Quantized(QuantizedMatrix),
    /// The same with columns in another order than the inputs: column `j` meets input `order[j]`.
    Ordered(QuantizedMatrix, Vec<u32>),
}

impl StoredMatrix {
    /// Its shape.
    #[must_use]
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Dense(host) => host.shape().to_vec(),
            Self::Quantized(matrix) | Self::Ordered(matrix, _) => vec![matrix.n(), matrix.k()],
        }
    }

    /// Its weights as floats, columns in the order of the inputs.
    ///
    /// # Errors
    /// [`TensorError`] for a dense one whose elements are no floats.
    pub fn values(&self) -> Result<Vec<f32>, TensorError> {
        match self {
            Self::Dense(host) => host.to_f32(),
            Self::Quantized(matrix) => Ok(matrix.dequantize()),
            Self::Ordered(matrix, order) => {
                let (sorted, k) = (matrix.dequantize(), matrix.k().max(1));
                let mut values = vec![0.0; sorted.len()];
                for (row, sorted) in values.chunks_exact_mut(k).zip(sorted.chunks_exact(k)) {
                    for (&input, &value) in order.iter().zip(sorted) {
                        row[input as usize] = value;
                    }
                }
                Ok(values)
            }
        }
    }
}

/// Tensors of a decoder.
pub trait WeightSource {
    /// The file or folder, for errors.
    fn path(&self) -> &Path;

    /// Sizes.
    ///
    /// # Errors
    /// [`LlamaError`] for models that are not known.
    fn config(&self) -> Result<DecoderConfig, LlamaError>;

    /// Which elements of a head make a pair.
    fn rotation(&self) -> Rotation;

    /// The name of a tensor, for errors.
    fn name(&self, tensor: ModelTensor) -> String;

    /// Whether the tensor is there.
    fn has(&self, tensor: ModelTensor) -> bool;

    /// What the frequency of each pair of a head is divided by, `[head_dim / 2]`, where the weights say.
    ///
    /// # Errors
    /// [`LlamaError`] naming file and tensor.
    fn rotary_factors(&self) -> Result<Option<Vec<f32>>, LlamaError> {
        Ok(None)
    }

    /// A matrix in its own format.
    ///
    /// # Errors
    /// [`LlamaError`] naming file and tensor.
    fn matrix(&self, tensor: ModelTensor) -> Result<StoredMatrix, LlamaError>;

    /// A vector in its own type.
    ///
    /// # Errors
    /// [`LlamaError`] naming file and tensor.
    fn vector(&self, tensor: ModelTensor) -> Result<HostTensor, LlamaError>;

    /// Bytes that a tensor will take on a device; tells them without reading it, where a source can.
    ///
    /// # Errors
    /// [`LlamaError`] naming file and tensor.
    fn device_bytes(&self, tensor: ModelTensor) -> Result<u64, LlamaError> {
        Ok(match self.matrix(tensor)? {
            StoredMatrix::Dense(host) => host.bytes().len() as u64,
            StoredMatrix::Quantized(matrix) | StoredMatrix::Ordered(matrix, _) => {
                matrix.bytes() as u64
            }
        })
    }
}

/// Tensors of a GGUF file.
#[derive(Debug)]
pub struct GgufWeights<'a> {
    file: &'a GgufFile,
    config: DecoderConfig,
}

impl<'a> GgufWeights<'a> {
    /// Reads what the model is made of.
    ///
    /// # Errors
    /// [`LlamaError::Config`], [`LlamaError::Encoder`]; [`LlamaError::Layers`] and [`LlamaError::Unused`] for layers
    /// and tensors that are there and would not count.
    pub fn new(file: &'a GgufFile) -> Result<Self, LlamaError> {
        let config = ModelConfig::from_gguf(file.metadata());
        let config = config.map_err(|reason| LlamaError::Config {
            file: file.path().to_owned(),
            reason: Box::new(reason),
        })?;
        let config = decoder(config, file.path())?;
        let names = file.tensors().iter().map(|tensor| tensor.name.as_str());
        let layout = Layout {
            file: file.path(),
            prefix: "blk.",
            named: ModelTensor::gguf_name,
            of_the_head: "output.bias",
        };
        layout.check(&config, names, |name| Ok(is_zero(&file.decoded(name)?)))?;
        Ok(Self { file, config })
    }
}

impl WeightSource for GgufWeights<'_> {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn config(&self) -> Result<DecoderConfig, LlamaError> {
        Ok(self.config.clone())
    }

    fn rotation(&self) -> Rotation {
        gguf_rotation(self.config.kind)
    }

    fn rotary_factors(&self) -> Result<Option<Vec<f32>>, LlamaError> {
        const NAME: &str = "rope_freqs.weight";
        if self.file.tensors().iter().all(|one| one.name != NAME) {
            return Ok(None);
        }
        let (found, expected) = (self.file.decoded(NAME)?, vec![self.config.head_dim / 2]);
        if found.shape() != expected {
            return Err(LlamaError::Shape {
                file: self.path().to_owned(),
                name: NAME.to_owned(),
                found: found.shape().to_vec(),
                expected,
            });
        }
        let factors = found.to_f32().map_err(LlamaError::Tensor)?;
        let wrong = |factor: &f32| !(factor.is_normal() && *factor > 0.0);
        if let Some(index) = factors.iter().position(wrong) {
            return Err(LlamaError::Value {
                file: self.path().to_owned(),
                name: NAME.to_owned(),
                index,
                value: factors[index],
                allowed: "numbers above 0",
            });
        }
        Ok(Some(factors))
    }

    fn name(&self, tensor: ModelTensor) -> String {
        tensor.gguf_name()
    }

    fn has(&self, tensor: ModelTensor) -> bool {
        self.file.tensor_bytes(&tensor.gguf_name()).is_ok()
    }

    fn matrix(&self, tensor: ModelTensor) -> Result<StoredMatrix, LlamaError> {
        let name = tensor.gguf_name();
        let (entry, _) = self.file.tensor_bytes(&name)?;
        Ok(if entry.kind.is_float() {
            StoredMatrix::Dense(self.file.tensor(&name)?)
        } else {
            StoredMatrix::Quantized(self.file.matrix(&name)?)
        })
    }

    fn vector(&self, tensor: ModelTensor) -> Result<HostTensor, LlamaError> {
        Ok(self.file.decoded(&tensor.gguf_name())?)
    }

    fn device_bytes(&self, tensor: ModelTensor) -> Result<u64, LlamaError> {
        let (entry, _) = self.file.tensor_bytes(&tensor.gguf_name())?;
        // Vectors become f32.
        let kind = if entry.shape.len() == 2 {
            entry.kind
        } else {
            GgmlType::F32
        };
        Ok(repacked_bytes(kind, entry.n(), entry.k()))
    }
}

/// Tensors of a folder of Hugging Face's.
#[derive(Debug)]
pub struct HfWeights {
    path: PathBuf,
    shards: Shards,
    config: DecoderConfig,
    quantization: Option<QuantizationConfig>,
}

impl HfWeights {
    /// Opens a folder.
    ///
    /// # Errors
    /// [`LlamaError::Hf`], [`LlamaError::Encoder`], [`LlamaError::Layers`], [`LlamaError::Unused`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LlamaError> {
        let path = path.as_ref().to_owned();
        let folder = HfFolder::new(&path);
        let config = decoder(folder.config()?, &path)?;
        let quantization = folder.quantization()?;
        let shards = folder.weights()?;
        let layout = Layout {
            file: &path,
            prefix: "model.layers.",
            named: ModelTensor::hf_name,
            of_the_head: "lm_head.bias",
        };
        layout.check(&config, shards.names(), |name| {
            // Codes, scales and what else a format has.
            let is_part = quantization.is_some()
                && !name.ends_with(".bias")
                && layout
                    .layer_of(name)
                    .is_some_and(|layer| is_of_a_matrix(config.kind, layer, name));
            // Frequencies that follow from the configuration were written by old versions.
            let is_known = is_part || name.ends_with(".rotary_emb.inv_freq");
            Ok(is_known || is_zero(&shards.tensor(name)?))
        })?;
        Ok(Self {
            path,
            shards,
            config,
            quantization,
        })
    }

    /// The quantized layer behind a weight's name.
    fn quantized(&self, name: &str) -> Option<(&QuantizationConfig, String)> {
        let layer = name.strip_suffix(".weight")?;
        Some((self.quantization.as_ref()?, layer.to_owned()))
    }
}

impl WeightSource for HfWeights {
    fn path(&self) -> &Path {
        &self.path
    }

    fn config(&self) -> Result<DecoderConfig, LlamaError> {
        Ok(self.config.clone())
    }

    fn rotation(&self) -> Rotation {
        Rotation::Halves
    }

    fn name(&self, tensor: ModelTensor) -> String {
        tensor.hf_name()
    }

    fn has(&self, tensor: ModelTensor) -> bool {
        let name = tensor.hf_name();
        let is_quantized = || {
            let (config, layer) = self.quantized(&name)?;
            Some(config.is_quantized(&self.shards, &layer))
        };
        self.shards.has(&name) || is_quantized() == Some(true)
    }

    fn matrix(&self, tensor: ModelTensor) -> Result<StoredMatrix, LlamaError> {
        let name = tensor.hf_name();
        if let Some((config, layer)) = self.quantized(&name)
            && let Some(found) = config.linear(&self.shards, &layer)?
        {
            return Ok(match found.order {
                None => StoredMatrix::Quantized(found.matrix),
                Some(order) => StoredMatrix::Ordered(found.matrix, order),
            });
        }
        Ok(StoredMatrix::Dense(self.shards.tensor(&name)?))
    }

    fn vector(&self, tensor: ModelTensor) -> Result<HostTensor, LlamaError> {
        Ok(self.shards.tensor(&tensor.hf_name())?)
    }

    fn device_bytes(&self, tensor: ModelTensor) -> Result<u64, LlamaError> {
        let name = tensor.hf_name();
        if let Some((config, layer)) = self.quantized(&name)
            && let Some(bytes) = config.device_bytes(&self.shards, &layer)?
        {
            return Ok(bytes);
        }
        let (entry, _) = self.shards.tensor_bytes(&name)?;
        Ok(match entry.shape.as_slice() {
            // Vectors become f32.
            &[len] => 4 * len as u64,
            _ => entry.n_bytes as u64,
        })
    }
}

/// Names of a model's tensors in a kind of file.
struct Layout<'a> {
    file: &'a Path,
    /// What stands before a layer's number.
    prefix: &'static str,
    named: fn(ModelTensor) -> String,
    /// Beside the tensors of layers one that changes the result.
    of_the_head: &'static str,
}

impl Layout<'_> {
    fn layer_of(&self, name: &str) -> Option<usize> {
        let (layer, _) = name.strip_prefix(self.prefix)?.split_once('.')?;
        layer.parse().ok()
    }

    /// Refuses fewer tensors than layers, layers beyond those of the configuration, and tensors of a layer that no
    /// part of the model reads, unless `changes_nothing` says so.
    fn check<'n>(
        &self,
        config: &DecoderConfig,
        names: impl Iterator<Item = &'n str>,
        changes_nothing: impl Fn(&str) -> Result<bool, LlamaError>,
    ) -> Result<(), LlamaError> {
        let names: Vec<&str> = names.collect();
        let file = || self.file.to_owned();
        let n_layers = config.n_layers;
        let layers = names.iter().filter_map(|name| self.layer_of(name));
        let found = layers.max().map_or(0, |last| last.saturating_add(1));
        if found != n_layers {
            return Err(LlamaError::Layers {
                file: file(),
                found,
                n_layers,
            });
        }
        for name in names {
            let is_read = match self.layer_of(name) {
                None => name != self.of_the_head,
                Some(layer) => {
                    let mut tensors = ModelTensor::of_layer(config.kind, layer);
                    tensors.any(|tensor| (self.named)(tensor) == name)
                }
            };
            if !is_read && !changes_nothing(name)? {
                return Err(LlamaError::Unused {
                    file: file(),
                    name: shown(name),
                    kind: config.kind,
                });
            }
        }
        Ok(())
    }
}

/// Whether the name is that of a matrix of the model, but for its last part.
fn is_of_a_matrix(kind: DecoderKind, layer: usize, name: &str) -> bool {
    ModelTensor::of_layer(kind, layer).any(|tensor| {
        let stem = tensor.hf_name();
        let stem = stem.strip_suffix("weight").unwrap_or(&stem);
        let rest = name.strip_prefix(stem);
        rest.is_some_and(|rest| !rest.is_empty() && !rest.contains('.'))
    })
}

fn is_zero(host: &HostTensor) -> bool {
    host.to_f32()
        .is_ok_and(|values| values.iter().all(|&value| value == 0.0))
}

fn decoder(config: ModelConfig, path: &Path) -> Result<DecoderConfig, LlamaError> {
    match config {
        ModelConfig::Decoder(config) => Ok(config),
        ModelConfig::Encoder(_) => Err(LlamaError::Encoder {
            file: path.to_owned(),
        }),
    }
}
