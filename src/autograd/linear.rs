//! Products: `y = x w^T + b`, `dx = dy w`, `dw = dy^T x`, `db` the sums of dy's columns.

use crate::kernels::FloatType;
use crate::kernels::matmul_dense::{Layout, Precision};
use crate::ops::{LinearOptions, MatmulOptions, OpError, Weight, linear, matmul, nn, transpose};
use crate::record::{Recording, Tensor};

use super::tape::{Backward, Tape, Var};

#[derive(Debug)]
struct Linear {
    x: Tensor,
    weight: Tensor,
    has_bias: bool,
}

impl Tape {
    /// A linear layer: x `[m, k]`, weight `[n, k]`, bias `[n]`, result `[m, n]`, all f32.
    ///
    /// # Errors
    /// [`OpError`] for shapes that do not go together.
    pub fn linear(&mut self, x: Var, weight: Var, bias: Option<Var>) -> Result<Var, OpError> {
        let tensor = |var: Var| self.value(var).clone();
        let (x_value, w_value) = (tensor(x), tensor(weight));
        let bias_value = bias.map(tensor);
        let options = LinearOptions {
            bias: bias_value.as_ref(),
            ..LinearOptions::default()
        };
        let as_weight = Weight::Dense(w_value.clone());
        let y = linear(self.recording(), &x_value, &as_weight, &options)?;
        let inputs: Vec<Var> = [x, weight].into_iter().chain(bias).collect();
        let backward = Linear {
            x: x_value,
            weight: w_value,
            has_bias: bias.is_some(),
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
        let product = |recording: &mut Recording, a: &Tensor, b: &Tensor| {
            let options = MatmulOptions {
                a_layout: Layout::KLast,
                b_layout: Layout::KFirst,
                precision: Precision::Full,
                out: FloatType::F32,
                ..MatmulOptions::default()
            };
            matmul(recording, a, b, &options)
        };
        // dx [m, k] = dy [m, n] times w [n, k].
        let dx = if wanted[0] {
            Some(product(recording, gradient, &self.weight)?)
        } else {
            None
        };
        // dw [n, k] = dy^T [n, m] times x [m, k]: one transposition is cheaper than reading across rows.
        let dw = if wanted[1] {
            let turned = transpose(recording, gradient)?;
            Some(product(recording, &turned, &self.x)?)
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
