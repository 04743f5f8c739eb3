//! Convolutions: `dx` and `dw` gather what meets them, `db` is the sums of dy's channels.

use crate::kernels::Activation;
use crate::ops::OpError;
use crate::ops::nn::{self, Conv1dOptions, Conv2dOptions, Curve};
use crate::record::{Recording, Tensor};

use super::tape::{Backward, Tape, Var};

#[derive(Debug)]
struct Conv2d {
    x: Tensor,
    weight: Tensor,
    has_bias: bool,
    /// Without an activation; `out` is how the gradient of x is stored.
    options: Conv2dOptions,
}

impl Tape {
    /// A convolution of images, as [`nn::conv2d`] says; the result is stored as the tape stores results,
    /// whatever `options.out` says, and an activation is an operation of its own.
    ///
    /// # Errors
    /// [`OpError`] for shapes and settings that do not go together.
    pub fn conv2d(
        &mut self,
        x: Var,
        weight: Var,
        bias: Option<Var>,
        options: &Conv2dOptions,
    ) -> Result<Var, OpError> {
        let (x_value, w_value) = (self.operand(x).clone(), self.operand(weight).clone());
        let bias_value = bias.map(|bias| self.value(bias).clone());
        let plain = Conv2dOptions {
            activation: Activation::Identity,
            out: self.storage(),
            ..*options
        };
        let recording = self.recording();
        let y = nn::conv2d(recording, &x_value, &w_value, bias_value.as_ref(), &plain)?;
        let inputs: Vec<Var> = [x, weight].into_iter().chain(bias).collect();
        let backward = Conv2d {
            x: x_value,
            weight: w_value,
            has_bias: bias.is_some(),
            options: Conv2dOptions {
                out: self.gradient_storage(x),
                ..plain
            },
        };
        let y = self.push(y, &inputs, Box::new(backward));
        let curve = match options.activation {
            Activation::Identity => return Ok(y),
            Activation::Relu => Curve::Relu,
            Activation::Silu => Curve::Silu,
            Activation::GeluTanh => Curve::GeluTanh,
        };
        self.activation(y, curve)
    }

    /// A convolution of sequences, as [`nn::conv1d`] says: [`Self::conv2d`] of images of one row.
    ///
    /// # Errors
    /// As [`Self::conv2d`].
    pub fn conv1d(
        &mut self,
        x: Var,
        weight: Var,
        bias: Option<Var>,
        options: &Conv1dOptions,
    ) -> Result<Var, OpError> {
        const OP: &str = "conv1d";
        let x_shape = nn::of_one_row(OP, "x", self.value(x).shape())?;
        let w_shape = nn::of_one_row(OP, "weight", self.value(weight).shape())?;
        let (x, weight) = (self.reshape(x, &x_shape)?, self.reshape(weight, &w_shape)?);
        let y = self.conv2d(x, weight, bias, &(*options).into())?;
        let shape = self.value(y).shape().to_vec();
        self.reshape(y, &[&shape[..2], &shape[3..]].concat())
    }
}

impl Backward for Conv2d {
    fn backward(
        &self,
        recording: &mut Recording,
        gradient: &Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        let Self {
            x,
            weight,
            has_bias,
            options,
        } = self;
        let dx = if wanted[0] {
            let shape = x.shape();
            let dx = nn::conv2d_backward_input(recording, gradient, weight, shape, options)?;
            Some(dx)
        } else {
            None
        };
        let dw = if wanted[1] {
            let shape = weight.shape();
            let dw = nn::conv2d_backward_weight(recording, x, gradient, shape, options)?;
            Some(dw)
        } else {
            None
        };
        let mut gradients = vec![dx, dw];
        if *has_bias {
            gradients.push(if wanted[2] {
                Some(nn::channel_sums(recording, gradient)?)
            } else {
                None
            });
        }
        Ok(gradients)
    }
}
