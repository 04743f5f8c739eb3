use std::collections::BTreeMap;

use super::*;
use crate::compress::Weights;
use crate::compress::quantize::{
    Hqq, Linear, LogRounding, LogWidth, Width, hqq, logarithmic, nf4, round_to_nearest,
};
use crate::data::StandardizeBy;
use crate::io::safetensors::{SafetensorsFile, write_safetensors};
use crate::models::Layer;
use crate::num::{
    BlockShape, DeltaBits, Dense, Granularity, NmPattern, Scheme, SparseLayout, SparseMatrix,
    StaticScale, ValueFormat, quantize,
};
use crate::ops::nn::Curve;
use crate::tensor::HostTensor;

/// 32-16-8-4, its first weight 2:4.
fn model() -> Model {
    let layers = vec![
        Layer::Flatten,
        Layer::linear(16),
        Layer::BATCH_NORM,
        Layer::Activation(Curve::LeakyRelu { slope: 0.1 }),
        Layer::linear(8),
        Layer::linear(4),
    ];
    let network = Sequential::new("mlp 32-16-8-4", &[1, 4, 8], layers).unwrap();
    let mut values = network.parameters(7).unwrap();
    let kept: Vec<f32> = values[0]
        .1
        .to_f32()
        .unwrap()
        .iter()
        .enumerate()
        .map(|(at, &w)| if at % 4 < 2 { w } else { 0.0 })
        .collect();
    values[0].1 = HostTensor::from_f32(vec![16, 32], &kept).unwrap();
    let inputs =
        Standardization::from_parts(StandardizeBy::Whole, vec![0.25], vec![0.5], 32).unwrap();
    Model::new(network, inputs, values).unwrap()
}

fn weight(model: &Model, name: &str) -> (Vec<f32>, Vec<usize>) {
    let value = model.tensor(name).unwrap().values();
    (value.to_f32().unwrap(), value.shape().to_vec())
}

fn quantized(model: &Model, name: &str, scheme: &Scheme, activations: Activations) -> Stored {
    let (values, shape) = weight(model, name);
    let matrix = quantize(name, &values, shape[0], shape[1], scheme).unwrap();
    Stored::Quantized {
        shape,
        matrix: matrix.into(),
        activations,
    }
}

/// A weight in a scheme of any width, or HQQ's codes of it.
fn narrow(model: &Model, name: &str, linear: &Linear, is_hqq: bool) -> Stored {
    let (values, shape) = weight(model, name);
    let weights = Weights::new(name, shape[0], shape[1], &values).unwrap();
    let matrix = match is_hqq {
        true => hqq(&weights, linear.width, linear.granularity, &Hqq::default()),
        false => round_to_nearest(&weights, linear),
    };
    Stored::Quantized {
        shape,
        matrix: matrix.unwrap(),
        activations: Activations::Float,
    }
}

/// Every way of storing codes that are narrower than what kernels read, and levels.
fn narrow_formats(model: &Model, name: &str) -> Vec<Stored> {
    let mut stored = Vec::new();
    for width in [Width::Int2, Width::Int3, Width::Int6] {
        for granularity in [
            Granularity::Tensor,
            Granularity::Channel,
            Granularity::Group(8),
        ] {
            for linear in [
                Linear::symmetric(width, granularity),
                Linear::asymmetric(width, granularity),
            ] {
                stored.push(narrow(model, name, &linear, false));
            }
        }
        let linear = Linear::asymmetric(width, Granularity::Group(16));
        stored.push(narrow(model, name, &linear, true));
    }
    let (values, shape) = weight(model, name);
    let weights = Weights::new(name, shape[0], shape[1], &values).unwrap();
    let rounding = LogRounding::default();
    for granularity in [
        Granularity::Tensor,
        Granularity::Channel,
        Granularity::Group(16),
    ] {
        let four = logarithmic(&weights, LogWidth::Four, granularity, rounding);
        let eight = logarithmic(&weights, LogWidth::Eight, granularity, rounding);
        for matrix in [nf4(&weights, granularity), four, eight] {
            stored.push(Stored::Levels {
                shape: shape.clone(),
                matrix: matrix.unwrap(),
            });
        }
    }
    stored
}

#[test]
fn files_hold_codes_at_their_own_width_and_levels_as_codes() {
    let base = model();
    let disk = |stored: &Stored| -> usize {
        let parts = storage::parts("1.weight", stored).unwrap();
        parts.iter().map(|(_, part)| part.bytes().len()).sum()
    };
    // 16 x 32 weights; extents take 16 bytes, f32 scales of rows 64, f16 scales of groups of 8 128.
    for (width, code_bytes) in [
        (Width::Int2, 16 * 8),
        (Width::Int3, 16 * 16),
        (Width::Int6, 16 * 28),
    ] {
        let channel = Linear::symmetric(width, Granularity::Channel);
        let stored = narrow(&base, "1.weight", &channel, false);
        assert_eq!(disk(&stored), code_bytes + 16 + 64, "{width}");
        // What kernels read on a device.
        let device_bits = width.container().bits() as u64;
        assert_eq!(stored.bytes(), 16 * 32 * device_bits / 8 + 64, "{width}");
        assert!(stored.widened().unwrap().starts_with(&width.to_string()));
        assert_eq!(stored.format(), format!("{width}-channel"));
        let group = Linear::symmetric(width, Granularity::Group(8));
        let stored = narrow(&base, "1.weight", &group, false);
        assert_eq!(disk(&stored), code_bytes + 16 + 128, "{width}");
    }
    let (values, _) = weight(&base, "1.weight");
    let weights = Weights::new("w", 16, 32, &values).unwrap();
    let stored = Stored::Levels {
        shape: vec![16, 32],
        matrix: nf4(&weights, Granularity::Group(16)).unwrap(),
    };
    assert_eq!(disk(&stored), 16 * 32 / 2 + 4 * 32);
    assert_eq!(stored.bytes(), 4 * 16 * 32);
    assert!(stored.widened().unwrap().contains("no kernel of their own"));
}

#[test]
fn tools_are_told_of_the_width_and_not_of_what_they_do_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let base = model();
    let config = |stored: Stored| -> serde_json::Value {
        let mut model = base.clone();
        model.set("1.weight", stored).unwrap();
        model.save(folder.path(), &BTreeMap::new()).unwrap();
        let text = std::fs::read_to_string(folder.path().join(CONFIG_FILE)).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let linear = Linear::asymmetric(Width::Int2, Granularity::Group(16));
    let known = config(narrow(&base, "1.weight", &linear, false));
    let group = &known["quantization_config"]["config_groups"]["group_0"];
    assert_eq!(group["weights"]["num_bits"], 2);
    assert_eq!(group["format"], "pack-quantized");
    let own = config(narrow(&base, "1.weight", &linear, true));
    assert_eq!(own["weights"]["1"]["storage"], "lapidary-spread");
    assert_eq!(own["weights"]["1"]["weights"]["spacing"], 4);
    assert!(own.get("quantization_config").is_none(), "{own}");
}

#[test]
fn levels_that_contradict_themselves_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = model();
    let (values, shape) = weight(&model, "1.weight");
    let weights = Weights::new("w", shape[0], shape[1], &values).unwrap();
    let matrix = nf4(&weights, Granularity::Group(16)).unwrap();
    model
        .set("1.weight", Stored::Levels { shape, matrix })
        .unwrap();
    model.save(folder.path(), &BTreeMap::new()).unwrap();
    let path = folder.path().join(CONFIG_FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    for (from, to, message) in [
        (
            "\"nf4\"",
            "\"nf5\"",
            "weight 1: levels are of table \"nf5\"",
        ),
        ("\"group\"", "\"channel\"", "strategy \"channel\""),
        ("\"nf4\"", "\"log8\"", "1: 256 codes"),
        ("\"group_size\": 16", "\"group_size\": 5", "1: k = 32"),
        ("\"group_size\": 16", "\"group_size\": 8", "1: 32 scales"),
    ] {
        assert!(text.contains(from), "{text}");
        std::fs::write(&path, text.replace(from, to)).unwrap();
        let refused = Model::load(folder.path()).unwrap_err().to_string();
        assert!(refused.contains(message), "{refused}");
    }
}

fn sparse(model: &Model, layout: SparseLayout, format: ValueFormat) -> Stored {
    let (values, shape) = weight(model, "1.weight");
    let dense = Dense {
        name: "1.weight",
        n: shape[0],
        k: shape[1],
        weights: &values,
    };
    let matrix = SparseMatrix::compress(&dense, layout, format).unwrap();
    Stored::Sparse {
        shape,
        matrix,
        activations: Activations::Float,
    }
}

#[test]
fn a_model_comes_back_as_it_was_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let base = model();
    let int8 = ValueFormat::Quantized(Scheme::int8_channel());
    let mut stored = vec![
        Stored::Float(base.tensor("1.weight").unwrap().values()),
        quantized(
            &base,
            "1.weight",
            &Scheme::int8_channel(),
            Activations::Int8PerRow,
        ),
        quantized(
            &base,
            "1.weight",
            &Scheme::int4_group(32),
            Activations::Float,
        ),
        quantized(
            &base,
            "1.weight",
            &Scheme::int4_group_zero_point(16),
            Activations::Int8PerBlock(32),
        ),
        quantized(
            &base,
            "1.weight",
            &Scheme::int8_channel(),
            Activations::Int8Static(StaticScale::new("1.input_scale", 0.03).unwrap()),
        ),
    ];
    for layout in [
        SparseLayout::Nm(NmPattern::TWO_FOUR),
        SparseLayout::Nm(NmPattern::new(2, 4, 8).unwrap()),
        SparseLayout::Block(BlockShape::new(8, 8).unwrap()),
        SparseLayout::Delta(DeltaBits::Four),
    ] {
        for format in [
            ValueFormat::F32,
            ValueFormat::F16,
            ValueFormat::Quantized(Scheme::int8_tensor()),
        ] {
            stored.push(sparse(&base, layout, format));
        }
    }
    stored.push(sparse(&base, SparseLayout::Nm(NmPattern::TWO_FOUR), int8));
    stored.extend(narrow_formats(&base, "1.weight"));
    for one in stored {
        let mut model = base.clone();
        let format = one.format();
        model.set("1.weight", one).unwrap();
        // Another scheme beside it, so that groups are told apart.
        model
            .set(
                "4.weight",
                quantized(
                    &base,
                    "4.weight",
                    &Scheme::int8_channel(),
                    Activations::Float,
                ),
            )
            .unwrap();
        let path = folder.path().join("m");
        let saved = model.save(&path, &BTreeMap::new()).unwrap();
        assert_eq!(Model::load(&path).unwrap(), model, "{format}");
        assert_eq!(
            saved.file_bytes,
            std::fs::metadata(path.join(MODEL_FILE)).unwrap().len()
        );
        let twice = model
            .save(folder.path().join("again"), &BTreeMap::new())
            .unwrap();
        assert_eq!(twice.sha256, saved.sha256, "{format}");
    }
}

#[test]
fn quantized_files_are_as_small_as_their_codes() {
    let folder = tempfile::tempdir().unwrap();
    let base = model();
    let float = base
        .save(folder.path().join("f"), &BTreeMap::new())
        .unwrap();
    let mut model = base.clone();
    for name in ["1.weight", "4.weight", "5.weight"] {
        model
            .set(
                name,
                quantized(
                    &base,
                    name,
                    &Scheme::int8_channel(),
                    Activations::Int8PerRow,
                ),
            )
            .unwrap();
    }
    let small = model
        .save(folder.path().join("q"), &BTreeMap::new())
        .unwrap();
    let weights = 16 * 32 + 8 * 16 + 4 * 8;
    let scales = 16 + 8 + 4;
    let header = |saved: &Saved| {
        let bytes = std::fs::read(saved.folder.join(MODEL_FILE)).unwrap();
        8 + u64::from_le_bytes(bytes[..8].try_into().unwrap())
    };
    let difference = (float.file_bytes - header(&float)) - (small.file_bytes - header(&small));
    assert_eq!(difference, 3 * weights - 4 * scales);
}

#[test]
fn folders_that_are_no_model_or_contradict_themselves_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m");
    let refused = |path: &std::path::Path| Model::load(path).unwrap_err().to_string();
    assert!(refused(&path).contains("config.json"));
    std::fs::create_dir(&path).unwrap();
    assert!(refused(&path).contains("no finished model"));
    let base = model();
    let mut model = base.clone();
    model
        .set(
            "1.weight",
            quantized(
                &base,
                "1.weight",
                &Scheme::int4_group(32),
                Activations::Float,
            ),
        )
        .unwrap();
    model.save(&path, &BTreeMap::new()).unwrap();
    let config = std::fs::read_to_string(path.join(CONFIG_FILE)).unwrap();
    for (from, to, message) in [
        ("lapidary-model-1", "other", "format is"),
        (
            "\"num_bits\": 4",
            "\"num_bits\": 5",
            "weights.1.weights.num_bits is 5; allowed: 2, 3, 4, 6, 8",
        ),
        ("\"group_size\": 32", "\"group_size\": 16", "weight_scale"),
        (
            "pack-quantized",
            "marlin-24",
            "weights.1.storage is \"marlin-24\"",
        ),
        ("\"1\": {", "\"9\": {", "weights is \"9\"; allowed: 1, "),
        ("leaky_relu", "leaky", "unknown variant `leaky`"),
        (
            "\"outputs\": 16",
            "\"outputs\": 15",
            "weights.1.shape is [16, 32]",
        ),
    ] {
        assert!(config.contains(from), "{from}");
        std::fs::write(path.join(CONFIG_FILE), config.replacen(from, to, 1)).unwrap();
        let text = refused(&path);
        assert!(text.contains(message), "{from}: {text}");
    }
}

#[test]
fn tensors_of_another_shape_or_name_are_refused() {
    let mut base = model();
    let other = quantized(
        &base,
        "4.weight",
        &Scheme::int8_channel(),
        Activations::Float,
    );
    let text = base.set("1.weight", other.clone()).unwrap_err().to_string();
    assert!(
        text.contains("found 1.weight [8, 16], it needs 1.weight [16, 32]"),
        "{text}"
    );
    let text = base.set("6.weight", other).unwrap_err().to_string();
    assert!(
        text.contains("there is no tensor 6.weight; the network has 1.weight, "),
        "{text}"
    );
}

#[test]
fn a_scale_of_inputs_that_is_wrong_is_in_the_file_of_the_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m");
    let mut model = model();
    let scale = StaticScale::new("1.input_scale", 0.03).unwrap();
    let one = quantized(
        &model,
        "1.weight",
        &Scheme::int8_channel(),
        Activations::Int8Static(scale),
    );
    model.set("1.weight", one).unwrap();
    model.save(&path, &BTreeMap::new()).unwrap();
    let weights = path.join(MODEL_FILE);
    let file = SafetensorsFile::open(&weights).unwrap();
    let names = file.tensors().iter().map(|one| one.name.clone());
    let good: Vec<_> = names
        .map(|name| (name.clone(), file.tensor(&name).unwrap()))
        .collect();
    drop(file);
    let float = |values: &[f32]| HostTensor::from_f32(vec![values.len()], values).unwrap();
    for (wrong, message) in [
        (Some(float(&[-1.0])), "1.input_scale: a scale of -1"),
        (Some(float(&[f32::NAN])), "1.input_scale: a scale of NaN"),
        (
            Some(float(&[1.0, 2.0])),
            "tensor 1.input_scale is f32 [2]; expected f32 [1]",
        ),
        (None, "1.input_scale"),
    ] {
        let mut tensors = good.clone();
        let at = tensors.iter().position(|(name, _)| name == "1.input_scale");
        match wrong {
            Some(wrong) => tensors[at.unwrap()].1 = wrong,
            None => drop(tensors.remove(at.unwrap())),
        }
        write_safetensors(&weights, &tensors, &BTreeMap::new()).unwrap();
        let text = Model::load(&path).unwrap_err().to_string();
        assert!(text.starts_with(&weights.display().to_string()), "{text}");
        assert!(text.contains(message), "{text}");
    }
}
