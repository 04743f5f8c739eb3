//! Decoders of the llama family, compressed layer by layer with calibration texts.
//!
//! The hidden states of the texts wait on the host before a layer. The layer alone is put on the engine with its own
//! weights, what its weights read is summed up there, each is compressed by that, the layer is put there again as it
//! now is, and the texts go past it. So one layer's weights as f32 are in memory at a time, and every layer is judged
//! on what those before it really give. A finished layer is written before the next begins ([`Partial`]).
//!
//! Embedding, head and the last norm stay as they are.

mod block;
mod config;
mod gguf;
mod hidden;
mod partial;
mod plan;
mod solve;
mod widths;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::compress::model::storage::LAPIDARY_SPREAD;
use crate::compress::model::{Activations, ModelFileError};
use crate::compress::quantize::LinearMatrix;
use crate::compress::stage::{Progress, StageError, mib};
use crate::engine::Engine;
use crate::io::compressed_tensors::codes::{CodesFormat, WeightArgs, code_parts};
use crate::io::hf::DecoderConfig;
use crate::models::llama::{LlamaBlock, ModelTensor, WeightSource};
use crate::num::QuantizedMatrix;
use crate::record::Recording;
use crate::tensor::HostTensor;

use block::{LayerWeights, Replaced, float_weight};
pub(super) use config::coded_config;
use hidden::Hidden;
use partial::LayerNote;
pub(super) use partial::{Coded, Tensors};
use plan::How;
pub(super) use plan::{Fate, zeros};
use solve::{Job, Solved};

pub use block::DecoderLinear;
pub use gguf::gguf_type;
pub use partial::Partial;
pub use plan::{Change, MemoryPlan, Pruning};
pub use solve::LinearLog;
pub use widths::{MixedWidths, WidthGroup, WidthOption, mixed_codes};

/// What a decoder is compressed from.
#[derive(Clone, Copy)]
pub struct DecoderInputs<'a> {
    /// Where it runs.
    pub engine: &'a dyn Engine,
    /// Its weights.
    pub source: &'a dyn WeightSource,
    /// Texts as tokens, none empty, none longer than the model's context; methods that look at inputs want some ten
    /// thousand tokens, and none that the result is judged by. With texts every method's errors are told.
    pub texts: &'a [Vec<u32>],
    /// Hears of progress and says whether to go on.
    pub watch: &'a dyn Fn(&Progress) -> bool,
}

/// How a decoder is compressed.
#[derive(Debug, Clone)]
pub struct DecoderOptions {
    /// What is done to its linear weights.
    pub change: Change,
    /// Patterns of weights that stay as they are: `*` for any characters, `?` for one.
    pub keep: Vec<String>,
    /// Mean bits of a weight in the file, scales included, that weights which become codes may take: each gets a width of
    /// its own, by what its narrowing costs on the texts, in the codes of [`mixed_codes`] and not those of `change`.
    pub mean_bits: Option<f64>,
    /// Whether it becomes a GGUF file, which holds codes of [`gguf_type`] only, zero points as minima.
    pub is_gguf: bool,
    /// Bytes of host memory that may be used.
    pub max_memory: Option<u64>,
}

/// What would become of a weight.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DecoderWeight {
    /// Name of the tensor.
    pub name: String,
    /// What it becomes: `int4-g32`, `kept`, `50% zeros`.
    pub becomes: String,
    /// Why.
    pub reason: String,
}

/// What would become of each linear weight, with widths that were chosen where they were, and the memory that takes.
///
/// # Errors
/// [`StageError::Setting`] for a pattern that fits no weight, a method that does not go with scheme or texts, codes that a
/// GGUF file does not hold, and a mean of bits that is too low or without texts, [`StageError::Compress`] naming a weight that does not fit,
/// [`StageError::Memory`].
pub fn plan_decoder(
    config: &DecoderConfig,
    options: &DecoderOptions,
    (texts, mixed): (&[Vec<u32>], Option<&MixedWidths>),
) -> Result<(Vec<DecoderWeight>, MemoryPlan), StageError> {
    plan::check(
        config,
        (&options.change, options.keep.as_slice()),
        texts.len(),
    )?;
    let how = options.how(mixed);
    let allowed = config.context;
    if let Some(text) = texts
        .iter()
        .find(|text| text.is_empty() || text.len() > allowed)
    {
        return Err(StageError::Setting {
            what: "tokens of a calibration text".to_owned(),
            given: text.len().to_string(),
            allowed: format!("1 to the model's context of {allowed}"),
        });
    }
    let mut weights = Vec::new();
    for layer in 0..config.n_layers {
        for one in plan::plan_layer(config, layer, how)? {
            if let (true, Fate::Codes(linear), Change::Quantize { coding, .. }) =
                (options.is_gguf, one.fate, &options.change)
            {
                gguf_type(&linear, *coding)?;
            }
            weights.push(DecoderWeight {
                name: one.which.tensor(layer).hf_name(),
                becomes: match one.fate {
                    Fate::Keep => "kept".to_owned(),
                    Fate::Codes(linear) => linear.to_string(),
                    Fate::Zeros(_) => "zeros".to_owned(),
                },
                reason: one.reason,
            });
        }
    }
    let lengths = |texts: &[Vec<u32>]| -> Vec<usize> { texts.iter().map(Vec::len).collect() };
    let measured = match options.mean_bits {
        None => None,
        Some(mean_bits) if texts.is_empty() => {
            return Err(StageError::Setting {
                what: "mean bits of a weight without --calibration TEXT".to_owned(),
                given: mean_bits.to_string(),
                allowed: "with a text, on which what each width costs is measured".to_owned(),
            });
        }
        Some(mean_bits) => {
            let groups = widths::groups(config, (&options.change, &options.keep))?;
            widths::budget(config, &groups, mean_bits)?;
            Some(lengths(&widths::measure::measured(texts)))
        }
    };
    let memory = MemoryPlan::of(config, &lengths(texts), measured.as_deref());
    match options.max_memory {
        Some(allowed) if memory.total() > allowed => Err(StageError::Memory {
            needed: memory.total(),
            allowed,
            parts: format!(
                "for a layer {} of hidden states, {} of weights, {} of sums over their inputs, {} of intermediate results \
                 and {} of the method's work; for embedding and head {}; to measure what widths cost {}",
                mib(memory.hidden),
                mib(memory.weights),
                mib(memory.statistics),
                mib(memory.pass),
                mib(memory.solver),
                mib(memory.ends),
                mib(memory.measuring)
            ),
        }),
        _ => Ok((weights, memory)),
    }
}

/// The widths of a decoder's weights under [`DecoderOptions::mean_bits`]; `None` without. Nothing is written.
///
/// # Errors
/// As [`compress_decoder`] has it.
pub fn mixed_widths(
    inputs: &DecoderInputs<'_>,
    options: &DecoderOptions,
) -> Result<Option<MixedWidths>, StageError> {
    let config = inputs.source.config()?;
    plan_decoder(&config, options, (inputs.texts, None))?;
    let run = Run {
        inputs,
        options,
        config: &config,
        mixed: None,
    };
    run.widths(None)
}

/// Compresses all layers of a decoder that `partial` has not, and gives what was done to each weight, and the widths
/// that were chosen under [`DecoderOptions::mean_bits`].
///
/// # Errors
/// [`plan_decoder`]'s, what the engine says, files that cannot be read or written, and [`StageError::Stopped`], after
/// which another call goes on behind the last layer.
pub fn compress_decoder(
    inputs: &DecoderInputs<'_>,
    options: &DecoderOptions,
    partial: &mut Partial,
) -> Result<(Vec<LinearLog>, Option<MixedWidths>), StageError> {
    let config = inputs.source.config()?;
    plan_decoder(&config, options, (inputs.texts, None))?;
    let mut run = Run {
        inputs,
        options,
        config: &config,
        mixed: None,
    };
    let of = config.n_layers;
    let finished = partial.finished().unwrap_or(0);
    if partial.finished().is_none() {
        run.tell("embedding and head", [0, of])?;
        partial.write_ends(&run.ends()?)?;
    }
    run.mixed = run.widths(Some(partial))?;
    let mut hidden = match inputs.texts {
        [] => None,
        texts if finished < of => {
            run.tell("calibration texts", [finished, of])?;
            Some(Hidden::embed(inputs.engine, inputs.source, texts)?)
        }
        _ => None,
    };
    for layer in 0..finished {
        if let Some(hidden) = &mut hidden {
            run.tell(
                &format!("texts past layer {layer}, which is done"),
                [finished, of],
            )?;
            let (weights, codes) = partial.layer(layer)?;
            let block = run.block(&weights, &codes, hidden.longest())?;
            hidden.advance(inputs.engine, &block)?;
        }
    }
    for layer in finished..of {
        run.tell(&format!("layer {layer}"), [layer, of])?;
        let (tensors, note) = run.layer(layer, &mut hidden)?;
        let worst = note
            .logs
            .iter()
            .filter_map(|log| Some((log.error?, &log.name)));
        let worst = worst.max_by(|a, b| a.0.total_cmp(&b.0));
        partial.write_layer(&tensors, note.clone())?;
        if let Some((error, name)) = worst {
            let text = format!(
                "layer {layer}, outputs of {name} off by {:.3}%",
                100.0 * error
            );
            run.tell(&text, [layer + 1, of])?;
        }
    }
    Ok((partial.logs(), run.mixed))
}

/// The `quantization_config` of what is done, as compressed-tensors has it; `None` where nothing is in codes.
#[must_use]
pub fn decoder_quantization(partial: &Partial, change: &Change) -> Option<serde_json::Value> {
    let activations = match change {
        Change::Quantize { activations, .. } => *activations,
        Change::Prune { .. } => Activations::Float,
    };
    config::quantization_config(partial.layers(), activations)
}

struct Run<'a> {
    inputs: &'a DecoderInputs<'a>,
    options: &'a DecoderOptions,
    config: &'a DecoderConfig,
    mixed: Option<MixedWidths>,
}

impl DecoderOptions {
    fn how<'a>(&'a self, mixed: Option<&'a MixedWidths>) -> How<'a> {
        How {
            change: &self.change,
            keep: &self.keep,
            widths: mixed.map(|mixed| &mixed.widths),
        }
    }
}

impl Run<'_> {
    /// Measures what narrowing costs, as far as `partial` does not know, and chooses.
    fn widths(&self, partial: Option<&Partial>) -> Result<Option<MixedWidths>, StageError> {
        let Some(mean_bits) = self.options.mean_bits else {
            return Ok(None);
        };
        let groups = widths::groups(self.config, (&self.options.change, &self.options.keep))?;
        let budget = widths::budget(self.config, &groups, mean_bits)?;
        let found = partial.map(Partial::costs).unwrap_or_default();
        let found = widths::known(&groups, found);
        let costs = widths::measure::costs(self, &groups, found, partial)?;
        let chosen = widths::choose(&groups, &costs, budget);
        let mixed = MixedWidths::of(self.config, &groups, &costs, &chosen);
        Ok(Some(mixed))
    }

    fn tell(&self, what: &str, [done, of]: [usize; 2]) -> Result<(), StageError> {
        let progress = Progress {
            stage: match self.options.change {
                Change::Quantize { .. } => "quantize",
                Change::Prune { .. } => "prune",
            },
            what: what.to_owned(),
            done,
            of,
        };
        match (self.inputs.watch)(&progress) {
            true => Ok(()),
            false => Err(StageError::Stopped { progress }),
        }
    }

    /// Embedding, last norm and head, in the types of the file, or floats that hold them.
    fn ends(&self) -> Result<Tensors, StageError> {
        let source = self.inputs.source;
        let shape = [self.config.vocabulary, self.config.width];
        let mut tensors = Vec::new();
        let mut ends = vec![ModelTensor::Embedding];
        let is_tied = self
            .config
            .tied_head
            .unwrap_or(!source.has(ModelTensor::Head));
        ends.extend((!is_tied).then_some(ModelTensor::Head));
        for tensor in ends {
            let float = float_weight(source, tensor, &shape)?;
            let host = HostTensor::from_f32_as(float.dtype, shape.to_vec(), &float.values)?;
            tensors.push((tensor.hf_name(), host));
        }
        let norm = ModelTensor::OutputNorm;
        tensors.push((norm.hf_name(), source.vector(norm)?));
        Ok(tensors)
    }

    /// A layer on the engine.
    fn block(
        &self,
        weights: &LayerWeights,
        codes: &BTreeMap<DecoderLinear, QuantizedMatrix>,
        context: usize,
    ) -> Result<LlamaBlock, StageError> {
        let mut stored = codes.clone();
        if self.options.is_gguf {
            for (which, matrix) in &mut stored {
                *matrix = gguf::as_in_file(&which.name(weights.index), matrix)?;
            }
        }
        let source = Replaced::new(self.inputs.source, self.config, weights, &stored)?;
        LlamaBlock::load(&source, (weights.index, context), |uploads: &Recording| {
            self.inputs.engine.run(uploads)?;
            Ok::<_, StageError>(())
        })
    }

    /// Compresses a layer and goes past it.
    fn layer(
        &self,
        index: usize,
        hidden: &mut Option<Hidden>,
    ) -> Result<(Tensors, LayerNote), StageError> {
        let (source, engine) = (self.inputs.source, self.inputs.engine);
        let how = self.options.how(self.mixed.as_ref());
        let planned = plan::plan_layer(self.config, index, how)?;
        let mut weights = LayerWeights::read(source, self.config, index)?;
        let seen = match hidden {
            None => None,
            Some(hidden) => {
                let block = self.block(&weights, &BTreeMap::new(), hidden.longest())?;
                Some(hidden.capture(engine, (&block, self.config), index)?)
            }
        };
        let job = Job {
            source,
            config: self.config,
            change: &self.options.change,
            planned: &planned,
            seen: seen.as_ref(),
            tell: &|name| self.tell(name, [index, self.config.n_layers]),
        };
        let solved = job.solve(&mut weights)?;
        drop(seen);
        if let Some(hidden) = hidden {
            let codes = solved.codes.iter();
            let codes = codes.map(|(which, matrix)| (*which, matrix.matrix().clone()));
            let block = self.block(&weights, &codes.collect(), hidden.longest())?;
            hidden.advance(engine, &block)?;
        }
        self.tensors(&weights, solved)
    }

    /// A layer as its file has it.
    fn tensors(
        &self,
        weights: &LayerWeights,
        mut solved: Solved,
    ) -> Result<(Tensors, LayerNote), StageError> {
        let source = self.inputs.source;
        let (mut tensors, mut coded) = (Vec::new(), BTreeMap::new());
        for (which, float) in &weights.linears {
            let (name, shape) = (which.name(weights.index), which.shape(self.config));
            if let Some(matrix) = solved.codes.get(which) {
                let (parts, how) = code_tensors(&name, matrix)?;
                let tensor = which.tensor(weights.index).hf_name();
                if let Some(log) = solved.logs.iter_mut().find(|log| log.name == tensor) {
                    let bytes: usize = parts.iter().map(|(_, part)| part.bytes().len()).sum();
                    log.bits_per_weight = 8.0 * bytes as f64 / (shape[0] * shape[1]) as f64;
                }
                tensors.extend(parts);
                coded.insert(name, how);
            } else {
                let host = HostTensor::from_f32_as(float.dtype, shape.to_vec(), &float.values)?;
                tensors.push((which.tensor(weights.index).hf_name(), host));
            }
        }
        for tensor in weights.vectors(self.config) {
            let name = tensor.hf_name();
            let host = match weights.changed.get(&name) {
                Some(values) => HostTensor::from_f32(vec![values.len()], values)?,
                None => source.vector(tensor)?,
            };
            tensors.push((name, host));
        }
        let logs = solved.logs;
        Ok((tensors, LayerNote { logs, coded }))
    }
}

/// A matrix in codes as compressed-tensors has it.
pub(super) fn code_tensors(
    name: &str,
    matrix: &LinearMatrix,
) -> Result<(Tensors, Coded), StageError> {
    let format = matrix.matrix().format();
    let layout = CodesFormat::of(matrix.width());
    let args = WeightArgs::narrow(format, matrix.width(), matrix.spacing());
    let parts = code_parts(name, (matrix.matrix(), &args), layout).map_err(ModelFileError::from)?;
    let coded = Coded {
        format: match args.spacing {
            1 => layout.to_string(),
            _ => LAPIDARY_SPREAD.to_owned(),
        },
        weights: args.to_json(),
    };
    Ok((parts, coded))
}
