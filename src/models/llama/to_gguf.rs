//! A decoder of any source as a GGUF file: its tensors under the names of that format, rows of q and k in its order, its
//! sizes as metadata.
//!
//! Matrices keep what they have where a type of such files holds it: floats, codes in groups of 32 with f16 scales as
//! Q4_0, Q4_1 or Q8_0, narrower ones widened. Or all get a type that is asked for; four bits leave embedding and head
//! eight. Vectors are f32. What is written is read back as the configuration that it was made of, or is refused.

use std::path::Path;

use crate::io::gguf::{GgufEntry, Metadata, Value, write_gguf_entries};
use crate::io::hf::{DecoderConfig, DecoderKind, ModelConfig};
use crate::num::ggml::{GgmlType, decode, encode, held_by, to_blocks};
use crate::num::{RotaryScaling, rotary_frequencies};
use crate::ops::nn::Rotation;
use crate::tensor::DType;

use super::{LlamaError, ModelTensor, StoredMatrix, WeightSource, gguf_rotation};

/// Factors of the rotation's frequencies.
const FACTORS: &str = "rope_freqs.weight";

/// A GGUF file that may be written.
pub struct GgufExport<'a> {
    source: &'a dyn WeightSource,
    config: DecoderConfig,
    metadata: Metadata,
    tensors: Vec<(Part, GgufEntry)>,
}

impl std::fmt::Debug for GgufExport<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GgufExport")
            .field("config", &self.config)
            .field("tensors", &self.tensors)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Matrix(ModelTensor),
    Vector(ModelTensor),
    Factors(Vec<f32>),
}

impl<'a> GgufExport<'a> {
    /// Chooses types: `to` for matrices whose rows are whole blocks of it, else what they have. `name` is the model's,
    /// `tokenizer` the metadata of its tokenizer, with as many tokens as the embedding has rows.
    ///
    /// # Errors
    /// [`LlamaError::NoPlace`] for a matrix in codes that no type holds, and for what the file would not say of the
    /// model; what reading says.
    pub fn new(
        source: &'a dyn WeightSource,
        (name, tokenizer): (&str, Vec<(String, Value)>),
        to: Option<GgmlType>,
    ) -> Result<Self, LlamaError> {
        let config = source.config()?;
        let mut made = Self {
            source,
            metadata: Metadata::default(),
            tensors: Vec::new(),
            config,
        };
        made.list(to)?;
        let mut pairs = made.sizes(name);
        pairs.push(("general.file_type".to_owned(), Value::U32(made.file_type())));
        pairs.extend(tokenizer);
        let file = || source.path().to_owned();
        made.metadata = Metadata::new(pairs).map_err(|reason| LlamaError::Config {
            file: file(),
            reason: Box::new(reason.into()),
        })?;
        let read = ModelConfig::from_gguf(&made.metadata).map_err(|reason| LlamaError::Config {
            file: file(),
            reason: Box::new(reason),
        })?;
        let expected = made.as_read();
        if read != ModelConfig::Decoder(expected.clone()) {
            return Err(made.no_place(
                format!("{expected:?}"),
                "a configuration that is read back as it was",
            ));
        }
        Ok(made)
    }

    /// Names and types of the tensors, in the order of the file.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, GgmlType)> {
        self.tensors
            .iter()
            .map(|(_, one)| (one.name.as_str(), one.kind))
    }

    /// By how much any weight of a tensor changes, at most; infinite where a finite weight becomes infinite.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn change(&self, index: usize) -> Result<f32, LlamaError> {
        let (part, entry) = &self.tensors[index];
        let Part::Matrix(tensor) = part else {
            return Ok(0.0);
        };
        let [n, k] = [entry.shape[0], entry.shape[1]];
        let before = self.permuted(*tensor, self.values(*tensor)?, k);
        let bytes = self.bytes(index)?;
        let after = decode(&entry.name, entry.kind, &bytes, n, k);
        let after = after.map_err(|reason| self.blocks(reason))?;
        let change = |(a, b): (&f32, &f32)| match (a - b).abs() {
            // The difference of two infinities is no number.
            _ if a == b => 0.0,
            change if change.is_nan() => f32::INFINITY,
            change => change,
        };
        Ok(before.iter().zip(&after).map(change).fold(0.0, f32::max))
    }

    /// Writes the file, a tensor at a time, replacing one that is there in one step.
    ///
    /// # Errors
    /// [`LlamaError`] for tensors that cannot be read or are of another shape than the configuration says, and for files
    /// that cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), LlamaError> {
        let entries: Vec<GgufEntry> = self.tensors.iter().map(|(_, one)| one.clone()).collect();
        write_gguf_entries(path, &self.metadata, &entries, |index| self.bytes(index))?;
        Ok(())
    }

    fn no_place(&self, what: String, allowed: &'static str) -> LlamaError {
        LlamaError::NoPlace {
            file: self.source.path().to_owned(),
            what,
            allowed,
        }
    }

    fn blocks(&self, reason: crate::num::ggml::GgmlError) -> LlamaError {
        LlamaError::Blocks {
            file: self.source.path().to_owned(),
            reason: Box::new(reason),
        }
    }

    /// All tensors and their types.
    fn list(&mut self, to: Option<GgmlType>) -> Result<(), LlamaError> {
        use ModelTensor as T;
        let DecoderConfig {
            vocabulary,
            width,
            n_layers,
            ffn_width,
            n_heads,
            n_kv_heads,
            head_dim,
            kind,
            ..
        } = self.config;
        let (heads, kv) = (n_heads * head_dim, n_kv_heads * head_dim);
        let is_tied = self.config.tied_head;
        let is_tied = is_tied.unwrap_or_else(|| !self.source.has(T::Head));
        self.matrix(T::Embedding, [vocabulary, width], to)?;
        if let Some(factors) = self.factors() {
            self.push(
                Part::Factors(factors),
                FACTORS.to_owned(),
                vec![head_dim / 2],
                GgmlType::F32,
            );
        }
        for at in 0..n_layers {
            self.vector(T::AttentionNorm(at), width);
            self.matrix(T::Q(at), [heads, width], to)?;
            self.matrix(T::K(at), [kv, width], to)?;
            self.matrix(T::V(at), [kv, width], to)?;
            match kind {
                DecoderKind::Llama | DecoderKind::Mistral => {}
                DecoderKind::Qwen2 => {
                    self.vector(T::QBias(at), heads);
                    self.vector(T::KBias(at), kv);
                    self.vector(T::VBias(at), kv);
                }
                DecoderKind::Qwen3 => {
                    self.vector(T::QNorm(at), head_dim);
                    self.vector(T::KNorm(at), head_dim);
                }
            }
            self.matrix(T::AttentionOut(at), [width, heads], to)?;
            self.vector(T::FfnNorm(at), width);
            self.matrix(T::Gate(at), [ffn_width, width], to)?;
            self.matrix(T::Up(at), [ffn_width, width], to)?;
            self.matrix(T::Down(at), [width, ffn_width], to)?;
        }
        self.vector(T::OutputNorm, width);
        if !is_tied {
            self.matrix(T::Head, [vocabulary, width], to)?;
        }
        Ok(())
    }

    fn push(&mut self, part: Part, name: String, shape: Vec<usize>, kind: GgmlType) {
        self.tensors.push((part, GgufEntry { name, kind, shape }));
    }

    fn vector(&mut self, tensor: ModelTensor, len: usize) {
        self.push(
            Part::Vector(tensor),
            tensor.gguf_name(),
            vec![len],
            GgmlType::F32,
        );
    }

    fn matrix(
        &mut self,
        tensor: ModelTensor,
        shape: [usize; 2],
        to: Option<GgmlType>,
    ) -> Result<(), LlamaError> {
        let is_end = matches!(tensor, ModelTensor::Embedding | ModelTensor::Head);
        let wanted = match to {
            Some(GgmlType::Q4_0 | GgmlType::Q4_1) if is_end => Some(GgmlType::Q8_0),
            other => other,
        };
        let stored = self.source.matrix(tensor)?;
        if stored.shape() != shape {
            return Err(LlamaError::Shape {
                file: self.source.path().to_owned(),
                name: self.source.name(tensor),
                found: stored.shape(),
                expected: shape.to_vec(),
            });
        }
        let own = match &stored {
            StoredMatrix::Dense(host) => match host.dtype() {
                DType::F16 => Some(GgmlType::F16),
                DType::BF16 => Some(GgmlType::Bf16),
                _ => Some(GgmlType::F32),
            },
            StoredMatrix::Quantized(matrix) => held_by(matrix.format()),
            StoredMatrix::Ordered(..) => None,
        };
        let fitting = wanted.filter(|kind| shape[1].is_multiple_of(kind.block_len()));
        // What does not fit stays as it is, of codes that no type holds as floats.
        let kept = own.or_else(|| to.map(|_| GgmlType::F32));
        let Some(kind) = fitting.or(kept) else {
            let name = self.source.name(tensor);
            let format = match &stored {
                StoredMatrix::Quantized(matrix) => matrix.format().to_string(),
                _ => "in codes whose columns have an order of their own".to_owned(),
            };
            return Err(self.no_place(
                format!("`{name}`, {format},"),
                "groups of 32 with f16 scales, symmetric or of 4 bits with zero points; --to f16, q4_0, q4_1 or q8_0 \
                 rounds others",
            ));
        };
        self.push(
            Part::Matrix(tensor),
            tensor.gguf_name(),
            shape.to_vec(),
            kind,
        );
        Ok(())
    }

    /// Weights as floats, rows in the order of the source.
    fn values(&self, tensor: ModelTensor) -> Result<Vec<f32>, LlamaError> {
        self.source
            .matrix(tensor)?
            .values()
            .map_err(LlamaError::Tensor)
    }

    /// Rows of this tensor in a GGUF file, where they are in another order there.
    fn rows(&self, tensor: ModelTensor) -> Option<Vec<usize>> {
        let is_moved = self.source.rotation() == Rotation::Halves
            && gguf_rotation(self.config.kind) == Rotation::Neighbours;
        let heads = match tensor {
            ModelTensor::Q(_) => self.config.n_heads,
            ModelTensor::K(_) => self.config.n_kv_heads,
            _ => return None,
        };
        is_moved.then(|| neighbours_of_halves(heads, self.config.head_dim))
    }

    fn permuted(&self, tensor: ModelTensor, values: Vec<f32>, k: usize) -> Vec<f32> {
        match self.rows(tensor) {
            None => values,
            Some(rows) => rows
                .iter()
                .flat_map(|&row| &values[row * k..(row + 1) * k])
                .copied()
                .collect(),
        }
    }

    /// The contents of a tensor.
    fn bytes(&self, index: usize) -> Result<Vec<u8>, LlamaError> {
        let (part, entry) = &self.tensors[index];
        let (name, kind) = (entry.name.as_str(), entry.kind);
        let floats = |values: &[f32], n: usize, k: usize| {
            encode(name, kind, values, n, k).map_err(|reason| self.blocks(reason))
        };
        let tensor = match part {
            Part::Factors(factors) => return floats(factors, 1, factors.len()),
            Part::Vector(tensor) => {
                let host = self.source.vector(*tensor)?;
                if host.shape() != entry.shape {
                    return Err(LlamaError::Shape {
                        file: self.source.path().to_owned(),
                        name: self.source.name(*tensor),
                        found: host.shape().to_vec(),
                        expected: entry.shape.clone(),
                    });
                }
                let values = host.to_f32().map_err(LlamaError::Tensor)?;
                return floats(&values, 1, values.len());
            }
            Part::Matrix(tensor) => *tensor,
        };
        if let StoredMatrix::Quantized(matrix) = self.source.matrix(tensor)?
            && held_by(matrix.format()) == Some(kind)
        {
            let sorted = match self.rows(tensor) {
                None => Some(matrix),
                Some(rows) => matrix.select_rows(&rows),
            };
            // Groups have scales of their own, so any rows can be taken.
            if let Some(sorted) = sorted {
                let (_, bytes) = to_blocks(name, &sorted).map_err(|reason| self.blocks(reason))?;
                return Ok(bytes);
            }
        }
        let [n, k] = [entry.shape[0], entry.shape[1]];
        floats(&self.permuted(tensor, self.values(tensor)?, k), n, k)
    }

    /// What rotations of Llama 3 divide frequencies by.
    fn factors(&self) -> Option<Vec<f32>> {
        let scaling = self.config.rope_scaling;
        if !matches!(scaling, RotaryScaling::Llama3 { .. }) {
            return None;
        }
        let all = rotary_frequencies(self.config.head_dim, self.config.rope_base);
        Some(
            all.iter()
                .map(|&own| (own / scaling.scaled(own)) as f32)
                .collect(),
        )
    }

    const fn architecture(&self) -> &'static str {
        match self.config.kind {
            DecoderKind::Llama | DecoderKind::Mistral => "llama",
            DecoderKind::Qwen2 => "qwen2",
            DecoderKind::Qwen3 => "qwen3",
        }
    }

    /// The metadata of its sizes.
    fn sizes(&self, name: &str) -> Vec<(String, Value)> {
        let (config, architecture) = (&self.config, self.architecture());
        let text = |text: &str| Value::String(text.to_owned());
        // Larger ones are refused when they are read back.
        let count = |count: usize| Value::U32(u32::try_from(count).unwrap_or(u32::MAX));
        let float = |value: f64| Value::F32(value as f32);
        let mut pairs = vec![
            ("general.architecture".to_owned(), text(architecture)),
            ("general.name".to_owned(), text(name)),
            ("general.quantization_version".to_owned(), Value::U32(2)),
        ];
        let mut own = vec![
            ("context_length", count(config.context)),
            ("embedding_length", count(config.width)),
            ("block_count", count(config.n_layers)),
            ("feed_forward_length", count(config.ffn_width)),
            ("vocab_size", count(config.vocabulary)),
            ("attention.head_count", count(config.n_heads)),
            ("attention.head_count_kv", count(config.n_kv_heads)),
            ("attention.key_length", count(config.head_dim)),
            ("attention.value_length", count(config.head_dim)),
            (
                "attention.layer_norm_rms_epsilon",
                float(config.rms_epsilon),
            ),
            ("rope.dimension_count", count(config.head_dim)),
            ("rope.freq_base", float(config.rope_base)),
        ];
        if let RotaryScaling::Linear { factor } = config.rope_scaling {
            own.push(("rope.scaling.type", text("linear")));
            own.push(("rope.scaling.factor", float(factor)));
        }
        own.extend(
            config
                .sliding_window
                .map(|n| ("attention.sliding_window", count(n))),
        );
        pairs.extend(
            own.into_iter()
                .map(|(key, value)| (format!("{architecture}.{key}"), value)),
        );
        pairs
    }

    /// The configuration as it will be read from the file.
    fn as_read(&self) -> DecoderConfig {
        let single = |value: f64| f64::from(value as f32);
        DecoderConfig {
            kind: match self.config.kind {
                DecoderKind::Mistral => DecoderKind::Llama,
                other => other,
            },
            rope_base: single(self.config.rope_base),
            rms_epsilon: single(self.config.rms_epsilon),
            rope_scaling: match self.config.rope_scaling {
                // Its factors are a tensor.
                RotaryScaling::Llama3 { .. } | RotaryScaling::None => RotaryScaling::None,
                RotaryScaling::Linear { factor } => RotaryScaling::Linear {
                    factor: single(factor),
                },
            },
            tied_head: None,
            ..self.config.clone()
        }
    }

    /// `enum llama_ftype`: what most of the layers' weights are.
    fn file_type(&self) -> u32 {
        let mut counts: Vec<(GgmlType, usize)> = Vec::new();
        for (part, entry) in &self.tensors {
            let is_end = matches!(
                part,
                Part::Matrix(ModelTensor::Embedding | ModelTensor::Head)
            );
            if is_end || !matches!(part, Part::Matrix(_)) {
                continue;
            }
            let n: usize = entry.shape.iter().product();
            match counts.iter_mut().find(|(kind, _)| *kind == entry.kind) {
                Some((_, count)) => *count += n,
                None => counts.push((entry.kind, n)),
            }
        }
        // The first of equal ones.
        let most = counts.iter().rev().max_by_key(|(_, count)| *count);
        match most.map(|(kind, _)| *kind) {
            Some(GgmlType::F16) => 1,
            Some(GgmlType::Q4_0) => 2,
            Some(GgmlType::Q4_1) => 3,
            Some(GgmlType::Q8_0) => 7,
            Some(GgmlType::Bf16) => 32,
            _ => 0,
        }
    }
}

/// The row of a GGUF file for each row of Hugging Face's: there the elements of a pair are neighbours, here each is in
/// its half of a head.
pub(crate) fn halves_of_neighbours(heads: usize, head_dim: usize) -> Vec<usize> {
    let pairs = head_dim / 2;
    let of = |row: usize| {
        let (head, at) = (row / head_dim, row % head_dim);
        head * head_dim + 2 * (at % pairs) + at / pairs
    };
    (0..heads * head_dim).map(of).collect()
}

/// The inverse: the row of Hugging Face's for each row of a GGUF file.
pub(crate) fn neighbours_of_halves(heads: usize, head_dim: usize) -> Vec<usize> {
    let there = halves_of_neighbours(heads, head_dim);
    let mut here = vec![0; there.len()];
    for (row, &other) in there.iter().enumerate() {
        here[other] = row;
    }
    here
}
