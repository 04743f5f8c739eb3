//! Products of stored floats on a host's cores.

use std::borrow::Cow;

use crate::kernels::epilogue::OUT;
use crate::kernels::fast::{Blocks, LANES, MOST_VECTORS, Stored, Sums, dot, fill_stored};
use crate::record::{HostOperands, HostResults};

use super::launch::DenseLaunch;
use super::operand::Operand;
use super::{A, B, Layout, MatmulDense};

impl DenseLaunch {
    pub(super) fn compute(&self, operands: &HostOperands<'_>, results: &mut HostResults<'_>) {
        let MatmulDense {
            batch,
            m,
            n,
            epilogue,
            out,
            ..
        } = self.shape;
        let [batch, m, n] = [batch, m, n].map(|extent| extent as usize);
        let (a, b) = (self.shape.operand_a(), self.shape.operand_b());
        let left =
            Stored::new(a.storage, operands.words(A)).all(a.elements(self.shape.batch) as usize);
        let right = Stored::new(b.storage, operands.words(B));
        fill_stored(results, OUT, (out, batch * m * n), |y| {
            for (matrix, y) in y.chunks_exact_mut(m * n).enumerate() {
                let a_rows = rows_of(a, &left[matrix * a.batch_stride() as usize..]);
                let sums = product(&a_rows, m, b, (right, matrix));
                sums.finish(epilogue, operands, matrix * m * n, y);
            }
        });
    }
}

/// A matrix `[extent, k]` whose rows lie along k.
fn rows_of(operand: Operand, values: &[f32]) -> Cow<'_, [f32]> {
    let (rows, k) = (operand.extent as usize, operand.k as usize);
    match operand.layout {
        Layout::KLast => Cow::Borrowed(&values[..rows * k]),
        Layout::KFirst => {
            let mut turned = vec![0.0; rows * k];
            for (at, values) in values.chunks_exact(rows).take(k).enumerate() {
                for (row, &value) in values.iter().enumerate() {
                    turned[row * k + at] = value;
                }
            }
            Cow::Owned(turned)
        }
    }
}

/// The sums of rows `[m, k]` with one matrix of B.
fn product(a: &[f32], m: usize, b: Operand, (right, matrix): (Stored<'_>, usize)) -> Sums {
    let (n, k) = (b.extent as usize, b.k as usize);
    match b.layout {
        Layout::KLast if m <= MOST_VECTORS => {
            let room = || vec![0.0; k];
            Sums::of_panels((m, n, k), room, |room, columns, sums| {
                for (at, column) in columns.enumerate() {
                    let column = right.read(b.at(matrix, column, 0), room);
                    for (a, sums) in a.chunks_exact(k).zip(&mut *sums) {
                        sums[at] = dot(a, column);
                    }
                }
            })
        }
        Layout::KLast => {
            let blocks = Blocks::new(a, (m, k));
            Sums::of_blocks(
                &blocks,
                n,
                || vec![0.0; k],
                |room, column, values| {
                    values.copy_from_slice(right.read(b.at(matrix, column, 0), room));
                },
            )
        }
        Layout::KFirst => {
            let blocks = Blocks::new(a, (m, k));
            Sums::of_columns(&blocks, n, |at, first, values| {
                let mut room = [0.0; LANES];
                let room = &mut room[..values.len()];
                values.copy_from_slice(right.read(b.at(matrix, first, at), room));
            })
        }
    }
}
