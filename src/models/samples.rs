//! What the samples of a network are, and how they reach an engine.

use crate::ops::OpError;
use crate::record::{Recording, Tensor};
use crate::tensor::{DType, HostTensor};

/// What samples are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleKind {
    /// Numbers, which may be stored in 16 bits.
    Values,
    /// Tokens below the size of a vocabulary, u32 on an engine.
    Tokens {
        /// Tokens there are.
        vocabulary: usize,
    },
}

impl SampleKind {
    /// How samples are stored where numbers are stored as `values`.
    pub const fn dtype(self, values: DType) -> DType {
        match self {
            Self::Values => values,
            Self::Tokens { .. } => DType::U32,
        }
    }

    /// An input of a recording: samples of this shape, numbers stored as `values`.
    pub fn input(self, recording: &mut Recording, values: DType, shape: &[usize]) -> Tensor {
        recording.input(self.dtype(values), shape)
    }

    /// Samples as that input takes them: `given` in the order of `shape`, tokens as whole numbers.
    ///
    /// # Errors
    /// [`OpError::Index`] for what is no token, [`OpError::Tensor`] for another count than the shape has.
    pub fn host(
        self,
        values: DType,
        shape: Vec<usize>,
        given: &[f32],
    ) -> Result<HostTensor, OpError> {
        let Self::Tokens { vocabulary } = self else {
            return Ok(HostTensor::from_f32_as(values, shape, given)?);
        };
        let mut tokens = Vec::with_capacity(given.len());
        for (at, &value) in given.iter().enumerate() {
            // Saturates, so that what is no token is past the vocabulary or differs from it.
            let token = value as u32;
            if token as usize >= vocabulary || token as f32 != value {
                return Err(OpError::Index {
                    what: "tokens",
                    at,
                    value: if token as f32 == value {
                        token
                    } else {
                        u32::MAX
                    },
                    limit: u32::try_from(vocabulary).unwrap_or(u32::MAX),
                });
            }
            tokens.push(token);
        }
        Ok(HostTensor::from_words_u32(shape, &tokens)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_whole_numbers_below_the_vocabulary() {
        let kind = SampleKind::Tokens { vocabulary: 5 };
        let made = kind.host(DType::F16, vec![1, 3], &[0.0, 4.0, 2.0]);
        let made = made.expect("tokens");
        assert_eq!(made.dtype(), DType::U32);
        assert_eq!(made.words()[..], [0, 4, 2]);
        for wrong in [5.0, -1.0, 0.5, f32::NAN, f32::INFINITY] {
            let refused = kind.host(DType::F32, vec![1, 2], &[1.0, wrong]);
            assert!(
                matches!(refused, Err(OpError::Index { at: 1, .. })),
                "{wrong}"
            );
        }
        let values = SampleKind::Values.host(DType::F16, vec![1, 2], &[0.5, -1.0]);
        assert_eq!(values.expect("numbers").dtype(), DType::F16);
    }
}
