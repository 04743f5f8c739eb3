//! A pruned matrix written out with its zeros, in the dense format of the same values: what a dense kernel
//! takes when it is the faster one.

use super::float_rows::ValueType;
use super::matrix::{SparseFormat, SparseLayout, SparseMatrix};
use super::values::{StoredFormat, Values};
use crate::num::quant::{Granularity, QuantFormat, QuantizedMatrix, QuantizedParts};

/// A pruned matrix with its zeros written out.
#[derive(Clone, Debug, PartialEq)]
pub enum Expanded {
    /// Floats `[n, k]` of this type; each is exactly representable in it.
    Float(ValueType, Vec<f32>),
    /// The same codes and scales, code 0 wherever a weight was pruned.
    Quantized(QuantizedMatrix),
}

impl SparseFormat {
    /// The dense format that holds the same values, for a matrix of `k` columns. Quantized values whose
    /// scale groups are no groups of a dense row are expanded to f32.
    #[must_use]
    pub fn dense(&self, k: usize) -> StoredFormat {
        let StoredFormat::Quantized(format) = self.values else {
            return self.values;
        };
        let group = match (self.layout, format.granularity) {
            (_, Granularity::Tensor) => Some(Granularity::Tensor),
            (SparseLayout::Nm(_), Granularity::Channel) => Some(Granularity::Channel),
            (SparseLayout::Nm(pattern), Granularity::Group(size)) => size
                .is_multiple_of(pattern.n())
                .then(|| Granularity::Group(size / pattern.n() * pattern.m())),
            (SparseLayout::Block(shape), granularity) => {
                let size = match granularity {
                    Granularity::Group(size) => size,
                    Granularity::Tensor | Granularity::Channel => shape.columns() as u32,
                };
                k.is_multiple_of(shape.columns())
                    .then_some(Granularity::Group(size))
            }
            (SparseLayout::Delta(_), Granularity::Channel | Granularity::Group(_)) => None,
        };
        match group {
            Some(granularity) => StoredFormat::Quantized(QuantFormat {
                granularity,
                ..format
            }),
            None => StoredFormat::Float(ValueType::F32),
        }
    }
}

impl SparseMatrix {
    /// The matrix with its zeros, in the format that [`SparseFormat::dense`] names. Products with it differ
    /// from those with the pruned matrix by rounding only.
    #[must_use]
    pub fn expand(&self) -> Expanded {
        let (n, k) = (self.n(), self.k());
        let (format, Values::Quantized(values)) = (self.format().dense(k), self.values()) else {
            let value_type = match self.format().values {
                StoredFormat::Float(value_type) => value_type,
                StoredFormat::Quantized(_) => ValueType::F32,
            };
            return Expanded::Float(value_type, self.decompress());
        };
        let StoredFormat::Quantized(format) = format else {
            return Expanded::Float(ValueType::F32, self.decompress());
        };
        let group = match format.granularity {
            Granularity::Tensor => n * k,
            Granularity::Channel => k,
            Granularity::Group(size) => size as usize,
        };
        let mut codes = vec![0i8; n * k];
        // Groups without a weight keep this scale, which none of their codes uses.
        let mut scales = vec![1.0; n * k / group];
        for (at, [row, column]) in self.entries() {
            let code = values.code(at[0], at[1]);
            if code != 0 {
                codes[row * k + column] = code as i8;
            }
            scales[(row * k + column) / group] = values.scales()[scale_index(values, at)];
        }
        let parts = QuantizedParts {
            bits: format.bits,
            granularity: format.granularity,
            n,
            k,
            codes: &codes,
            scales: &scales,
            scale_type: format.scale_type,
            zeros: None,
        };
        match QuantizedMatrix::from_codes("expanded", &parts) {
            Ok(matrix) => Expanded::Quantized(matrix),
            // Groups that a dense matrix does not have, such as of 4 int4 codes.
            Err(_) => Expanded::Float(ValueType::F32, self.decompress()),
        }
    }

    /// Every stored value of a weight that exists: its place among the values, then its row and column.
    fn entries(&self) -> Vec<([usize; 2], [usize; 2])> {
        let mut entries = Vec::new();
        match self {
            Self::Nm(nm) => {
                for row in 0..nm.n() {
                    let places = (0..nm.kept()).map(|at| ([row, at], [row, nm.column(row, at)]));
                    entries.extend(places);
                }
            }
            Self::Block(block) => {
                let (rows, columns) = (block.shape().rows(), block.shape().columns());
                for block_row in 0..block.n_block_rows() {
                    let starts = block.row_starts();
                    for index in starts[block_row] as usize..starts[block_row + 1] as usize {
                        let first = [
                            block_row * rows,
                            block.block_columns()[index] as usize * columns,
                        ];
                        for at in 0..rows * columns {
                            let place = [first[0] + at / columns, first[1] + at % columns];
                            if place[0] < block.n() && place[1] < block.k() {
                                entries.push(([index, at], place));
                            }
                        }
                    }
                }
            }
            Self::Delta(delta) => {
                for row in 0..delta.n() {
                    let starts = delta.row_starts();
                    let mut column = 0;
                    for entry in starts[row] as usize..starts[row + 1] as usize {
                        column += delta.delta(entry);
                        entries.push(([0, entry], [row, column]));
                    }
                }
            }
        }
        entries
    }
}

/// Index of the scale of a stored value.
fn scale_index(values: &QuantizedMatrix, [row, column]: [usize; 2]) -> usize {
    match values.format().granularity {
        Granularity::Tensor => 0,
        Granularity::Channel => row,
        Granularity::Group(size) => row * (values.k() / size as usize) + column / size as usize,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::{
        BlockShape, DeltaBits, Dense, NmPattern, Philox, Scheme, SparseLayout, ValueFormat,
    };

    #[test]
    fn the_expanded_matrix_holds_exactly_the_decompressed_values() {
        let (n, k) = (48, 128);
        let mut random = Philox::new(3).stream(0);
        let weights: Vec<f32> = (0..n * k)
            .map(|at| {
                // Two of four, in whole blocks of 16 x 16 of every second column of blocks.
                let kept = at % 4 < 2 && (at % k) / 16 % 2 == 0;
                let value = random.normal();
                if kept { value } else { 0.0 }
            })
            .collect();
        let dense = Dense {
            name: "w",
            weights: &weights,
            n,
            k,
        };
        let layouts = [
            SparseLayout::Nm(NmPattern::TWO_FOUR),
            SparseLayout::Block(BlockShape::new(16, 16).unwrap()),
            SparseLayout::Delta(DeltaBits::Four),
        ];
        let formats = [
            ValueFormat::F32,
            ValueFormat::F16,
            ValueFormat::Quantized(Scheme::int8_tensor()),
            ValueFormat::Quantized(Scheme::int8_channel()),
            ValueFormat::Quantized(Scheme::int4_group(16)),
        ];
        let mut quantized = 0;
        for layout in layouts {
            for format in formats {
                let Ok(matrix) = SparseMatrix::compress(&dense, layout, format) else {
                    assert!(matches!(layout, SparseLayout::Delta(_)), "{layout}");
                    continue;
                };
                let expected = matrix.decompress();
                match matrix.expand() {
                    Expanded::Float(_, values) => assert_eq!(values, expected),
                    Expanded::Quantized(values) => {
                        quantized += 1;
                        assert_eq!(values.dequantize(), expected, "{layout} {format:?}");
                        assert_eq!(
                            StoredFormat::Quantized(values.format()),
                            matrix.format().dense(k)
                        );
                    }
                }
            }
        }
        assert_eq!(quantized, 7);
    }
}
