//! Inputs of linear layers, captured on the device while calibration sentences pass.

use crate::compress::stage::StageError;
use crate::engine::Engine;
use crate::models::{Bert, BertLinear, Sequences};
use crate::ops::nn::Indices;
use crate::record::{Recording, Tensor};
use crate::tensor::HostTensor;

use super::method::{Needs, Statistics};

/// Tokens of a batch, padding included, unless one sentence is longer.
const BATCH_TOKENS: usize = 1024;

/// The hidden state of calibration sentences before a layer, kept on the device.
#[derive(Debug)]
pub(super) struct Hidden {
    batches: Vec<Batch>,
}

#[derive(Debug)]
struct Batch {
    sequences: Sequences,
    /// Tokens of each sentence.
    lengths: Vec<usize>,
    /// Padded length.
    tokens: usize,
    /// `[batch * tokens, width]`
    hidden: Tensor,
}

/// What the linear layers of one layer read.
#[derive(Debug)]
pub(super) struct Seen {
    /// Of queries, keys and values; of what mixes the heads; of the two wide ones.
    inputs: [Statistics; 4],
}

/// The layers whose inputs are captured, one for each of [`Seen::inputs`].
const SITES: [BertLinear; 4] = [
    BertLinear::Query,
    BertLinear::AttentionOutput,
    BertLinear::Up,
    BertLinear::Down,
];

impl Seen {
    /// What a linear layer read.
    pub const fn of(&self, which: BertLinear) -> &Statistics {
        match which {
            BertLinear::Query | BertLinear::Key | BertLinear::Value => &self.inputs[0],
            BertLinear::AttentionOutput => &self.inputs[1],
            BertLinear::Up => &self.inputs[2],
            BertLinear::Down => &self.inputs[3],
        }
    }
}

impl Hidden {
    /// What the first layer reads; sentences without tokens are left out.
    pub fn embed(
        engine: &dyn Engine,
        bert: &Bert,
        sentences: &[Vec<u32>],
    ) -> Result<Self, StageError> {
        // By length, so that little is padded; of equal ones in order.
        let mut sorted: Vec<&Vec<u32>> = sentences.iter().filter(|one| !one.is_empty()).collect();
        sorted.sort_by_key(|one| one.len());
        let mut batches = Vec::new();
        let mut rest = sorted.as_slice();
        while !rest.is_empty() {
            let mut count = 1;
            while count < rest.len() && (count + 1) * rest[count].len() <= BATCH_TOKENS {
                count += 1;
            }
            let (taken, left) = rest.split_at(count);
            batches.push(Batch::embed(engine, bert, taken)?);
            rest = left;
        }
        Ok(Self { batches })
    }

    /// What the linear layers of `layer` read, padding left out.
    pub fn capture(
        &self,
        engine: &dyn Engine,
        bert: &Bert,
        layer: usize,
        needs: Needs,
    ) -> Result<Seen, StageError> {
        let width = |which: BertLinear| which.shape(bert.config())[1];
        let mut inputs = SITES.map(|which| Statistics::new(width(which)));
        for batch in &self.batches {
            let mut recording = Recording::new();
            let pass = bert.record_layer(&mut recording, layer, &batch.hidden, &batch.sequences)?;
            for which in SITES {
                recording.download(pass.input_of(which));
            }
            let captured = engine.run(&recording)?;
            for ((which, host), statistics) in SITES.iter().zip(captured).zip(&mut inputs) {
                let (name, k) = (which.name(layer), width(*which));
                let values = host.to_f32()?;
                for (sentence, &length) in batch.lengths.iter().enumerate() {
                    let first = sentence * batch.tokens * k;
                    statistics.add(&name, &values[first..][..length * k], needs)?;
                }
            }
        }
        Ok(Seen { inputs })
    }

    /// Goes past a layer.
    pub fn advance(
        &mut self,
        engine: &dyn Engine,
        bert: &Bert,
        layer: usize,
    ) -> Result<(), StageError> {
        for batch in &mut self.batches {
            let mut recording = Recording::new();
            let pass = bert.record_layer(&mut recording, layer, &batch.hidden, &batch.sequences)?;
            engine.run(&recording)?;
            batch.hidden = pass.output;
        }
        Ok(())
    }
}

impl Batch {
    fn embed(
        engine: &dyn Engine,
        bert: &Bert,
        sentences: &[&Vec<u32>],
    ) -> Result<Self, StageError> {
        let lengths: Vec<usize> = sentences.iter().map(|one| one.len()).collect();
        let tokens = lengths.iter().copied().max().unwrap_or(1);
        let mut padded = vec![0; sentences.len() * tokens];
        for (row, sentence) in padded.chunks_exact_mut(tokens).zip(sentences) {
            row[..sentence.len()].copy_from_slice(sentence);
        }
        let counts: Vec<u32> = lengths.iter().map(|&length| length as u32).collect();
        let mut recording = Recording::new();
        let shape = [sentences.len(), tokens];
        let limit = bert.config().vocabulary;
        let sequences = Sequences {
            tokens: Indices::upload(&mut recording, "tokens", &shape, (&padded, limit))?,
            lengths: recording.upload(&HostTensor::from_words_u32(vec![counts.len()], &counts)?),
        };
        let hidden = bert.record_embeddings(&mut recording, &sequences)?;
        engine.run(&recording)?;
        Ok(Self {
            sequences,
            lengths,
            tokens,
            hidden,
        })
    }
}
