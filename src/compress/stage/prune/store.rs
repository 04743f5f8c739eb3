//! Pruned weights in the format asked for.

use super::options::PruneAmount;
use super::targets::PruneTarget;
use crate::compress::model::{Activations, Stored};
use crate::compress::stage::StageError;
use crate::num::mask::Units;
use crate::num::{
    BlockShape, DeltaMatrix, Dense, NmPattern, SparseLayout, SparseMatrix, ValueFormat,
};

/// A pruned weight without its zeros. Only linear layers have kernels for that; `shape` is theirs.
pub(super) fn sparse(
    target: &PruneTarget,
    weights: &[f32],
    amount: PruneAmount,
    values: ValueFormat,
) -> Result<Stored, StageError> {
    let PruneTarget { name, n, k, .. } = target;
    let dense = Dense {
        name,
        weights,
        n: *n,
        k: *k,
    };
    let number = |extent: usize| u32::try_from(extent).unwrap_or(u32::MAX);
    let matrix = match amount {
        PruneAmount::NOfM {
            keep,
            group,
            vector,
        } => {
            let pattern = NmPattern::new(number(keep), number(group), number(vector))?;
            SparseMatrix::compress(&dense, SparseLayout::Nm(pattern), values)?
        }
        PruneAmount::Blocks {
            units: Units { rows, columns },
            ..
        } => {
            let shape = BlockShape::new(number(rows), number(columns))?;
            SparseMatrix::compress(&dense, SparseLayout::Block(shape), values)?
        }
        // Whichever width of the distances takes fewer bytes.
        PruneAmount::Share(_) => SparseMatrix::Delta(DeltaMatrix::compress(&dense, None, values)?),
    };
    Ok(Stored::Sparse {
        shape: vec![*n, *k],
        matrix,
        activations: Activations::Float,
    })
}
