//! Scores of all weights that are pruned, by the method asked for.

use super::gradients::gradients;
use super::options::{PruneMethod, PruneOptions};
use super::targets::PruneTarget;
use crate::compress::Weights;
use crate::compress::model::Model;
use crate::compress::prune::{FirstOrder, first_order, optimal_brain_damage, random};
use crate::compress::stage::kept::Kept;
use crate::compress::stage::{Context, StageError};
use crate::data::Dataset;
use crate::models::NamedTensor;
use crate::num::mask::magnitude;

/// Samples of a pass when the gradient of the mean loss is asked for.
const BATCH: usize = 64;

/// What scores are made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judge<'a> {
    pub context: &'a Context<'a>,
    pub options: &'a PruneOptions,
    pub model: &'a Model,
    pub targets: &'a [PruneTarget],
    /// Prepared samples of the training set.
    pub samples: &'a Dataset,
    pub kept: Option<&'a Kept<'a>>,
}

impl Judge<'_> {
    /// Scores of the targets among these values of the network, larger meaning keep.
    pub fn scores(&self, values: &[NamedTensor]) -> Result<Vec<Vec<f32>>, StageError> {
        let (targets, method) = (self.targets, self.options.method);
        let mut weights = Vec::with_capacity(targets.len());
        for one in targets {
            weights.push(values[one.index].1.to_f32()?);
        }
        let named = |index: usize| {
            let PruneTarget { name, n, k, .. } = &targets[index];
            Weights::new(name, *n, *k, &weights[index])
        };
        let count = 0..targets.len();
        match method {
            PruneMethod::Magnitude | PruneMethod::SparseGpt => {
                Ok(weights.iter().map(|one| magnitude(one)).collect())
            }
            PruneMethod::Random => Ok(count
                .map(|index| random(self.context.seed, index as u64, weights[index].len()))
                .collect()),
            PruneMethod::Taylor | PruneMethod::Snip => {
                let kind = match method {
                    PruneMethod::Taylor => FirstOrder::Squared,
                    _ => FirstOrder::Absolute,
                };
                let batch = BATCH.min(self.samples.n_samples());
                let gradients = self.gradients(values, batch)?;
                let one = |index: usize| -> Result<Vec<f32>, StageError> {
                    Ok(first_order(&named(index)?, &gradients[index].mean, kind)?)
                };
                count.map(one).collect()
            }
            PruneMethod::Obd => {
                let gradients = self.gradients(values, 1)?;
                let one = |index: usize| -> Result<Vec<f32>, StageError> {
                    let diagonal = &gradients[index].mean_square;
                    Ok(optimal_brain_damage(&named(index)?, diagonal)?)
                };
                count.map(one).collect()
            }
            PruneMethod::Wanda => self.wanda(values, &weights),
        }
    }

    fn gradients(
        &self,
        values: &[NamedTensor],
        batch: usize,
    ) -> Result<Vec<super::Gradients>, StageError> {
        let names: Vec<&str> = self.targets.iter().map(|one| one.name.as_str()).collect();
        gradients(
            self.context.engine,
            (self.model.network(), values),
            (self.samples, batch),
            &names,
        )
    }
}
