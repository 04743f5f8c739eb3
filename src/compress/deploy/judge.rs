//! One version of a network, from its folder: what it takes on disk, what it gets right, how fast it is, and
//! whether the device computes it as defined.

use std::path::Path;

use super::{DeployError, Deployed, MeasureOptions, OpenEngine, measure};
use crate::compress::model::{MODEL_FILE, Model, layer_of};
use crate::compress::outcome::{Histogram, LayerOutcome, Outcome, Quality};
use crate::data::Dataset;
use crate::engine::Engine;
use crate::io::file_sha256;
use crate::models::Network;
use crate::ops::Routes;
use crate::tensor::HostTensor;

/// Bins of a layer's histogram.
const BINS: usize = 40;

/// What versions of a network are judged with.
#[derive(Clone, Copy)]
pub struct Judge<'a> {
    /// Where logits are computed and operations verified.
    pub engine: &'a dyn Engine,
    /// Gives engines that have compiled nothing, to measure on.
    pub open: OpenEngine<'a>,
    /// Which pruned weights run with their zeros written out.
    pub routes: &'a Routes,
    /// The set that judges, as it was loaded.
    pub test: &'a Dataset,
    /// How often passes are timed; `None` leaves speed out.
    pub times: Option<MeasureOptions>,
    /// Samples whose forward pass is compared with the definition, operation by operation; 0 leaves it out.
    pub verified_samples: usize,
}

impl std::fmt::Debug for Judge<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Judge")
            .field("times", &self.times)
            .field("verified_samples", &self.verified_samples)
            .finish_non_exhaustive()
    }
}

/// A version that was judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// What became of it.
    pub outcome: Outcome,
    /// The version.
    pub model: Model,
    /// Its logits `[samples, classes]` on the test set.
    pub logits: Vec<f32>,
}

impl Judge<'_> {
    /// Judges the model in a folder, against a baseline if there is one.
    ///
    /// # Errors
    /// [`DeployError`]: a folder that cannot be read, samples that do not fit, and what the engine says.
    pub fn judge(
        &self,
        name: &str,
        folder: &Path,
        baseline: Option<&Judged>,
    ) -> Result<Judged, DeployError> {
        let model = Model::load(folder)?;
        let prepared = model.prepare(self.test)?;
        let deployed = Deployed::new(self.engine, &model, self.routes)?;
        let logits = deployed.logits(prepared.inputs())?;
        let network = model.network();
        let against = baseline.map(|one| one.logits.as_slice());
        let quality = Quality::of(&logits, prepared.labels(), network.n_classes(), against)?;
        let tensors_read_back = model.read_back(folder)?;
        let verification = match self.verified_samples.min(prepared.n_samples()) {
            0 => None,
            few => {
                let few = few * prepared.n_features();
                Some(deployed.verify(&prepared.inputs()[..few], tensors_read_back)?)
            }
        };
        let measured = match self.times {
            None => None,
            Some(times) => {
                let inputs = (prepared.inputs(), self.routes);
                Some(measure(folder, self.open, inputs, times)?)
            }
        };
        let (speed, kernels) = match measured {
            None => (None, Vec::new()),
            Some(measured) => (Some(measured.speed), measured.kernels),
        };
        let (sha256, file_bytes) = file_sha256(folder.join(MODEL_FILE))
            .map_err(|error| DeployError::Model(error.into()))?;
        let stored = model.stored_bytes()?;
        let layers = layers(&model, &stored, baseline.map(|one| &one.model))?;
        let bytes: u64 = stored.iter().map(|(_, bytes)| bytes).sum();
        let bits = |bytes: u64| 8.0 * bytes as f64 / model.n_parameters().max(1) as f64;
        let mut outcome = Outcome {
            name: name.to_owned(),
            network: network.describe(),
            layers,
            file_bytes,
            bits_per_weight: bits(bytes),
            device_bits_per_weight: bits(model.bytes()),
            quality,
            notes: widened(&model, [bits(bytes), bits(model.bytes())]),
            speed,
            kernels,
            verification,
            sha256,
        };
        outcome.note_slower(baseline.map(|one| &one.outcome));
        Ok(Judged {
            outcome,
            model,
            logits,
        })
    }
}

/// What takes more bits on a device than in the file, and why: bits of a weight in both come first.
fn widened(model: &Model, [disk, device]: [f64; 2]) -> Vec<String> {
    let mut reasons: Vec<String> = Vec::new();
    for (_, stored) in model.tensors() {
        if let Some(reason) = stored.widened()
            && !reasons.contains(&reason)
        {
            reasons.push(reason);
        }
    }
    let note =
        |reason| format!("{disk:.2} bits a weight on disk, {device:.2} on the device: {reason}");
    reasons.into_iter().map(note).collect()
}

fn layers(
    model: &Model,
    stored: &[(String, u64)],
    baseline: Option<&Model>,
) -> Result<Vec<LayerOutcome>, DeployError> {
    let mut layers = Vec::new();
    for spec in model.weights() {
        let Some(tensor) = model.tensor(&spec.name) else {
            continue;
        };
        let values = tensor.values();
        let before = baseline.and_then(|one| one.tensor(&spec.name));
        let before = before.filter(|one| one.shape() == tensor.shape());
        let weight_error = match before {
            None => None,
            Some(before) => Some(relative_error(&before.values(), &values)?),
        };
        let bytes = stored.iter().find(|(name, _)| *name == spec.name);
        layers.push(LayerOutcome {
            name: layer_of(&spec.name).to_owned(),
            shape: spec.shape,
            format: tensor.format(),
            bytes: bytes.map_or(0, |&(_, bytes)| bytes),
            sparsity: tensor.sparsity(),
            weight_error,
            histogram: Histogram::of(&values.to_f32()?, BINS),
        });
    }
    Ok(layers)
}

/// `|w - w0| / |w0|` in the Frobenius norm; 0 where both are 0.
fn relative_error(before: &HostTensor, after: &HostTensor) -> Result<f64, DeployError> {
    let (before, after) = (before.to_f32()?, after.to_f32()?);
    let square = |value: f64| value * value;
    let norm: f64 = before.iter().map(|&w| square(f64::from(w))).sum();
    let pairs = before.iter().zip(&after);
    let lost: f64 = pairs
        .map(|(&a, &b)| square(f64::from(a) - f64::from(b)))
        .sum();
    Ok(match (lost == 0.0, norm == 0.0) {
        (true, _) => 0.0,
        (false, true) => 1.0,
        (false, false) => (lost / norm).sqrt(),
    })
}
