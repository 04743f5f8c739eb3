//! Golden words, sizes and names.

use super::tests::{bits, dense, masked, masked_nm, pattern};
use super::*;
use crate::num::quant::{Granularity, Scheme, quantize};

#[test]
fn quantized_values_are_those_of_the_kept_weights_alone() {
    let weights = masked_nm(4, 64, NmPattern::TWO_FOUR);
    let scheme = Scheme::int4_group(16);
    let values = ValueFormat::Quantized(scheme);
    let matrix = NmMatrix::compress(&dense(&weights, 4, 64), NmPattern::TWO_FOUR, values).unwrap();
    let kept: Vec<f32> = (0..4 * 32)
        .map(|i| weights[i / 32 * 64 + matrix.column(i / 32, i % 32)])
        .collect();
    let expected = quantize("w", &kept, 4, 32, &scheme).unwrap();
    assert_eq!(matrix.values(), &Values::Quantized(expected));
}

#[test]
fn golden_words_of_two_four() {
    // Group 0 keeps 1 and 3, group 1 only 2 (and stores place 0), group 2 nothing: 0 and 1.
    let weights = [0.0, 1.0, 0.0, 2.0, 0.0, 0.0, 3.0, 0.0, -0.0, 0.0, 0.0, 0.0];
    let matrix = NmMatrix::compress(
        &dense(&weights, 1, 12),
        NmPattern::TWO_FOUR,
        ValueFormat::F32,
    )
    .unwrap();
    assert_eq!(matrix.indices(), [0b01_00_10_00_11_01, 0]);
    assert_eq!(matrix.values().to_f32(), [1.0, 2.0, 0.0, 3.0, 0.0, 0.0]);
    assert_eq!(matrix.values().words().len(), 8);
    let columns: Vec<usize> = (0..6).map(|position| matrix.column(0, position)).collect();
    assert_eq!(columns, [1, 3, 4, 6, 8, 9]);
    assert_eq!([matrix.kept(), matrix.bytes()], [6, 4 * (8 + 2)]);
}

#[test]
fn a_vector_shares_the_union_of_its_rows() {
    let mut weights = vec![0.0; 9 * 4];
    weights[0] = 1.0;
    weights[4 * 7 + 3] = 2.0;
    weights[4 * 8 + 1] = 3.0;
    let matrix =
        NmMatrix::compress(&dense(&weights, 9, 4), pattern(2, 4, 8), ValueFormat::F32).unwrap();
    assert_eq!(matrix.indices(), [0b11_00, 0, 0b01_00, 0]);
    assert_eq!([matrix.column(0, 1), matrix.column(8, 1)], [3, 1]);
    assert_eq!(bits(&matrix.decompress()), bits(&weights));
}

#[test]
fn golden_lists_of_blocks() {
    // Three block rows: the middle one is empty. The last block column has a width of 1.
    let mut weights = vec![0.0; 17 * 9];
    weights[8] = 5.0;
    weights[16 * 9] = 6.0;
    let shape = BlockShape::new(8, 8).unwrap();
    let matrix = BlockMatrix::compress(&dense(&weights, 17, 9), shape, ValueFormat::F32).unwrap();
    assert_eq!(matrix.row_starts(), [0, 1, 1, 2]);
    assert_eq!(matrix.block_columns(), [1, 0]);
    assert_eq!([matrix.n_blocks(), matrix.n_block_rows()], [2, 3]);
    assert_eq!(matrix.bytes(), 4 * (2 * 64 + 4 + 2));
    let values = matrix.values().to_f32();
    assert_eq!(
        [values[0], values[64], values.iter().sum()],
        [5.0, 6.0, 11.0]
    );
}

#[test]
fn blocks_that_are_listed_are_kept_though_they_are_zero() {
    let shape = BlockShape::new(8, 8).unwrap();
    let weights = [0.0; 8 * 16];
    let keep = [false, true];
    let matrix =
        BlockMatrix::compress_kept(&dense(&weights, 8, 16), shape, &keep, ValueFormat::F16)
            .unwrap();
    assert_eq!((matrix.n_blocks(), matrix.block_columns()), (1, &[1][..]));
}

#[test]
fn golden_words_of_deltas() {
    // Row 0: columns 0, 1 and 17 (a gap of 16: one bridge). Row 1: nothing. Row 2: column 19 first.
    let mut weights = vec![0.0; 60];
    [(0, 1.0), (1, 2.0), (17, 3.0), (40 + 19, 4.0)]
        .into_iter()
        .for_each(|(index, value)| weights[index] = value);
    let compress = |bits| DeltaMatrix::compress(&dense(&weights, 3, 20), bits, ValueFormat::F32);
    let four = compress(Some(DeltaBits::Four)).unwrap();
    assert_eq!(four.row_starts(), [0, 8, 8, 16]);
    assert_eq!(four.deltas(), [0x1f10, 0x004f]);
    let values = four.values().to_f32();
    assert_eq!(values[..8], [1.0, 2.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(values[8..], [0.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let eight = compress(Some(DeltaBits::Eight)).unwrap();
    assert_eq!(eight.deltas(), [0x0010_0100, 0, 19, 0]);
    assert_eq!(
        compress(None).unwrap(),
        four,
        "the same entries in fewer bits"
    );
    assert_eq!([four.n_entries(), four.bytes()], [16, 4 * (16 + 2 + 4)]);
}

#[test]
fn the_narrower_delta_is_taken_while_it_is_smaller() {
    let bits_at = |density: f32| {
        let weights = masked(32, 1024, 23, |_, _, draw| draw < density);
        let matrix = DeltaMatrix::compress(&dense(&weights, 32, 1024), None, ValueFormat::F16);
        let taken = matrix.unwrap();
        for bits in [DeltaBits::Four, DeltaBits::Eight] {
            let other =
                DeltaMatrix::compress(&dense(&weights, 32, 1024), Some(bits), ValueFormat::F16);
            assert!(taken.bytes() <= other.unwrap().bytes());
        }
        taken.bits()
    };
    assert_eq!(
        [0.5, 0.2, 0.02, 0.005].map(bits_at),
        [
            DeltaBits::Four,
            DeltaBits::Four,
            DeltaBits::Eight,
            DeltaBits::Eight
        ]
    );
}

#[test]
fn rows_of_deltas_end_with_a_group() {
    let weights = masked(5, 100, 29, |row, _, draw| row != 2 && draw < 0.3);
    let values = ValueFormat::Quantized(Scheme::int8_group(32));
    let matrix = DeltaMatrix::compress(&dense(&weights, 5, 100), None, values).unwrap();
    assert_eq!(matrix.row_multiple(), 32);
    assert!(
        matrix
            .row_starts()
            .iter()
            .all(|start| start.is_multiple_of(32))
    );
    assert_eq!(matrix.row_starts()[2], matrix.row_starts()[3]);
}

#[test]
fn formats_display_their_layout_and_values() {
    let weights = [0.0; 16 * 16];
    let dense = dense(&weights, 16, 16);
    let shown = |layout, values| {
        SparseMatrix::compress(&dense, layout, values)
            .unwrap()
            .to_string()
    };
    let int8 = ValueFormat::Quantized(Scheme::int8_channel());
    let nm = |pattern| SparseLayout::Nm(pattern);
    let block = SparseLayout::Block(BlockShape::new(16, 16).unwrap());
    assert_eq!(shown(nm(pattern(2, 4, 1)), int8), "2:4 int8-channel");
    assert_eq!(shown(nm(pattern(2, 4, 16)), ValueFormat::F32), "2:4x16 f32");
    assert_eq!(shown(block, ValueFormat::F16), "block16x16 f16");
    assert_eq!(
        shown(SparseLayout::Delta(DeltaBits::Four), ValueFormat::F32),
        "delta4 f32"
    );
}

#[test]
fn bytes_are_within_three_percent_of_the_formula() {
    const N: usize = 2048;
    let all_values = [
        ValueFormat::F32,
        ValueFormat::F16,
        ValueFormat::Quantized(Scheme::int8_tensor()),
        ValueFormat::Quantized(Scheme::int4_group(32)),
    ];
    let check = |matrix: &SparseMatrix, expected: f64| {
        let ratio = matrix.bytes() as f64 / expected;
        assert!(
            (ratio - 1.0).abs() < 0.03,
            "{matrix}: {} for {expected}",
            matrix.bytes()
        );
        assert_eq!(
            matrix.bytes_per_weight(),
            matrix.bytes() as f64 / (N * N) as f64
        );
    };
    let compress = |weights: &[f32], layout, values| {
        SparseMatrix::compress(&dense(weights, N, N), layout, values).unwrap()
    };
    for pattern in [pattern(2, 4, 1), pattern(1, 2, 16), pattern(4, 16, 32)] {
        let weights = masked_nm(N, N, pattern);
        for values in all_values {
            let matrix = compress(&weights, SparseLayout::Nm(pattern), values);
            check(&matrix, pattern.expected_bytes(N, N, values.stored()));
        }
    }
    let shape = BlockShape::new(32, 32).unwrap();
    let weights = masked(N, N, 1, |row, column, _| {
        (row / 32 * 5 + column / 32 * 3) % 7 < 2
    });
    for values in all_values {
        let matrix = compress(&weights, SparseLayout::Block(shape), values);
        let SparseMatrix::Block(block) = &matrix else {
            unreachable!()
        };
        check(
            &matrix,
            shape.expected_bytes(N, N, block.n_blocks(), values.stored()),
        );
    }
    for density in [0.5, 0.1, 0.02] {
        let weights = masked(N, N, 2, |_, _, draw| draw < density);
        let n_nonzero = weights.iter().filter(|&&weight| weight != 0.0).count();
        for bits in [DeltaBits::Four, DeltaBits::Eight] {
            // At the lowest density a row has so few groups that their padding is no average.
            let n_values = if density < 0.1 { 3 } else { 4 };
            for values in all_values.into_iter().take(n_values) {
                let matrix = compress(&weights, SparseLayout::Delta(bits), values);
                check(
                    &matrix,
                    bits.expected_bytes(N, N, n_nonzero, values.stored()),
                );
            }
        }
    }
}

#[test]
fn dense_bytes_are_those_of_the_unpruned_matrix() {
    let weights = masked_nm(16, 64, NmPattern::TWO_FOUR);
    let of = |values| {
        let layout = SparseLayout::Nm(NmPattern::TWO_FOUR);
        SparseMatrix::compress(&dense(&weights, 16, 64), layout, values).unwrap()
    };
    assert_eq!(of(ValueFormat::F32).dense_bytes(), 16 * 64 * 4);
    let int4 = of(ValueFormat::Quantized(Scheme::int4_group(16)));
    let unpruned = quantize("w", &weights, 16, 64, &Scheme::int4_group(16)).unwrap();
    assert_eq!(int4.dense_bytes(), unpruned.bytes());
    assert_eq!(
        int4.values().format().granularity(),
        Some(Granularity::Group(16))
    );
}
