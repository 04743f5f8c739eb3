//! Pruned weights in the format asked for.

use super::options::PruneAmount;
use super::targets::PruneTarget;
use crate::compress::model::{Activations, Stored};
use crate::compress::stage::StageError;
use crate::models::{Layer, Sequential};
use crate::num::mask::Units;
use crate::num::{
    BlockShape, DeltaMatrix, Dense, NmPattern, SparseLayout, SparseMatrix, ValueFormat,
};

/// Whether a weight is that of a convolution of several groups, which no kernel takes without its zeros.
pub(super) fn is_grouped(network: &Sequential, name: &str) -> bool {
    let index = name.split('.').next().and_then(|index| index.parse().ok());
    let layer = index.and_then(|index: usize| network.layers().get(index));
    matches!(layer, Some(Layer::Conv2d { groups, .. }) if *groups != 1)
}

/// Refuses amounts whose layout a weight cannot have, before any work: what is refused depends on extents alone.
pub(super) fn check(
    target: &PruneTarget,
    amount: PruneAmount,
    values: ValueFormat,
) -> Result<(), StageError> {
    let zeros = vec![0.0; target.n * target.k];
    sparse(target, (vec![target.n, target.k], &zeros), amount, values).map(drop)
}

/// A pruned weight of this shape without its zeros.
pub(super) fn sparse(
    target: &PruneTarget,
    (shape, weights): (Vec<usize>, &[f32]),
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
        shape,
        matrix,
        activations: Activations::Float,
    })
}
