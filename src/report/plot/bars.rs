//! Horizontal bars with whiskers: one number of each of several things, and how sure it is.

use super::canvas::{Anchor, Canvas, DrawError, FONT, Text};
use super::frame::{BORDER, Frame, WIDTH};
use super::scale::Scale;
use super::{Checks, PlotError};
use crate::report::palette::{AXIS, BLUE, INK, ORANGE};
use crate::report::text::{number, width};

/// A bar chart. Bars begin at zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Bars {
    /// Title of the picture.
    pub title: String,
    /// What the numbers are, with their unit.
    pub unit: String,
    /// Bars from top to bottom.
    pub rows: Vec<Bar>,
}

/// One bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// Name, on the left.
    pub label: String,
    /// Length.
    pub value: f64,
    /// Lower end of the whisker, at most `value`. Without a whisker, `value`.
    pub low: f64,
    /// Upper end of the whisker, at least `value`. Without a whisker, `value`.
    pub high: f64,
    /// Drawn in another colour.
    pub highlighted: bool,
}

const MOST_BARS: usize = 1000;
const ROW: u32 = 26;
/// Half the thickness of a bar and half the length of a whisker's cap, in rows.
const HALF_BAR: f64 = 0.29;
const HALF_CAP: f64 = 0.16;
const MOST_LABEL_WIDTH: f64 = 400.0;
/// Room for the numbers on the right.
const VALUE_WIDTH: f64 = 72.0;

/// Draws a bar chart as SVG.
///
/// # Errors
/// [`PlotError::Empty`] without bars, [`PlotError::TooMany`] past 1000, [`PlotError::NoPlace`] for
/// numbers that have no place on an axis, [`PlotError::Whiskers`] where `low <= value <= high` is not
/// so.
pub fn bars(bars: &Bars) -> Result<String, PlotError> {
    check(bars)?;
    let labels = bars.rows.iter().map(|bar| width(&bar.label, FONT));
    let label_width = labels.fold(0.0, f64::max).min(MOST_LABEL_WIDTH);
    let ends = bars.rows.iter().flat_map(|bar| [bar.low, bar.high]);
    let frame = Frame {
        width: WIDTH,
        title: &bars.title,
        plot_height: ROW * bars.rows.len() as u32,
        legend_height: 0,
        left: BORDER + label_width as u32 + 12,
        right: BORDER + VALUE_WIDTH as u32,
        x: Scale::linear(ends.chain([0.0])),
        x_name: &bars.unit,
        y: Scale::rows(bars.rows.len()),
        y_name: "",
    };
    frame.draw(|canvas| {
        let n = bars.rows.len() as f64;
        for (index, bar) in bars.rows.iter().enumerate() {
            // Rows count from the top, the axis from the bottom.
            let middle = n - index as f64 - 0.5;
            draw_bar(canvas, bar, middle)?;
            label_bar(canvas, &frame, bar, middle);
        }
        canvas.line(vec![(0.0, 0.0), (0.0, n)], AXIS, 1)
    })
}

fn check(bars: &Bars) -> Result<(), PlotError> {
    let checks = Checks { plot: &bars.title };
    checks.count("bars", bars.rows.len(), MOST_BARS)?;
    for bar in &bars.rows {
        let Bar {
            value, low, high, ..
        } = *bar;
        checks.linear(|| format!("`{}`", bar.label), value)?;
        checks.linear(|| format!("the lower end of `{}`", bar.label), low)?;
        checks.linear(|| format!("the upper end of `{}`", bar.label), high)?;
        if !(low <= value && value <= high) {
            return Err(PlotError::Whiskers {
                plot: bars.title.clone(),
                label: format!("`{}`", bar.label),
                value,
                low,
                high,
            });
        }
    }
    Ok(())
}

fn draw_bar(canvas: &mut Canvas<'_, '_>, bar: &Bar, middle: f64) -> Result<(), DrawError> {
    let color = if bar.highlighted { ORANGE } else { BLUE };
    canvas.bar(
        (0.0, middle + HALF_BAR),
        (bar.value, middle - HALF_BAR),
        color,
    )?;
    if bar.low < bar.high {
        canvas.line(vec![(bar.low, middle), (bar.high, middle)], INK, 1)?;
        for end in [bar.low, bar.high] {
            let cap = vec![(end, middle - HALF_CAP), (end, middle + HALF_CAP)];
            canvas.line(cap, INK, 1)?;
        }
    }
    Ok(())
}

fn label_bar(canvas: &mut Canvas<'_, '_>, frame: &Frame<'_>, bar: &Bar, middle: f64) {
    let (_, y) = frame.position((0.0, middle));
    let area = frame.area();
    let label = Text {
        anchor: Anchor::End,
        bold: bar.highlighted,
        ..Text::new(&bar.label, MOST_LABEL_WIDTH)
    };
    canvas.text((area.left - 10.0, y), &label);
    let value = number(bar.value);
    let value = Text {
        anchor: Anchor::End,
        bold: bar.highlighted,
        ..Text::new(&value, VALUE_WIDTH)
    };
    canvas.text((f64::from(WIDTH - BORDER), y), &value);
}
