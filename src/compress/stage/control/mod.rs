//! Accuracy control: versions of a network with its weights in fewer bits or pruned, each judged on samples set
//! aside from the training set, with the layers that suffer most kept wider.
//!
//! Every layer is put into every narrower form alone, by weights only (to nearest, by magnitude) and by what samples of
//! the training set give it (GPTQ, Wanda), and the rise of the cross-entropy says how much it suffers; the way that
//! loses less is taken. Then, from each form for all layers, the layer that suffers most is widened by one step at a
//! time, which gives a path from small to accurate. Nothing is trained: what a recipe adds can only do better.

mod form;

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::calibrate::{LayerInputs, calibrate};
use super::{Context, StageError};
use crate::compress::deploy::Deployed;
use crate::compress::model::{Model, Stored};
use crate::data::Dataset;
use crate::eval::{accuracy, cross_entropy};
use crate::models::Network;
use crate::ops::Routes;

pub use form::{By, Choice, Form};

/// Samples of the training set that calibrate.
const SAMPLES: usize = 256;

/// How well a model does on the samples set aside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Share of samples that are right.
    pub accuracy: f64,
    /// Mean cross-entropy in nats.
    pub loss: f64,
    /// Samples that are right, of how many.
    pub right: [u64; 2],
}

impl Score {
    /// The share of accuracy lost against a baseline on the same samples.
    pub fn lost(&self, baseline: &Self) -> f64 {
        let [right, of] = self.right;
        (baseline.right[0] as f64 - right as f64) / of.max(1) as f64
    }

    /// Whether no more than `max_drop`, a share of all samples, is lost: counted in samples, so that a limit that is
    /// met exactly is met. A share that was a percentage carries the rounding of four operations by now.
    pub fn keeps(&self, baseline: &Self, max_drop: f64) -> bool {
        let lost = baseline.right[0] as f64 - self.right[0] as f64;
        lost <= max_drop * self.right[1] as f64 * (1.0 + 4.0 * f64::EPSILON)
    }
}

/// What a layer loses when it alone is narrowed.
#[derive(Debug, Clone, PartialEq)]
pub struct Sensitivity {
    /// The weight.
    pub weight: String,
    /// The form.
    pub form: Form,
    /// What it is made by.
    pub by: By,
    /// What the network is worth then.
    pub score: Score,
}

/// A version that was tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    /// `int4`, `int4, 2 layers wider`.
    pub name: String,
    /// The form of each weight, in order.
    pub forms: Vec<Choice>,
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
    let accuracy = accuracy(&logits, labels, classes)?;
    let of = labels.len() as u64;
    Ok(Score {
        accuracy,
        right: [(accuracy * of as f64).round() as u64, of],
        loss: cross_entropy(&logits, labels, classes)?,
    })
}

/// What the network is worth with each layer alone in each of these forms, where they fit, on `validation`, which holds
/// samples as they were loaded; calibrated where a form is made by inputs.
///
/// # Errors
/// As [`try_forms`].
pub fn sensitivities(
    context: &Context<'_>,
    model: &Model,
    validation: &Dataset,
    ways: &[(Form, By)],
) -> Result<Vec<Sensitivity>, StageError> {
    let inputs = match ways.iter().any(|(_, by)| *by == By::Inputs) {
        true => calibrate(context, model, SAMPLES)?,
        false => BTreeMap::new(),
    };
    alone(context, &Maker::new(model, inputs), validation, ways)
}

fn alone(
    context: &Context<'_>,
    maker: &Maker<'_>,
    validation: &Dataset,
    ways: &[(Form, By)],
) -> Result<Vec<Sensitivity>, StageError> {
    let weights = maker.model.weights();
    let of = weights.len() * ways.len();
    let (mut sensitivities, mut done) = (Vec::new(), 0);
    for &(form, by) in ways {
        for spec in &weights {
            let weight = spec.name.clone();
            let choice = Choice { weight, form, by };
            let what = format!("{} as {}", spec.name, choice.name());
            context.tell("sensitivity", what, [done, of])?;
            done += 1;
            if by == By::Inputs && !maker.inputs.contains_key(&spec.name) {
                continue;
            }
            let Some(narrowed) = maker.apply(&[choice])? else {
                continue;
            };
            sensitivities.push(Sensitivity {
                weight: spec.name.clone(),
                form,
                by,
                score: score(context, &narrowed, validation)?,
            });
        }
    }
    Ok(sensitivities)
}

/// Tries every form for all layers, and for each the path on which the layer that suffers most is widened until no
/// more than `max_drop` is lost on `validation`, which holds samples as they were loaded and takes no part in the
/// calibration when the context's training set is without them.
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
    let maker = Maker::new(model, calibrate(context, model, SAMPLES)?);
    let weights: Vec<String> = model.weights().into_iter().map(|one| one.name).collect();
    let ways: Vec<(Form, By)> = forms
        .iter()
        .flat_map(|&form| [(form, By::Weights), (form, By::Inputs)])
        .collect();
    let sensitivities = alone(context, &maker, validation, &ways)?;
    // The way on which a weight loses least; of equal ones the first, which is by weights alone.
    let least = |weight: &str, form: Form| -> Option<&Sensitivity> {
        let of = |one: &&Sensitivity| one.weight == weight && one.form == form;
        let found = sensitivities.iter().filter(of);
        found.min_by(|a, b| a.score.loss.total_cmp(&b.score.loss))
    };
    let choice = |weight: &str, form: Form| Choice {
        weight: weight.to_owned(),
        form,
        by: least(weight, form).map_or(By::Weights, |one| one.by),
    };
    let mut tried = Vec::new();
    for (index, &form) in forms.iter().enumerate() {
        let rise = |weight: &str| least(weight, form).map(|one| one.score.loss - baseline.loss);
        let mut ranked: Vec<(String, f64)> = weights
            .iter()
            .filter_map(|weight| Some((weight.clone(), rise(weight)?)))
            .collect();
        // The worst first; equal ones in the network's order.
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut chosen: Vec<Choice> = weights
            .iter()
            .filter(|weight| ranked.iter().any(|(one, _)| one == *weight))
            .map(|weight| choice(weight, form))
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
                for one in chosen.iter_mut().filter(|one| one.weight == weight) {
                    *one = choice(&weight, wider);
                }
            }
            if chosen.iter().all(|one| one.form == Form::Unchanged) {
                break;
            }
            let name = match widened {
                0 => form.name().to_owned(),
                1 => format!("{}, 1 layer wider", form.name()),
                n => format!("{}, {n} steps wider", form.name()),
            };
            context.tell("try", name.as_str(), [index, forms.len()])?;
            let Some(model) = maker.apply(&chosen)? else {
                continue;
            };
            let score = score(context, &model, validation)?;
            tried.push(Tried {
                name,
                forms: chosen.clone(),
                bytes: file_bytes(&model)?,
                model,
                score,
            });
            if score.keeps(&baseline, max_drop) {
                break;
            }
        }
    }
    Ok(Trials {
        baseline,
        baseline_bytes: file_bytes(model)?,
        sensitivities,
        tried,
    })
}

/// A version again, from the model and the training set it was made with.
///
/// # Errors
/// As [`try_forms`]; [`StageError::Setting`] for a form that does not fit.
pub fn make_again(
    context: &Context<'_>,
    model: &Model,
    forms: &[Choice],
) -> Result<Model, StageError> {
    let maker = Maker::new(model, calibrate(context, model, SAMPLES)?);
    let names = || {
        forms
            .iter()
            .map(Choice::name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    maker.apply(forms)?.ok_or_else(|| StageError::Setting {
        what: "forms of the weights".to_owned(),
        given: names(),
        allowed: "forms that fit their shapes".to_owned(),
    })
}

/// Makes versions of a model, each form of a weight once.
struct Maker<'a> {
    model: &'a Model,
    inputs: BTreeMap<String, LayerInputs>,
    made: RefCell<BTreeMap<Choice, Option<Stored>>>,
}

impl<'a> Maker<'a> {
    const fn new(model: &'a Model, inputs: BTreeMap<String, LayerInputs>) -> Self {
        Self {
            model,
            inputs,
            made: RefCell::new(BTreeMap::new()),
        }
    }

    /// The model with weights in other forms; `None` where one does not fit.
    fn apply(&self, forms: &[Choice]) -> Result<Option<Model>, StageError> {
        let mut version = self.model.clone();
        for choice in forms {
            let Some(stored) = self.model.tensor(&choice.weight) else {
                continue;
            };
            let known = self.made.borrow().get(choice).cloned();
            let made = match known {
                Some(made) => made,
                None => {
                    let inputs = match choice.by {
                        By::Weights => None,
                        By::Inputs => self.inputs.get(&choice.weight),
                    };
                    let made = choice.form.of((&choice.weight, stored), inputs)?;
                    self.made.borrow_mut().insert(choice.clone(), made.clone());
                    made
                }
            };
            let Some(made) = made else {
                return Ok(None);
            };
            version.set(&choice.weight, made)?;
        }
        Ok(Some(version))
    }
}

fn file_bytes(model: &Model) -> Result<u64, StageError> {
    Ok(model.stored_bytes()?.iter().map(|(_, bytes)| bytes).sum())
}

#[cfg(test)]
mod tests {
    use super::Score;

    fn score(right: u64, of: u64) -> Score {
        Score {
            accuracy: right as f64 / of as f64,
            loss: 0.0,
            right: [right, of],
        }
    }

    #[test]
    fn a_limit_met_exactly_is_met_and_one_sample_more_is_missed() {
        for percent in 1..100u32 {
            // As the command line makes a share of a percentage.
            let max_drop = f64::from(percent) * 0.01;
            for of in [100u64, 300, 2000, 4000] {
                let baseline = score(of, of);
                let lost = of / 100 * u64::from(percent);
                assert!(
                    score(of - lost, of).keeps(&baseline, max_drop),
                    "{percent}% of {of}"
                );
                assert!(
                    !score(of - lost - 1, of).keeps(&baseline, max_drop),
                    "{percent}% of {of}"
                );
            }
        }
        assert!(score(1695, 2000).keeps(&score(1735, 2000), 0.02));
        assert_eq!(score(1695, 2000).lost(&score(1735, 2000)), 0.02);
    }
}
