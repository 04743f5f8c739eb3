//! Settings of distillation, checked before anything is trained.

use super::{Cache, Student};
use crate::autograd::{HintLoss, SoftTargets, TeacherLoss};
use crate::compress::model::Model;
use crate::compress::stage::StageError;
use crate::kernels::FloatType;
use crate::models::{Network, Sequential};

/// How a student learns from a teacher.
#[derive(Debug, Clone, PartialEq)]
pub struct DistillOptions {
    /// What it takes from the teacher's logits, and how much it listens to labels.
    pub loss: TeacherLoss,
    /// Features to learn besides.
    pub hint: Option<Hint>,
    /// Only so many samples have labels, as many of each class as their shares say, drawn by the seed; the others
    /// teach by the teacher alone. `None` when all have.
    pub labelled: Option<usize>,
    /// Passes over the training set.
    pub epochs: u32,
    /// Passes over the samples with labels afterwards, by labels alone.
    pub fine_tune_epochs: u32,
    /// Of AdamW, at the first step; it falls to 0 in a line.
    pub learning_rate: f64,
    /// The same of fine-tuning.
    pub fine_tune_rate: f64,
    /// Samples of a step; fewer where there are not as many.
    pub batch_size: usize,
    /// How results between operations are stored.
    pub precision: FloatType,
    /// Where the teacher's outputs are kept.
    pub cache: Option<Cache>,
}

impl Default for DistillOptions {
    /// Soft targets of temperature 4 with a tenth for the labels, ten epochs of batches of 128 at rate 0.002.
    fn default() -> Self {
        Self {
            loss: TeacherLoss::SoftTargets(SoftTargets {
                hard_share: 0.1,
                temperature: 4.0,
            }),
            hint: None,
            labelled: None,
            epochs: 10,
            fine_tune_epochs: 0,
            learning_rate: 0.002,
            fine_tune_rate: 0.0002,
            batch_size: 128,
            precision: FloatType::F32,
            cache: None,
        }
    }
}

/// Features of the teacher that the student learns.
#[derive(Debug, Clone, PartialEq)]
pub struct Hint {
    /// How they are compared. Squares and cosines see the student's through a projection that is trained with it:
    /// a linear layer, or a convolution of 1x1 for images of the same height and width.
    pub loss: HintLoss,
    /// Weight beside the loss of the logits; positive.
    pub weight: f32,
    /// Behind which layer of the teacher and of the student, by index. By default the one before the last with
    /// tensors; for attention transfer the last images of both that have the same height and width.
    pub layers: Option<[usize; 2]>,
}

impl DistillOptions {
    /// Refuses settings out of range, and students of other data than the teacher's.
    pub(super) fn check(&self, teacher: &Model, student: &Student) -> Result<(), StageError> {
        let refuse = |what: &str, given: String, allowed: &str| {
            Err(StageError::Setting {
                what: what.to_owned(),
                given,
                allowed: allowed.to_owned(),
            })
        };
        let (teacher, student) = (teacher.network(), &student.network);
        let of = |network: &Sequential| {
            format!("{:?} in {}", network.sample_shape(), network.n_classes())
        };
        if of(teacher) != of(student) {
            let allowed = format!("{}, as the teacher", of(teacher));
            return refuse("samples and classes of the student", of(student), &allowed);
        }
        let share = self.loss.hard_share();
        if !(0.0..=1.0).contains(&share) {
            return refuse("share of the labels", share.to_string(), "0 to 1");
        }
        if let TeacherLoss::SoftTargets(SoftTargets { temperature, .. }) = self.loss
            && !(temperature > 0.0 && temperature.is_finite())
        {
            return refuse("temperature", temperature.to_string(), "positive numbers");
        }
        if self.epochs == 0 {
            return refuse("epochs", "0".to_owned(), "at least 1");
        }
        if self.batch_size == 0 {
            return refuse("batch size", "0".to_owned(), "at least 1");
        }
        Ok(())
    }
}

impl Hint {
    /// The layers of the teacher and of the student.
    pub(super) fn layers(
        &self,
        teacher: &Sequential,
        student: &Sequential,
    ) -> Result<[usize; 2], StageError> {
        let image = |network: &Sequential, layer: usize| match network.shape_behind(layer) {
            Some([_, height, width]) => Some([*height, *width]),
            _ => None,
        };
        let refuse = |given: String, allowed: &str| {
            Err(StageError::Setting {
                what: "layers of the hint".to_owned(),
                given,
                allowed: allowed.to_owned(),
            })
        };
        let fit = |[t, s]: [usize; 2]| {
            let of_teacher = image(teacher, t);
            of_teacher.is_some() && of_teacher == image(student, s)
        };
        match (self.layers, self.loss) {
            (Some(layers), HintLoss::Attention) if !fit(layers) => {
                let [t, s] = layers;
                let behind = [teacher.shape_behind(t), student.shape_behind(s)];
                let given = format!("{layers:?}, which make {behind:?}");
                refuse(given, "images of the same height and width")
            }
            (Some(layers), _) => Ok(layers),
            (None, HintLoss::Attention) => {
                let n = [teacher, student].map(|network| network.layers().len());
                let mut pairs = (0..n[1])
                    .rev()
                    .flat_map(|s| (0..n[0]).rev().map(move |t| [t, s]));
                match pairs.find(|pair| fit(*pair)) {
                    Some(pair) => Ok(pair),
                    None => refuse(
                        "none".to_owned(),
                        "networks with images of the same height and width",
                    ),
                }
            }
            (None, HintLoss::Squares | HintLoss::Cosine) => {
                match (teacher.last_hidden(), student.last_hidden()) {
                    (Some(t), Some(s)) => Ok([t, s]),
                    _ => refuse("none".to_owned(), "networks with a layer before the logits"),
                }
            }
        }
    }
}
