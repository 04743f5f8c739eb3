//! Pooling: the gradient of a maximum goes to the first of the largest, that of a mean to all alike.

use crate::kernels::FloatType;
use crate::ops::OpError;
use crate::ops::nn::{self, AverageOver, Pool2dOptions};
use crate::record::{Recording, Tensor};

use super::tape::{Backward, Tape, Var};

#[derive(Debug)]
struct Max {
    x: Tensor,
    options: Pool2dOptions,
}

#[derive(Debug)]
struct Average {
    x_shape: Vec<usize>,
    options: Pool2dOptions,
    over: AverageOver,
}

#[derive(Debug)]
struct Adaptive {
    x_shape: Vec<usize>,
    out: FloatType,
}

impl Tape {
    /// The largest element of each window, as [`nn::max_pool2d`] says, stored as the tape stores results.
    ///
    /// # Errors
    /// [`OpError`] for windows that do not fit.
    pub fn max_pool2d(&mut self, x: Var, options: &Pool2dOptions) -> Result<Var, OpError> {
        let options = Pool2dOptions {
            out: self.storage(),
            ..*options
        };
        let input = self.value(x).clone();
        let y = nn::max_pool2d(self.recording(), &input, &options)?;
        let backward = Max {
            x: input,
            options: Pool2dOptions {
                out: self.gradient_storage(x),
                ..options
            },
        };
        Ok(self.push(y, &[x], Box::new(backward)))
    }

    /// The mean of each window, as [`nn::avg_pool2d`] says, stored as the tape stores results.
    ///
    /// # Errors
    /// [`OpError`] for windows that do not fit.
    pub fn avg_pool2d(
        &mut self,
        x: Var,
        options: &Pool2dOptions,
        over: AverageOver,
    ) -> Result<Var, OpError> {
        let options = Pool2dOptions {
            out: self.storage(),
            ..*options
        };
        let input = self.value(x).clone();
        let y = nn::avg_pool2d(self.recording(), &input, &options, over)?;
        let backward = Average {
            x_shape: input.shape().to_vec(),
            options: Pool2dOptions {
                out: self.gradient_storage(x),
                ..options
            },
            over,
        };
        Ok(self.push(y, &[x], Box::new(backward)))
    }

    /// Means of `[height, width]` windows that share the image, as [`nn::adaptive_avg_pool2d`] says.
    ///
    /// # Errors
    /// [`OpError`] for no windows.
    pub fn adaptive_avg_pool2d(&mut self, x: Var, output: [usize; 2]) -> Result<Var, OpError> {
        let (input, storage) = (self.value(x).clone(), self.storage());
        let y = nn::adaptive_avg_pool2d(self.recording(), &input, output, storage)?;
        let backward = Adaptive {
            x_shape: input.shape().to_vec(),
            out: self.gradient_storage(x),
        };
        Ok(self.push(y, &[x], Box::new(backward)))
    }

    /// The mean of each plane of x `[batch, channels, height, width]`, `[batch, channels]`.
    ///
    /// # Errors
    /// [`OpError`] for less than two dimensions.
    pub fn global_avg_pool(&mut self, x: Var) -> Result<Var, OpError> {
        let means = self.adaptive_avg_pool2d(x, [1; 2])?;
        let shape = self.value(means).shape().to_vec();
        self.reshape(means, &shape[..shape.len() - 2])
    }
}

impl Backward for Max {
    fn backward(
        &self,
        recording: &mut Recording,
        gradient: &Tensor,
        _: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        let dx = nn::max_pool2d_backward(recording, &self.x, gradient, &self.options)?;
        Ok(vec![Some(dx)])
    }
}

impl Backward for Average {
    fn backward(
        &self,
        recording: &mut Recording,
        gradient: &Tensor,
        _: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        let Self {
            x_shape,
            options,
            over,
        } = self;
        let dx = nn::avg_pool2d_backward(recording, gradient, x_shape, options, *over)?;
        Ok(vec![Some(dx)])
    }
}

impl Backward for Adaptive {
    fn backward(
        &self,
        recording: &mut Recording,
        gradient: &Tensor,
        _: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        let Self { x_shape, out } = self;
        let dx = nn::adaptive_avg_pool2d_backward(recording, gradient, x_shape, *out)?;
        Ok(vec![Some(dx)])
    }
}
