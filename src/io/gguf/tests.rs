//! Golden bytes, round trips, and what a caller can ask of a valid file.

use std::fs;

use super::*;
use crate::io::IoError;
use crate::num::ggml::encode;
use crate::num::{Philox, Scheme, quantize};

/// Builds files by hand, valid or not.
#[derive(Clone, Default)]
pub(super) struct Builder {
    pub version: Option<u32>,
    pub pairs: Vec<Vec<u8>>,
    pub tensors: Vec<Vec<u8>>,
    pub data: Vec<u8>,
    pub counts: Option<(u64, u64)>,
}

pub(super) fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl Builder {
    /// A key, its value's type and bytes.
    pub fn pair(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        let pair = [&text(key)[..], &kind.to_le_bytes(), value].concat();
        self.pairs.push(pair);
        self
    }

    /// A tensor with its dimensions fastest first.
    pub fn tensor(mut self, name: &str, dims: &[u64], kind: u32, offset: u64) -> Self {
        let mut tensor = text(name);
        tensor.extend((dims.len() as u32).to_le_bytes());
        dims.iter().for_each(|dim| tensor.extend(dim.to_le_bytes()));
        tensor.extend(kind.to_le_bytes());
        tensor.extend(offset.to_le_bytes());
        self.tensors.push(tensor);
        self
    }

    pub fn data(mut self, data: &[u8]) -> Self {
        self.data = data.to_vec();
        self
    }

    pub fn build(&self) -> Vec<u8> {
        let (n_tensors, n_pairs) = self
            .counts
            .unwrap_or((self.tensors.len() as u64, self.pairs.len() as u64));
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.unwrap_or(3).to_le_bytes());
        out.extend(n_tensors.to_le_bytes());
        out.extend(n_pairs.to_le_bytes());
        out.extend(self.pairs.concat());
        out.extend(self.tensors.concat());
        if !self.data.is_empty() {
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(&self.data);
        }
        out
    }
}

/// One value of every type, an f32 matrix of two rows of three and a Q8_0 row.
pub(super) fn golden() -> Builder {
    let mut data = Vec::new();
    [1.0f32, 2.0, 3.0, 4.0, 5.0, -6.0]
        .iter()
        .for_each(|x| data.extend(x.to_le_bytes()));
    data.resize(32, 0);
    data.extend([0x00, 0x38]);
    data.extend((0..32u8).map(|i| i.wrapping_sub(16)));
    let array = |kind: u32, count: u64, bytes: &[u8]| {
        [&kind.to_le_bytes()[..], &count.to_le_bytes(), bytes].concat()
    };
    Builder::default()
        .pair("u8", 0, &[200])
        .pair("i8", 1, &[0xfe])
        .pair("u16", 2, &[0x34, 0x12])
        .pair("i16", 3, &[0xff, 0xff])
        .pair("u32", 4, &[1, 0, 0, 0x80])
        .pair("i32", 5, &[0xfd, 0xff, 0xff, 0xff])
        .pair("f32", 6, &[0, 0, 0xc0, 0x3f])
        .pair("bool", 7, &[1])
        .pair("general.architecture", 8, &text("llama"))
        .pair("array", 9, &array(8, 2, &[text("a"), text("é")].concat()))
        .pair("u64", 10, &7u64.to_le_bytes())
        .pair("i64", 11, &(-7i64).to_le_bytes())
        .pair("f64", 12, &2.5f64.to_le_bytes())
        .pair("nested", 9, &array(9, 1, &array(5, 1, &[9, 0, 0, 0])))
        .tensor("w", &[3, 2], 0, 0)
        .tensor("q", &[32, 1], 8, 32)
        .data(&data)
}

#[test]
fn the_golden_file_reads_as_what_was_built() {
    let bytes = golden().build();
    let file = parse(&bytes).unwrap();
    assert_eq!((file.version(), file.alignment()), (3, 32));
    let values: Vec<&Value> = file.metadata().pairs().iter().map(|(_, v)| v).collect();
    let strings = Array::String(vec!["a".to_owned(), "é".to_owned()]);
    let expected = [
        Value::U8(200),
        Value::I8(-2),
        Value::U16(0x1234),
        Value::I16(-1),
        Value::U32(0x8000_0001),
        Value::I32(-3),
        Value::F32(1.5),
        Value::Bool(true),
        Value::String("llama".to_owned()),
        Value::Array(strings),
        Value::U64(7),
        Value::I64(-7),
        Value::F64(2.5),
        Value::Array(Array::Array(vec![Array::I32(vec![9])])),
    ];
    assert_eq!(values, expected.iter().collect::<Vec<_>>());
    let w = file.tensor("w").unwrap();
    assert_eq!(w.shape(), [2, 3]);
    assert_eq!(w.to_f32().unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, -6.0]);
    let q = file.matrix("q").unwrap();
    assert_eq!(
        (q.n(), q.k(), q.weight(0, 0), q.weight(0, 31)),
        (1, 32, -8.0, 7.5)
    );
    assert_eq!(file.decoded("q").unwrap().to_f32().unwrap(), q.dequantize());
}

#[test]
fn version_2_is_read_as_version_3_is() {
    let mut builder = golden();
    builder.version = Some(2);
    let file = parse(builder.build()).unwrap();
    assert_eq!((file.version(), file.tensors().len()), (2, 2));
}

#[test]
fn metadata_are_asked_for_by_kind_and_refused_by_name() {
    let bytes = golden().build();
    let file = parse(&bytes).unwrap();
    let metadata = file.metadata();
    assert_eq!(metadata.text("general.architecture"), Ok("llama"));
    assert_eq!(
        (metadata.count("u8"), metadata.count("u64")),
        (Ok(200), Ok(7))
    );
    assert_eq!(
        (metadata.float("f32"), metadata.float("f64")),
        (Ok(1.5), Ok(2.5))
    );
    assert_eq!(metadata.flag("bool"), Ok(true));
    assert_eq!(metadata.texts("array").unwrap().len(), 2);
    assert_eq!(
        metadata.count("i8").unwrap_err().to_string(),
        "metadata key \"i8\" is the i8 -2; expected an integer of at least 0"
    );
    assert_eq!(
        metadata.text("array").unwrap_err().to_string(),
        "metadata key \"array\" is an array of string; expected a string"
    );
    assert_eq!(
        metadata.integers("llama.x").unwrap_err().to_string(),
        "no metadata key \"llama.x\"; expected an array of i32"
    );
}

#[test]
fn requests_that_do_not_fit_a_tensor_are_refused_by_name() {
    let bytes = golden().build();
    let file = parse(&bytes).unwrap();
    assert_eq!(
        file.tensor("q").unwrap_err().to_string(),
        "tensor \"q\" is Q8_0, which holds codes; expected F32, F16 or BF16"
    );
    assert_eq!(
        file.matrix("w").unwrap_err().to_string(),
        "w: F32 holds floats, not codes; allowed: quantized types"
    );
    assert_eq!(
        file.tensor("v").unwrap_err().to_string(),
        "no tensor \"v\" among 2"
    );
    let row = Builder::default().tensor("r", &[32], 8, 0).data(&[0; 34]);
    assert_eq!(
        parse(row.build())
            .unwrap()
            .matrix("r")
            .unwrap_err()
            .to_string(),
        "tensor \"r\" has shape [32]; expected a matrix [n, k]"
    );
}

fn written(metadata: &Metadata, tensors: &[GgufData]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    write_gguf(&path, metadata, tensors).unwrap();
    fs::read(path).unwrap()
}

/// What is written of a file that was read.
pub(super) fn rewritten<B: AsRef<[u8]>>(file: &Gguf<B>) -> Vec<u8> {
    let tensors: Vec<GgufData> = file
        .tensors()
        .iter()
        .map(|tensor| {
            let (_, bytes) = file.tensor_bytes(&tensor.name).unwrap();
            GgufData::stored(&tensor.name, tensor.kind, &tensor.shape, bytes.to_vec()).unwrap()
        })
        .collect();
    written(file.metadata(), &tensors)
}

#[test]
fn writing_what_was_read_gives_the_same_bytes() {
    let mut bytes = golden().build();
    // The last tensor's padding is written too.
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    assert_eq!(rewritten(&parse(&bytes).unwrap()), bytes);
}

#[test]
fn every_type_that_is_written_is_read_back_with_its_weights() {
    let mut stream = Philox::new(5).stream(0);
    let values: Vec<f32> = (0..3 * 64).map(|_| stream.normal()).collect();
    let kinds = [
        GgmlType::F32,
        GgmlType::F16,
        GgmlType::Bf16,
        GgmlType::Q4_0,
        GgmlType::Q4_1,
        GgmlType::Q8_0,
    ];
    let mut tensors: Vec<GgufData> = kinds
        .iter()
        .map(|&kind| GgufData::encode(kind.name(), kind, &[3, 64], &values).unwrap())
        .collect();
    let matrix = quantize("m", &values, 3, 64, &Scheme::int4_group_minimum(32)).unwrap();
    tensors.push(GgufData::quantized("m", &matrix).unwrap());
    tensors.push(GgufData::encode("scalar", GgmlType::F32, &[], &[4.5]).unwrap());
    let metadata = Metadata::new(vec![
        ("general.alignment".to_owned(), Value::U32(64)),
        ("name".to_owned(), Value::String("x".to_owned())),
    ])
    .unwrap();
    let file = parse(written(&metadata, &tensors)).unwrap();
    assert_eq!((file.alignment(), file.metadata()), (64, &metadata));
    for kind in kinds {
        let (tensor, bytes) = file.tensor_bytes(kind.name()).unwrap();
        assert!(tensor.offset.is_multiple_of(64));
        assert_eq!(bytes, encode("w", kind, &values, 3, 64).unwrap(), "{kind}");
    }
    assert_eq!(file.matrix("m").unwrap(), matrix);
    assert_eq!(file.tensor("scalar").unwrap().to_f32().unwrap(), [4.5]);
}

#[test]
fn what_cannot_be_written_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let one = || GgufData::encode("w", GgmlType::F32, &[1], &[1.0]).unwrap();
    let error = write_gguf(&path, &Metadata::default(), &[one(), one()]).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("tensor \"w\" occurs more than once; names must differ")
    );
    let odd = Metadata::new(vec![("general.alignment".to_owned(), Value::U32(24))]).unwrap();
    let error = write_gguf(&path, &odd, &[one()]).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("general.alignment is 24; allowed: powers of two up to 1048576, as u32"),
        "{error}"
    );
    let error = GgufData::encode("w", GgmlType::Q4_0, &[2, 48], &[0.0; 96]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "w: rows of 48 are not a multiple of 32, the weights in a block of Q4_0"
    );
    assert!(GgufData::encode("w", GgmlType::F32, &[1; 5], &[0.0]).is_err());
    assert!(GgufData::stored("w", GgmlType::Q8_0, &[32], vec![0; 33]).is_err());
    assert!(GgufData::stored("w", GgmlType::F32, &[usize::MAX, 2, 2], vec![]).is_err());
    let twice = vec![
        ("k".to_owned(), Value::U8(1)),
        ("k".to_owned(), Value::U8(2)),
    ];
    assert!(matches!(
        Metadata::new(twice),
        Err(GgufError::DuplicateKey { .. })
    ));
    assert!(!path.exists());
}

#[test]
fn a_file_is_opened_by_its_path_and_named_in_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    assert!(matches!(
        GgufFile::open(&path),
        Err(IoError::NotFound { .. })
    ));
    assert!(matches!(
        GgufFile::open(folder.path()),
        Err(IoError::NotAFile { .. })
    ));
    fs::write(&path, b"").unwrap();
    let error = GgufFile::open(&path).unwrap_err().to_string();
    assert!(
        error.ends_with("begins with \"\"; a GGUF file begins with \"GGUF\""),
        "{error}"
    );
    fs::write(&path, golden().build()).unwrap();
    let file = GgufFile::open(&path).unwrap();
    assert_eq!(file.tensors().len(), 2);
    let error = file.tensor("x").unwrap_err().to_string();
    assert!(error.starts_with(&path.display().to_string()), "{error}");
}
