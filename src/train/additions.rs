//! What compression adds to training: pruning masks that hold, and a teacher.

use std::sync::Arc;

use crate::autograd::{HintLoss, TeacherLoss};
use crate::models::{Network, Role};
use crate::num::mask::Mask;
use crate::record::{Recording, Tensor};
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

/// A network to learn from, by what it says of every sample of the training set.
#[derive(Debug, Clone, PartialEq)]
pub struct Teacher {
    /// `[samples, classes]`, by the row of a sample in the set.
    pub logits: Arc<[f32]>,
    /// How its logits and the labels make the loss.
    pub loss: TeacherLoss,
    /// Whether the label of a sample is known, by its row; `None` when all are. Other samples teach by the teacher
    /// alone: their labels never reach the device.
    pub labelled: Option<Arc<[bool]>>,
    /// Features to learn besides.
    pub hint: Option<TeacherHint>,
}

/// Features of a teacher. The network must tell of its own in training: [`Hinted`](crate::models::Hinted).
#[derive(Debug, Clone, PartialEq)]
pub struct TeacherHint {
    /// `[samples, shape..]`, by the row of a sample in the set.
    pub features: Arc<[f32]>,
    /// Shape of a sample's.
    pub shape: Vec<usize>,
    /// How they are compared.
    pub loss: HintLoss,
    /// Weight of that beside the loss of the logits; positive.
    pub weight: f32,
}

impl Teacher {
    /// One whose logits are followed for samples that all have labels.
    pub const fn new(logits: Arc<[f32]>, loss: TeacherLoss) -> Self {
        Self {
            logits,
            loss,
            labelled: None,
            hint: None,
        }
    }
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
            teacher.check(classes)?;
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
    /// Refuses what is not finite, and numbers of samples that differ.
    fn check(&self, classes: usize) -> Result<(), TrainError> {
        let refuse = |what, found: usize, expected: usize| {
            Err(TrainError::OtherData {
                what,
                found: vec![found],
                expected: vec![expected],
            })
        };
        if self.logits.is_empty() || !self.logits.len().is_multiple_of(classes) {
            return refuse("logits of the teacher:", self.logits.len(), classes);
        }
        let samples = self.logits.len() / classes;
        finite(&self.logits, classes)?;
        if let Some(labelled) = &self.labelled
            && labelled.len() != samples
        {
            return refuse("samples with or without labels:", labelled.len(), samples);
        }
        if let Some(hint) = &self.hint {
            let features: usize = hint.shape.iter().product();
            if hint.features.len() != samples * features {
                let (found, expected) = (hint.features.len(), samples * features);
                return refuse("features of the teacher:", found, expected);
            }
            finite(&hint.features, features.max(1))?;
            if !(hint.weight > 0.0 && hint.weight.is_finite()) {
                return Err(TrainError::Setting {
                    what: "weight of the hint",
                    given: hint.weight.into(),
                    allowed: "positive and finite",
                });
            }
        }
        Ok(())
    }

    /// Whether the label of a sample is known.
    fn knows(&self, row: u32) -> bool {
        let labelled = self.labelled.as_ref();
        labelled.is_none_or(|all| all.get(row as usize).copied().unwrap_or(false))
    }

    /// Labels of samples by their rows in the set; 0 where they are unknown.
    pub(super) fn labels(&self, labels: &[u32], rows: &[u32]) -> Vec<u32> {
        let pairs = labels.iter().zip(rows);
        pairs
            .map(|(&label, &row)| if self.knows(row) { label } else { 0 })
            .collect()
    }

    /// What a step is given of samples by their rows in the set, in the order of [`TeacherInputs::new`].
    pub(super) fn inputs(
        &self,
        rows: &[u32],
        classes: usize,
    ) -> Result<Vec<HostTensor>, TrainError> {
        let mut inputs = vec![gather(&self.logits, rows, &[classes])?];
        if self.labelled.is_some() {
            let known: Vec<f32> = rows.iter().map(|&row| f32::from(self.knows(row))).collect();
            inputs.push(HostTensor::from_f32(vec![rows.len()], &known)?);
        }
        if let Some(hint) = &self.hint {
            inputs.push(gather(&hint.features, rows, &hint.shape)?);
        }
        Ok(inputs)
    }
}

/// Refuses what is infinite or NaN.
fn finite(values: &[f32], columns: usize) -> Result<(), TrainError> {
    match values.iter().position(|one| !one.is_finite()) {
        None => Ok(()),
        Some(at) => Err(TrainError::TeacherNotFinite {
            row: at / columns,
            value: values[at],
        }),
    }
}

/// Rows of `values [samples, shape..]`, f32 `[rows, shape..]`.
fn gather(values: &[f32], rows: &[u32], shape: &[usize]) -> Result<HostTensor, TrainError> {
    let columns: usize = shape.iter().product();
    let mut gathered = Vec::with_capacity(rows.len() * columns);
    for &row in rows {
        let one = values.get(row as usize * columns..(row as usize + 1) * columns);
        gathered.extend_from_slice(one.ok_or_else(|| TrainError::OtherData {
            what: "samples that the teacher knows:",
            found: vec![row as usize + 1],
            expected: vec![values.len() / columns.max(1)],
        })?);
    }
    Ok(HostTensor::from_f32(
        [&[rows.len()], shape].concat(),
        &gathered,
    )?)
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

/// What a step is given of a teacher, as inputs of a recording.
pub(super) struct TeacherInputs {
    /// f32 `[batch, classes]`
    pub logits: Tensor,
    /// f32 `[batch]`: 1 where a label is known, else 0.
    pub known: Option<Tensor>,
    /// f32 `[batch, shape..]`
    pub features: Option<Tensor>,
}

impl TeacherInputs {
    pub fn new(recording: &mut Recording, teacher: &Teacher, [batch, classes]: [usize; 2]) -> Self {
        let mut input = |shape: &[usize]| recording.input(DType::F32, shape);
        Self {
            logits: input(&[batch, classes]),
            known: teacher.labelled.as_ref().map(|_| input(&[batch])),
            features: teacher
                .hint
                .as_ref()
                .map(|hint| input(&[&[batch], hint.shape.as_slice()].concat())),
        }
    }
}
