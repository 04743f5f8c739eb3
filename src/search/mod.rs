//! Search for settings: which to try next, which tries to give up early, and a journal to go on from.
//!
//! * [`Space`]: names with a [`Domain`] each: choices, integers, reals, on linear or logarithmic scales.
//! * [`Sampler`]: a grid, random draws, or a tree of Parzen estimators ([`TpeOptions`]).
//! * [`MedianPruner`]: gives up trials that do worse than the median did at the same step.
//! * [`cross_validate`]: one value from several folds.
//! * [`Study`]: trials one after another, each kept in a [`Journal`] before the next begins.
//!
//! What is tried is a function of the seed, the number of the trial and the trials before it, so a search
//! that was stopped goes on as if it had not been. Nothing here knows what is being tried.
//!
//! ```
//! use lapidary::search::{
//!     Dimension, Direction, Domain, Ended, Sampler, SearchError, Space, Study, StudyOptions, TpeOptions,
//! };
//!
//! # fn main() -> Result<(), SearchError> {
//! let space = Space::new(vec![Dimension {
//!     name: "x".to_owned(),
//!     domain: Domain::uniform(-4.0, 4.0),
//! }])?;
//! let mut study = Study::new(StudyOptions {
//!     space,
//!     sampler: Sampler::Tpe(TpeOptions::default()),
//!     pruner: None,
//!     direction: Direction::Minimize,
//!     seed: 0,
//! });
//! study.run::<SearchError>(
//!     30,
//!     &mut |proposal, _| {
//!         let x = proposal.real("x").unwrap_or_default();
//!         Ok(Ended::Value((x - 1.0).powi(2)))
//!     },
//!     &mut |_| {},
//! )?;
//! let best = study.best().and_then(|trial| trial.value);
//! assert!(best.is_some_and(|value| value < 0.1));
//! # Ok(())
//! # }
//! ```

mod error;
mod folds;
mod journal;
mod parzen;
mod pruner;
mod sampler;
mod space;
mod study;
mod tpe;
mod trial;

pub use error::SearchError;
pub use folds::cross_validate;
pub use journal::Journal;
pub use pruner::MedianPruner;
pub use sampler::Sampler;
pub use space::{Dimension, Domain, Scale, Space, Value};
pub use study::{Ended, Proposal, Reports, Study, StudyOptions};
pub use tpe::TpeOptions;
pub use trial::{Direction, State, Trial};
