//! Sums of variables: residual connections.

use crate::kernels::elementwise::{Binary, Broadcast};
use crate::ops::{OpError, binary};
use crate::record::{Recording, Tensor};

use super::tape::{Backward, Tape, Var};

#[derive(Debug)]
struct Sum;

impl Tape {
    /// `a + b`, of one shape.
    ///
    /// # Errors
    /// [`OpError`] for different shapes.
    pub fn add(&mut self, a: Var, b: Var) -> Result<Var, OpError> {
        let (left, right) = (self.value(a).clone(), self.value(b).clone());
        let add = (Binary::Add, Broadcast::Full);
        let storage = self.storage();
        let sum = binary(self.recording(), &left, &right, add, storage)?;
        Ok(self.push(sum, &[a, b], Box::new(Sum)))
    }
}

impl Backward for Sum {
    fn backward(
        &self,
        _: &mut Recording,
        gradient: &Tensor,
        _: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        Ok(vec![Some(gradient.clone()), Some(gradient.clone())])
    }
}
