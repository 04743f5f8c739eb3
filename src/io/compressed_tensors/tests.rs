//! Golden bytes, round trips and refusals.

use std::collections::BTreeMap;

use super::*;
use crate::io::IoError;
use crate::io::safetensors::{SafetensorsFile, parse, write_safetensors};
use crate::tensor::HostTensor;

/// A file of these tensors, as their data lies in this order.
pub(super) fn file_of(tensors: &[(&str, &str, &str, &[u8])]) -> Vec<u8> {
    let mut begin = 0;
    let entry = |&(name, dtype, shape, bytes): &(&str, &str, &str, &[u8])| {
        let end = begin + bytes.len();
        let entry = format!(
            r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}"#
        );
        begin = end;
        entry
    };
    let entries: Vec<String> = tensors.iter().map(entry).collect();
    let header = format!("{{{}}}", entries.join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    tensors.iter().for_each(|(.., bytes)| file.extend(*bytes));
    file
}

fn i64s(values: &[i64]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// `[2, 12]`: columns 1 3 | 4 6 | 8 9 and 2 3 | 5 6 | 8 11.
pub(super) fn two_four_file() -> Vec<u8> {
    let values: Vec<f32> = (1..=12).map(|value| value as f32).collect();
    file_of(&[
        ("l.shape", "I64", "[2,1]", &i64s(&[2, 12])),
        ("l.compressed", "F32", "[2,6]", &f32s(&values)),
        (
            "l.bitmask",
            "U8",
            "[2,2]",
            &[0b0101_1010, 0b0011, 0b0110_1100, 0b1001],
        ),
    ])
}

/// `[3, 9]` of i8: column 8; nothing; columns 0, 7 and 8.
pub(super) fn general_file() -> Vec<u8> {
    file_of(&[
        ("m.weight.shape", "I64", "[2]", &i64s(&[3, 9])),
        ("m.weight.row_offsets", "I64", "[3]", &i64s(&[0, 1, 1])),
        ("m.weight.bitmask", "U8", "[3,2]", &[0, 1, 0, 0, 0x81, 1]),
        ("m.weight.compressed", "I8", "[4]", &[0xff, 2, 3, 0x80]),
    ])
}

fn read(bytes: &[u8], prefix: &str) -> Result<HostTensor, BitmaskError> {
    read_bitmask(&parse(bytes).unwrap(), prefix)
}

fn refusal(tensors: &[(&str, &str, &str, &[u8])]) -> String {
    read(&file_of(tensors), "l").unwrap_err().to_string()
}

#[test]
fn the_golden_two_four_file_reads_as_what_was_built() {
    let tensor = read(&two_four_file(), "l").unwrap();
    assert_eq!((tensor.dtype(), tensor.shape()), (DType::F32, &[2, 12][..]));
    let expected = [
        [0.0, 1.0, 0.0, 2.0, 3.0, 0.0, 4.0, 0.0, 5.0, 6.0, 0.0, 0.0],
        [
            0.0, 0.0, 7.0, 8.0, 0.0, 9.0, 10.0, 0.0, 11.0, 0.0, 0.0, 12.0,
        ],
    ];
    assert_eq!(tensor.to_f32().unwrap(), expected.concat());
}

#[test]
fn the_golden_general_file_reads_as_what_was_built() {
    let tensor = read(&general_file(), "m.weight").unwrap();
    assert_eq!((tensor.dtype(), tensor.shape()), (DType::I8, &[3, 9][..]));
    let mut expected = [0; 27];
    for (index, value) in [(8, -1), (18, 2), (25, 3), (26, -128)] {
        expected[index] = value;
    }
    assert_eq!(tensor.to_i32().unwrap(), expected);
}

#[test]
fn writing_gives_the_parts_of_the_golden_files() {
    for (bytes, prefix, format) in [
        (two_four_file(), "l", BitmaskFormat::TwoFour),
        (general_file(), "m.weight", BitmaskFormat::General),
    ] {
        let file = parse(&bytes).unwrap();
        let parts = bitmask_parts(prefix, &read_bitmask(&file, prefix).unwrap(), format).unwrap();
        assert_eq!(parts.len(), file.tensors().len());
        for ((name, part), entry) in parts.iter().zip(file.tensors()) {
            assert_eq!((name, file.tensor(name).as_ref()), (&entry.name, Ok(part)));
        }
    }
}

#[test]
fn pruned_tensors_of_a_file_are_listed_by_prefix() {
    let one = HostTensor::from_f32(vec![1, 4], &[0.0, 1.0, 0.0, 2.0]).unwrap();
    let mut tensors = vec![("dense.weight".to_owned(), one.clone())];
    tensors.push(("lone.compressed".to_owned(), one.clone()));
    tensors.extend(bitmask_parts("b", &one, BitmaskFormat::General).unwrap());
    tensors.extend(bitmask_parts("a.weight", &one, BitmaskFormat::TwoFour).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    write_safetensors(&path, &tensors, &BTreeMap::new()).unwrap();

    let file = SafetensorsFile::open(&path).unwrap();
    let listed = bitmask_tensors(file.tensors());
    let shown: Vec<String> = listed
        .iter()
        .map(|entry| format!("{} {} {}", entry.prefix, entry.weight_name(), entry.format))
        .collect();
    assert_eq!(
        shown,
        [
            "a.weight a.weight sparse-24-bitmask",
            "b b.weight sparse-bitmask"
        ]
    );
    for entry in listed {
        assert_eq!(read_bitmask_file(&file, &entry.prefix).unwrap(), one);
    }
    let error = read_bitmask_file(&file, "lone").unwrap_err();
    assert!(matches!(&error, IoError::Bitmask { file, .. } if *file == path));
    let message = error.to_string();
    assert!(message.starts_with(&format!(
        "{}: no tensor \"lone.shape\" among",
        path.display()
    )));
}

#[test]
fn every_value_type_survives_a_round_trip() {
    for dtype in VALUE_TYPES {
        for (n, k) in [(1, 4), (3, 12), (5, 20)] {
            let elements: Vec<u8> = (0..n * k)
                .flat_map(|index| {
                    let keep = index % 4 == index / 4 % 4 || index % 4 == 2;
                    let byte = if keep { index as u8 | 1 } else { 0 };
                    vec![byte; dtype.bytes()]
                })
                .collect();
            let tensor = HostTensor::new(dtype, vec![n, k], elements).unwrap();
            for format in [BitmaskFormat::TwoFour, BitmaskFormat::General] {
                let parts = bitmask_parts("l", &tensor, format).unwrap();
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("w.safetensors");
                write_safetensors(&path, &parts, &BTreeMap::new()).unwrap();
                let file = SafetensorsFile::open(&path).unwrap();
                assert_eq!(
                    read_bitmask_file(&file, "l").unwrap(),
                    tensor,
                    "{dtype} {format}"
                );
            }
        }
    }
}

#[test]
fn groups_with_fewer_than_two_values_keep_the_lowest_places_and_minus_zero_is_zero() {
    let values = [-0.0, 0.0, 0.0, 1.0, 0.0, -0.0, 0.0, 0.0];
    let tensor = HostTensor::from_f32(vec![1, 8], &values).unwrap();
    let parts = bitmask_parts("l", &tensor, BitmaskFormat::TwoFour).unwrap();
    assert_eq!(parts[0].1.bytes(), [0b0011_1001]);
    let general = bitmask_parts("l", &tensor, BitmaskFormat::General).unwrap();
    assert_eq!(
        (general[0].1.bytes(), general[1].1.len()),
        (&[0b1000][..], 1)
    );
}

#[test]
fn tensors_that_cannot_be_stored_so_are_refused() {
    let refused =
        |tensor: &HostTensor, format| bitmask_parts("l", tensor, format).unwrap_err().to_string();
    let of = |shape: &[usize]| {
        let len = shape.iter().product();
        HostTensor::from_f32(shape.to_vec(), &vec![1.0; len]).unwrap()
    };
    assert_eq!(
        refused(&of(&[2, 8]), BitmaskFormat::TwoFour),
        "tensor \"l\" keeps 4 of 4 in row 0, group 0; allowed: 2"
    );
    assert_eq!(
        refused(&of(&[2, 6]), BitmaskFormat::TwoFour),
        "tensor \"l\" has 6 columns; 2:4 calls for a multiple of 4"
    );
    for shape in [&[4][..], &[2, 0], &[0, 4], &[1, 1, 4]] {
        assert_eq!(
            refused(&of(shape), BitmaskFormat::General),
            format!(
                "tensor \"l\" has shape {shape:?}; only matrices of at least 1 x 1 can be stored so"
            )
        );
    }
    assert_eq!(
        refused(
            &HostTensor::from_i32(vec![1, 4], &[0; 4]).unwrap(),
            BitmaskFormat::General
        ),
        "tensor \"l\" has dtype i32; allowed: f32, f16, bf16, i8"
    );
}

#[test]
fn malformed_two_four_tensors_are_refused() {
    let shape = i64s(&[1, 12]);
    let values = [0; 12];
    let refused = |shape: &[u8], mask: &[u8]| {
        let columns = format!("[1,{}]", mask.len());
        refusal(&[
            ("l.shape", "I64", "[2,1]", shape),
            ("l.compressed", "BF16", "[1,6]", &values),
            ("l.bitmask", "U8", &columns, mask),
        ])
    };
    assert_eq!(
        refused(&shape, &[0x33, 0x07]),
        "tensor \"l.bitmask\" keeps 3 of 4 in row 0, group 2; allowed: 2"
    );
    assert_eq!(
        refused(&shape, &[0x13, 0x03]),
        "tensor \"l.bitmask\" keeps 1 of 4 in row 0, group 1; allowed: 2"
    );
    assert_eq!(
        refused(&shape, &[0x33, 0x13]),
        "tensor \"l.bitmask\" has a bit set past column 11 in row 0"
    );
    assert_eq!(
        refused(&shape, &[0x33]),
        "tensor \"l.bitmask\" has shape [1, 1]; sparse-24-bitmask calls for [1, 2]"
    );
    assert_eq!(
        refused(&i64s(&[1, 10]), &[0x33, 0x03]),
        "tensor \"l.bitmask\" has 10 columns; 2:4 calls for a multiple of 4"
    );
    assert_eq!(
        refused(&i64s(&[1, 16]), &[0x33, 0x33]),
        "tensor \"l.compressed\" has shape [1, 6]; sparse-24-bitmask calls for [1, 8]"
    );
    for (n, k) in [(0, 12), (-1, 12), (1, 0), (i64::MAX, i64::MAX)] {
        assert_eq!(
            refused(&i64s(&[n, k]), &[0x33, 0x03]),
            format!(
                "tensor \"l.shape\" says {n} x {k}; \
                 allowed: at least 1 x 1, and no more than fits memory"
            )
        );
    }
}

#[test]
fn parts_of_other_types_or_shapes_are_refused() {
    let shape = i64s(&[1, 4]);
    let good: [(&str, &str, &str, &[u8]); 3] = [
        ("l.shape", "I64", "[2,1]", &shape),
        ("l.compressed", "F16", "[1,2]", &[0; 4]),
        ("l.bitmask", "U8", "[1,1]", &[0x3]),
    ];
    assert!(read(&file_of(&good), "l").is_ok());
    let with = |index: usize, part| {
        let mut parts = good;
        parts[index] = part;
        refusal(&parts)
    };
    assert_eq!(
        with(0, ("l.shape", "I32", "[2]", &[0; 8])),
        "tensor \"l.shape\" has dtype i32; allowed: i64"
    );
    assert_eq!(
        with(0, ("l.shape", "I64", "[1,2]", &shape)),
        "tensor \"l.shape\" has shape [1, 2]; sparse-24-bitmask calls for [2, 1]"
    );
    assert_eq!(
        with(1, ("l.compressed", "F8_E4M3", "[1,2]", &[0; 2])),
        "tensor \"l.compressed\" has dtype F8_E4M3; allowed: f32, f16, bf16, i8"
    );
    assert_eq!(
        with(2, ("l.bitmask", "I8", "[1,1]", &[3])),
        "tensor \"l.bitmask\" has dtype i8; allowed: u8"
    );
    let absent = with(2, ("l.mask", "U8", "[1,1]", &[3]));
    assert!(
        absent.starts_with("no tensor \"l.bitmask\" among 3"),
        "{absent}"
    );
}

#[test]
fn malformed_general_tensors_are_refused() {
    let shape = i64s(&[2, 4]);
    let refused = |mask: &[u8], offsets: &[i64], n_values: usize| {
        let n_offsets = format!("[{}]", offsets.len());
        let values = vec![1; n_values];
        refusal(&[
            ("l.shape", "I64", "[2]", &shape),
            ("l.row_offsets", "I64", &n_offsets, &i64s(offsets)),
            ("l.bitmask", "U8", "[2,1]", mask),
            ("l.compressed", "I8", &format!("[{n_values}]"), &values),
        ])
    };
    assert_eq!(
        refused(&[0b111, 0b1], &[0, 2], 4),
        "tensor \"l.row_offsets\" says 2 for row 1; the bitmask has 3 bits before it"
    );
    assert_eq!(
        refused(&[0b111, 0b1], &[-1, 3], 4),
        "tensor \"l.row_offsets\" says -1 for row 0; the bitmask has 0 bits before it"
    );
    assert_eq!(
        refused(&[0b111, 0b1], &[0], 4),
        "tensor \"l.row_offsets\" has shape [1]; sparse-bitmask calls for [2]"
    );
    for found in [3, 5] {
        assert_eq!(
            refused(&[0b111, 0b1], &[0, 3], found),
            format!("tensor \"l.compressed\" has {found} values; the bitmask has 4 bits set")
        );
    }
    assert_eq!(
        refused(&[0b111, 0b1_0000], &[0, 3], 4),
        "tensor \"l.bitmask\" has a bit set past column 3 in row 1"
    );
}
