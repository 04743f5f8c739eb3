//! Dropout: forward and backward are the same operation, whose mask follows from seed, stream and step.

use crate::kernels::FloatType;
use crate::ops::OpError;
use crate::ops::nn::{self, DropoutOptions};
use crate::record::{Recording, Tensor};

use super::tape::{Backward, Tape, Var};

#[derive(Debug)]
struct Dropout {
    options: DropoutOptions,
    step: Tensor,
    storage: FloatType,
}

impl Tape {
    /// x with some elements 0 and the others divided by the share that is kept. `step`, u32 `[1]`, gives every
    /// training step masks of its own; it must not change between forward and backward pass.
    ///
    /// # Errors
    /// [`OpError`] for no elements, a step of another shape or type, and probabilities outside [0, 1).
    pub fn dropout(
        &mut self,
        x: Var,
        options: DropoutOptions,
        step: &Tensor,
    ) -> Result<Var, OpError> {
        let (input, storage) = (self.value(x).clone(), self.storage());
        let y = nn::dropout(self.recording(), &input, &options, step, storage)?;
        let backward = Dropout {
            options,
            step: step.clone(),
            storage,
        };
        Ok(self.push(y, &[x], Box::new(backward)))
    }
}

impl Backward for Dropout {
    fn backward(
        &self,
        recording: &mut Recording,
        gradient: &Tensor,
        _: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        let Self {
            options,
            step,
            storage,
        } = self;
        let dx = nn::dropout(recording, gradient, options, step, *storage)?;
        Ok(vec![Some(dx)])
    }
}
