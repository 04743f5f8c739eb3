//! What is judged by the inputs of layers: Wanda's norms, and SparseGPT.

use std::collections::BTreeMap;

use super::judge::Judge;
use super::options::PruneAmount;
use super::targets::{choose, not_zero};
use super::tune::NamedMasks;
use crate::compress::Weights;
use crate::compress::model::{Model, Stored};
use crate::compress::prune::{SparseGpt, Sparsity, sparse_gpt, wanda};
use crate::compress::stage::calibrate::{LayerInputs, calibrate};
use crate::compress::stage::kept::Notes;
use crate::compress::stage::{StageError, few};
use crate::models::NamedTensor;
use crate::num::mask::magnitude;
use crate::tensor::HostTensor;

/// What is kept of layers that are done.
const KEPT: &str = "sparsegpt";
/// Its note: what is said of them.
const NOTES: &str = "notes";

impl Judge<'_> {
    fn inputs(&self, model: &Model) -> Result<BTreeMap<String, LayerInputs>, StageError> {
        calibrate(self.context, model, self.options.samples)
    }

    /// Wanda's scores. Convolutions of several groups, whose channels see different inputs, are judged by
    /// magnitude.
    pub(super) fn wanda(
        &self,
        values: &[NamedTensor],
        weights: &[Vec<f32>],
    ) -> Result<Vec<Vec<f32>>, StageError> {
        let stand = self.model.inputs().clone();
        let model = Model::new(self.model.network().clone(), stand, values.to_vec())?;
        let inputs = self.inputs(&model)?;
        let mut scores = Vec::new();
        for (target, values) in self.targets.iter().zip(weights) {
            let weights = Weights::new(&target.name, target.n, target.k, values)?;
            scores.push(match inputs.get(&target.name) {
                Some(inputs) => wanda(&weights, &inputs.calibration)?,
                None => magnitude(values),
            });
        }
        Ok(scores)
    }

    /// Values and masks by SparseGPT, layer after layer: each is judged by the inputs that the layers pruned
    /// before it give. Convolutions of several groups lose their smallest weights, and so do layers with samples too
    /// few for it, which notes tell.
    pub(super) fn sparse_gpt(
        &self,
    ) -> Result<(Vec<NamedTensor>, NamedMasks, Vec<String>), StageError> {
        let stand = self.model.inputs().clone();
        let (mut values, mut masks) = (self.model.values(), NamedMasks::new());
        let mut notes: Vec<String> = Vec::new();
        if let Some((before, done, said)) = self.kept.and_then(|kept| kept.values(KEPT, self.model))
        {
            (values, masks) = (before, done);
            notes = said.get(NOTES).unwrap_or_default();
        }
        let mut model = Model::new(self.model.network().clone(), stand, values)?;
        let sparsity = match self.options.amount {
            PruneAmount::Share(share) | PruneAmount::Blocks { share, .. } => Sparsity::Share(share),
            PruneAmount::NOfM { keep, group, .. } => Sparsity::NOfM { keep, group },
        };
        for (index, target) in self.targets.iter().enumerate().skip(masks.len()) {
            let name = &target.name;
            let done = [index, self.targets.len()];
            self.context
                .tell("prune", format!("sparsegpt {name}"), done)?;
            let inputs = self.inputs(&model)?;
            let values = model.values().swap_remove(target.index).1;
            let shape = values.shape().to_vec();
            let values = values.to_f32()?;
            let weights = Weights::new(name, target.n, target.k, &values)?;
            let smallest = {
                let target = std::slice::from_ref(target);
                let scores = [magnitude(&values)];
                let all = not_zero(target, &model.values())?;
                let share = self.options.amount.share();
                let mask = choose(self.options, target, (&scores, &all), share)?.swap_remove(0);
                (mask.apply(name, &values)?, mask)
            };
            let options = SparseGpt::default();
            let (pruned, mask) = match inputs.get(name) {
                Some(inputs) => {
                    let reason = few::judged(&weights, inputs, |seen| {
                        let made = sparse_gpt(&weights, seen, sparsity, &options)?;
                        Ok([made.weights, smallest.0.clone()])
                    })?;
                    match reason {
                        Some(reason) => {
                            log::warn!("{name}: pruned by magnitude: {reason}");
                            notes.push(format!("{name}: pruned by magnitude: {reason}"));
                            smallest
                        }
                        None => {
                            let made = sparse_gpt(&weights, &inputs.hessian, sparsity, &options)?;
                            (made.weights, made.mask)
                        }
                    }
                }
                None => smallest,
            };
            model.set(name, Stored::Float(HostTensor::from_f32(shape, &pruned)?))?;
            masks.push((name.clone(), mask));
            if let Some(kept) = self.kept {
                kept.keep_values(
                    KEPT,
                    (&model.values(), &masks),
                    Notes::default().with(NOTES, &notes)?,
                )?;
            }
        }
        Ok((model.values(), masks, notes))
    }
}
