//! Which part of a group's values its codes cover.
//!
//! The widest range clips nothing and has the largest step; a narrower one rounds most values better and
//! clips a few. [`RangeChoice`] says how the two are weighed. Every range includes 0, so that a weight of
//! 0 has a code.

use super::grid::Grid;
use super::kl::{self, MIN_VALUES};
use super::linear::Linear;
use crate::compress::CompressError;
use crate::num::Zero;

/// Bins of the histogram that [`RangeChoice::Kl`] cuts, as TensorRT has it.
pub const KL_BINS: usize = 2048;

/// How the range of a group is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RangeChoice {
    /// From the smallest to the largest value.
    MinMax,
    /// The share of values to cover, in (0, 1], with linear interpolation between neighbours.
    /// Symmetric codes cover that share of the magnitudes; asymmetric ones leave half of the rest
    /// out at either end.
    Percentile(f64),
    /// The range, shrunk in steps, whose codes have the least `sum |x - Q(x)|^norm`; of equal sums the
    /// widest range.
    Mse {
        /// Steps from the full range to none; 100 in GPTQ and compressed-tensors.
        grid: u32,
        /// The largest part cut off, in (0, 1); 0.8 in GPTQ.
        max_shrink: f64,
        /// 2 is the mean squared error; GPTQ has 2.4.
        norm: f64,
    },
    /// The range whose codes lose the least information: the least Kullback-Leibler divergence between
    /// the histogram of magnitudes and its quantized form, over [`KL_BINS`] bins (Migacz, "8-bit
    /// inference with TensorRT", 2017).
    ///
    /// A histogram of a few dozen values says nothing, so all groups of a matrix share one: each value
    /// counts relative to the largest magnitude of its group, and what is chosen is the share of each
    /// group's range.
    Kl,
}

impl RangeChoice {
    /// Least squared error, in a hundred steps down to a fifth of the range.
    pub const MSE: Self = Self::Mse {
        grid: 100,
        max_shrink: 0.8,
        norm: 2.0,
    };

    /// Refuses numbers outside their range; `tensor` is for the message.
    pub(crate) fn check(&self, tensor: &str) -> Result<(), CompressError> {
        let check = |what, value, inside, allowed| {
            CompressError::check_range(tensor, what, value, inside, allowed)
        };
        match *self {
            Self::MinMax | Self::Kl => Ok(()),
            Self::Percentile(share) => check(
                "percentile share",
                share,
                share > 0.0 && share <= 1.0,
                "above 0, at most 1",
            ),
            Self::Mse {
                grid,
                max_shrink,
                norm,
            } => {
                check(
                    "grid steps",
                    f64::from(grid),
                    (1..=10_000).contains(&grid),
                    "1 to 10000",
                )?;
                let inside = max_shrink > 0.0 && max_shrink < 1.0;
                check("max_shrink", max_shrink, inside, "between 0 and 1")?;
                let inside = norm > 0.0 && norm.is_finite();
                check("norm", norm, inside, "above 0")
            }
        }
    }
}

/// A range that includes 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Smallest value covered, at most 0.
    pub low: f64,
    /// Largest value covered, at least 0.
    pub high: f64,
    /// Whether the value of largest magnitude is positive; it gets the extra code where a rule gives
    /// one to it ([`crate::num::ScaleRule::SignedAbsMax`]).
    pub high_is_larger: bool,
}

impl Range {
    /// The range from `low` to `high`, widened to include 0.
    #[must_use]
    pub fn new(low: f64, high: f64) -> Self {
        let (low, high) = (low.min(0.0), high.max(0.0));
        Self {
            low,
            high,
            high_is_larger: high >= -low,
        }
    }

    /// The full range of a group. Of equally large magnitudes the first decides
    /// [`Self::high_is_larger`].
    pub(super) fn of(group: &[f64]) -> Self {
        let mut range = Self::new(0.0, 0.0);
        let mut largest = 0f64;
        for &value in group {
            range.low = range.low.min(value);
            range.high = range.high.max(value);
            if value.abs() > largest.abs() {
                largest = value;
            }
        }
        range.high_is_larger = largest >= 0.0;
        range
    }

    /// The larger magnitude of the two ends.
    #[must_use]
    pub fn amax(&self) -> f64 {
        self.high.max(-self.low)
    }

    /// Both ends brought towards 0.
    #[must_use]
    pub fn scaled(&self, share: f64) -> Self {
        Self {
            low: self.low * share,
            high: self.high * share,
            ..*self
        }
    }

    /// Whether it is 0 alone.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.low == 0.0 && self.high == 0.0
    }
}

/// What a choice needs to know of all groups together.
pub(super) struct Chooser {
    choice: RangeChoice,
    /// The share of every range that [`RangeChoice::Kl`] keeps; 1 otherwise.
    share: f64,
}

impl Chooser {
    /// Looks at all groups once.
    ///
    /// # Errors
    /// [`CompressError`] naming `tensor`: a choice out of range, too few values for a histogram.
    pub fn new<'a>(
        tensor: &str,
        linear: &Linear,
        groups: impl Iterator<Item = &'a [f64]>,
    ) -> Result<Self, CompressError> {
        let choice = linear.range;
        choice.check(tensor)?;
        let share = match choice {
            RangeChoice::MinMax | RangeChoice::Percentile(_) | RangeChoice::Mse { .. } => 1.0,
            RangeChoice::Kl => kl_share(tensor, linear, groups)?,
        };
        Ok(Self { choice, share })
    }

    /// The range of one group.
    pub fn range(&self, linear: &Linear, group: &[f64]) -> Range {
        let full = Range::of(group);
        if full.is_zero() {
            return full;
        }
        match self.choice {
            RangeChoice::MinMax => full,
            RangeChoice::Kl => full.scaled(self.share),
            RangeChoice::Percentile(share) => percentile(linear, group, full, share),
            RangeChoice::Mse {
                grid,
                max_shrink,
                norm,
            } => least_error(full, grid, max_shrink, |range| {
                let codes = Grid::fit(linear, range);
                let loss = |&value: &f64| power((value - codes.nearest(value)).abs(), norm);
                group.iter().map(loss).sum()
            }),
        }
    }
}

/// The shrunk range with the least loss; of equal ones the widest.
pub(super) fn least_error(
    full: Range,
    grid: u32,
    max_shrink: f64,
    mut loss: impl FnMut(Range) -> f64,
) -> Range {
    let mut best = (full, loss(full));
    for step in 1..grid {
        let cut = f64::from(step) / f64::from(grid);
        if cut > max_shrink {
            break;
        }
        let range = full.scaled(1.0 - cut);
        let found = loss(range);
        if found < best.1 {
            best = (range, found);
        }
    }
    best.0
}

/// `x^norm` of `x >= 0`, exactly a product for the common norm.
pub(super) fn power(x: f64, norm: f64) -> f64 {
    if norm == 2.0 { x * x } else { x.powf(norm) }
}

fn percentile(linear: &Linear, group: &[f64], full: Range, share: f64) -> Range {
    match linear.rule.zero() {
        Zero::Symmetric => {
            let mut sorted: Vec<f64> = group.iter().map(|value| value.abs()).collect();
            sorted.sort_by(f64::total_cmp);
            full.scaled(quantile(&sorted, share) / full.amax())
        }
        Zero::ZeroPoint => {
            let mut sorted = group.to_vec();
            sorted.sort_by(f64::total_cmp);
            let left_out = (1.0 - share) / 2.0;
            Range::new(
                quantile(&sorted, left_out),
                quantile(&sorted, 1.0 - left_out),
            )
        }
    }
}

/// The `share` quantile of sorted values, interpolated between neighbours: NumPy's default.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (place - below as f64) * (sorted[above] - sorted[below])
}

fn kl_share<'a>(
    tensor: &str,
    linear: &Linear,
    groups: impl Iterator<Item = &'a [f64]>,
) -> Result<f64, CompressError> {
    let mut histogram = vec![0u64; KL_BINS];
    let mut count = 0;
    for group in groups {
        let amax = Range::of(group).amax();
        // Zeros have a code under every range.
        for value in group.iter().filter(|&&value| value != 0.0) {
            let bin = (value.abs() / amax * KL_BINS as f64) as usize;
            histogram[bin.min(KL_BINS - 1)] += 1;
            count += 1;
        }
    }
    if count == 0 {
        return Ok(1.0);
    }
    if count < MIN_VALUES {
        return Err(CompressError::TooFew {
            tensor: tensor.to_owned(),
            what: "a range by divergence",
            found: count,
            needed: MIN_VALUES,
        });
    }
    let bins = kl::bins_to_keep(&histogram, kl::n_levels(linear.width));
    Ok(bins as f64 / KL_BINS as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::quantize::Width;
    use crate::num::{Granularity, Philox, ScaleRule};

    fn linear(range: RangeChoice) -> Linear {
        Linear {
            range,
            ..Linear::symmetric(Width::Int4, Granularity::Tensor)
        }
    }

    fn chosen(linear: &Linear, group: &[f64]) -> Range {
        let chooser = Chooser::new("w", linear, std::iter::once(group)).expect("allowed");
        chooser.range(linear, group)
    }

    #[test]
    fn the_full_range_includes_zero_and_knows_its_first_largest_value() {
        let range = Range::of(&[1.0, -3.0, 3.0]);
        assert_eq!((range.low, range.high), (-3.0, 3.0));
        assert!(!range.high_is_larger && Range::of(&[3.0, -3.0]).high_is_larger);
        assert_eq!(Range::of(&[2.0, 5.0]).low, 0.0);
    }

    #[test]
    fn percentiles_are_those_of_numpy() {
        // numpy.quantile([0, 1, 2, 3, 10], 0.875) is 6.5.
        assert_eq!(quantile(&[0.0, 1.0, 2.0, 3.0, 10.0], 0.875), 6.5);
        let group = [0.0, -1.0, 2.0, -3.0, 10.0];
        let range = chosen(&linear(RangeChoice::Percentile(0.875)), &group);
        assert_eq!(range.amax(), 6.5);
        let asymmetric = Linear {
            rule: ScaleRule::MinMax,
            ..linear(RangeChoice::Percentile(0.5))
        };
        let range = chosen(&asymmetric, &group);
        assert_eq!((range.low, range.high), (-1.0, 2.0));
    }

    #[test]
    fn least_squares_is_never_worse_than_the_full_range() {
        let mut stream = Philox::new(2).stream(0);
        let mut better = 0;
        for _ in 0..50 {
            let group: Vec<f64> = (0..64).map(|_| f64::from(stream.normal())).collect();
            let loss = |choice| {
                let linear = linear(choice);
                let codes = Grid::fit(&linear, chosen(&linear, &group));
                let square = |&x: &f64| (x - codes.nearest(x)).powi(2);
                group.iter().map(square).sum::<f64>()
            };
            let (full, least) = (loss(RangeChoice::MinMax), loss(RangeChoice::MSE));
            assert!(least <= full);
            better += usize::from(least < full);
        }
        assert!(better > 40, "of 50 groups {better} gained");
    }

    #[test]
    fn divergence_cuts_a_far_outlier_off() {
        let mut stream = Philox::new(9).stream(0);
        let mut group: Vec<f64> = (0..8000).map(|_| f64::from(stream.normal())).collect();
        group.push(40.0);
        let eight = Linear {
            width: Width::Int8,
            ..linear(RangeChoice::Kl)
        };
        let range = chosen(&eight, &group);
        assert!((3.0..20.0).contains(&range.amax()), "{}", range.amax());
        let error = Chooser::new("w", &eight, std::iter::once(&group[..100])).err();
        let error = error.expect("too few").to_string();
        assert!(error.contains("from 100 values"), "{error}");
    }

    #[test]
    fn zeros_and_constants_have_a_range_under_every_choice() {
        let choices = [
            RangeChoice::MinMax,
            RangeChoice::Percentile(0.99),
            RangeChoice::MSE,
            RangeChoice::Kl,
        ];
        for choice in choices {
            assert!(chosen(&linear(choice), &[0.0; 3000]).is_zero());
            let range = chosen(&linear(choice), &[0.5; 3000]);
            assert!(
                range.high > 0.0 && range.high <= 0.5,
                "{choice:?} {range:?}"
            );
        }
    }

    #[test]
    fn refuses_numbers_out_of_range() {
        let refused = |choice: RangeChoice| choice.check("w").unwrap_err().to_string();
        assert_eq!(
            refused(RangeChoice::Percentile(1.5)),
            "w: percentile share = 1.5; allowed: above 0, at most 1"
        );
        let mse = |grid, max_shrink, norm| {
            refused(RangeChoice::Mse {
                grid,
                max_shrink,
                norm,
            })
        };
        assert!(mse(0, 0.5, 2.0).contains("grid steps"));
        assert!(mse(10, 1.0, 2.0).contains("max_shrink"));
        assert!(mse(10, 0.5, f64::NAN).contains("norm"));
    }
}
