//! First values of a network's tensors, from a seed.

use std::collections::TryReserveError;

use crate::num::Philox;

/// How a layer's weight and bias begin. `inputs` and `outputs` are those of one product: a convolution's are its
/// channels times the extent of its kernel, in one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Initial {
    /// Both uniform within `1 / sqrt(inputs)`, as `torch.nn.Linear` and `torch.nn.Conv2d`.
    #[default]
    Torch,
    /// The weight uniform within `sqrt(6 / (inputs + outputs))` (Glorot and Bengio 2010), the bias 0, as
    /// Keras's `Dense`.
    Glorot,
}

impl Initial {
    /// Bounds of the weight and of the bias.
    pub fn bounds(self, inputs: usize, outputs: usize) -> [f64; 2] {
        match self {
            Self::Torch => [1.0 / (inputs as f64).sqrt(); 2],
            Self::Glorot => [(6.0 / (inputs as f64 + outputs as f64)).sqrt(), 0.0],
        }
    }
}

/// What a tensor begins as.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum First {
    /// Uniform in `[-bound, bound)`.
    Uniform {
        /// Largest absolute value.
        bound: f64,
    },
    /// The same number everywhere.
    Constant(f32),
    /// Mean 0 and variance 1, in turn: the running statistics of each channel.
    MeanAndVariance,
}

impl First {
    /// `count` values, the `index`-th tensor's of the seed.
    ///
    /// # Errors
    /// [`TryReserveError`] when the host has no memory of that size.
    pub fn values(self, seed: u64, index: u32, count: usize) -> Result<Vec<f32>, TryReserveError> {
        let mut values = Vec::new();
        values.try_reserve_exact(count)?;
        match self {
            Self::Uniform { bound } => values.extend(uniform(seed, index, bound).take(count)),
            Self::Constant(value) => values.resize(count, value),
            Self::MeanAndVariance => values.extend((0..count).map(|at| (at % 2) as f32)),
        }
        Ok(values)
    }
}

fn uniform(seed: u64, index: u32, bound: f64) -> impl Iterator<Item = f32> {
    // High half of the stream's id: clear of the streams that data draw from.
    let id = u64::from(u32::from_be_bytes(*b"init")) << 32 | u64::from(index);
    let mut stream = Philox::new(seed).stream(id);
    let value = move || (bound * (2.0 * f64::from(stream.uniform()) - 1.0)) as f32;
    std::iter::repeat_with(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fill_their_range_and_differ_by_seed_and_parameter() {
        let uniform = |seed, index, bound, count| {
            let first = First::Uniform { bound };
            first.values(seed, index, count).unwrap()
        };
        let values = uniform(7, 0, 0.5, 10_000);
        let of = |f: fn(f32, f32) -> f32| values.iter().copied().fold(0.0, f);
        assert!(of(f32::max) <= 0.5 && of(f32::max) > 0.49);
        assert!(of(f32::min) >= -0.5 && of(f32::min) < -0.49);
        assert!(values.iter().sum::<f32>().abs() / 10_000.0 < 0.01);
        assert_eq!(values[..4], uniform(7, 0, 0.5, 4));
        assert_ne!(values[..4], uniform(8, 0, 0.5, 4));
        assert_ne!(values[..4], uniform(7, 1, 0.5, 4));
    }

    #[test]
    fn memory_that_is_not_there_is_an_error() {
        for first in [
            First::Uniform { bound: 1.0 },
            First::Constant(0.0),
            First::MeanAndVariance,
        ] {
            assert!(first.values(0, 0, usize::MAX / 8).is_err());
        }
    }

    #[test]
    fn bounds_are_those_of_torch_and_keras() {
        assert_eq!(Initial::Torch.bounds(4, 100), [0.5, 0.5]);
        assert_eq!(Initial::Glorot.bounds(20, 4), [0.5, 0.0]);
    }
}
