//! Training: a network, its parameters on a device, and steps that are one plan each.
//!
//! * [`Network`](crate::models::Network): what can be trained; [`Mlp`](crate::models::Mlp) is one.
//! * [`Trainer`]: parameters and optimizer state, which stay on the device; [`Trainer::step`] replays one
//!   plan of forward pass, loss, backward pass and optimizer.
//! * [`fit`]: epochs of a [`Loader`](crate::data::Loader), judged on a test set after each.
//! * [`Checkpoint`]: what is needed to go on to the same bits.
//! * [`Predictor`]: logits of any number of samples.
//!
//! The same seed, data, options and adapter give the same bits: batches and first values are functions of
//! the seed, and every sum has a fixed order. No clock is read here; whoever shows times brings one.
//!
//! ```
//! # #[cfg(feature = "fashion-mnist")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use lapidary::data::{Loader, LoaderOptions, fashion_mnist_subset};
//! use lapidary::engine::CpuEngine;
//! use lapidary::models::Mlp;
//! use lapidary::num::optim::{Convention, Optimizer};
//! use lapidary::ops::nn::Curve;
//! use lapidary::train::{Start, TrainOptions, Trainer};
//!
//! let train = fashion_mnist_subset()?.train.first(64)?;
//! let network = Mlp::new(train.sample_shape(), &[8], train.n_classes(), Curve::Relu)?;
//! let engine = CpuEngine::new();
//! let options = TrainOptions {
//!     batch_size: 32,
//!     steps_per_epoch: 2,
//!     ..TrainOptions::new(Optimizer::named("adamw", Convention::PyTorch)?)
//! };
//! let mut trainer = Trainer::new(&engine, &network, options, Start::Seed)?;
//! let loader = Loader::new(train.into(), LoaderOptions::learning(32, 0))?;
//! for batch in loader.epoch(0)? {
//!     assert!(trainer.step(&batch)?.is_finite());
//! }
//! assert_eq!(trainer.n_steps(), 2);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "fashion-mnist"))]
//! # fn main() {}
//! ```

mod additions;
mod checkpoint;
mod error;
mod fit;
mod memory;
mod options;
mod origin;
mod predictor;
mod progress;
mod step;
mod trainer;

pub use additions::{Additions, Teacher, TeacherHint};
pub use checkpoint::Checkpoint;
pub use error::TrainError;
pub use fit::{EpochReport, Event, Fitted, fit};
pub use memory::TrainingMemory;
pub use options::{LossScale, TrainOptions};
pub use origin::Origin;
pub use predictor::{Evaluation, Placed, Predictor, record_evaluation};
pub use progress::EarlyStopping;
pub use trainer::{Start, Trainer};
