//! Products: `y = x w^T + b`, `dx = dy w`, `dw = dy^T x`, `db` the sums of dy's columns; and the same with relu
//! behind it, whose gradient passes where y is above 0.

use crate::kernels::matmul_dense::{Layout, Precision};
use crate::kernels::{Activation, FloatType};
use crate::ops::{LinearOptions, MatmulOptions, OpError, Weight, linear, matmul, nn, transpose};
use crate::record::{Recording, Tensor};

use super::tape::{Backward, Tape, Var};

#[derive(Debug)]
struct Linear {
    x: Tensor,
    weight: Tensor,
    has_bias: bool,
    /// The result, when relu made it.
    rectified: Option<Tensor>,
    /// Types of the gradients of x and the weight.
    out: [FloatType; 2],
}

impl Tape {
    /// A linear layer: x `[m, k]`, weight `[n, k]`, bias f32 `[n]`, result `[m, n]`. Sums are f32.
    ///
    /// # Errors
    /// [`OpError`] for shapes that do not go together.
    pub fn linear(&mut self, x: Var, weight: Var, bias: Option<Var>) -> Result<Var, OpError> {
        self.product(x, (weight, bias), Activation::Identity)
    }

    /// The same with relu behind it, in one launch: to the bits of [`Self::linear`] and
    /// [`Self::activation`].
    ///
    /// # Errors
    /// As [`Self::linear`].
    pub fn linear_relu(&mut self, x: Var, weight: Var, bias: Option<Var>) -> Result<Var, OpError> {
        self.product(x, (weight, bias), Activation::Relu)
    }

    fn product(
        &mut self,
        x: Var,
        (weight, bias): (Var, Option<Var>),
        activation: Activation,
    ) -> Result<Var, OpError> {
        let (x_value, w_value) = (self.operand(x).clone(), self.operand(weight).clone());
        let bias_value = bias.map(|bias| self.value(bias).clone());
        let options = LinearOptions {
            bias: bias_value.as_ref(),
            activation,
            out: self.storage(),
            ..LinearOptions::default()
        };
        let as_weight = Weight::Dense(w_value.clone());
        let y = linear(self.recording(), &x_value, &as_weight, &options)?;
        let inputs: Vec<Var> = [x, weight].into_iter().chain(bias).collect();
        let backward = Linear {
            x: x_value,
            weight: w_value,
            has_bias: bias.is_some(),
            rectified: (activation == Activation::Relu).then(|| y.clone()),
            out: [x, weight].map(|var| self.gradient_storage(var)),
        };
        Ok(self.push(y, &inputs, Box::new(backward)))
    }
}

impl Backward for Linear {
    fn backward(
        &self,
        recording: &mut Recording,
        gradient: &Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        let product = |recording: &mut Recording, a: &Tensor, b: &Tensor, out| {
            let options = MatmulOptions {
                a_layout: Layout::KLast,
                b_layout: Layout::KFirst,
                precision: Precision::Full,
                out,
                ..MatmulOptions::default()
            };
            matmul(recording, a, b, &options)
        };
        let gradient = &match &self.rectified {
            Some(y) => {
                let storage = FloatType::from_dtype(y.dtype()).unwrap_or(FloatType::F32);
                nn::activation_backward(recording, y, gradient, nn::Curve::Relu, storage)?
            }
            None => gradient.clone(),
        };
        // dx [m, k] = dy [m, n] times w [n, k].
        let dx = if wanted[0] {
            Some(product(recording, gradient, &self.weight, self.out[0])?)
        } else {
            None
        };
        // dw [n, k] = dy^T [n, m] times x [m, k]: one transposition is cheaper than reading across rows.
        let dw = if wanted[1] {
            let turned = transpose(recording, gradient)?;
            Some(product(recording, &turned, &self.x, self.out[1])?)
        } else {
            None
        };
        let mut gradients = vec![dx, dw];
        if self.has_bias {
            gradients.push(if wanted[2] {
                Some(nn::column_sums(recording, gradient)?)
            } else {
                None
            });
        }
        Ok(gradients)
    }
}
