//! `quantization_config` of a compressed decoder, as compressed-tensors has it.

use serde_json::{Value, json};

use crate::compress::model::Activations;
use crate::io::compressed_tensors::codes::ActivationArgs;

use super::block::DecoderLinear;
use super::partial::{Coded, LayerNote};

/// As [`coded_config`], of the layers of a decoder; the head is in none.
pub(super) fn quantization_config(layers: &[LayerNote], activations: Activations) -> Option<Value> {
    let mut ignore = vec!["lm_head".to_owned()];
    for (index, note) in layers.iter().enumerate() {
        let names = DecoderLinear::ALL.map(|which| which.name(index));
        ignore.extend(
            names
                .into_iter()
                .filter(|name| !note.coded.contains_key(name)),
        );
    }
    let coded = layers.iter().flat_map(|note| &note.coded);
    coded_config(coded, &ignore, activations)
}

/// The `quantization_config` of layers by their names: a group for each way of storing codes; one group is for all
/// linear layers but those of `ignore`. `None` where nothing is in codes.
pub(in crate::compress::transformer) fn coded_config<'a>(
    coded: impl IntoIterator<Item = (&'a String, &'a Coded)>,
    ignore: &[String],
    activations: Activations,
) -> Option<Value> {
    let mut groups: Vec<(&Coded, Vec<&str>)> = Vec::new();
    for (name, coded) in coded {
        match groups.iter_mut().find(|(other, _)| *other == coded) {
            Some((_, names)) => names.push(name),
            None => groups.push((coded, vec![name])),
        }
    }
    let format = match groups.as_slice() {
        [] => return None,
        [(coded, _)] => coded.format.clone(),
        [(first, _), rest @ ..] if rest.iter().all(|(one, _)| one.format == first.format) => {
            first.format.clone()
        }
        _ => "mixed-precision".to_owned(),
    };
    let input_activations = match activations {
        Activations::Float => None,
        Activations::Int8PerRow => Some(ActivationArgs::Token.to_json()),
        Activations::Int8PerBlock(size) => Some(ActivationArgs::Group(size).to_json()),
        // Refused before: each layer would need a scale of its own.
        Activations::Int8Static(_) => None,
    };
    let is_one = groups.len() == 1;
    let group = |(index, (coded, names)): (usize, &(&Coded, Vec<&str>))| {
        let targets = if is_one {
            json!(["Linear"])
        } else {
            json!(names)
        };
        let group = json!({
            "targets": targets,
            "weights": coded.weights,
            "input_activations": input_activations,
            "output_activations": null,
            "format": coded.format,
        });
        (format!("group_{index}"), group)
    };
    let config_groups: serde_json::Map<String, Value> =
        groups.iter().enumerate().map(group).collect();
    Some(json!({
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
        "format": format,
        "ignore": ignore,
        "kv_cache_scheme": null,
        "global_compression_ratio": null,
        "config_groups": config_groups,
    }))
}
