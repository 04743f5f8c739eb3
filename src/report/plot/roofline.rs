//! Roofline: how fast each kernel runs beside what memory and arithmetic allow it.
//!
//! A kernel that does `i` operations for each byte it moves can do at most
//! `min(compute, i * bandwidth)` operations a second (Williams, Waterman and Patterson, "Roofline: an
//! insightful visual performance model for multicore architectures", 2009). On logarithmic axes each
//! bandwidth is a diagonal, each rate of arithmetic a horizontal line. A diagonal ends at the highest
//! horizontal line, a horizontal line begins at the fastest diagonal.
//!
//! Kernels of one kind share their intensity, so their points stand in a column. A point therefore
//! carries a number, placed where it covers nothing, and the legend below says what it stands for.

use super::frame::{BORDER, Frame, LINE, WIDTH, left_of};
use super::legend::{Entry, Legend, Sign};
use super::roofline_labels::{Labels, color};
use super::scale::Scale;
use super::{Checks, PlotError};
use crate::report::palette::{Color, PURPLE, TEAL};
use crate::report::text::number;

/// What a device allows, and what was reached on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Roofline {
    /// Title of the picture.
    pub title: String,
    /// Bandwidths, each a diagonal.
    pub memory: Vec<MemoryRoof>,
    /// Rates of arithmetic, each a horizontal line.
    pub compute: Vec<ComputeRoof>,
    /// What was reached.
    pub points: Vec<Point>,
}

/// A bandwidth.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryRoof {
    /// Which memory, read or written how.
    pub name: String,
    /// 10^9 bytes a second.
    pub gb_per_s: f64,
}

/// A rate of arithmetic.
#[derive(Debug, Clone, PartialEq)]
pub struct ComputeRoof {
    /// Which operations.
    pub name: String,
    /// 10^9 operations a second.
    pub gop_per_s: f64,
}

/// What one kernel reached.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// What the legend says of it.
    pub label: String,
    /// Operations for each byte moved.
    pub intensity: f64,
    /// 10^9 operations a second.
    pub gop_per_s: f64,
    /// Drawn in another colour.
    pub highlighted: bool,
}

const PLOT_HEIGHT: u32 = 460;
const MOST_POINTS: usize = 500;
const MOST_ROOFS: usize = 20;

/// Draws a roofline as SVG.
///
/// # Errors
/// [`PlotError::Empty`] without points or without any roof, [`PlotError::TooMany`] past 500 points or
/// 20 roofs, [`PlotError::NotPositive`] and [`PlotError::NoPlace`] for numbers that have no place on a
/// logarithmic axis.
pub fn roofline(roofline: &Roofline) -> Result<String, PlotError> {
    check(roofline)?;
    let (x, y) = axes(roofline);
    let roofs = roofs(roofline, &x, &y);
    let mut frame = Frame {
        width: WIDTH,
        title: &roofline.title,
        plot_height: PLOT_HEIGHT,
        legend_height: 0,
        left: left_of(&y),
        right: BORDER,
        x,
        x_name: "operations per byte",
        y,
        y_name: "G operations per second",
    };
    let labels = Labels::find(&frame, &roofs, &roofline.points);
    let unnamed = legend_of_roofs(&roofs, &labels);
    let legend = legend_of_points(&roofline.points);
    frame.legend_height = unnamed.height() + legend.height() + LINE / 2;
    frame.draw(|canvas| {
        for roof in &roofs {
            canvas.line(vec![roof.from, roof.to], roof.kind.color(), 2)?;
        }
        labels.draw(canvas, &roofs, &roofline.points);
        let top = frame.legend_top();
        unnamed.draw(canvas, top);
        legend.draw(canvas, top + f64::from(unnamed.height()));
        Ok(())
    })
}

fn check(roofline: &Roofline) -> Result<(), PlotError> {
    let checks = Checks {
        plot: &roofline.title,
    };
    checks.count("points", roofline.points.len(), MOST_POINTS)?;
    let n_roofs = roofline.memory.len() + roofline.compute.len();
    checks.count("roofs", n_roofs, MOST_ROOFS)?;
    for roof in &roofline.memory {
        checks.log(|| format!("GB/s of `{}`", roof.name), roof.gb_per_s)?;
    }
    for roof in &roofline.compute {
        checks.log(|| format!("G op/s of `{}`", roof.name), roof.gop_per_s)?;
    }
    for point in &roofline.points {
        checks.log(
            || format!("intensity of `{}`", point.label),
            point.intensity,
        )?;
        checks.log(|| format!("G op/s of `{}`", point.label), point.gop_per_s)?;
    }
    Ok(())
}

/// Axes that show every point, and where the fastest arithmetic meets each memory.
fn axes(roofline: &Roofline) -> (Scale, Scale) {
    let points = &roofline.points;
    let fastest_compute = fastest(roofline.compute.iter().map(|roof| roof.gop_per_s));
    let mut intensities: Vec<f64> = points.iter().map(|point| point.intensity).collect();
    let mut speeds: Vec<f64> = points.iter().map(|point| point.gop_per_s).collect();
    // Some room above the lines and beside the ridges, where names stand.
    speeds.extend(roofline.compute.iter().map(|roof| roof.gop_per_s * 1.5));
    for roof in &roofline.memory {
        match fastest_compute {
            Some(compute) => {
                let ridge = compute / roof.gb_per_s;
                intensities.extend([ridge / 1.5, ridge * 3.0]);
            }
            None => speeds.extend(points.iter().map(|point| point.intensity * roof.gb_per_s)),
        }
    }
    (Scale::log(intensities), Scale::log(speeds))
}

fn fastest(speeds: impl Iterator<Item = f64>) -> Option<f64> {
    speeds.reduce(f64::max)
}

/// A line from left to right, in the units of the axes.
pub(super) struct Roof {
    pub(super) kind: RoofKind,
    pub(super) label: String,
    pub(super) from: (f64, f64),
    pub(super) to: (f64, f64),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum RoofKind {
    Memory,
    Compute,
}

impl RoofKind {
    pub(super) fn color(self) -> Color {
        match self {
            RoofKind::Memory => TEAL,
            RoofKind::Compute => PURPLE,
        }
    }
}

/// The visible part of every roof.
fn roofs(roofline: &Roofline, x: &Scale, y: &Scale) -> Vec<Roof> {
    let fastest_memory = fastest(roofline.memory.iter().map(|roof| roof.gb_per_s));
    let fastest_compute = fastest(roofline.compute.iter().map(|roof| roof.gop_per_s));
    let highest = fastest_compute.unwrap_or(y.high());
    let diagonals = roofline.memory.iter().map(|roof| {
        let speed = roof.gb_per_s;
        // Where the line enters and leaves the plot, by its left, lower, right or upper edge.
        let enters = x.low().max(y.low() / speed);
        let leaves = x.high().min(highest / speed);
        Roof {
            kind: RoofKind::Memory,
            label: format!("{}: {} GB/s", roof.name, number(speed)),
            from: (enters, enters * speed),
            to: (leaves, leaves * speed),
        }
    });
    let horizontals = roofline.compute.iter().map(|roof| {
        let speed = roof.gop_per_s;
        let begins = fastest_memory.map_or(x.low(), |memory| (speed / memory).max(x.low()));
        Roof {
            kind: RoofKind::Compute,
            label: format!("{}: {} G op/s", roof.name, number(speed)),
            from: (begins, speed),
            to: (x.high(), speed),
        }
    });
    diagonals.chain(horizontals).collect()
}

/// The roofs that are not named in the plot.
fn legend_of_roofs<'a>(roofs: &'a [Roof], labels: &Labels) -> Legend<'a> {
    let unnamed = roofs.iter().enumerate().filter(|(i, _)| !labels.names(*i));
    let entries = unnamed.map(|(_, roof)| Entry {
        sign: Sign::Line(roof.kind.color()),
        label: &roof.label,
        value: String::new(),
        bold: false,
    });
    Legend::new(entries.collect())
}

fn legend_of_points(points: &[Point]) -> Legend<'_> {
    let entries = points.iter().enumerate().map(|(index, point)| Entry {
        sign: Sign::Numbered(index + 1, color(point)),
        label: &point.label,
        value: format!(
            "{} G op/s at {} op/byte",
            number(point.gop_per_s),
            number(point.intensity)
        ),
        bold: point.highlighted,
    });
    Legend::new(entries.collect())
}
