//! Lines: how one number depends on another, for several things at once.

use super::canvas::{Canvas, DrawError, Marker};
use super::frame::{BORDER, Frame, LINE, WIDTH, left_of};
use super::legend::{Entry, Legend, Sign};
use super::scale::Scale;
use super::{Checks, PlotError};
use crate::report::palette::{Color, SERIES};

/// A line chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Lines {
    /// Title of the picture.
    pub title: String,
    /// The axis below.
    pub x_axis: Axis,
    /// The axis on the left.
    pub y_axis: Axis,
    /// The lines. The first eight differ in colour, the first 32 in colour or marker.
    pub series: Vec<Series>,
}

/// An axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// What its numbers are, with their unit.
    pub label: String,
    /// Logarithmic. All its values must then be above zero.
    pub log: bool,
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// x and y of each point, joined in this order.
    pub points: Vec<(f64, f64)>,
}

const PLOT_HEIGHT: u32 = 400;
const MOST_SERIES: usize = SERIES.len() * Marker::ALL.len();
/// Points of a series that all get a marker. Of longer series, about half as many do.
const MOST_MARKERS: usize = 50;

/// Draws a line chart as SVG.
///
/// # Errors
/// [`PlotError::Empty`] without series or where a series has no points, [`PlotError::TooMany`] past
/// 32 series, [`PlotError::NoPlace`] and [`PlotError::NotPositive`] for numbers that have no place on
/// their axis.
pub fn lines(lines: &Lines) -> Result<String, PlotError> {
    check(lines)?;
    let entries = lines.series.iter().enumerate().map(|(index, series)| {
        let (marker, color) = style(index);
        Entry {
            sign: Sign::Marked(marker, color),
            label: &series.name,
            value: String::new(),
            bold: false,
        }
    });
    let legend = Legend::new(entries.collect());
    let points = || lines.series.iter().flat_map(|series| &series.points);
    let x = scale(&lines.x_axis, points().map(|point| point.0));
    let y = scale(&lines.y_axis, points().map(|point| point.1));
    let frame = Frame {
        width: WIDTH,
        title: &lines.title,
        plot_height: PLOT_HEIGHT,
        legend_height: legend.height() + LINE / 2,
        left: left_of(&y),
        right: BORDER,
        x,
        x_name: &lines.x_axis.label,
        y,
        y_name: &lines.y_axis.label,
    };
    frame.draw(|canvas| {
        for (index, series) in lines.series.iter().enumerate() {
            draw_series(canvas, &frame, series, style(index))?;
        }
        legend.draw(canvas, frame.legend_top());
        Ok(())
    })
}

fn check(lines: &Lines) -> Result<(), PlotError> {
    let checks = Checks { plot: &lines.title };
    checks.count("series", lines.series.len(), MOST_SERIES)?;
    for Series { name, points } in &lines.series {
        checks.count(&format!("points in `{name}`"), points.len(), usize::MAX)?;
        for (index, (x, y)) in points.iter().enumerate() {
            let place = |axis: &str| format!("{axis} of point {index} of `{name}`");
            check_value(&checks, &lines.x_axis, || place("x"), *x)?;
            check_value(&checks, &lines.y_axis, || place("y"), *y)?;
        }
    }
    Ok(())
}

fn check_value(
    checks: &Checks<'_>,
    axis: &Axis,
    label: impl Fn() -> String,
    value: f64,
) -> Result<(), PlotError> {
    if axis.log {
        checks.log(label, value)
    } else {
        checks.linear(label, value)
    }
}

fn scale(axis: &Axis, values: impl Iterator<Item = f64>) -> Scale {
    if axis.log {
        Scale::log(values)
    } else {
        Scale::linear(values)
    }
}

/// Marker and colour of a series. Every round of colours shifts the markers by one, so that no pair
/// comes twice.
fn style(index: usize) -> (Marker, Color) {
    let (round, in_round) = (index / SERIES.len(), index % SERIES.len());
    let marker = Marker::ALL[(in_round + round) % Marker::ALL.len()];
    (marker, SERIES[in_round])
}

fn draw_series(
    canvas: &mut Canvas<'_, '_>,
    frame: &Frame<'_>,
    series: &Series,
    (marker, color): (Marker, Color),
) -> Result<(), DrawError> {
    let points = &series.points;
    if points.len() > 1 {
        canvas.line(points.clone(), color, 2)?;
    }
    let every = if points.len() <= MOST_MARKERS {
        1
    } else {
        points.len().div_ceil(MOST_MARKERS / 2)
    };
    let last = points.len() - 1;
    for (index, point) in points.iter().enumerate() {
        if index % every == 0 || index == last {
            canvas.marker(frame.position(*point), marker, color);
        }
    }
    Ok(())
}
