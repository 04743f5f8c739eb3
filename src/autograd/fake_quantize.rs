//! Fake quantization, straight through: `dx = dy` where clamping changed nothing, and learned scales.

use crate::kernels::FloatType;
use crate::kernels::elementwise::{Binary, Broadcast};
use crate::num::{ScaleType, Scheme};
use crate::ops::nn::{self, Coding, FakeQuantizeGradients, Scales, ScalesOf};
use crate::ops::{OpError, binary};
use crate::record::{Recording, Tensor};

use super::tape::{Backward, Tape, Var};

#[derive(Debug)]
struct FakeQuantize {
    x: Tensor,
    scales: Tensor,
    zeros: Option<Tensor>,
    coding: Coding,
    out: FloatType,
}

/// Rounding of learned scales, which their gradient goes straight through.
#[derive(Debug)]
struct StoredScales {
    signs: Tensor,
}

impl Tape {
    /// x with the values of a quantized tensor, under scales that are constants (activations with static
    /// ranges) or parameters: those are learned (Esser et al. 2020). `scales` is f32 `[scales]`, zero points
    /// are i8 `[scales]`.
    ///
    /// # Errors
    /// [`OpError`] for tensors without elements, rows that groups do not divide, and scales or zero points of
    /// another number or type.
    pub fn fake_quantize(
        &mut self,
        x: Var,
        scales: Var,
        zeros: Option<&Tensor>,
        coding: Coding,
    ) -> Result<Var, OpError> {
        let (input, storage) = (self.value(x).clone(), self.storage());
        let backward = FakeQuantize {
            scales: self.value(scales).clone(),
            zeros: zeros.cloned(),
            coding,
            out: if coding.run(input.shape()).is_multiple_of(2) {
                self.gradient_storage(x)
            } else {
                FloatType::F32
            },
            x: input,
        };
        let given = backward.given();
        let y = nn::fake_quantize(self.recording(), &backward.x, &given, coding, storage)?;
        Ok(self.push(y, &[x, scales], Box::new(backward)))
    }

    /// The same under scales that each pass makes of x itself: dynamic ranges, which the gradient takes as
    /// constants. For activations of an int8 product see [`Coding::INT8_ROWS`].
    ///
    /// # Errors
    /// As [`Self::fake_quantize`], and for the rule of both ends.
    pub fn fake_quantize_by_largest(
        &mut self,
        x: Var,
        (coding, of): (Coding, ScalesOf),
    ) -> Result<Var, OpError> {
        let input = self.value(x).clone();
        let scales = nn::quant_scales(self.recording(), &input, coding, of)?;
        let scales = self.constant(&scales);
        self.fake_quantize(x, scales, None, coding)
    }

    /// Learned scales, f32 `[scales]`, as they are stored: positive, rounded to their type, then of the `signs` 1 and
    /// -1. Gradients go straight through to what is learned, also where it has fallen below the smallest scale.
    ///
    /// # Errors
    /// [`OpError`] for scales and signs that are not f32, have no elements or other shapes.
    pub fn stored_scales(
        &mut self,
        learned: Var,
        signs: &Tensor,
        scale_type: ScaleType,
    ) -> Result<Var, OpError> {
        let value = self.value(learned).clone();
        let stored = nn::stored_scales(self.recording(), &value, signs, scale_type)?;
        let backward = StoredScales {
            signs: signs.clone(),
        };
        Ok(self.push(stored, &[learned], Box::new(backward)))
    }

    /// A weight with the values that quantizing it under `scheme` gives, bit for bit where results are stored
    /// as f32: what is exported under the scheme computes what was trained.
    ///
    /// # Errors
    /// As [`Self::fake_quantize_by_largest`], and for what [`Coding::of_scheme`] refuses.
    pub fn fake_quantize_weight(&mut self, weight: Var, scheme: &Scheme) -> Result<Var, OpError> {
        let coding = Coding::of_scheme(scheme)?;
        self.fake_quantize_by_largest(weight, coding)
    }
}

impl FakeQuantize {
    const fn given(&self) -> Scales<'_> {
        Scales {
            scales: &self.scales,
            zeros: self.zeros.as_ref(),
        }
    }
}

impl Backward for FakeQuantize {
    fn backward(
        &self,
        recording: &mut Recording,
        gradient: &Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradients = FakeQuantizeGradients {
            learned: wanted[1],
            out: self.out,
        };
        let (dx, dscale) = nn::fake_quantize_backward(
            recording,
            (&self.x, gradient),
            &self.given(),
            self.coding,
            gradients,
        )?;
        Ok(vec![Some(dx), dscale])
    }
}

impl Backward for StoredScales {
    fn backward(
        &self,
        recording: &mut Recording,
        gradient: &Tensor,
        _: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        let signed = (Binary::Mul, Broadcast::Full);
        let learned = binary(recording, gradient, &self.signs, signed, FloatType::F32)?;
        Ok(vec![Some(learned)])
    }
}
