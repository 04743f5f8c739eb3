//! `lapidary inspect FILE`: what a model file holds, without reading its data, or what a model's folder does.

use std::path::{Path, PathBuf};

use clap::Args;
use lapidary::compress::model::{Model, RECEIPT_FILE};
use lapidary::io::hf::HfFolder;
use lapidary::io::read_text;
use lapidary::io::safetensors::SafetensorsFile;
use lapidary::models::Network as _;
use lapidary::num::StaticScale;
use serde::Serialize;

use crate::generate;
use crate::options::{CommonOptions, Failure};
use crate::output::{bytes, number, plain, print, print_json, table};

#[derive(Debug, Args)]
pub struct InspectOptions {
    /// A safetensors or GGUF file, or the folder of a model, one of Hugging Face's too.
    file: PathBuf,
}

#[derive(Debug, Serialize)]
struct FileReport {
    file: String,
    format: &'static str,
    metadata: std::collections::BTreeMap<String, String>,
    tensors: Vec<TensorRow>,
    n_tensors: usize,
    n_elements: u64,
    n_bytes: u64,
}

#[derive(Debug, Serialize)]
struct TensorRow {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    n_bytes: u64,
    offset: u64,
}

pub fn run(common: &CommonOptions, options: &InspectOptions) -> Result<(), Failure> {
    let is_hf = || options.file.is_dir() && HfFolder::new(&options.file).config().is_ok();
    if generate::is_language_model(&options.file) || is_hf() {
        return generate::inspect(common, &options.file);
    }
    if options.file.is_dir() {
        return model(common, &options.file);
    }
    let file =
        SafetensorsFile::open(&options.file).map_err(|error| Failure::Usage(error.to_string()))?;
    let tensors: Vec<TensorRow> = file
        .tensors()
        .iter()
        .map(|entry| TensorRow {
            name: entry.name.clone(),
            dtype: entry.dtype.to_string(),
            shape: entry.shape.clone(),
            n_bytes: entry.n_bytes as u64,
            offset: entry.offset as u64,
        })
        .collect();
    let report = FileReport {
        file: options.file.display().to_string(),
        format: "safetensors",
        metadata: file.metadata().clone(),
        n_tensors: tensors.len(),
        n_elements: tensors
            .iter()
            .map(|row| {
                row.shape
                    .iter()
                    .map(|&extent| extent as u64)
                    .product::<u64>()
            })
            .sum(),
        n_bytes: tensors.iter().map(|row| row.n_bytes).sum(),
        tensors,
    };
    if common.json {
        return print_json(&report);
    }
    let mut rows = table(&["tensor", "type", "shape", "bytes"]);
    for row in &report.tensors {
        let shape: Vec<String> = row.shape.iter().map(ToString::to_string).collect();
        rows.add_row([
            plain(&row.name).into(),
            row.dtype.clone().into(),
            shape.join(" x ").into(),
            number(row.n_bytes),
        ]);
    }
    print(&rows.to_string())?;
    for (key, value) in &report.metadata {
        print(&format!("metadata {}: {}", plain(key), plain(value)))?;
    }
    print(&format!(
        "{} tensors, {} elements, {}",
        report.n_tensors,
        report.n_elements,
        bytes(report.n_bytes)
    ))?;
    Ok(())
}

#[derive(Debug, Serialize)]
struct ModelReport {
    folder: PathBuf,
    network: String,
    tensors: Vec<StoredRow>,
    n_parameters: u64,
    n_bytes: u64,
    bits_per_weight: f64,
    /// Codes of 2 and 3 bits take 4 on a device, levels 32.
    device_bits_per_weight: f64,
    receipt: serde_json::Value,
}

#[derive(Debug, Serialize)]
struct StoredRow {
    name: String,
    format: String,
    shape: Vec<usize>,
    n_bytes: u64,
    sparsity: f64,
    /// Of its inputs, where calibration found one.
    #[serde(skip_serializing_if = "Option::is_none")]
    input_scale: Option<f32>,
}

/// The folder of a model: every tensor's format.
fn model(common: &CommonOptions, folder: &Path) -> Result<(), Failure> {
    let model = Model::load(folder)?;
    let mut tensors = Vec::new();
    for ((name, stored), (_, n_bytes)) in model.tensors().iter().zip(model.stored_bytes()?) {
        tensors.push(StoredRow {
            name: name.clone(),
            format: stored.format(),
            shape: stored.shape().to_vec(),
            n_bytes,
            sparsity: stored.sparsity(),
            input_scale: stored.input_scale().map(StaticScale::get),
        });
    }
    let n_bytes: u64 = tensors.iter().map(|row| row.n_bytes).sum();
    let bits = |bytes: u64| 8.0 * bytes as f64 / model.n_parameters().max(1) as f64;
    // A folder without a receipt is a model all the same.
    let receipt = read_text(folder.join(RECEIPT_FILE)).ok();
    let receipt = receipt.and_then(|text| serde_json::from_str(&text).ok());
    let report = ModelReport {
        folder: folder.to_owned(),
        network: model.network().describe(),
        n_parameters: model.n_parameters(),
        n_bytes,
        bits_per_weight: bits(n_bytes),
        device_bits_per_weight: bits(model.bytes()),
        receipt: receipt.unwrap_or_default(),
        tensors,
    };
    if common.json {
        return print_json(&report);
    }
    let mut rows = table(&["tensor", "format", "shape", "bytes", "zeros"]);
    for row in &report.tensors {
        let shape: Vec<String> = row.shape.iter().map(ToString::to_string).collect();
        let format = match row.input_scale {
            Some(scale) => format!("{}, scale {scale:.4e}", row.format),
            None => row.format.clone(),
        };
        rows.add_row([
            row.name.clone().into(),
            format.into(),
            shape.join(" x ").into(),
            number(row.n_bytes),
            number(format!("{:.1}%", 100.0 * row.sparsity)),
        ]);
    }
    print(&format!(
        "{rows}\n{}: {} parameters, {}, {:.2} bits a parameter on disk, {:.2} on a device",
        report.network,
        report.n_parameters,
        bytes(report.n_bytes),
        report.bits_per_weight,
        report.device_bits_per_weight
    ))
}
