//! Parzen estimators: a distribution from what was seen.
//!
//! Over an interval `[a, b]` a mixture of normal distributions, each cut off at its ends: one around every
//! observation, as wide as the greater distance to its neighbours, and a wide one in the middle as prior
//! (Bergstra et al., 2011; widths between `(b - a) / min(100, 1 + n)` and `b - a` as in hyperopt). Beyond 25
//! observations the oldest count less. Over choices, the counts and one more of each.

use std::f64::consts::TAU;

use crate::num::Stream;
use crate::num::erf::erfc;

/// Observations that count in full.
const REMEMBERED: usize = 25;
/// A draw lies within the interval with a chance of a third or more; this many that do not never come.
const MOST_DRAWS: usize = 200;

/// Weights of observations in the order they were made: the last 25 count 1, those before less and less.
pub(super) fn weights(n: usize) -> Vec<f64> {
    let ramp = n.saturating_sub(REMEMBERED);
    let weight = |index: usize| {
        if index >= ramp {
            return 1.0;
        }
        let low = 1.0 / n as f64;
        // A ramp of one is its beginning.
        low + (1.0 - low) * index as f64 / (ramp - 1).max(1) as f64
    };
    (0..n).map(weight).collect()
}

/// A normal distribution of a mixture.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Component {
    mean: f64,
    deviation: f64,
    weight: f64,
    /// Its share of `[a, b]`.
    inside: f64,
}

/// A mixture over an interval.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mixture {
    low: f64,
    high: f64,
    components: Vec<Component>,
}

impl Mixture {
    /// From observations in the order they were made.
    pub(super) fn new((low, high): (f64, f64), seen: &[f64]) -> Self {
        let range = high - low;
        let mut points: Vec<(f64, f64, bool)> = seen
            .iter()
            .zip(weights(seen.len()))
            .map(|(&at, weight)| (at, weight, false))
            .collect();
        points.push((low + range / 2.0, 1.0, true));
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let narrowest = range / (1 + seen.len()).min(100) as f64;
        let component = |index: usize| {
            let (mean, weight, is_prior) = points[index];
            let left = index.checked_sub(1).map(|left| mean - points[left].0);
            let right = points.get(index + 1).map(|right| right.0 - mean);
            let widest = left.into_iter().chain(right).fold(0.0, f64::max);
            let deviation = if is_prior {
                range
            } else {
                widest.clamp(narrowest, range)
            };
            Component {
                mean,
                deviation,
                weight,
                inside: mass((low, high), mean, deviation),
            }
        };
        Self {
            low,
            high,
            components: (0..points.len()).map(component).collect(),
        }
    }

    /// A draw.
    pub(super) fn draw(&self, stream: &mut Stream) -> f64 {
        let total: f64 = self.components.iter().map(|one| one.weight).sum();
        let mut left = uniform(stream) * total;
        let mut chosen = self.components[self.components.len() - 1];
        for one in &self.components {
            if left < one.weight {
                chosen = *one;
                break;
            }
            left -= one.weight;
        }
        for _ in 0..MOST_DRAWS {
            let drawn = chosen.mean + chosen.deviation * f64::from(stream.normal());
            if (self.low..=self.high).contains(&drawn) {
                return drawn;
            }
        }
        chosen.mean
    }

    /// The logarithm of the density at a point, or of the mass between two, but for a factor that all points of
    /// one interval share.
    pub(super) fn log_density(&self, (from, to): (f64, f64)) -> f64 {
        let of = |one: &Component| {
            let share = if from < to {
                mass((from, to), one.mean, one.deviation)
            } else {
                let z = (from - one.mean) / one.deviation;
                (-0.5 * z * z).exp() / (TAU.sqrt() * one.deviation)
            };
            one.weight * share / one.inside
        };
        let total: f64 = self.components.iter().map(|one| one.weight).sum();
        let sum: f64 = self.components.iter().map(of).sum();
        (sum / total).max(f64::MIN_POSITIVE).ln()
    }
}

/// Share of a normal distribution between two points.
fn mass((from, to): (f64, f64), mean: f64, deviation: f64) -> f64 {
    let tail = |at: f64| 0.5 * erfc((at - mean) / deviation / std::f64::consts::SQRT_2);
    (tail(from) - tail(to)).abs()
}

/// Chances of choices.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chances {
    weights: Vec<f64>,
}

impl Chances {
    /// Of `n` choices, from observations in the order they were made.
    pub(super) fn new(n: usize, seen: &[usize]) -> Self {
        let mut counts = vec![1.0; n];
        for (&choice, weight) in seen.iter().zip(weights(seen.len())) {
            if let Some(count) = counts.get_mut(choice) {
                *count += weight;
            }
        }
        Self { weights: counts }
    }

    /// A draw.
    pub(super) fn draw(&self, stream: &mut Stream) -> usize {
        let mut left = uniform(stream) * self.weights.iter().sum::<f64>();
        for (choice, weight) in self.weights.iter().enumerate() {
            if left < *weight {
                return choice;
            }
            left -= weight;
        }
        self.weights.len() - 1
    }

    /// The logarithm of a choice's chance.
    pub(super) fn log_chance(&self, choice: usize) -> f64 {
        let weight = self.weights.get(choice).copied().unwrap_or(0.0);
        (weight / self.weights.iter().sum::<f64>()).ln()
    }
}

/// Uniform in [0, 1), with all 53 bits.
pub(super) fn uniform(stream: &mut Stream) -> f64 {
    let (high, low) = (stream.next_u32() >> 5, stream.next_u32() >> 6);
    (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::Philox;

    #[test]
    fn a_mixture_is_a_distribution_over_its_interval() {
        let mixture = Mixture::new((-1.0, 3.0), &[0.0, 0.1, 2.9, -1.0]);
        // The midpoint rule over a smooth function.
        let n = 4000;
        let step = 4.0 / f64::from(n);
        let density = |index: i32| {
            let at = -1.0 + (f64::from(index) + 0.5) * step;
            mixture.log_density((at, at)).exp() * step
        };
        let sum: f64 = (0..n).map(density).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
        let masses = (0..40).map(|index| -1.0 + f64::from(index) * 0.1);
        let masses: f64 = masses
            .map(|from| mixture.log_density((from, from + 0.1)).exp())
            .sum();
        assert!((masses - 1.0).abs() < 1e-9, "{masses}");
    }

    #[test]
    fn draws_stay_within_the_interval_and_near_what_was_seen() {
        let mixture = Mixture::new((0.0, 10.0), &[9.0; 9]);
        let mut stream = Philox::new(3).stream(0);
        let drawn: Vec<f64> = (0..1000).map(|_| mixture.draw(&mut stream)).collect();
        assert!(drawn.iter().all(|at| (0.0..=10.0).contains(at)));
        let near = drawn.iter().filter(|at| (**at - 9.0).abs() < 3.0).count();
        assert!(near > 850, "{near}");
    }

    #[test]
    fn old_observations_count_less() {
        assert_eq!(weights(25), [1.0; 25]);
        let of_26 = weights(26);
        assert_eq!(of_26[0], 1.0 / 26.0);
        assert_eq!(of_26[1..], [1.0; 25]);
        let of_28 = weights(28);
        assert_eq!(of_28[..4], [1.0 / 28.0, (1.0 + 1.0 / 28.0) / 2.0, 1.0, 1.0]);
    }

    #[test]
    fn choices_that_were_never_seen_keep_a_chance() {
        let chances = Chances::new(3, &[1, 1, 1]);
        assert!((chances.log_chance(1).exp() - 4.0 / 6.0).abs() < 1e-12);
        assert!((chances.log_chance(2).exp() - 1.0 / 6.0).abs() < 1e-12);
        let mut stream = Philox::new(1).stream(0);
        let mut counts = [0; 3];
        (0..600).for_each(|_| counts[chances.draw(&mut stream)] += 1);
        assert!(counts[0] > 60 && counts[1] > 340, "{counts:?}");
    }
}
