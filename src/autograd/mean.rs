//! Means over the last dimension: each element's gradient is its row's, divided by the extent.

use crate::kernels::FloatType;
use crate::kernels::elementwise::{Binary, Broadcast};
use crate::kernels::fill::Fill;
use crate::kernels::row_reduce::Reduction;
use crate::ops::{OpError, binary, reduce};
use crate::record::{Recording, Tensor};
use crate::tensor::DType;

use super::tape::{Backward, Tape, Var};

#[derive(Debug)]
struct Mean {
    shape: Vec<usize>,
    storage: FloatType,
}

impl Tape {
    /// The mean over the last dimension of x `[.., columns]`: f32 `[..]`.
    ///
    /// # Errors
    /// [`OpError`] for no elements.
    pub fn mean(&mut self, x: Var) -> Result<Var, OpError> {
        let (input, storage) = (self.value(x).clone(), self.storage());
        let y = reduce(self.recording(), &input, Reduction::Mean)?;
        let backward = Mean {
            shape: input.shape().to_vec(),
            storage,
        };
        Ok(self.push(y, &[x], Box::new(backward)))
    }
}

impl Backward for Mean {
    fn backward(
        &self,
        recording: &mut Recording,
        gradient: &Tensor,
        _: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        let columns = self.shape.last().copied().unwrap_or(1);
        let share = recording.tensor(DType::F32, &self.shape);
        let count = u32::try_from(share.len()).map_err(|_| OpError::TooLarge {
            op: "mean",
            what: "elements",
            got: share.len(),
        })?;
        let value = (1.0 / columns as f32).to_bits();
        let fill = Fill { count, value }.launch()?;
        recording.dispatch(fill, &[(8, share.buffer())])?;
        let (dtype, rows) = (gradient.dtype(), gradient.len());
        let by_row = Tensor::of_buffer(gradient.buffer().clone(), dtype, &[rows]);
        let multiply = (Binary::Mul, Broadcast::Row);
        let dx = binary(recording, &share, &by_row, multiply, self.storage)?;
        Ok(vec![Some(dx)])
    }
}
