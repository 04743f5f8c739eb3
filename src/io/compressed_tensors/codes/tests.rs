use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::io::safetensors::{parse, write_safetensors};
use crate::num::{
    Bits, Granularity, QuantizedMatrix, QuantizedParts, ScaleType, Scheme, Width, Zero, quantize,
};
use crate::tensor::{DType, HostTensor};

type Parts = Vec<(String, HostTensor)>;
type Change<'a> = &'a dyn Fn(&mut Parts);

/// The bytes of a file with these parts.
fn file(parts: &[(String, HostTensor)]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    write_safetensors(&path, parts, &BTreeMap::new()).unwrap();
    std::fs::read(path).unwrap()
}

fn matrix(scheme: &Scheme, n: usize, k: usize) -> QuantizedMatrix {
    let values: Vec<f32> = (0..n * k)
        .map(|i| ((i * 37 % 101) as f32 - 50.0) / 16.0)
        .collect();
    quantize("w", &values, n, k, scheme).unwrap()
}

#[test]
fn a_matrix_comes_back_as_it_was_in_both_formats() {
    let f32_scales = Scheme {
        scale_type: ScaleType::F32,
        ..Scheme::int4_group_zero_point(8)
    };
    for scheme in [
        Scheme::int8_channel(),
        Scheme::int8_tensor(),
        Scheme::int8_group(8),
        Scheme::int4_group(8),
        Scheme::int4_channel(),
        Scheme::int4_group_zero_point(24),
        f32_scales,
    ] {
        for format in [CodesFormat::Packed, CodesFormat::Bytes] {
            let before = matrix(&scheme, 11, 24);
            let args = WeightArgs::of(before.format());
            let bytes = file(&code_parts("a.b", (&before, &args), format).unwrap());
            let after = read_codes(&parse(&bytes[..]).unwrap(), "a.b", &args).unwrap();
            assert_eq!(after, before, "{scheme} {format}");
        }
    }
}

#[test]
fn golden_words_of_a_packed_matrix_with_zero_points() {
    // As compressed-tensors packs them: unsigned codes, low bits first; zero points along the rows.
    let before = QuantizedMatrix::from_codes(
        "w",
        &QuantizedParts {
            bits: Bits::Int4,
            granularity: Granularity::Group(8),
            n: 2,
            k: 16,
            codes: &[
                -8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, //
                7, 6, 5, 4, 3, 2, 1, 0, -1, -2, -3, -4, -5, -6, -7, -8,
            ],
            scales: &[0.5, 1.0, 2.0, 4.0],
            scale_type: ScaleType::F16,
            zeros: Some(&[-8, -7, 7, 0]),
        },
    )
    .unwrap();
    let args = WeightArgs::of(before.format());
    let parts = code_parts("w", (&before, &args), CodesFormat::Packed).unwrap();
    let names: Vec<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "w.weight_packed",
            "w.weight_scale",
            "w.weight_shape",
            "w.weight_zero_point"
        ]
    );
    assert_eq!(
        parts[0].1.words(),
        [0x7654_3210, 0xfedc_ba98, 0x89ab_cdef, 0x0123_4567]
    );
    assert_eq!(
        parts[1].1.bytes(),
        [0x00, 0x38, 0x00, 0x3c, 0x00, 0x40, 0x00, 0x44]
    );
    assert_eq!(parts[3].1.shape(), [1, 2]);
    assert_eq!(parts[3].1.words(), [0xf0, 0x81]);
}

/// A matrix of int4 codes.
fn narrow(codes: &[i8], k: usize, zeros: Option<&[i8]>) -> QuantizedMatrix {
    let parts = QuantizedParts {
        bits: Bits::Int4,
        granularity: Granularity::Channel,
        n: codes.len() / k,
        k,
        codes,
        scales: &vec![0.5; codes.len() / k],
        scale_type: ScaleType::F32,
        zeros,
    };
    QuantizedMatrix::from_codes("w", &parts).unwrap()
}

#[test]
fn golden_bytes_of_two_and_three_bits() {
    // 16 codes a word at 2 bits: -2, -1, 0, 1 are 0, 1, 2, 3. The 17th of a row begins another word.
    let row: Vec<i8> = (0..17).map(|at| at % 4 - 2).collect();
    let codes = [row.clone(), row.iter().map(|code| -1 - code).collect()].concat();
    let before = narrow(&codes, 17, Some(&[-2, 1]));
    let args = WeightArgs::narrow(before.format(), Width::Int2, 1);
    let parts = code_parts("w", (&before, &args), CodesFormat::Packed).unwrap();
    assert_eq!(parts[0].1.shape(), [2, 2]);
    assert_eq!(
        parts[0].1.bytes(),
        [
            0xe4, 0xe4, 0xe4, 0xe4, 0x00, 0, 0, 0, //
            0x1b, 0x1b, 0x1b, 0x1b, 0x03, 0, 0, 0
        ]
    );
    // Zero points at the same width along the rows: 0 and 3.
    assert_eq!(parts[3].1.words(), [0b1100]);
    let read =
        |parts: &Parts, args: &WeightArgs| read_codes(&parse(&file(parts)[..]).unwrap(), "w", args);
    assert_eq!(read(&parts, &args).unwrap(), before);

    // 10 codes a word at 3 bits, -4 to 3 as 0 to 7: octal digits from the right, the two highest bits 0.
    let codes: Vec<i8> = (0..12).map(|at| at % 8 - 4).collect();
    let before = narrow(&codes, 12, None);
    let args = WeightArgs::narrow(before.format(), Width::Int3, 1);
    let mut parts = code_parts("w", (&before, &args), CodesFormat::Packed).unwrap();
    assert_eq!(parts[0].1.words(), [0o1_076_543_210, 0o32]);
    assert_eq!(
        parts[0].1.bytes(),
        [0x88, 0xc6, 0xfa, 0x08, 0x1a, 0, 0, 0],
        "little end first"
    );
    assert_eq!(read(&parts, &args).unwrap(), before);
    parts[0].1 = HostTensor::from_i32(vec![1, 2], &[i32::MIN, 0]).unwrap();
    let refused = read(&parts, &args).unwrap_err().to_string();
    assert!(refused.contains("codes past the end of row 0"), "{refused}");
}

#[test]
fn golden_bytes_of_six_bits() {
    // 5 codes a word, -32 to 31 as 0 to 63: pairs of octal digits from the right, the two highest bits 0.
    let codes = [-32, -31, 0, 30, 31, 5, -1, 7, -32, 31, 1, 2];
    let before = QuantizedMatrix::from_codes(
        "w",
        &QuantizedParts {
            bits: Bits::Int8,
            granularity: Granularity::Channel,
            n: 2,
            k: 6,
            codes: &codes,
            scales: &[0.5, 2.0],
            scale_type: ScaleType::F32,
            zeros: Some(&[-32, 31]),
        },
    )
    .unwrap();
    let args = WeightArgs::narrow(before.format(), Width::Int6, 1);
    let mut parts = code_parts("w", (&before, &args), CodesFormat::of(Width::Int6)).unwrap();
    assert_eq!(parts[0].1.shape(), [2, 2]);
    assert_eq!(
        parts[0].1.words(),
        [0o77_76_40_01_00, 0o45, 0o41_77_00_47_37, 0o42]
    );
    assert_eq!(parts[0].1.bytes()[..4], [0x40, 0x00, 0xfa, 0x3f]);
    // Zero points at the same width along the rows: 0 and 63.
    assert_eq!(parts[3].1.words(), [0o77_00]);
    let read =
        |parts: &Parts, args: &WeightArgs| read_codes(&parse(&file(parts)[..]).unwrap(), "w", args);
    assert_eq!(read(&parts, &args).unwrap(), before);
    let words: Vec<i32> = vec![1 << 30, 0, 0, 0];
    parts[0].1 = HostTensor::from_i32(vec![2, 2], &words).unwrap();
    let refused = read(&parts, &args).unwrap_err().to_string();
    assert!(refused.contains("codes past the end of row 0"), "{refused}");
}

#[test]
fn codes_that_are_apart_keep_fine_zero_points() {
    // Every fourth code of int4, and zero points between them.
    let codes = [-8, -4, 0, 4, 4, 0, -4, -8];
    let before = narrow(&codes, 4, Some(&[-7, 3]));
    let args = WeightArgs::narrow(before.format(), Width::Int2, 4);
    for format in [CodesFormat::Packed, CodesFormat::Bytes] {
        let parts = code_parts("w", (&before, &args), format).unwrap();
        if format == CodesFormat::Packed {
            assert_eq!(parts[0].1.bytes(), [0xe4, 0, 0, 0, 0x1b, 0, 0, 0]);
            assert_eq!(parts[3].1.words(), [0xb1], "zero points of 4 bits");
        }
        let after = read_codes(&parse(&file(&parts)[..]).unwrap(), "w", &args);
        assert_eq!(after.unwrap(), before);
    }
}

#[test]
fn codes_that_a_width_cannot_hold_are_named() {
    let refused = |codes: &[i8], zeros: Option<&[i8]>, width, spacing| {
        let matrix = narrow(codes, 4, zeros);
        let args = WeightArgs::narrow(matrix.format(), width, spacing);
        code_parts("w", (&matrix, &args), CodesFormat::Packed)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused(&[0, 1, 2, 0], None, Width::Int2, 1),
        "layer \"w\": code 2 at 2 is outside -2..=1, the range of int2"
    );
    assert_eq!(
        refused(&[0, 4, 2, 0], None, Width::Int2, 4),
        "layer \"w\": code 2 at 2 is no multiple of 4"
    );
    assert_eq!(
        refused(&[0; 4], Some(&[3]), Width::Int2, 1),
        "layer \"w\": zero point 3 at 0 is outside -2..=1, the range of int2"
    );
    // Bytes of a file that says fewer bits than they have.
    let matrix = narrow(&[0, 1, 7, 0], 4, None);
    let parts = code_parts(
        "w",
        (&matrix, &WeightArgs::of(matrix.format())),
        CodesFormat::Bytes,
    );
    let args = WeightArgs::narrow(matrix.format(), Width::Int3, 1);
    let bytes = file(&parts.unwrap());
    let refused = read_codes(&parse(&bytes[..]).unwrap(), "w", &args).unwrap_err();
    assert!(refused.to_string().contains("code 7 at 2"), "{refused}");
}

#[test]
fn arguments_come_back_as_they_were_and_others_are_refused() {
    for scheme in [
        Scheme::int8_channel(),
        Scheme::int8_tensor(),
        Scheme::int4_group_zero_point(64),
    ] {
        let args = WeightArgs::of(scheme.format());
        assert_eq!(WeightArgs::from_json("weights", &args.to_json()), Ok(args));
    }
    for (width, spacing) in [
        (Width::Int2, 4),
        (Width::Int3, 2),
        (Width::Int3, 1),
        (Width::Int6, 4),
        (Width::Int6, 1),
    ] {
        let format = Scheme::int4_group_zero_point(64).format();
        let args = WeightArgs::narrow(format, width, spacing);
        assert_eq!(WeightArgs::from_json("weights", &args.to_json()), Ok(args));
    }
    for activations in [
        ActivationArgs::Token,
        ActivationArgs::Group(32),
        ActivationArgs::Tensor,
    ] {
        let read = ActivationArgs::from_json("input_activations", &activations.to_json());
        assert_eq!(read, Ok(Some(activations)));
    }
    let old = json!({"num_bits": 4, "type": "int", "group_size": 128});
    assert_eq!(
        WeightArgs::from_json("weights", &old),
        Ok(WeightArgs {
            width: Width::Int4,
            spacing: 1,
            granularity: Granularity::Group(128),
            zero: Zero::Symmetric
        })
    );
    for (key, value) in [
        ("num_bits", json!(5)),
        ("spacing", json!(2)),
        ("type", json!("float")),
        ("strategy", json!("block")),
        ("group_size", json!(0)),
        ("group_size", json!(1e20)),
        ("symmetric", json!("yes")),
        ("actorder", json!("group")),
    ] {
        let mut args = WeightArgs::of(Scheme::int4_group(32).format()).to_json();
        args[key] = value;
        let refused = WeightArgs::from_json("g.weights", &args)
            .unwrap_err()
            .to_string();
        assert!(
            refused.starts_with(&format!("g.weights.{key} is ")),
            "{refused}"
        );
    }
}

#[test]
fn zero_points_of_symmetric_codes_are_the_middle() {
    for format in [CodesFormat::Packed, CodesFormat::Bytes] {
        let before = matrix(&Scheme::int4_group_zero_point(8), 3, 24);
        let args = WeightArgs::of(before.format());
        let symmetric = WeightArgs {
            zero: Zero::Symmetric,
            ..args
        };
        let mut parts = code_parts("w", (&before, &args), format).unwrap();
        let read = |parts: &[(String, HostTensor)]| {
            read_codes(&parse(&file(parts)[..]).unwrap(), "w", &symmetric)
        };
        let refused = read(&parts).unwrap_err();
        let CodesError::NotSymmetric { name, value, index } = &refused else {
            panic!("{refused}");
        };
        // The zero point at that place; those before it are the middle.
        let asymmetric = read_codes(&parse(&file(&parts)[..]).unwrap(), "w", &args).unwrap();
        let zeros = asymmetric.zeros().unwrap();
        assert_eq!(name, "w.weight_zero_point");
        assert_eq!(
            (zeros[*index], *index),
            (*value, zeros.iter().position(|&zero| zero != 0).unwrap())
        );
        let at = parts
            .iter()
            .position(|(name, _)| name.ends_with("zero_point"))
            .unwrap();
        // The middle, as words and as bytes.
        let middle = HostTensor::new(DType::I8, vec![3, 3], vec![0; 9]).unwrap();
        let mut all = vec![middle];
        if format == CodesFormat::Packed {
            let word = 0x0000_0888_u32.to_le_bytes();
            all.push(HostTensor::new(DType::I32, vec![1, 3], [word; 3].concat()).unwrap());
        }
        for middle in all {
            parts[at].1 = middle;
            let found = read(&parts).unwrap();
            assert_eq!(found.format().zero, Zero::Symmetric);
        }
        parts[at].1 = HostTensor::from_f32(vec![3, 3], &[0.0; 9]).unwrap();
        let refused = read(&parts).unwrap_err().to_string();
        assert!(
            refused.contains("weight_zero_point\" has dtype f32"),
            "{refused}"
        );
    }
}

#[test]
fn arguments_are_shown_as_their_scheme() {
    for scheme in [
        Scheme::int8_channel(),
        Scheme::int8_tensor(),
        Scheme::int4_group(8),
        Scheme::int4_group_zero_point(24),
    ] {
        let format = matrix(&scheme, 2, 24).format();
        assert_eq!(WeightArgs::of(format).to_string(), format.to_string());
    }
    let narrow = WeightArgs::narrow(
        matrix(&Scheme::int4_group(8), 2, 24).format(),
        Width::Int3,
        2,
    );
    assert_eq!(narrow.to_string(), "int3-g8");
}

#[test]
fn parts_that_contradict_each_other_are_named() {
    let before = matrix(&Scheme::int4_group_zero_point(8), 3, 24);
    let args = WeightArgs::of(before.format());
    let good = code_parts("w", (&before, &args), CodesFormat::Packed).unwrap();
    let refused = |change: Change<'_>| {
        let mut parts = good.clone();
        change(&mut parts);
        let bytes = file(&parts);
        read_codes(&parse(&bytes[..]).unwrap(), "w", &args)
            .unwrap_err()
            .to_string()
    };
    let i64s = |values: [i64; 2]| {
        let bytes = values.into_iter().flat_map(i64::to_le_bytes).collect();
        HostTensor::new(DType::I64, vec![2], bytes).unwrap()
    };
    for (message, change) in [
        (
            "weight_packed\" has shape [3, 3]; 3 x 40 of int4",
            &(|p: &mut Parts| p[2].1 = i64s([3, 40])) as Change,
        ),
        ("says -3 x 24", &|p: &mut Parts| p[2].1 = i64s([-3, 24])),
        ("codes past the end of row 0", &|p: &mut Parts| {
            p[2].1 = i64s([3, 23])
        }),
        ("weight_scale\" has shape [9]", &|p: &mut Parts| {
            p[1].1 = p[1].1.clone().reshape(vec![9]).unwrap()
        }),
        ("weight_zero_point\" has dtype f32", &|p: &mut Parts| {
            p[3].1 = HostTensor::from_f32(vec![1, 3], &[0.0; 3]).unwrap()
        }),
        ("\"w.weight_packed\"", &|p: &mut Parts| {
            p.remove(0);
        }),
        // Nothing but the width says that there are no plain codes.
        ("\"w.weight_packed\"", &|p: &mut Parts| {
            p.remove(2);
            p.remove(0);
        }),
        ("\"w.weight_scale\"", &|p: &mut Parts| {
            p.remove(1);
        }),
        ("\"w.weight_shape\"", &|p: &mut Parts| {
            p.remove(2);
        }),
    ] {
        let text = refused(change);
        assert!(text.contains(message), "{text}");
    }
}
