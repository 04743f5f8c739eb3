//! Rotary positions and gated rows: turned back by the same angles; the gate's slope and the value's factor.

use crate::kernels::FloatType;
use crate::ops::nn::{HeadOrder, RotaryOptions, Rotation};
use crate::ops::{OpError, nn};
use crate::record::{Recording, Tensor};

use super::tape::{Backward, Tape, Var};

#[derive(Debug)]
struct Rotary {
    starts: Tensor,
    table: Tensor,
    rotation: Rotation,
    order: HeadOrder,
    is_backward: bool,
    /// Storage of the gradient: that of x.
    out: FloatType,
}

#[derive(Debug)]
struct Swiglu {
    gate: Tensor,
    value: Tensor,
    storage: FloatType,
}

impl Tape {
    /// Every head of x turned by the angles of its token's position; the result is stored as the tape says,
    /// and all heads are turned, whatever the options do.
    ///
    /// # Errors
    /// [`OpError`] as [`nn::rotary`].
    pub fn rotary(&mut self, x: Var, options: &RotaryOptions<'_>) -> Result<Var, OpError> {
        let input = self.value(x).clone();
        let options = RotaryOptions {
            heads: None,
            out: self.storage(),
            ..options.clone()
        };
        let y = nn::rotary(self.recording(), &input, &options)?;
        let backward = Rotary {
            starts: options.starts.clone(),
            table: options.table.clone(),
            rotation: options.rotation,
            order: options.order,
            is_backward: !options.is_backward,
            out: FloatType::from_dtype(input.dtype()).unwrap_or(FloatType::F32),
        };
        Ok(self.push(y, &[x], Box::new(backward)))
    }

    /// `silu(gate) * value`, of one shape.
    ///
    /// # Errors
    /// [`OpError`] as [`nn::swiglu`].
    pub fn swiglu(&mut self, gate: Var, value: Var) -> Result<Var, OpError> {
        let storage = self.storage();
        let (gate_value, factor) = (self.value(gate).clone(), self.value(value).clone());
        let y = nn::swiglu(self.recording(), &gate_value, &factor, storage)?;
        let backward = Swiglu {
            gate: gate_value,
            value: factor,
            storage,
        };
        Ok(self.push(y, &[gate, value], Box::new(backward)))
    }
}

impl Backward for Rotary {
    fn backward(
        &self,
        recording: &mut Recording,
        gradient: &Tensor,
        _: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        let options = RotaryOptions {
            starts: &self.starts,
            table: &self.table,
            rotation: self.rotation,
            order: self.order,
            heads: None,
            is_backward: self.is_backward,
            out: self.out,
        };
        Ok(vec![Some(nn::rotary(recording, gradient, &options)?)])
    }
}

impl Backward for Swiglu {
    fn backward(
        &self,
        recording: &mut Recording,
        gradient: &Tensor,
        _: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        let inputs = [&self.gate, &self.value];
        let made = nn::swiglu_backward(recording, inputs, gradient, self.storage)?;
        Ok(made.map(Some).to_vec())
    }
}
