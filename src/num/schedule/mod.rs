//! Learning rates over time, as pure functions of the time: [`Schedule`] for what is known in advance,
//! [`Plateau`] for what depends on a metric, [`Clock`] for whether time is counted in steps or epochs.
//!
//! Time begins at 0. The definitions are the closed forms of PyTorch 2 `torch.optim.lr_scheduler`;
//! where Keras 3 differs (which side of a boundary, what follows the end) both are there by name.

mod check;
mod plateau;
mod rate;
#[cfg(test)]
mod tests;

pub use check::ScheduleError;
pub use plateau::{Better, Plateau, PlateauRule, Threshold};
pub use rate::{AfterEnd, Anneal, Boundary, Clock, Schedule};
