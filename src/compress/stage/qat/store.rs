//! What training leaves, in the formats planned.

use crate::compress::Weights;
use crate::compress::model::{Activations, Model, Stored, matrix_shape};
use crate::compress::quantize::{Action, Planned, round_to_nearest};
use crate::models::{NamedTensor, learned_scale_name};
use crate::num::{Dense, SparseMatrix, ValueFormat};
use crate::tensor::HostTensor;

use super::super::StageError;
use super::super::quantize::kept_scheme;
use super::QatOptions;
use super::scales::{Firsts, learned_matrix};

/// Trained values in the formats planned.
pub(super) fn store(
    (model, planned): (&Model, &[Planned]),
    options: &QatOptions,
    trained: &[NamedTensor],
    firsts: &Firsts,
) -> Result<Model, StageError> {
    let mut made = model.clone();
    let (own, learned) = trained.split_at(model.tensors().len().min(trained.len()));
    for (name, value) in own {
        let values = value.to_f32()?;
        let [n, k] = matrix_shape(value.shape());
        let action = planned
            .iter()
            .find(|one| one.name == *name)
            .map(|one| one.action);
        let stored = match (action, model.tensor(name)) {
            (Some(Action::Quantize(linear)), Some(Stored::Sparse { shape, matrix, .. })) => {
                let dense = Dense {
                    name,
                    n,
                    k,
                    weights: &values,
                };
                let format = kept_scheme(&linear).map_or(ValueFormat::F32, ValueFormat::Quantized);
                Stored::Sparse {
                    shape: shape.clone(),
                    matrix: SparseMatrix::compress(&dense, matrix.format().layout, format)?,
                    activations: Activations::Float,
                }
            }
            (Some(Action::Quantize(linear)), _) => {
                let weights = Weights::new(name, n, k, &values)?;
                let scale = learned_scale_name(name);
                let learned = learned.iter().find(|(name, _)| *name == scale);
                let matrix = match (firsts.get(name), learned) {
                    (Some((first, _)), Some((_, learned))) => {
                        learned_matrix(&weights, &linear, (first, &learned.to_f32()?))?
                    }
                    _ => None,
                };
                Stored::Quantized {
                    shape: value.shape().to_vec(),
                    matrix: match matrix {
                        Some(matrix) => matrix,
                        None => round_to_nearest(&weights, &linear)?,
                    },
                    // Training knows scales of rows.
                    activations: match options.quantize.scheme.activations.as_they_come() {
                        Activations::Float | Activations::Int8Static(_) => Activations::Float,
                        Activations::Int8PerRow | Activations::Int8PerBlock(_) => {
                            Activations::Int8PerRow
                        }
                    },
                }
            }
            (_, Some(Stored::Sparse { shape, matrix, .. })) => {
                let dense = Dense {
                    name,
                    n,
                    k,
                    weights: &values,
                };
                let format = match matrix.values().format().bits() {
                    16 => ValueFormat::F16,
                    _ => ValueFormat::F32,
                };
                Stored::Sparse {
                    shape: shape.clone(),
                    matrix: SparseMatrix::compress(&dense, matrix.format().layout, format)?,
                    activations: Activations::Float,
                }
            }
            // Frozen: see `train`.
            (_, Some(Stored::Quantized { .. } | Stored::Levels { .. })) => continue,
            (_, Some(Stored::Float(_)) | None) => {
                Stored::Float(HostTensor::from_f32(value.shape().to_vec(), &values)?)
            }
        };
        made.set(name, stored)?;
    }
    Ok(made)
}
