//! Why an optimizer was refused: each message names the number, its value and what is allowed.

/// A refused optimizer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OptimError {
    /// A number outside its range.
    #[error("{optimizer}: {what} = {value}; allowed: {allowed}")]
    OutOfRange {
        /// Optimizer.
        optimizer: &'static str,
        /// Which number.
        what: &'static str,
        /// Its value.
        value: f64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Nesterov momentum without momentum, or with dampening: it would be another method.
    #[error(
        "nesterov: momentum = {momentum}, dampening = {dampening}; allowed: momentum over 0 and dampening 0"
    )]
    Nesterov {
        /// Momentum.
        momentum: f64,
        /// Dampening.
        dampening: f64,
    },
    /// A method that the chosen library does not have.
    #[error("{optimizer}: Keras has no such optimizer; allowed: the PyTorch conventions")]
    NotInKeras {
        /// Optimizer.
        optimizer: &'static str,
    },
    /// A name that is no optimizer.
    #[error("optimizer `{name}`; allowed: {allowed}")]
    Unknown {
        /// The name.
        name: String,
        /// All names.
        allowed: String,
    },
}
