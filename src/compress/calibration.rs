//! What calibration remembers of a layer's inputs: ranges, a histogram, and sums for each feature.
//!
//! Nothing depends on how samples were cut into batches. The histogram reaches to a power of two and
//! doubles its reach by merging pairs of bins, so it is the same whichever batch was the largest; sums are
//! f64 in the order of samples.

use super::CompressError;
use super::quantize::{Range, RangeChoice, Width, kl};

/// Bins of magnitudes. The reach is less than twice the largest magnitude, so at least half of them, the
/// 2048 that a divergence is taken over, are in use.
const BINS: usize = 4096;

/// Statistics of the inputs `[m, k]` of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    k: usize,
    n_samples: u64,
    min: f32,
    max: f32,
    /// What the histograms reach to: a power of two above every magnitude, 0 before the first.
    reach: f64,
    /// Counts of positive and of negative values; zeros are in neither.
    positive: Vec<u64>,
    negative: Vec<u64>,
    /// For each feature: largest magnitude, sum, sum of magnitudes, sum of squares.
    amax: Vec<f32>,
    sums: Vec<f64>,
    abs_sums: Vec<f64>,
    squares: Vec<f64>,
}

impl Calibration {
    /// No samples yet.
    #[must_use]
    pub fn new(k: usize) -> Self {
        Self {
            k,
            n_samples: 0,
            min: 0.0,
            max: 0.0,
            reach: 0.0,
            positive: vec![0; BINS],
            negative: vec![0; BINS],
            amax: vec![0.0; k],
            sums: vec![0.0; k],
            abs_sums: vec![0.0; k],
            squares: vec![0.0; k],
        }
    }

    /// Adds inputs `x [m, k]`.
    ///
    /// # Errors
    /// [`CompressError`] naming `tensor` for a length that is not whole rows, NaN and infinities; nothing
    /// is added then.
    pub fn add(&mut self, tensor: &str, x: &[f32]) -> Result<(), CompressError> {
        let k = self.k.max(1);
        let m = x.len() / k;
        CompressError::check_len(tensor, "activations", x.len(), m * self.k)?;
        CompressError::check_finite(tensor, "activation", x)?;
        for sample in x.chunks_exact(k) {
            for (column, &value) in sample.iter().enumerate() {
                let (wide, magnitude) = (f64::from(value), value.abs());
                self.min = self.min.min(value);
                self.max = self.max.max(value);
                self.amax[column] = self.amax[column].max(magnitude);
                self.sums[column] += wide;
                self.abs_sums[column] += f64::from(magnitude);
                self.squares[column] += wide * wide;
                self.count(wide);
            }
        }
        self.n_samples += m as u64;
        Ok(())
    }

    fn count(&mut self, value: f64) {
        let magnitude = value.abs();
        if magnitude == 0.0 {
            return;
        }
        if self.reach == 0.0 {
            self.reach = f64::from(f32::from_bits(1));
        }
        while magnitude >= self.reach {
            self.reach *= 2.0;
            merge_pairs(&mut self.positive);
            merge_pairs(&mut self.negative);
        }
        let bin = (magnitude / self.reach * BINS as f64) as usize;
        if value > 0.0 {
            self.positive[bin] += 1;
        } else {
            self.negative[bin] += 1;
        }
    }

    /// Input features.
    #[must_use]
    pub const fn k(&self) -> usize {
        self.k
    }

    /// Samples added.
    #[must_use]
    pub const fn n_samples(&self) -> u64 {
        self.n_samples
    }

    /// From the smallest to the largest value seen, 0 included.
    #[must_use]
    pub fn full_range(&self) -> Range {
        Range::new(f64::from(self.min), f64::from(self.max))
    }

    /// Largest magnitude of each feature.
    #[must_use]
    pub fn amax(&self) -> &[f32] {
        &self.amax
    }

    /// Mean of each feature; zeros without samples.
    #[must_use]
    pub fn mean(&self) -> Vec<f64> {
        self.per_sample(&self.sums)
    }

    /// Mean magnitude of each feature.
    #[must_use]
    pub fn mean_abs(&self) -> Vec<f64> {
        self.per_sample(&self.abs_sums)
    }

    /// Mean square of each feature.
    #[must_use]
    pub fn mean_square(&self) -> Vec<f64> {
        self.per_sample(&self.squares)
    }

    /// Features that were zero in every sample.
    #[must_use]
    pub fn dead(&self) -> Vec<usize> {
        (0..self.k)
            .filter(|&column| self.amax[column] == 0.0)
            .collect()
    }

    fn per_sample(&self, sums: &[f64]) -> Vec<f64> {
        let count = self.n_samples.max(1) as f64;
        sums.iter().map(|sum| sum / count).collect()
    }

    /// The range that static activation codes of `width` should cover. Percentiles, errors and
    /// divergences are of the histogram, whose bins are at most 1/2048 of the largest magnitude wide;
    /// errors are of symmetric codes.
    ///
    /// Zeros have a code under every range, so they take no part in any choice; a tensor of zeros has the
    /// range 0.
    ///
    /// # Errors
    /// [`CompressError`] naming `tensor`: a choice out of range, no samples, and fewer values than a
    /// choice by histogram needs: 2048, or for a percentile as many as leave one value out.
    pub fn range(
        &self,
        tensor: &str,
        width: Width,
        choice: RangeChoice,
    ) -> Result<Range, CompressError> {
        self.check_choice(tensor, choice)?;
        let full = self.full_range();
        if full.is_zero() {
            return Ok(full);
        }
        match choice {
            RangeChoice::MinMax => Ok(full),
            RangeChoice::Percentile(share) => Ok(self.cut(full, self.percentile(share))),
            RangeChoice::Mse {
                grid,
                max_shrink,
                norm,
            } => {
                let steps = (1..grid).map(|step| f64::from(step) / f64::from(grid));
                let mut best = (full, self.error(full.amax(), width, norm));
                for cut in steps.take_while(|&cut| cut <= max_shrink) {
                    let range = full.scaled(1.0 - cut);
                    let error = self.error(range.amax(), width, norm);
                    if error < best.1 {
                        best = (range, error);
                    }
                }
                Ok(best.0)
            }
            RangeChoice::Kl => {
                let bins = kl::bins_to_keep(&self.magnitudes(), kl::n_levels(width));
                Ok(self.cut(full, bins as f64 * self.bin_width()))
            }
        }
    }

    /// Whether there are values enough to choose a [`range`](Self::range) by.
    ///
    /// # Errors
    /// As [`range`](Self::range).
    pub fn check_choice(&self, tensor: &str, choice: RangeChoice) -> Result<(), CompressError> {
        choice.check(tensor)?;
        self.check_samples(tensor)?;
        if self.full_range().is_zero() {
            return Ok(());
        }
        let needs = |what, needed| self.check_values(tensor, what, needed);
        match choice {
            RangeChoice::MinMax => Ok(()),
            RangeChoice::Percentile(share) => match 1.0 - share {
                left_out if left_out > 0.0 => needs("a percentile", (1.0 / left_out).ceil() as u64),
                _ => Ok(()),
            },
            RangeChoice::Mse { .. } => needs("a range by error", kl::MIN_VALUES),
            RangeChoice::Kl => needs("a range by divergence", kl::MIN_VALUES),
        }
    }

    /// A full range cut off beyond a magnitude.
    fn cut(&self, full: Range, amax: f64) -> Range {
        Range::new(full.low.max(-amax), full.high.min(amax))
    }

    fn bin_width(&self) -> f64 {
        self.reach / BINS as f64
    }

    fn magnitudes(&self) -> Vec<u64> {
        let both = |(positive, negative): (&u64, &u64)| positive + negative;
        self.positive.iter().zip(&self.negative).map(both).collect()
    }

    /// The magnitude below which this share of the values that are not zero lies, by bins.
    fn percentile(&self, share: f64) -> f64 {
        let magnitudes = self.magnitudes();
        let total: u64 = magnitudes.iter().sum();
        let wanted = share * total as f64;
        let mut below = 0.0;
        for (bin, &count) in magnitudes.iter().enumerate() {
            let count = count as f64;
            if below + count >= wanted && count > 0.0 {
                let inside = (wanted - below) / count;
                return (bin as f64 + inside) * self.bin_width();
            }
            below += count;
        }
        self.reach
    }

    /// `sum |x - Q(x)|^norm` over the centres of bins, `Q` symmetric codes to `amax`.
    fn error(&self, amax: f64, width: Width, norm: f64) -> f64 {
        let largest = f64::from(width.max());
        let scale = amax / largest;
        let mut sum = 0.0;
        for (bin, &count) in self.magnitudes().iter().enumerate() {
            if count > 0 {
                let centre = (bin as f64 + 0.5) * self.bin_width();
                let code = (centre / scale).round_ties_even().min(largest);
                sum += count as f64 * (centre - code * scale).abs().powf(norm);
            }
        }
        sum
    }

    fn check_samples(&self, tensor: &str) -> Result<(), CompressError> {
        if self.n_samples > 0 {
            return Ok(());
        }
        Err(CompressError::TooFew {
            tensor: tensor.to_owned(),
            what: "a range",
            found: 0,
            needed: 1,
        })
    }

    fn check_values(
        &self,
        tensor: &str,
        what: &'static str,
        needed: u64,
    ) -> Result<(), CompressError> {
        let found = self.magnitudes().iter().sum();
        if found >= needed {
            return Ok(());
        }
        Err(CompressError::TooFew {
            tensor: tensor.to_owned(),
            what,
            found,
            needed,
        })
    }

    /// Refuses statistics of a layer of another width, and of no samples.
    pub(super) fn check(&self, tensor: &str, k: usize) -> Result<(), CompressError> {
        CompressError::check_len(tensor, "calibrated features", self.k, k)?;
        self.check_samples(tensor)
    }
}

/// The histogram of twice the reach.
fn merge_pairs(histogram: &mut [u64]) {
    let half = histogram.len() / 2;
    for bin in 0..half {
        histogram[bin] = histogram[2 * bin] + histogram[2 * bin + 1];
    }
    histogram[half..].fill(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::Philox;

    fn normal(count: usize, id: u64) -> Vec<f32> {
        let mut stream = Philox::new(6).stream(id);
        (0..count).map(|_| stream.normal()).collect()
    }

    #[test]
    fn batches_and_their_order_do_not_change_the_histogram() {
        let mut x = normal(600 * 4, 0);
        x[77] = -30.0;
        x[1200] = 1e-30;
        let mut whole = Calibration::new(4);
        whole.add("x", &x).unwrap();
        let mut parts = Calibration::new(4);
        for batch in x.chunks(4 * 70) {
            parts.add("x", batch).unwrap();
        }
        assert_eq!(whole, parts);
        let mut reversed = Calibration::new(4);
        for batch in x.chunks(4 * 70).rev() {
            reversed.add("x", batch).unwrap();
        }
        assert_eq!(whole.positive, reversed.positive);
        assert_eq!(whole.negative, reversed.negative);
        assert_eq!((whole.reach, whole.full_range().low), (32.0, -30.0));
    }

    #[test]
    fn features_have_their_statistics_and_dead_ones_are_named() {
        let mut calibration = Calibration::new(3);
        calibration
            .add("x", &[1.0, 0.0, -2.0, -3.0, 0.0, -4.0])
            .unwrap();
        assert_eq!(calibration.amax(), [3.0, 0.0, 4.0]);
        assert_eq!(calibration.mean(), [-1.0, 0.0, -3.0]);
        assert_eq!(calibration.mean_abs(), [2.0, 0.0, 3.0]);
        assert_eq!(calibration.mean_square(), [5.0, 0.0, 10.0]);
        assert_eq!(calibration.dead(), [1]);
    }

    #[test]
    fn percentiles_of_uniform_values_are_their_share() {
        let mut stream = Philox::new(8).stream(0);
        let x: Vec<f32> = (0..20_000).map(|_| stream.uniform()).collect();
        let mut calibration = Calibration::new(1);
        calibration.add("x", &x).unwrap();
        for share in [0.5, 0.9, 0.999] {
            let choice = RangeChoice::Percentile(share);
            let range = calibration.range("x", Width::Int8, choice).unwrap();
            assert_eq!(range.low, 0.0);
            // Three standard deviations of an order statistic of 20,000, and a bin.
            assert!((range.high - share).abs() < 0.011, "{share}: {range:?}");
        }
    }

    #[test]
    fn an_outlier_is_cut_off_by_every_choice_but_the_full_range() {
        let mut x = normal(30_000, 1);
        x[5] = 50.0;
        let mut calibration = Calibration::new(10);
        calibration.add("x", &x).unwrap();
        let amax = |choice| calibration.range("x", Width::Int8, choice).unwrap().amax();
        assert_eq!(amax(RangeChoice::MinMax), 50.0);
        assert!(amax(RangeChoice::Percentile(0.9999)) < 6.0);
        assert!(amax(RangeChoice::MSE) <= 50.0);
        assert!(
            (2.0..25.0).contains(&amax(RangeChoice::Kl)),
            "{}",
            amax(RangeChoice::Kl)
        );
        let four = calibration
            .range("x", Width::Int4, RangeChoice::MSE)
            .unwrap();
        assert!(four.amax() < 25.0, "{four:?}");
    }

    #[test]
    fn too_few_samples_are_told() {
        let mut calibration = Calibration::new(4);
        let error = |calibration: &Calibration, choice| {
            calibration
                .range("relu1", Width::Int8, choice)
                .unwrap_err()
                .to_string()
        };
        assert!(error(&calibration, RangeChoice::MinMax).contains("from 0 values"));
        calibration.add("relu1", &normal(40, 2)).unwrap();
        assert_eq!(
            error(&calibration, RangeChoice::Kl),
            "relu1: a range by divergence from 40 values; at least 2048 are needed: calibrate with more samples"
        );
        assert!(error(&calibration, RangeChoice::Percentile(0.999)).contains("at least 1000"));
        assert!(
            calibration
                .range("relu1", Width::Int8, RangeChoice::MinMax)
                .is_ok()
        );
    }

    #[test]
    fn zeros_and_constants_have_a_range_and_bad_inputs_are_refused() {
        let mut calibration = Calibration::new(2);
        calibration.add("x", &[0.0; 20]).unwrap();
        let range = calibration
            .range("x", Width::Int8, RangeChoice::Kl)
            .unwrap();
        assert!(range.is_zero());
        let mut constant = Calibration::new(2);
        constant.add("x", &[0.75; 8000]).unwrap();
        for choice in [RangeChoice::MinMax, RangeChoice::MSE, RangeChoice::Kl] {
            let range = constant.range("x", Width::Int8, choice).unwrap();
            assert!(
                range.high > 0.7 && range.high <= 0.75,
                "{choice:?} {range:?}"
            );
        }
        assert!(constant.add("x", &[1.0; 3]).is_err());
        assert!(constant.add("x", &[1.0, f32::INFINITY]).is_err());
        assert_eq!(constant.n_samples(), 4000);
    }
}
