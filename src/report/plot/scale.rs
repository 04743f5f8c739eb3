//! Axes: which values an axis spans, where its grid lines are, and how their numbers are written.
//!
//! An axis ends on a grid line wherever it can, so that no mark touches the frame and the ends can be
//! read. One type serves linear and logarithmic axes, so that one plot function serves all four pairs.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use crate::report::text;

/// Sizes beyond this, and on logarithmic axes below its inverse, are not drawn: sums and differences
/// of drawn values then stay far from the ends of f64.
pub(super) const LARGEST: f64 = 1e100;

/// An axis.
#[derive(Debug, Clone)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    log: bool,
    /// Values with a grid line and a number.
    ticks: Vec<f64>,
    /// Values with a faint grid line.
    minor: Vec<f64>,
    /// Distance of ticks on a linear axis.
    step: f64,
}

impl Scale {
    /// A linear axis over the values.
    pub(super) fn linear(values: impl IntoIterator<Item = f64>) -> Scale {
        let (mut low, mut high) = bounds(values);
        let size = low.abs().max(high.abs());
        if high - low <= (size * 1e-9).max(1.0 / LARGEST) {
            let around = if size <= 1.0 / LARGEST {
                1.0
            } else {
                size * 0.05
            };
            low -= around;
            high += around;
        }
        let step = round_up((high - low) / 6.0);
        let first = (low / step).floor() as i64;
        let last = (high / step).ceil() as i64;
        Scale {
            low: first as f64 * step,
            high: last as f64 * step,
            log: false,
            ticks: (first..=last).map(|index| index as f64 * step).collect(),
            minor: Vec::new(),
            step,
        }
    }

    /// A logarithmic axis over the values, which are positive.
    pub(super) fn log(values: impl IntoIterator<Item = f64>) -> Scale {
        let (low, high) = bounds(values);
        let (low, high) = (round_down(low / 1.15), round_up(high * 1.15));
        let decades = (high / low).log10();
        // Numbers at 1, 2 and 5 while they have room, then at powers of ten, then at some of those.
        let (ticks, minor) = if decades <= 3.2 {
            (
                multiples(low, high, &[1.0, 2.0, 5.0]),
                multiples(low, high, &[3.0, 4.0, 6.0, 7.0, 8.0, 9.0]),
            )
        } else if decades <= 6.0 {
            (
                multiples(low, high, &[1.0]),
                multiples(low, high, &[2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]),
            )
        } else {
            let every = (decades / 8.0).ceil() as i32;
            let mut ticks = multiples(low, high, &[1.0]);
            ticks.retain(|tick| (tick.log10().round() as i32) % every == 0);
            (ticks, Vec::new())
        };
        Scale {
            low,
            high,
            log: true,
            ticks,
            minor,
            step: 0.0,
        }
    }

    /// An axis of `n` rows, from 0 to `n`, without grid lines.
    pub(super) fn rows(n: usize) -> Scale {
        Scale {
            low: 0.0,
            high: n as f64,
            log: false,
            ticks: Vec::new(),
            minor: Vec::new(),
            step: 1.0,
        }
    }

    pub(super) fn low(&self) -> f64 {
        self.low
    }

    pub(super) fn high(&self) -> f64 {
        self.high
    }

    /// Width of the widest number.
    pub(super) fn label_width(&self, font_size: f64) -> f64 {
        let labels = self.ticks.iter().map(|tick| self.label(*tick));
        labels
            .map(|label| text::width(&label, font_size))
            .fold(0.0, f64::max)
    }

    /// Place of a value from 0 (low end) to 1 (high end).
    fn place(&self, value: f64) -> f64 {
        if self.log {
            (value / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    fn label(&self, value: f64) -> String {
        if self.log {
            return text::number(value);
        }
        let size = self.low.abs().max(self.high.abs());
        // A step has one digit; as many decimals as show it.
        let step_exponent = self.step.log10().floor() as i32;
        if !(1e-3..1e6).contains(&size) {
            let digits = size.log10().floor() as i32 - step_exponent;
            return text::scientific(value, usize::try_from(digits).unwrap_or(0));
        }
        let decimals = usize::try_from(-step_exponent).unwrap_or(0);
        format!("{value:.decimals$}")
    }
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        from + (self.place(*value) * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() {
            self.minor.clone()
        } else {
            self.ticks.clone()
        }
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Scale {
    fn format_ext(&self, value: &f64) -> String {
        self.label(*value)
    }
}

fn bounds(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let none = (f64::INFINITY, f64::NEG_INFINITY);
    values
        .into_iter()
        .fold(none, |(low, high), value| (low.min(value), high.max(value)))
}

/// The greatest of 1, 2 and 5 times a power of ten that is not above the value.
fn round_down(value: f64) -> f64 {
    let power = power_of_ten(value.log10().floor() as i32);
    let multiples = [5.0, 2.0].map(|multiple| multiple * power);
    multiples
        .into_iter()
        .find(|rounded| *rounded <= value)
        .unwrap_or(power)
}

/// The least of 1, 2 and 5 times a power of ten that is not below the value.
fn round_up(value: f64) -> f64 {
    let power = power_of_ten(value.log10().floor() as i32);
    let multiples = [1.0, 2.0, 5.0].map(|multiple| multiple * power);
    multiples
        .into_iter()
        .find(|rounded| *rounded >= value)
        .unwrap_or(10.0 * power)
}

/// The multiples of powers of ten that lie on an axis.
fn multiples(low: f64, high: f64, of: &[f64]) -> Vec<f64> {
    let exponents = low.log10().floor() as i32..=high.log10().ceil() as i32;
    exponents
        .flat_map(|exponent| {
            of.iter()
                .map(move |multiple| multiple * power_of_ten(exponent))
        })
        .filter(|value| (low * 0.999..=high * 1.001).contains(value))
        .collect()
}

fn power_of_ten(exponent: i32) -> f64 {
    10f64.powi(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: &Scale) -> Vec<String> {
        scale.ticks.iter().map(|tick| scale.label(*tick)).collect()
    }

    #[test]
    fn a_linear_axis_ends_on_ticks() {
        let scale = Scale::linear([0.13, 0.87]);
        assert_eq!(labels(&scale), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(scale.range(), 0.0..1.0);
        assert_eq!(scale.map(&0.5, (100, 300)), 200);
    }

    #[test]
    fn a_logarithmic_axis_holds_its_values_with_room() {
        for (low, high) in [(1.0, 1.0), (0.3, 700.0), (2.0, 5e4), (1e-100, 1e100)] {
            let scale = Scale::log([low, high]);
            assert!(scale.low < low && high < scale.high, "{scale:?}");
            assert!(
                (2..=11).contains(&scale.ticks.len()),
                "{:?}",
                labels(&scale)
            );
        }
        let scale = Scale::log([0.6, 40.0]);
        assert_eq!(labels(&scale), ["0.5", "1", "2", "5", "10", "20", "50"]);
        let wide = Scale::log([2.0, 5e4]);
        assert_eq!(labels(&wide), ["1", "10", "100", "1000", "10000", "100000"]);
    }

    #[test]
    fn equal_values_get_an_axis_around_them() {
        for value in [0.0, 1e-300, 5.0, -3e7, LARGEST, 1.0 + f64::EPSILON] {
            let scale = Scale::linear([value, value]);
            let ticks = scale.ticks.len();
            assert!(scale.low < value && value < scale.high, "{scale:?}");
            assert!((3..=12).contains(&ticks), "{:?}", labels(&scale));
        }
    }

    #[test]
    fn large_and_small_numbers_are_short() {
        assert_eq!(labels(&Scale::linear([0.0, 4e7]))[..2], ["0", "1e7"]);
        let scale = Scale::linear([1.5e7, 1.6e7]);
        assert_eq!(labels(&scale)[1], "1.52e7");
        let scale = Scale::linear([0.0, 6e-5]);
        assert_eq!(labels(&scale)[1], "1e-5");
        let scale = Scale::linear([-LARGEST, LARGEST]);
        assert_eq!(labels(&scale)[0], "-1e100");
    }
}
