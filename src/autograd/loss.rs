//! Losses. The kernel makes the gradient with the loss; what arrives in the backward pass multiplies its rows.

use crate::kernels::FloatType;
use crate::kernels::elementwise::{Binary, Broadcast};
use crate::ops::nn::{Target, row_loss};
use crate::ops::{OpError, binary};
use crate::record::{Recording, Tensor};
use crate::tensor::DType;

use super::tape::{Backward, Tape, Var};

#[derive(Debug)]
struct RowLoss {
    /// Of the sum of all losses by x.
    gradient: Tensor,
    storage: FloatType,
}

impl Tape {
    /// The loss of each row of x `[.., columns]`, f32 `[..]`. Its mean has the gradient 1 / rows to begin the
    /// backward pass with. Targets are constants: a teacher gets no gradient.
    ///
    /// # Errors
    /// [`OpError`] for targets of another shape or with another number of classes, and settings out of range.
    pub fn row_loss(&mut self, x: Var, target: Target<'_>) -> Result<Var, OpError> {
        let value = self.value(x).clone();
        let storage = self.row_storage(value.shape().last().copied().unwrap_or(1));
        let recording = self.recording();
        let one = one(recording)?;
        let made = row_loss(recording, &value, target, &one, FloatType::F32)?;
        let backward = RowLoss {
            gradient: made.gradient,
            storage,
        };
        Ok(self.push(made.losses, &[x], Box::new(backward)))
    }
}

impl Backward for RowLoss {
    fn backward(
        &self,
        recording: &mut Recording,
        gradient: &Tensor,
        _: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        let by_row = (Binary::Mul, Broadcast::Row);
        let rows = Tensor::of_buffer(
            gradient.buffer().clone(),
            gradient.dtype(),
            &[gradient.len()],
        );
        let dx = binary(recording, &self.gradient, &rows, by_row, self.storage)?;
        Ok(vec![Some(dx)])
    }
}

/// f32 `[1]`: 1.
fn one(recording: &mut Recording) -> Result<Tensor, OpError> {
    let one = recording.tensor(DType::F32, &[1]);
    recording.upload_words(one.buffer(), [1f32.to_bits()])?;
    Ok(one)
}
