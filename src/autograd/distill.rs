//! What a student learns from a teacher. The teacher's tensors are constants.
//!
//! * Soft targets with the labels: `hard_share CE + (1 - hard_share) T^2 KL` (Hinton et al. 2015).
//! * Logits or hints: squares of the differences, hints through a learned projection, which is a linear layer
//!   before [`Target::Values`] (Romero et al., "FitNets", 2015).
//! * Directions of features: [`Target::Direction`].
//! * Attention transfer: directions of maps of [`nn::channel_energy`] (Zagoruyko and Komodakis 2017).
//!
//! Losses of rows and their weighted sums are f32 whatever the tape stores.

use crate::kernels::elementwise::{Binary, Broadcast};
use crate::kernels::{FloatType, ShapeError};
use crate::ops::nn::{self, Indices, Target};
use crate::ops::{OpError, affine, binary, check_shape};
use crate::record::{Recording, Tensor};

use super::tape::{Backward, Tape, Var};

/// How much a student listens to labels, and how soft its teacher's targets are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SoftTargets {
    /// Weight of the labels, in [0, 1]; the teacher has the rest.
    pub hard_share: f32,
    /// What both logits are divided by; positive.
    pub temperature: f32,
}

/// What a student takes from the logits of its teacher.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TeacherLoss {
    /// The softened distribution.
    SoftTargets(SoftTargets),
    /// The logits themselves: the mean over the classes of squared differences (Ba and Caruana 2014).
    Logits {
        /// Weight of the labels, in [0, 1]; the teacher has the rest.
        hard_share: f32,
    },
}

impl TeacherLoss {
    /// Weight of the labels.
    pub const fn hard_share(self) -> f32 {
        match self {
            Self::SoftTargets(SoftTargets { hard_share, .. }) | Self::Logits { hard_share } => {
                hard_share
            }
        }
    }
}

/// Labels of a batch, of which some may be unknown.
#[derive(Debug, Clone, Copy)]
pub struct RowLabels<'a> {
    /// `[rows]`; any class where it is unknown.
    pub labels: &'a Indices,
    /// f32 `[rows]`: 1 where the label is known, 0 where it is not. `None` when all are.
    pub known: Option<&'a Tensor>,
}

/// How features of a student are compared with those of its teacher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HintLoss {
    /// The mean of squared differences.
    Squares,
    /// 1 less the cosine of both as vectors.
    Cosine,
    /// The mean of squared differences of the maps of their energy over the channels, each of length 1.
    Attention,
}

/// Weights of losses.
#[derive(Debug, Clone)]
enum Share {
    /// The same for all rows.
    All(f32),
    /// f32 `[rows]`
    Rows(Tensor),
}

#[derive(Debug)]
struct WeightedLosses {
    shares: Vec<Share>,
}

#[derive(Debug)]
struct ChannelEnergy {
    x: Tensor,
    out: FloatType,
}

impl Tape {
    /// The loss of each row of a student's logits `[rows, classes]`, f32 `[rows]`: cross-entropy with its label,
    /// and `T^2` times the divergence from the teacher's softened distribution. Without weight, a part costs
    /// nothing.
    ///
    /// # Errors
    /// [`OpError`] for a teacher of another shape, labels of another number, and settings out of range.
    pub fn soft_target_loss(
        &mut self,
        logits: Var,
        labels: &Indices,
        teacher: &Tensor,
        settings: SoftTargets,
    ) -> Result<Var, OpError> {
        let labels = RowLabels {
            labels,
            known: None,
        };
        self.teacher_loss(logits, labels, teacher, TeacherLoss::SoftTargets(settings))
    }

    /// The loss of each row of a student's logits `[rows, classes]`, f32 `[rows]`, by its label and what the
    /// teacher says. A row without a label has the teacher alone, at full weight. Without weight, a part costs
    /// nothing.
    ///
    /// # Errors
    /// [`OpError`] for a teacher of another shape, labels of another number, and settings out of range.
    pub fn teacher_loss(
        &mut self,
        logits: Var,
        RowLabels { labels, known }: RowLabels<'_>,
        teacher: &Tensor,
        loss: TeacherLoss,
    ) -> Result<Var, OpError> {
        let hard_share = loss.hard_share();
        if !(0.0..=1.0).contains(&hard_share) {
            return Err(OpError::Kernel(ShapeError::Unsupported {
                kernel: "row_loss",
                name: "share of the labels",
                value: hard_share.to_string(),
                allowed: "0 to 1",
            }));
        }
        let shape = self.value(logits).shape().to_vec();
        check_shape("teacher_loss", "teacher", teacher, &shape)?;
        if let Some(known) = known {
            let rows = &shape[..shape.len().saturating_sub(1)];
            check_shape("teacher_loss", "known labels", known, rows)?;
        }
        let hard = Target::Labels {
            labels,
            smoothing: 0.0,
        };
        if hard_share == 1.0 && known.is_none() {
            return self.row_loss(logits, hard);
        }
        let (soft, factor) = match loss {
            TeacherLoss::SoftTargets(SoftTargets { temperature, .. }) => {
                let logits = teacher;
                (
                    Target::Teacher {
                        logits,
                        temperature,
                    },
                    1.0,
                )
            }
            TeacherLoss::Logits { .. } => {
                let classes = shape.last().copied().unwrap_or(1);
                (Target::Values(teacher), 1.0 / classes as f32)
            }
        };
        let soft = self.row_loss(logits, soft)?;
        if hard_share == 0.0 {
            return match factor {
                1.0 => Ok(soft),
                _ => self.weighted_losses(&[(soft, Share::All(factor))]),
            };
        }
        let hard = self.row_loss(logits, hard)?;
        let shares = match known {
            None => [
                Share::All(hard_share),
                Share::All((1.0 - hard_share) * factor),
            ],
            Some(known) => {
                let recording = self.recording();
                let line = (-hard_share * factor, factor);
                let out = FloatType::F32;
                [
                    Share::Rows(affine(recording, known, (hard_share, 0.0), out)?),
                    Share::Rows(affine(recording, known, line, out)?),
                ]
            }
        };
        let [of_hard, of_soft] = shares;
        self.weighted_losses(&[(hard, of_hard), (soft, of_soft)])
    }

    /// `losses`, f32 `[items]`, and `weight` times how far each item's features `[items, ..]` are from the
    /// teacher's. Features have the teacher's shape; for [`HintLoss::Attention`] `[items, channels, ..]` with
    /// any channels.
    ///
    /// # Errors
    /// [`OpError`] for features of another shape than the teacher's, and losses of other items.
    pub fn hint_loss(
        &mut self,
        losses: Var,
        features: Var,
        teacher: &Tensor,
        (loss, weight): (HintLoss, f32),
    ) -> Result<Var, OpError> {
        let (rows, factor) = match loss {
            HintLoss::Attention => self.energy_loss(features, teacher)?,
            HintLoss::Squares | HintLoss::Cosine => {
                let shape = self.value(features).shape().to_vec();
                check_shape("hint_loss", "teacher", teacher, &shape)?;
                let (items, rest) = shape.split_first().unwrap_or((&1, &[]));
                let flat = [*items, rest.iter().product()];
                let features = self.reshape(features, &flat)?;
                let teacher = Tensor::of_buffer(teacher.buffer().clone(), teacher.dtype(), &flat);
                match loss {
                    HintLoss::Cosine => {
                        (self.row_loss(features, Target::Direction(&teacher))?, 1.0)
                    }
                    HintLoss::Squares | HintLoss::Attention => {
                        let rows = self.row_loss(features, Target::Values(&teacher))?;
                        (rows, 1.0 / flat[1].max(1) as f32)
                    }
                }
            }
        };
        let shape = self.value(losses).shape().to_vec();
        check_shape("hint_loss", "losses of items", self.value(rows), &shape)?;
        self.weighted_losses(&[
            (losses, Share::All(1.0)),
            (rows, Share::All(weight * factor)),
        ])
    }

    /// The sum of losses, f32 and of one shape, each times its weight.
    fn weighted_losses(&mut self, parts: &[(Var, Share)]) -> Result<Var, OpError> {
        let mut sum: Option<Tensor> = None;
        for (losses, share) in parts {
            let losses = self.value(*losses).clone();
            let recording = self.recording();
            let weighted = share.of(recording, &losses)?;
            let add = (Binary::Add, Broadcast::Full);
            sum = Some(match sum {
                None => weighted,
                Some(sum) => binary(recording, &sum, &weighted, add, FloatType::F32)?,
            });
        }
        let inputs: Vec<Var> = parts.iter().map(|(losses, _)| *losses).collect();
        let shares = parts.iter().map(|(_, share)| share.clone()).collect();
        let sum = sum.unwrap_or_else(|| unreachable!("losses are summed one or more at a time"));
        Ok(self.push(sum, &inputs, Box::new(WeightedLosses { shares })))
    }

    /// Sums of squares over the channels of x `[items, channels, ..]`, f32 `[items, positions]`.
    ///
    /// # Errors
    /// [`OpError`] for no elements or less than two dimensions.
    pub fn channel_energy(&mut self, x: Var) -> Result<Var, OpError> {
        let input = self.value(x).clone();
        let out = self.gradient_storage(x);
        let energy = nn::channel_energy(self.recording(), &input)?;
        Ok(self.push(energy, &[x], Box::new(ChannelEnergy { x: input, out })))
    }

    /// The loss of attention transfer of each item, f32 `[items]`: the mean of squared differences of the
    /// student's and the teacher's maps, each brought to length 1. Features are `[items, channels, ..]` with as
    /// many items and positions; channels may differ.
    ///
    /// # Errors
    /// [`OpError`] for no elements, less than two dimensions, and other items or positions.
    pub fn attention_transfer_loss(&mut self, x: Var, teacher: &Tensor) -> Result<Var, OpError> {
        let (rows, factor) = self.energy_loss(x, teacher)?;
        self.weighted_losses(&[(rows, Share::All(factor))])
    }

    /// Losses of directions of energy, and what makes means of squares of them.
    fn energy_loss(&mut self, x: Var, teacher: &Tensor) -> Result<(Var, f32), OpError> {
        let map = self.channel_energy(x)?;
        let wanted = nn::channel_energy(self.recording(), teacher)?;
        let losses = self.row_loss(map, Target::Direction(&wanted))?;
        let positions = wanted.shape().last().copied().unwrap_or(1);
        // Half the sum of squares is what the loss of directions gives.
        Ok((losses, 2.0 / positions as f32))
    }
}

impl Share {
    fn of(&self, recording: &mut Recording, losses: &Tensor) -> Result<Tensor, OpError> {
        match self {
            Self::All(share) => affine(recording, losses, (*share, 0.0), FloatType::F32),
            Self::Rows(shares) => {
                let multiply = (Binary::Mul, Broadcast::Full);
                binary(recording, losses, shares, multiply, FloatType::F32)
            }
        }
    }
}

impl Backward for WeightedLosses {
    fn backward(
        &self,
        recording: &mut Recording,
        gradient: &Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        let mut made = Vec::new();
        for (share, &wanted) in self.shares.iter().zip(wanted) {
            made.push(match wanted {
                true => Some(share.of(recording, gradient)?),
                false => None,
            });
        }
        Ok(made)
    }
}

impl Backward for ChannelEnergy {
    fn backward(
        &self,
        recording: &mut Recording,
        gradient: &Tensor,
        _: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        let Self { x, out } = self;
        let dx = nn::channel_energy_backward(recording, x, gradient, *out)?;
        Ok(vec![Some(dx)])
    }
}
