//! Losses with the gradient of what they are taken of, in one launch.

use crate::kernels::FloatType;
use crate::kernels::row_loss::{Loss, RowLoss};
use crate::record::{Recording, Tensor};
use crate::tensor::DType;

use super::super::element::rows_and_columns;
use super::super::matmul::float;
use super::super::{OpError, check_shape, check_type, extent};
use super::Indices;

/// What x, `[.., columns]`, should be.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// One class a row, `[..]`, by cross-entropy of softmax(x).
    Labels {
        /// The classes, below `columns`.
        labels: &'a Indices,
        /// Weight spread evenly over all classes, in [0, 1].
        smoothing: f32,
    },
    /// A weight for each class, by cross-entropy of softmax(x).
    Soft {
        /// Shaped as x.
        weights: &'a Tensor,
        /// Weight spread evenly over all classes, in [0, 1].
        smoothing: f32,
    },
    /// A teacher's distribution, by `T^2` times the divergence of softmax(x / T) from it.
    Teacher {
        /// The teacher's logits, shaped as x.
        logits: &'a Tensor,
        /// T; positive.
        temperature: f32,
    },
    /// Values shaped as x, by the sum of squared differences.
    Values(&'a Tensor),
    /// Numbers in [0, 1] shaped as x, by binary cross-entropy of logistic(x).
    Chances(&'a Tensor),
    /// The direction of rows shaped as x, by half the squared distance of both brought to length 1, which is 1
    /// less their cosine. Rows shorter than 1e-12 have no direction and no gradient.
    Direction(&'a Tensor),
}

/// Losses and a gradient.
#[derive(Debug, Clone)]
pub struct RowLosses {
    /// Sum over each row, f32 shaped as x without its last dimension. Not scaled.
    pub losses: Tensor,
    /// Gradient of the sum of all losses, times the factor; shaped as x.
    pub gradient: Tensor,
}

/// The loss of each row of x and the gradient of x times `factor`, f32 `[1]`, which has the type `out`. For
/// PyTorch's mean the factor is 1 / rows, for squares and binary cross-entropy 1 / elements, times the loss
/// scale.
///
/// # Errors
/// [`OpError`] for targets of another shape or with another number of classes, a factor that is not f32 `[1]`,
/// settings out of range, and 16-bit gradients with an odd last dimension; nothing is recorded then.
pub fn row_loss(
    recording: &mut Recording,
    x: &Tensor,
    target: Target<'_>,
    factor: &Tensor,
    out: FloatType,
) -> Result<RowLosses, OpError> {
    const OP: &str = "row_loss";
    let [rows, columns] = rows_and_columns(OP, x)?;
    let leading = &x.shape()[..x.shape().len() - 1];
    check_shape(OP, "factor", factor, &[1])?;
    check_type(OP, "factor", factor, DType::F32)?;
    let (loss, operand) = match target {
        Target::Labels { labels, smoothing } => {
            check_shape(OP, "labels", labels.tensor(), leading)?;
            if labels.limit() != columns {
                return Err(OpError::Shape {
                    op: OP,
                    what: "x",
                    got: x.shape().to_vec(),
                    expected: format!("a last dimension of the {} classes", labels.limit()),
                });
            }
            (Loss::Labels { smoothing }, labels.tensor())
        }
        Target::Soft { weights, smoothing } => (Loss::SoftTargets { smoothing }, weights),
        Target::Teacher {
            logits,
            temperature,
        } => (Loss::Distillation { temperature }, logits),
        Target::Values(values) => (Loss::Squares, values),
        Target::Chances(chances) => (Loss::BceLogits, chances),
        Target::Direction(rows) => (Loss::Cosine, rows),
    };
    let storage = if loss.has_labels() {
        FloatType::F32
    } else {
        check_shape(OP, "target", operand, x.shape())?;
        float(OP, "target", operand)?
    };
    let launch = RowLoss {
        rows: extent(OP, "rows", rows)?,
        columns: extent(OP, "columns", columns)?,
        loss,
        x: float(OP, "x", x)?,
        target: storage,
        out,
    }
    .launch()?;
    let losses = recording.tensor(DType::F32, leading);
    let gradient = recording.tensor(out.dtype(), x.shape());
    let buffers = [
        (1, x.buffer()),
        (2, operand.buffer()),
        (3, factor.buffer()),
        (7, losses.buffer()),
        (8, gradient.buffer()),
    ];
    recording.dispatch(launch, &buffers)?;
    Ok(RowLosses { losses, gradient })
}
