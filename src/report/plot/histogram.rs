//! How often values lie where, before and after something was done to them.
//!
//! Both are drawn as densities, the share of the values per unit of the axis, because their bins have
//! different widths. What was before is a shade, what came after a line over it.

use super::canvas::{Canvas, DrawError, Marker};
use super::frame::{BORDER, Frame, LINE, NARROW, left_of};
use super::legend::{Entry, Legend, Sign};
use super::scale::Scale;
use super::{Checks, PlotError};
use crate::report::palette::{AXIS, ORANGE};

/// Two histograms over one axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Histograms {
    /// Title of the picture.
    pub title: String,
    /// What the values are, with their unit.
    pub values: String,
    /// A shade.
    pub before: Counts,
    /// A line over it.
    pub after: Counts,
}

/// Counts of values between equal steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Counts {
    /// What the legend says of it.
    pub name: String,
    /// Lower end of the first bin.
    pub low: f64,
    /// Upper end of the last bin.
    pub high: f64,
    /// Values in each bin.
    pub counts: Vec<u64>,
}

const PLOT_HEIGHT: u32 = 150;
const MOST_BINS: usize = 500;
/// How dark the shade is.
const SHADE: f64 = 0.45;
/// Bins are at least this share of the axis, so that values all alike have a width.
const NARROWEST: f64 = 0.002;

/// Draws two histograms as SVG. One of them may hold no values; then it is not there.
///
/// # Errors
/// [`PlotError::Empty`] where neither holds a value, [`PlotError::TooMany`] past 500 bins,
/// [`PlotError::NoPlace`] for ends that have no place on an axis or are in the wrong order.
pub fn histograms(histograms: &Histograms) -> Result<String, PlotError> {
    let checks = Checks {
        plot: &histograms.title,
    };
    let sides = [&histograms.before, &histograms.after];
    let values = sides.map(|side| side.counts.iter().sum::<u64>());
    let any = values.iter().any(|&count| count > 0);
    checks.count("values", usize::from(any), 1)?;
    for side in sides {
        checks.count("bins", side.counts.len(), MOST_BINS)?;
        let end = |what: &str| format!("the {what} end of `{}`", side.name);
        checks.linear(|| end("lower"), side.low)?;
        checks.linear(|| end("upper"), side.high)?;
        if side.low > side.high {
            return Err(PlotError::NoPlace {
                plot: histograms.title.clone(),
                label: format!("the upper end below {} of `{}`", side.low, side.name),
                value: side.high,
            });
        }
    }
    let shown = || sides.into_iter().zip(values).filter(|(_, n)| *n > 0);
    let x = Scale::linear(shown().flat_map(|(side, _)| [side.low, side.high]));
    let narrowest = (x.high() - x.low()) * NARROWEST;
    let [before, after] = sides.map(|side| steps(side, narrowest));
    let heights = before.iter().chain(&after).map(|step| step.height);
    let y = Scale::linear(heights.chain([0.0]));
    let signs = [Sign::Marker(Marker::Square, AXIS), Sign::Line(ORANGE)];
    let signed = sides.into_iter().zip(values).zip(signs);
    let entries = signed
        .filter(|((_, n), _)| *n > 0)
        .map(|((side, _), sign)| Entry {
            sign,
            label: &side.name,
            value: String::new(),
            bold: false,
        });
    let legend = Legend::below(NARROW, entries.collect());
    let frame = Frame {
        width: NARROW,
        title: &histograms.title,
        plot_height: PLOT_HEIGHT,
        legend_height: legend.height() + LINE / 2,
        left: left_of(&y),
        right: BORDER,
        x,
        x_name: &histograms.values,
        y,
        y_name: "density",
    };
    frame.draw(|canvas| {
        for step in before.iter().filter(|step| step.height > 0.0) {
            canvas.shade((step.from, step.height), (step.to, 0.0), AXIS, SHADE)?;
        }
        draw_outline(canvas, &after)?;
        legend.draw(canvas, frame.legend_top());
        Ok(())
    })
}

/// A bin and how high it is.
struct Step {
    from: f64,
    to: f64,
    height: f64,
}

/// Bins as densities; none where there are no values.
fn steps(side: &Counts, narrowest: f64) -> Vec<Step> {
    let n = side.counts.iter().sum::<u64>() as f64;
    if n == 0.0 {
        return Vec::new();
    }
    let bins = side.counts.len() as f64;
    let width = ((side.high - side.low) / bins).max(narrowest);
    // Around the middle where bins were made wider.
    let left = (side.low + side.high) / 2.0 - width * bins / 2.0;
    let left = if width > narrowest { side.low } else { left };
    let step = |(index, &count): (usize, &u64)| Step {
        from: left + index as f64 * width,
        to: left + (index + 1) as f64 * width,
        height: count as f64 / n / width,
    };
    side.counts.iter().enumerate().map(step).collect()
}

fn draw_outline(canvas: &mut Canvas<'_, '_>, steps: &[Step]) -> Result<(), DrawError> {
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else {
        return Ok(());
    };
    let mut corners = vec![(first.from, 0.0)];
    for step in steps {
        corners.extend([(step.from, step.height), (step.to, step.height)]);
    }
    corners.push((last.to, 0.0));
    canvas.line(corners, ORANGE, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(name: &str, low: f64, high: f64, counts: &[u64]) -> Counts {
        Counts {
            name: name.to_owned(),
            low,
            high,
            counts: counts.to_vec(),
        }
    }

    fn example(before: Counts, after: Counts) -> Histograms {
        Histograms {
            title: "Weights of `0.weight`".to_owned(),
            values: "weight".to_owned(),
            before,
            after,
        }
    }

    #[test]
    fn densities_of_any_bins_have_the_same_area() {
        for (low, high, bins) in [
            (-1.0, 1.0, vec![1, 5, 2]),
            (0.0, 9.0, vec![3, 1]),
            (2.0, 2.0, vec![7, 0]),
        ] {
            let steps = steps(&counts("w", low, high, &bins), 0.01);
            let area: f64 = steps
                .iter()
                .map(|step| (step.to - step.from) * step.height)
                .sum();
            assert!((area - 1.0).abs() < 1e-9, "{area}");
        }
    }

    #[test]
    fn what_holds_no_values_is_not_there() {
        let full = counts("<before>", -1.0, 1.0, &[1, 2, 1]);
        let none = counts("after", 0.0, 0.0, &[0, 0]);
        let svg = histograms(&example(full, none.clone())).expect("one has values");
        assert!(
            svg.contains("&lt;before&gt;") && !svg.contains(">after</text>"),
            "{svg}"
        );
        let refused = histograms(&example(none.clone(), none)).expect_err("empty");
        assert!(matches!(refused, PlotError::Empty { .. }), "{refused}");
    }

    #[test]
    fn ends_without_a_place_are_named() {
        let full = counts("before", -1.0, 1.0, &[1]);
        for (low, high) in [(f64::NAN, 1.0), (0.0, f64::INFINITY), (2.0, 1.0)] {
            let broken = counts("after", low, high, &[1]);
            let refused = histograms(&example(full.clone(), broken)).expect_err("refused");
            assert!(refused.to_string().contains("`after`"), "{refused}");
        }
    }
}
