//! Products of elements, and multiples.

use crate::kernels::FloatType;
use crate::kernels::elementwise::{Binary, Broadcast};
use crate::ops::{OpError, affine, binary};
use crate::record::{Recording, Tensor};

use super::tape::{Backward, Tape, Var};

#[derive(Debug)]
struct Product {
    a: Tensor,
    b: Tensor,
    storage: FloatType,
}

#[derive(Debug)]
struct Affine {
    alpha: f32,
    storage: FloatType,
}

const MULTIPLY: (Binary, Broadcast) = (Binary::Mul, Broadcast::Full);

impl Tape {
    /// `a b`, element by element, of one shape.
    ///
    /// # Errors
    /// [`OpError`] for different shapes.
    pub fn multiply(&mut self, a: Var, b: Var) -> Result<Var, OpError> {
        let (left, right) = (self.value(a).clone(), self.value(b).clone());
        let storage = self.storage();
        let product = binary(self.recording(), &left, &right, MULTIPLY, storage)?;
        let backward = Product {
            a: left,
            b: right,
            storage,
        };
        Ok(self.push(product, &[a, b], Box::new(backward)))
    }

    /// `alpha x + beta`
    ///
    /// # Errors
    /// [`OpError`] for no elements.
    pub fn affine(&mut self, x: Var, (alpha, beta): (f32, f32)) -> Result<Var, OpError> {
        let (input, storage) = (self.value(x).clone(), self.storage());
        let y = affine(self.recording(), &input, (alpha, beta), storage)?;
        Ok(self.push(y, &[x], Box::new(Affine { alpha, storage })))
    }
}

impl Backward for Product {
    fn backward(
        &self,
        recording: &mut Recording,
        gradient: &Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        let mut gradients = Vec::new();
        for (other, &wanted) in [&self.b, &self.a].into_iter().zip(wanted) {
            gradients.push(if wanted {
                let storage = self.storage;
                Some(binary(recording, gradient, other, MULTIPLY, storage)?)
            } else {
                None
            });
        }
        Ok(gradients)
    }
}

impl Backward for Affine {
    fn backward(
        &self,
        recording: &mut Recording,
        gradient: &Tensor,
        _: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        let dx = affine(recording, gradient, (self.alpha, 0.0), self.storage)?;
        Ok(vec![Some(dx)])
    }
}
