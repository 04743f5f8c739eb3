//! Damaged parts by the ten thousand: `from_parts` refuses them or what it takes unpacks in range.

use super::tests::{again, dense, masked, masked_nm};
use super::*;
use crate::num::philox::{Philox, Stream};
use crate::num::quant::Scheme;

const N_MUTANTS: usize = 30_000;

fn seeds() -> Vec<SparseMatrix> {
    let int4 = ValueFormat::Quantized(Scheme::int4_group(8));
    let free = masked(11, 45, 1, |row, _, draw| row % 4 != 1 && draw < 0.2);
    let block = SparseLayout::Block(BlockShape::new(8, 16).unwrap());
    let of = |weights: &[f32], n, k, layout, values| {
        SparseMatrix::compress(&dense(weights, n, k), layout, values).unwrap()
    };
    let nm = |n, m, vector, values| {
        let pattern = NmPattern::new(n, m, vector).unwrap();
        let weights = masked_nm(19, 8 * m as usize, pattern);
        of(
            &weights,
            19,
            8 * m as usize,
            SparseLayout::Nm(pattern),
            values,
        )
    };
    vec![
        nm(2, 4, 1, ValueFormat::F32),
        nm(1, 3, 8, int4),
        nm(5, 11, 16, ValueFormat::F16),
        of(&free, 11, 45, block, ValueFormat::F32),
        of(&free, 11, 45, block, int4),
        of(
            &free,
            11,
            45,
            SparseLayout::Delta(DeltaBits::Four),
            ValueFormat::F16,
        ),
        of(&free, 11, 45, SparseLayout::Delta(DeltaBits::Eight), int4),
        of(&[0.0; 64], 8, 8, block, ValueFormat::F32),
        of(
            &[0.0; 64],
            8,
            8,
            SparseLayout::Delta(DeltaBits::Four),
            ValueFormat::F32,
        ),
    ]
}

/// Changes a list of words: a bit, a small step, a word, its length, or two words swapped.
fn mutate_words(words: &mut Vec<u32>, stream: &mut Stream) {
    let len = words.len() as u32;
    let at = stream.below(len.max(1)) as usize;
    match stream.below(7) {
        0 | 1 if len > 0 => words[at] ^= 1 << stream.below(32),
        2 if len > 0 => words[at] = words[at].wrapping_add(stream.below(17)).wrapping_sub(8),
        3 if len > 0 => words[at] = stream.next_u32(),
        4 if len > 0 => words.swap(at, stream.below(len) as usize % len as usize),
        5 => words.truncate(at),
        _ => words.insert(at.min(words.len()), stream.below(9)),
    }
}

fn mutate_size(size: &mut usize, stream: &mut Stream) {
    *size = match stream.below(4) {
        0 => size.wrapping_add(1),
        1 => size.wrapping_sub(1),
        2 => stream.below(80) as usize,
        _ => stream.next_u32() as usize,
    };
}

/// Another value of a float matrix; codes are all allowed.
fn mutate_values(values: &mut Values, stream: &mut Stream) {
    let mut floats = values.to_f32();
    let at = stream.below(floats.len() as u32) as usize;
    floats[at] = if floats[at] == 0.0 { 1.0 } else { 0.0 };
    let shape = [values.rows(), values.columns()];
    *values = Values::pack("v", ValueFormat::F32, shape, &floats).unwrap();
}

/// One to three changes of the parts of a matrix.
fn mutant(seed: &SparseMatrix, stream: &mut Stream) -> Result<SparseMatrix, SparseError> {
    let n_changes = 1 + stream.below(3);
    match seed.clone() {
        SparseMatrix::Nm(matrix) => {
            let mut parts = matrix.into_parts();
            for _ in 0..n_changes {
                match stream.below(8) {
                    0 => mutate_size(&mut parts.n, stream),
                    1 => mutate_size(&mut parts.k, stream),
                    2 => mutate_values(&mut parts.values, stream),
                    _ => mutate_words(&mut parts.indices, stream),
                }
            }
            NmMatrix::from_parts("w", parts).map(SparseMatrix::Nm)
        }
        SparseMatrix::Block(matrix) => {
            let mut parts = matrix.into_parts();
            for _ in 0..n_changes {
                match stream.below(8) {
                    0 => mutate_size(&mut parts.n, stream),
                    1 => mutate_size(&mut parts.k, stream),
                    2 => mutate_values(&mut parts.values, stream),
                    3 | 4 => mutate_words(&mut parts.row_starts, stream),
                    _ => mutate_words(&mut parts.block_columns, stream),
                }
            }
            BlockMatrix::from_parts("w", parts).map(SparseMatrix::Block)
        }
        SparseMatrix::Delta(matrix) => {
            let mut parts = matrix.into_parts();
            for _ in 0..n_changes {
                match stream.below(8) {
                    0 => mutate_size(&mut parts.n, stream),
                    1 => mutate_size(&mut parts.k, stream),
                    2 => mutate_values(&mut parts.values, stream),
                    3 | 4 => mutate_words(&mut parts.row_starts, stream),
                    _ => mutate_words(&mut parts.deltas, stream),
                }
            }
            DeltaMatrix::from_parts("w", parts).map(SparseMatrix::Delta)
        }
    }
}

/// Every index of a matrix that was taken is in range, checked by other means than unpacking.
fn assert_in_range(matrix: &SparseMatrix) {
    match matrix {
        SparseMatrix::Nm(nm) => {
            for row in 0..nm.n() {
                let mut columns = (0..nm.kept()).map(|position| nm.column(row, position));
                assert!(columns.all(|column| column < nm.k()));
            }
        }
        SparseMatrix::Block(block) => {
            let [n_rows, n_columns] = block.shape().grid(block.n(), block.k());
            assert_eq!(block.row_starts().len(), n_rows + 1);
            assert!(
                block
                    .block_columns()
                    .iter()
                    .all(|&column| (column as usize) < n_columns)
            );
            assert!(
                block
                    .row_starts()
                    .iter()
                    .all(|&start| start as usize <= block.n_blocks())
            );
        }
        SparseMatrix::Delta(delta) => {
            for pair in delta.row_starts().windows(2) {
                let deltas = (pair[0]..pair[1]).map(|entry| delta.delta(entry as usize));
                assert!(deltas.sum::<usize>() < delta.k());
            }
        }
    }
}

#[test]
fn damaged_parts_are_refused_or_unpack_in_range() {
    let seeds = seeds();
    let mut stream = Philox::new(0x5BA6_5E00).stream(0);
    let mut n_taken = 0;
    for index in 0..N_MUTANTS {
        let result = mutant(&seeds[index % seeds.len()], &mut stream);
        let matrix = match result {
            Ok(matrix) => matrix,
            Err(error) => {
                assert!(error.to_string().starts_with("w: "), "{error}");
                continue;
            }
        };
        n_taken += 1;
        assert_in_range(&matrix);
        // A column count from nowhere, which few formats can tell, may ask for gigabytes.
        if matrix.n() * matrix.k() < 1 << 16 {
            let weights = matrix.decompress();
            assert_eq!(weights.len(), matrix.n() * matrix.k());
            let n_nonzero = weights.iter().filter(|&&weight| weight != 0.0).count();
            assert_eq!(n_nonzero, matrix.values().n_nonzero());
            assert_eq!(again(&matrix), Ok(matrix));
        }
    }
    // Both outcomes must be common, or the mutations test only one of them.
    assert!(
        (N_MUTANTS / 50..N_MUTANTS / 2).contains(&n_taken),
        "{n_taken} of {N_MUTANTS} are taken"
    );
}
