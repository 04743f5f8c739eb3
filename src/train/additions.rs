//! What compression adds to training: pruning masks that hold, and a teacher.

use std::sync::Arc;

use crate::autograd::SoftTargets;
use crate::data::Batch;
use crate::models::{Network, Role};
use crate::num::mask::Mask;
use crate::record::Recording;
use crate::tensor::{DType, HostTensor};

use super::TrainError;

/// What training does besides following labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Additions {
    /// Pruning masks by the name of their parameter, of matrices `[outputs, the rest]`: what a mask does not keep is
    /// 0 from the start, stays 0 through every step, and so does its state in the optimizer.
    pub masks: Vec<(String, Mask)>,
    /// A network to learn from.
    pub teacher: Option<Teacher>,
}

/// A network to learn from, by its logits for every sample of the training set.
#[derive(Debug, Clone, PartialEq)]
pub struct Teacher {
    /// `[samples, classes]`, by the row of a sample in the set.
    pub logits: Arc<[f32]>,
    /// How its logits and the labels make the loss.
    pub settings: SoftTargets,
}

impl Additions {
    /// Refuses masks of other parameters or shapes, and logits that are not finite or no whole rows.
    pub(super) fn check(&self, network: &dyn Network) -> Result<(), TrainError> {
        let specs = network.tensors();
        for (name, mask) in &self.masks {
            let spec = specs.iter().find(|one| one.name == *name);
            let Some(spec) = spec.filter(|one| one.role == Role::Parameter) else {
                return Err(TrainError::NothingMasked {
                    name: name.clone(),
                    names: specs
                        .into_iter()
                        .map(|one| one.name)
                        .collect::<Vec<_>>()
                        .join(", "),
                });
            };
            let expected = [
                spec.shape.first().copied().unwrap_or(1),
                spec.shape.iter().skip(1).product(),
            ];
            if [mask.n(), mask.k()] != expected {
                return Err(TrainError::OtherMask {
                    name: name.clone(),
                    found: [mask.n(), mask.k()],
                    expected,
                });
            }
        }
        if let Some(teacher) = &self.teacher {
            let classes = network.n_classes();
            if teacher.logits.is_empty() || !teacher.logits.len().is_multiple_of(classes) {
                return Err(TrainError::OtherData {
                    what: "logits of the teacher:",
                    found: vec![teacher.logits.len()],
                    expected: vec![classes],
                });
            }
            if let Some(at) = teacher.logits.iter().position(|one| !one.is_finite()) {
                return Err(TrainError::TeacherNotFinite {
                    row: at / classes,
                    value: teacher.logits[at],
                });
            }
        }
        Ok(())
    }

    /// The mask of a parameter.
    pub(super) fn mask(&self, name: &str) -> Option<&Mask> {
        self.masks
            .iter()
            .find(|(one, _)| one == name)
            .map(|(_, mask)| mask)
    }
}

impl Teacher {
    /// Its logits for the samples `from..` of a batch, f32 `[n, classes]`.
    pub(super) fn rows(
        &self,
        batch: &Batch,
        from: usize,
        n: usize,
        classes: usize,
    ) -> Result<HostTensor, TrainError> {
        let mut values = Vec::with_capacity(n * classes);
        for &row in &batch.rows[from..from + n] {
            let logits = self
                .logits
                .get(row as usize * classes..(row as usize + 1) * classes);
            values.extend_from_slice(logits.ok_or_else(|| TrainError::OtherData {
                what: "samples with a teacher's logits:",
                found: vec![row as usize + 1],
                expected: vec![self.logits.len() / classes],
            })?);
        }
        Ok(HostTensor::from_f32(vec![n, classes], &values)?)
    }
}

/// Masked weights of the host.
pub(super) fn masked(
    name: &str,
    value: &HostTensor,
    mask: &Mask,
) -> Result<HostTensor, TrainError> {
    let kept = mask.apply(name, &value.to_f32()?)?;
    Ok(HostTensor::from_f32(value.shape().to_vec(), &kept)?)
}

/// A teacher's logits as an input of a recording.
pub(super) fn teacher_input(
    recording: &mut Recording,
    batch: usize,
    classes: usize,
) -> crate::record::Tensor {
    recording.input(DType::F32, &[batch, classes])
}
