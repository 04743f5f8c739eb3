//! Cross-entropy of labels on a host's cores: what judges a language model.

use crate::kernels::fast::{Stored, fill, fill_stored};
use crate::record::{HostOperands, HostResults};

use super::{FACTOR, LOSSES, OUT, RowLoss, TARGET, X};

impl RowLoss {
    /// Losses and gradients without smoothing, in f64.
    pub(super) fn compute_labels(
        &self,
        operands: &HostOperands<'_>,
        results: &mut HostResults<'_>,
    ) {
        let (rows, columns) = (self.rows as usize, self.columns as usize);
        let x = Stored::new(self.x, operands.words(X)).all(rows * columns);
        let labels = &operands.words(TARGET)[..rows];
        let factor = f64::from(operands.f32(FACTOR)[0]);
        // For each row its largest element and the sum of exponentials of what the others are below it.
        let mut sums = vec![[0.0; 2]; rows];
        fill(
            &mut sums,
            (1, 8 * columns),
            || (),
            |(), row, made| {
                let x = &x[row * columns..(row + 1) * columns];
                let largest = f64::from(x.iter().copied().fold(f32::MIN, f32::max));
                let terms = x.iter().map(|&x| (f64::from(x) - largest).exp());
                made[0] = [largest, terms.sum()];
            },
        );
        let losses = &mut results.f32(LOSSES)[..rows];
        for (row, (loss, [largest, sum])) in losses.iter_mut().zip(&sums).enumerate() {
            let own = x[row * columns..(row + 1) * columns].get(labels[row] as usize);
            // A label that is no class has no weight.
            *loss = own.map_or(0.0, |&own| sum.ln() + largest - f64::from(own)) as f32;
        }
        fill_stored(results, OUT, (self.out, rows * columns), |gradients| {
            fill(
                gradients,
                (columns, 8 * columns),
                || (),
                |(), row, gradients| {
                    let (label, [largest, sum]) = (labels[row] as usize, sums[row]);
                    if label >= columns {
                        gradients.fill(0.0);
                        return;
                    }
                    let x = &x[row * columns..(row + 1) * columns];
                    for (column, (gradient, &x)) in gradients.iter_mut().zip(x).enumerate() {
                        let share = (f64::from(x) - largest).exp() / sum;
                        let weight = f64::from(u8::from(column == label));
                        *gradient = (factor * (share - weight)) as f32;
                    }
                },
            );
        });
    }
}
