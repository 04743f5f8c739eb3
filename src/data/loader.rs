//! Batches of a set, made ahead on a thread.
//!
//! A batch is a function of the set, the options, the epoch and its number. The thread only makes
//! them earlier, one after another into a bounded queue, so their order and bytes do not depend on
//! timing, and training resumes in the middle of an epoch by asking for a later first batch.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use super::augment::Occasion;
use super::{Augmentation, DataError, Dataset, permutation};

/// The order of samples in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As stored, for judging.
    Stored,
    /// Another [`permutation`] in every epoch, for learning.
    Shuffled,
}

/// What becomes of the last samples where they do not fill a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// They make a smaller batch.
    Keep,
    /// They are left out of this epoch.
    Drop,
    /// They are filled up with the first samples of the epoch, so that every batch has one shape;
    /// [`Batch::n_counted`] says how many count.
    Pad,
}

/// How a [`Loader`] makes batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoaderOptions {
    /// Samples in a batch.
    pub batch_size: usize,
    /// Their order.
    pub order: Order,
    /// What becomes of the rest.
    pub last: Last,
    /// Changes to images.
    pub augmentation: Augmentation,
    /// Seed of the order and of the changes.
    pub seed: u64,
    /// Batches kept ready, besides the one in the making.
    pub n_ahead: usize,
}

impl LoaderOptions {
    /// For learning: shuffled, full batches only, two ahead, images as they are.
    #[must_use]
    pub fn learning(batch_size: usize, seed: u64) -> Self {
        Self {
            batch_size,
            order: Order::Shuffled,
            last: Last::Drop,
            augmentation: Augmentation::default(),
            seed,
            n_ahead: 2,
        }
    }

    /// For judging: in order, every sample once, the last batch padded.
    #[must_use]
    pub fn judging(batch_size: usize) -> Self {
        Self {
            order: Order::Stored,
            last: Last::Pad,
            ..Self::learning(batch_size, 0)
        }
    }
}

/// Some samples of a set.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `[n, sample_shape..]`, row-major, no value missing.
    pub inputs: Vec<f32>,
    /// `[n]`, or `[n, length]` for windows of a text.
    pub labels: Vec<u32>,
    /// Row of each sample in the set, `[n]`.
    pub rows: Vec<u32>,
    /// How many of the samples, from the first on, count; the rest are padding.
    pub n_counted: usize,
}

/// Makes the batches of a set.
#[derive(Clone, Debug)]
pub struct Loader {
    data: Arc<Dataset>,
    options: LoaderOptions,
}

impl Loader {
    /// A loader of `data`.
    ///
    /// # Errors
    /// [`DataError::OutOfRange`] unless a batch has from 1 sample to all of them,
    /// [`DataError::Missing`] for a missing value, and what [`Augmentation::check`] refuses.
    pub fn new(data: Arc<Dataset>, options: LoaderOptions) -> Result<Self, DataError> {
        if !(1..=data.n_samples()).contains(&options.batch_size) {
            return Err(DataError::OutOfRange {
                what: "batch size",
                given: options.batch_size,
                least: 1,
                most: data.n_samples(),
            });
        }
        data.require_complete()?;
        options.augmentation.check(data.sample_shape())?;
        Ok(Self { data, options })
    }

    /// The set.
    pub fn data(&self) -> &Dataset {
        &self.data
    }

    /// How batches are made.
    pub fn options(&self) -> &LoaderOptions {
        &self.options
    }

    /// Batches in an epoch, at least one.
    pub fn n_batches(&self) -> usize {
        let (n, size) = (self.data.n_samples(), self.options.batch_size);
        match self.options.last {
            Last::Keep | Last::Pad => n.div_ceil(size),
            Last::Drop => n / size,
        }
    }

    /// All batches of an epoch.
    ///
    /// # Errors
    /// As [`Loader::epoch_from`].
    pub fn epoch(&self, epoch: u32) -> Result<Epoch, DataError> {
        self.epoch_from(epoch, 0)
    }

    /// The batches of an epoch from batch `first` on: what [`Loader::epoch`] gives after `first`
    /// steps.
    ///
    /// # Errors
    /// [`DataError::OutOfRange`] if there are fewer batches than `first`, [`DataError::Thread`] if
    /// no thread can be started.
    pub fn epoch_from(&self, epoch: u32, first: usize) -> Result<Epoch, DataError> {
        let n_batches = self.n_batches();
        if first > n_batches {
            return Err(DataError::OutOfRange {
                what: "first batch",
                given: first,
                least: 0,
                most: n_batches,
            });
        }
        // The queue allocates its places at once.
        let (sender, receiver) = sync_channel(self.options.n_ahead.min(n_batches));
        let loader = self.clone();
        let make_all = move || {
            let order = loader.order(epoch);
            for index in first..n_batches {
                // Nobody waits for the rest of an epoch that was dropped.
                if sender.send(loader.batch(&order, epoch, index)).is_err() {
                    break;
                }
            }
        };
        let thread = thread::Builder::new()
            .name("batches".into())
            .spawn(make_all)
            .map_err(|reason| DataError::Thread { reason })?;
        Ok(Epoch {
            batches: Some(receiver),
            thread: Some(thread),
            n_left: n_batches - first,
        })
    }

    fn order(&self, epoch: u32) -> Vec<u32> {
        let n = self.data.n_samples();
        match self.options.order {
            Order::Stored => (0..n as u32).collect(),
            Order::Shuffled => permutation(n, self.options.seed, epoch),
        }
    }

    fn batch(&self, order: &[u32], epoch: u32, index: usize) -> Batch {
        let LoaderOptions {
            batch_size,
            seed,
            augmentation,
            ..
        } = self.options;
        let begin = index * batch_size;
        let mut rows = order[begin..(begin + batch_size).min(order.len())].to_vec();
        let n_counted = rows.len();
        if self.options.last == Last::Pad {
            rows.extend_from_slice(&order[..batch_size - n_counted]);
        }
        let mut inputs = Vec::with_capacity(rows.len() * self.data.n_features());
        for &row in &rows {
            let begin = inputs.len();
            inputs.extend_from_slice(self.data.sample(row as usize));
            let occasion = Occasion { seed, epoch, row };
            augmentation.apply(&mut inputs[begin..], self.data.sample_shape(), occasion);
        }
        let labels = |&row: &u32| self.data.sample_labels(row as usize).iter().copied();
        Batch {
            labels: rows.iter().flat_map(labels).collect(),
            inputs,
            rows,
            n_counted,
        }
    }
}

/// The batches of an epoch, in order. Dropping it ends its thread.
#[derive(Debug)]
pub struct Epoch {
    /// `None` once it is being dropped.
    batches: Option<Receiver<Batch>>,
    /// `None` once it has ended.
    thread: Option<JoinHandle<()>>,
    n_left: usize,
}

impl Iterator for Epoch {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        if self.n_left == 0 {
            return None;
        }
        let received = self.batches.as_ref()?.recv();
        if let Ok(batch) = received {
            self.n_left -= 1;
            return Some(batch);
        }
        // The thread ended early, which only a bug does: its panic becomes ours.
        self.n_left = 0;
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.n_left, Some(self.n_left))
    }
}

impl ExactSizeIterator for Epoch {}

impl Drop for Epoch {
    fn drop(&mut self) {
        // Without a receiver the thread's next send fails.
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;
