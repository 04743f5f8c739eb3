//! Normalization of the rows of a matrix on a host's cores.

use crate::kernels::fast::{Stored, fill, fill_stored, squares, sum};
use crate::record::{HostOperands, HostResults};

use super::{BETA, Center, GAMMA, Norm, OUT, STATISTICS, X};

impl Norm {
    pub(super) fn compute_rows(&self, operands: &HostOperands<'_>, results: &mut HostResults<'_>) {
        let (rows, columns) = (self.shape.items as usize, self.shape.channels as usize);
        let x = Stored::new(self.x, operands.words(X)).all(rows * columns);
        let gamma = &operands.f32(GAMMA)[..columns];
        let count = columns as f32;
        let mut statistics = vec![[0.0; 2]; rows];
        fill(
            &mut statistics,
            (1, columns),
            || (),
            |(), row, made| {
                let row = &x[row * columns..(row + 1) * columns];
                let mean = match self.center {
                    Center::Mean => sum(row) / count,
                    Center::Zero => 0.0,
                };
                let variance = squares(row, mean) / count;
                made[0] = [mean, 1.0 / (variance + self.epsilon).sqrt()];
            },
        );
        fill_stored(results, OUT, (self.out, rows * columns), |y| {
            fill(
                y,
                (columns, columns),
                || (),
                |(), row, y| {
                    let [mean, scale] = statistics[row];
                    let x = &x[row * columns..(row + 1) * columns];
                    for (y, (x, gamma)) in y.iter_mut().zip(x.iter().zip(gamma)) {
                        *y = (x - mean) * scale * gamma;
                    }
                    if self.center == Center::Mean {
                        let beta = &operands.f32(BETA)[..columns];
                        y.iter_mut().zip(beta).for_each(|(y, beta)| *y += beta);
                    }
                },
            );
        });
        let statistics = statistics.as_flattened();
        results.f32(STATISTICS)[..2 * rows].copy_from_slice(statistics);
    }
}
