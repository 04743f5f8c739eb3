//! Concatenation: the gradient of each part is its slice.

use crate::ops::{OpError, concatenate, slice};
use crate::record::{Recording, Tensor};

use super::tape::{Backward, Tape, Var};

#[derive(Debug)]
struct Concatenate {
    dimension: usize,
    extents: Vec<usize>,
}

impl Tape {
    /// Variables one after the other along `dimension`; their other extents are the same.
    ///
    /// # Errors
    /// [`OpError`] for no variables, and shapes or types that do not go together.
    pub fn concatenate(&mut self, parts: &[Var], dimension: usize) -> Result<Var, OpError> {
        let tensors: Vec<Tensor> = parts.iter().map(|&part| self.value(part).clone()).collect();
        let all: Vec<&Tensor> = tensors.iter().collect();
        let joined = concatenate(self.recording(), &all, dimension)?;
        let backward = Concatenate {
            dimension,
            extents: tensors.iter().map(|one| one.shape()[dimension]).collect(),
        };
        Ok(self.push(joined, parts, Box::new(backward)))
    }
}

impl Backward for Concatenate {
    fn backward(
        &self,
        recording: &mut Recording,
        gradient: &Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        let (mut gradients, mut start) = (Vec::new(), 0);
        for (&extent, &wanted) in self.extents.iter().zip(wanted) {
            let range = start..start + extent;
            start = range.end;
            gradients.push(if wanted {
                Some(slice(recording, gradient, self.dimension, range)?)
            } else {
                None
            });
        }
        Ok(gradients)
    }
}
