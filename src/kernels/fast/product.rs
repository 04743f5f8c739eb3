//! Sums of matrix products, sixteen columns at a time, and what follows them.

use std::ops::Range;

use crate::kernels::epilogue::{Activation, BIAS, Epilogue, RESIDUAL};
use crate::record::HostOperands;

use super::lanes::{LANES, Lanes, TILE, as_columns, tile};
use super::threads;

/// Rows of x up to which columns of a weight are taken one by one, as they are stored.
pub const MOST_VECTORS: usize = 8;

/// Sums of a product `[m, n]`, in panels `[n / 16 rounded up, m, 16]`.
#[derive(Debug)]
pub struct Sums {
    m: usize,
    n: usize,
    panels: Vec<Lanes>,
}

/// The rows of a matrix `[m, k]` in blocks of four, `[m / 4 rounded up, k, 4]`, with zeros behind the last.
#[derive(Debug)]
pub struct Blocks {
    m: usize,
    k: usize,
    blocks: Vec<[f32; TILE]>,
}

/// Sums of all rows with sixteen columns.
fn tiles(blocks: &[[f32; TILE]], columns: &[Lanes], sums: &mut [Lanes]) {
    let blocks = blocks.chunks_exact(columns.len());
    for (block, sums) in blocks.zip(sums.chunks_mut(TILE)) {
        let made = tile(block, columns);
        sums.copy_from_slice(&made[..sums.len()]);
    }
}

impl Blocks {
    pub fn new(x: &[f32], (m, k): (usize, usize)) -> Self {
        let mut blocks = vec![[0.0; TILE]; m.div_ceil(TILE) * k];
        threads::fill(
            &mut blocks,
            (k, TILE * k),
            || (),
            |(), index, block| {
                let rows = &x[index * TILE * k..m.min((index + 1) * TILE) * k];
                for (at, row) in rows.chunks_exact(k).enumerate() {
                    for (place, &value) in block.iter_mut().zip(row) {
                        place[at] = value;
                    }
                }
            },
        );
        Self { m, k, blocks }
    }
}

impl Sums {
    /// Sums that `panel` makes for a range of columns, each column beside the others in every row.
    pub fn of_panels<S>(
        (m, n, k): (usize, usize, usize),
        scratch: impl Fn() -> S + Sync + Send,
        panel: impl Fn(&mut S, Range<usize>, &mut [Lanes]) + Sync + Send,
    ) -> Self {
        let mut panels = vec![[0.0; LANES]; n.div_ceil(LANES) * m];
        let cost = LANES * m * k;
        threads::fill(&mut panels, (m, cost), scratch, |scratch, index, sums| {
            let first = index * LANES;
            panel(scratch, first..n.min(first + LANES), sums);
        });
        Self { m, n, panels }
    }

    /// The product of rows with a weight of n rows of k values, which `row` reads.
    pub fn of_blocks<S>(
        x: &Blocks,
        n: usize,
        scratch: impl Fn() -> S + Sync + Send,
        row: impl Fn(&mut S, usize, &mut [f32]) + Sync + Send,
    ) -> Self {
        let Blocks { m, k, ref blocks } = *x;
        let scratch = || (scratch(), vec![0.0; LANES * k], vec![[0.0; LANES]; k]);
        Self::of_panels((m, n, k), scratch, |(own, rows, columns), range, sums| {
            let n_rows = range.len();
            for (index, values) in range.zip(rows.chunks_exact_mut(k)) {
                row(own, index, values);
            }
            as_columns(&rows[..n_rows * k], columns);
            tiles(blocks, columns, sums);
        })
    }

    /// The product of rows with a matrix `[k, n]`; `read` gives values of a row of it from a column on.
    pub fn of_columns(
        x: &Blocks,
        n: usize,
        read: impl Fn(usize, usize, &mut [f32]) + Sync + Send,
    ) -> Self {
        let Blocks { m, k, ref blocks } = *x;
        let scratch = || vec![[0.0; LANES]; k];
        Self::of_panels((m, n, k), scratch, |columns, range, sums| {
            for (at, values) in columns.iter_mut().enumerate() {
                read(at, range.start, &mut values[..range.len()]);
            }
            tiles(blocks, columns, sums);
        })
    }

    /// Puts the results into `y [m, n]`: bias, activation and residual over the sums. `first` is where y begins in
    /// the whole result.
    pub fn finish(
        &self,
        epilogue: Epilogue,
        operands: &HostOperands<'_>,
        first: usize,
        y: &mut [f32],
    ) {
        let (m, n) = (self.m, self.n);
        let bias = epilogue.bias.then(|| &operands.f32(BIAS)[..n]);
        let residual = epilogue
            .residual
            .then(|| &operands.f32(RESIDUAL)[first..first + m * n]);
        threads::fill(
            y,
            (n, n),
            || (),
            |(), row, y| {
                for (panel, y) in self.panels.chunks_exact(m).zip(y.chunks_mut(LANES)) {
                    y.copy_from_slice(&panel[row][..y.len()]);
                }
                if let Some(bias) = bias {
                    y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
                }
                match epilogue.activation {
                    Activation::Identity => {}
                    Activation::Relu => y.iter_mut().for_each(|y| *y = y.max(0.0)),
                    function @ (Activation::Silu | Activation::GeluTanh) => {
                        for y in &mut *y {
                            *y = function.apply(f64::from(*y)) as f32;
                        }
                    }
                }
                if let Some(residual) = residual {
                    let residual = &residual[row * n..(row + 1) * n];
                    y.iter_mut().zip(residual).for_each(|(y, more)| *y += more);
                }
            },
        );
    }
}
