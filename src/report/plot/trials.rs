//! Trials of a search: what each was worth, and the best so far.

use super::canvas::Marker;
use super::frame::{BORDER, Frame, LINE, WIDTH, left_of};
use super::legend::{Entry, Legend, Sign};
use super::scale::Scale;
use super::{Axis, Checks, PlotError};
use crate::report::palette::{BLUE, OCHRE, ORANGE};

/// A plot of trials.
#[derive(Debug, Clone, PartialEq)]
pub struct Trials {
    /// Title of the picture.
    pub title: String,
    /// What trials are worth.
    pub y_axis: Axis,
    /// Number and worth of complete trials.
    pub complete: Vec<(u32, f64)>,
    /// Number and last known worth of trials that were given up.
    pub pruned: Vec<(u32, f64)>,
    /// Number and worth of each complete trial that was better than all before it.
    pub best: Vec<(u32, f64)>,
}

const PLOT_HEIGHT: u32 = 400;
const MOST_TRIALS: usize = 100_000;

/// Draws trials as SVG.
///
/// # Errors
/// [`PlotError::Empty`] without trials, [`PlotError::TooMany`] past 100,000, [`PlotError::NoPlace`] and
/// [`PlotError::NotPositive`] for numbers that have no place on their axis.
pub fn trials(trials: &Trials) -> Result<String, PlotError> {
    let all = || {
        trials
            .complete
            .iter()
            .chain(&trials.pruned)
            .chain(&trials.best)
    };
    let checks = Checks {
        plot: &trials.title,
    };
    checks.count("trials", all().count(), MOST_TRIALS)?;
    for (number, worth) in all() {
        let label = || format!("trial {number}");
        if trials.y_axis.log {
            checks.log(label, *worth)?;
        } else {
            checks.linear(label, *worth)?;
        }
    }
    let entry = |marker, color, label| Entry {
        sign: Sign::Marked(marker, color),
        label,
        value: String::new(),
        bold: false,
    };
    let mut entries = vec![entry(Marker::Circle, BLUE, "complete")];
    if !trials.pruned.is_empty() {
        entries.push(entry(Marker::Triangle, OCHRE, "given up: last value"));
    }
    entries.push(entry(Marker::Diamond, ORANGE, "best so far"));
    let legend = Legend::new(entries);
    let worths = || all().map(|one| one.1);
    let y = if trials.y_axis.log {
        Scale::log(worths())
    } else {
        Scale::linear(worths())
    };
    let frame = Frame {
        width: WIDTH,
        title: &trials.title,
        plot_height: PLOT_HEIGHT,
        legend_height: legend.height() + LINE / 2,
        left: left_of(&y),
        right: BORDER,
        x: Scale::linear(all().map(|one| f64::from(one.0)).chain([0.0, 1.0])),
        x_name: "trial",
        y,
        y_name: &trials.y_axis.label,
    };
    let last = all().map(|one| one.0).max().unwrap_or_default();
    frame.draw(|canvas| {
        // The best stays until the next one is better.
        let mut steps = Vec::new();
        for &(number, worth) in &trials.best {
            steps.extend(steps.last().map(|&(_, before)| (f64::from(number), before)));
            steps.push((f64::from(number), worth));
        }
        steps.extend(steps.last().map(|&(_, worth)| (f64::from(last), worth)));
        canvas.line(steps, ORANGE, 2)?;
        for (points, marker, color) in [
            (&trials.pruned, Marker::Triangle, OCHRE),
            (&trials.complete, Marker::Circle, BLUE),
            (&trials.best, Marker::Diamond, ORANGE),
        ] {
            for &(number, worth) in points {
                canvas.marker(frame.position((f64::from(number), worth)), marker, color);
            }
        }
        legend.draw(canvas, frame.legend_top());
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Trials {
        Trials {
            title: "Search".to_owned(),
            y_axis: Axis {
                label: "loss".to_owned(),
                log: false,
            },
            complete: vec![(0, 3.0), (1, 4.0), (3, 1.0)],
            pruned: vec![(2, 9.0)],
            best: vec![(0, 3.0), (3, 1.0)],
        }
    }

    #[test]
    fn every_trial_has_a_marker_and_the_best_a_line() {
        let svg = trials(&example()).expect("finite");
        // Three in the legend.
        assert_eq!(svg.matches("translate(").count(), 3 + 1 + 2 + 3);
        assert!(
            svg.contains("polyline") && svg.contains("given up"),
            "{svg}"
        );
        let complete = Trials {
            pruned: Vec::new(),
            ..example()
        };
        assert!(!trials(&complete).expect("finite").contains("given up"));
    }

    #[test]
    fn worths_without_a_place_are_named() {
        let endless = Trials {
            complete: vec![(7, f64::NAN)],
            ..example()
        };
        let refused = trials(&endless).expect_err("NaN").to_string();
        assert!(refused.contains("trial 7 is NaN"), "{refused}");
    }
}
