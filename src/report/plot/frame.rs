//! The frame of a plot: its size, its title, and two axes with grid and numbers, drawn by plotters.

use plotters::chart::ChartBuilder;
use plotters::coord::ranged1d::Ranged as _;
use plotters::drawing::IntoDrawingArea;
use plotters::prelude::SVGBackend;

use super::PlotError;
use super::canvas::{Anchor, Canvas, DrawError, FONT, Text, rgb};
use super::place::Place;
use super::scale::Scale;
use crate::report::palette::{AXIS, FINE_GRID, GRID, MUTED, PAPER};
use crate::report::text;

/// Width of a picture in pixels that has the page to itself.
pub(super) const WIDTH: u32 = 960;
/// Width of a picture that stands beside another, or is read on a phone.
pub(super) const NARROW: u32 = 560;
/// Empty border on the left and on the right.
pub(super) const BORDER: u32 = 24;
/// Distance of the plot from the upper edge, which holds the title.
pub(super) const TOP: u32 = 48;
/// Height of the numbers and the name below a plot.
pub(super) const X_AXIS: u32 = 54;
/// Height of a line in a legend.
pub(super) const LINE: u32 = 20;
const TITLE_FONT: f64 = 15.0;
/// plotters divides a font's size by this on its way to SVG.
const PLOTTERS_FONT_RATIO: f64 = 1.24;

/// What stands around the marks of a plot, in pixels.
pub(super) struct Frame<'a> {
    /// Width of the picture.
    pub(super) width: u32,
    pub(super) title: &'a str,
    /// Height of the plot without title, axis and legend.
    pub(super) plot_height: u32,
    /// Height of what follows below the axis.
    pub(super) legend_height: u32,
    /// Distance of the plot from the left and the right edge.
    pub(super) left: u32,
    pub(super) right: u32,
    pub(super) x: Scale,
    pub(super) x_name: &'a str,
    pub(super) y: Scale,
    pub(super) y_name: &'a str,
}

/// Distance from the left edge that leaves room for the numbers and the name of an axis.
pub(super) fn left_of(axis: &Scale) -> u32 {
    let name_and_gaps = 32;
    BORDER + name_and_gaps + axis.label_width(FONT).ceil() as u32
}

impl Frame<'_> {
    /// Where the plot lies in the picture.
    pub(super) fn area(&self) -> Place {
        Place {
            left: f64::from(self.left),
            top: f64::from(TOP),
            right: f64::from(self.width - self.right),
            bottom: f64::from(TOP + self.plot_height),
        }
    }

    /// Where a pair of values lies in the picture.
    pub(super) fn position(&self, (x, y): (f64, f64)) -> (f64, f64) {
        // plotters counts the last pixel of a range to it.
        let columns = (self.left as i32, (self.width - self.right) as i32 - 1);
        let rows = ((TOP + self.plot_height) as i32 - 1, TOP as i32);
        (
            f64::from(self.x.map(&x, columns)),
            f64::from(self.y.map(&y, rows)),
        )
    }

    /// Middle of the first line of the legend.
    pub(super) fn legend_top(&self) -> f64 {
        self.area().bottom + f64::from(X_AXIS) + f64::from(LINE) / 2.0
    }

    /// Draws the frame, then the marks.
    pub(super) fn draw(
        &self,
        marks: impl FnOnce(&mut Canvas<'_, '_>) -> Result<(), DrawError>,
    ) -> Result<String, PlotError> {
        let mut svg = String::new();
        match self.draw_into(&mut svg, marks) {
            Ok(overlay) => Ok(finish(&svg, &overlay, self.title)),
            Err(error) => Err(PlotError::Drawing {
                plot: self.title.to_owned(),
                reason: error.to_string(),
            }),
        }
    }

    fn draw_into(
        &self,
        svg: &mut String,
        marks: impl FnOnce(&mut Canvas<'_, '_>) -> Result<(), DrawError>,
    ) -> Result<String, DrawError> {
        let height = TOP + self.plot_height + X_AXIS + self.legend_height;
        let root = SVGBackend::with_string(svg, (self.width, height)).into_drawing_area();
        root.fill(&rgb(PAPER))?;
        let mut chart = ChartBuilder::on(&root)
            .margin_top(TOP)
            .margin_bottom(self.legend_height)
            .margin_right(self.right)
            .x_label_area_size(X_AXIS)
            .y_label_area_size(self.left)
            .build_cartesian_2d(self.x.clone(), self.y.clone())?;
        let muted = rgb(MUTED);
        let numbers = ("sans-serif", FONT * PLOTTERS_FONT_RATIO, &muted);
        chart
            .configure_mesh()
            .set_all_tick_mark_size(4)
            .axis_style(rgb(AXIS))
            .bold_line_style(rgb(GRID))
            .light_line_style(rgb(FINE_GRID))
            .label_style(numbers)
            .draw()?;
        let mut canvas = Canvas::new(chart);
        self.write_names(&mut canvas);
        marks(&mut canvas)?;
        let overlay = canvas.into_overlay();
        root.present()?;
        Ok(overlay)
    }

    fn write_names(&self, canvas: &mut Canvas<'_, '_>) {
        let area = self.area();
        let (middle_x, middle_y) = area.center();
        let title = Text {
            font_size: TITLE_FONT,
            bold: true,
            ..Text::new(self.title, f64::from(self.width - 2 * BORDER))
        };
        canvas.text((f64::from(BORDER), f64::from(TOP) / 2.0), &title);
        let x_name = Text {
            anchor: Anchor::Middle,
            ..Text::new(self.x_name, area.right - area.left)
        };
        canvas.text((middle_x, area.bottom + 38.0), &x_name);
        let y_name = Text {
            anchor: Anchor::Middle,
            degrees: -90.0,
            ..Text::new(self.y_name, area.bottom - area.top)
        };
        canvas.text((f64::from(BORDER), middle_y), &y_name);
    }
}

/// Puts the overlay behind what plotters drew, and a name for readers who hear the picture.
fn finish(svg: &str, overlay: &str, title: &str) -> String {
    let name = text::escape(title);
    let named = svg.trim_end().trim_end_matches("</svg>").replacen(
        "<svg ",
        &format!("<svg role=\"img\" aria-label=\"{name}\" "),
        1,
    );
    let inner = named.replacen('>', &format!("><title>{name}</title>"), 1);
    format!("{inner}{overlay}</svg>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_those_of_plotters() {
        let frame = Frame {
            width: WIDTH,
            title: "t",
            plot_height: 311,
            legend_height: 7,
            left: 91,
            right: 13,
            x: Scale::log([0.3, 47.0]),
            x_name: "x",
            y: Scale::linear([-3.0, 8.0]),
            y_name: "y",
        };
        frame
            .draw(|canvas| {
                for value in [(0.3, -3.0), (47.0, 8.0), (2.0, 0.7)] {
                    let (x, y) = canvas.position(&value);
                    assert_eq!(frame.position(value), (f64::from(x), f64::from(y)));
                }
                Ok(())
            })
            .unwrap();
    }
}
