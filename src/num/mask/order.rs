//! The one order that scores are compared in, as integers.

use std::cmp::Reverse;

/// The key of a score's bits: larger keys belong to larger scores.
///
/// Subnormals and -0 count as +0, infinities have their places, and every NaN has key 0, below -inf.
/// No score has the key `u32::MAX`.
#[must_use]
pub const fn score_key(bits: u32) -> u32 {
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        0
    } else if magnitude < 0x0080_0000 {
        0x8000_0000
    } else if bits >> 31 == 0 {
        bits | 0x8000_0000
    } else {
        !bits
    }
}

/// The last score that is kept. Scores are told apart by key and then by index, so that a cut-off keeps
/// exactly as many as were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CutOff {
    /// [`score_key`] of the score.
    pub key: u32,
    /// Complement of its index: of equal keys the lower index is larger here.
    pub inverse_index: u32,
}

impl CutOff {
    /// Keeps nothing: no score has this key.
    pub const NOTHING: Self = Self {
        key: u32::MAX,
        inverse_index: u32::MAX,
    };

    /// Whether the score with this key at this index is kept.
    #[must_use]
    pub fn keeps(self, key: u32, index: u32) -> bool {
        (key, !index) >= (self.key, self.inverse_index)
    }
}

/// The cut-off that keeps the `keep` largest scores (all, when there are fewer), given their keys in
/// index order.
#[must_use]
pub fn cut_off(keys: impl Iterator<Item = u32>, keep: usize) -> CutOff {
    let mut ranked: Vec<Reverse<(u32, u32)>> = keys
        .zip(0u32..)
        .map(|(key, index)| Reverse((key, !index)))
        .collect();
    let Some(last) = keep.min(ranked.len()).checked_sub(1) else {
        return CutOff::NOTHING;
    };
    let (_, Reverse((key, inverse_index)), _) = ranked.select_nth_unstable(last);
    CutOff {
        key: *key,
        inverse_index: *inverse_index,
    }
}

/// Which elements of one group are among its `keep` largest: an element is when fewer than `keep` others
/// come before it.
pub fn keeps_of_group(keys: &[u32], keep: usize) -> impl Iterator<Item = bool> + '_ {
    keys.iter().enumerate().map(move |(index, &key)| {
        let before = |(other_index, &other): (usize, &u32)| {
            other > key || (other == key && other_index < index)
        };
        keys.iter().enumerate().filter(|&one| before(one)).count() < keep
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_order_of_the_values() {
        let values = [
            f32::NEG_INFINITY,
            f32::MIN,
            -1.5,
            -f32::MIN_POSITIVE,
            0.0,
            f32::MIN_POSITIVE,
            1.0,
            f32::MAX,
            f32::INFINITY,
        ];
        let keys = values.map(|value| score_key(value.to_bits()));
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:x?}");
        assert!(keys[0] > score_key(f32::NAN.to_bits()) && keys[8] < u32::MAX);
    }

    #[test]
    fn subnormals_and_both_zeros_are_equal_and_so_is_every_nan() {
        for bits in [0x8000_0000, 1, 0x007f_ffff, 0x807f_ffff] {
            assert_eq!(score_key(bits), score_key(0));
        }
        for bits in [0x7f80_0001, 0xff80_0001, u32::MAX] {
            assert_eq!(score_key(bits), 0);
        }
    }

    #[test]
    fn a_cut_off_keeps_as_many_as_asked_lowest_index_first() {
        let keys = [5, 7, 5, 5, 9];
        let kept = |keep| -> Vec<bool> {
            let cut = cut_off(keys.into_iter(), keep);
            (0u32..)
                .zip(keys)
                .map(|(index, key)| cut.keeps(key, index))
                .collect()
        };
        assert_eq!(kept(0), [false; 5]);
        assert_eq!(kept(1), [false, false, false, false, true]);
        assert_eq!(kept(3), [true, true, false, false, true]);
        assert_eq!(kept(4), [true, true, true, false, true]);
        assert_eq!(kept(5), [true; 5]);
        assert_eq!(kept(6), [true; 5]);
    }

    #[test]
    fn a_group_keeps_what_a_cut_off_keeps() {
        let keys = [3, 1, 3, 3, 0, 2, 1, 1];
        for keep in 0..=8 {
            let cut = cut_off(keys.into_iter(), keep);
            let by_cut: Vec<bool> = (0u32..)
                .zip(keys)
                .map(|(index, key)| cut.keeps(key, index))
                .collect();
            assert_eq!(keeps_of_group(&keys, keep).collect::<Vec<_>>(), by_cut);
        }
    }
}
