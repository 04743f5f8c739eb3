//! Labelled data, from files to the batches that training reads.
//!
//! * [`Dataset`]: samples of one shape with a class each; [`TrainTest`] is a pair of them.
//! * Sources: [`load`] for the folder a user names, [`load_csv`] and [`load_safetensors`] for single
//!   files, [`load_text`] for windows of texts, [`fashion_mnist_subset`] for the images built into the library.
//! * Preparation: [`clean`] (duplicates, missing values), [`anova`] (which features tell classes
//!   apart), [`Standardization`], [`split`] (validation sets and folds).
//! * [`Loader`]: shuffled, augmented batches made ahead on a thread.
//!
//! Whatever is random is a function of a seed, an epoch and a sample, drawn from a counter; neither
//! threads nor batch sizes change it.
//!
//! ```
//! # #[cfg(feature = "fashion-mnist")]
//! # fn main() -> Result<(), lapidary::data::DataError> {
//! use lapidary::data::{Augmentation, Loader, LoaderOptions, Standardization, StandardizeBy};
//!
//! let mut train = lapidary::data::fashion_mnist_subset()?.train;
//! let statistics = Standardization::fit(&train, StandardizeBy::Whole)?;
//! statistics.apply(&mut train)?;
//! let augmentation = Augmentation {
//!     max_shift: 2,
//!     flip_probability: 0.5,
//!     fill: statistics.value(0, 0.0), // black
//!     ..Augmentation::default()
//! };
//! let options = LoaderOptions {
//!     augmentation,
//!     ..LoaderOptions::learning(128, 42)
//! };
//! let loader = Loader::new(train.into(), options)?;
//! assert_eq!(loader.n_batches(), 78);
//! let batch = loader.epoch(0)?.next().expect("78 batches");
//! assert_eq!(batch.inputs.len(), 128 * 28 * 28);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "fashion-mnist"))]
//! # fn main() {}
//! ```

pub mod anova;
mod augment;
pub mod clean;
mod convert;
mod dataset;
mod error;
#[cfg(feature = "fashion-mnist")]
mod fashion_mnist;
mod idx;
mod load;
mod loader;
mod random;
mod shuffle;
pub mod split;
mod standardize;
mod stored;
mod table;
mod text;
mod train_test;

pub use augment::Augmentation;
pub use dataset::{Dataset, MAX_CLASSES, MAX_SAMPLES};
pub use error::DataError;
#[cfg(feature = "fashion-mnist")]
pub use fashion_mnist::fashion_mnist_subset;
pub use idx::{load_idx, load_idx_folder, load_idx_images};
pub use load::{LoadOptions, load};
pub use loader::{Batch, Epoch, Last, Loader, LoaderOptions, Order};
pub use shuffle::permutation;
pub use standardize::{Standardization, StandardizeBy};
pub use stored::{load_safetensors, save_safetensors};
pub use table::{from_table, load_csv};
pub use text::load_text;
pub use train_test::TrainTest;
