//! Choosing among the elements of rows: the next token.

use crate::kernels::top_k::TopK;
use crate::record::{Recording, Tensor};
use crate::tensor::DType;

use super::super::element::rows_and_columns;
use super::super::matmul::float;
use super::super::{OpError, extent};

/// What [`top_k`] chose.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// The elements, f32 `[.., count]`, the largest first.
    pub values: Tensor,
    /// Where they are in the last dimension, u32 `[.., count]`; the lowest first of equal ones.
    pub indices: Tensor,
}

/// The `count` largest elements of each row of the last dimension.
///
/// # Errors
/// [`OpError`] for tensors that are not float or have no elements, and a count that is 0, above 1024 or more
/// than a row has; nothing is recorded then.
pub fn top_k(recording: &mut Recording, x: &Tensor, count: usize) -> Result<Chosen, OpError> {
    const OP: &str = "top_k";
    let [rows, columns] = rows_and_columns(OP, x)?;
    let launch = TopK {
        rows: extent(OP, "rows", rows)?,
        columns: extent(OP, "columns", columns)?,
        count: extent(OP, "count", count)?,
        x: float(OP, "x", x)?,
    }
    .launch()?;
    let shape = [&x.shape()[..x.shape().len() - 1], &[count]].concat();
    let values = recording.tensor(DType::F32, &shape);
    let indices = recording.tensor(DType::U32, &shape);
    let buffers = [(1, x.buffer()), (7, values.buffer()), (8, indices.buffer())];
    recording.dispatch(launch, &buffers)?;
    Ok(Chosen { values, indices })
}
