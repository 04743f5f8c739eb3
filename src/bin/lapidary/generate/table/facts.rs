//! What a language model's files say of it: how large it is, what it holds, and what was done to make it.

use std::collections::BTreeMap;
use std::path::Path;

use lapidary::compress::model::RECEIPT_FILE;
use lapidary::io::hf::HfFolder;
use lapidary::io::read_text;
use lapidary::models::llama::n_parameters;
use lapidary::report::language::LanguageRow;
use serde_json::Value;

use crate::generate::inspect::described;
use crate::generate::made_of::Base;
use crate::options::Failure;
use crate::train::usage;

/// The settings of a command that say what it did, besides its method.
const SAID: [&str; 3] = ["scheme", "sparsity", "block"];

/// A row without anything measured, under a name.
pub fn of(path: &Path, name: String) -> Result<LanguageRow, Failure> {
    let base = Base::open(path)?;
    let parameters = base.with_source(|source| n_parameters(source).map_err(usage))?;
    let (weight_bytes, format) = held(&base)?;
    Ok(LanguageRow {
        name,
        file: path.display().to_string(),
        sha256: base.sha256()?,
        kv: String::new(),
        activations: String::new(),
        made_by: made_by(path),
        format,
        parameters,
        weight_bytes,
        bits_per_weight: 8.0 * weight_bytes as f64 / parameters.max(1) as f64,
        predictions: 0,
        quality: None,
        against: None,
        speed: None,
    })
}

/// Bytes of all tensors, and their types, those with most bytes first.
fn held(base: &Base) -> Result<(u64, String), Failure> {
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    let mut add = |kind: String, n_bytes: usize| *kinds.entry(kind).or_default() += n_bytes as u64;
    let quantization = match base {
        Base::Gguf(file) => {
            for tensor in file.tensors() {
                add(tensor.kind.to_string(), tensor.n_bytes);
            }
            None
        }
        Base::Folder(weights) => {
            use lapidary::models::llama::WeightSource as _;
            let folder = HfFolder::new(weights.path());
            let shards = folder.weights().map_err(usage)?;
            for name in shards.names() {
                let (entry, _) = shards.tensor_bytes(name).map_err(usage)?;
                add(entry.dtype.to_string(), entry.n_bytes);
            }
            folder.quantization().map_err(usage)?
        }
    };
    let total = kinds.values().sum();
    let mut kinds: Vec<(String, u64)> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, n_bytes)| std::cmp::Reverse(*n_bytes));
    let kinds: Vec<String> = kinds.into_iter().map(|(kind, _)| kind).collect();
    let format = quantization.map_or_else(|| kinds.join(", "), |config| described(&config));
    Ok((total, format))
}

/// `quantize gptq int4-g32`, out of the receipt in a folder; `None` without one.
fn made_by(path: &Path) -> Option<String> {
    let receipt = path.join(RECEIPT_FILE);
    if !receipt.is_file() {
        return None;
    }
    let text = read_text(&receipt).ok();
    let receipt: Option<Value> = text.and_then(|text| serde_json::from_str(&text).ok());
    Some(receipt.as_ref().map_or_else(
        || "its receipt cannot be read".to_owned(),
        |receipt| {
            let settings = &receipt["settings"];
            let method = [&receipt["method"], &settings["method"]];
            let method = method.into_iter().find(|one| one.is_string());
            let said = SAID.iter().map(|key| &settings[*key]);
            let words = std::iter::once(&receipt["stage"])
                .chain(method)
                .chain(said)
                .filter_map(|value| match value {
                    Value::String(text) => Some(text.clone()),
                    Value::Number(number) => Some(number.to_string()),
                    _ => None,
                });
            crate::output::plain(&words.collect::<Vec<_>>().join(" "))
        },
    ))
}
