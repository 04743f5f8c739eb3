//! An encoder's pass, operation by operation, against the definition on the device's own inputs.

use super::{Batch, EmbedError, check_tokens};
use crate::engine::Engine;
use crate::models::{Bert, Sequences};
use crate::ops::nn::Indices;
use crate::record::Recording;
use crate::tensor::HostTensor;
use crate::verify::compare_recording;

/// How a part of the pass compares.
#[derive(Debug, Clone, PartialEq)]
pub struct PartReport {
    /// `embeddings`, `layer 0`, .., `sentences`.
    pub part: String,
    /// Dispatches judged.
    pub operations: usize,
    /// Elements they wrote.
    pub elements: usize,
    /// Elements whose bits equal the rounded definition.
    pub exact: usize,
    /// The largest error over the error allowed; 1 is the limit.
    pub worst_over_bound: f64,
    /// Kernel and shape where that was.
    pub worst_operation: String,
}

/// Judges every operation of a pass over some sentences. All operands are read back and computed again on the host,
/// in f64: a few short sentences are enough.
///
/// # Errors
/// [`EmbedError`]: sentences that the model cannot take, and what the engine says.
pub fn verify(
    engine: &dyn Engine,
    bert: &Bert,
    sentences: &[Vec<u32>],
) -> Result<Vec<PartReport>, EmbedError> {
    let context = bert.config().context;
    for (sentence, tokens) in sentences.iter().enumerate() {
        if tokens.is_empty() || tokens.len() > context {
            return Err(EmbedError::Length {
                sentence,
                tokens: tokens.len(),
                context,
            });
        }
    }
    let batch = Batch {
        sentences: (0..sentences.len()).collect(),
        rows: sentences.len(),
        tokens: sentences.iter().map(Vec::len).max().unwrap_or(0),
    };
    let vocabulary = bert.config().vocabulary;
    check_tokens(sentences, &batch, vocabulary)?;
    let padded = batch.padded(sentences);
    let mut recording = Recording::new();
    let shape = [batch.rows, batch.tokens];
    let tokens = (padded.tokens.as_slice(), vocabulary);
    let lengths = HostTensor::from_words_u32(vec![batch.rows], &padded.lengths)?;
    let sequences = Sequences {
        tokens: Indices::upload(&mut recording, "tokens", &shape, tokens)?,
        lengths: recording.upload(&lengths),
    };
    let mut parts = Vec::new();
    let mut end = |recording: &Recording, part: String| {
        parts.push((part, recording.dispatches().count()));
    };
    let mut hidden = bert.record_embeddings(&mut recording, &sequences)?;
    end(&recording, "embeddings".to_owned());
    for layer in 0..bert.config().n_layers {
        let pass = bert.record_layer(&mut recording, layer, &hidden, &sequences)?;
        hidden = pass.output;
        end(&recording, format!("layer {layer}"));
    }
    bert.record_sentences(&mut recording, &hidden, &sequences)?;
    end(&recording, "sentences".to_owned());

    let mut reports = compare_recording(engine, &recording)?.into_iter();
    let mut first = 0;
    let mut judged = Vec::new();
    for (part, last) in parts {
        let mut report = PartReport {
            part,
            operations: last - first,
            elements: 0,
            exact: 0,
            worst_over_bound: 0.0,
            worst_operation: String::new(),
        };
        for one in reports.by_ref().take(last - first) {
            report.elements += one.comparison.elements;
            report.exact += one.comparison.exact;
            if one.comparison.worst > report.worst_over_bound {
                report.worst_over_bound = one.comparison.worst;
                report.worst_operation = format!("{} {}", one.kernel, one.shape);
            }
        }
        judged.push(report);
        first = last;
    }
    Ok(judged)
}
