//! A language model's passes, operation by operation, against their definition on the device's own inputs: what is
//! wrong is named where it arises, whatever came of it later.

use crate::engine::Engine;
use crate::kernels::FloatType;
use crate::models::llama::{KvCache, Llama, Tokens};
use crate::ops::nn::{Indices, embedding, top_k};
use crate::record::{Mismatch, Recording};
use crate::tensor::HostTensor;
use crate::verify::{DispatchReport, compare_recording};

use super::session::{LONGEST, pass_length};
use super::{GenerateError, SessionOptions};

/// One operation of a pass, and an element of its result.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// `reading 5 tokens, layer 3`.
    pub place: String,
    /// Its number within that place, from 0.
    pub index: usize,
    /// Its number among all that were judged, from 0.
    pub number: usize,
    /// Kernel.
    pub kernel: &'static str,
    /// Shape and formats.
    pub shape: String,
    /// The element; `None` where all bits of a best result are equal.
    pub element: Option<Mismatch>,
}

/// What became of a verification.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Verification {
    /// Operations judged.
    pub operations: usize,
    /// Elements they wrote.
    pub elements: usize,
    /// Elements whose bits equal the rounded definition.
    pub exact: usize,
    /// The largest error over the error allowed; 1 is the limit.
    pub worst_over_bound: f64,
    /// Where that was.
    pub worst: Option<Operation>,
    /// The first operation with an error over its bound.
    pub first_wrong: Option<Operation>,
    /// The first result that is finite by definition and too large for the type it is stored in.
    pub first_overflow: Option<Operation>,
}

impl Verification {
    /// Whether every element is within its bound and none overflowed.
    #[must_use]
    pub const fn passed(&self) -> bool {
        self.first_wrong.is_none() && self.first_overflow.is_none()
    }

    fn add(&mut self, place: &str, report: DispatchReport, index: usize) {
        let DispatchReport {
            kernel,
            shape,
            comparison,
            ..
        } = report;
        let number = self.operations;
        self.operations += 1;
        self.elements += comparison.elements;
        self.exact += comparison.exact;
        let passed = comparison.passed();
        let operation = |element| Operation {
            place: place.to_owned(),
            index,
            number,
            kernel,
            shape: shape.clone(),
            element,
        };
        if self.first_overflow.is_none() && comparison.overflow.is_some() {
            self.first_overflow = Some(operation(comparison.overflow));
        }
        if comparison.worst > self.worst_over_bound || self.worst.is_none() {
            self.worst_over_bound = comparison.worst;
            self.worst = Some(operation(comparison.place.clone()));
        }
        if self.first_wrong.is_none() && !passed {
            self.first_wrong = Some(operation(comparison.place));
        }
    }
}

/// Reads tokens as a [`Session`](super::Session) does, all but the last in passes of many tokens and the last alone,
/// and judges every operation on the inputs it had on the device, so that errors do not add up. Operands of one
/// layer at a time are read back and computed again on the host, in f64: a few tokens are enough. `go_on` is
/// asked before each part with its name.
///
/// # Errors
/// [`GenerateError::EmptyPrompt`], [`GenerateError::ContextFull`], [`GenerateError::NoSuchToken`], and what the
/// engine says.
pub fn verify(
    engine: &dyn Engine,
    llama: &Llama,
    tokens: &[u32],
    options: SessionOptions,
    go_on: &mut dyn FnMut(&str) -> bool,
) -> Result<Verification, GenerateError> {
    let Some((last, before)) = tokens.split_last() else {
        return Err(GenerateError::EmptyPrompt);
    };
    let context = options.context.min(llama.context());
    if tokens.len() > context {
        return Err(GenerateError::ContextFull {
            position: 0,
            more: tokens.len(),
            context,
        });
    }
    let vocabulary = llama.config().vocabulary;
    if let Some(at) = tokens.iter().position(|&one| one as usize >= vocabulary) {
        let token = tokens[at];
        return Err(GenerateError::NoSuchToken {
            at,
            token,
            vocabulary,
        });
    }
    let cache = llama.cache(options.cache, 1, tokens.len() + LONGEST);
    let mut recording = Recording::new();
    cache.clear(&mut recording)?;
    engine.run(&recording)?;
    let mut found = Verification::default();
    let pieces = before.chunks(LONGEST).chain([std::slice::from_ref(last)]);
    let mut position = 0;
    for piece in pieces {
        let mut pass = Pass {
            engine,
            llama,
            cache: &cache,
            n_candidates: options.n_candidates,
            found: &mut found,
            go_on: &mut *go_on,
        };
        if !pass.run(position, piece)? {
            break;
        }
        position += piece.len();
    }
    Ok(found)
}

/// One pass, part by part.
struct Pass<'a> {
    engine: &'a dyn Engine,
    llama: &'a Llama,
    cache: &'a KvCache,
    n_candidates: usize,
    found: &'a mut Verification,
    go_on: &'a mut dyn FnMut(&str) -> bool,
}

impl Pass<'_> {
    /// Whether to go on after it.
    fn run(&mut self, position: usize, piece: &[u32]) -> Result<bool, GenerateError> {
        let llama = self.llama;
        let n = pass_length(piece.len());
        let what = match piece.len() {
            1 => "reading 1 token".to_owned(),
            several => format!("reading {several} tokens"),
        };
        let mut padded = piece.to_vec();
        padded.resize(n, 0);
        let mut recording = Recording::new();
        let vocabulary = llama.config().vocabulary;
        let tokens = Indices::upload(
            &mut recording,
            "tokens",
            &[n],
            (padded.as_slice(), vocabulary),
        )?;
        let mut one = |value: usize| -> Result<_, GenerateError> {
            let host = HostTensor::from_words_u32(vec![1], &[value as u32])?;
            Ok(recording.upload(&host))
        };
        let (start, length) = (one(position)?, one(position + n)?);
        let given = Tokens {
            tokens: &tokens,
            start: &start,
            length: &length,
        };
        let mut x = llama.record_embedding(&mut recording, &tokens)?;
        if !self.judge(&format!("{what}, embedding"), &recording)? {
            return Ok(false);
        }
        for (layer, rows) in self.cache.layers().iter().enumerate() {
            let mut recording = Recording::new();
            x = llama.record_layer(&mut recording, layer, (&x, given), rows)?;
            if !self.judge(&format!("{what}, layer {layer}"), &recording)? {
                return Ok(false);
            }
        }
        let mut recording = Recording::new();
        let hidden = llama.record_output_norm(&mut recording, &x)?;
        let last = if n == 1 {
            hidden
        } else {
            let row = [piece.len() as u32 - 1];
            let row = Indices::upload(&mut recording, "row", &[1], (&row[..], n))?;
            embedding(&mut recording, &hidden, &row, FloatType::F32)?
        };
        let logits = llama.record_logits(&mut recording, &last)?;
        top_k(&mut recording, &logits, self.n_candidates)?;
        self.judge(&format!("{what}, head"), &recording)
    }

    fn judge(&mut self, place: &str, recording: &Recording) -> Result<bool, GenerateError> {
        if !(self.go_on)(place) {
            return Ok(false);
        }
        let reports = compare_recording(self.engine, recording)?;
        for (index, report) in reports.into_iter().enumerate() {
            self.found.add(place, report, index);
        }
        Ok(true)
    }
}
