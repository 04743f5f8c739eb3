//! BERT encoders (Devlin et al. 2019) as sentence encoders: tokens to one unit vector for each sequence.
//!
//! A layer is `a = norm(x + out(attention(x)))`, `y = norm(a + down(gelu(up(a))))`, with layer normalization after
//! each sum and GELU by the error function. A sequence's vector is the mean of the last hidden states of its own
//! tokens, divided by its length (Reimers and Gurevych 2019).
//!
//! Sequences of a batch are padded to one length. A padded position computes something that nothing reads:
//! attention takes the keys of a sequence's own tokens only, and so does the mean, which *is* attention with a query
//! of zeros: all scores are 0, so all tokens weigh the same.

use crate::io::hf::{EncoderConfig, QuantizationConfig, QuantizedLinear, Shards};
use crate::kernels::FloatType;
use crate::kernels::elementwise::{Binary, Broadcast};
use crate::num::QuantizedMatrix;
use crate::ops::nn::{
    AttentionOptions, Curve, Heads, Indices, NormKind, NormOptions, activation, attention,
    embedding, embedding_quantized, norm,
};
use crate::ops::{ActivationPath, LinearOptions, OpError, QuantizedWeight, Weight, binary, linear};
use crate::record::{Recording, Tensor};
use crate::tensor::{DType, HostTensor};

use super::ModelError;
use super::network::finite_f32;

/// Added to the mean square of a sentence's vector before its root: a vector of zeros stays one.
const UNIT_EPSILON: f32 = 1e-24;

/// A linear layer of an encoder layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BertLinear {
    /// Queries.
    Query,
    /// Keys.
    Key,
    /// Values.
    Value,
    /// What mixes the heads again.
    AttentionOutput,
    /// Into the wide part.
    Up,
    /// Out of it.
    Down,
}

impl BertLinear {
    /// All of them, in the order they run.
    pub const ALL: [Self; 6] = [
        Self::Query,
        Self::Key,
        Self::Value,
        Self::AttentionOutput,
        Self::Up,
        Self::Down,
    ];

    /// Its name in files, without `.weight`.
    pub fn name(self, layer: usize) -> String {
        let part = match self {
            Self::Query => "attention.self.query",
            Self::Key => "attention.self.key",
            Self::Value => "attention.self.value",
            Self::AttentionOutput => "attention.output.dense",
            Self::Up => "intermediate.dense",
            Self::Down => "output.dense",
        };
        format!("encoder.layer.{layer}.{part}")
    }

    /// Output and input features.
    pub const fn shape(self, config: &EncoderConfig) -> [usize; 2] {
        match self {
            Self::Query | Self::Key | Self::Value | Self::AttentionOutput => {
                [config.width, config.width]
            }
            Self::Up => [config.ffn_width, config.width],
            Self::Down => [config.width, config.ffn_width],
        }
    }
}

/// A weight on an engine and how inputs meet it.
#[derive(Debug, Clone)]
pub struct BertWeight {
    /// `[outputs, inputs]`, in any format.
    pub weight: Weight,
    /// How activations meet it.
    pub activations: ActivationPath,
    /// Factors of the inputs, f32 `[inputs]`, whose inverses the weight's columns hold, as AWQ makes them. They
    /// are a launch of their own: what a layer reads is also added to what it gives, so no normalization before it
    /// can take them over.
    pub input_factors: Option<Tensor>,
}

impl From<Weight> for BertWeight {
    fn from(weight: Weight) -> Self {
        Self {
            weight,
            activations: ActivationPath::Float,
            input_factors: None,
        }
    }
}

#[derive(Debug, Clone)]
struct Linear {
    at: BertWeight,
    bias: Tensor,
}

impl Linear {
    fn record(
        &self,
        recording: &mut Recording,
        x: &Tensor,
        residual: Option<&Tensor>,
    ) -> Result<Tensor, OpError> {
        let scaled = match &self.at.input_factors {
            None => None,
            Some(factors) => {
                let how = (Binary::Mul, Broadcast::Column);
                Some(binary(recording, x, factors, how, FloatType::F32)?)
            }
        };
        let options = LinearOptions {
            activations: self.at.activations,
            bias: Some(&self.bias),
            residual,
            ..LinearOptions::default()
        };
        linear(
            recording,
            scaled.as_ref().unwrap_or(x),
            &self.at.weight,
            &options,
        )
    }
}

#[derive(Debug, Clone)]
struct LayerNorm {
    gamma: Tensor,
    beta: Tensor,
    epsilon: f32,
}

impl LayerNorm {
    fn record(&self, recording: &mut Recording, x: &Tensor) -> Result<Tensor, OpError> {
        let options = NormOptions {
            kind: NormKind::Layer,
            gamma: &self.gamma,
            beta: Some(&self.beta),
            epsilon: self.epsilon,
            running: None,
            out: FloatType::F32,
        };
        Ok(norm(recording, x, &options)?.y)
    }
}

#[derive(Debug, Clone)]
struct Layer {
    /// In the order of [`BertLinear::ALL`].
    linears: [Linear; 6],
    attention_norm: LayerNorm,
    output_norm: LayerNorm,
}

#[derive(Debug, Clone)]
enum Table {
    Dense(Tensor),
    Quantized(QuantizedWeight),
}

/// A batch of padded sequences.
#[derive(Debug, Clone)]
pub struct Sequences {
    /// `[batch, tokens]`; behind the end of a sequence any token.
    pub tokens: Indices,
    /// Tokens of each sequence, at least 1, u32 `[batch]`.
    pub lengths: Tensor,
}

impl Sequences {
    fn extents(&self) -> Result<[usize; 2], OpError> {
        let shape = self.tokens.tensor().shape();
        shape.try_into().map_err(|_| OpError::Shape {
            op: "bert",
            what: "tokens",
            got: shape.to_vec(),
            expected: "[batch, tokens]".to_owned(),
        })
    }
}

/// What a layer made, all f32 `[batch * tokens, ..]`.
#[derive(Debug, Clone)]
pub struct LayerPass {
    /// What queries, keys and values read.
    pub input: Tensor,
    /// What [`BertLinear::AttentionOutput`] reads.
    pub attended: Tensor,
    /// What [`BertLinear::Up`] reads.
    pub between: Tensor,
    /// What [`BertLinear::Down`] reads.
    pub widened: Tensor,
    /// What the next layer reads.
    pub output: Tensor,
}

impl LayerPass {
    /// What a linear layer reads.
    pub const fn input_of(&self, which: BertLinear) -> &Tensor {
        match which {
            BertLinear::Query | BertLinear::Key | BertLinear::Value => &self.input,
            BertLinear::AttentionOutput => &self.attended,
            BertLinear::Up => &self.between,
            BertLinear::Down => &self.widened,
        }
    }
}

/// An encoder on an engine. A clone shares what it does not replace.
#[derive(Debug, Clone)]
pub struct Bert {
    config: EncoderConfig,
    words: Table,
    /// `[context, width]`
    positions: Tensor,
    /// What all tokens of a single sentence get, `[width]`.
    kind: Tensor,
    embedding_norm: LayerNorm,
    layers: Vec<Layer>,
    /// `1 / sqrt(width)` in each element, which makes the root of a mean that of a sum.
    unit: Tensor,
}

impl Bert {
    /// Appends the upload of a model's weights: those of linear layers that are quantized in their codes, all others as
    /// f32.
    ///
    /// # Errors
    /// [`ModelError`] naming the tensor that is missing, has another shape or type, or is not finite.
    pub fn upload(
        recording: &mut Recording,
        config: &EncoderConfig,
        (weights, quantization): (&Shards, Option<&QuantizationConfig>),
    ) -> Result<Self, ModelError> {
        let &EncoderConfig { width, context, .. } = config;
        check_layers(config, weights)?;
        let put = |recording: &mut Recording,
                   name: &str,
                   shape: &[usize]|
         -> Result<Tensor, ModelError> {
            Ok(recording.upload(&bert_tensor(weights, name, shape)?))
        };
        let words = put(
            recording,
            "embeddings.word_embeddings.weight",
            &[config.vocabulary, width],
        )?;
        let positions = put(
            recording,
            "embeddings.position_embeddings.weight",
            &[context, width],
        )?;
        let layer_norm = |recording: &mut Recording, name: &str| -> Result<LayerNorm, ModelError> {
            Ok(LayerNorm {
                gamma: put(recording, &format!("{name}.weight"), &[width])?,
                beta: put(recording, &format!("{name}.bias"), &[width])?,
                epsilon: config.norm_epsilon as f32,
            })
        };
        let embedding_norm = layer_norm(recording, "embeddings.LayerNorm")?;
        let mut norms = Vec::new();
        for index in 0..config.n_layers {
            let name = format!("encoder.layer.{index}");
            norms.push([
                layer_norm(recording, &format!("{name}.attention.output.LayerNorm"))?,
                layer_norm(recording, &format!("{name}.output.LayerNorm"))?,
            ]);
        }
        let mut layers = Vec::new();
        for (index, [attention_norm, output_norm]) in norms.into_iter().enumerate() {
            let mut one = |which: BertLinear| -> Result<Linear, ModelError> {
                let (name, [n, k]) = (which.name(index), which.shape(config));
                let bias = put(recording, &format!("{name}.bias"), &[n])?;
                let coded = match quantization {
                    None => None,
                    Some(how) => coded(weights, how, (&name, [n, k]))?,
                };
                let weight = match coded {
                    Some(matrix) => Weight::upload_quantized(recording, &matrix),
                    None => Weight::Dense(put(recording, &format!("{name}.weight"), &[n, k])?),
                };
                Ok(Linear {
                    at: weight.into(),
                    bias,
                })
            };
            layers.push(Layer {
                linears: [
                    one(BertLinear::Query)?,
                    one(BertLinear::Key)?,
                    one(BertLinear::Value)?,
                    one(BertLinear::AttentionOutput)?,
                    one(BertLinear::Up)?,
                    one(BertLinear::Down)?,
                ],
                attention_norm,
                output_norm,
            });
        }
        let kind = first_row(weights, "embeddings.token_type_embeddings.weight", width)?;
        let unit = vec![(width as f64).sqrt().recip() as f32; width];
        Ok(Self {
            config: config.clone(),
            words: Table::Dense(words),
            positions,
            kind: recording.upload(&kind),
            embedding_norm,
            layers,
            unit: recording.upload(&HostTensor::from_f32(vec![width], &unit)?),
        })
    }

    /// Sizes.
    pub const fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// A linear layer's weight.
    ///
    /// # Panics
    /// For a layer that is not there.
    pub fn weight(&self, layer: usize, which: BertLinear) -> &BertWeight {
        &self.layers[layer].linears[which as usize].at
    }

    /// Puts another weight in the place of a linear layer's.
    ///
    /// # Errors
    /// [`OpError::Shape`] for another shape.
    ///
    /// # Panics
    /// For a layer that is not there.
    pub fn set_weight(
        &mut self,
        layer: usize,
        which: BertLinear,
        weight: impl Into<BertWeight>,
    ) -> Result<(), OpError> {
        let weight = weight.into();
        let (got, expected) = (weight.weight.shape()?, which.shape(&self.config));
        if got != expected {
            return Err(OpError::Shape {
                op: "bert",
                what: "weight",
                got: got.to_vec(),
                expected: format!("{expected:?} of {}", which.name(layer)),
            });
        }
        self.layers[layer].linears[which as usize].at = weight;
        Ok(())
    }

    /// Puts a quantized table `[vocabulary, width]` in the place of the word embeddings.
    ///
    /// # Errors
    /// [`OpError::Shape`] for another shape.
    pub fn set_words(&mut self, table: QuantizedWeight) -> Result<(), OpError> {
        let got = Weight::Quantized(table.clone()).shape()?;
        let expected = [self.config.vocabulary, self.config.width];
        if got != expected {
            return Err(OpError::Shape {
                op: "bert",
                what: "word embeddings",
                got: got.to_vec(),
                expected: format!("{expected:?}"),
            });
        }
        self.words = Table::Quantized(table);
        Ok(())
    }

    /// Appends a whole pass: unit vectors f32 `[batch, width]`.
    ///
    /// # Errors
    /// [`OpError`]: tokens that are not `[batch, tokens]` or more than the model has positions for, and lengths
    /// that are not u32 `[batch]`.
    pub fn record(
        &self,
        recording: &mut Recording,
        sequences: &Sequences,
    ) -> Result<Tensor, OpError> {
        let mut hidden = self.record_embeddings(recording, sequences)?;
        for layer in 0..self.layers.len() {
            hidden = self
                .record_layer(recording, layer, &hidden, sequences)?
                .output;
        }
        self.record_sentences(recording, &hidden, sequences)
    }

    /// What the first layer reads: words, positions and the kind of a single sentence, normalized.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub fn record_embeddings(
        &self,
        recording: &mut Recording,
        sequences: &Sequences,
    ) -> Result<Tensor, OpError> {
        let [batch, tokens] = sequences.extents()?;
        let words = match &self.words {
            Table::Dense(table) => embedding(recording, table, &sequences.tokens, FloatType::F32)?,
            Table::Quantized(table) => {
                embedding_quantized(recording, table, &sequences.tokens, FloatType::F32)?
            }
        };
        let places: Vec<u32> = (0..batch).flat_map(|_| 0..tokens as u32).collect();
        let limit = self.config.context;
        let places = Indices::upload(recording, "positions", &[batch, tokens], (&places, limit))?;
        let positions = embedding(recording, &self.positions, &places, FloatType::F32)?;
        let rows = (Binary::Add, Broadcast::Full);
        let columns = (Binary::Add, Broadcast::Column);
        let sum = binary(recording, &words, &self.kind, columns, FloatType::F32)?;
        let sum = binary(recording, &sum, &positions, rows, FloatType::F32)?;
        let hidden = self.embedding_norm.record(recording, &sum)?;
        Ok(shaped(&hidden, &[batch * tokens, self.config.width]))
    }

    /// One layer over `hidden [batch * tokens, width]`.
    ///
    /// # Errors
    /// As [`Self::record`]; a hidden state of another shape.
    ///
    /// # Panics
    /// For a layer that is not there.
    pub fn record_layer(
        &self,
        recording: &mut Recording,
        layer: usize,
        hidden: &Tensor,
        sequences: &Sequences,
    ) -> Result<LayerPass, OpError> {
        let [batch, tokens] = sequences.extents()?;
        let Layer {
            linears: [query, key, value, attention_output, up, down],
            attention_norm,
            output_norm,
        } = &self.layers[layer];
        let heads = self.config.n_heads;
        let by_head = [batch, tokens, heads, self.config.width / heads];
        let q = shaped(&query.record(recording, hidden, None)?, &by_head);
        let k = shaped(&key.record(recording, hidden, None)?, &by_head);
        let v = shaped(&value.record(recording, hidden, None)?, &by_head);
        let options = AttentionOptions {
            lengths: Some(sequences.lengths.clone()),
            ..AttentionOptions::default()
        };
        let (q, k, v) = (&q, &k, &v);
        let attended = attention(recording, Heads { q, k, v }, &options)?.out;
        let attended = shaped(&attended, hidden.shape());
        let sum = attention_output.record(recording, &attended, Some(hidden))?;
        let between = attention_norm.record(recording, &sum)?;
        let wide = up.record(recording, &between, None)?;
        let widened = activation(recording, &wide, Curve::GeluErf, FloatType::F32)?;
        let sum = down.record(recording, &widened, Some(&between))?;
        Ok(LayerPass {
            input: hidden.clone(),
            attended,
            between,
            widened,
            output: output_norm.record(recording, &sum)?,
        })
    }

    /// Unit vectors f32 `[batch, width]` from the last hidden state `[batch * tokens, width]`.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub fn record_sentences(
        &self,
        recording: &mut Recording,
        hidden: &Tensor,
        sequences: &Sequences,
    ) -> Result<Tensor, OpError> {
        let [batch, tokens] = sequences.extents()?;
        let &EncoderConfig { width, n_heads, .. } = &self.config;
        let dim = width / n_heads;
        let hidden = shaped(hidden, &[batch, tokens, n_heads, dim]);
        let query = recording.tensor(DType::F32, &[batch, 1, n_heads, dim]);
        recording.upload_words(query.buffer(), vec![0; query.len()])?;
        let options = AttentionOptions {
            lengths: Some(sequences.lengths.clone()),
            ..AttentionOptions::default()
        };
        let heads = Heads {
            q: &query,
            k: &hidden,
            v: &hidden,
        };
        let mean = attention(recording, heads, &options)?.out;
        let options = NormOptions {
            kind: NormKind::Rms,
            gamma: &self.unit,
            beta: None,
            epsilon: UNIT_EPSILON,
            running: None,
            out: FloatType::F32,
        };
        Ok(norm(recording, &shaped(&mean, &[batch, width]), &options)?.y)
    }
}

/// A tensor of an encoder's file as f32. Files of models with heads have `bert.` before the names.
///
/// # Errors
/// [`ModelError`] naming folder and tensor when it is missing, has another shape or type, or is not finite.
pub fn bert_tensor(
    weights: &Shards,
    name: &str,
    shape: &[usize],
) -> Result<HostTensor, ModelError> {
    let name = stored_name(weights, name);
    let tensor = weights.tensor(&name)?;
    finite_f32(weights.folder(), &name, &tensor, shape)
}

/// Whether an encoder's sizes are those of the tensors in its file, none of them in codes: as many layers, and
/// embeddings and linear weights of the shapes that the sizes call for. Only headers are looked at.
///
/// # Errors
/// [`ModelError`] naming the folder for another number of layers, and the tensor that is missing or has another shape.
pub fn check_bert_sizes(config: &EncoderConfig, weights: &Shards) -> Result<(), ModelError> {
    check_layers(config, weights)?;
    let check = |name: &str, expected: [usize; 2]| {
        let name = stored_name(weights, name);
        let (entry, _) = weights.tensor_bytes(&name)?;
        if entry.shape == expected {
            return Ok(());
        }
        Err(ModelError::OtherShape {
            file: weights.folder().to_owned(),
            name,
            found: entry.shape.clone(),
            expected: expected.to_vec(),
        })
    };
    let width = config.width;
    check(
        "embeddings.word_embeddings.weight",
        [config.vocabulary, width],
    )?;
    check(
        "embeddings.position_embeddings.weight",
        [config.context, width],
    )?;
    for layer in 0..config.n_layers {
        for which in BertLinear::ALL {
            check(
                &format!("{}.weight", which.name(layer)),
                which.shape(config),
            )?;
        }
    }
    Ok(())
}

/// Whether the last layer with a tensor is the last of the configuration.
fn check_layers(config: &EncoderConfig, weights: &Shards) -> Result<(), ModelError> {
    let layer_of = |name: &str| -> Option<usize> {
        let name = name.strip_prefix("bert.").unwrap_or(name);
        let (layer, _) = name.strip_prefix("encoder.layer.")?.split_once('.')?;
        layer.parse().ok()
    };
    let last = weights.names().filter_map(layer_of).max();
    let found = last.map_or(0, |last| last.saturating_add(1));
    if found == config.n_layers {
        return Ok(());
    }
    Err(ModelError::OtherLayers {
        folder: weights.folder().to_owned(),
        found,
        expected: config.n_layers,
    })
}

/// The first row of a table of any number of rows.
fn first_row(weights: &Shards, name: &str, width: usize) -> Result<HostTensor, ModelError> {
    let rows = match weights.tensor(&stored_name(weights, name))?.shape() {
        &[rows, _] => rows.max(1),
        _ => 1,
    };
    let table = bert_tensor(weights, name, &[rows, width])?.to_f32()?;
    Ok(HostTensor::from_f32(vec![width], &table[..width])?)
}

/// The codes of a linear layer, if it has any.
fn coded(
    weights: &Shards,
    how: &QuantizationConfig,
    (name, [n, k]): (&str, [usize; 2]),
) -> Result<Option<QuantizedMatrix>, ModelError> {
    let prefixed = format!("bert.{name}");
    let layer = match how.is_quantized(weights, &prefixed) {
        true => prefixed.as_str(),
        false => name,
    };
    let Some(QuantizedLinear { matrix, order }) = how.linear(weights, layer)? else {
        return Ok(None);
    };
    let file = || weights.folder().to_owned();
    if order.is_some() {
        return Err(ModelError::Ordered {
            file: file(),
            name: layer.to_owned(),
        });
    }
    let found = vec![matrix.n(), matrix.k()];
    if found != [n, k] {
        return Err(ModelError::OtherShape {
            file: file(),
            name: format!("{layer}.weight"),
            found,
            expected: vec![n, k],
        });
    }
    Ok(Some(matrix))
}

/// The name that a tensor has in a file: some have `bert.` before it.
pub(crate) fn stored_name(weights: &Shards, name: &str) -> String {
    let prefixed = format!("bert.{name}");
    if !weights.has(name) && weights.has(&prefixed) {
        return prefixed;
    }
    name.to_owned()
}

/// The same elements under another shape.
fn shaped(tensor: &Tensor, shape: &[usize]) -> Tensor {
    Tensor::of_buffer(tensor.buffer().clone(), tensor.dtype(), shape)
}
