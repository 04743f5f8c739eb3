//! Round trips.

use super::*;
use crate::num::philox::Philox;
use crate::num::quant::Scheme;
use half::f16;

/// A random matrix whose weights are kept by `keep(row, column, draw in 0..1)`.
pub(super) fn masked(
    n: usize,
    k: usize,
    seed: u64,
    keep: impl Fn(usize, usize, f32) -> bool,
) -> Vec<f32> {
    let mut stream = Philox::new(seed).stream(7);
    let mut weight = |index: usize| {
        let (value, draw) = (stream.normal(), stream.uniform());
        if keep(index / k, index % k, draw) {
            value
        } else {
            0.0
        }
    };
    (0..n * k).map(&mut weight).collect()
}

pub(super) fn dense(weights: &[f32], n: usize, k: usize) -> Dense<'_> {
    Dense {
        name: "w",
        weights,
        n,
        k,
    }
}

/// Pruned to a pattern at random: which columns of a group are kept turns with vector and group.
pub(super) fn masked_nm(n: usize, k: usize, pattern: NmPattern) -> Vec<f32> {
    masked(n, k, 5, |row, column, _| {
        let (vector, group) = (
            row / pattern.vector() as usize,
            column / pattern.m() as usize,
        );
        let place = column % pattern.m() as usize;
        let turned = place * 5 + vector * 3 + group * 7 + vector * group;
        // 5 is coprime to every m but 5, 10 and 15, where it keeps fewer.
        turned % (pattern.m() as usize) < pattern.n() as usize
            && (!(pattern.m()).is_multiple_of(5) || place < pattern.n() as usize)
    })
}

pub(super) fn bits(weights: &[f32]) -> Vec<u32> {
    weights.iter().map(|weight| weight.to_bits()).collect()
}

pub(super) fn pattern(n: u32, m: u32, vector: u32) -> NmPattern {
    NmPattern::new(n, m, vector).unwrap()
}

/// What comes back has every pruned weight exactly +0 and, for floats, every kept one as stored.
fn assert_round_trip(dense: &Dense<'_>, layout: SparseLayout, values: ValueFormat) {
    let matrix = SparseMatrix::compress(dense, layout, values).unwrap();
    let found = matrix.decompress();
    for (index, (&weight, &found)) in dense.weights.iter().zip(&found).enumerate() {
        let expected = match values {
            ValueFormat::F32 => weight,
            ValueFormat::F16 => f16::from_f32(weight).to_f32(),
            ValueFormat::Quantized(_) if weight == 0.0 => 0.0,
            // Within half a step of the coarsest code of the largest weight there is.
            ValueFormat::Quantized(_) => {
                assert!((found - weight).abs() < 0.7, "{matrix} {index}");
                continue;
            }
        };
        assert_eq!(found.to_bits(), expected.to_bits(), "{matrix} {index}");
    }
    assert_eq!([matrix.n(), matrix.k()], [dense.n, dense.k]);
    let n_zero = found.iter().filter(|&&weight| weight == 0.0).count();
    assert!((matrix.sparsity() - n_zero as f64 / found.len() as f64).abs() < 1e-12);
    assert_eq!(again(&matrix), Ok(matrix));
}

/// The same matrix through its parts.
pub(super) fn again(matrix: &SparseMatrix) -> Result<SparseMatrix, SparseError> {
    match matrix.clone() {
        SparseMatrix::Nm(nm) => NmMatrix::from_parts("w", nm.into_parts()).map(SparseMatrix::Nm),
        SparseMatrix::Block(block) => {
            BlockMatrix::from_parts("w", block.into_parts()).map(SparseMatrix::Block)
        }
        SparseMatrix::Delta(delta) => {
            DeltaMatrix::from_parts("w", delta.into_parts()).map(SparseMatrix::Delta)
        }
    }
}

const ANY_VALUES: [ValueFormat; 5] = [
    ValueFormat::F32,
    ValueFormat::F16,
    ValueFormat::Quantized(Scheme::int8_tensor()),
    ValueFormat::Quantized(Scheme::int8_group(8)),
    ValueFormat::Quantized(Scheme::int4_group(8)),
];

#[test]
fn every_nm_pattern_comes_back() {
    for m in 2..=16 {
        for n in 1..=m {
            for vector in [1, 8, 16, 32] {
                let pattern = pattern(n, m, vector);
                let (rows, k) = (37, 3 * m as usize);
                let weights = masked_nm(rows, k, pattern);
                let layout = SparseLayout::Nm(pattern);
                assert_round_trip(&dense(&weights, rows, k), layout, ValueFormat::F32);
            }
        }
    }
}

#[test]
fn nm_values_of_every_kind_come_back_with_pruned_weights_zero() {
    let channel = [Scheme::int8_channel(), Scheme::int4_channel()].map(ValueFormat::Quantized);
    for values in ANY_VALUES.into_iter().chain(channel) {
        for pattern in [pattern(2, 4, 1), pattern(2, 4, 16), pattern(8, 16, 8)] {
            let weights = masked_nm(21, 64, pattern);
            assert_round_trip(&dense(&weights, 21, 64), SparseLayout::Nm(pattern), values);
        }
    }
}

#[test]
fn blocks_of_every_shape_come_back_with_tails() {
    for shape in [(8, 8), (16, 16), (32, 8), (8, 128), (32, 32)] {
        let shape = BlockShape::new(shape.0, shape.1).unwrap();
        for (n, k) in [(1, 1), (8, 8), (33, 70), (64, 16), (129, 257)] {
            let weights = masked(n, k, 3, |row, column, _| {
                (row / shape.rows() + column / shape.columns()).is_multiple_of(3)
            });
            let layout = SparseLayout::Block(shape);
            for values in ANY_VALUES {
                assert_round_trip(&dense(&weights, n, k), layout, values);
            }
        }
    }
}

#[test]
fn a_channel_of_blocks_is_a_scale_per_block() {
    let shape = BlockShape::new(16, 16).unwrap();
    let weights = masked(48, 48, 9, |row, column, _| row / 16 == column / 16);
    let values = ValueFormat::Quantized(Scheme::int8_channel());
    let matrix = BlockMatrix::compress(&dense(&weights, 48, 48), shape, values).unwrap();
    assert!(matches!(matrix.values(), Values::Quantized(matrix) if matrix.scales().len() == 3));
    assert_round_trip(&dense(&weights, 48, 48), SparseLayout::Block(shape), values);
}

#[test]
fn single_weights_come_back_at_every_density() {
    for density in [0.0, 0.002, 0.02, 0.1, 0.5, 0.9, 1.0] {
        for (n, k) in [(1, 1), (1, 700), (700, 1), (13, 300), (40, 40)] {
            let weights = masked(n, k, 17, |_, _, draw| draw < density);
            for delta in [DeltaBits::Four, DeltaBits::Eight] {
                for values in ANY_VALUES {
                    assert_round_trip(&dense(&weights, n, k), SparseLayout::Delta(delta), values);
                }
            }
        }
    }
}

#[test]
fn gaps_at_the_largest_delta_and_one_past_it_come_back() {
    for bits in [DeltaBits::Four, DeltaBits::Eight] {
        for gap in [1, 2]
            .map(|times| times * bits.max())
            .into_iter()
            .flat_map(|gap| gap - 1..gap + 2)
        {
            for first in [0, gap] {
                let mut weights = vec![0.0; first + gap + 1];
                weights[first] = 1.0;
                weights[first + gap] = -1.0;
                let dense = dense(&weights, 1, weights.len());
                assert_round_trip(&dense, SparseLayout::Delta(bits), ValueFormat::F32);
            }
        }
    }
}

#[test]
fn a_matrix_of_zeros_stores_something_in_every_buffer() {
    let weights = [-0.0; 24 * 24];
    let layouts = [
        SparseLayout::Nm(NmPattern::TWO_FOUR),
        SparseLayout::Block(BlockShape::new(16, 16).unwrap()),
        SparseLayout::Delta(DeltaBits::Four),
        SparseLayout::Delta(DeltaBits::Eight),
    ];
    for layout in layouts {
        let dense = dense(&weights, 24, 24);
        let matrix = SparseMatrix::compress(&dense, layout, ValueFormat::F16).unwrap();
        assert!(
            matrix
                .decompress()
                .iter()
                .all(|weight| weight.to_bits() == 0)
        );
        assert_eq!(
            (matrix.sparsity(), again(&matrix)),
            (1.0, Ok(matrix.clone()))
        );
        let lengths = match &matrix {
            SparseMatrix::Nm(nm) => [nm.indices().len(), 1],
            SparseMatrix::Block(block) => [block.block_columns().len(), block.row_starts().len()],
            SparseMatrix::Delta(delta) => [delta.deltas().len(), delta.row_starts().len()],
        };
        assert!(!lengths.contains(&0) && !matrix.values().words().is_empty());
    }
}
