//! Golden words built by hand from the formats' own sources.

use super::*;
use crate::num::Philox;

#[test]
fn three_bit_fields_straddle_words_as_gptq_packs_them() {
    // Word 0: codes 0..9, low two bits of code 10 at bit 30. Word 1: its high bit at bit 0, code 11 at
    // bit 1, low bit of code 21 at bit 31. Word 2: its high bits at bit 0, code 22 at bit 2.
    let words = [0b10 << 30 | 5, 1 | 6 << 1 | 1 << 31, 0b01 | 7 << 2];
    let codes: Vec<u8> = (0..32).map(|i| field(&words, 3, i)).collect();
    assert_eq!(
        [codes[0], codes[10], codes[11], codes[21], codes[22]],
        [5, 6, 6, 3, 7]
    );
    assert_eq!(codes[31], 0);
}

/// Eight outputs, sixteen inputs in groups of eight: output 0 counts up, the others are zero.
fn parts<'a>(qweight: &'a [u32], qzeros: &'a [u32], scales: &'a [f32]) -> GptqParts<'a> {
    GptqParts {
        bits: 4,
        n: 8,
        k: 16,
        group_size: Some(8),
        qweight,
        qzeros,
        zeros: GptqZeros::MinusOne,
        scales,
        g_idx: None,
    }
}

fn golden() -> (Vec<u32>, Vec<u32>, Vec<f32>) {
    let mut qweight = vec![0; 16];
    qweight[0] = 0x7654_3210;
    qweight[8] = 0xfedc_ba98;
    let mut scales = vec![1.0; 16];
    scales[8] = 0.5;
    // Zero points minus one: 0..7 in the first group; the second has zero point 0 at output 0, which
    // borrowed: 0x11111110 - 0x11111111.
    (qweight, vec![0x7654_3210, 0xffff_ffff], scales)
}

#[test]
fn golden_gptq_layer_runs_along_k_and_undoes_the_borrow() {
    let (qweight, qzeros, scales) = golden();
    let layer = gptq("w", &parts(&qweight, &qzeros, &scales)).unwrap();
    let matrix = &layer.matrix;
    assert_eq!(
        (layer.order, matrix.format().to_string()),
        (None, "int4-g8-zp".to_owned())
    );
    // Zero point 1 in group 0, then 0xffffffff + 0x11111111 = 0x11111110: 0 at output 0, 1 elsewhere.
    assert_eq!([matrix.weight(0, 0), matrix.weight(0, 7)], [-1.0, 6.0]);
    assert_eq!([matrix.weight(0, 8), matrix.weight(0, 15)], [4.0, 7.5]);
    assert_eq!(
        [
            matrix.weight(1, 0),
            matrix.weight(7, 0),
            matrix.weight(1, 8)
        ],
        [-2.0, -8.0, -1.0]
    );
    let second = GptqParts {
        zeros: GptqZeros::AsTheyAre,
        ..parts(&qweight, &qzeros, &scales)
    };
    assert_eq!(gptq("w", &second).unwrap().matrix.weight(7, 0), -7.0);
}

#[test]
fn symmetric_gptq_layers_lose_their_zero_points_and_tell_their_version() {
    let (qweight, _, scales) = golden();
    for (word, zeros) in [
        (0x7777_7777, GptqZeros::MinusOne),
        (0x8888_8888, GptqZeros::AsTheyAre),
    ] {
        let qzeros = [word; 2];
        assert_eq!(GptqZeros::of_symmetric_int4(&qzeros), Some(zeros));
        let layer = GptqParts {
            zeros,
            ..parts(&qweight, &qzeros, &scales)
        };
        let matrix = gptq("w", &layer).unwrap().matrix;
        assert_eq!((matrix.zeros(), matrix.weight(0, 0)), (None, -8.0));
    }
    assert_eq!(GptqZeros::of_symmetric_int4(&[0x7777_7778]), None);
    assert_eq!(GptqZeros::of_symmetric_int4(&[]), None);
}

#[test]
fn act_order_sorts_columns_by_group_and_says_how() {
    let (qweight, qzeros, scales) = golden();
    let g_idx: Vec<i32> = (0..16).map(|input| input % 2).collect();
    let layer = GptqParts {
        g_idx: Some(&g_idx),
        ..parts(&qweight, &qzeros, &scales)
    };
    let found = gptq("w", &layer).unwrap();
    let order = found.order.unwrap();
    assert_eq!(order[..9], [0, 2, 4, 6, 8, 10, 12, 14, 1]);
    for (column, &input) in order.iter().enumerate() {
        // Output 0: code = input; group 0 has zero 1 and scale 1, group 1 zero 0 and scale 0.5.
        let expected = match input % 2 {
            0 => f64::from(input) - 1.0,
            _ => 0.5 * f64::from(input),
        };
        assert_eq!(found.matrix.weight(0, column), expected, "{input}");
    }
    let sorted: Vec<i32> = (0..16).map(|input| input / 8).collect();
    let layer = GptqParts {
        g_idx: Some(&sorted),
        ..layer
    };
    assert_eq!(gptq("w", &layer).unwrap().order, None);
}

#[test]
fn gptq_of_every_width_keeps_its_values() {
    for bits in [2u32, 3, 4, 8] {
        let (n, k, n_groups) = (32, 64, 2);
        let mut stream = Philox::new(u64::from(bits)).stream(0);
        let words = |count: usize, stream: &mut crate::num::Stream| -> Vec<u32> {
            (0..count)
                .map(|_| {
                    stream.integer(0..=0xffff) as u32 | (stream.integer(0..=0xffff) as u32) << 16
                })
                .collect()
        };
        let qweight = words(k * bits as usize / 32 * n, &mut stream);
        let qzeros = words(n * bits as usize / 32 * n_groups, &mut stream);
        let scales = vec![0.25; n * n_groups];
        let layer = GptqParts {
            bits,
            n,
            k,
            group_size: Some(32),
            qweight: &qweight,
            qzeros: &qzeros,
            zeros: GptqZeros::AsTheyAre,
            scales: &scales,
            g_idx: None,
        };
        let matrix = gptq("w", &layer).unwrap().matrix;
        for (row, column) in [(0, 0), (31, 63), (7, 31), (8, 32), (21, 10)] {
            let stream: Vec<u32> = (0..k * bits as usize / 32)
                .map(|word| qweight[word * n + row])
                .collect();
            let code = f64::from(field(&stream, bits, column));
            let zeros = &qzeros[column / 32 * (n * bits as usize / 32)..];
            let zero = f64::from(field(zeros, bits, row));
            assert_eq!(
                matrix.weight(row, column),
                0.25 * (code - zero),
                "{bits} {row} {column}"
            );
        }
    }
}

#[test]
fn golden_awq_layer_runs_along_n_in_its_own_order() {
    // Input 0: output j has code j, so nibbles are 0 2 4 6 1 3 5 7.
    let mut qweight = vec![0u32; 8];
    qweight[0] = 0x7531_6420;
    let layer = AwqParts {
        n: 8,
        k: 8,
        group_size: Some(8),
        qweight: &qweight,
        qzeros: &[0x7531_6420],
        scales: &[1.0, 1.0, 1.0, 0.5, 1.0, 1.0, 1.0, 1.0],
    };
    let matrix = awq("w", &layer).unwrap();
    assert!((0..8).all(|output| matrix.weight(output, 0) == 0.0));
    assert_eq!(
        [
            matrix.weight(1, 1),
            matrix.weight(3, 1),
            matrix.weight(7, 7)
        ],
        [-1.0, -1.5, -7.0]
    );
}

#[test]
fn golden_pack_quantized_layer_is_offset_and_packs_zero_points_along_n() {
    let packed = [0x7654_3210u32, 0xfedc_ba98, 0x8888_8888, 0x8888_8889];
    let layer = PackQuantizedParts {
        bits: 4,
        n: 2,
        k: 16,
        group_size: Some(8),
        packed: &packed,
        scales: &[1.0, 2.0, 0.5, 0.1],
        zeros: None,
    };
    let matrix = pack_quantized("w", &layer).unwrap();
    assert_eq!([matrix.weight(0, 0), matrix.weight(0, 15)], [-8.0, 14.0]);
    assert_eq!([matrix.weight(1, 7), matrix.code(1, 8) as f64], [0.0, 1.0]);
    assert_eq!(matrix.format().scale_type, ScaleType::F32, "0.1 is no f16");
    // Rows 0 and 1 in one word for each group: zero points 9 - 8 and 7 - 8.
    let zeros = [0x79u32, 0x88];
    let layer = PackQuantizedParts {
        zeros: Some(&zeros),
        ..layer
    };
    let matrix = pack_quantized("w", &layer).unwrap();
    assert_eq!(
        [
            matrix.weight(0, 0),
            matrix.weight(1, 0),
            matrix.weight(0, 15)
        ],
        [-9.0, 0.5, 14.0]
    );
    // Three bits: ten codes a word, two bits unused.
    let packed = [5 | 3 << 27, 7u32];
    let layer = PackQuantizedParts {
        bits: 3,
        n: 1,
        k: 11,
        group_size: None,
        packed: &packed,
        scales: &[1.0],
        zeros: None,
    };
    let matrix = pack_quantized("w", &layer).unwrap();
    assert_eq!(
        [
            matrix.weight(0, 0),
            matrix.weight(0, 9),
            matrix.weight(0, 10)
        ],
        [1.0, -1.0, 3.0]
    );
}

#[test]
fn int_quantized_layers_are_taken_as_they_are() {
    let matrix = int_quantized(
        "w",
        (2, 4),
        &[1, -2, 3, -128, 5, 6, 7, 8],
        &[0.5, 2.0],
        None,
    );
    let matrix = matrix.unwrap();
    assert_eq!(
        matrix.dequantize(),
        [0.5, -1.0, 1.5, -64.0, 10.0, 12.0, 14.0, 16.0]
    );
    assert_eq!(
        int_quantized("w", (2, 4), &[0; 8], &[], None)
            .unwrap_err()
            .to_string(),
        "w: weight_scale has 0 elements, expected 2"
    );
}

#[test]
fn layers_that_do_not_fit_are_refused_by_name() {
    let (qweight, qzeros, scales) = golden();
    let good = parts(&qweight, &qzeros, &scales);
    let said = |layer: GptqParts<'_>| gptq("w", &layer).unwrap_err().to_string();
    assert_eq!(
        said(GptqParts { bits: 5, ..good }),
        "w: codes of 5 bits; allowed: 2, 3, 4, 8"
    );
    assert_eq!(
        said(GptqParts { n: 9, ..good }),
        "w: n = 9 is not a multiple of 8, the codes in whole words"
    );
    assert_eq!(
        said(GptqParts {
            group_size: Some(5),
            ..good
        }),
        "w: k = 16 is not a multiple of group_size 5"
    );
    assert_eq!(
        said(GptqParts {
            group_size: Some(0),
            ..good
        }),
        "w: k = 16 is not a multiple of group_size 0"
    );
    assert_eq!(
        said(GptqParts {
            qweight: &[],
            ..good
        }),
        "w: qweight has 0 elements, expected 16"
    );
    assert!(
        said(GptqParts {
            n: usize::MAX - 7,
            ..good
        })
        .contains("qweight")
    );
    assert_eq!(
        said(GptqParts {
            g_idx: Some(&[2; 16]),
            ..good
        }),
        "w: g_idx of input 0 is 2; allowed: 0 to 1"
    );
    assert_eq!(
        said(GptqParts {
            g_idx: Some(&[0; 16]),
            ..good
        }),
        "w: group 0 has 16 inputs, expected 8 like every other"
    );
    for (n, k) in [(0, 16), (8, 0)] {
        let error = said(GptqParts { n, k, ..good });
        assert!(
            error.ends_with("has no elements; n and k must be at least 1"),
            "{error}"
        );
    }
}
