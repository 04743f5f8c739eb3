//! Why a layer could not be compressed as asked: each message names the tensor, the value and what is
//! allowed.

use crate::num::QuantError;
use crate::num::mask::MaskError;

/// A refused request. Matrices are `[n, k]`: `n` output features, `k` input features.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CompressError {
    /// Shapes, groups, values and scales that no quantized matrix has.
    #[error(transparent)]
    Quant(#[from] QuantError),
    /// Patterns and scores that no mask is made of.
    #[error(transparent)]
    Mask(#[from] MaskError),
    /// A number outside its range.
    #[error("{tensor}: {what} = {value}; allowed: {allowed}")]
    OutOfRange {
        /// Tensor name, or the method where no tensor is at hand.
        tensor: String,
        /// Which number.
        what: &'static str,
        /// Its value.
        value: f64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// An array of another length than its partners call for.
    #[error("{tensor}: {found} {what}, where {expected} are called for")]
    Length {
        /// Tensor name.
        tensor: String,
        /// What is counted.
        what: &'static str,
        /// Found.
        found: usize,
        /// Called for.
        expected: usize,
    },
    /// NaN or infinity among activations, gradients or statistics.
    #[error("{tensor}: {what} {index} is {value}; every one must be finite")]
    NotFinite {
        /// Tensor name.
        tensor: String,
        /// What is not finite.
        what: &'static str,
        /// Flat index.
        index: usize,
        /// The value.
        value: f64,
    },
    /// Statistics of too few samples to choose by.
    #[error(
        "{tensor}: {what} from {found} values; at least {needed} are needed: calibrate with more samples"
    )]
    TooFew {
        /// Tensor name.
        tensor: String,
        /// What was to be chosen.
        what: &'static str,
        /// Values seen.
        found: u64,
        /// Values needed.
        needed: u64,
    },
    /// A matrix without a Cholesky factor.
    #[error(
        "{tensor}: the Hessian is not positive definite at column {column} (pivot {pivot:e}), even with \
         {damping} of its mean diagonal added"
    )]
    NotPositiveDefinite {
        /// Tensor name.
        tensor: String,
        /// Where the factorization stopped.
        column: usize,
        /// The pivot there.
        pivot: f64,
        /// The largest damping tried, as a share of the mean diagonal.
        damping: f64,
    },
    /// A layer that does not fit the scheme, under the policy that this is an error.
    #[error("{tensor}: {problem}; {fix}")]
    Misfit {
        /// Tensor name.
        tensor: String,
        /// What does not fit.
        problem: String,
        /// What to do about it.
        fix: String,
    },
    /// Bytes that are not packed codes of the kind named.
    #[error("{tensor}: {problem}")]
    Packed {
        /// Tensor name.
        tensor: String,
        /// What is wrong with them.
        problem: String,
    },
}

impl CompressError {
    /// Refuses an array of the wrong length.
    pub(crate) fn check_len(
        tensor: &str,
        what: &'static str,
        found: usize,
        expected: usize,
    ) -> Result<(), Self> {
        if found == expected {
            return Ok(());
        }
        Err(Self::Length {
            tensor: tensor.to_owned(),
            what,
            found,
            expected,
        })
    }

    /// Refuses a number outside its range.
    pub(crate) fn check_range(
        tensor: &str,
        what: &'static str,
        value: f64,
        inside: bool,
        allowed: &'static str,
    ) -> Result<(), Self> {
        if inside {
            return Ok(());
        }
        Err(Self::OutOfRange {
            tensor: tensor.to_owned(),
            what,
            value,
            allowed,
        })
    }

    /// Refuses NaN and infinities.
    pub(crate) fn check_finite(
        tensor: &str,
        what: &'static str,
        values: &[f32],
    ) -> Result<(), Self> {
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(index) => Err(Self::NotFinite {
                tensor: tensor.to_owned(),
                what,
                index,
                value: f64::from(values[index]),
            }),
        }
    }
}
