//! Golden blocks built by hand, and repacking against decoding.

use half::f16;

use super::*;
use crate::num::quant::{Bits, Granularity, QuantizedMatrix, QuantizedParts, ScaleType};
use crate::num::{Philox, Scheme, quantize};

/// 1.0, 0.5 and -2.0 as f16.
const ONE: [u8; 2] = [0x00, 0x3c];
const HALF: [u8; 2] = [0x00, 0x38];
const MINUS_TWO: [u8; 2] = [0x00, 0xc0];

fn bytes(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn weights(kind: GgmlType, block: &[u8]) -> Vec<f32> {
    assert_eq!(block.len(), kind.block_bytes(), "{kind}");
    decode("w", kind, block, 1, kind.block_len()).unwrap()
}

/// Byte `j` is `j` low and `15 - j` high: elements rise, then fall.
fn nibbles() -> [u8; 16] {
    std::array::from_fn(|j| (j | (15 - j) << 4) as u8)
}

#[test]
fn golden_four_bit_blocks_have_their_first_half_in_low_nibbles() {
    let w = weights(GgmlType::Q4_0, &bytes(&[&HALF, &nibbles()]));
    assert_eq!(
        [w[0], w[1], w[15], w[16], w[31]],
        [-4.0, -3.5, 3.5, 3.5, -4.0]
    );
    let w = weights(GgmlType::Q4_1, &bytes(&[&HALF, &MINUS_TWO, &nibbles()]));
    assert_eq!(
        [w[0], w[1], w[15], w[16], w[31]],
        [-2.0, -1.5, 5.5, 5.5, -2.0]
    );
}

#[test]
fn golden_five_bit_blocks_take_their_fifth_bits_from_a_word() {
    // Fifth bits of elements 0, 17 and 31.
    let high = (1u32 | 1 << 17 | 1 << 31).to_le_bytes();
    let w = weights(GgmlType::Q5_0, &bytes(&[&HALF, &high, &nibbles()]));
    assert_eq!(
        [w[0], w[1], w[15], w[16], w[17], w[31]],
        [0.0, -7.5, -0.5, -0.5, 7.0, 0.0]
    );
    let w = weights(
        GgmlType::Q5_1,
        &bytes(&[&HALF, &MINUS_TWO, &high, &nibbles()]),
    );
    assert_eq!(
        [w[0], w[1], w[15], w[16], w[17], w[31]],
        [6.0, -1.5, 5.5, 5.5, 13.0, 6.0]
    );
}

#[test]
fn golden_eight_bit_block_is_twos_complement() {
    let codes: [u8; 32] = std::array::from_fn(|i| [0x80, 0xff, 0x7f, 0x01][i % 4]);
    let w = weights(GgmlType::Q8_0, &bytes(&[&HALF, &codes]));
    assert_eq!(w[..4], [-64.0, -0.5, 63.5, 0.5]);
}

/// Sub-block scales 1..8 and minima 8..1, the last four with high bits: 33 and 49 more.
fn scales12() -> ([u8; 12], [u8; 8], [u8; 8]) {
    let scales = [1, 2, 3, 4, 5 + 32, 6 + 32, 7 + 32, 8 + 48];
    let minima = [8, 7, 6, 5, 4 + 48, 3 + 16, 2, 1 + 32];
    let mut packed = [0u8; 12];
    for j in 0..4 {
        packed[j] = scales[j] | scales[j + 4] >> 4 << 6;
        packed[j + 4] = minima[j] | minima[j + 4] >> 4 << 6;
        packed[j + 8] = scales[j + 4] & 15 | (minima[j + 4] & 15) << 4;
    }
    (packed, scales, minima)
}

#[test]
fn golden_k_blocks_of_four_and_five_bits_scale_by_sub_blocks() {
    let (packed, scales, minima) = scales12();
    assert_eq!(packed[0], 0x81, "scale 1, and the high bits 2 of scale 37");
    // Byte l of 32: low nibble is element l of an even sub-block, high nibble of the odd one.
    let codes: [u8; 128] = std::array::from_fn(|i| ((i % 16) | ((15 - i % 16) << 4)) as u8);
    let block = bytes(&[&HALF, &MINUS_TWO, &packed, &codes]);
    let w = weights(GgmlType::Q4K, &block);
    for (i, &w) in w.iter().enumerate() {
        let (j, l) = (i / 32, i % 32);
        let q = if j % 2 == 0 { l % 16 } else { 15 - l % 16 };
        let expected = 0.5 * f32::from(scales[j]) * q as f32 + 2.0 * f32::from(minima[j]);
        assert_eq!(w, expected, "element {i}");
    }
    // Fifth bits: bit j of byte l belongs to element l of sub-block j.
    let high: [u8; 32] = std::array::from_fn(|l| if l == 3 { 0b1000_0010 } else { 0 });
    let fives = weights(
        GgmlType::Q5K,
        &bytes(&[&HALF, &MINUS_TWO, &packed, &high, &codes]),
    );
    for (i, (&five, &four)) in fives.iter().zip(&w).enumerate() {
        let more = match i {
            35 => 8.0 * f32::from(scales[1]),
            227 => 8.0 * f32::from(scales[7]),
            _ => 0.0,
        };
        assert_eq!(five, four + more, "element {i}");
    }
}

#[test]
fn golden_k_block_of_six_bits_has_its_scale_at_the_end() {
    let mut block = vec![0u8; 210];
    block[192..208].copy_from_slice(&std::array::from_fn::<u8, 16, _>(|j| j as u8 + 1));
    block[207] = (-16i8) as u8;
    block[208..].copy_from_slice(&HALF);
    // Element 0: 1 low, high bits 2. Element 32: byte 32 low. Element 64: byte 0 high. Element 96:
    // byte 32 high. Element 128 + 127: byte 64 + 63 high, bits 6 and 7 of its byte.
    block[0] = 0x51;
    block[32] = 0x73;
    block[128] = 0b01_00_11_10;
    block[127] = 0xf0;
    block[128 + 63] = 0b11_00_00_00;
    let w = weights(GgmlType::Q6K, &block);
    let expect =
        |i: usize, q: i32, scale: f32| assert_eq!(w[i], 0.5 * scale * (q - 32) as f32, "{i}");
    expect(0, 1 + 32, 1.0);
    expect(32, 3 + 48, 3.0);
    expect(64, 5, 5.0);
    expect(96, 7 + 16, 7.0);
    expect(1, 0, 1.0);
    expect(16, 0, 2.0);
    expect(255, 63, -16.0);
}

#[test]
fn golden_floats() {
    assert_eq!(weights(GgmlType::F32, &1.5f32.to_le_bytes()), [1.5]);
    assert_eq!(weights(GgmlType::F16, &MINUS_TWO), [-2.0]);
    assert_eq!(weights(GgmlType::Bf16, &[0x49, 0x40]), [3.140_625]);
}

/// Blocks of random bits with finite scales.
fn random_blocks(kind: GgmlType, n_blocks: usize, seed: u64) -> Vec<u8> {
    let mut stream = Philox::new(seed).stream(0);
    let mut data: Vec<u8> = (0..n_blocks * kind.block_bytes())
        .map(|_| stream.integer(0..=255) as u8)
        .collect();
    for block in data.chunks_exact_mut(kind.block_bytes()) {
        let places: &[usize] = match kind {
            GgmlType::Q6K => &[208],
            GgmlType::Q4_0 | GgmlType::Q5_0 | GgmlType::Q8_0 => &[0],
            _ => &[0, 2],
        };
        for &at in places {
            let value = f16::from_f32(stream.normal());
            block[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
    }
    data
}

#[test]
fn repacking_keeps_every_weight_of_every_format() {
    for kind in GgmlType::ALL.into_iter().filter(|kind| !kind.is_float()) {
        let (n, k) = (3, 256 * 3);
        let data = random_blocks(kind, n * k / kind.block_len(), 7);
        let matrix = repack("w", kind, &data, n, k).unwrap();
        assert_eq!(
            matrix.dequantize(),
            decode("w", kind, &data, n, k).unwrap(),
            "{kind}"
        );
        // Rows that are no whole words, and an odd number of scales.
        assert_eq!(repacked_bytes(kind, n, k), matrix.bytes() as u64, "{kind}");
        let is_written = [GgmlType::Q4_0, GgmlType::Q4_1, GgmlType::Q8_0].contains(&kind);
        match blocks_of("w", &matrix) {
            Ok(blocks) if is_written => assert_eq!(blocks, (kind, data), "{kind}"),
            // A Q5_0 matrix is kept as a Q8_0 one is.
            Ok((wider, _)) => assert_eq!((kind, wider), (GgmlType::Q5_0, GgmlType::Q8_0)),
            Err(error) => assert!(!is_written, "{error}"),
        }
    }
}

#[test]
fn repacked_formats_are_those_of_the_table() {
    let formats: Vec<String> = GgmlType::ALL
        .into_iter()
        .filter(|kind| !kind.is_float())
        .map(|kind| {
            let data = random_blocks(kind, 256 / kind.block_len(), 1);
            let matrix = repack("w", kind, &data, 1, 256).unwrap();
            format!(
                "{kind} {} {:?}",
                matrix.format(),
                matrix.format().scale_type
            )
        })
        .collect();
    let expected = [
        "Q4_0 int4-g32 F16",
        "Q4_1 int4-g32-min F16",
        "Q5_0 int8-g32 F16",
        "Q5_1 int8-g32-min F16",
        "Q8_0 int8-g32 F16",
        "Q4_K int4-g32-min F32",
        "Q5_K int8-g32-min F32",
        "Q6_K int8-g16 F32",
    ];
    assert_eq!(formats, expected);
}

#[test]
fn encoding_places_ggmls_codes_and_scales() {
    let mut w = vec![0.0f32; 32];
    w[..4].copy_from_slice(&[8.0, -4.0, 3.5, 7.5]);
    w[16] = -7.5;
    let block = encode("w", GgmlType::Q4_0, &w, 1, 32).unwrap();
    // d = -1; nibbles 0 12 5 1, then 15 in the high half of byte 0.
    assert_eq!(block[..6], [0x00, 0xbc, 0xf0, 0x8c, 0x85, 0x81]);
    w[31] = 4.0;
    let block = encode("w", GgmlType::Q4_1, &w, 1, 32).unwrap();
    // d = 15.5 / 15, m = -7.5.
    assert_eq!(block[..4], [0x22, 0x3c, 0x80, 0xc7]);
    assert_eq!(block[4], 0x0f);
    w[0] = 127.0;
    let block = encode("w", GgmlType::Q8_0, &w, 1, 32).unwrap();
    assert_eq!(block[..6], [0x00, 0x3c, 127, 0xfc, 4, 8]);
    let halves = encode("w", GgmlType::F16, &[1.0, -2.0], 1, 2).unwrap();
    assert_eq!(halves, bytes(&[&ONE, &MINUS_TWO]));
}

#[test]
fn encoding_what_was_decoded_gives_the_same_bytes() {
    let mut stream = Philox::new(3).stream(0);
    let w: Vec<f32> = (0..64 * 64).map(|_| stream.normal()).collect();
    for kind in [
        GgmlType::Q4_0,
        GgmlType::Q4_1,
        GgmlType::Q8_0,
        GgmlType::F16,
    ] {
        let once = encode("w", kind, &w, 64, 64).unwrap();
        let decoded = decode("w", kind, &once, 64, 64).unwrap();
        assert_eq!(encode("w", kind, &decoded, 64, 64).unwrap(), once, "{kind}");
    }
}

#[test]
fn refusals_name_the_tensor_the_value_and_what_is_allowed() {
    let say = |result: Result<Vec<f32>, GgmlError>| result.unwrap_err().to_string();
    assert_eq!(
        say(decode("blk.0", GgmlType::Q4K, &[], 1, 576)),
        "blk.0: rows of 576 are not a multiple of 256, the weights in a block of Q4_K"
    );
    assert_eq!(
        say(decode("blk.0", GgmlType::Q8_0, &[0; 33], 1, 32)),
        "blk.0: 1 x 32 of Q8_0 calls for 34 bytes, found 33"
    );
    assert!(matches!(
        decode("w", GgmlType::F32, &[], usize::MAX, 2),
        Err(GgmlError::WrongLength {
            expected: usize::MAX,
            ..
        })
    ));
    assert!(matches!(
        repack("w", GgmlType::F16, &[0; 2], 1, 1),
        Err(GgmlError::NotQuantized { .. })
    ));
    assert!(matches!(
        encode("w", GgmlType::Q6K, &[0.0; 256], 1, 256),
        Err(GgmlError::NotWritable { .. })
    ));
    assert!(matches!(
        encode("w", GgmlType::F32, &[0.0], usize::MAX, 2),
        Err(GgmlError::WrongLength { .. })
    ));
    let infinite = bytes(&[&[0x00, 0x7c], &[0; 32]]);
    let error = repack("w", GgmlType::Q8_0, &infinite, 1, 32).unwrap_err();
    assert!(
        error.to_string().starts_with("w: scale inf of group 0"),
        "{error}"
    );
    let zero_point = quantize("w", &[1.0; 32], 1, 32, &Scheme::int4_group_zero_point(32)).unwrap();
    let error = blocks_of("w", &zero_point).unwrap_err().to_string();
    assert!(
        error.starts_with("w: no block format holds int4-g32-zp; allowed: "),
        "{error}"
    );
}

#[test]
fn types_are_numbered_as_ggml_numbers_them_and_no_number_twice() {
    for kind in GgmlType::ALL {
        assert_eq!(GgmlType::from_id(kind.id()), Some(kind));
        assert_eq!(foreign_type_name(kind.id()), None);
        assert_eq!(
            kind.bytes_of(2, kind.block_len()),
            Some(2 * kind.block_bytes())
        );
    }
    assert_eq!(GgmlType::from_id(4), None);
    assert_eq!(foreign_type_name(10), Some("Q2_K"));
    assert_eq!(GgmlType::Q4_0.bytes_of(1, 33), None);
}

#[test]
fn zero_points_become_minima_of_the_same_weights_but_for_a_rounding() {
    let values: Vec<f32> = (0..3 * 64)
        .map(|i| ((i * 37 % 101) as f32 - 20.0) / 17.0)
        .collect();
    let matrix = quantize("w", &values, 3, 64, &Scheme::int4_group_zero_point(32)).unwrap();
    let made = with_minima("w", &matrix).unwrap();
    assert_eq!(held_by(matrix.format()), Some(GgmlType::Q4_1));
    let (before, after) = (matrix.dequantize(), made.dequantize());
    let zeros = matrix.zeros().unwrap();
    let mut n_exact = 0;
    for (index, (before, after)) in before.chunks(32).zip(after.chunks(32)).enumerate() {
        let (scale, room) = (
            f64::from(matrix.scales()[index]),
            f64::from(zeros[index] + 8),
        );
        // Half of the last bit of an f16 of that size; and a product and a sum in f32.
        let largest = scale * 15.0;
        let allowed = scale * room * 2f64.powi(-11) + largest * f64::from(f32::EPSILON);
        for (a, b) in before.iter().zip(after) {
            let change = (f64::from(*a) - f64::from(*b)).abs();
            assert!(change <= allowed, "{change} {allowed}");
        }
        let exact = -scale * room;
        n_exact += usize::from(f64::from(made.minima().unwrap()[index]) == exact);
    }
    assert!(n_exact < 6, "something is rounded");
    let (kind, bytes) = to_blocks("w", &matrix).unwrap();
    assert_eq!(kind, GgmlType::Q4_1);
    assert_eq!(repack("w", kind, &bytes, 3, 64).unwrap(), made);
    // Scales of few bits leave room.
    let codes: Vec<i8> = (0..32).map(|at| at % 16 - 8).collect();
    let parts = QuantizedParts {
        bits: Bits::Int4,
        granularity: Granularity::Group(32),
        n: 1,
        k: 32,
        codes: &codes,
        scales: &[0.375],
        scale_type: ScaleType::F16,
        zeros: Some(&[-3]),
    };
    let matrix = QuantizedMatrix::from_codes("w", &parts).unwrap();
    let made = with_minima("w", &matrix).unwrap();
    assert_eq!(made.minima(), Some(&[-1.875f32][..]));
    assert_eq!(made.dequantize(), matrix.dequantize());
    // Others come as they are, or not at all.
    let parts = QuantizedParts {
        bits: Bits::Int8,
        ..parts
    };
    let wide = QuantizedMatrix::from_codes("w", &parts).unwrap();
    assert_eq!(held_by(wide.format()), None);
    assert!(to_blocks("w", &wide).is_err());
    let large = QuantizedMatrix::from_codes(
        "w",
        &QuantizedParts {
            bits: Bits::Int4,
            scales: &[65504.0],
            zeros: Some(&[7]),
            ..parts
        },
    );
    let refused = with_minima("w", &large.unwrap()).unwrap_err().to_string();
    assert!(refused.starts_with("w: "), "{refused}");
}
