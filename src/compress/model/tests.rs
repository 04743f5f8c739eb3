use std::collections::BTreeMap;

use super::*;
use crate::data::StandardizeBy;
use crate::models::Layer;
use crate::num::{
    BlockShape, DeltaBits, Dense, NmPattern, Scheme, SparseLayout, SparseMatrix, ValueFormat,
    quantize,
};
use crate::ops::nn::Curve;

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
    values[0].1 = crate::tensor::HostTensor::from_f32(vec![16, 32], &kept).unwrap();
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
        matrix,
        activations,
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
            "weights.1.weights.num_bits is 5; allowed: 4, 8",
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
