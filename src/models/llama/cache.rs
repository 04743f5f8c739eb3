//! Keys and values of the positions that were read: a pair of tensors a layer.

use std::fmt;
use std::str::FromStr;

use crate::ops::nn::Int8Cache;
use crate::ops::{OpError, concatenate};
use crate::record::{Recording, Tensor};
use crate::tensor::DType;

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum CacheType {
    /// 32-bit.
    #[default]
    F32,
    /// IEEE half precision.
    F16,
    /// int8 codes with an f32 scale for each row of a head.
    Int8,
}

impl CacheType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Int8];

    /// Name on a command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }
}

impl fmt::Display for CacheType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for CacheType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|one| one.name() == text);
        found.ok_or_else(|| format!("{text:?} is no type of a cache; allowed: f32, f16, int8"))
    }
}

/// Keys and values of one layer, `[sequences, kv_heads, capacity, head_dim]` each.
#[derive(Debug, Clone)]
pub enum CacheRows {
    /// As floats.
    Float {
        /// Keys, rotated.
        k: Tensor,
        /// Values.
        v: Tensor,
    },
    /// As int8.
    Int8 {
        /// Keys, rotated.
        k: Int8Cache,
        /// Values.
        v: Int8Cache,
    },
}

/// Keys and values of every layer, of some sequences.
#[derive(Debug, Clone)]
pub struct KvCache {
    kind: CacheType,
    shape: [usize; 4],
    layers: Vec<CacheRows>,
}

impl KvCache {
    /// A cache `[sequences, kv_heads, capacity, head_dim]` a layer. [`Self::clear`] gives it memory.
    pub(super) fn new(kind: CacheType, n_layers: usize, shape: [usize; 4]) -> Self {
        let layers = (0..n_layers).map(|_| match kind {
            CacheType::F32 | CacheType::F16 => CacheRows::Float {
                k: Tensor::new(float(kind), &shape),
                v: Tensor::new(float(kind), &shape),
            },
            CacheType::Int8 => CacheRows::Int8 {
                k: Int8Cache::new(shape),
                v: Int8Cache::new(shape),
            },
        });
        Self {
            kind,
            shape,
            layers: layers.collect(),
        }
    }

    /// Positions of a sequence it has room for.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.shape[2]
    }

    /// How it is stored.
    #[must_use]
    pub const fn kind(&self) -> CacheType {
        self.kind
    }

    /// Bytes on the engine.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        let tensors = self.layers.iter().flat_map(CacheRows::tensors);
        tensors.map(|tensor| tensor.buffer().bytes()).sum()
    }

    /// Layer by layer.
    #[must_use]
    pub fn layers(&self) -> &[CacheRows] {
        &self.layers
    }

    /// Uploads zeros, once, before anything is appended.
    ///
    /// # Errors
    /// [`OpError::Record`]: never for a cache made here.
    pub fn clear(&self, recording: &mut Recording) -> Result<(), OpError> {
        for tensor in self.layers.iter().flat_map(CacheRows::tensors) {
            let words = tensor.buffer().bytes() / 4;
            recording.upload_words(tensor.buffer(), vec![0; words as usize])?;
        }
        Ok(())
    }

    /// A cache of `capacity` positions, more than there are now, that begins with what this one holds.
    ///
    /// # Errors
    /// [`OpError`] for a capacity past what kernels index.
    pub fn grown(&self, recording: &mut Recording, capacity: usize) -> Result<Self, OpError> {
        let mut shape = self.shape;
        shape[2] = capacity;
        let mut extra = self.shape;
        extra[2] = capacity.saturating_sub(self.shape[2]);
        // What is appended to: written by a position before it is read, so one tensor of zeros serves all.
        let zeros = |recording: &mut Recording, dtype, shape: &[usize]| {
            let tensor = recording.tensor(dtype, shape);
            let words = tensor.buffer().bytes() / 4;
            recording.upload_words(tensor.buffer(), vec![0; words as usize])?;
            Ok::<_, OpError>(tensor)
        };
        let mut layers = Vec::new();
        match self.kind {
            CacheType::F32 | CacheType::F16 => {
                let rest = zeros(recording, float(self.kind), &extra)?;
                for rows in &self.layers {
                    if let CacheRows::Float { k, v } = rows {
                        let k = concatenate(recording, &[k, &rest], 2)?;
                        let v = concatenate(recording, &[v, &rest], 2)?;
                        layers.push(CacheRows::Float { k, v });
                    }
                }
            }
            CacheType::Int8 => {
                let [batch, heads, rows, dim] = extra;
                // Four codes make the word that is copied.
                let codes = zeros(recording, DType::U32, &[batch, heads, rows, dim / 4])?;
                let scales = zeros(recording, DType::F32, &[batch, heads, rows])?;
                let mut join = |old: &Int8Cache| {
                    let [batch, heads, rows, dim] = self.shape;
                    let words = [batch, heads, rows, dim / 4];
                    let words = Tensor::of_buffer(old.codes.buffer().clone(), DType::U32, &words);
                    let joined = concatenate(recording, &[&words, &codes], 2)?;
                    Ok::<_, OpError>(Int8Cache {
                        codes: Tensor::of_buffer(joined.buffer().clone(), DType::I8, &shape),
                        scales: concatenate(recording, &[&old.scales, &scales], 2)?,
                    })
                };
                for rows in &self.layers {
                    if let CacheRows::Int8 { k, v } = rows {
                        layers.push(CacheRows::Int8 {
                            k: join(k)?,
                            v: join(v)?,
                        });
                    }
                }
            }
        }
        Ok(Self {
            kind: self.kind,
            shape,
            layers,
        })
    }
}

impl CacheRows {
    fn tensors(&self) -> Vec<&Tensor> {
        match self {
            Self::Float { k, v } => vec![k, v],
            Self::Int8 { k, v } => vec![&k.codes, &k.scales, &v.codes, &v.scales],
        }
    }
}

const fn float(kind: CacheType) -> DType {
    match kind {
        CacheType::F16 => DType::F16,
        CacheType::F32 | CacheType::Int8 => DType::F32,
    }
}
