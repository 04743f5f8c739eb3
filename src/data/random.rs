//! Which random numbers are whose: every purpose reads its own streams of the user's seed.
//!
//! A stream of [`Philox`] has a 64-bit id. Its high half is the purpose, as four letters, which keeps
//! clear of the small ids that other users of a seed count up from; its low half is the epoch or the
//! class.

use crate::num::{Philox, Stream};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The order of samples in an epoch.
    Shuffle,
    /// Which samples of a class validate.
    Split,
    /// The changes to images in an epoch.
    Augment,
}

/// The stream of a purpose in epoch, or for class, `index`.
pub(super) fn stream(seed: u64, purpose: Purpose, index: u32) -> Stream {
    let letters = match purpose {
        Purpose::Shuffle => *b"shuf",
        Purpose::Split => *b"splt",
        Purpose::Augment => *b"augm",
    };
    let id = u64::from(u32::from_be_bytes(letters)) << 32 | u64::from(index);
    Philox::new(seed).stream(id)
}
