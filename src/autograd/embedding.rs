//! Rows of a table by index.

use crate::ops::OpError;
use crate::ops::nn::{self, Indices};
use crate::record::{Recording, Tensor};

use super::tape::{Backward, Tape, Var};

#[derive(Debug)]
struct Embedding {
    indices: Indices,
}

impl Tape {
    /// Rows of `table [vocabulary, width]`: `[.., width]` for indices `[..]`.
    ///
    /// # Errors
    /// [`OpError`] for a table that is no matrix or has another number of rows than the indices may name.
    pub fn embedding(&mut self, table: Var, indices: &Indices) -> Result<Var, OpError> {
        let (rows, storage) = (self.value(table).clone(), self.storage());
        let made = nn::embedding(self.recording(), &rows, indices, storage)?;
        let backward = Embedding {
            indices: indices.clone(),
        };
        Ok(self.push(made, &[table], Box::new(backward)))
    }
}

impl Backward for Embedding {
    fn backward(
        &self,
        recording: &mut Recording,
        gradient: &Tensor,
        _: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        let table = nn::embedding_backward(recording, gradient, &self.indices)?;
        Ok(vec![Some(table)])
    }
}
