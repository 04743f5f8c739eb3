//! Layers of GPTQ, AWQ and compressed-tensors folders: golden words, what is refused, and damaged files by the thousand.

use std::fs;

use super::*;
use crate::io::compressed_tensors::codes::ActivationArgs;
use crate::io::safetensors::write_safetensors;
use crate::num::{Philox, Stream};
use crate::tensor::{DType, HostTensor};

const N: usize = 8;
const K: usize = 16;

/// Code, zero point and scale of the golden layer: groups of 8 columns.
const fn code(row: usize, column: usize) -> u8 {
    ((3 * row + 5 * column) % 16) as u8
}

const fn zero(row: usize, group: usize) -> u8 {
    ((row + 7 * group) % 16) as u8
}

fn scale(row: usize, group: usize) -> f32 {
    (1 + row + 8 * group) as f32 / 64.0
}

/// The weights, with the group of each column.
fn weights(group: impl Fn(usize) -> usize, order: impl Fn(usize) -> usize) -> Vec<f32> {
    let weight = |row: usize, at: usize| {
        let column = order(at);
        let difference = i32::from(code(row, column)) - i32::from(zero(row, group(column)));
        scale(row, group(column)) * difference as f32
    };
    (0..N * K).map(|at| weight(at / K, at % K)).collect()
}

/// `[2, 8]`: words run along the columns.
const GPTQ_CODES: [u32; 16] = [
    0x3e94_fa50,
    0x61c7_2d83,
    0x94fa_50b6,
    0xc72d_83e9,
    0xfa50_b61c,
    0x2d83_e94f,
    0x50b6_1c72,
    0x83e9_4fa5,
    0xb61c_72d8,
    0xe94f_a50b,
    0x1c72_d83e,
    0x4fa5_0b61,
    0x72d8_3e94,
    0xa50b_61c7,
    0xd83e_94fa,
    0x0b61_c72d,
];
/// One too low, the zero point 0 of row 0 borrowing.
const GPTQ_ZEROS: [u32; 2] = [0x6543_20ff, 0xdcba_9876];
const PLAIN_ZEROS: [u32; 2] = [0x7654_3210, 0xedcb_a987];
/// `[16, 1]`: words run along the rows, in the order 0 2 4 6 1 3 5 7.
const AWQ_CODES: [u32; 16] = [
    0x5f93_2c60,
    0xa4e8_71b5,
    0xf93d_c60a,
    0x4e82_1b5f,
    0x93d7_60a4,
    0xe82c_b5f9,
    0x3d71_0a4e,
    0x82c6_5f93,
    0xd71b_a4e8,
    0x2c60_f93d,
    0x71b5_4e82,
    0xc60a_93d7,
    0x1b5f_e82c,
    0x60a4_3d71,
    0xb5f9_82c6,
    0x0a4e_d71b,
];
const AWQ_ZEROS: [u32; 2] = [0x7531_6420, 0xeca8_db97];
/// `[8, 2]`
const PACKED_CODES: [u32; 16] = [
    0x3e94_fa50,
    0xb61c_72d8,
    0x61c7_2d83,
    0xe94f_a50b,
    0x94fa_50b6,
    0x1c72_d83e,
    0xc72d_83e9,
    0x4fa5_0b61,
    0xfa50_b61c,
    0x72d8_3e94,
    0x2d83_e94f,
    0xa50b_61c7,
    0x50b6_1c72,
    0xd83e_94fa,
    0x83e9_4fa5,
    0x0b61_c72d,
];

const GPTQ: &str =
    r#"{"quantization_config":{"quant_method":"gptq","bits":4,"group_size":8,"sym":false}}"#;
const AWQ: &str =
    r#"{"quantization_config":{"quant_method":"awq","bits":4,"group_size":8,"version":"gemm"}}"#;
const PACKED: &str = r#"{"quantization_config":{"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":
    {"group_0":{"targets":["Linear"],"weights":{"num_bits":4,"type":"int","symmetric":false,"strategy":"group","group_size":8}}}}}"#;

fn words(shape: &[usize], values: &[u32]) -> HostTensor {
    HostTensor::from_words(DType::I32, shape.to_vec(), values).unwrap()
}

/// f16 `[groups, n]`, or `[n, groups]`.
fn scales(is_by_group: bool) -> HostTensor {
    let at = |at: usize| match is_by_group {
        true => scale(at % N, at / N),
        false => scale(at / 2, at % 2),
    };
    let values: Vec<f32> = (0..2 * N).map(at).collect();
    let shape = if is_by_group { [2, N] } else { [N, 2] };
    HostTensor::from_f32_as(DType::F16, shape.to_vec(), &values).unwrap()
}

type Tensors = Vec<(String, HostTensor)>;

fn gptq_parts() -> Tensors {
    vec![
        ("l.qweight".to_owned(), words(&[2, 8], &GPTQ_CODES)),
        ("l.qzeros".to_owned(), words(&[2, 1], &GPTQ_ZEROS)),
        ("l.scales".to_owned(), scales(true)),
    ]
}

fn awq_parts() -> Tensors {
    vec![
        ("l.qweight".to_owned(), words(&[16, 1], &AWQ_CODES)),
        ("l.qzeros".to_owned(), words(&[2, 1], &AWQ_ZEROS)),
        ("l.scales".to_owned(), scales(true)),
    ]
}

fn packed_parts() -> Tensors {
    let shape = [8i64, 16].iter().flat_map(|extent| extent.to_le_bytes());
    let shape = HostTensor::new(DType::I64, vec![2], shape.collect()).unwrap();
    vec![
        ("l.weight_packed".to_owned(), words(&[8, 2], &PACKED_CODES)),
        ("l.weight_shape".to_owned(), shape),
        (
            "l.weight_zero_point".to_owned(),
            words(&[1, 2], &PLAIN_ZEROS),
        ),
        ("l.weight_scale".to_owned(), scales(false)),
    ]
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(config: &str, tensors: &Tensors) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.set_config(config);
        let file = folder.0.path().join("model.safetensors");
        write_safetensors(file, tensors, &Default::default()).unwrap();
        folder
    }

    fn set_config(&self, config: &str) {
        fs::write(self.0.path().join("config.json"), config).unwrap();
    }

    fn read(&self) -> Result<QuantizedLinear, String> {
        let folder = HfFolder::new(self.0.path());
        let config = folder.quantization().map_err(|error| error.to_string())?;
        let config = config.ok_or("not quantized")?;
        let shards = folder.weights().map_err(|error| error.to_string())?;
        let planned = config.device_bytes(&shards, "l");
        let found = config.linear(&shards, "l");
        let found = found
            .map_err(|error| error.to_string())?
            .ok_or("no layer")?;
        let planned = planned.map_err(|error| error.to_string())?;
        // What is planned is enough, for scales of f16.
        if found.matrix.format().scale_type == crate::num::ScaleType::F16 {
            assert!(planned.is_some_and(|bytes| bytes >= found.matrix.bytes() as u64));
        }
        Ok(found)
    }
}

#[test]
fn golden_words_of_every_method_are_the_same_weights() {
    let plain = weights(|column| column / 8, |at| at);
    let v2 = GPTQ.replace("\"sym\"", "\"checkpoint_format\":\"gptq_v2\",\"sym\"");
    let mut v2_parts = gptq_parts();
    v2_parts[1].1 = words(&[2, 1], &PLAIN_ZEROS);
    for (config, parts) in [
        (GPTQ, gptq_parts()),
        (v2.as_str(), v2_parts),
        (AWQ, awq_parts()),
        (PACKED, packed_parts()),
    ] {
        let found = Folder::new(config, &parts).read().unwrap();
        assert_eq!(found.order, None);
        assert_eq!(found.matrix.format().to_string(), "int4-g8-zp", "{config}");
        assert_eq!(found.matrix.dequantize(), plain, "{config}");
    }
}

#[test]
fn columns_of_an_act_order_are_sorted_by_group_and_say_which_input_they_meet() {
    // Even columns are of group 1.
    let group = |column: usize| (column + 1) % 2;
    let order: Vec<u32> = (0..16).map(|at| (2 * at + 1) % 16 - at / 8).collect();
    let g_idx: Vec<i32> = (0..K).map(|column| group(column) as i32).collect();
    let mut parts = gptq_parts();
    let g_idx = HostTensor::from_i32(vec![K], &g_idx).unwrap();
    parts.push(("l.g_idx".to_owned(), g_idx));
    let found = Folder::new(GPTQ, &parts).read().unwrap();
    assert_eq!(found.order.as_ref(), Some(&order));
    let expected = weights(group, |at| order[at] as usize);
    assert_eq!(found.matrix.dequantize(), expected);
}

#[test]
fn symmetric_files_that_contradict_their_configuration_are_read_by_their_words() {
    let config = GPTQ.replace("\"sym\":false", "\"sym\":true");
    for word in [0x7777_7777, 0x8888_8888] {
        let mut parts = gptq_parts();
        parts[1].1 = words(&[2, 1], &[word; 2]);
        let found = Folder::new(&config, &parts).read().unwrap();
        assert_eq!(found.matrix.format().to_string(), "int4-g8");
        let first = scale(1, 0) * (f32::from(code(1, 2)) - 8.0);
        assert_eq!(found.matrix.dequantize()[K + 2], first);
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let with = |parts: Tensors, at: usize, tensor: HostTensor| {
        let mut parts = parts;
        parts[at].1 = tensor;
        parts
    };
    let without = |parts: Tensors, at: usize| {
        let mut parts = parts;
        parts.remove(at);
        parts
    };
    let half = HostTensor::from_f32_as(DType::F16, vec![2, 8], &[1.0; 16]).unwrap();
    let g_idx = |values: [i32; K]| {
        let mut parts = gptq_parts();
        let tensor = HostTensor::from_i32(vec![K], &values).unwrap();
        parts.push(("l.g_idx".to_owned(), tensor));
        parts
    };
    let cases = [
        (GPTQ, without(gptq_parts(), 1), "no tensor \"l.qzeros\""),
        (
            GPTQ,
            with(gptq_parts(), 0, half.clone()),
            "tensor \"l.qweight\" has dtype f16; allowed: i32",
        ),
        (
            GPTQ,
            with(gptq_parts(), 0, words(&[16], &GPTQ_CODES)),
            "tensor \"l.qweight\" has shape [16]; expected two dimensions",
        ),
        (
            GPTQ,
            with(gptq_parts(), 0, words(&[1, 16], &GPTQ_CODES)),
            "tensor \"l.qzeros\" has shape [2, 1]; expected [1, 2]",
        ),
        (
            GPTQ,
            with(gptq_parts(), 2, words(&[2, 8], &GPTQ_CODES)),
            "tensor \"l.scales\" has dtype i32; allowed: f32, f16, bf16",
        ),
        (
            GPTQ,
            g_idx([2; K]),
            "l: g_idx of input 0 is 2; allowed: 0 to 1",
        ),
        (GPTQ, g_idx([1; K]), "l: group 0 has 0 inputs, expected 8"),
        (
            AWQ,
            with(awq_parts(), 0, words(&[8, 2], &AWQ_CODES)),
            "tensor \"l.qzeros\" has shape [2, 1]; expected [1, 2]",
        ),
        (AWQ, without(awq_parts(), 2), "no tensor \"l.scales\""),
        (
            PACKED,
            with(packed_parts(), 3, half),
            "tensor \"l.weight_scale\" has shape [2, 8]",
        ),
    ];
    for (config, parts, expected) in cases {
        let error = Folder::new(config, &parts).read().unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    for (config, from, to, expected) in [
        (
            GPTQ,
            "gptq\"",
            "aqlm\"",
            "quant_method is aqlm; supported: gptq, awq, compressed-tensors",
        ),
        (
            GPTQ,
            "\"bits\":4",
            "\"bits\":5",
            "bits is 5; supported: 2, 3, 4, 8",
        ),
        (
            GPTQ,
            "\"group_size\":8",
            "\"group_size\":0",
            "field \"group_size\" is 0",
        ),
        (
            GPTQ,
            "\"group_size\":8",
            "\"group_size\":6",
            "expected [3, 1]",
        ),
        (
            GPTQ,
            "\"sym\"",
            "\"checkpoint_format\":\"marlin\",\"sym\"",
            "checkpoint_format is marlin",
        ),
        (AWQ, "\"bits\":4", "\"bits\":8", "bits is 8; supported: 4"),
        (AWQ, "gemm", "gemv", "version is gemv; supported: gemm"),
        (
            PACKED,
            "pack-quantized",
            "nvfp4-pack-quantized",
            "format is nvfp4-pack-quantized",
        ),
        (
            PACKED,
            "\"Linear\"",
            "\"re:.*\"",
            "config_groups is targets",
        ),
        (
            PACKED,
            "\"num_bits\":4",
            "\"num_bits\":5",
            "config.json: config_groups.group_0.weights.num_bits is 5; allowed: 2, 3, 4, 6, 8",
        ),
        (
            PACKED,
            "\"group_size\":8",
            "\"group_size\":4294967296",
            "weights.group_size is 4294967296; allowed: 1 to 4294967295",
        ),
    ] {
        assert!(config.contains(from));
        let parts = match config {
            PACKED => packed_parts(),
            AWQ => awq_parts(),
            _ => gptq_parts(),
        };
        let error = Folder::new(&config.replace(from, to), &parts).read();
        let error = error.unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(
        Folder::new("{}", &gptq_parts()).read().unwrap_err(),
        "not quantized"
    );
}

#[test]
fn layers_have_the_codes_of_the_group_that_names_them() {
    let group = |targets: &str, bits: u32| {
        format!(
            r#"{{"targets":{targets},"weights":{{"num_bits":{bits},"type":"int","symmetric":true,"strategy":"channel"}}}}"#
        )
    };
    let read = |groups: &[String]| {
        let named = groups.iter().enumerate();
        let named: Vec<String> = named
            .map(|(at, group)| format!("\"g{at}\":{group}"))
            .collect();
        QuantizationConfig::from_json(&format!(
            r#"{{"quantization_config":{{"quant_method":"compressed-tensors","format":"mixed-precision","config_groups":{{{}}}}}}}"#,
            named.join(",")
        ))
    };
    let found = read(&[group("[\"Linear\"]", 4), group("[\"a.b\", \"a.c\"]", 8)]);
    let Ok(Some(QuantizationConfig::CompressedTensors(groups))) = found else {
        panic!("{found:?}");
    };
    let bits = |layer: &str| groups.of(layer).map(|args| args.width.bits());
    assert_eq!(["a.b", "a.c", "a.d"].map(bits), [Some(8), Some(8), Some(4)]);
    assert_eq!(groups.kinds().len(), 2);
    let found = read(&[group("[\"a.b\"]", 8)]);
    let Ok(Some(QuantizationConfig::CompressedTensors(groups))) = found else {
        panic!("{found:?}");
    };
    assert_eq!(groups.of("a.d"), None);
    for (groups, expected) in [
        (
            vec![group("[\"a.b\"]", 8), group("[\"a.b\"]", 4)],
            "target a.b in two groups",
        ),
        (vec![group("[\"re:.*q_proj\"]", 8)], "re:.*q_proj"),
        (vec![group("[\"Conv2d\"]", 8)], "Conv2d"),
        (vec![group("[]", 8)], "targets []"),
        (vec![group("[3]", 8)], "targets [3]"),
        (Vec::new(), "none"),
    ] {
        let error = read(&groups).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn input_activations_that_are_not_followed_are_told() {
    let read = |inputs: &str| {
        let found = QuantizationConfig::from_json(&format!(
            r#"{{"quantization_config":{{"quant_method":"compressed-tensors","config_groups":{{"g":{{"targets":["Linear"],
            "weights":{{"num_bits":8,"type":"int","symmetric":true,"strategy":"channel"}},"input_activations":{inputs}}}}}}}}}"#
        ));
        found.unwrap().unwrap()
    };
    let groups = ActivationArgs::Group(32);
    assert_eq!(read("null").other_inputs(None), None);
    let by_group = read(&groups.to_json().to_string());
    assert_eq!(by_group.other_inputs(Some(groups)), None);
    for run_with in [None, Some(ActivationArgs::Group(64))] {
        let said = by_group.other_inputs(run_with).unwrap();
        assert!(said.contains("\"group\""), "{said}");
    }
    // What is no scheme that is known is never followed.
    for run_with in [None, Some(groups)] {
        let said = read(r#"{"num_bits":4}"#);
        assert!(said.other_inputs(run_with).is_some());
    }
}

/// Changes a digit of the header or of the configuration, or a byte of the data.
fn mutate(bytes: &mut [u8], stream: &mut Stream) {
    let digits: Vec<usize> = (8..bytes.len())
        .filter(|&at| bytes[at].is_ascii_digit())
        .collect();
    if stream.below(2) == 0 && !digits.is_empty() {
        let digit = digits[stream.below(digits.len() as u32) as usize];
        bytes[digit] = b'0' + stream.below(10) as u8;
    } else {
        let at = stream.below(bytes.len() as u32) as usize;
        bytes[at] ^= 1 << stream.below(8);
    }
}

#[test]
fn damaged_folders_are_read_or_refused() {
    let mut g_idx = gptq_parts();
    let order: Vec<i32> = (0..K as i32).map(|column| column % 2).collect();
    let order = HostTensor::from_i32(vec![K], &order).unwrap();
    g_idx.push(("l.g_idx".to_owned(), order));
    let mut stream = Philox::new(0x6797).stream(0);
    let (mut n_read, mut n_refused) = (0, 0);
    for (config, parts) in [
        (GPTQ, gptq_parts()),
        (GPTQ, g_idx),
        (AWQ, awq_parts()),
        (PACKED, packed_parts()),
    ] {
        let folder = Folder::new(config, &parts);
        let file = folder.0.path().join("model.safetensors");
        let bytes = fs::read(&file).unwrap();
        for _ in 0..1500 {
            let (mut bytes, mut config) = (bytes.clone(), config.as_bytes().to_vec());
            if stream.below(4) == 0 {
                mutate(&mut config, &mut stream);
            } else {
                mutate(&mut bytes, &mut stream);
            }
            fs::write(&file, bytes).unwrap();
            fs::write(folder.0.path().join("config.json"), config).unwrap();
            match folder.read() {
                Ok(found) => {
                    assert_eq!(
                        found.matrix.dequantize().len(),
                        found.matrix.n() * found.matrix.k()
                    );
                    n_read += 1;
                }
                Err(error) => {
                    assert!(!error.is_empty());
                    n_refused += 1;
                }
            }
        }
    }
    // Both outcomes must be common, or the mutations test only one of them.
    assert!(
        n_read > 600 && n_refused > 600,
        "{n_read} read, {n_refused} refused"
    );
}
