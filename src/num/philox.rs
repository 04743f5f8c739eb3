//! Philox4x32-10, a counter-based random generator: block `i` of a key is a pure function of `(key,
//! i)`.
//!
//! One round maps the counter `(c0, c1, c2, c3)` with key `(k0, k1)` to `(hi(M1 c2) ^ c1 ^ k0,
//! lo(M1 c2), hi(M0 c0) ^ c3 ^ k1, lo(M0 c0))`, where `hi` and `lo` are the halves of a 64-bit
//! product; the key grows by the Weyl constants `(W0, W1)` between rounds, of which there are ten.
//!
//! There is no state to carry along, so any element can be drawn by any thread in any order and
//! integers agree bit for bit wherever they are computed. Source: Salmon, Moraes, Dror, Shaw,
//! "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), and the known-answer vectors of its
//! Random123 library.

use std::ops::RangeInclusive;

const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
const N_ROUNDS: u32 = 10;
const WORDS_PER_BLOCK: u64 = 4;

/// A keyed Philox4x32-10 function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Philox {
    key: [u32; 2],
}

impl Philox {
    /// The generator of a seed: the low 32 bits are key word 0, the high 32 bits key word 1.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            key: [seed as u32, (seed >> 32) as u32],
        }
    }

    /// The key words, as a kernel wants them.
    #[must_use]
    pub fn key(&self) -> [u32; 2] {
        self.key
    }

    /// The four random words of a counter; word 0 of the counter is its least significant.
    #[must_use]
    pub fn block(&self, counter: [u32; 4]) -> [u32; 4] {
        let [mut k0, mut k1] = self.key;
        let [mut c0, mut c1, mut c2, mut c3] = counter;
        for _ in 0..N_ROUNDS {
            let product0 = u64::from(MULTIPLIERS[0]) * u64::from(c0);
            let product1 = u64::from(MULTIPLIERS[1]) * u64::from(c2);
            c0 = (product1 >> 32) as u32 ^ c1 ^ k0;
            c1 = product1 as u32;
            c2 = (product0 >> 32) as u32 ^ c3 ^ k1;
            c3 = product0 as u32;
            k0 = k0.wrapping_add(WEYL[0]);
            k1 = k1.wrapping_add(WEYL[1]);
        }
        [c0, c1, c2, c3]
    }

    /// An independent sequence of 2^66 words; `id` fills counter words 2 and 3, the position words
    /// 0 and 1.
    #[must_use]
    pub fn stream(&self, id: u64) -> Stream {
        Stream {
            philox: *self,
            id,
            block_index: 0,
            block: [0; 4],
            used: WORDS_PER_BLOCK as usize,
        }
    }
}

/// A sequence of words read off a [`Philox`] in counter order, with the usual distributions on top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    philox: Philox,
    id: u64,
    /// Counter of the next block to make.
    block_index: u64,
    block: [u32; 4],
    /// Words of `block` already handed out.
    used: usize,
}

impl Stream {
    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == self.block.len() {
            let [index, id] = [self.block_index, self.id];
            self.block = self.philox.block([
                index as u32,
                (index >> 32) as u32,
                id as u32,
                (id >> 32) as u32,
            ]);
            self.block_index = self.block_index.wrapping_add(1);
            self.used = 0;
        }
        let word = self.block[self.used];
        self.used += 1;
        word
    }

    /// Moves to word `position` of the stream, counted from its start.
    pub fn seek(&mut self, position: u64) {
        self.block_index = position / WORDS_PER_BLOCK;
        self.used = self.block.len();
        for _ in 0..position % WORDS_PER_BLOCK {
            self.next_u32();
        }
    }

    /// Uniform in [0, 1): the top 24 bits of one word times 2^-24, so every value is exact in f32.
    pub fn uniform(&mut self) -> f32 {
        const STEP: f32 = 1.0 / 16_777_216.0;
        (self.next_u32() >> 8) as f32 * STEP
    }

    /// Standard normal by Box-Muller in f64: `sqrt(-2 ln u) cos(2 pi v)` with `u` in (0, 1],
    /// rounded to f32.
    ///
    /// Takes exactly two words and discards the sine twin, so that element `i` of a tensor is at
    /// word `2i`. Magnitudes end at sqrt(64 ln 2) = 6.66. The words are the same everywhere; `ln`
    /// and `cos` belong to the platform and may differ in the last bit of the f64.
    pub fn normal(&mut self) -> f32 {
        const STEP: f64 = 1.0 / 4_294_967_296.0;
        let u = (f64::from(self.next_u32()) + 1.0) * STEP;
        let v = f64::from(self.next_u32()) * STEP;
        ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
    }

    /// Uniform in `0..bound`, without bias: Lemire's multiply and reject (ACM TOMACS 29(1), 2019).
    ///
    /// # Panics
    /// If `bound` is zero, which is a bug of the caller.
    pub fn below(&mut self, bound: u32) -> u32 {
        assert!(bound > 0, "an empty range has no random element");
        let reject_below = bound.wrapping_neg() % bound;
        loop {
            let product = u64::from(self.next_u32()) * u64::from(bound);
            if product as u32 >= reject_below {
                return (product >> 32) as u32;
            }
        }
    }

    /// Uniform among the integers of `range`, both ends included, without bias.
    ///
    /// # Panics
    /// If `range` is empty, which is a bug of the caller.
    pub fn integer(&mut self, range: RangeInclusive<i32>) -> i32 {
        assert!(
            range.start() <= range.end(),
            "an empty range has no random element"
        );
        match range.end().abs_diff(*range.start()).checked_add(1) {
            Some(count) => range.start().wrapping_add_unsigned(self.below(count)),
            None => self.next_u32() as i32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_known_answers_of_random123() {
        let zeros = Philox { key: [0; 2] }.block([0; 4]);
        assert_eq!(zeros, [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let ones = Philox { key: [u32::MAX; 2] }.block([u32::MAX; 4]);
        assert_eq!(ones, [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = Philox {
            key: [0xa409_3822, 0x299f_31d0],
        };
        assert_eq!(
            pi.block([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn the_seed_is_the_key_low_word_first() {
        assert_eq!(
            Philox::new(0x0123_4567_89ab_cdef).key(),
            [0x89ab_cdef, 0x0123_4567]
        );
    }

    #[test]
    fn a_stream_is_the_blocks_in_counter_order() {
        let philox = Philox::new(7);
        let mut stream = philox.stream(0x5_0000_0003);
        let words: Vec<u32> = (0..12).map(|_| stream.next_u32()).collect();
        for index in 0..3u32 {
            let block = philox.block([index, 0, 3, 5]);
            assert_eq!(words[4 * index as usize..][..4], block);
        }
    }

    #[test]
    fn seeking_lands_on_the_word_of_that_position() {
        let mut from_start = Philox::new(1).stream(0);
        let words: Vec<u32> = (0..20).map(|_| from_start.next_u32()).collect();
        let mut sought = Philox::new(1).stream(0);
        for position in [13, 4, 0, 19] {
            sought.seek(position);
            assert_eq!(sought.next_u32(), words[position as usize]);
        }
    }

    #[test]
    fn seeds_and_streams_differ() {
        let first = |seed, id| Philox::new(seed).stream(id).next_u32();
        assert_ne!(first(1, 0), first(2, 0));
        assert_ne!(first(1, 0), first(1, 1));
    }

    #[test]
    fn uniform_stays_in_range_with_the_right_moments() {
        let mut stream = Philox::new(42).stream(0);
        let draws: Vec<f64> = (0..40_000).map(|_| f64::from(stream.uniform())).collect();
        assert!(draws.iter().all(|x| (0.0..1.0).contains(x)));
        let mean = draws.iter().sum::<f64>() / 40_000.0;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 40_000.0;
        assert!((mean - 0.5).abs() < 0.006, "{mean}");
        assert!((variance - 1.0 / 12.0).abs() < 0.002, "{variance}");
    }

    #[test]
    fn normal_has_the_right_moments_and_takes_two_words() {
        let mut stream = Philox::new(42).stream(1);
        let draws: Vec<f64> = (0..40_000).map(|_| f64::from(stream.normal())).collect();
        let moment = |power| draws.iter().map(|x| x.powi(power)).sum::<f64>() / 40_000.0;
        assert!(moment(1).abs() < 0.02, "{}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.03, "{}", moment(2));
        assert!((moment(4) - 3.0).abs() < 0.2, "{}", moment(4));
        let mut same = Philox::new(42).stream(1);
        same.seek(2 * 100);
        assert_eq!(f64::from(same.normal()), draws[100]);
    }

    #[test]
    fn integers_cover_their_range_evenly() {
        let mut stream = Philox::new(3).stream(0);
        let mut counts = [0u32; 7];
        for _ in 0..14_000 {
            counts[(stream.integer(-3..=3) + 3) as usize] += 1;
        }
        assert!(
            counts.iter().all(|&count| count.abs_diff(2000) < 200),
            "{counts:?}"
        );
        assert_eq!(stream.below(1), 0);
        assert_eq!(stream.integer(5..=5), 5);
        let extremes: Vec<i32> = (0..64)
            .map(|_| stream.integer(i32::MIN..=i32::MAX))
            .collect();
        assert!(extremes.iter().any(|&x| x < 0) && extremes.iter().any(|&x| x > 0));
    }
}
