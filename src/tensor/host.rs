//! A dense tensor in host memory: element type, shape, and little-endian row-major bytes.
//!
//! The bytes always number exactly `product(shape) * dtype.bytes()`; every constructor checks it,
//! so that code holding a [`HostTensor`] never needs to.

use std::fmt;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::{DType, TensorError, n_bytes, n_elements};

/// A dense tensor in host memory. Bytes are little-endian and row-major on every machine.
#[derive(Clone, PartialEq, Eq)]
pub struct HostTensor {
    dtype: DType,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl HostTensor {
    /// A tensor of `dtype` and `shape` over `bytes`, little-endian and row-major.
    ///
    /// # Errors
    /// [`TensorError::ByteCount`] unless `bytes` is exactly as long as the shape needs, and
    /// [`TensorError::ShapeOverflow`] if that length cannot be addressed.
    pub fn new(dtype: DType, shape: Vec<usize>, bytes: Vec<u8>) -> Result<Self, TensorError> {
        let needed = n_bytes(dtype, &shape)?;
        if needed != bytes.len() {
            return Err(TensorError::ByteCount {
                dtype,
                shape,
                needed,
                given: bytes.len(),
            });
        }
        Ok(Self {
            dtype,
            shape,
            bytes,
        })
    }

    /// An `f32` tensor holding `values` in row-major order.
    ///
    /// # Errors
    /// [`TensorError::ElementCount`] unless there is one value per element of `shape`.
    pub fn from_f32(shape: Vec<usize>, values: &[f32]) -> Result<Self, TensorError> {
        Self::from_values(DType::F32, shape, values, f32::to_le_bytes)
    }

    /// A tensor of `dtype` (`f32`, `f16` or `bf16`) holding `values` rounded to nearest, ties to
    /// even. Values beyond the range of `f16` become infinite, as IEEE 754 rounding says; NaN stays
    /// NaN.
    ///
    /// # Errors
    /// [`TensorError::UnsupportedDtype`] for any other `dtype`, [`TensorError::ElementCount`]
    /// unless there is one value per element of `shape`.
    pub fn from_f32_as(
        dtype: DType,
        shape: Vec<usize>,
        values: &[f32],
    ) -> Result<Self, TensorError> {
        match dtype {
            DType::F32 => Self::from_f32(shape, values),
            DType::F16 => {
                // A slice at once, which takes the instructions of the processor where it has them.
                let mut narrow = vec![f16::ZERO; values.len()];
                narrow.convert_from_f32_slice(values);
                Self::from_values(dtype, shape, &narrow, f16::to_le_bytes)
            }
            DType::BF16 => Self::from_values(dtype, shape, values, |value| {
                bf16::from_f32(value).to_le_bytes()
            }),
            DType::F64
            | DType::I64
            | DType::I32
            | DType::I16
            | DType::I8
            | DType::U64
            | DType::U32
            | DType::U16
            | DType::U8
            | DType::Bool => Err(TensorError::UnsupportedDtype {
                conversion: "from_f32_as",
                dtype,
                allowed: "f32, f16, bf16",
            }),
        }
    }

    /// A `u32` tensor holding `values` in row-major order: packed codes and masks.
    ///
    /// # Errors
    /// [`TensorError::ElementCount`] unless there is one value per element of `shape`.
    pub fn from_words_u32(shape: Vec<usize>, values: &[u32]) -> Result<Self, TensorError> {
        Self::from_values(DType::U32, shape, values, u32::to_le_bytes)
    }

    /// An `i8` tensor holding `values` in row-major order.
    ///
    /// # Errors
    /// [`TensorError::ElementCount`] unless there is one value per element of `shape`.
    pub fn from_i8(shape: Vec<usize>, values: &[i8]) -> Result<Self, TensorError> {
        Self::from_values(DType::I8, shape, values, i8::to_le_bytes)
    }

    /// An `i32` tensor holding `values` in row-major order.
    ///
    /// # Errors
    /// [`TensorError::ElementCount`] unless there is one value per element of `shape`.
    pub fn from_i32(shape: Vec<usize>, values: &[i32]) -> Result<Self, TensorError> {
        Self::from_values(DType::I32, shape, values, i32::to_le_bytes)
    }

    /// The inverse of [`HostTensor::words`]: a tensor of any `dtype` whose bytes fill `words` from
    /// the low byte of the first word on. The padding bytes of the last word are ignored, whatever
    /// they hold.
    ///
    /// # Errors
    /// [`TensorError::WordCount`] unless there are exactly `ceil(bytes / 4)` words, and
    /// [`TensorError::ShapeOverflow`] if the byte count cannot be addressed.
    pub fn from_words(dtype: DType, shape: Vec<usize>, words: &[u32]) -> Result<Self, TensorError> {
        let needed_bytes = n_bytes(dtype, &shape)?;
        let needed = needed_bytes.div_ceil(4);
        if needed != words.len() {
            return Err(TensorError::WordCount {
                dtype,
                shape,
                needed,
                given: words.len(),
            });
        }
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.truncate(needed_bytes);
        Ok(Self {
            dtype,
            shape,
            bytes,
        })
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The dimensions, slowest first; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The bytes, little-endian and row-major.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, without a copy.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The number of elements (not bytes).
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.bytes()
    }

    /// Whether the tensor has no elements, because a dimension is zero.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The elements as `f32`, row-major: exact for `f32`, `f16` and `bf16`, rounded to nearest even
    /// for `f64`.
    ///
    /// # Errors
    /// [`TensorError::UnsupportedDtype`] for integers: what their codes mean is for a format in
    /// `num` to say.
    pub fn to_f32(&self) -> Result<Vec<f32>, TensorError> {
        match self.dtype {
            DType::F64 => Ok(self.map(|bytes| f64::from_le_bytes(bytes) as f32)),
            DType::F32 => Ok(self.map(f32::from_le_bytes)),
            DType::F16 => Ok(self.map(|bytes| f16::from_le_bytes(bytes).to_f32())),
            DType::BF16 => Ok(self.map(|bytes| bf16::from_le_bytes(bytes).to_f32())),
            DType::I64
            | DType::I32
            | DType::I16
            | DType::I8
            | DType::U64
            | DType::U32
            | DType::U16
            | DType::U8
            | DType::Bool => Err(TensorError::UnsupportedDtype {
                conversion: "to_f32",
                dtype: self.dtype,
                allowed: "f64, f32, f16, bf16",
            }),
        }
    }

    /// The elements as `i32`, row-major; `bool` bytes keep their value.
    ///
    /// # Errors
    /// [`TensorError::UnsupportedDtype`] for floats, [`TensorError::OutOfRange`] for the first
    /// element of a wider integer type that does not fit.
    pub fn to_i32(&self) -> Result<Vec<i32>, TensorError> {
        match self.dtype {
            DType::I32 => Ok(self.map(i32::from_le_bytes)),
            DType::I16 => Ok(self.map(|bytes| i16::from_le_bytes(bytes).into())),
            DType::I8 => Ok(self.map(|bytes| i8::from_le_bytes(bytes).into())),
            DType::U16 => Ok(self.map(|bytes| u16::from_le_bytes(bytes).into())),
            DType::U8 | DType::Bool => Ok(self.map(|[byte]| byte.into())),
            DType::I64 => self.narrow(i64::from_le_bytes),
            DType::U64 => self.narrow(u64::from_le_bytes),
            DType::U32 => self.narrow(u32::from_le_bytes),
            DType::F64 | DType::F32 | DType::F16 | DType::BF16 => {
                Err(TensorError::UnsupportedDtype {
                    conversion: "to_i32",
                    dtype: self.dtype,
                    allowed: "i64, i32, i16, i8, u64, u32, u16, u8, bool",
                })
            }
        }
    }

    /// The bytes as little-endian 32-bit words, the last one padded with zero bytes: the form a
    /// WGSL `array<u32>` takes.
    pub fn words(&self) -> Vec<u32> {
        let (whole, tail) = self.bytes.as_chunks::<4>();
        let mut words = Vec::with_capacity(self.bytes.len().div_ceil(4));
        words.extend(whole.iter().map(|&bytes| u32::from_le_bytes(bytes)));
        if !tail.is_empty() {
            words.push(
                tail.iter()
                    .rev()
                    .fold(0, |word, &byte| word << 8 | u32::from(byte)),
            );
        }
        words
    }

    /// The same elements in the same order under another shape.
    ///
    /// # Errors
    /// [`TensorError::Reshape`] unless both shapes have the same number of elements.
    pub fn reshape(self, shape: Vec<usize>) -> Result<Self, TensorError> {
        let from_elements = self.len();
        if n_elements(&shape) != Some(from_elements) {
            return Err(TensorError::Reshape {
                from: self.shape,
                from_elements,
                to: shape,
            });
        }
        Ok(Self { shape, ..self })
    }

    fn from_values<T: Copy, const N: usize>(
        dtype: DType,
        shape: Vec<usize>,
        values: &[T],
        to_le_bytes: impl Fn(T) -> [u8; N],
    ) -> Result<Self, TensorError> {
        let needed_bytes = n_bytes(dtype, &shape)?;
        let needed = needed_bytes / dtype.bytes();
        if needed != values.len() {
            return Err(TensorError::ElementCount {
                shape,
                needed,
                given: values.len(),
            });
        }
        let mut bytes = vec![0; needed_bytes];
        let (places, _) = bytes.as_chunks_mut::<N>();
        for (place, &value) in places.iter_mut().zip(values) {
            *place = to_le_bytes(value);
        }
        Self::new(dtype, shape, bytes)
    }

    fn map<T, const N: usize>(&self, from_le_bytes: impl Fn([u8; N]) -> T) -> Vec<T> {
        debug_assert_eq!(N, self.dtype.bytes());
        self.bytes
            .as_chunks::<N>()
            .0
            .iter()
            .map(|&bytes| from_le_bytes(bytes))
            .collect()
    }

    fn narrow<T, const N: usize>(
        &self,
        from_le_bytes: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<i32>, TensorError>
    where
        T: Copy + TryInto<i32> + Into<i128>,
    {
        let elements = self
            .bytes
            .as_chunks::<N>()
            .0
            .iter()
            .map(|&bytes| from_le_bytes(bytes));
        elements
            .enumerate()
            .map(|(index, value)| {
                value.try_into().map_err(|_| TensorError::OutOfRange {
                    dtype: self.dtype,
                    index,
                    value: value.into(),
                })
            })
            .collect()
    }
}

/// Says what the tensor is, not its (possibly billions of) bytes.
impl fmt::Debug for HostTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "HostTensor({} {:?}, {} bytes)",
            self.dtype,
            self.shape,
            self.bytes.len()
        )
    }
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
