//! Forms a weight can have, and what they are made by.

use crate::compress::Weights;
use crate::compress::model::{Activations, Stored};
use crate::compress::prune::wanda;
use crate::compress::quantize::{Gptq, Linear, Width, gptq, round_to_nearest};
use crate::compress::stage::StageError;
use crate::compress::stage::calibrate::LayerInputs;
use crate::num::mask::{Amount, Pattern, Scores, magnitude, select};
use crate::num::{
    DeltaBits, Dense, Granularity, NmPattern, SparseLayout, SparseMatrix, ValueFormat,
};

/// A form a weight can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    pub(super) const fn wider(self) -> Self {
        match self {
            Self::Int4 => Self::Int8,
            Self::FourFifths => Self::Half,
            Self::Unchanged | Self::Int8 | Self::TwoFour | Self::Half => Self::Unchanged,
        }
    }

    /// A weight in this form; `None` where it does not fit: no matrix, or rows that no group divides. `inputs` are
    /// what calibration gave it, for [`By::Inputs`]; without, it is made by its weights.
    ///
    /// # Errors
    /// [`StageError`] for weights that are not finite, or past f16.
    pub fn of(
        self,
        (name, weight): (&str, &Stored),
        inputs: Option<&LayerInputs>,
    ) -> Result<Option<Stored>, StageError> {
        let &[n, k] = weight.shape() else {
            return Ok(None);
        };
        let values = weight.values().to_f32()?;
        let shape = vec![n, k];
        let quantized = |linear: &Linear, activations| -> Result<Option<Stored>, StageError> {
            let weights = Weights::new(name, n, k, &values)?;
            let matrix = match inputs {
                None => round_to_nearest(&weights, linear)?,
                Some(inputs) => gptq(&weights, &inputs.hessian, linear, &Gptq::default())?.matrix,
            };
            Ok(Some(Stored::Quantized {
                shape: shape.clone(),
                matrix,
                activations,
            }))
        };
        let pruned = |pattern: &Pattern, layout| -> Result<Option<Stored>, StageError> {
            let scores = match inputs {
                None => magnitude(&values),
                Some(inputs) => wanda(&Weights::new(name, n, k, &values)?, &inputs.calibration)?,
            };
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
        // Wanda compares the weights of a row.
        let share = |share: f64| match inputs {
            None => Pattern::Tensor(Amount::Sparsity(share)),
            Some(_) => Pattern::PerRow(Amount::Sparsity(share)),
        };
        match self {
            Self::Unchanged => Ok(Some(weight.clone())),
            // Codes are packed four to a word.
            Self::Int8 | Self::TwoFour if k % 8 != 0 => Ok(None),
            Self::Int8 => {
                let linear = Linear::symmetric(Width::Int8, Granularity::Channel);
                quantized(&linear, Activations::Int8PerRow)
            }
            Self::Int4 => match [64, 32, 16, 8].into_iter().find(|size| k % size == 0) {
                Some(size) => {
                    let linear = Linear::symmetric(Width::Int4, Granularity::Group(size as u32));
                    quantized(&linear, Activations::Float)
                }
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
            Self::Half => pruned(&share(0.5), delta),
            Self::FourFifths => pruned(&share(0.8), delta),
        }
    }
}

impl std::str::FromStr for Form {
    type Err = StageError;

    fn from_str(text: &str) -> Result<Self, StageError> {
        let all = || std::iter::once(Self::Unchanged).chain(Self::NARROWER);
        let found = all().find(|one| one.name() == text);
        found.ok_or_else(|| StageError::Setting {
            what: "form of a weight".to_owned(),
            given: text.to_owned(),
            allowed: all().map(Self::name).collect::<Vec<_>>().join(", "),
        })
    }
}

/// What a form is made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// Weights alone: rounded to nearest, pruned by magnitude.
    Weights,
    /// What the layer is given, too: GPTQ, Wanda.
    Inputs,
}

/// The form of a weight, and what it is made by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Choice {
    /// The weight.
    pub weight: String,
    /// Its form.
    pub form: Form,
    /// What that is made by.
    pub by: By,
}

impl Choice {
    /// `int4 by gptq`, `2:4 by magnitude`, `f32`.
    pub fn name(&self) -> String {
        let by = match (self.form, self.by) {
            (Form::Unchanged, _) => return self.form.name().to_owned(),
            (Form::Int8 | Form::Int4, By::Weights) => "nearest",
            (Form::Int8 | Form::Int4, By::Inputs) => "gptq",
            (Form::TwoFour | Form::Half | Form::FourFifths, By::Weights) => "magnitude",
            (Form::TwoFour | Form::Half | Form::FourFifths, By::Inputs) => "wanda",
        };
        format!("{} by {by}", self.form.name())
    }

    /// The choice of this name for a weight.
    ///
    /// # Errors
    /// [`StageError::Setting`] for a name that [`Self::name`] never gives.
    pub fn named(weight: &str, name: &str) -> Result<Self, StageError> {
        let (form, by) = match name.split_once(" by ") {
            None => (name, By::Weights),
            Some((form, "nearest" | "magnitude")) => (form, By::Weights),
            Some((form, "gptq" | "wanda")) => (form, By::Inputs),
            Some((_, by)) => {
                return Err(StageError::Setting {
                    what: format!("way to the form of {weight}"),
                    given: by.to_owned(),
                    allowed: "nearest, gptq, magnitude, wanda".to_owned(),
                });
            }
        };
        Ok(Self {
            weight: weight.to_owned(),
            form: form.parse()?,
            by,
        })
    }
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
            let made = form.of(("w", &one), None).unwrap().unwrap();
            assert!(made.bytes() < one.bytes(), "{form:?}");
            bytes.push(made.bytes());
            if let Form::Half = form {
                assert_eq!(made.sparsity(), 0.5);
            }
        }
        assert!(bytes[1] < bytes[0], "int4 under int8: {bytes:?}");
        assert_eq!(Form::Int4.of(("w", &weight(8, 12)), None).unwrap(), None);
        let conv = HostTensor::from_f32(vec![2, 2, 1, 1], &[1.0; 4]).unwrap();
        assert_eq!(
            Form::Int8.of(("w", &Stored::Float(conv)), None).unwrap(),
            None
        );
    }

    #[test]
    fn the_name_of_a_choice_gives_it_again() {
        for form in Form::NARROWER {
            for by in [By::Weights, By::Inputs] {
                let weight = "w".to_owned();
                let choice = Choice { weight, form, by };
                assert_eq!(Choice::named("w", &choice.name()).unwrap(), choice);
            }
        }
        let unchanged = Choice::named("w", "f32").unwrap();
        assert_eq!(
            (unchanged.form, unchanged.by),
            (Form::Unchanged, By::Weights)
        );
        for wrong in ["int5", "int4 by luck", ""] {
            assert!(Choice::named("w", wrong).is_err(), "{wrong}");
        }
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
