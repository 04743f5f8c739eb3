//! Normalizations: by statistics of x, and by running statistics.

use crate::kernels::FloatType;
use crate::kernels::elementwise::{Binary, Broadcast};
use crate::ops::nn::{self, NormKind, NormOptions, Running};
use crate::ops::{OpError, affine, binary};
use crate::record::{Recording, Tensor};

use super::tape::{Backward, Tape, Var};

#[derive(Debug)]
struct Norm {
    kind: NormKind,
    x: Tensor,
    gamma: Tensor,
    statistics: Tensor,
    storage: FloatType,
}

#[derive(Debug)]
struct ByRunning {
    x: Tensor,
    gamma: Tensor,
    running: Tensor,
    epsilon: f32,
    storage: FloatType,
}

impl Tape {
    /// Normalizes x and multiplies by `gamma [channels]`, adds `beta [channels]`: both f32. RMS normalization
    /// has no beta. `epsilon` is added to the variance.
    ///
    /// # Errors
    /// [`OpError`] for shapes that do not go together, and a beta where there is none or none where there is
    /// one.
    pub fn norm(
        &mut self,
        x: Var,
        kind: NormKind,
        (gamma, beta): (Var, Option<Var>),
        epsilon: f32,
    ) -> Result<Var, OpError> {
        self.normalized(x, kind, (gamma, beta), (epsilon, None))
    }

    /// Batch normalization of x `[items, channels, ..]` by its own mean and variance, which move the running
    /// statistics. Of a segment, only the first pass moves them.
    ///
    /// # Errors
    /// [`OpError`] for shapes that do not go together.
    pub fn batch_norm(
        &mut self,
        x: Var,
        (gamma, beta): (Var, Var),
        running: Option<Running<'_>>,
        epsilon: f32,
    ) -> Result<Var, OpError> {
        let factors = (gamma, Some(beta));
        self.normalized(x, NormKind::Batch, factors, (epsilon, running))
    }

    fn normalized(
        &mut self,
        x: Var,
        kind: NormKind,
        (gamma, beta): (Var, Option<Var>),
        (epsilon, running): (f32, Option<Running<'_>>),
    ) -> Result<Var, OpError> {
        let tensor = |var: Var| self.value(var).clone();
        let (x_value, gamma_value) = (tensor(x), tensor(gamma));
        let beta_value = beta.map(tensor);
        let storage = self.storage();
        let options = NormOptions {
            kind,
            gamma: &gamma_value,
            beta: beta_value.as_ref(),
            epsilon,
            running: running.filter(|_| !self.is_again()),
            out: storage,
        };
        let made = nn::norm(self.recording(), &x_value, &options)?;
        let inputs: Vec<Var> = [x, gamma].into_iter().chain(beta).collect();
        let backward = Norm {
            kind,
            x: x_value,
            gamma: gamma_value,
            statistics: made.statistics,
            storage,
        };
        Ok(self.push(made.y, &inputs, Box::new(backward)))
    }

    /// Batch normalization of x `[items, channels, ..]` by running statistics, f32 `[channels, 2]`, which stay
    /// as they are: for evaluation, and for frozen layers.
    ///
    /// # Errors
    /// [`OpError`] for shapes that do not go together.
    pub fn norm_by_running(
        &mut self,
        x: Var,
        running: &Tensor,
        (gamma, beta): (Var, Var),
        epsilon: f32,
    ) -> Result<Var, OpError> {
        let tensor = |var: Var| self.value(var).clone();
        let (x_value, gamma_value, beta_value) = (tensor(x), tensor(gamma), tensor(beta));
        let storage = self.storage();
        let factors = (&gamma_value, &beta_value, epsilon);
        let y = nn::norm_by_running(self.recording(), &x_value, running, factors, storage)?;
        let backward = ByRunning {
            x: x_value,
            gamma: gamma_value,
            running: running.clone(),
            epsilon,
            storage,
        };
        Ok(self.push(y, &[x, gamma, beta], Box::new(backward)))
    }
}

impl Backward for Norm {
    fn backward(
        &self,
        recording: &mut Recording,
        gradient: &Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        let operands = (&self.x, &self.statistics, gradient);
        let dx = if wanted[0] {
            let (gamma, out) = (&self.gamma, self.storage);
            Some(nn::norm_backward(
                recording, operands, self.kind, gamma, out,
            )?)
        } else {
            None
        };
        if !wanted[1..].contains(&true) {
            return Ok(vec![dx, None, None]);
        }
        let (gamma, beta) = nn::norm_parameters_backward(recording, operands, self.kind)?;
        Ok(vec![dx, Some(gamma), beta])
    }
}

impl Backward for ByRunning {
    fn backward(
        &self,
        recording: &mut Recording,
        gradient: &Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        let Self {
            x,
            gamma,
            running,
            epsilon,
            storage,
        } = self;
        let dx = if wanted[0] {
            let factors = (gamma, *epsilon);
            Some(nn::norm_by_running_backward(
                recording, gradient, running, factors, *storage,
            )?)
        } else {
            None
        };
        // The factors' gradients are sums of dy times the normalized x.
        let dgamma = if wanted[1] {
            let one = affine(recording, gamma, (0.0, 1.0), FloatType::F32)?;
            let zero = affine(recording, gamma, (0.0, 0.0), FloatType::F32)?;
            let factors = (&one, &zero, *epsilon);
            let normal = nn::norm_by_running(recording, x, running, factors, FloatType::F32)?;
            let multiply = (Binary::Mul, Broadcast::Full);
            let product = binary(recording, &normal, gradient, multiply, FloatType::F32)?;
            Some(nn::channel_sums(recording, &product)?)
        } else {
            None
        };
        let dbeta = if wanted[2] {
            Some(nn::channel_sums(recording, gradient)?)
        } else {
            None
        };
        Ok(vec![dx, dgamma, dbeta])
    }
}
