//! The same elements in another shape; nothing is copied.

use crate::ops::OpError;
use crate::record::{Recording, Tensor};

use super::tape::{Backward, Tape, Var};

#[derive(Debug)]
struct Reshape {
    from: Vec<usize>,
}

impl Tape {
    /// x in another shape of as many elements, row-major.
    ///
    /// # Errors
    /// [`OpError::Shape`] for another number of elements.
    pub fn reshape(&mut self, x: Var, shape: &[usize]) -> Result<Var, OpError> {
        let value = self.value(x);
        let wanted = shape
            .iter()
            .try_fold(1usize, |product, &extent| product.checked_mul(extent));
        if wanted != Some(value.len()) {
            return Err(OpError::Shape {
                op: "reshape",
                what: "x",
                got: value.shape().to_vec(),
                expected: format!("as many elements as {shape:?}"),
            });
        }
        let backward = Reshape {
            from: value.shape().to_vec(),
        };
        let view = |of: &Tensor| Tensor::of_buffer(of.buffer().clone(), of.dtype(), shape);
        let (made, copy) = (view(value), self.copy(x).map(view));
        let made = self.push(made, &[x], Box::new(backward));
        let gradient = self.gradient_storage(x);
        self.take_over(made, copy, gradient);
        Ok(made)
    }
}

impl Backward for Reshape {
    fn backward(
        &self,
        _: &mut Recording,
        gradient: &Tensor,
        _: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        let buffer = gradient.buffer().clone();
        let view = Tensor::of_buffer(buffer, gradient.dtype(), &self.from);
        Ok(vec![Some(view)])
    }
}
