//! Golden bytes, round trips, and what a caller can ask of a valid file.

use std::fs;
use std::path::Path;

use super::write::stored_dtype;
use super::*;
use crate::io::IoError;

/// A file of `header` and `data`, with the length the header has.
pub(super) fn file_of(header: &str, data: &[u8]) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), data].concat()
}

/// Built by hand: 0x90 bytes of header, then two f32 and three u8.
const GOLDEN: &[u8] = b"\x90\0\0\0\0\0\0\0\
    {\"__metadata__\":{\"by\":\"hand\"},\
    \"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\
    \"a\":{\"dtype\":\"U8\",\"shape\":[3,1],\"data_offsets\":[8,11]}}      \
    \x00\x00\x80\x3f\x00\x00\x20\xc0\x07\x08\x09";

fn golden_tensors() -> Vec<(String, HostTensor)> {
    let a = HostTensor::new(DType::U8, vec![3, 1], vec![7, 8, 9]).unwrap();
    let b = HostTensor::from_f32(vec![2], &[1.0, -2.5]).unwrap();
    vec![("a".to_owned(), a), ("b".to_owned(), b)]
}

fn strings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|&(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn written(tensors: &[(String, HostTensor)], metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    write_safetensors(&path, tensors, metadata).unwrap();
    fs::read(path).unwrap()
}

/// One tensor of every element type, two elements each, in an order that is sorted in no way.
fn every_dtype() -> Vec<(String, HostTensor)> {
    let tensor = |dtype: DType| {
        let bytes = (1..=2 * dtype.bytes() as u8).collect();
        (
            format!("layer.{dtype}"),
            HostTensor::new(dtype, vec![1, 2], bytes).unwrap(),
        )
    };
    DType::ALL.into_iter().rev().map(tensor).collect()
}

#[test]
fn the_golden_file_reads_as_what_was_built() {
    let file = parse(GOLDEN).unwrap();
    let entry = |name: &str, dtype, shape: &[usize], offset, n_bytes| TensorEntry {
        name: name.to_owned(),
        dtype: StoredDType::Supported(dtype),
        shape: shape.to_vec(),
        offset,
        n_bytes,
    };
    let expected = [
        entry("a", DType::U8, &[3, 1], 0xa0, 3),
        entry("b", DType::F32, &[2], 0x98, 8),
    ];
    assert_eq!(file.tensors(), expected);
    assert_eq!(file.metadata(), &strings(&[("by", "hand")]));
    for (name, tensor) in golden_tensors() {
        assert_eq!(file.tensor(&name), Ok(tensor));
    }
}

#[test]
fn writing_gives_the_golden_bytes_whatever_the_order_of_tensors() {
    let mut tensors = golden_tensors();
    assert_eq!(written(&tensors, &strings(&[("by", "hand")])), GOLDEN);
    tensors.reverse();
    assert_eq!(written(&tensors, &strings(&[("by", "hand")])), GOLDEN);
}

#[test]
fn writing_gives_the_bytes_of_the_reference_crate() {
    let tensors = every_dtype();
    let views = tensors.iter().map(|(name, tensor)| {
        let (dtype, shape) = (stored_dtype(tensor.dtype()), tensor.shape().to_vec());
        (
            name,
            ::safetensors::tensor::TensorView::new(dtype, shape, tensor.bytes()).unwrap(),
        )
    });
    let metadata = [("key".to_owned(), "va\"lue".to_owned())];
    let reference = ::safetensors::serialize(views, Some(metadata.clone().into())).unwrap();
    assert_eq!(written(&tensors, &metadata.into()), reference);
}

#[test]
fn every_dtype_survives_a_round_trip_with_aligned_data() {
    let metadata = strings(&[("z", "last"), ("a", "first"), ("m", "")]);
    let bytes = written(&every_dtype(), &metadata);
    let file = parse(&bytes).unwrap();
    assert_eq!(file.metadata(), &metadata);
    assert!(
        file.tensors()
            .is_sorted_by(|left, right| left.name < right.name)
    );
    for (name, tensor) in every_dtype() {
        assert_eq!(file.tensor(&name).as_ref(), Ok(&tensor));
        let (entry, stored) = file.tensor_bytes(&name).unwrap();
        assert_eq!(
            (entry.offset % tensor.dtype().bytes(), stored),
            (0, tensor.bytes()),
            "{name}"
        );
    }
}

#[test]
fn empty_tensors_scalars_and_empty_files_are_valid() {
    let empty = HostTensor::from_f32(vec![0, 4], &[]).unwrap();
    let scalar = HostTensor::from_f32(vec![], &[5.0]).unwrap();
    let tensors = [
        ("empty", empty.clone()),
        ("scalar", scalar.clone()),
        ("void", empty.clone()),
    ];
    let bytes = written(
        &tensors.map(|(name, tensor)| (name.to_owned(), tensor)),
        &strings(&[]),
    );
    let file = parse(bytes).unwrap();
    assert_eq!(file.tensor("empty").as_ref(), Ok(&empty));
    assert_eq!(file.tensor("void"), Ok(empty));
    assert_eq!(file.tensor("scalar"), Ok(scalar));
    assert_eq!(parse(written(&[], &strings(&[]))).unwrap().tensors(), []);
}

#[test]
fn unsupported_dtypes_are_listed_by_name_but_not_read() {
    let header = r#"{"s":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]},
        "w":{"dtype":"F4","shape":[2,4],"data_offsets":[4,8]}}"#;
    let file = parse(file_of(header, &[1, 2, 3, 4, 5, 6, 7, 8])).unwrap();
    let listed: Vec<_> = file
        .tensors()
        .iter()
        .map(|entry| (entry.dtype.to_string(), entry.n_bytes))
        .collect();
    assert_eq!(listed, [("F8_E4M3".to_owned(), 4), ("F4".to_owned(), 4)]);
    assert_eq!(
        file.tensor("w").unwrap_err().to_string(),
        "tensor \"w\" (4 bytes) has dtype F4, which is not supported; \
         supported: f64, f32, f16, bf16, i64, i32, i16, i8, u64, u32, u16, u8, bool"
    );
    assert_eq!(file.tensor_bytes("w").unwrap().1, [5, 6, 7, 8]);
}

#[test]
fn an_unknown_name_is_answered_with_near_names_or_the_count() {
    let tensor = HostTensor::from_i8(vec![1], &[1]).unwrap();
    let names = ["layers.0.weight", "layers.0.bias", "layers.1.weight"];
    let bytes = written(
        &names.map(|name| (name.to_owned(), tensor.clone())),
        &strings(&[]),
    );
    let file = parse(bytes).unwrap();
    assert_eq!(
        file.tensor("layers.0.wieght").unwrap_err().to_string(),
        "no tensor \"layers.0.wieght\" among 3; near names: layers.0.weight, layers.1.weight"
    );
    assert_eq!(
        file.tensor("embedding").unwrap_err().to_string(),
        "no tensor \"embedding\" among 3"
    );
}

#[test]
fn the_writer_refuses_names_the_format_cannot_hold() {
    let path = Path::new("never-written.safetensors");
    let tensor = HostTensor::from_i8(vec![1], &[1]).unwrap();
    let twice = [
        ("w".to_owned(), tensor.clone()),
        ("w".to_owned(), tensor.clone()),
    ];
    let message = write_safetensors(path, &twice, &strings(&[]))
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        "never-written.safetensors: tensor \"w\" occurs more than once; names must differ"
    );
    let reserved = [("__metadata__".to_owned(), tensor)];
    let result = write_safetensors(path, &reserved, &strings(&[]));
    assert!(matches!(
        result,
        Err(IoError::Safetensors {
            reason: SafetensorsError::ReservedName,
            ..
        })
    ));
    assert!(!path.exists());
}

#[test]
fn files_open_through_the_map_and_errors_name_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("golden.safetensors");
    fs::write(&path, GOLDEN).unwrap();
    let file = SafetensorsFile::open(&path).unwrap();
    assert_eq!(
        (file.path(), file.tensors().len(), file.metadata().len()),
        (path.as_path(), 2, 1)
    );
    assert_eq!(file.tensor("b").unwrap().to_f32().unwrap(), [1.0, -2.5]);
    assert_eq!(file.tensor_bytes("a").unwrap().1, [7, 8, 9]);
    // Written anew while it is mapped: the open file keeps its bytes.
    write_safetensors(&path, &[], &strings(&[])).unwrap();
    assert_eq!(file.tensor("a").unwrap().bytes(), [7, 8, 9]);

    let message = file.tensor("c").unwrap_err().to_string();
    assert_eq!(
        message,
        format!("{}: no tensor \"c\" among 2", path.display())
    );
    assert!(matches!(
        SafetensorsFile::open(folder.path()),
        Err(IoError::NotAFile { .. })
    ));
    let missing = SafetensorsFile::open(folder.path().join("missing")).unwrap_err();
    assert!(
        matches!(&missing, IoError::NotFound { .. })
            && missing.to_string().contains("missing: no such file")
    );
    fs::write(&path, b"").unwrap();
    let message = SafetensorsFile::open(&path).unwrap_err().to_string();
    assert!(
        message.ends_with("too short for safetensors: has 0 bytes, needs at least 8"),
        "{message}"
    );
}
