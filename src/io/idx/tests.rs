//! Files made by hand, right and wrong, and their compressed twins.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

/// An IDX file of the type `code`, with `data` as it is.
pub(super) fn file_of(code: u8, shape: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, code, shape.len() as u8];
    shape
        .iter()
        .for_each(|n| bytes.extend_from_slice(&n.to_be_bytes()));
    bytes.extend_from_slice(data);
    bytes
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The error of a file, which must be the same for its compressed twin.
fn error_of(bytes: &[u8]) -> IdxError {
    let error = parse_idx(bytes).unwrap_err();
    assert_eq!(parse_idx(&gzip(bytes)).unwrap_err(), error);
    error
}

#[test]
fn every_type_is_read_with_its_bytes_turned_round() {
    let big = [1u8, 2, 3, 4, 5, 6, 7, 8];
    for (code, dtype) in [
        (0x08, DType::U8),
        (0x09, DType::I8),
        (0x0b, DType::I16),
        (0x0c, DType::I32),
        (0x0d, DType::F32),
        (0x0e, DType::F64),
    ] {
        let n = big.len() / dtype.bytes();
        let bytes = file_of(code, &[n as u32, 1], &big);
        let tensor = parse_idx(&bytes).unwrap();
        assert_eq!((tensor.dtype(), tensor.shape()), (dtype, &[n, 1][..]));
        let expected: Vec<u8> = big
            .chunks(dtype.bytes())
            .flat_map(|element| element.iter().rev().copied())
            .collect();
        assert_eq!(tensor.bytes(), expected);
        assert_eq!(parse_idx(&gzip(&bytes)).unwrap(), tensor);
    }
    let shorts = parse_idx(&file_of(0x0b, &[2], &[0xff, 0xfe, 1, 0])).unwrap();
    assert_eq!(shorts.to_i32().unwrap(), [-2, 256]);
}

#[test]
fn a_dimension_of_zero_makes_an_empty_tensor() {
    let tensor = parse_idx(&file_of(8, &[0, u32::MAX], &[])).unwrap();
    assert!(tensor.is_empty());
}

#[test]
fn files_that_end_early_or_late_are_refused_with_both_lengths() {
    assert_eq!(
        error_of(&[]),
        IdxError::TooShort {
            file_bytes: 0,
            needed: 4
        }
    );
    assert_eq!(
        error_of(&[0, 0, 8, 2, 0, 0, 0, 1, 0]),
        IdxError::TooShort {
            file_bytes: 9,
            needed: 12
        }
    );
    let short = error_of(&file_of(8, &[2, 3], &[0; 5]));
    assert_eq!(
        short.to_string(),
        "dimensions [2, 3] take 6 bytes of data, but the file has 5"
    );
    let long = error_of(&file_of(8, &[2, 3], &[0; 9]));
    assert_eq!(
        long.to_string(),
        "dimensions [2, 3] take 6 bytes of data, but the file has at least 7"
    );
}

#[test]
fn a_wrong_header_is_answered_with_what_is_allowed() {
    assert_eq!(error_of(b"<htm"), IdxError::Magic { found: *b"<htm" });
    let unknown = error_of(&file_of(0x0a, &[1], &[0]));
    assert_eq!(unknown, IdxError::UnknownType { code: 0x0a });
    assert!(unknown.to_string().contains("0x0b (i16)"), "{unknown}");
    for n_dimensions in [0, 9, 255] {
        assert_eq!(
            error_of(&[0, 0, 8, n_dimensions]),
            IdxError::Dimensions { n_dimensions }
        );
    }
}

#[test]
fn sizes_beyond_the_limit_or_the_address_space_are_refused_unread() {
    for shape in [&[u32::MAX; 8][..], &[0x8000_0000, 4], &[u32::MAX, 2]] {
        let error = error_of(&file_of(8, shape, &[]));
        assert!(matches!(error, IdxError::TooLarge { .. }), "{error}");
    }
}

#[test]
fn a_small_compressed_file_cannot_announce_a_large_one() {
    let bytes = gzip(&file_of(8, &[60_000, 28, 28], &[]));
    let error = parse_idx(&bytes).unwrap_err();
    assert!(
        matches!(
            error,
            IdxError::BeyondCompression {
                needed: 47_040_000,
                ..
            }
        ),
        "{error}"
    );
    // The best that gzip can do is let through.
    let zeros = gzip(&file_of(8, &[3_000_000], &vec![0; 3_000_000]));
    assert!(parse_idx(&zeros).is_ok());
}

#[test]
fn damaged_compression_is_noticed_up_to_its_checksum() {
    let whole = gzip(&file_of(8, &[64], &[7; 64]));
    for end in 2..whole.len() {
        let error = parse_idx(&whole[..end]).unwrap_err();
        assert!(matches!(error, IdxError::Gzip { .. }), "{end}: {error}");
    }
    let mut other_sum = whole.clone();
    let at = other_sum.len() - 8;
    other_sum[at] ^= 1;
    assert!(matches!(parse_idx(&other_sum), Err(IdxError::Gzip { .. })));
}

#[test]
fn the_file_is_named_in_the_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("images-idx3-ubyte");
    crate::io::atomic::write_bytes(&path, &file_of(8, &[1], &[])).unwrap();
    let message = read_idx(&path).unwrap_err().to_string();
    assert!(
        message.starts_with(&path.display().to_string()) && message.ends_with("file has 0"),
        "{message}"
    );
}
