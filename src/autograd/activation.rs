//! Activation functions and softmax: `dx = dy f'(x)`, and what the sum under softmax adds to it.

use crate::kernels::FloatType;
use crate::ops::{OpError, nn};
use crate::record::{Recording, Tensor};

use super::tape::{Backward, Tape, Var};

#[derive(Debug)]
struct Activation {
    x: Tensor,
    curve: nn::Curve,
    out: FloatType,
}

#[derive(Debug)]
struct Softmax {
    y: Tensor,
    distribution: nn::Distribution,
    out: FloatType,
}

impl Tape {
    /// An activation function of each element of x, of any shape.
    ///
    /// # Errors
    /// [`OpError`] for no elements, and settings of the curve that are not finite.
    pub fn activation(&mut self, x: Var, curve: nn::Curve) -> Result<Var, OpError> {
        let input = self.value(x).clone();
        let (storage, out) = (self.storage(), self.gradient_storage(x));
        let y = nn::activation(self.recording(), &input, curve, storage)?;
        let backward = Activation {
            x: input,
            curve,
            out,
        };
        Ok(self.push(y, &[x], Box::new(backward)))
    }

    /// Softmax, or its logarithm, over the last dimension of x. Rows of an odd number of elements stay f32.
    ///
    /// # Errors
    /// [`OpError`] for no elements.
    pub fn softmax(&mut self, x: Var, distribution: nn::Distribution) -> Result<Var, OpError> {
        let input = self.value(x).clone();
        let columns = input.shape().last().copied().unwrap_or(0);
        let storage = self.row_storage(columns);
        let out = match self.gradient_storage(x) {
            FloatType::F32 => FloatType::F32,
            FloatType::F16 | FloatType::Bf16 => storage,
        };
        let y = nn::softmax(self.recording(), &input, distribution, storage)?;
        let backward = Softmax {
            y: y.clone(),
            distribution,
            out,
        };
        Ok(self.push(y, &[x], Box::new(backward)))
    }
}

impl Backward for Activation {
    fn backward(
        &self,
        recording: &mut Recording,
        gradient: &Tensor,
        _: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        let Self { x, curve, out } = self;
        let dx = nn::activation_backward(recording, x, gradient, *curve, *out)?;
        Ok(vec![Some(dx)])
    }
}

impl Backward for Softmax {
    fn backward(
        &self,
        recording: &mut Recording,
        gradient: &Tensor,
        _: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        let Self {
            y,
            distribution,
            out,
        } = self;
        let dx = nn::softmax_backward(recording, y, gradient, *distribution, *out)?;
        Ok(vec![Some(dx)])
    }
}
