//! `lapidary inspect` of a GGUF file or a folder of Hugging Face's: sizes, metadata, tensors.

use std::collections::BTreeMap;
use std::path::Path;

use lapidary::io::compressed_tensors::codes::WeightArgs;
use lapidary::io::gguf::{Array, GgufFile, Value};
use lapidary::io::hf::{HfFolder, ModelConfig, QuantizationConfig};
use serde::Serialize;
use serde_json::json;

use crate::options::{CommonOptions, Failure};
use crate::output::{bytes, number, plain, print, print_json, table};
use crate::train::usage;

/// Characters of a metadata string that are shown.
const SHOWN: usize = 60;

#[derive(Debug, Serialize)]
struct Report {
    file: String,
    format: String,
    /// What the model is made of, or why it cannot be run.
    model: serde_json::Value,
    metadata: BTreeMap<String, String>,
    tensors: Vec<Row>,
    n_tensors: usize,
    n_elements: u64,
    n_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    shape: Vec<usize>,
    n_bytes: u64,
}

impl Row {
    fn new(name: &str, kind: String, shape: &[usize], n_bytes: usize) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            shape: shape.to_vec(),
            n_bytes: n_bytes as u64,
        }
    }

    fn n_elements(&self) -> u64 {
        self.shape.iter().map(|&extent| extent as u64).product()
    }
}

/// Prints what a language model's file or folder holds, without reading weights.
pub fn inspect(common: &CommonOptions, path: &Path) -> Result<(), Failure> {
    let report = if path.is_dir() {
        folder(path)?
    } else {
        file(path)?
    };
    if common.json {
        return print_json(&report);
    }
    let mut rows = table(&["tensor", "type", "shape", "bytes"]);
    for row in &report.tensors {
        let shape: Vec<String> = row.shape.iter().map(ToString::to_string).collect();
        rows.add_row([
            plain(&row.name).into(),
            row.kind.clone().into(),
            shape.join(" x ").into(),
            number(row.n_bytes),
        ]);
    }
    print(&rows.to_string())?;
    for (key, value) in &report.metadata {
        print(&format!("metadata {}: {}", plain(key), plain(value)))?;
    }
    let model = match &report.model {
        serde_json::Value::Object(fields) => {
            let field = |(key, value): (&String, &serde_json::Value)| format!("{key} {value}");
            let fields: Vec<String> = fields.iter().map(field).collect();
            fields.join(", ")
        }
        other => other.to_string(),
    };
    print(&format!(
        "{model}\n{}: {} tensors, {} elements, {}",
        report.format,
        report.n_tensors,
        report.n_elements,
        bytes(report.n_bytes)
    ))
}

fn file(path: &Path) -> Result<Report, Failure> {
    let file = GgufFile::open(path).map_err(usage)?;
    let rows = file.tensors().iter().map(|tensor| {
        let kind = tensor.kind.to_string();
        Row::new(&tensor.name, kind, &tensor.shape, tensor.n_bytes)
    });
    let pairs = file.metadata().pairs().iter();
    let metadata = pairs.map(|(key, value)| (key.clone(), shown(value)));
    let model = ModelConfig::from_gguf(file.metadata());
    Ok(report(
        path,
        "GGUF".to_owned(),
        model.map_or_else(|reason| json!(reason.to_string()), |model| sizes(&model)),
        metadata.collect(),
        rows.collect(),
    ))
}

fn folder(path: &Path) -> Result<Report, Failure> {
    let folder = HfFolder::new(path);
    let shards = folder.weights().map_err(usage)?;
    let names: Vec<&str> = shards.names().collect();
    let mut rows = Vec::new();
    for name in names {
        let (entry, _) = shards.tensor_bytes(name).map_err(usage)?;
        let kind = entry.dtype.to_string();
        rows.push(Row::new(name, kind, &entry.shape, entry.n_bytes));
    }
    let quantization = match folder.quantization() {
        Ok(None) => "not quantized".to_owned(),
        Ok(Some(config)) => described(&config),
        Err(reason) => reason.to_string(),
    };
    let metadata = BTreeMap::from([
        ("quantization".to_owned(), quantization),
        ("shards".to_owned(), shards.n_shards().to_string()),
    ]);
    let model = folder.config();
    Ok(report(
        path,
        "folder of Hugging Face's".to_owned(),
        model.map_or_else(|reason| json!(reason.to_string()), |model| sizes(&model)),
        metadata,
        rows,
    ))
}

fn report(
    path: &Path,
    format: String,
    model: serde_json::Value,
    metadata: BTreeMap<String, String>,
    tensors: Vec<Row>,
) -> Report {
    Report {
        file: path.display().to_string(),
        format,
        model,
        metadata,
        n_tensors: tensors.len(),
        n_elements: tensors.iter().map(Row::n_elements).sum(),
        n_bytes: tensors.iter().map(|row| row.n_bytes).sum(),
        tensors,
    }
}

fn sizes(model: &ModelConfig) -> serde_json::Value {
    match model {
        ModelConfig::Decoder(c) => json!({
            "kind": format!("{:?}", c.kind).to_lowercase(),
            "layers": c.n_layers,
            "width": c.width,
            "ffn_width": c.ffn_width,
            "heads": c.n_heads,
            "kv_heads": c.n_kv_heads,
            "head_width": c.head_dim,
            "vocabulary": c.vocabulary,
            "context": c.context,
        }),
        ModelConfig::Encoder(c) => json!({
            "kind": "bert",
            "layers": c.n_layers,
            "width": c.width,
            "ffn_width": c.ffn_width,
            "heads": c.n_heads,
            "vocabulary": c.vocabulary,
            "context": c.context,
        }),
    }
}

pub(super) fn described(config: &QuantizationConfig) -> String {
    let group = |size: &Option<usize>| match size {
        None => "a scale a row".to_owned(),
        Some(size) => format!("groups of {size}"),
    };
    match config {
        QuantizationConfig::Gptq {
            bits, group_size, ..
        } => format!("gptq, {bits} bits, {}", group(group_size)),
        QuantizationConfig::Awq { group_size } => format!("awq, 4 bits, {}", group(group_size)),
        QuantizationConfig::CompressedTensors(groups) => {
            let kinds = groups.kinds();
            let kind = |args: &WeightArgs| {
                let (own, read) = (args.width, args.width.container().to_string());
                let widened = match own.to_string() == read {
                    true => String::new(),
                    false => format!(" ({read} on a device)"),
                };
                format!("{args}{widened}")
            };
            let kinds: Vec<String> = kinds.iter().map(kind).collect();
            format!("compressed-tensors, {}", kinds.join("; "))
        }
    }
}

/// A value in a line: strings are cut, arrays counted.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let cut: String = text.chars().take(SHOWN).collect();
            let rest = if cut.len() < text.len() { ".." } else { "" };
            format!("{cut:?}{rest}")
        }
        Value::Array(array) => format!("{} of {}", length(array), array.kind()),
        Value::U8(x) => x.to_string(),
        Value::I8(x) => x.to_string(),
        Value::U16(x) => x.to_string(),
        Value::I16(x) => x.to_string(),
        Value::U32(x) => x.to_string(),
        Value::I32(x) => x.to_string(),
        Value::F32(x) => x.to_string(),
        Value::Bool(x) => x.to_string(),
        Value::U64(x) => x.to_string(),
        Value::I64(x) => x.to_string(),
        Value::F64(x) => x.to_string(),
    }
}

fn length(array: &Array) -> usize {
    match array {
        Array::U8(all) => all.len(),
        Array::I8(all) => all.len(),
        Array::U16(all) => all.len(),
        Array::I16(all) => all.len(),
        Array::U32(all) => all.len(),
        Array::I32(all) => all.len(),
        Array::F32(all) => all.len(),
        Array::Bool(all) => all.len(),
        Array::String(all) => all.len(),
        Array::Array(all) => all.len(),
        Array::U64(all) => all.len(),
        Array::I64(all) => all.len(),
        Array::F64(all) => all.len(),
    }
}
