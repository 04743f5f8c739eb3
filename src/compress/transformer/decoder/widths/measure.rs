//! What narrowing costs: the divergence of a decoder's predictions when one group of its weights is rounded.
//!
//! As while compressing, one layer is on the device at a time. For each layer, every group at every width gives the hidden states behind it; all of these go past the layers that
//! follow together, so that each is loaded once, and meet the head in pieces. That is of the square of the number of
//! layers; so few tokens are read, since what is compared differs by factors and not by shares.
//!
//! Weights are rounded to nearest whatever the method that will code them: what a method gains, it gains at every width.

use std::collections::BTreeMap;

use crate::compress::Weights;
use crate::compress::quantize::round_to_nearest;
use crate::compress::stage::StageError;
use crate::engine::{Engine, Plan};
use crate::eval;
use crate::models::llama::{LlamaBlock, LlamaHead};
use crate::num::QuantizedMatrix;
use crate::record::Recording;
use crate::tensor::{DType, HostTensor};

use super::super::DecoderLinear;
use super::super::Run;
use super::super::block::LayerWeights;
use super::super::hidden::Hidden;
use super::super::partial::Partial;
use super::{Choice, Group};

/// Tokens that are read, or one text where it is longer.
const TOKENS: usize = 512;

/// Tokens whose logits are on the host at a time.
pub(in super::super) const PIECE: usize = 64;

/// The texts that are read: evenly from all.
pub(in super::super) fn measured(texts: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let longest = texts.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let n = (TOKENS / longest).clamp(1, texts.len().max(1));
    let at = |index: usize| texts.get(index * texts.len() / n).cloned();
    (0..n).filter_map(at).collect()
}

/// What each choice of each group costs, in nats a token. `found` are those of the first layers, which are measured
/// already; `partial` keeps all after every layer.
pub(in super::super) fn costs(
    run: &Run<'_>,
    groups: &[Group],
    found: Vec<Vec<f64>>,
    partial: Option<&Partial>,
) -> Result<Vec<Vec<f64>>, StageError> {
    let mut costs = found;
    if costs.len() == groups.len() {
        return Ok(costs);
    }
    let (engine, source) = (run.inputs.engine, run.inputs.source);
    let n_layers = run.config.n_layers;
    let texts = measured(run.inputs.texts);
    run.tell("what narrowing costs: the model as it is", [0, n_layers])?;
    let mut hidden = Hidden::embed(engine, source, &texts)?;
    let longest = hidden.longest();
    let load = |layer: usize| -> Result<LlamaBlock, StageError> {
        LlamaBlock::load(source, (layer, longest), |uploads: &Recording| {
            engine.run(uploads)?;
            Ok::<_, StageError>(())
        })
    };
    let mut last = hidden.clone();
    for layer in 0..n_layers {
        last.advance(engine, &load(layer)?)?;
    }
    let mut judge = Judge::new(run)?;
    for layer in 0..n_layers {
        let own: Vec<&Group> = groups.iter().filter(|one| one.layer == layer).collect();
        let before = groups.iter().filter(|one| one.layer < layer).count();
        if own.is_empty() || costs.len() > before {
            hidden.advance(engine, &load(layer)?)?;
            continue;
        }
        run.tell(
            &format!("what narrowing costs in layer {layer}"),
            [layer, n_layers],
        )?;
        let mut changed = Vec::new();
        {
            let weights = LayerWeights::read(source, run.config, layer)?;
            for choice in own.iter().flat_map(|group| &group.choices) {
                let codes = rounded(run, &weights, choice)?;
                let block = run.block(&weights, &codes, longest)?;
                let mut other = hidden.clone();
                other.advance(engine, &block)?;
                changed.push(other);
            }
        }
        hidden.advance(engine, &load(layer)?)?;
        for later in layer + 1..n_layers {
            let block = load(later)?;
            for other in &mut changed {
                other.advance(engine, &block)?;
            }
        }
        let mut nats = judge.divergences(&last, &changed)?.into_iter();
        for group in own {
            costs.push(nats.by_ref().take(group.choices.len()).collect());
        }
        if let Some(partial) = partial {
            partial.write_costs(&costs)?;
        }
    }
    Ok(costs)
}

/// A group's weights in the codes of a choice.
fn rounded(
    run: &Run<'_>,
    weights: &LayerWeights,
    choice: &Choice,
) -> Result<BTreeMap<DecoderLinear, QuantizedMatrix>, StageError> {
    let mut codes = BTreeMap::new();
    for (which, linear) in &choice.linears {
        let Some(own) = weights.linears.get(which) else {
            continue;
        };
        let ([n, k], name) = (which.shape(run.config), which.name(weights.index));
        let matrix = round_to_nearest(&Weights::new(&name, n, k, &own.values)?, linear)?;
        codes.insert(*which, matrix.matrix().clone());
    }
    Ok(codes)
}

/// The head, and what it says.
struct Judge<'a> {
    engine: &'a dyn Engine,
    head: LlamaHead,
    width: usize,
    vocabulary: usize,
    /// Of so many rows.
    prepared: Option<(usize, Box<dyn Plan>)>,
}

impl<'a> Judge<'a> {
    fn new(run: &Run<'a>) -> Result<Self, StageError> {
        let engine = run.inputs.engine;
        let head = LlamaHead::load(run.inputs.source, |uploads: &Recording| {
            engine.run(uploads)?;
            Ok::<_, StageError>(())
        })?;
        Ok(Self {
            engine,
            head,
            width: run.config.width,
            vocabulary: run.config.vocabulary,
            prepared: None,
        })
    }

    /// Logits `[rows, vocabulary]` of hidden states `[rows, width]` behind the last layer.
    fn logits(&mut self, rows: &[f32]) -> Result<Vec<f32>, StageError> {
        let n = rows.len() / self.width.max(1);
        let (_, plan) = match self.prepared.take() {
            Some(found) if found.0 == n => self.prepared.insert(found),
            _ => {
                let mut recording = Recording::new();
                let x = recording.input(DType::F32, &[n, self.width]);
                let logits = self.head.record(&mut recording, &x)?;
                recording.download(&logits);
                let plan = self.engine.prepare(&recording)?;
                self.prepared.insert((n, plan))
            }
        };
        let made = plan.run(&[HostTensor::from_f32(vec![n, self.width], rows)?])?;
        let mut logits = Vec::new();
        for one in made {
            logits.extend(one.to_f32()?);
        }
        Ok(logits)
    }

    /// The mean divergence of each of several from the model as it is.
    fn divergences(&mut self, base: &Hidden, others: &[Hidden]) -> Result<Vec<f64>, StageError> {
        let (mut sums, mut n) = (vec![0.0; others.len()], 0usize);
        let piece = PIECE * self.width.max(1);
        for (text, rows) in base.texts().iter().enumerate() {
            for (at, rows) in rows.chunks(piece).enumerate() {
                let as_it_is = self.logits(rows)?;
                n += rows.len() / self.width.max(1);
                for (sum, other) in sums.iter_mut().zip(others) {
                    let rows = &other.texts()[text][at * piece..][..rows.len()];
                    let found = self.logits(rows)?;
                    let nats = eval::divergences(&as_it_is, &found, self.vocabulary)?;
                    *sum += nats.iter().sum::<f64>();
                }
            }
        }
        Ok(sums.iter().map(|sum| sum / n.max(1) as f64).collect())
    }
}
