//! Cutting a product so that no operand passes the binding limit: by whole matrices where they fit,
//! else inside each matrix by rows of A and the output, and by columns of B where it lies along k.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::kernels::epilogue::{BIAS, OUT, RESIDUAL};
use crate::kernels::split::{Streams, Tile, cut};

use super::launch::DenseLaunch;
use super::operand::Operand;
use super::{A, B, Broadcast, Layout, MatmulDense};

/// Byte range by binding.
type Ranges = BTreeMap<u32, Range<u64>>;

impl DenseLaunch {
    /// Launches with the byte ranges they bind; `None` when some piece cannot be made small enough, or
    /// the matrices of a batch that must be cut inside do not start at multiples of `alignment`.
    pub(super) fn parts(&self, limit: u64, alignment: u64) -> Option<Vec<(Self, Ranges)>> {
        self.parts_by_matrix(limit, alignment)
            .or_else(|| self.parts_inside(limit, alignment))
    }

    fn parts_by_matrix(&self, limit: u64, alignment: u64) -> Option<Vec<(Self, Ranges)>> {
        let mut streams = Streams::default();
        for (binding, operand) in self.operands() {
            match operand.broadcast {
                Broadcast::PerBatch => streams.by_row.push((binding, operand.matrix_bytes())),
                Broadcast::Shared => streams.whole.push((binding, operand.matrix_bytes())),
            }
        }
        let rows = u64::from(self.shape.m);
        let outputs = self.by_output_row().into_iter();
        streams
            .by_row
            .extend(outputs.map(|(binding, bytes)| (binding, rows * bytes)));
        streams.whole.extend(self.bias());
        let tiles = cut(self.shape.batch, 1, &streams, limit, alignment)?;
        let part = |tile: Tile| {
            let shape = MatmulDense {
                batch: tile.rows.end - tile.rows.start,
                ..self.shape
            };
            (Self { shape, ..*self }, tile.ranges)
        };
        Some(tiles.into_iter().map(part).collect())
    }

    fn parts_inside(&self, limit: u64, alignment: u64) -> Option<Vec<(Self, Ranges)>> {
        let mut streams = Streams {
            by_row: self.by_output_row(),
            ..Streams::default()
        };
        streams.whole.extend(self.bias());
        let [(_, a), (_, b)] = self.operands();
        let row_bytes = |operand: Operand| u64::from(operand.k) * operand.storage.bytes();
        match a.layout {
            Layout::KLast => streams.by_row.push((A, row_bytes(a))),
            Layout::KFirst => streams.whole.push((A, a.matrix_bytes())),
        }
        match b.layout {
            Layout::KLast => streams.by_column.push((B, row_bytes(b))),
            Layout::KFirst => streams.whole.push((B, b.matrix_bytes())),
        }
        let tiles = cut(self.shape.m, self.shape.n, &streams, limit, alignment)?;
        let mut parts = Vec::new();
        for matrix in 0..self.shape.batch {
            let starts = self.matrix_starts(matrix.into());
            if starts
                .values()
                .any(|start| !start.is_multiple_of(alignment))
            {
                return None;
            }
            for tile in &tiles {
                let mut ranges = tile.ranges.clone();
                for (binding, range) in &mut ranges {
                    let start = starts.get(binding).copied().unwrap_or(0);
                    *range = range.start + start..range.end + start;
                }
                parts.push((self.part(tile), ranges));
            }
        }
        Some(parts)
    }

    /// The part of one matrix that makes `tile`.
    fn part(&self, tile: &Tile) -> Self {
        let shape = MatmulDense {
            batch: 1,
            m: tile.rows.end - tile.rows.start,
            n: tile.columns.end - tile.columns.start,
            ..self.shape
        };
        let a_first = match shape.a_layout {
            // The binding starts at the first row.
            Layout::KLast => self.a_first,
            Layout::KFirst => self.a_first + tile.rows.start,
        };
        let first_column = self.first_column + tile.columns.start;
        Self {
            shape,
            a_first,
            first_column,
            ..*self
        }
    }

    fn operands(&self) -> [(u32, Operand); 2] {
        [(A, self.stored_a()), (B, self.shape.operand_b())]
    }

    /// Bytes of one output row in each operand shaped as the output.
    fn by_output_row(&self) -> Vec<(u32, u64)> {
        let columns = u64::from(self.out_stride);
        let mut streams = vec![(OUT, columns * self.shape.out.bytes())];
        if self.shape.epilogue.residual {
            streams.push((RESIDUAL, 4 * columns));
        }
        streams
    }

    fn bias(&self) -> Option<(u32, u64)> {
        self.shape
            .epilogue
            .bias
            .then(|| (BIAS, 4 * u64::from(self.out_stride)))
    }

    /// Byte at which a matrix of the batch starts, by binding.
    fn matrix_starts(&self, matrix: u64) -> BTreeMap<u32, u64> {
        let rows = matrix * u64::from(self.shape.m);
        let outputs = self
            .by_output_row()
            .into_iter()
            .map(|(binding, bytes)| (binding, rows * bytes));
        let inputs = self
            .operands()
            .map(|(binding, operand)| match operand.broadcast {
                Broadcast::PerBatch => (binding, matrix * operand.matrix_bytes()),
                Broadcast::Shared => (binding, 0),
            });
        outputs.chain(inputs).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::kernels::matmul_dense::Precision;
    use crate::kernels::{DataKind, Epilogue, FloatType};
    use crate::record::{HostOperands, Launch, Values};

    use super::*;

    const ALIGNMENT: u64 = 256;

    fn shape(
        batch: u32,
        (m, n, k): (u32, u32, u32),
        a_layout: Layout,
        b_layout: Layout,
    ) -> MatmulDense {
        MatmulDense {
            batch,
            m,
            n,
            k,
            a: FloatType::F32,
            b: FloatType::F32,
            a_layout,
            b_layout,
            a_broadcast: Broadcast::PerBatch,
            b_broadcast: Broadcast::Shared,
            precision: Precision::Full,
            epilogue: Epilogue::default(),
            out: FloatType::F32,
        }
    }

    /// Runs each part by its params on its own ranges, as the shader does, and compares the outputs
    /// with the whole product's.
    fn parts_make_the_whole(shape: MatmulDense, limit: u64) -> usize {
        let whole = DenseLaunch::new(shape).expect("allowed shape");
        let (a, b) = (whole.stored_a(), whole.shape.operand_b());
        let a = DataKind::Integers.values(1, a.elements(shape.batch) as usize);
        let b = DataKind::Integers.values(2, b.elements(shape.batch) as usize);
        let (a_words, b_words) = (FloatType::F32.pack(&a), FloatType::F32.pack(&b));
        let mut operands = HostOperands::default();
        operands.insert(A, &a_words);
        operands.insert(B, &b_words);
        let outputs = whole.reference(&operands);
        let Values::F32(expected) = &outputs[0].values else {
            panic!("f32 output")
        };

        let mut made = vec![f64::NAN; expected.len()];
        let parts = whole.parts(limit, ALIGNMENT).expect("can be cut");
        for (part, ranges) in &parts {
            assert!(ranges.values().all(|range| range.start % ALIGNMENT == 0));
            assert!(
                ranges
                    .values()
                    .all(|range| range.end - range.start <= limit)
            );
            let first = |binding| ranges[&binding].start as usize / 4;
            let params = numbers(part);
            let at = |first: usize, terms: &[(u32, u32)]| {
                first
                    + terms
                        .iter()
                        .map(|(count, stride)| (count * stride) as usize)
                        .sum::<usize>()
            };
            for (matrix, row, column) in cells(params["batch"], params["m"], params["n"]) {
                let sum = (0..params["k"]).map(|k| {
                    let left = [
                        (matrix, params["a_batch_stride"]),
                        (row, params["a_row_stride"]),
                        (k, params["a_k_stride"]),
                        (params["a_first"], 1),
                    ];
                    let right = [
                        (matrix, params["b_batch_stride"]),
                        (column, params["b_column_stride"]),
                        (k, params["b_k_stride"]),
                    ];
                    f64::from(a[at(first(A), &left)]) * f64::from(b[at(first(B), &right)])
                });
                let out = [
                    (matrix * params["m"] + row, params["out_stride"]),
                    (params["first_column"] + column, 1),
                ];
                let out = at(first(OUT), &out);
                assert!(made[out].is_nan(), "element {out} is made twice");
                made[out] = sum.sum();
            }
        }
        assert_eq!(&made, expected);
        parts.len()
    }

    /// Members of the part's uniform by name.
    fn numbers(part: &DenseLaunch) -> BTreeMap<&'static str, u32> {
        let bytes = part.params();
        let words: &[u32] = &bytemuck::pod_collect_to_vec::<u8, u32>(&bytes);
        let fields = part.param_fields().iter();
        fields
            .map(|&(name, offset)| (name, words[offset / 4]))
            .collect()
    }

    /// Matrix, row and column of each output of a part.
    fn cells(batch: u32, m: u32, n: u32) -> impl Iterator<Item = (u32, u32, u32)> {
        (0..batch).flat_map(move |matrix| {
            (0..m).flat_map(move |row| (0..n).map(move |column| (matrix, row, column)))
        })
    }

    #[test]
    fn a_batch_is_cut_between_matrices() {
        for layout in [Layout::KLast, Layout::KFirst] {
            let parts = parts_make_the_whole(shape(6, (16, 8, 4), layout, layout), 1100);
            assert_eq!(parts, 3);
        }
    }

    #[test]
    fn rows_and_columns_are_cut_where_a_matrix_is_too_large() {
        let parts =
            parts_make_the_whole(shape(1, (40, 64, 64), Layout::KLast, Layout::KLast), 4096);
        assert!(parts >= 12, "{parts}");
        let parts =
            parts_make_the_whole(shape(2, (64, 64, 16), Layout::KFirst, Layout::KLast), 4200);
        assert!(parts >= 8, "{parts}");
        let parts =
            parts_make_the_whole(shape(2, (64, 64, 16), Layout::KLast, Layout::KFirst), 4200);
        assert!(parts >= 8, "{parts}");
    }

    #[test]
    fn columns_are_cut_in_pairs_so_that_f16_words_are_never_shared() {
        let f16 = MatmulDense {
            out: FloatType::F16,
            ..shape(1, (2, 64, 64), Layout::KLast, Layout::KLast)
        };
        let whole = DenseLaunch::new(f16).expect("allowed shape");
        let parts = whole.parts(256 * 5, ALIGNMENT).expect("can be cut");
        assert!(
            parts.len() > 1
                && parts
                    .iter()
                    .all(|(part, _)| part.first_column.is_multiple_of(2))
        );
    }

    #[test]
    fn b_across_k_is_never_cut_inside() {
        let wide = shape(1, (4, 1024, 64), Layout::KLast, Layout::KFirst);
        let whole = DenseLaunch::new(wide).expect("allowed shape");
        assert!(whole.parts(64 * 1024, ALIGNMENT).is_none());
    }

    #[test]
    fn matrices_that_start_off_the_alignment_are_not_cut_inside() {
        let odd = shape(3, (33, 65, 64), Layout::KLast, Layout::KLast);
        let whole = DenseLaunch::new(odd).expect("allowed shape");
        assert!(whole.parts(8000, ALIGNMENT).is_none());
    }
}
