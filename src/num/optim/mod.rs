//! Optimizers: what one training step makes of a parameter, its gradient and its state.
//!
//! Three things are kept apart, so that a recorded step replays with another learning rate:
//!
//! * [`Optimizer`]: the method, its constants, its penalties, and whose conventions it follows.
//! * [`Coefficients`]: the numbers that depend on the step and the learning rate (bias corrections,
//!   the products of Nadam, the rectification of RAdam), made here in f64 and handed to a kernel in
//!   f32, a row of [`ROW`] for each step.
//! * [`UpdateRule`]: the arithmetic on one element, generic over the number type: f64 is the
//!   definition, and a type that also carries an error gives a kernel's bound.
//!
//! A step does, in this order: multiply the gradient by a factor (the inverse of the loss scale,
//! times a clipping factor), clip its value, add the gradients of the L1 and L2 penalties, shrink the
//! parameter by the decoupled weight decay, and apply the rule. Sources: PyTorch 2 `torch.optim`,
//! Keras 3 `keras.optimizers`, and the papers they cite.

mod coefficients;
mod error;
mod method;
mod real;
#[cfg(test)]
mod tests;
mod update;

pub use coefficients::{Coefficients, ROW, SKIPPED};
pub use error::OptimError;
pub use method::{Convention, Method, OPTIMIZERS, Optimizer, Penalty};
pub use real::Real;
pub use update::{Control, UpdateRule, step_element};
