//! A deployed model's forward pass, operation by operation, against the definition on the device's own inputs.

use super::{DeployError, Deployed};
use crate::compress::outcome::Verification;
use crate::engine::EngineError;
use crate::verify::compare_recording;

impl Deployed<'_> {
    /// Judges every operation of a forward pass over prepared samples `[n, sample_shape..]`, each on the inputs it
    /// had on the device. `tensors_read_back` is what [`Model::save`](crate::compress::model::Model::save) found
    /// equal.
    ///
    /// # Errors
    /// [`DeployError`]: samples that do not fit, and what the engine says.
    pub fn verify(
        &self,
        inputs: &[f32],
        tensors_read_back: usize,
    ) -> Result<Verification, DeployError> {
        let recording = self.recorded(inputs)?;
        let reports = compare_recording(self.engine, &recording)
            .map_err(|error: EngineError| DeployError::Engine(error))?;
        let worst = reports
            .iter()
            .max_by(|a, b| a.comparison.worst.total_cmp(&b.comparison.worst));
        Ok(Verification {
            operations: reports.len(),
            elements: reports.iter().map(|one| one.comparison.elements).sum(),
            exact: reports.iter().map(|one| one.comparison.exact).sum(),
            worst_over_bound: worst.map_or(0.0, |one| one.comparison.worst),
            worst_operation: worst
                .map_or_else(String::new, |one| format!("{} {}", one.kernel, one.shape)),
            tensors_read_back,
        })
    }
}
