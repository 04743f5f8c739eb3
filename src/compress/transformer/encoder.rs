//! Encoders compressed into a folder that other tools read too: `model.safetensors` with the codes of compressed-tensors,
//! `config.json` that says so, and what lies beside them.
//!
//! An encoder is small enough to be compressed in memory as a whole; embeddings, normalizations and biases stay as they
//! are.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::compress::model::{Activations, CONFIG_FILE, MODEL_FILE, RECEIPT_FILE, Stored};
use crate::compress::prune::SparseGpt;
use crate::compress::quantize::{
    Action, Hqq, Layer as PlannedLayer, Planned, matches_pattern, plan,
};
use crate::compress::stage::StageError;
use crate::compress::stage::quantize::Method as Coding;
use crate::io::folder::FolderDraft;
use crate::io::hf::{EncoderConfig, HfError, Shards};
use crate::io::safetensors::write_safetensors;
use crate::io::{atomic, file_sha256};
use crate::kernels::sparse::Route;
use crate::models::{BertLinear, ModelError, bert_stored_name, check_bert_sizes};
use crate::tensor::{DType, HostTensor};

use super::decoder::{
    Change, Coded, DecoderWeight, Fate, LinearLog, MemoryPlan, Pruning, Tensors, code_tensors,
    coded_config, zeros,
};
use super::{BertInputs, CompressedLinear, Method, Needs, compress_by};

/// Files beside the weights, by their paths within the folder.
pub type FilesBeside = [(String, Vec<u8>)];

/// How an encoder is compressed.
#[derive(Debug, Clone)]
pub struct EncoderOptions {
    /// What is done to its linear weights.
    pub change: Change,
    /// Patterns of weights that stay as they are: `*` for any characters, `?` for one.
    pub keep: Vec<String>,
    /// Bytes of host memory that may be used.
    pub max_memory: Option<u64>,
}

/// An encoder's tensors and what is said of them.
#[derive(Debug)]
pub struct EncoderFiles {
    /// All tensors of `model.safetensors`.
    pub tensors: Vec<(String, HostTensor)>,
    /// `quantization_config` of `config.json`; `None` where nothing is in codes.
    pub quantization: Option<Value>,
    /// What was done to each linear weight.
    pub logs: Vec<LinearLog>,
}

/// What would become of each linear weight, and the memory that takes. Of `weights` only the headers are read.
///
/// # Errors
/// [`StageError::Model`] for sizes that are not those of the tensors, [`StageError::Setting`] for a pattern that fits no weight and a method that encoders or these sentences do not go
/// with, [`StageError::Compress`] naming a weight that does not fit, [`StageError::Memory`].
pub fn plan_encoder(
    (config, weights): (&EncoderConfig, &Shards),
    options: &EncoderOptions,
    sentences: &[Vec<u32>],
) -> Result<(Vec<DecoderWeight>, MemoryPlan), StageError> {
    // First: what is planned grows with the sizes.
    check_bert_sizes(config, weights)?;
    let needs = needs(&options.change)?;
    if needs != Needs::Nothing && sentences.iter().all(Vec::is_empty) {
        return Err(StageError::Setting {
            what: "method without --calibration TEXT".to_owned(),
            given: options.change.method().to_owned(),
            allowed: match options.change {
                Change::Quantize { .. } => "nearest, hqq",
                Change::Prune { .. } => "magnitude",
            }
            .to_owned(),
        });
    }
    let weights = fates(config, options)?
        .into_iter()
        .map(|(name, fate, reason)| DecoderWeight {
            name: format!("{name}.weight"),
            becomes: match fate {
                Fate::Keep => "kept".to_owned(),
                Fate::Codes(linear) => linear.to_string(),
                Fate::Zeros(_) => "zeros".to_owned(),
            },
            reason,
        })
        .collect();
    let memory = memory(config, sentences);
    match options.max_memory {
        Some(allowed) if memory.total() > allowed => Err(StageError::Memory {
            needed: memory.total(),
            allowed,
            parts: "for all weights as f32, on the host and on the device, and one layer's work"
                .to_owned(),
        }),
        _ => Ok((weights, memory)),
    }
}

/// Compresses an encoder whose weights are `inputs.weights`.
///
/// # Errors
/// [`plan_encoder`]'s, what the engine says, and [`StageError::Stopped`].
pub fn compress_encoder(
    inputs: &BertInputs<'_>,
    options: &EncoderOptions,
) -> Result<EncoderFiles, StageError> {
    let config = inputs.bert.config();
    plan_encoder((config, inputs.weights), options, inputs.calibration)?;
    let mut methods = BTreeMap::new();
    for (name, fate, _) in fates(config, options)? {
        methods.insert(name, method(&options.change, fate)?);
    }
    let needs = needs(&options.change)?;
    let method_of = |name: &str| methods.get(name).copied().flatten();
    let made = compress_by(inputs, (needs, &method_of), Route::Dense)?;
    let activations = match options.change {
        Change::Quantize { activations, .. } => activations,
        Change::Prune { .. } => Activations::Float,
    };
    files(inputs.weights, made.linears, activations)
}

/// Writes an encoder's folder: weights, `config.json`, `receipt.json`, and the files beside them. Gives the bytes of the weights.
///
/// # Errors
/// [`StageError::Setting`] for a folder that is there already; files that cannot be written.
pub fn write_encoder(
    out: &Path,
    tensors: &[(String, HostTensor)],
    config: &Value,
    (beside, receipt): (&FilesBeside, &BTreeMap<String, Value>),
) -> Result<u64, StageError> {
    if out.symlink_metadata().is_ok() {
        return Err(StageError::Setting {
            what: "output".to_owned(),
            given: format!("{}, which is there already", out.display()),
            allowed: "a name that is not there".to_owned(),
        });
    }
    let draft = FolderDraft::begin(out, CONFIG_FILE)?;
    let weights = draft.path().join(MODEL_FILE);
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    write_safetensors(&weights, tensors, &metadata)?;
    let (hash, n_bytes) = file_sha256(&weights)?;
    for (name, bytes) in beside {
        let path = draft.path().join(name);
        if let Some(parent) = path.parent() {
            atomic::create_folder(parent)?;
        }
        atomic::write_bytes(&path, bytes)?;
    }
    let mut receipt = receipt.clone();
    receipt.insert("weights_sha256".to_owned(), json!({ MODEL_FILE: hash }));
    receipt.insert("version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
    for (name, value) in [(RECEIPT_FILE, &json!(receipt)), (CONFIG_FILE, config)] {
        let text = format!("{value:#}\n");
        atomic::write_bytes(&draft.path().join(name), text.as_bytes())?;
    }
    draft.finish()?;
    Ok(n_bytes)
}

/// Names of all linear layers, what becomes of their weights, and why.
fn fates(
    config: &EncoderConfig,
    options: &EncoderOptions,
) -> Result<Vec<(String, Fate, String)>, StageError> {
    let patterns: Vec<&str> = options.keep.iter().map(String::as_str).collect();
    let of_layer = |layer: usize| BertLinear::ALL.map(|which| (which.name(layer), which));
    let all: Vec<(String, BertLinear)> = (0..config.n_layers).flat_map(of_layer).collect();
    for pattern in &patterns {
        let fits =
            |(name, _): &(String, BertLinear)| matches_pattern(pattern, &format!("{name}.weight"));
        if !all.iter().any(fits) {
            let names = of_layer(0).map(|(name, _)| format!("{name}.weight"));
            return Err(StageError::Setting {
                what: "pattern of weights to keep".to_owned(),
                given: (*pattern).to_owned(),
                allowed: format!("patterns that fit one of {}", names.join(", ")),
            });
        }
    }
    let mut fates = Vec::new();
    for (name, which) in all {
        let ([n, k], full) = (which.shape(config), format!("{name}.weight"));
        let (fate, reason) = match &options.change {
            Change::Quantize { linear, misfit, .. } => {
                let one = PlannedLayer { name: &full, n, k };
                match plan(&[one], linear, &patterns, *misfit)?.pop() {
                    Some(Planned {
                        action: Action::Quantize(linear),
                        reason,
                        ..
                    }) => (Fate::Codes(linear), reason),
                    Some(Planned { reason, .. }) => (Fate::Keep, reason),
                    None => (Fate::Keep, "kept: nothing is planned for it".to_owned()),
                }
            }
            Change::Prune {
                sparsity, misfit, ..
            } => zeros((&full, k), *sparsity, &patterns, *misfit)?,
        };
        fates.push((name, fate, reason));
    }
    Ok(fates)
}

/// What the method looks at.
fn needs(change: &Change) -> Result<Needs, StageError> {
    if let Change::Quantize { activations, .. } = change
        && *activations != Activations::Float
    {
        return Err(StageError::Setting {
            what: "activations of an encoder".to_owned(),
            given: "int8".to_owned(),
            allowed: "float".to_owned(),
        });
    }
    match change {
        Change::Quantize { coding, .. } => match coding {
            Coding::Nearest | Coding::Hqq => Ok(Needs::Nothing),
            Coding::Gptq => Ok(Needs::Hessian),
            Coding::Awq | Coding::SmoothQuant => Err(StageError::Setting {
                what: "method of an encoder".to_owned(),
                given: coding.name().to_owned(),
                allowed: "nearest, gptq, hqq; the factors of the others have no place in an encoder's file, because what \
                          a layer reads is also added to what it gives"
                    .to_owned(),
            }),
        },
        Change::Prune { pruning, .. } => Ok(match pruning {
            Pruning::Magnitude => Needs::Nothing,
            Pruning::Wanda => Needs::Ranges,
            Pruning::SparseGpt => Needs::Hessian,
        }),
    }
}

fn method(change: &Change, fate: Fate) -> Result<Option<Method>, StageError> {
    needs(change)?;
    Ok(match (fate, change) {
        (Fate::Codes(linear), Change::Quantize { coding, gptq, .. }) => Some(match coding {
            Coding::Gptq => Method::Gptq(linear, *gptq),
            Coding::Hqq => Method::Hqq {
                width: linear.width,
                granularity: linear.granularity,
                options: Hqq::default(),
            },
            Coding::Nearest | Coding::Awq | Coding::SmoothQuant => Method::Nearest(linear),
        }),
        (Fate::Zeros(sparsity), Change::Prune { pruning, .. }) => Some(match pruning {
            Pruning::Magnitude => Method::Magnitude(sparsity),
            Pruning::Wanda => Method::Wanda(sparsity),
            Pruning::SparseGpt => Method::SparseGpt(sparsity, SparseGpt::default()),
        }),
        _ => None,
    })
}

/// Bytes of host memory, at most: see [`MemoryPlan`].
fn memory(config: &EncoderConfig, sentences: &[Vec<u32>]) -> MemoryPlan {
    // Past what can be numbered is past what is allowed, and what there is.
    let product = |of: &[u64]| of.iter().fold(1, |a: u64, &b| a.saturating_mul(b));
    let sum = |a: u64, b: u64| a.saturating_add(b);
    let shapes = BertLinear::ALL.map(|which| which.shape(config).map(|of| of as u64));
    let layer = shapes.iter().map(|of| product(of)).fold(0, sum);
    let (width, heads) = (config.width as u64, config.n_heads as u64);
    let rows = sum(config.vocabulary as u64, config.context as u64);
    let table = product(&[rows, width]);
    let tokens: u64 = sentences.iter().map(|one| one.len() as u64).sum();
    let longest = sentences
        .iter()
        .map(|one| one.len() as u64)
        .max()
        .unwrap_or(0);
    let widest = shapes.iter().map(|[_, k]| *k).max().unwrap_or(0);
    let squares = shapes.iter().map(|[_, k]| product(&[*k, *k])).fold(0, sum);
    let largest = shapes.iter().map(|of| product(of)).max().unwrap_or(0);
    let is_calibrated = u64::from(tokens > 0);
    let of_all = sum(product(&[layer, config.n_layers as u64]), table);
    MemoryPlan {
        hidden: product(&[8, tokens, width]),
        // f32: on the device, and what they become here and there.
        weights: product(&[of_all, 4 * 4]),
        statistics: product(&[is_calibrated, squares, 8 + 3 * 4]),
        pass: sum(
            product(&[4, longest, widest, 8]),
            product(&[4, longest, longest, heads]),
        ),
        solver: sum(
            product(&[largest, 8 * 5]),
            product(&[is_calibrated, widest, widest, 8 * 4]),
        ),
        ends: 0,
        measuring: 0,
    }
}

/// Tensors of the file: those of the base, with the linear weights in their new form.
fn files(
    weights: &Shards,
    linears: Vec<CompressedLinear>,
    activations: Activations,
) -> Result<EncoderFiles, StageError> {
    let mut replaced: BTreeMap<String, Tensors> = BTreeMap::new();
    let mut coded: BTreeMap<String, Coded> = BTreeMap::new();
    let mut logs = Vec::new();
    for one in linears {
        let tensor = bert_stored_name(weights, &format!("{}.weight", one.name));
        let layer = tensor.trim_end_matches(".weight").to_owned();
        let shape = one.stored.shape();
        let [n, k] = [shape[0], shape[1]];
        let (parts, sparsity) = match &one.stored {
            Stored::Quantized { matrix, .. } => {
                let (parts, how) = code_tensors(&layer, matrix)?;
                coded.insert(layer, how);
                (parts, None)
            }
            Stored::Float(_) => (vec![(tensor.clone(), weights.tensor(&tensor)?)], None),
            Stored::Sparse { .. } | Stored::Levels { .. } => {
                let values = held_by(weights.tensor(&tensor)?.dtype(), one.stored.values())?;
                (vec![(tensor.clone(), values)], Some(one.stored.sparsity()))
            }
        };
        let n_bytes: usize = parts.iter().map(|(_, part)| part.bytes().len()).sum();
        let root = |share: Option<f64>| share.map(f64::sqrt);
        logs.push(LinearLog {
            name: tensor.clone(),
            shape: [n, k],
            format: match &one.stored {
                Stored::Quantized { .. } => one.stored.format(),
                Stored::Float(_) | Stored::Sparse { .. } | Stored::Levels { .. } => {
                    parts[0].1.dtype().to_string()
                }
            },
            bits_per_weight: 8.0 * n_bytes as f64 / (n * k) as f64,
            sparsity,
            error: root(one.output_error),
            nearest_error: root(one.nearest_error),
            notes: Vec::new(),
        });
        replaced.insert(tensor, parts);
    }
    let (mut tensors, mut ignore) = (Vec::new(), Vec::new());
    for name in weights.names() {
        match replaced.remove(name) {
            Some(parts) => tensors.extend(parts),
            None => tensors.push((name.to_owned(), weights.tensor(name)?)),
        }
    }
    for (name, tensor) in &tensors {
        let layer = name.strip_suffix(".weight");
        let is_linear = tensor.shape().len() == 2 && !name.contains("embeddings.");
        ignore.extend(
            layer
                .filter(|layer| is_linear && !coded.contains_key(*layer))
                .map(str::to_owned),
        );
    }
    Ok(EncoderFiles {
        tensors,
        quantization: coded_config(&coded, &ignore, activations),
        logs,
    })
}

/// Values f32 as the type that the weight has in its file, where it is a 16-bit one that holds them all.
fn held_by(dtype: DType, values: HostTensor) -> Result<HostTensor, StageError> {
    if !matches!(dtype, DType::F16 | DType::BF16) {
        return Ok(values);
    }
    let wide = values.to_f32()?;
    let narrow = HostTensor::from_f32_as(dtype, values.shape().to_vec(), &wide)?;
    Ok(match narrow.to_f32()? == wide {
        true => narrow,
        false => values,
    })
}

impl From<HfError> for StageError {
    fn from(error: HfError) -> Self {
        ModelError::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: EncoderConfig = EncoderConfig {
        vocabulary: 100,
        width: 32,
        n_layers: 2,
        ffn_width: 64,
        n_heads: 4,
        norm_epsilon: 1e-12,
        context: 16,
    };

    #[test]
    fn memory_is_counted_by_hand_and_ends_at_what_can_be_numbered() {
        let sentences = [vec![1; 5], vec![1; 9]];
        let found = memory(&SMALL, &sentences);
        let linears = 4 * 32 * 32 + 2 * 32 * 64;
        assert_eq!(found.hidden, 8 * 14 * 32);
        assert_eq!(found.weights, 16 * (2 * linears + 116 * 32));
        assert_eq!(found.statistics, (5 * 32 * 32 + 64 * 64) * 20);
        assert_eq!(found.pass, 4 * (9 * 64 * 8 + 9 * 9 * 4));
        assert_eq!(found.solver, 32 * 64 * 40 + 64 * 64 * 32);
        assert_eq!(memory(&SMALL, &[]).statistics, 0);
        let most = usize::MAX;
        for large in [
            EncoderConfig {
                context: most,
                ..SMALL
            },
            EncoderConfig {
                ffn_width: most,
                ..SMALL
            },
            EncoderConfig {
                n_layers: most,
                width: most,
                ..SMALL
            },
        ] {
            assert_eq!(memory(&large, &sentences).total(), u64::MAX, "{large:?}");
        }
    }
}
