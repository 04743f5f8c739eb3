//! `lapidary convert IN OUT`: the same network in another kind of file, losslessly or with the reason why not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use lapidary::compress::model::{Model, Stored};
use lapidary::io::gguf::{Conversion, GgufFile};
use lapidary::io::hf::HfFolder;
use lapidary::io::safetensors::write_safetensors;
use lapidary::models::llama::save_decoder;
use lapidary::models::{NamedTensor, Network as _, file_tensors};
use lapidary::num::ggml::GgmlType;
use lapidary::tensor::DType;
use lapidary::text::byte_tokenizer;
use serde::Serialize;
use serde_json::Value;

use crate::convert_folder::gguf_of_folder;
use crate::generate::is_gguf;
use crate::models::open_with_data;
use crate::options::{CommonOptions, Failure, folder_exists};
use crate::output::{bytes, print, print_json};
use crate::target;
use crate::train::usage;
use crate::trained::{ModelOptions, join};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum To {
    /// A folder with every weight in the format it has.
    Folder,
    /// A safetensors file with every weight as f32, codes times scales.
    F32,
    /// The same as f16.
    F16,
    /// A folder of Hugging Face's with every weight as f32, for a decoder.
    Hf,
    /// Language models: four bits and a scale per 32 weights.
    #[value(name = "q4_0")]
    Q4_0,
    /// Language models: four bits, a scale and a minimum per 32 weights.
    #[value(name = "q4_1")]
    Q4_1,
    /// Language models: eight bits and a scale per 32 weights.
    #[value(name = "q8_0")]
    Q8_0,
}

/// Endings of files that no folder should have.
const FILES: [&str; 6] = ["safetensors", "st", "gguf", "bin", "pt", "onnx"];

impl To {
    /// The type of a GGUF file's matrices.
    const fn ggml(self) -> Option<GgmlType> {
        match self {
            Self::Folder | Self::Hf => None,
            Self::F32 => Some(GgmlType::F32),
            Self::F16 => Some(GgmlType::F16),
            Self::Q4_0 => Some(GgmlType::Q4_0),
            Self::Q4_1 => Some(GgmlType::Q4_1),
            Self::Q8_0 => Some(GgmlType::Q8_0),
        }
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lapidary convert mlp.safetensors mlp-folder\n  \
    lapidary convert mlp-int8 mlp-int8.safetensors --to f32\n  \
    lapidary convert decoder.safetensors decoder-hf --to hf\n  \
    lapidary convert smollm2.gguf smollm2-q8.gguf --to q8_0 --lossy\n  \
    lapidary convert model-folder model.gguf --to q8_0 --lossy"
)]
pub struct ConvertOptions {
    /// Folder of a model, file of `train --out`, GGUF file, or a language model's folder of Hugging Face's.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// Folder, safetensors file or, from a language model, GGUF file to write.
    #[arg(value_name = "OUT")]
    output: PathBuf,
    #[command(flatten)]
    network: ModelOptions,
    /// What is written: by default f32 for a name that ends in .safetensors, else a folder.
    #[arg(long, value_enum)]
    to: Option<To>,
    /// Round values that the type cannot hold, and say so, instead of refusing.
    #[arg(long)]
    lossy: bool,
    /// Folder with the data the network is for, as for `train`.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Report {
    output: PathBuf,
    network: String,
    tensors: usize,
    is_lossless: bool,
    notes: Vec<String>,
}

pub fn run(common: &CommonOptions, options: &ConvertOptions) -> Result<(), Failure> {
    folder_exists(&options.output)?;
    if options.input.is_file() {
        target::is_another_file(&options.input, &options.output)?;
    }
    target::apart(&options.output, &[&options.input])?;
    if is_gguf(&options.input) {
        return print_report(common, &gguf(options)?);
    }
    if options.input.is_dir() && HfFolder::new(&options.input).config().is_ok() {
        return print_report(common, &folder(options)?);
    }
    if options.to == Some(To::Hf) {
        target::is_empty_folder(&options.output)?;
    }
    let (model, _) = open_with_data(&options.input, &options.network, options.data.as_deref())?;
    let is_file = options
        .output
        .extension()
        .is_some_and(|one| one == "safetensors");
    let to = options
        .to
        .unwrap_or(if is_file { To::F32 } else { To::Folder });
    let report = match to {
        To::Folder => {
            let ending = options.output.extension().and_then(|one| one.to_str());
            if let Some(ending) = ending.filter(|one| FILES.contains(one)) {
                return Err(Failure::Usage(format!(
                    "{}: a model is written as a folder, and .{ending} is the ending of a file; allowed: a name \
                     without it, or .safetensors with --to f32 or f16",
                    options.output.display()
                )));
            }
            target::for_model(&options.output, &[&options.input])?;
            let receipt = BTreeMap::from([("made_by".to_owned(), Value::from("convert"))]);
            let saved = model.save(&options.output, &receipt)?;
            report(&model, &options.output, saved.tensors_read_back, Vec::new())
        }
        To::F32 | To::F16 => file(&model, options, to)?,
        To::Hf => {
            let (tokenizer, values) = (byte_tokenizer(), model.values());
            save_decoder(&options.output, model.network(), &values, &tokenizer)?;
            let mut made = report(&model, &options.output, values.len(), Vec::new());
            let is_coded = |(_, one): &&(String, _)| Stored::format(one) != "f32";
            made.is_lossless = !model.tensors().iter().any(|one| is_coded(&one));
            if !made.is_lossless {
                let note = "codes times scales as f32: values are kept, formats are not";
                made.notes.push(note.to_owned());
            }
            made
        }
        To::Q4_0 | To::Q4_1 | To::Q8_0 => {
            return Err(Failure::Usage(format!(
                "{}: q4_0, q4_1 and q8_0 are types of GGUF files, and this is none; `lapidary quantize` makes codes of a network",
                options.input.display()
            )));
        }
    };
    print_report(common, &report)
}

fn print_report(common: &CommonOptions, report: &Report) -> Result<(), Failure> {
    if common.json {
        return print_json(report);
    }
    let loss = if report.is_lossless {
        "losslessly"
    } else {
        "with loss"
    };
    let mut text = format!(
        "{} of {} tensors written to {}, {loss}",
        report.network,
        report.tensors,
        report.output.display()
    );
    for note in &report.notes {
        text += &format!("\nnote: {note}");
    }
    print(&text)
}

fn report(model: &Model, output: &Path, tensors: usize, notes: Vec<String>) -> Report {
    Report {
        output: output.to_owned(),
        network: model.network().describe(),
        tensors,
        is_lossless: true,
        notes,
    }
}

/// A file of floats under the names of the network.
fn file(model: &Model, options: &ConvertOptions, to: To) -> Result<Report, Failure> {
    let mut notes = Vec::new();
    let mut lost = Vec::new();
    let mut values = Vec::new();
    for (name, stored) in model.tensors() {
        let format = stored.format();
        if format != "f32" {
            notes.push(format!(
                "{name} was {format}; its values are equal, the file holds no codes"
            ));
        }
    }
    for (name, value) in file_tensors(model.network(), &model.values())? {
        let value = match to {
            To::F16 => {
                let (half, worst) = rounded(&value).map_err(usage)?;
                if !worst.is_finite() {
                    return Err(Failure::Usage(format!(
                        "{}: {name} has values that are infinite as f16; --to f32 keeps them",
                        options.input.display()
                    )));
                }
                if worst > 0.0 {
                    lost.push(format!("{name}: values change by up to {worst:e}"));
                }
                half
            }
            To::Folder | To::F32 | To::Hf | To::Q4_0 | To::Q4_1 | To::Q8_0 => value,
        };
        values.push((name, value));
    }
    if let (Some(first), false) = (lost.first(), options.lossy) {
        return Err(Failure::Usage(format!(
            "{}: f16 cannot hold {} of {} tensors without loss ({first}); --lossy rounds them, --to f32 does not",
            options.input.display(),
            lost.len(),
            values.len()
        )));
    }
    let is_lossless = lost.is_empty();
    notes.extend(lost);
    write_file(model, &options.output, &values)?;
    Ok(Report {
        is_lossless,
        ..report(model, &options.output, values.len(), notes)
    })
}

/// A language model's folder as a GGUF file.
fn folder(options: &ConvertOptions) -> Result<Report, Failure> {
    let to = match options.to {
        None => None,
        Some(to) => Some(to.ggml().ok_or_else(|| {
            Failure::Usage(format!(
                "{}: a folder of Hugging Face's becomes a GGUF file, whose types are f32, f16, q4_0, q4_1 and q8_0",
                options.input.display()
            ))
        })?),
    };
    let places = (options.input.as_path(), options.output.as_path());
    let written = gguf_of_folder(places, to, options.lossy)?;
    let kinds = written.kinds.iter().map(|(kind, n)| format!("{n} {kind}"));
    Ok(Report {
        output: options.output.clone(),
        network: kinds.collect::<Vec<_>>().join(", "),
        tensors: written.tensors,
        is_lossless: written.loss.is_none(),
        notes: written.loss.into_iter().collect(),
    })
}

/// A language model as another GGUF file.
fn gguf(options: &ConvertOptions) -> Result<Report, Failure> {
    let refuse = |reason: &str| {
        let input = options.input.display();
        Err(Failure::Usage(format!("{input}: {reason}")))
    };
    if options.output.extension().is_none_or(|one| one != "gguf") {
        return refuse("a GGUF file becomes a GGUF file; let OUT end in .gguf");
    }
    let Some(kind) = options.to.and_then(To::ggml) else {
        return refuse("--to must say which type; allowed: f32, f16, q4_0, q4_1, q8_0");
    };
    let file = GgufFile::open(&options.input).map_err(usage)?;
    let conversion = Conversion::new(&file, kind).map_err(usage)?;
    let (mut lost, mut worst, mut place) = (0, 0f32, "");
    for (index, tensor) in file.tensors().iter().enumerate() {
        let change = conversion.change(index).map_err(usage)?;
        let name = &tensor.name;
        if change == f32::INFINITY {
            let to = conversion.kinds()[index];
            return refuse(&format!(
                "{name} has values that are infinite or NaN, or would be as {to}"
            ));
        }
        lost += usize::from(change > 0.0);
        if change > worst {
            (worst, place) = (change, name.as_str());
        }
    }
    let loss = format!(
        "{lost} of {} tensors change, {place} most, by up to {worst:e}",
        file.tensors().len()
    );
    if lost > 0 && !options.lossy {
        return refuse(&format!(
            "{kind} cannot hold it without loss: {loss}; --lossy rounds them, --to f32 does not"
        ));
    }
    conversion.write(&options.output).map_err(usage)?;
    Ok(Report {
        output: options.output.clone(),
        network: format!("{kind}, {}", bytes(conversion.n_bytes())),
        tensors: file.tensors().len(),
        is_lossless: lost == 0,
        notes: (lost > 0).then_some(loss).into_iter().collect(),
    })
}

/// As f16, and the largest change.
fn rounded(
    value: &lapidary::tensor::HostTensor,
) -> Result<(lapidary::tensor::HostTensor, f32), lapidary::tensor::TensorError> {
    let before = value.to_f32()?;
    let half =
        lapidary::tensor::HostTensor::from_f32_as(DType::F16, value.shape().to_vec(), &before)?;
    let after = half.to_f32()?;
    let worst = before.iter().zip(&after).map(|(a, b)| (a - b).abs());
    Ok((half, worst.fold(0.0, f32::max)))
}

fn write_file(model: &Model, path: &Path, tensors: &[NamedTensor]) -> Result<(), Failure> {
    let network = model.network();
    let metadata = BTreeMap::from([
        ("model".to_owned(), network.describe()),
        ("sample_shape".to_owned(), join(network.sample_shape())),
        ("input_mean".to_owned(), join(model.inputs().mean())),
        ("input_std".to_owned(), join(model.inputs().std())),
    ]);
    write_safetensors(path, tensors, &metadata).map_err(usage)
}
