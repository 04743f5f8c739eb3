//! `lapidary quantize` and `lapidary prune` of a sentence encoder: the same commands as for a language model, with lines
//! of a text as calibration.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;

use lapidary::compress::stage::{Progress, StageError};
use lapidary::compress::transformer::BertInputs;
use lapidary::compress::transformer::encoder::{
    EncoderOptions, compress_encoder, plan_encoder, write_encoder,
};
use lapidary::embed::{EncoderFolder, Sentence};
use lapidary::io::hf::{HfFolder, ModelConfig};
use lapidary::io::{read_bytes, read_text};
use serde_json::{Value, json};

use crate::options::{CommonOptions, Failure};
use crate::train::{self, usage};

use super::compress::{Compressing, Report, print_plan, show};
use super::made_of::{folder_sha256, refuse_coded};

/// What is not compressed.
const STAYS: &str = "embeddings, norms and biases";

/// What lies beside the weights of a folder and is copied.
const BESIDE: [&str; 10] = [
    "1_Pooling/config.json",
    "LICENSE",
    "config_sentence_transformers.json",
    "modules.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "added_tokens.json",
    "vocab.txt",
];

/// Whether a folder has an encoder; anything that cannot be read has none.
pub fn is_encoder(path: &Path) -> bool {
    path.is_dir() && matches!(HfFolder::new(path).config(), Ok(ModelConfig::Encoder(_)))
}

impl Compressing<'_> {
    pub(super) fn run_encoder(&self, common: &CommonOptions) -> Result<(), Failure> {
        let refuse = |reason: &str| {
            let input = self.input.display();
            Err(Failure::Usage(format!("{input}: an encoder, {reason}")))
        };
        if self.mean_bits.is_some() {
            return refuse("for which there is no --bits");
        }
        if self.calibration.window().is_some() {
            return refuse("whose calibration text is taken line by line: there is no --window");
        }
        if self.out.extension().is_some_and(|one| one == "gguf") {
            return refuse("which becomes a folder: let OUT be the name of one");
        }
        let folder = EncoderFolder::open(self.input)?;
        refuse_coded(self.input, folder.quantization.is_some())?;
        let sentences = self.sentences(&folder)?;
        let options = EncoderOptions {
            change: self.change,
            keep: self.keep.to_vec(),
            max_memory: self.calibration.max_ram(),
        };
        let (weights, memory) =
            plan_encoder((&folder.config, &folder.weights), &options, &sentences)?;
        if self.is_plan {
            return print_plan(common, weights, (STAYS, memory), None);
        }
        let engine = train::engine(common, self.device)?;
        let bert = folder.upload(engine.as_ref())?;
        eprintln!("{}: {STAYS} stay as they are", self.stage);
        let stop = train::stop_on_ctrl_c()?;
        let last = RefCell::new(String::new());
        let watch = |progress: &Progress| {
            // A layer of the encoder at a time.
            let layer: Vec<&str> = progress.what.split('.').take(3).collect();
            let layer = layer.join(".");
            if *last.borrow() != layer {
                let (done, of) = (progress.done, progress.of);
                eprintln!("{}: {layer} ({done} of {of} weights done)", self.stage);
                *last.borrow_mut() = layer;
            }
            !stop.load(Ordering::Relaxed)
        };
        let inputs = BertInputs {
            engine: engine.as_ref(),
            bert: &bert,
            weights: &folder.weights,
            calibration: &sentences,
            watch: &watch,
        };
        let made = compress_encoder(&inputs, &options).map_err(|error| match error {
            // By the name of the command.
            StageError::Stopped { progress } => StageError::Stopped {
                progress: Progress {
                    stage: self.stage,
                    ..progress
                },
            },
            other => other,
        })?;
        let mut config: Value =
            serde_json::from_str(&read_text(self.input.join("config.json")).map_err(usage)?)
                .map_err(usage)?;
        if let Some(fields) = config.as_object_mut() {
            let coded = made.quantization;
            fields.extend(coded.map(|coded| ("quantization_config".to_owned(), coded)));
        }
        let mut beside = Vec::new();
        for name in BESIDE {
            let path = self.input.join(name);
            if path.exists() {
                beside.push((name.to_owned(), read_bytes(&path).map_err(usage)?));
            }
        }
        let receipt = BTreeMap::from([
            ("stage".to_owned(), json!(self.stage)),
            ("base".to_owned(), json!(self.input.display().to_string())),
            ("base_sha256".to_owned(), json!(folder_sha256(self.input)?)),
            ("device".to_owned(), json!(engine.name())),
            (
                "settings".to_owned(),
                serde_json::to_value(self.settings).map_err(usage)?,
            ),
            (
                "log".to_owned(),
                serde_json::to_value(&made.logs).map_err(usage)?,
            ),
        ]);
        let file_bytes = write_encoder(self.out, &made.tensors, &config, (&beside, &receipt))?;
        show(
            common,
            &Report {
                model: self.input.display().to_string(),
                out: self.out.display().to_string(),
                device: engine.name(),
                method: self.change.method(),
                windows: None,
                lines: Some(sentences.len()),
                tokens: sentences.iter().map(Vec::len).sum(),
                layers_found: 0,
                file_bytes,
                memory,
                widths: None,
                weights: made.logs,
            },
        )
    }

    /// Lines of the text with anything on them, evenly from all of it.
    fn sentences(&self, folder: &EncoderFolder) -> Result<Vec<Vec<u32>>, Failure> {
        let Some(path) = self.calibration.text() else {
            return Ok(Vec::new());
        };
        let content = read_text(path).map_err(usage)?;
        let lines: Vec<&str> = content
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let n = lines.len().min(self.samples);
        if n == 0 {
            return Err(Failure::Usage(format!(
                "{}: {} lines with text, of which {} are taken; at least one is needed",
                path.display(),
                lines.len(),
                self.samples.min(lines.len())
            )));
        }
        let limit = folder.limit(None);
        let mut taken = Vec::with_capacity(n);
        for index in 0..n {
            let line = lines[index * lines.len() / n];
            taken.push(Sentence::new(&folder.tokenizer, line, limit)?);
        }
        let cut = taken.iter().filter(|one| one.cut > 0).count();
        if cut > 0 {
            eprintln!("note: {cut} of {n} lines of calibration text cut to {limit} tokens");
        }
        Ok(taken.into_iter().map(|one| one.tokens).collect())
    }
}
