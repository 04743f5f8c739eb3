//! What is refused, and what the message says.

use super::tests::{dense, masked, masked_nm};
use super::*;
use crate::num::quant::{Granularity, Scheme};

const INT8_CHANNEL: ValueFormat = ValueFormat::Quantized(Scheme::int8_channel());

fn nm_parts() -> NmParts {
    let weights = masked_nm(3, 12, NmPattern::TWO_FOUR);
    let dense = dense(&weights, 3, 12);
    let matrix = NmMatrix::compress(&dense, NmPattern::TWO_FOUR, ValueFormat::F32);
    matrix.unwrap().into_parts()
}

fn block_parts() -> BlockParts {
    let weights = masked(20, 30, 3, |_, _, _| true);
    let shape = BlockShape::new(8, 16).unwrap();
    let matrix = BlockMatrix::compress(&dense(&weights, 20, 30), shape, ValueFormat::F32);
    matrix.unwrap().into_parts()
}

fn delta_parts() -> DeltaParts {
    // Columns 0 to 9 of two rows: 10 entries and 6 of padding each.
    let weights = masked(2, 20, 3, |_, column, _| column < 10);
    let matrix = DeltaMatrix::compress(&dense(&weights, 2, 20), None, ValueFormat::F32);
    matrix.unwrap().into_parts()
}

/// The message that a change of good parts leads to.
fn nm_refusal(change: impl Fn(&mut NmParts)) -> String {
    let mut parts = nm_parts();
    change(&mut parts);
    NmMatrix::from_parts("w", parts).unwrap_err().to_string()
}

fn block_refusal(change: impl Fn(&mut BlockParts)) -> String {
    let mut parts = block_parts();
    change(&mut parts);
    BlockMatrix::from_parts("w", parts).unwrap_err().to_string()
}

fn delta_refusal(change: impl Fn(&mut DeltaParts)) -> String {
    let mut parts = delta_parts();
    change(&mut parts);
    DeltaMatrix::from_parts("w", parts).unwrap_err().to_string()
}

fn f32_values(rows: usize, columns: usize, values: &[f32]) -> Values {
    Values::pack("v", ValueFormat::F32, [rows, columns], values).unwrap()
}

#[test]
fn patterns_and_block_shapes_outside_the_allowed_are_refused() {
    for (n, m, vector) in [
        (0, 4, 1),
        (5, 4, 1),
        (1, 1, 1),
        (1, 17, 1),
        (2, 4, 2),
        (2, 4, 0),
    ] {
        assert_eq!(
            NmPattern::new(n, m, vector).unwrap_err().to_string(),
            format!(
                "pattern {n}:{m} in vectors of {vector}; \
                 allowed: 1 <= n <= m, m from 2 to 16, vectors of 1, 8, 16 or 32 rows"
            )
        );
    }
    for (rows, columns) in [(0, 8), (8, 12), (136, 8), (4, 4)] {
        assert_eq!(
            BlockShape::new(rows, columns).unwrap_err().to_string(),
            format!("blocks of {rows} x {columns}; allowed: multiples of 8 from 8 to 128")
        );
    }
}

#[test]
fn matrices_that_no_format_holds_are_refused() {
    let layouts = [
        SparseLayout::Nm(NmPattern::TWO_FOUR),
        SparseLayout::Block(BlockShape::new(8, 8).unwrap()),
        SparseLayout::Delta(DeltaBits::Four),
    ];
    for layout in layouts {
        let refused = |weights: &[f32], n, k, values| {
            let error = SparseMatrix::compress(&dense(weights, n, k), layout, values).unwrap_err();
            error.to_string()
        };
        assert_eq!(
            refused(&[], 4, 0, ValueFormat::F32),
            "w: a matrix of 4 x 0 has no elements; n and k must be at least 1"
        );
        assert_eq!(
            refused(&[], 1 << 16, 1 << 16, ValueFormat::F32),
            "w: 65536 x 65536 has more than 4294967295 weights, the most that a u32 can count"
        );
        assert!(refused(&[], usize::MAX, 4, ValueFormat::F32).contains("more than 4294967295"));
        assert_eq!(
            refused(&[0.0; 7], 2, 4, ValueFormat::F32),
            "w: 8 weights are called for, found 7"
        );
        let mut weights = [0.0; 8];
        weights[6] = 1e5;
        assert_eq!(
            refused(&weights, 2, 4, ValueFormat::F16),
            "w: 100000 in row 1, column 2 is too large; the largest f16 is 65504"
        );
        weights[5] = f32::NAN;
        assert_eq!(
            refused(&weights, 2, 4, INT8_CHANNEL),
            "w: NaN in row 1, column 1; every weight must be finite"
        );
        let zero_point = ValueFormat::Quantized(Scheme::int4_group_zero_point(8));
        assert_eq!(
            refused(&[0.0; 64], 1, 64, zero_point),
            "w: values with zero points; pruned weights need a symmetric scheme"
        );
    }
}

#[test]
fn weights_outside_the_pattern_are_refused_by_row_and_group() {
    let compress = |weights: &[f32], n, k, vector| {
        let pattern = NmPattern::new(2, 4, vector).unwrap();
        let error = NmMatrix::compress(&dense(weights, n, k), pattern, ValueFormat::F32);
        error.unwrap_err().to_string()
    };
    let mut weights = [0.0; 24];
    weights[12 + 4..12 + 7].fill(1.0);
    assert_eq!(
        compress(&weights, 2, 12, 1),
        "w: 3 columns of group 1 hold nonzero weights in rows 1..2; pattern 2:4 keeps 2"
    );
    let mut spread = [0.0; 40];
    for index in [33, 36, 38] {
        spread[index] = 1.0;
    }
    assert_eq!(
        compress(&spread, 10, 4, 8),
        "w: 3 columns of group 0 hold nonzero weights in rows 8..10; pattern 2:4x8 keeps 2"
    );
    assert_eq!(
        compress(&weights, 4, 6, 1),
        "w: k = 6 is not a multiple of 4, the group of pattern 2:4"
    );
}

#[test]
fn granularities_that_a_format_lacks_are_refused() {
    let weights = [1.0; 256];
    let dense = dense(&weights, 16, 16);
    let refused = |layout, scheme| {
        SparseMatrix::compress(&dense, layout, ValueFormat::Quantized(scheme))
            .unwrap_err()
            .to_string()
    };
    let block = SparseLayout::Block(BlockShape::new(8, 8).unwrap());
    assert_eq!(
        refused(block, Scheme::int4_group(16)),
        "w: scales per Group(16); allowed: a tensor, a channel (a block) or a divisor of 8"
    );
    assert!(refused(block, Scheme::int4_group(0)).contains("Group(0)"));
    let delta = SparseLayout::Delta(DeltaBits::Four);
    for (scheme, what) in [
        (Scheme::int8_channel(), "Channel"),
        (Scheme::int8_group(4), "Group(4)"),
        (Scheme::int8_group(0), "Group(0)"),
        (Scheme::int8_group(24), "Group(24)"),
    ] {
        assert_eq!(
            refused(delta, scheme),
            format!(
                "w: scales per {what}; allowed: a tensor or groups of a multiple of 8 entries up to 16; \
                 for a scale per row use groups, because all rows are stored as one"
            )
        );
    }
    let pattern = NmPattern::new(4, 4, 1).unwrap();
    assert_eq!(
        refused(SparseLayout::Nm(pattern), Scheme::int4_group(32)),
        "w: k = 16 is not a multiple of group_size 32"
    );
}

#[test]
fn a_weight_in_a_block_that_is_not_kept_is_refused() {
    let mut weights = [0.0; 8 * 20];
    weights[3 * 20 + 17] = 2.5;
    let shape = BlockShape::new(8, 8).unwrap();
    let refused = |keep: &[bool]| {
        BlockMatrix::compress_kept(&dense(&weights, 8, 20), shape, keep, ValueFormat::F32)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused(&[true, true, false]),
        "w: block (0, 2) of block8x8 is not kept, but holds 2.5 in row 3, column 17"
    );
    assert_eq!(refused(&[true]), "w: 3 keep flags are called for, found 1");
}

#[test]
fn nm_parts_that_do_not_fit_are_refused() {
    assert!(NmMatrix::from_parts("w", nm_parts()).is_ok());
    assert_eq!(
        nm_refusal(|parts| parts.indices.truncate(5)),
        "w: 6 index words are called for, found 5"
    );
    assert_eq!(
        nm_refusal(|parts| parts.n = 4),
        "w: stored values of 3 x 6; the format calls for 4 x 6"
    );
    assert_eq!(
        nm_refusal(|parts| parts.k = 0),
        "w: a matrix of 3 x 0 has no elements; n and k must be at least 1"
    );
    assert_eq!(
        nm_refusal(|parts| parts.k = 13),
        "w: k = 13 is not a multiple of 4, the group of pattern 2:4"
    );
    assert_eq!(
        nm_refusal(|parts| parts.indices[2] = 0b01_10 << 4 | 0b11_00),
        "w: index 1 at position 3 of row 1 (vector 1, group 1) follows 2; indices of a group must ascend"
    );
    assert_eq!(
        nm_refusal(|parts| parts.indices[2] |= 1 << 12),
        "w: the end of index word 2 is not zero; padding must be"
    );
    assert_eq!(
        nm_refusal(|parts| parts.indices[5] = 1),
        "w: the end of index word 5 is not zero; padding must be"
    );
    assert_eq!(
        nm_refusal(|parts| {
            parts.pattern = NmPattern::new(1, 3, 1).unwrap();
            parts.k = 18;
            parts.indices = vec![0, 0, 0, 0, 0b11 << 10, 0];
        }),
        "w: index 3 at position 5 of row 2 (vector 2, group 5); pattern 1:3 allows 0 to 2"
    );
}

#[test]
fn block_parts_that_do_not_fit_are_refused() {
    assert!(BlockMatrix::from_parts("w", block_parts()).is_ok());
    assert_eq!(
        block_refusal(|parts| parts.n = 25),
        "w: 5 row starts are called for, found 4"
    );
    assert_eq!(
        block_refusal(|parts| parts.row_starts[0] = 1),
        "w: the first row starts at 1; it must start at 0"
    );
    assert_eq!(
        block_refusal(|parts| parts.row_starts[1] = 5),
        "w: row 1 starts at 5 and ends at 4; row starts must not descend"
    );
    assert_eq!(
        block_refusal(|parts| parts.row_starts[3] = u32::MAX),
        "w: 4294967295 block columns are called for, found 6"
    );
    assert_eq!(
        block_refusal(|parts| parts.block_columns[3] = 2),
        "w: block 3 of block row 1 has block column 2; allowed: 0 to 1"
    );
    assert_eq!(
        block_refusal(|parts| parts.block_columns[3] = 0),
        "w: block 3 of block row 1 has block column 0 after 0; block columns must ascend"
    );
    assert_eq!(
        block_refusal(|parts| parts.values = f32_values(5, 128, &[0.0; 640])),
        "w: stored values of 5 x 128; the format calls for 6 x 128"
    );
    for n in [17, 20] {
        let refused = block_refusal(|parts| {
            parts.n = n;
            parts.values = f32_values(6, 128, &[1.0; 768]);
        });
        let expected = "w: what lies outside the matrix of block 1 is not zero; padding must be";
        assert_eq!(refused, expected);
    }
    let of_nothing = block_refusal(|parts| {
        parts.row_starts = vec![0; 4];
        parts.block_columns = vec![0];
        parts.values = f32_values(1, 128, &[1.0; 128]);
    });
    assert_eq!(
        of_nothing,
        "w: what lies outside the matrix of block 0 is not zero; padding must be"
    );
    let of_nothing = block_refusal(|parts| {
        parts.row_starts = vec![0; 4];
        parts.block_columns = vec![1];
        parts.values = f32_values(1, 128, &[0.0; 128]);
    });
    assert_eq!(
        of_nothing,
        "w: the column of unused block 0 is not zero; padding must be"
    );
    let wide_groups = ValueFormat::Quantized(Scheme::int4_group(64));
    let refused = block_refusal(|parts| {
        parts.values = Values::pack("v", wide_groups, [6, 128], &[0.0; 768]).unwrap();
    });
    assert_eq!(
        refused,
        "w: scales per Group(64); allowed: a tensor, a channel (a block) or a divisor of 16"
    );
}

#[test]
fn delta_parts_that_do_not_fit_are_refused() {
    assert!(DeltaMatrix::from_parts("w", delta_parts()).is_ok());
    assert_eq!(delta_parts().deltas, [0x1111_1110, 0x11, 0x1111_1110, 0x11]);
    assert_eq!(
        delta_refusal(|parts| parts.row_starts[1] = 12),
        "w: row 0 ends at entry 12; allowed: multiples of 8"
    );
    assert_eq!(
        delta_refusal(|parts| parts.row_starts[2] = 8),
        "w: row 1 starts at 16 and ends at 8; row starts must not descend"
    );
    assert_eq!(
        delta_refusal(|parts| parts.row_starts[2] = 24),
        "w: 3 delta words are called for, found 4"
    );
    assert_eq!(
        delta_refusal(|parts| parts.bits = DeltaBits::Eight),
        "w: 8 delta words are called for, found 4"
    );
    assert_eq!(
        delta_refusal(|parts| parts.values = f32_values(2, 16, &[0.0; 32])),
        "w: stored values of 2 x 16; the format calls for 1 x 32"
    );
    assert_eq!(
        delta_refusal(|parts| parts.k = 9),
        "w: entry 9 of row 0 is at column 9; allowed: 0 to 8"
    );
    assert_eq!(
        delta_refusal(|parts| parts.deltas[2] = 0x1111_111f),
        "w: entry 5 of row 1 is at column 20; allowed: 0 to 19"
    );
    let repeated = delta_refusal(|parts| parts.deltas[2] = 0x1111_0110);
    assert!(
        repeated.starts_with("w: entry 3 of row 1 holds ")
            && repeated.ends_with(" after a delta of 0, which is for zeros at the end of a row"),
        "{repeated}"
    );
    assert_eq!(
        delta_refusal(|parts| parts.deltas[1] = 0x1011),
        "w: entry 11 of row 0 has delta 1 after padding; padding ends a row"
    );
    let mut all_zero = delta_parts();
    all_zero.row_starts = vec![0; 3];
    all_zero.deltas = vec![0x10];
    all_zero.values = f32_values(1, 8, &[0.0; 8]);
    assert_eq!(
        DeltaMatrix::from_parts("w", all_zero)
            .unwrap_err()
            .to_string(),
        "w: entry 1 is not zero; padding must be"
    );
    let channel = delta_refusal(|parts| {
        parts.values = Values::pack("v", INT8_CHANNEL, [1, 32], &[0.0; 32]).unwrap();
    });
    assert!(channel.starts_with("w: scales per Channel"), "{channel}");
}

#[test]
fn values_with_zero_points_are_refused_in_parts_too() {
    use crate::num::quant::quantize;
    let scheme = Scheme {
        granularity: Granularity::Tensor,
        ..Scheme::int4_group_zero_point(8)
    };
    let matrix = quantize("v", &[1.0; 18], 3, 6, &scheme).unwrap();
    assert_eq!(
        nm_refusal(|parts| parts.values = Values::Quantized(matrix.clone())),
        "w: values with zero points; pruned weights need a symmetric scheme"
    );
}
