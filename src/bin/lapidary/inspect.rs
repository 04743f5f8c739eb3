//! `lapidary inspect FILE`: what a model file holds, without reading its data.

use std::path::PathBuf;

use clap::Args;
use lapidary::io::safetensors::SafetensorsFile;
use serde::Serialize;

use crate::options::{CommonOptions, Failure};
use crate::output::{bytes, number, print, print_json, table};

#[derive(Debug, Args)]
pub struct InspectOptions {
    /// A safetensors file.
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
            row.name.clone().into(),
            row.dtype.clone().into(),
            shape.join(" x ").into(),
            number(row.n_bytes),
        ]);
    }
    print(&rows.to_string())?;
    for (key, value) in &report.metadata {
        print(&format!("metadata {key}: {value}"))?;
    }
    print(&format!(
        "{} tensors, {} elements, {}",
        report.n_tensors,
        report.n_elements,
        bytes(report.n_bytes)
    ))?;
    Ok(())
}
