//! Operands in the type they are stored in, read as f32 as far as they are needed, and results put into theirs.

use std::borrow::Cow;

use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};

use crate::kernels::FloatType;
use crate::record::HostResults;

/// Values of an operand where they lie.
#[derive(Debug, Clone, Copy)]
pub enum Stored<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    Bf16(&'a [bf16]),
    /// With a factor for each row of so many codes.
    Int8 {
        codes: &'a [i8],
        scales: &'a [f32],
        columns: usize,
    },
}

impl<'a> Stored<'a> {
    pub fn new(storage: FloatType, words: &'a [u32]) -> Self {
        match storage {
            FloatType::F32 => Self::F32(bytemuck::cast_slice(words)),
            FloatType::F16 => Self::F16(bytemuck::cast_slice(words)),
            FloatType::Bf16 => Self::Bf16(bytemuck::cast_slice(words)),
        }
    }

    /// Values from `start` on, as many as `buffer` holds: those of f32 where they lie, others in the buffer. Of
    /// int8 they must be of one row.
    pub fn read<'b>(&self, start: usize, buffer: &'b mut [f32]) -> &'b [f32]
    where
        'a: 'b,
    {
        let range = start..start + buffer.len();
        match *self {
            Self::F32(values) => return &values[range],
            Self::F16(values) => values[range].convert_to_f32_slice(buffer),
            Self::Bf16(values) => values[range].convert_to_f32_slice(buffer),
            Self::Int8 {
                codes,
                scales,
                columns,
            } => {
                let scale = scales[start / columns];
                for (value, &code) in buffer.iter_mut().zip(&codes[range]) {
                    *value = scale * f32::from(code);
                }
            }
        }
        buffer
    }

    /// The first `len` values.
    pub fn all(self, len: usize) -> Cow<'a, [f32]> {
        if let Self::F32(values) = self {
            return Cow::Borrowed(&values[..len]);
        }
        let mut buffer = vec![0.0; len];
        self.read(0, &mut buffer);
        Cow::Owned(buffer)
    }
}

/// Has `make` fill the first `len` values of a result, then rounded to its type.
pub fn fill(
    results: &mut HostResults<'_>,
    binding: u32,
    (out, len): (FloatType, usize),
    make: impl FnOnce(&mut [f32]),
) {
    if out == FloatType::F32 {
        make(&mut results.f32(binding)[..len]);
        return;
    }
    let mut values = vec![0.0; len];
    make(&mut values);
    let words = out.pack(&values);
    results.words(binding)[..words.len()].copy_from_slice(&words);
}
