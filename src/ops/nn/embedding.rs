//! Rows of a table by index, and the gradient of the table.

use crate::kernels::FloatType;
use crate::kernels::embedding::Embedding;
use crate::kernels::embedding_backward::EmbeddingBackward;
use crate::kernels::embedding_quant::EmbeddingQuant;
use crate::record::{Recording, Tensor};
use crate::tensor::DType;

use super::super::matmul::float;
use super::super::{OpError, QuantizedWeight, Weight, check_shape, extent};
use super::Indices;

/// Rows of `table [vocabulary, width]`: `[.., width]` for indices `[..]`; the result has the type `out`.
///
/// # Errors
/// [`OpError`] for a table that is no float matrix or has another number of rows than the indices may name,
/// and 16-bit results of odd width; nothing is recorded then.
pub fn embedding(
    recording: &mut Recording,
    table: &Tensor,
    indices: &Indices,
    out: FloatType,
) -> Result<Tensor, OpError> {
    const OP: &str = "embedding";
    let width = match *table.shape() {
        [vocabulary, width] if vocabulary == indices.limit() => width,
        _ => {
            return Err(OpError::Shape {
                op: OP,
                what: "table",
                got: table.shape().to_vec(),
                expected: format!("[{}, width] to match the indices", indices.limit()),
            });
        }
    };
    let launch = Embedding {
        tokens: extent(OP, "tokens", indices.tensor().len())?,
        width: extent(OP, "width", width)?,
        vocabulary: extent(OP, "vocabulary", indices.limit())?,
        table: float(OP, "table", table)?,
        out,
    }
    .launch()?;
    let shape = [indices.tensor().shape(), &[width]].concat();
    let rows = recording.tensor(out.dtype(), &shape);
    let buffers = [
        (1, table.buffer()),
        (2, indices.tensor().buffer()),
        (8, rows.buffer()),
    ];
    recording.dispatch(launch, &buffers)?;
    Ok(rows)
}

/// The same rows of a quantized table `[vocabulary, width]`, dequantized.
///
/// # Errors
/// [`OpError`] for a table of another number of rows than the indices may name, and 16-bit results of odd
/// width; nothing is recorded then.
pub fn embedding_quantized(
    recording: &mut Recording,
    table: &QuantizedWeight,
    indices: &Indices,
    out: FloatType,
) -> Result<Tensor, OpError> {
    const OP: &str = "embedding_quantized";
    let (vocabulary, width) = (table.n, table.k);
    if vocabulary != indices.limit() {
        return Err(OpError::Shape {
            op: OP,
            what: "table",
            got: vec![vocabulary, width],
            expected: format!("[{}, width] to match the indices", indices.limit()),
        });
    }
    let launch = EmbeddingQuant {
        tokens: extent(OP, "tokens", indices.tensor().len())?,
        width: extent(OP, "width", width)?,
        vocabulary: extent(OP, "vocabulary", vocabulary)?,
        table: table.format,
        out,
    }
    .launch()?;
    let shape = [indices.tensor().shape(), &[width]].concat();
    let rows = recording.tensor(out.dtype(), &shape);
    let mut buffers = vec![
        (1, indices.tensor().buffer()),
        (2, &table.codes),
        (3, &table.scales),
    ];
    buffers.extend(table.zeros.as_ref().map(|zeros| (4, zeros)));
    buffers.push((8, rows.buffer()));
    recording.dispatch(launch, &buffers)?;
    Ok(rows)
}

/// The same rows of a table in whatever format it has.
///
/// # Errors
/// As [`embedding`] and [`embedding_quantized`]; [`OpError::Shape`] for a table that is pruned.
pub fn embedding_of(
    recording: &mut Recording,
    table: &Weight,
    indices: &Indices,
    out: FloatType,
) -> Result<Tensor, OpError> {
    match table {
        Weight::Dense(table) => embedding(recording, table, indices, out),
        Weight::Quantized(table) => embedding_quantized(recording, table, indices, out),
        Weight::Sparse(_) => Err(OpError::Shape {
            op: "embedding",
            what: "table",
            got: vec![indices.limit()],
            expected: "a table that is not pruned".to_owned(),
        }),
    }
}

/// The gradient of the table, f32 `[vocabulary, width]`, from the gradient `dy [.., width]` of what
/// [`embedding`] gave.
///
/// # Errors
/// [`OpError`] for a dy that is not float or not shaped as the indices with a last dimension of the width;
/// nothing is recorded then.
pub fn embedding_backward(
    recording: &mut Recording,
    dy: &Tensor,
    indices: &Indices,
) -> Result<Tensor, OpError> {
    const OP: &str = "embedding_backward";
    let width = dy.shape().last().copied().unwrap_or(0);
    check_shape(OP, "dy", dy, &[indices.tensor().shape(), &[width]].concat())?;
    let launch = EmbeddingBackward {
        tokens: extent(OP, "tokens", indices.tensor().len())?,
        width: extent(OP, "width", width)?,
        vocabulary: extent(OP, "vocabulary", indices.limit())?,
        dy: float(OP, "dy", dy)?,
    }
    .launch()?;
    let gradient = recording.tensor(DType::F32, &[indices.limit(), width]);
    let buffers = [
        (1, dy.buffer()),
        (2, indices.tensor().buffer()),
        (8, gradient.buffer()),
    ];
    recording.dispatch(launch, &buffers)?;
    Ok(gradient)
}
