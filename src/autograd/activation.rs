//! Activation functions and softmax: `dx = dy f'(x)`, and what the sum under softmax adds to it.

use crate::kernels::FloatType;
use crate::ops::{OpError, nn};
use crate::record::{Recording, Tensor};

use super::tape::{Backward, Tape, Var};

#[derive(Debug)]
struct Activation {
    x: Tensor,
    curve: nn::Curve,
}

#[derive(Debug)]
struct Softmax {
    y: Tensor,
    distribution: nn::Distribution,
}

impl Tape {
    /// An activation function of each element of x, f32 of any shape.
    ///
    /// # Errors
    /// [`OpError`] for no elements, and settings of the curve that are not finite.
    pub fn activation(&mut self, x: Var, curve: nn::Curve) -> Result<Var, OpError> {
        let input = self.value(x).clone();
        let y = nn::activation(self.recording(), &input, curve, FloatType::F32)?;
        Ok(self.push(y, &[x], Box::new(Activation { x: input, curve })))
    }

    /// Softmax, or its logarithm, over the last dimension of x, f32.
    ///
    /// # Errors
    /// [`OpError`] for no elements.
    pub fn softmax(&mut self, x: Var, distribution: nn::Distribution) -> Result<Var, OpError> {
        let input = self.value(x).clone();
        let y = nn::softmax(self.recording(), &input, distribution, FloatType::F32)?;
        let backward = Softmax {
            y: y.clone(),
            distribution,
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
        let Self { x, curve } = self;
        let dx = nn::activation_backward(recording, x, gradient, *curve, FloatType::F32)?;
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
        let Self { y, distribution } = self;
        let dx = nn::softmax_backward(recording, y, gradient, *distribution, FloatType::F32)?;
        Ok(vec![Some(dx)])
    }
}
