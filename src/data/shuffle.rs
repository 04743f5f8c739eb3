//! The order in which an epoch visits the samples.

use super::random::{Purpose, stream};
use crate::num::Stream;

/// A permutation of `0..n` that depends on `seed` and `epoch` alone: Fisher and Yates's shuffle with
/// unbiased draws of [`Philox`](crate::num::Philox).
///
/// # Panics
/// If `n` is more than [`MAX_SAMPLES`](super::MAX_SAMPLES), which no
/// [`Dataset`](super::Dataset) has.
#[must_use]
pub fn permutation(n: usize, seed: u64, epoch: u32) -> Vec<u32> {
    assert!(n <= super::MAX_SAMPLES, "{n} samples cannot be numbered");
    let mut order: Vec<u32> = (0..n as u32).collect();
    shuffle(&mut order, &mut stream(seed, Purpose::Shuffle, epoch));
    order
}

/// Shuffles in place; `items` has fewer than 2^32 elements.
pub(super) fn shuffle<T>(items: &mut [T], random: &mut Stream) {
    for last in (1..items.len()).rev() {
        items.swap(last, random.below(last as u32 + 1) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_holds_every_index_once_and_depends_on_seed_and_epoch_alone() {
        let order = permutation(1000, 7, 3);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..1000));
        assert_eq!(order, permutation(1000, 7, 3));
        assert_ne!(order, permutation(1000, 7, 4));
        assert_ne!(order, permutation(1000, 8, 3));
        assert!(permutation(0, 1, 1).is_empty());
    }

    /// The bits are part of the format: a checkpoint resumes in the middle of an epoch.
    #[test]
    fn the_order_of_a_seed_does_not_change_between_versions() {
        assert_eq!(permutation(10, 0, 0), [0, 1, 3, 2, 4, 6, 7, 9, 5, 8]);
    }

    #[test]
    fn every_order_of_four_is_as_likely() {
        let mut counts = std::collections::BTreeMap::new();
        for epoch in 0..24_000 {
            *counts.entry(permutation(4, 11, epoch)).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 24);
        // 1000 each, standard deviation 31.
        assert!(
            counts.values().all(|count| count.abs_diff(1000) < 140),
            "{counts:?}"
        );
    }
}
