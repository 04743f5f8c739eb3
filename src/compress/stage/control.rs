//! Accuracy control: versions of a network with its weights in fewer bits or pruned, each judged on samples set
//! aside from the training set, with the layers that suffer most kept wider.
//!
//! Every layer is put into every narrower form alone, and the rise of the cross-entropy says how much it suffers.
//! Then, from each form for all layers, the layer that suffers most is widened by one step at a time, which gives
//! a path from small to accurate. Codes are rounded to nearest and pruning is by magnitude, without training: what a
//! recipe adds can only do better.

use super::{Context, StageError};
use crate::compress::deploy::Deployed;
use crate::compress::model::{Activations, Model, Stored};
use crate::data::Dataset;
use crate::eval::{accuracy, cross_entropy};
use crate::models::Network;
use crate::num::mask::{Amount, Pattern, Scores, magnitude, select};
use crate::num::{
    DeltaBits, Dense, NmPattern, Scheme, SparseLayout, SparseMatrix, ValueFormat, quantize,
};
use crate::ops::Routes;

/// A form a weight can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Unchanged,
    /// int8 with a scale per row, activations quantized to int8 too.
    Int8,
    /// int4 in groups of 64, or of the largest of 32, 16 and 8 that divides a row.
    Int4,
    /// The two largest of each four, f16.
    TwoFour,
    /// Half of the weights, the smallest, left out; f16.
    Half,
    /// Four of five left out; f16.
    FourFifths,
}

impl Form {
    /// All but [`Self::Unchanged`].
    pub const NARROWER: [Self; 5] = [
        Self::Int8,
        Self::Int4,
        Self::TwoFour,
        Self::Half,
        Self::FourFifths,
    ];

    /// As tables and options name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unchanged => "f32",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
            Self::TwoFour => "2:4",
            Self::Half => "50%",
            Self::FourFifths => "80%",
        }
    }

    /// The next wider one.
    const fn wider(self) -> Self {
        match self {
            Self::Int4 => Self::Int8,
            Self::FourFifths => Self::Half,
            Self::Unchanged | Self::Int8 | Self::TwoFour | Self::Half => Self::Unchanged,
        }
    }

    /// A weight in this form; `None` where it does not fit: no matrix, or rows that no group divides.
    ///
    /// # Errors
    /// [`StageError`] for weights that are not finite, or past f16.
    pub fn of(self, name: &str, weight: &Stored) -> Result<Option<Stored>, StageError> {
        let &[n, k] = weight.shape() else {
            return Ok(None);
        };
        let values = weight.values().to_f32()?;
        let shape = vec![n, k];
        let quantized = |scheme: &Scheme, activations| -> Result<Option<Stored>, StageError> {
            let matrix = quantize(name, &values, n, k, scheme)?;
            Ok(Some(Stored::Quantized {
                shape: shape.clone(),
                matrix,
                activations,
            }))
        };
        let pruned = |pattern: &Pattern, layout| -> Result<Option<Stored>, StageError> {
            let scores = magnitude(&values);
            let mask = select(&Scores::new(name, n, k, &scores)?, pattern)?;
            let weights = mask.apply(name, &values)?;
            let dense = Dense {
                name,
                n,
                k,
                weights: &weights,
            };
            let matrix = SparseMatrix::compress(&dense, layout, ValueFormat::F16)?;
            Ok(Some(Stored::Sparse {
                shape: shape.clone(),
                matrix,
                activations: Activations::Float,
            }))
        };
        let delta = SparseLayout::Delta(DeltaBits::Four);
        match self {
            Self::Unchanged => Ok(Some(weight.clone())),
            // Codes are packed four to a word.
            Self::Int8 | Self::TwoFour if k % 8 != 0 => Ok(None),
            Self::Int8 => quantized(&Scheme::int8_channel(), Activations::Int8PerRow),
            Self::Int4 => match [64, 32, 16, 8].into_iter().find(|size| k % size == 0) {
                Some(size) => quantized(&Scheme::int4_group(size as u32), Activations::Float),
                None => Ok(None),
            },
            Self::TwoFour => {
                let pattern = Pattern::NOfM {
                    keep: 2,
                    group: 4,
                    vector: 1,
                };
                pruned(&pattern, SparseLayout::Nm(NmPattern::TWO_FOUR))
            }
            Self::Half => pruned(&Pattern::Tensor(Amount::Sparsity(0.5)), delta),
            Self::FourFifths => pruned(&Pattern::Tensor(Amount::Sparsity(0.8)), delta),
        }
    }
}

/// How well a model does on the samples set aside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Share of samples that are right.
    pub accuracy: f64,
    /// Mean cross-entropy in nats.
    pub loss: f64,
}

/// What a layer loses when it alone is narrowed.
#[derive(Debug, Clone, PartialEq)]
pub struct Sensitivity {
    /// The weight.
    pub weight: String,
    /// The form.
    pub form: Form,
    /// What the network is worth then.
    pub score: Score,
}

/// A version that was tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    /// `int4`, `int4, 2 layers wider`.
    pub name: String,
    /// The form of each weight, in order.
    pub forms: Vec<(String, Form)>,
    /// The version.
    pub model: Model,
    /// On the samples set aside.
    pub score: Score,
    /// Bytes of its tensors in a file.
    pub bytes: u64,
}

/// All that was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Trials {
    /// Of the model as it came.
    pub baseline: Score,
    /// Bytes of its tensors in a file.
    pub baseline_bytes: u64,
    /// Every layer alone in every form that fits it.
    pub sensitivities: Vec<Sensitivity>,
    /// Every version, from each form's narrowest on.
    pub tried: Vec<Tried>,
}

/// Judges a model on samples as they were loaded.
///
/// # Errors
/// [`StageError`]: samples that do not fit, and what the engine says.
pub fn score(context: &Context<'_>, model: &Model, data: &Dataset) -> Result<Score, StageError> {
    let prepared = model.prepare(data)?;
    let deployed = Deployed::new(context.engine, model, &Routes::default())?;
    let logits = deployed.logits(prepared.inputs())?;
    let (labels, classes) = (prepared.labels(), model.network().n_classes());
    Ok(Score {
        accuracy: accuracy(&logits, labels, classes)?,
        loss: cross_entropy(&logits, labels, classes)?,
    })
}

/// Tries every form for all layers, and for each the path on which the layer that suffers most is widened until
/// `least_accuracy` is reached on `validation`, which holds samples as they were loaded.
///
/// # Errors
/// [`StageError`]: weights that cannot be converted, samples that do not fit, what the engine says, and that the
/// listener stopped it.
pub fn try_forms(
    context: &Context<'_>,
    model: &Model,
    (validation, max_drop): (&Dataset, f64),
    forms: &[Form],
) -> Result<Trials, StageError> {
    let baseline = score(context, model, validation)?;
    let weights: Vec<String> = model.weights().into_iter().map(|one| one.name).collect();
    let of = weights.len() * forms.len();
    let mut sensitivities = Vec::new();
    for (form_index, &form) in forms.iter().enumerate() {
        for (index, weight) in weights.iter().enumerate() {
            let done = form_index * weights.len() + index;
            context.tell(
                "sensitivity",
                format!("{weight} as {}", form.name()),
                [done, of],
            )?;
            let Some(narrowed) = with(model, &[(weight.clone(), form)])? else {
                continue;
            };
            sensitivities.push(Sensitivity {
                weight: weight.clone(),
                form,
                score: score(context, &narrowed, validation)?,
            });
        }
    }
    let mut trials = Trials {
        baseline,
        baseline_bytes: file_bytes(model)?,
        sensitivities,
        tried: Vec::new(),
    };
    for (index, &form) in forms.iter().enumerate() {
        let rise = |weight: &str| {
            let of = |one: &&Sensitivity| one.weight == weight && one.form == form;
            let found = trials.sensitivities.iter().find(of);
            found.map(|one| one.score.loss - baseline.loss)
        };
        let mut ranked: Vec<(String, f64)> = weights
            .iter()
            .filter_map(|weight| Some((weight.clone(), rise(weight)?)))
            .collect();
        // The worst first; equal ones in the network's order.
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut chosen: Vec<(String, Form)> = weights
            .iter()
            .filter(|weight| ranked.iter().any(|(one, _)| one == *weight))
            .map(|weight| (weight.clone(), form))
            .collect();
        let mut path = Vec::new();
        let mut step = form;
        while step != Form::Unchanged {
            path.extend(
                ranked
                    .iter()
                    .map(|(weight, _)| (weight.clone(), step.wider())),
            );
            step = step.wider();
        }
        let mut widened = 0;
        for next in std::iter::once(None).chain(path.into_iter().map(Some)) {
            if let Some((weight, wider)) = next {
                widened += 1;
                for one in chosen.iter_mut().filter(|(name, _)| *name == weight) {
                    one.1 = wider;
                }
            }
            if chosen.iter().all(|(_, form)| *form == Form::Unchanged) {
                break;
            }
            let name = match widened {
                0 => form.name().to_owned(),
                1 => format!("{}, 1 layer wider", form.name()),
                n => format!("{}, {n} steps wider", form.name()),
            };
            context.tell("try", name.as_str(), [index, forms.len()])?;
            let Some(model) = with(model, &chosen)? else {
                continue;
            };
            let score = score(context, &model, validation)?;
            trials.tried.push(Tried {
                name,
                forms: chosen.clone(),
                bytes: file_bytes(&model)?,
                model,
                score,
            });
            if score.accuracy >= baseline.accuracy - max_drop {
                break;
            }
        }
    }
    Ok(trials)
}

/// The model with weights in other forms; `None` where one does not fit.
fn with(model: &Model, forms: &[(String, Form)]) -> Result<Option<Model>, StageError> {
    let mut made = model.clone();
    for (name, form) in forms {
        let Some(weight) = model.tensor(name) else {
            continue;
        };
        let Some(stored) = form.of(name, weight)? else {
            return Ok(None);
        };
        made.set(name, stored)?;
    }
    Ok(Some(made))
}

fn file_bytes(model: &Model) -> Result<u64, StageError> {
    Ok(model.stored_bytes()?.iter().map(|(_, bytes)| bytes).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::HostTensor;

    #[test]
    fn a_form_that_does_not_fit_is_none_and_others_take_less() {
        let weight = |n: usize, k: usize| {
            let values: Vec<f32> = (0..n * k).map(|at| (at as f32 * 0.37).sin()).collect();
            Stored::Float(HostTensor::from_f32(vec![n, k], &values).unwrap())
        };
        let one = weight(8, 96);
        let mut bytes = Vec::new();
        for form in Form::NARROWER {
            let made = form.of("w", &one).unwrap().unwrap();
            assert!(made.bytes() < one.bytes(), "{form:?}");
            bytes.push(made.bytes());
            if let Form::Half = form {
                assert_eq!(made.sparsity(), 0.5);
            }
        }
        assert!(bytes[1] < bytes[0], "int4 under int8: {bytes:?}");
        assert_eq!(Form::Int4.of("w", &weight(8, 12)).unwrap(), None);
        let conv = HostTensor::from_f32(vec![2, 2, 1, 1], &[1.0; 4]).unwrap();
        assert_eq!(Form::Int8.of("w", &Stored::Float(conv)).unwrap(), None);
    }

    #[test]
    fn widening_ends_at_the_weight_as_it_is() {
        for form in Form::NARROWER {
            let mut form = form;
            for _ in 0..2 {
                form = form.wider();
            }
            assert_eq!(form, Form::Unchanged);
        }
    }
}
