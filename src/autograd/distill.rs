//! What a student learns from a teacher. The teacher's tensors are constants.
//!
//! * Soft targets with the labels: `hard_share CE + (1 - hard_share) T^2 KL` (Hinton et al. 2015).
//! * Logits or hints: squares of the differences, hints through a learned projection, which is a linear layer
//!   before [`Target::Values`] (Romero et al., "FitNets", 2015).
//! * Directions of features: [`Target::Direction`].
//! * Attention transfer: directions of maps of [`nn::channel_energy`] (Zagoruyko and Komodakis 2017).

use crate::kernels::{FloatType, ShapeError};
use crate::ops::nn::{self, Indices, Target};
use crate::ops::{OpError, check_shape};
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
        let SoftTargets {
            hard_share,
            temperature,
        } = settings;
        if !(0.0..=1.0).contains(&hard_share) {
            return Err(OpError::Kernel(ShapeError::Unsupported {
                kernel: "row_loss",
                name: "share of the labels",
                value: hard_share.to_string(),
                allowed: "0 to 1",
            }));
        }
        let shape = self.value(logits).shape().to_vec();
        check_shape("soft_target_loss", "teacher", teacher, &shape)?;
        let hard = Target::Labels {
            labels,
            smoothing: 0.0,
        };
        let soft = Target::Teacher {
            logits: teacher,
            temperature,
        };
        if hard_share == 1.0 {
            return self.row_loss(logits, hard);
        }
        let soft = self.row_loss(logits, soft)?;
        if hard_share == 0.0 {
            return Ok(soft);
        }
        let hard = self.row_loss(logits, hard)?;
        let hard = self.affine(hard, (hard_share, 0.0))?;
        let soft = self.affine(soft, (1.0 - hard_share, 0.0))?;
        self.add(hard, soft)
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
        let map = self.channel_energy(x)?;
        let wanted = nn::channel_energy(self.recording(), teacher)?;
        let losses = self.row_loss(map, Target::Direction(&wanted))?;
        let positions = wanted.shape().last().copied().unwrap_or(1);
        // Half the sum of squares is what the loss of directions gives.
        self.affine(losses, (2.0 / positions as f32, 0.0))
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
