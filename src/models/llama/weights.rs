//! Uploads: matrices in their formats, those that read the same input below each other.

use crate::io::hf::{DecoderConfig, DecoderKind};
use crate::kernels::FloatType;
use crate::num::QuantizedMatrix;
use crate::ops::nn::{Indices, embedding};
use crate::ops::{
    ActivationPath, CODED_BLOCK, CodedRows, LinearOptions, OpError, Weight, concatenate, linear,
    linear_on_codes, transpose,
};
use crate::record::{Command, Recording, Tensor};
use crate::tensor::HostTensor;

use super::block::{Layer, view};
use super::{LlamaError, ModelTensor, StoredMatrix, WeightSource};

/// Rows that products read: as they are, or as the codes that all of these products take.
#[derive(Debug, Clone)]
pub(super) enum Rows {
    Float(Tensor),
    Codes(CodedRows),
}

impl Rows {
    /// The rows as they are.
    ///
    /// # Errors
    /// [`OpError::Shape`] for codes.
    pub(super) fn float(self) -> Result<Tensor, OpError> {
        match self {
            Self::Float(rows) => Ok(rows),
            Self::Codes(_) => Err(OpError::Shape {
                op: "layer",
                what: "what a product reads",
                got: Vec::new(),
                expected: "floats: activations that are not quantized".to_owned(),
            }),
        }
    }
}

/// A weight, and the order in which its columns meet the inputs.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    weight: Weight,
    /// Column `j` meets input `order[j]`; `None` when columns are inputs.
    order: Option<Indices>,
}

impl Linear {
    pub(super) const fn is_quantized(&self) -> bool {
        matches!(self.weight, Weight::Quantized(_))
    }

    /// Codes summed together in the rows this product takes as codes in blocks of 32; `None` where it takes none.
    pub(super) fn segment(&self, activations: ActivationPath) -> Option<u32> {
        match (&self.weight, &self.order, activations) {
            (Weight::Quantized(weight), None, ActivationPath::Int8PerBlock(CODED_BLOCK)) => {
                let segment = weight.segment(CODED_BLOCK);
                let [_, k] = self.weight.shape().ok()?;
                let fits = k.is_multiple_of(CODED_BLOCK as usize)
                    && segment.is_multiple_of(8)
                    && CODED_BLOCK.is_multiple_of(segment);
                fits.then_some(segment)
            }
            _ => None,
        }
    }

    /// `x w^T`, f32 `[m, n]`, with a bias `[n]` or a residual `[m, n]` added.
    pub(super) fn record(
        &self,
        recording: &mut Recording,
        x: &Rows,
        activations: ActivationPath,
        (bias, residual): (Option<&Tensor>, Option<&Tensor>),
    ) -> Result<Tensor, OpError> {
        let options = LinearOptions {
            activations: path(&self.weight, activations),
            bias,
            residual,
            ..LinearOptions::default()
        };
        let x = match (x, &self.weight) {
            (Rows::Codes(codes), Weight::Quantized(weight)) => {
                return linear_on_codes(recording, codes, weight, &options);
            }
            (rows, _) => rows.clone().float()?,
        };
        match &self.order {
            None => linear(recording, &x, &self.weight, &options),
            Some(order) => {
                let x = ordered(recording, &x, order)?;
                linear(recording, &x, &self.weight, &options)
            }
        }
    }
}

impl From<Weight> for Linear {
    fn from(weight: Weight) -> Self {
        Self {
            weight,
            order: None,
        }
    }
}

/// Columns of x `[m, k]` in another order: rows of its transpose, which a single row is already.
fn ordered(recording: &mut Recording, x: &Tensor, order: &Indices) -> Result<Tensor, OpError> {
    let [m, k] = *x.shape() else {
        return Err(OpError::Shape {
            op: "order of columns",
            what: "x",
            got: x.shape().to_vec(),
            expected: "[m, k]".to_owned(),
        });
    };
    let columns = match m {
        1 => view(x, &[k, 1]),
        _ => transpose(recording, x)?,
    };
    let columns = embedding(recording, &columns, order, FloatType::F32)?;
    match m {
        1 => Ok(view(&columns, &[1, k])),
        _ => transpose(recording, &columns),
    }
}

/// Matrices that read the same input: one where their formats and orders are the same.
#[derive(Debug, Clone)]
pub(super) struct Joined(Vec<Linear>);

impl Joined {
    pub(super) fn is_quantized(&self) -> bool {
        self.0.iter().any(Linear::is_quantized)
    }

    /// As [`Linear::segment`], where all products take the same codes.
    pub(super) fn segment(&self, activations: ActivationPath) -> Option<u32> {
        let mut all = self.0.iter().map(|one| one.segment(activations));
        let first = all.next().flatten()?;
        all.all(|segment| segment == Some(first)).then_some(first)
    }

    /// The products side by side, f32 `[m, n of all]`.
    pub(super) fn record(
        &self,
        recording: &mut Recording,
        x: &Rows,
        activations: ActivationPath,
        bias: Option<&Tensor>,
    ) -> Result<Tensor, OpError> {
        if let [one] = self.0.as_slice() {
            return one.record(recording, x, activations, (bias, None));
        }
        let (mut products, mut first) = (Vec::new(), 0);
        for one in &self.0 {
            let [n, _] = one.weight.shape()?;
            let bias = match bias {
                None => None,
                Some(bias) => Some(crate::ops::slice(recording, bias, 0, first..first + n)?),
            };
            products.push(one.record(recording, x, activations, (bias.as_ref(), None))?);
            first += n;
        }
        let products: Vec<&Tensor> = products.iter().collect();
        concatenate(recording, &products, 1)
    }
}

/// Integers meet quantized weights only.
const fn path(weight: &Weight, activations: ActivationPath) -> ActivationPath {
    match weight {
        Weight::Quantized(_) => activations,
        Weight::Dense(_) | Weight::Sparse(_) => ActivationPath::Float,
    }
}

/// Reads tensors, checks their shapes, and records their uploads.
pub(super) struct Loader<'a> {
    source: &'a dyn WeightSource,
    config: &'a DecoderConfig,
    recording: Recording,
    n_bytes: u64,
}

impl<'a> Loader<'a> {
    pub(super) fn new(
        source: &'a dyn WeightSource,
        config: &'a DecoderConfig,
    ) -> Result<Self, LlamaError> {
        let head_dim = config.head_dim;
        if !head_dim.is_multiple_of(8) || head_dim > 256 || head_dim == 0 {
            return Err(LlamaError::Size {
                file: source.path().to_owned(),
                what: "head width",
                value: head_dim,
                allowed: "multiples of 8 up to 256",
            });
        }
        Ok(Self {
            source,
            config,
            recording: Recording::new(),
            n_bytes: 0,
        })
    }

    /// What was recorded since the last time.
    pub(super) fn take(&mut self) -> Recording {
        let recording = std::mem::take(&mut self.recording);
        for command in recording.commands() {
            if let Command::Upload { buffer, .. } = command {
                self.n_bytes += buffer.bytes();
            }
        }
        recording
    }

    /// Bytes of all recordings taken.
    pub(super) const fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Embedding, head and the norm before it.
    pub(super) fn ends(&mut self) -> Result<(Weight, Linear, Tensor), LlamaError> {
        let embedding = self.embedding()?;
        let head = match self.is_tied() {
            true => embedding.clone().into(),
            false => self.weight(ModelTensor::Head, self.table())?,
        };
        let norm = self.vector(ModelTensor::OutputNorm, self.config.width)?;
        Ok((embedding, head, norm))
    }

    /// The head and the norm before it.
    pub(super) fn head(&mut self) -> Result<(Linear, Tensor), LlamaError> {
        let tensor = match self.is_tied() {
            true => ModelTensor::Embedding,
            false => ModelTensor::Head,
        };
        let head = self.weight(tensor, self.table())?;
        let norm = self.vector(ModelTensor::OutputNorm, self.config.width)?;
        Ok((head, norm))
    }

    fn is_tied(&self) -> bool {
        let own = self.config.tied_head;
        own.unwrap_or_else(|| !self.source.has(ModelTensor::Head))
    }

    const fn table(&self) -> [usize; 2] {
        [self.config.vocabulary, self.config.width]
    }

    /// `[vocabulary, width]`
    pub(super) fn embedding(&mut self) -> Result<Weight, LlamaError> {
        Ok(self.weight(ModelTensor::Embedding, self.table())?.weight)
    }

    pub(super) fn layer(&mut self, index: usize) -> Result<Layer, LlamaError> {
        use ModelTensor as T;
        let DecoderConfig {
            kind,
            width,
            ffn_width,
            n_heads,
            n_kv_heads,
            head_dim,
            ..
        } = *self.config;
        let (q, kv) = (n_heads * head_dim, n_kv_heads * head_dim);
        let qkv_bias = match kind {
            DecoderKind::Qwen2 => Some(self.biases([
                (T::QBias(index), q),
                (T::KBias(index), kv),
                (T::VBias(index), kv),
            ])?),
            DecoderKind::Llama | DecoderKind::Mistral | DecoderKind::Qwen3 => None,
        };
        let head_norms = match kind {
            DecoderKind::Qwen3 => Some([
                self.vector(T::QNorm(index), head_dim)?,
                self.vector(T::KNorm(index), head_dim)?,
            ]),
            DecoderKind::Llama | DecoderKind::Mistral | DecoderKind::Qwen2 => None,
        };
        Ok(Layer {
            attention_norm: self.vector(T::AttentionNorm(index), width)?,
            qkv: self.joined(&[
                (T::Q(index), [q, width]),
                (T::K(index), [kv, width]),
                (T::V(index), [kv, width]),
            ])?,
            qkv_bias,
            head_norms,
            out: self.weight(T::AttentionOut(index), [width, q])?,
            ffn_norm: self.vector(T::FfnNorm(index), width)?,
            gate_up: self.joined(&[
                (T::Gate(index), [ffn_width, width]),
                (T::Up(index), [ffn_width, width]),
            ])?,
            down: self.weight(T::Down(index), [width, ffn_width])?,
        })
    }

    fn joined(&mut self, tensors: &[(ModelTensor, [usize; 2])]) -> Result<Joined, LlamaError> {
        let mut stored = Vec::new();
        for &(tensor, shape) in tensors {
            stored.push(self.stored(tensor, shape)?);
        }
        let stored = match join(&stored)? {
            Some(one) => vec![one],
            None => stored,
        };
        let weights = stored.iter().map(|one| self.upload(one));
        Ok(Joined(weights.collect::<Result<_, _>>()?))
    }

    fn weight(&mut self, tensor: ModelTensor, shape: [usize; 2]) -> Result<Linear, LlamaError> {
        let stored = self.stored(tensor, shape)?;
        self.upload(&stored)
    }

    fn stored(&self, tensor: ModelTensor, shape: [usize; 2]) -> Result<StoredMatrix, LlamaError> {
        let stored = self.source.matrix(tensor)?;
        self.check(tensor, &stored.shape(), &shape)?;
        if let StoredMatrix::Dense(host) = &stored {
            self.check_values(tensor, host)?;
        }
        Ok(stored)
    }

    fn upload(&mut self, stored: &StoredMatrix) -> Result<Linear, LlamaError> {
        let recording = &mut self.recording;
        Ok(match stored {
            StoredMatrix::Dense(host) => Weight::upload_dense(recording, host)?.into(),
            StoredMatrix::Quantized(matrix) => Weight::upload_quantized(recording, matrix).into(),
            StoredMatrix::Ordered(matrix, order) => {
                let (k, shape) = (matrix.k(), [matrix.k()]);
                let order =
                    Indices::upload(recording, "order of columns", &shape, (order.as_slice(), k))?;
                Linear {
                    weight: Weight::upload_quantized(recording, matrix),
                    order: Some(order),
                }
            }
        })
    }

    fn vector(&mut self, tensor: ModelTensor, len: usize) -> Result<Tensor, LlamaError> {
        let values = self.values(tensor, len)?;
        self.upload_vector(&values)
    }

    fn values(&self, tensor: ModelTensor, len: usize) -> Result<Vec<f32>, LlamaError> {
        let host = self.source.vector(tensor)?;
        self.check(tensor, host.shape(), &[len])?;
        self.check_values(tensor, &host)
    }

    /// The values of floats that are all finite.
    fn check_values(&self, tensor: ModelTensor, host: &HostTensor) -> Result<Vec<f32>, LlamaError> {
        let (file, name) = (
            || self.source.path().to_owned(),
            || self.source.name(tensor),
        );
        let values = host.to_f32().map_err(|reason| LlamaError::Type {
            file: file(),
            name: name(),
            reason: Box::new(reason),
        })?;
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(index) => Err(LlamaError::Value {
                file: file(),
                name: name(),
                index,
                value: values[index],
                allowed: "finite numbers",
            }),
        }
    }

    fn upload_vector(&mut self, values: &[f32]) -> Result<Tensor, LlamaError> {
        let host = HostTensor::from_f32(vec![values.len()], values).map_err(LlamaError::Tensor)?;
        Ok(self.recording.upload(&host))
    }

    fn biases(&mut self, parts: [(ModelTensor, usize); 3]) -> Result<Tensor, LlamaError> {
        let mut all = Vec::new();
        for (tensor, len) in parts {
            all.extend(self.values(tensor, len)?);
        }
        self.upload_vector(&all)
    }

    fn check(
        &self,
        tensor: ModelTensor,
        found: &[usize],
        expected: &[usize],
    ) -> Result<(), LlamaError> {
        if found == expected {
            return Ok(());
        }
        Err(LlamaError::Shape {
            file: self.source.path().to_owned(),
            name: self.source.name(tensor),
            found: found.to_vec(),
            expected: expected.to_vec(),
        })
    }
}

/// One matrix of all rows, where the formats allow it.
fn join(stored: &[StoredMatrix]) -> Result<Option<StoredMatrix>, LlamaError> {
    let (mut dense, mut quantized): (Vec<&HostTensor>, Vec<QuantizedMatrix>) = Default::default();
    let mut orders: Vec<Option<&Vec<u32>>> = Vec::new();
    for one in stored {
        match one {
            StoredMatrix::Dense(host) => dense.push(host),
            StoredMatrix::Quantized(matrix) => {
                quantized.push(matrix.clone());
                orders.push(None);
            }
            StoredMatrix::Ordered(matrix, order) => {
                quantized.push(matrix.clone());
                orders.push(Some(order));
            }
        }
    }
    if quantized.len() == stored.len() {
        if orders.iter().any(|order| *order != orders[0]) {
            return Ok(None);
        }
        let joined = QuantizedMatrix::stacked(&quantized);
        return Ok(joined.map(|joined| match orders[0] {
            None => StoredMatrix::Quantized(joined),
            Some(order) => StoredMatrix::Ordered(joined, order.clone()),
        }));
    }
    let Some(first) = dense.first() else {
        return Ok(None);
    };
    if dense.len() < stored.len() || dense.iter().any(|host| host.dtype() != first.dtype()) {
        return Ok(None);
    }
    let n = dense.iter().map(|host| host.shape()[0]).sum();
    let shape = vec![n, first.shape()[1]];
    let bytes = dense
        .iter()
        .flat_map(|host| host.bytes())
        .copied()
        .collect();
    let joined = HostTensor::new(first.dtype(), shape, bytes).map_err(LlamaError::Tensor)?;
    Ok(Some(StoredMatrix::Dense(joined)))
}
